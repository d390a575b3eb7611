"""Files of faces: what is written is read, and what is not such a file is refused."""

import tracemalloc
import zipfile
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


def npz_with(path, shape, *, compressed=False):
    """Write faces, the header of whose pictures declares another shape than there are bytes."""
    write_faces(path, make_faces())
    with np.load(path) as archive:
        arrays = dict(archive)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                declared = shape if name == "pictures" else array.shape
                header = {"descr": array.dtype.str, "fortran_order": False, "shape": declared}
                np.lib.format.write_array_header_1_0(member, header)
                member.write(array.tobytes())


@pytest.mark.parametrize("shape", [(10**6, 160, 160, 3), (2**40, 64, 64, 3), (2**62, 4), (4, 64, 64, 3)])
def test_declared_arrays_take_no_memory_before_they_are_refused(shape, tmp_path):
    path = tmp_path / "a.npz"
    npz_with(path, shape)
    tracemalloc.start()
    try:
        with pytest.raises(MediaError, match=r"a\.npz cannot be read as faces.*ends within"):
            read_faces(path)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_compressed_files_are_refused(tmp_path):
    """A few kilobytes may hold gigabytes of zeros."""
    path = tmp_path / "a.npz"
    npz_with(path, (3, 64, 64, 3), compressed=True)
    with pytest.raises(MediaError, match=r"a\.npz cannot be read as faces.*compressed"):
        read_faces(path)
    npz_with(path, (3, 64, 64, 3))
    assert len(read_faces(path)) == 3, "the same, not compressed"


def test_files_that_are_cut_or_changed_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    write_faces(path, make_faces(1))
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        broken = bytearray(data[: rng.integers(len(data))] if rng.random() < 0.5 else data)
        for place in rng.integers(len(broken) or 1, size=5) if broken else ():
            broken[place] = rng.integers(256)
        edge = slice(-600, None) if rng.random() < 0.5 else slice(0, 300)
        broken[edge] = bytes(rng.permutation(np.array(list(broken[edge]), np.uint8)))
        path.write_bytes(bytes(broken))
        with pytest.raises(MediaError):
            read_faces(path)
