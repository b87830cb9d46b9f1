"""Checkpoints that want something else than to be weights, made from honest ones by a seed."""

from __future__ import annotations

import io
import pickle
import stat
import struct
import zipfile
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Chance = np.random.Generator

MB: Final = 1 << 20
PROGRAMS: Final = (
    ("posix", "system", "touch {canary}"),
    ("os", "system", "touch {canary}"),
    ("builtins", "eval", "open({canary!r}, 'w')"),
    ("builtins", "exec", "open({canary!r}, 'w')"),
    ("subprocess", "getoutput", "touch {canary}"),
    ("numpy.testing._private.utils", "runstring", "open({canary!r}, 'w')"),
    ("torch.serialization", "load", "{canary}"),
    ("pathlib", "Path.touch", "{canary}"),
)
"""Module, function and argument of what a pickle may call."""


class Source:
    """Honest files, and where a hostile one would leave its mark."""

    def __init__(self, sb3: bytes, own: bytes, canary: Path) -> None:
        self.sb3 = sb3
        self.own = own
        self.canary = str(canary)

    @property
    def members(self) -> dict[str, bytes]:
        """Of the ZIP."""
        return unpacked(self.sb3)

    @property
    def weights(self) -> dict[str, bytes]:
        """Members of `policy.pth`."""
        return unpacked(self.members["policy.pth"])

    def with_weights(self, inner: dict[str, bytes]) -> bytes:
        """The ZIP with another `policy.pth`."""
        return packed(self.members | {"policy.pth": packed(inner)})

    def with_program(self, program: bytes) -> bytes:
        """The ZIP whose weights are described by another pickle."""
        return self.with_weights(self.weights | {"archive/data.pkl": program})


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


# --- pickles ------------------------------------------------------------------------------------


def program_called(source: Source, chance: Chance) -> bytes:
    """A pickle that calls something, by each of the ways there are."""
    module, name, argument = PROGRAMS[chance.integers(len(PROGRAMS))]
    said = argument.format(canary=source.canary).encode()
    text = b"X" + struct.pack("<I", len(said)) + said
    named = f"c{module}\n{name}\n".encode()
    short = [b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name)]
    programs = [
        b"\x80\x02" + named + text + b"\x85R.",
        b"\x80\x02(" + text + f"i{module}\n{name}\n.".encode(),
        b"\x80\x02(" + named + text + b"o.",
        b"\x80\x04" + b"".join(short) + b"\x93" + text + b"\x85R.",
        b"\x80\x02" + named + text + b"\x85\x81.",
        b"\x80\x02}(" + text + named + text + b"\x85Ru.",
        b"\x80\x02ccollections\nOrderedDict\n)R" + named + text + b"\x85Rb.",
        b"\x80\x02\x82\x01.",
    ]
    return source.with_program(programs[chance.integers(len(programs))])


def program_endless(source: Source, chance: Chance) -> bytes:
    """A pickle that grows, lies about lengths, or ends too early."""
    programs = [
        b"\x80\x02" + b"(" * 100_000 + b".",
        b"\x80\x02)" + b"\x85" * 500_000 + b".",
        b"\x80\x02)" + b"2\x86" * 300_000 + b".",
        b"\x80\x02X\xff\xff\xff\x7fabc.",
        b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
        b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7fabc.",
        b"\x80\x04\x96" + b"\xff" * 8 + b".",
        b"\x80\x02I" + b"9" * 200_000 + b"\n.",
        b"\x80\x02h\x05.",
        b"\x80\x02.",
        b"",
        b"\x80\x02K\x01.",
        b"\x80\x02}K\x01K\x02s.",
        b"\x80\x02(K\x01Q.",
        b"\x80\x02" + b"K\x01" * (3 * MB),
    ]
    return source.with_program(programs[chance.integers(len(programs))])


