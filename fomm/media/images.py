"""Picture files in and out, as HxWx3 uint8 arrays, RGB."""

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from fomm.atomic import atomic_path
from fomm.errors import InputError, MediaError, shown

PathLike = str | os.PathLike[str]

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # Pillow tries these and no others
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")

MAX_PIXELS = 120_000_000  # of a picture or a frame: 360 MB of colours, more than phones and 8K video have
_MAX_PIXELS_VARIABLE = "FOMM_MAX_PIXELS"  # of the environment; another number


def read_image(path: PathLike, *, max_pixels: int | None = None) -> np.ndarray:
    """Read one picture as HxWx3 uint8, RGB, upright (EXIF orientation applied), transparency laid over white.

    16-bit grayscale is scaled to 8 bits; of an animation the first frame is taken. ``max_pixels`` is how many
    a picture may have, by default see ``most_pixels``. Raises ``MediaError``.
    """
    limit = most_pixels() if max_pixels is None else max_pixels
    file = existing(path)
    if file.is_dir():
        raise MediaError(f"cannot read {path}: it is a folder; give a picture file")
    try:
        with open_picture(file) as image:
            if image.width * image.height > limit:
                raise MediaError(too_many_pixels(path, (image.height, image.width), limit))
            return _to_rgb(_upright(image))
    except MediaError:
        raise
    except Image.DecompressionBombError as reason:
        raise MediaError(
            f"cannot read {path}: it has more pixels than Pillow takes ({shown(reason)}); scale it down"
        ) from reason
    except UnidentifiedImageError as reason:
        raise MediaError(f"cannot read {path}: it is not a picture ({', '.join(IMAGE_FORMATS)})") from reason
    except Exception as reason:  # broken files make Pillow's decoders raise nearly anything
        words = shown(reason) or type(reason).__name__
        raise MediaError(f"cannot read {path} as a picture: {words}") from reason


def most_pixels() -> int:
    """How many pixels a picture or a frame may have: ``MAX_PIXELS``, or what FOMM_MAX_PIXELS says."""
    text = os.environ.get(_MAX_PIXELS_VARIABLE, str(MAX_PIXELS))
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 19):
        raise InputError(f"{_MAX_PIXELS_VARIABLE} is {shown(text)}; expected a whole number of pixels")
    return int(text)


def too_many_pixels(path: PathLike, size: tuple[int, int], limit: int) -> str:
    """The sentence for a picture or video of ``size`` (height, width)."""
    return (
        f"cannot read {path}: its {size[1]}x{size[0]} pixels are more than {limit}; "
        f"scale it down, or set {_MAX_PIXELS_VARIABLE} if you trust it"
    )


def open_picture(file: Path) -> Image.Image:
    """Pillow warns of large pictures, but does not know our limit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=IMAGE_FORMATS)


def is_still(path: PathLike) -> bool:
    """Whether a file is a picture that does not move, by its beginning."""
    try:
        with open_picture(existing(path)) as image:
            return image.format not in ("GIF", "PNG", "WEBP") or not getattr(image, "is_animated", False)
    except Exception:  # broken files make Pillow raise nearly anything
        return False


def write_image(path: PathLike, frame: np.ndarray) -> None:
    """Write HxWx3 uint8, RGB, as .png, .jpg or .webp (by the suffix of ``path``), whole or not at all."""
    target = Path(path)
    if target.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise MediaError(f"cannot write {path}: the suffix must be .png, .jpg, .jpeg or .webp")
    check_frame(frame)
    with atomic_path(target, MediaError) as temporary:
        save_image(temporary, frame, {}, target)


def check_frame(frame: np.ndarray) -> None:
    """Raise ``InputError`` unless ``frame`` is HxWx3 uint8."""
    if not isinstance(frame, np.ndarray):
        raise InputError(f"a frame must be a numpy array, HxWx3 uint8, not {type(frame).__name__}")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        shape = "x".join(map(str, frame.shape))
        raise InputError(
            f"a frame must be HxWx3 uint8, not {shape} {frame.dtype}; floats in [0, 1] times 255"
        )


def existing(path: PathLike) -> Path:
    """A file or folder of this machine: names are never taken for addresses or devices."""
    if not (os.path.isfile(path) or os.path.isdir(path)):
        what = "it is not a regular file" if os.path.exists(path) else "there is no such file"
        raise MediaError(f"cannot read {path}: {what}")
    return Path(path)


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # what is wrong with the picture itself is said here
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF that cannot be read says nothing of a picture that can
        return image


def _to_rgb(image: Image.Image) -> np.ndarray:
    """HxWx3 uint8 from a picture of any mode."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError("its pixels have 32 bits; save it with 8 or 16")
        gray = ((levels + 128) // 257).astype(np.uint8)  # 65535 = 255 * 257
        return np.repeat(gray[..., None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits")
    if image.has_transparency_data:
        return over_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def save_image(path: Path, frame: np.ndarray, texts: dict[str, str], target: Path) -> None:
    """Write a picture by the suffix of ``path``; ``texts`` go into a PNG as text chunks.

    ``target`` is the name that the user knows, for the error.
    """
    image = Image.fromarray(frame)
    try:
        if path.suffix.lower() == ".png":
            chunks = PngImagePlugin.PngInfo()
            for key, value in texts.items():
                chunks.add_text(key, value)
            image.save(path, pnginfo=chunks)
        else:
            image.save(path, quality=95, subsampling=0)
    except OSError as reason:
        raise MediaError(f"cannot write {target}: {reason.strerror or reason}") from reason


def over_white(rgba: np.ndarray) -> np.ndarray:
    """Lay HxWx4 uint8 (alpha not premultiplied) over white: HxWx3 uint8, rounded to the nearest level."""
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
