"""Group optimization with an entropy bonus in the advantage: EGPO (FunRL, arXiv 2508.05118); GRPO where lambda is 0.

For one prompt the policy pi_old writes S turns, judged with rewards r_i:

    A_i  = (r_i - mean r) / (std r + 1e-4)            unbiased std, as TRL has it
    A'_i = A_i + min(lambda E_i, |A_i| / alpha)       Eq. 5; E_i: mean entropy of pi_old over its think part's tokens
    l_it = -min(rho_it A'_i, clip(rho_it, 1 - low, 1 + high) A'_i) + beta rho_it KL_it,    rho = pi / pi_old

Log-probs and entropies are those of the temperature at which the turns were sampled, as TRL has it.

The bonus is added to the advantage, not to the loss; it is never negative: a turn that failed is blamed less, at most
down to 1 - 1/alpha of its A, and one of A = 0 stays at 0. Groups whose rewards all agree say nothing and are dropped
before any forward; they count in no mean and take no part in the KL, as they would in TRL.

Not here: what is right (verifiers), how turns are sampled (policies), the optimizer (`trainee`), what is watched
(`guards`).

Shapes: S turns of a group, T tokens of a turn (padded).
"""

from __future__ import annotations

import gc
import json
import math
import random
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence

from iterft.config import GrpoSettings, ModelSettings
from iterft.log import Log
from iterft.protocols import Serve
from iterft.rollout import Rollout, World, roll_out, seed_of
from iterft.stages.entropy_options import clip_cov, top_entropy
from iterft.stages.groups import Group, draw, group_of
from iterft.stages.guards import Figures, Tally, collapse, line_of, rollout_figures
from iterft.stages.trainee import OPTIMIZER, Trainee, open_trainee
from iterft.types import Checkpoint, Experience, Sample

MIN_TURNS = 8
"""From so many turns where a call is right on, the share of those that make one says something."""
EPSILON = 1e-4
"""Added to the standard deviation of a group's rewards."""


@dataclass(frozen=True)
class Before:
    """What was computed of a group before its first update: log-probs and entropies [S, T] of pi_old (None: those of
    the forward that is learnt from, as nothing has been updated since the turns were written), and log-probs [S, T] of
    the reference (None: no KL)."""

    scores: tuple[torch.Tensor, torch.Tensor] | None
    ref_log_probs: torch.Tensor | None


