"""What augmentation does to the pictures and to the true points on them."""

import pytest
import torch

from fomm.config import (
    AugmentationParams,
    CameraParams,
    CropParams,
    DegradeParams,
    FlipParams,
    JitterParams,
    ResizeParams,
)
from fomm.model import Keypoints
from fomm.training import augmentation
from fomm.training.dataset import Batch


def dot_batch(x: int, y: int) -> Batch:
    """Return a bright dot on black at pixel x, y of 33, and its true place."""
    image = torch.zeros(1, 3, 33, 33)
    image[..., y, x] = 1
    truth = Keypoints(torch.tensor([[[x / 16 - 1, y / 16 - 1]]]), torch.eye(2).view(1, 1, 2, 2))
    return Batch(image, image.clone(), truth, truth)


@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_true_points_follow_the_moving_camera(shared):
    params = CameraParams(rotation=0.3, zoom=(0.7, 1.2), shift=0.1, shared=shared)
    for seed in range(10):
        rng = torch.Generator().manual_seed(seed)
        batch = augmentation.augment(dot_batch(20, 12), AugmentationParams(camera_param=params), rng)
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
    assert torch.equal(batch.source, batch.driving)
    assert not torch.equal(batch.source, image)
    assert batch.source.min() >= 0
    assert batch.source.max() <= 1


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
    assert torch.equal(blurred[0], blurred[1])
    assert blurred[0].std() < 0.8 * image.std()


def test_mirroring_is_for_pairs_without_truth():
    image = torch.arange(8.0).expand(64, 3, 8, 8) / 8
    params = AugmentationParams(flip_param=FlipParams(horizontal_flip=True))
    batch = augmentation.augment(Batch(image, image), params, torch.Generator().manual_seed(0))
    mirrored = (batch.source[:, 0, 0, 0] > 0).sum()
    assert 16 < mirrored < 48
    assert torch.equal(batch.source, batch.driving)
    dot = dot_batch(20, 12)
    assert torch.equal(augmentation.augment(dot, params, torch.Generator()).source, dot.source)


