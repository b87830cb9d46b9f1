"""An action's random numbers are a function of who asks and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hub.learner.acting.chance import GAMMA, Chance, mixed, mixed_all, normals
from hub.learner.columns import Question, Questions
from hub.words import Floats

if TYPE_CHECKING:
    from numpy.typing import NDArray


def questions(count: int, *, device: str = "heater") -> list[Question]:
    return [Question(i, device, 3, i, Floats(b"")) for i in range(count)]


def uniforms(chance: Chance, asked: list[Question]) -> NDArray[np.float64]:
    return chance.uniforms(Questions.of(asked))


@pytest.mark.parametrize("count", [1, 2, 8, 9, 40])
def test_the_same_step_draws_the_same_numbers_in_any_batch(count: int) -> None:
    chance = Chance(seed=1, count=count)
    together = uniforms(chance, questions(50))
    assert together.shape == (50, count)
    alone = [uniforms(Chance(seed=1, count=count), [one])[0] for one in reversed(questions(50))]
    assert np.array_equal(together, alone[::-1])


def test_a_device_that_begins_anew_draws_the_numbers_of_each_boot_that_asks() -> None:
    asked = [Question(0, "heater", boot, 5, Floats(b"")) for boot in (3, 4, 3)]
    chance = Chance(seed=1, count=2)
    together = uniforms(chance, asked)
    again = uniforms(chance, asked)
    alone = [uniforms(Chance(seed=1, count=2), [one])[0] for one in asked]
    assert np.array_equal(together, alone)
    assert np.array_equal(again, alone)


def test_words_are_mixed_as_splitmix64_mixes_them() -> None:
    # Of the generator seeded with 1234567, as published with it in many languages.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    words = [1234567 + i * GAMMA for i in (1, 2, 3)]
    assert [mixed(word) for word in words] == expected
    together = np.array([word % (1 << 64) for word in words], dtype=np.uint64)
    assert mixed_all(together).tolist() == expected


def test_a_boot_forgotten_for_many_others_draws_the_same_numbers_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub.learner.acting.chance.KEYS_MAX", 3)
    chance = Chance(seed=1, count=2)
    asked = [Question(0, f"device-{i}", 3, 5, Floats(b"")) for i in range(8)]
    first = [uniforms(chance, [one]) for one in asked]
    assert np.array_equal(first, [uniforms(chance, [one]) for one in asked])
    assert np.array_equal(np.concatenate(first), uniforms(chance, asked))


def test_steps_of_one_boot_are_not_alike() -> None:
    drawn = uniforms(Chance(seed=3, count=1), questions(20_000))[:, 0]
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.03
    pairs, _, _ = np.histogram2d(drawn[:-1], drawn[1:], bins=10, range=[[0, 1], [0, 1]])
    assert ((pairs - 200) ** 2 / 200).sum() < 149  # 99 degrees of freedom, 0.1 %


def test_seed_device_boot_and_step_each_change_them() -> None:
    base = Question(0, "heater", 3, 5, Floats(b""))
    others = [
        Question(0, "heates", 3, 5, Floats(b"")),
        Question(0, "heater", 4, 5, Floats(b"")),
        Question(0, "heater", 3, 6, Floats(b"")),
    ]
    drawn = uniforms(Chance(seed=1, count=2), [base, *others])
    other_seed = uniforms(Chance(seed=2, count=2), [base])
    assert len(np.unique(np.concatenate([drawn, other_seed]))) == 10


def test_they_are_uniform_and_never_0_or_1() -> None:
    drawn = uniforms(Chance(seed=5, count=4), questions(20_000)).ravel()
    assert drawn.min() > 0
    assert drawn.max() < 1
    counts, _ = np.histogram(drawn, bins=20, range=(0, 1))
    expected = len(drawn) / 20
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 43.8  # 19 degrees of freedom, 0.1 %


def test_normals_have_mean_0_and_variance_1() -> None:
    drawn = normals(uniforms(Chance(seed=7, count=4), questions(20_000)))
    assert drawn.shape == (20_000, 2)
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.var() - 1) < 0.03
    assert abs((drawn[:, 0] * drawn[:, 1]).mean()) < 0.03