class Described:
    """A tensor as torch pickles it, with any numbers."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def file(self, *tensors: tuple[str, str, tuple[Any, ...]]) -> bytes:
        """Each by name, storage class, and (member, numbers, offset, shape, strides)."""
        body = b"\x80\x02}"
        for name, kind, (member, count, offset, shape, strides) in tensors:
            body += _text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(("
            body += _text("storage") + f"ctorch\n{kind}\n".encode() + _text(member) + _text("cpu")
            body += _number(count) + b"tQ" + _number(offset)
            body += b"(" + b"".join(map(_number, shape)) + b"t"
            body += b"(" + b"".join(map(_number, strides)) + b"t"
            body += b"\x89ccollections\nOrderedDict\n)RtRs"
        return self._source.with_program(body + b".")


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _number(number: int) -> bytes:
    return pickle.dumps(number, 2)[2:-1] if number >= 0 else b"J" + struct.pack("<i", number)


def tensor_lies(source: Source, chance: Chance) -> bytes:
    """A tensor larger than its bytes, than the bound, before its bytes, or of nothing."""
    described = Described(source)
    one = "action_net.bias"
    lies: list[tuple[Any, ...]] = [
        ("0", 8, 0, (1 << 40,), (0,)),
        ("0", 8, 0, (1 << 20, 1 << 20), (0, 0)),
        ("0", 8, 0, (1 << 62, 1 << 62, 1 << 62), (0, 0, 0)),
        ("0", 1 << 40, 0, (1 << 16,), (1,)),
        ("0", 8, 1 << 50, (2,), (1,)),
        ("0", 8, -4, (2,), (1,)),
        ("0", 8, 0, (-2,), (1,)),
        ("0", 8, 0, (2,), (-1,)),
        ("0", 8, 0, (2,), (1 << 60,)),
        ("0", 8, 0, (0,), (1,)),
        ("0", 8, 0, (1,) * 64, (1,) * 64),
        ("0", 8, 0, (2, 2), (1,)),
        ("999", 8, 0, (2,), (1,)),
        ("../../data.pkl", 8, 0, (2,), (1,)),
    ]
    names = (one, "n" * 100_000, "a\nb", "\u202e")
    lie = lies[chance.integers(len(lies))]
    if chance.random() < 0.2:  # many small ones, that share their bytes, are large together
        honest = ("0", 64, 0, (64, 64), (0, 1))
        return described.file(*((f"{one}{i}", "FloatStorage", honest) for i in range(4000)))
    return described.file((names[chance.integers(len(names))], "FloatStorage", lie))


def tensor_unsound(source: Source, chance: Chance) -> bytes:
    """Weights that are no float32, or not finite."""
    inner = source.weights
    kind = chance.integers(3)
    if kind == 0:
        storage = ("DoubleStorage", "LongStorage", "HalfStorage", "ByteStorage", "FloatStorages")
        program = inner["archive/data.pkl"]
        other = storage[chance.integers(len(storage))]
        return source.with_program(program.replace(b"FloatStorage", other.encode()))
    name = f"archive/data/{chance.integers(4)}"
    numbers = np.frombuffer(inner[name], "<f4").copy()
    numbers[chance.integers(len(numbers))] = (np.nan, np.inf)[kind - 1]
    return source.with_weights(inner | {name: numbers.tobytes()})


# --- archives -----------------------------------------------------------------------------------


def zip_bomb(source: Source, chance: Chance) -> bytes:
    """Members that unpack to more than is taken."""
    kind = chance.integers(5)
    members = source.members
    if kind == 0:
        return packed(members | {"bomb": bytes(200 * MB)}, zipfile.ZIP_DEFLATED)
    if kind == 1:
        inner = packed(source.weights | {"archive/data/0": bytes(64 * MB)}, zipfile.ZIP_DEFLATED)
        return packed(members | {"policy.pth": inner}, zipfile.ZIP_DEFLATED)
    if kind == 2:
        return packed(members | {f"m{i}": b"" for i in range(2000)})
    if kind == 3:  # says it is small, and is not
        bomb = bytearray(packed(members | {"bomb": bytes(16 * MB)}, zipfile.ZIP_DEFLATED))
        for at in (bomb.index(b"bomb") - 30 + 22, bomb.rindex(b"bomb") - 46 + 24):
            bomb[at : at + 4] = struct.pack("<I", 64)
        return bytes(bomb)
    return packed({f"{'n' * 500}{i}": b"" for i in range(1000)} | members)


def zip_names(source: Source, chance: Chance) -> bytes:
    """Members that would be written elsewhere, or are links, or are there twice."""
    names = (
        "../{0}",
        "a/../../{0}",
        "/{0}",
        "..\\{0}",
        "C:/{0}",
        "./{0}",
        "a//{0}",
        "{0}/",
        "{0}\x07",
        "..",
    )
    kind = chance.integers(len(names) + 2)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in source.members.items():
            archive.writestr(name, data)
        if kind < len(names):
            archive.writestr(names[kind].format(source.canary.lstrip("/")), b"x")
        elif kind == len(names):
            link = zipfile.ZipInfo("link")
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, source.canary)
        else:
            archive.writestr("policy.pth", source.members["policy.pth"])
    return file.getvalue()


def zip_damaged(source: Source, chance: Chance) -> bytes:
    """An archive cut off, or packed as none is, or without what it must have."""
    kind = chance.integers(6)
    members = source.members
    if kind == 0:
        return source.sb3[: chance.integers(2, len(source.sb3) - 1)]
    if kind == 1:
        return packed(members, (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)[chance.integers(2)])
    if kind == 2:
        missing = ("policy.pth", "data")[chance.integers(2)]
        return packed({n: d for n, d in members.items() if n != missing})
    if kind == 3:
        nonsense = (b"[" * 100_000, b"\xff\xfe", b"[]", b"7", b"{", b'{"a":' * 50_000)
        return packed(members | {"data": nonsense[chance.integers(len(nonsense))]})
    if kind == 4:
        policy = members["policy.pth"]
        pickled = pickle.dumps({"action_net.bias": [1.0]})
        others = (policy[: len(policy) // 2], pickled, b"", bytes(100))
        return packed(members | {"policy.pth": others[chance.integers(len(others))]})
    data = bytearray(source.sb3)  # another byte in the weights: its checksum is another
    at = data.index(b"archive/data/0") + 64
    data[at] ^= 0xFF
    return bytes(data)


# --- safetensors --------------------------------------------------------------------------------


def safetensors_lies(source: Source, chance: Chance) -> bytes:
    """A header that says what is not so."""
    length = int.from_bytes(source.own[:8], "little")
    header = msgspec.json.decode(source.own[8 : 8 + length])
    body = source.own[8 + length :]
    name = sorted(name for name in header if name.endswith("weight"))[0]
    tensor = header[name]
    changes: list[Callable[[], object]] = [
        lambda: tensor.update(shape=[1 << 40, 1 << 40]),
        lambda: tensor.update(shape=[-1, *tensor["shape"]]),
        lambda: tensor.update(shape="many"),
        lambda: tensor.update(dtype="F8_E5M2"),
        lambda: tensor.update(dtype="BOOL"),
        lambda: tensor.update(data_offsets=[0, 1 << 50]),
        lambda: tensor.update(data_offsets=[-8, 0]),
        lambda: tensor.update(data_offsets=[n + 4 for n in tensor["data_offsets"]]),
        lambda: tensor.update(data_offsets=[0]),
        lambda: header.update(copy=dict(tensor)),
        lambda: header.pop(name),
        lambda: header.pop("__metadata__"),
        lambda: header.update(__metadata__={"sheepfold": "{}"}),
        lambda: header.update(__metadata__={"sheepfold": ["a"]}),
        lambda: header.update({name: None}),
    ]
    changes[chance.integers(len(changes))]()
    text = msgspec.json.encode(header)
    return struct.pack("<Q", len(text)) + text + body


def safetensors_damaged(source: Source, chance: Chance) -> bytes:
    """A file cut off, with a length that lies, or with numbers that are none."""
    own = source.own
    length = int.from_bytes(own[:8], "little")
    damaged = [
        own[: chance.integers(0, len(own))],
        own + b"more",
        struct.pack("<Q", 1 << 63) + own[8:],
        struct.pack("<Q", length - 5) + own[8:],
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        b"\x80\x02cposix\nsystem\nX\x01\x00\x00\x00a\x85R.",
        bytes(chance.bytes(4096)),
        own.replace(np.float32(1).tobytes() * 2, np.float32("nan").tobytes() * 2)
        if np.float32(1).tobytes() * 2 in own
        else own[:-4],
    ]
    return damaged[chance.integers(len(damaged))]


KINDS: Final[tuple[Callable[[Source, Chance], bytes], ...]] = (
    program_called,
    program_endless,
    tensor_lies,
    tensor_unsound,
    zip_bomb,
    zip_names,
    zip_damaged,
    safetensors_lies,
    safetensors_damaged,
)
