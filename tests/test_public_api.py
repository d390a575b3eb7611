import inspect
import subprocess
import sys

import pytest

import fomm

pytestmark = pytest.mark.smoke

PROMISED = {
    "Animator", "CheckpointError", "ConfigError", "FommError", "InputError", "MediaError", "__version__",
    "Compute", "Edit", "Excerpt", "Framing", "Marking", "Motion",
    "animate_file", "convert", "display", "edit", "load_checkpoints", "make_animation", "mark",
}  # fmt: skip


def test_all_is_the_promise():
    assert set(fomm.__all__) == PROMISED == set(dir(fomm))
    for name in PROMISED:
        assert getattr(fomm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fomm.nothing  # noqa: B018


def test_the_published_signatures():
    load = inspect.signature(fomm.load_checkpoints).parameters
    assert list(load) == ["config_path", "checkpoint_path", "cpu", "device"]
    assert [load[name].default for name in load] == [None, None, False, None]
    assert load["device"].kind is inspect.Parameter.KEYWORD_ONLY
    make = inspect.signature(fomm.make_animation).parameters
    assert list(make)[:7] == [
        "source_image", "driving_video", "generator", "kp_detector", "relative", "adapt_movement_scale", "cpu"
    ]  # fmt: skip
    assert [make[name].default for name in ("relative", "adapt_movement_scale", "cpu")] == [True, True, False]
    assert all(make[name].kind is inspect.Parameter.KEYWORD_ONLY for name in list(make)[7:])


def test_import_is_light():
    code = (
        "import sys; before = set(sys.modules); import fomm;"
        "heavy = {'torch', 'numpy', 'PIL', 'imageio', 'yaml', 'tqdm', 'numba', 'scipy'} & set(sys.modules);"
        "assert not heavy, heavy; assert 'logging' not in set(sys.modules) - before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_error_is_a_fomm_error():
    for name in PROMISED:
        if name.endswith("Error"):
            assert issubclass(getattr(fomm, name), fomm.FommError)


def test_public_docstrings():
    for name in PROMISED - {"__version__"}:
        assert (inspect.getdoc(getattr(fomm, name)) or "").strip(), name
