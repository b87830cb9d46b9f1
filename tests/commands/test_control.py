"""The operator's socket: what it carries out, in what order, and what it refuses."""

from __future__ import annotations

import asyncio
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
from msgspec import structs

from hub import control
from hub.ask import NoHub, ask
from hub.errors import HubFault, LogUnavailable, OperatorFault
from hub.facts import AgentMade, Alert, DeviceForgotten
from hub.frames import LENGTH, frame, receive_frame
from hub.histogram import Seen
from hub.intake.mapping.bound import check_mapping
from hub.registry import key_acts, user_acts
from hub.registry.access import operator_of, password_matches
from hub.registry.acts import Acts, NewAgent
from hub.registry.fold import Registry
from hub.words import AgentName, Event, Kind
from tests.commands.control_room import Archive
from tests.intake.fakes import ManualClock, ManualLog, Policies

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands.control_room import ControlRoom

WALKER = control.CreateAgent(
    NewAgent(name="walker", algorithm="PPO", observations=[[2], -1.0, 1.0], actions=2)
)
ANN = user_acts.CreateUser("ann", "owner", "correct horse")


def raw(room: ControlRoom, sent: bytes) -> bytes | None:
    """What is answered to bytes of any kind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(str(room.data / control.SOCKET_NAME))
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return receive_frame(connection)


def test_only_its_user_may_open_the_socket(room: ControlRoom) -> None:
    mode = (room.data / control.SOCKET_NAME).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_an_act_is_answered_when_it_is_in_the_log_and_folded(room: ControlRoom) -> None:
    answer = room.ask(WALKER)
    assert answer["agent"] == "walker"
    assert len(room.events) == 2
    assert list(room.registry.agents) == ["walker"]
    assert room.changed == ["walker"]


def test_a_user_is_made_with_a_hash_of_the_password_and_nothing_else_of_it(
    room: ControlRoom,
) -> None:
    assert room.ask(ANN) == {"user": "ann", "role": "owner"}
    (event,) = room.events
    assert event.agent == ""
    assert password_matches(room.registry.passwords["ann"], "correct horse")
    assert b"correct horse" not in msgspec.msgpack.encode(event)
    assert room.changed == [], "no agent's processes are disturbed"


def test_users_get_passwords_and_keys_and_leave(room: ControlRoom) -> None:
    room.ask(ANN)
    secret = room.ask(key_acts.CreateUserKey("ann"))["api_key"]
    assert operator_of(room.registry, secret).name == "ann"
    room.ask(user_acts.SetPassword("ann", "battery staple"))
    assert not password_matches(room.registry.passwords["ann"], "correct horse")
    assert room.ask(control.Show("users")) == [{"user": "ann", "role": "owner"}]
    assert room.ask(user_acts.RemoveUser("ann")) == {"removed": "ann"}
    assert room.ask(control.Show("users")) == []
    assert room.registry.keys == {}


@pytest.mark.parametrize(
    "request_",
    [
        user_acts.CreateUser("ann", "owner", ""),
        user_acts.CreateUser("ann", "owner", "1234567"),
        user_acts.CreateUser("Ann", "owner", "correct horse"),
        user_acts.SetPassword("nobody", "correct horse"),
        user_acts.RemoveUser("nobody"),
        key_acts.CreateUserKey("nobody"),
        control.ForgetDevice("nobody"),
    ],
    ids=lambda request: type(request).__name__,
)
def test_what_is_refused_leaves_no_event(room: ControlRoom, request_: control.Request) -> None:
    with pytest.raises(OperatorFault) as refused:
        room.ask(request_)
    assert "correct horse" not in str(refused.value)
    assert room.events == []


def test_position_is_the_last_acknowledged_seq(room: ControlRoom) -> None:
    assert room.ask(control.Position()) == {"seq": 0}
    room.ask(WALKER)
    assert room.ask(control.Position()) == {"seq": 2}


def test_seal_answers_with_the_seal_and_with_null_when_there_is_nothing_new(
    room: ControlRoom,
) -> None:
    room.ask(WALKER)
    sealed = room.ask(control.SealNow())
    assert (sealed["seq_first"], sealed["seq_last"], sealed["rows"]) == (1, 2, 2)
    assert room.ask(control.SealNow()) is None


def test_a_disk_that_refuses_is_an_answer_too(room: ControlRoom) -> None:
    room.archive.fault = OSError(28, "No space left on device")
    with pytest.raises(OperatorFault, match="No space left"):
        room.ask(control.SealNow())


def test_forget_destroys_the_key_and_frees_the_device(room: ControlRoom) -> None:
    room.ask(WALKER)
    room.ask(control.AddDevice("heater", "walker"))
    assert room.ask(control.ForgetDevice("heater")) == {"forgotten": "heater"}
    assert room.log.keys == {"cooler"}
    assert room.registry.devices == {}
    fact = msgspec.json.decode(room.events[-1].payload or "", type=DeviceForgotten)
    assert fact == DeviceForgotten(room.events[-1].device, "operator")  # type: ignore[arg-type]


def test_forget_ends_the_devices_connection(room: ControlRoom) -> None:
    room.ask(WALKER)
    room.ask(control.AddDevice("heater", "walker"))
    room.ask(control.ForgetDevice("heater"))
    assert room.disconnected == ["heater"]


def test_what_takes_a_right_away_has_the_connections_looked_at_again(room: ControlRoom) -> None:
    room.ask(WALKER)
    key = room.ask(key_acts.CreateKey("walker"))["api_key"].partition(".")[0]
    room.ask(ANN)
    acts = (
        key_acts.RevokeKey(key),
        user_acts.RemoveUser("ann"),
        control.ChangeAgent("walker", {"status": "deleted"}),
    )
    for act in acts:
        before = len(room.rechecked)
        room.ask(act)
        assert room.rechecked[before:] == [room.log.last_seq], act


def test_a_device_that_is_moved_is_disconnected_and_one_that_is_added_is_not(
    room: ControlRoom,
) -> None:
    room.ask(WALKER)
    room.ask(control.CreateAgent(structs.replace(WALKER.agent, name="runner")))
    room.ask(control.AddDevice("heater", "walker"))
    room.ask(control.AddDevice("heater", "walker"))
    assert room.disconnected == []
    room.ask(control.AddDevice("heater", "runner"))
    assert (room.disconnected, room.rechecked) == (["heater"], [room.log.last_seq])


def test_what_a_device_sent_while_it_was_forgotten_is_forgotten_too(room: ControlRoom) -> None:
    room.ask(WALKER)
    room.ask(control.AddDevice("heater", "walker"))
    room.log.heard_again = True
    room.ask(control.ForgetDevice("heater"))
    assert room.log.keys == {"cooler"}


def test_a_device_can_be_forgotten_again(room: ControlRoom) -> None:
    room.ask(WALKER)
    room.ask(control.AddDevice("heater", "walker"))
    room.ask(control.ForgetDevice("heater"))
    room.log.keys.add("heater")
    assert room.ask(control.ForgetDevice("heater")) == {"forgotten": "heater"}
    assert "heater" not in room.log.keys


def test_a_device_whose_key_could_not_be_destroyed_is_known_until_it_is(room: ControlRoom) -> None:
    room.ask(WALKER)
    room.ask(control.AddDevice("heater", "walker"))
    room.log.fault = LogUnavailable("the log process is down; ask again")
    with pytest.raises(OperatorFault, match="ask again"):
        room.ask(control.ForgetDevice("heater"))
    assert room.registry.devices == {"heater": "walker"}
    room.ask(control.ForgetDevice("heater"))
    assert room.registry.devices == {}
    assert "heater" not in room.log.keys


def test_an_unknown_device_costs_no_key(room: ControlRoom) -> None:
    with pytest.raises(OperatorFault, match="no device"):
        room.ask(control.ForgetDevice("cooler"))
    assert "cooler" in room.log.keys


@pytest.mark.parametrize("body", [b"", b"{}", b"not JSON", b'{"type":"query","sql":"SELECT 1"}'])
def test_what_is_no_request_is_answered_with_a_reason(room: ControlRoom, body: bytes) -> None:
    answer = msgspec.json.decode(raw(room, frame(body)) or b"")
    assert answer["type"] == "not_done"
    assert "not understood" in answer["message"]


@pytest.mark.parametrize(
    "sent", [b"", b"\1", LENGTH.pack(9) + b"short", LENGTH.pack(control.REQUEST_BYTES_MAX + 1)]
)
def test_what_is_no_frame_is_not_answered_and_harms_nobody(room: ControlRoom, sent: bytes) -> None:
    assert raw(room, sent) is None
    assert room.ask(control.Position()) == {"seq": 0}


def test_without_a_hub_it_is_said_that_none_runs(tmp_path: Path) -> None:
    left_behind = tmp_path / "killed"
    left_behind.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(left_behind / control.SOCKET_NAME))
    for folder in (tmp_path, tmp_path / "missing", left_behind):
        with pytest.raises(NoHub, match="no hub answers in"):
            ask(folder, control.Status())


def test_a_folder_that_cannot_be_looked_into_is_not_one_without_a_hub(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorFault) as fault:
        ask(tmp_path / "file", control.Status())
    assert not isinstance(fault.value, NoHub)


def test_a_hub_that_ends_before_it_answers_is_an_error_of_its_own(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / control.SOCKET_NAME))
        listener.listen(1)
        listener.settimeout(10)

        def hang_up() -> None:
            connection, _ = listener.accept()
            receive_frame(connection)
            connection.close()

        with ThreadPoolExecutor(1) as hub:
            hub.submit(hang_up)
            with pytest.raises(HubFault, match="closed the connection"):
                ask(tmp_path, control.Status())


# --- who stops waiting -------------------------------------------------------------------------


async def test_an_act_that_nobody_waits_for_any_more_keeps_its_turn_until_it_is_folded() -> None:
    registry, log = Registry(), ManualLog()
    acts = Acts(registry, ManualClock().now_us, bytes, lambda _: None, Policies(), check_mapping)
    ledger = cast("Any", log)
    room = control.Control(acts, registry, ledger, Archive(ledger), print, print, print, dict, Seen)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await room.act(WALKER, "ann", lambda: None)
    again = asyncio.create_task(room.act(WALKER, "ben", lambda: None))
    await asyncio.sleep(0)
    assert len(log.pending) == 2, "the second is decided when the first is folded"
    log.commit()
    with pytest.raises(OperatorFault, match="walker"):
        await again


# --- a pause of the hub's own -----------------------------------------------------------------


def test_an_alert_and_the_pause_it_brings_are_one_act_of_the_hub(room: ControlRoom) -> None:
    room.ask(WALKER)
    room.pause(alert_of("walker"))
    alert, paused = room.events[2:]
    assert (alert.kind, alert.device, alert.reason) == (Kind.ADMIN, "heater", "it smells of smoke")
    assert paused.reason == "it smells of smoke"
    made = msgspec.json.decode(paused.payload or "", type=AgentMade)
    assert (made.by, made.agent.status) == ("hub", "paused")
    assert room.registry.agents[AgentName("walker")].agent.status == "paused"
    assert room.changed == ["walker", "walker"]
    shown = room.ask(control.ChangeAgent("walker", {"status": "active"}))
    assert shown["status"] == "active"


def test_an_agent_that_is_gone_can_not_be_paused_and_it_is_said(
    room: ControlRoom, caplog: pytest.LogCaptureFixture
) -> None:
    room.pause(alert_of("walker"))
    assert room.events == []
    assert "walker could not be paused" in caplog.text


def alert_of(agent: str) -> Event:
    message = "it smells of smoke"
    payload = msgspec.json.encode(Alert(message)).decode()
    return Event(Kind.ADMIN, 1, agent=agent, device="heater", reason=message, payload=payload)
