"""What holds for the repository as a whole: its size, its dependencies, its papers, its README."""

import ast
import configparser
import re
import shlex
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from checkout import ROOT, tracked_files
from page_commands import fomm_arguments, shell_commands

import fomm

MIB = 2**20
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (
        "*.md",
        "docs/*.md",
        "research/*.md",
        "checkpoints/*.md",
        "examples/*.md",
        "integrations/**/*.md",
        ".github/**/*.md",
    )
    for path in ROOT.glob(pattern)
)
# Import names that are not their distribution's name with a dash for an underscore.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
    "cv2": "opencv-python-headless",
    "c2pa": "c2pa-python",
}


def read_setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup


def distribution_names(requirements: str) -> set[str]:
    """Return the names, in lower case with dashes, of a list of requirements, one in a line."""
    names = (re.match(r"[A-Za-z0-9._-]+", line.strip()) for line in requirements.splitlines())
    return {name[0].lower().replace("_", "-") for name in names if name}


def anchors(text: str) -> set[str]:
    """Return the names by which links reach the headings of a Markdown text."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


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
    """Return the packages that a module imports absolutely, at its top or late."""
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


PAPERS = (
    "LICENSE", "THIRD_PARTY.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "SECURITY.md",
    "fomm/py.typed",
)  # fmt: skip


@pytest.mark.parametrize("name", PAPERS)
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
    nodes = (ROOT / "integrations" / "comfyui" / "pyproject.toml").read_text(encoding="utf-8")
    packed = re.search(r'^version = "(\S+)"$', nodes, flags=re.MULTILINE)
    assert cited and newest and packed
    assert {cited[1], newest[1], packed[1]} == {fomm.__version__}


def test_commands_are_found():
    text = (
        "```sh\nA=1 .venv/bin/fomm live \\\n  --window && ls\npython -m fomm train\n```\nthe `fomm crop a`\n"
    )
    found = [fomm_arguments(words) for words in shell_commands(text)]
    assert found == [["live", "--window"], [], ["train"], ["crop", "a"]]


def broken_links(document: Path) -> list[str]:
    """Return the relative links and pictures of a Markdown file that lead to no file or to no heading."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        known = file.suffix != ".md" or not anchor or anchor in anchors(file.read_text(encoding="utf-8"))
        if not (file.exists() and known):
            broken.append(target)
    return broken


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files_and_headings(name):
    assert not broken_links(ROOT / name)


def test_broken_links_are_found(tmp_path):
    (tmp_path / "b.md").write_text("# Here it is\n", encoding="utf-8")
    page = tmp_path / "a.md"
    page.write_text(
        "# A\n[x](b.md) [x](b.md#here-it-is) [x](#a) [x](b.md#there) ![x](c.png)", encoding="utf-8"
    )
    assert broken_links(page) == ["b.md#there", "c.png"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_named_in_documents_exist(name):
    """Such as `fomm/model/keypoints.py`: code that moves takes the pages with it."""
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:fomm|tests|tools|benchmarks|docs|research|configs)/[\w./-]+\.\w+)`", text))
    assert not {file for file in named if not (ROOT / file).exists()}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_python_in_documents_uses_public_names(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fomm":
                imported = {alias.name for alias in node.names}
                assert imported <= set(import_module(node.module).__all__)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_in_documents_exist(name, capsys):
    from fomm.cli import main

    for words in shell_commands((ROOT / name).read_text(encoding="utf-8")):
        arguments = fomm_arguments(words)
        if not arguments:
            continue
        command = [
            word for word in arguments[: 2 if arguments[0] in ("data", "swap") else 1] if word[0] != "-"
        ]
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


def test_readme_is_short():
    words = len((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert words <= 900


def test_hooks_run_what_is_pinned():
    """The hooks start programs of the environment, so constraints.txt and the extra ``dev`` name them."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    programs = {hook["entry"].split()[0] for hook in hooks[0]["hooks"] if hook["language"] == "system"}
    pinned = distribution_names((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    developed = distribution_names(read_setup()["options.extras_require"]["dev"])
    assert len(programs) >= 2 and programs <= pinned & developed


def test_hosted_checks_begin_at_the_oldest_python():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    oldest = read_setup()["options"]["python_requires"].removeprefix(">=").strip()
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"][0] == oldest
    assert any(step.get("run") == "bash .ci/run" for step in workflow["jobs"]["everything"]["steps"])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_extras_are_added_to_an_editable_install(name):
    """Without ``-e`` such a line would replace an editable install by a plain one, without a word."""
    for words in shell_commands((ROOT / name).read_text(encoding="utf-8")):
        for before, word in pairwise(words):
            assert not word.startswith(".[") or before == "-e", shlex.join(words)


def test_the_page_on_installing_names_every_extra():
    """With its packages; those for work on the code are in CONTRIBUTING.md."""
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| (`.*`) \|$", page, flags=re.MULTILINE)
    written = {extra: set(re.findall(r"`([^`]+)`", packages)) for extra, packages in rows}
    declared = {
        extra: {line.strip() for line in text.splitlines() if line.strip()}
        for extra, text in read_setup()["options.extras_require"].items()
        if extra not in ("test", "fuzz", "bench", "dev")
    }
    assert written == declared
