import os
import re
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from checkout import ROOT
from golden_data import EXPECTED, GOLDEN, TINY_OPTIONS

import fomm
from fomm import checkpoint
from fomm.animation import animate as animation
from fomm.animation.frames import to_uint8
from fomm.animation.options import Edit
from fomm.animation.photo import MovedPhoto
from fomm.checkpoint import read_checkpoint
from fomm.cli import main
from fomm.commands.parser import COMMANDS
from fomm.media import VideoReader, save_video


def animate(files, *options, result="result.mp4") -> int:
    return main(
        [
            *("animate", str(files / "photo.png"), str(files / "driving.mp4"), "-o", str(files / result)),
            *("--crop", "none", *options),  # noise has no face
        ]
    )


@pytest.mark.smoke
def test_animate(files, capsys):
    assert animate(files, *TINY_OPTIONS) == 0
    captured = capsys.readouterr()
    assert "8 frames" in captured.out and captured.err == ""
    with VideoReader(files / "result.mp4") as reader:
        assert reader.fps == 10 and len(list(reader)) == 8


def test_parts_are_chosen_by_words_and_numbers(files, monkeypatch, capsys):
    seen = {}

    def note(*_: object, **options: object) -> int:
        for option in options.values():
            seen.update(asdict(option))
        seen.update(seen.pop("edit"))
        return 1

    monkeypatch.setattr(animation, "animate_file", note)
    parts = ("crop", "crop_driving", "face", "paste_back")
    for options, wanted in (
        (["--crop", "auto"], ("auto", None, None, None)),
        (["--crop", "auto", "--paste-back"], ("auto", None, None, True)),
        (
            ["--crop", "1,-2,30,40", "--crop-driving", "none", "--face", "all"],
            ((1, -2, 30, 40), "none", "all", None),
        ),
        (["--crop", "auto", "--face", "2", "--no-paste-back"], ("auto", None, 2, False)),
    ):
        assert animate(files, *TINY_OPTIONS, *options) == 0
        assert tuple(seen[name] for name in parts) == wanted
    for wrong in (
        ["--crop", "1,2,3"], ["--crop", "1,--2,3,4"], ["--crop", "face"], ["--face", "left"], ["--face", "²"],
        ["--size", "0"], ["--size", "64x"],
        ["--start", "-1"], ["--duration", "nan"], ["--shard", "0/2"], ["--shard", "3/2"],
    ):  # fmt: skip
        assert animate(files, *TINY_OPTIONS, *wrong) == 2
        assert wrong[1] in capsys.readouterr().err


def test_the_options_reach_the_animation(files, monkeypatch):
    seen = {}

    def note(*_: object, **options: object) -> int:
        for option in options.values():
            seen.update(asdict(option))
        seen.update(seen.pop("edit"))
        return 1

    monkeypatch.setattr(animation, "animate_file", note)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert animate(files, *TINY_OPTIONS) == 0
    assert seen == {
        "relative": True, "adapt_movement_scale": True, "openings": True, "avd": False, "best_frame": None,
        "audio": True, "side_by_side": False, "start": 0.0, "duration": None, "batch_size": None,
        "crop": "none", "crop_driving": None, "face": None, "paste_back": None, "size": None,
        "device": None, "engine": "torch", "precision": "float32", "driver": None, "shift": 1.0,
        "strength": None, "parts": None, **asdict(Edit()),
        "mark": True, "sidecar": False, "credentials": None,
    }  # fmt: skip
    options = (
        "--absolute --no-adapt-scale --no-openings --avd --best-frame 3 --no-audio --side-by-side "
        "--start 1.5 --duration 2 --batch-size 7 --precision bfloat16 --size 64x48 "
        "--driver keypoints --shift 0.5 --no-mark --sidecar --credentials me.pem"
    )
    assert animate(files, *TINY_OPTIONS, *options.split()) == 0
    assert seen == {
        "relative": False, "adapt_movement_scale": False, "openings": False, "avd": True, "best_frame": 3,
        "audio": False, "side_by_side": True, "start": 1.5, "duration": 2.0, "batch_size": 7,
        "crop": "none", "crop_driving": None, "face": None, "paste_back": None, "size": (48, 64),
        "device": None, "engine": "torch", "precision": "bfloat16", "driver": "keypoints", "shift": 0.5,
        "strength": None, "parts": None, **asdict(Edit()),
        "mark": False, "sidecar": True, "credentials": "me.pem",
    }  # fmt: skip
    options = (
        "--strength mouth=1.2,pose=0.5 --parts mouth,pose --yaw -20 --pitch 3 --roll -1.5 --mouth 0.4 "
        "--eyes 0 --smile -0.5 --brows 0.3"
    )
    assert animate(files, *TINY_OPTIONS, *options.split()) == 0
    assert (seen["strength"], seen["parts"]) == ({"mouth": 1.2, "pose": 0.5}, ("mouth", "pose"))
    edited = asdict(Edit(-20, 3, -1.5, 0.4, 0, -0.5, 0.3))
    assert {name: seen[name] for name in edited} == edited
    animate(files, *TINY_OPTIONS, "--absolute", "--relative")
    assert seen["relative"] is True


