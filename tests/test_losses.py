import math

import numpy as np
import pytest
import torch
from golden_data import GOLDEN, assert_near, tiny_networks
from kinks import explain_difference, watch_kinks

from fomm.config import LossWeights
from fomm.model import Keypoints
from fomm.training import losses
from fomm.training.dataset import Batch
from fomm.training.flow import Flow
from fomm.training.losses import ImagePyramid, RandomTransform
from fomm.training.objective import Networks, discriminator_losses, generator_losses
from fomm.training.terms import Criteria

pytestmark = pytest.mark.smoke

WEIGHTS = LossWeights(
    generator_gan=1,
    discriminator_gan=1,
    feature_matching=(10, 10, 10),
    perceptual=(0, 0, 0, 0, 0),
    equivariance_value=10,
    equivariance_jacobian=10,
)


def training_numbers(align_corners: bool) -> dict[str, np.ndarray]:
    """Return what the published code gives for one training step."""
    suffix = "" if align_corners else "-align-corners-false"
    golden = np.load(GOLDEN / f"tiny-training-expected{suffix}.npz")
    return {name.removesuffix("_align_corners_false"): golden[name] for name in golden}


@pytest.mark.parametrize("align_corners", [True, False])
def test_one_step_gives_the_published_losses(align_corners):
    wanted = training_numbers(align_corners)
    generator, kp_detector, discriminator = (n.train() for n in tiny_networks(align_corners))
    networks = Networks(generator, kp_detector, discriminator)
    batch = Batch(torch.from_numpy(wanted["source"]), torch.from_numpy(wanted["driving"]))
    transform = RandomTransform(
        torch.from_numpy(wanted["transform_theta"]),
        torch.from_numpy(wanted["transform_control_params"]),
        align_corners=align_corners,
    )
    assert_near(transform.warp_image(batch.driving), wanted["transformed_frame"], 1e-4, "transformed frame")
    criteria = Criteria(WEIGHTS, ImagePyramid((1, 0.5), 3))
    terms, output = generator_losses(networks, batch, criteria, transform)
    assert output is not None
    assert_near(output.generated[1], wanted["prediction"], 1e-4, "prediction")
    names = {"generator_gan": "gen_gan"}
    for name, term in terms.items():
        assert_near(term, wanted[f"loss_{names.get(name, name)}"], 1e-4, name)
    assert terms.keys() == {
        "generator_gan", "feature_matching", "equivariance_value", "equivariance_jacobian"
    }  # fmt: skip
    terms = discriminator_losses(discriminator, output, criteria)
    assert_near(terms["discriminator_gan"], wanted["loss_disc_gan"], 1e-4, "discriminator_gan")


@pytest.mark.parametrize("align_corners", [True, False])
def test_one_step_gives_the_published_gradients(align_corners, monkeypatch):
    wanted = training_numbers(align_corners)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # float64 throughout
    generator, kp_detector, discriminator = (n.train().double() for n in tiny_networks(align_corners))
    arrays = {name: torch.from_numpy(array).double() for name, array in wanted.items() if array.ndim}
    transform = RandomTransform(
        arrays["transform_theta"], arrays["transform_control_params"], align_corners=align_corners
    )
    with watch_kinks(monkeypatch) as kinks:
        terms, _ = generator_losses(
            Networks(generator, kp_detector, discriminator),
            Batch(arrays["source"], arrays["driving"]),
            Criteria(WEIGHTS, ImagePyramid((1, 0.5), 3).double()),
            transform,
        )
    torch.stack(list(terms.values())).sum().backward(retain_graph=True)
    names = [name for name in wanted if name.startswith("grad_")]
    assert len(names) == 7
    parameters = [
        kp_detector.get_parameter(name[8:])
        if name.startswith("grad_kp.")
        else generator.get_parameter(name[5:])
        for name in names
    ]
    error, flips = explain_difference(kinks, parameters, [wanted[name] for name in names])
    assert error <= 1e-3, f"off by {error:.1e} of the largest entry, with {flips} kinks on the other side"
    assert flips <= 12, f"{flips} kinks on the other side"


