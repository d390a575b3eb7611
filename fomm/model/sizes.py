"""Which sizes of pictures the networks can take."""

from fomm.model.blocks import AntiAliasInterpolation2d, Hourglass
from fomm.model.generator import OcclusionAwareGenerator
from fomm.model.keypoints import KPDetector


def nearest_size(
    generator: OcclusionAwareGenerator, kp_detector: KPDetector, size: tuple[int, int]
) -> tuple[int, int]:
    """The size (height, width) that the networks take and that is nearest to ``size``, often ``size`` itself.

    What is halved has to be even, or it would not be doubled to the same size again; and the key points' map
    has to have a place for one convolution at least. Of two lengths that are equally near, the larger.
    """
    height, width = (_nearest_length(generator, kp_detector, length) for length in size)
    return height, width


def _nearest_length(generator: OcclusionAwareGenerator, kp_detector: KPDetector, length: int) -> int:
    motion = generator.dense_motion_network
    kernel, padding = kp_detector.kp.kernel_size[0], int(kp_detector.kp.padding[0])

    def is_taken(pixels: int) -> bool:
        if pixels < 1 or pixels % 2 ** len(generator.down_blocks):
            return False
        points = _shrunk(pixels, kp_detector.down)
        return (
            points + 2 * padding >= kernel
            and _is_halved(points, kp_detector.predictor)
            and _is_halved(_shrunk(pixels, motion.down), motion.hourglass)
        )

    distance = 0
    while True:
        for pixels in (length + distance, length - distance):
            if is_taken(pixels):
                return pixels
        distance += 1


def _shrunk(pixels: int, down: AntiAliasInterpolation2d | None) -> int:
    """Every n-th pixel, beginning with the first."""
    return pixels if down is None else -(-pixels // down.step)


def _is_halved(pixels: int, hourglass: Hourglass) -> bool:
    return pixels % 2 ** len(hourglass.encoder.down_blocks) == 0
