"""A policy while an on-policy stage trains it: scores of its rollouts with a gradient, optimizer steps, its files.

A loop of our own, not a TRL trainer: `GRPOTrainer` samples and rewards by itself and takes other advantages only from a
subclass. What is left of it once rollouts, rewards and advantages are ours is a forward, a loss and a step; its loss is
the oracle of the tests. One process, one device.

Shapes: S turns of one prompt, T tokens (padded).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from iterft.config import ModelSettings
from iterft.engine.attach import Budget, halving
from iterft.engine.memory import affordable_tokens
from iterft.engine.plain import plain_scores
from iterft.engine.prefix_tree import Counters, score_sequences
from iterft.log import Log
from iterft.models import device, load_for_training, needs_autocast
from iterft.stages.finite import refuse_gradient
from iterft.stages.launch import make_ready, save_weights
from iterft.types import Checkpoint

OPTIMIZER = "optimizer.pt"
REFERENCE = "reference"
"""The adapter of the reference policy, frozen."""


def open_trainee(
    base: str,
    checkpoint: Checkpoint,
    reference: Checkpoint | None,
    settings: ModelSettings,
    lr: float,
    seed: int,
    log: Log,
) -> Trainee:
    """The checkpoint's policy, with the optimizer that `Trainee.save` has left in its folder, if it has, and with the
    adapter of the reference policy, if one is wanted. `seed` is what a new adapter is drawn from."""
    model = load_for_training(base, checkpoint, settings, seed)
    if reference is not None and reference.path is not None:
        model.load_adapter(str(reference.path), REFERENCE, is_trainable=False)
        model.set_adapter("default")
    trainee = Trainee(model, settings, lr, log)
    known = checkpoint.path and checkpoint.path / OPTIMIZER
    if known and known.exists():
        trainee.optimizer.load_state_dict(torch.load(known, map_location=device(), weights_only=True))
    return trainee


class Trainee:
    """Holds a trainable model and its optimizer (AdamW, constant learning rate, no weight decay). Its reference policy
    is the adapter of that name, or the model without any."""

    def __init__(self, model: Any, settings: ModelSettings, lr: float, log: Log) -> None:
        self.model, self.settings = model, settings
        self.inner, self.is_shared = make_ready(model, settings, log)
        tokens = settings.max_activation_tokens
        if self.is_shared:
            tokens = affordable_tokens(self.inner, tokens, log.say_once)
        self.counters, self.budget = Counters(), Budget(tokens)
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=lr, weight_decay=0.0)
        self.learn: Callable[[Callable[[], torch.Tensor]], None] = halving(
            self.backward, model, self.counters, self.budget, log.say
        )

    def backward(self, loss: Callable[[], torch.Tensor]) -> None:
        """Adds the gradient of what `loss` computes."""
        self.model.train()
        with torch.autocast(device().type, torch.bfloat16, enabled=needs_autocast(self.settings)):
            value = loss()
        value.backward()  # type: ignore[no-untyped-call]

    def step(self, max_grad_norm: float) -> float:
        """One step of the optimizer; the norm of the gradient before it was clipped. ValueError where that is no
        number: all weights would be lost."""
        norm = torch.nn.utils.clip_grad_norm_(self.trained, max_grad_norm)
        refuse_gradient(norm, "grpo", "the steps before this one are kept")
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(norm)

    def score(
        self, prompt: Sequence[int], turns: Sequence[Sequence[int]], temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probs and full-vocabulary entropies [S, T] of the turns' tokens behind the one prompt, 0 where padded,
        under logits divided by `temperature`."""
        sequences = [[*prompt, *turn] for turn in turns]
        wanted = [range(len(prompt), len(sequence)) for sequence in sequences]
        scores = (
            score_sequences(
                self.inner.base_model,
                self.inner.get_output_embeddings(),
                sequences,
                wanted,
                self.counters,
                self.budget.tokens,
                temperature,
            )
            if self.is_shared
            else plain_scores(self.inner, sequences, wanted, self.counters, temperature)
        )
        log_probs_ST, entropy_ST = (
            pad_sequence([getattr(score, name) for score in scores], batch_first=True)
            for name in ("log_probs", "entropy")
        )
        return log_probs_ST, entropy_ST

    @torch.no_grad()
    def look(
        self, prompt: Sequence[int], turns: Sequence[Sequence[int]], temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`score` without a gradient, nor dropout."""
        self.model.eval()
        with torch.autocast(device().type, torch.bfloat16, enabled=needs_autocast(self.settings)):
            return self.score(prompt, turns, temperature)

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """While it is open, the model is the reference policy. Only where adapters are tuned."""
        if REFERENCE not in self.model.peft_config:
            with self.model.disable_adapter():
                yield
            return
        self.model.set_adapter(REFERENCE)
        try:
            yield
        finally:
            self.model.set_adapter("default")

    def save(self, out: Path) -> Checkpoint:
        """Weights and optimizer as a folder, which is there whole or not at all."""
        save_weights(self.model, out, lambda folder: torch.save(self.optimizer.state_dict(), folder / OPTIMIZER))
        return Checkpoint(out)
