"""A file is written whole or not at all."""

import pytest

from fomm.atomic import atomic_path
from fomm.errors import CheckpointError, MediaError


def test_the_file_appears_only_at_the_end(tmp_path):
    target = tmp_path / "video.mp4"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.suffix == ".mp4", "writers choose the format by the suffix"
    assert target.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["video.mp4"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path, failure):
    target = tmp_path / "weights.safetensors"
    target.write_bytes(b"old")
    with pytest.raises(failure), atomic_path(target) as temporary:
        temporary.write_bytes(b"half of the new")
        raise failure
    assert target.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.safetensors"]


def test_names_may_be_long_in_any_script(tmp_path):
    """File systems count bytes: 80 of these characters are 240, and a temporary name may have 255 too."""
    target = tmp_path / ("日" * 80 + ".mp4")
    with atomic_path(target) as temporary, atomic_path(temporary) as second:
        second.write_bytes(b"new")
    assert target.read_bytes() == b"new" and len(list(tmp_path.iterdir())) == 1


def test_a_missing_folder_is_named(tmp_path):
    with (
        pytest.raises(MediaError, match=r"missing.*does not exist"),
        atomic_path(tmp_path / "missing" / "a.png", MediaError),
    ):
        pytest.fail("the block must not run")


def test_a_folder_is_not_replaced(tmp_path):
    with (
        pytest.raises(CheckpointError, match="a folder of that name"),
        atomic_path(tmp_path, CheckpointError),
    ):
        pytest.fail("the block must not run")


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with (
        pytest.raises(CheckpointError, match="cannot write"),
        atomic_path(tmp_path / "nothing", CheckpointError),
    ):
        pass


def test_a_new_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    with atomic_path(tmp_path / "file") as temporary:
        temporary.write_bytes(b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
