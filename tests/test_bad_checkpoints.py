"""Weights that mean harm or are broken: each is refused with one sentence, and does nothing.

Every case is written to a folder of its own and loaded by a process of its own, which tells how long it
took and how much memory: under 10 seconds, and under three times the file's size plus 300 MB, of which
PyTorch itself takes 220.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import re
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import hostile
import numpy as np
import pytest
import torch
from doors import check_sentence, knock_with_checkpoint
from hostile import Call, checkpoint_file, legacy_file, safetensors_file, tensor_pickle, zip_file
from in_processes import MEGABYTE, Case, check_refused, read_each, write_each

from fomm import bundled
from fomm.checkpoint import DEFAULT_WEIGHTS, build_networks, load_checkpoints, read_checkpoint
from fomm.config import load_config
from fomm.errors import CheckpointError
from fomm.face import blocks, identity
from fomm.face.detector import BlazeFace
from fomm.swap.mtcnn import load_mtcnn

FORMATS = {"zip": False, "legacy": True}


# -- pickles that ask for too much -------------------------------------------------------------------


def pickles() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    broken = {
        "call of a dict",
        "empty stack",
        "unknown memo",
        "no stop",
        "a module by persistent id",
        "endless",
    }
    for name, harm in hostile.harmful_pickles().items():
        words = "is refused|is damaged" if name in broken else "is refused: it .*source you trust"
        for kind, legacy in FORMATS.items():
            cases[f"{name}, {kind}"] = lambda h=harm, g=legacy: checkpoint_file(h, g, {"0": bytes(4)}), words
    return cases


def deep(depth: int = 100_000) -> bytes:
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


def doubled(times: int = 60) -> bytes:
    """Return a list of two lists of two lists...: small, but endless when written out."""
    return b"\x80\x02]q\x00" + b"]q\x01(h\x00h\x00eq\x00" * times + b"."


def legacy_lists() -> dict[str, Case]:
    """Return files of the older format whose last pickle, the list of storages, does harm."""
    tensor = tensor_pickle(True, 1)

    def with_keys(keys: bytes) -> Callable[[], bytes]:
        return lambda: legacy_file(tensor, {"0": bytes(4)}, keys)

    words, harm = "declares storages that it does not hold", Call(os.system, "touch canary")
    return {
        "list of storages nested deeply": (with_keys(b"\x80\x02]" + deep()[2:-1] + b"a."), words),
        "list of storages endless when written out": (
            with_keys(b"\x80\x02]" + doubled()[2:-1] + b"a."),
            words,
        ),
        "list of storages with a call": (
            with_keys(pickle.dumps([Call(os.system, "touch canary")], 2)),
            "system",
        ),
        "list of storages that is a text": (with_keys(pickle.dumps("0", 2)), words),
        "list of storages with numbers": (with_keys(pickle.dumps([0], 2)), words),
        "list of storages with one too many": (with_keys(pickle.dumps(["0", "1"], 2)), words),
        "list of storages with one twice": (with_keys(pickle.dumps(["0", "0"], 2)), words),
        "list of storages that is empty": (with_keys(pickle.dumps([], 2)), words),
        "the first three pickles alone": (lambda: hostile.LEGACY_HEAD, "is damaged or incomplete"),
        "a call before the weights": (
            lambda: hostile.LEGACY_HEAD[:15] + pickle.dumps(harm, 2) * 3,
            "asks for .*system",
        ),
        "another version": (
            lambda: legacy_file(tensor, {"0": bytes(4)}).replace(pickle.dumps(1001, 2), pickle.dumps(7, 2)),
            "no version that PyTorch ever wrote",
        ),
        "a version that is a tensor": (
            lambda: legacy_file(tensor, {"0": bytes(4)}).replace(pickle.dumps(1001, 2), lone_tensor()),
            "no version that PyTorch ever wrote",
        ),
        "another count in the stream": (
            lambda: legacy_file(tensor, {"0": bytes(8)}, None)[:-16] + struct.pack("<Q", 1 << 61) + bytes(8),
            "another size than declared",
        ),
    }


def letters(text: str) -> bytes:
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


def lone_tensor() -> bytes:
    storage = b"(" + letters("storage") + b"ctorch\nFloatStorage\n" + letters("0") + letters("cpu") + b"K\1tQ"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0))\x89}tR."


def called_again(function: bytes, arguments: bytes, times: int) -> bytes:
    """Return a pickle that calls one function with the same arguments many times, and keeps all results."""
    head = b"\x80\x02c" + function + b"\nq\x01" + arguments + b"q\x02("
    return head + b"h\x01h\x02R" * times + b"t."


def copies() -> dict[str, Case]:
    """Return pickles that are small in the file, and large when parts of them are read 100,000 times."""
    numbered = b"}(" + b"".join(b"J" + struct.pack("<i", n) + b"N" for n in range(60_000)) + b"u"
    pairs = b"K\1K\1\x86q\x03](" + b"h\x03" * 200_000 + b"e"
    storage = b"(" + letters("storage") + b"ctorch\nFloatStorage\n" + letters("0") + letters("cpu") + b"K\1tQ"
    many = b"(" + b"K\1" * 200_000 + b"t"
    collide = b"".join(
        b"\x8a\x0a" + (n * (2**61 - 1)).to_bytes(10, "little") + b"N" for n in range(1, 60_000)
    )
    read = "holds a tuple|does not hold"
    programs = {
        "a counter copied": (called_again(b"collections\nCounter", numbered + b"\x85", 80_000), read),
        "a dict copied": (
            called_again(b"collections\nOrderedDict", numbered + b"\x85", 80_000),
            "not a list",
        ),
        "a list of pairs read": (called_again(b"collections\nOrderedDict", pairs + b"\x85", 80_000), read),
        "a text encoded": (
            called_again(b"_codecs\nencode", letters("a" * 500_000) + letters("latin1") + b"\x86", 60_000),
            "it encodes a text",
        ),
        "a shape checked": (
            called_again(
                b"torch._utils\n_rebuild_tensor_v2",
                b"(" + storage + b"K\0" + many + b"q\x04h\x04\x89}t",
                60_000,
            ),
            "a tensor of 200000 dimensions",
        ),
        "a tensor made": (
            called_again(b"torch._utils\n_rebuild_tensor_v2", b"(" + storage + b"K\0))\x89}t", 100_000),
            "more than 50000 tensors",
        ),
        "numbers of one hash": (b"\x80\x02}(" + collide + b"u.", "neither a name nor a number"),
    }
    return {
        f"{name} without end, {kind}": (
            lambda d=data, g=legacy: checkpoint_file(d, g, {"0": bytes(4)}),
            words,
        )
        for name, (data, words) in programs.items()
        for kind, legacy in FORMATS.items()
    }


def structures() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for kind, legacy in FORMATS.items():

        def of(data: bytes, g: bool = legacy) -> Callable[[], bytes]:
            return lambda: checkpoint_file(data, g)

        digits = {"generator": {"w": (1 << 1000)}, "kp_detector": {}}
        steering = {"generator": {"\x1b[2J\nfine": 1}, "kp_detector": {"a": 1}}
        lengthy = {"generator": {"w" * 100_000: 1}, "kp_detector": {"a": 1}}
        cases |= {
            f"deep nesting, {kind}": (of(deep()), "(holds a list|is damaged)"),
            f"a list without end when written out, {kind}": (of(doubled()), "holds a list"),
            f"a number of a thousand bits, {kind}": (of(pickle.dumps(digits, 2)), "number of many digits"),
            f"a name that steers the terminal, {kind}": (
                of(pickle.dumps(steering, 2)),
                r"has the name .*\?\[2J",
            ),
            f"a name of 100,000 letters, {kind}": (of(pickle.dumps(lengthy, 2)), "no network has the name"),
            f"a text, {kind}": (of(pickle.dumps("weights", 2)), "holds a str instead of named weights"),
            f"nothing, {kind}": (of(pickle.dumps({}, 2)), "holds no 'generator'"),
            f"another model, {kind}": (
                of(pickle.dumps({"state_dict": {}, "region_predictor": {}}, 2)),
                "holds state_dict, region_predictor",
            ),
        }
    return cases


# -- tensors that promise what is not there ----------------------------------------------------------


def tensors() -> dict[str, Case]:
    promises = {
        "larger than its storage": ({"numel": 1, "size": (1 << 33,)}, "larger than its storage"),
        "of two rows in one": ({"numel": 3, "size": (2, 2), "stride": (2, 1)}, "larger than its storage"),
        "behind its storage": ({"numel": 1, "offset": 1}, "larger than its storage"),
        "stepping back": ({"numel": 1, "stride": (-1,)}, "without a shape"),
        "never filled": ({"numel": 1 << 33}, "it declares|incomplete|where it holds"),
        "never filled, beyond all memory": ({"numel": 1 << 79}, "it declares|incomplete|where it holds"),
        "of stride zero": ({"numel": 1, "size": (1 << 38,), "stride": (0,)}, "larger than the file"),
        "of a thousand dimensions": (
            {"numel": 1, "size": (1,) * 1000, "stride": (1,) * 1000},
            "a tensor of 1000 dimensions",
        ),
        "of more strides than sizes": ({"numel": 4, "size": (2,), "stride": (1, 1)}, "without a shape"),
        "of a size that is no tuple": ({"numel": 4, "size": [2], "stride": (1,)}, "without a shape"),
        "of more numbers than 64 bits count": (
            {"numel": 1, "size": (1 << 32, 1 << 32), "stride": (0, 0)},
            "more numbers than can be counted",
        ),
        "of no rows with endless columns": (
            {"numel": 1, "size": (0, 1 << 70), "stride": (1, 1)},
            "no tensor has such a shape",
        ),
        "of no numbers far behind its storage": (
            {"numel": 1, "offset": 1 << 70, "size": (0,)},
            "no tensor has such a shape",
        ),
    }
    cases: dict[str, Case] = {}
    for name, (numbers, words) in promises.items():
        content = {"0": bytes(4 * min(numbers["numel"], 3))}
        for kind, legacy in FORMATS.items():

            def make(n: dict = numbers, g: bool = legacy, c: dict = content) -> bytes:
                return checkpoint_file(tensor_pickle(g, **n), g, c)

            cases[f"a tensor {name}, {kind}"] = make, words
    return cases


def changed(
    name: str, value: object, kind: str = "zip", tensors: Callable[[], dict] = hostile.smallest_tensors
) -> Callable[[], bytes]:
    """Return a maker of small weights with one tensor, or a network, replaced or removed."""

    def make() -> bytes:
        parts: dict[str, dict] = tensors()
        part, _, key = name.partition(".")
        if not key:
            del parts[part]
        elif value is None:
            del parts[part][key]
        else:
            parts.setdefault(part, {})
            parts[part][key] = value(parts[part][key]) if callable(value) else value
        return hostile.file_of(parts, kind)

    return make


def quantized(tensor: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they are a thing of the past
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


def weights() -> dict[str, Case]:
    bias, weight = "generator.final.bias", "kp_detector.kp.weight"
    cases: dict[str, Case] = {}
    for kind in ("zip", "legacy", "safetensors"):
        for word, number in {"NaN": float("nan"), "Inf": float("inf"), "minus Inf": -float("inf")}.items():
            value = changed(bias, torch.tensor([0.0, number, 0.0]), kind)
            cases[f"{word}, {kind}"] = value, "generator.final.bias holds values that are not finite"
        cases[f"a wrong shape, {kind}"] = changed(bias, torch.ones(7), kind), "final.bias is 7 instead of 3"
        cases[f"one missing, {kind}"] = changed(bias, None, kind), "missing generator.final.bias"
        cases[f"one unexpected, {kind}"] = (
            changed("generator.extra", torch.ones(3), kind),
            "unexpected generator.extra",
        )
        cases[f"a key layer without dimensions, {kind}"] = (
            changed(weight, torch.ones(()), kind),
            "no convolution kp_detector.kp.weight",
        )
        cases[f"an empty layer, {kind}"] = changed(weight, lambda t: t[:0], kind), "num_kp should lie in"
        cases[f"whole numbers, {kind}"] = changed(bias, torch.ones(3, dtype=torch.int8), kind), "torch.int8"
        cases[f"truth values, {kind}"] = changed(bias, torch.ones(3, dtype=torch.bool), kind), "torch.bool"
    infinite = torch.tensor([0, 1e300, 0], dtype=torch.float64)
    return cases | {
        "finite in 64 bits alone": (changed(bias, infinite), "not finite"),
        "complex numbers": (
            changed(bias, torch.ones(3, dtype=torch.complex64)),
            "ComplexFloatStorage|torch.complex64",
        ),
        "a number": (changed(bias, 3.5), "is a float instead of a tensor"),
        "a text": (changed(bias, "three"), "is a str instead of a tensor"),
        "a list": (changed(bias, [1.0]), "is a list instead of a tensor"),
        "a sparse tensor": (changed(bias, lambda t: t.to_sparse()), "_rebuild_sparse_tensor"),
        "a quantized tensor": (
            changed(bias, quantized),
            "is refused: it asks for",
        ),
        "a tensor on no device": (changed(bias, lambda t: t.to("meta")), "is refused: it asks for"),
        "a tensor class of somebody": (
            changed(bias, lambda t: Call(io.open, "canary", "w")),
            "asks for .*open",
        ),
    }


# -- the models that came after -----------------------------------------------------------------------


def successors() -> dict[str, Case]:
    """Return broken files of MRAA and TPSMM."""
    mraa, tpsmm = hostile.smallest_articulated, hostile.first_thin_plate
    cases: dict[str, Case] = {}
    nan = torch.tensor([0.0, float("nan"), 0.0])
    for kind in ("zip", "legacy", "safetensors"):

        def of(name: str, value: object, tensors: Callable[[], dict], k: str = kind) -> Callable[[], bytes]:
            return changed(name, value, k, tensors)

        bias, regions = "generator.final.bias", "region_predictor.regions.weight"
        steering = f"inpainting_network.{chr(27)}[2J"
        files: dict[str, Case] = {
            "MRAA, NaN": (of(bias, nan, mraa), r"final\.bias holds values that are not finite"),
            "MRAA, a wrong shape": (of(bias, torch.ones(7), mraa), "final.bias is 7 instead of 3"),
            "MRAA, one missing": (of(bias, None, mraa), "missing generator.final.bias"),
            "MRAA, one unexpected": (
                of("region_predictor.extra", torch.ones(3), mraa),
                "unexpected region_predictor.extra",
            ),
            "MRAA, no painter": (of("generator", None, mraa), "holds no 'generator'"),
            "MRAA, a key layer missing": (
                of(regions, None, mraa),
                r"no convolution region_predictor\.regions",
            ),
            "MRAA, no region": (of(regions, lambda t: t[:0], mraa), "num_regions should lie in"),
            "MRAA, whole numbers": (of(bias, torch.ones(3, dtype=torch.int8), mraa), "torch.int8"),
            "MRAA, a background of half a network": (
                of("bg_predictor.fc.bias", torch.ones(6), mraa),
                r"no convolution bg_predictor\.encoder",
            ),
            "MRAA, half an AVD network": (
                of("avd_network.id_encoder.9.bias", torch.ones(4), mraa),
                r"missing avd_network\.id_encoder\.0\.weight",
            ),
            "TPSMM, most of it missing": (
                lambda k=kind: hostile.file_of(tpsmm(), k),
                "missing inpainting_network",
            ),
            "TPSMM, no key points": (of("kp_detector", None, tpsmm), "holds no 'kp_detector'"),
            "TPSMM, no spline": (
                of("dense_motion_network.maps.weight", lambda t: t[:1], tpsmm),
                "num_tps should lie in",
            ),
            "TPSMM, shrunk by a third": (
                of("dense_motion_network.down.weight", torch.ones(3, 1, 9, 9), tpsmm),
                "scale_factor is 0.33",
            ),
            "TPSMM, a name that steers": (of(steering, torch.ones(1), tpsmm), r"has the name .*\?\[2J"),
        }
        cases |= {f"{name}, {kind}": case for name, case in files.items()}
    endless = torch.ones(1).expand(1 << 40, 1, 1, 1)
    return cases | {
        "TPSMM, a painter of stride zero": (
            changed("inpainting_network.first.conv.weight", endless, "zip", tpsmm),
            "larger than the file",
        ),
        "TPSMM, an identity of endless numbers": (
            changed("kp_detector.fg_encoder.fc.bias", torch.ones(1).expand(1 << 40), "zip", tpsmm),
            "larger than the file",
        ),
        "MRAA, a painter of 9000 blocks": (
            lambda: hostile.flat_safetensors(with_many_blocks(mraa())),
            "num_bottleneck_blocks should lie in 0 to 256",
        ),
    }


# -- zip archives ------------------------------------------------------------------------------------

FINE = pickle.dumps({"generator": {}, "kp_detector": {}}, 2)


def million_members() -> bytes:
    """Return a zip with a list of a million members, all of them the same small one."""
    one = zip_file(FINE, {})
    start = one.index(b"PK\x01\x02")
    end = one.index(b"PK\x01\x02", start + 1)
    entries = one[start:end] * 1_000_000
    at, full = start + len(entries), 0xFFFFFFFF  # what stands where a number does not fit
    tail = struct.pack("<4sQ2H2L2Q2Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 10**6, 10**6, len(entries), start)
    tail += struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    tail += struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, full, full, 0)
    return one[:start] + entries + tail


def two_lists() -> bytes:
    """Two lists of members: Python takes the one before the end, PyTorch the one that the end points to."""
    harm = zip_file(hostile.harmful_pickles()["bytearray"] + bytes(len(FINE)), {})
    fine = zip_file(FINE, {})
    list_of = {data: (data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")) for data in (harm, fine)}
    (harm_list, harm_end), (fine_list, fine_end) = list_of[harm], list_of[fine]
    # To each offset Python adds how much further back the list lies than the end says.
    listing, at = bytearray(fine[fine_list:fine_end]), 0
    while at < len(listing):
        offset = int.from_bytes(listing[at + 42 : at + 46], "little") + harm_list - fine_list
        listing[at + 42 : at + 46] = offset.to_bytes(4, "little")
        at += 46 + int.from_bytes(listing[at + 28 : at + 30], "little")
    tail = fine[fine_end : fine_end + 16] + harm_list.to_bytes(4, "little") + bytes(2)
    return harm[:harm_end] + fine[:fine_list] + bytes(listing) + tail


def moved(data: bytes, start: int) -> bytes:
    """Return a zip whose list of members says that ``a/data/0`` begins elsewhere."""
    entry = data.rindex(b"a/data/0") - 46
    return data[: entry + 42] + struct.pack("<L", start) + data[entry + 46 :]


def moved_far(data: bytes) -> bytes:
    """As ``moved``, to the largest place that 64 bits can tell."""
    data = moved(data, 0xFFFFFFFF)
    entry, more = data.rindex(b"a/data/0") - 46, struct.pack("<2HQ", 1, 8, (1 << 64) - 1)
    data = data[: entry + 30] + struct.pack("<H", len(more)) + data[entry + 32 :]
    data = data[: entry + 54] + more + data[entry + 54 :]
    length = struct.unpack_from("<L", data, len(data) - 10)[0] + len(more)
    return data[:-10] + struct.pack("<L", length) + data[-6:]


def far(data: bytes) -> bytes:
    """Return a zip in which ``a/data/0`` says that 65 KB of something else come before its content."""
    member = data.index(b"a/data/0") - 30
    return data[: member + 28] + b"\xff\xff" + data[member + 30 :]


def patched(data: bytes, mark: bytes, at: int, new: bytes) -> bytes:
    """Return ``data`` with the bytes ``new`` written ``at`` bytes behind every ``mark``."""
    changed = bytearray(data)
    for found in re.finditer(re.escape(mark), data):
        changed[found.start() + at : found.start() + at + len(new)] = new
    return bytes(changed)


def overlapping() -> bytes:
    """Ten members that are all the same bytes, so that the file declares more than it holds."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", FINE)
        for number in range(10):
            archive.writestr(f"a/data/{number}", b"" if number else bytes(100_000))
        first, *others = archive.infolist()[1:]
        for member in others:
            member.file_size = member.compress_size = first.file_size
            member.header_offset, member.CRC = first.header_offset, first.CRC
    return buffer.getvalue()


