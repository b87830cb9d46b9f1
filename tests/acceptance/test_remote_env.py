"""Devices as Gymnasium environments over a real hub: one, several, and a learner of SB3 on them."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3 import DQN

from hub.remote import (
    Address,
    DeviceSilent,
    HubUnreachable,
    RemoteEnv,
    RemoteFault,
    RemoteVectorEnv,
    make,
    make_vec,
)
from hub.remote.link import NO_DEVICE, Link
from hub.remote.sb3 import RemoteVecEnv
from hub.words import EXTERNAL
from tests.acceptance.carts import Carts
from tests.acceptance.devices import Http
from tests.acceptance.real_hub import HOST, until

if TYPE_CHECKING:
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

CARTS: Final = ("c-1", "c-2", "c-3", "c-4")
LEARNT_STEPS: Final = 600


def external(hub: RealHub, name: str, **declared: Any) -> str:
    return hub.make_agent(name, algorithm=EXTERNAL, parameters={}, deadline_ms=None, **declared)


def address(hub: RealHub, agent: str, key: str, *devices: str) -> str:
    named = f"?devices={','.join(devices)}" if devices else ""
    return f"sheepfold://{key}@{HOST}:{hub.ready.http}/{agent}{named}"


def test_one_device_passes_gymnasiums_env_checker(hub: RealHub) -> None:
    key = external(hub, "checked")
    with Carts(hub, key, "k-1"):
        env = make(address(hub, "checked", key, "k-1"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a sensor without bounds is worth one
            check_env(env, skip_render_check=True, skip_close_check=True)  # it is made once
        env.close()


def test_the_device_did_what_the_environment_was_told(hub: RealHub) -> None:
    key = external(hub, "told")
    with Carts(hub, key, "t-1") as carts:
        known = "SELECT count(*) FROM devices WHERE agent = 'told'"
        until(lambda: hub.value(known), "the device")
        env: RemoteEnv = make(address(hub, "told", key))  # the only one there is
        seen, info = env.reset()
        assert env.observation_space.contains(seen)
        chosen = []
        for _ in range(30):
            chosen.append(int(seen[2] > 0))
            seen, reward, terminated, truncated, info = env.step(chosen[-1])
            assert (reward, type(info["sheepfold"]["seq"])) == (1.0, int)
            if terminated or truncated:
                seen, info = env.reset()
        env.close()
        assert carts.done("t-1")[:30] == chosen


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_an_episode_that_is_over_goes_on_as_the_mode_says(
    hub: RealHub, mode: AutoresetMode
) -> None:
    agent = f"mode-{mode.name.lower()[:4]}"
    key = external(hub, agent)
    names = [f"{agent}-{i}" for i in (1, 2)]
    with Carts(hub, key, *names):
        envs: RemoteVectorEnv = make_vec(address(hub, agent, key, *names), autoreset_mode=mode)
        first, _ = envs.reset(seed=1)
        assert envs.observation_space.contains(first)
        right, ends = np.ones(2, dtype=np.int64), 0
        for _ in range(60):  # always to the right: it falls within about ten
            seen, rewards, terminated, truncated, infos = envs.step(right)
            assert (seen.shape, rewards.shape) == ((2, 4), (2,))
            assert terminated.dtype == np.bool_
            over = terminated | truncated
            if not over.any():
                continue
            ends += 1
            i = int(np.flatnonzero(over)[0])
            assert rewards[i] == 1.0
            if mode is AutoresetMode.SAME_STEP:
                assert abs(infos["final_obs"][i][2]) > 0.2 > abs(seen[i][2])
                assert infos["_final_obs"][i]
            elif mode is AutoresetMode.NEXT_STEP:
                assert abs(seen[i][2]) > 0.2
                seen, rewards, terminated, _, _ = envs.step(right)
                assert abs(seen[i][2]) < 0.2
                assert (rewards[i], terminated[i]) == (0.0, False)
            else:
                with pytest.raises(RemoteFault, match=f"episode is over of .*{names[i]}"):
                    envs.step(right)
                seen, _ = envs.reset(options={"reset_mask": over})
                assert abs(seen[i][2]) < 0.2
        envs.close()
        assert ends > 2


def test_plain_dqn_of_sb3_learns_on_four_devices_and_its_data_train_another(
    hub: RealHub,
) -> None:
    key = external(hub, "afar")
    with Carts(hub, key, *CARTS):
        envs = RemoteVecEnv(address(hub, "afar", key, *CARTS))
        model = DQN("MlpPolicy", envs, learning_starts=100, train_freq=4, seed=1)
        model.learn(LEARNT_STEPS)
        envs.close()
    assert model.num_timesteps >= LEARNT_STEPS
    where = "FROM events WHERE agent = 'afar'"
    actions = hub.sql(f"SELECT device, source, reason {where} AND kind = 'action'")
    assert {row["source"] for row in actions} == {"policy"}
    assert min(Counter(row["device"] for row in actions).values()) >= LEARNT_STEPS // 4
    transitions = hub.value("SELECT count(*) FROM transitions WHERE agent = 'afar'")
    assert transitions >= LEARNT_STEPS * 0.9
    done = hub.command(
        "rebuild", "afar", "--as", "near", "--algorithm", "DQN", "--set", "learning_starts=50"
    )
    assert done.returncode == 0, done.stderr
    assert hub.value("SELECT count(*) FROM events WHERE agent = 'near' AND kind = 'policy'") == 1


def test_a_hub_killed_in_the_middle_costs_one_truncated_step(fresh_hub: RealHub) -> None:
    key = external(fresh_hub, "again")
    names = ("g-1", "g-2")
    with Carts(fresh_hub, key, *names):
        envs = make_vec(address(fresh_hub, "again", key, *names))
        envs.reset()
        for _ in range(5):
            envs.step([0, 1])
        fresh_hub.kill_nine()
        fresh_hub.start()
        _, rewards, _, truncated, _ = envs.step([1, 0])
        assert truncated.all()
        assert rewards.tolist() == [0.0, 0.0]
        envs.step([0, 1])  # each is reset
        _, rewards, _, truncated, _ = envs.step([0, 1])
        assert rewards.tolist() == [1.0, 1.0]
        assert not truncated.any()
        envs.close()


def test_of_two_learners_the_older_is_told_and_does_not_take_the_device_back(
    hub: RealHub,
) -> None:
    key = external(hub, "two")
    where = address(hub, "two", key, "nobody")
    old = make(where, timeout_s=0.3)
    with pytest.raises(DeviceSilent, match=r"nothing came from device 'nobody' within 0\.3 s"):
        old.reset()
    old.close()
    with Carts(hub, key, "w-1"):
        old, new = (make(address(hub, "two", key, "w-1")) for _ in range(2))
        old.reset()
        new.reset()
        new.step(0)
        _, reward, _, truncated, _ = old.step(1)  # of an observation that is past
        assert (reward, truncated) == (0.0, True)
        old.close()
        new.close()


def test_over_a_quota_it_waits_and_asks_again(hub: RealHub) -> None:
    key = external(hub, "slow")
    hub.change("slow", messages_per_s=4.0)
    ask = {NO_DEVICE: {"env": "spaces"}}
    link, hasty = (Link(Address.parse(address(hub, "slow", key)), s) for s in (10.0, 0.05))
    assert all(link.exchange(ask)[NO_DEVICE]["agent"] == "slow" for _ in range(10))

    def ask_in_haste() -> None:
        while True:
            hasty.exchange(ask)

    with pytest.raises(RemoteFault, match="4 messages a second") as over:
        ask_in_haste()
    assert over.value.code == "rate"
    link.close()


@pytest.mark.parametrize("action", [2, -1, [0], 0.5, "left"])
def test_an_action_that_is_none_is_refused_and_the_device_waits_on(
    hub: RealHub, wrong: tuple[RemoteEnv, str], action: Any
) -> None:
    env, _ = wrong
    env.reset()
    with pytest.raises(RemoteFault, match="action") as refused:
        env.step(action)
    assert refused.value.code in ("range", "type", "shape")
    assert env.step(1)[1] in (0.0, 1.0)


@pytest.fixture(scope="module")
def wrong(hub: RealHub) -> Any:
    """An environment that is told nonsense, and its key."""
    key = external(hub, "wrong")
    with Carts(hub, key, "x-1"):
        env = make(address(hub, "wrong", key, "x-1"))
        yield env, key
        env.close()


def test_whoever_is_not_let_in_is_told_why(hub: RealHub, wrong: tuple[RemoteEnv, str]) -> None:
    _, key = wrong
    inside = hub.make_agent("inside")
    for agent, shown, said in (
        ("wrong", "nokey", "not accepted"),
        ("other", key, "the key is of agent 'wrong', not 'other'"),
        ("inside", inside, "learns in the hub"),
    ):
        with pytest.raises(RemoteFault, match=said.replace("(", ".")):
            make(address(hub, agent, shown, "x-1"))
    with pytest.raises(RemoteFault, match="one environment is one device, not a, b"):
        make(address(hub, "wrong", key, "a", "b"))
    lonely = external(hub, "lonely")
    with pytest.raises(RemoteFault, match="has no device yet"):
        make_vec(address(hub, "lonely", lonely))
    with pytest.raises(HubUnreachable, match=r"no hub answers at 127\.0\.0\.1:9 "):
        make(f"sheepfold://{key}@{HOST}:9/wrong?devices=x-1", timeout_s=0.3)


def test_spaces_of_every_kind_are_gymnasiums(hub: RealHub) -> None:
    declared = {
        "at": [[2], -1, 1],
        "mode": {"discrete": 3, "start": 1},
        "picture": [[2, 2], 0, 255],
        "switches": {"multi_binary": 2},
    }
    key = external(hub, "spaces", observations=declared, actions={"multi_discrete": [2, 3]})
    env = make(address(hub, "spaces", key, "s-1"), timeout_s=2)
    spaces = gymnasium.spaces
    expected = spaces.Dict(
        at=spaces.Box(-1, 1, (2,), np.float32),
        mode=spaces.Discrete(3, start=1),
        picture=spaces.Box(0, 255, (2, 2), np.uint8),
        switches=spaces.MultiBinary(2),
    )
    assert env.observation_space == expected
    assert env.action_space == spaces.MultiDiscrete([2, 3])
    said = {"at": [0.5, -1], "mode": 3, "picture": [[1, 2], [3, 255]], "switches": [1, 0]}
    with Http(hub.ready.http) as http:
        device = threading.Thread(
            target=http.step, args=(key, {"device": "s-1", "s": 0, "o": said})
        )
        device.start()
        seen, _ = env.reset()
        assert env.observation_space.contains(seen)
        assert seen["picture"].tolist() == said["picture"]
        with pytest.raises(RemoteFault):
            env.step([5, 5])
        with pytest.raises(DeviceSilent):
            env.step(np.array([1, 2]))
        device.join()
        env.close()
    row = hub.sql("SELECT action FROM events WHERE device = 's-1' AND kind = 'action'")
    assert row == [{"action": [1.0, 2.0]}]
