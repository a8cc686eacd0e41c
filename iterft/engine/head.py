"""The LM head where it is wanted, a few positions at a time, so that no [tokens, vocabulary] tensor of a row is kept.

Shapes: N wanted positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.checkpoint import checkpoint

CHUNK = 256
"""Positions projected at once: 256 x 49,152 float32 logits are 48 MiB."""


@dataclass(frozen=True)
class TokenScores:
    """Per wanted position [N]: log-prob of the target (differentiable), and without gradient the entropy of the
    next-token distribution, the mean logit, and whether the target is the most likely token."""

    log_probs: torch.Tensor
    entropy: torch.Tensor
    mean_logits: torch.Tensor
    is_top1: torch.Tensor


def token_scores(hidden_ND: torch.Tensor, head: torch.nn.Module, targets_N: torch.Tensor) -> TokenScores:
    """Scores of `targets_N` under the logits that `head` gives to `hidden_ND`, in float32."""
    parts = []
    for start in range(0, max(len(targets_N), 1), CHUNK):
        hidden, targets = hidden_ND[start : start + CHUNK], targets_N[start : start + CHUNK]
        if torch.is_grad_enabled() and hidden.requires_grad:
            parts.append(checkpoint(score_chunk, hidden, head, targets, use_reentrant=False))
        else:
            parts.append(score_chunk(hidden, head, targets))
    return TokenScores(*(torch.cat(column) for column in zip(*parts, strict=True)))


def score_chunk(
    hidden_ND: torch.Tensor, head: torch.nn.Module, targets_N: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    logits_NV = head(hidden_ND).float()
    log_norm_N = logits_NV.logsumexp(dim=-1)
    log_probs_N = logits_NV.gather(-1, targets_N[:, None]).squeeze(-1) - log_norm_N
    with torch.no_grad():
        detached_NV = logits_NV.detach()
        probs_NV = (detached_NV - log_norm_N.detach()[:, None]).exp()
        entropy_N = log_norm_N.detach() - (probs_NV * detached_NV).sum(dim=-1)
        mean_N = detached_NV.mean(dim=-1)
        is_top1_N = detached_NV.argmax(dim=-1) == targets_N
    return log_probs_N, entropy_N, mean_N, is_top1_N
