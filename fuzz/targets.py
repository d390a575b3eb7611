"""Say for each reader what to start from, how bytes become a file, and which rules have to hold."""

import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hostile
import numpy as np
from doors import knock_with_checkpoint, knock_with_image, knock_with_video


@dataclass(frozen=True)
class Target:
    """One reader of files, as the fuzzer sees it."""

    knock: Callable[[bytes, Path], str]  # reads a file of these bytes in the folder, and checks the rules
    unwrap: Callable[[bytes], bytes]  # from the fuzzer's bytes to a file's
    seeds: Callable[[Path], Iterator[bytes]]  # the fuzzer's bytes; files may be made in the folder
    longest: int  # bytes


def unwrap_checkpoint(data: bytes) -> bytes:
    """Return the file that the fuzzer's bytes stand for.

    The first byte chooses: the rest is a whole file, or a pickle or a header to which the right frame is
    added. Without a right frame hardly any change would get past a zip's checksum or the length of a header.
    """
    kind, content = data[:1], data[1:]
    if kind == b"z":
        return hostile.zip_file(content, {"0": bytes(64)})
    if kind == b"l":
        return hostile.legacy_file(content, {"0": bytes(64)})
    if kind == b"k":
        return hostile.legacy_file(pickle.dumps({}, 2), {"0": bytes(64)}, keys=content)
    if kind == b"s":
        header, _, numbers = content.partition(b"\n")
        return hostile.safetensors_file(header, numbers)
    return content


def seed_checkpoints(folder: Path) -> Iterator[bytes]:
    """Yield small files of weights in each format, and harmful pickles, as the fuzzer's bytes."""
    for kind in ("zip", "legacy", "safetensors"):
        yield b"w" + hostile.smallest_checkpoint(kind)
        yield b"w" + hostile.file_of(hostile.smallest_articulated(), kind)
        yield b"w" + hostile.file_of(hostile.first_thin_plate(), kind)
    header, numbers = hostile.smallest_checkpoint("safetensors")[8:].split(b"}}", 1)
    yield b"s" + header + b"}}\n" + numbers.lstrip()
    yield b's{"generator.a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}\n' + bytes(8)
    yield b"k" + pickle.dumps(["0"], 2)
    for frame, legacy in ((b"z", False), (b"l", True)):
        for numel in (16, 99):
            yield frame + hostile.tensor_pickle(legacy, numel, 1, (2, 3), (3, 1))
        for harm in hostile.harmful_pickles().values():
            if len(harm) < 5000:
                yield frame + harm
        yield frame + pickle.dumps({"loss": [np.float64(0.5), np.uint16(7)], "steps": Counter({60: 1})}, 2)
        for plain in ({"generator": {"a": 1.5}, "kp_detector": {"b": [None, True, 7, -8, 2**40]}}, [], "a"):
            yield frame + pickle.dumps(plain, 2)


def seed_images(folder: Path) -> Iterator[bytes]:
    """Yield small pictures in each format and mode."""
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
        for mode in ("RGB", "L"):
            yield hostile.picture_file(kind, mode)
    for mode in ("1", "P", "LA", "RGBA", "I;16"):
        yield hostile.picture_file("PNG", mode)
    for mode in ("1", "CMYK", "LAB", "RGBA"):
        yield hostile.picture_file("TIFF", mode)
    for method in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4"):
        yield hostile.picture_file("TIFF", "1" if method == "group4" else "RGB", compression=method)
    yield hostile.picture_file("JPEG", "CMYK", progressive=True)
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF"):
        yield hostile.picture_file(kind, exif=hostile.exif(6))


def seed_videos(folder: Path) -> Iterator[bytes]:
    """Yield small videos in each format, and playlists that name another file."""
    for suffix in ("mp4", "webm", "gif", "avi", "mkv", "ts", "flv", "mpg", "apng"):
        yield hostile.video_file(folder, f"seed.{suffix}")
    yield b"ffconcat version 1.0\nfile seed.mp4\n"
    yield b"#EXTM3U\n#EXTINF:2,\nfile:seed.mp4\n#EXT-X-ENDLIST\n"


def whole(data: bytes) -> bytes:
    """Return the fuzzer's bytes as they are: they are the file."""
    return data


TARGETS = {
    "checkpoints": Target(knock_with_checkpoint, unwrap_checkpoint, seed_checkpoints, 50_000),
    "images": Target(knock_with_image, whole, seed_images, 20_000),
    "videos": Target(knock_with_video, whole, seed_videos, 50_000),
}
