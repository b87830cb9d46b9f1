"""Tensors out of a file that `torch.save` wrote, without torch and without unpickling.

    tensors = read_tensors(data, bytes_max=64 << 20, what="policy.pth")

Such a file is a ZIP archive with a pickle that says which bytes of which members make which tensor.
A pickle is a program. This reads it with a machine of its own that knows 25 of its 68 instructions
and seven names, and where a name is called only two things can come of it: an empty dict, or a
description of a tensor. Nothing is imported, nothing is called.
"""

from __future__ import annotations

import math
import pickletools
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from msgspec import Struct

from hub.errors import OperatorFault
from hub.learner.exchange.zipped import unzip

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

DTYPES: Final = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ByteStorage": "u1",
    "torch BoolStorage": "?",
}
DICT: Final = "collections OrderedDict"
TENSOR: Final = "torch._utils _rebuild_tensor_v2"
NAMES: Final = {*DTYPES, DICT, TENSOR}
PICKLE_BYTES_MAX: Final = 4 << 20
AXES_MAX: Final = 8
NAME_LENGTH_MAX: Final = 120
TENSOR_FIELDS: Final = 6
"""Storage, offset, shape, strides, and two that say how torch trains it."""


class _Name(Struct, frozen=True):
    """A thing that the pickle names; never looked up."""

    name: str


class _Storage(Struct, frozen=True):
    dtype: str
    member: str


class _Tensor(Struct, frozen=True):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """When it stands by itself."""
        return math.prod(self.shape) * np.dtype(self.storage.dtype).itemsize


_MARK: Final = object()


