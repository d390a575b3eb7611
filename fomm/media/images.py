"""Picture files are read and written, as HxWx3 uint8 arrays, RGB."""

import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from fomm.atomic import atomic_path, check_place
from fomm.errors import InputError, MediaError, shown
from fomm.media.paths import PathLike, check_exists

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")  # Pillow tries these and no others
WRITTEN_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif")
ALPHA_SUFFIXES = (".png", ".webp", ".avif")  # of written pictures that keep transparency
DESCRIPTION = 0x010E  # the EXIF tag of a picture's description
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}  # HEVC in a HEIF file
MAX_PIXELS = 120_000_000  # of a picture or a frame: 360 MB of colours, more than phones and 8K video have
SEEN = 16  # of 255: alpha from which the colour of a pixel counts in full
_MAX_PIXELS_VARIABLE = "FOMM_MAX_PIXELS"  # of the environment: another number of pixels


def read_image(path: PathLike, *, max_pixels: int | None = None, alpha: bool = False) -> np.ndarray:
    """Read one picture as HxWx3 uint8, RGB, upright (EXIF orientation applied), transparency laid over white.

    With ``alpha`` a picture that is transparent anywhere is HxWx4, RGBA (alpha not premultiplied).

    PNG, JPEG, WEBP, GIF, BMP, TIFF and AVIF, whatever the file's name; HEIC needs the extra ``heic``. 16-bit
    grayscale is scaled to 8 bits. Of an animation the first frame is taken. ``max_pixels`` is how many pixels
    the picture may have, by default what ``get_max_pixels`` returns. Raises ``MediaError``.
    """
    limit = get_max_pixels() if max_pixels is None else max_pixels
    file = check_exists(path)
    if file.is_dir():
        raise MediaError(f"cannot read {path}: it is a folder; give a picture file")
    try:
        with open_picture(file) as image:
            check_pixels(path, (image.height, image.width), limit)  # before anything is decoded
            return _to_array(_turn_upright(image), alpha)
    except MediaError:
        raise
    except Image.DecompressionBombError as reason:
        raise MediaError(
            f"cannot read {path}: it has more pixels than Pillow takes ({shown(reason)}); scale it down"
        ) from reason
    except UnidentifiedImageError as reason:
        known = ", ".join((*IMAGE_FORMATS, "HEIC"))
        raise MediaError(f"cannot read {path}: it is not a picture ({known})") from reason
    except Exception as reason:  # broken files make Pillow's decoders raise nearly anything
        words = shown(reason) or type(reason).__name__
        raise MediaError(f"cannot read {path} as a picture: {words}") from reason


def get_max_pixels() -> int:
    """Return how many pixels a picture or a frame may have: ``MAX_PIXELS``, or what FOMM_MAX_PIXELS says."""
    text = os.environ.get(_MAX_PIXELS_VARIABLE, str(MAX_PIXELS))
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 19):
        raise InputError(f"{_MAX_PIXELS_VARIABLE} is {shown(text)}; expected a whole number of pixels")
    return int(text)


def check_pixels(path: PathLike, size: tuple[int, int], limit: int) -> None:
    """Raise ``MediaError`` if a picture of ``size`` (height, width) has more pixels than ``limit``."""
    if size[0] * size[1] > limit:
        raise MediaError(
            f"cannot read {path}: its {size[1]}x{size[0]} pixels are more than {limit}; "
            f"scale it down, or set {_MAX_PIXELS_VARIABLE} if you trust it"
        )


def open_picture(file: Path) -> Image.Image:
    """Open a picture by its header. Nothing is decoded yet."""
    if _is_heic(file):
        return _open_heic(file)
    # Not by imageio, which lets Pillow try all of its formats, and tells no size before it has decoded.
    with warnings.catch_warnings():
        # Pillow warns of some sizes that are below our limit.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=IMAGE_FORMATS)


def _is_heic(file: Path) -> bool:
    """Return whether a file is a HEIC picture, by the brands of its first box."""
    with open(file, "rb") as stream:
        head = stream.read(64)
    size = int.from_bytes(head[:4], "big")
    brands = {head[start : start + 4] for start in (8, *range(16, min(size, len(head)), 4))}
    return head[4:8] == b"ftyp" and bool(brands & _HEIC_BRANDS)


