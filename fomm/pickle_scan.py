"""What a pickled checkpoint would do, worked out without doing it.

``torch.load(weights_only=True)`` runs no foreign code, but it still builds what it is told to: gigabytes of
``bytearray``, storages that the file does not hold, keys whose hash takes for ever. So the stream is walked
first, opcode by opcode, with stand-ins for all but plain data. Whatever weights have no use for is refused.
"""

import io
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from fomm.errors import CheckpointError, shown

MAX_PICKLE_BYTES = 1_000_000  # names and shapes alone; the published files have 200,000
MAX_NUMBER = 1 << 80  # the magic number of the older format has 77 bits

ITEM_BYTES = {
    "torch FloatStorage": 4,
    "torch DoubleStorage": 8,
    "torch HalfStorage": 2,
    "torch BFloat16Storage": 2,
    "torch LongStorage": 8,
    "torch IntStorage": 4,
    "torch ShortStorage": 2,
    "torch CharStorage": 1,
    "torch ByteStorage": 1,
    "torch BoolStorage": 1,
}


@dataclass(frozen=True)
class Storage:
    """The numbers behind one or more tensors, which follow the pickle in the file."""

    key: str
    numel: int
    nbytes: int


@dataclass(frozen=True)
class _Global:
    """A name that the stream asks for, not looked up."""

    name: str  # "module name"


@dataclass(frozen=True)
class _Made:
    """What a call of ``maker`` would give, not made."""

    maker: str


@dataclass
class Scan:
    """The value that the pickle describes, with stand-ins, and the storages that it declares."""

    value: Any = None
    storages: dict[str, Storage] = field(default_factory=dict)


def scan_pickle(file: BinaryIO, where: str) -> Scan:
    """Walk one pickle from where ``file`` stands, and leave it right behind.

    Raises ``CheckpointError``, which names ``where``, if the pickle holds anything but what weights need.
    """
    start = file.tell()
    data = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            machine.step(opcode.name, argument)
    except _Refused as reason:
        raise CheckpointError(
            f"{where} is refused: {reason}, which weights never need; use a file from a source you trust"
        ) from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
        raise CheckpointError(f"{where} is damaged or incomplete; get the file again") from None
    file.seek(start + data.tell())
    return machine.scan


class _Refused(Exception):
    """Why a stream is not walked on."""


