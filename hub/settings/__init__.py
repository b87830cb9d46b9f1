"""Every setting, with its unit, default and reason; `deploy/hub.toml` is generated from here.

Defaults < TOML file < `SHEEPFOLD__SECTION__KEY` < flags.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, field

from hub.errors import OperatorFault
from hub.settings.alerts import AlertSettings
from hub.settings.doors import (
    ConsoleSettings,
    HttpSettings,
    KeySettings,
    MqttSettings,
    QuotaSettings,
    TlsSettings,
)
from hub.settings.federation import FederationSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AlertSettings",
    "AnalystSettings",
    "ConsoleSettings",
    "HttpSettings",
    "HubSettings",
    "KeySettings",
    "LearnerSettings",
    "LogSettings",
    "MqttSettings",
    "QuotaSettings",
    "Settings",
    "StepSettings",
    "Supervised",
    "TlsSettings",
    "load",
    "supervised",
]

ENVIRONMENT_PREFIX: Final = "SHEEPFOLD__"


class HubSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[hub]`: the process and its folder."""

    data: Annotated[str, Meta(description="Folder of the log, policies and sockets.")] = "./data"
    host: Annotated[
        str, Meta(description="Address to listen on; plain text belongs on loopback.")
    ] = "127.0.0.1"
    drain_s: Annotated[
        float,
        Meta(
            gt=0,
            le=5,
            description="After SIGTERM, how long waiting steps may take to be answered; the whole "
            "end takes less than ten seconds.",
        ),
    ] = 3.0


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[log]`: commits, readers, segments."""

    batch_rows_max: Annotated[
        int, Meta(ge=1, description="Rows of one commit; more wait for the next.")
    ] = 4096
    pending_rows_max: Annotated[
        int,
        Meta(ge=1, description="Rows waiting for a commit; above, reading from devices pauses."),
    ] = 65_536
    pending_mb_max: Annotated[
        float, Meta(gt=0, description="Memory of the rows waiting for a commit; the same then.")
    ] = 256.0
    checkpoint_wal_mb: Annotated[
        float,
        Meta(gt=0, description="CHECKPOINT at this size: it blocks commits for about 10 ms a MB."),
    ] = 2.0
    checkpoint_idle_s: Annotated[
        float, Meta(gt=0, description="CHECKPOINT after so long without a commit.")
    ] = 5.0
    memory_mb: Annotated[int, Meta(ge=64, description="DuckDB's memory limit.")] = 512
    reader_events_max: Annotated[
        int,
        Meta(ge=1, description="Events queued for a slow reader; above, it replays from the file."),
    ] = 65_536
    disk_free_mb_min: Annotated[
        float,
        Meta(gt=0, description="Free disk space below which nothing is committed, only waited."),
    ] = 96.0
    restart_s_max: Annotated[
        float, Meta(gt=0, description="Longest wait before the log process is started again.")
    ] = 2.0
    seal_mb: Annotated[
        float,
        Meta(gt=0, description="Events of this size are sealed as Parquet segments."),
    ] = 64.0
    seal_s: Annotated[
        float,
        Meta(
            gt=0,
            description="Events are sealed when the oldest of them is this old; the hub looks "
            "every 5 s, so a small value is rounded up.",
        ),
    ] = 3600.0
    hot_days: Annotated[
        int,
        Meta(
            ge=0,
            description="Whole UTC days before today that stay in the DuckDB file, 0 = today "
            "only; older ones are in segments only.",
        ),
    ] = 2
    retain_days: Annotated[
        int, Meta(ge=0, description="Whole days that are kept at all; 0 = for ever.")
    ] = 0
    feed_host: Annotated[str, Meta(description="Address for readers on other machines.")] = (
        "127.0.0.1"
    )
    feed_port: Annotated[
        int,
        Meta(
            ge=-1,
            le=65535,
            description="TCP port for readers on other machines, who need DATA/feed.token; "
            "0 = any free one, -1 = none.",
        ),
    ] = -1


class AnalystSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[analyst]`: SQL queries, in a process of their own."""

    memory_mb: Annotated[int, Meta(ge=64, description="DuckDB's memory limit there.")] = 512
    threads: Annotated[
        int, Meta(ge=1, le=256, description="Threads of one query; devices need processors too.")
    ] = 1
    query_s: Annotated[float, Meta(gt=0, description="Time limit of one SQL query.")] = 30.0
    result_bytes_max: Annotated[int, Meta(ge=1024, description="Size limit of one SQL result.")] = (
        268_435_456
    )
    queries_max: Annotated[
        int, Meta(ge=1, description="Queries that run at once; some more wait.")
    ] = 2
    pull_s: Annotated[
        float, Meta(gt=0, description="New events are fetched this often while nobody asks.")
    ] = 2.0


class StepSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[step]`: one observation on its way to its answer."""

    grace_ms: Annotated[
        float,
        Meta(
            gt=0,
            description="An observation waits so long for its action, to share one commit; never "
            "beyond its deadline.",
        ),
    ] = 20.0
    gather_ms: Annotated[
        float,
        Meta(
            ge=0,
            description="What is to be committed waits so long for actions that are being chosen, "
            "to share one commit.",
        ),
    ] = 1.0
    commit_s_max: Annotated[
        float,
        Meta(gt=0, description="A commit may take so long; after it devices are told `busy`."),
    ] = 1.0
    silence_s: Annotated[
        float,
        Meta(gt=0, description="How often the hub looks for devices that fell silent."),
    ] = 1.0
    refused_per_minute: Annotated[
        int, Meta(ge=0, description="`refused` events logged per device; the rest is only counted.")
    ] = 60
    override_s: Annotated[
        float,
        Meta(
            gt=0,
            le=31_536_000,
            description="A person's override of a device (`cmd/override`) ends after so long, so "
            "that a forgotten one does not act for ever.",
        ),
    ] = 3600.0
    waiting_max: Annotated[
        int,
        Meta(
            ge=1, description="Steps waiting for their actor; above, the fallback answers at once."
        ),
    ] = 16_384


class LearnerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[learner]`: trainers and actors."""

    nice: Annotated[int, Meta(ge=0, le=19, description="Priority of trainers; actors keep 0.")] = 10
    restart_s_first: Annotated[
        float, Meta(gt=0, description="Wait before the first restart of a process; doubles after.")
    ] = 0.1
    restart_s_max: Annotated[float, Meta(gt=0, description="Longest wait before a restart.")] = 30.0
    sleep_s: Annotated[
        float,
        Meta(
            ge=0,
            description="An agent that nobody has asked for so long, and that has learnt all, "
            "sleeps: its two processes end, and start with its next observation; 0 = never.",
        ),
    ] = 600.0
    lag_max: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Observations of an agent that may wait for its trainer; above, and until "
            "half are left, they are taken in without gradient steps, or left out on-policy.",
        ),
    ] = 8192
    policies_kept: Annotated[
        int,
        Meta(
            ge=2,
            description="Policy files kept for each agent; the newest and those in use always.",
        ),
    ] = 50
    import_mb_max: Annotated[
        int,
        Meta(ge=1, le=4096, description="Largest policy file to be imported, unpacked too."),
    ] = 64


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """All sections."""

    hub: HubSettings = field(default_factory=HubSettings)
    mqtt: MqttSettings = field(default_factory=MqttSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    log: LogSettings = field(default_factory=LogSettings)
    analyst: AnalystSettings = field(default_factory=AnalystSettings)
    step: StepSettings = field(default_factory=StepSettings)
    quotas: QuotaSettings = field(default_factory=QuotaSettings)
    keys: KeySettings = field(default_factory=KeySettings)
    learner: LearnerSettings = field(default_factory=LearnerSettings)
    console: ConsoleSettings = field(default_factory=ConsoleSettings)
    federation: FederationSettings = field(default_factory=FederationSettings)
    alerts: AlertSettings = field(default_factory=AlertSettings)


class Supervised(Struct, frozen=True):
    """What systemd wants to be told, and where; no setting, for systemd says it by itself."""

    socket: str = ""
    """Path, or `@` and a name in the abstract namespace; empty = nobody listens."""
    watchdog_s: float = 0.0
    """It takes the hub for dead after so long without a word; 0 = never."""


def supervised(environment: Mapping[str, str] | None = None) -> Supervised:
    """What the environment says of it (sd_notify(3), sd_watchdog_enabled(3))."""
    known = os.environ if environment is None else environment
    watchdog_us = known.get("WATCHDOG_USEC", "")
    if known.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        watchdog_us = ""  # it is meant for another process
    watchdog_s = int(watchdog_us) / 1e6 if watchdog_us.isdecimal() else 0.0
    return Supervised(known.get("NOTIFY_SOCKET", ""), watchdog_s)


def load(
    file: Path | None = None,
    *,
    flags: Mapping[str, Mapping[str, Any]] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """The settings in force.

    Raises:
        OperatorFault: the file can't be read, or a name or value in any layer is wrong.
    """
    merged: dict[str, dict[str, Any]] = {}
    if file is not None:
        try:
            _merge(merged, tomllib.loads(file.read_text()), str(file))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise OperatorFault(f"settings file {file} can't be read: {error}") from error
    for name, text in (os.environ if environment is None else environment).items():
        if name.startswith(ENVIRONMENT_PREFIX):
            section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
            _merge(merged, {section: {key: text}}, name)
    _merge(merged, flags or {}, "the command line")
    try:
        return msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise OperatorFault(f"settings: {error}; deploy/hub.toml shows every name") from error


def _merge(
    into: dict[str, dict[str, Any]], layer: Mapping[str, Mapping[str, Any]], source: str
) -> None:
    for section, values in layer.items():
        if not isinstance(values, dict):
            raise OperatorFault(f"{source}: {section!r} must be a section, as in [{section}]")
        into.setdefault(section, {}).update({k: v for k, v in values.items() if v is not None})
