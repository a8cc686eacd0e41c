"""On a CPU an update keeps as many activations as the free memory holds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from updates import BASE, FULL, LORA, QUIET, stage_of

from iterft.config import ModelSettings
from iterft.engine.low_rank import fuse_adapters
from iterft.engine.memory import LEAST, affordable_tokens, free_memory, kept_bytes
from iterft.engine.prefix_tree import Counters, score_sequences
from iterft.log import Log
from iterft.models import load_for_training
from iterft.stages.dpo import pair_rows
from iterft.stages.launch import Reporter, equip, run_trainer
from iterft.types import PreferencePair

GIB = 1024**3


def free(monkeypatch: pytest.MonkeyPatch, number: float) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=number))


def trained_model(base: str, tuning: ModelSettings) -> tuple[Any, Any]:
    """Where adapters are trained, they are fused, as `make_ready` does it."""
    model = load_for_training(base, BASE, tuning, 0)
    if tuning is FULL:
        return model, model
    fuse_adapters(model)
    return model, model.get_base_model()


@pytest.mark.parametrize("tuning", [LORA, FULL], ids=["lora", "full"])
@pytest.mark.parametrize("num_shared", [0, 600])
def test_what_a_probe_keeps_per_token_is_about_what_a_longer_step_keeps(
    base: str, tuning: ModelSettings, num_shared: int
) -> None:
    _, inner = trained_model(base, tuning)
    weights = {parameter.data_ptr() for parameter in inner.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    shared = list(range(10, 10 + num_shared))
    sequences = [[*shared, *range(20, 80)], [*shared, *range(90, 180)]]
    wanted = [[len(sequence) - 1] for sequence in sequences]
    counters = Counters()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        scores = score_sequences(inner.base_model, inner.get_output_embeddings(), sequences, wanted, counters)
    assert len(scores) == 2 and counters.unique_tokens == num_shared + 150
    assert 0.65 <= sum(kept.values()) / (kept_bytes(inner) * (num_shared + 150)) <= 1.5
    assert all(parameter.grad is None for parameter in inner.parameters())


def test_the_limit_of_a_container_counts_without_its_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 8 * GIB)
    monkeypatch.setattr("iterft.engine.memory.CGROUP", tmp_path)
    assert free_memory() == 8 * GIB
    for limit, left in ((5 * GIB, 4 * GIB), (50 * GIB, 8 * GIB), ("max", 8 * GIB)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{3 * GIB}\n")
        (tmp_path / "memory.stat").write_text(f"anon {GIB}\ninactive_file {2 * GIB}\n")
        assert free_memory() == left


def test_the_budget_is_halved_until_half_of_the_free_memory_holds_it(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, inner = trained_model(base, LORA)
    each, said = kept_bytes(inner), list[str]()
    trained = 3 * sum(parameter.nbytes for parameter in inner.parameters() if parameter.requires_grad)
    for tokens, fits in ((8192, 8192), (8191, 4096), (4096, 4096), (2000, 1024), (0, LEAST)):
        free(monkeypatch, 2 * (tokens * each + trained) + 1)
        said.clear()
        assert affordable_tokens(inner, 8192, said.append) == fits
        assert len(said) == (fits < 8192)
    assert "model.max_activation_tokens" in said[0] and f"{LEAST:,} tokens" in said[0]
    assert affordable_tokens(inner, 40, said.append) == 40, "what the recipe asks for is not raised"


def test_a_model_that_is_trained_whole_leaves_room_for_its_optimizer(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, inner = trained_model(base, FULL)
    weights = sum(parameter.nbytes for parameter in inner.parameters())
    free(monkeypatch, 2 * (3 * weights + 1000 * kept_bytes(inner)) + 1)
    assert affordable_tokens(inner, 1000, lambda _: None) == 1000
    free(monkeypatch, 2 * (2 * weights + 1000 * kept_bytes(inner)))
    assert affordable_tokens(inner, 1000, lambda _: None) == LEAST - 12


def test_with_little_memory_a_step_is_computed_in_parts_with_the_same_weights(
    base: str, tokenizer: Any, pairs: list[PreferencePair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("iterft.engine.memory.LEAST", 8)
    weights = []
    for room, is_split in ((64 * GIB, False), (1000, True)):
        free(monkeypatch, room)
        torch.manual_seed(0)
        trainer = stage_of(base, tokenizer).build_trainer(load_for_training(base, BASE, LORA, 0), tmp_path)
        counters, _ = equip(trainer, LORA, Log())
        run_trainer(trainer, [pair_rows(pairs)], 0.0, Reporter(QUIET, "update"), "stage")
        assert (counters.computed_again > 0) is is_split
        assert capsys.readouterr().out.count("memory: activations of") == is_split
        weights.append(trainer.model.state_dict())
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=1e-5, rtol=1e-4)
