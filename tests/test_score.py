"""Scores of results whose motion is known: drawn heads, and pictures that were changed by hand."""

import json
import re

import hostile
import numpy as np
import pytest
import skimage.data
from PIL import Image
from scipy.ndimage import gaussian_filter

from fomm.cli import main
from fomm.errors import InputError, MediaError
from fomm.evaluation import score
from fomm.evaluation.faces import GAZE, TRAITS
from fomm.heads.motion import HeadMotion
from fomm.media import save_video, write_image

FPS, FRAMES, SIZE = 25, 30, 128
TIME = np.arange(FRAMES) / FPS
POSE = TRAITS[:3]


def draw_head(person=1, *, share=1.0, jaw=None, look=None, turn=True):
    """Return a clip of a drawn head that turns, nods, leans, speaks and blinks, TxSxSx3 uint8.

    Args:
        person: who it is.
        share: how far everything moves, of the usual.
        jaw: how far it is open in each frame, T numbers in [0, 1].
        look: how far the eyes look to the right of the picture, T numbers in [-1, 1].
        turn: whether the head moves.
    """
    from fomm.heads.bust import load_bust
    from fomm.heads.people import make_person
    from fomm.heads.render import Renderer, pose
    from fomm.heads.scene import make_scene

    names = load_bust().action_names
    actions = np.zeros((FRAMES, len(names)))
    jaw = 0.2 - 0.2 * np.cos(2 * np.pi * TIME / 0.6) if jaw is None else jaw
    actions[:, names.index("jawOpen")] = share * jaw
    blink = np.exp(-np.square((TIME - 0.6) / 0.12))
    for side in ("Left", "Right"):
        actions[:, names.index(f"eyeBlink{side}")] = share * blink
    for name, sign in (("OutLeft", 1), ("InRight", 1), ("InLeft", -1), ("OutRight", -1)):
        if look is not None:
            actions[:, names.index(f"eyeLook{name}")] = np.clip(sign * look, 0, 1)
    waves = [np.sin(2 * np.pi * TIME / seconds) for seconds in (1.1, 0.8, 0.6)]
    angles = np.stack(waves, 1) * [0.3, 0.15, 0.15] * (share if turn else 0)
    motion = HeadMotion(angles, np.zeros((FRAMES, 2)), np.ones(FRAMES), actions)
    someone, renderer = make_person(np.random.default_rng([7, 0, person])), Renderer(SIZE)
    scene = make_scene(np.random.default_rng([7, 1, 0]), SIZE)
    rng = np.random.default_rng(0)
    return np.stack(
        [renderer.draw(someone, scene, pose(someone, scene, motion, t), rng) for t in range(FRAMES)]
    )


def save(path, frames):
    save_video(path, list(frames), fps=FPS)
    return path


