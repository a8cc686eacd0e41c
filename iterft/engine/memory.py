"""How many activations an update on a CPU may keep. An accelerator says when its memory has run out; a system ends the
process then, without a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
import torch

from iterft.engine.fitness import scored_branches
from iterft.engine.prefix_tree import Counters

SHARE = 0.5
"""Of the memory that is free when an update starts; the rest is left to what others start meanwhile."""
LEAST = 512
"""Tokens: smaller parts save little, as a row is never cut."""
PROBE = 96


def affordable_tokens(model: Any, wanted: int, say: Callable[[str], None]) -> int:
    """`wanted`, halved until the activations of so many tokens find room beside gradients and the optimizer's state.
    A model on an accelerator, or on no more than `LEAST` tokens, is left as it is. `say` is told what was halved."""
    if next(model.parameters()).device.type != "cpu":
        return wanted
    free = psutil.virtual_memory().available
    trained = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    room = SHARE * free - 3 * trained
    each = kept_bytes(model)
    tokens = wanted
    while tokens > LEAST and tokens * each > room:
        tokens //= 2
    if tokens < wanted:
        say(
            f"{free / 1024**3:.1f} GiB of memory are free, and what a token leaves for the backward pass takes "
            f"{each / 1024**2:.2f} MiB: activations of {tokens:,} tokens are kept at a time, not of {wanted:,} "
            "(model.max_activation_tokens)"
        )
    return tokens


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
