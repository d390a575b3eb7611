"""Source, driving video and result beside each other, as one video inside a notebook."""

import base64
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fomm.animation.frames import check_picture, iterate_frames, to_pictures, to_tensor, to_uint8
from fomm.errors import InputError
from fomm.marks import Marker
from fomm.media import save_video

FRAME_SECONDS = 0.05


class InlineVideo:
    """An mp4 that a notebook shows; ``to_html5_video()`` gives the HTML, as matplotlib's animations do."""

    def __init__(self, mp4: bytes, width: int, height: int) -> None:
        self.mp4 = mp4
        self.size = (height, width)

    def to_html5_video(self) -> str:
        """Return a ``<video>`` element that carries the file itself."""
        height, width = self.size
        data = base64.b64encode(self.mp4).decode("ascii")
        return (
            f'<video width="{width}" height="{height}" controls autoplay loop muted>'
            f'<source type="video/mp4" src="data:video/mp4;base64,{data}"></video>'
        )

    _repr_html_ = to_html5_video


def display(source: Any, driving: Iterable[Any], generated: Iterable[Any] | None = None) -> InlineVideo:
    """Show source, driving video and result beside each other, as one HTML5 video of 50 ms a frame.

    With a result the video carries an invisible mark, as those that ``animate_file`` writes do.

    Args:
        source: HxWx3, uint8 or floats in [0, 1].
        driving, generated: frames of the same kinds; all are shown at the source's height.

    Raises:
        InputError: a picture cannot be used, or there are no frames.
    """
    picture = to_uint8(check_picture(source, "source"))
    columns = [list(iterate_frames(driving))]
    if generated is not None:
        columns.append(list(iterate_frames(generated)))
    if not min(map(len, columns)):
        raise InputError("there are no frames to display")
    height = picture.shape[0]
    rows = [
        np.concatenate([picture, *(_at_height(frame, height) for frame in frames)], axis=1)
        for frames in zip(*columns, strict=False)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "display.mp4"
        mark = None if generated is None else Marker()
        save_video(path, rows, fps=1 / FRAME_SECONDS, mark=mark)
        return InlineVideo(path.read_bytes(), rows[0].shape[1], height)


def _at_height(frame: np.ndarray, height: int) -> np.ndarray:
    width = max(1, round(frame.shape[1] * height / frame.shape[0]))
    return to_uint8(to_pictures(to_tensor(frame, (height, width), torch.device("cpu")))[0])
