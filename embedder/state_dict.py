"""Numbers out of a PyTorch checkpoint, without PyTorch and without unpickling.

The file formats of PyTorch store their table of contents as a pickle, and unpickling runs what
the file says. Here nothing is unpickled: the opcodes are read one by one (`pickletools.genops`,
which only splits bytes) by a closed interpreter that knows a few kinds of values and four names.
It can build dictionaries, tuples, numbers, texts and descriptions of tensors; every other opcode,
name or call is an error, and none is ever looked up or called.

The format read is the one of torch < 1.6 (`torch.save` without zip): five pickles (a magic
number, the protocol, the machine's sizes, the state dict, the keys of its storages), then each
storage in the order of the keys: its length as a little-endian int64, then its numbers.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.errors import CheckpointRefused

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "torch FloatStorage": np.dtype("<f4"),
    "torch LongStorage": np.dtype("<i8"),
}
_DICT, _TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
_NAMES = {_DICT, _TENSOR, *_DTYPES}
_MOST_OPCODES = 100_000


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers in the file: its key, their type, and how many."""

    key: str
    dtype: np.dtype[Any]
    size: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where the numbers of a tensor lie inside a storage.

    Attributes:
        storage: the run of numbers it lies in.
        offset: its first number, counted in numbers.
        shape: rows, columns and so on; () for one number.
        stride: how many numbers on the next one lies, for each axis.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Name:
    """A name the pickle mentions: a word to compare with, never looked up."""

    name: str


_MARK = object()