def torchscript() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is a thing of the past
        torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), buffer)
    return buffer.getvalue()


def archives() -> dict[str, Case]:
    fine = zip_file(FINE, {"0": bytes(4)})
    return {
        "a thousandfold compressed pickle": (
            lambda: zip_file(b"\x80\x02" + b"]" * 20 * MEGABYTE, {}, compressed=True),
            "it is compressed, which torch.save never does",
        ),
        "thousandfold compressed numbers": (
            lambda: zip_file(tensor_pickle(False, 5_000_000), {"0": bytes(20 * MEGABYTE)}, compressed=True),
            "it is compressed",
        ),
        "a million members": (million_members, "more parts than weights ever have"),
        "two lists of members": (two_lists, "is damaged or incomplete"),
        "a comment at the end": (lambda: fine[:-2] + b"\x05\0hello", "is damaged or incomplete"),
        "something behind the end": (lambda: fine + bytes(50), "is damaged or incomplete"),
        "something before the list": (
            lambda: fine.replace(b"PK\x01\x02", bytes(9) + b"PK\x01\x02", 1),
            "is damaged or incomplete",
        ),
        "a list without an end": (lambda: fine[: fine.index(b"PK\x05\x06")], "is damaged or incomplete"),
        "the first bytes of a zip": (lambda: b"PK\x03\x04", "is damaged or incomplete"),
        "overlapping members": (overlapping, "declares more than it holds"),
        "an encrypted pickle": (
            lambda: patched(fine, b"PK\x01\x02", 8, b"\x01\0"),
            "is damaged or incomplete",
        ),
        "a wrong checksum": (lambda: patched(fine, b"PK\x01\x02", 16, b"abcd"), "is damaged or incomplete"),
        "an unknown compression": (lambda: patched(fine, b"PK\x01\x02", 10, b"\x63\0"), "it is compressed"),
        "a size that is not there": (
            lambda: patched(fine, b"PK\x01\x02", 20, struct.pack("<2L", 10**9, 10**9)),
            "1000000000 bytes and no numbers",
        ),
        "a zero in a name": (lambda: fine.replace(b"a/version", b"a/v\0rsion"), "has no plain name"),
        "two members of one name": (
            lambda: zip_file(FINE, {}, {"a/DATA.pkl": FINE}),
            "two files of one name",
        ),
        "two checkpoints": (lambda: zip_file(FINE, {}, {"b/data.pkl": FINE}), "several things"),
        "a path that climbs": (lambda: zip_file(FINE, {}, {"../canary": b"x"}), "several things"),
        "a megabyte in place of the version": (
            lambda: zip_file(FINE, {}, {"a/byteorder": bytes(30 * MEGABYTE)}),
            "30000000 bytes and no numbers",
        ),
        "a pickle with much behind its end": (
            lambda: zip_file(FINE + bytes(30 * MEGABYTE), {}),
            "bytes and no numbers",
        ),
        "numbers with the higher bytes first": (
            lambda: zip_file(FINE, {}, {"a/byteorder": b"big"}),
            "bytes in another order",
        ),
        "numbers that begin behind the end": (
            lambda: moved(zip_file(tensor_pickle(False, 1), {"0": bytes(4)}), 1 << 20),
            "is damaged or incomplete",
        ),
        "numbers that begin beyond all disks": (
            lambda: moved_far(zip_file(tensor_pickle(False, 1), {"0": bytes(4)})),
            "is damaged or incomplete",
        ),
        "numbers that begin where no part does": (
            lambda: moved(zip_file(tensor_pickle(False, 1), {"0": bytes(4)}), 9),
            "is damaged or incomplete",
        ),
        "numbers that end behind the end": (
            lambda: far(zip_file(tensor_pickle(False, 1), {"0": bytes(4)})),
            "is damaged or incomplete",
        ),
        "an archive of NumPy": (numpy_archive, "is a zip archive of several things"),
        "TorchScript": (torchscript, "is a TorchScript program"),
    }


