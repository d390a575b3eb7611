import json
import os
import shutil
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import draw_demo_clip
import numpy as np
import pytest
from checkout import ROOT
from golden_data import GOLDEN, assert_near
from PIL import Image
from scipy.ndimage import binary_dilation
from skimage.draw import polygon2mask

from fomm.bundled import user_cache_folder
from fomm.config import LABELS
from fomm.data.clips import find_clips, sidecar_of
from fomm.errors import InputError
from fomm.evaluation.clips import read_clip
from fomm.heads import landmarks
from fomm.heads.bust import (
    ASSETS,
    GLASSES,
    MOUTH_INSIDE,
    TEETH,
    TONGUE,
    find_angles,
    load_bust,
    make_rotation,
)
from fomm.heads.dataset import draw_at_low_priority, make_dataset, render_clip
from fomm.heads.figure import Person
from fomm.heads.glasses import add_glasses
from fomm.heads.motion import FPS, HeadMotion, make_blinks, make_motion, wander
from fomm.heads.people import make_person
from fomm.heads.render import Renderer, pose
from fomm.heads.scene import make_scene


def draw(
    yaw: float = 0, pitch: float = 0, roll: float = 0, person: int = 34, size: int = 64, **actions: float
):
    """One picture of a head in degrees, its 68 landmarks in pixels, and which of them can be seen."""
    return draw_parts(yaw, pitch, roll, person, size, **actions)[:4]


def draw_parts(
    yaw: float = 0, pitch: float = 0, roll: float = 0, person: int = 34, size: int = 64,
    someone: Person | None = None, **actions: float,
):  # fmt: skip
    """Return the same of that person or of ``someone``, and the parts seen at twice the size, -1 for none."""
    bust = load_bust()
    amounts = np.zeros((1, len(bust.action_names)))
    for name, amount in actions.items():
        amounts[0, bust.action_names.index(name)] = amount
    motion = HeadMotion(np.radians([[yaw, pitch, roll]]), np.zeros((1, 2)), np.ones(1), amounts)
    someone = someone or make_person(np.random.default_rng([9, 0, person]))
    scene, renderer = make_scene(np.random.default_rng([9, 1, person]), size), Renderer(size)
    view = pose(someone, scene, motion, 0)
    picture = renderer.draw(someone, scene, view, np.random.default_rng(0))
    points = landmarks.pick_landmarks(view.points)
    part = np.where(renderer.face_ids < 0, -1, someone.parts.astype(int)[renderer.face_ids])
    return picture, points[:, :2] * size, landmarks.find_visible(points, renderer.inverse_depth), view, part


def test_the_assets_are_small():
    assert sum(file.stat().st_size for file in ASSETS.iterdir()) <= 8 * 2**20


@pytest.mark.smoke
def test_the_golden_picture():
    """The same seed gives the same picture everywhere, within one level."""
    with Image.open(GOLDEN / "heads.png") as image:
        wanted = np.asarray(image).astype(int)
    clips = [render_clip(3, person, 0, 2, 64, step=10) for person in range(3)]
    drawn = np.concatenate([np.concatenate(list(clip.frames), 1) for clip in clips])
    assert_near(drawn.astype(int), wanted, 1, "golden heads")


def test_a_clip_depends_on_its_arguments_alone():
    one, again, other = (render_clip(*seed, 2, 32, step=5) for seed in ((1, 2, 0), (1, 2, 0), (1, 2, 1)))
    for name, array in one.__dict__.items():
        assert (array == again.__dict__[name]).all(), name
    assert (one.frames != other.frames).any()
    assert one.frames.shape == (2, 32, 32, 3) and one.frames.dtype == np.uint8
    assert one.landmarks.shape == (2, 68, 2) and one.visible.shape == (2, 68)
    assert one.keypoints.shape == (2, 16, 2) and one.jacobians.shape == (2, 16, 2, 2)
    with pytest.raises(InputError):
        render_clip(-1, 0, 0, 1, 32)


