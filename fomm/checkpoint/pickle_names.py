"""The names that a checkpoint's pickle may ask for, and the functions that stand in for them here.

A stream can name a value once and pass it to a function a hundred thousand times. So no function here takes
more time or memory than the part of the stream that calls it.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

_MAX_KEY = 1 << 60  # larger numbers can be chosen to have one hash, and a dict of them takes for ever
_MAX_BYTES = 100  # of a single value; NumPy's numbers have 8
_MAX_DIMENSIONS = 64

STORAGES = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}


@dataclass(frozen=True)
class Storage:
    """The numbers behind one or more tensors, which follow the pickle in the file."""

    key: str
    numel: int
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize


class View(NamedTuple):
    """A tensor that is still empty, and which part of its storage it will show, in numbers, not bytes."""

    tensor: Tensor
    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass
class NumberType:
    """NumPy's type of a number; a later instruction sets the byte order."""

    name: str
    order: Literal["<", ">", "|", "="] = "="


class Refused(Exception):
    """The reason for which a stream is read no further."""


def dict_of(pairs: Any) -> dict[Any, Any]:
    """Make a dict whose keys are names or numbers: hashing others, as nested tuples, can take for ever."""
    result = {}
    for key, value in pairs:
        if not (isinstance(key, (str, float)) or (isinstance(key, int) and abs(key) < _MAX_KEY)):
            raise Refused("it has a key that is neither a name nor a number")
        result[key] = value
    return result


def _ordered_dict(content: Any = None) -> dict[Any, Any]:
    """Make a dict of nothing, or of a list of pairs, which is emptied, so that nobody can pass it again."""
    if content is None:
        return {}
    if not isinstance(content, list):
        raise Refused("it makes a dict of what is not a list")
    result = dict_of(content)
    content.clear()
    return result


def _counter(content: Any) -> dict[Any, Any]:
    """Return the dict itself: many copies of it could take all memory."""
    if not isinstance(content, dict):
        raise Refused("it counts things")
    return content


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _requires_grad: Any = False, *more: Any
) -> View:
    """Describe a tensor as a view of its storage. ``more`` are hooks and marks, which weights do not have."""
    if not isinstance(storage, Storage) or any(more):
        raise Refused("it describes a tensor with more than numbers")
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)):
        raise Refused("it describes a tensor without a shape")
    if len(size) > _MAX_DIMENSIONS:
        raise Refused(f"it describes a tensor of {len(size)} dimensions")
    if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        raise Refused("it describes a tensor without a shape")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.numel:  # PyTorch would enlarge the storage
        raise Refused("it describes a tensor larger than its storage")
    if math.prod(size) > _MAX_KEY:
        raise Refused("it describes a tensor of more numbers than can be counted")
    return View(torch.empty(0, dtype=storage.dtype), storage, offset, size, stride)


def _parameter(tensor: Any, _requires_grad: Any, hooks: Any) -> Tensor:
    if not isinstance(tensor, Tensor) or hooks:
        raise Refused("it describes a parameter with more than a tensor")
    return tensor


def _bytes(text: Any, encoding: Any) -> bytes:
    """Return bytes, which protocol 2 writes as a text to encode in latin1; other encodings could grow it."""
    if not isinstance(text, str) or encoding != "latin1" or len(text) > _MAX_BYTES:
        raise Refused("it encodes a text")
    return text.encode("latin1")


def _number_type(name: Any, *_: Any) -> NumberType:
    if not isinstance(name, str) or not re.fullmatch("[<>|=]?[biuf][1248]", name):
        raise Refused("it describes a numpy type that is no number")
    return NumberType(name.lstrip("<>|="))


def _number(kind: Any, content: Any) -> np.generic:
    if isinstance(content, str):  # as Python 2 writes bytes
        content = _bytes(content, "latin1")
    if not isinstance(kind, NumberType) or not isinstance(content, bytes):
        raise Refused("it describes a numpy value that is no number")
    (value,) = np.frombuffer(content, np.dtype(kind.name).newbyteorder(kind.order))
    return value


CALLS: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": _ordered_dict,
    "collections Counter": _counter,  # in the state of learning-rate schedules
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "_codecs encode": _bytes,
    "numpy dtype": _number_type,
    "numpy.core.multiarray scalar": _number,
    "numpy._core.multiarray scalar": _number,
}
