"""MRAA and TPSMM: the published code's numbers at each stage, and through the calls that everybody uses."""

import json
import math

import numpy as np
import pytest
import torch
import yaml
from golden_data import GOLDEN
from successors import CONFIGS, EXPECTED, KINDS, OTHERS, PICTURES, difference, save_tiny, tiny_state
from torch import Tensor

from fomm import Motion, animate_file, load_checkpoints, make_animation
from fomm.animation.options import Compute, Framing, Marking
from fomm.checkpoint import convert, read_checkpoint
from fomm.checkpoint.architecture import NoWeights
from fomm.checkpoint.families import FAMILIES
from fomm.config import any_config_from_dict, load_any_config
from fomm.engines.fused import fold_norm
from fomm.engines.graphs import GraphEngine
from fomm.engines.successors import for_inference
from fomm.errors import CheckpointError, ConfigError, InputError
from fomm.export import export
from fomm.media import read_image, save_video
from fomm.media.images import write_image
from fomm.model import Keypoints, movement_scale, relative_motion
from fomm.successors.background import background_grid, background_map
from fomm.successors.mraa import principal_axes
from fomm.successors.thin_plate import RIDGE, solve, spline_grids

MODES = {
    "absolute": {"relative": False},
    "relative": {"adapt_movement_scale": False},
    "relative_adapt": {},
    "avd": {"avd": True},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("successors")
    return {kind: save_tiny(kind, folder / f"{kind}.pth.tar") for kind in KINDS}


@pytest.fixture(scope="module")
def models(files):
    return {kind: load_checkpoints(CONFIGS[kind], files[kind], cpu=True) for kind in KINDS}


def pictures(kind: str) -> tuple[Tensor, Tensor]:
    """Return the source, 1xCxHxW, and the driving frames, TxCxHxW."""
    source, driving = (torch.from_numpy(EXPECTED[kind][name]) for name in ("source", "driving"))
    return source.permute(2, 0, 1)[None], driving.permute(0, 3, 1, 2)


def as_pictures(batch: Tensor) -> Tensor:
    return batch.permute(0, 2, 3, 1)


# -- each stage --------------------------------------------------------------------------------------


@torch.no_grad()
def found(kind: str, models: dict) -> tuple[dict[str, Tensor], dict[str, Keypoints]]:
    """Return the golden numbers by name as they are computed here, and key points by mode."""
    generator, detector = models[kind]
    source, driving = pictures(kind)
    kp_source, kp_driving = detector(source), detector(driving)
    initial = kp_driving.map(lambda t: t[:1])
    scale = movement_scale(kp_source, initial)
    modes = {
        "absolute": kp_driving,
        "relative": relative_motion(kp_source, kp_driving, initial),
        "relative_adapt": relative_motion(kp_source, kp_driving, initial, scale),
        "avd": detector.avd_network(kp_source, kp_driving),
    }
    background = generator.bg_predictor(source, driving)
    got = {"movement_scale": torch.tensor(scale)}
    for name, points in modes.items():
        got[f"prediction_{name}"] = as_pictures(generator(source, points, kp_source)["prediction"])
    reconstructed = generator(source, kp_driving, kp_source, background)["prediction"]
    got["prediction_reconstruction"] = as_pictures(reconstructed)
    frame1 = kp_driving.map(lambda t: t[1:2])
    got |= {f"frame1_{name}": t for name, t in generator(source, frame1, kp_source).items()}
    moved = generator(source, frame1, kp_source, background[1:2])
    got |= {f"frame1_bg_{name}": t for name, t in moved.items()}
    if kind == "tpsmm":
        got |= {"kp_source": kp_source.value, "kp_driving": kp_driving.value, "bg_param": background}
        got |= {f"kp_{name}": modes[name].value for name in ("relative", "relative_adapt", "avd")}
        return got, modes
    for name, image in (("source", source), ("driving", driving)):
        regions = detector.region_predictor(image)
        got |= {f"{name}_shift": regions.keypoints.value, f"{name}_affine": regions.keypoints.jacobian}
        got |= {f"{name}_covar": regions.keypoints.covariance, f"{name}_heatmap": regions.heatmap}
        got |= {f"{name}_u": regions.u, f"{name}_d": regions.d}
    got |= {f"{mode}_shift": modes[mode].value for mode in ("relative", "relative_adapt", "avd")}
    got |= {f"{mode}_affine": modes[mode].jacobian for mode in ("relative", "avd")}
    got |= {"avd_covar": modes["avd"].covariance, "bg_params": background}
    got["frame1_heatmap"] = got["frame1_heatmap"][:, :, None]
    return got, modes


@pytest.mark.smoke
@pytest.mark.parametrize("kind", KINDS)
def test_every_golden_number(kind, models):
    got, _ = found(kind, models)
    names = [name for name in EXPECTED[kind] if not name.endswith("_align_corners_true")]
    for name in names:
        if name in ("source", "driving"):
            continue
        error = difference(got[name], EXPECTED[kind][name])
        picture = name.startswith("prediction") or name.endswith("_deformed")
        assert error <= (PICTURES if picture else OTHERS), f"{kind} {name} is off by {error:.1e}"


def test_relative_regions_keep_the_covariances_of_the_driving_frames(models):
    _, modes = found("mraa", models)
    assert torch.equal(modes["relative"].covariance, modes["absolute"].covariance)


# -- the maths, by hand ------------------------------------------------------------------------------


def test_a_spline_leaves_still_points_nearly_where_they_are_and_misses_by_its_ridge():
    """Write the equations down in NumPy: T(p_i) + ridge * w_i = q_i, and so on."""
    driving = torch.tensor(
        [[0.0, 0.0], [0.8, 0.0], [0.0, 0.8], [-0.8, 0.0], [0.0, -0.8]], dtype=torch.float64
    )
    source = driving.clone()
    source[0, 0] = 0.2
    squared = (driving[:, None] - driving).square().sum(-1).numpy()
    plane = np.concatenate([driving.numpy(), np.ones((5, 1))], 1)
    matrix = np.block([[squared * np.log(squared + 1e-9), plane], [plane.T, np.zeros((3, 3))]])
    unknowns = np.linalg.solve(matrix + RIDGE * np.eye(8), np.concatenate([source.numpy(), np.zeros((3, 2))]))
    grid = spline_grids(source[None, None], driving[None, None], 5, 5)[0, 0].numpy()
    centre = squared[0] * np.log(squared[0] + 1e-9) @ unknowns[:5] + unknowns[7]
    assert np.abs(grid[2, 2] - centre).max() < 1e-12
    # the point in the middle is wanted at x = 0.2, and misses it by the ridge times its weight
    assert centre[0] + RIDGE * unknowns[0, 0] == pytest.approx(0.2, abs=1e-12)
    assert abs(centre[1]) < 1e-12


def test_a_spline_of_an_affine_map_is_nearly_that_map():
    driving = torch.tensor([[0.0, 0.0], [0.9, 0.1], [-0.2, 0.8], [-0.7, -0.1], [0.1, -0.9]])
    source = 0.9 * driving + torch.tensor([0.1, -0.05])
    grid = spline_grids(source[None, None], driving[None, None], 3, 3)[0, 0]
    y, x = torch.meshgrid(torch.linspace(-1, 1, 3), torch.linspace(-1, 1, 3), indexing="ij")
    wanted = 0.9 * torch.stack((x, y), -1) + torch.tensor([0.1, -0.05])
    assert (grid - wanted).abs().max() < 0.03  # not exactly: the ridge pulls, by 0.021 in a corner


def test_elimination_with_exchanged_rows():
    rng = torch.Generator().manual_seed(0)
    matrix = torch.randn(50, 8, 8, generator=rng, dtype=torch.float64)
    matrix[:, 0, 0] = 0  # without an exchange it would divide by this
    right = torch.randn(50, 8, 2, generator=rng, dtype=torch.float64)
    assert (solve(matrix, right) - torch.linalg.solve(matrix, right)).abs().max() < 1e-8


def test_principal_axes_point_where_lapacks_do():
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(20_000, 2, 2)) * rng.uniform(0.05, 2, (20_000, 1, 1))
    matrices = torch.from_numpy(shapes @ shapes.transpose(0, 2, 1))
    u, d = principal_axes(matrices)
    wanted, sizes, _ = torch.linalg.svd(matrices)
    clear = matrices[:, 0, 1].abs() > 1e-6 * (matrices[:, 0, 0] + matrices[:, 1, 1])
    gap = (sizes[:, 0] - sizes[:, 1]) / sizes[:, 0] > 1e-3
    use = clear & gap
    assert use.sum() > 19_000
    assert (u - wanted)[use].abs().max() < 1e-6
    assert (d.diagonal(dim1=1, dim2=2) - sizes.sqrt()).abs().max() < 1e-6
    signs = set(torch.sign(u[use][:, 0, 0]).tolist())
    assert signs == {-1.0, 1.0}, "both cases of the rule are met"


