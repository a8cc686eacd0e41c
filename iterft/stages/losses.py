"""Preference losses that TRL's `DPOTrainer` does not have, and a weight per pair for those it has.

TRL computes its losses inside one function that calls the model once; `extend` listens to that call, adds our losses
on the same log-probs, and leaves the rest to TRL. A pair without a rejected side (an anchor) takes part where a loss
has a meaning for it: in TRL's as a pair whose rejected side never changes, in SimPO, CPO and ORPO not at all.

Shapes: B pairs, T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from iterft.config import OWN_LOSSES, StageSettings

SMALLEST_WEIGHT = 1e-6


@dataclass(frozen=True)
class PairScores:
    """Per pair [B]: sums of log-probs of both sides now and under the reference, their lengths in tokens, and the
    probability that the sides should be the other way round."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    ref_chosen: torch.Tensor
    ref_rejected: torch.Tensor
    num_chosen: torch.Tensor
    num_rejected: torch.Tensor
    smoothing: torch.Tensor


def simpo(scores: PairScores, settings: StageSettings) -> torch.Tensor:
    """-log sigma(beta (log pi(y_w)/|y_w| - log pi(y_l)/|y_l|) - gamma); SimPO, arXiv 2405.14734, Eq. 6, without a
    reference policy."""
    mean_chosen, mean_rejected = means(scores)
    loss = -logsigmoid(settings.beta * (mean_chosen - mean_rejected) - settings.gamma)
    return loss * (scores.num_rejected > 0)


def cpo(scores: PairScores, settings: StageSettings) -> torch.Tensor:
    """-log sigma(beta (log pi(y_w) - log pi(y_l))); CPO, arXiv 2401.08417, Eq. 3, without a reference policy: it has
    enough once the right side is the likelier one, however far the policy was from that. Its other term is plain SFT:
    `loss_types: [cpo, sft]`."""
    loss = -logsigmoid(settings.beta * (scores.chosen - scores.rejected))
    return loss * (scores.num_rejected > 0)


def orpo(scores: PairScores, settings: StageSettings) -> torch.Tensor:
    """-beta log sigma(log odds(y_w) - log odds(y_l)), odds = p / (1 - p) of the mean log-prob; ORPO, arXiv 2403.07691,
    Eq. 7. Without a reference policy. Its other term is plain SFT: `loss_types: [orpo, sft]`."""
    mean_chosen, mean_rejected = means(scores)
    real = scores.num_rejected > 0
    mean_rejected = torch.where(real, mean_rejected, torch.full_like(mean_rejected, -1.0))
    log_odds = (mean_chosen - mean_rejected) - (log_1m_exp(mean_chosen) - log_1m_exp(mean_rejected))
    return -settings.beta * logsigmoid(log_odds) * real


def conservative(scores: PairScores, settings: StageSettings) -> torch.Tensor:
    """DPO with a label smoothing of each pair's own, 1 / (N_w / N_l + 1) from visits; MCTS-DPO, arXiv 2405.00451,
    section 3.2."""
    delta = settings.beta * (scores.chosen - scores.ref_chosen - scores.rejected + scores.ref_rejected)
    return -(1 - scores.smoothing) * logsigmoid(delta) - scores.smoothing * logsigmoid(-delta)


def sft(scores: PairScores, settings: StageSettings) -> torch.Tensor:
    """TRL's: the mean over the chosen tokens of the batch, as B parts whose mean it is. Ours only where pairs have
    weights, which TRL's cannot take."""
    return -scores.chosen * len(scores.chosen) / scores.num_chosen.sum()


LOSSES: Mapping[str, Callable[[PairScores, StageSettings], torch.Tensor]] = {
    "simpo": simpo,
    "cpo": cpo,
    "orpo": orpo,
    "conservative": conservative,
}
assert tuple(LOSSES) == OWN_LOSSES, "a recipe may name exactly these"


def extend(trainer: Any, settings: StageSettings) -> None:
    """Makes a `DPOTrainer` compute the losses of `settings`, ours among them, on rows that carry `smoothing` and
    `weight` beside TRL's own keys."""
    weighted = settings.weighting == "margin"
    ours = {**LOSSES, "sft": sft} if weighted else LOSSES
    shares = list(zip(settings.loss_types, settings.loss_weights, strict=True))
    own = [(ours[name], share) for name, share in shares if name in ours]
    trainer.loss_types = [name for name, _ in shares if name not in ours]
    trainer.loss_weights = [share for name, share in shares if name not in ours]
    trainer.use_weighting = weighted
    collate = trainer.data_collator

    def collate_all(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        extra = {key: torch.tensor([row[key] for row in rows]) for key in ("smoothing", "weight")}
        return {**collate(rows), **extra}

    def compute_loss(model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
        inputs = dict(inputs)
        smoothing, weight = inputs.pop("smoothing"), inputs.pop("weight")
        outputs: list[Any] = []

        def listen(**kwargs: Any) -> Any:
            output = model(**kwargs)
            if weighted:
                output["log_sum_sq_probs"] = weights_for_trl(output.log_probs, weight)
            outputs.append(output)
            return output

        loss: torch.Tensor = trainer._compute_loss(listen, inputs, return_outputs=False)
        scores = pair_scores(outputs[0].log_probs, inputs, smoothing)
        factor = weight if weighted else torch.ones_like(weight)
        for function, share in own:
            loss = loss + share * (factor * function(scores, settings)).mean()
        return loss

    trainer.data_collator, trainer.compute_loss = collate_all, compute_loss


def pair_scores(log_probs: torch.Tensor, inputs: Mapping[str, torch.Tensor], smoothing: torch.Tensor) -> PairScores:
    """From log-probs [2B, T] of a batch, chosen sides first; 0 outside the sides."""
    chosen, rejected = log_probs.sum(dim=1).chunk(2)
    num_chosen, num_rejected = inputs["completion_mask"].sum(dim=1).chunk(2)
    return PairScores(
        chosen=chosen,
        rejected=rejected,
        ref_chosen=inputs["ref_chosen_logps"],
        ref_rejected=inputs["ref_rejected_logps"],
        num_chosen=num_chosen,
        num_rejected=num_rejected,
        smoothing=smoothing,
    )


def weights_for_trl(log_probs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """[2B, T] for TRL's `use_weighting` (WPO), which multiplies each pair's losses by exp of the mean of
    (log-prob - this) on its chosen side and on its rejected side: log(weight) on the former, 0 on the latter."""
    logs = torch.cat([weight.clamp(min=SMALLEST_WEIGHT).log(), torch.zeros_like(weight)])
    return log_probs.detach() - logs[:, None]


def margin_weights(margins: Sequence[float]) -> list[float]:
    """Each margin over the mean of all; none below 0."""
    kept = [max(0.0, margin) for margin in margins]
    mean = math.fsum(kept) / len(kept) if kept else 0.0
    return [margin / mean if mean else 1.0 for margin in kept]


def means(scores: PairScores) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean log-prob per token [B] of the chosen and the rejected sides; 0 for an empty one."""
    return scores.chosen / scores.num_chosen.clamp(min=1), scores.rejected / scores.num_rejected.clamp(min=1)


def log_1m_exp(value: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(value)) for values below 0, exact at both ends."""
    value = value.float().clamp(max=-1e-7)
    near, far = value.clamp(min=-math.log(2)), value.clamp(max=-math.log(2))  # no infinite gradient in the other branch
    return torch.where(value > -math.log(2), torch.log(-torch.expm1(near)), torch.log1p(-torch.exp(far)))
