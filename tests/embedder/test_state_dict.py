"""Checkpoints are written here with the standard library's pickle, byte for byte as torch did."""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedder.errors import CheckpointRefused
from embedder.state_dict import MAGIC, PROTOCOL, read_state_dict

DICT = "collections OrderedDict"
SYSTEM = {
    "protocol_version": PROTOCOL, "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}  # fmt: skip


class Global:
    """Pickles as a mere name, such as `torch FloatStorage`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> str:
        return self.name


class Call:
    """Pickles as the call of a name."""

    def __init__(self, name: str, *arguments: object) -> None:
        self.name, self.arguments = name, arguments


class Stored:
    """Pickles as a persistent id."""

    def __init__(self, *words: object) -> None:
        self.words = words


def op_text(text: str) -> bytes:
    data = text.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def op(value: object) -> bytes:
    """A value as opcodes of protocol 2, written out by hand."""
    if isinstance(value, Global):
        return b"c" + value.name.replace(" ", "\n").encode() + b"\n"
    if isinstance(value, Call):
        return op(Global(value.name)) + op(value.arguments) + b"R"
    if isinstance(value, Stored):
        return op(value.words) + b"Q"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(op, value)) + b"t"
    if isinstance(value, dict):
        pairs = b"".join(op(k) + op(v) for k, v in value.items())
        return op(Call("collections OrderedDict")) + b"(" + pairs + b"u"
    if isinstance(value, str):
        return op_text(value)
    return pickle.dumps(value, protocol=2)[2:-1]


def pickled(value: object) -> bytes:
    return b"\x80\x02" + op(value) + b"."


def storage(array: NDArray[Any], key: str, **other: object) -> Stored:
    kind = {"f": "torch FloatStorage", "i": "torch LongStorage"}[array.dtype.kind]
    told: dict[str, object] = {
        "word": "storage", "kind": Global(kind), "key": key, "device": "cpu",
        "size": array.size, "view": None,
    } | other  # fmt: skip
    return Stored(*told.values())


def tensor(
    stored: object, offset: object, shape: tuple[object, ...], stride: tuple[object, ...]
) -> Call:
    hooks = Call("collections OrderedDict")
    return Call(
        "torch._utils _rebuild_tensor_v2", stored, offset, shape, stride, False, hooks
    )  # fmt: skip


def whole(array: NDArray[Any], key: str) -> Call:
    steps = tuple(step // array.itemsize for step in array.strides)
    return tensor(storage(array, key), 0, array.shape, steps)


def checkpoint(table: bytes, storages: dict[str, NDArray[Any]], system: object = SYSTEM) -> bytes:
    head = pickle.dumps(MAGIC, 2) + pickle.dumps(PROTOCOL, 2) + pickle.dumps(system, 2)
    keys = pickle.dumps(list(storages), 2)
    numbers = b"".join(a.size.to_bytes(8, "little") + a.tobytes("A") for a in storages.values())
    return head + table + keys + numbers


def written(arrays: dict[str, NDArray[Any]]) -> bytes:
    table = pickled({name: whole(array, f"s{name}") for name, array in arrays.items()})
    return checkpoint(table, {f"s{name}": array for name, array in arrays.items()})


ARRAYS = {
    "layer.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "layer.count": np.array(7, np.int64),
}
ONE = np.arange(6, dtype=np.float32)


def test_tensors_come_back():
    found = read_state_dict(written(ARRAYS))
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(found[name], array)
        assert not found[name].flags.writeable


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 4), max_size=4), st.randoms(use_true_random=False), st.integers(0, 3)
)
def test_axes_in_any_order_and_parts_of_a_storage(shape: list[int], random: Any, before: int):
    axes = list(range(len(shape)))
    random.shuffle(axes)
    size = int(np.prod(shape, dtype=int))
    flat = np.arange(before + size + 2, dtype=np.float32)
    turned = flat[before : before + size].reshape(shape).transpose(axes)
    steps = tuple(step // 4 for step in turned.strides)
    table = pickled({"t": tensor(storage(flat, "s"), before, turned.shape, steps)})
    assert np.array_equal(read_state_dict(checkpoint(table, {"s": flat}))["t"], turned)


def test_versions_of_modules_are_dropped():
    table = pickled({"t": whole(ONE, "s")})
    with_versions = table[:-1] + op({"_metadata": {"": {"version": 1}}}) + b"b."
    assert np.array_equal(read_state_dict(checkpoint(with_versions, {"s": ONE}))["t"], ONE)


class Trap:
    """What any unpickler would run: it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.path,))


