"""Pickles that would do harm, in both formats, are refused before PyTorch sees them."""

import io
import pickle
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fomm.checkpoint import read_checkpoint
from fomm.errors import CheckpointError
from fomm.pickle_scan import scan_pickle

GOLDEN = Path(__file__).parent / "golden"
LEGACY_HEAD = b"".join(
    pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
)


class Call:
    """Pickles to a call of ``function`` with ``arguments``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def write(path: Path, data: bytes, legacy: bool, storages: dict[str, bytes] | None = None) -> Path:
    """A checkpoint in either format around the pickle ``data``."""
    storages = storages or {}
    if legacy:
        tail = b"".join((len(s) // 4).to_bytes(8, "little") + s for s in storages.values())
        path.write_bytes(LEGACY_HEAD + data + pickle.dumps(list(storages), 2) + tail)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", data)
            for key, content in storages.items():
                archive.writestr(f"a/data/{key}", content)
            archive.writestr("a/version", b"3\n")
    return path


class TensorPickler(pickle.Pickler):
    """Protocol 2, with the text STORAGE for a storage of ``numel`` float32 numbers."""

    def __init__(self, file: io.BytesIO, numel: int, view: tuple) -> None:
        super().__init__(file, 2)
        self.id = ("storage", torch.FloatStorage, "0", "cpu", numel, *view)

    def persistent_id(self, obj):
        return self.id if isinstance(obj, str) and obj == "STORAGE" else None


def tensor_pickle(
    legacy: bool, numel: int, offset: int = 0, size: tuple = (1,), stride: tuple = (1,)
) -> bytes:
    """A checkpoint's pickle with one tensor of whatever numbers one likes."""
    buffer = io.BytesIO()
    tensor = Call(torch._utils._rebuild_tensor_v2, "STORAGE", offset, size, stride, False, {})
    content = {"generator": {"w": tensor}, "kp_detector": {"w": tensor}}
    TensorPickler(buffer, numel, (None,) if legacy else ()).dump(content)
    return buffer.getvalue()


NESTED = b")q\x00" + b"h\x00h\x00\x86q\x00" * 60  # a tuple of two tuples of two tuples: a hash takes for ever
HARMFUL = {
    "system": pickle.dumps(Call(__import__("os").system, "touch canary"), 2),
    "eval": pickle.dumps(Call(eval, "open('canary', 'w')"), 2),
    "open": pickle.dumps(Call(open, "canary", "w"), 2),
    "bytearray": pickle.dumps(Call(bytearray, 8 << 30), 2),
    "nested load": pickle.dumps(Call(pickle.loads, b"cos\nsystem\n(S'touch canary'\ntR."), 2),
    "torch.load": pickle.dumps(Call(torch.load, "canary"), 2),
    "set": pickle.dumps({1, 2}, 2),
    "complex": pickle.dumps(1j, 2),
    "object array": pickle.dumps(np.array([{}], dtype=object), 2),
    "structured dtype": pickle.dumps(np.dtype([("a", "f8", (1 << 20,))]), 2),
    "protocol 4": pickle.dumps({"a": Call(bytearray, 1)}, 4),
    "a stack global": b"\x80\x02\x8c\x02os\x8c\x06system\x93.",
    "inst": b"\x80\x02(S'touch canary'\nios\nsystem\n.",
    "extension": b"\x80\x02\x82\x01.",
    "call of a dict": b"\x80\x02})R.",
    "encode that grows": pickle.dumps(Call(__import__("_codecs").encode, "a" * 9, "hex"), 2),
    "hash without end": b"\x80\x02}" + NESTED + b"K\x01s.",
    "hash in a counter": b"\x80\x02ccollections\nCounter\n" + NESTED + b"K\x01\x86\x85\x85R.",
    "state of a class": b"\x80\x02ccollections\nOrderedDict\n}b.",
    "append to a dict": b"\x80\x02}K\x01a.",
    "endless": b"\x80\x02" + b"]" * 3_000_000,
    "empty stack": b"\x80\x02a.",
    "unknown memo": b"\x80\x02h\x07.",
    "no stop": b"\x80\x02}",
    "a module by persistent id": b"\x80\x02(X\x06\x00\x00\x00moduleK\x01K\x01K\x01tQ.",
}
WRONG_TENSORS = {
    "larger than its storage": ({"numel": 1, "size": (1 << 33,)}, "larger than its storage"),
    "of two rows in one": ({"numel": 3, "size": (2, 2), "stride": (2, 1)}, "larger than its storage"),
    "behind its storage": ({"numel": 1, "offset": 1}, "larger than its storage"),
    "stepping back": ({"numel": 1, "stride": (-1,)}, "without a shape"),
    "never filled": ({"numel": 1 << 33}, "it declares|incomplete|where it holds"),
    "of stride zero": ({"numel": 1, "size": (1 << 38,), "stride": (0,)}, "tensors are larger than the file"),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_pickles(tmp_path, monkeypatch, name, legacy):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("PyTorch was asked to load it"))
    path = write(tmp_path / "bad.pth.tar", HARMFUL[name], legacy, {"0": bytes(4)})
    start = time.perf_counter()
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    seconds = time.perf_counter() - start
    assert seconds < 10, f"{seconds:.1f} s"
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.pth.tar"]


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", WRONG_TENSORS)
def test_wrong_tensors(tmp_path, name, legacy):
    """PyTorch itself would enlarge a storage, read behind its end or allocate what is never filled."""
    numbers, message = WRONG_TENSORS[name]
    content = bytes(4 * min(numbers["numel"], 3))
    path = write(tmp_path / "bad.pth.tar", tensor_pickle(legacy, **numbers), legacy, {"0": content})
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_deep_nesting_is_no_checkpoint(tmp_path, legacy):
    data = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    with pytest.raises(CheckpointError, match=r"bad\.pth\.tar (holds a list|is damaged)"):
        read_checkpoint(write(tmp_path / "bad.pth.tar", data, legacy))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_the_same_file_without_harm(tmp_path, legacy):
    numbers = {"numel": 4, "offset": 1, "size": (3,)}
    data = np.arange(4, dtype=np.float32).tobytes()
    path = write(tmp_path / "good.pth.tar", tensor_pickle(legacy, **numbers), legacy, {"0": data})
    assert read_checkpoint(path).tensors["generator.w"].tolist() == [1, 2, 3]


def test_storage_smaller_than_declared_in_the_stream(tmp_path):
    data = (GOLDEN / "tiny-cpk-legacy.pth.tar").read_bytes()
    stream = io.BytesIO(data)
    for _ in range(5):
        scan_pickle(stream, "tiny")
    at = stream.tell()
    path = tmp_path / "bad.pth.tar"
    path.write_bytes(data[:at] + (1 << 40).to_bytes(8, "little") + data[at + 8 :])
    with pytest.raises(CheckpointError, match="another size than declared"):
        read_checkpoint(path)


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
