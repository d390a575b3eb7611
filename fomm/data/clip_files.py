"""Read single frames of a clip, without decoding the rest where its format allows that.

For two frames of a clip, this much is read:

- of a folder of pictures, the two pictures;
- of an .npz that is not compressed, the bytes of the two frames;
- of a compressed .npz, everything up to the second frame;
- of an .mp4, .mov, .mkv or .webm at a constant rate, from a key frame shortly before the first frame to the
  second;
- of other videos, everything up to the second frame;
- of frames side by side in one picture, everything.
"""

import os
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fomm.data.clips import (
    check_frames,
    count_in_strip,
    read_arrays,
    read_header,
    split_strip,
)
from fomm.errors import InputError, MediaError
from fomm.media.folder import list_pictures
from fomm.media.images import IMAGE_FORMATS, read_image
from fomm.media.paths import VIDEO_SUFFIXES

# Decoding begins so many frames before the first wanted one. After a seek some frames around the key frame
# cannot be decoded, as they are coded in another order than shown. H.264 and its kin allow 16 such frames.
_LEAD = 16
_GAP = 200  # frames; over a larger gap a new seek is faster than decoding on


class ClipFile(ABC):
    """One clip, whose frames are read by their numbers.

    Attributes: ``path``; ``count``, its number of frames, at least 1, found without decoding them.
    """

    path: Path
    count: int

    def read(self, numbers: Sequence[int]) -> np.ndarray:
        """Return the frames of these numbers, each in 0 .. count - 1, in this order: NxHxWx3 uint8 RGB.

        Raises:
            InputError: there are no such frames.
            MediaError: the clip is damaged.
        """
        wanted, places = np.unique(np.asarray(numbers, np.int64), return_inverse=True)
        if not len(wanted) or wanted[0] < 0 or wanted[-1] >= self.count:
            raise InputError(f"{self.path} has the frames 0 to {self.count - 1}, not {list(numbers)}")
        return self._read(wanted.tolist())[places]

    @abstractmethod
    def _read(self, wanted: list[int]) -> np.ndarray:
        """Return the frames of these numbers, which ascend: NxHxWx3 uint8."""


def open_clip(path: Path, aspect: float = 1.0) -> ClipFile:
    """Open a clip; ``aspect`` is the width over the height of a frame, for frames side by side.

    Raises:
        MediaError: the clip is damaged or holds something else.
    """
    if path.is_dir():
        return _Pictures(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _Arrays(path)
    if suffix in VIDEO_SUFFIXES:
        return _Video(path)
    return _Strip(path, aspect)


class _Pictures(ClipFile):
    """A folder of numbered pictures."""

    def __init__(self, path: Path) -> None:
        self.path = path
        files, _, self._size = list_pictures(path)
        self.count = len(files)
        # As bytes, which take little memory: many clips are open at once.
        self._names = np.array([os.fsencode(file.name) for file in files])

    def _read(self, wanted: list[int]) -> np.ndarray:
        files = [self.path / os.fsdecode(name) for name in self._names[wanted]]
        frames = [read_image(file) for file in files]
        for file, frame in zip(files, frames, strict=True):
            if frame.shape[:2] != self._size:
                raise MediaError(
                    f"{file} is {frame.shape[1]}x{frame.shape[0]}, but the first picture of "
                    f"the folder is {self._size[1]}x{self._size[0]}; all frames of a clip must have one size"
                )
        return np.stack(frames)


class _Strip(ClipFile):
    """One picture with the frames side by side."""

    def __init__(self, path: Path, aspect: float) -> None:
        self.path, self._aspect = path, aspect
        try:
            with Image.open(path, formats=IMAGE_FORMATS) as image:  # its header alone
                width, height = image.size
        except Exception as reason:  # broken files make Pillow's decoders raise nearly anything
            raise MediaError(f"cannot read {path} as a picture: {reason}") from reason
        self.count = count_in_strip(path, height, width, aspect)

    def _read(self, wanted: list[int]) -> np.ndarray:
        return split_strip(self.path, read_image(self.path), self._aspect)[wanted]


class _Video(ClipFile):
    """A video file. Frame i is frame i of a ``VideoReader`` of the whole file."""

    def __init__(self, path: Path) -> None:
        from fomm.media.decode import find_timing
        from fomm.media.ffmpeg import probe

        self.path = path
        self._info = probe(path)
        self.count, self._seek = find_timing(path, self._info)

    def _read(self, wanted: list[int]) -> np.ndarray:
        from fomm.media.decode import decode

        runs = [[wanted[0]]]
        for number in wanted[1:]:
            if self._seek and number - runs[-1][-1] > _GAP:
                runs.append([])
            runs[-1].append(number)
        frames: list[np.ndarray] = []
        for run in runs:
            # Of a video that cannot be sought, frames are counted from the start on.
            first = max(0, run[0] - _LEAD) if self._seek else 0
            frames += decode(self.path, self._info, first, None, None, run)
        if len(frames) < len(wanted):
            raise MediaError(
                f"{self.path} is damaged: of the frames {wanted} only {len(frames)} can be decoded"
            )
        return np.stack(frames)


class _Arrays(ClipFile):
    """The array ``frames`` of an npz file, which is a zip file with ``frames.npy`` in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive, archive.open("frames.npy") as member:
                shape, self._fortran, dtype = read_header(member)
                self._header_size = member.tell()
                self._entry = archive.getinfo("frames.npy")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as reason:
            raise MediaError(f"{path} cannot be read as an npz file with frames: {reason}") from reason
        check_frames(path, shape, dtype)
        self.count, self._shape = shape[0], shape[1:]

    def _read(self, wanted: list[int]) -> np.ndarray:
        if self._fortran:  # a frame is scattered over the whole file
            return read_arrays(self.path, "frames")["frames"][wanted]
        frames = np.empty((len(wanted), *self._shape), np.uint8)
        try:
            if self._entry.compress_type == zipfile.ZIP_STORED:
                self._read_stored(wanted, frames)
            else:
                self._inflate(wanted, frames)
        except (OSError, EOFError, struct.error, zipfile.BadZipFile, zlib.error) as reason:
            raise MediaError(f"{self.path} is damaged: {reason}") from reason
        return frames

    def _read_stored(self, wanted: list[int], frames: np.ndarray) -> None:
        with open(self.path, "rb") as file:
            # The bytes follow the zip file's local header. Its last two fields are the lengths of two parts
            # between it and the bytes: the name and the extra field.
            file.seek(self._entry.header_offset + 26)
            start = file.tell() + 4 + sum(struct.unpack("<HH", file.read(4))) + self._header_size
            for frame, number in zip(frames, wanted, strict=True):
                file.seek(start + number * frame.nbytes)
                if file.readinto(frame.data) < frame.nbytes:
                    raise EOFError(f"it ends within frame {number}")

    def _inflate(self, wanted: list[int], frames: np.ndarray) -> None:
        with zipfile.ZipFile(self.path) as archive, archive.open(self._entry) as member:
            for frame, number in zip(frames, wanted, strict=True):
                member.seek(self._header_size + number * frame.nbytes)
                pixels = member.read(frame.nbytes)
                if len(pixels) < frame.nbytes:
                    raise EOFError(f"it ends within frame {number}")
                frame[:] = np.frombuffer(pixels, np.uint8).reshape(frame.shape)
