"""Make files that mean harm or are broken, and the good ones that they are made from."""

import _codecs
import io
import os
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from fomm.checkpoint import build_networks
from fomm.checkpoint.families import find_family
from fomm.config import Config, articulated_config, config_from_dict
from fomm.media import save_video
from fomm.media.ffmpeg import find_executable, run

# -- weights -----------------------------------------------------------------------------------------

LEGACY_HEAD = b"".join(
    pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
)


class Call:
    """Pickles to a call of ``function`` with ``arguments``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class TensorPickler(pickle.Pickler):
    """Protocol 2, with the text STORAGE for a storage of ``numel`` float32 numbers."""

    def __init__(self, file: io.BytesIO, numel: int, view: tuple) -> None:
        super().__init__(file, 2)
        self.id = ("storage", torch.FloatStorage, "0", "cpu", numel, *view)

    def persistent_id(self, obj):
        return self.id if isinstance(obj, str) and obj == "STORAGE" else None


def tensor_pickle(
    legacy: bool, numel: int, offset: int = 0, size: tuple = (1,), stride: tuple = (1,)
) -> bytes:
    """Make a checkpoint's pickle with one tensor of any numbers."""
    buffer = io.BytesIO()
    tensor = Call(torch._utils._rebuild_tensor_v2, "STORAGE", offset, size, stride, False, {})
    content = {"generator": {"w": tensor}, "kp_detector": {"w": tensor}}
    TensorPickler(buffer, numel, (None,) if legacy else ()).dump(content)
    return buffer.getvalue()


def checkpoint_file(data: bytes, legacy: bool, storages: dict[str, bytes] | None = None) -> bytes:
    """Make a checkpoint in either format around the pickle ``data``."""
    storages = storages or {}
    return legacy_file(data, storages) if legacy else zip_file(data, storages)


