"""The networks as ONNX files for other programs, checked against torch before they are written.

There are three graphs, which ``fomm.engines.graphs`` describes: key points, source, and render. A program
runs the first on every frame, the second once for each source, and the third with both.
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
from fomm.engines.graphs import Graph, build_graphs
from fomm.engines.inference import InferenceNetworks, Networks, full_freedom, pack_inputs
from fomm.engines.onnx_format import OPSET, to_onnx
from fomm.engines.prepare import check_int8
from fomm.engines.quantization import quantize
from fomm.engines.successors import for_inference
from fomm.errors import ExportError, InputError, MissingExtraError
from fomm.media import VideoReader
from fomm.model import Detector, Generator

MAX_ERROR = 1e-4  # of a graph in float32, anywhere in its outputs
MIN_PSNR = 35.0  # dB, of pictures in int8 against those in float32
_FRAMES = 16  # of each video, for calibration
_HEADS = 4  # synthetic ones, for calibration where no video is given


@dataclass(frozen=True)
class ExportedFile:
    """A graph's file, and how far its outputs are from those of torch in float32."""

    path: Path
    largest_error: float
    psnr: float | None = None  # dB, of the pictures of ``render`` in int8


def export(
    folder: str | os.PathLike[str],
    generator: Generator,
    kp_detector: Detector,
    *,
    precision: str = "float32",
    calibration: Sequence[str | os.PathLike[str]] = (),
) -> list[ExportedFile]:
    """Write ``keypoints.onnx``, ``source.onnx``, ``render.onnx`` and ``fomm.json`` into ``folder``.

    Args:
        folder: created if it does not exist. Files of these names in it are replaced, after all new ones have
            been checked.
        generator, kp_detector: from ``load_checkpoints``, on the CPU.
        precision: ``"float32"``, or ``"int8"`` for a decoder in 8 bits.
        calibration: videos that int8 is calibrated on; each moves its own first frame. If there are none,
            synthetic heads are drawn.

    Returns:
        The three graphs' files and their errors.

    Raises:
        InputError: an argument cannot be used.
        MediaError: a video cannot be read.
        MissingExtraError: ONNX Runtime, which checks the graphs, is not installed.
        ExportError: a graph differs from torch by more than ``MAX_ERROR``, or in int8 by less than
            ``MIN_PSNR``; or the folder cannot be written to.
    """
    _check_arguments(generator, precision, calibration)
    assert generator.frame_shape is not None
    height, width, _ = generator.frame_shape
    exact = for_inference(generator, kp_detector)
    networks, clip = exact, _make_smooth_noise((height, width))
    if precision == "int8":
        exact = check_int8(exact)
        clips = [_read_frames(path, (height, width)) for path in calibration] or _draw_heads((height, width))
        networks, clip = _calibrate(exact, clips), clips[0]
    free = kp_detector.openings is not None  # labelled key points are moved by a face's mesh, exactly
    exact_graphs, inputs = (
        build_graphs(exact, (height, width), with_freedom=free),
        _make_inputs(exact, clip, free),
    )
    contents, exported = {}, []
    for name, graph in build_graphs(networks, (height, width), with_freedom=free).items():
        path = Path(folder, f"{name}.onnx")
        contents[path] = to_onnx(graph)
        exported.append(_check_file(path, contents[path], exact_graphs[name], inputs[name], precision))
    facts = {
        "fomm": __version__,
        "weights": generator.weights_hash,
        "precision": precision,
        "opset": OPSET,
        "size": [height, width],
    }
    contents[Path(folder, "fomm.json")] = (json.dumps(facts, indent=1) + "\n").encode()
    write_files(contents)
    return exported


def _check_arguments(generator: Generator, precision: str, calibration: Sequence[object]) -> None:
    if precision not in ("float32", "int8"):
        raise InputError(f"precision is {precision!r}; expected float32 or int8")
    if calibration and precision != "int8":
        raise InputError("calibration is for int8 alone; leave it out, or choose the precision int8")
    if generator.frame_shape is None:
        raise InputError("the generator has no frame_shape; load it with load_checkpoints")
    device = next(generator.parameters()).device
    if device.type != "cpu":
        raise InputError(f"the networks are on {device}; load them on the CPU to export them")
    check_packages()


def check_packages() -> None:
    """Raise ``MissingExtraError`` where what writes or checks ONNX files is not installed."""
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(f"export needs {package}; install it: pip install 'fomm[onnx]'")


def _read_frames(video: str | os.PathLike[str], size: tuple[int, int]) -> Tensor:
    with VideoReader(video) as reader:
        frames = [to_tensor(frame, size, torch.device("cpu")) for frame in islice(reader, _FRAMES)]
    if len(frames) < 2:
        raise InputError(f"{os.fspath(video)} has one frame; a video that calibrates needs two or more")
    return torch.cat(frames)


def _make_smooth_noise(size: tuple[int, int]) -> Tensor:
    """Make four frames to compare float32 graphs on: for these any smooth pictures do."""
    noise = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return F.interpolate(noise, size, mode="bicubic", align_corners=False).clamp_(0, 1)


def _draw_heads(size: tuple[int, int]) -> list[Tensor]:
    from fomm.heads.dataset import render_clip

    clips = []
    for person in range(_HEADS):
        frames = render_clip(0, person, 0, _FRAMES, max(size), step=4).frames
        clips.append(torch.cat([to_tensor(frame, size, torch.device("cpu")) for frame in frames]))
    return clips


@torch.inference_mode()
def _calibrate(networks: InferenceNetworks, clips: Iterable[Tensor]) -> InferenceNetworks:
    return quantize(networks, [(networks.encode(clip[:1]), networks.detect(clip[1:])) for clip in clips])


@torch.inference_mode()
def _make_inputs(networks: Networks, clip: Tensor, with_freedom: bool) -> dict[str, list[Tensor]]:
    """Make inputs of each graph, with another size of batch than the graphs were traced with."""
    source, kp = networks.encode(clip[:1]), networks.detect(clip[1:4])
    if with_freedom:
        source = source._replace(freedom=full_freedom(source))
    return {"keypoints": [clip[1:4]], "source": [clip[:1]], "render": pack_inputs(source, kp)}


@torch.inference_mode()
def _check_file(
    path: Path, content: bytes, exact: Graph, inputs: list[Tensor], precision: str
) -> ExportedFile:
    """Compare what ONNX Runtime makes of a file's content with what torch makes of the float32 graph."""
    from fomm.engines.onnxruntime import compile_onnx

    expected = exact.module(*inputs)
    got = compile_onnx(content, exact)(inputs)
    errors = [float((one - other).abs().max()) for one, other in zip(got, expected, strict=True)]
    if precision == "int8" and exact.name == "render":
        psnr = -10 * float(torch.log10((got[0] - expected[0]).square().mean()))
        if not psnr >= MIN_PSNR:
            raise ExportError(f"{path.name} is {psnr:.1f} dB from float32; calibrate it on clips like yours")
        return ExportedFile(path, errors[0], psnr)
    if not max(errors) <= MAX_ERROR:
        raise ExportError(
            f"{path.name} is off by {max(errors):.1e}; report this with the versions of torch and onnx"
        )
    return ExportedFile(path, max(errors))


def write_files(contents: dict[Path, bytes]) -> None:
    """Write each content to its path, whole or not at all; folders are made. Raises ``ExportError``."""
    for path, content in contents.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path, ExportError) as temporary:
                temporary.write_bytes(content)
        except OSError as reason:
            raise ExportError(f"cannot write {path}: {reason.strerror or reason}") from reason
