import numpy as np
import pytest
import torch
from golden_data import GOLDEN, assert_near, tiny_networks, tiny_params

from fomm import Animator, InputError, load_checkpoints, make_animation
from fomm.checkpoint import build_networks
from fomm.config import load_config
from fomm.engines.inference import InferenceNetworks
from fomm.model import KPDetector, OcclusionAwareGenerator
from fomm.model.sizes import nearest_size


def networks(*, kp_detector=(), motion=(), **generator):
    """Build the tiny networks with other settings and random weights."""
    params = tiny_params()
    common = params["common_params"]
    params["generator_params"].update(generator)
    params["generator_params"]["dense_motion_params"].update(motion)
    params["kp_detector_params"].update(kp_detector)
    torch.manual_seed(0)
    built = OcclusionAwareGenerator(**common, **params["generator_params"])
    return built.eval(), KPDetector(**common, **params["kp_detector_params"]).eval()


@pytest.mark.parametrize(
    ("size", "nearest"),
    [
        # a quarter of it is halved three times: multiples of 32
        ((64, 64), (64, 64)),
        ((64, 96), (64, 96)),
        ((60, 1), (64, 32)),
        ((47, 48), (32, 64)),  # 15 below and 17 above; 16 both
    ],
)
def test_the_tiny_network(size, nearest):
    assert nearest_size(*tiny_networks()[:2], size) == nearest


def test_a_key_point_needs_a_map_that_holds_the_convolution():
    """Halved once and not shrunk, 8 is the first even number of pixels from the 7 of the convolution on."""
    halved_once = {"num_blocks": 1, "scale_factor": 1}
    assert nearest_size(*networks(kp_detector=halved_once, motion=halved_once), (1, 3)) == (8, 8)
    padded = {**halved_once, "pad": 3}
    assert nearest_size(*networks(kp_detector=padded, motion=halved_once), (1, 3)) == (4, 4)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_down_blocks": 0},  # nothing but the first of four pixels counts: 61 to 64 are shrunk to 16
        {"num_down_blocks": 3, "kp_detector": {"num_blocks": 1}, "motion": {"num_blocks": 2}},
        {"kp_detector": {"scale_factor": 1, "num_blocks": 1, "pad": 3}, "motion": {"scale_factor": 0.5}},
    ],
)
def test_it_tells_what_the_networks_do(settings):
    """Just where it says so, the networks run and give back the size that they were given."""
    built = networks(**settings)
    run = InferenceNetworks(*built)
    taken = []
    with torch.inference_mode():
        for length in range(1, 72):
            picture = torch.zeros(1, 3, length, 64)
            try:
                source = run.encode(picture)
                works = run.render(source, source.keypoints).prediction.shape == picture.shape
            except RuntimeError:
                works = False
            assert (nearest_size(*built, (length, 64)) == (length, 64)) == works, length
            taken += [length] * works
    assert 64 in taken
    assert len(taken) < 40


def test_a_source_of_a_wrong_size_is_explained():
    """Networks that were built by hand take the picture as it is."""
    built = networks()
    with pytest.raises(InputError, match=r"source_image is 90x60 .*nearest that they can is 96x64: resize"):
        Animator(np.zeros((60, 90, 3), np.uint8), *built)
    frames = make_animation(np.zeros((64, 96, 3)), [np.zeros((20, 20, 3))], *built, progress=False)
    assert frames[0].shape == (64, 96, 3)


def load(tmp_path, height, width):
    config = (GOLDEN / "tiny.yaml").read_text()
    assert "  - 64\n  - 64\n" in config
    (tmp_path / "other.yaml").write_text(config.replace("  - 64\n  - 64\n", f"  - {height}\n  - {width}\n"))
    return load_checkpoints(tmp_path / "other.yaml", GOLDEN / "tiny-cpk.pth.tar", cpu=True)


def test_a_configuration_with_a_wrong_size_is_explained(tmp_path):
    words = r"frame_shape of the configuration asks for 90x60 .* is 96x64: write \[64, 96, 3\] there"
    with pytest.raises(InputError, match=words):
        Animator(np.zeros((64, 64, 3), np.uint8), *load(tmp_path, 60, 90))


@pytest.mark.parametrize("size", [(64, 96), (128, 32)])
def test_a_network_that_is_not_square(tmp_path, size):
    """The numbers of the networks as they were trained, at a size of its own."""
    generator, kp_detector = load(tmp_path, *size)
    source, *driving = np.random.default_rng(0).random((4, *size, 3), np.float32)
    got = make_animation(source, driving, generator, kp_detector, relative=False, progress=False)

    def tensor(picture):
        return torch.from_numpy(picture).permute(2, 0, 1)[None]

    with torch.inference_mode():
        kp_source = kp_detector(tensor(source))
        for frame, made in zip(driving, got, strict=True):
            wanted = generator(tensor(source), kp_detector(tensor(frame)), kp_source)["prediction"]
            assert_near(made, wanted[0].permute(1, 2, 0).numpy(), 1e-4, f"at {size}")


@pytest.mark.slow
def test_the_configuration_for_512_pixels_runs_as_it_is():
    """With weights as they come: from the YAML file to a frame of 512x512."""
    config = load_config("vox-512")
    generator, kp_detector = (network.eval() for network in build_networks(config))
    generator.frame_shape = config.dataset_params.frame_shape
    photo = np.random.default_rng(0).random((700, 600, 3), np.float32)
    (frame,) = Animator(photo, generator, kp_detector).animate([photo[::2, ::2]])
    assert frame.shape == (512, 512, 3)
    assert np.isfinite(frame).all()
