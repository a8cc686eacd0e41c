"""The preference update: TRL's `DPOTrainer`, all its losses, on the ids that were sampled.

TRL would tokenise text, append stop tokens and truncate; so the trainer is built on one dummy row and given our rows
afterwards. The reference log-probs are those the policy had when the tree was grown: no reference forward. Behind
another update of its iteration, whose checkpoint lies beside `out`, it starts elsewhere: there they are computed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import torch

from iterft.config import OWN_LOSSES, ModelSettings, StageSettings
from iterft.engine.trie import group_neighbours
from iterft.log import Log
from iterft.models import load_for_training
from iterft.stages.launch import (
    Reporter,
    Sequences,
    equip,
    heaviest,
    on_one_device,
    run_trainer,
    save_checkpoint,
    token_batches,
    trainer_options,
    unrounded,
)
from iterft.stages.losses import extend, margin_weights
from iterft.types import Checkpoint, Experience, PreferencePair

SIDES = ("chosen", "rejected")
AUDITED, MIN_AUDITED = 0.02, 2
"""Share and least number of pairs whose reference log-probs are computed again before an update."""
SUSPICIOUS_GAP = 0.3
"""In nats: the difference over a side by the square root of its tokens, on average over sides. Rounding in bfloat16
makes about 0.1 for SmolLM2-135M, another sampling engine as much."""

OWN_SETTINGS = {
    "beta": "set stage.beta instead",
    "learning_rate": "set stage.lr instead",
    "num_train_epochs": "set stage.epochs instead",
    "max_grad_norm": "set stage.max_grad_norm instead",
    "seed": "set seed instead",
    "bf16": "set model.dtype instead",
    "fp16": "set model.dtype instead",
    "loss_type": "set stage.loss_types instead",
    "loss_weights": "set stage.loss_weights instead",
    "use_weighting": "set stage.weighting instead",
    "gradient_checkpointing": "set model.gradient_checkpointing instead",
    "per_device_train_batch_size": "set stage.batch_size instead",
    "warmup_steps": "set stage.warmup_share instead",
    "warmup_ratio": "set stage.warmup_share instead",
    "logging_steps": "each step is logged; leave it out",
    "logging_strategy": "each step is logged; leave it out",
    "output_dir": "all that a run writes is in its folder; leave it out",
    "sync_ref_model": "the reference is the policy that was searched; leave it out",
    "max_length": "a side that is cut has another reference log-prob; set data.max_prompt_tokens instead",
    "ld_alpha": "reference log-probs are known for whole sides only; leave it out",
}
"""Options of TRL that would go past our forward, our losses or our reference log-probs, and what to do instead."""


class DpoStage:
    """`protocols.Stage`. Where it `is_first` in its iteration, it begins from the policy that was searched."""

    def __init__(
        self,
        base: str,
        tokenizer: Any,
        model_settings: ModelSettings,
        settings: StageSettings,
        seed: int,
        log: Log,
        *,
        is_first: bool = True,
    ) -> None:
        self.base = base
        self.tokenizer = tokenizer
        self.model_settings = model_settings
        self.settings = settings
        self.seed = seed
        self.log = log
        self.is_first = is_first
        self.build_config(Path(), is_adapter=True)  # what is wrong with it shows before anything is searched

    def __call__(self, checkpoint: Checkpoint, experience: Experience, out: Path) -> Checkpoint:
        """ValueError when there is not one pair, and where a gradient or a weight is no number."""
        if not experience.pairs:
            raise ValueError("pairs: none was given, so there is nothing to train on")
        model = load_for_training(self.base, checkpoint, self.model_settings, self.seed)
        trainer = self.build_trainer(model, out.with_name(f"{out.name}-trainer"))
        rows = pair_rows(tree_order(experience.pairs, self.settings.batch_size, experience.seed))
        counters, is_shared = equip(trainer, self.model_settings, self.log)
        reporter = Reporter(self.log, "update", counters)
        with trainer.accelerator.autocast():  # as in training, where the model's forward has it
            if self.is_first:
                self.audit(trainer.model, rows, is_shared=is_shared)
            else:
                self.log.say("update: another one went before it, so all reference log-probs are computed again")
                self.refer(trainer.model, rows, is_shared=is_shared)
        batches = self.batches(rows, is_shared=is_shared)
        run_trainer(trainer, batches, self.settings.warmup_share, reporter, "stage")
        self.log.metric("forwarded", stage="update", **asdict(counters))
        start, end = reporter.history[0], reporter.history[-max(1, len(reporter.history) // 5) :]
        drift = fmean(entry["rewards/chosen"] for entry in end) / self.settings.beta
        self.log.say(
            f"update: {len(rows)} pairs, {len(batches)} batches, "
            f"loss {start['loss']:.3f} -> {fmean(entry['loss'] for entry in end):.3f}, "
            f"margin accuracy {fmean(entry['rewards/accuracies'] for entry in end):.2f}, "
            f"chosen log-prob {drift:+.2f} against its start, {counters.unique_tokens:,} tokens forwarded "
            f"for {counters.sequence_tokens:,}"
        )
        return save_checkpoint(trainer, out)

    def batches(self, rows: Sequence[dict[str, Any]], *, is_shared: bool) -> list[list[dict[str, Any]]]:
        """Of neighbours; the one with most tokens to compute in front, so that too little memory shows at once."""
        sequences, spans = self.cut(rows, is_shared=is_shared)
        spans.insert(0, spans.pop(heaviest(sequences, spans, is_shared=is_shared)))
        return [[rows[index] for index in span] for span in spans]

    def cut(self, rows: Sequence[dict[str, Any]], *, is_shared: bool) -> tuple[list[Sequences], list[list[int]]]:
        """What is computed for each row, and the indices of the rows of each batch, in order."""
        sequences: list[Sequences] = [[[*row["prompt_ids"], *row[f"{side}_ids"]] for side in SIDES] for row in rows]
        settings = self.settings
        return sequences, token_batches(sequences, settings.batch_size, settings.batch_tokens, is_shared=is_shared)

    def audit(self, model: Any, rows: Sequence[dict[str, Any]], *, is_shared: bool) -> None:
        """Computes the reference log-probs of some rows anew and says by how much they differ from those at hand. If
        that is too much, those of all rows are computed and take their place."""
        checked = random.Random(self.seed).sample(rows, min(len(rows), max(MIN_AUDITED, round(AUDITED * len(rows)))))
        known = torch.tensor([row[f"ref_{side}_logps"] for row in checked for side in SIDES])
        lengths = torch.tensor([len(row[f"{side}_ids"]) for row in checked for side in SIDES])
        gaps = (self.reference(model, checked, is_shared=is_shared) - known).abs()
        typical = (gaps / lengths.clamp(min=1).sqrt())[lengths > 0].mean().item()
        largest = gaps.max().item()
        self.log.metric("audit", pairs=len(checked), largest_gap=largest, typical_gap=typical)
        self.log.say(f"update: reference log-probs of {len(checked)} pairs computed again, largest gap {largest:.2g}")
        if typical > SUSPICIOUS_GAP:
            self.log.say(
                "  the pairs were sampled from another checkpoint, or far less exactly: all are computed again"
            )
            self.refer(model, rows, is_shared=is_shared)

    def refer(self, model: Any, rows: Sequence[dict[str, Any]], *, is_shared: bool) -> None:
        """Makes the model as it is the reference of all rows."""
        scores = self.reference(model, rows, is_shared=is_shared).view(len(rows), len(SIDES)).tolist()
        for row, pair in zip(rows, scores, strict=True):
            row.update({f"ref_{side}_logps": score for side, score in zip(SIDES, pair, strict=True)})

    def reference(self, model: Any, rows: Sequence[dict[str, Any]], *, is_shared: bool) -> torch.Tensor:
        """[rows x sides]: summed log-probs under the model as it is, in batches of an update's size."""
        was_training = model.training
        model.eval()
        parts = []
        for span in self.cut(rows, is_shared=is_shared)[1]:
            batch = [rows[index] for index in span]
            prompts = [row["prompt_ids"] for row in batch for _ in SIDES]
            parts.append(turn_log_probs(model, prompts, [row[f"{side}_ids"] for row in batch for side in SIDES]))
        model.train(was_training)
        return torch.cat(parts)

    def build_trainer(self, model: Any, folder: Path) -> Any:
        """A `DPOTrainer` that takes ids and reference log-probs from its rows."""
        from datasets import Dataset
        from trl import DPOTrainer

        dummy = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
        config = self.build_config(folder, is_adapter=hasattr(model, "peft_config"))
        # TRL would hash all weights to name a cache of reference log-probs that we do not use.
        with patch("trl.trainer.dpo_trainer.hash_module", return_value="none"), unrounded(model):
            trainer = DPOTrainer(model=model, args=config, train_dataset=dummy, processing_class=self.tokenizer)
        trainer.precompute_ref_logps = True
        if "ref" in getattr(trainer.model, "peft_config", ()):
            trainer.model.delete_adapter("ref")  # of no use then; and a state saved beside it would not be read again
        extend(trainer, self.settings)
        return trainer

    def build_config(self, folder: Path, *, is_adapter: bool) -> Any:
        """ValueError for anything in `stage.extra` that TRL does not take, or that is a setting of ours."""
        from trl import DPOConfig

        settings = self.settings
        for key, instead in OWN_SETTINGS.items():
            if key in settings.extra:
                raise ValueError(f"stage.extra.{key}: is not passed on; {instead}")
        options = {
            **trainer_options(self.model_settings, folder, self.seed),
            "loss_type": [name for name in settings.loss_types if name not in OWN_LOSSES] or ["sigmoid"],
            "beta": settings.beta,
            "learning_rate": settings.lr,
            "num_train_epochs": settings.epochs,
            "max_grad_norm": settings.max_grad_norm,
            "remove_unused_columns": False,  # our losses read columns of their own
            # Without an adapter TRL would load a second model as the reference unless it may precompute.
            "precompute_ref_log_probs": not is_adapter,
            **settings.extra,
        }
        try:
            return on_one_device(DPOConfig(**options))
        except (TypeError, ValueError) as error:
            raise ValueError(f"stage.extra {settings.extra}: TRL's DPOConfig does not take it ({error})") from error


