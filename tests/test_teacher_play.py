"""A user, an assistant and tools, all played by a teacher: what they agree on is kept, by the rules' plan of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from toy_teacher import ToyCast, made_by, matches, stock_in

from iterft.protocols import ChatFault
from iterft.synth.grounding import ungrounded
from iterft.synth.run import Written
from iterft.synth.shares import SHARES
from iterft.synth.stock import Stock
from iterft.synth.teacher.answers import Answers, answers_of
from iterft.synth.teacher.assistant import Action, answer_of, thought_of
from iterft.synth.teacher.play import play_backend
from iterft.types import ToolCall

NUM = 60


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return stock_in(tmp_path_factory.mktemp("tools"))


def played(stock: Stock, cast: ToyCast, out: Path, num: int = NUM, votes: int = 2) -> Written:
    cast.stock = stock
    return made_by(play_backend(Answers(cast, answers_of(out)), matches, votes), stock, out, num)


def test_every_kind_of_dialogue_is_played_and_passes_what_rules_pass(stock: Stock, tmp_path: Path) -> None:
    cast = ToyCast()
    written = played(stock, cast, tmp_path / "data.jsonl")
    counts = Counter(row["provenance"]["dialogue"] for row in written.rows)
    assert len(written.rows) == NUM and set(counts) == set(SHARES), written.progress.redrawn
    assert {row["source"] for row in written.rows} == {"dialogues"}
    assert all("grounding" in row["provenance"]["checks"] for row in written.rows if row["answer"])
    kinds = {row["kind"] for row in written.rows}
    assert {"missing_info", "summary", "dependent", "no_tool", "parallel_same", "parallel_different"} < kinds
    assert cast.asked["assistant"] >= 2 * NUM, "each decision is made twice"


def test_a_second_call_has_a_value_that_only_the_first_result_gives(stock: Stock, tmp_path: Path) -> None:
    rows = played(stock, ToyCast(), tmp_path / "data.jsonl").rows
    second = [row for row in rows if row["kind"] == "dependent" and len(row["messages"]) == 3]
    assert second
    for row in second:
        asked, _, result = row["messages"]
        handed_on = [str(value) for value in row["answer"][0]["arguments"].values()]
        assert any(value in result["content"] and value not in asked["content"] for value in handed_on)


@pytest.mark.slow
def test_decisions_that_differ_are_thrown_away_and_counted(stock: Stock, tmp_path: Path) -> None:
    def waver(prompt: str, user: str, number: int, answer: Any) -> Any:
        if prompt == "assistant" and number % 5 == 0 and answer["calls"]:
            answer["calls"] = answer["calls"][:-1]
        return answer

    written = played(stock, ToyCast(waver, concurrency=1), tmp_path / "data.jsonl", votes=3)
    assert written.progress.redrawn["decisions that differ"] > 3
    assert written.rows


@pytest.mark.parametrize(
    ("prompt", "field", "value", "reason"),
    [
        ("user", "message", "Do what I said.", "a value that nobody said"),
        ("assistant", "reply", "There are 987654 of them, aren't there?", "a reply that invents something"),
        ("assistant", "reply", "I see.", "missing information that is not asked for"),
        ("assistant", "reply", "It is done?", "a result that is not told"),
        ("assistant", "reply", "It is done?", "a request that is not refused"),
    ],
)
def test_what_departs_from_the_plan_is_thrown_away_by_its_name(
    stock: Stock, tmp_path: Path, prompt: str, field: str, value: str, reason: str
) -> None:
    def change(asked: str, user: str, number: int, answer: Any) -> Any:
        if asked == prompt and answer[field]:
            if prompt == "user":
                cast.meant[f"{value} {number}"] = cast.meant.get(answer[field], (1, [], False))
                return {field: f"{value} {number}"}
            answer[field] = value
        return answer

    cast = ToyCast(change)
    written = played(stock, cast, tmp_path / "data.jsonl", 30)
    assert written.progress.redrawn[reason], written.progress.redrawn


def test_another_tool_than_planned_is_another_decision(stock: Stock, tmp_path: Path) -> None:
    def idle(prompt: str, user: str, number: int, answer: Any) -> Any:
        return {**answer, "calls": [], "reply": "No?"} if prompt == "assistant" else answer

    written = played(stock, ToyCast(idle), tmp_path / "data.jsonl", 30)
    assert all(row["answer"] == [] for row in written.rows)
    assert written.progress.redrawn["another decision than planned"] > 10
    assert {"single", "dependent", "parallel_same"} <= written.progress.given_up, "and the kind is given up in the end"


def test_a_fault_of_the_server_is_counted_and_the_dialogue_is_left(stock: Stock, tmp_path: Path) -> None:
    def stall(prompt: str, user: str, number: int, answer: Any) -> Any:
        if prompt == "tool" and number % 2:
            raise ChatFault("timeout", "no whole answer within 1 s")
        return answer

    written = played(stock, ToyCast(stall, concurrency=1), tmp_path / "data.jsonl")
    assert written.progress.redrawn["teacher: timeout"] > 2
    assert len(written.rows) == NUM


def test_a_play_that_is_killed_ends_as_one_that_is_not(stock: Stock, tmp_path: Path) -> None:
    # The toy's users draw by the number of their request, so all of them have to come one after another.
    def fail(prompt: str, user: str, number: int, answer: Any) -> Any:
        if prompt == "tool" and number == 5:
            raise ValueError("the server is gone")
        return answer

    whole = played(stock, ToyCast(concurrency=1), tmp_path / "data.jsonl", 30)
    out = tmp_path / "again" / "data.jsonl"
    killed = ToyCast(fail, concurrency=1)
    with pytest.raises(ValueError, match="the server is gone"):
        played(stock, killed, out, 30)
    killed.change = lambda prompt, user, number, answer: answer
    assert played(stock, killed, out, 30).rows == whole.rows


def test_what_the_assistant_passes_on_was_said(stock: Stock, tmp_path: Path) -> None:
    from iterft.data import load_samples

    played(stock, ToyCast(), tmp_path / "data.jsonl")
    samples = load_samples(tmp_path / "data.jsonl", "FILE", 0.0).samples
    assert len(samples) == NUM
    assert [ungrounded(sample) for sample in samples] == [[]] * NUM


def test_thoughts_cite_the_conversation_and_nothing_else(stock: Stock) -> None:
    tool = stock.tools["get_weather"].spec
    messages = [{"role": "user", "content": "What is it like in Oslo on the 3rd of May 2026?"}]
    call = ToolCall("get_weather", {"city": "Oslo", "date": "2026-05-03", "unit": "kelvin"})
    values = [{"parameter": "date", "words": "the 3rd of May 2026"}, {"parameter": "unit", "words": "in kelvin"}]
    action = Action((call,), "", [{"tool": "get_weather", "values": values, "missing": []}])
    thought = thought_of(action, messages, [tool])
    assert thought.endswith(
        ': get_weather, city = Oslo, date = 2026-05-03 ("the 3rd of May 2026"), unit = kelvin (implied)'
    )
    missing = Action((), "Where?", [{"tool": "get_weather", "values": [], "missing": ["town", "city"]}])
    assert thought_of(missing, messages, [tool]).endswith(": get_weather, city is not said")
    assert thought_of(Action((), "Where?"), messages, [tool]) == ""


def test_an_argument_that_is_set_to_its_default_is_left_out(stock: Stock) -> None:
    tool = stock.tools["list_orders"].spec.schema
    (answer,) = answer_of([ToolCall("list_orders", {"customer_id": "u_1", "limit": 10, "status": "open"})], [tool])
    assert answer.arguments == {"customer_id": ["u_1"], "limit": ["", 10], "status": ["open"]}
    assert json.loads(json.dumps(answer.arguments)) == answer.arguments
