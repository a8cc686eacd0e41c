"""Our preference losses against TRL's experimental trainers, and weights and smoothing by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from updates import BASE, FULL, LORA, nudge, our_trainer, relative_gap, stage_of

from iterft.config import ModelSettings, StageSettings
from iterft.models import load_for_training
from iterft.pairs import smoothing
from iterft.recipe import Recipe
from iterft.stages.dpo import pair_rows
from iterft.stages.losses import PairScores, conservative, margin_weights, orpo, simpo
from iterft.types import PreferencePair

LOSS_TOLERANCE = 1e-5


def loss_of(trainer: Any, batch: dict[str, Any]) -> torch.Tensor:
    loss = trainer.compute_loss(trainer.model, batch)
    assert isinstance(loss, torch.Tensor)
    return loss


def gradients_of(loss: torch.Tensor, model: Any) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, [parameter for parameter in model.parameters() if parameter.requires_grad]))


def experimental_batch(pairs: list[PreferencePair]) -> dict[str, torch.Tensor]:
    """What TRL's CPO and ORPO trainers take: ids, attention mask and labels of both sides, padded."""
    batch = {}
    for side in ("chosen", "rejected"):
        rows = [(pair.prompt_ids, getattr(pair, f"{side}_ids")) for pair in pairs]
        width = max(len(prompt) + len(turn) for prompt, turn in rows)
        columns: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "labels": []}
        for prompt, turn in rows:
            gap = width - len(prompt) - len(turn)
            columns["input_ids"].append([*prompt, *turn, *[0] * gap])
            columns["attention_mask"].append([1] * (width - gap) + [0] * gap)
            columns["labels"].append([-100] * len(prompt) + [*turn, *[-100] * gap])
        batch |= {f"{side}_{name}": torch.tensor(column) for name, column in columns.items()}
    return batch


def experimental_trainer(
    kind: str, base: str, tokenizer: Any, folder: Path, tuning: ModelSettings = LORA, **options: Any
) -> Any:
    from datasets import Dataset
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    config, trainer = {"cpo": (CPOConfig, CPOTrainer), "orpo": (ORPOConfig, ORPOTrainer)}[kind]
    return trainer(
        model=load_for_training(base, BASE, tuning, 0),
        args=config(output_dir=str(folder), report_to="none", bf16=False, gradient_checkpointing=False, **options),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=tokenizer,
    )


def short_prompts(pairs: list[PreferencePair]) -> list[PreferencePair]:
    """TRL's ORPO trains on the prompt too; a prompt of one token has nothing to train on."""
    return [replace(pair, prompt_ids=pair.prompt_ids[:1]) for pair in pairs]


def assert_same(ours: Any, theirs: Any, pairs: list[PreferencePair]) -> None:
    results = []
    for trainer, batch in ((ours, ours.data_collator(pair_rows(pairs))), (theirs, experimental_batch(pairs))):
        nudge(trainer.model)
        loss = loss_of(trainer, batch)
        results.append((loss.item(), gradients_of(loss, trainer.model)))
    assert results[0][0] == pytest.approx(results[1][0], abs=LOSS_TOLERANCE)
    assert relative_gap(results[0][1], results[1][1]) < 1e-4


@pytest.mark.parametrize("tuning", [LORA, FULL])
def test_simpo_is_that_of_trl(
    base: str,
    tokenizer: Any,
    pairs: list[PreferencePair],
    tuning: ModelSettings,
    tmp_path: Path,
) -> None:
    ours = our_trainer(base, tokenizer, tmp_path, tuning, loss_types=["simpo"], loss_weights=[1.0], beta=2.5, gamma=0.5)
    theirs = experimental_trainer(
        "cpo", base, tokenizer, tmp_path, tuning, loss_type="simpo", cpo_alpha=0.0, beta=2.5, simpo_gamma=0.5
    )
    assert_same(ours, theirs, pairs)


