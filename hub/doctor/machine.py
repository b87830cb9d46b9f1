"""What can be wrong with the machine a hub is to run on."""

from __future__ import annotations

import datetime
import os
import resource
import shutil
import socket
import stat
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from packaging.requirements import Requirement

from hub.doctor.finding import Finding
from hub.errors import OperatorFault
from hub.tls import Tls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.settings import Settings, TlsSettings

MEBIBYTE: Final = 1 << 20
SPARE: Final = 4
"""Times `disk_free_mb_min`: below it somebody should make room before the hub stops committing."""
INODES_MIN: Final = 1000
FILES_SPARE: Final = 200
"""Open files that are no sockets of devices."""
EXPIRES: Final = datetime.timedelta(days=30)
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def disk(data: Path, settings: Settings) -> Iterator[Finding]:
    """Whether there is room for the log."""
    free_mb = shutil.disk_usage(data).free / MEBIBYTE
    least = settings.log.disk_free_mb_min
    if free_mb < SPARE * least:
        stopped = free_mb < least
        yield Finding(
            check="disk",
            level="wrong" if stopped else "note",
            where=str(data),
            says=f"{free_mb:,.0f} MB are free; below {least:,.0f} MB (disk_free_mb_min) nothing is "
            "committed and devices are told busy",
            do="free some, or keep less: retain_days, hot_days and policies_kept",
        )
    inodes = os.statvfs(data).f_favail
    if 0 < inodes < INODES_MIN:
        yield Finding(
            check="disk",
            level="note",
            where=str(data),
            says=f"only {inodes} more files fit",
            do="delete many small files on this disk",
        )


def ports(settings: Settings) -> Iterator[Finding]:
    """Whether the hub could listen; not asked while it does."""
    wanted = {
        "http.port": settings.http.port,
        "mqtt.port": settings.mqtt.port,
        "mqtt.ws_port": settings.mqtt.ws_port,
    }
    if settings.mqtt.broker:
        wanted = {"http.port": settings.http.port}
    for name, port in wanted.items():
        try:
            socket.create_server((settings.hub.host, port)).close()
        except OSError as error:
            yield Finding(
                check="ports",
                level="wrong",
                where=f"{settings.hub.host}:{port}",
                says=f"{name} can't be listened on: {error.strerror}",
                do=f"'ss -ltnp sport = :{port}' says who has it; end that, or set another {name}",
            )


def open_files(settings: Settings) -> Iterator[Finding]:
    """Whether as many sockets as are set may be open at once."""
    may, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.mqtt.connections_max + settings.http.connections_max + FILES_SPARE
    if may != resource.RLIM_INFINITY and may < wanted:
        yield Finding(
            check="files",
            level="note",
            where=f"ulimit -n is {may}",
            says=f"connections_max of [mqtt] and [http] together ask for {wanted}",
            do=f"ulimit -n {wanted}, LimitNOFILE={wanted} in systemd, or fewer connections_max",
        )


def packages() -> Iterator[Finding]:
    """Whether what is installed is what this version was made for."""
    for text in requires("sheepfold") or ():
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            found = ""
        if found and wanted.specifier.contains(found, prereleases=True):
            continue
        yield Finding(
            check="packages",
            level="wrong",
            where=sys.prefix,
            says=f"{wanted.name} {found or 'is not there'}; this version needs {wanted}",
            do=f"{sys.executable} -m pip install '{wanted}'",
        )


def certificates(settings: TlsSettings, now_us: int) -> Iterator[Finding]:
    """Whether the hub can use its files, the certificate still holds, and the key is its alone."""
    if not settings.certificate:
        return
    try:
        Tls(settings)
    except OperatorFault as fault:
        yield Finding(
            check="tls",
            level="wrong",
            where=settings.certificate,
            says=f"the hub does not start: {fault}",
            do="mend the files or the settings of [tls]; `sheepfold tls hub` makes a certificate",
        )
        return
    key = Path(settings.key or settings.certificate)
    if key.stat().st_mode & OTHERS:
        yield Finding(
            check="tls",
            level="wrong",
            where=str(key),
            says="other users of this machine may read the private key",
            do=f"chmod 600 {key}",
            mend=lambda: key.chmod(0o600),
        )
    certificate = x509.load_pem_x509_certificate(Path(settings.certificate).read_bytes())
    until = certificate.not_valid_after_utc
    now = datetime.datetime.fromtimestamp(now_us / 1e6, datetime.UTC)
    if until - now < EXPIRES:
        over = until < now
        yield Finding(
            check="tls",
            level="wrong" if over else "note",
            where=settings.certificate,
            says=f"{'expired' if over else 'expires'} on {until:%Y-%m-%d}",
            do="renew it (`sheepfold tls hub`, if you are its authority), then send SIGHUP",
        )
