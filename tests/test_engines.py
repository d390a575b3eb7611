"""Every engine and precision gives the plain networks' picture, as nearly as its numbers allow."""

import copy
import gc
import importlib.util
import json
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_data import EXPECTED, tiny_networks

from fomm.checkpoint import load_checkpoints
from fomm.engines import PRECISIONS, choose_engine, prepare_engine, warn_if_emulated
from fomm.errors import InputError, MissingExtraError
from fomm.heads.dataset import render_clip
from fomm.model.dense_motion import meet_face
from fomm.model.geometry import coordinate_grid
from fomm.model.openings import FEATURES

CPU = torch.device("cpu")
COMBINATIONS = [(engine, precision) for engine in PRECISIONS for precision in sorted(PRECISIONS[engine])]
DECIBELS = {"bfloat16": 40, "float16": 40, "int8": 35}
LARGEST = {"torch": 1e-4, "openvino": 2e-4, "onnxruntime": 1e-4}  # errors in float32; OpenVINO rounds more


def need(engine: str) -> None:
    if engine != "torch" and importlib.util.find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed")


@pytest.fixture(scope="module")
def shipped():
    """Load the weights that ship, draw frames, and compute motion and pictures in float64."""
    generator, kp_detector = load_checkpoints(cpu=True)
    frames = (
        torch.from_numpy(render_clip(3, 0, 0, 6, generator.frame_shape[0], step=6).frames).permute(0, 3, 1, 2)
        / 255
    )
    exact, exact_detector, (source, *driving) = (
        copy.deepcopy(generator).double(), copy.deepcopy(kp_detector).double(), frames.double()[:, None]
    )  # fmt: skip
    with torch.inference_mode():
        kp_source, kp_driving = exact_detector(source), exact_detector(torch.cat(driving))
        motion = exact.dense_motion_network(source, kp_source, kp_driving)
        expected = exact.decode(exact.encode(source), motion, source)
    return generator, kp_detector, frames, motion, expected


@pytest.mark.parametrize(("engine", "precision"), COMBINATIONS)
def test_the_weights_that_ship_in_every_engine_and_precision(shipped, engine, precision):
    need(engine)
    generator, kp_detector, frames, motion, expected = shipped
    networks, *chosen = prepare_engine(
        generator, kp_detector, generator.frame_shape[:2], engine=engine, precision=precision
    )
    assert chosen == [engine, precision]
    with torch.inference_mode():
        source = networks.encode(frames[:1])
        kp = networks.detect(frames[1:])
        results = [
            networks.render(source, kp.map(lambda t, part=part: t[part])) for part in (slice(2), slice(2, 5))
        ]
    result = torch.cat([result.prediction for result in results])
    assert result.dtype == torch.float32
    flow = torch.cat([result.deformation for result in results])
    decibels = -10 * float((result - expected).square().mean().log10())
    assert decibels >= DECIBELS.get(precision, 80), f"{decibels:.1f} dB"
    if precision == "float32":
        assert float((result - expected).abs().max()) <= LARGEST[engine]
    else:
        assert float((result - expected).abs().max()) > 1e-6, "these are not fewer bits"
    sixteen = "16" in precision or (
        precision == "int8" and choose_engine("torch", "auto", CPU)[1] == "bfloat16"
    )
    assert float((flow - motion.deformation).abs().max()) < (0.05 if sixteen else 1e-4)