@torch.no_grad()
def turn_log_probs(model: Any, prompts: Sequence[list[int]], turns: Sequence[list[int]]) -> torch.Tensor:
    """[rows]: summed log-prob of each turn after its prompt, by the call from which TRL takes its own."""
    width = max(len(prompt) + len(turn) for prompt, turn in zip(prompts, turns, strict=True))
    ids, mask, labels = (torch.full((len(turns), width), filler) for filler in (0, 0, -100))
    for row, (prompt, turn) in enumerate(zip(prompts, turns, strict=True)):
        size = len(prompt) + len(turn)
        ids[row, :size], mask[row, :size] = torch.tensor([*prompt, *turn]), 1
        labels[row, len(prompt) : size] = torch.tensor(turn, dtype=torch.long)
    inputs = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    device = next(model.parameters()).device
    output = model(**{key: value.to(device) for key, value in inputs.items()}, fused_lm_head=True, use_cache=False)
    summed: torch.Tensor = (output.log_probs.float() * output.label_mask).sum(dim=1)
    return summed.cpu()


def pair_rows(pairs: Sequence[PreferencePair]) -> list[dict[str, Any]]:
    """The rows that TRL's collator wants, ids untouched, with what our losses need. Weights: 1 for anchors, 1 on
    average for the others."""
    weights = iter(margin_weights([pair.margin for pair in pairs if pair.rejected_ids]))
    return [
        {
            "prompt_ids": list(pair.prompt_ids),
            "chosen_ids": list(pair.chosen_ids),
            "rejected_ids": list(pair.rejected_ids),
            "ref_chosen_logps": pair.chosen_logprob,
            "ref_rejected_logps": pair.rejected_logprob,
            "smoothing": pair.smoothing,
            "weight": next(weights) if pair.rejected_ids else 1.0,
        }
        for pair in pairs
    ]


def tree_order(pairs: Sequence[PreferencePair], size: int, seed: int) -> list[PreferencePair]:
    """Pairs of a tree side by side, and trees whose prompts have a long common prefix (they show the same tools) in
    blocks of about `size` pairs, so that they meet in a batch and share it; all else in random order. Queries in the
    order of their words, or all of one tool list in a row, would let the last ones decide."""
    trees: dict[str, list[PreferencePair]] = {}
    for pair in sorted(pairs, key=lambda pair: pair.prompt_ids):
        trees.setdefault(pair.sample_id, []).append(pair)
    ordered = list(trees.values())
    chooser = random.Random(seed)
    blocks: list[list[PreferencePair]] = []
    for group in group_neighbours([tree[0].prompt_ids for tree in ordered]):
        chooser.shuffle(group)
        blocks.append([])
        for index in group:
            if len(blocks[-1]) >= size:
                blocks.append([])
            blocks[-1] += ordered[index]
    chooser.shuffle(blocks)
    return [pair for block in blocks for pair in block]