def test_landmarks_of_a_frontal_face_lie_in_order():
    _, points, visible, _ = draw()
    x, y = points.T
    assert (np.diff(x[:17]) > 0).all(), "the jaw runs from left to right"
    assert x[36:42].mean() < x[27:31].mean() < x[42:48].mean(), "eye, nose, eye"
    assert y[17:27].mean() < y[36:48].mean() < y[30] < y[48:68].mean() < y[8], (
        "brows, eyes, nose, mouth, chin"
    )
    assert abs((x[48] + x[54]) / 2 - x[27]) < 1 and y[51] < y[57], (
        "the mouth lies in the middle, upper lip above"
    )
    assert visible[17:].all()


@pytest.mark.smoke
def test_the_picture_shows_the_face_where_the_landmarks_are():
    """Pupils are darker than the skin of the cheeks below them."""
    picture, points, _, _ = draw(size=128)
    for eye in (points[36:42].mean(0), points[42:48].mean(0)):
        x, y = eye.astype(int)
        assert (
            picture[y - 1 : y + 2, x - 2 : x + 3].min() < 0.6 * picture[y + 12 : y + 16, x - 2 : x + 3].mean()
        )


@pytest.mark.parametrize(
    ("turn", "point", "axis", "sign"),
    [({"yaw": 25}, 30, 0, 1), ({"pitch": 15}, 30, 1, 1), ({"roll": 15}, 27, 0, 1)],
)
def test_signs_of_the_pose(turn, point, axis, sign):
    """Yaw turns the nose right, pitch lowers it, roll leans the head (its bridge against the chin) right."""
    _, rest, _, _ = draw()
    _, turned, _, view = draw(**turn)
    moved = (turned - rest)[point, axis] - (turned - rest)[8, axis] * (turn.keys() == {"roll"})
    assert sign * moved > 2, f"moved by {moved:.1f} pixels"
    found = dict(zip(("yaw", "pitch", "roll"), np.degrees(find_angles(view.rotation)), strict=True))
    for name, angle in found.items():
        assert angle == pytest.approx(turn.get(name, 0), abs=0.2), name


def test_the_far_side_is_hidden_when_the_head_turns():
    _, _, visible, _ = draw(yaw=50)
    assert visible[:5].all() and not visible[12:16].any()


def test_actions_do_what_they_say():
    _, rest, _, _ = draw(size=128)
    _, opened, _, _ = draw(size=128, jawOpen=1.0)
    _, blinked, _, _ = draw(size=128, eyeBlinkLeft=1.0, eyeBlinkRight=1.0)

    def gap(points, above, below):
        return points[below, 1] - points[above, 1]

    assert gap(opened, 62, 66) > gap(rest, 62, 66) + 5
    assert gap(blinked, 37, 41) < 0.4 * gap(rest, 37, 41)
    assert gap(blinked, 44, 46) < 0.4 * gap(rest, 44, 46)


def test_an_open_mouth_is_dark_inside():
    """Darker than the lips and than the tongue would be in full light; teeth in front of it are not."""
    for person in (34, 7):
        picture, points, _, _ = draw(person=person, size=256, jawOpen=0.8)
        inside = mask_of(points[60:68], 256)
        around = mask_of(points[48:60], 256) & ~inside
        lights = picture.mean(-1)
        assert np.median(lights[inside]) < 0.6 * np.median(lights[around])


def mask_of(polygon, size):
    """SxS bool: where the points (x, y in pixels) enclose the middles of pixels."""
    return polygon2mask((size, size), polygon[:, ::-1] - 0.5)


@pytest.mark.parametrize("actions", [{}, {"jawOpen": 0.9}, {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.7}])
def test_nothing_of_the_mouth_shows_beside_the_lips(actions):
    for person in range(4):
        _, points, _, _, part = draw_parts(person=person, size=128, yaw=15, **actions)
        lips = binary_dilation(mask_of(2 * points[48:60], 256), iterations=2)
        assert not (np.isin(part, (TEETH, TONGUE, MOUTH_INSIDE)) & ~lips).any(), person


