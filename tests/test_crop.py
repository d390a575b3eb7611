import numpy as np
import pytest

from fomm.face import Face
from fomm.face.crop import (
    Rect,
    Tube,
    enlarged_square,
    intersection,
    iou,
    published_box,
    published_square,
    square_inside,
    tubes,
    union,
)


def shifted(box: Rect, x: float) -> Rect:
    return Rect(box.x0 + x, box.y0, box.x1 + x, box.y1)


TEN = Rect(0, 0, 10, 10)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (TEN, 1.0),
        (Rect(5, 0, 15, 10), 50 / 150),
        (Rect(0, 0, 5, 5), 25 / 100),  # inside
        (Rect(10, 0, 20, 10), 0.0),  # side by side
        (Rect(12, 12, 20, 20), 0.0),  # apart in both directions
        (Rect(5, 5, 5, 5), 0.0),  # empty
    ],
)
def test_intersection_over_union(other, expected):
    assert iou(TEN, other) == iou(other, TEN) == pytest.approx(expected)


def test_two_empty_boxes_share_nothing():
    assert iou(Rect(1, 1, 1, 1), Rect(1, 1, 1, 1)) == 0


def test_union_and_intersection():
    other = Rect(4, -2, 12, 6)
    assert union(TEN, other) == Rect(0, -2, 12, 10)
    assert intersection(TEN, other) == Rect(4, 0, 10, 6)
    assert union(TEN, other).contains(TEN) and not TEN.contains(other)


def test_forehead_is_added_to_the_detectors_box():
    face = Face(np.float32([10, 20, 40, 50]), 0.9, np.zeros((6, 2), np.float32))
    assert published_box(face) == pytest.approx((10, 10, 40, 50))  # 30 wide, 40 high


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        # 100 wide, 200 high: the side is 1.2 * 200, around (50, 100)
        (Rect(0, 0, 100, 200), Rect(-70, -20, 170, 220)),
        # 200 wide, 100 high: the same, lying
        (Rect(0, 0, 200, 100), Rect(-20, -70, 220, 170)),
        (Rect(10, 20, 20, 30), Rect(9, 19, 21, 31)),
    ],
)
def test_enlarged_square_by_hand(box, expected):
    assert enlarged_square(box) == pytest.approx(expected)


def test_enlarged_square_is_a_square_around_the_centre():
    rng = np.random.default_rng(0)
    for x, y, width, height in rng.uniform(1, 500, (50, 4)):
        square = enlarged_square(Rect(x, y, x + width, y + height), increase=0.1)
        assert (square.width, square.height) == pytest.approx((1.2 * max(width, height),) * 2)
        assert (square.x0 + square.x1, square.y0 + square.y1) == pytest.approx(
            (2 * x + width, 2 * y + height)
        )


def test_an_empty_box_stays():
    assert enlarged_square(Rect(3, 3, 3, 8)) == Rect(3, 3, 3, 8)


def test_published_square_is_cut_at_the_border():
    assert published_square(Rect(0, 0, 100, 200), (210, 150)) == pytest.approx((0, 0, 150, 210))


@pytest.mark.parametrize(
    ("square", "expected"),
    [
        (Rect(5, 5, 25, 25), Rect(5, 5, 25, 25)),
        (Rect(-6, 10, 14, 30), Rect(0, 10, 20, 30)),  # moved right
        (Rect(90, 35, 110, 55), Rect(80, 30, 100, 50)),  # moved left and up
        (Rect(20, -10, 100, 70), Rect(35, 0, 85, 50)),  # higher than the picture: smaller, around its centre
    ],
)
def test_square_inside_a_picture(square, expected):
    assert square_inside(square, (50, 100)) == pytest.approx(expected)


def test_a_tube_ends_by_the_overlap_with_its_first_box():
    """Shifted by s, two boxes of width 10 share (10 - s) / (10 + s): a quarter at s = 6."""
    seen = [(frame, [shifted(TEN, frame)]) for frame in range(10)]
    assert tubes(seen) == [
        Tube(0, 7, TEN, Rect(0, 0, 16, 10)),
        Tube(7, 10, shifted(TEN, 7), Rect(7, 0, 19, 10)),
    ]


def test_two_faces_give_two_tubes_from_left_to_right():
    far = shifted(TEN, 100)
    seen = [(frame, [far, TEN] if frame % 2 else [TEN, far]) for frame in range(4)]
    assert tubes(seen) == [Tube(0, 4, TEN, TEN), Tube(0, 4, far, far)]


def test_a_box_goes_to_the_tube_that_it_overlaps_most():
    near = shifted(TEN, 4)
    assert tubes([(0, [TEN, near]), (1, [shifted(TEN, 3)])]) == [
        Tube(0, 1, TEN, TEN),  # left without a box
        Tube(0, 2, near, Rect(3, 0, 14, 10)),
    ]


def test_a_face_may_be_missed():
    seen = [(0, [TEN]), (1, []), (2, [TEN]), (3, []), (4, []), (5, [TEN])]
    assert [(tube.start, tube.stop) for tube in tubes(seen)] == [(0, 1), (2, 3), (5, 6)]
    assert [(tube.start, tube.stop) for tube in tubes(seen, missed=1)] == [(0, 3), (5, 6)]
    assert [(tube.start, tube.stop) for tube in tubes(seen, missed=2)] == [(0, 6)]


def test_cuts_end_tubes_where_the_face_stays():
    seen = [(frame, [TEN]) for frame in range(0, 12, 3)]
    assert [(tube.start, tube.stop) for tube in tubes(seen, cuts=[6])] == [(0, 4), (6, 10)]
    # between two detections
    assert [(tube.start, tube.stop) for tube in tubes(seen, cuts=[7, 8])] == [(0, 7), (9, 10)]


def test_long_tubes_are_divided():
    seen = [(frame, [TEN]) for frame in range(5)]
    assert [(tube.start, tube.stop) for tube in tubes(seen, max_frames=2)] == [(0, 2), (2, 4), (4, 5)]


def test_nothing_seen():
    assert tubes([]) == [] and tubes([(0, []), (1, [])]) == []