def save_exactly(path, frames):
    """Save a clip without loss: what is lost moves the mesh of so small a head."""
    pictures = path.with_suffix("")
    pictures.mkdir()
    for number, frame in enumerate(frames):
        write_image(pictures / f"{number:03}.png", frame)
    hostile.ffmpeg("-framerate", FPS, "-i", pictures / "%03d.png", "-c:v", "libx264rgb", "-qp", 0, path)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Give a folder with drawn clips."""
    folder = tmp_path_factory.mktemp("clips")
    save_exactly(folder / "full.mp4", draw_head())
    save_exactly(folder / "half.mp4", draw_head(share=0.5))
    save_exactly(folder / "other.mp4", draw_head(4))
    return folder


def measure(driving, result, **options):
    return score(driving, result, progress=False, **options)


def test_a_clip_scores_itself_as_perfect(clips):
    numbers = measure(clips / "full.mp4", clips / "full.mp4")
    for trait in TRAITS + GAZE:
        assert numbers["correlation"][trait] == pytest.approx(1), trait
        assert numbers["gain"][trait] == pytest.approx(1), trait
    for name in ("breathing", "silent_lips", "silent_lids", "identity_to_driving"):
        assert numbers[name] in (None, pytest.approx(0, abs=1e-6)), name
    assert numbers["frames_with_face"] == numbers["driving_frames_with_face"] == 1
    assert numbers["frames"] == FRAMES and numbers["fps"] == FPS
    for name in ("sharpness", "identity_to_photo", "straight_step"):
        assert numbers[name] is None, name
    assert len(numbers["series"]["yaw"]["driving"]) == FRAMES
    json.dumps(numbers, allow_nan=False)


def test_half_the_movement_is_a_gain_of_a_half(clips):
    numbers = measure(clips / "full.mp4", clips / "half.mp4")
    assert [numbers["gain"][trait] for trait in POSE] == pytest.approx([0.5] * 3, abs=0.08)
    # What the mesh sees of lips and lids is not proportional to how far they move.
    assert [numbers["gain"][trait] for trait in ("mouth", "eyes")] == pytest.approx([0.5] * 2, abs=0.2)
    assert min(numbers["correlation"][trait] for trait in ("yaw", "roll")) > 0.98
    # Half of these is a few degrees or a few pixels: not far above the mesh's own error.
    assert min(numbers["correlation"][trait] for trait in ("pitch", "mouth", "eyes")) > 0.88
    back = measure(clips / "half.mp4", clips / "full.mp4")
    assert [back["gain"][trait] for trait in POSE] == pytest.approx([2] * 3, abs=0.25)


def test_another_person_who_moves_alike_follows(clips):
    numbers = measure(clips / "full.mp4", clips / "other.mp4")
    assert [numbers["gain"][trait] for trait in POSE] == pytest.approx([1] * 3, abs=0.12)
    assert min(numbers["correlation"][trait] for trait in (*POSE, "mouth")) > 0.95
    assert numbers["identity_to_driving"] > 0.2
    assert numbers["breathing"] < 0.02


def test_gaze_follows_the_eyes(tmp_path):
    look = np.sin(2 * np.pi * TIME / 1.2)
    still = np.zeros(FRAMES)
    there = save(tmp_path / "there.mp4", draw_head(look=look, jaw=still, turn=False))
    away = save(tmp_path / "away.mp4", draw_head(look=-look, jaw=still, turn=False))
    numbers = measure(there, away)
    open_eyes = np.abs(TIME - 0.6) > 0.25
    seen = np.array(numbers["series"]["gaze_x"]["driving"], float)[open_eyes]
    assert np.corrcoef(seen, look[open_eyes])[0, 1] > 0.9  # positive to the right
    assert numbers["correlation"]["gaze_x"] < -0.8 and numbers["gain"]["gaze_x"] < -0.6


def test_lips_that_move_while_the_driver_is_silent(tmp_path):
    rest = save(tmp_path / "rest.mp4", draw_head(jaw=np.zeros(FRAMES)))
    restless = save(tmp_path / "restless.mp4", draw_head(jaw=0.15 - 0.15 * np.cos(2 * np.pi * TIME / 0.3)))
    assert measure(rest, restless)["silent_lips"] > 2
    assert measure(rest, rest)["silent_lips"] == 0
    assert measure(restless, rest)["silent_lips"] is None  # that driver never rests


def test_frames_without_a_face_are_counted_and_left_out(clips, tmp_path):
    frames = draw_head()
    frames[10:19] = 128
    numbers = measure(clips / "full.mp4", save(tmp_path / "gap.mp4", frames))
    assert numbers["frames_with_face"] == pytest.approx(1 - 9 / FRAMES)
    assert numbers["driving_frames_with_face"] == 1
    assert numbers["correlation"]["yaw"] > 0.99 and numbers["series"]["yaw"]["result"][12] is None
    assert numbers["gain"]["yaw"] == pytest.approx(1, abs=0.05)


def test_one_face_of_several_is_chosen(clips, tmp_path):
    moving, still = draw_head(4), np.repeat(draw_head(1)[:1], FRAMES, axis=0)
    both = save(tmp_path / "both.mp4", np.concatenate([still, moving], axis=2))
    numbers = measure(clips / "full.mp4", both, face=1)
    assert numbers["correlation"]["yaw"] > 0.95 and numbers["gain"]["yaw"] == pytest.approx(1, abs=0.15)
    numbers = measure(clips / "full.mp4", both, face=0)
    assert numbers["gain"]["yaw"] == pytest.approx(0, abs=0.05)
    with pytest.raises(InputError, match=r"no face 2; 2 were found"):
        measure(clips / "full.mp4", both, face=2)


@pytest.fixture(scope="module")
def portrait(tmp_path_factory):
    """Give a photo and results of it that have as many frames as the drawn clips.

    ``same``: nothing moves. ``soft``: the face is blurred. ``cut``: the square around the head slides aside,
    and ends where the square ends. ``square``: only the square, as it is.
    """
    folder = tmp_path_factory.mktemp("portrait")
    photo = skimage.data.astronaut()
    write_image(folder / "photo.png", photo)
    top, left, side = 38, 148, 152
    square = photo[top : top + side, left : left + side]
    frames = {name: np.repeat(photo[None], 12, axis=0) for name in ("same", "soft", "cut")}
    frames["soft"][:, top : top + side, left : left + side] = gaussian_filter(square, (1.5, 1.5, 0))
    for index in range(1, 12):
        frames["cut"][index, top : top + side, left : left + side] = np.roll(square, -3 * index, axis=1)
    enlarged = np.asarray(Image.fromarray(square).resize((256, 256), Image.Resampling.BICUBIC))
    frames["square"] = np.repeat(enlarged[None], 12, axis=0)
    for name, pictures in frames.items():
        save(folder / f"{name}.mp4", pictures)
    save(folder / "driver.mp4", draw_head()[:12])
    return folder


def look(portrait, name):
    return measure(portrait / "driver.mp4", portrait / f"{name}.mp4", photo=portrait / "photo.png")


def test_a_photo_that_stays_as_it_is(portrait):
    numbers = look(portrait, "same")
    assert numbers["identity_to_photo"] < 0.15 and numbers["identity_to_driving"] > 0.6
    assert numbers["sharpness_denoised"] == pytest.approx(1, abs=0.1)
    assert numbers["sharpness"] == pytest.approx(1, abs=0.25)
    assert numbers["straight_step"] == 0
    assert [numbers["gain"][trait] for trait in POSE] == pytest.approx([0] * 3, abs=0.05)


def test_a_blurred_face_is_less_sharp(portrait):
    assert look(portrait, "soft")["sharpness_denoised"] < 0.5


def test_what_is_cut_off_shows(portrait):
    assert look(portrait, "cut")["straight_step"] > 0.4


def test_the_square_alone_is_compared_with_the_photos_square(portrait):
    numbers = look(portrait, "square")
    assert numbers["straight_step"] is None and numbers["identity_to_photo"] < 0.15
    assert numbers["sharpness_denoised"] == pytest.approx(1, abs=0.15)


def test_the_command_prints_and_writes(clips, tmp_path, capsys):
    words = ["score", str(clips / "full.mp4"), str(clips / "half.mp4")]
    words += ["--json", str(tmp_path / "numbers.json"), "--report", str(tmp_path / "report")]
    assert main(words) == 0
    text = capsys.readouterr().out
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers == json.loads((tmp_path / "report" / "score.json").read_text())
    row = re.search(r"yaw, degrees +(\S+) +(\S+)", text)
    assert row and [float(value) for value in row.groups()] == [
        pytest.approx(numbers[key]["yaw"], abs=0.006) for key in ("correlation", "gain")
    ]
    assert f"{FRAMES} frames" in text and re.search(r"cut-off +–", text)
    page = (tmp_path / "report" / "score.html").read_text(encoding="utf-8")
    assert page.count("<svg") == len(TRAITS + GAZE) and page.count("data:image/jpeg") == 2
    assert "half.mp4" in page and "<script" not in page and f"{numbers['gain']['yaw']:.3f}" in page
    for tag in ("table", "tr", "div", "dl", "dt", "dd", "p"):
        assert len(re.findall(rf"<{tag}[ >]", page)) == page.count(f"</{tag}>"), tag


@pytest.mark.parametrize(
    ("driving", "result", "options", "error", "said"),
    [
        ("missing.mp4", "full.mp4", {}, MediaError, "missing.mp4: there is no such file"),
        ("full.mp4", "missing.mp4", {}, MediaError, "missing.mp4: there is no such file"),
        ("full.mp4", "full.mp4", {"photo": "missing.png"}, MediaError, "missing.png: there is no such file"),
        ("full.mp4", "picture.png", {}, MediaError, "it is a picture"),
        ("picture.png", "full.mp4", {"photo": "full.mp4"}, MediaError, "seem to be swapped"),
        ("full.mp4", "full.mp4", {"photo": "full.mp4"}, MediaError, "not a picture"),
        ("full.mp4", "short.mp4", {}, InputError, f"has {FRAMES} frames and .*short.mp4 has 4;"),
        ("two.mp4", "two.mp4", {}, InputError, "too few frames, 2; .* 3 or more"),
        ("one.mp4", "one.mp4", {}, InputError, "too few frames, 1; .* 3 or more"),
        ("empty.mp4", "full.mp4", {}, InputError, "empty.mp4: no face was found in any of its 30 frames"),
        ("full.mp4", "empty.mp4", {}, InputError, "empty.mp4: no face was found in any of its 30 frames"),
        ("full.mp4", "full.mp4", {"photo": "grey.png"}, InputError, "grey.png: no face was found"),
        ("full.mp4", "full.mp4", {"face": 1}, InputError, "full.mp4: there is no face 1; 1 were found"),
        ("full.mp4", "full.mp4", {"face": -1}, InputError, "full.mp4: there is no face -1"),
        ("full.mp4", "full.mp4", {"report": "picture.png"}, InputError, "cannot make the folder"),
    ],
)
def test_what_cannot_be_scored_is_one_error(bad_files, driving, result, options, error, said):
    paths = {name: bad_files / value if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(error, match=said) as caught:
        measure(bad_files / driving, bad_files / result, **paths)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def bad_files(clips):
    frames = draw_head(turn=False)[:4]
    save(clips / "short.mp4", frames)
    save(clips / "two.mp4", frames[:2])
    save(clips / "one.mp4", frames[:1])
    save(clips / "empty.mp4", np.full((FRAMES, SIZE, SIZE, 3), 128, np.uint8))
    write_image(clips / "picture.png", frames[0])
    write_image(clips / "grey.png", np.full((SIZE, SIZE, 3), 128, np.uint8))
    return clips


def test_driver_and_result_that_are_swapped(portrait):
    with pytest.raises(InputError, match="seem to be swapped: give the driving video first"):
        measure(portrait / "same.mp4", portrait / "driver.mp4", photo=portrait / "photo.png")


def test_a_place_that_cannot_be_written_to_is_found_first(clips, tmp_path, capsys):
    words = [str(clips / "full.mp4"), str(clips / "half.mp4"), "--json", str(tmp_path / "none" / "x.json")]
    assert main(["score", *words]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "create it first" in captured.err
