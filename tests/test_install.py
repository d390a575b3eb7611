"""The wheel, built from the tracked files and used outside the checkout, in an environment of its own."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from checkout import ROOT, tracked_files
from golden_data import GOLDEN

from fomm import __version__
from fomm.checkpoint import DEFAULT_WEIGHTS
from fomm.media import VideoReader

pytestmark = pytest.mark.slow

FOLDERS = ("fomm", "configs", "checkpoints", "examples")
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
OFFLINE = ("--no-deps", "--no-index")


def run(*command, cwd: Path, **env: str) -> str:
    """Return the command's output; a failure shows all that it said. Nothing of the checkout is on its path.

    ``env`` is added to the environment, of which Python's and numba's own settings are left out.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "NUMBA"))}
    env = kept | {"PYTHONNOUSERSITE": "1"} | env
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def source_files() -> list[str]:
    """Give the files of the four folders that go into the wheel, relative to the checkout."""
    paths = tracked_files()
    if paths is None:
        found = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
        paths = [path for path in found if path.is_file() and "__pycache__" not in path.parts]
    names = (path.relative_to(ROOT).as_posix() for path in paths)
    return [name for name in names if name.partition("/")[0] in FOLDERS]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, source_files) -> Path:
    """Give a copy, so that no build folder comes into the checkout itself."""
    copy = tmp_path_factory.mktemp("checkout")
    papers = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY.md")
    for name in [*source_files, *papers]:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, checkout) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", *OFFLINE, "--no-build-isolation"]
    run(*build, "--wheel-dir", out, checkout, cwd=out)
    (built,) = out.glob("*.whl")
    return built


def new_environment(home: Path) -> Path:
    """Return the folder of programs of an environment without fomm.

    Torch and the others come from the running environment, by a path file: their own installation is not what
    is tested here, and takes minutes and gigabytes. Path files in that folder are not read, so that an
    editable fomm there stays unknown. OpenCV is replaced by one that cannot be loaded, as without libGL.
    """
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    programs = home / SCRIPTS
    site = site_packages(programs)
    others = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (site / "running-environment.pth").write_text("\n".join(others) + "\n", encoding="utf-8")
    (site / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')\n")
    return programs


def site_packages(programs: Path) -> Path:
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(run(programs / "python", "-c", script, cwd=programs).strip())


def pip(programs: Path, *arguments) -> None:
    """Run the running environment's pip on another environment."""
    run(sys.executable, "-m", "pip", "--python", programs / "python", *arguments, cwd=programs)


def install(programs: Path, *arguments) -> None:
    """Install from local files alone."""
    pip(programs, "install", *OFFLINE, *arguments)


@pytest.fixture(scope="module")
def installed(tmp_path_factory, wheel) -> Path:
    """Give the programs of an environment that holds the wheel."""
    programs = new_environment(tmp_path_factory.mktemp("environment"))
    install(programs, wheel)
    where = run(programs / "python", "-c", "import fomm; print(fomm.__file__)", cwd=programs).strip()
    assert Path(where).is_relative_to(site_packages(programs)), f"fomm comes from {where}, not from the wheel"
    return programs


def test_wheel_holds_every_file(wheel, source_files):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    expected = {name if name.startswith("fomm/") else f"fomm/{name}" for name in source_files}
    missing = expected - held
    assert not missing
    info = f"fomm-{__version__}.dist-info"
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/THIRD_PARTY.md"} <= held
    strays = {name for name in held - expected if not name.startswith(f"{info}/")}
    assert not strays
    needed = {
        f"fomm/checkpoints/{DEFAULT_WEIGHTS}",
        "fomm/examples/driving.mp4",
        "fomm/heads/assets/bust.npz",
    }
    assert needed <= held


def test_demo(installed, tmp_path):
    run(installed / "fomm", "demo", "-o", "demo.mp4", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["demo.mp4"]
    with VideoReader(tmp_path / "demo.mp4") as video:
        assert video.fps == pytest.approx(25)
        assert video.has_audio
        frames = np.stack(list(video)).astype(np.float32)
    assert 5 * 25 <= len(frames) <= 8 * 25
    # the head moves: noise of the encoder alone is below one level
    moved = np.abs(frames - frames[0]).mean((1, 2, 3)).max()
    assert moved > 3, f"the frames differ from the first by {moved:.2f} levels at most"


@pytest.mark.parametrize("name", ["tiny-cpk.pth.tar", "tiny-cpk-legacy.pth.tar"])
def test_convert(installed, tmp_path, name):
    run(installed / "fomm", "convert", GOLDEN / name, "tiny.safetensors", cwd=tmp_path)
    script = "import fomm; print(fomm.load_checkpoints(checkpoint_path='tiny.safetensors')[0].training)"
    assert run(installed / "python", "-c", script, cwd=tmp_path).strip() == "False"


def draw_heads(programs: Path, folder: Path) -> None:
    """Draw two clips into ``folder / "data"``; what numba compiles is kept in ``folder / "home"``."""
    command = (
        programs / "fomm",
        "data",
        "heads",
        "--out",
        "data",
        "--people",
        2,
        "--frames",
        2,
        "--size",
        32,
    )
    home = folder / "home"
    home.mkdir()
    run(*command, cwd=folder, **dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(home)))


def test_data_heads(installed, tmp_path):
    draw_heads(installed, tmp_path)
    clips = {path.parent.name for path in (tmp_path / "data").rglob("*.npz")}
    assert clips == {"train", "test"}


def test_nothing_is_left_after_an_uninstall(checkout, wheel, tmp_path):
    """A folder that is left would hide an editable fomm, since its finder is asked last."""
    programs = new_environment(tmp_path / "environment")
    install(programs, wheel)
    draw_heads(programs, tmp_path)
    pip(programs, "uninstall", "--yes", "fomm")
    site = site_packages(programs)
    left = [path.relative_to(site).as_posix() for path in [*site.glob("fomm*"), *site.glob("fomm*/**/*")]]
    assert not left
    assert list((tmp_path / "home").rglob("*.nbi")), "numba kept nothing anywhere: this test shows nothing"
    install(programs, "--no-build-isolation", "-e", checkout)
    where = run(programs / "python", "-c", "import fomm; print(fomm.__file__)", cwd=tmp_path).strip()
    assert Path(where) == checkout / "fomm" / "__init__.py"


def test_module_and_program_are_one(installed, tmp_path):
    version = run(installed / "fomm", "--version", cwd=tmp_path)
    assert __version__ in version
    assert run(installed / "python", "-m", "fomm", "--version", cwd=tmp_path) == version


@pytest.mark.parametrize("editable", [True, False], ids=["editable", "bare"])
def test_checkout_finds_its_files(checkout, tmp_path, editable):
    """Installed with ``-e``, and just run from its own folder."""
    programs = new_environment(tmp_path / "environment")
    if editable:
        install(programs, "--no-build-isolation", "-e", checkout)
    files = {"configs": "vox-256.yaml", "checkpoints": DEFAULT_WEIGHTS, "examples": "driving.mp4"}
    script = f"from fomm.bundled import bundled\nfor f, n in {files}.items(): print(bundled(f, n))"
    found = run(programs / "python", "-c", script, cwd=tmp_path if editable else checkout).splitlines()
    assert [Path(path) for path in found] == [checkout / folder / name for folder, name in files.items()]
    assert all(Path(path).is_file() for path in found)
