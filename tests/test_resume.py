"""An update that is killed goes on, and ends where an undisturbed one does."""

from __future__ import annotations

import errno
import json
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer
from updates import BASE, FULL, LORA, stage_of

from iterft.config import ModelSettings, WarmupSettings
from iterft.log import Log
from iterft.models import load_for_training
from iterft.stages import resume
from iterft.stages.launch import Reporter, save_weights
from iterft.stages.sft import train_sft
from iterft.types import Checkpoint, Experience, PreferencePair

DROPPING = replace(LORA, lora=replace(LORA.lora, dropout=0.3))


@pytest.fixture(autouse=True)
def _saved_behind_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "SAVE_EVERY", 0.0)


def warm_up(base: str, tokenizer: Any, pairs: list[PreferencePair], tuning: ModelSettings = DROPPING,
            lr: float = 5e-3) -> Callable[[Path], Checkpoint]:  # fmt: skip
    rows = [(pair.prompt_ids, pair.chosen_ids) for pair in pairs]
    settings = WarmupSettings(lr=lr, warmup_share=0.3, batch_size=4, epochs=2)

    def start(folder: Path) -> Checkpoint:
        folder.mkdir(exist_ok=True)
        log = Log(folder / "metrics.jsonl")
        return train_sft(base, tokenizer, BASE, rows, folder / "checkpoint", tuning, settings, 0, log)

    return start


def update(
    base: str, tokenizer: Any, pairs: list[PreferencePair], checkpoint: Checkpoint
) -> Callable[[Path], Checkpoint]:
    def start(folder: Path) -> Checkpoint:
        folder.mkdir(exist_ok=True)
        log = Log(folder / "metrics.jsonl")
        stage = stage_of(base, tokenizer, DROPPING, log, batch_size=4, epochs=2)
        return stage(checkpoint, Experience((), tuple(pairs)), folder / "checkpoint")

    return start


def weights_in(checkpoint: Checkpoint) -> bytes:
    assert checkpoint.path is not None
    return (checkpoint.path / "adapter_model.safetensors").read_bytes()


def events_in(folder: Path, event: str) -> list[dict[str, Any]]:
    return [row for row in map(json.loads, (folder / "metrics.jsonl").open()) if row["event"] == event]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["warm-up", "first update", "second update"])
def test_an_update_killed_in_and_behind_each_step_ends_where_an_undisturbed_one_does(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], kind: str,
) -> None:  # fmt: skip
    start = warm_up(base, tokenizer, pairs)
    if kind != "warm-up":
        begun = BASE if kind == "first update" else start(tmp_path / "begun")
        start = update(base, tokenizer, pairs, begun)
    capsys.readouterr()
    undisturbed = start(tmp_path / "undisturbed")
    _, said = capsys.readouterr().out.splitlines()[-1].split("] ")
    survived: set[tuple[str, int]] = set()

    def dying(place: str, done: Callable[..., Any]) -> Callable[..., Any]:
        def die_once(self: Any, *arguments: Any, **options: Any) -> Any:
            result = done(self, *arguments, **options)
            step = self.state.global_step if isinstance(self, Trainer) else arguments[1].global_step
            if (place, step) not in survived:
                survived.add((place, step))
                raise KeyboardInterrupt
            return result

        return die_once

    monkeypatch.setattr(Reporter, "on_step_end", dying("a step", Reporter.on_step_end))
    monkeypatch.setattr(Trainer, "_save_rng_state", dying("a half-written state", Trainer._save_rng_state))
    monkeypatch.setattr(resume.Saver, "on_save", dying("a state", resume.Saver.on_save))
    num_kills = 0
    while True:
        torch.randn(3)  # what was drawn before must not matter
        try:
            killed = start(tmp_path / "killed")
            break
        except KeyboardInterrupt:
            num_kills += 1
    steps = len(events_in(tmp_path / "undisturbed", "update"))
    assert num_kills == len(survived) == steps + 2 * (steps - 1) >= 10
    assert weights_in(killed) == weights_in(undisturbed)
    again, once = (
        [[row[key] for key in ("step", "loss", "grad_norm", "learning_rate")] for row in events_in(folder, "update")]
        for folder in (tmp_path / "killed", tmp_path / "undisturbed")
    )
    assert [row for row in again if row in once] == again
    assert len(again) == 2 * steps - 1, "a step is done again only where its state was not whole"
    assert events_in(tmp_path / "killed", "forwarded") == events_in(tmp_path / "undisturbed", "forwarded")
    shown = capsys.readouterr().out
    assert f"goes on behind step {steps - 1} of {steps}" in shown
    assert shown.splitlines()[-1].endswith(said)
    if kind == "warm-up":
        assert shown.count("tried first") == 3, "as long as no state was whole yet"
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {"checkpoint", "metrics.jsonl"}


