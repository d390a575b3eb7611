import json
import math

import pytest
import torch
from golden_data import EXPECTED, GOLDEN, SUFFIX, assert_near, tiny_networks
from lively import small_networks
from torch.nn.functional import avg_pool2d

from fomm.model import (
    Keypoints,
    KPDetector,
    MultiScaleDiscriminator,
    OcclusionAwareGenerator,
    movement_scale,
    relative_motion,
)
from fomm.model.blocks import AntiAliasInterpolation2d
from fomm.model.dense_motion import REACH, DenseMotion, heatmap_differences, meet_points, sparse_motions
from fomm.model.geometry import coordinate_grid, finest_details
from fomm.training.losses import discriminator_gan_loss

pytestmark = pytest.mark.smoke

LAYOUT = json.loads((GOLDEN / "state-dict-layout.json").read_text())
PUBLISHED = json.loads((GOLDEN / "published-configs.json").read_text())


def images(name: str) -> torch.Tensor:
    array = torch.from_numpy(EXPECTED[name])
    return (array[None] if array.dim() == 3 else array).permute(0, 3, 1, 2)


@pytest.mark.parametrize("align_corners", [True, False])
@torch.no_grad()
def test_the_tiny_network_gives_the_published_numbers(align_corners):
    generator, kp_detector, discriminator = (n.eval() for n in tiny_networks(align_corners))
    suffix = SUFFIX[align_corners]
    source, driving = images("source"), images("driving")
    kp_source, kp_driving = kp_detector(source), kp_detector(driving)
    for name, kp in (("source", kp_source), ("driving", kp_driving)):
        assert_near(kp.value, EXPECTED[f"kp_{name}_value"], 1e-4, f"{name} value")
        assert_near(kp.jacobian, EXPECTED[f"kp_{name}_jacobian"], 1e-4, f"{name} jacobian")

    output = generator(source, kp_source=kp_source, kp_driving=kp_driving.map(lambda t: t[1:2]))
    for name in ("mask", "deformation", "occlusion_map", "sparse_deformed"):
        assert_near(output[name], EXPECTED[f"frame1_{name}{suffix}"], 1e-4, name)

    features = generator.encode(source)  # one source for four frames
    initial = kp_driving.map(lambda t: t[:1])
    motions = {
        "absolute": kp_driving,
        "relative": relative_motion(kp_source, kp_driving, initial),
        "relative_adapt": relative_motion(kp_source, kp_driving, initial, movement_scale(kp_source, initial)),
    }
    for name, kp in motions.items():
        motion = generator.dense_motion_network(source, kp_source, kp)
        prediction = generator.decode(features, motion).permute(0, 2, 3, 1)
        assert_near(prediction, EXPECTED[f"prediction_{name}{suffix}"], 1e-4, name)
    _, prediction_map = discriminator({1: driving[:1]}, initial)[1]
    assert_near(prediction_map, EXPECTED["disc_map_1"], 1e-4, "discriminator")


@pytest.mark.parametrize("name", sorted(LAYOUT))
def test_names_and_shapes_are_the_published_ones(name):
    params = PUBLISHED[name]["model_params"]
    common = params["common_params"]
    with torch.device("meta"):
        networks = {
            "kp_detector": KPDetector(**common, **params["kp_detector_params"]),
            "generator": OcclusionAwareGenerator(**common, **params["generator_params"]),
            "discriminator": MultiScaleDiscriminator(**common, **params["discriminator_params"]),
        }
    for network, module in networks.items():
        own = {key: list(value.shape) for key, value in module.state_dict().items()}
        assert own == LAYOUT[name][network]


@torch.no_grad()
def test_details_go_where_the_motion_goes_as_far_as_they_are_shown():
    torch.manual_seed(0)
    generator, _ = small_networks(details=0.5)
    source = torch.rand(1, 3, 32, 32)
    features, still = torch.zeros_like(generator.encode(source)), coordinate_grid(16, 16, source)[None]
    painted = generator.paint(features)
    assert ((painted > 0.3) & (painted < 0.7)).all()  # so that no sum leaves [0, 1]
    shown = torch.ones(1, 1, 16, 16)
    shown[..., :8] = 0
    two_pixels = torch.tensor([2 / 15, 0.0])
    motion = DenseMotion(still + two_pixels, shown, torch.empty(0), torch.empty(0))
    added = generator.decode(features, motion, source) - painted
    assert added[..., :14].abs().max() < 1e-6  # between two cells what is shown rises
    wanted = 0.5 * finest_details(source).roll(-2, -1)
    assert_near(added[..., 18:-2], wanted[..., 18:-2].numpy(), 1e-5, "details")
    with pytest.raises(ValueError, match="decode needs the source too"):
        generator.decode(features, motion)


