"""What holds for the repository as a whole: its size, its dependencies, its papers, its README."""

import ast
import configparser
import re
import shlex
import sys
from itertools import pairwise

import pytest
from checkout import ROOT, tracked_files

import fomm

MIB = 2**20
DOCUMENTS = ("README.md", "CONTRIBUTING.md")
# Import names that are not their distribution's name with a dash for an underscore.
DISTRIBUTIONS = {"PIL": "pillow", "skimage": "scikit-image", "yaml": "pyyaml", "cv2": "opencv-python"}


def read_setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup


def distribution_names(requirements: str) -> set[str]:
    """The names, in lower case with dashes, of a list of requirements, one in a line."""
    names = (re.match(r"[A-Za-z0-9._-]+", line.strip()) for line in requirements.splitlines())
    return {name[0].lower().replace("_", "-") for name in names if name}


def shell_commands(text: str) -> list[list[str]]:
    """Every command in the fenced blocks marked ``sh``, split into words."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(part, comments=True) for line in lines for part in line.split("&&") if part.strip()]


@pytest.fixture(scope="module")
def tracked():
    paths = tracked_files()
    if paths is None:
        pytest.skip("not a git checkout")
    return paths


def test_tracked_files_are_small(tracked):
    sizes = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in tracked}
    largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:5]
    total = sum(sizes.values())
    assert total < 48 * MIB, f"{total / MIB:.1f} MiB of 48; the largest: {largest}"


def test_no_machine_paths(tracked):
    # a slash that no word stands before, then a folder where somebody's files lie
    path = re.compile(rb"(?<![\w.}\)\]])/(work|root|home|opt|Users)/")
    found = {}
    for file in tracked:
        content = file.read_bytes()
        if b"\0" not in content and (match := path.search(content)):
            line = content[: match.start()].count(b"\n") + 1
            found[f"{file.relative_to(ROOT).as_posix()}:{line}"] = match[0].decode()
    assert not found


def imported_packages(source: str) -> set[str]:
    """The packages that a module imports absolutely, at its top or late."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_imports_are_found_wherever_they_stand():
    source = "import a.b, c as d\nfrom e.f import g\ndef late():\n    import h\n    from . import i\n"
    assert imported_packages(source) == {"a", "c", "e", "h"}


def test_what_is_imported_is_declared():
    setup = read_setup()
    declared = distribution_names(setup["options"]["install_requires"])
    for extra in setup["options.extras_require"].values():
        declared |= distribution_names(extra)
    undeclared = {}
    for file in [*ROOT.glob("fomm/**/*.py"), *ROOT.glob("examples/*.py")]:
        foreign = imported_packages(file.read_text(encoding="utf-8")) - sys.stdlib_module_names - {"fomm"}
        needed = {DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in foreign}
        if needed - declared:
            undeclared[file.relative_to(ROOT).as_posix()] = needed - declared
    assert not undeclared


def test_what_is_declared_is_pinned():
    setup = read_setup()
    declared = distribution_names(setup["options"]["install_requires"])
    for extra in setup["options.extras_require"].values():
        declared |= distribution_names(extra)
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    loose = [line for line in pins.splitlines() if line and line[0] != "#" and "==" not in line]
    assert not loose
    assert not declared - distribution_names(pins)


@pytest.mark.parametrize(
    "name", ["LICENSE", "THIRD_PARTY.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "fomm/py.typed"]
)
def test_papers_are_there(name):
    assert (ROOT / name).is_file()


def test_every_package_is_installed():
    packages = read_setup()["options"]["packages"].split()
    folders = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("fomm/**/__init__.py")}
    expected = {folder.replace("/", ".") for folder in folders}
    assert set(packages) == expected | {"fomm.configs", "fomm.checkpoints", "fomm.examples"}


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    cited = re.search(r"^version: (\S+)$", citation, flags=re.MULTILINE)
    newest = re.search(r"^## (\S+)", changelog, flags=re.MULTILINE)
    assert cited and newest
    assert (cited[1], newest[1]) == (fomm.__version__, fomm.__version__)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "THIRD_PARTY.md"])
def test_links_lead_to_files(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)", text)
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert not missing


@pytest.mark.parametrize("name", DOCUMENTS)
def test_python_in_documents_uses_public_names(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module == "fomm":
                assert {alias.name for alias in node.names} <= set(fomm.__all__)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_in_documents_exist(name, capsys):
    from fomm.cli import main

    for words in shell_commands((ROOT / name).read_text(encoding="utf-8")):
        if words[0].rpartition("/")[2] != "fomm":
            continue
        arguments = words[1:]
        command = arguments[: 2 if arguments[0] == "data" else 1]
        status = main([*command, "--help"])
        shown = capsys.readouterr()
        assert status == 0, f"fomm {command}: {shown.err}"
        options = {word.partition("=")[0] for word in arguments if word.startswith("-")}
        unknown = {option for option in options if not re.search(rf"(?<![\w-]){option}(?![\w-])", shown.out)}
        assert not unknown, f"fomm {command} does not know {unknown}"


def test_readme_installs_what_is_tested():
    """Its first line makes the demo, the second runs the tests, both with the tested versions."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for marker, end in (("demo", "bin/fomm demo -o demo.mp4"), ("test", "bin/pytest")):
        block = re.search(rf"<!-- {marker} line -->\n```sh\n(.+)\n```", text)
        assert block, f"no {marker} line"
        assert "pip install -c constraints.txt" in block[1] and block[1].endswith(end)


def test_extras_are_added_to_an_editable_install():
    """Without ``-e`` such a line would replace an editable install by a plain one, without a word."""
    for path in [*(ROOT / name for name in DOCUMENTS), *ROOT.glob("docs/*.md")]:
        for words in shell_commands(path.read_text(encoding="utf-8")):
            for before, word in pairwise(words):
                assert not word.startswith(".[") or before == "-e", f"{path.name}: {shlex.join(words)}"