class _Machine:
    """The stack machine of the pickle format, for the opcodes that a ``weights_only`` load takes."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.scan = Scan()

    def step(self, name: str, argument: Any) -> None:
        if name in _PUSH_ARGUMENT:
            if isinstance(argument, int) and abs(argument) > MAX_NUMBER:
                raise _Refused("it has a number of many digits")
            self.stack.append(argument)
        elif name in _PUSH_CONSTANT:
            self.stack.append(_PUSH_CONSTANT[name]())
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            raise _Refused(f"it uses the pickle instruction {name}")

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def tuple_of_marked(self, _: Any) -> None:
        items = tuple(self.pop_mark())
        self.stack.append(items)

    def tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) != count:
            raise IndexError(count)
        self.stack[-count:] = [items]

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise _Refused("it appends to what is not a list")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise _Refused("it sets an item of what is not a dict")
        target.update(_pairs(zip(items[::2], items[1::2], strict=True)))

    def find_global(self, name: str) -> None:
        if name not in _CALLS and name not in ITEM_BYTES:
            raise _Refused(f"it asks for {shown(name.replace(' ', '.'))}")
        self.stack.append(_Global(name))

    def reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not (isinstance(function, _Global) and function.name in _CALLS and isinstance(arguments, tuple)):
            raise _Refused("it calls what is not a function")
        self.stack.append(_CALLS[function.name](arguments))

    def build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if target == _Made("dtype"):
            order = state[1] if isinstance(state, tuple) else None
            if order not in ("<", ">", "|", "=") or state != (3, order, None, None, None, -1, -1, 0):
                raise _Refused("it describes a numpy type of several parts")
        elif not (isinstance(target, dict) and isinstance(state, dict)):  # attributes of an OrderedDict
            raise _Refused("it sets the state of an object")

    def load_storage(self, _: Any) -> None:
        kind, storage_type, key, _location, numel, *view = self.stack.pop()
        if (
            kind != "storage"
            or not isinstance(storage_type, _Global)
            or any(part is not None for part in view)
        ):
            raise _Refused("it asks for something stored that is no tensor")
        if not (isinstance(key, str) and type(numel) is int and numel >= 0):
            raise _Refused("it declares a storage without a size")
        storage = Storage(key, numel, numel * ITEM_BYTES[storage_type.name])
        if self.scan.storages.setdefault(key, storage) != storage:
            raise _Refused("it declares one storage with two sizes")
        self.stack.append(storage)

    def stop(self, _: Any) -> None:
        self.scan.value = self.stack.pop()

    def protocol(self, number: int) -> None:
        if number != 2:
            raise _Refused(f"it has pickle protocol {number} instead of 2, PyTorch's own")


_PUSH_ARGUMENT = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"}
_PUSH_CONSTANT: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.protocol,
    "STOP": _Machine.stop,
    "MARK": _Machine.mark,
    "TUPLE": _Machine.tuple_of_marked,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.stack.pop(), machine.stack.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
    "BINPUT": lambda machine, index: machine.memo.update({index: machine.stack[-1]}),
    "LONG_BINPUT": lambda machine, index: machine.memo.update({index: machine.stack[-1]}),
    "BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "GLOBAL": _Machine.find_global,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.load_storage,
}


def _pairs(pairs: Any) -> dict[Any, Any]:
    """A dict with names or numbers for keys: the hash of nested tuples can take for ever."""
    result = {}
    for key, value in pairs:
        if not isinstance(key, (str, int, float)):
            raise _Refused("it has a key that is neither a name nor a number")
        result[key] = value
    return result


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if not arguments:
        return {}
    (content,) = arguments
    return _pairs(content.items() if isinstance(content, dict) else content)


def _counter(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    (content,) = arguments
    if not isinstance(content, dict):
        raise _Refused("it counts things")
    return dict(content)


def _tensor(arguments: tuple[Any, ...]) -> _Made:
    storage, offset, size, stride, *rest = arguments
    if not isinstance(storage, Storage) or any(part for part in rest[1:]):
        raise _Refused("it describes a tensor with more than numbers")
    if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        raise _Refused("it describes a tensor without a shape")
    steps = [(n - 1) * step for n, step in zip(size, stride, strict=True)]
    if 0 not in size and offset + sum(steps) >= storage.numel:  # PyTorch would enlarge the storage
        raise _Refused("it describes a tensor larger than its storage")
    return _Made("tensor")


def _parameter(arguments: tuple[Any, ...]) -> _Made:
    tensor, _requires_grad, hooks = arguments
    if tensor != _Made("tensor") or hooks:
        raise _Refused("it describes a parameter with more than a tensor")
    return _Made("tensor")


def _bytes(arguments: tuple[Any, ...]) -> _Made:
    """Protocol 2 has no bytes: they come as text to be encoded. Any other encoding could grow without end."""
    text, encoding = arguments
    if not isinstance(text, str) or encoding != "latin1":
        raise _Refused("it encodes a text")
    return _Made("bytes")


def _dtype(arguments: tuple[Any, ...]) -> _Made:
    name = arguments[0]
    if not isinstance(name, str) or not re.fullmatch("[<>|=]?[biuf][1248]", name):
        raise _Refused("it describes a numpy type that is no number")
    return _Made("dtype")


def _scalar(arguments: tuple[Any, ...]) -> _Made:
    dtype, content = arguments
    if dtype != _Made("dtype") or not (content == _Made("bytes") or isinstance(content, str)):
        raise _Refused("it describes a numpy value that is no number")
    return _Made("number")


_CALLS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections OrderedDict": _ordered_dict,
    "collections Counter": _counter,  # in the state of learning-rate schedules
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "_codecs encode": _bytes,
    "numpy dtype": _dtype,
    "numpy.core.multiarray scalar": _scalar,
    "numpy._core.multiarray scalar": _scalar,
}
