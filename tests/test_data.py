"""Reading samples: what a row must hold, how bad rows are counted, and the split by tool."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iterft import Recipe, build
from iterft.data import Loaded, kind_of, load_samples, split_by_tool
from iterft.readers.parts import accept
from iterft.types import Prompt, Sample, ToolCall

TOOL = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}


def row(**changes: Any) -> dict[str, Any]:
    whole = {
        "id": "a",
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [TOOL],
        "answer": [{"name": "f", "arguments": {"city": "Paris"}}],
        "source": "mine",
    }
    return {key: value for key, value in {**whole, **changes}.items() if value is not ...}


def load(folder: Path, *lines: str, max_unreadable_share: float = 1.0) -> Loaded:
    path = folder / "rows.jsonl"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return load_samples(path, "data.train", max_unreadable_share)


def save_rows(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def sample_of(name: str, *tools: str) -> Sample:
    return Sample(name, Prompt((), ()), tuple(ToolCall(tool, {}) for tool in tools))


def test_a_row_becomes_a_sample_with_wrapped_values(tmp_path: Path) -> None:
    (sample,) = load(tmp_path, json.dumps(row(kind="single", env_config={"x": 1}))).samples
    assert sample == Sample(
        "a",
        Prompt(({"role": "user", "content": "hello"},), (TOOL,)),
        (ToolCall("f", {"city": ["Paris"]}),),
        source="mine",
        kind="single",
        env_config={"x": 1},
    )


def test_tools_in_openai_form_are_read(tmp_path: Path) -> None:
    (sample,) = load(tmp_path, json.dumps(row(tools=[{"type": "function", "function": TOOL}]))).samples
    assert sample.prompt.tools == (TOOL,)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{not json", "not JSON"),
        ("[1]", "not an object"),
        (json.dumps(row(messages=...)), "'messages' missing or not a list"),
        (json.dumps(row(tools={})), "'tools' missing or not a list"),
        (json.dumps(row(answer="f()")), "'answer' missing or not a list"),
        (json.dumps(row(id=...)), "'id' missing"),
        (json.dumps(row(messages=[])), "a message without a role"),
        (json.dumps(row(messages=[{"content": "hello"}])), "a message without a role"),
        (json.dumps(row(messages=["hello"])), "a message without a role"),
        (json.dumps(row(tools=[{"description": "d"}])), "a tool without a name"),
        (json.dumps(row(tools=[{"name": "f", "parameters": []}])), "a tool whose parameters are no schema"),
        (json.dumps(row(answer=[{"arguments": {}}])), "a call without a name"),
        (json.dumps(row(answer=[{"name": "f"}])), "a call whose arguments are no object"),
        (json.dumps(row(answer=[{"name": "f", "arguments": [1]}])), "a call whose arguments are no object"),
    ],
)
def test_a_bad_row_is_dropped_and_counted_by_its_reason(tmp_path: Path, line: str, reason: str) -> None:
    loaded = load(tmp_path, json.dumps(row(id="good")), line)
    assert [sample.id for sample in loaded.samples] == ["good"]
    assert loaded.dropped == {reason: 1}


def test_a_repeated_id_is_dropped_and_the_first_kept(tmp_path: Path) -> None:
    loaded = load(tmp_path, json.dumps(row(source="first")), json.dumps(row(source="second")))
    assert [sample.source for sample in loaded.samples] == ["first"]
    assert loaded.dropped == {"duplicate id": 1}


def test_empty_lines_do_not_count_as_rows(tmp_path: Path) -> None:
    loaded = load(tmp_path, "", json.dumps(row()), "  ", max_unreadable_share=0.0)
    assert (len(loaded.samples), loaded.dropped) == (1, {})


def test_too_many_bad_rows_stop_with_the_first_fault_and_its_line(tmp_path: Path) -> None:
    good = [json.dumps(row(id=f"s{number}")) for number in range(8)]
    bad = [json.dumps(row(id="x", messages=[])), "{"]
    assert len(load(tmp_path, *good, *bad, max_unreadable_share=0.2).samples) == 8
    with pytest.raises(
        ValueError, match=r"2 of 10 rows.*max_unreadable_share=0.19.*row 9: a message without"
    ) as caught:
        load(tmp_path, *good, *bad, max_unreadable_share=0.19)
    assert "data.train" in str(caught.value)


def test_what_cannot_be_learnt_may_still_be_asked(tmp_path: Path) -> None:
    calling = row(id="a", answer=[{"name": "f", "arguments": {}}])
    odd = row(id="d", tools=[TOOL | {"name": "my f"}], answer=[{"name": "my f", "arguments": {}}])
    rows = [calling, row(id="b", answer=[]), row(id="c", answer=[], text="No."), odd]
    others = [row | {"messages": [{"role": "user", "content": "hi"}]} for row in rows]
    data = data_of(tmp_path, {"train": rows, "held_out": others})
    assert sorted(sample.id for sample in data.train) == ["a", "c"]
    assert sorted(sample.id for sample in data.held_out) == ["a", "b", "c", "d"]
    assert data.dropped == {
        "train: no call is right and there is no text to learn instead": 1,
        "train: the pythonic dialect cannot write a name in it": 1,
    }


def test_samples_beyond_what_is_taken_are_counted(tmp_path: Path) -> None:
    calling = {"answer": [{"name": "f", "arguments": {}}]}
    rows = [row(id=str(number), **calling) for number in range(9)]
    others = [row | {"messages": [{"role": "user", "content": "hi"}]} for row in rows]
    data = data_of(tmp_path, {"train": rows, "held_out": others}, "data.num_train=4", "data.num_held_out=8")
    assert (len(data.train), len(data.held_out)) == (4, 8)
    assert data.dropped == {"train: more than data.num_train 4": 5, "held_out: more than data.num_held_out 8": 1}


def test_a_missing_and_an_empty_file_are_named_with_their_key(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.train .*nowhere.jsonl: no such file"):
        load_samples(tmp_path / "nowhere.jsonl", "data.train", 0.05)
    with pytest.raises(ValueError, match=r"data.train .*rows.jsonl: the file is empty"):
        load(tmp_path, "", " ")


def test_gz_is_read_like_plain(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as out:
        out.write(json.dumps(row(messages=[{"role": "user", "content": "Zürich 日本"}]), ensure_ascii=False))
    (sample,) = load_samples(path, "data.train", 0.0).samples
    assert sample.prompt.messages[0]["content"] == "Zürich 日本"


@pytest.mark.parametrize(("name", "content"), [("a.jsonl.gz", b"plain"), ("a.jsonl", b"\xff\xfe\xff"), ("b.gz", b"")])
def test_a_file_of_the_wrong_kind_is_refused_in_words(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"data.train .*(cannot be read|empty)"):
        load_samples(tmp_path / name, "data.train", 1.0)


def test_a_gz_that_breaks_off_is_refused_in_words(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(json.dumps(row(id=f"s{n}")).encode() + b"\n" for n in range(99)))
    (tmp_path / "a.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ValueError, match="cannot be read"):
        load_samples(tmp_path / "a.gz", "data.train", 1.0)


def test_accept_wraps_objects_one_level_deep_and_leaves_the_rest() -> None:
    assert accept("x") == "x"
    assert accept([1, 2]) == [1, 2]
    assert accept([]) == []
    assert accept({"a": 1, "b": {"c": 2}}) == {"a": [1], "b": [{"c": 2}]}
    assert accept([{"a": 1}, {"a": [2]}]) == [{"a": [1]}, {"a": [[2]]}]


def test_ids_may_begin_at_0(tmp_path: Path) -> None:
    assert [sample.id for sample in load(tmp_path, json.dumps(row(id=0))).samples] == ["0"]


def test_the_kind_follows_from_the_answer_where_it_is_not_given() -> None:
    kinds = [kind_of(sample_of("x")), kind_of(sample_of("x", "f")), kind_of(sample_of("x", "f", "f"))]
    assert kinds == ["no_call", "single", "parallel"]
    assert kind_of(Sample("x", Prompt((), ()), (), kind="mine")) == "mine"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_split_by_tool_shares_no_reference_tool(seed: int) -> None:
    samples = [sample_of(f"{a}{b}", f"t{a}", f"t{b}") for a in range(12) for b in range(12)]
    samples += [sample_of(f"none{number}") for number in range(200)]
    train, held_out = split_by_tool(samples, seed)
    tools = [{call.name for sample in part for call in sample.answer} for part in (train, held_out)]
    assert tools[0] and tools[1] and not tools[0] & tools[1]
    assert not {sample.id for sample in train} & {sample.id for sample in held_out}
    no_call = [sum(not sample.answer for sample in part) for part in (train, held_out)]
    assert sum(no_call) == 200 and 10 < no_call[1] < 60
    assert split_by_tool(samples, seed) == (train, held_out)


def test_no_train_sample_shows_a_held_out_tool() -> None:
    tools = [{**TOOL, "name": f"t{number}"} for number in range(12)]
    samples = [
        Sample(f"{number}/{at}", Prompt((), (tools[number], tools[(number + 1) % 12])), (ToolCall(f"t{number}", {}),))
        for number in range(12)
        for at in range(3)
    ]
    samples += [Sample(f"none {number}", Prompt((), (tools[number],)), (), "No.") for number in range(12)]
    train, held_out = split_by_tool(samples, 0)
    held_names = {call.name for sample in held_out for call in sample.answer}
    shown = {tool["name"] for sample in train for tool in sample.prompt.tools}
    assert held_names and not held_names & shown
    assert all(sample.prompt.tools for sample in train), "what has no tool left is left out"
    assert any(len(sample.prompt.tools) == 1 for sample in train if sample.answer)
    assert {sample.id: sample for sample in samples}.items() >= {sample.id: sample for sample in held_out}.items()


def test_what_asks_back_about_a_held_out_tool_is_not_learnt_without_it() -> None:
    tools = tuple({**TOOL, "name": f"t{number}"} for number in range(12))
    calls = [Sample(f"{number}", Prompt((), tools), (ToolCall(f"t{number}", {}),)) for number in range(12)]
    asking = [Sample(f"ask {n}", Prompt((), tools), (), "Which city?", kind="missing_info") for n in range(30)]
    chat = [Sample(f"chat {n}", Prompt((), tools), (), "Which one do you mean?") for n in range(30)]
    fitting = [Sample(f"none {n}", Prompt((), tools), (), "None. Anything else?", kind="no_tool") for n in range(30)]
    known = [Sample(f"known {n}", Prompt((), tools), (), "It is done.") for n in range(30)]
    train, held_out = split_by_tool([*calls, *asking, *chat, *fitting, *known], 0)
    assert {sample.id.split()[0] for sample in train if not sample.answer} == {"none", "known"}
    assert {sample.id.split()[0] for sample in held_out if not sample.answer} == {"ask", "chat", "none", "known"}
    alone = [replace(sample, prompt=Prompt((), ({**TOOL, "name": "other"},))) for sample in asking]
    assert any(sample.id.startswith("ask") for sample in split_by_tool([*calls, *alone], 0)[0]), "no tool of it is gone"


@pytest.mark.parametrize("seed", [0, 1])
def test_data_without_a_held_out_file_are_split_by_tool_the_same_way_for_every_seed(tmp_path: Path, seed: int) -> None:
    rows = [
        row(
            id=f"{number}-{at}",
            tools=[{**TOOL, "name": f"t{number}"}],
            answer=[{"name": f"t{number}", "arguments": {}}],
        )
        for number in range(12)
        for at in range(5)
    ]
    path = save_rows(tmp_path, rows)
    own, other = (build.data(Recipe.load("debug", [f"data.train={path}", f"seed={n}"]), None) for n in (seed, 7))
    assert [sample.id for sample in own.held_out] == [sample.id for sample in other.held_out]
    assert [sample.id for sample in own.train] != [sample.id for sample in other.train]
    assert not {sample.answer[0].name for sample in own.train} & {sample.answer[0].name for sample in own.held_out}


def test_too_few_rows_to_split_ask_for_a_held_out_file(tmp_path: Path) -> None:
    path = save_rows(tmp_path, [row(answer=[{"name": "f", "arguments": {}}])])
    with pytest.raises(ValueError, match=r"^data.train: of 0 samples .*or a file of its own for data.held_out$"):
        build.data(Recipe.load("debug", [f"data.train={path}"]), None)


def test_references_that_fail_their_own_verifier_are_counted_and_too_many_of_them_stop_the_run(tmp_path: Path) -> None:
    good = [row(id=f"{number}", answer=[{"name": "f", "arguments": {}}]) for number in range(9)]
    path = save_rows(tmp_path, [*good, row(id="bad", answer=[{"name": "g", "arguments": {}}])])
    overrides = [f"data.train={path}", "data.held_out=builtin", "data.max_unreadable_share="]
    data = build.data(Recipe.load("debug", [*overrides[:2], overrides[2] + "0.1"]), None)
    assert len(data.train) == 9 and data.dropped == {"train: reference fails its own verifier (unknown_tool)": 1}
    message = r"^data.train: of 10 samples 1 have a reference .*first: sample bad: g is none of the tools"
    with pytest.raises(ValueError, match=message):
        build.data(Recipe.load("debug", [*overrides[:2], overrides[2] + "0.09"]), None)


def test_no_train_sample_shows_a_call_of_a_held_out_tool() -> None:
    """A conversation becomes several samples: the later ones show the calls of the earlier ones."""
    samples = []
    for number in range(12):
        name, other = f"tool_{number}", f"tool_{(number + 1) % 12}"
        messages = ({"role": "user", "content": "Go."},)
        later = (*messages, {"role": "assistant", "content": "", "tool_calls": [{"name": name, "arguments": {}}]})
        samples.append(Sample(f"{number}/1", Prompt(messages, ()), (ToolCall(name, {}),)))
        samples.append(Sample(f"{number}/2", Prompt(later, ()), (ToolCall(other, {}),)))
        samples.append(Sample(f"{number}/3", Prompt(later, ()), (), "Done."))
    train, held_out = split_by_tool(samples, 0)
    held_names = {call.name for sample in held_out for call in sample.answer}
    shown = {
        call["name"] for sample in train for message in sample.prompt.messages for call in message.get("tool_calls", ())
    }
    assert held_names and shown and not held_names & shown


@pytest.mark.parametrize(
    "text",
    ['<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>', "[f(city='Rome')]", "Sure: [f('Rome')]", "f('Rome')"],
)
def test_a_reply_that_is_a_call_written_as_text_is_not_taken_for_no_call(tmp_path: Path, text: str) -> None:
    rows = [row(id=name, answer=CALLED, messages=[{"role": "user", "content": name}]) for name in "ab"]
    spoilt = row(id="c", answer=[], text=text, messages=[{"role": "user", "content": "c"}])
    files = {"train": [rows[0], spoilt], "held_out": [rows[1], spoilt | {"id": "d", "messages": rows[1]["messages"]}]}
    data = data_of(tmp_path, files)
    assert [sample.id for sample in (*data.train, *data.held_out)] == ["a", "b"]
    fault = "no call is right, but its text reads as one"
    assert data.dropped == {f"train: {fault}": 1, f"held_out: {fault}": 1}


def test_what_is_held_out_is_not_learnt_too(tmp_path: Path) -> None:
    asked = [row(id=name, answer=CALLED, messages=[{"role": "user", "content": name}]) for name in "abc"]
    data = data_of(tmp_path, {"train": asked, "held_out": [asked[1] | {"id": "other"}]})
    assert sorted(sample.id for sample in data.train) == ["a", "c"]
    assert data.dropped == {"train: held out too": 1}


def test_a_reference_whose_log_prob_is_told_can_be_written(tmp_path: Path) -> None:
    plain, odd = ({**TOOL, "name": name} for name in ("f", "get item"))
    rows = [
        row(id=one["name"], tools=[one], answer=[{"name": one["name"], "arguments": {}}],
            messages=[{"role": "user", "content": one["name"]}])
        for one in (plain, odd)
    ]  # fmt: skip
    held_out = row(id="held", answer=CALLED, messages=[{"role": "user", "content": "held"}])
    bare = ["stage.kind=grpo", "warmup.num_samples=0", "model.dialect=pythonic"]
    files = {"train": rows, "held_out": [held_out]}
    data = data_of(tmp_path, files, *bare)
    assert [sample.id for sample in data.train] == ["f"]
    assert data.dropped == {"train: the pythonic dialect cannot write a name in it": 1}
    assert len(data_of(tmp_path, files, *bare, "grpo.samples=all").train) == 2


def test_rollouts_alone_need_no_turn_to_learn(tmp_path: Path) -> None:
    rows = [row(id=name, answer=CALLED, messages=[{"role": "user", "content": name}]) for name in "ab"]
    files = {"train": rows[:1], "held_out": rows[1:]}
    thinking = ["model.think=true", "stage.kind=grpo", "grpo.samples=all"]
    with pytest.raises(ValueError, match=r"none can be used \(train: it has no think part to learn"):
        data_of(tmp_path, files, *thinking)
    assert [sample.id for sample in data_of(tmp_path, files, *thinking, "warmup.num_samples=0").train] == ["a"]


CALLED = [{"name": "f", "arguments": {}}]


def data_of(folder: Path, files: dict[str, list[dict[str, Any]]], *overrides: str) -> build.Data:
    for part, rows in files.items():
        (folder / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sources = [f"data.{part}={folder / part}.jsonl" for part in files]
    return build.data(Recipe.load("debug", [*sources, *overrides]), None)


def test_the_split_by_tool_cuts_no_conversation() -> None:
    """What a held-out sample begins with is never the beginning of a prompt to learn from, where no call tells where
    both belong."""
    tool = {**TOOL, "name": "t"}
    talks = [[{"role": "user", "content": f"talk {number}"}] for number in range(60)]
    more = [{"role": "assistant", "content": "Hm."}, {"role": "user", "content": "Go on."}]
    samples = [
        Sample(f"{number}/{at}", Prompt(tuple(talk + more * at), (tool,)), (), "Well.")
        for number, talk in enumerate(talks)
        for at in range(3)
    ]
    calls = [
        Sample(f"call {number}", Prompt(tuple(talks[number] + more), (tool, {**TOOL, "name": f"t{number}"})),
               (ToolCall(f"t{number}", {}),))
        for number in range(30)
    ]  # fmt: skip
    train, held_out = split_by_tool([*samples, *calls], 0)
    begins = [{json.dumps(sample.prompt.messages[0]) for sample in part} for part in (train, held_out)]
    assert len(begins[1]) > 8 and not begins[0] & begins[1]


def test_a_conversation_that_called_a_tool_of_train_is_not_held_out() -> None:
    def ask(name: str, *before: str) -> Sample:
        called = [{"role": "assistant", "tool_calls": [{"name": each, "arguments": {}}]} for each in before]
        messages = ({"role": "user", "content": f"{name} {before}"}, *called)
        return Sample(f"{name} {before}", Prompt(messages, ({**TOOL, "name": name},)), (ToolCall(name, {}),))

    names = [f"t{number}" for number in range(20)]
    _, held_out = split_by_tool([*map(ask, names), *(ask(one, other) for one in names for other in names)], 0)
    held_names = {call.name for sample in held_out for call in sample.answer}
    assert held_names and all(
        {call["name"] for message in sample.prompt.messages for call in message.get("tool_calls", ())} <= held_names
        for sample in held_out
    )
