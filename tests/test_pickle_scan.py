"""What a pickle describes is told without doing it; what is refused stands in test_bad_checkpoints.py."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from golden_data import GOLDEN
from hostile import checkpoint_file, tensor_pickle

from fomm.checkpoint import read_checkpoint
from fomm.checkpoint.pickle_scan import scan_pickle
from fomm.errors import CheckpointError


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_the_same_file_without_harm(tmp_path, legacy):
    numbers = {"numel": 4, "offset": 1, "size": (3,)}
    data = np.arange(4, dtype=np.float32).tobytes()
    path = tmp_path / "good.pth.tar"
    path.write_bytes(checkpoint_file(tensor_pickle(legacy, **numbers), legacy, {"0": data}))
    assert read_checkpoint(path).tensors["generator.w"].tolist() == [1, 2, 3]


def test_the_scan_tells_what_is_there():
    with zipfile.ZipFile(GOLDEN / "tiny-cpk.pth.tar") as archive:
        scan = scan_pickle(io.BytesIO(archive.read("tiny-cpk.pth/data.pkl")), "tiny")
        assert set(scan.value) >= {"generator", "kp_detector", "discriminator", "epoch"}
        assert scan.value["epoch"] == torch.load(GOLDEN / "tiny-cpk.pth.tar", weights_only=True)["epoch"]
        for storage in scan.storages.values():
            assert archive.getinfo(f"tiny-cpk.pth/data/{storage.key}").file_size == storage.nbytes


def test_the_stream_is_left_right_behind_the_pickle():
    stream = io.BytesIO(b"ab" + pickle.dumps([1, 2.5, "x", None, (True, {})], 2) + b"tail")
    stream.seek(2)
    assert scan_pickle(stream, "x").value == [1, 2.5, "x", None, (True, {})]
    assert stream.read() == b"tail"


def number_pickle(value: np.generic) -> bytes:
    return pickle.dumps([value, value], 2)


@pytest.mark.parametrize("code", ["?", "b", "B", "h", "H", "i", "I", "q", "Q", "e", "f", "d"])
def test_numbers_of_numpy(code):
    value = np.array(-3 if code in "bhiqefd" else 1).astype(code)[()]
    got = scan_pickle(io.BytesIO(number_pickle(value)), "x").value
    assert got == [value, value] and got[0].dtype == value.dtype


def test_a_number_with_the_higher_byte_first():
    data = number_pickle(np.uint16(0x0102)).replace(b"X\x01\x00\x00\x00<", b"X\x01\x00\x00\x00>")
    assert scan_pickle(io.BytesIO(data), "x").value[0] == 0x0201


@pytest.mark.parametrize("length", [0, 3, 5, 8])
def test_a_number_of_another_length_than_its_type(length):
    data = number_pickle(np.float32(1))
    text = b"X\x05\x00\x00\x00\x00\x00\xc2\x80?"  # four bytes as text
    assert text in data
    data = data.replace(text, b"X" + length.to_bytes(4, "little") + b"a" * length)
    with pytest.raises(CheckpointError, match="x is damaged"):
        scan_pickle(io.BytesIO(data), "x")


def test_one_storage_of_two_types():
    storage = b"(X\x07\0\0\0storagectorch\n%sStorage\nX\1\0\0\x000X\3\0\0\0cpuK\1tQ"
    fine = b"\x80\2" + storage % b"Float" + storage % b"Float" + b"\x86."
    assert scan_pickle(io.BytesIO(fine), "x").storages["0"].nbytes == 4
    with pytest.raises(CheckpointError, match="one storage with two sizes or types"):
        scan_pickle(io.BytesIO(fine.replace(b"Float", b"Int", 1)), "x")
