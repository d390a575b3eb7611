"""Read a file of weights from an untrusted source: find out what it is, check it, and run no code in it."""

import mmap
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open

from fomm.checkpoint.pickle_scan import MAX_PICKLE_BYTES, Scan, scan_pickle
from fomm.errors import CheckpointError, shown

_LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
_LEGACY_VERSION = 1001
_AGAIN = "get the file again"

# The end of a zip: magic, two disks, two numbers of members, length and start of their list, comment.
_ZIP_END = struct.Struct("<4s2H2H2LH")
_ZIP64_LOCATOR = struct.Struct("<4sLQL")  # magic, disk, where the larger end begins, disks
_ZIP64_END = struct.Struct("<4sQ2H2L2Q2Q")  # as _ZIP_END, with its own length and two versions
_ZIP_MEMBER = struct.Struct("<4s22x2H")  # magic, lengths of name and extras, which stand before the content

# What else is found under the names of checkpoints: the first bytes, what it is, what to do.
_FOREIGN = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the weights", "run 'git lfs pull'"),
    (b"{", "is a JSON text, perhaps the error of a download", _AGAIN),
    (b"\x1f\x8b", "is a gzip archive", "unpack it first"),
    (b"BZh", "is a bzip2 archive", "unpack it first"),
    (b"\xfd7zXZ", "is an xz archive", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive", "unpack it first"),
    (b"Rar!", "is a RAR archive", "unpack it first"),
    (b"\x89HDF", "is an HDF5 file, perhaps of another framework", "give a PyTorch or safetensors file"),
    (b"\x80", "is a pickle, but not one that PyTorch wrote", "give a PyTorch or safetensors file"),
)


def read_file(path: Path) -> tuple[Mapping[str, Any], dict[str, str]]:
    """Return what a ``.pth.tar`` or ``.safetensors`` file holds, and its metadata (safetensors only).

    The tensors are on the CPU. They are mapped from the file, not read, so that tensors nobody uses cost
    nothing. If the file changes, so do they: copy them. Raises ``CheckpointError`` for anything else under
    ``path``.
    """
    try:
        if path.is_dir():
            raise CheckpointError(f"{path} is a folder; give the file of weights")
        if not path.exists():
            raise CheckpointError(f"{path} does not exist; give the path of a file of weights")
        if not path.is_file():
            raise CheckpointError(f"{path} is no regular file; give the file of weights")
        with open(path, "rb") as file:
            return _read_kind(path, file)
    except OSError as reason:
        raise CheckpointError(f"{path} cannot be read: {reason.strerror or reason}") from reason


def _read_kind(path: Path, file: BinaryIO) -> tuple[Mapping[str, Any], dict[str, str]]:
    """Read a file in the format that its first bytes tell, whatever its name."""
    head = file.read(512)
    file.seek(0)
    if not head:
        raise CheckpointError(f"{path} is empty; {_AGAIN}")
    if head.startswith(b"PK\x03\x04"):
        return _filled(path, file, *_scan_zip(path, file)), {}
    if head.startswith(_LEGACY_MAGIC):
        return _filled(path, file, *_scan_legacy(path, file)), {}
    if head[5:9] == b"\0\0\0{":  # behind the header's length, 8 bytes
        return _read_safetensors(path, head)
    raise CheckpointError(f"{path} {_describe(head)}")