class EntropyGrpoStage:
    """`protocols.Stage`. `world` holds the verifier that gives the rewards; dr_grpo divides by `max_new_tokens`."""

    def __init__(
        self,
        base: str,
        model_settings: ModelSettings,
        settings: GrpoSettings,
        max_new_tokens: int,
        serve: Serve,
        world: World,
        log: Log,
    ) -> None:
        self.base = base
        self.model_settings = model_settings
        self.settings = settings
        self.max_new_tokens = max_new_tokens
        self.serve = serve
        self.world = world
        self.log = log
        if settings.entropy_weight and not model_settings.think:
            log.say("entropy_grpo without think parts is grpo: model.think=true asks for them")

    def __call__(self, checkpoint: Checkpoint, experience: Experience, out: Path) -> Checkpoint:
        """Each step begins with files and leaves files: one that was interrupted is done again, those before it stay.
        ValueError when the policy collapses."""
        folder = out.with_name(f"{out.name}-steps")
        done = last_step(folder)
        if (num_there := len(experience.samples)) < self.settings.num_prompts:
            self.log.say(f"  only {num_there} samples for steps of {self.settings.num_prompts} (grpo.num_prompts)")
        with self.log.progress("grpo", self.settings.num_steps - done) as advance:
            for number in range(done + 1, self.settings.num_steps + 1):
                self.step(number, folder, checkpoint, experience)
                gc.collect()  # fused layers refer to themselves: the weights would stay beside those of the next step
                shutil.rmtree(step_folder(folder, number - 2), ignore_errors=True)
                advance()
        last = step_folder(folder, self.settings.num_steps)
        self.judge_last(folder, checkpoint, experience)
        (last / OPTIMIZER).unlink(missing_ok=True)
        shutil.rmtree(step_folder(folder, self.settings.num_steps - 1), ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)
        last.replace(out)
        shutil.rmtree(folder)
        return Checkpoint(out)

    def step(self, number: int, folder: Path, start: Checkpoint, experience: Experience) -> None:
        """Rollouts of the policy as it is, then updates. `start`: where the stage began, which is the reference too."""
        settings = self.settings
        seed = seed_of(experience.seed, number)
        current = after_step(folder, number - 1, start)
        samples = draw(experience.samples, settings.num_prompts, number - 1, experience.seed)
        rows, groups = self.roll_out(current, samples, seed)
        kept = [group for group in groups if not group.agrees]
        reference = start if settings.kl_weight > 0 else None
        trainee = open_trainee(
            self.base, current, reference, self.model_settings, settings.lr, experience.seed, self.log
        )
        tally = self.learn(trainee, kept, seed)
        figures = {
            **rollout_figures(samples, rows),
            "groups": len(groups),
            "zero_variance": len(groups) - len(kept),
            **tally.means(),
        }
        self.log.metric("grpo", step=number, **figures, **asdict(trainee.counters))
        self.log.say(f"  step {number}/{settings.num_steps}: {line_of(figures)}")
        self.refuse_collapse(figures, samples, number, folder, start)
        trainee.save(step_folder(folder, number))

    def judge_last(self, folder: Path, start: Checkpoint, experience: Experience) -> None:
        """The rollouts of a step judge what the updates of the step before have made of the policy; those of one more
        step, from which nothing is learnt, judge the last."""
        number = self.settings.num_steps + 1
        samples = draw(experience.samples, self.settings.num_prompts, number - 1, experience.seed)
        rows, _ = self.roll_out(after_step(folder, number - 1, start), samples, seed_of(experience.seed, number))
        figures = rollout_figures(samples, rows)
        self.log.metric("grpo_end", **figures)
        self.log.say(f"  after the last step: {line_of(figures)}")
        self.refuse_collapse(figures, samples, number, folder, start)

    def refuse_collapse(
        self, figures: Figures, samples: Sequence[Sample], number: int, folder: Path, start: Checkpoint
    ) -> None:
        """ValueError if the policy that wrote the rollouts of step `number` for these samples has collapsed."""
        num_due = self.settings.num_samples * sum(bool(sample.answer) for sample in samples)
        watched = figures if num_due >= MIN_TURNS else {name: figures[name] for name in figures if name != "calls"}
        if fault := collapse(watched, self.settings, self.usual_calls(watched, folder)):
            if number == 1:
                good = f"the stage began so, with {start.path or self.base}"
            else:
                good = f"the last good checkpoint is {after_step(folder, number - 2, start).path or self.base}"
            raise ValueError(f"grpo, step {number}: {fault}; {good}")

    def usual_calls(self, figures: Figures, folder: Path) -> float | None:
        """Of turns where a call is right the share that made one when the stage began; None where samples are not
        chosen for what the policy gets wrong, and where it is not known."""
        if self.settings.samples == "all":
            return None
        file = folder / "first_calls.json"
        if not file.exists():
            if "calls" not in figures:
                return None
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(figures["calls"]), encoding="utf-8")
        return float(json.loads(file.read_text(encoding="utf-8")))

    def roll_out(
        self, checkpoint: Checkpoint, samples: Sequence[Sample], seed: int
    ) -> tuple[list[list[Rollout]], list[Group]]:
        """Whole turns of the checkpoint's policy, judged; and what is learnt from them."""
        count, temperature = self.settings.num_samples, self.settings.temperature
        silent = Log(quiet=True)  # a bar a step would hide the one of the stage
        with self.serve(checkpoint) as policy:
            rows = roll_out(policy, self.world, samples, count, temperature, seed, silent, "rollouts", to_the_end=True)
            return rows, [group_of(policy, sample, row) for sample, row in zip(samples, rows, strict=True)]

    def learn(self, trainee: Trainee, groups: Sequence[Group], seed: int) -> Tally:
        """`num_passes` over the groups, an update every `prompts_per_update` of them."""
        settings = self.settings
        tally = Tally()
        torch.manual_seed(seed)  # dropout
        size = settings.prompts_per_update
        num_updates = math.ceil(len(groups) / size)
        size = (
            math.ceil(len(groups) / num_updates) if groups else 1
        )  # AdamW moves about as far for one group as for many
        is_one = num_updates * settings.num_passes == 1
        pool = [(group, look_back(trainee, group, settings, is_only_update=is_one)) for group in groups]
        num_tokens = sum(group.num_tokens for group in groups)
        for number in range(settings.num_passes):
            random.Random(seed_of(seed, "order", number)).shuffle(pool)
            for start in range(0, len(pool), size):
                batch = pool[start : start + size]
                members = [group for group, _ in batch]
                weights = turn_weights(members, settings.loss_type, num_tokens / num_updates, self.max_new_tokens)
                for (group, before), weight_S in zip(batch, weights, strict=True):
                    draws = seed_of(seed, "drawn tokens", number, group.prompt)
                    trainee.learn(partial(group_loss, trainee, group, before, weight_S, settings, draws, tally))
                tally.add("grad_norm", trainee.step(settings.max_grad_norm))
        return tally


