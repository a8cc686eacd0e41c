"""How many activations an update on a CPU may keep. An accelerator says when its memory has run out; a system ends the
process then, without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

from iterft.engine.fitness import scored_branches
from iterft.engine.prefix_tree import Counters

SHARE = 0.5
"""Of the memory that is free when an update starts; the rest is left to what others start meanwhile."""
CGROUP = Path("/sys/fs/cgroup")
LEAST = 512
"""Tokens: smaller parts save little, as a row is never cut."""
PROBE = 96


def affordable_tokens(model: Any, wanted: int, say: Callable[[str], None]) -> int:
    """`wanted`, halved until the activations of so many tokens find room beside gradients and the optimizer's state.
    A model on an accelerator, or on no more than `LEAST` tokens, is left as it is. `say` is told what was halved."""
    if next(model.parameters()).device.type != "cpu":
        return wanted
    trained = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    room = SHARE * free_memory() - 3 * trained
    each = kept_bytes(model)
    tokens = wanted
    while tokens > LEAST and tokens * each > room:
        tokens //= 2
    if tokens < wanted:
        say(
            f"memory: activations of {tokens:,} tokens are kept at a time, not of {wanted:,} "
            f"(model.max_activation_tokens), as each takes {each / 1024**2:.2f} MiB and more must stay free"
        )
    return tokens


def free_memory() -> int:
    """Bytes that the system, or the limit of the container, leaves; caches of files count as free, as they give way."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())["inactive_file"]
    except (OSError, ValueError, KeyError):  # no container, or "max": no limit
        return free
    return min(free, limit - used + int(cached))


def kept_bytes(model: Any) -> float:
    """About how many bytes the forward of a step keeps for its backward pass, per unique token: measured on a short row
    with branches. One without keeps less; long branches keep more, as their scores of attention are kept. Leaves no
    gradients."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    counters = Counters()
    was_training = model.training
    model.train()  # dropout keeps what it drops
    with torch.random.fork_rng([]), torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        scored_branches(model, PROBE, counters)
    model.train(was_training)
    return sum(kept.values()) / counters.unique_tokens
