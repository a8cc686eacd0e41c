"""Models that cannot share prefixes: found out at load time, and served by their own forward with the same answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from iterft import Iterator, Recipe
from iterft.config import ModelSettings
from iterft.engine import prefix_tree
from iterft.engine.decoding import Fork, decode_all
from iterft.engine.fitness import (
    backward_fault,
    shares_prefixes,
    tolerance,
    training_fault,
    typical_gap,
    why_not_shared,
)
from iterft.engine.generate import PrefixDecoder
from iterft.engine.plain import PlainDecoder, plain_log_probs
from iterft.log import Log
from iterft.models import load_base
from iterft.stages.launch import make_ready
from iterft.tiny import train_tokenizer

SHAPE = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOW = 8


def model_of(architecture: str, **changes: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **{**SHAPE, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "gpt2", "phi3", "olmo2"])
def test_full_causal_attention_is_fit(architecture: str) -> None:
    model = model_of(architecture, **({"attn_pdrop": 0.0} if architecture == "gpt2" else {})).train()
    assert why_not_shared(model) == ""
    assert model.training, "it is left as it was"


def test_a_window_that_no_layer_uses_is_no_obstacle() -> None:
    changes = {"use_sliding_window": True, "sliding_window": WINDOW, "layer_types": ["full_attention"] * 2}
    model = model_of("qwen2", **changes)
    assert model.config.sliding_window == WINDOW
    assert why_not_shared(model) == ""


@pytest.mark.parametrize(
    ("architecture", "changes", "words"),
    [
        ("mistral", {"sliding_window": 4096}, "4096 tokens back"),
        ("gemma2", {}, "layers of sliding_attention"),
        ("mamba", {}, "layers of linear_attention"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "dynamic RoPE"),
        ("granite", {"logits_scaling": 8.0}, "logits are scaled (logits_scaling)"),
        ("cohere", {}, "logits are scaled (logit_scale)"),
        ("gpt2", {}, "dropout (attn_pdrop"),
        (
            "biogpt",
            {"intermediate_size": 32, "attention_probs_dropout_prob": 0.1},
            "dropout (attention_probs_dropout_prob",
        ),
        ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2}, "attend in a way of their own"),
        ("bloom", {}, "do not run under another attention"),
    ],
)
def test_what_breaks_sharing_is_named(architecture: str, changes: dict[str, Any], words: str) -> None:
    said: list[str] = []
    assert not shares_prefixes(model_of(architecture, **changes), said.append)
    (line,) = said
    assert line.startswith("prefixes are not shared") and words in line


def test_experts_are_an_obstacle_for_trl_alone() -> None:
    """Its trainers add a loss of the router's, which only the model's own forward computes."""
    model = model_of("mixtral", num_local_experts=2, sliding_window=None)
    assert why_not_shared(model) == ""
    assert "a loss of their own" in training_fault(model.config)
    assert training_fault(model_of("llama").config) == ""


def test_a_model_whose_shared_forward_has_no_backward_pass_learns_from_whole_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NoWayBack(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
            return values.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            raise RuntimeError("no kernel for this head size\nand more")

    model = model_of("llama")
    assert backward_fault(model) == "" and all(parameter.grad is None for parameter in model.parameters())
    attend = prefix_tree.branch_attention
    monkeypatch.setattr(
        prefix_tree, "branch_attention", lambda *args, **more: (NoWayBack.apply(attend(*args, **more)[0]), None)
    )
    assert why_not_shared(model) == "", "sampling and scoring need none"
    assert "no backward pass then (RuntimeError: no kernel for this head size)" in backward_fault(model)
    said: list[str] = []
    log = Log(quiet=True)
    monkeypatch.setattr(log, "say_once", said.append)
    assert make_ready(model, ModelSettings(tuning="full"), log) == (model, False)
    assert said[0].startswith("prefixes are not shared in updates, each row is computed whole: it has no backward")


@pytest.mark.parametrize("window", [WINDOW, 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_comparison_looks_beyond_a_window(dtype: torch.dtype, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iterft.engine.own_attention.NOT_DONE", ())
    windowed, whole = (model_of("mistral", sliding_window=width).to(dtype) for width in (window, None))
    assert typical_gap(windowed) > 10 * tolerance(windowed)
    assert typical_gap(whole) < tolerance(whole) / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_log_probs_that_are_no_numbers_are_not_fit(dtype: torch.dtype) -> None:
    model = model_of("llama").to(dtype)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    assert "differ by nan nats" in why_not_shared(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mask_that_layers_make_themselves_is_not_left_out(dtype: torch.dtype) -> None:
    model = model_of("doge", vocab_size=512, hidden_size=128, head_dim=32).to(dtype)
    assert "a mask of its own" in why_not_shared(model)


def test_where_training_is_in_autocast_so_are_its_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.dtype] = []
    attend = prefix_tree.branch_attention

    def watched(module: Any, query: torch.Tensor, key: Any, value: torch.Tensor, *rest: Any, **more: Any) -> Any:
        asked.append(value.dtype)
        return attend(module, query, key, value, *rest, **more)

    watched.__name__ = attend.__name__
    monkeypatch.setattr(prefix_tree, "branch_attention", watched)
    monkeypatch.setattr("iterft.stages.launch.needs_autocast", lambda settings: True)
    model = model_of("llama")
    assert make_ready(model, ModelSettings(tuning="full"), Log(quiet=True)) == (model, True)
    assert set(asked) == {torch.bfloat16}
    assert next(model.parameters()).dtype == torch.float32


def forks_of() -> list[Fork]:
    first, second = tuple(range(20, 50)), tuple(range(60, 71))
    return [Fork(first, (), 2, 0), Fork(second, (5, 6), 3, 1), Fork(first, (7,), 1, 2)]


@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_both_ways_of_decoding_give_the_same(temperature: float) -> None:
    model = model_of("llama")

    def forks() -> list[Fork]:
        first, second, third = forks_of()
        return [first, replace(second, refute=lambda ids: len(ids) == 3), third]

    told: list[int] = []
    plain = decode_all(PlainDecoder(model, 2, max_rows=4).stream, forks(), temperature, 9, told.append)
    shared = decode_all(PrefixDecoder(model, 2, 1 << 30, 4).stream, forks(), temperature, 9)
    assert sum(told) == 3
    assert [[row.refuted for row in group] for group in plain] == [[False] * 2, [True] * 3, [False]]
    for mine, theirs in zip(plain, shared, strict=True):
        assert [(row.ids, row.stopped, row.refuted) for row in mine] == [
            (row.ids, row.stopped, row.refuted) for row in theirs
        ]
        for row, other in zip(mine, theirs, strict=True):
            assert row.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_a_row_decoded_plainly_ends_with_its_stop_token_and_the_others_go_on() -> None:
    model = model_of("llama")
    (free,) = decode_all(PlainDecoder(model, -1, 8).stream, [Fork(tuple(range(20, 50)), (), 2, 0)], 1.0, 9)
    stop = free[0].ids[4]
    (rows,) = decode_all(PlainDecoder(model, stop, 8).stream, [Fork(tuple(range(20, 50)), (), 2, 0)], 1.0, 9)
    for row, before in zip(rows, free, strict=True):
        end = before.ids.index(stop) + 1 if stop in before.ids else 9
        assert (row.ids, row.stopped) == (before.ids[:end], stop in before.ids)


def test_plain_scores_are_those_of_the_models_own_forward_beyond_its_window() -> None:
    model = model_of("mistral", sliding_window=WINDOW)
    decoder = PlainDecoder(model, 2, max_rows=2)
    prompts, turns = [tuple(range(20, 50)), tuple(range(60, 65))], [(5, 6, 7), (8,)]
    with torch.no_grad():
        for prompt, turn, scores in zip(prompts, turns, decoder.logprob(prompts, turns), strict=True):
            (alone,) = plain_log_probs(model, [prompt + turn])
            assert scores == pytest.approx(alone[len(prompt) - 1 :].tolist(), abs=1e-5)
        for request, rows in zip(forks_of(), decode_all(decoder.stream, forks_of(), 1.0, 6), strict=True):
            for row in rows:
                (alone,) = plain_log_probs(model, [(*request.prompt, *request.extra, *row.ids)])
                assert row.logprobs == pytest.approx(alone[-len(row.ids) :].tolist(), abs=1e-4)


def test_a_model_without_a_kv_cache_is_decoded_too() -> None:
    model = model_of("mamba", state_size=4, expand=2)
    for request, rows in zip(forks_of(), decode_all(PlainDecoder(model, 2, 4).stream, forks_of(), 1.0, 5), strict=True):
        assert len(rows) == request.num_samples
        for row in rows:
            (alone,) = plain_log_probs(model, [(*request.prompt, *request.extra, *row.ids)])
            assert row.logprobs == pytest.approx(alone[-len(row.ids) :].tolist(), abs=1e-4)


@pytest.mark.slow
def test_the_loop_runs_on_a_model_with_a_window_and_its_pairs_hold_the_models_own_log_probs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = train_tokenizer()
    model = model_of("mistral", sliding_window=WINDOW, vocab_size=len(tokenizer), max_position_embeddings=4096)
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    sets = [
        f"model.base={tmp_path / 'model'}",
        "iters=1",
        "data.num_held_out=4",
        "warmup.num_samples=8",
        "policy.max_new_tokens=12",
    ]
    sets += ["deficiency.num_candidates=3", "search.num_simulations=2"]
    run = Iterator(Recipe.load("debug", sets), tmp_path / "run").run()
    assert capsys.readouterr().out.count("prefixes are not shared") == 1
    assert run.checkpoint.path is not None
    from peft import PeftModel

    searched = PeftModel.from_pretrained(
        load_base(str(tmp_path / "model"), torch.float32), str(tmp_path / "run/iter_000/checkpoint")
    ).eval()
    lines = (tmp_path / "run/iter_001/pairs.jsonl").read_text(encoding="utf-8").splitlines()
    for pair in map(json.loads, lines[:4]):
        with torch.no_grad():
            (alone,) = plain_log_probs(searched, [pair["prompt_ids"] + pair["chosen_ids"]])
        assert pair["chosen_logprob"] == pytest.approx(alone[-len(pair["chosen_ids"]) :].sum().item(), abs=1e-3)
