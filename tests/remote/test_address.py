"""Where a learner elsewhere finds its devices, and what its client loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hub.remote import Address, RemoteFault


def test_an_address_names_hub_agent_key_and_devices() -> None:
    address = Address.parse("sheepfold://k.s@hub.local:8123/arm?devices=a,b")
    assert address == Address("hub.local", 8123, "arm", "k.s", ("a", "b"))
    assert Address.parse("sheepfold://hub/arm?key=k.s&devices=a&devices=b").devices == ("a", "b")
    assert Address.parse("sheepfold://k.s@[::1]/arm") == Address("::1", 8000, "arm", "k.s")
    assert Address.parse("sheepfolds://k.s@hub/arm") == Address("hub", 443, "arm", "k.s", tls=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://k@hub/arm", "begins with sheepfold://"),
        ("sheepfold://", "begins with sheepfold://"),
        ("sheepfold://secret@hub:99999/arm", "no address"),
        ("sheepfold://secret@hub/", "no agent or no key"),
        ("sheepfold://hub/arm", "no agent or no key"),
        ("sheepfold://secret@hub/arm?device=a", "may have devices and key"),
        ("sheepfold://secret@hub/arm?devices=a,a", "names a device twice"),
        ("", "begins with"),
    ],
)
def test_what_is_no_address_is_told_what_one_is_and_shows_no_key(text: str, said: str) -> None:
    with pytest.raises(RemoteFault, match=said) as refused:
        Address.parse(text)
    assert "secret" not in str(refused.value)


def test_the_client_loads_nothing_of_the_hub_but_its_words() -> None:
    heavy = ("torch", "duckdb", "litestar", "uvicorn", "amqtt", "pyarrow", "stable_baselines3")
    code = f"import sys, hub.remote; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
