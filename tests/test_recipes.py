"""Every shipped recipe on a tiny random model of its architecture, in its dialect: warm-up and one iteration of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from iterft import Iterator, Recipe
from iterft.models import dtype_of
from iterft.recipe import RECIPES

ARCHITECTURES = {"Qwen3": "qwen3", "Qwen2.5": "qwen2", "Llama": "llama", "SmolLM2": "llama"}
SHIPPED = sorted(path.stem for path in RECIPES.glob("*.yaml") if path.stem != "debug")
FEW = [
    "iters=1",
    "data.num_train=30",
    "data.num_held_out=4",
    "warmup.num_samples=4",
    "warmup.batch_size=2",
    "deficiency.num_candidates=4",
    "deficiency.num_samples=2",
    "search.num_simulations=4",
    "pairs.max_pairs=4",
    "stage.batch_size=2",
    "grpo.num_steps=2",
    "grpo.num_prompts=2",
    "grpo.num_samples=3",
    "grpo.min_call_share=0",
    "policy.max_new_tokens=24",
]


def architecture_of(recipe: Recipe) -> str:
    (name,) = {kind for key, kind in ARCHITECTURES.items() if key in recipe.model.base}
    return name


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_says_only_what_differs_and_is_called_like_its_file(name: str) -> None:
    lines = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 30 and lines[0].startswith("# ")
    assert Recipe.load(name).name == name


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_takes_two_steps_on_a_tiny_model_of_its_kind(name: str, tmp_path: Path) -> None:
    """Quantisation, tuning, dialect, template arguments and learning rates are the recipe's own."""
    shipped = Recipe.load(name)
    recipe = Recipe.load(name, [*FEW, f"model.base=random:{architecture_of(shipped)}", "model.sha256=''"])
    run = Iterator(recipe, tmp_path / "run", quiet=True).run()
    before, after = (tmp_path / "run" / f"iter_00{number}" / "checkpoint" for number in (0, 1))
    assert run.checkpoint.path == after and before.is_dir()
    is_full = shipped.model.tuning == "full"
    assert (after / ("model.safetensors" if is_full else "adapter_model.safetensors")).is_file()
    rows = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    steps = Counter(row.get("stage", row["event"]) for row in rows if row["event"] in ("update", "grpo"))
    assert steps["warm-up"] == 2 and steps["update" if shipped.mines_pairs else "grpo"] >= 2


def test_one_recipe_is_quantised_and_one_tunes_all_weights() -> None:
    models = [Recipe.load(name).model for name in SHIPPED]
    assert any(model.quantization == "nf4" for model in models) and any(model.tuning == "full" for model in models)


@pytest.mark.parametrize(
    ("gpu", "on_gpu", "amx", "avx512", "expected"),
    [
        (False, False, False, False, torch.float32),
        (True, True, False, False, torch.bfloat16),
        (True, False, True, True, torch.float32),
        (False, False, True, False, torch.bfloat16),
        (False, False, False, True, torch.bfloat16),
    ],
)
def test_auto_is_bfloat16_where_it_is_fast(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, on_gpu: bool, amx: bool, avx512: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: on_gpu)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    assert dtype_of("auto") == expected
    assert dtype_of("float32") == torch.float32