@pytest.mark.parametrize(
    ("matrix", "u"),
    [
        # eigenvector of 3 is (1, 1)/sqrt 2; b > 0, but ac = 4 < a^2 + 2 b^2 = 6: x is negative
        ([[2.0, 1.0], [1.0, 2.0]], [[-1, -1], [-1, 1]]),
        # b < 0: negative too
        ([[2.0, -1.0], [-1.0, 2.0]], [[-1, 1], [1, 1]]),
    ],
)
def test_principal_axes_by_hand(matrix, u):
    got, lengths = principal_axes(torch.tensor(matrix))
    assert (got - torch.tensor(u) / math.sqrt(2)).abs().max() < 1e-6
    assert (lengths - torch.diag(torch.tensor([math.sqrt(3), 1.0]))).abs().max() < 1e-6


def test_the_sign_of_an_axis_turns_where_the_rule_says():
    """With a = 1, b = 0.5 it is c > 1.5: there x is positive."""
    below, above = (principal_axes(torch.tensor([[1.0, 0.5], [0.5, c]]))[0][0, 0] for c in (1.4, 1.6))
    assert below < 0 < above


def test_axes_without_an_eigenvector_to_find():
    eye = torch.eye(2)
    assert torch.equal(principal_axes(torch.diag(torch.tensor([2.0, 1.0])))[0], eye)
    assert torch.equal(principal_axes(torch.diag(torch.tensor([1.0, 2.0])))[0], eye.flip(0))
    assert torch.isfinite(torch.stack(principal_axes(torch.zeros(2, 2)))).all()


