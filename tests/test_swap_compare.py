"""The comparison of swaps: a perfect one, none, and one that spoils the face, told apart by the numbers."""

import json

import pytest
import torch
from torch import nn

from fomm.cli import main
from fomm.errors import InputError
from fomm.swap.checkpoint import save_swap
from fomm.swap.compare import compare_swaps
from fomm.swap.convert import Conversion
from fomm.swap.drawn import draw_pair
from fomm.swap.families import FAMILIES
from fomm.swap.family import Card, Family


class Kept(Family):
    """A family for tests: both sides are the face that comes in."""

    name = "kept"

    def __init__(self, size: int = 64) -> None:
        super().__init__(size)
        self.faces = nn.ModuleDict({"scale": nn.Linear(1, 1)})

    def encode(self, x):
        return x

    def decode(self, z, side):
        return z, torch.ones_like(z[:, :1])


class Blurred(Kept):
    """Both sides are the face, blurred and grey."""

    name = "blurred"

    def decode(self, z, side):
        soft = nn.functional.avg_pool2d(z.mean(1, keepdim=True), 9, 1, 4, count_include_pad=False)
        return soft.expand(-1, 3, -1, -1), torch.ones_like(z[:, :1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("compare")
    draw_pair(root, seed=1, frames=5, size=192, progress=False)
    for kind in (Kept, Blurred):
        FAMILIES[kind.name] = kind
        save_swap(root / f"{kind.name}.safetensors", kind(), Card(9))
    (root / "kept.run").mkdir()
    (root / "kept.run" / "log.jsonl").write_text('{"step": 9, "seconds_per_step": 0.25}\n')
    yield root
    for kind in (Kept, Blurred):
        del FAMILIES[kind.name]


@pytest.fixture(scope="module")
def report(folder):
    paths = [folder / "kept.safetensors", folder / "blurred.safetensors"]
    return compare_swaps(
        folder / "a.mp4", folder / "b.mp4", paths, folder / "report",
        truth=folder / "truth.mp4", how=Conversion(colour="none", mask="hull"), progress=False,
    )  # fmt: skip


def test_the_truth_is_the_best_and_nothing_the_worst(report):
    rows = report["results"]
    assert list(rows) == ["truth", "nothing done", "kept", "blurred"]
    truth, nothing = rows["truth"], rows["nothing done"]
    assert truth["l1"] == 0 and truth["ssim"] == pytest.approx(1) and truth["identity_to_truth"] == 0
    assert nothing["l1"] > 0.02 and nothing["ssim"] < 0.95 and nothing["identity_to_truth"] > 0.2
    assert truth["identity_to_b"] < nothing["identity_to_b"]
    assert truth["identity_to_a"] > nothing["identity_to_a"]
    assert nothing["pose"] == nothing["mouth"] == nothing["eyes"] == nothing["missing"] == 0
    assert nothing["sharpness"] == 1 and nothing["flicker"] > 0


def test_a_face_that_is_kept_and_one_that_is_blurred(report):
    kept, blurred, nothing = (report["results"][name] for name in ("kept", "blurred", "nothing done"))
    assert kept["reconstruction"] == pytest.approx(1) and blurred["reconstruction"] < 0.9
    assert kept["sharpness"] > 2 * blurred["sharpness"]
    assert kept["l1"] == pytest.approx(nothing["l1"], abs=0.01) and blurred["l1"] > nothing["l1"]
    assert kept["pose"] < 2 and kept["identity_to_a"] < 0.3
    assert kept["steps"] == 9 and kept["seconds_per_step"] == 0.25 and blurred["seconds_per_step"] is None


def test_the_page(folder, report):
    assert json.loads((folder / "report" / "compare.json").read_text(encoding="utf-8")) == report
    page = (folder / "report" / "compare.html").read_text(encoding="utf-8")
    assert page.count("<img") == 4 + 0  # A, truth, kept, blurred
    for words in ("SSIM to truth", "nothing done", "blurred", "a.mp4 with the face of b.mp4; 5 frames"):
        assert words in page
    assert "<tr><th></th><th>truth</th><th>nothing done</th><th>kept</th><th>blurred</th></tr>" in page
    assert "<tr><td>steps </td><td>–</td><td>–</td><td>9</td><td>9</td></tr>" in page
    assert "<script" not in page and "http" not in page


def test_the_command_without_a_truth(folder, capsys):
    out = folder / "again"
    words = [str(folder / name) for name in ("a.mp4", "b.mp4", "kept.safetensors")]
    assert main(["swap", "compare", *words, "-o", str(out), "--frames", "3"]) == 0
    assert capsys.readouterr().out.strip() == str(out / "compare.html")
    rows = json.loads((out / "compare.json").read_text(encoding="utf-8"))["results"]
    assert list(rows) == ["nothing done", "kept"] and "l1" not in rows["kept"]


def test_what_cannot_be_compared(folder):
    a, b = folder / "a.mp4", folder / "b.mp4"
    with pytest.raises(InputError, match="no checkpoint"):
        compare_swaps(a, b, [], folder / "none")
    with pytest.raises(InputError, match="has other frames than"):
        short = folder / "short"
        draw_pair(short, seed=1, frames=2, size=192, progress=False)
        compare_swaps(a, b, [folder / "kept.safetensors"], folder / "none", truth=short / "truth.mp4")
    assert not (folder / "none").exists()
