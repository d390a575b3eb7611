"""The networks as ONNX files for other programs, checked against torch before they are written.

Three graphs, which ``fomm.engines.graphs`` describes: key points, source, and render. A program runs the
first on every frame, the second once for each source, and the third with both.
"""

import importlib.util
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fomm._version import __version__
from fomm.animation.frames import to_tensor
from fomm.atomic import atomic_path
from fomm.engines.graphs import Graph, graphs_of
from fomm.engines.inference import InferenceNetworks, for_inference, packed
from fomm.engines.onnx_format import OPSET, to_onnx
from fomm.engines.quantization import quantized
from fomm.errors import ExportError, InputError, MissingExtraError
from fomm.media import VideoReader
from fomm.model import KPDetector, OcclusionAwareGenerator

LARGEST_ERROR = 1e-4  # of a graph in float32, anywhere in its outputs
LEAST_PSNR = 35.0  # dB, of pictures in int8 against those in float32
_FRAMES = 16  # of each video that calibrates
_DRAWN = 4  # synthetic heads that calibrate where no video is given


@dataclass(frozen=True)
class Exported:
    """One file that was written, and how far it is from torch's float32."""

    path: Path
    largest_error: float
    psnr: float | None = None  # dB; of int8


def export(
    folder: str | os.PathLike[str],
    generator: OcclusionAwareGenerator,
    kp_detector: KPDetector,
    *,
    precision: str = "float32",
    calibration: Sequence[str | os.PathLike[str]] = (),
) -> list[Exported]:
    """Write ``keypoints.onnx``, ``source.onnx``, ``render.onnx`` and ``fomm.json`` into ``folder``.

    Args:
        folder: made where it is not there; files of these names in it are replaced, once all are checked.
        generator, kp_detector: as ``load_checkpoints`` gives them, on the CPU.
        precision: ``"float32"``, or ``"int8"`` for a decoder in 8 bits.
        calibration: videos that int8 is calibrated on, each moving its own first frame; without any,
            synthetic heads.

    Raises:
        InputError: an argument cannot be used.
        MediaError: a video cannot be read.
        MissingExtraError: ONNX Runtime, which checks the graphs, is not installed.
        ExportError: a graph differs from torch by more than it may, or the folder cannot be written.
    """
    _check(generator, precision, calibration)
    assert generator.frame_shape is not None
    height, width, _ = generator.frame_shape
    exact = for_inference(generator, kp_detector)
    networks, clip = exact, _smooth_noise((height, width))
    if precision == "int8":
        clips = [_frames_of(path, (height, width)) for path in calibration] or _drawn((height, width))
        networks, clip = _calibrated(exact, clips), clips[0]
    wanted = _with_inputs(graphs_of(exact, (height, width)), exact, clip)
    contents, exported = {}, []
    for name, graph in graphs_of(networks, (height, width)).items():
        path = Path(folder, f"{name}.onnx")
        contents[path] = to_onnx(graph)
        exported.append(_checked(path, contents[path], wanted[name], precision))
    facts = {
        "fomm": __version__,
        "weights": generator.weights_hash,
        "precision": precision,
        "opset": OPSET,
        "size": [height, width],
    }
    contents[Path(folder, "fomm.json")] = (json.dumps(facts, indent=1) + "\n").encode()
    _write(contents)
    return exported


def _check(generator: OcclusionAwareGenerator, precision: str, calibration: Sequence[object]) -> None:
    if precision not in ("float32", "int8"):
        raise InputError(f"precision is {precision!r}; expected float32 or int8")
    if calibration and precision != "int8":
        raise InputError("calibration is for int8 alone; leave it out, or choose the precision int8")
    if generator.frame_shape is None:
        raise InputError("the generator has no frame_shape; load it with load_checkpoints")
    device = next(generator.parameters()).device
    if device.type != "cpu":
        raise InputError(f"the networks are on {device}; load them on the CPU to export them")
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(f"export needs {package}; install it: pip install 'fomm[onnx]'")


def _frames_of(video: str | os.PathLike[str], size: tuple[int, int]) -> Tensor:
    with VideoReader(video) as reader:
        frames = [to_tensor(frame, size, torch.device("cpu")) for frame in islice(reader, _FRAMES)]
    if len(frames) < 2:
        raise InputError(f"{os.fspath(video)} has one frame; a video that calibrates needs two or more")
    return torch.cat(frames)


def _smooth_noise(size: tuple[int, int]) -> Tensor:
    """Frames that exact graphs can be compared on."""
    noise = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return F.interpolate(noise, size, mode="bicubic", align_corners=False).clamp_(0, 1)


def _drawn(size: tuple[int, int]) -> list[Tensor]:
    from fomm.heads.dataset import render_clip

    clips = []
    for person in range(_DRAWN):
        frames = render_clip(0, person, 0, _FRAMES, max(size), step=4).frames
        clips.append(torch.cat([to_tensor(frame, size, torch.device("cpu")) for frame in frames]))
    return clips


@torch.inference_mode()
def _calibrated(networks: InferenceNetworks, clips: Iterable[Tensor]) -> InferenceNetworks:
    return quantized(networks, [(networks.encode(clip[:1]), networks.detect(clip[1:])) for clip in clips])


@torch.inference_mode()
def _with_inputs(
    graphs: dict[str, Graph], networks: InferenceNetworks, clip: Tensor
) -> dict[str, tuple[Graph, list[Tensor]]]:
    """The graphs, with inputs of another batch than they were written down with."""
    source, kp = networks.encode(clip[:1]), networks.detect(clip[1:4])
    inputs = {"keypoints": [clip[1:4]], "source": [clip[:1]], "render": packed(source, kp)}
    return {name: (graph, inputs[name]) for name, graph in graphs.items()}


@torch.inference_mode()
def _checked(path: Path, content: bytes, wanted: tuple[Graph, list[Tensor]], precision: str) -> Exported:
    """Runs the content by ONNX Runtime, and torch's own graph in float32 beside it."""
    from fomm.engines.onnxruntime import session_run

    graph, inputs = wanted
    outputs = graph.module(*inputs)
    expected = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    got = session_run(content, graph)(inputs)
    errors = [float((one - other).abs().max()) for one, other in zip(got, expected, strict=True)]
    if precision == "int8" and graph.name == "render":
        psnr = -10 * float(torch.log10((got[0] - expected[0]).square().mean()))
        if not psnr >= LEAST_PSNR:
            raise ExportError(f"{path.name} is {psnr:.1f} dB from float32; calibrate it on clips like yours")
        return Exported(path, errors[0], psnr)
    if not max(errors) <= LARGEST_ERROR:
        raise ExportError(
            f"{path.name} is off by {max(errors):.1e}; report this with the versions of torch and onnx"
        )
    return Exported(path, max(errors))


def _write(contents: dict[Path, bytes]) -> None:
    for path, content in contents.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as reason:
            raise ExportError(f"cannot write {path}: {reason.strerror or reason}") from reason
        with atomic_path(path, ExportError) as temporary:
            try:
                temporary.write_bytes(content)
            except OSError as reason:
                raise ExportError(f"cannot write {path}: {reason.strerror or reason}") from reason