@torch.no_grad()
def test_training_sees_no_details():
    generator, kp_detector = small_networks()
    source = torch.rand(1, 3, 32, 32)
    kp = kp_detector(source)
    results = []
    for generator.details in (0.0, 0.5):
        results.append(generator(source, kp_driving=kp, kp_source=kp)["prediction"])
    assert torch.equal(*results)


def small_detector(**options) -> KPDetector:
    settings = {"num_kp": 3, "num_channels": 3, "block_expansion": 4, "max_features": 8, "num_blocks": 2}
    return KPDetector(**(settings | {"temperature": 0.1} | options)).eval()


@torch.no_grad()
def test_key_point_options():
    image = torch.rand(2, 3, 32, 32)
    assert small_detector()(image).jacobian is None
    kp = small_detector(estimate_jacobian=True)(image)
    assert kp.value.shape == (2, 3, 2)
    assert kp.value.abs().max() <= 1
    torch.testing.assert_close(kp.jacobian, torch.eye(2).expand(2, 3, 2, 2))  # where training starts
    single = small_detector(estimate_jacobian=True, single_jacobian_map=True)
    assert single.jacobian.weight.shape[0] == 4
    assert single(image).jacobian.shape == (2, 3, 2, 2)
    assert small_detector(scale_factor=0.5).down.weight.shape == (3, 1, 5, 5)
    assert small_detector(scale_factor=1).down is None
    padded = small_detector(pad=3)
    shapes = []
    padded.kp.register_forward_hook(lambda module, args, output: shapes.append(output.shape[2:]))
    padded(image)
    assert shapes == [(32, 32)]


@torch.no_grad()
def test_a_single_hot_pixel_is_the_key_point():
    detector = small_detector(num_kp=1, pad=3, temperature=0.01)
    detector.predictor = torch.nn.Identity()
    detector.kp = torch.nn.Identity()  # the image is the heat map
    heat = torch.zeros(1, 1, 5, 9)
    heat[0, 0, 1, 6] = 1  # x = 2 * 6 / 8 - 1, y = 2 * 1 / 4 - 1
    torch.testing.assert_close(detector(heat).value, torch.tensor([[[0.5, -0.5]]]))


def test_still_points_mean_a_still_picture():
    """Source and driving points alike: every motion is the identity, in both settings of the jacobian."""
    kp = Keypoints(
        torch.rand(2, 4, 2) * 2 - 1, torch.eye(2).expand(2, 4, 2, 2) + 0.1 * torch.rand(2, 4, 2, 2)
    )
    for points in (kp, Keypoints(kp.value)):
        motions = sparse_motions(points, points, 8, 6)
        identity = motions[:, :1].expand_as(motions)
        torch.testing.assert_close(motions, identity, atol=1e-5, rtol=0)
        assert heatmap_differences(points, points, 8, 6, 0.01).abs().max() == 0


def test_sparse_motion_moves_the_driving_point_to_the_source_point():
    driving = Keypoints(torch.tensor([[[0.0, 0.0]]]), torch.eye(2).view(1, 1, 2, 2))
    source = Keypoints(torch.tensor([[[0.25, -0.5]]]), 2 * torch.eye(2).view(1, 1, 2, 2))
    motion = sparse_motions(source, driving, 3, 3)[0, 1]
    torch.testing.assert_close(motion[1, 1], torch.tensor([0.25, -0.5]))
    torch.testing.assert_close(motion[1, 2], torch.tensor([2.25, -0.5]))  # one to the right counts twice


def test_relative_motion_by_hand():
    source = Keypoints(torch.tensor([[[0.5, 0.0]]]), 2 * torch.eye(2).view(1, 1, 2, 2))
    initial = Keypoints(torch.tensor([[[0.0, 0.0]]]), 4 * torch.eye(2).view(1, 1, 2, 2))
    driving = Keypoints(torch.tensor([[[0.1, 0.2]]]), 8 * torch.eye(2).view(1, 1, 2, 2))
    moved = relative_motion(source, driving, initial, scale=0.5)
    torch.testing.assert_close(moved.value, torch.tensor([[[0.55, 0.1]]]))
    torch.testing.assert_close(moved.jacobian, 4 * torch.eye(2).view(1, 1, 2, 2))
    values = [Keypoints(kp.value) for kp in (source, driving, initial)]
    assert relative_motion(*values).jacobian is None  # without jacobians the values move alone


def test_movement_scale_by_hand():
    triangle = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    assert movement_scale(Keypoints(2 * triangle), Keypoints(triangle)) == pytest.approx(2)
    assert movement_scale(Keypoints(triangle), Keypoints(0 * triangle)) == 1