def test_the_transform_s_jacobian_is_its_derivative():
    rng = torch.Generator().manual_seed(0)
    transform = RandomTransform.sample(
        2, sigma_affine=0.05, sigma_tps=0.05, points_tps=5, rng=rng, device=torch.device("cpu")
    )
    points = torch.rand(2, 7, 2, generator=rng) * 1.8 - 0.9
    jacobian = transform.jacobian_at(points)
    points.requires_grad_()
    for axis in range(2):
        (gradient,) = torch.autograd.grad(transform.map_points(points)[..., axis].sum(), points)
        torch.testing.assert_close(jacobian[:, :, axis], gradient, atol=1e-5, rtol=1e-4)


def test_a_pure_shift_moves_points_and_picture_together():
    theta = torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]])
    transform = RandomTransform(theta, torch.zeros(1, 1, 25))
    torch.testing.assert_close(transform.map_points(torch.zeros(1, 1, 2)), torch.tensor([[[0.5, 0.0]]]))
    torch.testing.assert_close(transform.jacobian_at(torch.zeros(1, 1, 2)), torch.eye(2).view(1, 1, 2, 2))
    image = torch.arange(5.0).view(1, 1, 1, 5).expand(1, 1, 5, 5)  # half of [-1, 1] is one pixel of five
    torch.testing.assert_close(transform.warp_image(image)[0, 0, 0, :4], torch.arange(1.0, 5))


def test_equivariance_is_zero_for_points_that_obey():
    rng = torch.Generator().manual_seed(1)
    transform = RandomTransform.sample(
        1, sigma_affine=0.1, sigma_tps=0.01, points_tps=5, rng=rng, device=torch.device("cpu")
    )
    transformed = Keypoints(torch.rand(1, 4, 2) - 0.5, torch.eye(2).expand(1, 4, 2, 2))
    driving = Keypoints(transform.map_points(transformed.value), transform.jacobian_at(transformed.value))
    value, jacobian = losses.equivariance_losses(driving, transformed, transform)
    assert value < 1e-6
    assert jacobian < 1e-5
    value, jacobian = losses.equivariance_losses(
        Keypoints(driving.value), Keypoints(driving.value), transform
    )
    assert value > 1e-3
    assert jacobian is None


def test_pixel_losses_by_hand():
    real = {1: torch.zeros(1, 1, 2, 2), 0.5: torch.zeros(1, 1, 1, 1)}
    generated = {1: torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]), 0.5: torch.full((1, 1, 1, 1), 0.5)}
    assert losses.reconstruction_loss(real, generated) == pytest.approx(0.25 + 0.5)
    weight = torch.tensor([[[[2.0, 0.0], [0.0, 0.0]]]])
    assert losses.weighted_l1(real[1], generated[1], weight) == pytest.approx(0.5)
    box = losses.box_map(torch.tensor([[[-0.1, -1.0], [1.0, 0.1]]]), 3, 3)
    assert box[0, 0].tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 0]]
    spot = losses.spot_map(torch.tensor([[[0.0, 0.0]]]), 3, 3, variance=0.5)
    assert spot[0, 0, 1, 1] == 1
    assert spot[0, 0, 1, 2] == pytest.approx(math.exp(-1))


def test_edges_by_hand():
    real = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    shifted = real + 0.3  # has the same edges
    assert losses.edge_loss(real, shifted) == pytest.approx(0, abs=1e-6)
    assert losses.edge_loss(real, torch.full((1, 1, 2, 2), 0.5)) == 1  # across; down there are none


def test_contrast_counts_blur_and_not_a_shift():
    real = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    moved, blurred = real.roll(2, -1), torch.nn.functional.avg_pool2d(real, 5, 1, 2)
    assert losses.contrast_loss(real, real) == 0
    assert losses.contrast_loss(real, real + 0.3) < 1e-6
    shift, blur = (losses.contrast_loss(real, other) for other in (moved, blurred))
    assert 4 * shift < blur, f"{shift} and {blur}"
    assert (real - moved).abs().mean() > (real - blurred).abs().mean()  # a loss of pixels prefers the blur
    flat = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    losses.contrast_loss(real, flat).backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


