from pathlib import Path

import pytest

from fomm.errors import InputError
from fomm.evaluation.pairs import Pair, draw_pairs, pair_with_themselves, read_pairs

CLIPS = [Path("set", f"{person}#{clip}.npz") for person in ("a", "b", "c") for clip in (0, 1)]
LIST = "distance,source,driving,frame\n0.5,a#0.mp4,b#1.mp4,7\n0.1,c#1.mp4,a#1.mp4,0\n0,z#9.mp4,a#0.mp4,0\n"


def write(folder, text):
    path = folder / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_reconstruction_moves_each_clip_by_itself():
    assert pair_with_themselves(CLIPS[:2]) == [Pair(CLIPS[0], CLIPS[0]), Pair(CLIPS[1], CLIPS[1])]


def test_drawn_pairs_are_of_two_people_and_follow_the_seed():
    pairs = draw_pairs(CLIPS, seed=1)
    assert [pair.driving for pair in pairs] == CLIPS
    assert all(pair.source.name[0] != pair.driving.name[0] for pair in pairs)
    assert pairs == draw_pairs(CLIPS, seed=1)
    assert len({tuple(draw_pairs(CLIPS, seed)) for seed in range(5)}) > 1
    with pytest.raises(InputError, match="two people; all 2 are of a"):
        draw_pairs(CLIPS[:2], seed=0)


@pytest.mark.parametrize("head", ["", "\ufeff"])
def test_the_published_list(tmp_path, head):
    pairs, absent = read_pairs(write(tmp_path, head + LIST), CLIPS)
    assert pairs == [Pair(CLIPS[0], CLIPS[3]), Pair(CLIPS[5], CLIPS[1])]
    assert absent == ["z#9.mp4"]


def test_names_with_dots(tmp_path):
    clips = [Path("x.y#0"), Path("z#0.mp4")]
    pairs, _ = read_pairs(write(tmp_path, "source,driving\nx.y#0,z#0.mp4\nz#0.mp4,x.y#0.mp4\n"), clips)
    assert pairs == [Pair(clips[0], clips[1]), Pair(clips[1], clips[0])]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("first,second\na#0.mp4,b#0.mp4\n", "columns source and driving"),
        ("source,driving\na#0.mp4\n", "columns source and driving"),
        ("source,driving\ny#0.mp4,z#0.mp4\n", "no pair of clips"),
        ("", "no pair of clips"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read_pairs(write(tmp_path, text), CLIPS)


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.csv"):
        read_pairs(tmp_path / "nothing.csv", CLIPS)
