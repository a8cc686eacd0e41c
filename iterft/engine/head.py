"""The LM head where it is wanted, a few positions at a time, so that no [tokens, vocabulary] tensor of a row is kept.

Shapes: N wanted positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

CHUNK = 64
"""Positions projected at once: 64 x 49,152 float32 logits are 12 MiB."""


@dataclass(frozen=True)
class TokenScores:
    """Per wanted position [N]: log-prob of the target and entropy of the next-token distribution (both differentiable),
    and without gradient the mean logit, and whether the target is the most likely token."""

    log_probs: torch.Tensor
    entropy: torch.Tensor
    mean_logits: torch.Tensor
    is_top1: torch.Tensor


def token_scores(
    hidden_ND: torch.Tensor, head: torch.nn.Module, targets_N: torch.Tensor, temperature: float = 1.0
) -> TokenScores:
    """Scores of `targets_N` under the logits that `head` gives to `hidden_ND`, divided by `temperature`; in float32."""
    grad = torch.is_grad_enabled() and hidden_ND.requires_grad
    frozen = type(head) is torch.nn.Linear and head.bias is None and not head.weight.requires_grad
    if frozen and temperature != 1:  # with a gradient and without: the two are rounded alike in bfloat16
        hidden_ND, temperature = hidden_ND / temperature, 1.0  # without a bias the same as the logits
    parts: list[tuple[torch.Tensor, ...]] = []
    for start in range(0, max(len(targets_N), 1), CHUNK):
        hidden, targets = hidden_ND[start : start + CHUNK], targets_N[start : start + CHUNK]
        if grad and frozen:
            parts.append(FrozenHead.apply(hidden, head.weight, targets))  # type: ignore[no-untyped-call]
        elif grad:
            parts.append(checkpoint(score_chunk, hidden, head, targets, temperature, use_reentrant=False))
        else:
            parts.append(score_chunk(hidden, head, targets, temperature))
    return TokenScores(*(torch.cat(column) for column in zip(*parts, strict=True)))


@torch.no_grad()
def target_log_probs(hidden_ND: torch.Tensor, head: torch.nn.Module, targets_N: torch.Tensor) -> torch.Tensor:
    """The log-probs [N] of `token_scores` alone."""
    parts = []
    for hidden, targets in zip(torch.split(hidden_ND, CHUNK), torch.split(targets_N, CHUNK), strict=True):
        parts.append(log_prob_of(head(hidden).float(), targets))
    return torch.cat(parts)


def log_prob_of(logits_NV: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """[N], without the log-probs of all others."""
    return logits_NV.gather(-1, targets_N[:, None]).squeeze(-1) - logits_NV.logsumexp(dim=-1)


class FrozenHead(torch.autograd.Function):
    """Scores of a chunk under a head that is not trained. The gradient of a target's log-prob with respect to its
    hidden state is sum_v ([v = target] - p_v) w_v: taken at once, while the probabilities are there, [N, D] is kept for
    the backward pass instead of [N, V] or a second projection. The bracket is formed in float32: of a confident token
    nothing of 1 - p would be left in bfloat16. The gradient of the entropy H is sum_v -p_v (log p_v + H) w_v; where it
    is asked for, and only there, the logits are computed again."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: torch.Tensor, weight_VD: torch.Tensor, targets_N: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        log_probs, entropy, mean, is_top1, probs_NV = score_logits(linear(hidden_ND, weight_VD), targets_N)
        bracket_NV = probs_NV.neg_().scatter_add_(1, targets_N[:, None], torch.ones_like(log_probs)[:, None])
        ctx.save_for_backward(bracket_NV.to(weight_VD.dtype) @ weight_VD, hidden_ND, weight_VD)
        ctx.mark_non_differentiable(mean, is_top1)
        ctx.set_materialize_grads(False)
        return log_probs, entropy, mean, is_top1

    @staticmethod
    def backward(
        ctx: Any, grad_N: torch.Tensor | None, grad_entropy_N: torch.Tensor | None, *_: Any
    ) -> tuple[torch.Tensor | None, ...]:
        slopes_ND, hidden_ND, weight_VD = ctx.saved_tensors
        total_ND = torch.zeros_like(hidden_ND)
        if grad_N is not None:
            total_ND += grad_N[:, None].to(slopes_ND.dtype) * slopes_ND
        if grad_entropy_N is not None:
            log_probs_NV = linear(hidden_ND, weight_VD).float().log_softmax(dim=-1)
            probs_NV = log_probs_NV.exp()
            entropy_N1 = -torch.linalg.vecdot(probs_NV, log_probs_NV)[:, None]
            slopes_NV = -probs_NV * (log_probs_NV + entropy_N1) * grad_entropy_N[:, None]
            total_ND += slopes_NV.to(weight_VD.dtype) @ weight_VD
        return total_ND, None, None


def score_chunk(
    hidden_ND: torch.Tensor, head: torch.nn.Module, targets_N: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, ...]:
    logits_NV = head(hidden_ND)
    return score_logits(logits_NV if temperature == 1 else logits_NV / temperature, targets_N)[:4]


def score_logits(logits_NV: torch.Tensor, targets_N: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Log-probs, entropy, mean logit, is-top-1 [N] and the probabilities [N, V]; the first two have a gradient."""
    log_probs_NV = logits_NV.float().log_softmax(dim=-1)
    probs_NV = log_probs_NV.exp()
    entropy_N = -torch.linalg.vecdot(probs_NV, log_probs_NV)
    with torch.no_grad():
        mean_N = logits_NV.float().mean(dim=-1)
        is_top1_N = logits_NV.argmax(dim=-1) == targets_N
    return log_probs_NV.gather(-1, targets_N[:, None]).squeeze(-1), entropy_N, mean_N, is_top1_N, probs_NV
