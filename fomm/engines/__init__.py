"""What runs the networks: torch, OpenVINO or ONNX Runtime, in 32, 16 or 8 bits, behind one interface."""

import importlib.util
import warnings
import weakref
from typing import Protocol

import torch
from torch import Tensor

from fomm.errors import InputError, MissingExtraError
from fomm.model import Keypoints, KPDetector, OcclusionAwareGenerator
from fomm.model.inference import Rendered, Source, for_inference

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# What each engine has, the fastest at 8 bits first. OpenVINO's own 16 bits would sample pictures in them too.
PRECISIONS = {
    "torch": frozenset(_DTYPES),
    "openvino": frozenset({"float32", "int8"}),
    "onnxruntime": frozenset({"float32", "int8"}),
}
_EXTRAS = {"openvino": "openvino", "onnxruntime": "onnx"}
_ALL = ("float32", "bfloat16", "float16", "int8")


class Engine(Protocol):
    """The networks of one generator and key-point detector; all tensors are on their device."""

    def detect(self, images: Tensor) -> Keypoints:
        """BxCxHxW in [0, 1] to key points."""

    def encode(self, picture: Tensor) -> Source:
        """1xCxHxW in [0, 1], once for each source."""

    def render(self, source: Source, kp_driving: Keypoints) -> Rendered:
        """The source moved to the key points of B frames."""


_Key = tuple[str, str, tuple[int, int] | None]  # engine, precision, and the size if its graphs have one
# By generator: what its weights and the detector's were, and the networks made of them.
_kept: "weakref.WeakKeyDictionary[OcclusionAwareGenerator, tuple[object, dict[_Key, Engine]]]"
_kept = weakref.WeakKeyDictionary()


def choose(engine: str | None, precision: str, device: torch.device) -> tuple[str, str]:
    """The engine and the precision to use.

    Args:
        engine: ``"torch"``, ``"openvino"`` or ``"onnxruntime"``; None or ``"auto"`` for torch, or for the
            fastest installed one that has the precision.
        precision: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"int8"``; ``"auto"`` for the fastest that
            the device has, calibrated ones aside.
        device: where the networks are.

    Raises:
        InputError: there is no such engine or precision, or not together, or not on the device.
        MissingExtraError: the engine is not installed.
    """
    if engine not in (None, "auto", *PRECISIONS):
        raise InputError(f"engine is {engine!r}; expected {', '.join(PRECISIONS)} or auto")
    if precision not in ("auto", *_ALL):
        raise InputError(f"precision is {precision!r}; expected {', '.join(_ALL)} or auto")
    if engine in (None, "auto"):
        engine = "torch" if precision != "int8" else _installed("openvino", "onnxruntime")
    assert engine is not None
    if precision == "auto":
        precision = _fast_precision(device) if engine == "torch" else "float32"
    if precision not in PRECISIONS[engine]:
        others = [name for name, has in PRECISIONS.items() if precision in has]
        raise InputError(f"the engine {engine} has no {precision}; choose {' or '.join(others)}")
    if engine != "torch":
        _installed(engine)
        if device.type != "cpu":
            raise InputError(f"the engine {engine} runs on the CPU, not on {device}; load the networks there")
    return engine, precision


def prepared(
    generator: OcclusionAwareGenerator,
    kp_detector: KPDetector,
    size: tuple[int, int],
    *,
    engine: str | None = None,
    precision: str = "float32",
) -> tuple[Engine, str, str]:
    """The networks, converted for an engine, with its name and the precision that were chosen.

    They are kept as long as the generator is, and made again when its weights or the detector's have changed,
    or its ``bicubic`` or ``details``.
    When they are made, ``warn_if_emulated`` may warn.

    Args:
        size: height and width of the pictures.
        engine, precision: see ``choose``, and for the errors.
    """
    engine, precision = choose(engine, precision, next(generator.parameters()).device)
    made_of = (_fingerprint(generator, kp_detector), generator.bicubic, generator.details)
    known = _kept.get(generator)
    if known is None or known[0] != made_of:
        known = _kept[generator] = (made_of, {})
    networks, key = known[1], (engine, precision, None if engine == "torch" else size)
    if key not in networks:
        networks[key] = _converted(generator, kp_detector, engine, precision, size)
    return networks[key], engine, precision


def _converted(
    generator: OcclusionAwareGenerator,
    kp_detector: KPDetector,
    engine: str,
    precision: str,
    size: tuple[int, int],
) -> Engine:
    networks = for_inference(generator, kp_detector, _DTYPES.get(precision, torch.float32))
    if engine == "torch":
        device = next(networks.buffers()).device
        warn_if_emulated(precision, device)
        if device.type != "cuda":
            return networks
        from fomm.engines.recording import CudaGraphs, RecordedNetworks

        return RecordedNetworks(networks, CudaGraphs(device))
    motion = None
    if precision == "int8":  # too coarse for motion, which goes in 16 bits where the processor has them
        dtype = _DTYPES[_fast_precision(torch.device("cpu"))]
        same = dtype == networks.dtype
        motion = networks.motion if same else for_inference(generator, kp_detector, dtype).motion
    from fomm.engines.graphs import GraphEngine

    if engine == "openvino":
        from fomm.engines.openvino import compiled
    else:
        from fomm.engines.onnxruntime import compiled
    return GraphEngine(networks, size, motion, compiled)


def _fingerprint(*networks: torch.nn.Module) -> object:
    """Changes when a weight does, or moves to another device."""
    tensors = [tensor for network in networks for tensor in network.state_dict(keep_vars=True).values()]
    hashes = torch.stack([torch.hash_tensor(tensor.detach()) for tensor in tensors]).tolist()
    places = [
        (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version, tensor.device)
        for tensor in tensors
    ]
    return hashes, places


def _installed(*names: str) -> str:
    """The first of the packages that is there."""
    for name in names:
        if importlib.util.find_spec(name) is not None:
            return name
    extra = _EXTRAS[names[0]]
    raise MissingExtraError(f"this needs {' or '.join(names)}; install one: pip install 'fomm[{extra}]'")


def warn_if_emulated(precision: str, device: torch.device) -> None:
    """Warns where torch convolves in 16 bits by loops of its own, many times slower than in 32.

    So it does on x86 without AVX-512 (of float16: without AVX512-FP16) or AVX-NE-CONVERT, which oneDNN needs.
    """
    needed = {"bfloat16": "avx512_bw", "float16": "avx512_fp16"}.get(precision)
    if device.type != "cpu" or needed is None:
        return
    able = torch.cpu.get_capabilities()
    if able.get("architecture") == "x86_64" and not (able.get(needed) or able.get("avx_ne_convert")):
        warnings.warn(
            f"this processor has no instructions for {precision}, and torch is many times slower in it than "
            "in float32; choose float32",
            stacklevel=2,
        )


def _fast_precision(device: torch.device) -> str:
    if device.type == "cuda":
        return "float16"
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        if able.get("avx512_bf16") or able.get("amx_bf16"):
            return "bfloat16"
    return "float32"
