"""How an update that was interrupted goes on: the trainer's state every few minutes, and the last one that is whole.

What goes on ends with the weights that an undisturbed update ends with, to the bit: adapter, optimizer, schedule and
random numbers are those of the step it was saved behind. For adapters only: the state of all weights of a model would
be three times the model, so an update of them begins anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import TrainerCallback

from iterft.setting_rules import first_line
from iterft.stages.finite import refuse_weights

SAVE_EVERY = 120.0
"""Seconds from one saved state to the next."""
WORK, WHOLE = "work.sha256", "whole"
PLACES = ("output_dir", "logging_dir", "run_name")
"""Settings of a trainer that say where it writes, or are called after that."""


class Saver(TrainerCallback):  # type: ignore[misc]
    """Has the trainer save its state behind a step, every `SAVE_EVERY` seconds; not behind the last one, as what the
    stage saves then is due."""

    def __init__(self) -> None:
        self.saved = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step < state.max_steps and time.perf_counter() - self.saved >= SAVE_EVERY:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Marks the state, if it could be saved, as whole once it is on the disk; the earlier ones may go then."""
        self.saved = time.perf_counter()
        saved = states(Path(args.output_dir))
        if saved and not (saved[-1] / WHOLE).exists():
            for file in saved[-1].iterdir():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
            (saved[-1] / WHOLE).touch()
            for earlier in saved[:-1]:
                shutil.rmtree(earlier)


def train(trainer: Any, batches: Sequence[Any], say: Callable[[str], None]) -> None:
    """`trainer.train()` on these batches, from the last whole state in the trainer's folder that was saved at the same
    work: these batches under these settings. States of other work are removed. `say` is told what cannot be saved."""
    if not hasattr(trainer.model, "peft_config"):
        trainer.train()
        return
    folder = Path(trainer.args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    known, work = folder / WORK, digest_of(trainer.args, batches)
    if not known.exists() or known.read_text() != work:
        for state in states(folder):
            shutil.rmtree(state)
        known.write_text(work)
    for state in states(folder):
        if not (state / WHOLE).exists():
            shutil.rmtree(state)
    trainer.create_model_card = lambda **_: None
    trainer._save_checkpoint = forgiving(trainer, say)
    trainer.add_callback(Saver())
    trainer.train(resume_from_checkpoint=next(map(str, reversed(states(folder))), None))


def goes_on(trainer: Any) -> bool:
    """Whether there is a whole state that `train` may go on from."""
    return any((state / WHOLE).exists() for state in states(Path(trainer.args.output_dir)))


def forgiving(trainer: Any, say: Callable[[str], None]) -> Callable[[Any, Any], None]:
    """`trainer._save_checkpoint`, but that a state which cannot be saved, as on a full disk, ends no update. ValueError
    where weights are no numbers: the state saved last stays."""
    save = trainer._save_checkpoint

    def save_or_say(model: Any, trial: Any) -> None:
        refuse_weights(trainer.model)
        try:
            save(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(Path(trainer.args.output_dir) / f"checkpoint-{trainer.state.global_step}", ignore_errors=True)
            say(f"the state of the update cannot be saved ({first_line(error)}); interrupted now, it would begin anew")

    return save_or_say


def digest_of(settings: Any, batches: Sequence[Any]) -> str:
    """Of all that an update follows from but the weights it starts with. Where the run lies, or by which way that is
    said, is not part of it."""
    digest = hashlib.sha256()
    chosen = {key: value for key, value in settings.to_dict().items() if key not in PLACES}
    for part in (chosen, *batches):
        digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def states(folder: Path) -> list[Path]:
    """Saved states, whole or not, by their step."""
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
