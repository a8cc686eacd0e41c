"""What every stage does alike: TRL's trainer with our ids, forward and progress bar, and a checkpoint at the end."""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import TrainerCallback

from iterft.config import ModelSettings
from iterft.engine.attach import Budget, attach, count, halving
from iterft.engine.fitness import backward_fault, shares_prefixes, training_fault
from iterft.engine.low_rank import fuse_adapters
from iterft.engine.memory import affordable_tokens
from iterft.engine.own_attention import checkpoint_activations
from iterft.engine.prefix_tree import Counters
from iterft.engine.trie import group_neighbours, num_unique_tokens
from iterft.log import Log
from iterft.models import device, needs_autocast
from iterft.stages.finite import refuse_weights, watch_gradients
from iterft.stages.resume import train
from iterft.types import Checkpoint


def trainer_options(settings: ModelSettings, out: Path, seed: int) -> dict[str, Any]:
    """Settings of TRL's configs that hold for every stage: nothing truncated, nothing reported or saved (but for
    `resume`) behind our back, batches as given and in that order, autocast only where weights are kept in float32."""
    return {
        "output_dir": str(out),
        "seed": seed,
        "use_cpu": device().type == "cpu",  # else an accelerator that we do not know would be taken
        "bf16": needs_autocast(settings),
        "max_length": None,
        "gradient_checkpointing": False,  # `equip` switches it on where it is wanted
        "per_device_train_batch_size": 1,  # what `run_trainer` calls a row is a batch
        "train_sampling_strategy": "sequential",
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a loss that is no number would be shown as 0
        "lr_scheduler_type": "cosine",
        "weight_decay": 0.0,
    }


def on_one_device(config: Any) -> Any:
    """The config of a TRL trainer, which would spread its model over all accelerators in sight, and ours is on one."""
    config._n_gpu = min(1, config.n_gpu)
    return config