def numpy_archive() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, weights=np.ones(3))
    return buffer.getvalue()


# -- safetensors -------------------------------------------------------------------------------------


def header(entries: object) -> bytes:
    return json.dumps(entries).encode()


def safetensors() -> dict[str, Case]:
    def one(**changes: object) -> bytes:
        return header({"generator.w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}})

    damaged = "is damaged or incomplete"
    files: dict[str, tuple[bytes, bytes, str]] = {
        "a header of many exabytes": (b"", b"", "is incomplete|neither"),
        "no JSON": (b"{" + b"x" * 30, b"", damaged),
        "a header nested deeply": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"", damaged),
        "a header that is too long": (b"{" + b" " * 2 * MEGABYTE + b"}", b"", "too many for this network"),
        "numbers behind the end": (one(data_offsets=[0, 800], shape=[200]), bytes(8), damaged),
        "offsets that go back": (one(data_offsets=[8, 0]), bytes(8), damaged),
        "offsets below zero": (one(data_offsets=[-8, 0]), bytes(8), damaged),
        "a shape that overflows": (one(shape=[1 << 62, 1 << 62]), bytes(8), damaged),
        "a shape below zero": (one(shape=[-2]), bytes(8), damaged),
        "another shape than size": (one(shape=[9]), bytes(8), damaged),
        "an unknown type": (one(dtype="F31"), bytes(8), damaged),
        "a type that steers the terminal": (one(dtype="\x1b[2J\n"), bytes(8), damaged),
        "numbers of 8 bits": (one(dtype="F8_E4M3", shape=[8]), bytes(8), "torch.float8_e4m3fn|damaged"),
        "numbers of 4 bits": (one(dtype="F4", shape=[16]), bytes(8), "torch.float4|damaged"),
        "numbers without a sign": (one(dtype="U16", shape=[4]), bytes(8), "torch.uint16"),
        "a name that steers": (one().replace(b".w", rb".\u001b[2J"), bytes(8), r"name .*\?\[2J"),
        "metadata that is no text": (
            header(
                {"__metadata__": {"fomm": 1}, "a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}
            ),
            b"",
            damaged,
        ),
        "nothing": (b"{}      ", b"", "holds no 'generator'"),
    }
    cases: dict[str, Case] = {
        f"safetensors, {name}": (lambda h=head, c=content: safetensors_file(h, c), words)
        for name, (head, content, words) in files.items()
    }
    cases["safetensors, a header of many exabytes"] = (
        lambda: struct.pack("<Q", 1 << 62) + b"{}" + bytes(600),
        "neither a PyTorch checkpoint nor",
    )
    cases["safetensors, a header longer than the file"] = (
        lambda: struct.pack("<Q", 5000) + b"{" + b" " * 600,
        "is incomplete",
    )
    cases["safetensors, a network of 9000 blocks"] = (
        many_blocks,
        "num_bottleneck_blocks should lie in 0 to 256",
    )
    for name, text, words in (
        ("no JSON", "{", "metadata that fomm did not write"),
        ("nested deeply", "[" * 100_000, "metadata that fomm did not write"),
        ("an unknown key", '{"version": "9.9", "config": {"zebra": 1}}', r"unknown key zebra.*by fomm 9\.9"),
        (
            "a key that steers",
            '{"version": "\\u001b", "config": {"\\u001b[2J\\n": 1}}',
            r"unknown key \?\[2J",
        ),
        ("a long key", json.dumps({"version": "1", "config": {"k" * 99_999: 1}}), "unknown key kkk"),
        (
            "a huge number",
            '{"version": "1", "config": {"dataset_params": ' + "9" * 5000 + "}}",
            "did not write",
        ),
        ("a network too large", metadata_config(block_expansion=512), "does not fit|should lie in"),
    ):
        cases[f"metadata, {name}"] = (lambda t=text: with_metadata(t)), words
    return cases


def many_blocks() -> bytes:
    """Names that make a network of 9000 blocks, each with one number."""
    return hostile.flat_safetensors(with_many_blocks(hostile.smallest_tensors()))


def with_many_blocks(parts: dict[str, dict[str, torch.Tensor]]) -> dict[str, dict[str, torch.Tensor]]:
    for number in range(9000):
        parts["generator"][f"bottleneck.r{number}.conv1.weight"] = torch.ones(1, 1, 1, 1)
    return parts


def with_metadata(text: str) -> bytes:
    return hostile.flat_safetensors(hostile.smallest_tensors(), {"fomm": text})


def metadata_config(block_expansion: int) -> str:
    data = hostile.smallest_config().to_dict()
    data["model_params"]["generator_params"] |= {"block_expansion": block_expansion, "max_features": 4096}
    return json.dumps({"version": "1", "config": data})


# -- other files under the name of weights -----------------------------------------------------------


def tar_file() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("../canary")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"harm"))
    return buffer.getvalue()


