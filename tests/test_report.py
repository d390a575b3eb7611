import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from fomm.evaluation.charts import draw_curves, draw_histogram
from fomm.evaluation.contestants import DRIVING, UNCHANGED
from fomm.evaluation.faces import TRAITS
from fomm.evaluation.gallery import Gallery, Strip, draw_strips, pick_frames
from fomm.evaluation.page import format_html
from fomm.evaluation.report import format_text
from fomm.evaluation.vocabulary import METRICS, format_number, known_metrics

pytestmark = pytest.mark.smoke

EVIL = '<script>alert("x")</script>&'


def numbers(**known):
    found = {
        trait: dict.fromkeys(("pooled_centred", "clip_median", "pooled", "clip_mean"), 0.5)
        for trait in TRAITS
    }
    gains = {trait: dict.fromkeys(found[trait], 0.625) for trait in TRAITS}
    return {
        "l1": 0.1,
        "akd_mesh468": None,
        "frames_without_face": 3,
        "correlation": found,
        "gain": gains,
    } | known


def clip(name, source, labels):
    series = {trait: [0.0, None, 2.0] for trait in TRAITS}
    results = {label: {"l1": 0.25, "series": series, "correlation": {}} for label in labels}
    return {"name": name, "source": source, "frames": 3, "results": results}


@pytest.fixture
def report():
    labels = [DRIVING, UNCHANGED, EVIL, "other"]
    results = {label: numbers() for label in labels}
    results[EVIL] |= {"l1": 0.04321, "ratio_to_unchanged": {"l1": 0.4321}}
    results[EVIL]["correlation_exact"] = {"yaw": {"pooled_centred": 0.75, "clip_median": None}}
    results[DRIVING]["correlation_exact"] = results["other"]["correlation_exact"] = {
        "yaw": {"pooled_centred": 0.99, "clip_median": 0.98}
    }
    part = {
        "clips": 2, "frames": 6, "ranked_by": "l1", "results": results,
        "by_clip": [clip("a<b", "a<b", labels), clip("c", "a<b", labels)],
    }  # fmt: skip
    return {
        "mode": "reconstruction",
        "checkpoint": {"label": EVIL, "file": f"{EVIL}.pth", "sha256": "ab" * 32},
        "against": [{"label": "other", "file": "other.pth", "sha256": "cd" * 32}],
        "size": [64, 96],
        "data": {"clips": 2, "sha256": "ef" * 32},
        "pairs": None,
        "seed": 5,
        "device": "cpu",
        "versions": {"fomm": "1", "torch": "2"},
        "absent": {"fid": "no weights"},
        "reconstruction": part,
    }


@pytest.fixture
def gallery():
    gallery = Gallery()
    for score, index in ((0.5, 1), (0.25, 0)):
        frames = np.full((3, 64, 96, 3), 90, np.uint8)
        gallery.add(Strip(score, index, frames[0], {"driving": frames, EVIL: frames, "other": frames}))
    return gallery


def test_the_text_says_what_and_how_much(report):
    text = format_text(report)
    assert "reconstruction: 2 clips, 6 frames" in text and "abababababab" in text
    (line,) = [line for line in text.splitlines() if line.strip().startswith("L1, frame")]
    assert line.split()[-4:] == ["0.1000", "0.1000", "0.0432", "0.1000"]
    assert text.count("0.625 (0.625)") == 3 * len(TRAITS) and "gain: the result's movement" in text
    assert "AKD of the mesh" not in text  # nobody has a number
    assert "not measured: fid (no weights)" in text


def test_the_page_stands_alone_and_escapes_names(report, gallery):
    page = format_html(report, {"reconstruction": gallery})
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert "<script" not in page and "&lt;script&gt;" in page and "a&lt;b" in page
    assert not re.search(r'(src|href)="(?!data:image/jpeg;base64,)', page)
    assert "http" not in page and "url(" not in page and "@import" not in page
    for tag in ("table", "tr", "figure", "svg", "div", "p", "dl", "section"):
        assert page.count(f"<{tag}") - page.count(f"<{tag[0]}rogress") >= page.count(f"</{tag}>")
        assert len(re.findall(rf"<{tag}[ >]", page)) == page.count(f"</{tag}>"), tag


