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
    heaviest_batch,
    num_warmup_steps,
    rehearse,
    run_trainer,
    save_checkpoint,
    trainer_options,
)
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
    """Trains `checkpoint` on (prompt ids, turn ids) rows; the new checkpoint lies in `out`. ValueError without rows."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    if not rows:
        raise ValueError(
            "warmup.num_samples: no sample is left to train on; add data, or set warmup.epochs=0 to skip it"
        )
    model = load_for_training(base, checkpoint, model_settings, seed)
    reporter = Reporter(log, "warm-up")
    config = SFTConfig(
        **{
            **trainer_options(model_settings, out.parent / "trainer", seed),
            "learning_rate": settings.lr,
            "num_train_epochs": settings.epochs,
            "per_device_train_batch_size": settings.batch_size,
            "warmup_steps": num_warmup_steps(settings.warmup_share, len(rows), settings.batch_size, settings.epochs),
            "dataset_kwargs": {"skip_prepare_dataset": True},
        }
    )
    examples = [{"input_ids": [*prompt, *turn], "labels": [-100] * len(prompt) + list(turn)} for prompt, turn in rows]
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(examples[:1]),
        processing_class=tokenizer,
    )
    order = by_length([row["input_ids"] for row in examples], settings.batch_size * WINDOW)
    ordered = [examples[index] for index in order]
    counters = equip(trainer, model_settings, log)
    start = heaviest_batch([[row["input_ids"]] for row in ordered], settings.batch_size)
    rehearse(trainer, ordered[start : start + settings.batch_size])  # the curriculum has its heaviest batches last
    run_trainer(trainer, ordered, reporter)
    log.metric("forwarded", stage="warm-up", **asdict(counters))
    losses = [entry["loss"] for entry in reporter.history]
    edge = max(1, len(losses) // 10)
    log.say(
        f"warm-up: {len(rows)} samples, loss {fmean(losses[:edge]):.3f} -> {fmean(losses[-edge:]):.3f}, "
        f"{counters.unique_tokens:,} tokens"
    )
    return save_checkpoint(trainer, out)
