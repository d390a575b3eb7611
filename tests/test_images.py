"""Pictures of every kind come in as upright RGB, and go out whole."""

import struct
import zlib

import hostile
import numpy as np
import pytest
from PIL import Image

from fomm.errors import InputError, MediaError
from fomm.media import VideoReader, read_image, write_image

# 2x3 pixels, all different, so that every flip and turn can be told from every other.
PIXELS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 255], [0, 0, 0], [200, 100, 50]]], np.uint8
)


def assert_close(got: np.ndarray, expected: np.ndarray, tolerance: int) -> None:
    assert got.dtype == np.uint8
    assert got.shape == expected.shape
    error = np.abs(got.astype(int) - expected).max()
    assert error <= tolerance, f"off by {error} levels, at most {tolerance} expected"


def write_png(path, bit_depth: int, color_type: int, rows: list[bytes], extra: bytes = b"") -> None:
    """Write a PNG by hand, of a kind that Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color_type]
    width = len(rows[0]) * 8 // (bit_depth * channels)
    header = struct.pack(">IIBBBBB", width, len(rows), bit_depth, color_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.parametrize(
    ("suffix", "options", "tolerance"),
    [(".png", {}, 0), (".webp", {"lossless": True}, 0), (".bmp", {}, 0), (".tif", {}, 0), (".gif", {}, 0)],
)
def test_rgb_is_read_as_it_is(tmp_path, suffix, options, tolerance):
    Image.fromarray(PIXELS).save(tmp_path / f"a{suffix}", **options)
    assert_close(read_image(tmp_path / f"a{suffix}"), PIXELS, tolerance)


def test_jpeg_is_read(tmp_path):
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    Image.fromarray(flat).save(tmp_path / "a.jpg", quality=95)
    assert_close(read_image(tmp_path / "a.jpg"), flat, 2)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("LA", (0, 51), (204, 204, 204)),  # black, a fifth opaque: 255 * 4 / 5
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 100, 0, 51), (255, 224, 204)),  # 100 / 5 + 204
    ],
)
def test_modes_of_png(tmp_path, mode, value, expected):
    Image.new(mode, (2, 2), value).save(tmp_path / "a.png")
    assert_close(read_image(tmp_path / "a.png"), np.full((2, 2, 3), expected, np.uint8), 0)


def test_cmyk(tmp_path):
    # No cyan, half magenta, full yellow, a fifth black: (1 - c)(1 - k) and so on, of 255.
    Image.new("CMYK", (16, 16), (0, 128, 255, 51)).save(tmp_path / "a.jpg", quality=100)
    assert_close(read_image(tmp_path / "a.jpg"), np.full((16, 16, 3), (204, 102, 0), np.uint8), 3)


def test_palette_with_and_without_a_transparent_colour(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "holes.png", transparency=0)
    assert read_image(tmp_path / "plain.png").tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert read_image(tmp_path / "holes.png").tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_16_bit_gray_is_scaled(tmp_path):
    levels = np.array([[0, 256, 257 * 77, 32768, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    Image.fromarray(levels).save(tmp_path / "a.tif")
    expected = np.repeat(np.array([[0, 1, 77, 128, 255]], np.uint8)[..., None], 3, axis=2)
    assert_close(read_image(tmp_path / "a.png"), expected, 0)
    assert_close(read_image(tmp_path / "a.tif"), expected, 0)


def test_16_bit_colour_is_scaled(tmp_path):
    opaque = struct.pack(">6H", 0, 257 * 77, 65535, 257, 32768, 65278)
    write_png(tmp_path / "rgb.png", 16, 2, [opaque])
    assert_close(read_image(tmp_path / "rgb.png"), np.array([[[0, 77, 255], [1, 128, 254]]], np.uint8), 1)
    write_png(tmp_path / "rgba.png", 16, 6, [struct.pack(">4H", 65535, 100 * 257, 0, 51 * 257)])
    assert_close(read_image(tmp_path / "rgba.png"), np.array([[[255, 224, 204]]], np.uint8), 1)
    write_png(tmp_path / "gray-alpha.png", 16, 4, [struct.pack(">2H", 0, 51 * 257)])
    assert_close(read_image(tmp_path / "gray-alpha.png"), np.array([[[204, 204, 204]]], np.uint8), 1)


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "lime", "blue")]
    for name in ("a.gif", "a.webp", "a.png"):
        options = {"lossless": True} if name.endswith("webp") else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert read_image(tmp_path / name)[0, 0].tolist() == [255, 0, 0], name


# What an upright picture is, for each orientation, written with numpy's own words.
ORIENTATIONS = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],  # mirrored
    3: lambda stored: stored[::-1, ::-1],  # upside down
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),  # turned clockwise
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif"])
def test_exif_orientation(tmp_path, orientation, suffix):
    stored = np.kron(PIXELS, np.ones((16, 16, 1), np.uint8))  # blocks, so that JPEG keeps the colours
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(stored).save(
        path, exif=exif, quality=100, **({"subsampling": 0} if suffix == ".jpg" else {})
    )
    check_upright(path, ORIENTATIONS[orientation](stored), 0 if suffix == ".png" else 12)


def check_upright(path, expected: np.ndarray, tolerance: int) -> None:
    """Compare the middle of each block of 16x16 pixels."""
    got = read_image(path)
    assert got.shape == expected.shape
    assert_close(got[8::16, 8::16], expected[8::16, 8::16], tolerance)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_of_heic(tmp_path, orientation):
    """It stands in the container; the decoder applies it, once."""
    stored = np.kron(PIXELS, np.ones((16, 16, 1), np.uint8))
    options = {"exif": hostile.exif(orientation), "quality": 100, "chroma": 444}
    (tmp_path / "a.heic").write_bytes(hostile.encode_picture(Image.fromarray(stored), "HEIC", **options))
    check_upright(tmp_path / "a.heic", ORIENTATIONS[orientation](stored), 12)


@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
def test_transparency_of_phone_formats(tmp_path, kind):
    image = Image.new("RGBA", (64, 64), (255, 100, 0, 51))
    (tmp_path / "a").write_bytes(hostile.encode_picture(image, kind, quality=100))
    assert_close(read_image(tmp_path / "a"), np.full((64, 64, 3), (255, 224, 204), np.uint8), 3)


def test_a_folder_of_phone_pictures_is_a_video(tmp_path):
    for number in (10, 2, 1):
        picture = Image.new("L", (32, 32), number * 20).convert("RGB")
        picture.save(tmp_path / f"{number}.AVIF", quality=100)
    frames = [round(float(frame.mean())) for frame in VideoReader(tmp_path)]
    assert np.abs(np.subtract(frames, [20, 40, 200])).max() <= 2


def test_orientation_of_16_bit_gray(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.array([[0, 65535]], np.uint16)).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png")[..., 0].tolist() == [[0], [255]]


def test_written_pictures_come_back(tmp_path):
    write_image(tmp_path / "a.png", PIXELS)
    assert_close(read_image(tmp_path / "a.png"), PIXELS, 0)
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    for name in ("a.JPG", "a.webp"):
        write_image(tmp_path / name, flat)
        assert_close(read_image(tmp_path / name), flat, 3)


@pytest.mark.parametrize("name", ["http:a.png", "imageio:chelsea.png", "<screen>.png", "a.zip.png", "-i.jpg"])
def test_odd_names_are_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_image(name, PIXELS)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert read_image(name).shape == PIXELS.shape


def test_writing_checks_at_the_door(tmp_path):
    with pytest.raises(MediaError, match=r"a\.tga.*\.png, \.jpg"):
        write_image(tmp_path / "a.tga", PIXELS)
    with pytest.raises(MediaError, match="does not exist"):
        write_image(tmp_path / "missing" / "a.png", PIXELS)
    with pytest.raises(InputError, match="2x3x3 float64"):
        write_image(tmp_path / "a.png", PIXELS / 255)
    with pytest.raises(InputError, match="list"):
        write_image(tmp_path / "a.png", PIXELS.tolist())
    assert list(tmp_path.iterdir()) == []