def _open_heic(file: Path) -> Image.Image:
    """Open a HEIC picture by its header, upright. Pillow's own list of formats stays as it is."""
    try:
        from pillow_heif import HeifImageFile  # an extra
    except ImportError as reason:
        raise MediaError(
            f"cannot read {file}: HEIC pictures need the extra heic: pip install pillow-heif, "
            "or save the picture as JPEG"
        ) from reason
    return HeifImageFile(str(file))


def is_still(path: PathLike) -> bool:
    """Return whether a file is a picture that does not move. Only its beginning is read."""
    try:
        file = check_exists(path)
        if _is_heic(file):  # also where the extra that reads it is missing
            return True
        with open_picture(file) as image:
            moving = image.format in ("GIF", "PNG", "WEBP", "AVIF") and getattr(image, "is_animated", False)
            return not moving
    except Exception:  # broken files make Pillow raise nearly anything
        return False


def write_image(path: PathLike, frame: np.ndarray, *, comment: str = "") -> None:
    """Write HxWx3 uint8, RGB, as .png, .jpg, .webp or .avif (by the suffix of ``path``), whole or not at all.

    HxWx4 is RGBA, which a .jpg cannot keep. ``comment``: what the file says of itself, see ``video_comment``.
    """
    target = check_image_name(path)
    check_frame(frame, None if target.suffix.lower() in ALPHA_SUFFIXES else target)
    with atomic_path(target, MediaError) as temporary:
        save_image(temporary, frame, {"Comment": comment} if comment else {}, target)


def check_image_name(path: PathLike) -> Path:
    """Return the path if ``write_image`` can write a picture under that name; raise ``MediaError`` if not."""
    target = Path(path)
    if target.suffix.lower() not in WRITTEN_SUFFIXES:
        raise MediaError(f"cannot write {path}: the suffix must be {', '.join(WRITTEN_SUFFIXES)}")
    check_place(target, MediaError)
    return target


def check_frame(frame: np.ndarray, opaque: PathLike | None = None) -> None:
    """Raise ``InputError`` unless ``frame`` is HxWx3 uint8, or HxWx4.

    ``opaque`` is the name of a file that keeps no transparency: then HxWx4 is refused too.
    """
    if not isinstance(frame, np.ndarray):
        raise InputError(f"a frame must be a numpy array, HxWx3 uint8, not {type(frame).__name__}")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] not in (3, 4) or not frame.size:
        shape = "x".join(map(str, frame.shape))
        raise InputError(
            f"a frame must be HxWx3 uint8, not {shape} {frame.dtype}; floats in [0, 1] times 255"
        )
    if opaque is not None and frame.shape[2] == 4:
        raise InputError(
            f"a frame is HxWx4 uint8, and {opaque} keeps no transparency; drop the alpha with [..., :3], or "
            f"write {_ways_to_keep_alpha(opaque)}"
        )


def _turn_upright(image: Image.Image) -> Image.Image:
    """Return the picture, decoded, and turned as its EXIF says."""
    image.load()  # raises what is wrong with the picture itself
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the picture is good, and only its EXIF is broken
        return image


