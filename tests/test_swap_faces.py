"""Files of faces: what is written is read, and what is not such a file is refused."""

from dataclasses import fields, replace

import numpy as np
import pytest

from fomm.errors import InputError, MediaError
from fomm.swap import MASKS, FaceSet, read_faces, write_faces


def make_faces(count=3, size=64) -> FaceSet:
    rng = np.random.default_rng(0)
    return FaceSet(
        pictures=rng.integers(0, 256, (count, size, size, 3), np.uint8),
        masks=rng.random((count, size, size, len(MASKS))) < 0.5,
        points=rng.random((count, 478, 2), np.float32) * size,
        transforms=rng.random((count, 2, 3), np.float32),
        frames=np.arange(count) * 10,
    )


def test_what_is_written_is_read(tmp_path):
    faces = make_faces()
    write_faces(tmp_path / "a.npz", faces)
    again = read_faces(tmp_path / "a.npz")
    assert all(np.array_equal(getattr(faces, f.name), getattr(again, f.name)) for f in fields(FaceSet))
    assert again.size == 64 and len(again) == 3


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("pictures", np.zeros((0, 64, 64, 3), np.uint8)),
        ("pictures", np.zeros((3, 64, 32, 3), np.uint8)),
        ("pictures", np.zeros((3, 50, 50, 3), np.uint8)),
        ("masks", np.zeros((3, 64, 64, 5), np.uint8)),
        ("masks", np.zeros((3, 64, 64, 4), bool)),
        ("points", np.zeros((3, 68, 2), np.float32)),
        ("transforms", np.zeros((2, 2, 3), np.float32)),
        ("frames", np.zeros(3, np.float32)),
    ],
)
def test_arrays_that_do_not_belong_together(name, array):
    with pytest.raises(InputError, match="not"):
        replace(make_faces(), **{name: array})


def test_files_that_are_none(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(MediaError, match=r"a\.npz cannot be read as faces"):
        read_faces(path)
    path.write_bytes(b"<html>")
    with pytest.raises(MediaError, match=r"a\.npz cannot be read as faces"):
        read_faces(path)
    np.savez(path, pictures=np.zeros(3))
    with pytest.raises(MediaError, match=r"a\.npz cannot be read as faces"):
        read_faces(path)
    np.savez(path, format=2)
    with pytest.raises(MediaError, match="has format 2, and this fomm reads 1"):
        read_faces(path)
    write_faces(path, make_faces())
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(MediaError, match=r"a\.npz cannot be read as faces"):
        read_faces(path)
    np.savez(path, format=1, pictures=np.array([{}], dtype=object))
    with pytest.raises(MediaError, match=r"a\.npz cannot be read as faces"):
        read_faces(path)
