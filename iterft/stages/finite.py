"""An update whose numbers have run away ends before it destroys weights, and none that are destroyed are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def refuse_gradient(norm: torch.Tensor, section: str, kept: str = "no checkpoint is written") -> None:
    """ValueError where the norm of a gradient is no number: a step would destroy all weights. `section`: of the recipe,
    where its learning rate is. `kept`: what is left of the update."""
    if not torch.isfinite(norm):
        raise ValueError(
            f"{section}: the gradient of an update is {float(norm)}; in another run lower {section}.lr, or set "
            f"model.dtype=float32; {kept}"
        )


def watch_gradients(trainer: Any, section: str) -> None:
    """Has a trainer look at the norms by which it clips gradients, which it takes before each step of the optimizer."""
    clip: Callable[..., torch.Tensor] = trainer.accelerator.clip_grad_norm_

    def watched(*args: Any, **kwargs: Any) -> torch.Tensor:
        norm = clip(*args, **kwargs)
        refuse_gradient(norm, section)
        return norm

    trainer.accelerator.clip_grad_norm_ = watched


def refuse_weights(model: Any) -> None:
    """ValueError where something trained is no number, as it becomes where a step is too large for its dtype."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not torch.isfinite(parameter).all():
            raise ValueError(
                f"update: {name} holds what is no number, so nothing is saved of it; in another run lower the learning "
                "rate (warmup.lr, stage.lr or grpo.lr), or set model.dtype=float32"
            )
