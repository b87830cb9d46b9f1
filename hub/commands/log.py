"""`sheepfold sql|seal|backup|move|restore|verify|export`: the log.

What needs DuckDB, Arrow or the whole hub is imported by the command that uses it: the others start
in a moment.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

import click

from hub import control
from hub.ask import NoHub, ask
from hub.clock import SystemClock
from hub.commands.operate import check_data, data_option, do, print_line, private
from hub.commands.progress import Meter
from hub.errors import OperatorFault
from hub.log.analyst.messages import ResultForm
from hub.log.segments.manifest import FOLDER, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as shells count it: 128 and the signal's number."""
PIPE_BROKEN: Final = 141
"""Nobody reads on, as with `| head`."""

folder: Final = click.Path(path_type=Path, file_okay=False)


class _Asking(click.Command):
    """A query may begin with a comment of SQL, which looks like an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, a blank line before what begins with `-- `."""
        return super().parse_args(ctx, [f"\n{a}" if a.startswith("-- ") else a for a in args])


@click.command(cls=_Asking)
@click.argument("query")
@click.option("--format", "form", type=click.Choice(get_args(ResultForm)), default="table")
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@data_option
def sql(query: str, form: ResultForm, data: Path) -> None:
    """Ask the live log; sees all that was acknowledged before."""
    from hub.log.analyst.ask import stream_blocking
    from hub.log.analyst.messages import Ask

    try:
        acknowledged: int = ask(data, control.Position()).answer["seq"]
        wanted = Ask(query, form, after=acknowledged, agents=None)
        code = _write_out(stream_blocking(data, wanted))
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


def _write_out(chunks: Iterable[bytes]) -> int:
    """Pass the chunks on to stdout as they come; the exit code, 0 when all went out."""
    out = sys.stdout.buffer
    for chunk in chunks:
        try:
            out.write(chunk)
            out.flush()
        except BrokenPipeError:
            # Python flushes stdout once more at its end, and must not complain about it then.
            with contextlib.suppress(OSError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), out.fileno())
            return PIPE_BROKEN
    return 0


@click.command()
@data_option
def seal(data: Path) -> None:
    """Write all that is committed as Parquet segments; prints the seal, null when all was."""
    do(data, control.SealNow())


@click.command()
@click.argument("target", metavar="DIR", type=folder)
@data_option
def backup(target: Path, data: Path) -> None:
    """Copy the sealed log and the policies into DIR; the next time, what is new."""
    from hub.log.moved import check_not_moved
    from hub.log.segments.backup import backup as copy

    check_not_moved(data)
    _seal_first(data)
    with private(), _disk(), Meter("backup", SystemClock()) as meter:
        copied = copy(data, target, meter.bytes)
    print_line(copied)


@click.command()
@click.argument("target", metavar="DIR", type=folder)
@data_option
def move(target: Path, data: Path) -> None:
    """Copy all that a stopped hub is into DIR, for another machine; it won't start here again.

    With `sheepfold backup DIR` before, while it still runs, little is left to be copied.
    """
    from hub.log.segments.moving import move as carry
    from hub.processes import claimed

    check_data(data)
    with private(), _disk(), claimed(data):
        _seal_rest(data)
        with Meter("move", SystemClock()) as meter:
            moved = carry(data, target, meter.bytes)
    print_line(moved)
    click.echo(
        f"sheepfold: restore {target} where the hub is to run now, and start it there. {target} "
        "holds the keys of what devices sent besides numbers: delete it when that is done",
        err=True,
    )


@click.command()
@click.argument("source", metavar="DIR", type=folder)
@data_option
def restore(source: Path, data: Path) -> None:
    """Make the data folder anew from the backup in DIR; no hub may run on it."""
    from hub.log.segments.backup import restore as copy_back
    from hub.processes import claimed

    if not source.is_dir():
        raise OperatorFault(f"there is no backup {source}")
    with private(), _disk(), claimed(data), Meter("restore", SystemClock()) as meter:
        restored = copy_back(source, data, _open_once, meter.bytes)
    print_line(restored)


@click.command()
@data_option
def verify(data: Path) -> None:
    """Prove that no event is missing or changed; prints the report, exits with 1 otherwise."""
    from hub.log.segments.verify import verify as prove

    check_data(data)
    with _disk(), Meter("verify", SystemClock()) as meter:
        report = prove(data, meter.bytes)
    print_line(report)
    for said in (*report.problems, *report.notes()):
        click.echo(f"sheepfold: {said}", err=True)
    sys.exit(1 if report.problems else 0)


@click.command()
@click.option("--parquet", "target", metavar="DIR", type=folder, required=True, help="Where to.")
@click.option("--reveal", is_flag=True, help="With what devices sent beside numbers, in the clear.")
@data_option
def export(target: Path, data: Path, *, reveal: bool) -> None:
    """Write the log as Parquet files for others; they hold no secrets."""
    from hub.log import payload_keys
    from hub.log.segments.export import export as write

    _seal_first(data)
    keys = payload_keys.PayloadKeys(data / payload_keys.FOLDER) if reveal else None
    with _disk(), Meter("export", SystemClock()) as meter:
        written = write(data, target, keys, meter.bytes)
    print_line(written)


def _seal_first(data: Path) -> None:
    """Have the running hub seal what is new; without one, do it here."""
    from hub.log.salvage import newest
    from hub.processes import claimed

    try:
        ask(data, control.SealNow())
    except NoHub:
        check_data(data)
        if newest(data).exists():
            with private(), _disk(), claimed(data):
                _seal_rest(data)
            return
        upto = Manifest.read(data / FOLDER).seq_last
        click.echo(
            f"sheepfold: no hub runs on {data}: only what is sealed is taken, up to seq {upto}",
            err=True,
        )


def _seal_rest(data: Path) -> None:
    """Seal what a stopped hub left, and say what of its log was damaged.

    Raises:
        OperatorFault: the files would be another user's than the hub's, and it could not read them.
    """
    from hub.log.rest import seal_rest
    from hub.settings import load

    if data.stat().st_uid != os.geteuid():
        raise OperatorFault(f"{data} is another user's; run this command as the hub's user")
    damage = seal_rest(data, load().log)
    if damage is not None:
        click.echo(f"sheepfold: {damage}", err=True)


def _open_once(data: Path) -> None:
    """Have the log read in what is sealed, so that the hub starts quickly and all is known good."""
    from hub.log.store import DuckLog
    from hub.settings import load

    log = DuckLog.open(data, load().log, clock=SystemClock())
    if log.state.damage is not None:
        click.echo(f"sheepfold: {log.state.damage}", err=True)
    log.close()


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    """What the system refuses is said in one line.

    Raises:
        OperatorFault: it did.
    """
    try:
        yield
    except OSError as error:
        raise OperatorFault(f"{error.filename or 'disk'}: {error.strerror}") from error
