"""All checks in order. One that can't be made is a finding, and the others are made anyway."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hub.doctor import folder, machine
from hub.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hub.clock import Clock
    from hub.settings import Settings


def examine(data: Path, settings: Settings, clock: Clock) -> Iterator[Finding]:
    """What is not as it should be."""
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("packages", machine.packages),
        ("files", partial(machine.open_files, settings)),
        ("tls", partial(machine.certificates, settings.tls, clock.now_us())),
    ]
    unusable = list(folder.usable(data))
    yield from unusable
    if not unusable:
        checks += _of_folder(data, settings, clock)
    if unusable or not folder.is_claimed(data):
        checks.append(("ports", partial(machine.ports, settings)))
    for name, check in checks:
        try:
            yield from check()
        except folder.FAULTS as error:
            yield Finding(
                check=name,
                level="wrong",
                where=str(data),
                says=f"can't be looked at: {error}",
                do="run this command as the hub's user; if it is, check the disk",
            )


def _of_folder(
    data: Path, settings: Settings, clock: Clock
) -> list[tuple[str, Callable[[], Iterator[Finding]]]]:
    return [
        ("modes", partial(folder.modes, data)),
        ("leftovers", partial(folder.leftovers, data)),
        ("moved", partial(folder.moved, data)),
        ("keys", partial(folder.keys, data)),
        ("disk", partial(machine.disk, data, settings)),
        ("clock", partial(folder.clock, data, clock.now_us())),
        ("version", partial(folder.version, data, settings.log)),
        ("acknowledged", partial(folder.acknowledged, data)),
        ("damage", partial(folder.damage, data)),
        ("segments", partial(folder.segments, data)),
    ]
