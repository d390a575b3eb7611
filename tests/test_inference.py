"""The networks for inference against the plain ones, and their blocks one by one."""

import json

import pytest
import torch
import torch.nn.functional as F
from golden_data import EXPECTED, GOLDEN, SUFFIX, assert_near, tiny_networks
from lively import lively, small_networks

from fomm.checkpoint import load_checkpoints
from fomm.engines.fused import Bottleneck, Up
from fomm.engines.inference import InferenceNetworks, Rendered, sample_rows
from fomm.engines.quantization import quantize
from fomm.engines.winograd import Scratch, Winograd, cook_toom_matrices
from fomm.heads.dataset import render_clip
from fomm.model import Keypoints, KPDetector, OcclusionAwareGenerator, movement_scale, relative_motion
from fomm.model.blocks import ResBlock2d, UpBlock2d
from fomm.model.geometry import warp

PUBLISHED = json.loads((GOLDEN / "published-configs.json").read_text())


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(params=["AVX2", "AVX512"])
def processor(request, monkeypatch):
    """Run the test as on two processors; on the first the bottleneck goes by Winograd's tiles."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    return request.param


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    return float((one - other).abs().max())


def pictures(count: int, height: int, width: int) -> torch.Tensor:
    """Smooth ones, as photos are: shrinking and warping keep their strength."""
    random = torch.Generator().manual_seed(count)
    noise = torch.rand(count, 3, height // 4, width // 4, generator=random)
    return F.interpolate(noise, (height, width), mode="bicubic").clamp(0, 1)


def plain(generator, kp_detector, source, driving):
    motion = generator.dense_motion_network(source, kp_detector(source), kp_detector(driving))
    return Rendered(
        generator.decode(generator.encode(source), motion, source), motion.deformation, motion.occlusion_map
    )


def check_equal(generator, kp_detector, height=64, width=64, frames=2):
    source, driving = pictures(1, height, width), pictures(frames, height, width).flip(3)
    expected, deformation, occlusion_map = plain(generator, kp_detector, source, driving)
    assert float(expected.std()) > 0.01, "the picture is too dull to tell anything"
    networks = InferenceNetworks(generator, kp_detector)
    encoded, kp = networks.encode(source), networks.detect(driving)
    wanted = kp_detector(driving)
    assert difference(kp.value, wanted.value) < 1e-5
    if wanted.jacobian is not None:
        assert difference(kp.jacobian, wanted.jacobian) < 1e-5
    result = networks.render(encoded, kp)
    assert difference(result.deformation, deformation) < 1e-4
    assert (result.occlusion_map is None) == (occlusion_map is None)
    if occlusion_map is not None:
        assert difference(result.occlusion_map, occlusion_map) < 1e-4
    error = difference(result.prediction, expected)
    assert error <= 1e-4, f"off by {error:.1e}"


@pytest.mark.smoke
@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("align_corners", [True, False])
def test_the_tiny_network_gives_the_published_numbers(align_corners):
    generator, kp_detector, _ = (network.eval() for network in tiny_networks(align_corners))
    source, driving = (torch.from_numpy(EXPECTED[name]) for name in ("source", "driving"))
    networks = InferenceNetworks(generator, kp_detector)
    encoded = networks.encode(source[None].permute(0, 3, 1, 2))
    kp = networks.detect(driving.permute(0, 3, 1, 2))
    assert_near(kp.value, EXPECTED["kp_driving_value"], 1e-4, "value")
    assert_near(kp.jacobian, EXPECTED["kp_driving_jacobian"], 1e-4, "jacobian")
    initial = kp.map(lambda t: t[:1])
    scale = movement_scale(encoded.keypoints, initial)
    motions = {
        "absolute": kp,
        "relative": relative_motion(encoded.keypoints, kp, initial),
        "relative_adapt": relative_motion(encoded.keypoints, kp, initial, scale),
    }
    for name, points in motions.items():
        result = networks.render(encoded, points).prediction.permute(0, 2, 3, 1)
        assert_near(result, EXPECTED[f"prediction_{name}{SUFFIX[align_corners]}"], 1e-4, name)


@pytest.mark.smoke
@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"align_corners": False},
        {"bicubic": True},
        {"details": 0.5},
        {"details": 0.5, "estimate_occlusion_map": False, "estimate_jacobian": False},
        {"estimate_jacobian": False},
        {"estimate_occlusion_map": False},
        {"kp_single_jacobian_map": True, "kp_pad": 3},
        {"kp_scale_factor": 1, "motion_scale_factor": 1},
        {"motion_scale_factor": 0.25},  # deformation and occlusion are resized
        {"num_down_blocks": 0},
        {"num_down_blocks": 1, "num_bottleneck_blocks": 0},
    ],
    ids=str,
)
def test_every_option_gives_the_plain_networks_picture(options):
    check_equal(*small_networks(**options))


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize(("height", "width"), [(48, 80), (96, 48)])
def test_sizes_that_are_no_multiple_of_the_tiles(height, width):
    """The bottleneck sees 6 and 10 of 48 and 80 pixels: tiles of 4 stand over."""
    check_equal(*small_networks(num_down_blocks=3, motion_num_blocks=2, kp_num_blocks=2), height, width)


@pytest.mark.smoke
@pytest.mark.usefixtures("processor")
def test_the_weights_that_ship():
    generator, kp_detector = load_checkpoints(cpu=True)
    frames = (
        torch.from_numpy(render_clip(5, 0, 0, 3, generator.frame_shape[0], step=8).frames).permute(0, 3, 1, 2)
        / 255
    )
    networks = InferenceNetworks(generator, kp_detector)
    result = networks.render(networks.encode(frames[:1]), networks.detect(frames[1:])).prediction
    error = difference(result, plain(generator, kp_detector, frames[:1], frames[1:]).prediction)
    assert error <= 1e-4, f"off by {error:.1e}"


@pytest.mark.slow
@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_published_configuration_at_its_size(name):
    params = PUBLISHED[name]["model_params"]
    common = params["common_params"]
    generator = OcclusionAwareGenerator(**common, **params["generator_params"])
    kp_detector = KPDetector(**common, **params["kp_detector_params"])
    lively(generator, kp_detector)
    check_equal(generator, kp_detector, 256, 256, frames=1)


def test_sixteen_bits_keep_the_picture():
    """Key points and sampling stay in float32, so what is lost is rounding of colours alone."""
    generator, kp_detector = load_checkpoints(cpu=True)
    frames = (
        torch.from_numpy(render_clip(5, 1, 0, 2, generator.frame_shape[0], step=8).frames).permute(0, 3, 1, 2)
        / 255
    )
    expected = plain(generator, kp_detector, frames[:1], frames[1:]).prediction
    for dtype in (torch.bfloat16, torch.float16):
        networks = InferenceNetworks(generator, kp_detector, dtype)
        encoded = networks.encode(frames[:1])
        assert encoded.features.dtype == torch.float32
        result = networks.render(encoded, networks.detect(frames[1:])).prediction
        decibels = -10 * float((result - expected).square().mean().log10())
        assert decibels >= 40, f"{dtype}: {decibels:.1f} dB"


@pytest.mark.filterwarnings("ignore")  # what tracing says of itself
def test_what_a_tracer_writes_down_is_the_same_network():
    generator, kp_detector = small_networks()
    source, driving = pictures(1, 64, 64), pictures(3, 64, 64)
    networks = InferenceNetworks(generator, kp_detector)
    encoded, kp = networks.encode(source), networks.detect(driving)

    class Render(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.networks = networks

        def forward(self, value, jacobian):
            return networks.render(encoded, Keypoints(value, jacobian)).prediction

    traced = torch.jit.trace(Render(), (kp.value[:1], kp.jacobian[:1]), check_trace=False)
    error = difference(traced(kp.value, kp.jacobian), networks.render(encoded, kp).prediction)
    assert error <= 1e-5, f"off by {error:.1e}"


def test_the_trained_networks_stay_as_they_are():
    generator, kp_detector = small_networks()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    networks = InferenceNetworks(generator, kp_detector)
    networks.render(networks.encode(pictures(1, 64, 64)), networks.detect(pictures(1, 64, 64)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())
    assert all(parameter.requires_grad for parameter in generator.parameters())
    assert not list(networks.parameters())
    assert not networks.training


def test_tooms_matrices_correlate():
    """Six numbers and three taps by hand: 1*1 + 2*0 - 3*1 and so on."""
    analysis, kernels, synthesis = cook_toom_matrices()
    numbers = torch.tensor([1.0, 2, 3, 5, 8, 13], dtype=torch.float64)
    taps = torch.tensor([1.0, 0, -1], dtype=torch.float64)
    result = synthesis @ ((kernels @ taps) * (analysis @ numbers))
    torch.testing.assert_close(result, torch.tensor([-2.0, -3, -5, -8], dtype=torch.float64))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 2), (2, 200)])
def test_winograd_is_the_convolution(rows, columns):
    """Also where one row of tiles is more than a band."""
    random = torch.Generator().manual_seed(0)
    padded = torch.randn(4 * rows + 2, 4 * columns + 2, 5, generator=random)
    weight, bias = torch.randn(7, 5, 3, 3, generator=random), torch.randn(7, generator=random)
    bands = Winograd(weight, bias).bands(padded, Scratch(padded))
    result = torch.cat([band.clone() for _, band in bands]).flatten(2, 3).flatten(0, 1)
    expected = F.conv2d(padded.permute(2, 0, 1)[None], weight, bias)[0].permute(1, 2, 0)
    assert difference(result, expected) < 1e-4


def test_winograds_rounding_is_no_larger_than_a_usual_convolutions():
    random = torch.Generator().manual_seed(0)
    padded = torch.rand(34, 34, 128, generator=random)
    weight, bias = torch.randn(64, 128, 3, 3, generator=random) / 34, torch.zeros(64)
    bands = Winograd(weight, bias).bands(padded, Scratch(padded))
    result = torch.cat([band.clone() for _, band in bands]).flatten(2, 3).flatten(0, 1)
    exact = F.conv2d(padded.permute(2, 0, 1)[None].double(), weight.double())[0].permute(1, 2, 0)
    error = float((result - exact).square().mean().sqrt() / exact.std())
    assert error < 2e-6, f"{error:.1e} of the signal"


def test_a_doubled_pixels_convolution_is_four_of_the_pixel():
    block = UpBlock2d(5, 3)
    lively(block)
    picture, skip = torch.randn(2, 5, 6, 4), torch.randn(2, 2, 12, 8)
    result = Up(block, torch.float32)(picture, skip)
    torch.testing.assert_close(result, torch.cat((block(picture), skip), 1), atol=1e-5, rtol=1e-5)


@pytest.mark.smoke
@pytest.mark.parametrize("size", [(8, 8), (5, 7), (3, 13)])
def test_the_bottleneck(size, processor):
    blocks = [ResBlock2d(6) for _ in range(3)]
    lively(*blocks)
    pictures = torch.randn(2, 6, *size)
    expected = torch.nn.Sequential(*blocks)(pictures)
    bottleneck, given = Bottleneck(blocks, torch.float32), pictures.clone()
    assert bottleneck.uses_winograd == (processor == "AVX2")
    error = difference(bottleneck(pictures), expected) / float(expected.std())
    assert error < 1e-5, f"off by {error:.1e} of the signal"
    assert torch.equal(pictures, given)  # other levels of a network may still need them


@pytest.mark.smoke
@pytest.mark.parametrize("bicubic", [False, True])
@pytest.mark.parametrize("align_corners", [True, False])
def test_rows_summed_are_the_warp(align_corners, bicubic):
    """Also where the grid leaves the picture, a little and by far."""
    random = torch.Generator().manual_seed(0)
    features = torch.randn(1, 5, 6, 9, generator=random)
    grid = torch.randn(3, 4, 7, 2, generator=random)
    grid[0, 0, 0], grid[1, 1, 1], grid[2, 2, 2] = 1e9, -1e9, 1
    settings = {"align_corners": align_corners, "bicubic": bicubic}
    factor = torch.rand(3, 1, 4, 7, generator=random)
    expected = warp(features.expand(3, -1, -1, -1), grid, **settings)
    for factors, wanted in ((None, expected), (factor, expected * factor)):
        result = sample_rows(features, grid, factors, **settings)
        assert difference(result, wanted) < 1e-5


def test_later_changes_of_the_weights_are_not_seen():
    networks = small_networks()
    source, driving = pictures(1, 64, 64), pictures(2, 64, 64)
    inference = InferenceNetworks(*networks)
    before = inference.render(inference.encode(source), inference.detect(driving)).prediction
    with torch.inference_mode(False):
        for network in networks:
            for tensor in network.state_dict().values():
                tensor.mul_(0)
    after = inference.render(inference.encode(source), inference.detect(driving)).prediction
    assert torch.equal(before, after)


@pytest.mark.smoke
def test_all_convolutions_of_the_decoder_get_8_bits(processor):
    """Also those that run fused with what follows them, where no hook sees what they read."""
    networks = InferenceNetworks(*small_networks())
    source, driving = pictures(1, 64, 64), pictures(2, 64, 64)
    encoded = networks.encode(source)
    quantized = quantize(networks, [(encoded, networks.detect(driving))])
    kinds = [type(module).__name__ for module in quantized.decoder.modules()]  # each holds its convolution
    assert kinds.count("_QuantizedConvolution") == kinds.count("Convolution") > 3
    plain = quantized.render(encoded, networks.detect(driving)).prediction
    assert difference(plain, networks.render(encoded, networks.detect(driving)).prediction) < 0.1
