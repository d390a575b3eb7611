"""Make the weights of the face networks that ship, from the two packages that publish them.

    pip download --no-deps mediapipe==0.10.21
    npm pack @vladmandic/face-api@1.7.15
    python tools/convert_face_weights.py mediapipe-0.10.21-*.whl vladmandic-face-api-1.7.15.tgz

This writes ``fomm/face/weights/detector.safetensors``, ``mesh.safetensors`` and ``identity.safetensors``.
Nothing is rounded: the first two hold half-precision numbers as their originals do, the third holds whole
numbers in steps as its original does. Newer wheels of MediaPipe do not hold the models.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
import tarfile
import zipfile

import numpy as np
from safetensors.numpy import save

from fomm.atomic import atomic_path
from fomm.errors import CheckpointError
from fomm.face.blocks import WEIGHTS

MODELS = {
    "detector": "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    "mesh": "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite",
}


def convert_mediapipe(wheel: str | os.PathLike[str]) -> None:
    """Write the weights of detector and mesh, read from the ``wheel`` of MediaPipe.

    Raises CheckpointError when the wheel does not hold them.
    """
    names = {"detector": _detector_names(), "mesh": _mesh_names()}
    for network, member in MODELS.items():
        try:
            with zipfile.ZipFile(wheel) as archive:
                data = archive.read(member)
        except (OSError, KeyError, zipfile.BadZipFile) as reason:
            raise CheckpointError(
                f"{wheel} holds no {member}; give the wheel of mediapipe 0.10.21."
            ) from reason
        tensors = read_tflite(data)
        weights = {ours: _as_torch(theirs, tensors[theirs]) for ours, theirs in names[network].items()}
        origin = (  # one entry: safetensors writes several in no fixed order
            f"mediapipe 0.10.21, {member}, sha256 {hashlib.sha256(data).hexdigest()}; "
            "Apache-2.0, Copyright The MediaPipe Authors"
        )
        with atomic_path(WEIGHTS / f"{network}.safetensors", CheckpointError) as path:
            path.write_bytes(save(weights, metadata={"origin": origin}))


def convert_identity(package: str | os.PathLike[str]) -> None:
    """Write the weights of the identity network, read from the npm ``package``.

    Raises CheckpointError when the package does not hold it.
    """
    folder = "package/model/face_recognition_model"
    try:
        with tarfile.open(package) as archive:
            manifest, data = (
                archive.extractfile(folder + end).read()  # type: ignore[union-attr]  # KeyError if missing
                for end in ("-weights_manifest.json", ".bin")
            )
    except (OSError, KeyError, tarfile.TarError) as reason:
        raise CheckpointError(
            f"{package} holds no {folder}; give the package of @vladmandic/face-api 1.7.15."
        ) from reason
    weights, steps, at = {}, {}, 0
    names = _identity_names()
    for entry in json.loads(manifest)[0]["weights"]:
        quantization = entry.get("quantization")
        kind = np.dtype(quantization["dtype"] if quantization else "<f4")
        count = int(np.prod(entry["shape"]))
        tensor = np.frombuffer(data, kind, count, at).reshape(entry["shape"])
        at += count * kind.itemsize
        ours = names[entry["name"]]
        axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[tensor.ndim]  # TensorFlow.js: kernels HWIO, matrices IO
        weights[ours] = np.ascontiguousarray(tensor.transpose(axes))
        steps[ours] = [quantization["scale"], quantization["min"]] if quantization else [1.0, 0.0]
    origin = f"@vladmandic/face-api 1.7.15, {folder}.bin, sha256 {hashlib.sha256(data).hexdigest()}; MIT"
    metadata = {"fomm": json.dumps({"origin": origin, "steps": steps})}  # one entry, as above
    with atomic_path(WEIGHTS / "identity.safetensors", CheckpointError) as path:
        path.write_bytes(save(weights, metadata=metadata))


def _identity_names() -> dict[str, str]:
    """Return our name of each parameter of the identity network, by its name in the original's manifest."""
    stages = (("32", 3, False), ("64", 3, True), ("128", 2, True), ("256", 2, True))
    blocks = []
    for width, count, begins_down in stages:
        blocks += [f"conv{width}_down"] * begins_down + [f"conv{width}_{i + 1}" for i in range(count)]
    layers = {"conv32_down": "stem"}
    for index, block in enumerate([*blocks, "conv256_down_out"]):
        layers |= {f"{block}/conv{number}": f"blocks.{index}.conv{number}" for number in (1, 2)}
    parts = {"conv/filters": "weight", "conv/bias": "bias", "scale/weights": "scale", "scale/biases": "shift"}
    names = {f"{theirs}/{a}": f"{ours}.{b}" for theirs, ours in layers.items() for a, b in parts.items()}
    return names | {"fc": "head.weight"}


def _detector_names() -> dict[str, str]:
    """Return the name in the TFLite file of each parameter of BlazeFace, by our name."""
    names = _conv("stem", "conv2d")
    for index in range(16):
        stage, place = ("fine", index) if index < 11 else ("coarse", index - 11)
        depthwise = f"depthwise_conv2d_{index}" if index else "depthwise_conv2d"
        names |= _conv(f"{stage}.{place}.depthwise", depthwise)
        names |= _conv(f"{stage}.{place}.pointwise", f"conv2d_{index + 1}")
    for scale, stride in (("fine", 8), ("coarse", 16)):
        names |= _conv(f"score_{scale}", f"classificator_{stride}") | _conv(
            f"place_{scale}", f"regressor_{stride}"
        )
    return names