def test_what_is_replaced_is_named(files, capsys):
    """As in published scripts an older result is replaced, but not without a word."""
    for words in ("result.mp4: 8 frames", "result.mp4 (replaced): 8 frames"):
        assert animate(files, *TINY_OPTIONS) == 0
        assert words in capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a folder that even root cannot write to")
@pytest.mark.parametrize("target", ["/proc/result.mp4", "/proc/frames"])
@pytest.mark.parametrize("command", ["animate", "demo"])
def test_a_place_that_cannot_be_written_to_is_found_first(files, capsys, monkeypatch, command, target):
    """Before the networks are loaded, and the video is watched."""
    monkeypatch.setattr(checkpoint, "load_checkpoints", lambda *_, **__: pytest.fail("they are loaded"))
    given = [str(files / "photo.png"), str(files / "driving.mp4")] if command == "animate" else []
    assert main([command, *given, "-o", target]) == 1
    assert re.fullmatch(rf"fomm: cannot write {target}: [^\n]+\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("10000", "size is 10000x10000 pixels (width x height), more than the 64x64 that the networks paint"),
        ("64x65", "size is 64x65 pixels"),
        ("64", None),
        ("32x48", None),
    ],
)
def test_a_size_that_enlarges_is_warned_of(files, capsys, monkeypatch, size, said):
    monkeypatch.setattr(MovedPhoto, "finish_frame", lambda *_: np.zeros((8, 8, 3), np.uint8))
    assert animate(files, *TINY_OPTIONS, "--size", size) == 0
    wanted = "" if said is None else rf"fomm: warning: {re.escape(said)}.*; enlarging adds no detail\n"
    assert re.fullmatch(wanted, capsys.readouterr().err)


def test_convert(tmp_path, capsys):
    out = tmp_path / "tiny.safetensors"
    assert (
        main(["convert", str(GOLDEN / "tiny-cpk.pth.tar"), str(out), "--config", str(GOLDEN / "tiny.yaml")])
        == 0
    )
    assert "MiB" in capsys.readouterr().out
    converted = read_checkpoint(out)
    assert converted.config is not None and converted.config.dataset_params.frame_shape == (64, 64, 3)
    assert not any(name.startswith(("discriminator", "optimizer")) for name in converted.tensors)
    half = tmp_path / "half.safetensors"
    assert main(["convert", str(out), str(half), "--half"]) == 0
    assert half.stat().st_size < 0.6 * out.stat().st_size


