"""What the photo does while the driver's face is not seen."""

import numpy as np
import pytest

from fomm import Animator, Compute, Marking, animate_file, load_checkpoints
from fomm.animation.presence import Presence, find_gaps
from fomm.bundled import bundled
from fomm.face.search import FaceFinder
from fomm.heads.bust import ASSETS
from fomm.media import VideoReader, read_image, save_video
from fomm.media.resize import resize

pytestmark = pytest.mark.smoke


def test_gaps_are_those_that_last():
    """At 12 frames a second six frames are half a second; a face that is seen in frame 3 may stay until 5."""
    assert find_gaps([0, 3, 6, 9], 3, 12, 12) == []
    assert find_gaps([0, 9], 3, 12, 12) == [(3, 9)]
    assert find_gaps([0, 6], 3, 9, 12) == []  # three frames are too few
    assert find_gaps([6, 9], 3, 30, 12) == [(0, 6), (12, 30)]


def test_the_photo_eases_to_rest_and_back():
    """Half a second each way, ten frames here, and half of the way after five."""
    presence = Presence(((20, 60),), 20)
    strengths = [presence.strength(number) for number in range(90)]
    assert strengths[:21] == [1] * 21 and strengths[25] == 0.5
    assert strengths[30:61] == [0] * 31 and strengths[65] == 0.5 and strengths[70:] == [1] * 20
    assert (np.diff(strengths[20:31]) < 0).all() and (np.diff(strengths[60:71]) > 0).all()
    assert [number for number in range(90) if not presence.is_seen(number)] == list(range(20, 60))


def test_a_gap_that_is_short_does_not_reach_rest():
    presence = Presence(((20, 25),), 20)
    assert presence.strength(25) == 0.5
    strengths = [presence.strength(number) for number in range(25, 36)]
    assert (np.diff(strengths) > 0).all() and strengths[-1] == 1


def test_a_video_that_begins_without_a_face_begins_at_rest():
    presence = Presence(((0, 10),), 20)
    assert [presence.strength(number) for number in (0, 9, 10, 15, 20)] == [0, 0, 0, 0.5, 1]


def test_key_points_are_held_whatever_the_batch(tiny):
    """What is shown in a gap changes nothing, and frames are the same one by one as four at a time."""
    rng = np.random.default_rng(0)
    source, *frames = rng.random((13, 64, 64, 3), dtype=np.float32)
    others = frames[:4] + list(rng.random((5, 64, 64, 3), dtype=np.float32)) + frames[9:]
    presence = Presence(((4, 9),), 6)
    results = []
    for batch_size, driving in ((4, frames), (1, frames), (4, others)):
        animator = Animator(source, *tiny, compute=Compute(precision="float32", batch_size=batch_size))
        moved = animator.render(driving, None, presence)
        results.append(np.stack([step.rendered.prediction[0].numpy() for step in moved]))
    assert len(results[0]) == 12
    for other in results[1:]:
        assert np.abs(results[0] - other).max() < 1e-5
    rest = animator.painter.at_rest()[0].numpy()
    assert np.abs(results[0][8] - rest).max() < 1e-5 < np.abs(results[0][3] - rest).max()


def test_a_house_that_the_detector_takes_for_a_face_is_none():
    """The detector gives 0.62 to a picture of a street, and the mesh network next to nothing."""
    street = resize(read_image(ASSETS / "venice.png"), (256, 256))
    answers = {}
    for confirm in (False, True):
        finder = FaceFinder(confirm=confirm)
        for number, picture in enumerate((street, read_image(bundled("examples", "astronaut.png")))):
            finder.add(number, picture)
        answers[confirm] = [len(faces) for _, faces in finder.results()]
    assert answers == {False: [1, 1], True: [0, 1]}


@pytest.mark.parametrize("what", ["wall", "street"])
def test_where_the_face_is_gone_the_photo_is_as_it_was(tmp_path, what):
    """A head turns, something else is shown for a second, and the head comes back."""
    photo = bundled("examples", "astronaut.png")
    with VideoReader(bundled("examples", "driving.mp4"), start=1.6, duration=1.2) as reader:
        talk = list(reader)
    street = resize(read_image(ASSETS / "venice.png"), talk[0].shape[:2])
    wall = [np.full_like(talk[0], 90) if what == "wall" else street] * 30
    save_video(tmp_path / "gone.mp4", [*talk[:15], *wall, *talk[15:]], 25)
    with pytest.warns(UserWarning, match=r"gone\.mp4: no face in \d+ of 60 frames"):
        animate_file(
            photo,
            tmp_path / "gone.mp4",
            tmp_path / "out",
            *load_checkpoints(cpu=True),
            marking=Marking(mark=False),
            progress=False,
        )
    still = read_image(photo).astype(int)
    changes = [np.abs(read_image(file) - still).max() for file in sorted((tmp_path / "out").iterdir())]
    assert max(changes[32:43]) <= 1 < 60 < max(changes[:15])
    assert max(changes[50:]) > 60
