"""Pictures as arrays, and as the tensors that the networks take."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fomm.engines.gpu import to_device
from fomm.errors import InputError, shown
from fomm.media.images import read_image

Picture = str | os.PathLike[str] | np.ndarray  # a file, or HxWx3, uint8 or floats in [0, 1]
_ROUNDING = 1e-2  # how far resizing may have carried a float beyond [0, 1]


def check_picture(picture: Any, what: str) -> np.ndarray:
    """Return the picture as HxWx3, uint8 or float32 in [0, 1].

    Args:
        picture: an array, uint8 or floats in [0, 1].
        what: the argument's name, for the error.

    Raises:
        InputError: another shape, kind or range, or values that are not finite.
    """
    try:
        array = np.asarray(picture)
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as reason:
        raise InputError(
            f"{what} is no array: {shown(reason)}; expected height x width x 3 (RGB)"
        ) from reason
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        hint = (
            "; drop the alpha channel with [..., :3]" if array.ndim == 3 and array.shape[2:] == (4,) else ""
        )
        raise InputError(f"{what} has shape {array.shape}; expected height x width x 3 (RGB){hint}")
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{what} is of {array.dtype}; expected uint8, or floats in [0, 1]")
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{what} holds values that are not finite; expected floats in [0, 1]")
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise InputError(
            f"{what} holds floats from {low:g} to {high:g}; expected [0, 1]: divide by 255, or pass uint8"
        )
    return array.astype(np.float32, copy=False)


def to_tensor(picture: np.ndarray, size: tuple[int, int], device: torch.device) -> Tensor:
    """Convert a checked picture to 1x3xHxW float32 in [0, 1], resized (antialiased) if need be."""
    return to_batch([picture], size, device)


def to_batch(pictures: Sequence[np.ndarray], size: tuple[int, int], device: torch.device) -> Tensor:
    """Convert B checked pictures as ``to_tensor`` does: Bx3xHxW.

    Pictures of the right size go to the device together.
    """
    kinds = {(picture.shape[:2], picture.dtype) for picture in pictures}
    if len(pictures) > 1 and (len(kinds) > 1 or pictures[0].shape[:2] != size):  # large ones one by one
        return torch.cat([to_tensor(picture, size, device) for picture in pictures])
    tensor = to_device(torch.from_numpy(np.stack(pictures)), device).permute(0, 3, 1, 2)
    tensor = tensor / 255 if tensor.dtype == torch.uint8 else tensor.float()
    if tensor.shape[2:] != size:  # not by media.resize: on the device, and of floats
        tensor = F.interpolate(tensor, size, mode="bilinear", antialias=True, align_corners=False)
    return tensor.clamp(0, 1)


def to_pictures(batch: Tensor) -> np.ndarray:
    """Convert Bx3xHxW to BxHxWx3 float32, on the CPU."""
    return batch.permute(0, 2, 3, 1).float().cpu().numpy()


def to_bytes(batch: Tensor) -> np.ndarray:
    """Convert Bx3xHxW in [0, 1] to BxHxWx3 uint8, on the CPU.

    Bytes leave the device, which are a quarter of the floats.
    """
    planes = (batch * 255).clamp_(0, 255).round_().byte().cpu().numpy()
    pictures = np.empty((len(planes), *planes.shape[2:], planes.shape[1]), np.uint8)
    for channel in range(planes.shape[1]):  # several times as fast as to turn all axes at once
        pictures[..., channel] = planes[:, channel]
    return pictures


def to_uint8(picture: np.ndarray) -> np.ndarray:
    """Convert a checked picture to uint8, rounded."""
    if picture.dtype == np.uint8:
        return picture
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def take_picture(picture: Picture, what: str, *, alpha: bool = False) -> tuple[str, np.ndarray]:
    """Return a picture's name for errors, and its pixels, HxWx3 uint8; one in memory is called ``what``.

    With ``alpha`` those of a file that is transparent anywhere are HxWx4. Raises MediaError, InputError.
    """
    if isinstance(picture, np.ndarray):
        return what, to_uint8(check_picture(picture, what))
    return str(picture), read_image(picture, alpha=alpha)


def iterate_frames(video: Any) -> Iterator[np.ndarray]:
    """Yield the frames of an array TxHxWx3, a list or an iterator of frames, each checked."""
    if isinstance(video, np.ndarray) and video.ndim != 4:
        raise InputError(f"driving_video has shape {video.shape}; expected frames x height x width x 3")
    if not isinstance(video, Iterable):
        raise InputError(
            f"driving_video is a {type(video).__name__}; expected an array, a list or an iterator"
        )
    for index, frame in enumerate(video):
        yield check_picture(frame, f"driving_video[{index}]")
