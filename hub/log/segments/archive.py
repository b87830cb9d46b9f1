"""When to seal, when the hot file may begin later, and what is old enough to go: the hub's side.

    archive = Archive(data, settings.log, clock, position=…, hub_id=…, log_fact=…, rotate=…)
    task = asyncio.create_task(archive.run())
    await archive.seal_now()                    # a person asked

Rule 1: the work is done by a process of its own, at the lowest priority, one at a time.
Rule 2: what fails is said and tried again, at growing intervals; nobody waits for it.
Rule 3: the hot file gives up only what is sealed; a segment file is dropped only when the hot file
    has given up its events, every connected reader has passed them, and the manifest says that it
    is gone. What declares agents, keys and users is never dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import sys
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from hub.errors import HubFault
from hub.facts import Sealed
from hub.log.segments.manifest import FOLDER, Manifest, Seal

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from hub.clock import Clock
    from hub.settings import LogSettings

log: Final = logging.getLogger("hub")

CHECK_S: Final = 5.0
RETRY_S_FIRST: Final = 5.0
RETRY_S_MAX: Final = 600.0
MEBIBYTE: Final = 1 << 20
EVENT_BYTES: Final = 64
"""Of a typical event: for those that were there before the hub began to count."""
DAY_US: Final = 86_400_000_000
EPOCH: Final = date(1970, 1, 1)

_decode: Final = msgspec.json.Decoder(Seal).decode


class Archive:
    """Keeps the segments of one log.

    Args:
        data: the data folder.
        settings: `[log]`.
        clock: of the hub.
        position: last acknowledged seq, and bytes appended since the hub started.
        hub_id: of the log, which may be opened later than this is made.
        log_fact: logs that a seal was made.
        rotate: has the hot file begin after a seq, if that is worth it; answers the seq after
            which it begins now, and the lowest position of a connected reader (None = no reader).
        check_s: how often it is looked whether something is due.
    """

    def __init__(
        self,
        data: Path,
        settings: LogSettings,
        clock: Clock,
        *,
        position: Callable[[], tuple[int, int]],
        hub_id: Callable[[], str],
        log_fact: Callable[[Sealed], None],
        rotate: Callable[[int], Awaitable[tuple[int, int | None]]],
        check_s: float = CHECK_S,
    ) -> None:
        self._data = data
        self._settings = settings
        self._clock = clock
        self._position = position
        self._hub_id = hub_id
        self._log_fact = log_fact
        self._rotate = rotate
        self._check_s = check_s
        self._due = _Due(settings, clock)
        self._sealing = asyncio.Lock()
        self._rotated = 0
        """Seq after which the hot file begins, as far as we were told."""
        self._day: int | None = None
        """When the hot file was last asked to begin later; None = not since the start."""
        self.failed: str | None = None
        """What failed when something was last due, for a person; None when all is well."""

    async def run(self) -> None:
        """Seal, rotate and drop whatever is due, until cancelled."""
        wait_s = RETRY_S_FIRST
        while True:
            pause_s = self._check_s
            try:
                await self._do_what_is_due()
                self.failed, wait_s = None, RETRY_S_FIRST
            except (HubFault, OSError) as error:
                self.failed = str(error)
                log.warning("%s; tried again in %g s", error, wait_s)
                pause_s, wait_s = wait_s, min(2 * wait_s, RETRY_S_MAX)
            await asyncio.sleep(pause_s)

    async def seal_now(self) -> Seal | None:
        """Seal all that is acknowledged and return the newest seal, None when all was sealed.

        Raises:
            HubFault: it can't be done now; the message says why.
        """
        async with self._sealing:
            await self._look()
            last, _ = self._position()
            return await self._seal(last) if last > self._due.sealed else None

    async def _do_what_is_due(self) -> None:
        async with self._sealing:
            if not self._due.known:
                await self._look()
            last, appended = self._position()
            if self._due.now(last, appended):
                await self._seal(last)
        if self._day != self._today():
            await self._rotate_and_drop()
            self._day = self._today()

    async def _look(self) -> Manifest:
        """Read how far all is sealed; anyone may have sealed since."""
        manifest = await asyncio.to_thread(Manifest.read, self._data / FOLDER)
        last, appended = self._position()
        made = manifest.seals[-1].made if manifest.seals else None
        self._due.begin(manifest.seq_last, made, last, appended)
        return manifest

    # --- seal -------------------------------------------------------------------------------

    async def _seal(self, last: int) -> Seal | None:
        _, appended = self._position()
        lines, complaint = await self._run("seal", "--to", str(last), "--hub", self._hub_id())
        seals = [_decode(line) for line in lines]
        for line, made in zip(lines, seals, strict=True):
            self._log_fact(
                Sealed(
                    seq_first=made.seq_first,
                    seq_last=made.seq_last,
                    rows=made.rows,
                    files=len(made.segments),
                    sha256=hashlib.sha256(line).hexdigest(),
                )
            )
        if seals:
            self._due.done(seals[-1].seq_last, appended, facts=len(seals))
        if complaint is not None:
            raise HubFault(complaint)
        return seals[-1] if seals else None

    async def _run(self, module: str, *arguments: str) -> tuple[list[bytes], str | None]:
        """What a process printed, and what it complained of at its end."""
        command = ["-m", f"hub.log.segments.{module}", "--data", str(self._data), *arguments]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            lines, errors = await process.communicate()
        finally:
            await _end(process)
        if process.returncode == 0:
            return lines.splitlines(), None
        said = errors.decode(errors="replace").strip().splitlines()
        ended = f"the process that was to {module} ended with status {process.returncode}"
        return lines.splitlines(), said[-1] if said else ended

    # --- rotate and drop --------------------------------------------------------------------

    async def _rotate_and_drop(self) -> None:
        """Once a day: the hot file begins later, and what is older than the retention goes."""
        manifest = await asyncio.to_thread(Manifest.read, self._data / FOLDER)
        now_us = self._clock.now_us()
        before_us = (self._today() - self._settings.hot_days) * DAY_US
        upto = manifest.sealed_before(before_us, now_us)
        if upto <= self._rotated and not self._settings.retain_days:
            return
        begins, reader = await self._rotate(upto)
        self._rotated = max(self._rotated, begins)
        if self._settings.retain_days and manifest.seals:
            passed = self._rotated if reader is None else min(self._rotated, reader)
            await self._drop(passed)

    async def _drop(self, upto: int) -> None:
        oldest = EPOCH + timedelta(days=self._today() - self._settings.retain_days)
        async with self._sealing:
            lines, complaint = await self._run("drop", "--before", str(oldest), "--upto", str(upto))
        if complaint is not None:
            raise HubFault(complaint)
        if lines[0] != b"0":
            log.info("%s segment files of before %s were dropped", lines[0].decode(), oldest)

    def _today(self) -> int:
        return self._clock.now_us() // DAY_US


class _Due:
    """Whether it is time to seal: by size, or by the age of the oldest event that is not sealed."""

    def __init__(self, settings: LogSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.known = False
        self.sealed = 0
        self._bytes_at_seal = 0
        self._since: float | None = None
        self._facts = 0
        """Events after the last seal that say no more than that it was made."""

    def begin(self, sealed: int, made_us: int | None, last: int, appended: int) -> None:
        """Take over from the manifest, when we don't know or another has sealed."""
        if self.known and sealed == self.sealed:
            return
        self._bytes_at_seal = appended - (last - sealed) * EVENT_BYTES
        if not self.known:  # none of what was appended since the hub started is sealed
            self._bytes_at_seal = min(self._bytes_at_seal, 0)
        self.known, self.sealed, self._since = True, sealed, None
        self._facts = 0 if made_us is None else 1
        if made_us is not None and last > sealed + self._facts:
            age_s = max(0, self._clock.now_us() - made_us) / 1_000_000
            self._since = self._clock.monotonic() - age_s  # at most so old

    def now(self, last: int, appended: int) -> bool:
        """Whether to seal up to `last`."""
        if last <= self.sealed + self._facts:
            return False  # or an idle hub would make a file an hour of nothing
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
        return (
            appended - self._bytes_at_seal >= self._settings.seal_mb * MEBIBYTE
            or now - self._since >= self._settings.seal_s
        )

    def done(self, sealed: int, appended: int, *, facts: int) -> None:
        """All up to a seq was sealed, when so much had been appended."""
        self.sealed, self._bytes_at_seal, self._since = sealed, appended, None
        self._facts = facts


async def _end(process: Process) -> None:
    """See the process end with us."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
