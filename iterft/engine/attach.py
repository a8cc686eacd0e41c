"""Our forward under TRL's trainers, whose log-probs all come from one call of the model.

`attach` replaces that call, `count` leaves it as it is and counts it. To be called on the plain causal LM (inside any
PEFT wrapper) after the trainer is built, as its constructor patches the model too.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from iterft.engine.prefix_tree import Counters, score_sequences


@dataclass
class Budget:
    """Unique tokens whose activations an update may keep at a time; shrinks when memory runs out."""

    tokens: int


def attach(model: Any, counters: Counters, budget: Budget) -> None:
    """Makes `model(..., labels=..., fused_lm_head=True)`, the call of TRL 1.16, run through `score_sequences`."""
    from trl.trainer.utils import FusedCausalLMOutput

    original = model.forward

    def forward(
        self: Any,
        *args: Any,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        fused_lm_head: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> Any:
        if not fused_lm_head or input_ids is None or attention_mask is None or labels is None:
            return original(
                *args,
                input_ids=input_ids,
                attention_mask=attention_mask,
                labels=labels,
                fused_lm_head=fused_lm_head,
                num_items_in_batch=num_items_in_batch,
                **kwargs,
            )
        assert (attention_mask[:, :-1] >= attention_mask[:, 1:]).all(), "TRL pads on the right"
        lengths = attention_mask.sum(dim=1).tolist()
        sequences = [row[:length] for row, length in zip(input_ids.tolist(), lengths, strict=True)]
        label_mask = labels[:, 1:] != -100
        wanted = [(row.nonzero().flatten() + 1).tolist() for row in label_mask]
        scores = score_sequences(
            self.base_model, self.get_output_embeddings(), sequences, wanted, counters, budget.tokens
        )

        def scatter(name: str) -> torch.Tensor:
            flat = torch.cat([getattr(score, name) for score in scores])
            return flat.new_zeros(label_mask.shape).masked_scatter(label_mask, flat)

        log_probs = scatter("log_probs")
        return FusedCausalLMOutput(
            loss=-log_probs.sum()
            / (label_mask.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch),
            log_probs=log_probs,
            entropy=scatter("entropy").detach(),
            mean_logits=scatter("mean_logits"),
            is_top1=scatter("is_top1"),
            label_mask=label_mask,
        )

    model.forward = types.MethodType(forward, model)


def count(model: Any, counters: Counters) -> None:
    """Counts what the forward at hand computes: padded rows, and the head on every position of them."""
    original = model.forward

    def forward(self: Any, *args: Any, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        mask = kwargs.get("attention_mask")
        counters.sequence_tokens += input_ids.numel() if mask is None else int(mask.sum())
        counters.unique_tokens += input_ids.numel()
        counters.head_positions += input_ids.numel()
        return original(*args, input_ids=input_ids, **kwargs)

    model.forward = types.MethodType(forward, model)


def halving(
    step: Callable[..., Any], model: Any, counters: Counters, budget: Budget, say: Callable[[str], None]
) -> Callable[..., Any]:
    """`step`, forward and backward, which is done again, once in a training, when it runs out of the accelerator's
    memory: with half of the budget, or of what the step computed if that is less."""
    has_halved = False

    def careful(*args: Any, **kwargs: Any) -> Any:
        nonlocal has_halved
        if has_halved:
            return step(*args, **kwargs)
        before = counters.unique_tokens
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        gradients: list[torch.Tensor | None] = []
        try:
            gradients += [held(parameter.grad) for parameter in parameters]
            return step(*args, **kwargs)
        except torch.OutOfMemoryError:
            has_halved = True
        for parameter, gradient in zip(parameters, gradients, strict=False):  # none where these found no room
            parameter.grad = gradient
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        budget.tokens = max(1, min(budget.tokens, counters.unique_tokens - before or budget.tokens) // 2)
        say(f"out of memory: from here on activations of {budget.tokens:,} tokens are kept at a time, not more")
        return step(*args, **kwargs)

    return careful


def held(gradient: torch.Tensor | None) -> torch.Tensor | None:
    """What to go back to, where memory can run out and the program go on."""
    return gradient.clone() if gradient is not None and gradient.is_cuda else gradient
