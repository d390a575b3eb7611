"""The golden numbers of the two models that came after, MRAA and TPSMM, and files with their tiny weights."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from golden_data import GOLDEN

KINDS = ("tpsmm", "mraa")
EXPECTED = {kind: np.load(GOLDEN / kind / "tiny-expected.npz") for kind in KINDS}
CONFIGS = {kind: GOLDEN / kind / "tiny.yaml" for kind in KINDS}
PICTURES, OTHERS = 1e-4, 2e-5  # tolerances, absolute in float32


def tiny_state(kind: str) -> dict[str, dict[str, torch.Tensor]]:
    """Return the whole checkpoint; the large weights of what is never tiny are drawn by a rule."""
    state = torch.load(GOLDEN / kind / "tiny-cpk.pth.tar", weights_only=True)
    small = dict(np.load(GOLDEN / kind / "tiny-fill.npz"))
    layout = json.loads((GOLDEN / kind / "tiny-layout.json").read_text())
    for network in layout.keys() - state.keys():
        state[network] = {}
        for name, shape in layout[network].items():
            rng = np.random.RandomState(zlib.crc32(f"{network}.{name}".encode()))
            deviation = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) == 4 else 0.1
            held = small.get(f"{network}/{name}")
            value = rng.normal(0, deviation, shape).astype("float32") if held is None else held
            state[network][name] = torch.tensor(value)
    return state


def save_tiny(kind: str, path: Path, *left_out: str, legacy: bool = False) -> Path:
    """Write the whole checkpoint, without some networks, and return its path."""
    state = {name: part for name, part in tiny_state(kind).items() if name not in left_out}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return path


def difference(got: object, expected: np.ndarray) -> float:
    """Return the largest difference of two arrays of one shape."""
    array = got.numpy() if isinstance(got, torch.Tensor) else np.asarray(got)
    assert array.shape == expected.shape
    return float(np.abs(array - expected).max())
