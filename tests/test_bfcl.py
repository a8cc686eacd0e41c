"""BFCL's data as samples and its official checker. Needs bfcl-eval for most tests."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from iterft import Recipe, build
from iterft.config import BFCL_CALLS
from iterft.dialects.pythonic import PYTHONIC
from iterft.evals.bfcl import CATEGORIES, CategoryScore, evaluate_bfcl, json_schema, load, official
from iterft.loop import main
from iterft.models import load_tokenizer
from iterft.rewards.call_match import CallMatch
from iterft.template import Template
from iterft.tokens import render_prompt
from iterft.types import PartialTurn, Sample, ToolCall, Trajectory, Turn

needs_bfcl = pytest.mark.skipif(importlib.util.find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed")
NUM_ITEMS = dict(zip(CATEGORIES, (400, 200, 200, 200, 258, 1053, 16, 24, 240, 884), strict=True))


def test_a_missing_package_is_answered_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install --no-deps bfcl-eval=="):
        load("parallel")


def test_schemas_are_converted_recursively_and_parameters_named_like_keywords_are_kept() -> None:
    published = {
        "type": "dict",
        "properties": {
            "type": {"type": "tuple", "items": {"type": "float"}},
            "items": {"type": "dict", "properties": {"x": {"type": "any"}}},
        },
    }
    assert json_schema(published) == {
        "type": "object",
        "properties": {
            "type": {"type": "array", "items": {"type": "number"}},
            "items": {"type": "object", "properties": {"x": {"type": "string"}}},
        },
    }
    assert published["type"] == "dict"


def test_an_unknown_category_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"simple_java.*simple_python"):
        load("simple_java")


@pytest.mark.bfcl
@needs_bfcl
@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_loads_whole_and_speaks_json_schema(category: str) -> None:
    samples = load(category)
    assert len(samples) == NUM_ITEMS[category]
    assert len({sample.id for sample in samples}) == len(samples)
    assert all(bool(sample.answer) == ("irrelevance" not in category) for sample in samples)
    types = {name for sample in samples for tool in sample.prompt.tools for name in types_in(tool["parameters"])}
    assert types <= {"object", "number", "array", "integer", "string", "boolean"}


@pytest.mark.bfcl
@needs_bfcl
def test_official_checker_and_call_match_agree_on_a_right_and_three_wrong_turns() -> None:
    (sample,) = load("simple_python", limit=1)
    right = ToolCall("calculate_triangle_area", {"base": 10, "height": 5})
    turns = [Turn("", calls) for calls in ((right,), (), (right, right), (ToolCall(right.name, {"base": 10}),))]
    verdicts = [official(sample, turn) for turn in turns]
    assert verdicts == [True, False, False, False]
    assert [CallMatch()(Trajectory(sample, (turn,))).value == 1.0 for turn in turns] == verdicts


@pytest.mark.bfcl
@needs_bfcl
def test_an_item_on_which_the_official_checker_raises_is_invalid() -> None:
    sample = load("parallel", limit=1)[0]
    unknown = tuple(ToolCall("nowhere", entry.arguments) for entry in sample.answer)
    broken = Sample(sample.id, sample.prompt, unknown, env_config=sample.env_config)
    assert not official(broken, Turn("", unknown))


@pytest.mark.bfcl
@needs_bfcl
def test_irrelevance_is_right_unless_a_call_parses() -> None:
    (sample,) = load("irrelevance", limit=1)
    assert official(sample, Turn("None of these tools fits."))
    assert official(sample, Turn("", error="no closing tag"))
    assert not official(sample, Turn("", (ToolCall("anything", {}),)))


@pytest.mark.bfcl
@needs_bfcl
def test_the_evaluation_counts_right_items_and_calls_by_category() -> None:
    def silent(samples: Sequence[Sample]) -> list[Turn]:
        return [Turn("I would rather not.") for _ in samples]

    def eager(samples: Sequence[Sample]) -> list[Turn]:
        return [Turn("", (ToolCall("anything", {}),)) for _ in samples]

    scores = evaluate_bfcl(silent, ("multiple", "live_irrelevance"), limit=3)
    assert scores["multiple"] == CategoryScore("multiple", 0, 3, num_calling=0)
    assert scores["live_irrelevance"].accuracy == 1.0
    assert evaluate_bfcl(eager, ("multiple",), limit=3)["multiple"] == CategoryScore("multiple", 0, 3, num_calling=3)


@pytest.mark.bfcl
@needs_bfcl
def test_an_engine_makes_room_for_the_longest_prompt_that_is_scored(base: str) -> None:
    """These are not cut to data.max_prompt_tokens, and vLLM refuses what is longer than it was told."""
    template = Template(load_tokenizer(base), PYTHONIC)
    scored = Recipe.load("debug", ["eval.bfcl=[multiple,live_multiple]", "eval.bfcl_limit=50"])
    lengths = [
        len(render_prompt(template, sample.prompt)) for name in scored.eval.bfcl for sample in load(name, limit=50)
    ]
    assert build.longest_bfcl_prompt(scored, template) == max(lengths) > 1000
    assert build.longest_bfcl_prompt(Recipe.load("debug"), template) == 0


@pytest.mark.bfcl
@needs_bfcl
def test_prompts_longer_than_the_model_was_made_for_are_found_before_the_warm_up(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many tokens they have hangs on the tokenizer, which learns from the package's own source."""
    settings = ["eval.bfcl=[multiple,live_multiple]", "policy.max_new_tokens=300", "data.max_prompt_tokens=3000"]
    longest = build.longest_bfcl_prompt(Recipe.load("debug", settings), Template(load_tokenizer(base), PYTHONIC))
    start = ["--recipe", "debug", "--run", str(tmp_path / "run")]
    assert main([*start, *(word for setting in settings for word in ("--set", setting))]) == 2 and longest > 4096 - 300
    error = capsys.readouterr().err
    assert error.startswith(f"error: eval.bfcl: the longest prompt has {longest} tokens, with policy.max_new_tokens: ")
    assert "more than the 4096 tokens that model.base" in error and error.count("\n") == 1


