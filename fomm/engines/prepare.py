"""The networks, converted for an engine and kept as long as the generator is."""

import ctypes
import os
import platform
import weakref
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from fomm.engines.choose import DTYPES, choose_engine, fastest_float, warn_if_emulated
from fomm.engines.inference import EncodedSource, InferenceNetworks, Networks, Rendered
from fomm.engines.successors import for_inference
from fomm.errors import InputError
from fomm.model import Detector, Generator, Keypoints


class Engine(Protocol):
    """The networks of one generator and key-point detector; all tensors are on their device."""

    def detect(self, images: Tensor) -> Keypoints:
        """Find the key points of BxCxHxW in [0, 1]."""

    def encode(self, picture: Tensor) -> EncodedSource:
        """Compute all that the source decides, of 1xCxHxW in [0, 1]; once for each source."""

    def render(self, source: EncodedSource, kp_driving: Keypoints) -> Rendered:
        """Paint the source, moved to the key points of B frames."""


TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h

_Key = tuple[str, str, tuple[int, int] | None]  # engine, precision, and the size if its graphs have one
# By generator: the state of the networks, and the engines made of them in that state.
_cache: "weakref.WeakKeyDictionary[Generator, tuple[object, dict[_Key, Engine]]]"
_cache = weakref.WeakKeyDictionary()


def prepare_engine(
    generator: Generator,
    kp_detector: Detector,
    size: tuple[int, int],
    *,
    engine: str | None = None,
    precision: str = "float32",
) -> tuple[Engine, str, str]:
    """Convert the networks for an engine, and return them with the names of the engine and the precision.

    The converted networks are kept as long as the generator is, and returned again. They are converted anew
    when weights of the generator or the detector have changed, or the generator's ``bicubic`` or ``details``.
    Converting may warn, see ``warn_if_emulated``.

    Args:
        generator, kp_detector: on one device, in eval mode.
        size: of the pictures, height and width.
        engine, precision: see ``choose_engine``.

    Raises:
        InputError: there is no such engine or precision, or not together, or not on the device.
        MissingExtraError: the engine is not installed.
    """
    device = next(generator.parameters()).device
    if device.type == "cpu":
        _keep_freed_memory()
    engine, precision = choose_engine(engine, precision, device)
    state = (
        _fingerprint(generator, kp_detector),
        getattr(generator, "bicubic", None),
        getattr(generator, "details", None),
    )
    cached = _cache.get(generator)
    if cached is None or cached[0] != state:
        cached = _cache[generator] = (state, {})
    engines, key = cached[1], (engine, precision, None if engine == "torch" else size)
    if key not in engines:
        if engine == "torch":
            engines[key] = _make_torch_engine(generator, kp_detector, precision)
        else:
            engines[key] = _make_graph_engine(generator, kp_detector, engine, precision, size)
    return engines[key], engine, precision


@cache
def _keep_freed_memory() -> None:
    """Let glibc keep up to 64 MiB of freed memory for what is computed next.

    Otherwise it gives much of it back after each picture, and the kernel clears every page anew for the next
    one. If the environment sets this for glibc (MALLOC_TRIM_THRESHOLD_, GLIBC_TUNABLES), nothing is changed.
    """
    chosen = "MALLOC_TRIM_THRESHOLD_" in os.environ or "malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if platform.libc_ver()[0] == "glibc" and not chosen:
        libc = ctypes.CDLL(None)
        libc.mallopt(MMAP_THRESHOLD, 32 * 2**20)  # larger blocks are given back at once; glibc allows no more
        libc.mallopt(TRIM_THRESHOLD, 64 * 2**20)


def _make_torch_engine(generator: Generator, kp_detector: Detector, precision: str) -> Engine:
    device = next(generator.parameters()).device
    warn_if_emulated(precision, device)
    networks = for_inference(generator, kp_detector, DTYPES[precision])
    if device.type != "cuda":
        return networks
    from fomm.engines.recording import CudaGraphRecorder, RecordedNetworks

    return RecordedNetworks(networks, CudaGraphRecorder(device))


def _make_graph_engine(
    generator: Generator,
    kp_detector: Detector,
    engine: str,
    precision: str,
    size: tuple[int, int],
) -> Engine:
    from fomm.engines.graphs import GraphEngine

    if engine == "openvino":
        from fomm.engines.openvino import compile_graph
    else:
        from fomm.engines.onnxruntime import compile_graph

    networks, motion = for_inference(generator, kp_detector), None
    if precision == "int8":  # 8 bits are too coarse for motion: torch runs it, in 16 where the processor can
        motion = check_int8(networks).motion
        dtype = DTYPES[fastest_float(torch.device("cpu"))]
        if dtype != torch.float32:
            motion = check_int8(for_inference(generator, kp_detector, dtype)).motion
    return GraphEngine(networks, size, motion, compile_graph)


def check_int8(networks: Networks) -> InferenceNetworks:
    """Return the networks; raise InputError where a model cannot run in 8 bits."""
    if not isinstance(networks, InferenceNetworks):
        raise InputError(
            "int8 is for weights of the First Order Motion Model; take float32 or bfloat16 for MRAA and TPSMM"
        )
    return networks


def _fingerprint(*networks: torch.nn.Module) -> object:
    """Return something that differs when a weight has changed or moved to another device."""
    tensors = [tensor for network in networks for tensor in network.state_dict(keep_vars=True).values()]
    hashes = torch.stack([torch.hash_tensor(tensor.detach()) for tensor in tensors]).tolist()
    places = [
        (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version, tensor.device)
        for tensor in tensors
    ]
    return hashes, places
