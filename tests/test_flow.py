"""The way the data goes, checked on the imports: models know tensors alone, media no model, and so on."""

import ast
from pathlib import Path

import pytest

import fomm

ROOT = Path(fomm.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if "assets" not in path.parts)
NUMBA = (
    "compilation.py",
    "kernels.py",
    "shading.py",
)  # of the heads: they load numba, and are imported late themselves
MEDIA = ["media", "images", "streams", "ffmpeg", "frame_folder", "atomic", "errors"]


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
    for path in (ROOT / "model").glob("*.py"):
        names = imports(path)
        assert roots(names) <= {"torch", "fomm", "typing", "collections", "functools", "math"}, path
        inside = {name for name in names if name.startswith("fomm")}
        assert all(name == "fomm.model" or name.startswith("fomm.model.") for name in inside), path


def test_media_know_no_model():
    for name in MEDIA:
        found = imports(ROOT / f"{name}.py")
        assert "torch" not in roots(found), name
        inside = {item.split(".")[1] for item in found if item.startswith("fomm.")}
        assert inside <= {*MEDIA, "_version"}, name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_packages_are_imported_late(path):
    late = {"cv2", "face_alignment", "skimage", "matplotlib", "imageio", "imageio_ffmpeg", "IPython"}
    found = imports(path, top_level=True)
    if path.name not in NUMBA:
        late.add("numba")
        assert not {f"fomm.heads.{Path(name).stem}" for name in NUMBA} & found
    assert not late & roots(found)
    assert "torchvision" not in roots(imports(path)) and "cv2" not in roots(imports(path))


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
    """They run from a bare checkout: whatever reads or writes videos is imported where a video is met."""
    for folder in ("heads", "training"):
        for path in (ROOT / folder).glob("*.py"):
            if path.name != "demo_clip.py":
                found = imports(path, top_level=True)
                assert not {"fomm.media", "fomm.streams", "fomm.ffmpeg"} & found, path


@pytest.mark.parametrize(
    "room", sorted({path.parent for path in MODULES} - {ROOT}), ids=lambda room: room.name
)
def test_modules_of_a_room_import_each_other_in_one_direction(room):
    """Imports that are late, or for types alone, count as well."""
    prefix = f"fomm.{room.relative_to(ROOT).as_posix().replace('/', '.')}."
    waiting = {
        path.stem: {
            name.removeprefix(prefix).split(".")[0] for name in imports(path) if name.startswith(prefix)
        }
        for path in MODULES
        if path.parent == room and path.name != "__init__.py"
    }
    while free := [name for name, needed in waiting.items() if not needed & waiting.keys()]:
        for name in free:
            del waiting[name]
    assert not waiting, "a circle, or what imports from one"