@pytest.mark.parametrize("scale", [1, 0.5, 0.25, 0.125])
def test_anti_alias_keeps_a_flat_picture_flat(scale):
    shrink = AntiAliasInterpolation2d(3, scale)
    out = shrink(torch.full((1, 3, 64, 64), 0.5))
    assert out.shape[-1] == 64 * scale
    centre = out[..., out.shape[2] // 4 : -out.shape[2] // 4, out.shape[3] // 4 : -out.shape[3] // 4]
    torch.testing.assert_close(centre, torch.full_like(centre, 0.5))  # zeros come in at the border alone


@torch.no_grad()
def test_generator_takes_other_shapes_and_has_no_occlusion_where_not_asked():
    generator = OcclusionAwareGenerator(
        num_kp=2,
        num_channels=3,
        block_expansion=4,
        max_features=8,
        num_down_blocks=2,
        num_bottleneck_blocks=1,
        dense_motion_params={"block_expansion": 4, "max_features": 8, "num_blocks": 2, "scale_factor": 0.5},
    ).eval()
    kp = Keypoints(torch.zeros(2, 2, 2))
    output = generator(torch.rand(2, 3, 32, 48), kp_source=kp, kp_driving=kp)
    assert output["prediction"].shape == (2, 3, 32, 48)
    assert "occlusion_map" not in output
    assert output["deformation"].shape == (2, 16, 24, 2)


def small_discriminator(**options) -> MultiScaleDiscriminator:
    settings = {"num_kp": 2, "num_channels": 3, "block_expansion": 4, "max_features": 8, "num_blocks": 2}
    return MultiScaleDiscriminator(**settings, sn=True, **options)


@torch.no_grad()
def test_discriminator_options():
    discriminator = small_discriminator(scales=(1, 0.5), use_kp=True)
    assert "discs.0-5.conv.weight_orig" in discriminator.state_dict()
    pyramid = {1: torch.rand(1, 3, 32, 32), 0.5: torch.rand(1, 3, 16, 16)}
    maps = discriminator(pyramid, Keypoints(torch.zeros(1, 2, 2)))
    assert len(maps[1][0]) == 2
    assert maps[0.5][1].shape[1] == 1
    with pytest.raises(ValueError, match="needs key points"):
        discriminator(pyramid)


def test_a_discriminator_that_sees_details_learns_what_a_blur_is():
    """With raw pictures and instance norms it says 0.5 to everything for as long."""
    torch.manual_seed(0)
    sharp = torch.rand(16, 1, 3, 1, 1) + 0.1 * torch.randn(16, 1, 3, 24, 24)
    blurred = avg_pool2d(sharp[:, 0], 3, 1, 1)[:, None]
    verdicts = {}
    for high_pass in (True, False):
        torch.manual_seed(1)
        discriminator = small_discriminator(high_pass=high_pass)
        optimizer = torch.optim.Adam(discriminator.parameters(), 1e-3, betas=(0.5, 0.999))
        for step in range(40):
            real, painted = (discriminator({1: images[step % 16]}) for images in (sharp, blurred))
            optimizer.zero_grad()
            discriminator_gan_loss(real, painted).backward()
            optimizer.step()
        real, painted = (
            torch.stack([discriminator({1: i})[1][1].mean() for i in s]) for s in (sharp, blurred)
        )
        verdicts[high_pass] = (real - painted).mean().item()
    assert verdicts[True] > 0.5 > 0.1 > abs(verdicts[False]), verdicts


def test_a_flow_meets_points():
    """It goes through points on pixels, is as it was far away; a point alone makes a Gaussian."""
    still = coordinate_grid(33, 33, torch.zeros(1, dtype=torch.float64))[None]
    driving = torch.tensor([[[0.0, 0.0], [0.5, -0.25], [0.0, 0.5]]], dtype=torch.float64)
    source = driving + torch.tensor([[0.1, 0.0], [0.0, -0.05], [-0.02, 0.03]])
    flow = meet_points(still, source, driving)
    for point, wanted in zip(driving[0], source[0], strict=True):
        column, row = ((point + 1) * 16).long().tolist()
        assert flow[0, row, column] == pytest.approx(wanted, abs=1e-3)
    assert (flow - still)[0, -1].abs().max() < 1e-6
    alone = meet_points(still, source[:, :1], driving[:, :1])
    height = float(alone[0, 16, 16, 0])
    assert float(alone[0, 16, 18, 0] - still[0, 16, 18, 0]) == pytest.approx(
        height * math.exp(-(0.125**2) / (2 * REACH**2))
    )