NOT_SHARED = "prefixes are not shared in updates, each row is computed whole: {}"
COUNTERS = "counters"
"""Under this key the trainer's history has `Counters` as they were then."""


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Moves the progress bar and keeps what the trainer logs. Where an interrupted update goes on, its steps before
    count, and so do their tokens in `counters`."""

    def __init__(self, log: Log, stage: str, counters: Counters | None = None) -> None:
        self.log, self.stage = log, stage
        self.counters = counters or Counters()
        self.history: list[dict[str, float]] = []
        self.bar: Any = None
        self.advance: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for entry in state.log_history:
            self.history.append({key: float(value) for key, value in entry.items() if key not in ("step", COUNTERS)})
        if state.global_step:
            for name, count in state.log_history[-1][COUNTERS].items():
                setattr(self.counters, name, count)
            self.log.say(f"{self.stage}: goes on behind step {state.global_step} of {state.max_steps}")
        self.bar = self.log.progress(self.stage, state.max_steps, state.global_step)
        self.advance = self.bar.__enter__()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.advance()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.history.append({key: float(value) for key, value in logs.items()})
            state.log_history[-1][COUNTERS] = asdict(self.counters)
            self.log.metric("update", stage=self.stage, step=state.global_step, **self.history[-1])

    def close(self) -> None:
        """Takes the bar away, however the training ended."""
        if self.bar is not None:
            self.bar.__exit__(None, None, None)
            self.bar = None


def run_trainer(
    trainer: Any, batches: Sequence[Sequence[dict[str, Any]]], warmup_share: float, reporter: Reporter, section: str
) -> None:
    """Trains on batches of rows, which reach the trainer's collator as they are. In the first `warmup_share` of the
    steps the learning rate rises; rounded down, as transformers runs the first of them at 0, which a short update
    cannot afford. ValueError, naming the `section` of the recipe, at a gradient that is no number."""
    from transformers.trainer_callback import PrinterCallback

    steps = math.ceil(len(batches) / trainer.args.gradient_accumulation_steps) * trainer.args.num_train_epochs
    trainer.args.warmup_steps = int(warmup_share * steps)

    collate = trainer.data_collator
    trainer.data_collator = lambda items: collate([row for batch in items for row in batch])
    trainer.train_dataset = list(batches)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(reporter)
    watch_gradients(trainer, section)
    try:
        train(trainer, batches, reporter.log.say_once)
    finally:
        reporter.close()


def equip(trainer: Any, settings: ModelSettings, log: Log) -> tuple[Counters, bool]:
    """Puts our forward under a trainer that is ready otherwise, if its model can share prefixes and may. Returns what
    counts its forwards, and whether prefixes are shared."""
    counters = Counters()
    model, is_shared = make_ready(trainer.model, settings, log)
    if is_shared and (fault := training_fault(model.config.get_text_config())):
        log.say_once(NOT_SHARED.format(fault))
        is_shared = False
    if is_shared:
        budget = Budget(affordable_tokens(model, settings.max_activation_tokens, log.say_once))
        attach(model, counters, budget)
        trainer.training_step = halving(trainer.training_step, trainer.model, counters, budget, log.say)
    else:
        count(model, counters)
    return counters, is_shared


@contextmanager
def unrounded(model: Any) -> Iterator[None]:
    """What is trained is afterwards what it was. To be held around the making of TRL's trainers, which halve adapters
    beside a 4-bit base: where they start and small steps would be lost."""
    before = [(parameter, parameter.data) for parameter in model.parameters() if parameter.requires_grad]
    yield
    for parameter, data in before:
        parameter.data = data


def make_ready(model: Any, settings: ModelSettings, log: Log) -> tuple[Any, bool]:
    """Adapters fused, activations checkpointed where that is wanted. Returns the plain causal LM, and whether it can
    share prefixes and may."""
    if hasattr(model, "peft_config"):
        fuse_adapters(model)
        model = model.get_base_model()
    if settings.gradient_checkpointing:
        checkpoint_activations(model)
    with torch.autocast(device().type, torch.bfloat16, enabled=needs_autocast(settings)):  # the kernels of training
        is_shared = settings.share_prefixes and shares_prefixes(model, log.say_once)
        if is_shared and (fault := backward_fault(model)):
            log.say_once(NOT_SHARED.format(fault))
            is_shared = False
    return model, is_shared


Sequences = Sequence[Sequence[int]]
"""What is computed for one row: its token ids, or those of either side of a pair."""


def token_batches(rows: Sequence[Sequences], max_rows: int, max_tokens: int, *, is_shared: bool) -> list[list[int]]:
    """Indices of consecutive rows, as many to a batch as compute at most `max_tokens` and are at most `max_rows`; a row
    of more tokens is alone."""
    batches: list[list[int]] = []
    for index in range(len(rows)):
        if batches and len(batches[-1]) < max_rows:
            wider = [*batches[-1], index]
            if num_computed(rows, wider, is_shared=is_shared) <= max_tokens:
                batches[-1] = wider
                continue
        batches.append([index])
    return batches


def heaviest(rows: Sequence[Sequences], batches: Sequence[Sequence[int]], *, is_shared: bool) -> int:
    """Which batch computes most tokens."""
    return max(range(len(batches)), key=lambda number: num_computed(rows, batches[number], is_shared=is_shared))


def num_computed(rows: Sequence[Sequences], batch: Sequence[int], *, is_shared: bool) -> int:
    """Tokens, padding included where every row is computed whole."""
    sequences = [sequence for index in batch for sequence in rows[index]]
    return num_unique_tokens(sequences) if is_shared else len(sequences) * max(map(len, sequences))


def rehearse(trainer: Any, rows: Sequence[dict[str, Any]]) -> None:
    """A step on these rows of which nothing stays, so that too little memory shows at once. No random number is drawn
    by it: with and without it, what is trained afterwards is the same."""
    trainer.current_gradient_accumulation_steps = 1  # else set where an epoch begins
    used = [torch.cuda.current_device()] if device().type == "cuda" else []
    autocast = trainer.accelerator.autocast()  # within `train` the model's forward has it
    with torch.random.fork_rng(used), autocast:
        trainer.training_step(trainer.model, trainer.data_collator(list(rows)))
    trainer.model.zero_grad()
    trainer._metrics["train"].clear()


UNWRITTEN = ("PytorchStreamWriter", "inline_container", "iostream")
"""In what torch says where a write fails."""


def save_checkpoint(trainer: Any, out: Path) -> Checkpoint:
    """Writes what was trained to `out` and clears the trainer's own folder away."""
    save_weights(trainer.model, out)
    shutil.rmtree(trainer.args.output_dir, ignore_errors=True)
    return Checkpoint(out)


def save_weights(model: Any, out: Path, beside: Callable[[Path], None] = lambda folder: None) -> None:
    """Writes the trained adapter (or all weights when tuning is full) to a temporary folder and renames it to `out`.
    `beside` may write more into that folder before it is renamed. ValueError where weights are no numbers,
    OSError where they cannot be written."""
    refuse_weights(model)
    temporary = out.with_name(out.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)
    options = {"selected_adapters": ["default"]} if hasattr(model, "peft_config") else {}
    try:
        model.save_pretrained(temporary, **options)
    except SafetensorError as error:
        if code := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(out)) from error
        raise
    try:
        beside(temporary)
    except RuntimeError as error:
        if not any(said in str(error) for said in UNWRITTEN):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out)) from error
    temporary.replace(out)


def by_length(rows: Sequence[list[int]], window: int) -> list[int]:
    """An order of rows (token ids) that keeps batches of similar length without losing the order at large: neighbours
    that share their prompt stay together, and such groups are sorted by length, longest first, inside consecutive
    windows of `window` rows."""
    windows: list[list[list[int]]] = [[]]
    for group in group_neighbours(rows):
        if sum(map(len, windows[-1])) >= window:
            windows.append([])
        windows[-1].append(group)
    return [
        index
        for groups in windows
        for group in sorted(groups, key=lambda group: -len(rows[group[0]]))
        for index in group
    ]
