"""What a pickle describes is told without doing it; what is refused stands in test_bad_checkpoints.py."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import checkpoint_file, tensor_pickle

from fomm.checkpoint import read_checkpoint
from fomm.pickle_scan import scan_pickle

GOLDEN = Path(__file__).parent / "golden"


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
