"""Which engine runs the networks, and in which precision."""

import importlib.util
import warnings

import torch

from fomm.errors import InputError, MissingExtraError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# The precisions of each engine. Engines with int8 are tried in this order: the fastest comes first.
# OpenVINO has 16 bits too, but would sample pictures in them, which shows.
PRECISIONS = {
    "torch": frozenset(DTYPES),
    "openvino": frozenset({"float32", "int8"}),
    "onnxruntime": frozenset({"float32", "int8"}),
}
_EXTRAS = {"openvino": "openvino", "onnxruntime": "onnx"}
_ALL_PRECISIONS = (*DTYPES, "int8")


def choose_engine(engine: str | None, precision: str, device: torch.device) -> tuple[str, str]:
    """Return the names of the engine and the precision to use.

    Args:
        engine: ``"torch"``, ``"openvino"`` or ``"onnxruntime"``; None or ``"auto"`` for torch, or for the
            fastest installed one that has the precision.
        precision: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"int8"``; ``"auto"`` for the fastest that
            the device has, without int8, which has to be calibrated.
        device: where the networks are.

    Raises:
        InputError: there is no such engine or precision, or not together, or not on the device.
        MissingExtraError: the engine is not installed.
    """
    if engine not in (None, "auto", *PRECISIONS):
        raise InputError(f"engine is {engine!r}; expected {', '.join(PRECISIONS)} or auto")
    if precision not in ("auto", *_ALL_PRECISIONS):
        raise InputError(f"precision is {precision!r}; expected {', '.join(_ALL_PRECISIONS)} or auto")
    if engine in (None, "auto"):
        with_int8 = [name for name, precisions in PRECISIONS.items() if "int8" in precisions]
        engine = _find_installed(*with_int8) if precision == "int8" else "torch"
    assert engine is not None
    if precision == "auto":
        precision = fastest_float(device) if engine == "torch" else "float32"
    if precision not in PRECISIONS[engine]:
        others = [name for name, precisions in PRECISIONS.items() if precision in precisions]
        raise InputError(f"the engine {engine} has no {precision}; choose {' or '.join(others)}")
    if engine != "torch":
        _find_installed(engine)
        if device.type != "cpu":
            raise InputError(f"the engine {engine} runs on the CPU, not on {device}; load the networks there")
    return engine, precision


def _find_installed(*packages: str) -> str:
    """Return the first of the packages that is installed."""
    for package in packages:
        if importlib.util.find_spec(package) is not None:
            return package
    extra = _EXTRAS[packages[0]]
    raise MissingExtraError(f"this needs {' or '.join(packages)}; install one: pip install 'fomm[{extra}]'")


def fastest_float(device: torch.device) -> str:
    """Return the name of the precision of floats in which torch is fastest on the device."""
    if device.type == "cuda":
        return "float16"
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
            return "bfloat16"
    return "float32"


def warn_if_emulated(precision: str, device: torch.device) -> None:
    """Warn where torch is many times slower in 16 bits than in 32, because it convolves by loops of its own.

    On x86 its library, oneDNN, convolves in 16 bits only where the processor has the instructions for it:
    AVX-512 for bfloat16, AVX512-FP16 for float16, or AVX-NE-CONVERT for either.
    """
    needed = {"bfloat16": "avx512_bw", "float16": "avx512_fp16"}.get(precision)
    if device.type != "cpu" or needed is None:
        return
    has = torch.cpu.get_capabilities()
    if has.get("architecture") == "x86_64" and not (has.get(needed) or has.get("avx_ne_convert")):
        warnings.warn(
            f"this processor has no instructions for {precision}, and torch is many times slower in it than "
            "in float32; choose float32",
            stacklevel=2,
        )
