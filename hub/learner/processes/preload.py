"""What the fork server imports once for all learners, so that a child starts in milliseconds."""

from __future__ import annotations

import gc

import torch

import hub.learner.acting.act
import hub.learner.sb3.library
import hub.learner.training.live  # noqa: F401 - imported to be there

# Torch imports a fifth of itself (1 s) only when the first optimizer is made.
torch.optim.Adam([torch.zeros(1)])

# The garbage collector writes to every object it visits; frozen ones it leaves alone, and their
# memory stays shared between all children.
gc.freeze()
