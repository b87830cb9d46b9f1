"""`sheepfold demo`: a hub, CartPole devices that learn live, and what the log says of it."""

from __future__ import annotations

import shlex
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec
from msgspec import Struct
from rich.console import Console

from hub.clock import SystemClock
from hub.demo import check, curve
from hub.demo.fleet import Fleet, muster
from hub.demo.serving import ServedHub
from hub.errors import OperatorFault, SheepfoldError
from hub.simulate.display import open_display
from hub.simulate.standing import EPISODES_JUDGED, SOLVED_RETURN, Standing

if TYPE_CHECKING:
    from hub.clock import Clock

AGENT: Final = "cartpole"
OBSERVATIONS: Final = "[[4],-3.4e38,3.4e38]"
ACTIONS: Final = "2"
SECONDS: Final = 120.0
DEVICES: Final = 4
DEVICES_FOLDER: Final = "devices"
"""Below the hub's data: what each device was told, and its last words."""
LISTEN_S: Final = 0.25
OVER: Final = "the time is over"
SHOWN_SQL: Final = (
    'SELECT device, count(*) AS episodes, round(avg("return"), 1) AS mean_return, '
    'max("return") AS best FROM episodes GROUP BY device ORDER BY device'
)
EVENTS_SQL: Final = "SELECT count(*) AS events, coalesce(max(seq), 0) AS seq_last FROM events"


class Result(Struct, frozen=True):
    """How a demo ended."""

    solved: bool
    says: str
    data: str
    """Its folder, which is kept."""
    events: int = 0
    """In the log."""
    held: bool = False
    """The log is gapless, and has every acknowledged step."""
    short: bool = False
    """The time was over while it learnt: given longer it may be solved."""


def run(
    seconds: float = SECONDS,
    devices: int = DEVICES,
    data: Path | None = None,
    *,
    as_json: bool = False,
) -> int:
    """Run the demo until it is solved or the time is over.

    Args:
        seconds: for learning, counted from the start of the devices.
        devices: simulated ones; their protocols are MQTT, MQTT, HTTP, Shepherd and so on.
        data: folder of the hub, kept at the end; None = a new temporary one.
        as_json: print the result as a JSON line, and what a person reads on stderr.

    Returns:
        0 = solved or still learning when the time was over, and every acknowledged step is in the
        log; 1 otherwise.
    """
    console = Console(soft_wrap=True, highlight=False, stderr=as_json)
    clock = SystemClock()
    if data is None:
        data = Path(tempfile.mkdtemp(prefix="sheepfold-demo-"))
    data.mkdir(parents=True, exist_ok=True)
    before = signal.signal(signal.SIGTERM, _exit_at_sigterm)
    try:
        if (data / DEVICES_FOLDER).exists():
            raise OperatorFault(f"{data} holds an earlier demo; name a new folder")
        with ServedHub(data, log=data / "hub.txt", clock=clock, pause=time.sleep) as served:
            result = _run(served, seconds, devices, data, console=console, clock=clock)
    except SheepfoldError as error:
        result = Result(solved=False, says=f"not solved: {error}", data=str(data))
        console.print(result.says, markup=False)
    finally:
        signal.signal(signal.SIGTERM, before)
    console.print(f"data folder kept: {data}", markup=False)
    if as_json:
        print(msgspec.json.encode(result).decode())
    return 0 if result.held and (result.solved or result.short) else 1


def _run(
    served: ServedHub,
    seconds: float,
    devices: int,
    data: Path,
    *,
    console: Console,
    clock: Clock,
) -> Result:
    agent = served.create_agent(AGENT, algorithm="PPO", observations=OBSERVATIONS, actions=ACTIONS)
    address = f"http://127.0.0.1:{served.ready.http}/console/"
    console.print(f"console: {address}   MQTT: 127.0.0.1:{served.ready.mqtt}", markup=False)
    fleet = Fleet(muster(devices), data / DEVICES_FOLDER, key=agent.api_key, ready=served.ready)
    with fleet:
        outcome = _watch(fleet, seconds, title=address, console=console, clock=clock)
        console.print(outcome.text, markup=False)
        events, held = _look_back(served, fleet, data, console=console)
    return Result(outcome.solved, outcome.text, str(data), events, held, outcome.short)


