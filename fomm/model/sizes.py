"""Which sizes of pictures the networks can take."""

from fomm.model.base import Detector, Generator
from fomm.model.blocks import AntiAliasInterpolation2d, Hourglass


def nearest_size(generator: Generator, kp_detector: Detector, size: tuple[int, int]) -> tuple[int, int]:
    """Return the size (height, width) nearest to ``size`` that the networks take, often ``size`` itself.

    A length that is halved n times has to be a multiple of 2^n, or it would not be doubled to the same length
    again. Of two lengths that are equally near, the larger is taken.
    """
    height, width = (_nearest_length(generator, kp_detector, length) for length in size)
    return height, width


def _nearest_length(generator: Generator, kp_detector: Detector, length: int) -> int:
    distance = 0
    while True:
        for pixels in (length + distance, length - distance):
            if pixels >= 1 and generator.takes(pixels) and kp_detector.takes(pixels):
                return pixels
        distance += 1


def downsample_length(pixels: int, down: AntiAliasInterpolation2d | None) -> int:
    """Count every n-th pixel, beginning with the first."""
    return pixels if down is None else -(-pixels // down.step)


def fits_hourglass(pixels: int, hourglass: Hourglass) -> bool:
    """Return whether the hourglass gives back what it takes."""
    return pixels % 2 ** len(hourglass.encoder.down_blocks) == 0
