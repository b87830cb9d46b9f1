"""The hub's side: each agent's actor and trainer, started, bounded, ended and begun again."""
