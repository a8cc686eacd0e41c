"""What a run says of its data before it begins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from iterft import Recipe
from iterft.build import Data
from iterft.dialects.hermes import HERMES
from iterft.remarks import remarks
from iterft.template import Template
from iterft.types import Prompt, Sample, ToolCall

TYPES = {"year": "integer", "share": "number", "city": "string", "ids": "array"}
PARAMETERS: dict[str, Any] = {name: {"type": kind} for name, kind in TYPES.items()}
PARAMETERS["ids"]["items"] = {"type": "integer"}
PARAMETERS["city"]["enum"] = ["Oslo"]
TOOL = {"name": "look", "description": "", "parameters": {"type": "object", "properties": PARAMETERS}}


def sample_of(name: str, **accepted: list[Any]) -> Sample:
    return Sample(name, Prompt(({"role": "user", "content": "look"},), (TOOL,)), (ToolCall("look", accepted),))


def said(tokenizer: Any, data: Data, *overrides: str) -> str:
    recipe = Recipe.load("debug", [f"model.dialect={HERMES.name}", *overrides])
    return "\n".join(remarks(recipe, Template(tokenizer, HERMES), data))


@pytest.mark.parametrize(
    ("accepted", "is_odd"),
    [
        ({"year": [1999]}, False),
        ({"year": ["", 1999]}, False),
        ({"share": [1]}, False),
        ({"ids": [[1, 2]]}, False),
        ({"city": ["Bergen"]}, True),
        ({"unknown": ["1"]}, True),
        ({"year": ["1999"]}, True),
        ({"city": ["", 5]}, False),
        ({"city": [5]}, True),
        ({"share": [True]}, True),
        ({"ids": [[1, "2"]]}, True),
    ],
)
def test_references_that_do_not_fit_their_tools_are_counted(
    tokenizer: Any, accepted: dict[str, list[Any]], is_odd: bool
) -> None:
    told = said(tokenizer, Data([sample_of("fine", city=["Oslo"]), sample_of("this", **accepted)], [], {}, ""))
    assert ("do not fit their tools, learnt as they are" in told) == is_odd
    assert ("(1); the first: this, look." in told) == is_odd


def test_a_tool_that_is_unsound_itself_says_nothing_of_its_calls(tokenizer: Any) -> None:
    sample = sample_of("this", year=["1999"])
    broken = {**TOOL, "parameters": {"type": "object", "properties": {**PARAMETERS, "odd": {"type": "lisst"}}}}
    data = Data([replace(sample, prompt=replace(sample.prompt, tools=(broken,)))], [], {}, "")
    assert "do not fit" not in said(tokenizer, data)


@pytest.mark.parametrize(
    "odd",
    [
        {"year": {"type": "integer", "minimum": "1"}},
        {"city": {"type": "string", "minLength": None}, "year": {"type": "integer", "multipleOf": "0.01"}},
        {"ids": {"type": "array", "maxItems": "5"}},
        {"box": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": True}},
        {"year": {"$ref": "#/$defs/y"}},
    ],
)
def test_bounds_that_are_none_end_no_run(tokenizer: Any, odd: dict[str, Any]) -> None:
    sample = sample_of("this", year=[1999], city=["Oslo"], ids=[[1]], box=[{"x": [1]}])
    parameters = {"type": "object", "properties": odd, "$defs": {"y": {"type": "integer", "maximum": "1"}}}
    data = Data(
        [replace(sample, prompt=replace(sample.prompt, tools=({**TOOL, "parameters": parameters},)))], [], {}, ""
    )
    told = said(tokenizer, data)
    assert "data: 1 train" in told and "do not fit" not in told


def test_references_that_no_sampled_turn_can_be_are_counted(tokenizer: Any) -> None:
    short, long = sample_of("short", city=["Oslo"]), sample_of("long", ids=[list(range(100))])
    data = Data([short, long, long], [long], {"train: no": 7, "held out: no": 1}, "")
    told = said(tokenizer, data, "policy.max_new_tokens=60")
    assert "longer than policy.max_new_tokens 60: train (2), held out (1)" in told
    assert "rows dropped: train: no (7), held out: no (1)" in told
    assert "longer" not in said(tokenizer, data, "policy.max_new_tokens=900")
