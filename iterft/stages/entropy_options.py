"""Which tokens of a group are left out of the surrogate so that entropy does not collapse: two known ways, each a mask.

Beside EGPO's bonus, which shapes the advantage of whole turns. Both see one group at a time, as that is what a forward
holds. Shapes: S turns, T tokens (padded).
"""

from __future__ import annotations

import torch


def top_entropy(entropy_ST: torch.Tensor, mask_ST: torch.Tensor, share: float) -> torch.Tensor:
    """The `share` of the tokens of `mask_ST` whose entropy is highest (at or above its quantile 1 - share): the forks
    of a turn, where something is decided. ArXiv 2506.01939, section 4; TRL's `top_entropy_quantile`."""
    threshold = torch.quantile(entropy_ST[mask_ST].float(), 1 - share)
    return (entropy_ST >= threshold) & mask_ST


def clip_cov(
    log_probs_ST: torch.Tensor,
    advantages_S: torch.Tensor,
    mask_ST: torch.Tensor,
    clipped_ST: torch.Tensor,
    share: float,
    bounds: tuple[float, float],
    seed: int,
) -> torch.Tensor:
    """Tokens of `mask_ST` that are to have no gradient: `share` of them, drawn from those which are not clipped anyway
    and for which (log pi - its mean) (A - its mean) lies between the bounds, as these lower the entropy most; means are
    those of the mask. Where the share of a group is no whole number, chance decides, so that over many groups it is
    kept. Clip-Cov, arXiv 2505.22617, section 4.2; there share 2e-4, bounds 1 and 5."""
    means = (log_probs_ST[mask_ST].mean(), advantages_S[:, None].expand_as(log_probs_ST)[mask_ST].mean())
    covariance_ST = (log_probs_ST - means[0]) * (advantages_S[:, None] - means[1])
    low, high = bounds
    candidates = ((covariance_ST > low) & (covariance_ST < high) & mask_ST & ~clipped_ST).nonzero().cpu()
    generator = torch.Generator().manual_seed(seed)
    count = int(share * int(mask_ST.sum()) + float(torch.rand((), generator=generator)))
    drawn = torch.randperm(len(candidates), generator=generator)
    chosen = candidates[drawn[:count]].to(mask_ST.device)
    left_out_ST = torch.zeros_like(mask_ST)
    left_out_ST[chosen[:, 0], chosen[:, 1]] = True
    return left_out_ST
