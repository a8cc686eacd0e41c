"""Rows of our own form: what is written is read back as it was, with all that is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from plants import SOUND

from iterft.readers.forms import FORMS
from iterft.readers.parts import RowFault
from iterft.synth.journal import take_up
from iterft.synth.rows import line_of, replacing, row_of
from iterft.synth.tasks import generate


def test_samples_come_back_as_they_were() -> None:
    for sample in (*generate(400, seed=9, split="train"), *SOUND):
        row = json.loads(line_of(row_of(sample, note="more")))
        assert FORMS["own"].read(row, "1") == [sample]
        assert row["note"] == "more"


def test_without_accepted_the_answer_is_the_one_right_value() -> None:
    row = row_of(generate(1, seed=9, split="train")[0])
    row.pop("accepted", None)
    (sample,) = FORMS["own"].read(row, "1")
    assert all(len(values) == 1 for call in sample.answer for values in call.arguments.values())


@pytest.mark.parametrize(
    "accepted",
    [[], [{"name": "other", "arguments": {}}], [{"name": "get_weather", "arguments": {"city": "Oslo"}}], "x"],
)
def test_accepted_calls_that_do_not_go_with_the_answer_are_a_fault(accepted: Any) -> None:
    with pytest.raises(RowFault, match="'accepted'"):
        FORMS["own"].read(row_of(SOUND[0]) | {"accepted": accepted}, "1")


def test_a_file_takes_its_place_only_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("before")
    with pytest.raises(KeyError), replacing(path) as out:
        out.write("half")
        raise KeyError
    assert path.read_text() == "before"
    with replacing(path) as out:
        out.write("whole")
    assert path.read_text() == "whole"


def test_a_journal_is_taken_up_with_its_settings_only_and_a_broken_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "rows.journal"
    assert take_up(path, {"seed": 0}) == []
    with path.open("a") as out:
        out.write(line_of({"kind": "single"}) + line_of({"kind": "other"}) + '{"kind": "bro')
    assert take_up(path, {"seed": 0}) == [{"kind": "single"}, {"kind": "other"}]
    assert path.read_text().endswith(line_of({"kind": "other"}))
    assert take_up(path, {"seed": 1}) == []
    assert path.read_text() == line_of({"seed": 1})
