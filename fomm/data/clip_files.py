"""Single frames of a clip, without decoding the rest where its format allows that.

What is read for two frames of a clip: of a folder the two pictures; of a stored .npz their bytes; of a
compressed .npz everything up to the later one, inflated; of a video what lies between a key frame shortly
before the first and the second; of a GIF everything up to the second; of pictures side by side everything.
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
    read_arrays,
    read_header,
    split_strip,
    strip_count,
)
from fomm.errors import InputError, MediaError
from fomm.media.folder import list_pictures
from fomm.media.images import IMAGE_FORMATS, read_image
from fomm.media.paths import VIDEO_SUFFIXES

# Frames decoded before the first that is wanted: the most that H.264 and its kin show in another order than
# they are coded, so that what a key frame leaves undecodable around itself is never among the wanted.
_LEAD = 16
_GAP = 200  # frames; to decode on over more takes longer than to seek anew


class ClipFile(ABC):
    """One clip, whose frames are read by their numbers.

    Attributes: ``path``; ``count``, its number of frames, at least 1, found without decoding them.
    """

    path: Path
    count: int

    def read(self, numbers: Sequence[int]) -> np.ndarray:
        """The frames of these numbers, each in 0 .. count - 1, in this order: NxHxWx3 uint8 RGB.

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
        """The frames of these numbers, which ascend: NxHxWx3 uint8."""


def open_clip(path: Path, aspect: float = 1.0) -> ClipFile:
    """Looks at a clip; ``aspect`` is the width over the height of a frame, for pictures side by side.

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
        self._names = np.array([os.fsencode(file.name) for file in files])  # small: many clips are kept open

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
        self.count = strip_count(path, height, width, aspect)

    def _read(self, wanted: list[int]) -> np.ndarray:
        return split_strip(self.path, read_image(self.path), self._aspect)[wanted]


class _Video(ClipFile):
    """A video file; frame i is what ``VideoReader`` gives as frame i of the whole."""

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
            # At a variable rate a frame is shown until the next: what is shown at some time is known only
            # from the start on.
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
            # The bytes follow the zip file's local header, whose last two fields are the lengths of the name
            # and of what comes after it.
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