def others() -> dict[str, Case]:
    neither, harm = "neither a PyTorch checkpoint nor", Call(os.system, "touch canary")
    files: dict[str, tuple[bytes, str]] = {
        "nothing at all": (b"", "is empty"),
        "a web page": (b"\n <!DOCTYPE html><html>Sign in</html>", r"web page \(HTML\)"),
        "XML": (b'\xef\xbb\xbf<?xml version="1.0"?><Error>AccessDenied</Error>', r"web page \(HTML\)"),
        "an LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        "JSON": (b'{"error": {"code": 404}}', "JSON text"),
        "gzip": (gzip.compress(b"weights"), "gzip archive; unpack it"),
        "bzip2": (bz2.compress(b"weights"), "bzip2 archive; unpack it"),
        "xz": (lzma.compress(b"weights"), "xz archive; unpack it"),
        "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(30), "7z archive; unpack it"),
        "RAR": (b"Rar!\x1a\x07\x00" + bytes(30), "RAR archive; unpack it"),
        "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(30), "HDF5 file"),
        "a pickle of protocol 4": (
            pickle.dumps(harm, 4),
            "not one that PyTorch wrote",
        ),
        "a pickle of protocol 0": (pickle.dumps(harm, 0), neither),
        "letters": (b"plain text", neither),
        "zeros": (bytes(2000), neither),
        "ones": (b"\xff" * 2000, neither),
        "ten bytes of the older format": (hostile.LEGACY_HEAD[:10], "is incomplete"),
    }
    cases: dict[str, Case] = {name: (lambda c=content: c, words) for name, (content, words) in files.items()}
    return cases | {
        "a tar archive": (tar_file, "a real tar archive"),
        "a tar archive that starts as the older format": (
            lambda: hostile.LEGACY_HEAD.ljust(257, b"\0") + tar_file()[257:],
            "is damaged|is refused|does not hold",
        ),
    }


