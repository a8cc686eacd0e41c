"""The preference update: TRL's `DPOTrainer`, all its losses, on the ids that were sampled.

TRL would tokenise text, append stop tokens and truncate; so the trainer is built on one dummy row and given our rows
afterwards. The reference log-probs are those the policy had when the tree was grown: no reference forward.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from iterft.config import OWN_LOSSES, ModelSettings, StageSettings
from iterft.engine.prefix_tree import group_neighbours
from iterft.log import Log
from iterft.models import load_for_training
from iterft.stages.launch import Reporter, num_warmup_steps, run_trainer, save_checkpoint, trainer_options
from iterft.stages.losses import extend, margin_weights
from iterft.types import Checkpoint, Experience, PreferencePair

OWN_SETTINGS = {
    "loss_type": "stage.loss_types",
    "loss_weights": "stage.loss_weights",
    "use_weighting": "stage.weighting",
    "gradient_checkpointing": "model.gradient_checkpointing",
}
"""Options of TRL that would go past our forward or our losses, and what to set instead."""


class DpoStage:
    """`protocols.Stage`."""

    def __init__(
        self, base: str, tokenizer: Any, model_settings: ModelSettings, settings: StageSettings, seed: int, log: Log
    ) -> None:
        self.base = base
        self.tokenizer = tokenizer
        self.model_settings = model_settings
        self.settings = settings
        self.seed = seed
        self.log = log
        self.build_config(Path(), 1, is_adapter=True)  # what is wrong with it shows before anything is searched

    def __call__(self, checkpoint: Checkpoint, experience: Experience, out: Path) -> Checkpoint:
        """ValueError when there is not one pair."""
        if not experience.pairs:
            raise ValueError(
                "pairs: none was found, so there is nothing to train on; search more "
                "(deficiency.num_candidates, search.num_simulations) or loosen pairs.min_margin"
            )
        model = load_for_training(self.base, checkpoint, self.model_settings, self.seed)
        trainer = self.build_trainer(model, out.parent / "trainer", len(experience.pairs))
        reporter = Reporter(self.log, "update")
        rows = pair_rows(tree_order(experience.pairs, self.seed))
        counters = run_trainer(trainer, self.model_settings, rows, reporter)
        start, end = reporter.history[0], reporter.history[-max(1, len(reporter.history) // 5) :]
        drift = fmean(entry["rewards/chosen"] for entry in end) / self.settings.beta
        self.log.say(
            f"update: {len(rows)} pairs, loss {start['loss']:.3f} -> {fmean(entry['loss'] for entry in end):.3f}, "
            f"margin accuracy {fmean(entry['rewards/accuracies'] for entry in end):.2f}, "
            f"chosen log-prob {drift:+.2f} against its start, {counters.unique_tokens:,} tokens forwarded "
            f"for {counters.sequence_tokens:,}"
        )
        return save_checkpoint(trainer, out)

    def build_trainer(self, model: Any, folder: Path, num_rows: int) -> Any:
        """A `DPOTrainer` that takes ids and reference log-probs from its rows, of which there will be `num_rows`."""
        from datasets import Dataset
        from trl import DPOTrainer

        dummy = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
        config = self.build_config(folder, num_rows, is_adapter=hasattr(model, "peft_config"))
        trainer = DPOTrainer(model=model, args=config, train_dataset=dummy, processing_class=self.tokenizer)
        trainer.precompute_ref_logps = True
        extend(trainer, self.settings)
        return trainer

    def build_config(self, folder: Path, num_rows: int, *, is_adapter: bool) -> Any:
        """ValueError for anything in `stage.extra` that TRL does not take, or that is a setting of ours."""
        from trl import DPOConfig

        settings = self.settings
        for key, own in OWN_SETTINGS.items():
            if key in settings.extra:
                raise ValueError(f"stage.extra.{key}: is not passed on; set {own} instead")
        options = {
            **trainer_options(self.model_settings, folder, self.seed),
            "loss_type": [name for name in settings.loss_types if name not in OWN_LOSSES] or ["sigmoid"],
            "beta": settings.beta,
            "learning_rate": settings.lr,
            "num_train_epochs": settings.epochs,
            "per_device_train_batch_size": settings.batch_size,
            "warmup_steps": num_warmup_steps(settings.warmup_share, num_rows, settings.batch_size, settings.epochs),
            "max_grad_norm": settings.max_grad_norm,
            "remove_unused_columns": False,  # our losses read columns of their own
            # Without an adapter TRL would load a second model as the reference unless it may precompute.
            "precompute_ref_log_probs": not is_adapter,
            **settings.extra,
        }
        try:
            return DPOConfig(**options)
        except (TypeError, ValueError) as error:
            raise ValueError(f"stage.extra {settings.extra}: TRL's DPOConfig does not take it ({error})") from error


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


def tree_order(pairs: Sequence[PreferencePair], seed: int) -> list[PreferencePair]:
    """Pairs whose prompts have a long common prefix side by side (those of a tree, and of trees that show the same
    tools), so that they meet in a batch and share it; such groups in random order."""
    ordered = sorted(pairs, key=lambda pair: pair.prompt_ids)
    groups = group_neighbours([pair.prompt_ids for pair in ordered])
    random.Random(seed).shuffle(groups)
    return [ordered[index] for group in groups for index in group]
