"""A certificate authority of one's own: its key signs the hub's certificate and devices'.

    authority = Authority.make(folder, clock)          # once; the key stays in the folder
    authority.certify_hub(["hub.local", "192.0.2.7"])
    authority.certify_device(DeviceId("heater-1"))

The authority's key is the only secret that signs. Whoever has it can be any device, so it need not
stay on the hub's machine. P-256 and SHA-256, which microcontrollers' TLS libraries have; a path of
one step; names as RFC 5280, 4.2.1.6 has them, which is where clients look.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from typing import TYPE_CHECKING, Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hub.errors import OperatorFault

if TYPE_CHECKING:
    from pathlib import Path

    from hub.clock import Clock
    from hub.words import DeviceId

CA: Final = "ca"
HUB: Final = "hub"
DEVICES: Final = "devices"
CA_DAYS: Final = 3650
"""Devices that know only this one have to be given another by hand."""
HUB_DAYS_MAX: Final = 825
"""More, and Apple's TLS refuses it, private authorities' too."""
HOST: Final = re.compile(
    r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?",
    re.IGNORECASE,
)
"""RFC 1123, 2.1, with the _ that home networks have, and a wildcard in front (RFC 6125, 6.4.3)."""
EARLIER: Final = datetime.timedelta(hours=1)
"""Devices without a good clock take a certificate of this minute for one of the future."""


class Authority:
    """The key and certificate in a folder, and what they sign there.

    Args:
        folder: `ca.pem`, `ca.key`; `hub.pem`, `hub.key`; `devices/NAME.pem`, `NAME.key`.
        key: signs.
        certificate: of the authority; devices and the hub are given it.
        clock: of the machine.
    """

    def __init__(
        self,
        folder: Path,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        clock: Clock,
    ) -> None:
        self._folder = folder
        self._key = key
        self._certificate = certificate
        self._clock = clock

    @classmethod
    def make(cls, folder: Path, clock: Clock) -> Self:
        """A new one.

        Raises:
            OperatorFault: one is there: what it signed would be worth nothing with another.
        """
        certificate_file, key_file = _files(folder, CA)
        if key_file.exists() or certificate_file.exists():
            raise OperatorFault(
                f"{folder} has an authority; with another, devices would have to be given "
                "certificates anew. Name another folder, or 'sheepfold tls hub' renews the hub's"
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Sheepfold authority")
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        certificate = (
            _unsigned(name, name, key, clock, CA_DAYS)
            .add_extension(constraints, critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        _write(folder, CA, key, certificate)
        return cls(folder, key, certificate, clock)

    @classmethod
    def open(cls, folder: Path, clock: Clock) -> Self:
        """The one that is there.

        Raises:
            OperatorFault: there is none, or it can't be read.
        """
        certificate_file, key_file = _files(folder, CA)
        try:
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise OperatorFault(
                f"no authority can be read in {folder} ({error}); 'sheepfold tls init {folder}' "
                "makes one"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise OperatorFault(f"{key_file} was not made by 'tls init': no elliptic curve")
        return cls(folder, key, certificate, clock)

    @property
    def file(self) -> Path:
        """Its certificate: what devices are given to know the hub by."""
        return _files(self._folder, CA)[0]

    def certify_hub(self, names: list[str], days: int) -> tuple[Path, Path]:
        """Certificate and key of a hub that is reached under these names and addresses, anew.

        Raises:
            OperatorFault: one of them is neither.
        """
        extensions = [x509.SubjectAlternativeName(alternatives(names))]
        return self._sign(HUB, names[0], ExtendedKeyUsageOID.SERVER_AUTH, days, extensions)

    def certify_device(self, device: DeviceId, days: int) -> tuple[Path, Path]:
        """Certificate and key of a device: its common name is the device's id.

        Raises:
            OperatorFault: it has one that is still there.
        """
        stem = f"{DEVICES}/{device}"
        certificate_file, _ = _files(self._folder, stem)
        if certificate_file.exists():
            raise OperatorFault(
                f"device {device!r} has {certificate_file}, which would go on being believed until "
                "it expires; move it away to make another"
            )
        certificate_file.parent.mkdir(mode=0o700, exist_ok=True)
        return self._sign(stem, device, ExtendedKeyUsageOID.CLIENT_AUTH, days, [])

    def _sign(
        self,
        stem: str,
        common_name: str,
        purpose: x509.ObjectIdentifier,
        days: int,
        extensions: list[x509.SubjectAlternativeName],
    ) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(common_name)
        builder = _unsigned(subject, self._certificate.subject, key, self._clock, days)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        _write(self._folder, stem, key, builder.sign(self._key, hashes.SHA256()))
        return _files(self._folder, stem)


def _unsigned(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    clock: Clock,
    days: int,
) -> x509.CertificateBuilder:
    now = datetime.datetime.fromtimestamp(clock.now_us() // 1_000_000, datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def alternatives(names: list[str]) -> list[x509.GeneralName]:
    """Names and addresses of a host as a certificate has them.

    Raises:
        OperatorFault: one of them is neither.
    """
    return [_alternative(name) for name in names]


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        ascii_name = name.encode("idna").decode()
    except UnicodeError:
        ascii_name = ""
    if not HOST.fullmatch(ascii_name):
        raise OperatorFault(
            f"{name!r} is neither a host's name, such as hub.local, nor an address; it stands "
            "without a port and without https://"
        )
    return x509.DNSName(ascii_name)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])  # RFC 5280, A.1


def _files(folder: Path, stem: str) -> tuple[Path, Path]:
    return folder / f"{stem}.pem", folder / f"{stem}.key"


def _write(
    folder: Path, stem: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
) -> None:
    certificate_file, key_file = _files(folder, stem)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    _write_whole(key_file, key.private_bytes(pem, pkcs8, serialization.NoEncryption()), 0o600)
    _write_whole(certificate_file, certificate.public_bytes(pem), 0o644)


def _write_whole(file: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and nobody else's at any moment: a hub may read it right now."""
    draft = file.with_suffix(file.suffix + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
        opened.write(content)
    draft.replace(file)