def test_a_background_that_moves():
    shift = background_map(torch.tensor([[0.5, -0.25]]), "shift")
    grid = background_grid(shift, 3, 3, shift)
    assert torch.equal(grid[0, 1, 1], torch.tensor([0.5, -0.25]))
    half = background_map(torch.tensor([[1.0, 0, 0, 0, 1, 0, 1, 0]]), "perspective")  # w = 1 + x
    assert torch.equal(background_grid(half, 3, 3, half)[0, 1, 2], torch.tensor([0.5, 0.0]))


# -- through the public calls ------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_make_animation(kind, mode, models):
    expected = EXPECTED[kind]
    frames = make_animation(
        expected["source"], expected["driving"], *models[kind], progress=False, **MODES[mode]
    )
    error = difference(np.stack(frames), expected[f"prediction_{mode}"])
    assert error <= PICTURES, f"off by {error:.1e}"


@pytest.mark.parametrize("kind", KINDS)
def test_frames_do_not_depend_on_their_batch_or_on_memory_formats(kind, models):
    expected = EXPECTED[kind]
    one, all_ = (
        np.stack(
            make_animation(
                expected["source"], expected["driving"], *models[kind], progress=False, batch_size=size
            )
        )
        for size in (1, 3)
    )
    assert difference(one, all_) <= PICTURES
    networks = for_inference(*models[kind])
    source, driving = pictures(kind)
    with torch.inference_mode():
        for form in (torch.contiguous_format, torch.channels_last):
            encoded = networks.encode(source.contiguous(memory_format=form))
            points = networks.detect(driving.contiguous(memory_format=form))
            painted = as_pictures(networks.render(encoded, points).prediction)
            assert difference(painted, expected["prediction_absolute"]) <= PICTURES


