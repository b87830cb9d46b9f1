"""A version of a flock: a file that acts by itself, and one beside it for each replica's network.

    rest, goes_on, parts = apart(card, tensors)      # before they are written
    card, tensors = together(card, tensors, {device: part, …})

A replica's file is named by its bytes like any other, so all versions in which a network is the
same have one file of it: an update of one of 64 replicas writes one, not 64. The version's own
tensors are those of the replica that leads. What replicas go on from (`resume/flock/`) is in a file
of its own, which actors need not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import structs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.learner.versions.policy import Card, Tensors

SEEDLING: Final = ""
"""No device's: the network that all begin with, where weights were put in place."""
OWN: Final = "flock/"
"""Before a device's name and the names of its network's tensors."""
GOES_ON: Final = "resume/flock/"
"""Before those of a replica's tensors that changed since its network did."""
GATHERED: Final = "resume/gathered"
"""Name, or its beginning, of what an on-policy replica had gathered when another made a version."""
PARTS_FOLDER: Final = "replicas"
"""Beside the versions, for the files of networks."""

Part = tuple["Card", "Tensors"]


def own_name(device: str, name: str) -> str:
    """Of a replica's tensor among those of the flock."""
    return f"{OWN}{device}/{name}"


def own_tensors(device: str, tensors: Tensors) -> Tensors:
    """A replica's, by their own names."""
    prefix = own_name(device, "")
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def without_gathered(tensors: Tensors) -> Tensors:
    """For another policy, which nothing was gathered by yet."""
    return {name: tensor for name, tensor in tensors.items() if GATHERED not in name}


def apart(card: Card, tensors: Tensors) -> tuple[Tensors, Tensors, dict[str, Part]]:
    """Tensors of the version's own file, what replicas go on from, and each replica's network."""
    assert card.replicas is not None, "only of a flock"
    parts = {}
    for device, replica in card.replicas.items():
        assert replica.card is not None, "as a learner makes it"
        parts[device] = replica.card, own_tensors(device, tensors)
    goes_on = {name: tensor for name, tensor in tensors.items() if name.startswith(GOES_ON)}
    rest = {n: tensor for n, tensor in tensors.items() if not n.startswith((OWN, GOES_ON))}
    return rest, goes_on, parts


def together(card: Card, tensors: Tensors, parts: Mapping[str, Part]) -> Part:
    """The reverse of `apart`."""
    assert card.replicas is not None, "only of a flock"
    replicas, joined = {}, dict(tensors)
    for device, replica in card.replicas.items():
        part, own = parts[device]
        replicas[device] = structs.replace(replica, card=part)
        joined |= {own_name(device, name): tensor for name, tensor in own.items()}
    return structs.replace(card, replicas=replicas), joined


def alone(card: Card, tensors: Tensors, device: str | None) -> Part:
    """One network of a flock as a policy by itself.

    Args:
        card: of a version; one that is no flock's is given back.
        tensors: its own and those of all replicas.
        device: whose network, one of `card.replicas`; None = the one that leads.
    """
    if card.replicas is None:
        return card, tensors
    if device is None:
        leads = {n: t for n, t in tensors.items() if not n.startswith((OWN, GOES_ON))}
        # With slots its devices are those that it tells apart, else those of all replicas.
        devices = card.devices if card.device_slots else []
        return structs.replace(card, replicas=None, devices=devices), leads
    part = card.replicas[device].card
    assert part is not None, "read with the version"
    return part, own_tensors(device, tensors)
