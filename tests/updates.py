"""What tests of updates share: a tiny model's settings, our trainer and TRL's own on the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from iterft.config import LoraSettings, ModelSettings, StageSettings
from iterft.engine.generate import PrefixDecoder
from iterft.log import Log
from iterft.models import load_base, load_for_training
from iterft.stages.dpo import DpoStage
from iterft.stages.launch import equip
from iterft.types import Checkpoint, PreferencePair

LORA = ModelSettings(base="random:llama", dtype="float32", lora=LoraSettings(r=4, alpha=8))
FULL = ModelSettings(base="random:llama", dtype="float32", tuning="full")
SETTINGS = StageSettings(lr=5e-3, warmup_share=0.0, batch_size=4)
BASE = Checkpoint(None)
QUIET = Log(quiet=True)


def stage_of(
    base: str, tokenizer: Any, model: ModelSettings = LORA, log: Log = QUIET, *, is_first: bool = True, **changes: Any
) -> DpoStage:
    return DpoStage(base, tokenizer, model, replace(SETTINGS, **changes), 0, log, is_first=is_first)


def nudge(model: Any) -> None:
    """Moves the trained weights away from where they started, so that policy and reference differ."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)


Ids = tuple[int, ...]


def scored_pairs(base: str, rows: Sequence[tuple[Ids, Ids, Ids, str]]) -> list[PreferencePair]:
    """Pairs from (prompt, chosen, rejected, sample id), with their log-probs under the base."""
    decoder = PrefixDecoder(load_base(base, torch.float32), stop_id=2, cache_bytes=1 << 28, max_rows=64)
    prompts = [prompt for prompt, *_ in rows]
    chosen, rejected = (decoder.logprob(prompts, [row[side] for row in rows]) for side in (1, 2))
    return [
        PreferencePair(prompt, good, bad, 1.0, "wrong_value", name, sum(good_scores), sum(bad_scores))
        for (prompt, good, bad, name), good_scores, bad_scores in zip(rows, chosen, rejected, strict=True)
    ]


def stock_trainer(base: str, tokenizer: Any, folder: Path, tuning: ModelSettings, **options: Any) -> Any:
    """TRL's own, with a reference model of its own."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    return DPOTrainer(
        model=load_for_training(base, BASE, tuning, 0),
        ref_model=None if tuning is LORA else load_base(base, torch.float32),
        args=DPOConfig(
            output_dir=str(folder),
            max_length=None,
            report_to="none",
            bf16=False,
            gradient_checkpointing=False,
            **options,
        ),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=tokenizer,
    )


def our_trainer(base: str, tokenizer: Any, folder: Path, tuning: ModelSettings = LORA, **changes: Any) -> Any:
    trainer = stage_of(base, tokenizer, tuning, **changes).build_trainer(
        load_for_training(base, BASE, tuning, 0), folder
    )
    equip(trainer, tuning, QUIET)
    return trainer


def relative_gap(mine: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> float:
    """Of two gradients, by norm over all parameters."""
    gap = torch.stack([(a - b).norm() for a, b in zip(mine, theirs, strict=True)]).norm()
    return float(gap / torch.stack([part.norm() for part in theirs]).norm())


def without_reference(row: dict[str, Any]) -> dict[str, Any]:
    """As TRL's own dataset would hold it."""
    return {key: row[key] for key in ("prompt_ids", "chosen_ids", "rejected_ids")}
