"""The training: killed and gone on with bit for bit, asked to stop, given what makes no sense."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from swap_case import draw_side
from test_swap_batches import make_faces, write_pictures

from fomm.cli import main
from fomm.errors import CheckpointError, InputError, TrainingError
from fomm.swap import training
from fomm.swap.checkpoint import load_swap
from fomm.swap.families import FAMILIES, PLAIN
from fomm.swap.training import PREVIEWS, find_progress, make_rng, train_swap

SIDES = draw_side("a"), draw_side("b")


def train(out, steps=6, family="autoencoder", **options) -> list[dict[str, float]]:
    settings = {"width": 4, **options.pop("settings", {})}
    options = {"batch_size": 2, "device": "cpu", "log_steps": 1, "precision": "float32", **options}
    return list(train_swap(*SIDES, out, family=family, settings=settings, steps=steps, **options))


def state_of(out) -> dict:
    return torch.load(out.with_suffix(".run") / "state.pt", weights_only=True)["run"]


def assert_same(one, other) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            if key != "seconds":
                assert_same(one[key], other[key])
    elif isinstance(one, list):
        for part, again in zip(one, other, strict=True):
            assert_same(part, again)
    else:
        assert one == other


class Killed(BaseException):
    """In the place of SIGKILL: nothing catches it."""


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", [*FAMILIES, "pix2pix", "staged"])
def test_a_run_that_died_goes_on_bit_for_bit(name, precision, tmp_path, monkeypatch):
    options = {"family": name, "precision": precision}
    if name == "staged":
        options = {"family": "autoencoder", "settings": {"staged": True}, "precision": precision}
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    lines = train(whole, **options)
    with monkeypatch.context() as patch:

        def die_at(seed, step):
            if step == 4:
                raise Killed
            return make_rng(seed, step)

        patch.setattr(training, "make_rng", die_at)
        with pytest.raises(Killed):
            train(broken, save_seconds=0, **options)
    assert state_of(broken)["step"] == 4
    torch.manual_seed(99)  # nothing that was drawn before counts
    rest = train(broken, **options)
    assert [line["step"] for line in rest] == [5, 6]
    for one, other in zip(lines[4:], rest, strict=True):
        assert {key: value for key, value in one.items() if key[:7] != "seconds"} == {
            key: value for key, value in other.items() if key[:7] != "seconds"
        }
    assert_same(state_of(whole), state_of(broken))
    assert_same(load_file(whole), load_file(broken))
    first, last = (state_of(path)["family"] for path in (whole, broken))
    assert first.keys() == last.keys() and len(first) > 10


KILLS = """
import sys, os
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_swap_training import train
for out in sys.argv[3:]:
    train(Path(out), steps=int(sys.argv[2]), family="vae_gan", save_seconds=0)
