"""A photo that is transparent in parts: its alpha moves along, and goes to files that can hold it."""

import re
import subprocess
import warnings

import hostile
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt

from fomm import Edit, Framing, InputError, Motion, animate_file, edit, load_checkpoints
from fomm.animation.edit import show_edit
from fomm.animation.options import EXACT, Marking
from fomm.animation.paste import Paste
from fomm.animation.photo import MovedPhoto
from fomm.bundled import bundled
from fomm.cli import main
from fomm.face.crop import Rect
from fomm.marks import Marker, Origin, inspect_file, mark
from fomm.media import VideoReader, VideoWriter, read_image, save_video, write_image
from fomm.media.ffmpeg import find_executable
from fomm.media.images import SEEN, fill_transparent, lay_over_white
from fomm.media.resize import cut_out, resize
from fomm.model.geometry import coordinate_grid

PLAIN = Marking(mark=False)
ASTRONAUT = bundled("examples", "astronaut.png")
NOD = bundled("examples", "nod.motion.safetensors")
HEAD = (132, 76, 58, 62)  # centre x and y, half axes: an ellipse that cuts through the hair all around


def cut_portrait(square: np.ndarray) -> np.ndarray:
    """Return a portrait of 256x256 without its background, HxWx4: a head and shoulders, black where clear."""
    y, x = np.mgrid[:256, :256]
    head = 1 - np.hypot((x - HEAD[0]) / HEAD[2], (y - HEAD[1]) / HEAD[3])
    body = (y - 140) / HEAD[3] - np.abs(x - 128) / 400
    alpha = np.clip(np.maximum(head, body) * HEAD[2] * 255 / 2, 0, 255).round().astype(np.uint8)
    return np.dstack([np.where(alpha[..., None] == 0, 0, square), alpha])


@pytest.fixture(scope="module")
def networks():
    return load_checkpoints(cpu=True)


@pytest.fixture(scope="module")
def cut():
    return cut_portrait(read_image(ASTRONAUT))


@pytest.fixture
def photo(tmp_path, cut):
    """Give the file of a large photo with alpha, the portrait to the right of its middle."""
    room = np.pad(cut, ((20, 24), (150, 15), (0, 0)))
    room[250:290, 10:60] = (10, 200, 30, 77)  # something far from the head, seen by less than a third
    Image.fromarray(room).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def decode(path) -> np.ndarray:
    """Return the frames of a .webm with their alpha, TxHxWx4."""
    with VideoReader(path) as reader:
        height, width = reader.size
    words = ["-loglevel", "error", "-c:v", "libvpx-vp9", "-i", str(path), "-f", "rawvideo"]
    done = subprocess.run(
        [find_executable(), *words, "-pix_fmt", "rgba", "-"], capture_output=True, check=True
    )
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 4)


# -- what is read ------------------------------------------------------------------------------------