@pytest.mark.smoke
def test_data_train_and_evaluate_from_an_empty_folder(tmp_path, capsys):
    """Data, training and numbers, one command each; at a size of seconds."""
    data, run = tmp_path / "data", tmp_path / "run"
    options = "--people 3 --frames 4 --size 64 --test-fraction 0.34"
    assert main(["data", "heads", "--out", str(data), *options.split()]) == 0
    text = (GOLDEN / "tiny.yaml").read_text().replace("num_kp: 5", "num_kp: 16") + (
        "train_params: {num_epochs: 1, num_repeats: 50, epoch_milestones: [], lr_generator: 0.001,"
        " lr_discriminator: 0.001, lr_kp_detector: 0.001, batch_size: 2, scales: [1], checkpoint_freq: 1,"
        " transform_params: {sigma_affine: 0.05}, loss_weights: {l1: 10, keypoints: 10}}\n"
    )
    (tmp_path / "small.yaml").write_text(text)
    train = ["train", "--config", str(tmp_path / "small.yaml"), "--data", str(data), "--out", str(run)]
    assert main([*train, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "50/50" in out and "l1 " in out and "keypoints " in out
    evaluate = ["evaluate", str(run / "weights.safetensors"), str(data), "--device", "cpu"]
    assert main([*evaluate, "--out", str(tmp_path / "report")]) == 0
    assert "L1, face" in capsys.readouterr().out
    written = {path.name for path in (tmp_path / "report").iterdir()}
    assert written == {"report.html", "report.json", "reconstruction.png"}


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"photo": "missing.png"}, "missing.png"),
        ({"driving": "photo.png.txt"}, "photo.png.txt"),
        ({"result": "nowhere/result.mp4"}, "nowhere"),
        ({"result": "result.xyz"}, ".xyz"),
        ({"result": f"{'n' * 300}.mp4"}, "File name too long"),
        ({"driving": "photo.png"}, "photo.png as a video: it is a picture; expected a video"),
        ({"photo": "driving.mp4", "driving": "photo.png"}, "seem to be swapped: give the photo first"),
        ({"photo": "driving.gif", "driving": "photo.png"}, "seem to be swapped: give the photo first"),
        ({"photo": "driving.mp4"}, "driving.mp4: it is not a picture"),
        ({"driving": "notes.txt"}, "notes.txt as a video: it is not a video, but text"),
        ({"driving": "noise.bin"}, "noise.bin as a video: it is not a video, or damaged from its beginning"),
        ({"options": ["--start", "99"]}, "lasts only"),
        ({"options": ["--best-frame", "99"]}, "best_frame is 99"),
        ({"options": ["--device", "cuda:99"]}, "cuda"),
        ({"options": ["--checkpoint", "nothing.pth"]}, "nothing.pth"),
        ({"options": ["--config", "vox-257"]}, "vox-257"),
        ({"options": ["--batch-size", "0"]}, "batch_size is 0"),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing(files, capsys, change, words):
    (files / "notes.txt").write_text("Grüße, no video", encoding="utf-8")
    (files / "noise.bin").write_bytes(np.random.default_rng(0).bytes(5000))
    save_video(files / "driving.gif", [to_uint8(frame) for frame in EXPECTED["driving"]], fps=10)
    before = sorted(files.rglob("*"))
    names = {"photo": "photo.png", "driving": "driving.mp4", "result": "result.mp4"} | change
    paths = [str(files / names[name]) for name in ("photo", "driving")]
    arguments = ["animate", *paths, "-o", str(files / names["result"]), *TINY_OPTIONS, "--crop", "none"]
    arguments += names.get("options", [])
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("fomm: ")
    assert captured.err.count("\n") == 1 and "Traceback" not in captured.err
    assert words in captured.err
    assert sorted(files.rglob("*")) == before


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["dance"], "fomm: argument COMMAND: invalid choice: 'dance' .*; see fomm --help"),
        (["--colour", "animate"], "fomm: unknown option --colour; see fomm --help"),
        (["animate"], "fomm animate: the following arguments are required: PHOTO, .*; see fomm animate .*"),
        (["animate", "a", "b"], "fomm animate: .* required: -o/--output; see fomm animate --help"),
        (["animate", "a", "b", "-o", "c", "d"], "fomm animate: unexpected argument 'd'; see fomm animate .*"),
        (["animate", "a", "b", "--ouput", "c"], # what is missing was mistyped
         r"fomm animate: unknown option --ouput; did you mean --output\? see fomm animate --help"),
        (["animate", "a", "b", "-o", "c", "--foo=3"], "fomm animate: unknown option --foo; .*animate --help"),
        (["animate", "a", "b", "-o", "c", "-z"], "fomm animate: unknown option -z; .*see fomm animate .*"),
        (["animate", "a", "b", "-o", "c", "--size", "x"], "fomm animate: argument --size: 'x' is .* --help"),
        (["demo", "--best-frame", "x"], "fomm demo: unknown option --best-frame; see fomm demo --help"),
        (["data", "heads", "--poeple", "3"],
         r"fomm data heads: unknown option --poeple; did you mean --people\? see fomm data heads --help"),
        (["data", "tails"], "fomm data: argument KIND: invalid choice: 'tails' .*; see fomm data --help"),
    ],
)  # fmt: skip
def test_wrong_usage_is_2_and_one_line(arguments, line, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and re.fullmatch(f"{line}\n", captured.err), captured.err


def test_options_may_be_cut_short_and_names_may_begin_with_a_dash(files, monkeypatch):
    seen = []
    monkeypatch.setattr(animation, "animate_file", lambda *names, **given: seen.append((names, given)) or 1)
    options = ["-o", "r.mp4", "--dur", "2", "--side-by", *TINY_OPTIONS]
    assert main(["animate", *options, "--", "--photo.png", "d.mp4"]) == 0
    [(names, options)] = seen
    assert (
        str(names[0]) == "--photo.png"
        and options["excerpt"].duration == 2
        and options["framing"].side_by_side is True
    )


@pytest.mark.parametrize(
    ("arguments", "listed"),
    [
        ([], [f"  {name}" for name in COMMANDS]),
        (["--debug"], ["  animate "]),
        (["data"], ["heads", "voxceleb"]),
    ],
)
def test_alone_it_lists_its_commands(arguments, listed, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("usage: fomm") and ": error:" not in captured.err
    for words in listed:
        assert words in captured.err, words


@pytest.mark.parametrize("before", [True, False])
def test_debug_shows_the_traceback(files, before):
    arguments = ["convert", str(files / "photo.png"), str(files / "out.safetensors")]
    with pytest.raises(fomm.CheckpointError):
        main(["--debug", *arguments] if before else [*arguments, "--debug"])


def test_an_unexpected_error_is_named(files, capsys, monkeypatch):
    def broken(*args, **options):
        raise RuntimeError("a bug\nin two lines")

    monkeypatch.setattr(checkpoint, "convert", broken)
    assert main(["convert", "a", "b"]) == 1
    assert capsys.readouterr().err == (
        "fomm: RuntimeError: a bug in two lines (run again with --debug for the traceback)\n"
    )


def test_an_interrupt_is_130(capsys, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "convert", interrupted)
    assert main(["convert", "a", "b"]) == 130
    assert capsys.readouterr().err == "fomm: interrupted\n"


# Modules that take their time, in place of the real ones, and say when they are being imported.
SLOW = "import time\nopen('begun', 'x').close()\ntime.sleep(60)\n"
CHANGED = """import time
try:
    open('begun', 'x').close()
    time.sleep(60)
except KeyboardInterrupt:
    raise AttributeError('half a module') from None
"""
INTERRUPTED = {
    "fomm --help, while its own modules are imported": ("argparse", SLOW, ["--help"]),
    "fomm animate, while torch is imported": ("torch", SLOW, ["animate", "a.png", "b.mp4", "-o", "c.mp4"]),
    "while a module makes an error of it": ("torch", CHANGED, ["animate", "a.png", "b.mp4", "-o", "c.mp4"]),
}


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for another process there")
@pytest.mark.parametrize("case", INTERRUPTED)
@pytest.mark.parametrize("start", ["-m fomm", "-c import sys; from fomm.cli import main; sys.exit(main())"])
def test_an_interrupt_while_modules_are_imported_is_130(tmp_path, case, start):
    module, text, arguments = INTERRUPTED[case]
    (tmp_path / f"{module}.py").write_text(text)
    process = subprocess.Popen(
        [sys.executable, *start.split(" ", 1), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    end = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "fomm: interrupted\n")


# -- warnings ----------------------------------------------------------------------------------------


def warn_thrice(*arguments, **options):
    for text in ("it is slow;\nbe patient", "it is slow;\nbe patient", "it is small"):
        warnings.warn(text, stacklevel=1)
    warnings.warn("it is slow; be patient", stacklevel=1)


def test_a_warning_is_one_line_and_said_once(files, capsys, monkeypatch):
    monkeypatch.setattr(checkpoint, "convert", warn_thrice)
    before = warnings.showwarning
    for _ in range(2):  # anew for each command
        assert main(["convert", "a", str(files / "photo.png")]) == 0
        assert capsys.readouterr().err == (
            "fomm: warning: it is slow; be patient\nfomm: warning: it is small\n"
        )
        assert warnings.showwarning is before


def test_with_debug_a_warning_names_its_source(files, monkeypatch):
    monkeypatch.setattr(checkpoint, "convert", warn_thrice)
    with pytest.warns(UserWarning, match="it is small") as caught:
        assert main(["--debug", "convert", "a", str(files / "photo.png")]) == 0
    assert {Path(warning.filename).name for warning in caught} == {"test_cli.py"}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_warnings_of_jobs_are_lines_too(files, workers):
    """In the processes that do them as well."""
    (files / "photos").mkdir()
    for name in "ab":
        (files / "photos" / f"{name}.png").write_bytes((files / "photo.png").read_bytes())
    command = ["animate", "photos", "driving.mp4", "-o", "out", "--workers", workers, *TINY_OPTIONS]
    command += ["--crop", "none", "--size", "200", "--device", "cpu"]
    told = subprocess.run(
        [sys.executable, "-m", "fomm", *command], capture_output=True, text=True, cwd=files,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True,
    )  # fmt: skip
    assert told.stderr and all(line.startswith("fomm: warning: size ") for line in told.stderr.splitlines())


@pytest.mark.parametrize("command", [*COMMANDS, "data heads"])
def test_help_gives_defaults_and_units(command, capsys):
    assert main([*command.split(), "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "default: None" not in text and "default: False" not in text
    expected = {
        "animate": ("SECONDS", "(default: 0.0)", "as many as suit the device", "(default)"),
        "demo": ("(default: demo.mp4)",),
        "data heads": ("(default: 1000)", "pixels", "(default: 128)", "(default: npz)"),
    }
    for words in expected.get(command, ()):
        assert words in text, words


@pytest.mark.smoke
def test_as_a_module_and_quick_to_start():
    run = subprocess.run(
        [sys.executable, "-m", "fomm", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == f"fomm {fomm.__version__}"
    code = (
        "import sys; from fomm.cli import main; main(['animate', '--help']);"
        "sys.exit(bool({'torch', 'numpy', 'imageio', 'PIL'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_the_demo(tmp_path, capsys):
    assert main(["demo", "-o", str(tmp_path / "demo.mp4")]) == 0
    with VideoReader(tmp_path / "demo.mp4") as reader:
        assert reader.fps == 25 and reader.has_audio
        frames = np.stack(list(reader)).astype(float)
    assert len(frames) == 175
    assert main(["inspect", str(tmp_path / "demo.mp4")]) == 0
    assert "made with fomm, weights fd8492" in capsys.readouterr().out
    assert np.abs(frames[50] - frames[0]).mean() > 4, "the head turned"