def test_source_details_count_where_the_source_shows():
    random = torch.Generator().manual_seed(0)
    moved, blurred = torch.rand(1, 3, 32, 32, generator=random), torch.full((1, 3, 32, 32), 0.5)
    left = torch.zeros(1, 1, 32, 32)
    left[..., :16] = 1
    assert losses.source_detail_loss(moved + 0.3, moved, left) < 1e-6  # brightness is none
    assert losses.source_detail_loss(blurred, moved, left) > 0.01
    kept = torch.cat((moved[..., :20], blurred[..., 20:]), -1)  # a detail takes in 3 pixels on either side
    assert losses.source_detail_loss(kept, moved, left) < 1e-6


def test_the_flow_at_a_point_by_hand():
    deformation = torch.zeros(1, 3, 3, 2)
    deformation[0, 1, 2] = torch.tensor([0.25, -0.5])  # seen at x = 1, y = 0
    driving = torch.tensor([[[1.0, 0.0], [1.5, 0.0]]])
    source = torch.tensor([[[0.0, 0.0], [0.0, 0.0]]])
    loss = losses.deformation_loss(deformation, source, driving)
    assert loss == pytest.approx((0.25 + 0.5) / 2)  # the second point lies outside and does not count
    assert losses.deformation_loss(deformation, source, driving + 3) == 0


def test_perceptual_loss_by_hand():
    class Doubles(torch.nn.Module):
        def forward(self, image):
            return [image, 2 * image]

    real, generated = {1: torch.zeros(1, 3, 4, 4)}, {1: torch.full((1, 3, 4, 4), 0.5)}
    loss = losses.perceptual_loss(Doubles(), real, generated, (10, 100))
    assert loss == pytest.approx(10 * 0.5 + 100 * 1.0)


def test_adversarial_losses_by_hand():
    ones, zeros = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    real, painted = {1: ([ones, ones], ones)}, {1: ([zeros, ones], zeros)}
    assert losses.generator_gan_loss(painted) == 1
    assert losses.discriminator_gan_loss(real, painted) == 0
    assert losses.discriminator_gan_loss(painted, real) == 2
    assert losses.feature_matching_loss(real, painted, (10, 5)) == 10


def test_flow_and_occlusion_by_hand():
    """Two pixels in a row: the first is seen and off by 0.2 and 0.4, the second hidden, and then unknown."""
    deformation = torch.tensor([[[[0.2, 0.4], [9.0, 9.0]]]])
    seen, known = torch.tensor([[[True, False]]]), torch.tensor([[[True, True]]])
    flow = Flow(torch.zeros(1, 1, 2, 2), seen, known)
    assert losses.flow_loss(deformation, flow).item() == pytest.approx((0.3 + 0.3 * 9) / 1.3)
    shown = torch.tensor([[[[0.5, 0.8]]]])
    wanted = (-math.log(0.5) - math.log(0.2)) / 2
    assert losses.occlusion_loss(shown, flow).item() == pytest.approx(wanted, rel=1e-5)
    unknown = flow._replace(known=torch.tensor([[[True, False]]]))
    assert losses.occlusion_loss(shown, unknown).item() == pytest.approx(-math.log(0.5), rel=1e-5)
    assert losses.flow_loss(deformation, unknown).item() == pytest.approx(0.3)
    nothing = flow._replace(known=torch.zeros(1, 1, 2, dtype=torch.bool))
    assert losses.flow_loss(deformation, nothing) == losses.occlusion_loss(shown, nothing) == 0
    weight = torch.tensor([[[[3.0, 1.0]]]])
    both = flow._replace(seen=torch.tensor([[[True, True]]]))
    assert losses.flow_loss(deformation, both, weight).item() == pytest.approx((3 * 0.3 + 9) / 4)
    wanted = -(3 * math.log(0.5) + math.log(0.2)) / 4
    assert losses.occlusion_loss(shown, flow, weight).item() == pytest.approx(wanted, rel=1e-5)
