"""The overview of a run: what it counts is what there is."""

from __future__ import annotations

from collections import Counter
from typing import Any

from iterft.synth.overview import identical_share, overview


def row(number: int, asked: str, kind: str = "missing_info", **more: Any) -> dict[str, Any]:
    return {
        "id": f"a-0-{number:06d}/1",
        "messages": [{"role": "user", "content": asked}],
        "tools": [{"name": "b"}, {"name": "a"}],
        "answer": [],
        "text": "Which one?",
        "kind": kind,
        "provenance": {"dialogue": "asked", "tools": ["a"]},
        **more,
    }


def test_rows_that_are_the_same_are_told_though_their_dialogues_differ() -> None:
    first = row(0, "Open the file.")
    later = {**row(1, "Open the file."), "tools": first["tools"][::-1]}
    told = {**row(1, "Open the file.\nThe blue one."), "id": "a-0-000001/2"}
    rows = [first, later, told, row(2, "Open the door.")]
    assert identical_share(rows) == 0.25
    said = overview(rows, {"asked": 1.0}, {"a": "x"}, Counter())
    assert "exact duplicates 0.00%" in said and "identical rows 25.00%" in said


def test_a_sample_counts_once_for_an_operator_however_often_it_was_used() -> None:
    operators = {"a": ["add_parameter", "add_parameter", "nested_object"], "b": ["add_parameter"]}
    made = row(0, "Open it.")
    made["provenance"]["operators"] = operators
    said = overview([made, row(1, "Shut it.")], {"asked": 1.0}, {"a": "x"}, Counter())
    counts = {
        line.split()[0]: line.split()[1] for line in said.split("operator of their tools\n")[1].splitlines() if line
    }
    assert counts["add_parameter"] == counts["nested_object"] == "1"