def legacy_file(data: bytes, storages: dict[str, bytes], keys: bytes | None = None) -> bytes:
    """Make the stream of PyTorch before 1.6; ``keys`` replaces the pickle that lists the storages."""
    keys = pickle.dumps(list(storages), 2) if keys is None else keys
    tail = b"".join((len(s) // 4).to_bytes(8, "little") + s for s in storages.values())
    return LEGACY_HEAD + data + keys + tail


def zip_file(
    data: bytes, storages: dict[str, bytes], more: dict[str, bytes] | None = None, compressed: bool = False
) -> bytes:
    """Make the zip of today's PyTorch, with ``more`` members."""
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names given twice
        archive.writestr("a/data.pkl", data)
        for key, content in storages.items():
            archive.writestr(f"a/data/{key}", content)
        archive.writestr("a/version", b"3\n")
        for name, content in (more or {}).items():
            archive.writestr(name, content)
    return buffer.getvalue()


def safetensors_file(header: bytes, content: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + content


_NESTED = b")q\x00" + b"h\x00h\x00\x86q\x00" * 60  # two tuples of two tuples...: a hash takes for ever


def harmful_pickles() -> dict[str, bytes]:
    """Return pickles that run code, build without end or ask for what no weights need.

    Code that runs would make a file ``canary``.
    """
    return {
        "system": pickle.dumps(Call(os.system, "touch canary"), 2),
        "eval": pickle.dumps(Call(eval, "open('canary', 'w')"), 2),
        "exec": pickle.dumps(Call(exec, "open('canary', 'w')"), 2),
        "open": pickle.dumps(Call(open, "canary", "w"), 2),
        "import": pickle.dumps(Call(__import__, "antigravity"), 2),
        "getattr": pickle.dumps(Call(getattr, torch.Tensor, "share_memory_"), 2),
        "bytearray": pickle.dumps(Call(bytearray, 8 << 30), 2),
        "list of a range": pickle.dumps(Call(list, range(1 << 40)), 2),
        "nested load": pickle.dumps(Call(pickle.loads, b"cos\nsystem\n(S'touch canary'\ntR."), 2),
        "torch.load": pickle.dumps(Call(torch.load, "canary"), 2),
        "set": pickle.dumps({1, 2}, 2),
        "complex": pickle.dumps(1j, 2),
        "object array": pickle.dumps(np.array([{}], dtype=object), 2),
        "structured dtype": pickle.dumps(np.dtype([("a", "f8", (1 << 20,))]), 2),
        "dtype of objects": b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R(K\x03X\x01\x00\x00\x00<"
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb.",
        "protocol 4": pickle.dumps({"a": Call(bytearray, 1)}, 4),
        "a stack global": b"\x80\x02X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.",
        "inst": b"\x80\x02(X\x0c\x00\x00\x00touch canaryios\nsystem\n.",
        "obj": b"\x80\x02(ccollections\nCounter\n}o.",
        "newobj": b"\x80\x02ccollections\nCounter\n)\x81.",
        "extension": b"\x80\x02\x82\x01.",
        "call of a dict": b"\x80\x02})R.",
        "encode that grows": pickle.dumps(Call(_codecs.encode, "a" * 9, "hex"), 2),
        "hash without end": b"\x80\x02" + _NESTED + b"}h\x00K\x01s.",
        "hash in a counter": b"\x80\x02" + _NESTED + b"ccollections\nCounter\nh\x00K\x01\x86\x85\x85R.",
        "state of a class": b"\x80\x02ccollections\nOrderedDict\n}b.",
        "append to a dict": b"\x80\x02}K\x01a.",
        "endless": b"\x80\x02" + b"]" * 3_000_000,
        "empty stack": b"\x80\x02a.",
        "unknown memo": b"\x80\x02h\x07.",
        "no stop": b"\x80\x02}",
        "a module by persistent id": b"\x80\x02(X\x06\x00\x00\x00moduleK\x01K\x01K\x01K\x01tQ.",
    }


def smallest_config() -> Config:
    """Return the configuration of the smallest networks that there can be."""
    hourglass = {"block_expansion": 1, "max_features": 2, "num_blocks": 1}
    model = {
        "common_params": {"num_kp": 1, "num_channels": 3, "estimate_jacobian": True},
        "kp_detector_params": {"temperature": 0.1, "scale_factor": 1, **hourglass},
        "generator_params": {
            "block_expansion": 1,
            "max_features": 2,
            "num_down_blocks": 1,
            "num_bottleneck_blocks": 1,
            "estimate_occlusion_map": True,
            "dense_motion_params": {"scale_factor": 1, **hourglass},
        },
    }
    return config_from_dict({"dataset_params": {"frame_shape": [32, 32, 3]}, "model_params": model})


def smallest_tensors() -> dict[str, dict[str, torch.Tensor]]:
    """Return their weights, all ones."""
    generator, kp_detector = build_networks(smallest_config())
    parts = {"generator": generator.state_dict(), "kp_detector": kp_detector.state_dict()}
    return {part: {name: torch.ones_like(t) for name, t in state.items()} for part, state in parts.items()}


def smallest_articulated() -> dict[str, dict[str, torch.Tensor]]:
    """Return the weights of the smallest MRAA model that there can be, all ones."""
    hourglass = {"block_expansion": 1, "max_features": 2, "num_blocks": 1}
    model = {
        "num_regions": 1,
        "num_channels": 3,
        "region_predictor_params": {"temperature": 0.1, **hourglass},
        "generator_params": {
            "block_expansion": 1,
            "max_features": 2,
            "num_down_blocks": 1,
            "num_bottleneck_blocks": 1,
            "pixelwise_flow_predictor_params": hourglass,
        },
    }
    family = find_family(["generator", "region_predictor"])
    networks = family.build(articulated_config({"model_params": model}, "smallest"), {})
    parts = {name: part.state_dict() for name, part in family.parts(*networks).items()}
    return {part: {name: torch.ones_like(t) for name, t in state.items()} for part, state in parts.items()}


def first_thin_plate() -> dict[str, dict[str, torch.Tensor]]:
    """Return a TPSMM file that tells its architecture, but holds the first tensors of each network alone."""
    motion, up = "hourglass.encoder.down_blocks.0.conv.weight", "hourglass.decoder.up_blocks.0.conv.weight"
    return {
        "inpainting_network": {
            "first.conv.weight": torch.ones(1, 3, 7, 7),
            "down_blocks.0.conv.weight": torch.ones(2, 1, 3, 3),
        },
        "dense_motion_network": {
            "maps.weight": torch.ones(2, 13, 7, 7),
            motion: torch.ones(2, 12, 3, 3),
            up: torch.ones(1, 2, 3, 3),
        },
        "kp_detector": {"fg_encoder.conv1.weight": torch.ones(64, 3, 7, 7)},
    }


def file_of(parts: dict[str, dict[str, torch.Tensor]], kind: str) -> bytes:
    """Return weights as a file: "zip", "legacy" or "safetensors"."""
    if kind == "safetensors":
        return flat_safetensors(parts)
    buffer = io.BytesIO()
    torch.save(parts, buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


def smallest_checkpoint(kind: str) -> bytes:
    """Return the smallest weights of FOMM as a file, see ``file_of``."""
    return file_of(smallest_tensors(), kind)


def flat_safetensors(
    parts: dict[str, dict[str, torch.Tensor]], metadata: dict[str, str] | None = None
) -> bytes:
    flat = {f"{part}.{name}": t.contiguous() for part, state in parts.items() for name, t in state.items()}
    return save(flat, metadata)


# -- pictures and videos -----------------------------------------------------------------------------


def picture_file(kind: str, mode: str = "RGB", size: tuple[int, int] = (16, 12), **options) -> bytes:
    """Make a picture of ``size`` (width, height) in one of Pillow's formats and modes, or a HEIC picture."""
    levels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return encode_picture(Image.fromarray(levels).convert(mode), kind, **options)


def encode_picture(image: Image.Image, kind: str, **options) -> bytes:
    """Return a picture's file; a test that asks for HEIC is skipped where its package is missing."""
    buffer = io.BytesIO()
    if kind == "HEIC":
        import pytest  # late: the fuzzers run without it

        package = pytest.importorskip("pillow_heif", reason="needs the extra heic")
        package.from_pillow(image).save(buffer, **options)
    else:
        image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def video_file(folder: Path, name: str, frames: int = 4, size: int = 32, *more: object) -> bytes:
    """Make a small video; ``more`` are arguments of ffmpeg for the encoding."""
    levels = np.random.default_rng(0).integers(0, 256, (frames, size, size, 3), np.uint8)
    save_video(folder / "made.mp4", levels, 25)
    ffmpeg("-i", folder / "made.mp4", *more, folder / name)
    return (folder / name).read_bytes()


def ffmpeg(*arguments: object) -> None:
    """Make a file with ffmpeg; what it says of a failure is shown."""
    code, _, log = run(["-loglevel", "error", "-y", *map(str, arguments)])
    assert code == 0, f"{find_executable()} {arguments}: {log}"