def test_cpo_is_that_of_trl(
    base: str,
    tokenizer: Any,
    pairs: list[PreferencePair],
    tmp_path: Path,
) -> None:
    ours = our_trainer(base, tokenizer, tmp_path, loss_types=["cpo"], loss_weights=[1.0], beta=0.7)
    theirs = experimental_trainer("cpo", base, tokenizer, tmp_path, loss_type="sigmoid", cpo_alpha=0.0, beta=0.7)
    assert_same(ours, theirs, pairs)


def test_orpo_is_that_of_trl(
    base: str,
    tokenizer: Any,
    pairs: list[PreferencePair],
    tmp_path: Path,
) -> None:
    ours = our_trainer(base, tokenizer, tmp_path, loss_types=["orpo", "sft"], loss_weights=[1.0, 1.0], beta=0.4)
    assert_same(ours, experimental_trainer("orpo", base, tokenizer, tmp_path, beta=0.4), short_prompts(pairs))


@pytest.mark.parametrize("name", ["simpo", "cpo", "orpo"])
def test_an_anchor_says_nothing_to_a_loss_that_compares(
    base: str,
    tokenizer: Any,
    pairs: list[PreferencePair],
    tmp_path: Path,
    name: str,
) -> None:
    trainer = our_trainer(base, tokenizer, tmp_path, loss_types=[name], loss_weights=[1.0])
    anchors = [replace(pair, rejected_ids=(), rejected_logprob=0.0) for pair in pairs]
    loss = loss_of(trainer, trainer.data_collator(pair_rows(anchors)))
    assert loss.item() == 0.0
    assert all((gradient == 0).all() for gradient in gradients_of(loss, trainer.model)), "and no NaN"


def test_conservative_without_smoothing_is_dpo_and_with_it_that_of_the_paper(
    base: str,
    tokenizer: Any,
    pairs: list[PreferencePair],
    tmp_path: Path,
) -> None:
    losses = []
    for name in ("sigmoid", "conservative"):
        trainer = our_trainer(base, tokenizer, tmp_path, loss_types=[name], loss_weights=[1.0], beta=0.3)
        nudge(trainer.model)
        losses.append(loss_of(trainer, trainer.data_collator(pair_rows(pairs))).item())
    assert losses[0] == pytest.approx(losses[1], abs=LOSS_TOLERANCE)
    delta = torch.tensor([2.0])
    zero = torch.zeros(1)
    scores = PairScores(delta, zero, zero, zero, zero + 1, zero + 1, torch.tensor([0.25]))
    expected = 0.75 * math.log1p(math.exp(-0.6)) + 0.25 * math.log1p(math.exp(0.6))
    assert conservative(scores, StageSettings(beta=0.3)).item() == pytest.approx(expected)


@pytest.mark.parametrize("names", [["sigmoid"], ["ipo"], ["apo_zero"], ["simpo"], ["cpo"], ["conservative"]])
def test_a_pair_counts_by_its_margin(
    base: str,
    tokenizer: Any,
    pairs: list[PreferencePair],
    tmp_path: Path,
    names: list[str],
) -> None:
    """A batch of weighted pairs costs the weighted mean of what each costs alone; an anchor weighs 1."""
    anchor = replace(pairs[0], rejected_ids=(), rejected_logprob=0.0)
    rows = pair_rows([replace(pairs[1], margin=1.0), replace(pairs[2], margin=0.25), anchor])
    assert [row["weight"] for row in rows] == pytest.approx([1.6, 0.4, 1.0])
    plain = our_trainer(base, tokenizer, tmp_path, loss_types=names, loss_weights=[1.0])
    weighted = our_trainer(base, tokenizer, tmp_path, loss_types=names, loss_weights=[1.0], weighting="margin")
    for trainer in (plain, weighted):
        nudge(trainer.model)
    alone = [loss_of(plain, plain.data_collator([row])).item() for row in rows]
    together = loss_of(weighted, weighted.data_collator(rows)).item()
    assert together == pytest.approx((1.6 * alone[0] + 0.4 * alone[1] + alone[2]) / 3, abs=LOSS_TOLERANCE)


