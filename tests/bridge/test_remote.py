"""`POST /v1/env/{device}/reset` and `/step`: a device as an environment of a remote learner."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from hub.errors import OperatorFault
from hub.words import EXTERNAL, Kind, Source
from tests.bridge.rooms import Rooms, bearer

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import httpx

WAIT_S: Final = 20.0
OBSERVATIONS: Any = {"mode": 3, "at": [[2], -1.0, 1.0]}


class Table:
    """A device and a remote learner, who talk through the bridge."""

    def __init__(self, rooms: Rooms, **declared: Any) -> None:
        self.rooms = rooms
        spaces: dict[str, Any] = {"observations": OBSERVATIONS, "actions": 4, "deadline_ms": None}
        self.key = rooms.make_agent("afar", algorithm=EXTERNAL, **spaces | declared)
        self._step = -1

    def observe(self, mode: int, **fields: Any) -> asyncio.Task[httpx.Response]:
        """The device's next step, on its way."""
        self._step += 1
        body = {"device": "d", "s": self._step, "o": {"mode": mode, "at": [0.5, -1]}, **fields}
        return started(self.rooms.post("/v1/step", body, bearer(self.key)))

    def again(self) -> None:
        """The next step is the one before once more."""
        self._step -= 1

    def ask(self, verb: str, body: object = b"") -> asyncio.Task[httpx.Response]:
        """The remote learner's request, on its way."""
        return started(self.rooms.post(f"/v1/env/d/{verb}", body, bearer(self.key)))

    def act(self, action: Any) -> asyncio.Task[httpx.Response]:
        return self.ask("step", {"action": action})


def started(request: Coroutine[Any, Any, httpx.Response]) -> asyncio.Task[httpx.Response]:
    return asyncio.ensure_future(request)


async def turns() -> None:
    """Let everything happen that can."""
    for _ in range(50):
        await asyncio.sleep(0)


async def answered(request: asyncio.Task[httpx.Response]) -> Any:
    response = await asyncio.wait_for(request, WAIT_S)
    assert response.status_code == 200, response.text
    return response.json()


async def test_an_episode_goes_by_as_in_gymnasium(rooms: Rooms) -> None:
    table = Table(rooms)
    reset = table.ask("reset", {"seed": 4})
    await turns()
    assert not reset.done(), "no device yet"
    device = table.observe(0, i={"room": "attic"})
    seen = await answered(reset)
    assert seen["observation"] == {"mode": 0, "at": [0.5, -1.0]}
    assert (seen["reward"], seen["terminated"], seen["truncated"]) == (0.0, False, False)
    assert seen["info"]["room"] == "attic"
    assert not device.done(), "it waits for its action"
    step = table.act(3)
    assert (await answered(device))["a"] == 3
    device = table.observe(1, r=-0.5)
    seen = await answered(step)
    assert (seen["observation"]["mode"], seen["reward"]) == (1, -0.5)
    assert seen["info"]["sheepfold"]["executed"] == 3
    assert seen["info"]["sheepfold"]["source"] == "policy"
    step = table.act(0)
    assert (await answered(device))["a"] == 0
    assert (await answered(table.observe(2, r=1.5, d=1)))["a"] is None
    seen = await answered(step)
    assert (seen["reward"], seen["terminated"], seen["truncated"]) == (1.5, True, False)


async def test_the_log_says_that_a_remote_learner_acted_and_with_which_key(rooms: Rooms) -> None:
    table = Table(rooms)
    device = table.observe(0)
    await answered(table.ask("reset"))
    _ = table.act(2)
    await answered(device)
    (action,) = rooms.logged(Kind.ACTION)
    assert (action.source, action.policy) == (Source.POLICY, None)
    assert action.reason == f"remote learner with key {table.key.partition('.')[0]}"


async def test_an_observation_is_durable_before_the_remote_learner_sees_it(rooms: Rooms) -> None:
    table = Table(rooms)
    rooms.log.held = True
    _ = table.observe(0)
    reset = table.ask("reset")
    await turns()
    assert not reset.done()
    rooms.log.release()
    seen = await answered(reset)
    assert seen["info"]["sheepfold"]["seq"] == rooms.logged(Kind.OBSERVATION)[0].seq


async def test_without_a_deadline_nobody_else_answers(rooms: Rooms) -> None:
    table = Table(rooms)
    device = table.observe(0)
    done, _ = await asyncio.wait([device], timeout=0.2)  # ten deadlines of other agents here
    assert not done
    assert len(rooms.logged(Kind.OBSERVATION)) == 1
    await answered(table.ask("reset"))
    _ = table.act(1)
    assert (await answered(device))["a"] == 1