def test_glasses_sit_around_the_eyes_and_turn_with_the_head():
    person = add_glasses(make_person(np.random.default_rng([9, 0, 34])), np.random.default_rng(3))
    assert len(person.template) == len(person.vertices) == len(person.skin_weights) == len(person.texcoords)
    assert len(person.faces) == len(person.parts) and person.faces.max() < len(person.vertices)
    moved = []
    for yaw in (0, 25):
        _, points, _, _, part = draw_parts(someone=person, size=128, yaw=yaw)
        frame = np.argwhere(part == GLASSES)[:, ::-1] / 2
        moved.append((frame.mean(0)[0], points[36:48].mean(0)[0]))
        if yaw:
            continue
        for eye in (points[36:42], points[42:48]):
            rays = frame - eye.mean(0)
            distance = np.linalg.norm(rays, axis=1)
            near = rays[distance < 1.5 * np.ptp(eye[:, 0])]
            angle = np.sort(np.arctan2(near[:, 1], near[:, 0]))
            assert np.diff(angle).max() < 0.5, "the rim goes all around the eye"
            assert distance.min() > 0.25 * np.ptp(eye[:, 0]), "it leaves the eye free"
    (before, eyes_before), (after, eyes_after) = moved
    assert after - before > 0.8 * (eyes_after - eyes_before) > 2


def test_key_points_agree_with_the_landmarks():
    size = 64
    _, points, _, view = draw(size=size)
    found = (landmarks.pick_keypoints(view.points[:, :2]) + 1) / 2 * size
    near = {"nose tip": 30, "left mouth corner": 54, "right mouth corner": 48, "chin": 8}
    for name, index in near.items():
        error = np.abs(found[LABELS.index(name)] - points[index]).max()
        assert error < 3, f"{name} is {error:.1f} pixels from landmark {index}"


def test_every_key_point_has_a_vertex():
    assert set(landmarks.KEYPOINT_VERTICES) == set(LABELS) and len(set(LABELS)) == len(LABELS)


def test_jacobians_are_the_local_maps():
    """A larger picture has a larger map; a roll of the whole head turns the maps of its front."""
    _, _, _, rest = draw()
    _, _, _, rolled = draw(roll=20)
    nose = LABELS.index("nose tip")
    before, after = (landmarks.fit_jacobians(view.points[:, :2])[nose] for view in (rest, rolled))
    doubled = landmarks.fit_jacobians(rest.points[:, :2] * 2)[nose]
    assert_near(doubled, 2 * before, 1e-9, "twice the size")
    cos, sin = np.cos(np.radians(20)), np.sin(np.radians(20))
    assert_near(after, np.array([[cos, -sin], [sin, cos]]) @ before, 0.12, "rolled")


def test_rotation_and_angles_are_inverse():
    for turn in ((0.3, 0.1, -0.2), (-0.8, 0.4, 0.5)):
        assert np.allclose(find_angles(make_rotation(*turn)), turn)


def test_motion_is_smooth_and_has_the_asked_spread():
    rng = np.random.default_rng(0)
    series = wander(rng, 20000, seconds=1.0)
    assert series.std() == pytest.approx(1, abs=0.1) and abs(np.diff(series)).max() < 0.4
    lids = make_blinks(rng, 25 * 600, per_second=0.5)
    starts = ((lids[1:] > 0.5) & (lids[:-1] <= 0.5)).sum()
    assert 0.2 < starts / 600 < 0.6 and lids.max() <= 1
    motion = make_motion(rng, 100)
    assert motion.actions.shape == (100, 52) and 0 <= motion.actions.min() <= motion.actions.max() <= 1


def test_people_differ_and_stay_themselves():
    people = [make_person(np.random.default_rng([0, 0, index])) for index in (0, 0, 1)]
    assert (people[0].texture == people[1].texture).all()
    assert (
        people[0].texture.shape == people[2].texture.shape and (people[0].texture != people[2].texture).any()
    )


OPTIONS = {"people": 4, "frames": 2, "size": 32, "test_fraction": 0.25, "progress": False}


def contents(folder) -> dict[str, dict[str, np.ndarray]]:
    found = {}
    for path in sorted(folder.rglob("*.npz")):
        with np.load(path) as arrays:
            found[str(path.relative_to(folder))] = {name: arrays[name] for name in arrays}
    return found


def assert_same_set(one, other):
    assert one.keys() == other.keys()
    for file, arrays in one.items():
        for name, array in arrays.items():
            assert np.array_equal(array, other[file][name]), f"{file}: {name}"


