import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_data import assert_near

from fomm.animation import paste
from fomm.animation.paste import BAND, Enlarged, Paste
from fomm.face.crop import Rect
from fomm.model.geometry import coordinate_grid

pytestmark = pytest.mark.smoke

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 255, (60, 90, 3), dtype=np.uint8)
PART = Rect(20, 10, 60, 50)
REST = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
STILL = coordinate_grid(16, 16, REST)[None]  # of the network; the part of the photo is larger


def pasted(prediction, deformation=STILL, occlusion=None, part=PART) -> np.ndarray:
    frame = PHOTO.copy()
    Paste(PHOTO, part, REST)(frame, prediction, deformation, occlusion)
    return frame


def test_what_does_not_move_is_the_photo_pixel_for_pixel():
    assert np.array_equal(pasted(REST), PHOTO)
    assert np.array_equal(pasted(REST, part=Rect(-10, -5, 30, 35)), PHOTO)  # also beyond the border


def test_a_change_is_added_to_the_photo_and_fades_at_the_border():
    """The network's picture becomes darker by 0.2: so does the photo in the middle, with all its detail."""
    photo = np.clip(PHOTO, 60, 250)
    frame = photo.copy()
    Paste(photo, PART, REST)(frame, REST - 0.2, STILL, None)
    inner = np.s_[14:46, 24:56]
    middle = frame[inner].astype(int) - photo[inner]
    assert abs(middle + 51).max() <= 1, middle
    outside = np.ones(photo.shape[:2], bool)
    outside[10:50, 20:60] = False
    assert np.array_equal(frame[outside], photo[outside])
    assert abs(frame[10, 20:60].astype(int) - photo[10, 20:60]).max() <= 8  # no seam


def test_detail_moves_along():
    """Everything moves by eight pixels to the right: the photo's own noise goes with it."""
    moved = STILL - torch.tensor([8 / 40 * 16 * 2 / 15, 0.0])
    rest = torch.full_like(REST, 0.5)
    frame = PHOTO.copy()
    Paste(PHOTO, PART, rest)(frame, rest + 0.1, moved, None)
    frame = frame.astype(float)
    wanted = np.zeros_like(frame)
    wanted[:, 8:] = PHOTO[:, :-8]
    inner = np.s_[20:40, 36:52]
    noise = [(image - image.mean((0, 1)))[..., 0].ravel() for image in (frame[inner], wanted[inner])]
    assert np.corrcoef(*noise)[0, 1] > 0.7, np.corrcoef(*noise)
    still = (PHOTO[inner] - PHOTO[inner].mean((0, 1)))[..., 0].ravel()
    assert abs(np.corrcoef(noise[0], still)[0, 1]) < 0.3


def test_a_face_that_has_moved_stays_where_another_square_overlaps_it():
    """The second square's network sees no change where the first one's face is."""
    photo = np.clip(PHOTO, 60, 250)
    first, second = (Paste(photo, Rect(x, 10, x + 40, 50), REST) for x in (20, 40))
    frame = photo.copy()
    first(frame, REST - 0.2, STILL, None)
    before = frame.copy()
    second(frame, REST, STILL, None)
    assert np.array_equal(frame, before) and (frame[25:35, 42:50] != photo[25:35, 42:50]).any()


def test_where_the_source_shows_nothing_the_network_paints():
    frame = pasted(torch.full_like(REST, 0.5), occlusion=torch.zeros(1, 1, 16, 16))
    assert abs(frame[25:35, 35:45].astype(int) - 128).max() <= 2


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(31, 20), (7, 9), (14, 5)])
def test_parts_are_made_as_by_interpolation(mode, size):
    maps = torch.rand(1, 2, 7, 9, generator=torch.Generator().manual_seed(1))
    wanted = F.interpolate(maps, size, mode=mode, align_corners=False)
    rows, columns = (slice(0, 5), slice(5, size[0])), (slice(1, 3), slice(3, size[1] - 1))
    parts = [(some, others) for some in rows for others in columns]
    enlarged = Enlarged(maps, size, mode, parts)
    for part in parts:
        assert_near(enlarged[part], wanted[:, :, part[0], part[1]].numpy(), 1e-5, "an enlarged part")
        sums = torch.ones_like(enlarged[part])
        enlarged.add_to(sums, part)
        assert_near(sums - 1, wanted[:, :, part[0], part[1]].numpy(), 1e-5, "a part that is added")


@pytest.mark.parametrize("place", [(2, 3), (8, 8), (15, 0)])
def test_what_changes_nothing_need_not_be_computed(place):
    """A small change is put back as where alpha, opaque here, makes all of the square be computed."""
    photo = RNG.integers(0, 255, (200, 260, 3), dtype=np.uint8)
    opaque = np.dstack((photo, np.full((200, 260), 255, np.uint8)))
    prediction, part = REST.clone(), Rect(20, -30, 250, 200)
    prediction[0, 1, place[0], place[1]] += 1
    frames = [photo.copy(), opaque.copy()]
    for picture, frame in zip((photo, opaque), frames, strict=True):
        Paste(picture, part, REST)(frame, prediction, STILL, None)
    assert (frames[0] != photo).any()
    np.testing.assert_array_equal(frames[0], frames[1][..., :3])


def test_bands_join_without_a_trace(monkeypatch):
    """A large square: the same in bands and in one go."""
    photo = RNG.integers(0, 255, (200, 260, 3), dtype=np.uint8)
    results = []
    for rows in (BAND, 1000):
        monkeypatch.setattr(paste, "BAND", rows)
        frame = photo.copy()
        moved = STILL + 0.05 * torch.sin(3 * STILL.flip(-1))
        shown = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(2))
        Paste(photo, Rect(20, -30, 250, 200), REST)(frame, 1 - REST, moved, shown)
        results.append(frame.astype(int))
    assert_near(results[0], results[1], 1, "bands")
    assert (results[0] != photo).mean() > 0.5