GROUPS = (
    *(pickles, legacy_lists, copies, structures, tensors, weights, successors),
    *(archives, safetensors, others),
)
CASES: dict[str, Case] = {name: case for group in GROUPS for name, case in group().items()}
assert len(CASES) == sum(len(group()) for group in GROUPS), "two cases have one name"


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, Path]:
    return write_each(CASES, tmp_path_factory.mktemp("checkpoints"), "weights.pth.tar")


@pytest.fixture(scope="module")
def told(paths) -> dict[str, dict]:
    return read_each("load_weights", paths)


@pytest.mark.parametrize("name", CASES)
def test_refused(told, paths, name):
    check_refused(told[name], paths[name], CASES[name][1])


# -- not in one file ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_the_whole_files_are_taken(tmp_path, kind):
    assert knock_with_checkpoint(hostile.smallest_checkpoint(kind), tmp_path) == ""
    assert knock_with_checkpoint(hostile.file_of(hostile.smallest_articulated(), kind), tmp_path) == ""


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("fiftieth", range(50))
def test_truncated(tmp_path, kind, fiftieth):
    whole = smallest(kind)
    said = knock_with_checkpoint(whole[: len(whole) * fiftieth // 50], tmp_path)
    assert re.search("incomplete|is empty", said), said or "it was taken"


_whole: dict[str, bytes] = {}


def smallest(kind: str) -> bytes:
    if kind not in _whole:
        _whole[kind] = hostile.smallest_checkpoint(kind)
    return _whole[kind]


@pytest.mark.parametrize("kind", ["folder", "missing", "pipe", "device", "circle"])
def test_no_files(tmp_path, kind):
    path = tmp_path / "weights.pth.tar"
    words = {"folder": "is a folder", "missing": "does not exist", "circle": "does not exist|cannot be read"}
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "circle":
        path.symlink_to(path)
    with pytest.raises(CheckpointError, match=words.get(kind, "is no regular file")) as caught:
        read_checkpoint(path)
    check_sentence(caught.value, CheckpointError, path)


def test_a_giant_beside_the_weights_stays_unbuilt(tmp_path):
    """Tensors of stride zero are views; what is not part of a network is never written out."""
    parts = hostile.smallest_tensors()
    torch.save({**parts, "optimizer": torch.zeros(1).expand(1 << 40)}, tmp_path / "weights.pth.tar")
    assert read_checkpoint(tmp_path / "weights.pth.tar").rest["optimizer"].shape == (1 << 40,)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "half"])