def test_a_data_set_is_the_same_however_it_is_made(tmp_path):
    make_dataset(tmp_path / "one", **OPTIONS)
    whole = contents(tmp_path / "one")
    assert [name for name in whole if "landmarks" not in name] == [
        os.path.join("test", "000003#000.npz"),
        *(os.path.join("train", f"00000{person}#000.npz") for person in range(3)),
    ]
    make_dataset(tmp_path / "two", workers=2, **OPTIONS)
    assert_same_set(whole, contents(tmp_path / "two"))

    kept = tmp_path / "one" / "train" / "000000#000.npz"
    changed = kept.stat().st_mtime_ns
    (tmp_path / "one" / "train" / "000001#000.npz").unlink()
    sidecar_of(tmp_path / "one" / "test" / "000003#000.npz").unlink()
    half = tmp_path / "one" / "train" / ".000001#000.1234abcd.part.npz"
    half.write_bytes(b"what a run that was killed left")
    make_dataset(tmp_path / "one", **OPTIONS)
    assert not half.exists()
    assert_same_set(whole, contents(tmp_path / "one"))
    assert kept.stat().st_mtime_ns == changed, "what was whole was not made again"

    with pytest.raises(InputError, match="was begun with size=32, not 48"):
        make_dataset(tmp_path / "one", **(OPTIONS | {"size": 48}))
    (tmp_path / "one" / "dataset.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        make_dataset(tmp_path / "one", **OPTIONS)


def test_clips_as_videos_and_clips_as_arrays_show_the_same(tmp_path):
    options = OPTIONS | {"people": 1, "size": 64, "frames": 3, "test_fraction": 1.0}
    for form in ("npz", "mp4"):
        make_dataset(tmp_path / form, format=form, **options)
    exact, video = (read_clip(find_clips(tmp_path / form / "test")[0]) for form in ("npz", "mp4"))
    assert (exact.landmarks == video.landmarks).all() and len(video.frames) == 3
    error = np.abs(exact.frames.astype(float) - video.frames).mean()
    assert error < 6, f"the video is off by {error:.1f} levels on average"
    assert json.loads((tmp_path / "mp4" / "dataset.json").read_text())["fps"] == FPS


@pytest.mark.parametrize(
    ("option", "value"),
    [("format", "avi"), ("people", 0), ("workers", 0), ("seed", -1), ("test_fraction", 1.5), ("step", 0)],
)
def test_options_that_make_no_sense(tmp_path, option, value):
    with pytest.raises(InputError, match=option):
        make_dataset(tmp_path, **(OPTIONS | {option: value}))


def test_the_demo_clip_begins_at_rest_and_speaks_while_the_mouth_moves():
    motion, voice = draw_demo_clip.make_demo_motion(), draw_demo_clip.make_demo_voice()
    assert np.abs(motion.angles[0]).max() == 0 and motion.actions[0].max() == 0
    spread = np.degrees(np.ptp(motion.angles, axis=0))
    assert spread[0] > 40 and spread[1] > 15 and spread[2] > 10
    names = load_bust().action_names
    jaw, lids = (motion.actions[:, names.index(name)] for name in ("jawOpen", "eyeBlinkLeft"))
    assert ((lids[1:] > 0.5) & (lids[:-1] <= 0.5)).sum() == 4
    assert len(voice) == draw_demo_clip.SECONDS * draw_demo_clip.RATE and np.abs(voice).max() <= 1
    loudness = np.abs(voice).reshape(len(jaw), -1).mean(1)
    assert np.corrcoef(loudness, jaw)[0, 1] > 0.5
    assert loudness[jaw == 0].max() < 0.05


def test_when_the_time_is_over_no_clip_is_begun(tmp_path):
    assert make_dataset(tmp_path, minutes=0, **OPTIONS) == 0
    assert not list(tmp_path.rglob("*.npz"))
    assert make_dataset(tmp_path, minutes=10, workers=2, **OPTIONS) == OPTIONS["people"]
    assert make_dataset(tmp_path, minutes=0, **OPTIONS) == OPTIONS["people"]  # what is there counts


def draw_and_tell(options, pipe):
    draw_at_low_priority(options)
    pipe.send((os.nice(0), os.environ["OMP_NUM_THREADS"]))


@pytest.mark.skipif(not hasattr(os, "nice"), reason="there are no priorities of this kind")
def test_drawing_beside_other_work_has_the_lowest_priority(tmp_path):
    ours, theirs = get_context("spawn").Pipe()
    options = {"out": tmp_path, **OPTIONS, "people": 1, "progress": False}
    process = get_context("spawn").Process(target=draw_and_tell, args=(options, theirs))
    process.start()
    assert ours.recv() == (19, "1")
    process.join()
    assert len(list(tmp_path.rglob("*.npz"))) == 2  # the clip and its truth
    assert os.nice(0) < 19


def show_cache(**env: str) -> str:
    """Return where a fresh process keeps the compiled kernels, after it has run one of them."""
    script = """
import numba, numpy as np
before = numba.config.CACHE_DIR
from fomm.heads.kernels import make_fractal_noise
assert numba.config.CACHE_DIR == before
make_fractal_noise(2, 2, 1, 1, 1, 1.0, 0)
print(make_fractal_noise.stats.cache_path)
"""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA", "XDG"))}
    done = subprocess.run([sys.executable, "-c", script], env=kept | env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_code_that_was_compiled_from_other_sources_does_no_harm(tmp_path):
    """Numba reads what it has kept before it compares sources, and fails where a class has gone since."""
    package, cache = tmp_path / "fomm", tmp_path / "cache"
    shutil.copytree(ROOT / "fomm", package, ignore=shutil.ignore_patterns("weights", "__pycache__"))
    script = (
        "from fomm.heads import dataset; "
        "print(dataset.__file__, len(dataset.render_clip(1, 0, 0, 1, 16).frames))"
    )
    env = {**os.environ, **dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(cache))}
    env.pop("NUMBA_CACHE_DIR", None)

    def draw() -> str:
        """Draw in a process that starts beside the copy, and so imports that."""
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    drawn = f"{package / 'heads' / 'dataset.py'} 1\n"
    assert draw() == drawn
    for name in ("shading.py", "render.py"):
        file = package / "heads" / name
        text = file.read_text(encoding="utf-8")
        assert "SurfaceMesh" in text
        file.write_text(text.replace("SurfaceMesh", "OtherMesh"), encoding="utf-8")
    assert draw() == drawn


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the user's folder has another name there")
def test_compiled_code_is_kept_in_the_users_cache_folder(tmp_path):
    for env, wanted in (
        ({"HOME": f"{tmp_path}/a"}, tmp_path / "a" / ".cache" / "fomm"),
        ({"HOME": f"{tmp_path}/b", "XDG_CACHE_HOME": f"{tmp_path}/xdg"}, tmp_path / "xdg" / "fomm"),
    ):
        folder = show_cache(**env)
        assert Path(folder).parent.parent == wanted
        assert list(wanted.rglob("*make_fractal_noise*.nbi"))


def test_compiled_code_is_kept_where_numba_is_told_to(tmp_path):
    mine, users = tmp_path / "mine", tmp_path / "users"
    folder = show_cache(NUMBA_CACHE_DIR=str(mine), XDG_CACHE_HOME=str(users), LOCALAPPDATA=str(users))
    assert Path(folder).parent.parent == mine
    assert not users.exists()
    assert list(mine.rglob("*make_fractal_noise*.nbi"))


@pytest.mark.parametrize("name", ["NUMBA_CACHE_DIR", "XDG_CACHE_HOME"])
def test_where_nothing_can_be_written_nothing_is_kept(tmp_path, name):
    """No folder can lie in a file: so the test holds for root, too."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    users = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(blocked))
    assert show_cache(**{name: str(blocked), **users}) == "None"


@pytest.mark.parametrize(
    ("platform", "wanted"),
    [("linux", "home/.cache/fomm"), ("darwin", "home/Library/Caches/fomm"), ("win32", "local/fomm")],
)
def test_the_users_cache_folder_of_each_platform(tmp_path, monkeypatch, platform, wanted):
    for name, value in {"HOME": "home", "USERPROFILE": "home", "LOCALAPPDATA": "local"}.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")  # which is to be ignored
    monkeypatch.setattr(sys, "platform", platform)
    assert user_cache_folder() == tmp_path / wanted