@pytest.mark.smoke
@pytest.mark.parametrize("engine", ["torch", "openvino", "onnxruntime"])
def test_a_flow_that_meets_the_face_in_every_engine(shipped, engine):
    """With ``freedom`` the flow is exact at the points of the face, and nothing moves where nothing may."""
    need(engine)
    generator, kp_detector, frames, *_ = shipped
    size = generator.frame_shape[:2]
    networks, *_ = prepare_engine(generator, kp_detector, size, engine=engine, precision="float32")
    exact, exact_detector = copy.deepcopy(generator).double(), copy.deepcopy(kp_detector).double()
    freedom = torch.zeros(1, 64, 64)
    freedom[:, 8:-8, 8:-8] = 1
    with torch.inference_mode():
        source = networks.encode(frames[:1])._replace(freedom=freedom)
        moved = networks.detect(frames[1:])
        moved.value[:, 6:8] += torch.tensor([[0, -0.05], [0, 0.1]])  # lips, further apart than they are
        result = networks.render(source, moved)
        picture, kp_source = frames[:1].double(), exact_detector(frames[:1].double())
        kp_moved = moved.map(torch.Tensor.double)
        plain = exact.dense_motion_network(picture, kp_source, kp_moved)
        met = [kp_detector.openings.labels.index(label) for label in FEATURES]
        flow = meet_face(plain.deformation, kp_source, kp_moved, kp_detector.openings.labels)
        still = coordinate_grid(64, 64, flow)
        free = freedom.double()
        flow = still + free[..., None] * (flow - still)
        shown = 1 - free[:, None] * (1 - plain.occlusion_map)
        bent = plain._replace(deformation=flow, occlusion_map=shown)
        expected = exact.decode(exact.encode(picture), bent, picture)
    assert float((result.deformation - flow).abs().max()) < 2e-4
    assert float((result.prediction - expected).abs().max()) < 1e-3
    assert float((result.deformation[:, :8] - still[:8]).abs().max()) < 1e-6
    lines = moved.value[:, met, None]
    places = F.grid_sample(result.deformation.permute(0, 3, 1, 2), lines, align_corners=True)
    missed = (places[..., 0].transpose(1, 2) - source.keypoints.value[:, met]).norm(dim=-1)
    before = F.grid_sample(
        plain.deformation.float().permute(0, 3, 1, 2), moved.value[:, met, None], align_corners=True
    )
    missed_before = (before[..., 0].transpose(1, 2) - source.keypoints.value[:, met]).norm(dim=-1)
    assert missed.max() < 0.02 < missed_before.max()  # a pixel is 1 / 128


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("engine", ["torch", "openvino", "onnxruntime"])
def test_the_published_numbers_in_every_engine(engine, align_corners):
    need(engine)
    generator, kp_detector, _ = (network.eval() for network in tiny_networks(align_corners))
    networks, *_ = prepare_engine(generator, kp_detector, (64, 64), engine=engine)
    with torch.inference_mode():
        source = networks.encode(torch.from_numpy(EXPECTED["source"])[None].permute(0, 3, 1, 2))
        kp = networks.detect(torch.from_numpy(EXPECTED["driving"]).permute(0, 3, 1, 2))
        result = networks.render(source, kp).prediction.permute(0, 2, 3, 1).numpy()
    suffix = "" if align_corners else "_align_corners_false"
    error = np.abs(result - EXPECTED[f"prediction_absolute{suffix}"]).max()
    assert error <= 1e-4, f"off by {error:.1e}"


@pytest.mark.parametrize("engine", ["torch", "openvino", "onnxruntime"])
@pytest.mark.parametrize("option", [{"bicubic": True}, {"details": 0.5}], ids=str)
def test_what_published_networks_do_not_do_is_the_same_in_every_engine(engine, option):
    need(engine)
    generator, kp_detector, _ = (network.eval() for network in tiny_networks())
    source, *driving = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)).split(1)
    source, driving = (F.interpolate(t, (64, 64), mode="bicubic") for t in (source, torch.cat(driving)))
    with torch.inference_mode():
        motion = generator.dense_motion_network(source, kp_detector(source), kp_detector(driving))
        published = generator.decode(generator.encode(source), motion)
        vars(generator).update(option)
        expected = generator.decode(generator.encode(source), motion, source)
        networks, *_ = prepare_engine(generator, kp_detector, (64, 64), engine=engine)
        result = networks.render(networks.encode(source), networks.detect(driving)).prediction
    error = float((result - expected).abs().max())
    assert error <= 1e-4 < 1e-3 < float((published - expected).abs().max()), f"off by {error:.1e}"


def test_networks_are_converted_once_and_again_when_a_weight_changes():
    generator, kp_detector, _ = (network.eval() for network in tiny_networks())
    first = prepare_engine(generator, kp_detector, (64, 64))[0]
    assert prepare_engine(generator, kp_detector, (64, 64))[0] is first
    assert prepare_engine(generator, kp_detector, (64, 64), precision="bfloat16")[0] is not first
    for network in (generator, kp_detector):
        with torch.no_grad():
            next(network.parameters()).add_(0.1)
        second = prepare_engine(generator, kp_detector, (64, 64))[0]
        assert second is not first
        first = second
    for setting, value in (("bicubic", True), ("details", 0.5)):
        setattr(generator, setting, value)
        assert prepare_engine(generator, kp_detector, (64, 64))[0] is not first
        first = prepare_engine(generator, kp_detector, (64, 64))[0]
    next(generator.parameters()).data.mul_(2)  # past what torch counts as a change
    assert prepare_engine(generator, kp_detector, (64, 64))[0] is not first
    first = prepare_engine(generator, kp_detector, (64, 64))[0]
    generator.bottleneck.r0.norm1.running_mean[0] += 1
    assert prepare_engine(generator, kp_detector, (64, 64))[0] is not first


def test_converted_networks_go_with_the_generator():
    generator, kp_detector, _ = (network.eval() for network in tiny_networks())
    converted = weakref.ref(prepare_engine(generator, kp_detector, (64, 64))[0])
    gc.collect()
    assert converted() is not None
    del generator
    gc.collect()
    assert converted() is None