# Largest and mean difference from float32, measured with these random weights, and doubled
@pytest.mark.parametrize(
    ("precision", "largest", "mean"), [("bfloat16", 0.26, 0.007), ("float16", 0.03, 0.001)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_sixteen_bits(kind, precision, largest, mean, models):
    expected = EXPECTED[kind]
    frames = make_animation(
        expected["source"], expected["driving"], *models[kind], False, progress=False, precision=precision
    )
    errors = np.abs(np.stack(frames) - expected["prediction_absolute"])
    assert 1e-4 < errors.max() < largest
    assert errors.mean() < mean


@pytest.mark.parametrize("kind", KINDS)
def test_int8_is_refused(kind, models):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    expected = EXPECTED[kind]
    with pytest.raises(InputError, match="int8 is for weights of the First Order Motion Model"):
        make_animation(
            expected["source"], expected["driving"], *models[kind], progress=False,
            precision="int8", engine="onnxruntime",
        )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_from_file_to_file_with_crop_and_paste_back(kind, models, tmp_path):
    rng = np.random.default_rng(0)
    photo = np.repeat(np.repeat(rng.integers(0, 256, (30, 40, 3), np.uint8), 4, 0), 4, 1)
    write_image(tmp_path / "photo.png", photo)
    driving = (EXPECTED[kind]["driving"] * 255).astype(np.uint8)
    save_video(tmp_path / "driving.mp4", driving, 25)
    count = animate_file(
        tmp_path / "photo.png",
        tmp_path / "driving.mp4",
        tmp_path / "result",
        *models[kind],
        framing=Framing(crop=(40, 20, 80, 80), crop_driving="none", paste_back=True),
        motion=Motion(relative=False, avd=kind == "mraa"),
        marking=Marking(mark=False),
        compute=Compute(precision="float32"),
        progress=False,
    )
    assert count == 3
    frames = [read_image(path) for path in sorted((tmp_path / "result").glob("*.png"))]
    assert len(frames) == 3
    differences = np.abs(frames[1].astype(int) - photo)
    assert differences[40:80, 60:100].mean() > 8, "the part moves"
    differences[20:100, 40:120] = 0
    assert not differences.any(), "the rest is the photo, pixel for pixel"


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_for_onnx(kind, models, tmp_path):
    onnxruntime = pytest.importorskip("fomm.engines.onnxruntime", reason="needs the extra onnx")
    files = export(tmp_path, *models[kind])
    assert {file.path.name for file in files} == {"keypoints.onnx", "source.onnx", "render.onnx"}
    assert max(file.largest_error for file in files) <= PICTURES
    engine = GraphEngine(for_inference(*models[kind]), (64, 64), None, onnxruntime.compile_graph)
    source, driving = pictures(kind)
    with torch.inference_mode():
        painted = engine.render(engine.encode(source), engine.detect(driving)).prediction
    assert difference(as_pictures(painted), EXPECTED[kind]["prediction_absolute"]) <= PICTURES
    with pytest.raises(InputError, match="int8 is for weights"):
        export(tmp_path, *models[kind], precision="int8")


def test_instance_norms_are_not_folded(models):
    block = models["tpsmm"][0].inpainting_network.first
    with pytest.raises(ValueError, match="cannot be folded"):
        fold_norm(block.conv, block.norm)


# -- files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_tensors_tell_model_and_architecture(kind, legacy, tmp_path):
    path = save_tiny(kind, tmp_path / "weights.pth.tar", legacy=legacy)
    checkpoint = read_checkpoint(path)
    inferred, written = checkpoint.family.infer(checkpoint.tensors, path), load_any_config(CONFIGS[kind])
    with NoWeights():
        ours, theirs = (checkpoint.family.build(config, checkpoint.tensors) for config in (inferred, written))
    for one, other in zip(ours, theirs, strict=True):
        assert shapes(one) == shapes(other)
    generator, _ = load_checkpoints(checkpoint_path=path, cpu=True)
    assert generator.frame_shape == (256, 256, 3)


def shapes(network: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("kind", KINDS)
def test_published_layouts_and_configurations(kind):
    layouts = json.loads((GOLDEN / kind / "state-dict-layout.json").read_text())
    configs = json.loads((GOLDEN / kind / "published-configs.json").read_text())
    assert len(configs) >= 4
    for data in configs.values():
        any_config_from_dict(data, kind)
    (name,) = layouts.keys() - {"_about"}
    family = FAMILIES[KINDS.index(kind) + 1]
    tensors = {
        f"{net}.{key}": torch.empty(shape, device="meta")
        for net, part in layouts[name].items()
        for key, shape in part.items()
    }
    with NoWeights():
        parts = family.parts(*family.build(any_config_from_dict(configs[name], kind), tensors))
    got = {f"{net}.{key}": size for net, part in parts.items() for key, size in shapes(part).items()}
    assert got == {key: tensor.shape for key, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("kind", "name", "side"),
    [("tpsmm", "vox-256", 256), ("tpsmm", "ted-384", 384), ("mraa", "ted384", 384), ("mraa", "mgif256", 256)],
)
def test_published_configurations_tell_the_size_by_their_name(kind, name, side, tmp_path):
    data = json.loads((GOLDEN / kind / "published-configs.json").read_text())[name]
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(data))
    assert load_any_config(path).dataset_params.frame_shape == (side, side, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_files_without_what_animation_does_not_need(kind, tmp_path):
    path = save_tiny(kind, tmp_path / "weights.pth.tar", "avd_network", "bg_predictor")
    networks = load_checkpoints(CONFIGS[kind], path, cpu=True)
    expected = EXPECTED[kind]
    frames = make_animation(expected["source"], expected["driving"], *networks, progress=False)
    assert difference(np.stack(frames), expected["prediction_relative_adapt"]) <= PICTURES
    with pytest.raises(InputError, match="avd needs an avd_network, and these weights have none"):
        make_animation(expected["source"], expected["driving"], *networks, avd=True)


def test_avd_is_refused_with_fomms_weights_and_with_the_mesh():
    picture = np.zeros((64, 64, 3), np.uint8)
    networks = load_checkpoints(GOLDEN / "tiny.yaml", GOLDEN / "tiny-cpk.pth.tar", cpu=True)
    with pytest.raises(InputError, match="avd needs an avd_network"):
        make_animation(picture, [picture], *networks, avd=True)
    with pytest.raises(InputError, match="does not go with avd"):
        Motion(driver="mesh", avd=True)


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("tpsmm", "inpainting_network"),
        ("tpsmm", "dense_motion_network"),
        ("tpsmm", "kp_detector"),
        ("mraa", "generator"),
    ],
)
def test_a_network_that_is_missing_is_named(kind, needed, tmp_path):
    path = save_tiny(kind, tmp_path / "weights.pth.tar", needed)
    with pytest.raises(CheckpointError, match=rf"holds no '{needed}'.*give weights of a"):
        load_checkpoints(checkpoint_path=path, cpu=True)


def test_a_configuration_of_another_model(files):
    with pytest.raises(CheckpointError, match=r"holds a Thin-Plate.*is of a model of Articulated"):
        load_checkpoints(CONFIGS["mraa"], files["tpsmm"], cpu=True)
    with pytest.raises(CheckpointError, match=r"holds a model of Articulated.*is of a First Order"):
        load_checkpoints(GOLDEN / "tiny.yaml", files["mraa"], cpu=True)
    with pytest.raises(CheckpointError, match=r"holds a First Order.*configuration is of a Thin-Plate"):
        load_checkpoints(CONFIGS["tpsmm"], GOLDEN / "tiny-cpk.pth.tar", cpu=True)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_for_fomms_weights_alone_says_so(kind, files, tmp_path):
    for config in (None, CONFIGS[kind]):
        with pytest.raises(CheckpointError, match="which can animate and no more"):
            convert(files[kind], tmp_path / "weights.safetensors", config_path=config)
    assert not list(tmp_path.iterdir())


def test_a_file_cut_short(files, tmp_path):
    for kind in KINDS:
        whole = files[kind].read_bytes()
        (tmp_path / "weights.pth.tar").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CheckpointError, match="damaged or incomplete"):
            load_checkpoints(checkpoint_path=tmp_path / "weights.pth.tar", cpu=True)


