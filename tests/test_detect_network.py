"""The detector's network: its filters by value, both branches, its training, and its file."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from fomm.detect.network import (
    CELLS,
    Calibration,
    Heats,
    TraceNetwork,
    bands,
    compare_with_mean,
    cosines,
    energies,
    read_network,
    residuals,
    score,
    spectrum,
)
from fomm.detect.samples import Samples
from fomm.detect.squares import MARGIN, SIZE, cut_square, find_square, put_back
from fomm.detect.training import (
    Settings,
    apply,
    augment,
    calibrate,
    find_pairs,
    losses,
    mean_by_clip,
    train,
    write_network,
)
from fomm.errors import CheckpointError, InputError
from fomm.face import Face
from fomm.face.mesh import Crop


def test_the_cosines_are_those_of_the_transform():
    block = np.random.default_rng(0).random((8, 8))
    found = (cosines().numpy()[:, 0] * block).sum((1, 2)).reshape(8, 8)
    assert found == pytest.approx(dctn(block, norm="ortho"), abs=1e-5)


def test_a_smooth_picture_has_no_residual():
    line = torch.linspace(0, 1, SIZE)
    ramp = (0.3 * line + 0.5 * line[:, None]).expand(1, 3, SIZE, SIZE)
    assert residuals(ramp)[..., 1:-1, 1:-1].abs().max() < 1e-4
    flat = torch.full((1, 3, SIZE, SIZE), 0.5)
    flat[..., 40, 50] += 8 / 255
    found = residuals(flat)[0] * 16  # levels of 255
    assert found[0, 40, 50] == pytest.approx(8 * 3 / 4, abs=1e-3)  # less a quarter of itself
    assert found[0, 40, 51] == pytest.approx(-8 / 8, abs=1e-3)
    assert found[3, 40, 50] == pytest.approx(8, abs=1e-3) and found[3, 41, 51] == pytest.approx(2, abs=1e-3)
    flat[..., 40, 50] = 1
    assert residuals(flat).max() == 1  # cut off


def test_bands_part_the_details_by_their_size():
    flat = torch.full((1, 3, SIZE, SIZE), 0.5)
    assert bands(flat).shape == (1, 9, SIZE, SIZE) and bands(flat).abs().max() == 0
    for band, period in enumerate((2, 8, 16)):  # pixels: the finest wave that there is, and two wider ones
        wave = 0.02 * torch.cos(2 * math.pi * torch.arange(SIZE) / period)
        found = bands(flat + wave)[0, ::3, 20:-20, 20:-20]
        found = (
            found * torch.tensor([1.0, 2.0, 4.0])[:, None, None] * 16 / 255
        )  # levels are as in the picture
        assert found.abs().amax((1, 2)).argmax() == band
        # a mean over 1 2 1, g pixels apart, keeps (1 + cos(2 pi g / period)) / 2 of the wave
        kept = [1.0, *np.cumprod([(1 + math.cos(2 * math.pi * g / period)) / 2 for g in (1, 2, 4)])]
        strengths = found.abs().amax((1, 2)).numpy() / 0.02
        assert strengths == pytest.approx(-np.diff(kept), abs=0.01)


def test_energies_are_logarithms_of_mean_squares():
    details = torch.zeros(1, 1, SIZE, SIZE)
    details[..., 40:44, 60:64] = 0.5  # the cell 10, 15
    found = energies(details)[0]
    assert found.shape == (2, CELLS, CELLS)
    assert found[0, 10, 15].item() == pytest.approx(math.log(0.25 + 1e-4))
    assert found[1, 11, 16].item() == pytest.approx(math.log(0.25 / 9 + 1e-4))
    assert found[:, 13, 15].tolist() == pytest.approx([math.log(1e-4)] * 2)


def test_features_are_compared_with_their_mean():
    features = torch.tensor([[[[1.0, 3.0]], [[5.0, 5.0]]]])
    assert compare_with_mean(features)[0, :, 0].tolist() == [[1, 3], [5, 5], [-1, 1], [0, 0]]


def test_the_spectrum_shows_a_wave_where_it_is():
    x = torch.arange(SIZE, dtype=torch.float32)
    wave = 0.5 + 0.1 * torch.cos(math.pi * (2 * x + 1) * 4 / 16)  # the frequency (0, 4)
    picture = torch.full((1, 3, SIZE, SIZE), 0.5)
    picture[..., :64, :] = wave
    found = spectrum(picture)
    assert found.shape == (1, 63, CELLS, CELLS)
    assert found[0, :, 6, 10].argmax() == 3 and found[0, 3, 6, 10] > 3  # (0, 0) is left out
    assert found[0, :, 24, 10].max() < 0.01


def test_both_branches_must_agree():
    pixels, encoding = torch.full((1, CELLS, CELLS), -4.0), torch.full((1, CELLS, CELLS), -4.0)
    pixels[:, :8], encoding[:, 4:16] = 3.0, 2.0
    heats = Heats(pixels, encoding)
    found = heats.agree()[0]
    assert torch.allclose(found[4:8], torch.tensor(2.0).sigmoid())
    assert found[:4].max() < 0.02 and found[8:].max() < 0.02
    # four rows of 32 are 128 of 1024 cells, more than the tenth that makes the score
    assert score(torch.minimum(pixels, encoding)).item() == pytest.approx(2.0)
    assert score(torch.full_like(pixels, -4.0)).item() == pytest.approx(-4.0)


def make_samples(count: int = 24) -> Samples:
    """Noise that is untouched, and noise that is smooth in its left half: pairs of clips of three frames."""
    rng = np.random.default_rng(5)
    pictures = rng.integers(60, 200, (count, SIZE, SIZE, 3), np.uint8)
    changed = np.zeros((count, SIZE, SIZE), bool)
    kinds = (np.arange(count) // 3 % 2).astype(np.uint8)
    changed[kinds > 0, :, : SIZE // 2] = True
    pictures[changed] = 130
    crfs, scales = np.full(count, 20, np.uint8), np.ones(count, np.float32)
    moments = np.arange(count) // 6 * 3 + np.arange(count) % 3
    return Samples(pictures, changed, kinds, np.arange(count) // 3, moments, crfs, scales)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    network = TraceNetwork()
    lines = list(train(network, make_samples(), Settings(steps=40, batch=8)))
    return network, lines


def test_training_finds_the_changed_half(trained):
    network, lines = trained
    for name in ("pixels cells", "pixels pictures", "encoding cells", "encoding pictures"):
        assert np.mean([line[name] for line in lines[-5:]]) < 0.5 * lines[0][name], name
    samples = make_samples()
    scores, heats = apply(network, samples.pictures)
    assert scores[samples.kinds > 0].min() > scores[samples.kinds == 0].max()
    flagged = heats[samples.kinds > 0] >= 0.5
    assert flagged[..., : CELLS // 2].mean() > 0.9 and flagged[..., CELLS // 2 + 1 :].mean() < 0.1


def test_training_is_repeatable():
    def first_steps() -> list[dict[str, float]]:
        torch.manual_seed(1)
        return list(train(TraceNetwork(), make_samples(), Settings(steps=2, batch=4)))

    assert first_steps() == first_steps()


def test_training_needs_both_classes():
    samples = make_samples()
    for half in (samples.select(samples.kinds == 0), samples.select(samples.kinds > 0)):
        with pytest.raises(InputError, match="one of both is missing"):
            next(train(TraceNetwork(), half, Settings(steps=1)))


def test_losses_by_hand():
    changed = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    changed[0] = True
    assert [loss.item() for loss in losses(torch.zeros(2, CELLS, CELLS), changed)] == pytest.approx(
        [math.log(2)] * 2
    )
    cells, pictures = losses(torch.full((2, CELLS, CELLS), 100.0), changed)
    assert cells.item() == pictures.item() == pytest.approx(50)  # right of one, wrong by 100 of the other
    changed[0, 40:] = False
    cells, pictures = losses(torch.full((2, CELLS, CELLS), 100.0), changed)
    assert cells.item() == pytest.approx(100 * (1 - 40 / SIZE / 2)) and pictures.item() == pytest.approx(50)


def test_one_branch_is_trained_alone():
    torch.manual_seed(0)
    network = TraceNetwork()
    before = copy.deepcopy(network.state_dict())
    (line,) = train(network, make_samples(), Settings(steps=1, batch=4), ["encoding"])
    assert set(line) == {"step", "encoding cells", "encoding pictures"}
    same = {key: torch.equal(value, before[key]) for key, value in network.state_dict().items()}
    assert all(kept for key, kept in same.items() if key.startswith("pixels."))
    assert not any(kept for key, kept in same.items() if key.startswith("encoding.") and "weight" in key)
    alone = apply(network, make_samples(2).pictures, ["encoding"])[0]
    assert not np.array_equal(alone, apply(network, make_samples(2).pictures)[0])


def test_a_pair_is_what_was_made_of_the_same_moment():
    samples = make_samples(12)
    assert find_pairs(samples).tolist() == [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8, 11]]
    without_one = samples.select(np.arange(12) != 1)  # no untouched picture is left of that moment
    pairs = find_pairs(without_one)
    assert len(pairs) == 5
    assert (without_one.moments[pairs[:, 0]] == without_one.moments[pairs[:, 1]]).all()
    assert (without_one.kinds[pairs] == [0, 1]).all()


def test_augmentation_moves_picture_and_truth_together():
    samples = make_samples(12)
    pictures = torch.from_numpy(samples.pictures).permute(0, 3, 1, 2).float() / 255
    settings = Settings(brightness=0, contrast=0, grey=0)
    found, truth = augment(pictures, torch.from_numpy(samples.changed), np.random.default_rng(3), settings)
    turned = [not torch.allclose(found[number], pictures[number], atol=1e-6) for number in range(12)]
    assert turned[:6] == turned[6:] and 0 < sum(turned) < 12  # pairs vary alike
    for number in range(12):
        kept = pictures[number].flip(2) if turned[number] else pictures[number]
        assert torch.allclose(found[number], kept, atol=1e-6)
        mask = torch.from_numpy(samples.changed[number])
        assert torch.equal(truth[number], mask.flip(1) if turned[number] else mask)


def test_augmentation_varies_a_pair_alike():
    one = torch.rand(6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    found, _ = augment(
        torch.cat([one, one]),
        torch.zeros(12, SIZE, SIZE, dtype=torch.bool),
        np.random.default_rng(0),
        Settings(),
    )
    assert torch.equal(found[:6], found[6:]) and not torch.allclose(found[:6], one, atol=0.01)
    colourless = [bool((picture.std(1) - picture.std(1)[:1]).abs().max() < 1e-5) for picture in found[:6]]
    assert 0 <= sum(colourless) < 6


def test_calibration_gives_back_the_odds():
    rng = np.random.default_rng(6)
    scores = rng.normal(0, 2, 20000)
    changed = rng.random(20000) < 1 / (1 + np.exp(-(1.5 * scores - 1)))
    found = calibrate(scores, changed)
    assert found.slope == pytest.approx(1.5, rel=0.05)
    rate = changed.mean()  # both classes weigh the same, which shifts the line by the log odds
    assert found.offset == pytest.approx(-1 - math.log(rate / (1 - rate)), abs=0.1)
    assert Calibration(2.0, 1.0).probability(-0.5) == pytest.approx(0.5)
    assert math.isfinite(calibrate(np.array([0.0, 1.0]), np.array([False, True])).slope)
    with pytest.raises(InputError, match="0 are changed, 3 untouched"):
        calibrate(np.zeros(3), np.zeros(3, bool))


def test_means_by_clip():
    means, changed = mean_by_clip(np.arange(24.0), make_samples())
    assert means.tolist() == [1, 4, 7, 10, 13, 16, 19, 22]
    assert changed.tolist() == [False, True] * 4


def test_what_is_written_is_read(trained, tmp_path):
    network = trained[0].half().float()
    write_network(tmp_path / "a.safetensors", network, Calibration(1.25, -0.5))
    again, calibration = read_network(tmp_path / "a.safetensors")
    assert calibration == (1.25, -0.5)
    pictures = make_samples(2).pictures
    assert np.array_equal(apply(again, pictures)[0], apply(network.eval(), pictures)[0])
    assert (tmp_path / "a.safetensors").stat().st_size < 2e6


@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "text", "other"])
def test_damaged_weights(trained, tmp_path, harm):
    path = tmp_path / "a.safetensors"
    if harm != "missing":
        write_network(path, trained[0], Calibration(1, 0))
        data = path.read_bytes()
        path.write_bytes({"empty": b"", "cut": data[:5000], "text": b"<html>", "other": data}[harm])
    if harm == "other":
        from safetensors.torch import save_file

        save_file({"calibration": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match=r"a\.safetensors does not hold the weights of the detector"):
        read_network(path)


def test_squares_are_cut_and_put_back():
    face = Face(np.array([100, 80, 140, 120], np.float32), 1.0, np.zeros((6, 2), np.float32))
    square = find_square(face)
    assert square == Crop((120.0, 100.0), 40 * MARGIN, 0.0)
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[64:136, 84:120] = 200  # the left half of the square
    cut = cut_square(picture, square)
    assert cut.shape == (SIZE, SIZE, 3) and cut[4:-4, 4:60].min() == 200 and cut[:, 68:].max() == 0
    heat = np.zeros((CELLS, CELLS))
    heat[:, : CELLS // 2] = 1
    back = put_back(heat, square, (200, 300))
    assert back.shape == (200, 300)
    assert back[70:130, 90:115].min() == 1 and back[70:130, 125:].max() == 0
    assert back[:60].max() == back[:, :80].max() == 0