def group_loss(
    trainee: Trainee,
    group: Group,
    before: Before,
    weight_S: Sequence[float],
    settings: GrpoSettings,
    draws: int,
    tally: Tally,
) -> torch.Tensor:
    """The group's part of the loss of an update; what is to be watched goes to `tally`."""
    log_probs_ST, entropy_ST = trainee.score(group.prompt, group.turns, settings.temperature)
    old_log_probs_ST, old_entropy_ST = before.scores or (log_probs_ST.detach(), entropy_ST.detach())
    mask_ST, thought_ST = (
        pad_sequence([torch.tensor(row, device=log_probs_ST.device) for row in rows], batch_first=True)
        for rows in ([[True] * len(turn) for turn in group.turns], group.thought)
    )
    advantages_S = group_advantages(torch.tensor(group.rewards, device=log_probs_ST.device))
    advantages_S = with_entropy_bonus(
        advantages_S, mean_over(old_entropy_ST, thought_ST), settings.entropy_weight, settings.entropy_bound
    )
    ratio_ST = importance_ratio(log_probs_ST - old_log_probs_ST, mask_ST, settings.ratio)
    losses_ST, clipped_ST = surrogate(ratio_ST, advantages_S, settings.clip_low, settings.clip_high)
    if settings.top_entropy_share < 1:
        losses_ST = losses_ST * top_entropy(entropy_ST.detach(), mask_ST, settings.top_entropy_share)
    if settings.clip_cov_share > 0:
        losses_ST = losses_ST * ~clip_cov(
            log_probs_ST.detach(),
            advantages_S,
            mask_ST,
            clipped_ST,
            settings.clip_cov_share,
            (settings.clip_cov_low, settings.clip_cov_high),
            draws,
        )
    if before.ref_log_probs is not None:
        kl_ST = kl_estimate(log_probs_ST, before.ref_log_probs)
        losses_ST = losses_ST + settings.kl_weight * ratio_ST * kl_ST
        tally.add("kl", kl_ST[mask_ST].detach())
    weights_S1 = torch.tensor(weight_S, device=log_probs_ST.device)[:, None]
    loss = (losses_ST * mask_ST * weights_S1).sum()
    tally.add("entropy", entropy_ST[mask_ST].detach())
    tally.add("thought_entropy", entropy_ST[thought_ST].detach())
    tally.add("clip_share", clipped_ST[mask_ST].float())
    return loss


def group_advantages(rewards_S: torch.Tensor) -> torch.Tensor:
    """(r - mean) / (std + 1e-4) over the turns of one prompt; GRPO, arXiv 2402.03300, with TRL's epsilon and std."""
    return (rewards_S - rewards_S.mean()) / (rewards_S.std() + EPSILON)


def with_entropy_bonus(
    advantages_S: torch.Tensor, entropy_S: torch.Tensor, weight: float, bound: float
) -> torch.Tensor:
    """A + min(lambda E, |A| / alpha); EGPO, arXiv 2508.05118, Eq. 5. Not lambda clip(E, +-|A| / alpha), which is
    another function: it bounds E instead of the bonus."""
    return advantages_S + torch.minimum(weight * entropy_S, advantages_S.abs() / bound)