def test_key_points_that_are_not_finite(tmp_path):
    state = tiny_state("tpsmm")
    state["kp_detector"]["fg_encoder.fc.bias"][3] = float("nan")
    torch.save(state, tmp_path / "weights.pth.tar")
    with pytest.raises(CheckpointError, match=r"kp_detector\.fg_encoder\.fc\.bias holds values that are not"):
        load_checkpoints(checkpoint_path=tmp_path / "weights.pth.tar", cpu=True)


@pytest.mark.parametrize("kind", KINDS)
def test_an_avd_network_of_another_size_is_an_error(kind, tmp_path):
    state = tiny_state(kind)
    state["avd_network"]["decoder.9.bias"] = torch.zeros(7)
    torch.save(state, tmp_path / "weights.pth.tar")
    with pytest.raises(CheckpointError, match=r"mis-shaped avd_network\.decoder\.9\.bias is 7 instead of"):
        load_checkpoints(CONFIGS[kind], tmp_path / "weights.pth.tar", cpu=True)


@pytest.mark.parametrize(
    ("kind", "place", "value", "message"),
    [
        ("mraa", ("estimate_affine",), False, "estimate_affine is false"),
        ("mraa", ("bg_predictor_params", "bg_type"), "zebra", "bg_type should be zero"),
        ("tpsmm", ("dense_motion_params", "scale_factor"), 0.3, "scale_factor is 0.3"),
        ("tpsmm", ("generator_params", "num_down_blocks"), 9, "multi_mask does not go with"),
        ("tpsmm", ("common_params", "zebra"), 1, "unknown key"),
    ],
)
def test_configurations_that_cannot_be(kind, place, value, message):
    data = yaml.safe_load(CONFIGS[kind].read_text())
    section = data["model_params"]
    for key in place[:-1]:
        section = section[key]
    section[place[-1]] = value
    with pytest.raises(ConfigError, match=message):
        any_config_from_dict(data, "tiny.yaml")


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_that_do_not_fit_are_refused(kind, models):
    generator, detector = models[kind]
    sizes = [pixels for pixels in range(1, 129) if generator.takes(pixels) and detector.takes(pixels)]
    assert sizes == [32, 64, 96, 128]