def _describe(head: bytes) -> str:
    """Return what a file that is no checkpoint is, by its first bytes, and what to do."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<"):
        return "is a web page (HTML), not weights: its download needs a click or a login; use a browser"
    if head[257:262] == b"ustar":
        return "is a real tar archive; unpack it and give the file of weights within"
    if _LEGACY_MAGIC.startswith(head):
        return f"is incomplete; {_AGAIN}"
    for magic, what, remedy in _FOREIGN:
        if start.startswith(magic):
            return f"{what}; {remedy}"
    return "is neither a PyTorch checkpoint nor a safetensors file; give one of the two"


def _scan_zip(path: Path, file: BinaryIO) -> tuple[Scan, dict[str, int]]:
    """Check a zip file of ``torch.save``; return what it describes and where each storage begins, in bytes.

    The file must not be compressed, must hold each name once, and every storage in the size that is declared.
    """
    try:
        _check_directory(path, file)
        with zipfile.ZipFile(file) as archive:
            members = {member.filename.lower(): member for member in archive.infolist()}
            root = next(iter(members)).partition("/")[0]
            if f"{root}/constants.pkl" in members:
                raise CheckpointError(
                    f"{path} is a TorchScript program, not weights; give the checkpoint that it was made from"
                )
            _check_members(path, archive.infolist(), os.fstat(file.fileno()).st_size)
            if f"{root}/data.pkl" not in members:
                raise CheckpointError(
                    f"{path} is a zip archive without a checkpoint's data.pkl; unpack it first"
                )
            order = members.get(f"{root}/byteorder")
            if order is not None and archive.read(order) != b"little":
                raise CheckpointError(f"{path} has its bytes in another order; save it on a usual machine")
            with archive.open(members[f"{root}/data.pkl"]) as pickle:
                scan = scan_pickle(pickle, str(path))  # type: ignore[arg-type]
        starts = {}
        for key, storage in scan.storages.items():
            member = members.get(f"{root}/data/{key}".lower())
            if member is None or member.file_size != storage.nbytes:
                raise CheckpointError(
                    f"{path} is refused: it declares {storage.nbytes} bytes of numbers "
                    f"where it holds {member.file_size if member else 0}; {_AGAIN}"
                )
            starts[key] = _start_of(member, file)
        return scan, starts
    except CheckpointError:
        raise
    except (zipfile.BadZipFile, EOFError, StopIteration, RuntimeError, ValueError, struct.error):
        raise CheckpointError(f"{path} is damaged or incomplete; {_AGAIN}") from None


def _start_of(member: zipfile.ZipInfo, file: BinaryIO) -> int:
    """Return where a member's content begins, in bytes, after checking that all of it lies in the file."""
    file.seek(member.header_offset)
    magic, name, more = _ZIP_MEMBER.unpack(file.read(_ZIP_MEMBER.size))
    start = member.header_offset + _ZIP_MEMBER.size + name + more
    if magic != b"PK\x03\x04" or start + member.file_size > os.fstat(file.fileno()).st_size:
        raise zipfile.BadZipFile
    return start