def killed_behind(step: int, start: Callable[[Path], Checkpoint], folder: Path, patch: pytest.MonkeyPatch) -> None:
    def die(self: Any, args: Any, state: Any, *others: Any, **options: Any) -> None:
        on_save(self, args, state, *others, **options)
        if state.global_step == step:
            raise KeyboardInterrupt

    on_save = resume.Saver.on_save
    with patch.context() as context:
        context.setattr(resume.Saver, "on_save", die)
        with pytest.raises(KeyboardInterrupt):
            start(folder)


@pytest.mark.slow
def test_a_state_of_other_work_is_not_gone_on_with(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    others = (warm_up(base, tokenizer, pairs, lr=1e-3), warm_up(base, tokenizer, pairs[1:]))
    for number, other in enumerate(others):
        killed_behind(2, warm_up(base, tokenizer, pairs), tmp_path / "killed", monkeypatch)
        names = {path.name for path in (tmp_path / "killed" / "checkpoint-trainer").iterdir()}
        assert names == {"checkpoint-2", "work.sha256"}
        whole = other(tmp_path / f"whole-{number}")
        assert weights_in(other(tmp_path / "killed")) == weights_in(whole)


@pytest.mark.slow
def test_a_state_is_gone_on_with_wherever_its_folder_is_moved(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    start = warm_up(base, tokenizer, pairs)
    killed_behind(2, start, tmp_path / "killed", monkeypatch)
    (tmp_path / "killed").rename(tmp_path / "moved")
    start(tmp_path / "moved")
    steps = [event["step"] for event in events_in(tmp_path / "moved", "update")]
    assert steps[:3] == [1, 2, 3], "not begun anew"


def test_a_state_that_cannot_be_saved_ends_no_update(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    start = warm_up(base, tokenizer, pairs)
    whole = start(tmp_path / "whole")

    def full(self: Any, folder: str) -> None:
        assert (Path(folder) / "adapter_model.safetensors").exists()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Trainer, "_save_rng_state", full)
    assert weights_in(start(tmp_path / "full")) == weights_in(whole)
    assert capsys.readouterr().out.count("cannot be saved ([Errno 28] No space left on device)") == 1


@pytest.mark.parametrize("tuning", [LORA, FULL], ids=["lora", "full"])
def test_weights_that_find_no_room_are_an_error_of_the_system(base: str, tmp_path: Path, tuning: ModelSettings) -> None:
    model = load_for_training(base, BASE, tuning, 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match=r"checkpoint") as caught:
            save_weights(model, tmp_path / "checkpoint")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG and not (tmp_path / "checkpoint").exists()


def test_of_an_error_while_more_is_saved_only_those_of_the_disk_are_errors_of_the_system(
    base: str, tmp_path: Path
) -> None:
    model = load_for_training(base, BASE, LORA, 0)

    def broken(folder: Path) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        save_weights(model, tmp_path / "checkpoint", broken)

    def full(folder: Path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            torch.save(torch.zeros(100_000), folder / "optimizer.pt")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with pytest.raises(OSError, match="No space left"):
        save_weights(model, tmp_path / "checkpoint", full)
    assert not (tmp_path / "checkpoint").exists()


def test_where_a_step_destroys_the_weights_the_last_good_state_stays(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    on_step_end = resume.Saver.on_step_end

    def destroy(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        on_step_end(self, args, state, control, **more)
        if state.global_step == 2:
            next(weight for weight in more["model"].parameters() if weight.requires_grad).data.fill_(float("inf"))

    monkeypatch.setattr(resume.Saver, "on_step_end", destroy)
    with pytest.raises(ValueError, match="holds what is no number"):
        warm_up(base, tokenizer, pairs)(tmp_path / "run")
    trainer = tmp_path / "run" / "checkpoint-trainer"
    assert {path.name for path in trainer.iterdir()} == {"checkpoint-1", "work.sha256"}
    assert (trainer / "checkpoint-1" / "whole").exists() and not (tmp_path / "run" / "checkpoint").exists()


def test_of_all_weights_no_state_is_saved(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(Trainer, "_save_checkpoint", None)
    assert warm_up(base, tokenizer, pairs, FULL)(tmp_path / "whole").path == tmp_path / "whole" / "checkpoint"
