"""Pictures that are bombs, broken or none: each is refused with one sentence, in little time and memory."""

import io
import os
import struct
import sys
import zlib

import hostile
import numpy as np
import PIL
import pytest
from doors import check_sentence, knock_with_image
from in_processes import Case, check_refused, read_each, write_each
from PIL import Image, features

from fomm.errors import InputError, MediaError
from fomm.media import VideoReader, read_image
from fomm.media.images import IMAGE_FORMATS, MAX_PIXELS

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


# -- bombs -------------------------------------------------------------------------------------------


def png(width: int, height: int, data: bytes = b"", *more: tuple[bytes, bytes]) -> bytes:
    """Make a PNG of one bit for each pixel, whose header claims any size."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", data), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def black(width: int, height: int) -> bytes:
    """All of the pixels, packed a thousandfold."""
    return png(width, height, zlib.compress(bytes((width // 8 + 1) * height), 9))


def claim_size(kind: str, width: int, height: int) -> bytes:
    """Make a small picture whose header claims another size."""
    size = (64, 64) if kind == "HEIC" else (16, 12)  # else the part of its blocks that is shown is told too
    data = bytearray(hostile.picture_file(kind, size=size))
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif kind == "TIFF":
        first = struct.unpack_from("<I", data, 4)[0] + 2
        for entry in range(first, len(data) - 12, 12):
            tag = int.from_bytes(data[entry : entry + 2], "little")
            if tag in (256, 257):
                data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, width if tag == 256 else height)
    elif kind == "WEBP":  # an extended header in front
        canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        body = b"WEBPVP8X" + struct.pack("<II", 10, 0) + canvas + bytes(data[12:])
        return b"RIFF" + struct.pack("<I", len(body)) + body
    elif kind in ("AVIF", "HEIC"):
        at = data.index(b"ispe") + 8
        data[at : at + 8] = struct.pack(">II", width, height)
    return bytes(data)


def animation(width: int, height: int) -> bytes:
    """Make a small GIF whose only frame claims to be large."""
    data = bytearray(claim_size("GIF", width, height))
    at = data.index(b"\x2c", 13 + 3 * 256)
    data[at + 5 : at + 9] = struct.pack("<HH", width, height)
    return bytes(data)


def swollen() -> bytes:
    return zlib.compress(bytes(100_000_000), 9)


def bombs() -> dict[str, Case]:
    ours, pillows = "pixels are more than 120000000; scale it down, or set FOMM", "more pixels than Pillow"
    return {
        "132 million pixels of 16 KB": (lambda: black(12_000, 11_000), f"its 12000x11000 {ours}"),
        "10 billion pixels": (lambda: png(100_000, 100_000), pillows),
        "a PNG as wide as a header can say": (lambda: png(2**31 - 1, 1), pillows),
        "a PNG as high as a header can say": (lambda: png(1, 2**31 - 1), pillows),
        "a JPEG of four billion": (lambda: claim_size("JPEG", 65_000, 65_000), pillows),
        "a GIF of four billion": (lambda: claim_size("GIF", 65_535, 65_535), pillows),
        "a GIF with a large frame": (lambda: animation(12_000, 12_000), ours),
        "a BMP of four quintillion": (lambda: claim_size("BMP", 2**31 - 1, 2**31 - 1), pillows),
        "a BMP that is upside down": (lambda: claim_size("BMP", 12_000, -12_000), ours),
        "a TIFF of 16 quintillion": (lambda: claim_size("TIFF", 2**32 - 1, 2**32 - 1), pillows),
        "a TIFF of 144 million": (lambda: claim_size("TIFF", 12_000, 12_000), ours),
        # before Pillow 13 its decoder is the one that refuses
        "a WEBP of 281 trillion": (
            lambda: claim_size("WEBP", 2**24, 2**24),
            pillows if int(PIL.__version__.partition(".")[0]) >= 13 else "could not create decoder object",
        ),
        "an AVIF of 132 million": (lambda: claim_size("AVIF", 12_000, 11_000), ours),
        "an AVIF of 900 million": (lambda: claim_size("AVIF", 30_000, 30_000), "is not a picture"),
        "a text of 100 megabytes within": (
            lambda: png(8, 8, zlib.compress(bytes(16)), (b"zTXt", b"a\0\0" + swollen())),
            "as a picture: Decompressed data too large",
        ),
        "a profile of 100 megabytes within": (
            lambda: png(8, 9, zlib.compress(bytes(16)), (b"iCCP", b"a\0\0" + swollen())),
            "as a picture",
        ),
    }


# -- no pictures -------------------------------------------------------------------------------------


def float_tiff() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.array([[0.5, 2.0]], np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


def wide_tiff() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.array([[0, 70_000]], np.int32)).save(buffer, "TIFF")
    return buffer.getvalue()


def no_pictures() -> dict[str, Case]:
    nothing = r"it is not a picture \(PNG, JPEG, WEBP, GIF, BMP, TIFF, AVIF, HEIC\)"
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    files: dict[str, bytes] = {
        "no bytes": b"",
        "one byte": b"\x89",
        "zeros": bytes(1000),
        "a web page": b"<html>not found</html>",
        "SVG": b'<?xml version="1.0"?>' + svg,
        "SVG without a head": svg,
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(canary) (w) file\n",
        "EPS with a preview": b"\xc5\xd0\xd3\xc6" + bytes(26) + b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "PDF": b"%PDF-1.7\n1 0 obj\n",
        "a film": b"\0\0\0\x18ftypisom\0\0\0\1isomavc1",
        "AVIF's beginning": b"\0\0\0\x18ftypavif\0\0\0\0mif1avif",
        "a Photoshop file": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 1, 1, 8, 3) + bytes(20),
        "a QOI file": b"qoif" + struct.pack(">IIBB", 1, 1, 3, 0) + bytes(20),
        "a program of Windows": b"MZ\x90\0" + bytes(100),
    }
    cases: dict[str, Case] = {name: (lambda c=content: c, nothing) for name, content in files.items()}
    for kind in ("ICO", "PPM", "TGA", "PCX", "SGI", "DDS", "EPS"):
        cases[f"{kind} by Pillow"] = (lambda k=kind: hostile.picture_file(k)), nothing
    return cases | {
        "HEIC's beginning": (
            lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            r"as a picture: Invalid input|need the extra heic: pip install pillow-heif",
        ),
        "floating-point numbers": (float_tiff, "floating-point numbers; save it with 8 or 16 bits"),
        "numbers of 32 bits": (wide_tiff, "32 bits; save it with 8 or 16"),
    }


def truncated() -> dict[str, Case]:
    words = "is not a picture|truncated|Truncated|could not create decoder"
    return {
        f"{kind}, {tenths} tenths of it": (
            lambda k=kind, t=tenths: (d := hostile.picture_file(k, size=(64, 48)))[: len(d) * t // 10],
            words,
        )
        for kind in FORMATS
        for tenths in range(10)
    }


CASES: dict[str, Case] = {**bombs(), **no_pictures(), **truncated()}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_each(CASES, tmp_path_factory.mktemp("pictures"), "picture.png")


@pytest.fixture(scope="module")
def told(paths):
    return read_each("read_picture", paths)


@pytest.mark.parametrize("name", CASES)
def test_refused(told, paths, name):
    check_refused(told[name], paths[name], CASES[name][1])


# -- HEIC, which an extra reads -----------------------------------------------------------------------


def heic_bombs() -> dict[str, Case]:
    ours = "pixels are more than 120000000; scale it down, or set FOMM"
    sizes = {
        "132 million pixels": (12_000, 11_000, ours),
        "four quintillion pixels": (2**31 - 1, 2**31 - 1, ours),
        "more pixels than are there": (4_000, 4_000, "does not have the size signaled"),
        "fewer pixels than are there": (8, 8, "does not have the size signaled"),
        "no pixels": (0, 0, "Zero image width"),
    }
    return {
        name: (lambda w=width, h=height: claim_size("HEIC", w, h), words)
        for name, (width, height, words) in sizes.items()
    } | {
        f"{tenths} tenths of it": (
            lambda t=tenths: (d := hostile.picture_file("HEIC", size=(64, 48)))[: len(d) * t // 10],
            "it is not a picture" if not tenths else "as a picture: Invalid input",
        )
        for tenths in range(10)
    }


HEIC_CASES = heic_bombs()


@pytest.fixture(scope="module")
def heic_paths(tmp_path_factory):
    return write_each(HEIC_CASES, tmp_path_factory.mktemp("pictures"), "picture.jpg")


@pytest.fixture(scope="module")
def heic_told(heic_paths):
    return read_each("read_picture", heic_paths)


@pytest.mark.parametrize("name", HEIC_CASES)
def test_heic_refused(heic_told, heic_paths, name):
    check_refused(heic_told[name], heic_paths[name], HEIC_CASES[name][1])


def test_heic_without_its_extra(tmp_path, monkeypatch):
    """One sentence says what to install, and none takes the file for a video."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    photo = tmp_path / "IMG_0001.HEIC"
    photo.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(MediaError, match=r"HEIC pictures need the extra heic: pip install pillow-heif") as e:
        read_image(photo)
    check_sentence(e.value, MediaError, photo)
    with pytest.raises(MediaError, match="it is a picture; expected a video"):
        VideoReader(photo)