def _check_directory(path: Path, file: BinaryIO) -> None:
    """Check that the list of members is short and lies where ``torch.save`` puts it.

    Python and PyTorch search for that list in different ways. In a file with a comment, or with a gap before
    the list, they could find different lists, and so different weights.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - _ZIP_END.size - _ZIP64_LOCATOR.size - _ZIP64_END.size))
    tail = file.read()
    magic, *disks, _, _, length, start, comment = _ZIP_END.unpack_from(tail, len(tail) - _ZIP_END.size)
    end = size - _ZIP_END.size
    locator = tail[-_ZIP_END.size - _ZIP64_LOCATOR.size :]
    if locator.startswith(b"PK\x06\x07"):
        end -= _ZIP64_LOCATOR.size + _ZIP64_END.size
        _, _, at, _ = _ZIP64_LOCATOR.unpack_from(locator)
        magic64, _, _, _, *_, length, start = _ZIP64_END.unpack_from(tail)
        if magic64 != b"PK\x06\x06" or at != end:
            raise zipfile.BadZipFile
    if magic != b"PK\x05\x06" or comment or any(disks) or start + length != end:
        raise zipfile.BadZipFile
    if length > MAX_PICKLE_BYTES:
        raise CheckpointError(f"{path} is refused: it has more parts than weights ever have; {_AGAIN}")


def _check_members(path: Path, members: list[zipfile.ZipInfo], size: int) -> None:
    """Check that the members of a zip file, of ``size`` bytes in all, are such as ``torch.save`` writes."""
    root = members[0].filename.partition("/")[0] + "/" if members else ""
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise CheckpointError(
                f"{path} is refused: it is compressed, which torch.save never does; {_AGAIN}"
            )
        if member.filename != member.orig_filename or not member.filename.isascii():
            raise CheckpointError(f"{path} is refused: a part of it has no plain name; {_AGAIN}")
        if "/data/" not in member.filename and member.file_size > MAX_PICKLE_BYTES:
            raise CheckpointError(
                f"{path} is refused: a part of it has {member.file_size} bytes and no numbers; {_AGAIN}"
            )
        if not member.filename.startswith(root):
            raise CheckpointError(
                f"{path} is a zip archive of several things; unpack it and give the weights"
            )
    if len({member.filename.lower() for member in members}) != len(members):
        raise CheckpointError(f"{path} is refused: it holds two files of one name; {_AGAIN}")
    if sum(member.file_size for member in members) > size:
        raise CheckpointError(f"{path} is refused: it declares more than it holds; {_AGAIN}")


def _scan_legacy(path: Path, file: BinaryIO) -> tuple[Scan, dict[str, int]]:
    """Check a file from before PyTorch 1.6; return what it describes and where storages begin, in bytes.

    It has five pickles, then for each storage its count (8 bytes) and its numbers. The numbers are
    little-endian, whatever the third pickle says of the machine that wrote them.
    """
    _magic, version, _system = (scan_pickle(file, str(path)).value for _ in range(3))
    if not isinstance(version, int) or version != _LEGACY_VERSION:
        raise CheckpointError(f"{path} is damaged: it has no version that PyTorch ever wrote; {_AGAIN}")
    scan = scan_pickle(file, str(path))
    storages = scan.storages
    keys = scan_pickle(file, str(path)).value
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not named or set(keys) != set(storages) or len(keys) != len(storages):
        raise CheckpointError(f"{path} is refused: it declares storages that it does not hold; {_AGAIN}")
    size = os.fstat(file.fileno()).st_size
    expected = file.tell() + sum(8 + storages[key].nbytes for key in keys)
    if size < expected:
        raise CheckpointError(f"{path} is incomplete: {size} bytes of {expected}; {_AGAIN}")
    starts = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        if count != storages[key].numel:
            raise CheckpointError(f"{path} is damaged: a storage has another size than declared; {_AGAIN}")
        starts[key] = file.tell()
        file.seek(storages[key].nbytes, os.SEEK_CUR)
    return scan, starts


def _filled(path: Path, file: BinaryIO, scan: Scan, starts: Mapping[str, int]) -> Mapping[str, Any]:
    """Return the content of a checked file; the numbers of its storages begin at ``starts``, in bytes."""
    if not isinstance(scan.value, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(scan.value).__name__} instead of named weights; "
            "give a checkpoint with 'generator' and 'kp_detector'"
        )
    # With ACCESS_COPY, what is written to the tensors does not reach the file.
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    numbers, empty = {}, torch.empty(0)
    try:
        for key, storage in scan.storages.items():
            at, length = starts[key], storage.nbytes
            held = torch.frombuffer(mapped, dtype=torch.uint8, count=length, offset=at) if length else empty
            numbers[key] = held.untyped_storage()
        for tensor, storage, *view in scan.views:
            tensor.set_(numbers[storage.key], *view)
    except (RuntimeError, ValueError, TypeError, OverflowError):  # numbers beyond 64 bits
        raise CheckpointError(f"{path} is damaged: no tensor has such a shape; {_AGAIN}") from None
    return scan.value


def _read_safetensors(path: Path, head: bytes) -> tuple[Mapping[str, Any], dict[str, str]]:
    header = int.from_bytes(head[:8], "little")
    if header > path.stat().st_size - 8:
        raise CheckpointError(f"{path} is incomplete; {_AGAIN}")
    if header > MAX_PICKLE_BYTES:
        raise CheckpointError(
            f"{path} is refused: it has a header of {header} bytes, too many for this network"
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except Exception as reason:  # a type of numbers that PyTorch lacks, too
        raise CheckpointError(f"{path} is damaged or incomplete ({shown(reason)}); {_AGAIN}") from reason
