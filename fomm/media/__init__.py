"""Pictures and videos in files, read and written as uint8 RGB arrays."""

from fomm.media.comment import read_comment
from fomm.media.images import read_image, write_image
from fomm.media.reader import VideoReader, check_not_swapped
from fomm.media.writer import VideoWriter, check_result, save_video, video_comment

__all__ = [
    "VideoReader",
    "VideoWriter",
    "check_not_swapped",
    "check_result",
    "read_comment",
    "read_image",
    "save_video",
    "video_comment",
    "write_image",
]