def test_the_sft_term_counts_by_margin_too_token_by_token(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    rows = pair_rows([replace(pairs[1], margin=1.0), replace(pairs[2], margin=0.25)])
    options: dict[str, Any] = {"loss_types": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}
    plain = our_trainer(base, tokenizer, tmp_path, **options)
    weighted = our_trainer(base, tokenizer, tmp_path, weighting="margin", **options)
    alike = weighted.data_collator([{**row, "weight": 1.0} for row in rows])
    assert loss_of(weighted, alike).item() == pytest.approx(
        loss_of(plain, plain.data_collator(rows)).item(), abs=LOSS_TOLERANCE
    )
    only = our_trainer(base, tokenizer, tmp_path, loss_types=["sft"], loss_weights=[1.0])
    alone = [loss_of(only, only.data_collator([row])).item() for row in rows]
    lengths = [len(row["chosen_ids"]) for row in rows]
    expected = sum(row["weight"] * loss * length for row, loss, length in zip(rows, alone, lengths, strict=True)) / sum(
        lengths
    )
    sft = our_trainer(base, tokenizer, tmp_path, loss_types=["sft"], loss_weights=[1.0], weighting="margin")
    assert loss_of(sft, sft.data_collator(rows)).item() == pytest.approx(expected, abs=LOSS_TOLERANCE)


def test_margins_become_weights_of_mean_1() -> None:
    assert margin_weights([0.5, 1.0, -0.2]) == pytest.approx([1.0, 2.0, 0.0])
    assert margin_weights([0.0, 0.0]) == [1.0, 1.0]
    assert margin_weights([]) == []


def test_smoothing_is_how_often_the_search_went_the_other_way() -> None:
    assert (smoothing(3, 1), smoothing(1, 0), smoothing(0, 0)) == (0.25, 0.0, 0.0)
    assert smoothing(1, 5) == 0.5, "never the reverse"


def test_odds_are_finite_for_sure_and_for_hopeless_sides() -> None:
    sums = torch.tensor([-1e-9, -400.0], requires_grad=True)
    ones = torch.ones(2)
    scores = PairScores(sums, torch.tensor([-400.0, -1e-9]), ones, ones, ones, ones, ones)
    for loss in (orpo, simpo):
        total = loss(scores, StageSettings()).sum()
        assert torch.isfinite(total) and torch.isfinite(torch.autograd.grad(total, sums)[0]).all()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage.loss_types=[simp0]", "stage.loss_types: must hold one or more of"),
        ("stage.loss_types=[]", "stage.loss_types: must hold one or more of"),
        ("stage.loss_types=[exo_pair,sft]", "exo_pair needs stage.extra.label_smoothing"),
        ("stage.weighting=margins", "stage.weighting: must be one of none, margin, but it is 'margins'; did you mean"),
    ],
)
def test_a_loss_that_does_not_exist_is_named(override: str, message: str) -> None:
    with pytest.raises(ValueError, match="stage") as error:
        Recipe.load("debug", [override])
    assert message in str(error.value)


def test_an_option_that_trl_does_not_know_is_found_before_the_search(base: str, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=r"stage\.extra.*label_smooth\b"):
        stage_of(base, tokenizer, extra={"label_smooth": 0.1})
    with pytest.raises(ValueError, match=r"stage\.extra\.use_weighting: is not passed on; set stage\.weighting"):
        stage_of(base, tokenizer, extra={"use_weighting": True})
    with pytest.raises(ValueError, match=r"stage\.extra\.logging_steps: is not passed on; each step is logged"):
        stage_of(base, tokenizer, extra={"logging_steps": 10})  # a short update would end without a line to report
