"""Every command of README and docs is run as it stands there, or a reason is given why not."""

import shutil

import numpy as np
import pytest
from checkout import ROOT
from page_commands import fomm_arguments, shell_commands
from signing_key import make_key
from successors import save_tiny

from fomm.bundled import bundled
from fomm.cli import main
from fomm.marks import Marker, Origin
from fomm.media import VideoReader, VideoWriter, read_image, save_video, write_image

PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
# Commands that begin so are not run here.
NOT_RUN = {
    "data": "it needs films, or hours",
    "evaluate": "it needs weights of a long training; test_evaluation.py runs it",
    "fuzz": "it runs for minutes",
    "live": "it needs a camera; test_live.py runs it with a file",
    "make-weights": "it trains for minutes; test_make_weights.py runs it",
    "swap": "it needs faces of two persons, and minutes; test_swap_training.py runs it",
    "train": "it runs for hours; test_training.py runs it",
    "web": "it serves until it is stopped; test_web.py runs it",
}

# What a command with this word needs, which not every environment has.
NEEDS = {
    "--credentials": "c2pa",
    "--print-completion": "shtab",
    "export": "onnxruntime",
    "openvino": "openvino",
    "photos/": "pillow_heif",
}


def block_commands() -> dict[str, list[str]]:
    """Return what the commands in the pages' blocks pass to fomm, by page and words; each once."""
    commands = {}
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for words in shell_commands(text, inline=False):
            if "docker" not in words and (arguments := fomm_arguments([w for w in words if w != "&"])):
                commands.setdefault(" ".join(arguments), [page, *arguments])
    return commands


COMMANDS = block_commands()


def test_there_are_commands():
    assert len(COMMANDS) >= 35
    assert {words[1] for words in COMMANDS.values()} >= {
        "animate",
        "edit",
        "motion",
        "inspect",
        "crop",
        "score",
    }
    for name in NOT_RUN:
        assert name == "fuzz" or any(words[1] == name for words in COMMANDS.values()), f"no page shows {name}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Give a working folder with the files that the pages name: short videos, and photos."""
    photo = bundled("examples", "grace_hopper.jpg")
    driving = [
        frame for frame, _ in zip(VideoReader(bundled("examples", "driving.mp4")), range(5), strict=False)
    ]
    for name in ("photo.jpg", "photos/one.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(photo, tmp_path / name)
    cut_out = np.dstack([read_image(photo), np.full(read_image(photo).shape[:2], 255, np.uint8)])
    cut_out[:20, :, 3] = 0
    write_image(tmp_path / "head.png", cut_out)
    write_image(tmp_path / "other.jpg", read_image(bundled("examples", "astronaut.png")))
    for name in ("group.jpg", "examples/group.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(bundled("examples", "group.jpg"), tmp_path / name)
    save_video(tmp_path / "talk.mp4", driving, fps=25)
    for name in ("driving.mp4", "anna.mp4", "film.mp4", "talk-1080p.mp4", "talks/one.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(tmp_path / "talk.mp4", tmp_path / name)
    marker = Marker(Origin.of(None))
    write_image(tmp_path / "picture.jpg", marker(read_image(photo)))
    with VideoWriter(tmp_path / "result.mp4", fps=25, mark=marker) as writer:
        for frame in driving:
            writer.write(frame)
    (tmp_path / "jobs.csv").write_text("source,driving,output\nphoto.jpg,talk.mp4,made.mp4\n")
    main(["motion", str(tmp_path / "talk.mp4"), "-o", str(tmp_path / "talk.motion.safetensors")])
    shutil.copy(ROOT / "tests" / "golden" / "tiny-cpk.pth.tar", tmp_path / "vox-cpk.pth.tar")
    (tmp_path / "runs" / "heads-128").mkdir(parents=True)
    shutil.copy(
        bundled("checkpoints", "heads-256.safetensors"),
        tmp_path / "runs" / "heads-128" / "weights.safetensors",
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("shown", COMMANDS)
def test_the_command_runs(folder, shown, capsys):
    page, *arguments = COMMANDS[shown]
    if arguments[0] in NOT_RUN:
        pytest.skip(f"{page}: {NOT_RUN[arguments[0]]}")
    if "--web" in arguments:
        pytest.skip(f"{page}: it needs npm's registry; test_browser_page.py runs it")
    if "--ray" in arguments:
        pytest.skip(f"{page}: it needs a cluster; test_ray.py starts one")
    for option, package in NEEDS.items():
        if option in arguments:
            pytest.importorskip(package)
    if "vox.pth.tar" in arguments:
        save_tiny("tpsmm", folder / "vox.pth.tar")
    if "--credentials" in arguments:
        make_key(folder / "me.pem")
    if ">" in arguments:
        arguments = arguments[: arguments.index(">")]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert main(arguments) == 0, capsys.readouterr().err
    for option in ("-o", "--out", "--describe", "--report"):
        if option in arguments:
            made = folder / arguments[arguments.index(option) + 1]
            assert made.exists() and made.stat().st_mtime_ns > before.get(made, 0), made
            assert made.stat().st_size if made.is_file() else any(made.iterdir())
            if option == "-o" and arguments[0] in ("animate", "edit") and made.is_file():
                assert main(["inspect", str(made)]) == 0, "it does not say that fomm made it"