def test_what_is_chosen(monkeypatch):
    assert choose_engine(None, "float32", CPU) == ("torch", "float32")
    assert choose_engine("torch", "bfloat16", CPU) == ("torch", "bfloat16")
    cuda = torch.device("cuda")
    assert choose_engine(None, "auto", cuda) == ("torch", "float16")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert choose_engine("auto", "auto", CPU) == ("torch", "bfloat16")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert choose_engine("auto", "auto", CPU) == ("torch", "float32")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "onnxruntime" or None)
    assert choose_engine(None, "int8", CPU) == ("onnxruntime", "int8")
    assert choose_engine("onnxruntime", "auto", CPU) == ("onnxruntime", "float32")
    with pytest.raises(MissingExtraError, match=r"needs openvino; .* pip install 'fomm\[openvino\]'"):
        choose_engine("openvino", "float32", CPU)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"openvino or onnxruntime; .* 'fomm\[openvino\]'"):
        choose_engine(None, "int8", CPU)


AVX2 = {"architecture": "x86_64", "avx2": True}


@pytest.mark.parametrize(
    ("precision", "able", "slow"),
    [
        ("bfloat16", AVX2, True),
        ("float16", AVX2, True),
        ("float16", AVX2 | {"avx512_bw": True, "avx512_bf16": True}, True),
        ("bfloat16", AVX2 | {"avx512_bw": True}, False),
        ("float16", AVX2 | {"avx512_bw": True, "avx512_fp16": True}, False),
        ("bfloat16", AVX2 | {"avx_ne_convert": True}, False),
        ("bfloat16", {"architecture": "aarch64"}, False),
        ("float32", AVX2, False),
    ],
)
def test_sixteen_bits_in_software_warn(monkeypatch, recwarn, precision, able, slow):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    generator, kp_detector, _ = (network.eval() for network in tiny_networks())
    for _ in range(2):  # it is said when they are converted, which is once
        prepare_engine(generator, kp_detector, (64, 64), precision=precision)
    warn_if_emulated(precision, torch.device("cuda"))
    messages = [str(warning.message) for warning in recwarn]
    assert len(messages) == slow
    assert all(f"no instructions for {precision}" in message for message in messages)


@pytest.mark.parametrize(
    ("engine", "precision", "device", "message"),
    [
        ("tensorrt", "float32", "cpu", "engine is 'tensorrt'; expected torch, openvino, onnxruntime or auto"),
        (None, "fp16", "cpu", "precision is 'fp16'; expected float32, bfloat16, float16, int8 or auto"),
        ("torch", "int8", "cpu", "the engine torch has no int8; choose openvino or onnxruntime"),
        ("onnxruntime", "float32", "cuda", "runs on the CPU, not on cuda; load the networks there"),
    ],
)
def test_what_cannot_be_chosen(monkeypatch, engine, precision, device, message):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with pytest.raises(InputError, match=message):
        choose_engine(engine, precision, torch.device(device))


@pytest.mark.smoke
def test_torch_alone_imports_no_other_engine():
    code = (
        "import sys, json; from fomm.checkpoint import load_checkpoints;"
        "from fomm.engines import prepare_engine; networks = load_checkpoints(cpu=True);"
        "prepare_engine(*networks, networks[0].frame_shape[:2]);"
        "print(json.dumps(sorted({'onnx', 'onnxruntime', 'openvino', 'numba'} & set(sys.modules))))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(run.stdout) == []


def test_an_interrupt_is_one_after_openvino_has_come_and_gone():
    need("openvino")
    code = """
import os, signal
import torch
from golden_data import tiny_networks
from fomm.engines import prepare_engine

picture = torch.rand(1, 3, 64, 64)
made = [[network.eval() for network in tiny_networks()[:2]] for _ in range(2)]
for each in made:
    networks, *_ = prepare_engine(*each, (64, 64), engine="openvino")
    with torch.inference_mode():
        networks.render(networks.encode(picture), networks.detect(picture))
del each, networks
while made:
    del made[0]
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in what a script runs beside itself
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert (process.returncode, process.stdout) == (0, "interrupted\n"), process.stderr


def test_the_benchmark_of_a_gpu_runs_on_a_cpu(tmp_path):
    report = tmp_path / "gpu.json"
    command = [
        sys.executable,
        Path(__file__).parents[1] / "benchmarks/gpu.py",
        "--device",
        "cpu",
        "--toy",
        "--json",
        report,
    ]
    subprocess.run([*command, "--networks", "vox-256"], check=True, capture_output=True, timeout=300)
    written = json.loads(report.read_text(encoding="utf-8"))
    assert [row["what"] for row in written["rows"]] == [
        "plain loop", "engine, float32", "make_animation, float32", "engine, bfloat16",
        "make_animation, bfloat16",
    ]  # fmt: skip
    assert all(row["frames_per_second"] > 0 for row in written["rows"])
    assert [row["precision"] for row in written["training"]] == ["float32", "bfloat16"]
