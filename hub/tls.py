"""TLS for every door: one context, whose certificate can be renewed while it serves.

tls = read_tls(settings.tls, host)      # None: plain text
tls.context                             # for every listener
tls.reload()                            # on SIGHUP; connections that stand go on
"""

from __future__ import annotations

import ipaddress
import ssl
from typing import TYPE_CHECKING, Any

from hub.errors import OperatorFault

if TYPE_CHECKING:
    from hub.settings import TlsSettings


class Tls:
    """The hub's certificate, and whose certificates it believes.

    Raises:
        OperatorFault: a file can't be read, or they don't belong together.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self.context = _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), settings)

    def reload(self) -> None:
        """Take the files as they are now for all connections to come.

        Certificates that were believed still are: a context forgets none.

        Raises:
            OperatorFault: they are not right; those before still hold.
        """
        _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self._settings)  # else half of it holds
        _loaded(self.context, self._settings)


def read_tls(settings: TlsSettings, host: str) -> Tls | None:
    """TLS as set; None where plain text is allowed.

    Raises:
        OperatorFault: keys would travel in plain text, or a file is not right.
    """
    if settings.certificate:
        return Tls(settings)
    if settings.client_ca:
        raise OperatorFault("tls.client_ca needs a certificate of the hub's own: tls.certificate")
    if not _is_loopback(host) and not settings.plain_text:
        raise OperatorFault(
            f"on host {host!r} keys would travel in plain text: set tls.certificate and tls.key, "
            "or tls.plain_text = true (SHEEPFOLD__TLS__PLAIN_TEXT=true) where TLS ends before it"
        )
    return None


def certified_name(ssl_object: Any) -> str | None:  # noqa: ANN401 - uvloop's is no ssl.SSLObject
    """The common name in the certificate that a client has shown, and that is believed."""
    shown = ssl_object.getpeercert() if ssl_object is not None else None
    for part in (shown or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return None


def _loaded(context: ssl.SSLContext, settings: TlsSettings) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key or None)
        if settings.client_ca:
            context.load_verify_locations(settings.client_ca)
            required = settings.client_required
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        files = f"{settings.certificate}, {settings.key or '-'}, {settings.client_ca or '-'}"
        raise OperatorFault(f"[tls] certificate, key, client_ca ({files}): {error}") from error
    return context


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
