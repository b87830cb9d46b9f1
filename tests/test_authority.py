"""An authority of one's own: what it signs, and what its command refuses."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509 import verification

from hub.authority import CA_DAYS, Authority
from hub.errors import OperatorFault
from tests.commands.typed import typed
from tests.intake.fakes import ManualClock

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "tls", ManualClock())


def read(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def at(authority: Authority, days: float) -> verification.PolicyBuilder:
    """Who believes the authority, so many days after."""
    now = datetime.datetime.fromtimestamp(ManualClock().now_us() / 1e6, datetime.UTC)
    store = verification.Store([read(authority.file)])
    return verification.PolicyBuilder().store(store).time(now + datetime.timedelta(days=days))


def test_a_hub_is_believed_under_each_of_its_names_while_its_certificate_holds(
    authority: Authority,
) -> None:
    certificate, _ = authority.certify_hub(["hub.local", "192.0.2.7"], days=30)
    name = x509.DNSName("hub.local")
    at(authority, 29).build_server_verifier(name).verify(read(certificate), [])
    for days, other in ((31, "hub.local"), (1, "other.local")):
        verifier = at(authority, days).build_server_verifier(x509.DNSName(other))
        with pytest.raises(verification.VerificationError):
            verifier.verify(read(certificate), [])


def test_a_device_s_certificate_is_no_hub_s_and_a_hub_s_no_device_s(authority: Authority) -> None:
    device, _ = authority.certify_device("heater-1", days=30)  # type: ignore[arg-type]  # it is one
    hub, _ = authority.certify_hub(["hub.local"], days=30)
    purpose = x509.ExtendedKeyUsage
    purposes = [
        [usage._name for usage in read(file).extensions.get_extension_for_class(purpose).value]
        for file in (device, hub)
    ]
    assert purposes == [["clientAuth"], ["serverAuth"]]
    assert read(device).subject.rfc4514_string() == "CN=heater-1"


def test_keys_are_their_user_s_alone(authority: Authority, tmp_path: Path) -> None:
    authority.certify_hub(["hub.local"], days=30)
    authority.certify_device("heater-1", days=30)  # type: ignore[arg-type]  # it is one
    keys = sorted((tmp_path / "tls").rglob("*.key"))
    assert [file.name for file in keys] == ["ca.key", "heater-1.key", "hub.key"]
    assert {file.stat().st_mode & 0o777 for file in keys} == {0o600}


def test_the_authority_outlives_what_it_signs(authority: Authority) -> None:
    certificate, _ = authority.certify_hub(["hub.local"], days=825)
    assert CA_DAYS > 825
    assert read(certificate).not_valid_after_utc < read(authority.file).not_valid_after_utc


@pytest.mark.parametrize("name", ["hub", "HUB.local", "my_hub.lan", "*.example.org", "bröker.de"])
def test_a_host_s_name_is_taken_as_clients_write_it(authority: Authority, name: str) -> None:
    certificate, _ = authority.certify_hub([name], days=30)
    said = x509.SubjectAlternativeName
    (taken,) = read(certificate).extensions.get_extension_for_class(said).value
    assert taken.value == name.encode("idna").decode()


def test_a_wrong_name_leaves_no_half_authority_behind(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    assert typed(tmp_path, "tls", "init", str(folder), "--name", "bad name/").code == 1
    assert not folder.exists()
    assert typed(tmp_path, "tls", "init", str(folder), "--name", "hub.local").code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("init", "{folder}"), "has an authority"),
        *(
            (("init", "{folder}-2", "--name", name), "neither a host's name")
            for name in ("a" * 70, "bad name/", "https://hub", "hub:8883", "a..b", "-hub", "")
        ),
        (("hub", "{folder}-3"), "sheepfold tls init"),
        (("device", "{folder}", "Heater 1"), "must match"),
        (("device", "{folder}", "hub"), "must match"),
        (("device", "{folder}", "heater-1"), "move it away"),
    ],
)
def test_tls_refuses_and_says_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    folder = tmp_path / "tls"
    assert typed(tmp_path, "tls", "init", str(folder)).code == 0
    assert typed(tmp_path, "tls", "device", str(folder), "heater-1").code == 0
    said = typed(tmp_path, "tls", *(argument.format(folder=folder) for argument in arguments))
    assert said.code == 1
    assert says in said.err


def test_an_authority_whose_key_is_not_there_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    Authority.make(folder, ManualClock())
    (folder / "ca.key").unlink()
    with pytest.raises(OperatorFault, match="has an authority"):
        Authority.make(folder, ManualClock())