class _Outcome(Struct, frozen=True):
    solved: bool
    text: str
    short: bool = False
    """As `Result` has it."""


def _watch(fleet: Fleet, seconds: float, *, title: str, console: Console, clock: Clock) -> _Outcome:
    """Show the devices' progress until there is an outcome, then stop them."""
    protocols: dict[str, str] = {member.device: member.protocol for member in fleet.members}
    standing = Standing(list(protocols), now=clock.monotonic())
    reason = ""
    with open_display(console, protocols, title=title) as display:
        try:
            while not (standing.solved or reason):
                for progress in fleet.receive(LISTEN_S):
                    standing.add(progress, now=clock.monotonic())
                display.show(standing, now=clock.monotonic())
                if fleet.running < len(fleet.members):
                    reason = "; ".join(fleet.failures()) or "a device ended"
                elif clock.monotonic() - standing.started >= seconds:
                    reason = OVER
        except KeyboardInterrupt:
            reason = "interrupted"
        took_s = clock.monotonic() - standing.started
        outcome = outcome_of(standing, reason, took_s=took_s, seconds=seconds)
        for _ in fleet.stop():
            pass  # counted where it matters: in the lists of acknowledged steps
    return outcome


def outcome_of(standing: Standing, reason: str, *, took_s: float, seconds: float) -> _Outcome:
    """What to say of it: `reason` ended it before it was solved, `OVER` after the given seconds."""
    mean = standing.mean_return
    returned = "nothing yet" if mean is None else f"{mean:.1f} on average"
    policy = "no policy yet" if standing.policy is None else f"policy {standing.policy}"
    facts = (
        f"the last {EPISODES_JUDGED} episodes returned {returned} "
        f"after {took_s:.1f} s and {standing.total_steps:,} steps ({policy})"
    )
    if standing.solved:
        return _Outcome(solved=True, text=f"solved: {facts}")
    facts += f"; {SOLVED_RETURN:.0f} is asked"
    if reason != OVER:
        return _Outcome(solved=False, text=f"not solved: {reason}; {facts}")
    text = f"not solved in {seconds:g} s: {facts}"
    if not standing.policy:
        return _Outcome(solved=False, text=f"{text}; nothing was learnt yet")
    longer = 2 * seconds
    hint = f"it learns and needs longer: --seconds {longer:g} (make demo DEMO_SECONDS={longer:g})"
    return _Outcome(solved=False, text=f"{text}; {hint}", short=True)


class _Count(Struct, frozen=True):
    """One row of `EVENTS_SQL`."""

    events: int
    seq_last: int


def _look_back(
    served: ServedHub, fleet: Fleet, data: Path, *, console: Console
) -> tuple[int, bool]:
    """Tell the run again from the log alone: its events, and whether it holds the run."""
    episodes = served.sql(curve.SQL, curve.EndedEpisode)
    if episodes:
        learned = curve.trace(episodes)
        console.print(curve.draw_in_terminal(learned), markup=False)
        console.print("learning curve:", *curve.save(learned, data), markup=False)
    (count,) = served.sql(EVENTS_SQL, _Count)
    gapless = count.events == count.seq_last
    gaps = "without a gap" if gapless else "WITH GAPS"
    console.print(f"log: {count.events:,} events, seq 1 to {count.seq_last:,} {gaps}", markup=False)
    verdict = check.compare(fleet.acknowledged(), served.sql(check.SQL, check.LoggedStep))
    console.print(f"check {'passed' if verdict.ok else 'FAILED'}: {verdict}", markup=False)
    console.print(f"$ sheepfold sql {shlex.quote(SHOWN_SQL)} --data {data}", markup=False)
    console.print(served.command("sql", SHOWN_SQL), markup=False)
    return count.events, gapless and verdict.ok


def _exit_at_sigterm(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)