async def test_with_a_deadline_the_fallback_answers_and_a_late_action_is_logged_as_late(
    rooms: Rooms,
) -> None:
    table = Table(rooms, deadline_ms=20, fallback=2)
    device = table.observe(0)
    await answered(table.ask("reset"))
    answer = await answered(device)
    assert (answer["a"], answer["src"]) == (2, "fallback")
    late = table.act(1)
    await turns()
    (refused,) = rooms.logged(Kind.REFUSED)
    assert refused.reason == "late"
    _ = table.observe(1, r=1.0)
    seen = await answered(late)
    assert (seen["reward"], seen["truncated"]) == (1.0, False), "it did happen"
    assert seen["info"]["sheepfold"]["executed"] == 2
    assert seen["info"]["sheepfold"]["source"] == "fallback"


async def test_an_action_that_is_late_again_and_again_is_logged_once(rooms: Rooms) -> None:
    table = Table(rooms, deadline_ms=20, fallback=2)
    device = table.observe(0)
    await answered(table.ask("reset"))
    await answered(device)
    late = [table.act(1) for _ in range(5)]
    await turns()
    assert len(rooms.logged(Kind.REFUSED)) == 1
    _ = table.observe(1)
    await answered(late[-1])


async def test_an_action_waits_for_a_log_that_is_behind(rooms: Rooms) -> None:
    table = Table(rooms)
    device = table.observe(0)
    await answered(table.ask("reset"))
    rooms.log.crowded = True
    refused = await table.act(1)
    assert (refused.status_code, "the log is behind" in refused.text) == (503, True)
    rooms.log.crowded = False
    _ = table.act(1)
    assert (await answered(device))["a"] == 1


@pytest.mark.parametrize("path", ["/v1/env/d/step", "/remote/d/post_state_request"])
async def test_what_a_remote_learner_asks_counts_for_the_quotas(rooms: Rooms, path: str) -> None:
    table = Table(rooms, messages_per_s=0.5)
    taken = [await rooms.post(path, {"move": 1}, bearer(table.key)) for _ in range(30)]
    assert taken[-1].status_code == 429
    assert "0.5 messages a second of agent 'afar'" in taken[-1].text


async def test_asking_for_the_spaces_counts_for_the_quotas(rooms: Rooms) -> None:
    key = Table(rooms, messages_per_s=0.5).key
    taken = [await rooms.ask("GET", "/v1/env", b"", bearer(key)) for _ in range(3)]
    assert [answer.status_code for answer in taken] == [200, 429, 429]
    assert taken[-1].headers["retry-after"] == "2"


async def test_what_the_device_says_it_did_is_what_was_executed(rooms: Rooms) -> None:
    table = Table(rooms)
    device = table.observe(0)
    await answered(table.ask("reset"))
    step = table.act(1)
    await answered(device)
    _ = table.observe(1, x=3, r=0.25)
    assert (await answered(step))["info"]["sheepfold"]["executed"] == 3


async def test_what_does_not_follow_is_truncated_and_has_no_reward(rooms: Rooms) -> None:
    table = Table(rooms)
    device = table.observe(0)
    await answered(table.ask("reset"))
    step = table.act(1)
    await answered(device)
    _ = table.observe(1, f=1, b=9, r=7.0)
    seen = await answered(step)
    assert (seen["truncated"], seen["reward"]) == (True, 0.0)
    again = await answered(table.ask("reset"))
    assert (again["observation"], again["truncated"]) == (seen["observation"], False)


async def test_a_device_that_goes_on_by_itself_holds_nobody_up(rooms: Rooms) -> None:
    table = Table(rooms, fallback=1)
    first = table.observe(0)
    await answered(table.ask("reset"))
    second = table.observe(1, r=1.0)
    answer = await answered(first)
    assert (answer["a"], answer["src"]) == (1, "fallback")
    seen = await answered(table.act(3))
    assert (seen["observation"]["mode"], seen["reward"]) == (1, 1.0)
    _ = table.act(2)
    assert (await answered(second))["a"] == 2
    reasons = [action.reason for action in rooms.logged(Kind.ACTION)]
    assert reasons[0] == "the device went on"


async def test_of_two_remote_learners_the_newest_wins(rooms: Rooms) -> None:
    table = Table(rooms)
    old, new = table.ask("reset"), table.ask("reset")
    response = await asyncio.wait_for(old, WAIT_S)
    assert (response.status_code, response.json()["code"]) == (409, "step")
    assert "another remote learner has taken device 'd' over" in response.json()["detail"]
    _ = table.observe(0)
    await answered(new)


async def test_a_repeat_of_the_device_gets_the_same_action(rooms: Rooms) -> None:
    table = Table(rooms)
    device = table.observe(0)
    await turns()
    table._step -= 1
    again = table.observe(0)
    await answered(table.ask("reset"))
    _ = table.act(3)
    assert await answered(device) == await answered(again)
    assert len(rooms.logged(Kind.OBSERVATION)) == len(rooms.logged(Kind.ACTION)) == 1


