"""What samples share with evaluation data."""

from __future__ import annotations

from iterft.synth.leaks import evaluation_of, overlap
from iterft.types import Prompt, Sample, ToolCall

QUESTION = "Find me the cheapest flight from Oslo to Lima on Monday"


def sample(text: str, tool: str = "find_flight") -> Sample:
    tools = ({"name": tool, "description": "d", "parameters": {}},)
    return Sample("s", Prompt(({"role": "user", "content": text},), tools), (ToolCall(tool, {}),))


def test_eight_words_in_a_row_are_an_overlap_and_seven_are_none() -> None:
    evaluation = evaluation_of([sample(QUESTION)])
    assert overlap(sample(f"Hi! {QUESTION.upper()}?"), evaluation.runs) == "find me the cheapest flight from oslo to"
    assert overlap(sample("Find me the cheapest flight from Oslo, please"), evaluation.runs) == ""


def test_names_are_known_however_they_are_spelt() -> None:
    assert evaluation_of([sample(QUESTION, "get_flightPrice")]).names == {"getflightprice"}