class Fixed:
    """Stands for ``torch.rand``: gives the numbers it was made with, whatever is asked."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def __call__(self, *_, generator) -> torch.Tensor:
        return torch.tensor([self.numbers.pop(0)])


def ramp(length: int) -> torch.Tensor:
    """Return two frames, 2x1x1xHxW: value is x + 10 y, and the second twice that."""
    x = torch.arange(float(length))
    frame = x + 10 * x[:, None]
    return torch.stack((frame, 2 * frame))[:, None, None]


def test_a_frame_made_larger_is_cropped_where_chance_says(monkeypatch):
    """4x4 pixels become 8x8; of the 5 windows of 4 chance takes the one at row 4 and the one at column 1."""
    monkeypatch.setattr(torch, "rand", Fixed(1.0, 0.9, 0.3))
    truth = Keypoints(torch.zeros(2, 1, 1, 2), torch.eye(2).expand(2, 1, 1, 2, 2))
    images, moved = augmentation.resize_and_crop(
        ramp(4), truth, ResizeParams((1.0, 2.0)), (4, 4), torch.Generator()
    )
    # pixel j of 8 lies at (j + 0.5) / 2 - 0.5 of 4: rows 4-7 at 1.75, 2.25, 2.75, and 3 for what lies beyond
    rows, columns = torch.tensor([1.75, 2.25, 2.75, 3.0]), torch.tensor([0.25, 0.75, 1.25, 1.75])
    expected = columns + 10 * rows[:, None]
    error = max((images[0] - expected).abs().max(), (images[1] - 2 * expected).abs().max())
    assert error < 1e-4, error
    # the middle lies at pixel 4 of 8 from edge to edge: 3 and 0 of the window's 4 are x 1/2 and y -1
    assert torch.equal(moved.value, torch.tensor([0.5, -1.0]).expand(2, 1, 1, 2))
    assert torch.equal(moved.jacobian, 2 * truth.jacobian)


def test_a_frame_made_smaller_stands_in_the_middle_of_its_repeated_edge(monkeypatch):
    """6x6 pixels become 3x3, every second of which lies between two; before come 1 and after 2 of padding."""
    monkeypatch.setattr(torch, "rand", Fixed(0.0, 0.7, 0.7))
    truth = Keypoints(torch.tensor([[-1.0, 1.0]]).expand(2, 1, 1, 2), torch.eye(2).expand(2, 1, 1, 2, 2))
    images, moved = augmentation.resize_and_crop(
        ramp(6), truth, ResizeParams((0.5, 1.0)), (6, 6), torch.Generator()
    )
    line = torch.tensor([0.5, 0.5, 2.5, 4.5, 4.5, 4.5])
    error = (images[0] - (line + 10 * line[:, None])).abs().max()
    assert error < 1e-4, error
    torch.testing.assert_close(moved.value[0, 0, 0], torch.tensor([1 / 3 - 1, 4 / 3 - 1]))  # edges at 1 and 4
    assert torch.equal(moved.jacobian, 0.5 * truth.jacobian)


def test_true_points_follow_resize_and_crop():
    params = AugmentationParams(resize_param=ResizeParams((0.8, 1.3)), crop_param=CropParams((33, 33)))
    places = set()
    for seed in range(20):
        image = torch.zeros(1, 3, 33, 33)
        image[..., 17, 15] = 1
        centre = torch.tensor([15.5, 17.5]) / 33 * 2 - 1  # pixel i covers [i, i + 1)
        truth = Keypoints(centre.view(1, 1, 2), torch.eye(2).view(1, 1, 2, 2))
        batch = augmentation.augment(
            Batch(image, image, truth, truth), params, torch.Generator().manual_seed(seed)
        )
        assert torch.equal(batch.source, batch.driving)
        assert batch.source.shape == image.shape
        weight = batch.source[0, 0] / batch.source[0, 0].sum()
        axis = (torch.arange(33) + 0.5) / 33 * 2 - 1
        found = torch.stack(((weight.sum(0) * axis).sum(), (weight.sum(1) * axis).sum()))
        error = (found - batch.truth_source.value[0, 0]).abs().max()
        assert error < 0.035, f"seed {seed}: the dot is {error:.3f} from its true place"
        places.add(tuple(batch.truth_driving.value[0, 0].tolist()))
    assert len(places) > 10


def test_a_crop_of_the_whole_frame_changes_nothing():
    image = torch.rand(2, 3, 16, 12, generator=torch.Generator().manual_seed(0))
    params = AugmentationParams(crop_param=CropParams((16, 12)))
    batch = augmentation.augment(Batch(image, image), params, torch.Generator().manual_seed(0))
    torch.testing.assert_close(batch.source, image, atol=1e-5, rtol=0)


def test_a_seed_means_the_same_numbers_bit_for_bit():
    image = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    params = AugmentationParams(
        FlipParams(True, True),
        ResizeParams((0.9, 1.1)),
        CropParams((16, 16)),
        JitterParams(0.1, 0.1, 0.1, 0.1),
        CameraParams(0.1, (0.9, 1.1), 0.05, 0.5),
        DegradeParams(0.5, 0.1),
    )
    one, same, other = (
        augmentation.augment(Batch(image, image), params, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one.source, same.source)
    assert torch.equal(one.driving, same.driving)
    assert not torch.equal(one.source, other.source)
    assert not torch.equal(one.source, one.driving)


def test_sharpening_strengthens_details_by_up_to_what_is_asked():
    """A stripe of one pixel, far from the border: its kernel's centre is 7/27 of it (three means of 3)."""
    images = torch.full((2, 500, 1, 16, 16), 0.5)
    images[..., 8] += 0.1
    sharp = augmentation.degrade(images, DegradeParams(sharpen=2), torch.Generator().manual_seed(0))
    assert torch.equal(sharp[0], sharp[1])
    amount = (sharp - images)[0, :, 0, 8, 8] / (0.1 * (1 - 7 / 27))
    assert amount.min() > -1e-4
    assert amount.max() < 2 + 1e-4
    assert amount.mean().item() == pytest.approx(1, abs=0.1)
    assert amount.std() > 0.5
    # brightness, and so what is even, stays
    torch.testing.assert_close(sharp[..., :4], images[..., :4])
    torch.testing.assert_close(sharp.mean((2, 3, 4)), images.mean((2, 3, 4)))


def test_noise_is_as_strong_as_asked():
    """Uniform strength up to 0.1 over pairs: the variance of all is 0.1 squared over 3."""
    grey = torch.full((2, 500, 3, 8, 8), 0.5)
    noisy = augmentation.degrade(grey, DegradeParams(noise=0.1), torch.Generator().manual_seed(0))
    assert (noisy - grey).var().item() == pytest.approx(0.01 / 3, rel=0.1)
    assert not torch.equal(noisy[0], noisy[1])
    strength = (noisy - grey).std((0, 2, 3, 4))
    assert strength.min() < 0.01
    assert strength.max() > 0.09


def test_grey_pictures_have_no_colours_to_jitter():
    image = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    params = AugmentationParams(jitter_param=JitterParams(0.1, 0.1, 0.5, 0.5))
    batch = augmentation.augment(Batch(image, image), params, torch.Generator().manual_seed(0))
    assert batch.source.shape == image.shape
    assert (batch.source - image).abs().max() < 0.3


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives_but_for_the_noise():
    image = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    params = AugmentationParams(
        FlipParams(True, True),
        ResizeParams((0.9, 1.1)),
        CropParams((16, 16)),
        JitterParams(0.1, 0.1, 0.1, 0.1),
        CameraParams(0.1, (0.9, 1.1), 0.05, 0.5),
    )
    expected, found = (
        augmentation.augment(
            Batch(image.to(device), image.to(device)), params, torch.Generator().manual_seed(1)
        )
        for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(found.driving.cpu(), expected.driving, atol=1e-4, rtol=0)
    noisy = augmentation.degrade(
        torch.zeros(2, 3, 3, 16, 16).cuda(), DegradeParams(1, 0.1), torch.Generator()
    )
    assert noisy.is_cuda
    assert noisy.std() > 0
