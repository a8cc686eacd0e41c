"""The updates against TRL and PyTorch themselves: same losses, ids untouched, checkpoints that go on."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from updates import (
    BASE,
    FULL,
    LORA,
    QUIET,
    nudge,
    our_trainer,
    relative_gap,
    stage_of,
    stock_trainer,
    without_reference,
)

from iterft.config import TRL_LOSSES, ModelSettings, WarmupSettings
from iterft.engine.generate import PrefixDecoder
from iterft.log import Log
from iterft.loop import main
from iterft.models import load_base, load_for_sampling, load_for_training
from iterft.stages import launch
from iterft.stages.dpo import pair_rows, tree_order
from iterft.stages.interpolate import go_part_of_the_way
from iterft.stages.launch import (
    Reporter,
    by_length,
    equip,
    run_trainer,
    save_weights,
    token_batches,
    trainer_options,
)
from iterft.stages.sft import train_sft
from iterft.types import Checkpoint, Experience, PreferencePair


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(torch.arange(3, 40)[None]).logits
    return logits


def losses_in(metrics: Path) -> list[float]:
    return [row["loss"] for row in map(json.loads, metrics.read_text().splitlines()) if row["event"] == "update"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss_types", "loss_weights", "tuning"),
    [
        *[([name], [1.0], LORA) for name in TRL_LOSSES],
        *[([name], [1.0], FULL) for name in ("sigmoid", "ipo", "hinge")],
        (["sigmoid", "sft"], [1.0, 0.2], LORA),
        (["sigmoid", "sft"], [1.0, 0.2], FULL),
    ],
    ids=lambda value: value.tuning if isinstance(value, ModelSettings) else "+".join(map(str, value)),
)
def test_the_loss_is_that_of_trl_with_a_reference_model_of_its_own(
    base: str,
    tokenizer: Any,
    pairs: list[PreferencePair],
    tmp_path: Path,
    loss_types: list[str],
    loss_weights: list[float],
    tuning: ModelSettings,
) -> None:
    extra = {"label_smoothing": 0.1}
    ours = our_trainer(
        base, tokenizer, tmp_path, tuning, loss_types=loss_types, loss_weights=loss_weights, beta=0.3, extra=extra
    )
    stock = stock_trainer(
        base, tokenizer, tmp_path, tuning, loss_type=loss_types, loss_weights=loss_weights, beta=0.3, **extra
    )
    rows = pair_rows([*pairs, replace(pairs[0], rejected_ids=(), rejected_logprob=0.0)])
    results = []
    for trainer in (ours, stock):
        nudge(trainer.model)
        batch = trainer.data_collator(rows if trainer is ours else [without_reference(row) for row in rows])
        loss = trainer.compute_loss(trainer.model, batch)
        parameters = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
        results.append((loss, torch.autograd.grad(loss, parameters)))
    (our_loss, our_gradients), (their_loss, their_gradients) = results
    margins = [trainer._metrics["train"]["rewards/margins"] for trainer in (ours, stock)]
    assert margins[0] == pytest.approx(margins[1], abs=1e-5)
    assert our_loss.item() == pytest.approx(their_loss.item(), abs=1e-5)
    assert our_loss.item() != pytest.approx(0.6931, abs=1e-3), "policy and reference are to differ"
    assert relative_gap(our_gradients, their_gradients) < 1e-4


@pytest.mark.parametrize("tuning", [LORA, FULL, replace(LORA, quantization="nf4")], ids=["lora", "full", "nf4"])
def test_gradient_checkpointing_changes_no_gradient(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path, tuning: ModelSettings
) -> None:
    gradients = []
    for checkpointing in (False, True):
        trainer = our_trainer(base, tokenizer, tmp_path, replace(tuning, gradient_checkpointing=checkpointing))
        trainer.model.train()
        assert (
            any(getattr(module, "gradient_checkpointing", False) for module in trainer.model.modules()) is checkpointing
        )
        loss = trainer.compute_loss(trainer.model, trainer.data_collator(pair_rows(pairs)))
        parameters = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
        gradients.append(torch.autograd.grad(loss, parameters))
    for kept, computed_again in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, computed_again)


def test_the_first_loss_of_an_update_is_log_2(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    log = Log(tmp_path / "metrics.jsonl", quiet=True)
    stage = stage_of(base, tokenizer, log=log, loss_types=["sigmoid"], loss_weights=[1.0], epochs=4)
    stage(BASE, Experience((), tuple(pairs)), tmp_path / "checkpoint")
    losses = losses_in(tmp_path / "metrics.jsonl")
    assert len(losses) == 8
    assert losses[0] == pytest.approx(0.693147, abs=1e-5)
    assert losses[-1] < losses[0] - 0.01


def test_the_reference_is_what_the_search_saw_and_not_another_forward(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    """Were the chosen sides less likely by 0.3 nats then, that is the first margin."""
    shifted = [replace(pair, chosen_logprob=pair.chosen_logprob - 0.3) for pair in pairs]
    log = Log(tmp_path / "metrics.jsonl", quiet=True)
    stage = stage_of(base, tokenizer, log=log, loss_types=["sigmoid"], loss_weights=[1.0], beta=0.3)
    stage(BASE, Experience((), tuple(shifted)), tmp_path / "checkpoint")
    assert losses_in(tmp_path / "metrics.jsonl")[0] == pytest.approx(math.log1p(math.exp(-0.09)), abs=1e-5)


def test_ids_reach_the_collator_untouched(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    trainer = stage_of(base, tokenizer).build_trainer(load_for_training(base, BASE, LORA, 0), tmp_path)
    collate, batches = trainer.data_collator, []
    trainer.data_collator = lambda rows: batches.append(collate(rows)) or batches[-1]
    run_trainer(trainer, [pair_rows(pairs)], 0.0, Reporter(QUIET, "update"), "stage")
    sides = []
    for batch in batches:
        rows = zip(batch["input_ids"], batch["attention_mask"], batch["completion_mask"], strict=True)
        read = [(tuple(ids[real == 1].tolist()), tuple(ids[done == 1].tolist())) for ids, real, done in rows]
        sides.extend(zip(read[: len(read) // 2], read[len(read) // 2 :], strict=True))
    assert sides == [
        ((pair.prompt_ids + side, side), (pair.prompt_ids + other, other))
        for pair in pairs
        for side, other in [(pair.chosen_ids, pair.rejected_ids)]
    ]
    references = torch.cat([batch["ref_chosen_logps"] for batch in batches]).tolist()
    assert references == pytest.approx([pair.chosen_logprob for pair in pairs], abs=1e-5)


def counted(metrics: Path, stage: str) -> dict[str, int]:
    rows = map(json.loads, metrics.read_text().splitlines())
    return next(row for row in rows if row["event"] == "forwarded" and row["stage"] == stage)


def test_sharing_forwards_less_and_trains_the_same(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    losses, costs, prompts = [], [], {pair.prompt_ids for pair in pairs}
    for shared in (True, False):
        log = Log(tmp_path / f"{shared}.jsonl", quiet=True)
        stage = stage_of(base, tokenizer, replace(LORA, share_prefixes=shared), log, epochs=3)
        stage(BASE, Experience((), tuple(pairs)), tmp_path / f"{shared}" / "checkpoint")
        losses.append(losses_in(tmp_path / f"{shared}.jsonl"))
        costs.append(counted(tmp_path / f"{shared}.jsonl", "update"))
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    ours, stock = costs
    sides = [side for pair in pairs for side in (pair.chosen_ids, pair.rejected_ids)]
    # Three epochs; the audit has scored some turns besides.
    assert 3 * sum(map(len, sides)) < ours["head_positions"] <= 4 * sum(map(len, sides))
    assert stock["head_positions"] == stock["unique_tokens"] > ours["sequence_tokens"]
    assert ours["unique_tokens"] < 0.45 * stock["unique_tokens"]
    assert len(prompts) > 1


def test_one_batch_of_eight_is_eight_of_one(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    weights = []
    for size, steps in ((8, 1), (1, 8)):
        extra = {"gradient_accumulation_steps": steps}
        changes = {"batch_size": size, "loss_types": ["sigmoid"], "loss_weights": [1.0], "beta": 0.1, "extra": extra}
        out = stage_of(base, tokenizer, **changes)(BASE, Experience((), tuple(pairs)), tmp_path / f"{size}" / "out")
        assert out.path is not None
        weights.append(load_file(out.path / "adapter_model.safetensors"))
    moved = 0.0
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=1e-5, rtol=1e-3)
        moved += weight.abs().sum().item() if "lora_B" in name else 0.0
    assert moved > 0


@pytest.mark.slow
@pytest.mark.parametrize("failures", [1, 2])
def test_a_step_without_memory_is_done_again_once_with_half_of_it(
    base: str,
    tokenizer: Any,
    pairs: list[PreferencePair],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    failures: int,
) -> None:
    results = []
    batches = [pair_rows(pairs[at : at + 4]) for at in range(0, len(pairs), 4)]
    for left in (0, failures):
        trainer = stage_of(base, tokenizer, epochs=2).build_trainer(load_for_training(base, BASE, LORA, 0), tmp_path)
        counters, _ = equip(trainer, LORA, Log())
        backward = trainer.accelerator.backward

        def fail(loss: torch.Tensor, backward: Any = backward, **options: Any) -> None:
            nonlocal left
            backward(loss, **options)  # the gradients are there already
            if left:
                left -= 1
                raise torch.OutOfMemoryError("none left")

        monkeypatch.setattr(trainer.accelerator, "backward", fail)
        if left == 2:
            with pytest.raises(torch.OutOfMemoryError):
                run_trainer(trainer, batches, 0.0, Reporter(QUIET, "update"), "stage")
            return
        run_trainer(trainer, batches, 0.0, Reporter(QUIET, "update"), "stage")
        results.append((counters.computed_again, trainer.model.state_dict()))
    assert capsys.readouterr().out.count("out of memory") == 1
    (none, undisturbed), (some, done_again) = results
    assert none == 0 < some
    for name, weight in undisturbed.items():
        torch.testing.assert_close(done_again[name], weight, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_reference_log_probs_are_audited_and_computed_where_they_are_not_to_be_believed(
    base: str,
    tokenizer: Any,
    pairs: list[PreferencePair],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    shift: float,
) -> None:
    shifted = [replace(pair, chosen_logprob=pair.chosen_logprob - shift) for pair in pairs]
    log = Log(tmp_path / "metrics.jsonl")
    stage = stage_of(base, tokenizer, log=log, loss_types=["sigmoid"], loss_weights=[1.0])
    stage(BASE, Experience((), tuple(shifted)), tmp_path / "checkpoint")
    audit = next(row for row in map(json.loads, (tmp_path / "metrics.jsonl").open()) if row["event"] == "audit")
    assert audit["pairs"] == 2
    assert audit["largest_gap"] == pytest.approx(shift, abs=1e-3)
    assert ("sampled from another checkpoint" in capsys.readouterr().out) is (shift > 0)
    assert losses_in(tmp_path / "metrics.jsonl")[0] == pytest.approx(0.693147, abs=1e-5)


def test_behind_another_update_all_reference_log_probs_are_computed_however_little_it_has_moved(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"loss_types": ["sigmoid"], "loss_weights": [1.0], "beta": 0.3}
    moved = stage_of(base, tokenizer, lr=1e-3)(BASE, Experience((), tuple(pairs)), tmp_path / "1-grpo")
    log = Log(tmp_path / "metrics.jsonl", quiet=True)
    stage = stage_of(base, tokenizer, log=log, is_first=False, **changes)
    stage(moved, Experience((), tuple(pairs)), tmp_path / "2-dpo")
    assert losses_in(tmp_path / "metrics.jsonl")[0] == pytest.approx(0.693147, abs=1e-5)


def test_on_a_machine_whose_accelerator_is_not_used_trl_uses_none_either(tmp_path: Path) -> None:
    options = trainer_options(LORA, tmp_path, 0)
    assert options["use_cpu"] is not torch.cuda.is_available()
    assert options["logging_nan_inf_filter"] is False


@pytest.mark.parametrize("tuning", [LORA, FULL], ids=["lora", "full"])
@pytest.mark.parametrize("section", ["warmup", "stage"])
def test_a_gradient_that_is_no_number_ends_an_update_before_weights_are_lost(
    base: str,
    tokenizer: Any,
    pairs: list[PreferencePair],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tuning: ModelSettings,
    section: str,
) -> None:
    trained: list[Any] = []
    watch = launch.watch_gradients
    monkeypatch.setattr(
        launch, "watch_gradients", lambda trainer, name: trained.append(trainer) or watch(trainer, name)
    )
    with pytest.raises(ValueError, match=rf"{section}: the gradient of an update is (nan|inf); .* lower {section}\.lr"):
        if section == "warmup":
            rows = [(pair.prompt_ids, pair.chosen_ids) for pair in pairs]
            sft(base, tokenizer, rows, tmp_path, tuning, epochs=8, lr=1e19)
        else:
            stage = stage_of(base, tokenizer, tuning, epochs=8, lr=1e19)
            stage(BASE, Experience((), tuple(pairs)), tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()
    assert all(torch.isfinite(parameter).all() for parameter in trained[0].model.parameters())


def test_it_is_told_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = ["warmup.lr=1e19", "warmup.num_samples=24", "data.num_held_out=4", "model.dtype=float32"]
    chosen = [part for one in sets for part in ("--set", one)]
    assert main(["--recipe", "debug", "--run", str(tmp_path / "run"), *chosen]) == 2
    assert "error: warmup: the gradient of an update is" in capsys.readouterr().err
    assert not (tmp_path / "run" / "iter_000" / "checkpoint").exists()


def test_weights_that_are_no_numbers_are_not_saved(base: str, tmp_path: Path) -> None:
    model = load_for_training(base, BASE, LORA, 0)
    with torch.no_grad():
        next(parameter for parameter in model.parameters() if parameter.requires_grad)[0, 0] = float("inf")
    with pytest.raises(ValueError, match=r"lora_A.* no number, so nothing is saved .* lower the learning rate"):
        save_weights(model, tmp_path / "checkpoint")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_beside_a_quantised_base_an_update_begins_where_the_last_one_ended(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    packed = replace(LORA, quantization="nf4", dtype="bfloat16")
    rows = [(pair.prompt_ids, pair.chosen_ids) for pair in pairs]
    first, _ = sft(base, tokenizer, rows, tmp_path / "first", packed)
    before = weights_of(first)
    assert any(not torch.equal(weight, weight.bfloat16().float()) for weight in before.values())
    settings = WarmupSettings(lr=1e-30, warmup_share=0.0, batch_size=8)
    (tmp_path / "second").mkdir()
    second = train_sft(base, tokenizer, first, rows, tmp_path / "second" / "tuned", packed, settings, 0, QUIET)
    third = stage_of(base, tokenizer, packed, lr=1e-30)(first, Experience((), tuple(pairs)), tmp_path / "third" / "out")
    for after in map(weights_of, (second, third)):
        assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_a_batch_ends_before_it_exceeds_its_rows_or_its_tokens() -> None:
    prompt = list(range(100))
    siblings = [[[*prompt, 200 + at, 1], [*prompt, 300 + at]] for at in range(6)]  # 100 + 3 a row
    alone = [[[*range(400, 520)]], [[*range(600, 610)]]]
    assert token_batches([*siblings, *alone], 4, 1000, is_shared=True) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert token_batches([*siblings, *alone], 8, 112, is_shared=True) == [[0, 1, 2, 3], [4, 5], [6], [7]]
    assert token_batches(siblings, 8, 410, is_shared=False) == [[0, 1], [2, 3], [4, 5]], "102 for each of four"
    assert token_batches([], 8, 100, is_shared=True) == []


def test_the_heaviest_batch_comes_first(base: str, tokenizer: Any, pairs: list[PreferencePair]) -> None:
    short = [replace(pairs[0], prompt_ids=(at, 1, 2)) for at in range(5)]
    heavy = [replace(pairs[0], prompt_ids=tuple(range(at, at + 200))) for at in (300, 900, 900)]
    stage = stage_of(base, tokenizer, batch_size=2)
    rows = pair_rows([*short[:2], *heavy[1:], heavy[0], short[2], *short[3:]])
    batches = stage.batches(rows, is_shared=True)
    assert batches == [rows[4:6], rows[0:2], rows[2:4], rows[6:8]], "the two that share a prompt are not the heaviest"
    assert stage.batches(rows[:1], is_shared=True) == [rows[:1]]
    assert stage.batches(rows, is_shared=False)[0] == rows[2:4], "padded, they are"


def test_an_update_takes_as_many_steps_as_its_token_budget_makes_batches(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    def lines(name: str, **changes: Any) -> int:
        log = Log(tmp_path / f"{name}.jsonl", quiet=True)
        stage_of(base, tokenizer, log=log, **changes)(BASE, Experience((), tuple(pairs)), tmp_path / name)
        return len(losses_in(tmp_path / f"{name}.jsonl"))

    assert lines("rows", batch_size=4, batch_tokens=100_000) == 2
    assert lines("tokens", batch_size=8, batch_tokens=1) == len(pairs)
    assert lines("accumulated", batch_size=8, batch_tokens=1, extra={"gradient_accumulation_steps": 4}) == 2


def test_without_pairs_there_is_nothing_to_train_on(base: str, tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pairs: none was given"):
        stage_of(base, tokenizer)(BASE, Experience((), ()), tmp_path / "checkpoint")
    assert list(tmp_path.iterdir()) == []


def test_pairs_of_a_tree_stay_side_by_side(pairs: list[PreferencePair]) -> None:
    ordered = tree_order(pairs, 8, 0)
    ids = [pair.sample_id for pair in ordered]
    assert [ids[at] for at in range(0, 8, 2)] == [ids[at] for at in range(1, 8, 2)]
    assert sorted(ids) == sorted(pair.sample_id for pair in pairs)
    assert tree_order(pairs, 8, 0) == ordered
    assert any(tree_order(pairs, 8, seed) != ordered for seed in range(1, 5))


def test_neither_the_words_of_a_query_nor_its_tools_decide_when_it_is_learnt() -> None:
    def pair(tools: int, query: int, step: int) -> PreferencePair:
        prompt = (*(tools for _ in range(50)), query, *((7,) * step))
        return PreferencePair(prompt, (1,), (2,), 1.0, "wrong_tool", f"{tools}-{query}", 0.0, 0.0)

    pairs = [pair(tools, query, step) for tools in (3, 4) for query in range(100, 140) for step in (0, 1)]
    ordered = tree_order(pairs, 8, 0)
    assert Counter(ordered) == Counter(pairs)
    assert [ordered[at].sample_id for at in range(0, 160, 2)] == [ordered[at].sample_id for at in range(1, 160, 2)]
    blocks = [[pair.prompt_ids for pair in ordered[at : at + 8]] for at in range(0, 160, 8)]
    assert all(len({prompt[0] for prompt in block}) == 1 for block in blocks), "a batch shows the same tools"
    tools = [block[0][0] for block in blocks]
    assert 3 in tools[:5] and 3 in tools[-5:] and 4 in tools[:5] and 4 in tools[-5:]
    early = [prompt[50] for block in blocks[:10] for prompt in block]
    assert min(early) < 110 and max(early) >= 130, "not in the order of their ids"


def test_a_saved_adapter_is_whole_samples_as_it_trains_and_goes_on(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    stage, experience = stage_of(base, tokenizer), Experience((), tuple(pairs))
    first = stage(BASE, experience, tmp_path / "one" / "checkpoint")
    second = stage(first, experience, tmp_path / "two" / "checkpoint")
    for checkpoint in (first, second):
        assert checkpoint.path is not None
        names = {path.name for path in checkpoint.path.rglob("*")}
        assert {"adapter_config.json", "adapter_model.safetensors"} <= names
        assert "ref" not in names and "model.safetensors" not in names
        assert {path.name for path in checkpoint.path.parent.iterdir()} <= {"checkpoint", "checkpoint-trainer"}
        for_sampling = logits_of(load_for_sampling(base, checkpoint, LORA))
        torch.testing.assert_close(
            for_sampling, logits_of(load_for_training(base, checkpoint, LORA, 0)), atol=1e-4, rtol=1e-4
        )
    outputs = [logits_of(load_for_sampling(base, checkpoint, LORA)) for checkpoint in (BASE, first, second)]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3
    assert (outputs[1] - outputs[2]).abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("tuning", [LORA, FULL], ids=["lora", "full"])
def test_of_an_update_the_share_that_is_asked_for_is_kept(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path, tuning: ModelSettings
) -> None:
    stage, experience = stage_of(base, tokenizer, tuning), Experience((), tuple(pairs))
    first = stage(BASE, experience, tmp_path / "one")
    second = stage(first, experience, tmp_path / "two")
    assert first.path is not None and second.path is not None
    before, after = weights_of(first), weights_of(second)
    mixture = go_part_of_the_way(first, second.path, 0.25, tmp_path / "mixed")
    mixed = weights_of(mixture)
    assert mixed.keys() == after.keys() == before.keys()
    for name, tensor in mixed.items():
        torch.testing.assert_close(tensor, 0.75 * before[name] + 0.25 * after[name], atol=1e-6, rtol=1e-5)
    assert any(not torch.equal(after[name], before[name]) for name in before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights_of(first).items())
    assert all(torch.equal(tensor, after[name]) for name, tensor in weights_of(second).items()), "until it is there"
    assert {path.name for path in (tmp_path / "mixed").iterdir()} == {path.name for path in first.path.iterdir()}
    logits_of(load_for_sampling(base, mixture, tuning))
    for start, share in ((first, 1.0), (BASE, 0.25)):
        moved = go_part_of_the_way(start, second.path, share, tmp_path / f"all of it, {share}")
        assert all(torch.equal(tensor, after[name]) for name, tensor in weights_of(moved).items())
        assert not second.path.exists()
        moved.path.rename(second.path)  # type: ignore[union-attr]


def weights_of(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    (file,) = checkpoint.path.glob("*.safetensors")  # type: ignore[union-attr]
    return load_file(file)


def test_full_tuning_saves_all_weights_and_goes_on(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    stage, experience = stage_of(base, tokenizer, FULL), Experience((), tuple(pairs))
    first = stage(BASE, experience, tmp_path / "one" / "checkpoint")
    second = stage(first, experience, tmp_path / "two" / "checkpoint")
    assert first.path is not None and (first.path / "model.safetensors").is_file()
    outputs = [logits_of(load_for_sampling(base, checkpoint, FULL)) for checkpoint in (BASE, first, second)]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3
    assert (outputs[1] - outputs[2]).abs().max() > 1e-3
    assert torch.equal(logits_of(load_base(base, torch.float32)), outputs[0]), "the base is never written to"


@pytest.mark.slow
def test_qlora_learns_on_a_quantised_base_and_its_adapter_loads_on_the_plain_one(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    packed = replace(LORA, quantization="nf4")
    rows = [(pair.prompt_ids, pair.chosen_ids) for pair in pairs]
    warm, sft_losses = sft(base, tokenizer, rows, tmp_path / "sft", packed, epochs=8)
    assert sft_losses[-1] < sft_losses[0] - 0.1
    model = load_for_sampling(base, warm, packed)
    kinds = {type(module).__name__ for module in model.modules()}
    assert "Linear4bit" in kinds
    decoder = PrefixDecoder(model, stop_id=2, cache_bytes=1 << 28, max_rows=64)
    sides = [
        decoder.logprob([pair.prompt_ids for pair in pairs], [getattr(pair, f"{side}_ids") for pair in pairs])
        for side in ("chosen", "rejected")
    ]
    scored = [
        replace(pair, chosen_logprob=sum(good), rejected_logprob=sum(bad))
        for pair, good, bad in zip(pairs, *sides, strict=True)
    ]
    log = Log(tmp_path / "metrics.jsonl", quiet=True)
    stage = stage_of(base, tokenizer, packed, log, loss_types=["sigmoid"], loss_weights=[1.0], epochs=4)
    tuned = stage(warm, Experience((), tuple(scored)), tmp_path / "checkpoint")
    losses = losses_in(tmp_path / "metrics.jsonl")
    assert losses[0] == pytest.approx(math.log(2), abs=1e-3), "the reference is the quantised policy"
    assert losses[-1] < losses[0] - 0.01
    assert tuned.path is not None
    saved = load_file(tuned.path / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    on_plain = logits_of(load_for_sampling(base, tuned, LORA))
    assert (on_plain - logits_of(load_base(base, torch.float32))).abs().max() > 1e-2
    on_packed = logits_of(load_for_sampling(base, tuned, packed))
    published = str(tmp_path / "published")
    load_base(base, torch.float32, "nf4").save_pretrained(published)
    torch.testing.assert_close(logits_of(load_for_sampling(published, tuned, LORA)), on_packed)
    assert (on_plain - on_packed).abs().mean() < (on_plain - logits_of(load_base(base, torch.float32))).abs().mean()


def test_a_quantised_base_has_the_same_gradient_after_a_forward_without_one(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    """On some CPUs bitsandbytes packs weights for inference at the first chance, and then they have none."""
    gradients = []
    for looks_first in (False, True):
        tuning = replace(LORA, quantization="nf4", dtype="bfloat16")
        trainer = our_trainer(base, tokenizer, tmp_path, tuning)  # its check is such a forward too
        nudge(trainer.model)
        if looks_first:
            with torch.no_grad():
                trainer.model.eval()(torch.arange(3, 40)[None])
        trainer.model.train()
        loss = trainer.compute_loss(trainer.model, trainer.data_collator(pair_rows(pairs)))
        parameters = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
        gradients.append(torch.autograd.grad(loss, parameters))
        states = [getattr(part, "quant_state", None) for part in trainer.model.parameters()]
        assert any(states) and not any(getattr(state, "packing_format_for_cpu", False) for state in states)
    assert relative_gap(gradients[1], gradients[0]) < 1e-3
    assert all(part.abs().sum() > 0 for part in gradients[0])


def test_the_same_update_twice_gives_the_same_weights(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path
) -> None:
    weights = []
    for name in ("one", "two"):
        torch.randn(7)  # what was drawn before must not matter
        stage_of(base, tokenizer)(BASE, Experience((), tuple(pairs)), tmp_path / name / "checkpoint")
        weights.append((tmp_path / name / "checkpoint" / "adapter_model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def sft(
    base: str, tokenizer: Any, rows: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], folder: Path,
    model: ModelSettings = LORA, **changes: Any,
) -> tuple[Checkpoint, list[float]]:  # fmt: skip
    settings = replace(WarmupSettings(lr=5e-3, warmup_share=0.0, batch_size=8), **changes)
    folder.mkdir(exist_ok=True)
    log = Log(folder / "metrics.jsonl", quiet=True)
    done = train_sft(base, tokenizer, BASE, rows, folder / "checkpoint", model, settings, 0, log)
    return done, losses_in(folder / "metrics.jsonl")


@pytest.mark.parametrize("tuning", [LORA, FULL], ids=["lora", "full"])
def test_the_warm_up_loss_is_the_cross_entropy_of_completion_tokens(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path, tuning: ModelSettings
) -> None:
    rows = [(pair.prompt_ids, pair.rejected_ids) for pair in pairs]
    checkpoint, losses = sft(base, tokenizer, rows, tmp_path, tuning, epochs=6)
    model, total = load_base(base, torch.float32), 0.0
    for prompt, turn in rows:
        with torch.no_grad():
            log_probs = model(torch.tensor([prompt + turn])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        total -= log_probs.gather(-1, torch.tensor(turn)[:, None]).sum().item()
    assert losses[0] == pytest.approx(total / sum(len(turn) for _, turn in rows), abs=1e-4)
    assert losses[-1] < losses[0] - 0.1
    assert (logits_of(load_for_sampling(base, checkpoint, tuning)) - logits_of(model)).abs().max() > 1e-3


def test_the_warm_up_needs_rows(base: str, tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"warmup\.num_samples"):
        sft(base, tokenizer, [], tmp_path)


def test_rows_change_places_only_within_their_window() -> None:
    lengths = [number * 7 % 20 + 1 for number in range(20)]
    rows = [[number] * length for number, length in enumerate(lengths)]
    ordered = by_length(rows, window=8)
    assert [sorted(ordered[start : start + 8]) for start in (0, 8, 16)] == [
        [*range(8)], [*range(8, 16)], [*range(16, 20)]
    ]  # fmt: skip
    for start in (0, 8, 16):
        sizes = [lengths[at] for at in ordered[start : start + 8]]
        assert sizes == sorted(sizes, reverse=True)


def test_neighbours_that_share_their_prompt_stay_together() -> None:
    prompt = list(range(50))
    rows = [[900, 901], [*prompt, 60], [*prompt, 61, 62], [*prompt, 63], [902, 903, 904]]
    ordered = by_length(rows, window=5)
    assert ordered.index(2) == ordered.index(1) + 1
    assert ordered.index(3) == ordered.index(2) + 1
