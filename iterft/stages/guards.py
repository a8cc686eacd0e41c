"""What is watched while a policy learns from its own rollouts, and when that has gone wrong.

Two ways to fail look like success in the reward for a while: the policy stops calling (where replies in words are paid
too), or says the same in every rollout, and nothing is left to compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch

from iterft.config import GrpoSettings
from iterft.rollout import Rollout
from iterft.types import Sample

Figures = dict[str, float]


class Tally:
    """Running means by name."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, int]] = {}

    def add(self, name: str, values: torch.Tensor | float) -> None:
        total, count = self.sums.get(name, (0.0, 0))
        parts = torch.as_tensor(values, dtype=torch.float32)
        self.sums[name] = total + float(parts.sum()), count + parts.numel()

    def means(self) -> Figures:
        return {name: total / count for name, (total, count) in self.sums.items() if count}


def rollout_figures(samples: Sequence[Sample], rows: Sequence[Sequence[Rollout]]) -> Figures:
    """Shares of the rollouts and their means: `reward`, `passed` (reward 1), `unparsable`, `thought` (with a think part
    that is closed), `tokens`; `surprise`, minus the log-prob of a token at temperature 1, in nats: of turns sampled at
    that temperature an estimate of the entropy, and known where all groups agree and none is forwarded; `calls`, of the
    turns where a call is right those that make one, and `unneeded_calls`, the same where none is right, each left out
    where there is no such sample."""
    everything = [rollout for row in rows for rollout in row]
    figures: Figures = {
        "reward": fmean(rollout.reward.value for rollout in everything),
        "passed": fmean(rollout.reward.value == 1.0 for rollout in everything),
        "unparsable": fmean(bool(rollout.turn.error) for rollout in everything),
        "thought": fmean(rollout.turn.thought is not None for rollout in everything),
        "tokens": fmean(len(rollout.completion.ids) for rollout in everything),
        "surprise": -fmean(value for rollout in everything for value in rollout.completion.logprobs),
    }
    for name, is_right in (("calls", True), ("unneeded_calls", False)):
        made = [
            bool(rollout.turn.calls)
            for sample, row in zip(samples, rows, strict=True)
            for rollout in row
            if bool(sample.answer) is is_right
        ]
        if made:
            figures[name] = fmean(made)
    return figures


def collapse(figures: Figures, settings: GrpoSettings, usual_calls: float | None = None) -> str:
    """What has collapsed, with its limit and what to do; "" while all is well. `usual_calls`: of samples that were
    chosen for what the policy gets wrong, the share of calls at the beginning; more than half of it is no collapse."""
    fewest = settings.min_call_share if usual_calls is None else min(settings.min_call_share, usual_calls / 2)
    if figures.get("calls", 1.0) < fewest:
        return (
            f"where a call is right, {100 * figures['calls']:.0f} % of the turns make one, less than "
            f"grpo.min_call_share {settings.min_call_share}; in another run lower grpo.lr, raise grpo.kl_weight or "
            "warm up longer, or lower the limit, which this one may go on with"
        )
    if not figures["surprise"] >= settings.min_entropy:
        return (
            f"the mean surprise of a token is {figures['surprise']:.2g} nats, less than grpo.min_entropy "
            f"{settings.min_entropy}: the policy hardly varies any more; in another run lower grpo.lr, raise "
            "grpo.entropy_weight or grpo.clip_high, or lower the limit, which this one may go on with"
        )
    return ""


SHOWN = (
    ("reward", "reward {:.2f}"),
    ("calls", "calls {:.2f}"),
    ("unparsable", "unparsable {:.2f}"),
    ("tokens", "{:.0f} tokens"),
    ("surprise", "surprise {:.3f}"),
    ("entropy", "entropy {:.3f}"),
    ("kl", "KL {:.4f}"),
    ("clip_share", "clipped {:.3f}"),
)


def line_of(figures: Figures) -> str:
    """The figures for people, as far as they are known."""
    shown = [form.format(figures[name]) for name, form in SHOWN if name in figures]
    if "groups" in figures:
        shown.append(f"{figures['zero_variance']} of {figures['groups']} groups agree")
    return ", ".join(shown)