async def test_after_a_restart_the_remote_learner_finds_the_device_still_waiting(
    rooms: Rooms,
) -> None:
    table = Table(rooms)
    device = table.observe(2)
    await answered(table.ask("reset"))
    async with Rooms(rooms.log.events, rooms.clock) as later:
        table.rooms = later
        unknown = await table.act(1)
        assert (unknown.status_code, "nothing was shown yet" in unknown.text) == (409, True)
        assert (await answered(table.ask("reset")))["observation"]["mode"] == 2
        _ = table.act(1)
        await turns()
        table._step -= 1
        assert (await answered(table.observe(2)))["a"] == 1, "the repeat has the answer"
        (action,) = later.logged(Kind.ACTION)
        assert action.source is Source.POLICY
    device.cancel()


@pytest.mark.parametrize(
    ("verb", "body", "status", "said"),
    [
        ("step", {"action": 4}, 422, "action is 4, agent expects 0 to 3"),
        ("step", {"action": "left"}, 422, "action is 'left'"),
        ("step", {"action": [1]}, 422, "agent expects an int"),
        ("step", {"move": 1}, 400, "expected an object with 'action'"),
        ("step", b"{", 400, "not JSON"),
        ("step", {"action": 1}, 409, "nothing was shown yet; reset"),
        ("close", b"", 404, "Not Found"),
    ],
)
async def test_refusals_say_what_is_wrong(
    rooms: Rooms, verb: str, body: object, status: int, said: str
) -> None:
    response = await Table(rooms).ask(verb, body)
    assert (response.status_code, said in response.text) == (status, True), response.text


async def test_an_action_after_the_end_is_refused(rooms: Rooms) -> None:
    table = Table(rooms)
    device = table.observe(0)
    await answered(table.ask("reset"))
    step = table.act(1)
    await answered(device)
    _ = table.observe(1, tr=1)
    assert (await answered(step))["truncated"]
    response = await table.act(1)
    assert (response.status_code, "its episode is over; reset" in response.text) == (409, True)


async def test_only_an_external_agents_own_key_opens_its_devices(rooms: Rooms) -> None:
    table = Table(rooms)
    _ = table.observe(0)
    await turns()
    inside = rooms.make_agent("inside")
    other = rooms.make_agent("other", algorithm=EXTERNAL)
    single = rooms.make_key("afar", "e")
    for key, status, said in (
        ("wrong", 401, "not accepted"),
        (other, 403, "belongs to another agent"),
        (single, 403, "not 'd'"),
    ):
        response = await rooms.post("/v1/env/d/reset", b"", bearer(key))
        assert (response.status_code, said in response.text) == (status, True), response.text
    response = await rooms.post("/v1/env/x/reset", b"", bearer(inside))
    assert (response.status_code, "learns in the hub (PPO)" in response.text) == (422, True)


async def test_an_agent_that_learns_here_has_a_deadline(rooms: Rooms) -> None:
    table = Table(rooms)
    rooms.make_agent("inside", deadline_ms=20)
    with pytest.raises(OperatorFault, match="only agents of the algorithm 'external'"):
        rooms.change_agent("inside", deadline_ms=None)
    rooms.change_agent("afar", deadline_ms=20)
    assert (await answered(table.observe(0)))["src"] == "fallback"


async def test_a_hub_that_stops_tells_who_waits_to_come_again(rooms: Rooms) -> None:
    table = Table(rooms)
    device = table.observe(0)
    await answered(table.ask("reset"))
    other = rooms.ask("POST", "/v1/env/nobody-yet/reset", b"", bearer(table.key))
    learner = started(other)
    await turns()
    rooms.stop()
    assert rooms.deliver.idle.is_set(), "nothing is left to wait for"
    for waiting in (device, learner, table.ask("reset"), table.act(1), table.observe(1)):
        response = await asyncio.wait_for(waiting, WAIT_S)
        assert (response.status_code, response.json()["code"]) == (503, "busy")
        assert "the hub is stopping" in response.json()["detail"]
    assert rooms.logged(Kind.ACTION) == []


async def test_a_step_that_was_put_off_is_answered_after_the_restart(rooms: Rooms) -> None:
    table = Table(rooms)
    device = table.observe(0)
    await turns()
    rooms.stop()
    assert (await device).status_code == 503
    table.again()
    assert (await table.observe(0)).status_code == 503, "not begun once more"
    async with Rooms(rooms.log.events, rooms.clock) as after:
        table.rooms = after
        table.again()
        device = table.observe(0)
        await answered(table.ask("reset"))
        _ = table.act(1)
        assert (await answered(device))["a"] == 1
        assert len(after.logged(Kind.OBSERVATION)) == 1


async def test_a_step_with_a_deadline_is_answered_though_the_hub_stops(rooms: Rooms) -> None:
    table = Table(rooms, deadline_ms=20)
    device = table.observe(0)
    await turns()
    rooms.stop()
    assert (await answered(device))["src"] == "fallback"


async def test_steps_for_devices_that_nobody_has_leave_nothing_behind(rooms: Rooms) -> None:
    table = Table(rooms)
    for i in range(3):
        path = f"/v1/env/nobody-{i}/step"
        refused = await rooms.post(path, {"action": 1}, bearer(table.key))
        assert (refused.status_code, "nothing was shown yet" in refused.text) == (409, True)
    assert rooms.external._seats == {}
