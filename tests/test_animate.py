import inspect
import io
import itertools
import re
import sys
import warnings

import numpy as np
import pytest
import torch
from golden_data import EXPECTED, GOLDEN, SUFFIX, assert_near
from PIL import Image

from fomm import Animator, InputError, MediaError, animate_file, load_checkpoints, make_animation
from fomm.animation.animate import animate_frames
from fomm.animation.driving import grow_to_shape
from fomm.animation.frames import to_tensor, to_uint8
from fomm.animation.option_table import group_options
from fomm.animation.options import Compute, Excerpt, Framing, Marking, Motion
from fomm.animation.photo import MovedPhoto
from fomm.bundled import bundled
from fomm.commands.options import given_options
from fomm.commands.parser import build_parser
from fomm.engines.inference import InferenceNetworks
from fomm.face.crop import Rect
from fomm.media import VideoReader, read_image, save_video, write_image

pytestmark = pytest.mark.smoke

UNMARKED = Marking(mark=False)  # for those who compare pixels


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("file", ["tiny-cpk.pth.tar", "tiny-cpk-legacy.pth.tar"])
def test_the_published_numbers_through_the_public_calls(file, align_corners, tmp_path):
    config = (GOLDEN / "tiny.yaml").read_text()
    if not align_corners:
        config = config.replace("  generator_params:\n", "  generator_params:\n    align_corners: false\n")
    (tmp_path / "tiny.yaml").write_text(config)
    generator, kp_detector = load_checkpoints(tmp_path / "tiny.yaml", GOLDEN / file, cpu=True)
    for name, options in {
        "absolute": {"relative": False},
        "relative": {"adapt_movement_scale": False},
        "relative_adapt": {},
    }.items():
        frames = make_animation(
            EXPECTED["source"], EXPECTED["driving"], generator, kp_detector, progress=False, **options
        )
        assert_near(np.stack(frames), EXPECTED[f"prediction_{name}{SUFFIX[align_corners]}"], 1e-4, name)


def test_result_is_a_list_of_float_frames(tiny):
    frames = make_animation(EXPECTED["source"], EXPECTED["driving"], *tiny)
    assert isinstance(frames, list) and len(frames) == 4
    assert all(frame.shape == (64, 64, 3) and frame.dtype == np.float32 for frame in frames)
    assert min(frame.min() for frame in frames) >= 0 and max(frame.max() for frame in frames) <= 1


@pytest.mark.parametrize("kind", ["list", "iterator", "uint8", "float64", "noncontiguous", "readonly"])
def test_every_kind_of_input_gives_the_same_frames(tiny, kind):
    source, driving = to_uint8(EXPECTED["source"]), to_uint8(EXPECTED["driving"])
    wanted = make_animation(source / np.float32(255), driving / np.float32(255), *tiny)
    match kind:
        case "list":
            driving = list(driving)
        case "iterator":
            driving = iter(driving)
        case "float64":
            source, driving = source / 255, driving / 255
        case "noncontiguous":
            driving = np.repeat(driving, 2, axis=2)[:, :, ::2]
        case "readonly":
            source.flags.writeable = driving.flags.writeable = False
    assert_near(np.stack(make_animation(source, driving, *tiny)), np.stack(wanted), 1e-5, kind)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_the_batch_size_does_not_matter(tiny, batch_size):
    wanted = make_animation(EXPECTED["source"], EXPECTED["driving"], *tiny, batch_size=4)
    got = make_animation(EXPECTED["source"], EXPECTED["driving"], *tiny, batch_size=batch_size)
    assert_near(np.stack(got), np.stack(wanted), 1e-5, f"batches of {batch_size}")


def test_best_frame_is_the_reference_forwards_and_backwards(tiny):
    """As published: two animations from the best frame on, the one backwards, joined."""
    source, driving = EXPECTED["source"], EXPECTED["driving"]
    forward = make_animation(source, driving[2:], *tiny)
    backward = make_animation(source, driving[2::-1], *tiny)
    wanted = backward[::-1] + forward[1:]
    for video in (driving, iter(driving)):
        got = make_animation(source, video, *tiny, best_frame=2)
        assert_near(np.stack(got), np.stack(wanted), 1e-5, "best frame")