def test_a_large_file_with_one_bad_number(tmp_path, kind):
    """The published size, bad in the last tensor: all of it is read, but not held three times."""
    generator, kp_detector = build_networks(load_config("vox-256"))
    parts = {"generator": generator.state_dict(), "kp_detector": kp_detector.state_dict()}
    parts["kp_detector"]["jacobian.bias"][-1] = float("nan")
    path = tmp_path / "weights.pth.tar"
    if kind in ("zip", "legacy"):
        torch.save(parts, path, _use_new_zipfile_serialization=kind == "zip")
    else:
        for state in parts.values() if kind == "half" else ():
            state |= {name: t.half() for name, t in state.items() if t.is_floating_point()}
        path.write_bytes(hostile.flat_safetensors(parts))
    told = read_each("load_weights", {kind: path})
    check_refused(told[kind], path, r"kp_detector\.jacobian\.bias holds values that are not finite")


@pytest.mark.parametrize("name", bundled.WEIGHTS)
def test_weights_that_ship_are_intact(name):
    bundled.check_intact(shipped()[name])


def shipped() -> dict[str, Path]:
    package = Path(bundled.__file__).parent
    files = [*bundled.bundled("checkpoints").glob("*.safetensors"), *package.rglob("*.safetensors")]
    return {path.name: path for path in files}


def test_every_file_of_weights_that_ships_has_its_sum():
    assert set(shipped()) == set(bundled.WEIGHTS), "fomm/bundled.py holds the SHA-256 of each"


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("detector.safetensors", lambda: blocks.load_weights(BlazeFace(), "detector", torch.device("cpu"))),
        ("identity.safetensors", lambda: identity.load_identity_network.__wrapped__(torch.device("cpu"))),
        ("mtcnn.safetensors", lambda: load_mtcnn.__wrapped__(torch.device("cpu"))),
        (DEFAULT_WEIGHTS, load_checkpoints),
    ],
)
def test_weights_that_ship_are_compared_with_their_sum_when_they_are_loaded(name, load, monkeypatch):
    load()
    monkeypatch.setitem(bundled.WEIGHTS, name, "0" * 64)
    with pytest.raises(CheckpointError, match=rf"{name} is not the file that fomm came with"):
        load()


def test_a_changed_file_of_weights_is_found(tmp_path):
    name = "detector.safetensors"
    data = bytearray(shipped()[name].read_bytes())
    data[-1] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=r"is not the file that fomm came with.*install"):
        bundled.check_intact(tmp_path / name)
