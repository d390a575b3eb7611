"""Arrays that are no pictures are refused by name; unusual ones that are, are taken and left as they were."""

import itertools

import numpy as np
import pytest
import torch
from doors import check_only
from golden_data import assert_near
from PIL import Image

from fomm import Animator, InputError, make_animation
from fomm.animation.frames import check_picture
from fomm.media import VideoWriter, save_video, write_image

RNG = np.random.default_rng(0)
GOOD = RNG.random((64, 64, 3), dtype=np.float32)


def with_one(value: float, dtype: type = np.float32) -> np.ndarray:
    picture = np.full((64, 64, 3), 0.5, dtype)
    picture[40, 50, 2] = value
    return picture


BAD = {  # a picture, and what is said of it
    "NaN": (with_one(np.nan), "holds values that are not finite"),
    "infinite": (with_one(np.inf), "holds values that are not finite"),
    "minus infinite": (with_one(-np.inf), "holds values that are not finite"),
    "NaN in half precision": (with_one(np.nan, np.float16), "holds values that are not finite"),
    "floats in [0, 255]": (GOOD * 255, r"holds floats from 0\.\d+ to 25\d.*divide by 255"),
    "floats in [-1, 1]": (GOOD * 2 - 1, r"holds floats from -0\.9.*expected \[0, 1\]"),
    "one value of 2": (with_one(2.0), r"holds floats from 0\.5 to 2; expected \[0, 1\]"),
    "int64": (np.zeros((64, 64, 3), np.int64), "is of int64; expected uint8, or floats"),
    "uint16": (np.zeros((64, 64, 3), np.uint16), "is of uint16"),
    "bool": (np.zeros((64, 64, 3), bool), "is of bool"),
    "complex": (np.zeros((64, 64, 3), complex), "is of complex128"),
    "objects": (np.full((64, 64, 3), None), "is of object"),
    "texts": (np.full((64, 64, 3), "0"), "is of <U1"),
    "dates": (np.zeros((64, 64, 3), "M8[s]"), "is of datetime64"),
    "no channels": (GOOD[..., 0], r"has shape \(64, 64\); expected height x width x 3"),
    "one channel": (GOOD[..., :1], r"has shape \(64, 64, 1\)"),
    "two channels": (GOOD[..., :2], r"has shape \(64, 64, 2\)"),
    "four channels": (
        np.zeros((64, 64, 4), np.uint8),
        r"has shape .*drop the alpha channel with \[\.\.\., :3\]",
    ),
    "channels first": (GOOD.transpose(2, 0, 1), r"has shape \(3, 64, 64\)"),
    "a batch": (GOOD[None], r"has shape \(1, 64, 64, 3\)"),
    "no rows": (GOOD[:0], r"has shape \(0, 64, 3\)"),
    "no columns": (GOOD[:, :0], r"has shape \(64, 0, 3\)"),
    "a number": (3.5, r"has shape \(\)"),
    "None": (None, r"has shape \(\)"),
    "a name": ("photo.png", r"has shape \(\)"),
    "bytes": (b"\x89PNG", r"has shape \(\)"),
    "a dict": ({"image": GOOD}, r"has shape \(\)"),
    "an empty list": ([], r"has shape \(0,\)"),
    "rows of two lengths": ([[[0.1] * 3] * 4, [[0.1] * 3] * 5], "is no array: .*inhomogeneous"),
    "a tensor with gradients": (torch.zeros(64, 64, 3, requires_grad=True), "is no array: .*requires grad"),
    "a tensor on no device": (torch.zeros(64, 64, 3, device="meta"), "is no array: .*meta"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("place", ["source_image", "driving_video", "reference"])
def test_bad_pictures(tiny, name, place):
    picture, words = BAD[name]
    with pytest.raises(InputError) as caught:
        if place == "source_image":
            make_animation(picture, [GOOD], *tiny, progress=False)
        elif place == "driving_video":
            make_animation(GOOD, iter([GOOD, GOOD, picture]), *tiny, progress=False)
        else:
            Animator(GOOD, *tiny).find_reference(picture)
    assert type(caught.value) is InputError
    shown = {"driving_video": r"driving_video\[2\]", "reference": "the reference frame"}.get(place, place)
    assert caught.match(f"^{shown} {words}")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("video", "words"),
    [
        ([], "driving_video has no frames; expected at least one"),
        ((), "driving_video has no frames"),
        (iter([]), "driving_video has no frames"),
        (np.zeros((0, 64, 64, 3), np.uint8), "driving_video has no frames"),
        (np.zeros((4, 64, 64), np.uint8), r"driving_video has shape \(4, 64, 64\)"),
        (np.zeros((4, 3, 64, 64), np.uint8), r"driving_video\[0\] has shape \(3, 64, 64\)"),
        (GOOD, r"driving_video has shape \(64, 64, 3\); expected frames x height"),
        (None, "driving_video is a NoneType"),
        (25, "driving_video is a int"),
        ("driving.mp4", r"driving_video\[0\] has shape \(\)"),
        ({"frames": 1}, r"driving_video\[0\] has shape \(\)"),
        ([[]], r"driving_video\[0\] has shape \(0,\)"),
    ],
)
def test_bad_videos(tiny, video, words):
    with pytest.raises(InputError, match=words) as caught:
        make_animation(GOOD, video, *tiny, progress=False)
    assert type(caught.value) is InputError


def test_an_error_of_the_callers_own_iterator_is_passed_on(tiny):
    def frames():
        yield GOOD
        raise LookupError("of the caller")

    with pytest.raises(LookupError, match="of the caller"):
        make_animation(GOOD, frames(), *tiny, progress=False)


# -- unusual, and taken ------------------------------------------------------------------------------

BYTES = RNG.integers(0, 256, (64, 64, 3), np.uint8)


def read_only(picture: np.ndarray) -> np.ndarray:
    picture = picture.copy()
    picture.flags.writeable = False
    return picture


def swapped() -> np.ndarray:
    return (BYTES / 255).astype(">f4")


TAKEN = {
    "uint8": BYTES,
    "float32": BYTES / np.float32(255),
    "float64": BYTES / 255,
    "long double": BYTES.astype(np.longdouble) / 255,
    "read-only": read_only(BYTES),
    "read-only floats": read_only(BYTES / np.float32(255)),
    "every second column": np.repeat(BYTES, 2, 1)[:, ::2],
    "upside down twice": BYTES[::-1].copy()[::-1],
    "channels turned": np.ascontiguousarray(BYTES[..., ::-1])[..., ::-1],
    "columns first": np.asfortranarray(BYTES),
    "another byte order": swapped(),
    "broadcast": np.broadcast_to(BYTES, (1, 64, 64, 3))[0],
    "a list of lists of floats": (BYTES / 255).tolist(),
    "a masked array": np.ma.masked_array(BYTES),
    "a matrix of its own class": BYTES.view(type("Picture", (np.ndarray,), {})),
    "a picture of Pillow": Image.fromarray(BYTES),
    "a tensor": torch.from_numpy(BYTES),
    "a hair beyond 1": np.where(BYTES == 255, np.float32(1.0000001), BYTES / np.float32(255)),
}


@pytest.mark.parametrize("name", TAKEN)
def test_unusual_pictures(tiny, name):
    wanted = np.stack(make_animation(BYTES, [BYTES, BYTES[::-1]], *tiny, progress=False))
    picture = TAKEN[name]
    before = np.asarray(picture).copy()
    turned = np.asarray(check_picture(picture, "it"))[::-1]
    got = np.stack(make_animation(picture, [picture, turned], *tiny, progress=False))
    assert_near(got, wanted, 1e-5, name)
    assert np.array_equal(np.asarray(picture), before), "what the caller gave is not changed"


def test_mixed_sizes_and_kinds_are_brought_to_one(tiny):
    """Each frame is resized for itself, to the network's size."""
    frames = [np.full((h, w, 3), 51, np.uint8) for h, w in ((64, 64), (1, 1), (300, 20), (7, 500))]
    frames.append(np.full((30, 30, 3), 0.2, np.float32))
    got = make_animation(BYTES, frames, *tiny, progress=False)
    assert {frame.shape for frame in got} == {(64, 64, 3)}
    for frame in got[1:]:
        assert_near(frame, got[0], 1e-4, "the same flat gray in another size")


def test_frames_may_be_one_buffer_written_again(tiny):
    """As camera readers give them."""
    buffer = np.empty((64, 64, 3), np.uint8)
    pictures = [BYTES, BYTES[::-1], BYTES[:, ::-1]]

    def frames():
        for picture in pictures:
            buffer[:] = picture
            yield buffer

    wanted = make_animation(BYTES, pictures, *tiny, progress=False, batch_size=1)
    got = make_animation(BYTES, frames(), *tiny, progress=False, batch_size=1)
    assert_near(np.stack(got), np.stack(wanted), 1e-6, "one buffer")


# -- what is written ---------------------------------------------------------------------------------

FRAME = np.zeros((16, 16, 3), np.uint8)
BAD_FRAMES = {
    "floats": (FRAME / 255, "HxWx3 uint8, not 16x16x3 float64; floats"),
    "NaN": (np.full((16, 16, 3), np.nan), "not 16x16x3 float64"),
    "int64": (FRAME.astype(int), "not 16x16x3 int64"),
    "gray": (FRAME[..., 0], "not 16x16 uint8"),
    "one channel": (FRAME[..., :1], "not 16x16x1 uint8"),
    "five channels": (np.zeros((16, 16, 5), np.uint8), "not 16x16x5 uint8"),
    "floats with alpha": (np.zeros((16, 16, 4)), "not 16x16x4 float64"),
    "no pixels": (FRAME[:0], "not 0x16x3 uint8"),
    "a batch": (FRAME[None], "not 1x16x16x3 uint8"),
    "a list": (FRAME.tolist(), "HxWx3 uint8, not list"),
    "None": (None, "HxWx3 uint8, not NoneType"),
    "a tensor": (torch.zeros(16, 16, 3, dtype=torch.uint8), "HxWx3 uint8, not Tensor"),
}


@pytest.mark.parametrize("target", ["a.mp4", "a.webm", "a.gif", "frames", "a.png"])
@pytest.mark.parametrize("name", BAD_FRAMES)
def test_bad_frames_are_not_written(tmp_path, name, target):
    frame, words = BAD_FRAMES[name]
    with pytest.raises(InputError, match=words) as caught:
        if target == "a.png":
            write_image(tmp_path / target, frame)
        else:
            with VideoWriter(tmp_path / target, fps=25) as writer:
                writer.write(frame)
    assert type(caught.value) is InputError
    check_only(tmp_path)


@pytest.mark.parametrize("target", ["a.mp4", "a.webm", "a.gif", "frames"])
@pytest.mark.parametrize("second", [(16, 18), (18, 16), (8, 32), (1, 1)])
def test_mixed_sizes_are_not_written(tmp_path, target, second):
    height, width = second
    frames = itertools.chain([FRAME] * 3, [np.zeros((height, width, 3), np.uint8)])
    with pytest.raises(InputError, match=rf"frame 3 of .*{target} is {width}x{height}, but .* 16x16"):
        save_video(tmp_path / target, frames, 25)
    check_only(tmp_path)