@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
def test_phone_pictures_are_no_videos(tmp_path, kind):
    """They lie in the container of videos, so that ffmpeg reads them."""
    photo = tmp_path / "driving.mp4"
    photo.write_bytes(hostile.picture_file(kind, size=(256, 192)))
    with pytest.raises(MediaError, match="it is a picture; expected a video"):
        VideoReader(photo)


# -- not in one file ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "missing", "pipe", "device", "circle", "address"])
def test_no_files(tmp_path, kind):
    path = tmp_path / "picture.png"
    words = {"folder": "it is a folder", "pipe": "not a regular file", "device": "not a regular file"}
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "circle":
        path.symlink_to(path)
    name = "http://127.0.0.1:9/picture.png" if kind == "address" else path
    with pytest.raises(MediaError, match=words.get(kind, "there is no such file")) as caught:
        read_image(name)
    check_sentence(caught.value, MediaError, name)


def test_the_cap_can_be_set(tmp_path, monkeypatch):
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(hostile.picture_file("PNG", size=(20, 10)))
    assert read_image(tmp_path / "1.png", max_pixels=200).shape == (10, 20, 3)
    with pytest.raises(MediaError, match="its 20x10 pixels are more than 199"):
        read_image(tmp_path / "1.png", max_pixels=199)
    monkeypatch.setenv("FOMM_MAX_PIXELS", "199")
    for read in (lambda: read_image(tmp_path / "1.png"), lambda: VideoReader(tmp_path)):
        with pytest.raises(MediaError, match=r"1\.png: its 20x10 pixels are more than 199"):
            read()
    assert read_image(tmp_path / "1.png", max_pixels=200).shape == (10, 20, 3)
    monkeypatch.setenv("FOMM_MAX_PIXELS", "200")
    assert len(list(VideoReader(tmp_path))) == 2


