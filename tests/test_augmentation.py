"""What augmentation does to the pictures and to the true points on them."""

import pytest
import torch

from fomm.config import AugmentationParams, CameraParams, DegradeParams, FlipParams, JitterParams
from fomm.model import Keypoints
from fomm.training import augmentation
from fomm.training.dataset import Batch


def dot_batch(x: int, y: int) -> Batch:
    """A bright dot on black at pixel x, y of 33, and its true place."""
    image = torch.zeros(1, 3, 33, 33)
    image[..., y, x] = 1
    truth = Keypoints(torch.tensor([[[x / 16 - 1, y / 16 - 1]]]), torch.eye(2).view(1, 1, 2, 2))
    return Batch(image, image.clone(), truth, truth)


@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_true_points_follow_the_moving_camera(shared):
    params = CameraParams(rotation=0.3, zoom=(0.7, 1.2), shift=0.1, shared=shared)
    for seed in range(10):
        chance = torch.Generator().manual_seed(seed)
        batch = augmentation.augment(dot_batch(20, 12), AugmentationParams(camera_param=params), chance)
        for image, truth in ((batch.source, batch.truth_source), (batch.driving, batch.truth_driving)):
            weight = image[0, 0] / image[0, 0].sum()
            axis = torch.linspace(-1, 1, 33)
            found = torch.stack(((weight.sum(0) * axis).sum(), (weight.sum(1) * axis).sum()))
            error = (found - truth.value[0, 0]).abs().max()
            assert error < 0.04, f"seed {seed}: the dot is {error:.3f} from its true place"
        assert torch.equal(batch.source, batch.driving) == (shared == 1.0)


def test_colour_jitter_is_the_same_for_both_frames_and_stays_in_range():
    image = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    params = AugmentationParams(
        jitter_param=JitterParams(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.2)
    )
    batch = augmentation.augment(Batch(image, image), params, torch.Generator().manual_seed(1))
    assert torch.equal(batch.source, batch.driving) and not torch.equal(batch.source, image)
    assert batch.source.min() >= 0 and batch.source.max() <= 1


def test_a_third_of_a_turn_of_hue_swaps_the_colours():
    red = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    turned = augmentation.turn_hue(red, torch.full((1, 1, 1), 1 / 3)).flatten()
    torch.testing.assert_close(turned, torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)
    grey = torch.full((3, 1, 1), 0.4)
    torch.testing.assert_close(augmentation.turn_hue(grey, torch.full((1, 1, 1), 0.2)), grey)


def test_degrading_blurs_or_leaves_alone():
    image = (torch.rand(2, 3, 16, 16) > 0.5).float()
    same = augmentation.degrade(
        torch.stack((image, image)), DegradeParams(), torch.Generator().manual_seed(0)
    )
    assert torch.equal(same[0], image)
    blurred = augmentation.degrade(
        torch.stack((image, image)), DegradeParams(blur=1), torch.Generator().manual_seed(0)
    )
    assert torch.equal(blurred[0], blurred[1]) and blurred[0].std() < 0.8 * image.std()


def test_mirroring_is_for_pairs_without_truth():
    image = torch.arange(8.0).expand(64, 3, 8, 8) / 8
    params = AugmentationParams(flip_param=FlipParams(horizontal_flip=True))
    batch = augmentation.augment(Batch(image, image), params, torch.Generator().manual_seed(0))
    mirrored = (batch.source[:, 0, 0, 0] > 0).sum()
    assert 16 < mirrored < 48 and torch.equal(batch.source, batch.driving)
    dot = dot_batch(20, 12)
    assert torch.equal(augmentation.augment(dot, params, torch.Generator()).source, dot.source)