def test_other_sizes_are_resized_and_the_right_size_is_untouched(tiny):
    picture = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    assert (to_tensor(picture, (64, 64), torch.device("cpu"))[0].permute(1, 2, 0).numpy() == picture).all()
    flat = np.full((300, 100, 3), 51, np.uint8)
    assert_near(
        to_tensor(flat, (64, 64), torch.device("cpu")), np.full((1, 3, 64, 64), 0.2, "f4"), 1e-6, "flat"
    )
    frames = make_animation(flat, [np.zeros((90, 160, 3), np.uint8)], *tiny)
    assert frames[0].shape == (64, 64, 3)


def test_the_source_is_encoded_once(tiny, monkeypatch):
    calls = []
    encode = InferenceNetworks.encode
    monkeypatch.setattr(InferenceNetworks, "encode", lambda *given: calls.append(1) or encode(*given))
    make_animation(EXPECTED["source"], EXPECTED["driving"], *tiny, batch_size=1)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({}, ("torch", "float32")),
        ({"precision": "bfloat16"}, ("torch", "bfloat16")),
        ({"engine": "auto", "precision": "float16"}, ("torch", "float16")),
    ],
)
def test_engine_and_precision_reach_the_networks(tiny, options, chosen):
    compute = Compute(**{"precision": "float32", **options})
    animator = Animator(EXPECTED["source"], *tiny, compute=compute)
    assert (animator.engine, animator.precision) == chosen
    wanted = make_animation(EXPECTED["source"], EXPECTED["driving"], *tiny)
    got = np.stack(make_animation(EXPECTED["source"], EXPECTED["driving"], *tiny, **options))
    assert np.square(got - np.stack(wanted)).mean() < 1e-4  # 40 dB
    assert (got.tobytes() == np.stack(wanted).tobytes()) == (not options)


def test_the_networks_move_to_the_device_that_is_asked_for(tiny):
    assert Animator(EXPECTED["source"], *tiny, compute=Compute(device="cpu")).device == torch.device("cpu")
    with pytest.raises(InputError, match=r"^device 'gpu' cannot be used on this machine; try device='cpu'"):
        Animator(EXPECTED["source"], *tiny, compute=Compute(device="gpu"))


def test_an_unknown_engine_is_an_error(tiny):
    with pytest.raises(InputError, match="engine is 'tpu'; expected torch, openvino, onnxruntime or auto"):
        make_animation(EXPECTED["source"], EXPECTED["driving"], *tiny, engine="tpu")