def test_the_page_has_the_numbers_and_the_pictures(report, gallery):
    page = format_html(report, {"reconstruction": gallery})
    assert "0.625 (0.625)" in page and "0.0432" in page and "(43&#8239;%)" in page and "0.750 (–)" in page
    assert page.index("Best: a&lt;b, 0.2500") < page.index("Best: c, 0.5000, moves a&lt;b")
    pictures = [base64.b64decode(item) for item in re.findall(r"base64,([^\"]+)", page)]
    assert len(pictures) == 2 * 4  # the source, the driving clip and two results of two clips
    with Image.open(io.BytesIO(pictures[1])) as row:
        assert row.size == (3 * 96, 64)
        assert abs(np.asarray(row).astype(int) - 90).max() <= 3
    assert page.count("<svg") >= 2 * len(TRAITS) + 1
    assert "What the numbers mean" in page and "Mean absolute error of the whole frame." in page


def test_the_gallery_keeps_both_ends():
    gallery = Gallery()
    for score in (4, 9, 1, 7, 3, 8, 2, 6, 5):
        gallery.add(Strip(float(score), score, np.zeros((1, 1, 3), np.uint8), {}))
        assert len(gallery.strips) <= 6
    assert [strip.score for strip in gallery.best] == [1, 2, 3]
    assert [strip.score for strip in gallery.worst] == [9, 8, 7]


def test_a_short_gallery_shows_each_clip_once():
    gallery = Gallery()
    for score in (2, 1, 3, 4):
        gallery.add(Strip(float(score), score, np.zeros((1, 1, 3), np.uint8), {}))
    assert [strip.score for strip in gallery.best + gallery.worst] == [1, 2, 3, 4]


def test_thinning_keeps_the_ends_and_no_more_memory():
    frames = np.arange(30, dtype=np.uint8).repeat(3).reshape(30, 1, 1, 3)
    picked = pick_frames(frames)
    assert picked[:, 0, 0, 0].tolist() == [0, 4, 8, 12, 17, 21, 25, 29]
    assert picked.base is None
    assert len(pick_frames(frames[:3])) == 3 and len(pick_frames(frames[:1])) == 1


def test_strips_as_a_picture_by_hand():
    """Two strips of one row: the source, four pixels of white, room for eight frames; four pixels between."""
    shades = np.arange(1, 4, dtype=np.uint8)[:, None, None, None] * np.full((5, 6, 3), 20, np.uint8)
    strip = Strip(0.0, 0, shades[0], {"driving": shades})
    picture = np.asarray(draw_strips([strip, strip]))
    assert picture.shape == (5 + 4 + 5, 6 + 4 + 8 * 6, 3)
    middle = [0, 7, 12, 18, 24, 30]
    assert picture[0, middle, 0].tolist() == [20, 255, 20, 40, 60, 255]
    assert (picture[5:9] == 255).all() and picture[9, 0, 0] == 20


def test_curves_by_hand():
    """Frames 0 to 4 lie from x = 36 to 234, and 0 to 10 from y = 112 to 20; a gap lifts the pen."""
    svg = draw_curves("yaw & so on", {"a": [0.0, 10.0, None, 5.0, 10.0], "b": [None] * 5})
    assert "yaw &amp; so on" in svg
    assert 'class="line s0" d="M36.0 112.0 L85.5 20.0 M184.5 66.0 L234.0 20.0"' in svg
    assert 'class="line s1" d=""' in svg
    assert draw_curves("nothing", {"a": [None, None]}) == ""
    assert "NaN" not in draw_curves("flat", {"a": [3.0, 3.0]}) and "nan" not in draw_curves(
        "one", {"a": [0.0]}
    )


def test_histogram_by_hand():
    """Two bins of 0 to 2: one clip at the left, three at the right."""
    svg = draw_histogram("error", {"a": [0.0, 1.5, 2.0, 1.5], "b": [None]}, bins=2)
    heights = re.findall(r"L[\d.]+ ([\d.]+)", re.search(r'class="area s0" d="([^"]+)"', svg)[1])
    assert heights == ["89.0", "89.0", "43.0", "43.0", "112.0"]  # a quarter of 112 - 20, then three
    assert draw_histogram("nothing", {"a": []}) == ""


def test_words_are_for_numbers_that_exist():
    results = {"a": {"l1": None, "ssim": 0.5, "series": {}}, "b": {"l1": 0.1}}
    assert [word.key for word in known_metrics(results)] == ["l1", "ssim"]
    assert len({word.key for word in METRICS}) == len(METRICS)
    assert format_number(None, 3) == "–" and format_number(0.12345, 3) == "0.123"
