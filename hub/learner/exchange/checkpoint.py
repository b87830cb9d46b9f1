"""Policies from outside, as files that nobody vouches for: weights, or a refusal that says why.

    checkpoint = read_checkpoint(path, bytes_max=64 << 20)

Two forms are read: safetensors (this hub's own export, or another's), and the ZIP that
Stable-Baselines3's `save` writes. No byte of either is run: SB3's own `load` unpickles, this does
not. Of an SB3 file, `policy.pth` and `pytorch_variables.pth` are read as tensors, and of its `data`
only what stands there as plain JSON. Numpy only.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from msgspec import Struct

from hub.errors import OperatorFault
from hub.learner.exchange.pickled import is_name, read_tensors
from hub.learner.exchange.zipped import unzip
from hub.learner.sb3 import folding
from hub.learner.versions import scaling
from hub.learner.versions.outline import CARD_KEY, HEADER_BYTES_MAX, LENGTH_BYTES, Outline

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Tensors = dict[str, NDArray[Any]]

ZIP: Final = b"PK"
DATA_BYTES_MAX: Final = 16 << 20
"""Of the JSON in an SB3 file; pictures of code in it come to 100 KB."""
RESUME: Final = "resume/"
WEIGHTS: Final = (np.float32, np.int64)
"""The latter counts the batches that a normalisation has seen."""
DTYPES: Final = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "U8": "u1", "U32": "<u4", "I64": "<i8"}
"""Of the tensors that this hub writes, and of those that others may."""


class Checkpoint(Struct, frozen=True):
    """What a file says, looked at but not yet held against an agent."""

    weights: Tensors
    """By SB3's names, float32, all finite."""
    others: Tensors
    """SB3's tensors that belong to no module (SAC's entropy coefficient), float32, finite."""
    outline: Outline | None
    """Of our own files; None in those of Stable-Baselines3."""
    statistics: Tensors
    """Of observations and rewards, by the names of `versions/scaling.py`; empty in SB3's files."""
    said: dict[str, Any]
    """The JSON of an SB3 file: what stands there as plain values may be trusted to be text."""


class _Tensor(Struct, frozen=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def read_checkpoint(path: Path, *, bytes_max: int) -> Checkpoint:
    """The weights in a file.

    Raises:
        OperatorFault: it can't be read, is neither of the two forms, is damaged, or is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise OperatorFault(f"{path} can't be read: {error.strerror}") from error
    if len(data) > bytes_max:
        raise OperatorFault(
            f"{path} is larger than {bytes_max} bytes; raise 'learner.import_mb_max' to take it"
        )
    if data.startswith(ZIP):
        return _from_sb3(data, bytes_max, str(path))
    return _from_safetensors(data, str(path))


def _from_sb3(data: bytes, bytes_max: int, what: str) -> Checkpoint:
    members = unzip(data, bytes_max=bytes_max, what=what)
    if "policy.pth" not in members or "data" not in members:
        raise OperatorFault(
            f"{what} is no file of Stable-Baselines3: it has no member 'policy.pth' or 'data'"
        )
    text = members["data"]
    try:
        if len(text) > DATA_BYTES_MAX:
            raise OperatorFault(f"{what}: 'data' is larger than {DATA_BYTES_MAX} bytes")
        said = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise OperatorFault(f"{what}: 'data' is not JSON: {error}") from error
    weights = read_tensors(members["policy.pth"], bytes_max=bytes_max, what="policy.pth")
    others: Tensors = {}
    if (loose := members.get("pytorch_variables.pth")) is not None:
        others = read_tensors(loose, bytes_max=bytes_max, what="pytorch_variables.pth")
    return Checkpoint(_sound(weights, what), _sound(others, what), None, {}, said)


def _from_safetensors(data: bytes, what: str) -> Checkpoint:
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    start = LENGTH_BYTES + length
    if len(data) < LENGTH_BYTES or length > min(HEADER_BYTES_MAX, len(data) - LENGTH_BYTES):
        raise OperatorFault(
            f"{what} is no policy: neither a ZIP archive, nor safetensors with a header of "
            f"{length} bytes in a file of {len(data)}"
        )
    try:
        header = msgspec.json.decode(data[LENGTH_BYTES:start], type=dict[str, msgspec.Raw])
        metadata = header.pop("__metadata__", msgspec.Raw(b"{}"))
        card = msgspec.json.decode(metadata, type=dict[str, str]).get(CARD_KEY)
        outline = None if card is None else msgspec.json.decode(card, type=Outline)
        told = {n: msgspec.json.decode(raw, type=_Tensor) for n, raw in header.items()}
    except (msgspec.MsgspecError, RecursionError) as error:
        raise OperatorFault(f"{what} has a header that is not safetensors': {error}") from error
    if not all(map(is_name, told)):
        raise OperatorFault(f"{what} has a tensor without a proper name")
    if outline is None:
        raise OperatorFault(
            f"{what} says nothing of its agent: it was not exported by Sheepfold. Save it with "
            "Stable-Baselines3 and import the ZIP"
        )
    _check_places(told, len(data) - start, what)
    tensors = {name: _array(name, one, data, start, what) for name, one in told.items()}
    made_anew = (RESUME, folding.PREFIX, scaling.PREFIX)
    statistics = {name: t for name, t in tensors.items() if name.startswith(scaling.PREFIX)}
    weights = {name: t for name, t in tensors.items() if not name.startswith(made_anew)}
    others = {
        name.removeprefix(RESUME): tensor
        for name, tensor in tensors.items()
        if name.startswith(RESUME) and tensor.dtype == np.float32
    }
    return Checkpoint(_sound(weights, what), _sound(others, what), outline, statistics, {})


def _check_places(told: dict[str, _Tensor], size: int, what: str) -> None:
    """The tensors fill what follows the header, one after the other, as the format wants it."""
    at = 0
    for tensor in sorted(told.values(), key=lambda tensor: tensor.data_offsets):
        first, last = tensor.data_offsets
        if first != at or last < first:
            raise OperatorFault(f"{what} has tensors that overlap, or a hole between them")
        at = last
    if at != size:
        raise OperatorFault(f"{what} has {size} bytes of tensors, its header speaks of {at}")


def _array(name: str, tensor: _Tensor, data: bytes, start: int, what: str) -> NDArray[Any]:
    dtype = DTYPES.get(tensor.dtype)
    if dtype is None:
        raise OperatorFault(f"{what}: tensor {name!r} is of type {tensor.dtype[:20]!r}")
    first, last = tensor.data_offsets
    count = math.prod(tensor.shape)
    if min(tensor.shape, default=0) < 0 or count * np.dtype(dtype).itemsize != last - first:
        raise OperatorFault(
            f"{what}: tensor {name!r} of shape {tensor.shape} is not in {last - first} bytes"
        )
    flat = np.frombuffer(data, dtype=dtype, count=count, offset=start + first)
    return flat.reshape(tensor.shape)


def _sound(tensors: Tensors, what: str) -> Tensors:
    """The tensors, when all are what a network is made of."""
    for name, tensor in tensors.items():
        if tensor.dtype not in WEIGHTS:
            raise OperatorFault(f"{what}: tensor {name!r} is {tensor.dtype}, not float32")
        if not np.isfinite(tensor).all():
            raise OperatorFault(f"{what}: tensor {name!r} has numbers that are not finite")
    return tensors