@pytest.mark.bfcl
@needs_bfcl
def test_the_official_checker_leaves_no_stub_and_no_setting_behind() -> None:
    before = sys.modules.get("bfcl_eval.constants.model_config"), os.environ.get("BFCL_PROJECT_ROOT")
    official(load("multiple", limit=1)[0], Turn(""))
    assert (sys.modules.get("bfcl_eval.constants.model_config"), os.environ.get("BFCL_PROJECT_ROOT")) == before


@pytest.mark.bfcl
@needs_bfcl
@pytest.mark.parametrize("category", BFCL_CALLS)
def test_no_prefix_of_an_accepted_reference_meets_an_objection(category: str) -> None:
    judge = CallMatch()
    for sample in load(category, limit=100):
        calls = tuple(ToolCall(entry.name, plain(entry.arguments)) for entry in sample.answer)
        if judge(Trajectory(sample, (Turn("", calls),))).value < 1.0:
            continue
        for partial in prefixes(calls):
            assert judge.objection(sample, partial) == "", (sample.id, partial)


def prefixes(calls: tuple[ToolCall, ...]) -> Iterator[PartialTurn]:
    """What a reader reports while the calls are written, one event at a time."""
    for index, call in enumerate(calls):
        closed = calls[:index]
        yield PartialTurn(calls=closed, expects="call")
        yield PartialTurn(calls=closed, in_call=True)
        for num_written in range(len(call.arguments) + 1):
            written = dict(islice(call.arguments.items(), num_written))
            partial = PartialTurn(calls=closed, in_call=True, open_name=call.name, open_arguments=written)
            yield partial
            if num_written < len(call.arguments):
                yield replace(partial, expects="argument")
    yield PartialTurn(calls=calls)
    yield PartialTurn(calls=calls, finished=True)


def plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The first accepted value of each argument; objects hold alternatives one level deep."""

    def first(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: others[0] for key, others in value.items() if others[0] != ""}
        return [first(item) if isinstance(item, dict) else item for item in value] if isinstance(value, list) else value

    return {name: first(others[0]) for name, others in arguments.items() if others and others[0] != ""}


def types_in(schema: Any) -> list[str]:
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return [schema["type"], *(name for part in inner for name in types_in(part))]
