"""The topic tree, and the wildcard rules of MQTT 3.1.1, 4.7, by the standard's own examples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import topics


@pytest.mark.parametrize(
    ("topic_filter", "topic"),
    [
        # 4.7.1.2
        ("sport/tennis/player1/#", "sport/tennis/player1"),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
        ("sport/#", "sport"),
        ("#", "sport/tennis"),
        # 4.7.1.3
        ("sport/tennis/+", "sport/tennis/player1"),
        ("sport/+", "sport/"),
        ("+", "sport"),
        ("+/tennis/#", "sport/tennis"),
        ("+/+", "/finance"),
        ("/+", "/finance"),
        # 4.7.2
        ("$SYS/#", "$SYS/broker"),
        ("$SYS/monitor/+", "$SYS/monitor/Clients"),
        # 4.7.3
        ("ACCOUNTS", "ACCOUNTS"),
        ("rl/v1/heater-1/act", "rl/v1/heater-1/act"),
    ],
)
def test_filter_takes_in_topic(topic_filter: str, topic: str) -> None:
    assert topics.matches(topic_filter, topic)


@pytest.mark.parametrize(
    ("topic_filter", "topic"),
    [
        ("sport/tennis/+", "sport/tennis/player1/ranking"),
        ("sport/+", "sport"),
        ("+", "/finance"),
        ("#", "$SYS/broker"),
        ("+/monitor/Clients", "$SYS/monitor/Clients"),
        ("ACCOUNTS", "Accounts"),
        ("/finance", "finance"),
        ("rl/v1/+/act", "rl/v1/heater-1/act/mp"),
        ("rl/v1/heater-1/#", "rl/v1/heater-10/act"),
    ],
)
def test_filter_leaves_topic_out(topic_filter: str, topic: str) -> None:
    assert not topics.matches(topic_filter, topic)


@given(st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=5))
def test_topic_without_wildcards_is_a_filter_for_itself(parts: list[str]) -> None:
    topic = "/".join(parts)
    assert topics.matches(topic, topic)
    assert topics.matches("/".join("+" for _ in parts), topic)
    assert topics.matches("#", topic)


@pytest.mark.parametrize("name", ["a", "heater-1", "a_b", "0", "x" * 23, "https-1"])
def test_name_is_a_device_id(name: str) -> None:
    assert topics.is_device_id(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 24,
        "Heater",
        "a/b",
        "a+",
        "#",
        "ä",
        "a ",
        "a\n",
        "hub",
        "agents",
        "http-7",
        "http-",
    ],
)
def test_name_is_no_device_id(name: str) -> None:
    assert not topics.is_device_id(name)


def test_only_the_hub_names_its_http_devices() -> None:
    assert topics.is_device_id("http-7", reserved=True)
    assert not topics.is_device_id("hub", reserved=True)


def test_nobody_publishes_on_the_topic_of_another() -> None:
    leaves = [*topics.DEVICE_PUBLISHES, *topics.HUB_PUBLISHES, *topics.OPERATOR_PUBLISHES]
    assert len(leaves) == len(set(leaves))
    assert set(topics.ENCODINGS) <= set(topics.DEVICE_PUBLISHES)


def test_topics_are_built_below_the_base() -> None:
    assert topics.device_topic("rl/v1", "heater-1", "act") == "rl/v1/heater-1/act"
    assert topics.hub_status("home/rl") == "home/rl/hub/status"
