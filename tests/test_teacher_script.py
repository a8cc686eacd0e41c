"""scripts/synthesize.py with a teacher behind HTTP: words, dialogues and tools; what goes wrong is counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_tools import TEXT
from test_synthesize import rows, synthesize
from toy_server import Answer, Reply, Request, refused, said, toy_server
from toy_teacher import ToyCast, ToySmith, ToyTeacher, judged, stock_in

from iterft.data import load_samples


def serving(teacher: ToyTeacher, trouble: Callable[[int], Reply | None] = lambda number: None) -> Answer:
    """The teacher as a server that lists one model. `trouble(n)` may be the reply to the n-th request instead."""

    def answer(request: Request, number: int) -> Reply:
        if request.path.endswith("/models"):
            return Reply({"data": [{"id": "toy"}]})
        if reply := trouble(number):
            return reply
        body = request.body
        schema = body["response_format"]["json_schema"]["schema"]
        return said(teacher.chat(body["messages"], (), schema)["content"])

    return answer


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    path = tmp_path / "my_tools.py"
    path.write_text(TEXT)
    return path


@pytest.mark.slow
def test_a_teacher_words_a_file_of_samples_and_troubles_of_its_server_do_not_end_it(
    tools: Path, tmp_path: Path
) -> None:
    troubles = {2: refused(429, "slow down", Retry_After="0"), 3: Reply(b"garbled"), 4: said("no JSON"), 5: said(None)}
    out = tmp_path / "data.jsonl"
    with toy_server(serving(ToyTeacher(), troubles.get)) as server:
        done = synthesize("--tools", tools, "--out", out, "-n", 40, "--teacher", server.url)
    assert done.returncode == 0, done.stderr
    assert "2 replies of no use" in done.stdout and "40 samples, all pass the verifier" in done.stdout
    made = rows(out)
    assert Counter(row["source"] for row in made)["words"] > 35
    assert "said in the teacher's words" in out.with_name("data.jsonl.summary.txt").read_text()
    samples = load_samples(out, "FILE", 0.0).samples
    assert [judged(sample) for sample in samples] == [[]] * 40
    left = {path.name for path in tmp_path.glob("data*")}
    assert left == {"data.jsonl", "data.jsonl.summary.txt"}, "neither journal nor answers"


def test_too_many_requests_that_fail_in_a_row_are_one_clear_error_and_the_run_can_go_on(
    tools: Path, tmp_path: Path
) -> None:
    out = tmp_path / "data.jsonl"
    command = ("--tools", tools, "--out", out, "-n", 40)
    teacher = ToyTeacher()
    with toy_server(serving(teacher, lambda number: refused(400, "no") if number > 20 else None)) as server:
        done = synthesize(*command, "--teacher", server.url)
    assert done.returncode == 2 and "requests in a row came to nothing" in done.stderr
    assert not out.exists() and out.with_name("data.jsonl.answers").exists()
    with toy_server(serving(teacher)) as server:
        done = synthesize(*command, "--teacher", server.url)
    assert done.returncode == 0, done.stderr
    assert len(rows(out)) == 40


def test_a_teacher_writes_tools_from_documents_and_rules_ask_for_them(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# harbour\n- moor a boat\n- hire a pilot\n\n# museum\n- lend a painting\n")
    out = tmp_path / "data.jsonl"
    options = ("--documents", tmp_path / "notes.md", "--teacher-tools", 6, "--teacher-does", "nothing")
    with toy_server(serving(ToySmith())) as server:
        done = synthesize("--out", out, "-n", 30, "--teacher", server.url, *options)
    assert done.returncode == 0, done.stderr
    assert "6 of 6 tools written by toy, in 2 of 2 domains" in done.stdout
    asked = {name for row in rows(out) for name in row["provenance"]["tools"]}
    assert asked and all(name.startswith(("moor", "hire", "lend")) for name in asked)
    assert all(row["provenance"]["backend"] == "rules" for row in rows(out))


def test_a_teacher_plays_dialogues_about_the_users_tools(tools: Path, tmp_path: Path) -> None:
    out = tmp_path / "data.jsonl"
    cast = ToyCast(stock=stock_in(tmp_path))
    with toy_server(serving(cast)) as server:
        options = ("--teacher", server.url, "--teacher-does", "dialogues", "--votes", 1, "--thinking")
        done = synthesize("--tools", tools, "--out", out, "-n", 24, *options)
    assert done.returncode == 0, done.stderr
    assert {row["source"] for row in rows(out)} == {"dialogues"}
    assert all(row["thought"] for row in rows(out))
    assert json.loads(out.read_text().splitlines()[0])["provenance"]["votes"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--teacher-does", "dialogues"), "--teacher-does: needs --teacher"),
        (("--teacher-tools", 5), "--teacher-tools: needs --teacher"),
        (("--documents", "x", "--teacher", "http://127.0.0.1:9/v1"), "--documents: needs --teacher-tools"),
        (("--teacher", "nowhere"), "--recipe nowhere: no such recipe"),
        (("--teacher", "http://127.0.0.1:9/v1", "--complexity", "debug"), "--complexity: remakes dialogues by rules"),
    ],
)
def test_options_that_say_nothing_alone_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    done = synthesize("--out", "x.jsonl", *arguments)
    assert done.returncode == 2 and done.stderr.startswith(message)
