"""Tools by a teacher: a tree grown out of documents, definitions written from parts of it, the bad ones refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from toy_teacher import ToySmith

from iterft.protocols import ChatFault
from iterft.synth.stock import built_in_tools, definition_of
from iterft.synth.teacher.answers import Answers
from iterft.synth.teacher.tools import Written, coverage, grown_tree, parameters_of, returns_of, write_tools
from iterft.synth.teacher.tree import PIECE_CHARACTERS, merged, pieces_of, subtree, tree_of_tools
from iterft.toolsets.parts import Definition, define

TREE = {
    "harbour": ("moor a boat", "weigh a crate", "close a gate", "hire a pilot"),
    "museum": ("lend a painting", "count visitors", "dim the lights"),
}
PLAIN = {"description": "What it is.", "required": True, "enum": [], "items": "string", "fields": []}


def written(smith: ToySmith, folder: Path, number: int = 8, tree: Mapping[str, Any] = TREE) -> Written:
    return write_tools(tree, [], number, 0, Answers(smith, folder / "answers"), frozenset(["weighacrate"]))


def test_documents_become_one_tree_of_domains_and_what_can_be_done_in_them(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "harbour.md").write_text("# Harbour\n- moor a boat\n- weigh a crate\n")
    (tmp_path / "more.txt").write_text("# harbour\n- Moor a  boat\n- close a gate\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    pieces = pieces_of([tmp_path])
    assert len(pieces) == 2
    dropped: Counter[str] = Counter()
    tree = grown_tree(pieces, Answers(ToySmith(), tmp_path / "answers"), dropped)
    assert tree == {"Harbour": ("moor a boat", "weigh a crate", "close a gate")}
    assert not dropped


def test_a_long_document_is_cut_where_paragraphs_end_and_nothing_is_lost(tmp_path: Path) -> None:
    paragraphs = [f"{number} " + "word " * 300 for number in range(20)]
    (tmp_path / "long.txt").write_text("\n\n".join(paragraphs))
    (tmp_path / "dense.txt").write_text("x" * (2 * PIECE_CHARACTERS + 1))
    pieces = pieces_of([tmp_path / "long.txt"])
    assert all(len(piece) <= PIECE_CHARACTERS for piece in pieces)
    assert "\n\n".join(pieces).split() == "\n\n".join(paragraphs).split()
    assert all(piece[0].isdigit() for piece in pieces)
    assert list(map(len, pieces_of([tmp_path / "dense.txt"]))) == [PIECE_CHARACTERS, PIECE_CHARACTERS, 1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none", None, "no such file or folder"),
        ("empty.txt", b" \n", "nothing to read"),
        ("bad.txt", b"\xff\xfe\x00", "cannot be read as text"),
    ],
)
def test_documents_that_cannot_be_read_are_one_sentence(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        pieces_of([tmp_path / name])


def test_pieces_that_come_to_nothing_are_counted_and_all_of_them_are_an_error(tmp_path: Path) -> None:
    def stall(prompt: str, user: str, number: int, answer: Any) -> Any:
        if "stalls" in user:
            raise ChatFault("timeout", "no whole answer within 1 s")
        return answer

    answers, dropped = Answers(ToySmith(stall), tmp_path / "answers"), Counter[str]()
    assert grown_tree(["# a\n- b", "# stalls\n- c"], answers, dropped) == {"a": ("b",)}
    assert dropped == {"a piece of a document (teacher: timeout)": 1}
    with pytest.raises(ValueError, match="found no domain in 1 pieces"):
        grown_tree(["# stalls\n- c"], answers, dropped)


def test_tools_at_hand_are_a_tree_too_and_empty_branches_are_none() -> None:
    tools = [definition_of(tool) for tool in built_in_tools()]
    tree = tree_of_tools(tools)
    assert set(tree) == {tool.group for tool in tools}
    assert sum(map(len, tree.values())) > 0.9 * len(tools)
    assert merged([("a", []), (" ", ["b"]), ("c", [" "])]) == {}


def test_parts_are_drawn_from_the_domains_with_the_fewest_tools() -> None:
    parts = [subtree(TREE, {"harbour": 2, "museum": 1}, Random(seed)) for seed in range(40)]
    assert {part.domain for part in parts} == {"museum"}
    assert {len(part.functionalities) for part in parts} == {1, 2, 3}
    assert all(set(part.functionalities) <= set(TREE["museum"]) for part in parts)


def test_tools_are_written_over_all_domains_and_can_be_asked_for(tmp_path: Path) -> None:
    smith = ToySmith()
    made = written(smith, tmp_path)
    assert len(made.tools) == 8
    counts = coverage(TREE, made.tools)
    assert counts["harbour"] + counts["museum"] == 8 and min(counts.values()) >= 3
    for tool in made.tools:
        assert tool.spec.imperatives and tool.declares_result and len(tool.operators) == 1
    assert len({tool.spec.name for tool in made.tools}) == 8


def test_the_buffer_of_examples_grows(tmp_path: Path) -> None:
    shown: list[str] = []

    def listen(prompt: str, user: str, number: int, answer: Any) -> Any:
        shown.append(user)
        return answer

    written(ToySmith(listen, concurrency=1), tmp_path)
    assert "<example>" not in shown[0]
    assert all("<example>" in user for user in shown[2:])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "9 lives"}, "refused: name"),
        ({"description": " "}, "refused: description"),
        ({"parameters": [{"name": " x", "type": "string", **PLAIN}]}, "refused: the"),
        ({"parameters": [{"name": "x", "type": "string", **PLAIN}] * 2}, "refused: a parameter is there twice"),
        ({"parameters": [{"name": "x", "type": "string", **PLAIN, "enum": ["a", "a"]}]}, "refused: x"),
        ({"parameters": [{"name": "a.b", "type": "string", **PLAIN}]}, "cannot be worded: a.b"),
        ({"name": "Weigh_a_Crate"}, "name taken"),
    ],
)
def test_a_bad_definition_is_refused_with_its_field_and_counted(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    def spoil(prompt: str, user: str, number: int, answer: Any) -> Any:
        return {**answer, **change} if number == 0 else answer

    made = written(ToySmith(spoil, concurrency=1), tmp_path)
    assert made.dropped[reason] == 1, made.dropped
    assert len(made.tools) == 8


def test_near_duplicates_are_dropped_and_the_end_comes(tmp_path: Path) -> None:
    def same(prompt: str, user: str, number: int, answer: Any) -> Any:
        return {
            **answer,
            "name": f"{answer['name']}{number}",
            "description": " ".join(f"Step {step} is done in turn." for step in range(25)),
            "parameters": [],
        }

    made = written(ToySmith(same), tmp_path, tree={"harbour": ("moor a boat",)})
    assert made.dropped["near duplicate"] > 10
    assert len(made.tools) < 8


def test_faults_of_the_server_are_counted_and_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    def stall(prompt: str, user: str, number: int, answer: Any) -> Any:
        if number % 2:
            raise ChatFault("timeout", "no whole answer within 1 s")
        return answer

    made = written(ToySmith(stall, concurrency=1), tmp_path)
    assert made.dropped["teacher: timeout"] > 2 and len(made.tools) == 8
    again = ToySmith()
    remade = written(again, tmp_path)
    assert 0 < again.asked.total() <= 8, "only what had come to nothing"
    assert len(remade.tools) == 8


def test_what_is_written_becomes_a_schema_with_all_of_it() -> None:
    fields = [{"name": "low", "type": "number", "description": "Least.", "required": True}]
    said = {
        "parameters": [
            {"name": "day", "type": "date", **PLAIN},
            {"name": "size", "type": "string", **PLAIN, "enum": ["s", "m"], "required": False},
            {"name": "names", "type": "array", **PLAIN},
            {"name": "ranges", "type": "array", **PLAIN, "items": "object", "fields": fields},
            {"name": "range", "type": "object", **PLAIN, "fields": fields},
        ],
        "returns": [{"name": "done", "type": "boolean"}],
    }
    made = define("f", "Does it.", parameters_of(said), returns_of(said))
    assert isinstance(made, Definition)
    inner = {"type": "object", "properties": {"low": {"type": "number", "description": "Least."}}, "required": ["low"]}
    about = {"description": "What it is."}
    assert made.parameters == {
        "type": "object",
        "properties": {
            "day": {"type": "string", "format": "date", **about},
            "size": {"type": "string", "enum": ["s", "m"], **about},
            "names": {"type": "array", "items": {"type": "string"}, **about},
            "ranges": {"type": "array", "items": inner, **about},
            "range": {**inner, **about},
        },
        "required": ["day", "names", "ranges", "range"],
    }
    assert made.returns == {"type": "object", "properties": {"done": {"type": "boolean"}}, "required": ["done"]}
