"""Build what a pickled checkpoint describes, without Python's or PyTorch's readers of pickles.

``torch.load(weights_only=True)`` runs no foreign code, but it still builds what it is told to: gigabytes of
``bytearray``, storages that the file does not hold, one list copied a hundred thousand times, keys whose hash
takes for ever. So this module reads the stream itself, opcode by opcode. It never looks up a name in it, and
refuses whatever weights do not need. Time and memory grow no faster than the stream's length.
"""

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from fomm.checkpoint.pickle_names import CALLS, STORAGES, NumberType, Refused, Storage, View, dict_of
from fomm.errors import CheckpointError, shown

MAX_PICKLE_BYTES = 1_000_000  # names and shapes alone; the published files have 200,000
MAX_NUMBER = 1 << 80  # the magic number of the older format has 77 bits
_MAX_TENSORS = 50_000  # the published files have 3,000


@dataclass(frozen=True)
class _Global:
    """A name that the stream asks for, not looked up."""

    name: str  # "module name"


@dataclass
class Scan:
    """The value that the pickle describes, the storages that it declares, the tensors to be filled from them.

    Every tensor in the value is empty. Each view lies within its storage; whether the file holds what the
    storages declare is for the caller to find out.
    """

    value: Any = None
    storages: dict[str, Storage] = field(default_factory=dict)
    views: list[View] = field(default_factory=list)


def scan_pickle(file: BinaryIO, where: str) -> Scan:
    """Build what one pickle describes, and leave ``file`` right behind it.

    Raises ``CheckpointError``, which names ``where``, if the pickle holds anything but what weights need.
    """
    start = file.tell()
    data = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            machine.step(opcode.name, argument)
    except Refused as reason:
        raise CheckpointError(
            f"{where} is refused: {reason}, which weights never need; use a file from a source you trust"
        ) from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RuntimeError):
        raise CheckpointError(f"{where} is damaged or incomplete; get the file again") from None
    file.seek(start + data.tell())
    return machine.scan


class _Machine:
    """The stack machine of the pickle format, for the opcodes that ``torch.save`` writes."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.scan = Scan()

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction. Raises Refused for one that weights do not need."""
        if name in _PUSH_ARGUMENT:
            if isinstance(argument, int) and abs(argument) > MAX_NUMBER:
                raise Refused("it has a number of many digits")
            self.stack.append(argument)
        elif name in _PUSH_CONSTANT:
            self.stack.append(_PUSH_CONSTANT[name]())
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            raise Refused(f"it uses the pickle instruction {name}")

    def pop_mark(self) -> list[Any]:
        """Return what was pushed since the last mark, and forget the mark."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def mark(self, _: Any) -> None:
        """Set a mark: what follows belongs together."""
        self.marks.append(self.stack)
        self.stack = []

    def tuple_of_marked(self, _: Any) -> None:
        """Make a tuple of what was pushed since the last mark."""
        items = tuple(self.pop_mark())
        self.stack.append(items)

    def tuple_of(self, count: int) -> None:
        """Make a tuple of the last ``count`` values."""
        items = tuple(self.stack[-count:])
        if len(items) != count:
            raise IndexError(count)
        self.stack[-count:] = [items]

    def append(self, items: list[Any]) -> None:
        """Append ``items`` to the list on top of the stack."""
        target = self.stack[-1]
        if not isinstance(target, list):
            raise Refused("it appends to what is not a list")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        """Set keys and values, which alternate in ``items``, in the dict on top of the stack."""
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise Refused("it sets an item of what is not a dict")
        target.update(dict_of(zip(items[::2], items[1::2], strict=True)))

    def find_global(self, name: str) -> None:
        """Push a name that the stream asks for, if it is one of those that weights need."""
        if name not in CALLS and name not in STORAGES:
            raise Refused(f"it asks for {shown(name.replace(' ', '.'))}")
        self.stack.append(_Global(name))

    def reduce(self, _: Any) -> None:
        """Call the function that stands in for a name, and push its result; note a tensor to be filled."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not (isinstance(function, _Global) and function.name in CALLS and isinstance(arguments, tuple)):
            raise Refused("it calls what is not a function")
        result = CALLS[function.name](*arguments)
        if isinstance(result, View):
            if len(self.scan.views) == _MAX_TENSORS:
                raise Refused(f"it describes more than {_MAX_TENSORS} tensors")
            self.scan.views.append(result)
            result = result.tensor
        self.stack.append(result)

    def build(self, _: Any) -> None:
        """Set the byte order of a type of numbers; ignore the attributes of a dict."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, NumberType):
            order = state[1] if isinstance(state, tuple) else None
            if order not in ("<", ">", "|", "=") or state != (3, order, None, None, None, -1, -1, 0):
                raise Refused("it describes a numpy type of several parts")
            target.order = order
        elif not (isinstance(target, dict) and isinstance(state, dict)):  # attributes of an OrderedDict
            raise Refused("it sets the state of an object")

    def load_storage(self, _: Any) -> None:
        """Note a storage that the stream declares, and push it."""
        kind, storage_type, key, _location, numel, *view = self.stack.pop()
        if (
            kind != "storage"
            or not isinstance(storage_type, _Global)
            or any(part is not None for part in view)
        ):
            raise Refused("it asks for something stored that is no tensor")
        if not (isinstance(key, str) and type(numel) is int and numel >= 0):
            raise Refused("it declares a storage without a size")
        storage = Storage(key, numel, STORAGES[storage_type.name])
        first = self.scan.storages.setdefault(key, storage)
        if first != storage:
            raise Refused("it declares one storage with two sizes or types")
        self.stack.append(first)

    def stop(self, _: Any) -> None:
        """Take the value on top of the stack as that of the whole stream."""
        self.scan.value = self.stack.pop()

    def protocol(self, number: int) -> None:
        """Check the version of the pickle format."""
        if number != 2:
            raise Refused(f"it has pickle protocol {number} instead of 2, PyTorch's own")


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
