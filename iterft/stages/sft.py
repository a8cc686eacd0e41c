"""Supervised fine-tuning on reference turns, completion tokens only, in the order given (the curriculum's)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from iterft.config import ModelSettings, WarmupSettings
from iterft.log import Log
from iterft.models import load_for_training
from iterft.stages.launch import (
    Reporter,
    by_length,
    equip,
    heaviest,
    on_one_device,
    rehearse,
    run_trainer,
    save_checkpoint,
    token_batches,
    trainer_options,
    unrounded,
)
from iterft.stages.resume import goes_on
from iterft.types import Checkpoint

WINDOW = 4
"""Batches among which rows may change places, so that a batch holds rows of similar length."""


def train_sft(
    base: str,
    tokenizer: Any,
    checkpoint: Checkpoint,
    rows: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
    out: Path,
    model_settings: ModelSettings,
    settings: WarmupSettings,
    seed: int,
    log: Log,
) -> Checkpoint:
    """Trains `checkpoint` on (prompt ids, turn ids) rows; the new checkpoint lies in `out`. ValueError without rows,
    and where a gradient or a weight is no number."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    if not rows:
        raise ValueError(
            "warmup.num_samples: no sample is left to train on; add data, or set warmup.epochs=0 to skip it"
        )
    model = load_for_training(base, checkpoint, model_settings, seed)
    examples = [{"input_ids": [*prompt, *turn], "labels": [-100] * len(prompt) + list(turn)} for prompt, turn in rows]
    config = SFTConfig(
        **{
            **trainer_options(model_settings, out.with_name(f"{out.name}-trainer"), seed),
            "learning_rate": settings.lr,
            "num_train_epochs": settings.epochs,
            "dataset_kwargs": {"skip_prepare_dataset": True},
        }
    )
    with unrounded(model):
        trainer = SFTTrainer(
            model=model,
            args=on_one_device(config),
            train_dataset=Dataset.from_list(examples[:1]),
            processing_class=tokenizer,
        )
    counters, is_shared = equip(trainer, model_settings, log)
    reporter = Reporter(log, "warm-up", counters)
    order = by_length([row["input_ids"] for row in examples], settings.batch_size * WINDOW)
    ordered = [examples[index] for index in order]
    sequences = [[row["input_ids"]] for row in ordered]
    spans = token_batches(sequences, settings.batch_size, settings.batch_tokens, is_shared=is_shared)
    batches = [[ordered[index] for index in span] for span in spans]
    is_begun = goes_on(trainer)
    trial = "" if is_begun else "; the heaviest is tried first, to see if memory lasts"
    log.say(f"warm-up: {len(rows)} samples in {len(batches)} batches{trial}")
    if not is_begun:
        rehearse(trainer, batches[heaviest(sequences, spans, is_shared=is_shared)])  # the curriculum has it at its end
    run_trainer(trainer, batches, settings.warmup_share, reporter, "warmup")
    log.metric("forwarded", stage="warm-up", **asdict(counters))
    losses = [entry["loss"] for entry in reporter.history]
    edge = max(1, len(losses) // 10)
    log.say(
        f"warm-up: {len(rows)} samples, loss {fmean(losses[:edge]):.3f} -> {fmean(losses[-edge:]):.3f}, "
        f"{counters.unique_tokens:,} tokens"
    )
    return save_checkpoint(trainer, out)