def read_tensors(data: bytes, *, bytes_max: int, what: str) -> dict[str, NDArray[Any]]:
    """The tensors by name.

    Args:
        data: the file.
        bytes_max: of the file unpacked, and of any tensor in it.
        what: it is, for messages.

    Raises:
        OperatorFault: it is damaged, too large, or holds anything but tensors by name.
    """
    members = unzip(data, bytes_max=bytes_max, what=what)
    roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise OperatorFault(f"{what} was not written by torch.save: it has no data.pkl, or two")
    (root,) = roots
    if members.get(f"{root}byteorder", b"little") != b"little":
        raise OperatorFault(f"{what} has big-endian tensors; save it on another machine")
    program = members[f"{root}data.pkl"]
    if len(program) > PICKLE_BYTES_MAX:
        raise OperatorFault(f"{what} has a data.pkl of {len(program)} bytes, too many for tensors")
    try:
        found = _Machine().run(program)
    except (ValueError, IndexError, TypeError, KeyError, AttributeError) as error:
        raise OperatorFault(f"{what} holds no plain tensors by name: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(t, _Tensor) for t in found.values()):
        raise OperatorFault(f"{what} holds something else than tensors by name")
    total = sum(tensor.bytes for tensor in found.values())
    if total > bytes_max:  # many tensors may share a few bytes
        raise OperatorFault(f"{what} has tensors of {total} bytes; at most {bytes_max} are taken")
    return {
        name: _array(tensor, members.get(f"{root}data/{tensor.storage.member}"), name)
        for name, tensor in found.items()
    }


class _Machine:
    """Runs the few instructions that a dict of tensors needs, on values that can do nothing."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._done = False

    def run(self, program: bytes) -> object:
        """What it leaves.

        Raises:
            ValueError: an instruction or name that tensors don't need.
            IndexError, TypeError, KeyError: it does not hold together.
        """
        for opcode, argument, position in pickletools.genops(program):
            does = INSTRUCTIONS.get(opcode.name)
            if does is None:
                raise ValueError(f"instruction {opcode.name} at {position} is not taken")
            does(self, argument)
        (result,) = self._stack
        return result

    def push(self, value: object) -> None:
        self._stack.append(value)

    def since_mark(self) -> list[Any]:
        """All values above the newest mark."""
        values: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def tuple_of(self, count: int) -> None:
        values = [self._stack.pop() for _ in range(count)]
        self.push(tuple(values[::-1]))

    def store(self, at: int) -> None:
        self._memo[at] = self._stack[-1]

    def load(self, at: int) -> None:
        self.push(self._memo[at])

    def name(self, name: str) -> None:
        if name not in NAMES:
            raise ValueError(f"it names {name[:80]!r}, which no tensor needs")
        self.push(_Name(name))

    def storage(self) -> None:
        kind, storage, member, place, count = self._stack.pop()
        if (kind, type(storage), type(member), type(place), type(count)) != (
            "storage",
            _Name,
            str,
            str,
            int,
        ):
            raise ValueError("a storage is described in another way than torch does")
        self.push(_Storage(DTYPES[storage.name], member))

    def call(self) -> None:
        arguments, called = self._stack.pop(), self._stack.pop()
        if called == _Name(DICT) and arguments == ():
            self.push({})
            return
        if called != _Name(TENSOR):
            raise ValueError("it calls what no tensor needs")
        storage, offset, shape, strides = arguments[: TENSOR_FIELDS - 2]
        whole = (offset, *shape, *strides)
        if not isinstance(storage, _Storage) or any(type(n) is not int or n < 0 for n in whole):
            raise ValueError("a tensor is described in another way than torch does")
        if len(shape) != len(strides) or len(shape) > AXES_MAX:
            raise ValueError(f"a tensor has {len(shape)} axes and {len(strides)} strides")
        self.push(_Tensor(storage, offset, tuple(shape), tuple(strides)))

    def set_items(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise TypeError("it sets items of what is no dict")
        for name, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(name, str) or not is_name(name):
                raise TypeError("a tensor's name is no short text")
            target[name] = value

    def set_item(self) -> None:
        value, name = self._stack.pop(), self._stack.pop()
        self.set_items([name, value])

    def build(self) -> None:
        """torch keeps versions of modules beside the dict; nothing needs them."""
        self._stack.pop()
        if not isinstance(self._stack[-1], dict):
            raise TypeError("it gives state to what is no dict")


INSTRUCTIONS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    "PROTO": lambda _, __: None,
    "STOP": lambda _, __: None,
    "MARK": lambda it, _: it.push(_MARK),
    "NONE": lambda it, _: it.push(None),
    "NEWTRUE": lambda it, _: it.push(True),  # noqa: FBT003 - a pickle's own truth
    "NEWFALSE": lambda it, _: it.push(False),  # noqa: FBT003 - the value itself
    "BININT": lambda it, value: it.push(value),
    "BININT1": lambda it, value: it.push(value),
    "BININT2": lambda it, value: it.push(value),
    "LONG1": lambda it, value: it.push(value),
    "BINUNICODE": lambda it, value: it.push(value),
    "EMPTY_DICT": lambda it, _: it.push({}),
    "EMPTY_TUPLE": lambda it, _: it.push(()),
    "TUPLE": lambda it, _: it.push(tuple(it.since_mark())),
    "TUPLE1": lambda it, _: it.tuple_of(1),
    "TUPLE2": lambda it, _: it.tuple_of(2),
    "TUPLE3": lambda it, _: it.tuple_of(3),
    "BINPUT": lambda it, at: it.store(at),
    "LONG_BINPUT": lambda it, at: it.store(at),
    "BINGET": lambda it, at: it.load(at),
    "LONG_BINGET": lambda it, at: it.load(at),
    "GLOBAL": lambda it, name: it.name(name),
    "BINPERSID": lambda it, _: it.storage(),
    "REDUCE": lambda it, _: it.call(),
    "SETITEM": lambda it, _: it.set_item(),
    "SETITEMS": lambda it, _: it.set_items(it.since_mark()),
    "BUILD": lambda it, _: it.build(),
}


def is_name(text: str) -> bool:
    """Whether a tensor may have this name: it is said to people."""
    return len(text) <= NAME_LENGTH_MAX and text.isprintable()


def _array(tensor: _Tensor, data: bytes | None, name: str) -> NDArray[Any]:
    """The tensor as an array of its own, once its description was held against its bytes."""
    dtype = np.dtype(tensor.storage.dtype)
    there = 0 if data is None else len(data) // dtype.itemsize
    reach = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape or data is None or tensor.offset + reach >= there:
        raise OperatorFault(
            f"tensor {name!r} of shape {list(tensor.shape)} is not within its {there} numbers"
        )
    flat = np.frombuffer(data, dtype=dtype, count=there)[tensor.offset :]
    strides = [stride * dtype.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
    return np.array(view)
