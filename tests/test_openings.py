"""Mouth and lids of labelled key points: as far open as the driving ones, on top of relative motion."""

import numpy as np
import pytest
import torch
from checkout import ROOT

from fomm import Animator, Motion, load_checkpoints
from fomm.checkpoint import convert, read_checkpoint
from fomm.config import LABELS, load_config
from fomm.model import Keypoints, Openings, open_like, relative_motion

POINT = {name: index for index, name in enumerate(LABELS)}
UPPER, LOWER, CHIN = POINT["upper lip"], POINT["lower lip"], POINT["chin"]
CORNERS = POINT["left mouth corner"], POINT["right mouth corner"]
LIDS = [(POINT[f"{side} upper eyelid"], POINT[f"{side} lower eyelid"]) for side in ("left", "right")]
FACE = {  # xy in [-1, 1], y down
    "left upper eyelid": (0.3, -0.22), "right upper eyelid": (-0.3, -0.22),
    "left lower eyelid": (0.3, -0.12), "right lower eyelid": (-0.3, -0.12),
    "left mouth corner": (0.2, 0.4), "right mouth corner": (-0.2, 0.4),
    "upper lip": (0, 0.36), "lower lip": (0, 0.44), "nose tip": (0, 0.15), "chin": (0, 0.7),
    "left outer brow": (0.4, -0.35), "right outer brow": (-0.4, -0.35), "forehead": (0, -0.6),
    "left temple": (0.6, -0.2), "right temple": (-0.6, -0.2), "neck": (0, 1),
}  # fmt: skip


def gains(mouth: float, eyes: float) -> Openings:
    return Openings(mouth, eyes, LABELS)


PLAIN = gains(mouth=1, eyes=1)


def face(gap: float = 0.08, lids: float = 0.1) -> torch.Tensor:
    """1x16x2: the lower lip ``gap`` below the upper one, the chin with it, the upper lids ``lids`` open."""
    value = torch.tensor([FACE[name] for name in LABELS])[None]
    value[:, CHIN, 1] += gap - 0.08
    value[:, LOWER, 1] = value[:, UPPER, 1] + gap
    for upper, lower in LIDS:
        value[:, upper, 1] = value[:, lower, 1] - lids
    return value


def moved(source: torch.Tensor, driving: torch.Tensor, initial: torch.Tensor, openings: Openings) -> tuple:
    """Return the source as relative motion alone moves it, and with the openings."""
    points = [Keypoints(value) for value in (source, driving, initial)]
    plain = relative_motion(*points)
    return plain.value, open_like(plain, *points, openings).value


def gap(value: torch.Tensor, first: int, second: int) -> torch.Tensor:
    return (value[:, second] - value[:, first]).norm(dim=-1)


def laid(value: torch.Tensor, angle: float, scale: float, shift: float) -> torch.Tensor:
    cos, sin = np.cos(angle), np.sin(angle)
    return scale * value @ torch.tensor([[cos, sin], [-sin, cos]], dtype=value.dtype) + shift


def test_the_source_itself_stays_as_it_is():
    plain, opened = moved(face(), face(), face(), gains(2, 2))
    torch.testing.assert_close(opened, plain)
    torch.testing.assert_close(opened, face())


def test_a_shut_mouth_follows_one_that_was_open_in_the_reference_frame():
    speaking = torch.cat([face(wide) for wide in (0.3, 0.08, 0.2)])
    plain, opened = moved(face(0.08), speaking, face(0.3), PLAIN)
    assert plain[1, LOWER, 1] < plain[1, UPPER, 1]  # relative motion alone puts the lower lip above the upper
    assert (gap(opened, UPPER, LOWER) - torch.tensor([0.3, 0.08, 0.2])).abs().max() < 0.02
    torch.testing.assert_close(opened[:, UPPER], plain[:, UPPER])
    assert opened[0, CHIN, 1] > opened[2, CHIN, 1] > opened[1, CHIN, 1]


def test_chin_and_corners_move_with_the_lower_lip():
    plain, opened = moved(face(0.08), face(0.3), face(0.3), PLAIN)
    change = (opened - plain)[0]
    assert change[LOWER, 1] > 0.15
    torch.testing.assert_close(change[CHIN], 0.8 * change[LOWER])
    for corner in CORNERS:
        torch.testing.assert_close(change[corner], 0.3 * change[LOWER])
    rest = [point for point in range(16) if point not in (LOWER, CHIN, *CORNERS)]
    torch.testing.assert_close(change[rest], torch.zeros(len(rest), 2))


@pytest.mark.parametrize("gain", [0.5, 1, 1.4])
def test_the_mouth_opens_by_so_much_more_than_the_source(gain):
    _, opened = moved(face(0.08), face(0.28), face(0.08), gains(gain, 1))
    assert gap(opened, UPPER, LOWER).item() == pytest.approx(0.08 + gain * 0.2, abs=1e-4)


@pytest.mark.parametrize("gain", [0.5, 1, 1.5])
def test_lids_move_so_much_more_than_they_do_in_relative_motion(gain):
    plain, opened = moved(face(lids=0.12), face(lids=0.07), face(lids=0.1), gains(1, gain))
    for upper, lower in LIDS:
        assert gap(plain, upper, lower).item() == pytest.approx(0.09, abs=1e-4)
        assert gap(opened, upper, lower).item() == pytest.approx(0.12 - gain * 0.03, abs=1e-3)
        torch.testing.assert_close(opened[:, [upper, lower]].mean(1), plain[:, [upper, lower]].mean(1))