def _to_array(image: Image.Image, alpha: bool) -> np.ndarray:
    """Convert a picture of any mode to HxWx3 uint8, with ``alpha`` to HxWx4 if it is transparent anywhere."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError("its pixels have 32 bits; save it with 8 or 16")
        gray = ((levels + 128) // 257).astype(np.uint8)  # 65535 = 255 * 257
        return np.repeat(gray[..., None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits")
    if image.has_transparency_data:
        rgba = np.array(image.convert("RGBA"))
        return rgba if alpha and rgba[..., 3].min() < 255 else lay_over_white(rgba)
    return np.array(image.convert("RGB"))


def warn_of_lost_alpha(path: PathLike, result: PathLike) -> None:
    """Warn if a picture is transparent anywhere and is laid over white because ``result`` keeps no alpha.

    Of pictures in formats and modes without alpha the header alone is read. Raises ``MediaError`` as
    ``read_image``.
    """
    # of a broken file ``read_image`` tells what is wrong
    with suppress(Exception), open_picture(check_exists(path)) as image:
        if not image.has_transparency_data:
            return
    if read_image(path, alpha=True).shape[2] == 4:
        warnings.warn(
            f"{path} is transparent in parts, which {result} does not keep: it is laid over white; "
            f"to keep it, write {_ways_to_keep_alpha(result)}",
            stacklevel=3,
        )


def _ways_to_keep_alpha(result: PathLike) -> str:
    """Return what to write instead of ``result`` for transparency to be kept."""
    if Path(result).suffix.lower() in WRITTEN_SUFFIXES:
        return "a .png, .webp or .avif"
    return "a .webm, or a folder of PNGs"


def save_image(path: Path, frame: np.ndarray, texts: dict[str, str], target: Path) -> None:
    """Write a picture in the format of the suffix of ``path``.

    Args:
        path: where.
        frame: HxWx3 uint8, or HxWx4 where the format keeps transparency.
        texts: by their keys; they go into a PNG as text chunks, elsewhere the "Comment" is written alone: as
            that of a JPEG, and in a WebP or AVIF as the EXIF's description.
        target: the name that the user knows, for the error.
    """
    from imageio.v3 import imwrite  # late: importing it takes time

    suffix = path.suffix.lower()
    options: dict[str, Any] = {"quality": 95, "subsampling": "4:4:4"}
    if suffix == ".webp":
        options["exact"] = True  # with the colours under transparent pixels, which hold a part of the mark
    comment = texts.get("Comment")
    if suffix in (".jpg", ".jpeg") and comment:
        options["comment"] = comment
    elif suffix in (".webp", ".avif") and comment:
        options["exif"] = Image.Exif()
        options["exif"][DESCRIPTION] = comment
    if suffix == ".png":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        for key, value in texts.items():
            options["pnginfo"].add_text(key, value)
    try:
        with open(path, "wb") as file:  # an open file, since imageio could take a name for something else
            imwrite(file, frame, plugin="pillow", extension=suffix, is_batch=False, **options)
    except OSError as reason:
        raise MediaError(f"cannot write {target}: {reason.strerror or reason}") from reason


def lay_over_white(rgba: np.ndarray) -> np.ndarray:
    """Lay HxWx4 uint8 (alpha not premultiplied) over white: HxWx3 uint8, rounded to the nearest level."""
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def fill_transparent(rgba: np.ndarray) -> np.ndarray:
    """Return HxWx4 uint8 in which the colours under transparent pixels continue those around them.

    Nobody sees these colours, and files often hold black there. But what resamples or repaints the picture
    mixes them with those beside them. They become softer the further they lie from what is seen. Where alpha
    is ``SEEN`` or more, colours stay as they are; below, they give way in proportion.
    """
    hidden = rgba[..., 3] < SEEN
    share = rgba[..., 3].astype(np.float32) / 255
    # an edge often has a little of the background that it was cut from, so what is opaque counts most
    around = _continue_colours([rgba[..., c].astype(np.float32) for c in range(3)], share**4)
    kept = share[hidden] * np.float32(255 / SEEN)
    filled = rgba.copy()
    for c, plane in enumerate(around):
        filled[hidden, c] = np.rint(kept * rgba[hidden, c] + (1 - kept) * plane[hidden])
    return filled


def _continue_colours(planes: list[np.ndarray], weight: np.ndarray) -> list[np.ndarray]:
    """Return planes of colours, HxW float32, that are the given ones as far as their ``weight``, HxW, is 1.

    The rest comes from their weighted means at half the size, which are continued in the same way. Where
    nothing has a weight the colours are a medium gray.
    """
    if weight.size == 1:
        return [weight * plane + (1 - weight) * 128 for plane in planes]
    share = np.maximum(_halve(weight), 1e-12)
    means = [_halve(plane * weight) / share for plane in planes]
    coarse = _continue_colours(means, np.minimum(4 * share, 1))
    around = [
        np.asarray(Image.fromarray(plane).resize(weight.shape[::-1], Image.Resampling.BILINEAR))
        for plane in coarse
    ]
    return [more + weight * (plane - more) for plane, more in zip(planes, around, strict=True)]


def _halve(plane: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(plane).reduce(2))
