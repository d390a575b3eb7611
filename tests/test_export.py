import importlib.util
import json

import pytest
import torch
from golden_data import EXPECTED, TINY_OPTIONS, assert_near, tiny_networks

import fomm.export
from fomm import load_checkpoints
from fomm.animation.frames import to_uint8
from fomm.cli import main
from fomm.errors import ExportError, InputError, MediaError, MissingExtraError
from fomm.export import export
from fomm.media import save_video

FILES = ["fomm.json", "keypoints.onnx", "render.onnx", "source.onnx"]

needs_onnx = pytest.mark.skipif(
    not (importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx")),
    reason="onnx and onnxruntime are not installed",
)


def run(path, **inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


@pytest.mark.smoke
@needs_onnx
@pytest.mark.parametrize("frames", [1, 4])
def test_another_program_gets_the_published_numbers(tiny, tmp_path, frames):
    """With ONNX Runtime and numpy alone, as the documentation shows."""
    export(tmp_path / "onnx", *tiny)
    source = EXPECTED["source"][None].transpose(0, 3, 1, 2)
    driving = EXPECTED["driving"][:frames].transpose(0, 3, 1, 2)
    folder = tmp_path / "onnx"
    features, small = run(folder / "source.onnx", picture=source)
    source_value, source_jacobian = run(folder / "keypoints.onnx", images=source)
    value, jacobian = run(folder / "keypoints.onnx", images=driving)
    prediction, *_ = run(
        folder / "render.onnx", features=features, small=small, source_value=source_value,
        source_jacobian=source_jacobian, value=value, jacobian=jacobian,
    )  # fmt: skip
    wanted = EXPECTED["prediction_absolute"][:frames]
    assert_near(prediction.transpose(0, 2, 3, 1), wanted, 1e-4, "prediction")
    facts = json.loads((folder / "fomm.json").read_text())
    weights = tiny[0].weights_hash
    assert (facts["size"], facts["opset"], facts["weights"]) == ([64, 64], 20, weights)


@needs_onnx
def test_details_are_an_input_more(tmp_path):
    generator, kp_detector, _ = (network.eval() for network in tiny_networks())
    generator.frame_shape, generator.details = (64, 64, 3), 0.5
    export(tmp_path, generator, kp_detector)
    source, *driving = torch.rand(3, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features, small, details = run(tmp_path / "source.onnx", picture=source.numpy())
    with torch.inference_mode():
        kp_source, kp_driving = kp_detector(source), kp_detector(torch.cat(driving))
        motion = generator.dense_motion_network(source, kp_source, kp_driving)
        wanted = generator.decode(generator.encode(source), motion, source).numpy()
    prediction, *_ = run(
        tmp_path / "render.onnx", features=features, small=small, details=details,
        source_value=kp_source.value.numpy(), source_jacobian=kp_source.jacobian.numpy(),
        value=kp_driving.value.numpy(), jacobian=kp_driving.jacobian.numpy(),
    )  # fmt: skip
    assert_near(prediction, wanted, 1e-4, "prediction")


@pytest.mark.smoke
@needs_onnx
def test_the_command_and_what_it_says(tmp_path, capsys):
    assert main(["export", "-o", str(tmp_path / "new" / "onnx"), *TINY_OPTIONS]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert all("off by" in line for line in said)
    assert sorted(path.name for path in (tmp_path / "new" / "onnx").iterdir()) == FILES
    import onnx

    model = onnx.load(tmp_path / "new" / "onnx" / "render.onnx")
    onnx.checker.check_model(model)
    assert model.opset_import[0].version == 20


@needs_onnx
def test_eight_bits_are_calibrated_on_a_video_and_measured(tiny, tmp_path):
    save_video(tmp_path / "clip.mp4", [to_uint8(frame) for frame in EXPECTED["driving"]], 10)
    written = export(tmp_path / "onnx", *tiny, precision="int8", calibration=[tmp_path / "clip.mp4"])
    psnr = {file.path.name: file.psnr for file in written}
    assert psnr["render.onnx"] >= 35
    assert psnr["source.onnx"] is None
    import onnx

    kinds = {node.op_type for node in onnx.load(tmp_path / "onnx" / "render.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


@needs_onnx
@pytest.mark.slow
def test_eight_bits_are_calibrated_on_drawn_heads_without_a_video(tmp_path):
    written = export(tmp_path / "onnx", *load_checkpoints(cpu=True), precision="int8")
    assert max(file.psnr or 0 for file in written) >= 35


@needs_onnx
def test_a_graph_that_differs_is_not_written(tiny, tmp_path, monkeypatch):
    save_video(tmp_path / "clip.mp4", [to_uint8(frame) for frame in EXPECTED["driving"]], 10)
    monkeypatch.setattr(fomm.export, "MAX_ERROR", 1e-12)
    with pytest.raises(ExportError, match=r"keypoints\.onnx is off by \d\.\de-\d+"):
        export(tmp_path / "onnx", *tiny)
    monkeypatch.setattr(fomm.export, "MAX_ERROR", 1e-4)
    monkeypatch.setattr(fomm.export, "MIN_PSNR", 200.0)
    with pytest.raises(ExportError, match=r"render\.onnx is \d+\.\d dB from float32; calibrate"):
        export(tmp_path / "onnx", *tiny, precision="int8", calibration=[tmp_path / "clip.mp4"])
    assert not (tmp_path / "onnx").exists()


@needs_onnx
def test_what_cannot_be_exported(tiny, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="precision is 'float16'; expected float32 or int8"):
        export(tmp_path / "onnx", *tiny, precision="float16")
    with pytest.raises(InputError, match="calibration is for int8 alone"):
        export(tmp_path / "onnx", *tiny, calibration=["clip.mp4"])
    with pytest.raises(MediaError, match=r"clip\.mp4"):
        export(tmp_path / "onnx", *tiny, precision="int8", calibration=[tmp_path / "clip.mp4"])
    save_video(tmp_path / "one.mp4", [to_uint8(EXPECTED["source"])], 10)
    with pytest.raises(InputError, match=r"one\.mp4 has one frame"):
        export(tmp_path / "onnx", *tiny, precision="int8", calibration=[tmp_path / "one.mp4"])
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ExportError, match="cannot write"):
        export(tmp_path / "file", *tiny)
    monkeypatch.setattr(tiny[0], "frame_shape", None)
    with pytest.raises(InputError, match="no frame_shape"):
        export(tmp_path / "onnx", *tiny)


def test_the_extra_is_named(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"export needs onnx; install it: pip install 'fomm\[onnx\]'"):
        export(tmp_path / "onnx", *tiny)