"""


def start(steps, *outs) -> subprocess.Popen:
    command = [sys.executable, "-c", KILLS, str(Path(__file__).parent), str(steps), *map(str, outs)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def wait_for(condition, process) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)


def check_kills(kills, steps, tmp_path) -> None:
    whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    log, part = killed.with_suffix(".run") / "log.jsonl", tmp_path / ".killed.0123abcd.part.safetensors"
    for kill in range(kills):
        process, least = start(steps, killed), (kill + 1) * steps // (kills + 2)
        wait_for(lambda least=least: log.exists() and log.read_text().count("\n") > least, process)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        part.touch()  # as if it had been killed while it wrote
    assert 0 < state_of(killed)["step"] < steps
    assert start(steps, killed, whole).wait(200) == 0
    assert_same(state_of(whole), state_of(killed))
    assert_same(load_file(whole), load_file(killed))
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, steps + 1))
    assert not list(tmp_path.rglob("*.part*"))


def test_killed_the_run_goes_on_as_if_nothing_had_been(tmp_path):
    check_kills(1, 15, tmp_path)


@pytest.mark.slow
def test_killed_six_times_the_run_goes_on_as_if_nothing_had_been(tmp_path):
    check_kills(6, 120, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_asked_to_stop_it_saves_first(tmp_path, number):
    out = tmp_path / "swap.safetensors"
    log = out.with_suffix(".run") / "log.jsonl"
    process = start(10**6, out)
    wait_for(lambda: log.exists() and log.read_text().count("\n") > 3, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (-number, 128 + number, 1), errors
    steps = state_of(out)["step"]
    assert steps == load_swap(out).card.steps == json.loads(log.read_text().splitlines()[-1])["step"]


def test_what_a_run_writes(tmp_path):
    out = tmp_path / "swap.safetensors"
    lines = train(out, steps=4, log_steps=2)
    assert [line["step"] for line in lines] == [2, 4]
    assert {"picture_a", "mask_b", "seconds_per_step", "seconds_left"} <= lines[0].keys()
    assert lines[-1]["seconds_left"] == 0
    family = load_swap(out)
    assert family.card.steps == 4 and family.card.trained_on == (("a", 24), ("b", 24))
    folder = tmp_path / "swap.run"
    assert sorted(path.name for path in folder.iterdir()) == [
        "log.jsonl",
        "pictures",
        "settings.json",
        "state.pt",
    ]
    assert [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] == lines
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["family"] == "autoencoder" and settings["settings"]["width"] == 4
    assert settings["parameters"] == sum(value.numel() for value in load_file(out).values())
    preview = np.asarray(Image.open(folder / "pictures" / "00000004.png"))
    assert preview.shape == (6 * 32, PREVIEWS * 32, 3)
    first = SIDES[0].pictures[0].permute(1, 2, 0).numpy()
    assert np.array_equal(preview[:32, :32], first)  # row A; then A -> A, A -> B, B
    assert np.array_equal(preview[3 * 32 : 4 * 32, :32], SIDES[1].pictures[0].permute(1, 2, 0).numpy())
    with torch.no_grad():
        x = SIDES[0].pictures[:1].float() / 255
        own, other = (family.swap(x, side)[0][0].permute(1, 2, 0).numpy() for side in "ab")
    assert abs(preview[32:64, :32] - own * 255).max() < 2 and abs(preview[64:96, :32] - other * 255).max() < 2


def test_a_run_that_is_over_writes_its_network_again(tmp_path):
    out = tmp_path / "swap.safetensors"
    train(out, steps=2)
    content = out.read_bytes()
    out.unlink()
    assert not train(out, steps=2)
    assert out.read_bytes() == content


def test_the_same_seed_gives_the_same_and_another_another(tmp_path):
    weights = []
    for number, seed in enumerate((1, 1, 2)):
        train(tmp_path / f"{number}.safetensors", steps=2, seed=seed)
        weights.append((tmp_path / f"{number}.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_minutes_are_counted_over_all_starts(tmp_path):
    out = tmp_path / "swap.safetensors"
    lines = train(out, steps=None, minutes=0.02)
    assert lines[-1]["seconds_left"] == 0 and state_of(out)["seconds"] >= 1.2
    steps = state_of(out)["step"]
    assert not train(out, steps=None, minutes=0.02) and state_of(out)["step"] == steps
    assert train(out, steps=None, minutes=0.03)[-1]["step"] > steps


def test_the_rate_falls_to_the_end():
    class Fake:
        step, seconds = 75, 45.0

    assert find_progress(Fake, 100, None) == find_progress(Fake, None, 1.0) == 0.75
    family = FAMILIES["vae"](size=32, width=4)
    assert [family.find_rate(progress) for progress in (0, 0.5, 0.75, 1)] == [1, 1, 0.5, 0]


def test_a_state_of_another_run_is_refused(tmp_path):
    out = tmp_path / "swap.safetensors"
    train(out, steps=2)
    for options, what in (
        ({"family": "vae"}, "family"),
        ({"settings": {"width": 5}}, "settings"),
        ({"seed": 3}, "seed"),
        ({"batch_size": 3}, "batch_size"),
    ):
        with pytest.raises(
            CheckpointError, match=rf"state\.pt is of a run with other .*{what}.*; delete the folder"
        ):
            train(out, **options)
    other = SIDES[0], SIDES[0]
    with pytest.raises(CheckpointError, match="is of a run with other faces"):
        list(
            train_swap(
                *other, out, settings={"width": 4}, steps=4, batch_size=2, device="cpu", precision="float32"
            )
        )


@pytest.mark.parametrize("damage", ["cut", "html", "pickle", "list", "keys", "family"])
def test_a_state_that_is_damaged_is_refused(damage, tmp_path):
    out = tmp_path / "swap.safetensors"
    train(out, steps=2)
    state = out.with_suffix(".run") / "state.pt"
    before = out.read_bytes()
    if damage == "cut":
        state.write_bytes(state.read_bytes()[:-1000])
    elif damage == "html":
        state.write_bytes(b"<html>")
    elif damage == "pickle":
        torch.save(os.system, state)
    elif damage == "list":
        torch.save([1], state)
    else:
        content = torch.load(state, weights_only=True)
        content["run"] = {} if damage == "keys" else {**content["run"], "family": {"x": torch.zeros(1)}}
        torch.save(content, state)
    with pytest.raises(CheckpointError, match=r"state\.pt (is damaged|does not fit).*delete the folder"):
        train(out)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": None}, "give steps or minutes"),
        ({"steps": 3, "minutes": 1.0}, "give steps or minutes"),
        ({"steps": 0}, "steps and minutes are finite numbers above 0, not 0"),
        ({"steps": None, "minutes": -1.0}, "above 0, not -1"),
        ({"steps": None, "minutes": float("nan")}, "above 0, not nan"),
        ({"batch_size": 0}, "a batch has at least 1"),
        ({"precision": "float64"}, "precision is float32 or bfloat16"),
        ({"family": "gan"}, "there is no family 'gan'"),
        ({"settings": {"height": 1}}, "does not take these settings"),
    ],
)
def test_arguments_that_make_no_sense(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train(tmp_path / "swap.safetensors", **options)
    assert not list(tmp_path.iterdir())


def test_sides_of_two_sizes(tmp_path):
    sides = SIDES[0], draw_side("b", size=64)
    with pytest.raises(InputError, match="a has pictures of 32 pixels, and b of 64"):
        list(train_swap(*sides, tmp_path / "swap.safetensors", steps=1))


def test_a_loss_that_is_not_finite_ends_the_run_and_changes_nothing(tmp_path, monkeypatch):
    out = tmp_path / "swap.safetensors"
    train(out, steps=2, save_seconds=0)
    before = state_of(out)
    kind = FAMILIES["autoencoder"]
    monkeypatch.setattr(kind, "losses", lambda self, batch, player: {"picture_a": torch.tensor(float("nan"))})
    with pytest.raises(TrainingError, match=r"step 2: the losses of faces are not finite \(picture_a nan\)"):
        train(out, steps=4)
    assert_same(before, state_of(out))


# -- the command -------------------------------------------------------------------------------------


@pytest.fixture
def persons(tmp_path):
    from fomm.swap import write_faces

    for seed, name in enumerate("ab"):
        faces = make_faces()
        faces.pictures[:] += np.uint8(seed)
        write_faces(tmp_path / f"{name}.npz", faces)
    return [str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]


def test_the_command_trains(persons, tmp_path, capsys):
    out = tmp_path / "swap.safetensors"
    arguments = ["swap", "train", *persons, "-o", str(out), "--steps", "1", "--batch", "1", "--device", "cpu"]
    assert main([*arguments, "--family", "conv_vae"]) == 0
    said = capsys.readouterr().out
    family = load_swap(out)
    assert (
        family.name == "conv_vae" and family.size == 64 and family.card.trained_on == (("a", 60), ("b", 60))
    )
    assert f"conv_vae at 64 pixels: {sum(p.numel() for p in family.parameters()):,} parameters" in said
    assert "1  " in said and str(out) in said


def test_the_command_trains_on_plain_pictures(tmp_path):
    for name in "ab":
        write_pictures(tmp_path / name, ["1.png", "2.png"])
    for family in PLAIN:
        out = tmp_path / f"{family}.safetensors"
        arguments = ["swap", "train", str(tmp_path / "a"), str(tmp_path / "b"), "--any", "--family", family]
        assert main([*arguments, "-o", str(out), "--steps", "1", "--batch", "1", "--device", "cpu"]) == 0
        assert load_swap(out).name == family


def test_the_command_names_every_family(capsys):
    assert main(["swap", "train", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in (*FAMILIES, *PLAIN))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--family", "gan"], "there is no family 'gan'"),
        (["--family", "pix2pix"], "give two, and --any"),
        (["--family", "vae", "--staged"], "vae does not take these settings"),
        (["--preset", "full"], "has faces of 64 pixels, and 128 are wanted"),
        (["--any", "--family", "cyclegan"], "is no folder"),
        (["--steps", "0"], "above 0"),
    ],
)
def test_the_command_refuses(changes, message, persons, tmp_path, capsys):
    assert main(["swap", "train", *persons, "-o", str(tmp_path / "swap.safetensors"), *changes]) == 1
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_the_result_is_no_input_and_is_named_as_what_it_is(persons, tmp_path, capsys):
    before = Path(persons[1]).read_bytes()
    assert main(["swap", "train", *persons, "-o", persons[1]]) == 1
    assert "is what is trained on; choose another name" in capsys.readouterr().err
    assert main(["swap", "train", *persons, "-o", str(tmp_path / "swap.pt"), "--steps", "1"]) == 1
    assert "name it so" in capsys.readouterr().err
    assert Path(persons[1]).read_bytes() == before
