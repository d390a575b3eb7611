"""Which sizes of pictures the networks can take."""

from fomm.model.blocks import AntiAliasInterpolation2d, Hourglass
from fomm.model.generator import OcclusionAwareGenerator
from fomm.model.keypoints import KPDetector


def nearest_size(
    generator: OcclusionAwareGenerator, kp_detector: KPDetector, size: tuple[int, int]
) -> tuple[int, int]:
    """Return the size (height, width) nearest to ``size`` that the networks take, often ``size`` itself.

    A length that is halved n times has to be a multiple of 2^n, or it would not be doubled to the same length
    again. And the key points' map has to be large enough for its 7x7 convolution. Of two lengths that are
    equally near, the larger is taken.
    """
    height, width = (_nearest_length(generator, kp_detector, length) for length in size)
    return height, width


def _nearest_length(generator: OcclusionAwareGenerator, kp_detector: KPDetector, length: int) -> int:
    motion = generator.dense_motion_network
    kernel, padding = kp_detector.kp.kernel_size[0], int(kp_detector.kp.padding[0])

    def fits(pixels: int) -> bool:
        if pixels < 1 or pixels % 2 ** len(generator.down_blocks):
            return False
        points = _downsample_length(pixels, kp_detector.down)
        return (
            points + 2 * padding >= kernel
            and _fits_hourglass(points, kp_detector.predictor)
            and _fits_hourglass(_downsample_length(pixels, motion.down), motion.hourglass)
        )

    distance = 0
    while True:
        for pixels in (length + distance, length - distance):
            if fits(pixels):
                return pixels
        distance += 1


def _downsample_length(pixels: int, down: AntiAliasInterpolation2d | None) -> int:
    """Count every n-th pixel, beginning with the first."""
    return pixels if down is None else -(-pixels // down.step)


def _fits_hourglass(pixels: int, hourglass: Hourglass) -> bool:
    return pixels % 2 ** len(hourglass.encoder.down_blocks) == 0