def _mesh_names() -> dict[str, str]:
    """Return the name in the TFLite file of each parameter of FaceMesh, by our name."""
    layers = _Layers()
    names = layers.conv("stem.0") | layers.prelu("stem.1")
    for index in range(3):
        names |= layers.block(f"fine.{index}")
    for index in range(14):
        names |= layers.block(f"coarse.{index}")
    names |= layers.conv("coarse.14") | layers.prelu("coarse.15") | layers.block("coarse.16")
    names |= _conv("points", "output_mesh") | _conv("presence", "conv_faceflag")
    for region, heads in (
        ("lips", ("points",)),
        ("left_eye", ("points", "iris")),
        ("right_eye", ("points", "iris")),
    ):
        for index in range(6):
            names |= layers.block(f"{region}.trunk.{index}")
        for head in heads:
            ours = f"{region}.{head}"
            for index in range(5):
                names |= layers.block(f"{ours}.{index}")
            names |= layers.conv(f"{ours}.5") | layers.prelu(f"{ours}.6") | layers.block(f"{ours}.7")
            names |= _conv(
                f"{ours}.8", "conv_" + (region if head == "points" else region.replace("eye", "iris"))
            )
    return names


class _Layers:
    """Names of FaceMesh's parameters by our names; the TFLite file numbers its layers of each kind from 0."""

    def __init__(self) -> None:
        self.counts = {"conv2d": 0, "depthwise_conv2d": 0, "p_re_lu": 0}

    def _next(self, kind: str) -> str:
        count = self.counts[kind]
        self.counts[kind] += 1
        return f"{kind}_{count}" if count else kind

    def conv(self, ours: str) -> dict[str, str]:
        return _conv(ours, self._next("conv2d"))

    def prelu(self, ours: str) -> dict[str, str]:
        return {f"{ours}.weight": self._next("p_re_lu") + "/Alpha"}

    def block(self, ours: str) -> dict[str, str]:
        names = _conv(f"{ours}.depthwise", self._next("depthwise_conv2d"))
        return names | self.conv(f"{ours}.pointwise") | self.prelu(f"{ours}.activation")


def _conv(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.weight": f"{theirs}/Kernel", f"{ours}.bias": f"{theirs}/Bias"}


def _as_torch(name: str, tensor: np.ndarray) -> np.ndarray:
    """Return a tensor with its axes in torch's order.

    Kernels come as OHWI, those of depthwise convolutions as 1HWC, and become OIHW; slopes 11C become C.
    """
    if name.endswith("/Alpha"):
        return tensor.reshape(-1)
    if name.endswith("/Kernel"):
        tensor = tensor.transpose((3, 0, 1, 2) if name.startswith("depthwise") else (0, 3, 1, 2))
    return np.ascontiguousarray(tensor)


def read_tflite(data: bytes) -> dict[str, np.ndarray]:
    """Return the half-precision constants of a TFLite file, by name.

    A TFLite file is a FlatBuffer: tables whose fields are found through a vtable. Of its schema these matter:
    Model (2: subgraphs, 4: buffers), SubGraph (0: tensors), Tensor (0: shape, 1: type, 2: buffer, 3: name),
    Buffer (0: data); type 1 is float16.
    """
    model = _Table(data, _u32(data, 0))
    buffers = model.tables(4)
    tensors = {}
    for tensor in model.tables(2)[0].tables(0):
        content = buffers[tensor.scalar(2, "<I")].vector(0, "<u1")
        if tensor.scalar(1, "<b") == 1 and content.size:
            name = tensor.vector(3, "<u1").tobytes().decode()
            tensors[name] = content.view("<f2").reshape(tensor.vector(0, "<i4"))
    return tensors


def _u32(data: bytes, at: int) -> int:
    return struct.unpack_from("<I", data, at)[0]


class _Table:
    """A table of a FlatBuffer, at byte ``at`` of ``data``."""

    def __init__(self, data: bytes, at: int):
        self.data, self.at = data, at
        self.vtable = at - struct.unpack_from("<i", data, at)[0]

    def _field(self, number: int) -> int | None:
        """Where field ``number`` begins; None where the file leaves it out."""
        if 4 + 2 * number >= struct.unpack_from("<H", self.data, self.vtable)[0]:
            return None
        offset = struct.unpack_from("<H", self.data, self.vtable + 4 + 2 * number)[0]
        return self.at + offset if offset else None

    def scalar(self, number: int, kind: str) -> int:
        at = self._field(number)
        return 0 if at is None else struct.unpack_from(kind, self.data, at)[0]

    def vector(self, number: int, kind: str) -> np.ndarray:
        at = self._field(number)
        if at is None:
            return np.empty(0, kind)
        at += _u32(self.data, at)
        return np.frombuffer(self.data, kind, _u32(self.data, at), at + 4)

    def tables(self, number: int) -> list[_Table]:
        at = self._field(number)
        if at is None:
            return []
        at += _u32(self.data, at)
        places = range(at + 4, at + 4 + 4 * _u32(self.data, at), 4)
        return [_Table(self.data, place + _u32(self.data, place)) for place in places]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python tools/convert_face_weights.py MEDIAPIPE_WHEEL FACE_API_PACKAGE")
    convert_mediapipe(sys.argv[1])
    convert_identity(sys.argv[2])
