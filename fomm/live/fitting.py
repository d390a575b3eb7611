"""How large a live photo is shown: as large as keeps up with the frames that drive it."""

import math
import time
import warnings
from collections.abc import Callable

from fomm.animation.frames import to_bytes
from fomm.animation.painter import AnimatedFrames
from fomm.animation.photo import MovedPhoto

# Of the time between two frames, the share that networks and photo may take together. The rest is for finding
# the driver's face, and for whatever shows the result.
_SHARE_OF_INTERVAL = 0.5
# Where the networks alone take longer, no size keeps up: then the photo takes this share of their time.
_SHARE_OF_NETWORKS = 0.25
_STEP = 16  # pixels: the longer side is a multiple of it
_MOST_TIMES, _ENOUGH_SECONDS = 8, 0.4  # how often the work is measured: until either is reached


def fit_to_rate(photo: MovedPhoto, name: str, rate: float) -> None:
    """Shrink the photo to what keeps up with ``rate`` frames a second, and warn if that changes its size.

    A frame of it is painted and pasted a few times, and the time measured. The time of pasting grows with the
    number of pixels. The longer side does not become smaller than the networks' picture.
    """
    if not photo.pastes:
        return
    networks = _measure_seconds(lambda: [to_bytes(part.rendered.prediction) for part in _paint(photo)])
    pasting = _measure_seconds(lambda: photo.finish_frame(None, _paint(photo))) - networks
    allowed = max(_SHARE_OF_INTERVAL / rate - networks, _SHARE_OF_NETWORKS * networks)
    if pasting <= allowed:
        return
    natural = photo.size
    side = int(max(natural) * math.sqrt(allowed / pasting)) // _STEP * _STEP
    side = max(side, *photo.network_size)
    if side >= max(natural):
        return
    height, width = (max(1, round(length * side / max(natural))) for length in natural)
    photo.scale_to((height, width))
    warnings.warn(
        f"{name} is shown at {width}x{height} pixels in place of its {natural[1]}x{natural[0]}: "
        f"more would show fewer of {rate:g} frames a second; --size says otherwise",
        stacklevel=3,
    )


def _paint(photo: MovedPhoto) -> tuple[AnimatedFrames, ...]:
    """Return the parts of the photo, painted, and changed all over: what does not change is not pasted."""
    painted = (next(animator.painter.paint(animator.keypoints)) for animator in photo.animators)
    return tuple(_invert(part) for part in painted)


def _invert(part: AnimatedFrames) -> AnimatedFrames:
    rendered = part.rendered
    return part._replace(rendered=rendered._replace(prediction=1 - rendered.prediction))


def _measure_seconds(work: Callable[[], object]) -> float:
    """Return how long the work takes: the least of some times, after a first one that does not count."""
    work()
    times: list[float] = []
    while len(times) < _MOST_TIMES and (len(times) < 2 or sum(times) < _ENOUGH_SECONDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