def importance_ratio(log_ratio_ST: torch.Tensor, mask_ST: torch.Tensor, level: str) -> torch.Tensor:
    """pi / pi_old of each token, or, for level "sequence", for all tokens of a turn the geometric mean of theirs (GSPO,
    arXiv 2507.18071, Eq. 7)."""
    if level == "sequence":
        log_ratio_ST = mean_over(log_ratio_ST, mask_ST)[:, None].expand_as(log_ratio_ST)
    return log_ratio_ST.exp()


def surrogate(
    ratio_ST: torch.Tensor, advantages_S: torch.Tensor, clip_low: float, clip_high: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The clipped loss of each token [S, T], without KL, and which tokens are clipped."""
    advantages_S1 = advantages_S[:, None]
    bounded_ST = ratio_ST.clamp(1 - clip_low, 1 + clip_high)
    is_low_ST = (ratio_ST < 1 - clip_low) & (advantages_S1 < 0)
    is_high_ST = (ratio_ST > 1 + clip_high) & (advantages_S1 > 0)
    return -torch.minimum(ratio_ST * advantages_S1, bounded_ST * advantages_S1), is_low_ST | is_high_ST


def kl_estimate(log_probs_ST: torch.Tensor, ref_log_probs_ST: torch.Tensor) -> torch.Tensor:
    """Of KL(pi, reference) at each token, pi_ref / pi - log(pi_ref / pi) - 1; GRPO, arXiv 2402.03300, Eq. 4. In the
    loss it is multiplied by the importance ratio, without which its gradient is not that of the KL (DeepSeek-V3.2,
    arXiv 2512.02556; TRL's `use_bias_correction_kl`)."""
    difference_ST = ref_log_probs_ST - log_probs_ST
    return difference_ST.exp() - difference_ST - 1


def turn_weights(
    groups: Sequence[Group], loss_type: str, tokens_per_update: float, max_new_tokens: int
) -> list[list[float]]:
    """By what the summed token losses of each turn of an update are multiplied, under TRL's names: grpo takes the mean
    of each turn, then that over turns; bnpo the mean over all tokens of the update, dapo the same by
    `tokens_per_update`, what an update of this step has on average; dr_grpo (arXiv 2503.20783) divides by a constant,
    so that no token counts less for being in a long turn."""
    num_turns = sum(len(group.turns) for group in groups)
    num_tokens = sum(group.num_tokens for group in groups)

    def weight(turn: Sequence[int]) -> float:
        match loss_type:
            case "grpo":
                return 1 / (num_turns * len(turn))
            case "bnpo":
                return 1 / num_tokens
            case "dapo":
                return 1 / tokens_per_update
            case _:
                return 1 / (num_turns * max_new_tokens)

    return [[weight(turn) for turn in group.turns] for group in groups]


def look_back(trainee: Trainee, group: Group, settings: GrpoSettings, *, is_only_update: bool) -> Before:
    scores, ref_log_probs = None, None
    if not is_only_update:
        scores = trainee.look(group.prompt, group.turns, settings.temperature)
    if settings.kl_weight > 0:
        with trainee.as_reference():
            ref_log_probs, _ = trainee.look(group.prompt, group.turns, settings.temperature)
    return Before(scores, ref_log_probs)


def mean_over(values_ST: torch.Tensor, mask_ST: torch.Tensor) -> torch.Tensor:
    """[S]: means over the tokens of the mask, 0 where there is none."""
    return (values_ST * mask_ST).sum(dim=1) / mask_ST.sum(dim=1).clamp(min=1)


def last_step(folder: Path) -> int:
    """The last step whose files are there; 0 when there is none."""
    names = (path.name.removeprefix("step_") for path in folder.glob("step_*"))
    return max((int(name) for name in names if name.isdecimal()), default=0)


def after_step(folder: Path, number: int, start: Checkpoint) -> Checkpoint:
    return Checkpoint(step_folder(folder, number)) if number > 0 else start


def step_folder(folder: Path, number: int) -> Path:
    return folder / f"step_{number:03d}"