def test_a_picture_far_from_square_is_squeezed_with_a_warning(tiny):
    """Published scripts resize first and hear nothing; so do pictures that are nearly square."""
    square, wide, nearly = (np.full((64, width, 3), 0.5, "f4") for width in (64, 96, 72))
    for source, driving, said in (
        (wide, [square], [r"source_image is 96x64 pixels .* squeezed into the networks' 64x64, .*animate_f"]),
        (np.swapaxes(wide, 0, 1), [square], ["source_image is 64x96 pixels"]),
        (square, [wide, wide], ["the frames of driving_video are 96x64 pixels"]),
        (square, iter([wide, wide]), ["the frames of driving_video are 96x64 pixels"]),
        (nearly, [nearly], []),
        (square, [square], []),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            make_animation(source, driving, *tiny, progress=False)
        assert len(caught) == len(said), [str(warning.message) for warning in caught]
        for warning, words in zip(caught, said, strict=True):
            assert re.search(words, str(warning.message)), warning.message


@pytest.mark.parametrize(("threads", "needed"), [(1, 6), (2, 10)])
def test_the_animator_streams(tiny, set_threads, threads, needed):
    """Of a video without end it asks for the batches that are taken, and two more where threads paint two."""
    set_threads(threads)
    asked = 0

    def endless():
        nonlocal asked
        for frame in itertools.cycle(EXPECTED["driving"]):
            asked += 1
            yield frame

    animator = Animator(EXPECTED["source"], *tiny, compute=Compute(precision="float32", batch_size=2))
    assert len(list(itertools.islice(animator.animate(endless()), 5))) == 5
    assert asked == needed


def test_frames_as_one_tensor(tiny):
    """They are those that come one by one, in batches of another size, and stay on the networks' device."""
    animator = Animator(EXPECTED["source"], *tiny, compute=Compute(precision="float32", batch_size=2))
    frames = animator.animate_tensor(EXPECTED["driving"][:3])
    assert frames.device == animator.device
    assert frames.dtype == torch.float32
    np.testing.assert_array_equal(frames.numpy(), list(animator.animate(EXPECTED["driving"][:3])))
    with pytest.raises(InputError, match="driving_video has no frames"):
        animator.animate_tensor([])
    with pytest.raises(InputError, match="driving_video is a int"):
        animator.animate_tensor(5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"best_frame": 4}, "best_frame is 4, but"),
        ({"best_frame": -1}, "best_frame is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_options_that_cannot_be(tiny, options, words):
    with pytest.raises(InputError, match=words):
        make_animation(EXPECTED["source"], EXPECTED["driving"], *tiny, **options)


def test_a_function_is_told_of_each_frame(files, tiny):
    told = []
    given = files / "photo.png", files / "driving.mp4", files / "r.mp4"
    animate_file(*given, *tiny, framing=Framing(crop="none"), progress=lambda *how_far: told.append(how_far))
    assert told == [(made, 8) for made in range(1, 9)]


def test_a_function_is_told_while_a_face_is_looked_for(portrait, tiny):
    folder, _ = portrait
    files, told = (folder / "photo.png", folder / "driving.mp4", folder / "r.mp4"), []
    count = animate_file(*files, *tiny, progress=lambda *how_far: told.append(how_far))
    made = [number for number, _ in told]
    assert made == [0] * made.count(0) + list(range(1, count + 1)) and made.count(0) >= count


@pytest.mark.parametrize("last", [0, 1, 5])
def test_what_a_function_raises_cancels_the_work(portrait, tiny, ffmpegs, last):
    class Cancelled(Exception):
        pass

    def cancel(made, total):
        if made == last:
            raise Cancelled

    folder, _ = portrait
    photo, driving, result = folder / "photo.png", folder / "driving.mp4", folder / "r.mp4"
    result.write_bytes(b"an older result")
    before = sorted(folder.iterdir())
    with pytest.raises(Cancelled):
        animate_file(photo, driving, result, *tiny, progress=cancel)
    assert result.read_bytes() == b"an older result" and sorted(folder.iterdir()) == before
    assert ffmpegs and all(process.poll() is not None for process in ffmpegs)


def test_make_animation_tells_a_function(tiny):
    told = []
    make_animation(
        EXPECTED["source"], EXPECTED["driving"], *tiny, progress=lambda *how_far: told.append(how_far)
    )
    assert told == [(made, 4) for made in range(1, 5)]


def test_progress_is_silent_where_there_is_no_terminal(tiny, monkeypatch):
    error = io.StringIO()
    monkeypatch.setattr(sys, "stderr", error)
    make_animation(EXPECTED["source"], EXPECTED["driving"], *tiny, progress=True)
    assert error.getvalue() == ""


def test_from_file_to_file(tiny, files):
    given, result = (files / "photo.png", files / "driving.mp4"), files / "result.mp4"
    assert (
        animate_file(*given, result, *tiny, framing=Framing(crop="none"), compute=Compute(batch_size=3)) == 8
    )
    with VideoReader(result) as reader:
        assert reader.fps == 10 and reader.size == (64, 64) and len(list(reader)) == 8


def test_side_by_side_shows_source_driving_and_result(tiny, files):
    photo, driving, out = files / "photo.png", files / "driving.mp4", files / "out"
    animate_file(
        photo,
        driving,
        out,
        *tiny,
        framing=Framing(crop="none", side_by_side=True),
        motion=Motion(best_frame=3),
        marking=UNMARKED,
        compute=Compute(precision="float32", batch_size=3),
    )
    with VideoReader(out) as reader, VideoReader(driving) as moving:
        rows, frames = list(reader), list(moving)
    assert len(rows) == 8 and rows[0].shape == (64, 192, 3)
    for row, frame in zip(rows, frames, strict=True):
        assert (row[:, :64] == to_uint8(EXPECTED["source"])).all()
        assert (row[:, 64:128] == frame).all()
    animated = make_animation(to_uint8(EXPECTED["source"]), frames, *tiny, best_frame=3)
    assert_near(rows[7][:, 128:] / 255, animated[7], 0.6 / 255, "result")


@pytest.mark.parametrize(
    ("size", "options", "wanted"),
    [
        (96, {}, (96, 96)),
        ((40, 30), {}, (40, 30)),
        (100, {"crop": (0, 0, 64, 64), "paste_back": True}, (60, 100)),
        ((30, 40), {"side_by_side": True}, (30, 120)),
    ],
)
def test_results_are_scaled(tiny, files, size, options, wanted):
    """Without aliasing, from what comes without a size; every panel of a row by itself."""
    write_image(files / "photo.png", np.full((120, 200, 3), 90, np.uint8))
    given = files / "photo.png", files / "driving.mp4"
    for name, chosen in (("as it is", None), ("scaled", size)):
        framing = Framing(**{"crop": "none", "crop_driving": "none", "size": chosen, **options})
        animate_file(*given, files / name, *tiny, framing=framing, marking=UNMARKED)
    for plain, got in zip(
        *(sorted((files / name).iterdir()) for name in ("as it is", "scaled")), strict=True
    ):
        panels = np.split(read_image(plain), 3 if "side_by_side" in options else 1, axis=1)
        across = wanted[1] // len(panels)
        small = [Image.fromarray(panel).resize((across, wanted[0]), Image.BICUBIC) for panel in panels]
        assert_near(read_image(got), np.concatenate(small, axis=1), 0, f"size {size}")
        assert read_image(got).shape == (*wanted, 3)


def test_the_size_of_an_mp4_may_be_odd(tiny, files):
    given = files / "photo.png", files / "driving.mp4"
    animate_file(*given, files / "r.mp4", *tiny, framing=Framing(crop="none", size=(41, 33)))
    with VideoReader(files / "r.mp4") as reader:
        assert reader.size == (42, 34)


@pytest.mark.parametrize("size", [0, -3, (0, 20), (100_000, 100_000), 1_000_000])
def test_sizes_that_cannot_be(tiny, files, size):
    with pytest.raises(InputError, match=r"size is .*; expected pixels, at most \d+ in all"):
        given = files / "photo.png", files / "driving.mp4"
        animate_file(*given, files / "r.mp4", *tiny, framing=Framing(crop="none", size=size))
    assert not (files / "r.mp4").exists()


def test_a_part_grows_to_the_shape_of_the_network():
    """About its centre: 20 wide becomes 60 for twice 30 high, and 30 high 40 for the half of 20 wide."""
    part = Rect(10.0, 0.0, 30.0, 30.0)
    assert grow_to_shape(part, (64, 128)) == Rect(-10.0, 0.0, 50.0, 30.0)
    assert grow_to_shape(part, (128, 64)) == Rect(10.0, -5.0, 30.0, 35.0)
    assert grow_to_shape(part, (90, 60)) == part


def test_a_part_of_the_driving_video(tiny, files):
    out = files / "part"
    framing, excerpt = Framing(crop="none"), Excerpt(start=0.4, duration=0.3)
    given = files / "photo.png", files / "driving.mp4"
    assert animate_file(*given, out, *tiny, framing=framing, excerpt=excerpt) == 3


def test_nothing_is_left_when_the_animation_fails(tiny, files):
    before = sorted(files.iterdir())
    with pytest.raises(InputError, match="best_frame is 99"):
        given = files / "photo.png", files / "driving.mp4"
        animate_file(
            *given, files / "result.mp4", *tiny, framing=Framing(crop="none"), motion=Motion(best_frame=99)
        )
    assert sorted(files.iterdir()) == before


@pytest.mark.parametrize("crop", ["face", (1, 2, 3), [0, 0, 8, 8], ("a", 0, 8, 8), (0.5, 0, 8, 8), None, 5])
def test_a_crop_of_another_kind_is_refused(crop):
    with pytest.raises(InputError, match=r"^crop is .*; expected 'auto', 'none' or \(x, y, width, height\)"):
        Framing(crop=crop)
    if crop is not None:
        with pytest.raises(InputError, match=r"^crop_driving is "):
            Framing(crop_driving=crop)


def test_the_defaults_are_those_of_the_command_line():
    parameters = inspect.signature(animate_file).parameters
    options = build_parser().parse_args(["animate", "photo.jpg", "driving.mp4", "-o", "result.mp4"])
    wanted = group_options(given_options(options))
    assert {name: parameters[name].default for name in wanted} == wanted


@pytest.fixture
def portrait(tmp_path, portraits):
    """Give a wide photo with a face at its right, and a video of another face that moves, with a sound."""
    face = portraits[0]
    photo = np.full((300, 501, 3), 120, np.uint8)
    photo[20:276, 230:486] = face
    write_image(tmp_path / "photo.png", photo)
    frames = [np.roll(face, 3 * t, axis=1) for t in range(6)]
    save_video(tmp_path / "driving.mp4", frames, fps=10)
    return tmp_path, photo


def test_a_face_is_found_moved_and_put_back(portrait, tiny):
    folder, photo = portrait
    count = animate_file(
        folder / "photo.png",
        folder / "driving.mp4",
        folder / "frames/",
        *tiny,
        marking=UNMARKED,
        compute=Compute(precision="float32"),
    )
    frames = [read_image(path) for path in sorted((folder / "frames").iterdir())]
    assert count == len(frames) == 6 and all(frame.shape == photo.shape for frame in frames)
    for frame in frames:
        assert np.array_equal(frame[:, :200], photo[:, :200])  # far from the face
    changed = [np.abs(frame.astype(int) - photo).max() for frame in frames]
    assert changed[0] <= 1 < changed[-1]  # relative motion begins with the photo itself
    with VideoReader(folder / "driving.mp4") as reader:
        driving, fps = list(reader), reader.fps
    compute = Compute(precision="float32")
    in_memory = animate_frames(photo / np.float32(255), iter(driving), *tiny, fps=fps, compute=compute)
    assert np.array_equal(list(in_memory), frames)


@pytest.mark.parametrize(
    ("frames", "fps", "words"),
    [
        ([], 25, "driving_video has no frames"),
        ([(64, 64, 3), (64, 65, 3)], 25, r"driving_video has frames of 64x64 and 65x64 pixels \(width x hei"),
        ([(64, 64, 3)], 0, "fps is 0; expected"),
        ([(64, 64, 3)], float("nan"), "fps is nan; expected"),
    ],
)
def test_frames_in_memory_that_are_no_video(tiny, frames, fps, words):
    photo = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(InputError, match=words):
        animate_frames(photo, [np.zeros(shape, np.uint8) for shape in frames], *tiny, fps=fps)


def test_a_face_is_not_stretched_for_a_network_that_is_not_square(portrait, tiny, monkeypatch):
    """What it sees is cut out of the photo in its own shape, and goes back to the same place."""
    folder, photo = portrait
    monkeypatch.setattr(tiny[0], "frame_shape", (64, 96, 3))
    files = folder / "photo.png", folder / "driving.mp4"
    options = group_options({"precision": "float32", "duration": 0.1, "mark": False})
    part = MovedPhoto(photo, "photo.png", *tiny, framing=Framing(crop="auto", face=None, paste_back=True))
    height, width = part.pastes[0].size
    assert part.sources[0].shape == (64, 96, 3) and abs(width / height - 1.5) < 0.02
    assert animate_file(*files, folder / "whole/", *tiny, **options) == 1
    assert (
        animate_file(*files, folder / "part/", *tiny, **options | {"framing": Framing(paste_back=False)}) == 1
    )
    whole, alone = (read_image(next((folder / name).iterdir())) for name in ("whole", "part"))
    assert alone.shape == (64, 96, 3) and np.abs(whole.astype(int) - photo).max() <= 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("progress", [True, False])
@pytest.mark.parametrize("output", [Terminal, io.StringIO])
def test_a_bar_shows_that_faces_are_looked_for(portrait, tiny, monkeypatch, output, progress):
    folder, _ = portrait
    files = folder / "photo.png", folder / "driving.mp4", folder / "r.mp4"
    error = output()
    monkeypatch.setattr(sys, "stderr", error)
    animate_file(*files, *tiny, progress=progress)
    shown = "looking for the face" in error.getvalue() and "6/6" in error.getvalue()
    assert shown == (progress and output is Terminal)


def test_before_the_photo_is_enlarged_a_warning_says_that_it_adds_nothing(portrait, tiny):
    folder, _ = portrait
    files = folder / "photo.png", folder / "driving.mp4"
    with pytest.warns(UserWarning, match=r"size is 1002x600 .* the 501x300 that the photo has; enlarging"):
        animate_file(
            *files, folder / "r.mp4", *tiny, framing=Framing(size=1002), excerpt=Excerpt(duration=0.1)
        )
    with pytest.raises(MediaError, match=r"cannot write .*: File name too long"):
        animate_file(*files, folder / ("n" * 300), *tiny)


def test_the_part_alone_all_faces_and_what_does_not_go_together(portrait, tiny):
    folder, _ = portrait
    files = folder / "photo.png", folder / "driving.mp4"
    height, width, _ = tiny[0].frame_shape
    part = {"crop": (230, 20, 256, 256), "crop_driving": "none", "paste_back": False}
    animate_file(*files, folder / "part/", *tiny, framing=Framing(**part))
    assert read_image(next((folder / "part").iterdir())).shape == (height, width, 3)
    assert animate_file(*files, folder / "all/", *tiny, framing=Framing(face="all")) == 6
    with pytest.raises(InputError, match="does not go with paste_back"):
        animate_file(*files, folder / "no.mp4", *tiny, framing=Framing(paste_back=True, side_by_side=True))
    with pytest.raises(InputError, match="several faces are several parts of one picture"):
        animate_file(*files, folder / "no.mp4", *tiny, framing=Framing(face="all", paste_back=False))
    assert not (folder / "no.mp4").exists()


def test_the_best_frame_is_the_one_like_the_photo(portrait, tiny):
    """The driving video shows the same face: turned on its side, upright in the fourth frame, leaning."""
    folder, photo = portrait
    face = photo[20:276, 230:486]
    leaning = np.asarray(Image.fromarray(face).rotate(10))
    frames = [np.ascontiguousarray(np.rot90(face))] * 3 + [face] + [leaning] * 2
    save_video(folder / "driving.mp4", frames, fps=10)
    files = folder / "photo.png", folder / "driving.mp4"
    part = Framing(crop=(230, 20, 256, 256), crop_driving="none")
    for best, name in ((3, "number"), ("auto", "found")):
        motion = Motion(best_frame=best)
        animate_file(*files, folder / f"{name}/", *tiny, framing=part, motion=motion, marking=UNMARKED)
    one, other = (sorted((folder / name).iterdir()) for name in ("number", "found"))
    for left, right in zip(one, other, strict=True):
        assert np.array_equal(read_image(left), read_image(right)), left
    with pytest.raises(InputError, match="best_frame is 'first'; expected a frame's number or 'auto'"):
        animate_file(*files, folder / "no.mp4", *tiny, framing=part, motion=Motion(best_frame="first"))


def test_the_driving_video_is_examined_once(tiny, tmp_path, ffmpegs):
    """It is read three times here, for the face, for the best frame and for the result, with its sound."""
    driving = bundled("examples", "driving.mp4")
    count = animate_file(
        bundled("examples", "astronaut.png"),
        driving,
        tmp_path / "result.mp4",
        *tiny,
        excerpt=Excerpt(duration=0.2),
        motion=Motion(best_frame=1),
        progress=False,
    )
    with VideoReader(tmp_path / "result.mp4") as result:
        assert result.has_audio
        assert len(list(result)) == count
    asked = [process.args for process in ffmpegs if any(str(driving) in word for word in process.args)]
    streams = [words for words in asked if "rawvideo" in words and "framecrc" not in words]
    with_sound = [words for words in asked if "copy" in words]
    assert (len(streams), len(with_sound)) == (3, 1)
    assert len(asked) - len(streams) - len(with_sound) == 1


@pytest.mark.parametrize(("name", "what"), [("photo.png", "photo"), ("driving.mp4", "driving video")])
def test_a_result_does_not_replace_what_it_is_made_of(tiny, files, name, what):
    before = (files / name).read_bytes()
    (files / "again").symlink_to(files / name)
    for result in (files / name, files / ".." / files.name / name, files / "again"):
        with pytest.raises(InputError, match=f"is the {what} itself; choose another name"):
            animate_file(files / "photo.png", files / "driving.mp4", result, *tiny)
    assert (files / name).read_bytes() == before