class _Interpreter:
    """The stack machine: `run` reads one pickle from a file and returns the value it describes."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, file: BytesIO) -> Any:  # noqa: ANN401 - what `_STEPS` can build
        """The value of the next pickle of a file.

        Raises:
            CheckpointRefused: an opcode, a name or a call that is not one of the few known.
        """
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
                if count == _MOST_OPCODES:
                    raise CheckpointRefused("its table of contents is far too long")
                if opcode.name == "STOP":
                    (value,) = self._stack
                    return value
                step = _STEPS.get(opcode.name)
                if step is None:
                    raise CheckpointRefused(f"its opcode {opcode.name} is not one of a state dict")
                step(self, argument)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise CheckpointRefused(f"its table of contents cannot be read ({error!r})") from error
        raise CheckpointRefused("its table of contents has no end")

    def push(self, value: object) -> None:
        """Put a plain value on the stack."""
        self._stack.append(value)

    def name(self, words: str) -> None:
        """Put one of the four known names on the stack."""
        if words not in _NAMES:
            raise CheckpointRefused(f"it asks for {words.replace(' ', '.')!r}")
        self.push(_Name(words))

    def put(self, place: int) -> None:
        """Remember the top of the stack."""
        self._memo[place] = self._stack[-1]

    def get(self, place: int) -> None:
        """Put a remembered value on the stack."""
        self.push(self._memo[place])

    def since_mark(self) -> list[Any]:
        """Take what lies above the last mark, and the mark."""
        at = max(i for i, value in enumerate(self._stack) if value is _MARK)
        values = self._stack[at + 1 :]
        del self._stack[at:]
        return values

    def top(self, count: int) -> list[Any]:
        """Take the topmost values."""
        if len(self._stack) < count:
            raise CheckpointRefused("its table of contents takes from an empty stack")
        values = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return values

    def items(self, values: list[Any]) -> None:
        """Enter keys and values, alternating, into the dictionary on top of the stack."""
        held = self._stack[-1]
        keys = values[::2]
        if not isinstance(held, dict) or len(values) % 2 or not all(type(k) is str for k in keys):
            raise CheckpointRefused("it enters something into what is no dictionary of names")
        held.update(zip(keys, values[1::2], strict=True))

    def append(self, values: list[Any]) -> None:
        """Append values to the list on top of the stack."""
        if not isinstance(self._stack[-1], list):
            raise CheckpointRefused("it appends to what is no list")
        self._stack[-1].extend(values)

    def call(self) -> None:
        """Replace a known name and its arguments by what they describe; nothing is called."""
        name, arguments = self.top(2)
        if name == _Name(_DICT) and arguments == ():
            self.push({})
        elif name == _Name(_TENSOR) and isinstance(arguments, tuple):
            self.push(_tensor(*arguments))
        else:
            raise CheckpointRefused("it calls something that builds no tensor")

    def storage(self) -> None:
        """Replace the description of a storage, a tuple, by a `Storage`."""
        ((kind, dtype, key, device, size, view),) = self.top(1)
        numbers = _DTYPES.get(dtype.name) if isinstance(dtype, _Name) else None
        named = kind == "storage" and type(key) is str and view is None
        if numbers is None or not named or type(size) is not int or size < 0:
            raise CheckpointRefused("it describes a storage of another kind")
        if device != "cpu":
            raise CheckpointRefused("its numbers were kept on another device than the CPU")
        self.push(Storage(key, numbers, size))

    def attributes(self) -> None:
        """Drop what should be set as attributes of a dictionary: versions of modules, unused."""
        held, _ = self.top(2)
        if not isinstance(held, dict):
            raise CheckpointRefused("it sets attributes of what is no dictionary")
        self.push(held)


def _tensor(
    storage: object, offset: object, shape: object, stride: object, grad: object, hooks: object
) -> Tensor:
    """A tensor as described; all of it must lie inside its storage."""
    del grad, hooks  # of no use here
    lengths, steps = _counts(shape), _counts(stride)
    (first,) = _counts((offset,))
    if not isinstance(storage, Storage) or len(lengths) != len(steps) or 0 in lengths:
        raise CheckpointRefused("it describes a tensor of another kind")
    last = first + sum((n - 1) * step for n, step in zip(lengths, steps, strict=True))
    if last >= storage.size or math.prod(lengths) > storage.size:
        raise CheckpointRefused(f"a tensor of shape {lengths} reaches out of its storage")
    return Tensor(storage, first, lengths, steps)


def _counts(values: object) -> tuple[int, ...]:
    """A tuple of numbers that are not negative, or a refusal."""
    if not isinstance(values, tuple) or not all(type(n) is int and n >= 0 for n in values):
        raise CheckpointRefused("it describes a tensor of another kind")
    return values


_Step = Callable[[_Interpreter, Any], None]
_PLAIN = ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE")
_STEPS: Mapping[str, _Step] = {
    "PROTO": lambda _, __: None,
    **dict.fromkeys(_PLAIN, _Interpreter.push),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": lambda machine, _: machine.push(_MARK),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.top(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.top(2))),
    "GLOBAL": _Interpreter.name,
    "BINPUT": _Interpreter.put,
    "LONG_BINPUT": _Interpreter.put,
    "BINGET": _Interpreter.get,
    "LONG_BINGET": _Interpreter.get,
    "SETITEM": lambda machine, _: machine.items(machine.top(2)),
    "SETITEMS": lambda machine, _: machine.items(machine.since_mark()),
    "APPEND": lambda machine, _: machine.append(machine.top(1)),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "REDUCE": lambda machine, _: machine.call(),
    "BINPERSID": lambda machine, _: machine.storage(),
    "BUILD": lambda machine, _: machine.attributes(),
}


def read_state_dict(data: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a state dict by name.

    Args:
        data: the content of a checkpoint file in the format of torch < 1.6.

    Returns:
        name → array, float32 or int64, of the tensor's shape; read-only views of `data`.

    Raises:
        CheckpointRefused: another format, or anything in it but a state dict of plain tensors.
    """
    file = BytesIO(data)
    if _Interpreter().run(file) != MAGIC or _Interpreter().run(file) != PROTOCOL:
        raise CheckpointRefused("it is not a checkpoint of the format of torch before 1.6")
    machine = _Interpreter().run(file)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise CheckpointRefused("its numbers are not little-endian")
    tensors, keys = _Interpreter().run(file), _Interpreter().run(file)
    if not isinstance(tensors, dict) or not isinstance(keys, list):
        raise CheckpointRefused("it holds no state dict")
    places: dict[str, int] = {}  # key of a storage → the position of its length in the file
    sizes = _sizes(tensors)
    position = file.tell()
    for key in keys:
        storage = sizes.get(key) if type(key) is str else None
        if storage is None or key in places:
            raise CheckpointRefused("its list of storages is not that of its tensors")
        places[key] = position
        position += 8 + storage.size * storage.dtype.itemsize
    if position != len(data) or len(places) != len(sizes):
        raise CheckpointRefused(f"it has {len(data)} bytes and should have {position}")
    return {name: _array(data, tensor, places) for name, tensor in tensors.items()}


def _sizes(tensors: Mapping[str, object]) -> dict[str, Storage]:
    """The storages of tensors by key."""
    found: dict[str, Storage] = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise CheckpointRefused(f"its entry {name!r} is no tensor")
        if found.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            raise CheckpointRefused("it describes one storage in two ways")
    return found


def _array(data: bytes, tensor: Tensor, places: Mapping[str, int]) -> NDArray[Any]:
    """The numbers of a tensor; its storage must have the length that was described."""
    storage, start = tensor.storage, places[tensor.storage.key]
    if int.from_bytes(data[start : start + 8], "little") != storage.size:
        raise CheckpointRefused("a storage has another length than its description says")
    flat = np.frombuffer(data, storage.dtype, storage.size, start + 8)[tensor.offset :]
    steps = [step * storage.dtype.itemsize for step in tensor.stride]
    # `_tensor` has seen that the last number lies inside the storage
    return np.lib.stride_tricks.as_strided(flat, tensor.shape, steps, writeable=False)