def test_a_picture_is_read_with_its_alpha(tmp_path):
    pixels = np.array([[[9, 8, 7, 0], [200, 100, 50, 51], [1, 2, 3, 255]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", alpha=True), pixels)
    assert np.array_equal(read_image(tmp_path / "a.png"), lay_over_white(pixels))
    pixels[..., 3] = 255
    Image.fromarray(pixels).save(tmp_path / "opaque.png")
    assert np.array_equal(read_image(tmp_path / "opaque.png", alpha=True), pixels[..., :3])


def test_gray_palette_and_16_bits(tmp_path):
    from test_images import write_png

    Image.new("LA", (1, 1), (40, 51)).save(tmp_path / "la.png")
    palette = Image.new("P", (1, 1))
    palette.putpalette([10, 20, 30])
    palette.save(tmp_path / "p.png", transparency=0)
    palette.save(tmp_path / "p-shares.png", transparency=bytes([100]))
    levels = np.array([65535, 100 * 257, 0, 51 * 257], ">u2").tobytes()
    write_png(tmp_path / "16.png", 16, 6, [levels])
    write_png(tmp_path / "16-gray.png", 16, 4, [np.array([77 * 257, 51 * 257], ">u2").tobytes()])
    for name, wanted in (
        ("la", (40, 40, 40, 51)),
        ("p", (10, 20, 30, 0)),
        ("p-shares", (10, 20, 30, 100)),
        ("16", (255, 100, 0, 51)),
        ("16-gray", (77, 77, 77, 51)),
    ):
        got = read_image(tmp_path / f"{name}.png", alpha=True)
        assert got.shape == (1, 1, 4) and np.abs(got[0, 0].astype(int) - wanted).max() <= 1, name


@pytest.mark.parametrize("kind", ["AVIF", "HEIC", "WEBP"])
def test_phone_formats(tmp_path, kind):
    image = Image.new("RGBA", (64, 64), (255, 100, 0, 51))
    (tmp_path / "a").write_bytes(hostile.encode_picture(image, kind, quality=100))
    assert np.abs(read_image(tmp_path / "a", alpha=True).astype(int) - (255, 100, 0, 51)).max() <= 3


# -- colours that nobody sees ------------------------------------------------------------------------


def test_colours_continue_under_transparent_pixels():
    """Left of a red bar all is clear and black, right of it clear and green: near the bar all becomes red."""
    picture = np.zeros((40, 61, 4), np.uint8)
    picture[:, 31:] = (0, 255, 0, 0)
    picture[:, 25:31] = (250, 30, 20, 255)
    filled = fill_transparent(picture)
    assert np.array_equal(filled[:, 25:31], picture[:, 25:31]) and np.array_equal(
        filled[..., 3], picture[..., 3]
    )
    assert np.abs(filled[..., :3].astype(int) - (250, 30, 20)).max() <= 1


def test_what_is_seen_keeps_its_colour():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (33, 20, 4), np.uint8)
    seen = picture[..., 3] >= SEEN
    filled = fill_transparent(picture)
    assert np.array_equal(filled[seen], picture[seen]) and 0 < seen.mean() < 1
    change = np.abs(lay_over_white(filled).astype(int) - lay_over_white(picture))
    assert change.max() <= 5, "what hardly shows changes by what nobody sees"
    assert np.array_equal(fill_transparent(np.zeros((1, 1, 4), np.uint8))[..., :3], [[[128] * 3]])


@pytest.mark.parametrize("box", [(0, 0, 8, 8), (-3, 1, 5, 9)])
def test_colours_are_resized_whatever_their_alpha(box):
    picture = np.random.default_rng(1).integers(0, 256, (8, 8, 4), np.uint8)
    got = cut_out(picture, box, (5, 6))
    apart = [cut_out(np.repeat(picture[..., c, None], 3, 2), box, (5, 6))[..., 0] for c in range(4)]
    assert np.array_equal(got, np.stack(apart, 2))
    assert np.array_equal(resize(picture, (8, 8)), picture)


# -- alpha that moves --------------------------------------------------------------------------------

REST = torch.full((1, 3, 16, 16), 0.5)
STILL = coordinate_grid(16, 16, REST)[None]
PART = Rect(20, 10, 60, 50)


def disc(x: float) -> np.ndarray:
    """Return a picture of one colour in which a disc of 10 pixels is seen, its middle at ``x``, 30."""
    rows, columns = np.mgrid[:60, :90]
    alpha = np.clip(10 - np.hypot(columns - x, rows - 30), 0, 1) * 255
    return np.dstack([np.full((60, 90, 3), 128), alpha]).astype(np.uint8)


def test_alpha_moves_with_the_flow_also_where_no_colour_changes():
    photo = disc(36)
    moved = STILL - torch.tensor([6 / 40 * 16 * 2 / 15, 0.0])  # six of the square's 40 pixels to the right
    frame = photo.copy()
    Paste(photo, PART, REST)(frame, REST, moved, torch.zeros(1, 1, 16, 16))
    wanted = disc(42)
    assert np.abs(frame[..., 3].astype(int) - wanted[..., 3]).max() <= 3
    assert np.abs(frame[..., :3].astype(int) - photo[..., :3]).max() <= 1


def test_alpha_that_does_not_move_is_the_photo_s_to_the_level():
    photo = np.random.default_rng(2).integers(0, 256, (60, 90, 4), np.uint8)
    for part in (PART, Rect(-10, -5, 30, 35)):
        frame = photo.copy()
        Paste(photo, part, REST)(frame, REST, STILL, None)
        assert np.array_equal(frame, photo)


def test_alpha_of_two_squares_that_overlap():
    """The second one does not move: the first one's alpha stays."""
    photo = disc(36)
    moved = STILL - torch.tensor([6 / 40 * 16 * 2 / 15, 0.0])
    frame = photo.copy()
    Paste(photo, PART, REST)(frame, REST, moved, None)
    before = frame.copy()
    Paste(photo, Rect(30, 10, 70, 50), REST)(frame, REST, STILL, None)
    assert np.array_equal(frame, before) and not np.array_equal(frame, photo)


def test_no_hole_opens_where_the_flow_comes_from_beyond_the_square():
    photo = np.full((60, 90, 4), 200, np.uint8)
    frame = photo.copy()
    Paste(photo, PART, REST)(frame, REST - 0.1, STILL - 1.5, None)
    assert np.array_equal(frame[..., 3], photo[..., 3])


@pytest.fixture(scope="module")
def moved(networks, cut):
    return MovedPhoto(cut, "cut.png", *networks, compute=EXACT)


def test_an_edit_that_changes_nothing_gives_the_photo(moved, cut):
    assert np.array_equal(show_edit(moved, Edit()), fill_transparent(cut))


def centre_of_alpha(frame: np.ndarray, top: int, bottom: int) -> float:
    """Return the mean x of what is seen in some rows."""
    alpha = frame[top:bottom, :, 3].astype(float)
    return float((alpha * np.arange(alpha.shape[1])).sum() / alpha.sum())


def test_the_outline_of_a_head_rolls_with_it(moved, cut):
    """The head leans to one side, above the neck; what is seen of it goes to that side."""
    for roll in (12, -12):
        frame = show_edit(moved, Edit(roll=roll))
        for rows in ((10, 60), (100, 130)):
            shift = centre_of_alpha(frame, *rows) - centre_of_alpha(cut, *rows)
            assert 2 < shift * np.sign(roll) < 8, (roll, rows, shift)


def test_no_dark_fringe_and_no_background_beside_a_head_that_moves(networks, moved, cut):
    """What colour lies under clear pixels in the file, black or green, changes nothing."""
    green = cut.copy()
    green[cut[..., 3] == 0, :3] = (0, 255, 0)
    other = MovedPhoto(green, "green.png", *networks, compute=EXACT)
    for change in (Edit(yaw=15), Edit(roll=-12)):
        assert np.array_equal(show_edit(moved, change), show_edit(other, change))
    # what is newly seen is as bright as the nearest hair that was seen before
    rows, columns = distance_transform_edt(cut[..., 3] < 255, return_distances=False, return_indices=True)
    for roll in (12, -12):
        frame = show_edit(moved, Edit(roll=roll))
        new = (frame[..., 3] > 128) & (cut[..., 3] == 0)
        new[140:] = False
        bright, hair = frame[new][:, :3].mean(), cut[rows[new], columns[new], :3].mean()
        assert new.sum() > 100 and bright > 0.85 * hair, (roll, new.sum(), bright, hair)


# -- from file to file -------------------------------------------------------------------------------


def test_a_folder_and_a_webm_keep_the_alpha(networks, photo, tmp_path):
    given = read_image(photo, alpha=True)
    options = {"motion": Motion(), "marking": PLAIN, "compute": EXACT}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*transparent")
        for name in ("frames", "r.webm"):
            assert animate_file(photo, NOD, tmp_path / name, *networks, **options) == 65
    frames = np.stack([np.asarray(Image.open(file)) for file in sorted((tmp_path / "frames").iterdir())])
    assert frames.shape == (65, *given.shape)
    assert (frames[:, :, :100, 3] == given[:, :100, 3]).all()  # far from the head
    assert (frames[:, 250:290, 10:60] == given[250:290, 10:60]).all()
    assert max(np.abs(frame[..., 3].astype(int) - given[..., 3]).max() for frame in frames) > 100
    assert "alpha_mode" in describe(tmp_path / "r.webm")
    video = decode(tmp_path / "r.webm")
    error = np.abs(video[..., 3].astype(int) - frames[..., 3])
    assert error.mean() < 0.5 and (error > 40).mean() < 1e-3, (error.mean(), error.max())


def describe(path) -> str:
    done = subprocess.run(
        [find_executable(), "-hide_banner", "-i", str(path)], capture_output=True, text=True
    )
    return done.stderr


@pytest.mark.parametrize("sound", [False, True])
def test_a_webm_keeps_the_alpha_of_every_frame(tmp_path, cut, sound):
    """Also of those that come after a hidden one, and where sound is added by a second pass."""
    frames = [np.roll(fill_transparent(cut), number, axis=1) for number in range(60)]
    clip = bundled("examples", "driving.mp4") if sound else None
    with VideoWriter(tmp_path / "a.webm", fps=25, audio=clip) as writer:
        for frame in frames:
            writer.write(frame)
    error = np.abs(decode(tmp_path / "a.webm")[..., 3].astype(int) - np.stack(frames)[..., 3])
    assert error.shape[0] == 60 and error.mean() < 0.3 and error.max() < 60, (error.mean(), error.max())
    # the track itself says so, as browsers want it: EBML element 53C0, AlphaMode, of one byte, 1
    assert b"\x53\xc0\x81\x01" in (tmp_path / "a.webm").read_bytes()
    assert ("Audio: opus" in describe(tmp_path / "a.webm")) == sound


@pytest.mark.parametrize("name", ["r.mp4", "r.gif"])
def test_what_cannot_keep_it_is_over_white_with_a_warning(tiny, photo, tmp_path, name):
    write_image(tmp_path / "white.png", read_image(photo))
    driving = tmp_path / "d.mp4"
    save_video(driving, [read_image(ASTRONAUT)] * 3, 25)
    options = {"framing": Framing(crop="none"), "marking": PLAIN, "compute": EXACT}
    words = rf"photo\.png is transparent in parts, which .*{name} does not keep.*white.*\.webm, or a folder"
    with pytest.warns(UserWarning, match=words) as caught:
        animate_file(photo, driving, tmp_path / name, *tiny, **options)
    assert sum("transparent" in str(warning.message) for warning in caught) == 1
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*transparent")  # an opaque photo loses nothing
        animate_file(tmp_path / "white.png", driving, tmp_path / f"white-{name}", *tiny, **options)
    assert (tmp_path / name).read_bytes() == (tmp_path / f"white-{name}").read_bytes()


@pytest.mark.parametrize("side_by_side", [False, True])
def test_the_part_alone_and_side_by_side(tiny, tmp_path, side_by_side):
    """A tiny photo as it is: at rest its alpha comes out, and the driver's panel is opaque."""
    photo = np.random.default_rng(3).integers(0, 256, (64, 64, 4), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    save_video(tmp_path / "d", [photo[..., :3]] * 2, 25)
    framing = Framing(crop="none", side_by_side=side_by_side)
    animate_file(
        tmp_path / "photo.png", tmp_path / "d", tmp_path / "out", *tiny,
        framing=framing, marking=PLAIN, compute=EXACT,
    )  # fmt: skip
    row = read_image(tmp_path / "out" / "frame000001.png", alpha=True)
    alphas = np.split(row[..., 3], 3 if side_by_side else 1, axis=1)
    assert np.abs(alphas[-1].astype(int) - photo[..., 3]).max() <= 1
    if side_by_side:
        assert np.array_equal(alphas[0], photo[..., 3]) and (alphas[1] == 255).all()


def test_the_result_may_have_another_size(networks, photo, tmp_path):
    words = [
        "animate",
        str(photo),
        "--motion",
        "nod",
        "-o",
        str(tmp_path / "out"),
        "--size",
        "100",
        "--no-mark",
    ]
    assert main([*words, "--device", "cpu"]) == 0
    frame = read_image(tmp_path / "out" / "frame000001.png", alpha=True)
    given = fill_transparent(read_image(photo, alpha=True))
    assert frame.shape == (71, 100, 4)
    assert np.abs(frame[:, :20, 3].astype(int) - resize(given, (71, 100))[:, :20, 3]).max() == 0


# -- stills ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "tolerance"), [("png", 0), ("webp", 0), ("avif", 16)])
def test_stills_keep_the_alpha(tmp_path, cut, suffix, tolerance):
    path = tmp_path / f"a.{suffix}"
    picture = fill_transparent(cut)
    write_image(path, picture, comment="Made with fomm")
    error = np.abs(read_image(path, alpha=True).astype(int) - picture)
    assert error[..., 3].max() <= tolerance, error[..., 3].max()
    assert error.mean() < 3
    assert inspect_file(path).comment == "Made with fomm"


def test_the_edit_command(networks, photo, tmp_path, capsys):
    """Function and command: exact alpha far from the head, marks that are read, and white in a .jpg."""
    given = read_image(photo, alpha=True)
    plain = edit(photo, Edit(yaw=12), *networks, compute=EXACT, alpha=True)
    assert np.array_equal(plain[:, :100, 3], given[:, :100, 3]) and plain.shape == given.shape
    assert edit(photo, Edit(yaw=12), *networks, compute=EXACT).shape == (*given.shape[:2], 3)
    words = ["edit", str(photo), "--yaw", "12", "--device", "cpu", "-o"]
    for suffix in ("png", "webp", "avif"):
        assert main([*words, str(tmp_path / f"o.{suffix}")]) == 0
        assert "transparent" not in capsys.readouterr().err
        found = inspect_file(tmp_path / f"o.{suffix}")
        assert found.mark is not None and found.comment.startswith("Made with fomm"), suffix
    got = read_image(tmp_path / "o.png", alpha=True)
    assert np.array_equal(got[:, :100, 3], given[:, :100, 3])
    assert main([*words, str(tmp_path / "o.jpg")]) == 0
    assert re.search(
        r"photo\.png is transparent.*o\.jpg.*white.*\.png, \.webp or \.avif", capsys.readouterr().err
    )
    assert read_image(tmp_path / "o.jpg")[:10, :10].min() > 240


# -- marks -------------------------------------------------------------------------------------------


def test_the_mark_goes_into_the_colours_alone(cut):
    picture, origin = fill_transparent(cut), Origin()
    marked = Marker(origin)(picture)
    assert np.array_equal(marked[..., 3], picture[..., 3])
    assert np.array_equal(marked[..., :3], mark(picture[..., :3], origin))


def test_a_small_cut_out_on_a_large_clear_sheet_is_read(tmp_path, cut):
    """Most of the mark lies under transparent pixels."""
    sheet = fill_transparent(np.pad(cut, ((384, 384), (384, 384), (0, 0))))
    origin = Origin()
    write_image(tmp_path / "a.png", Marker(origin)(sheet))
    found = inspect_file(tmp_path / "a.png").mark
    assert found is not None and found.origin == origin


# -- what cannot be ----------------------------------------------------------------------------------


@pytest.mark.parametrize("crop", ["auto", "none"])
def test_a_photo_that_is_transparent_everywhere(networks, tmp_path, crop):
    Image.new("RGBA", (300, 300), (90, 80, 70, 0)).save(tmp_path / "clear.png")
    for work in (
        lambda: animate_file(
            tmp_path / "clear.png", NOD, tmp_path / "r.webm", *networks, framing=Framing(crop=crop)
        ),
        lambda: edit(tmp_path / "clear.png", Edit(yaw=5), *networks, framing=Framing(crop=crop), alpha=True),
    ):
        with pytest.raises(InputError, match=r"clear\.png is transparent everywhere, so no face is seen"):
            work()
    assert not (tmp_path / "r.webm").exists()


def test_writers_refuse_alpha_that_they_cannot_keep(tmp_path):
    clear = np.zeros((16, 16, 4), np.uint8)
    for name, way in (("a.mp4", r"\.webm, or a folder"), ("a.gif", r"\.webm, or a folder")):
        with pytest.raises(InputError, match=rf"{name} keeps no transparency; .*{way}"):
            save_video(tmp_path / name, [clear], 25)
    with pytest.raises(InputError, match=r"a\.jpg keeps no transparency; .*\.png, \.webp or \.avif"):
        write_image(tmp_path / "a.jpg", clear)
    with pytest.raises(InputError, match="is 16x16, but the first is 16x16 with alpha"):
        save_video(tmp_path / "a.webm", [clear, clear[..., :3]], 25)
    assert list(tmp_path.iterdir()) == []


def test_the_jobs_of_a_list_keep_it(photo, tmp_path, capsys):
    (tmp_path / "jobs.csv").write_text(f"source,driving,output\nphoto.png,{NOD},out.webm\n")
    assert main(["animate", "--jobs", str(tmp_path / "jobs.csv"), "--device", "cpu"]) == 0
    assert decode(tmp_path / "out.webm")[..., 3].min() == 0
    assert inspect_file(tmp_path / "out.webm").mark is not None
