"""Requests that follow from the OpenAPI document, and such as it forbids, against a real hub.

Every answer is one that the document has: its status, its media type, the shape of its body. Some
requests carry what schemas can't know – keys, devices, sessions that exist – so that they come
further than the door. `make fuzz` sends thousands.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from requests import Session
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from hub.registry.key_acts import CreateKey, CreateUserKey
from hub.registry.mapping_acts import AddMapping
from hub.registry.user_acts import CreateUser
from hub.simulate.exchange import Endpoint
from hub.simulate.over_http import HttpExchange
from hub.words import DeviceId
from tests.acceptance.devices import Http, Walker, bearer
from tests.acceptance.real_hub import HOST
from tests.intake.mapping.mapped import shipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis import APIOperation, Case

    from tests.acceptance.real_hub import RealHub

Operation: TypeAlias = "APIOperation[Any, Any, Any, Any]"

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]

SEED: Final = 20_261_129
ANSWER_S_MAX: Final = 30.0
"""A request that is not answered by then hangs."""
OF_REQUESTS: Final = 400
"""Each operation gets one example for so many of `--requests`."""
OBSERVATION: Final = [0.0, 0.0]
REST_S: Final = 0.005
CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]


class Known:
    """What exists in the hub, by the name of the field or parameter that may carry it."""

    def __init__(self, hub: RealHub) -> None:
        mine = hub.make_agent("fuzzed", observations=[[2], -40, 90], deadline_ms=5)
        hub.make_agent("remote", algorithm="external", parameters={}, deadline_ms=5)
        # Of one device, which steps meanwhile: for any other a learner elsewhere may wait for ever.
        self.puppet = hub.ask(CreateKey("remote", "puppet"))["api_key"]
        hub.ask(CreateUser("ann", "owner", "correct horse"))
        hub.change("fuzzed", owner="ann")
        hub.ask(AddMapping("boiler", "fuzzed", shipped("form").mapping))
        operator = hub.ask(CreateUserKey("ann"))["api_key"]
        with Http(hub.ready.http) as http:
            session = http.shepherd("login_user", {"apikey": mine})["session_key"]
            assert http.step(mine, {"device": "mine", "s": 0, "o": OBSERVATION})[0] == 200
        of_mine: dict[str, list[Any]] = {
            "device": ["mine", "mine", "puppet", "new-1"],
            "mapping": ["boiler"],
            "seq": list(range(1, 20)),
            "apikey": [mine],
            "session_key": [session],
            "o": [OBSERVATION],
            "obs": [OBSERVATION, None],
            "action": [0, 1],
            "query": ["SELECT 1 AS one", "SELECT kind FROM events LIMIT 3", "SELECT"],
        }
        self.mine = mine
        self.people = [
            (mine, of_mine),
            (self.puppet, of_mine | {"device": ["puppet"]}),
            (operator, of_mine),
            ("none", of_mine),
        ]
        """Keys, and what whoever has one knows."""


@st.composite
def requests_of(draw: st.DrawFn, operation: Operation, known: Known) -> Case[Operation]:
    """A request to one operation: as the document wants it or not, with some of what exists."""
    bare = not (operation.body or list(operation.iter_parameters()))
    modes = [GenerationMode.POSITIVE] if bare else list(GenerationMode)
    case: Case[Operation] = draw(
        operation.as_strategy(generation_mode=draw(st.sampled_from(modes)))
    )
    key, values = draw(st.sampled_from(known.people))
    parts: list[object] = [case.path_parameters, case.query, case.body]
    for carried in (part for part in parts if isinstance(part, dict)):
        for name in values:
            if name in carried and draw(st.integers(0, 3)):
                carried[name] = draw(st.sampled_from(values[name]))
    case.headers.update(bearer(key))
    return case


@pytest.fixture(scope="module")
def known(hub: RealHub) -> Iterator[Known]:
    """Agents, keys and devices, one of which steps all the time."""
    known = Known(hub)
    exchange = HttpExchange(DeviceId("puppet"), known.puppet, Endpoint(HOST, hub.ready.http))
    with Walker("puppet", exchange, REST_S):
        yield known


def test_every_answer_is_one_that_the_openapi_document_has(
    hub: RealHub, known: Known, requests: int
) -> None:
    schema = schemathesis.openapi.from_url(f"http://{HOST}:{hub.ready.http}/schema/openapi.json")
    statuses: Counter[int] = Counter()
    with Session() as session:
        for result in schema.get_all_operations():
            assert isinstance(result, Ok), result
            operation = result.ok()

            @seed(SEED)
            @settings(
                max_examples=requests // OF_REQUESTS,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=requests_of(operation, known))
            def answer(case: Case[Operation]) -> None:
                answered = case.call_and_validate(
                    session=session, timeout=ANSWER_S_MAX, checks=CHECKS
                )
                statuses[answered.status_code] += 1
                assert b"Traceback" not in answered.content

            answer()
    assert {200, 400, 401, 403, 404, 422} <= set(statuses), statuses
    with Http(hub.ready.http) as http:
        honest = {"device": "honest", "o": OBSERVATION}
        assert http.step(known.mine, honest)[0] == 200
