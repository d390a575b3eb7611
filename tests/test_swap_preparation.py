"""One command from two videos to the page: every family trained, gone on with after a stop, bad input."""

import json
import os
import signal

import pytest

from fomm.cli import main
from fomm.errors import InputError
from fomm.swap import preparation
from fomm.swap.checkpoint import load_swap
from fomm.swap.drawn import draw_pair
from fomm.swap.families import FAMILIES
from fomm.swap.preparation import prepare_comparison
from fomm.swap.run import Run, read_seconds

pytestmark = pytest.mark.filterwarnings("ignore:.*faces; with fewer than")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    root = tmp_path_factory.mktemp("pair")
    draw_pair(root, seed=1, frames=5, size=192, progress=False)
    return root


def test_one_command_from_two_videos_to_the_page(pair, tmp_path, capsys):
    out = tmp_path / "report"
    words = [str(pair / "a.mp4"), str(pair / "b.mp4"), "--truth", str(pair / "truth.mp4"), "-o", str(out)]
    assert main(["swap", "compare", *words, "--steps", "2", "--frames", "3"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("6 families, 2 steps each")
    assert told[-1] == str(out / "compare.html")
    report = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    assert list(report["results"]) == ["truth", "nothing done", *FAMILIES]
    for name in FAMILIES:
        assert load_swap(out / f"{name}.safetensors").card.steps == 2
        row = report["results"][name]
        assert row["steps"] == 2 and row["l1"] > 0 and row["seconds_per_step"] > 0
    assert (out / "compare.html").read_text(encoding="utf-8").count("<img") == 2 + len(FAMILIES)


def test_it_goes_on_where_it_was_stopped(pair, tmp_path, monkeypatch):
    made = []
    step = Run.make_step

    def make_step(self, *arguments):
        made.append(self.family.name)
        if made.count("vae") == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *arguments)

    monkeypatch.setattr(Run, "make_step", make_step)
    told = []

    def prepare():
        names = ["autoencoder", "vae"]
        return prepare_comparison(
            pair / "a.mp4", pair / "b.mp4", tmp_path / "new", families=names, steps=3, tell=told.append
        )

    with pytest.raises(KeyboardInterrupt):
        prepare()
    assert made == ["autoencoder"] * 3 + ["vae"] * 2
    written = (tmp_path / "new" / "a.npz").stat().st_mtime_ns
    made.clear()
    paths = prepare()
    assert made == ["vae"]
    assert [load_swap(path).card.steps for path in paths] == [3, 3]
    assert (tmp_path / "new" / "a.npz").stat().st_mtime_ns == written
    assert read_seconds(paths[0]) > 0


def test_the_minutes_that_are_left_are_told(pair, tmp_path):
    told = []
    videos = pair / "a.mp4", pair / "b.mp4"
    options = {"families": ["autoencoder"], "tell": told.append}
    prepare_comparison(*videos, tmp_path, minutes=0.02, **options)
    assert told[0].startswith("1 family, 0.02 minutes each: 0 minutes of training are left")
    told.clear()
    left = preparation._describe_length([tmp_path / "autoencoder.safetensors"] * 2, 15, None)
    assert "30 minutes of training are left" in left
    (tmp_path / "autoencoder.run" / "state.pt").write_bytes(b"damaged")
    assert read_seconds(tmp_path / "autoencoder.safetensors") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "0"], "steps and minutes are finite numbers above 0, not 0"),
        (["--minutes", "nan"], "steps and minutes are finite numbers above 0, not nan"),
        (["--minutes", "inf"], "steps and minutes are finite numbers above 0, not inf"),
        (["--families", "gan"], "there is no family 'gan'"),
        (["--families", "pix2pix"], "pix2pix learns from folders of any pictures"),
        (["--mask", "learned", "--steps", "-1"], "not -1"),
    ],
)
def test_what_makes_no_sense_leaves_no_folder(pair, tmp_path, words, message, capsys):
    out = tmp_path / "none"
    assert main(["swap", "compare", str(pair / "a.mp4"), str(pair / "b.mp4"), "-o", str(out), *words]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_options_of_the_training_beside_a_checkpoint(pair, tmp_path, capsys):
    words = [str(pair / name) for name in ("a.mp4", "b.mp4", "vae.safetensors")]
    assert main(["swap", "compare", *words, "-o", str(tmp_path / "none"), "--steps", "5"]) == 1
    assert "--steps is for training" in capsys.readouterr().err


def test_videos_that_do_not_go_together(pair, tmp_path):
    a, b, out = pair / "a.mp4", pair / "b.mp4", tmp_path / "out"
    with pytest.raises(InputError, match="is given for both persons"):
        prepare_comparison(a, a, out, steps=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        prepare_comparison(a, b, tmp_path / "file", steps=1)
    prepare_comparison(a, b, out, families=["conv_vae"], steps=1, tell=lambda line: None)
    with pytest.raises(InputError, match="holds faces of other videos"):
        prepare_comparison(a, pair / "truth.mp4", out, families=["conv_vae"], steps=1)
    with pytest.raises(InputError, match="holds faces of other videos"):
        prepare_comparison(a, b, out, families=["conv_vae"], preset="full", steps=1)
    (out / "videos.json").write_text("[")
    with pytest.raises(InputError, match="holds faces of other videos"):
        prepare_comparison(a, b, out, families=["conv_vae"], steps=1)
