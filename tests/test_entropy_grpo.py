"""Group optimization against TRL's own loss, and the entropy bonus by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from updates import BASE, FULL, LORA, QUIET, nudge, relative_gap

from iterft.config import GRPO_LOSSES, GrpoSettings, ModelSettings
from iterft.models import load_base, load_for_training
from iterft.stages.entropy_grpo import (
    Before,
    group_advantages,
    group_loss,
    importance_ratio,
    look_back,
    surrogate,
    turn_weights,
    with_entropy_bonus,
)
from iterft.stages.entropy_options import clip_cov, top_entropy
from iterft.stages.groups import Group
from iterft.stages.guards import Tally
from iterft.stages.trainee import Trainee, open_trainee

MAX_NEW_TOKENS = 16
PLAIN = GrpoSettings(entropy_weight=0.0, kl_weight=0.0, clip_low=0.02, clip_high=0.03)

NARROW = {"clip_low": 0.002, "clip_high": 0.003}


def made_groups() -> list[Group]:
    """Three prompts, four turns each, of several lengths."""
    draws = random.Random(3)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(draws.choices(range(3, 1900), k=length))

    groups = []
    for length, rewards in ((30, (1.0, 0.0, 0.0, 0.5)), (12, (0.0, 1.0, 1.0, 1.0)), (44, (0.2, 0.9, 0.0, 0.0))):
        turns = tuple(ids(draws.randint(2, MAX_NEW_TOKENS)) for _ in range(4))
        thought = tuple(tuple(1 <= at < 4 for at in range(len(turn))) for turn in turns)
        groups.append(Group(ids(length), turns, thought, rewards))
    return groups


def trainee_of(base: str, settings: GrpoSettings, model: ModelSettings = LORA) -> Trainee:
    return open_trainee(base, BASE, BASE if settings.kl_weight else None, model, 1e-3, 0, QUIET)


def trl_trainer(base: str, tokenizer: Any, folder: Path, settings: GrpoSettings, model: ModelSettings = LORA) -> Any:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    return GRPOTrainer(
        model=load_for_training(base, BASE, model, 0),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=GRPOConfig(
            output_dir=str(folder),
            report_to="none",
            bf16=False,
            gradient_checkpointing=False,
            per_device_train_batch_size=12,
            num_generations=4,
            max_completion_length=MAX_NEW_TOKENS,
            temperature=settings.temperature,
            loss_type=settings.loss_type,
            importance_sampling_level=settings.ratio,
            epsilon=settings.clip_low,
            epsilon_high=settings.clip_high,
            beta=settings.kl_weight,
            top_entropy_quantile=settings.top_entropy_share,
        ),
        train_dataset=Dataset.from_list([{"prompt": "a"}]),
        processing_class=tokenizer,
    )


def trl_batch(groups: list[Group]) -> dict[str, torch.Tensor]:
    """As TRL holds it: prompts padded on the left, completions on the right."""
    rows = [(group.prompt, turn) for group in groups for turn in group.turns]
    before, behind = (max(len(row[side]) for row in rows) for side in (0, 1))
    rewards = torch.tensor([group.rewards for group in groups])
    advantages = (rewards - rewards.mean(dim=1, keepdim=True)) / (rewards.std(dim=1, keepdim=True) + 1e-4)
    return {
        "prompt_ids": torch.tensor([[0] * (before - len(prompt)) + [*prompt] for prompt, _ in rows]),
        "prompt_mask": torch.tensor([[0] * (before - len(prompt)) + [1] * len(prompt) for prompt, _ in rows]),
        "completion_ids": torch.tensor([[*turn, *[0] * (behind - len(turn))] for _, turn in rows]),
        "completion_mask": torch.tensor([[1] * len(turn) + [0] * (behind - len(turn)) for _, turn in rows]),
        "advantages": advantages.flatten(),
        "num_items_in_batch": torch.tensor(float(sum(len(turn) for _, turn in rows))),
    }


def scores_by_trl(trainer: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs and entropies."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    with torch.no_grad():
        log_probs, entropies, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, batch["completion_ids"].shape[1], compute_entropy=True
        )
    return log_probs, entropies


@dataclass(frozen=True)
class Update:
    """What one update would do. `clipped`: the share of tokens that is."""

    loss: float
    gradients: Sequence[torch.Tensor]
    clipped: float


def updates_of(
    base: str,
    tokenizer: Any,
    folder: Path,
    settings: GrpoSettings,
    groups: list[Group],
    tuning: ModelSettings = LORA,
    **changes: torch.Tensor,
) -> tuple[Update, Update]:
    """Ours and TRL's, after both policies have moved in the same way since the turns were written. `changes`: of TRL's
    batch."""
    trainee = trainee_of(base, settings, tuning)
    before = [look_back(trainee, group, settings, is_only_update=False) for group in groups]
    nudge(trainee.model)
    tally = Tally()
    our_loss = loss_of(trainee, groups, before, settings, tally)
    ours = Update(our_loss.item(), torch.autograd.grad(our_loss, trainee.trained), tally.means()["clip_share"])
    trainer = trl_trainer(base, tokenizer, folder, settings, tuning)
    trainer.current_gradient_accumulation_steps = 1
    batch = {**trl_batch(groups), **changes}
    batch["old_per_token_logps"], _ = batch["ref_per_token_logps"], _ = scores_by_trl(trainer, batch)
    nudge(trainer.model)
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    (clipped,) = trainer._metrics["train"]["clip_ratio/region_mean"]
    return ours, Update(loss.item(), torch.autograd.grad(loss, trained), clipped)


def assert_same(ours: Update, theirs: Update) -> None:
    assert ours.loss == pytest.approx(theirs.loss, abs=1e-5)
    assert relative_gap(ours.gradients, theirs.gradients) < 1e-4


def loss_of(
    trainee: Trainee, groups: list[Group], before: list[Before], settings: GrpoSettings, tally: Tally | None = None
) -> torch.Tensor:
    """That of one update on all groups."""
    num_tokens = sum(group.num_tokens for group in groups)
    weights = turn_weights(groups, settings.loss_type, num_tokens, MAX_NEW_TOKENS)
    parts = [
        group_loss(trainee, group, known, weight, settings, 0, tally or Tally())
        for group, known, weight in zip(groups, before, weights, strict=True)
    ]
    return torch.stack(parts).sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "tuning"),
    [
        *[({"loss_type": name}, LORA) for name in GRPO_LOSSES],
        *[({"loss_type": name, "ratio": "sequence", **NARROW}, LORA) for name in ("grpo", "bnpo")],
        ({"kl_weight": 0.04}, LORA),
        ({"kl_weight": 0.04, "loss_type": "dr_grpo", "temperature": 0.5}, LORA),
        ({"temperature": 1.0}, LORA),
        ({"clip_low": 0.01, "clip_high": 0.2}, LORA),
        ({"temperature": 0.5}, FULL),
    ],
    ids=lambda value: (
        value.tuning
        if isinstance(value, ModelSettings)
        else " ".join(f"{key}={setting}" for key, setting in value.items())
    ),
)
def test_without_lambda_the_loss_is_that_of_trl_on_the_same_rollouts(
    base: str, tokenizer: Any, tmp_path: Path, changes: dict[str, Any], tuning: ModelSettings
) -> None:
    ours, theirs = updates_of(base, tokenizer, tmp_path, replace(PLAIN, **changes), made_groups(), tuning)
    assert_same(ours, theirs)
    assert 0.02 < theirs.clipped < 0.95, "some tokens are to be clipped and some not"
    if changes.get("ratio") != "sequence":  # TRL then counts sequences
        assert ours.clipped == pytest.approx(theirs.clipped, abs=1e-6)


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_learning_from_the_tokens_of_highest_entropy_is_that_of_trl(
    base: str, tokenizer: Any, tmp_path: Path, share: float
) -> None:
    """TRL's quantile is over its batch, ours over a group: the same where the batch is one group. The model's entropies
    have to differ by more than rounding does."""
    model = load_base(base, torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    sharp = tmp_path / "sharp"
    model.save_pretrained(sharp)
    tokenizer.save_pretrained(sharp)
    settings = replace(PLAIN, top_entropy_share=share)
    assert_same(*updates_of(str(sharp), tokenizer, tmp_path, settings, made_groups()[:1]))


def test_with_lambda_the_loss_is_that_of_trl_on_advantages_that_were_shaped_by_hand(
    base: str, tokenizer: Any, tmp_path: Path
) -> None:
    """Of entropies that TRL has computed, before anything moves."""
    groups = made_groups()
    trainer = trl_trainer(base, tokenizer, tmp_path, PLAIN)
    _, entropies = scores_by_trl(trainer, trl_batch(groups))
    advantages = trl_batch(groups)["advantages"]
    shaped = []
    for row, (advantage, thought) in enumerate(
        zip(advantages.tolist(), [one for group in groups for one in group.thought], strict=True)
    ):
        inside = [entropies[row, at].item() for at, is_inside in enumerate(thought) if is_inside]
        mean = sum(inside) / len(inside) if inside else 0.0
        shaped.append(advantage + min(0.05 * mean, abs(advantage) / 3))
    settings = replace(PLAIN, entropy_weight=0.05, entropy_bound=3.0)
    ours, theirs = updates_of(base, tokenizer, tmp_path, settings, groups, advantages=torch.tensor(shaped))
    assert_same(ours, theirs)
    assert (torch.tensor(shaped) - advantages).abs().max() > 0.1


WORKED = [
    # A, E, lambda, alpha, A'
    (1.0, 0.5, 0.4, 2.0, 1.2),
    (1.0, 0.0, 0.4, 2.0, 1.0),
    (1.0, 3.0, 0.4, 2.0, 1.5),  # 1.2 is bounded by 1 / 2
    (-1.0, 0.5, 0.4, 2.0, -0.8),
    (-1.0, 3.0, 0.4, 2.0, -0.5),  # softened to a half, not more
    (0.0, 3.0, 0.4, 2.0, 0.0),
    (0.1, 0.5, 0.4, 2.0, 0.15),
    (-0.1, 0.5, 0.4, 2.0, -0.05),
    (-2.0, 5.0, 1.0, 4.0, -1.5),
    (2.0, 5.0, 0.0, 2.0, 2.0),  # lambda 0: GRPO
]


@pytest.mark.parametrize(("advantage", "entropy", "weight", "bound", "expected"), WORKED)
def test_the_bonus_is_that_of_equation_5(
    advantage: float, entropy: float, weight: float, bound: float, expected: float
) -> None:
    shaped = with_entropy_bonus(torch.tensor([advantage]), torch.tensor([entropy]), weight, bound)
    assert shaped.item() == pytest.approx(expected)


def test_the_bonus_is_not_lambda_times_a_clipped_entropy() -> None:
    """The misreading gives A + lambda clip(E, -|A|/alpha, |A|/alpha), less wherever the bound on E is met."""
    advantages, entropy = torch.tensor([1.0, -1.0, 0.4]), torch.tensor([3.0, 3.0, 0.4])
    bound = advantages.abs() / 2
    misread = advantages + 0.4 * torch.maximum(torch.minimum(entropy, bound), -bound)
    assert misread.tolist() == pytest.approx([1.2, -0.8, 0.48])
    shaped = with_entropy_bonus(advantages, entropy, 0.4, 2.0)
    assert shaped.tolist() == pytest.approx([1.5, -0.5, 0.56])


def test_a_bonus_never_turns_a_sign_and_never_blames() -> None:
    draws = torch.Generator().manual_seed(0)
    advantages, entropy = torch.randn(1000, generator=draws), 10 * torch.rand(1000, generator=draws)
    shaped = with_entropy_bonus(advantages, entropy, 0.4, 2.0)
    assert (shaped >= advantages).all() and (shaped.sign() == advantages.sign()).all()
    assert ((shaped - advantages) <= advantages.abs() / 2 + 1e-6).all()


def test_advantages_are_centred_and_scaled_by_the_unbiased_deviation() -> None:
    advantages = group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    assert advantages.tolist() == pytest.approx([0.75 / 0.5001, *[-0.25 / 0.5001] * 3])
    assert group_advantages(torch.tensor([1.0, 1.0, 1.0])).tolist() == [0.0, 0.0, 0.0]


def test_only_entropy_inside_the_think_part_counts_and_it_is_that_of_the_old_policy(base: str) -> None:
    """With one thought token per turn, the advantage moves by lambda times the entropy there."""
    (group, *_) = made_groups()
    thought = tuple(tuple(at == 1 for at in range(len(turn))) for turn in group.turns)
    settings = replace(PLAIN, entropy_weight=1e-3)
    trainee = trainee_of(base, settings)
    _, entropy_ST = trainee.look(group.prompt, group.turns, settings.temperature)
    plain = loss_of(trainee, [group], [Before(None, None)], PLAIN)
    shaped = loss_of(trainee, [replace(group, thought=thought)], [Before(None, None)], settings)
    # At ratio 1 a turn's mean token loss is -A, and the loss the mean of those.
    assert (plain - shaped).item() == pytest.approx(1e-3 * entropy_ST[:, 1].mean().item(), rel=1e-3)
    known = look_back(trainee, group, settings, is_only_update=False)
    assert known.scores is not None
    doubled = Before((known.scores[0], 2 * known.scores[1]), None)
    from_old = loss_of(trainee, [replace(group, thought=thought)], [doubled], settings)
    assert (plain - from_old).item() == pytest.approx(2e-3 * entropy_ST[:, 1].mean().item(), rel=1e-3)
    silent = replace(group, thought=tuple((False,) * len(turn) for turn in group.turns))
    assert loss_of(trainee, [silent], [Before(None, None)], settings).item() == plain.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.0, 1.0, -1.0, False),
        (1.4, 1.0, -1.3, True),  # no more than 1 + high
        (0.5, 1.0, -0.5, False),  # not clipped where it would help
        (0.5, -1.0, 0.8, True),  # no less than 1 - low
        (1.4, -1.0, 1.4, False),
        (1.4, 0.0, 0.0, False),
    ],
)
def test_ratios_are_clipped_on_the_side_that_pays(ratio: float, advantage: float, loss: float, clipped: bool) -> None:
    losses, is_clipped = surrogate(torch.tensor([[ratio]]), torch.tensor([advantage]), 0.2, 0.3)
    assert losses.item() == pytest.approx(loss) and is_clipped.item() is clipped


def test_a_sequence_has_one_ratio_the_geometric_mean_of_its_tokens() -> None:
    log_ratios, mask = torch.tensor([[0.1, 0.3, 9.0]]), torch.tensor([[True, True, False]])
    ratios = importance_ratio(log_ratios, mask, "sequence")
    assert ratios.tolist()[0] == pytest.approx([math.exp(0.2)] * 3)
    assert importance_ratio(log_ratios, mask, "token").tolist()[0][0] == pytest.approx(math.exp(0.1))


def test_weights_of_turns_are_as_their_loss_type_says() -> None:
    groups = [
        Group((1,), ((1, 2), (1, 2, 3, 4)), ((False,) * 2, (False,) * 4), (0.0, 1.0)),
        Group((2,), ((1,), (1,)), ((False,), (False,)), (0.0, 1.0)),
    ]
    assert turn_weights(groups, "grpo", 99, 50) == [[1 / 8, 1 / 16], [1 / 4, 1 / 4]]
    assert turn_weights(groups, "bnpo", 99, 50) == [[1 / 8] * 2] * 2
    assert turn_weights(groups, "dapo", 99, 50) == [[1 / 99] * 2] * 2
    assert turn_weights(groups, "dr_grpo", 99, 50) == [[1 / 200] * 2] * 2


def test_the_tokens_of_highest_entropy_are_told_by_their_quantile_among_the_real_ones() -> None:
    entropy = torch.tensor([[0.1, 0.9, 0.5], [0.7, 0.3, 99.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    assert top_entropy(entropy, mask, 0.4).tolist() == [[False, True, False], [True, False, False]]
    assert torch.equal(top_entropy(entropy, mask, 1.0), mask)


def test_clip_cov_leaves_out_likely_tokens_of_good_turns_and_unlikely_ones_of_bad_turns() -> None:
    log_probs = torch.tensor([[0.0, -4.0, -2.0], [0.0, -4.0, -2.0]])
    advantages, mask = torch.tensor([1.0, -1.0]), torch.ones(2, 3).bool()
    none = torch.zeros_like(mask)
    left_out = clip_cov(log_probs, advantages, mask, none, 1.0, (1.0, 5.0), 0)
    assert left_out.tolist() == [[True, False, False], [False, True, False]], "covariance 2, of the others -2 and 0"
    assert clip_cov(log_probs, advantages, mask, none, 1.0, (3.0, 5.0), 0).sum() == 0
    counts = [int(clip_cov(log_probs, advantages, mask, none, 0.05, (1.0, 5.0), seed).sum()) for seed in range(400)]
    assert set(counts) == {0, 1} and 0.22 < sum(counts) / 400 < 0.38, "0.05 of 6 tokens is 0.3 of one"
    clipped = torch.tensor([[True, False, False], [False, False, False]])
    kept = clip_cov(log_probs, advantages, mask, clipped, 1.0, (1.0, 5.0), 0)
    assert kept.tolist() == [[False, False, False], [False, True, False]], "means stay, a clipped token is none to draw"
    shorter = clip_cov(log_probs, advantages, mask & (log_probs > -3), none, 1.0, (0.5, 5.0), 0)
    assert shorter.tolist() == [[True, False, False], [False, False, True]], "means are those of the mask"
