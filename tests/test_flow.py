"""The way the data goes, checked on the imports: models know tensors alone, media no model, and so on."""

import ast
import inspect
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

import pytest

import fomm
from fomm.bundled import bundled
from fomm.cli import main

pytestmark = pytest.mark.smoke

ROOT = Path(fomm.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
NUMBA = ("compilation.py", "kernels.py", "shading.py")  # of the heads: they load numba, and are imported late
# From the ground up: a room imports from those before it alone. Single modules at the top are rooms too.
HOUSE = [
    "errors", "_version", "atomic", "bundled", "workers",
    "model", "successors", "media", "marks", "config", "checkpoint", "face", "engines", "data", "animation",
    "heads", "training", "evaluation", "jobs", "live", "swap", "detect", "web", "export", "browser",
    "make_weights", "hub", "", "commands", "cli", "__main__",
]  # fmt: skip


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Full names of what a module imports, anywhere or at its top alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_models_know_tensors_and_nothing_else():
    known = {"torch", "fomm", "typing", "collections", "functools", "itertools", "math"}
    for room, rooms in (("model", {"model"}), ("successors", {"model", "successors"})):
        for path in (ROOT / room).glob("*.py"):
            names = imports(path)
            assert roots(names) <= known, path
            assert {name.split(".")[1] for name in names if name.startswith("fomm.")} <= rooms, path


def test_media_know_no_model():
    for path in (ROOT / "media").glob("*.py"):
        assert "torch" not in roots(imports(path)), path


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules() -> dict[str, set[str]]:
    """Return the modules of fomm, each with those that it imports: at its top, late, or for types alone."""
    known = {module_name(path) for path in MODULES}
    found = {}
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inside = {f"{node.module}.{alias.name}" for alias in node.names} & known
                names |= inside or {node.module}
        found[module_name(path)] = names & known - {module_name(path)}
    return found


def test_every_room_imports_from_those_below_it():
    def floor(name: str) -> int:
        return HOUSE.index(name.partition(".")[2].partition(".")[0])

    upwards = {
        f"{name} imports {other}"
        for name, others in imported_modules().items()
        for other in others
        if floor(other) > floor(name)
    }
    assert not upwards


def test_no_circle_of_imports():
    left = imported_modules()
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert not left, "each of these imports another of them"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_packages_are_imported_late(path):
    late = {"cv2", "face_alignment", "skimage", "matplotlib", "imageio", "imageio_ffmpeg", "IPython"}
    found = imports(path, top_level=True)
    if path.name not in NUMBA:
        late.add("numba")
        assert not {f"fomm.heads.{Path(name).stem}" for name in NUMBA} & found
    assert not late & roots(found)
    assert "torchvision" not in roots(imports(path))
    # OpenCV, late and as an extra, for the cascade alone.
    assert "cv2" not in roots(imports(path)) or path == ROOT / "swap" / "detectors.py"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_command_line_prints(path):
    calls = [
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    assert path.name == "cli.py" or path.parent.name == "commands" or "print" not in calls


def test_nobody_imports_the_command_line():
    for path in MODULES:
        if path.name not in ("__main__.py", "cli.py") and path.parent.name != "commands":
            rooms = {".".join(name.split(".")[:2]) for name in imports(path)}
            assert not {"fomm.cli", "fomm.commands"} & rooms, path


def test_heads_and_training_need_no_video_package_for_npz():
    """They run where imageio-ffmpeg is missing: it is imported where a video is met."""
    code = "import sys; sys.modules['imageio_ffmpeg'] = None; import fomm.heads.dataset, fomm.training.loop"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_driving_frame_passes_few_rooms(tmp_path):
    """The rooms whose functions run between the first frame that is read and the end are those listed."""
    text = (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = re.search(r"\*\*A driving frame passes these rooms\*\*[^:]*: (.*?)\.\n", text)
    assert listed
    rooms = set(re.findall(r"`(\w+)`", listed[1]))
    assert len(rooms) <= 7

    passed: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        name, code = str(frame.f_globals.get("__name__")), frame.f_code
        is_function = bool(code.co_flags & inspect.CO_OPTIMIZED)  # not a module that is imported
        if (
            event == "call"
            and is_function
            and name.startswith("fomm.")
            and (passed or code.co_name == "decode")
        ):
            passed.add(name)

    examples = [bundled("examples", name) for name in ("astronaut.png", "driving.mp4")]
    words = ["animate", *map(str, examples), "-o", str(tmp_path / "a.mp4"), "--duration", "0.1"]
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        status = main(words)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert status == 0
    folders = {name.split(".")[1] for name in passed if (ROOT / name.split(".")[1]).is_dir()}
    assert folders | {"commands"} == rooms