def test_nothing_closes_further_than_shut():
    _, opened = moved(face(0.08, 0.05), face(0.01, 0.01), face(0.3, 0.1), gains(3, 3))
    for pair in (UPPER, LOWER), *LIDS:
        assert gap(opened, *pair).item() == pytest.approx(0, abs=1e-5)


def test_points_that_all_coincide_give_numbers():
    nowhere = torch.zeros(1, 16, 2)
    _, opened = moved(nowhere, nowhere, nowhere, PLAIN)
    assert torch.isfinite(opened).all()


def test_where_and_how_large_the_driving_face_is_does_not_matter():
    driving, initial = face(0.25, 0.06), face(0.15, 0.1)
    _, wanted = moved(face(), driving, initial, gains(1.4, 1.5))
    elsewhere = [laid(value, 0.4, 0.6, 0.1) for value in (driving, initial)]
    _, opened = moved(face(), *elsewhere, gains(1.4, 1.5))
    for pair in (UPPER, LOWER), *LIDS:
        torch.testing.assert_close(gap(opened, *pair), gap(wanted, *pair))
        vectors = [value[:, pair[1]] - value[:, pair[0]] for value in (opened, wanted)]
        torch.testing.assert_close(*vectors, atol=1e-5, rtol=1e-4)


def test_a_batch_is_the_frames_of_it():
    driving = torch.cat([face(wide, lids) for wide, lids in ((0.1, 0.1), (0.2, 0.05), (0.3, 0.02))])
    _, together = moved(face(), driving, face(0.15), gains(1.4, 1.5))
    alone = torch.cat([moved(face(), frame[None], face(0.15), gains(1.4, 1.5))[1] for frame in driving])
    torch.testing.assert_close(together, alone)


def test_the_jacobians_stay():
    points = [Keypoints(face(wide), torch.randn(1, 16, 2, 2)) for wide in (0.1, 0.2, 0.15)]
    plain = relative_motion(*points)
    assert open_like(plain, *points, PLAIN).jacobian is plain.jacobian


# -- through the public calls ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    return load_checkpoints(cpu=True)


def pictures(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 256, 256, 3), dtype=np.uint8)


def test_the_weights_that_ship_know_lips_and_lids(shipped):
    written = load_config("heads-256").model_params.kp_detector_params.openings
    assert written is not None
    assert shipped[1].openings == gains(written.mouth, written.eyes)


@pytest.mark.parametrize(("eyes", "openings"), [("2.5", gains(1.4, 2.5)), ("1", gains(1.4, 1)), (None, None)])
def test_a_configuration_beside_the_weights_that_ship_may_have_others_or_none(tmp_path, eyes, openings):
    text = (ROOT / "configs" / "heads-256.yaml").read_text(encoding="utf-8")
    old = text[text.index("    openings:") : text.index("  generator_params:")]
    new = f"    openings: {{mouth: 1.4, eyes: {eyes}}}\n" if eyes else ""
    (tmp_path / "mine.yaml").write_text(text.replace(old, new), encoding="utf-8")
    assert load_checkpoints(tmp_path / "mine.yaml", cpu=True)[1].openings == openings


def test_a_configuration_from_before_fits_the_weights_that_ship(tmp_path):
    """One that someone has copied when no details were moved."""
    lines = (ROOT / "configs" / "heads-256.yaml").read_text(encoding="utf-8").splitlines(keepends=True)
    before = [line for line in lines if not line.strip().startswith("details:")]
    assert len(before) == len(lines) - 1
    (tmp_path / "mine.yaml").write_text("".join(before), encoding="utf-8")
    generator, _ = load_checkpoints(tmp_path / "mine.yaml", cpu=True)
    assert generator.details == 0  # what the caller says comes first


def test_animation_opens_unless_told_otherwise(shipped):
    source, driving = pictures(0, 1)[0], pictures(1, 2)

    def frames(**options: bool) -> np.ndarray:
        return np.stack(list(Animator(source, *shipped, motion=Motion(**options)).animate(driving)))

    published = frames(openings=False)
    assert np.abs(frames() - published).max() > 0.01
    absolute = frames(relative=False)
    np.testing.assert_array_equal(frames(relative=False, openings=False), absolute)


def test_published_weights_move_as_published():
    for name in ("tiny-cpk.pth.tar", "tiny-cpk-legacy.pth.tar"):
        golden = ROOT / "tests" / "golden"
        assert load_checkpoints(golden / "tiny.yaml", golden / name, cpu=True)[1].openings is None


def test_a_converted_file_keeps_them(tmp_path, shipped):
    convert(ROOT / "checkpoints" / "heads-256.safetensors", tmp_path / "again.safetensors")
    config = read_checkpoint(tmp_path / "again.safetensors").config
    assert config is not None
    kept = config.model_params.kp_detector_params.openings
    assert kept is not None and gains(kept.mouth, kept.eyes) == shipped[1].openings
