"""Rules plan, a teacher words: what it says anew is kept if it means the same, and passes all that rules pass."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from toy_teacher import LEADS, ToyTeacher, made_by, matches, stock_in

from iterft.protocols import ChatFault
from iterft.synth.backend import RULES
from iterft.synth.run import Written
from iterft.synth.stock import Stock
from iterft.synth.teacher.answers import Answers, answers_of
from iterft.synth.teacher.words import words_backend

NUM = 60


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return stock_in(tmp_path_factory.mktemp("tools"))


def worded(stock: Stock, teacher: ToyTeacher, out: Path, num: int = NUM) -> Written:
    return made_by(words_backend(Answers(teacher, answers_of(out)), matches), stock, out, num)


def users(row: dict[str, Any]) -> list[str]:
    return [message["content"] for message in row["messages"] if message["role"] == "user"]


def test_all_that_is_said_is_in_the_teachers_words_and_the_calls_are_the_plans(stock: Stock, tmp_path: Path) -> None:
    teacher = ToyTeacher(concurrency=1)
    written = worded(stock, teacher, tmp_path / "data.jsonl")
    planned = made_by(RULES, stock, tmp_path / "rules.jsonl", NUM)
    assert len(written.rows) == NUM
    assert {row["source"] for row in written.rows} == {"words"}
    assert {row["provenance"]["teacher"] for row in written.rows} == {"toy"}
    assert all(text.startswith(LEADS) for row in written.rows for text in users(row))
    assert all(row["text"].startswith(LEADS) for row in written.rows if "text" in row)
    assert [row["answer"] for row in written.rows] == [row["answer"] for row in planned.rows]
    assert written.progress.redrawn["said in the teacher's words"] == teacher.asked["words"]


def test_thoughts_cite_the_words_that_are_said_now(stock: Stock, tmp_path: Path) -> None:
    def shout(prompt: str, user: str, number: int, answer: Any) -> Any:
        if prompt == "words":
            for wording in answer["wordings"]:
                wording["user"] = [text.replace("January", "the month of January") for text in wording["user"]]
        return answer

    rows = worded(stock, ToyTeacher(shout), tmp_path / "data.jsonl").rows
    for row in rows:
        heard = "\n".join(str(message["content"]) for message in row["messages"]).lower()
        for line in row["thought"].splitlines() if row["answer"] else ():
            for cited in line.split('("')[1:]:
                assert cited.partition('")')[0].lower() in heard


def without_digits(wording: dict[str, Any]) -> None:
    wording["user"] = [text.translate(str.maketrans("", "", "0123456789")) for text in wording["user"]]


def inventing(wording: dict[str, Any]) -> None:
    wording["assistant"] = [f"{text} That makes 987654." for text in wording.get("assistant", [])]


def silent(wording: dict[str, Any]) -> None:
    if "assistant" in wording:
        wording["assistant"][-1] = "It has been done."


def marked(wording: dict[str, Any]) -> None:
    wording["user"] = [f"<tool_call> {text}" for text in wording["user"]]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (without_digits, "a value that nobody said"),
        (inventing, "a reply that invents something"),
        (silent, "a reply that leaves something out"),
        (silent, "a question that does not ask"),
        (silent, "a refusal that does not refuse"),
        (marked, "rule template_marks"),
    ],
)
def test_a_wording_that_breaks_the_plan_is_not_kept_and_counted_by_what_it_breaks(
    stock: Stock, tmp_path: Path, spoil: Any, reason: str
) -> None:
    def change(prompt: str, user: str, number: int, answer: Any) -> Any:
        for wording in answer.get("wordings", ()):
            spoil(wording)
            if not wording.get("assistant", [1]):
                del wording["assistant"]
        return answer

    written = worded(stock, ToyTeacher(change), tmp_path / "data.jsonl")
    assert len(written.rows) == NUM
    own = {row["id"] for row in written.rows if row["source"] == "rules"}
    assert own and written.progress.redrawn[f"said in the rules' words: {reason}"]
    for row in written.rows:
        if row["source"] == "rules":
            assert "teacher" not in row["provenance"] and not users(row)[0].startswith(LEADS)


@pytest.mark.slow
def test_words_that_are_read_as_another_call_are_not_kept(stock: Stock, tmp_path: Path) -> None:
    def change(prompt: str, user: str, number: int, answer: Any) -> Any:
        if prompt == "assistant":
            answer["calls"] = answer["calls"][:-1]
        return answer

    written = worded(stock, ToyTeacher(change), tmp_path / "data.jsonl")
    assert all(row["source"] == "rules" for row in written.rows if row["answer"])
    assert any(row["source"] == "words" for row in written.rows if not row["answer"])
    assert written.progress.redrawn["said in the rules' words: read as something else"]


def test_a_bad_wording_is_asked_for_again_with_what_was_wrong(stock: Stock, tmp_path: Path) -> None:
    remarks: list[str] = []

    def change(prompt: str, user: str, number: int, answer: Any) -> Any:
        if prompt == "words":
            remarks.append(user)
            if "<remark>" not in user:
                for wording in answer["wordings"]:
                    wording["user"] = ["Please do it." for _ in wording["user"]]
        return answer

    written = worded(stock, ToyTeacher(change), tmp_path / "data.jsonl", 30)
    assert Counter(row["source"] for row in written.rows)["words"] > 20
    assert sum("a value that nobody said" in user for user in remarks) > 4
    assert all("Please do it." in user for user in remarks if "<remark>" in user)


def test_a_fault_of_the_server_is_counted_and_does_not_end_the_run(stock: Stock, tmp_path: Path) -> None:
    def change(prompt: str, user: str, number: int, answer: Any) -> Any:
        if prompt == "words" and number % 3 < 2:
            raise ChatFault("timeout", "no whole answer within 1 s")
        return answer

    def never(prompt: str, user: str, number: int, answer: Any) -> Any:
        raise ChatFault("refused", "no")

    written = worded(stock, ToyTeacher(change, concurrency=1), tmp_path / "data.jsonl", 30)
    assert {row["source"] for row in written.rows} == {"words"}, "the third try succeeds"
    written = worded(stock, ToyTeacher(never), tmp_path / "own.jsonl", 30)
    assert {row["source"] for row in written.rows} == {"rules"} and len(written.rows) == 30
    assert written.progress.redrawn["said in the rules' words: teacher: refused"] >= 20


def test_a_run_that_is_killed_between_any_two_answers_ends_as_one_that_is_not(stock: Stock, tmp_path: Path) -> None:
    whole = worded(stock, ToyTeacher(), tmp_path / "data.jsonl")

    def fail(prompt: str, user: str, number: int, answer: Any) -> Any:
        if prompt == "assistant" and number == 40:
            raise ValueError("the server is gone")
        return answer

    out = tmp_path / "again" / "data.jsonl"
    killed = ToyTeacher(fail)
    with pytest.raises(ValueError, match="the server is gone"):
        worded(stock, killed, out)
    assert not out.exists()
    for thread in threading.enumerate():  # what was under way, a kill would end too
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join()
    answers = answers_of(out)
    known = answers.read_text().count("\n")
    answers.write_bytes(answers.read_bytes()[:-7])  # a kill in mid-write
    teacher = ToyTeacher(meant=killed.meant)
    assert worded(stock, teacher, out).rows == whole.rows
    assert teacher.asked.total() <= answers.read_text().count("\n") - known + 1
    again = worded(stock, ToyTeacher(never_asked), out)
    assert again.rows == whole.rows, "all answers are known"


def never_asked(prompt: str, user: str, number: int, answer: Any) -> Any:
    raise AssertionError(prompt)


def test_the_order_of_answers_does_not_matter(stock: Stock, tmp_path: Path) -> None:
    def dawdle(prompt: str, user: str, number: int, answer: Any) -> Any:
        time.sleep(0.02 if number % 2 else 0.0)
        return answer

    quick = worded(stock, ToyTeacher(), tmp_path / "one" / "data.jsonl", 30)
    slow = worded(stock, ToyTeacher(dawdle), tmp_path / "other" / "data.jsonl", 30)
    assert slow.rows == quick.rows
