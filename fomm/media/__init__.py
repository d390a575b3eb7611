"""Pictures and videos in files, read and written as uint8 RGB arrays."""

from fomm.media.files import (
    VideoReader,
    VideoWriter,
    check_not_swapped,
    check_result,
    save_video,
    video_comment,
)
from fomm.media.images import read_image, write_image

__all__ = [
    "VideoReader",
    "VideoWriter",
    "check_not_swapped",
    "check_result",
    "read_image",
    "save_video",
    "video_comment",
    "write_image",
]