def test_the_trap_works(tmp_path: Path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung"), 2))  # noqa: S301 - our own, to see it spring
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("at", range(5))
def test_nothing_is_ever_run(tmp_path: Path, protocol: int, at: int):
    """The trap in place of each of the five pickles, in every protocol."""
    trap = pickle.dumps(Trap(tmp_path / "sprung"), protocol)
    parts = [pickle.dumps(MAGIC, 2), pickle.dumps(PROTOCOL, 2), pickle.dumps(SYSTEM, 2)]
    parts += [pickled({"t": whole(ONE, "s")}), pickle.dumps(["s"], 2)]
    parts[at] = trap
    with pytest.raises(CheckpointRefused):
        read_state_dict(b"".join(parts) + ONE.size.to_bytes(8, "little") + ONE.tobytes())
    assert list(tmp_path.iterdir()) == []


HOSTILE = {
    "posix system": pickled(Call("posix system", "true")),
    "builtins eval": pickled({"t": Call("builtins eval", "1")}),
    "torch load": pickled(Call("torch load", "x")),
    "a name that only begins well": pickled(Global("torch FloatStorage.__init__")),
    "INST": b"(S'true'\niposix\nsystem\n.",
    "OBJ": b"(cposix\nsystem\nX\x04\x00\x00\x00trueo.",
    "NEWOBJ": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
    "EXT1": b"\x80\x02\x82\x01.",
    "PERSID": b"Pwhatever\n.",
    "a known name called as a function": pickled(Call("torch FloatStorage", 3)),
    "an ordered dict of something": pickled(Call("collections OrderedDict", ((1, 2),))),
    "no arguments": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "entering into a tuple": b"\x80\x02)X\x01\x00\x00\x00aK\x01s.",
    "keys that are no names": b"\x80\x02}K\x01K\x02s.",
    "attributes of a number": b"\x80\x02K\x01}b.",
    "a memo that was never made": b"\x80\x02h\x07.",
    "an empty stack": b"\x80\x02R.",
    "no mark": b"\x80\x02K\x01t.",
    "two values": b"\x80\x02K\x01K\x02.",
    "no end": b"\x80\x02}",
    "an unknown opcode": b"\x80\x02\xff.",
    "a number and no state dict": pickled(3),
    "an entry that is no tensor": pickled({"t": 3}),
    "a self-containing dict": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "too long": b"\x80\x02}" + b"q\x00" * 100_001 + b".",
}


@pytest.mark.parametrize("table", HOSTILE.values(), ids=HOSTILE)
def test_hostile_tables_of_contents(table: bytes):
    with pytest.raises(CheckpointRefused, match=r"refused: .*Nothing of it was run"):
        read_state_dict(checkpoint(table, {"s": ONE}))


WRONG: dict[str, Call] = {
    "beyond the end": tensor(storage(ONE, "s"), 1, (6,), (1,)),
    "a stride too wide": tensor(storage(ONE, "s"), 0, (2, 3), (4, 1)),
    "one number many times": tensor(storage(ONE, "s"), 0, (10**9,), (0,)),
    "before the beginning": tensor(storage(ONE, "s"), -1, (2,), (1,)),
    "backwards": tensor(storage(ONE, "s"), 5, (2,), (-1,)),
    "a shape that is a number": Call(
        "torch._utils _rebuild_tensor_v2", storage(ONE, "s"), 0, 6, (1,), False, None
    ),
    "an axis more": tensor(storage(ONE, "s"), 0, (6,), (1, 1)),
    "a text in the shape": tensor(storage(ONE, "s"), 0, ("6",), (1,)),
    "true for one": tensor(storage(ONE, "s"), 0, (True,), (1,)),
    "no storage": tensor(3, 0, (6,), (1,)),
    "nothing in it": tensor(storage(ONE, "s"), 0, (0,), (1,)),
    "on a GPU": tensor(storage(ONE, "s", device="cuda:0"), 0, (6,), (1,)),
    "of no type": tensor(storage(ONE, "s", kind=Global(DICT)), 0, (6,), (1,)),
    "a view": tensor(storage(ONE, "s", view=("v", 0, 6)), 0, (6,), (1,)),
    "of another word": tensor(storage(ONE, "s", word="module"), 0, (6,), (1,)),
    "longer than the file": tensor(storage(ONE, "s", size=10**12), 0, (6,), (1,)),
    "shorter than the file says": tensor(storage(ONE, "s", size=5), 0, (5,), (1,)),
    "a storage that is not listed": tensor(storage(ONE, "z"), 0, (6,), (1,)),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_tensors_that_lie_about_themselves(wrong: Call):
    with pytest.raises(CheckpointRefused):
        read_state_dict(checkpoint(pickled({"t": wrong}), {"s": ONE}))


def test_one_storage_told_in_two_ways():
    table = pickled(
        {"a": whole(ONE, "s"), "b": tensor(storage(ONE, "s", size=3), 0, (3,), (1,))}
    )  # fmt: skip
    with pytest.raises(CheckpointRefused, match="in two ways"):
        read_state_dict(checkpoint(table, {"s": ONE}))


def test_other_formats():
    buffer = io.BytesIO()
    np.savez(buffer, a=ONE)  # a zip, as torch writes since 1.6
    big = checkpoint(pickled({}), {}, OrderedDict(SYSTEM) | {"little_endian": False})
    for data in (b"", buffer.getvalue(), big, pickle.dumps(1, 2) + written(ARRAYS)):
        with pytest.raises(CheckpointRefused):
            read_state_dict(data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_is_refused_or_changes_numbers_only(data: st.DataObject):
    """Whatever byte changes or is missing: an array of the sizes in the file, or a refusal."""
    good = bytearray(written(ARRAYS))
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(good), data.draw(st.integers(0, len(good)))]))
    try:
        found = read_state_dict(bytes(good[:cut]))
    except CheckpointRefused:
        return
    assert sum(array.size for array in found.values()) <= len(good)
