"""Which engine runs the networks, and in which precision."""

import importlib.util
import warnings

import torch

from fomm.errors import InputError, MissingExtraError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# What each engine has, the fastest at 8 bits first. OpenVINO's own 16 bits would sample pictures in them too.
PRECISIONS = {
    "torch": frozenset(DTYPES),
    "openvino": frozenset({"float32", "int8"}),
    "onnxruntime": frozenset({"float32", "int8"}),
}
_EXTRAS = {"openvino": "openvino", "onnxruntime": "onnx"}
_ALL = ("float32", "bfloat16", "float16", "int8")


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
        precision = fast_precision(device) if engine == "torch" else "float32"
    if precision not in PRECISIONS[engine]:
        others = [name for name, has in PRECISIONS.items() if precision in has]
        raise InputError(f"the engine {engine} has no {precision}; choose {' or '.join(others)}")
    if engine != "torch":
        _installed(engine)
        if device.type != "cpu":
            raise InputError(f"the engine {engine} runs on the CPU, not on {device}; load the networks there")
    return engine, precision


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


def fast_precision(device: torch.device) -> str:
    if device.type == "cuda":
        return "float16"
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        if able.get("avx512_bf16") or able.get("amx_bf16"):
            return "bfloat16"
    return "float32"
