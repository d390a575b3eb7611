"""Shells complete every command and every option."""

import argparse
import re
import shutil
import subprocess
import sys

import pytest

from fomm.cli import main
from fomm.commands.parser import COMMANDS, build_parser


def list_commands(parser, words=()):
    """Yield the words of each command, with its options."""
    names = [name for action in parser._actions for name in action.option_strings]
    yield words, names
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from list_commands(command, (*words, name))


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def script(request):
    """Give a shell's name and its script, printed by a process as a user starts it."""
    pytest.importorskip("shtab", reason="needs the extra completion")
    command = [sys.executable, "-m", "fomm", "--print-completion", request.param]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return request.param, done.stdout


def options_of(shell, text, words):
    """Return the options that the script knows of one command."""
    name = "_".join(["_shtab_fomm", *words]).replace("-", "_")
    if shell == "bash":
        (line,) = re.findall(rf"^{name}_option_strings=\((.*)\)$", text, re.M)
        return set(line.split())
    if shell == "zsh":
        (part,) = re.findall(rf"^{name}_options=\((.*?)^\)$", text, re.M | re.S)
        beginnings = "\n".join(line.partition("[")[0] for line in part.splitlines())
        return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", beginnings))
    condition = " ".join(["_shtab_fomm_using", *words])
    lines = re.findall(rf"^complete -c fomm -n '?{condition}'? (-[sl] .*?) -d", text, re.M)
    found = [re.findall(r"(?<!\S)-([sl]) (\S+)", line) for line in lines]
    return {("-" if kind == "s" else "--") + name for options in found for kind, name in options}


def test_every_command_and_option_is_in_it(script):
    shell, text = script
    commands = list(list_commands(build_parser()))
    assert {words[0] for words, _ in commands if words} == set(COMMANDS)
    for words, names in commands:
        assert options_of(shell, text, words) == set(names), words
    for words in (words for words, _ in commands if words):
        last = re.escape(words[-1])
        place = {"bash": rf"subparsers=\(.*\b{last}\b", "zsh": rf"^ +{last}:'", "fish": rf" -a {last} -d"}
        assert re.search(place[shell], text, re.M), words


BASH = """
source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
_shtab_fomm
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(tmp_path, capsys):
    pytest.importorskip("shtab", reason="needs the extra completion")
    assert main(["--print-completion", "bash"]) == 0
    (tmp_path / "fomm.sh").write_text(capsys.readouterr().out)
    (tmp_path / "photo.jpg").touch()

    def complete(*words):
        command = ["bash", "-c", BASH, "bash", str(tmp_path / "fomm.sh"), "fomm", *words]
        return set(subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout.split())

    assert complete("") == set(COMMANDS)
    assert complete("ani") == {"animate"}
    assert complete("data", "") >= {"heads", "prepare", "voxceleb"}
    assert complete("animate", "--dri") == {"--driver"}
    assert complete("live", "pho") == {"photo.jpg"}
    assert complete("animate", "--checkpoint", "pho") == {"photo.jpg"}


def test_without_its_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--print-completion", "bash"]) == 1
    assert capsys.readouterr().err == "fomm: completion needs the package shtab: pip install shtab\n"


def test_another_shell_is_wrong_usage(capsys):
    assert main(["--print-completion", "csh"]) == 2
    assert "bash" in capsys.readouterr().err
