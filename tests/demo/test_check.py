"""The demo's check finds what it is there to find."""

from __future__ import annotations

from hub.demo.check import LoggedStep, compare
from hub.simulate.progress import Acknowledged

NUMBERED = Acknowledged("cart-1", boot=9, step=3, action=1, seq=41)
UNNUMBERED = Acknowledged("cart-4", boot=None, step=3, action=0)


def observation(
    *, device: str = "cart-1", boot: int = 9, seq: int = 41, n: int | None = None
) -> LoggedStep:
    return LoggedStep("observation", device, boot, step=3, action=None, seq=seq, n=n)


def action(value: float, *, device: str = "cart-1", boot: int = 9) -> LoggedStep:
    return LoggedStep("action", device, boot, step=3, action=[value], seq=42)


def test_a_step_that_was_logged_as_it_was_acknowledged_passes() -> None:
    verdict = compare([NUMBERED], [observation(), action(1.0)])
    assert verdict.ok
    assert str(verdict).startswith("1 of 1 acknowledged steps are in the log")


def test_a_step_without_a_row_is_missing() -> None:
    verdict = compare([NUMBERED], [observation(boot=8), action(1.0, boot=8)])
    assert verdict.missing == [NUMBERED]
    assert "0 of 1" in str(verdict)


def test_a_numbered_step_logged_twice_is_doubled() -> None:
    verdict = compare([NUMBERED], [observation(), action(1.0), observation(seq=43)])
    assert verdict.doubled == [NUMBERED]


def test_another_action_or_seq_than_the_device_got_is_a_difference() -> None:
    assert compare([NUMBERED], [observation(), action(0.0)]).differing == [NUMBERED]
    assert compare([NUMBERED], [observation()]).differing == [NUMBERED]
    assert compare([NUMBERED], [observation(seq=40), action(1.0)]).differing == [NUMBERED]


def test_the_last_observation_of_an_episode_needs_no_action() -> None:
    over = Acknowledged("cart-1", boot=9, step=3, action=None)
    assert compare([over], [observation()]).ok


def test_a_step_without_number_is_found_by_the_devices_own_count() -> None:
    rows = [observation(device="cart-4", n=3), action(0.0, device="cart-4")]
    assert compare([UNNUMBERED], rows).ok
    assert compare([UNNUMBERED], [observation(device="cart-4", n=4)]).missing == [UNNUMBERED]


def test_a_repeat_without_number_may_stand_twice_and_the_last_was_answered() -> None:
    rows = [
        observation(device="cart-4", boot=1, n=3),
        action(1.0, device="cart-4", boot=1),
        observation(device="cart-4", boot=2, n=3),
        action(0.0, device="cart-4", boot=2),
    ]
    assert compare([UNNUMBERED], rows).ok


def test_box_actions_agree_to_the_precision_of_float32() -> None:
    step = Acknowledged("cart-1", boot=9, step=3, action=[0.1])
    row = LoggedStep("action", "cart-1", 9, step=3, action=[0.10000000149011612], seq=42)
    assert compare([step], [observation(), row]).ok
    far = LoggedStep("action", "cart-1", 9, step=3, action=[0.1001], seq=42)
    assert not compare([step], [observation(), far]).ok
