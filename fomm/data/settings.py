"""Settings of the clips that are cut out of videos. The help shows them, so nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass

from fomm.errors import InputError

FORMATS = ("mp4", "png", "npz")
SPLITS = ("person", "video")


@dataclass(frozen=True)
class Settings:
    """All settings that decide, with the videos, which clips a data set gets."""

    size: int = 256  # pixels along each side of a clip
    format: str = "mp4"  # or png, npz
    crop: bool = True  # to faces; else the middle square of the whole picture
    cuts: bool = True  # split at them
    min_frames: int = 64  # shorter clips are dropped; 64 is what the published VoxCeleb set was made with
    max_frames: int = 1024  # longer ones are divided; so was the published set
    min_size: int | None = None  # of the square that is cut out, in pixels of the video; None: size
    every: int = 3  # faces are looked for in every so many frames
    split: str = "person"  # or video: what lies in train/ or test/ as a whole
    test_fraction: float = 0.05  # of the people, or videos

    def __post_init__(self) -> None:
        counts = ("size", "min_frames", "max_frames", "min_size", "every")
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, not {value}")
        if self.format not in FORMATS:
            raise InputError(f"format is one of {', '.join(FORMATS)}, not {self.format!r}")
        if self.split not in SPLITS:
            raise InputError(f"split is one of {', '.join(SPLITS)}, not {self.split!r}")
        if not 0 <= self.test_fraction <= 1:
            raise InputError(f"test_fraction lies between 0 and 1, not {self.test_fraction}")
        if self.format == "mp4" and self.size % 2:
            raise InputError(f"size must be even for mp4, not {self.size}; or use format png or npz")
        if self.max_frames < self.min_frames:
            raise InputError(f"max_frames ({self.max_frames}) is below min_frames ({self.min_frames})")