@pytest.mark.parametrize("text", ["", "many", "-1", "1e9", "1" * 30, "٣"])
def test_a_cap_that_is_no_number(tmp_path, monkeypatch, text):
    monkeypatch.setenv("FOMM_MAX_PIXELS", text)
    (tmp_path / "a.png").write_bytes(hostile.picture_file("PNG"))
    with pytest.raises(InputError, match=r"FOMM_MAX_PIXELS is .*expected a whole number"):
        read_image(tmp_path / "a.png")


def test_a_picture_of_90_million_pixels_is_taken(tmp_path):
    """As phones make them; Pillow's own warning begins at 89 million."""
    (tmp_path / "a.png").write_bytes(black(9_600, 9_600))
    assert read_image(tmp_path / "a.png").shape == (9_600, 9_600, 3)
    assert MAX_PIXELS > 7680 * 4320  # 8K


@pytest.mark.parametrize("name", ["a.jpg", "a.gif", "a", "a.mp4", "-i.png", "a:b.png", "http:a.png"])
@pytest.mark.parametrize("kind", [*FORMATS, "HEIC"])
def test_names_and_suffixes_do_not_matter(tmp_path, monkeypatch, kind, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(hostile.picture_file(kind))
    assert read_image(name).shape == (12, 16, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIC"])
@pytest.mark.parametrize("broken", ["garbage", "cut", "endless", "orientation 99", "orientation as text"])
def test_broken_exif_is_no_broken_picture(tmp_path, kind, broken):
    exif = {
        "garbage": b"Exif\0\0garbage",
        "cut": b"Exif\0\0" + hostile.exif(6)[6:20],
        "endless": b"Exif\0\0II*\0\xff\xff\xff\xff",
        "orientation 99": hostile.exif(99),
        "orientation as text": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\2\0\xff\xff\xff\xff\0\0\0\0",
    }[broken]
    inside = {} if kind == "TIFF" else {"exif": exif}  # Pillow writes none into a TIFF
    after = exif if kind == "TIFF" else b""
    assert knock_with_image(hostile.picture_file(kind, **inside) + after, tmp_path) == ""


def test_what_pillow_can_read_beyond_the_list_is_never_asked(monkeypatch, tmp_path):
    """Ghostscript is no part of reading a picture, whatever the file says."""
    assert "EPS" not in IMAGE_FORMATS
    assert features.check("zlib")
    asked = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: asked.append(1))
    (tmp_path / "a.png").write_bytes(hostile.picture_file("EPS"))
    with pytest.raises(MediaError):
        read_image(tmp_path / "a.png")
    assert not asked
