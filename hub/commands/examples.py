"""What `--help` shows below each command: lines that can be typed as they stand."""

from __future__ import annotations

from typing import Final

import click

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "serve": (
        "sheepfold serve --config deploy/hub.toml --data ./data",
        "SHEEPFOLD__LOG__RETAIN_DAYS=365 sheepfold serve --http-port 0",
    ),
    "demo": ("sheepfold demo --seconds 60 --devices 4",),
    "simulate": (
        "sheepfold simulate --create --agent carts --devices 50 --seconds 60",
        "sheepfold simulate --key k5vgzr2a.… --host hub.local --protocol ws --rate 10/s "
        "--loss 2% --dup 1% --delay 50ms±20 --reboot 1/h",
    ),
    "status": ("sheepfold status | jq .processes",),
    "top": (
        "sheepfold top",
        "sheepfold top --once --json | jq '.agents[] | {agent, steps_per_s, answered}'",
    ),
    "doctor": (
        "sheepfold doctor --config /etc/sheepfold/hub.toml --data /var/lib/sheepfold",
        "sheepfold doctor --mend",
    ),
    "schemas": ("sheepfold schemas --check",),
    "completion": (
        "sheepfold completion bash > ~/.local/share/bash-completion/completions/sheepfold",
        "sheepfold completion fish | source",
    ),
    "agent create": (
        "sheepfold agent create heating --algorithm PPO --observations '[[1],-40,80]' --actions 2",
        "sheepfold agent create arm --algorithm SAC --observations '[[6],-1,1]' "
        "--actions '[[2],-1,1]' --set gamma=0.98 --fallback hold --deadline-ms 50",
    ),
    "agent list": ("sheepfold agent list | jq -r .name",),
    "agent show": ("sheepfold agent show heating",),
    "agent update": (
        "sheepfold agent update heating --learning off",
        "sheepfold agent update heating --set learning_rate=1e-4 --silent-s 900",
    ),
    "agent clone": ("sheepfold agent clone heating heating-3",),
    "agent restart": ("sheepfold agent restart heating",),
    "agent pause": ("sheepfold agent pause heating",),
    "agent resume": ("sheepfold agent resume heating",),
    "agent delete": ("sheepfold agent delete heating",),
    "mapping add": ("sheepfold mapping add boiler boiler.toml --agent boilers",),
    "mapping list": ("sheepfold mapping list",),
    "mapping replay": ("sheepfold mapping replay boiler.toml boiler-7",),
    "mapping show": ("sheepfold mapping show boiler",),
    "mapping remove": ("sheepfold mapping remove boiler",),
    "mapping try": ("sheepfold mapping try boiler.toml 't=70.7&unit=F&watts=1200'",),
    "policy list": ("sheepfold policy list heating",),
    "policy export": ("sheepfold policy export heating --version 12 --to heating-12.zip",),
    "policy import": ("sheepfold policy import heating heating-12.zip",),
    "policy promote": ("sheepfold policy promote heating 12",),
    "policy rollback": ("sheepfold policy rollback heating --to 11",),
    "device add": ("sheepfold device add heater-1 --agent heating",),
    "device move": ("sheepfold device move heater-1 --agent heating-2",),
    "claim create": (
        "sheepfold claim create heating",
        "sheepfold claim create pumps --uses 200 --expires 30d --prefix pump-",
    ),
    "claim list": ("sheepfold claim list",),
    "claim revoke": ("sheepfold claim revoke k5vgzr2a --keys",),
    "device forget": ("sheepfold device forget heater-1",),
    "device list": ("sheepfold device list | jq -r .device",),
    "key create": (
        "sheepfold key create heating --device heater-1",
        "sheepfold key create --user ann",
        "sheepfold key create game --publishable --origin https://museum.example",
        "sheepfold key create heating --device heater-1 --rewards",
    ),
    "key list": ("sheepfold key list",),
    "key revoke": ("sheepfold key revoke k5vgzr2a",),
    "key rotate": ("sheepfold key rotate k5vgzr2a --overlap 7d",),
    "user add": (
        "sheepfold user add ann --role owner",
        "sheepfold user add root --role admin --password-stdin < password.txt",
    ),
    "user list": ("sheepfold user list",),
    "user passwd": ("sheepfold user passwd ann",),
    "user remove": ("sheepfold user remove ann",),
    "sql": (
        "sheepfold sql 'SELECT agent, count(*) FROM events GROUP BY agent'",
        "sheepfold sql 'SELECT * FROM episodes' --format csv > episodes.csv",
    ),
    "seal": ("sheepfold seal",),
    "backup": ("sheepfold backup /mnt/backup",),
    "move": ("sheepfold move /mnt/moving",),
    "restore": ("sheepfold restore /mnt/backup --data ./new",),
    "verify": ("sheepfold verify", "sheepfold verify --data /mnt/backup"),
    "export": ("sheepfold export --parquet ./for-others",),
    "rebuild": (
        "sheepfold rebuild heating",
        "sheepfold rebuild heating --as heating-dqn --algorithm DQN --set gamma=0.95",
    ),
    "tls init": ("sheepfold tls init /etc/sheepfold/tls --name hub.local --name 192.168.1.10",),
    "tls hub": ("sheepfold tls hub /etc/sheepfold/tls --name hub.local",),
    "tls device": ("sheepfold tls device /etc/sheepfold/tls heater-1",),
}


def show_examples(group: click.Group, words: str = "") -> None:
    """Put them below the help of each command of a group, and of those below it."""
    for name, command in group.commands.items():
        named = f"{words} {name}".strip()
        if isinstance(command, click.Group):
            show_examples(command, named)
        elif named in EXAMPLES:
            # \b: click wraps no line of this paragraph.
            command.epilog = "\n".join(("\b", "Examples:", *(f"  {e}" for e in EXAMPLES[named])))
