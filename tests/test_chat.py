"""Every dialect: what is written is read back, any prefix or mutation of it is read without surprise.

ITERFT_EXAMPLES=10000 raises the number of cases Hypothesis draws per property.
"""

import json
import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lines import lines_run

from iterft.chat import THINK_OPEN, Dialect, Mark, parse, plain_messages
from iterft.dialects.hermes import HERMES
from iterft.dialects.llama3 import LLAMA3
from iterft.dialects.mistral import MISTRAL
from iterft.dialects.pythonic import PYTHONIC
from iterft.tool_list import describe_tools
from iterft.types import Prompt, ToolCall, Turn

DIALECTS = {dialect.name: dialect for dialect in (HERMES, LLAMA3, MISTRAL, PYTHONIC)}
drawn = settings(
    max_examples=int(os.environ.get("ITERFT_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
FRAGMENTS = ("<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]", '{"name": "', '"parameters": {', "; ")
F, G = ToolCall("f", {"a": 1}), ToolCall("g", {})
TOOL = {"name": "f", "description": "", "parameters": {"type": "object", "properties": {"a": {}}, "required": []}}
in_each = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))

characters = st.characters(exclude_categories=["Cs"])
tricky = st.sampled_from(
    [
        "'\"",
        "\\",
        "\\'",
        'it\'s "so"',
        "</tool_call>",
        "<think>",
        "[TOOL_CALLS] [",
        "<|python_tag|>",
        "}; {",
        ")]",
        "\n\r\t\0\x1f\x7f\x85\u2028",
        "👩\u200d🚀",
        "\\u00e9",
        "\\N{x}",
    ]
)
texts = st.one_of(st.text(characters, max_size=12), tricky, st.lists(tricky, max_size=3).map("".join))
numbers = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(1, 4200).map(lambda power: -(10**power) + 7),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
names = st.one_of(
    st.from_regex(r"\A[A-Za-z_][\w]{0,8}(\.[a-z]{1,4})?\Z"),
    st.sampled_from(["get-weather", "math.sum", "名前", "a:b", "3d", "True", "<b>", "arguments", "name"]),
)
calls_drawn = st.lists(st.builds(ToolCall, names, st.dictionaries(names, values, max_size=3)), max_size=3)


@st.composite
def turns(draw: st.DrawFn, dialect: Dialect) -> str:
    """A well-formed turn, with a think part or prose where the dialect allows them."""
    text = dialect.render(draw(calls_drawn))
    think = draw(st.sampled_from(["", "", "<think>hm [f(</think>\n", "  <think>\n</think>"]))
    if dialect is LLAMA3 and text:
        text = draw(st.sampled_from(["", "<|python_tag|>", "<|python_tag|>\n"])) + text
    if dialect is HERMES:
        text = draw(st.sampled_from(["", "Sure < [\n"])) + text + draw(st.sampled_from(["", "\n", "\nDone <tool_"]))
    return think + text


@st.composite
def mutants(draw: st.DrawFn, dialect: Dialect) -> str:
    """A turn with up to three slices replaced by characters or fragments that matter to the reader."""
    text = draw(turns(dialect))
    fragments = st.one_of(
        st.sampled_from([*"[](){},:;='\"\\ \n<>|-+.0eEuxN_1", *FRAGMENTS, THINK_OPEN, "\ud800", "NaN"]),
        st.text(st.characters(), max_size=3),
        st.just(""),
    )
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.integers(0, 4)))
        text = text[:start] + draw(fragments) + text[stop:]
    return text


def typed(calls: tuple[ToolCall, ...] | list[ToolCall]) -> str:
    """Tells 1 from 1.0 and True, and -0.0 from 0.0, which == does not."""
    return json.dumps([[call.name, call.arguments] for call in calls])


def assert_prefix_agrees(dialect: Dialect, prefix: str, text: str) -> None:
    early, late = dialect.scan(prefix), dialect.scan(text)
    assert late.marks[: len(early.marks)] == early.marks
    assert all(mark.end >= len(prefix) for mark in late.marks[len(early.marks) :])
    assert [mark.end for mark in late.marks] == sorted(mark.end for mark in late.marks)
    assert typed(late.partial.calls).startswith(typed(early.partial.calls)[:-1])
    assert late.partial.content.startswith(early.partial.content)
    if early.partial.error:
        assert (early.marks, early.partial.error) == (late.marks, late.partial.error)


def lines_of_reading(dialect: Dialect, text: str) -> int:
    return lines_run(lambda: parse(dialect, text))


@in_each
@given(data=st.data())
@drawn
def test_what_is_rendered_is_read_back(dialect: Dialect, data: st.DataObject) -> None:
    calls = data.draw(calls_drawn)
    think = data.draw(st.sampled_from(["", "<think>\n\n</think>\n\n", "<think>f? [g()] {</think>"]))
    turn = parse(dialect, think + dialect.render(calls))
    assert (turn.error, turn.content) == ("", "")
    assert typed(turn.calls) == typed(calls)


@in_each
@given(data=st.data())
@drawn
def test_what_a_prefix_settles_stays_settled(dialect: Dialect, data: st.DataObject) -> None:
    text = data.draw(turns(dialect))
    assert dialect.scan(text).partial.error == ""
    for end in data.draw(st.lists(st.integers(0, len(text)), min_size=1, max_size=10)):
        assert_prefix_agrees(dialect, text[:end], text)


@in_each
@given(data=st.data())
@drawn
def test_a_mutated_turn_is_read_without_exception_and_what_its_prefixes_settle_stays(
    dialect: Dialect, data: st.DataObject
) -> None:
    text = data.draw(mutants(dialect))
    turn = parse(dialect, text)
    assert not (turn.error and turn.calls)
    for end in data.draw(st.lists(st.integers(0, len(text)), min_size=1, max_size=10)):
        assert_prefix_agrees(dialect, text[:end], text)


@in_each
@given(text=st.text(st.characters(), max_size=60))
@drawn
def test_any_text_is_a_turn(dialect: Dialect, text: str) -> None:
    parse(dialect, text)
    parse(dialect, dialect.render([ToolCall("f", {"a": 1})])[:-14] + text)


@in_each
def test_every_prefix_of_a_long_turn_agrees_with_it(dialect: Dialect) -> None:
    arguments = {"a": -1.5e300, "b": [True, None, {"k": 'it\'s "so" \\ é\n'}], "c": 10**30, "d": "", "e": False}
    calls = [ToolCall("get-it", arguments), ToolCall("m.f", {}), ToolCall("g", {"x": {}})]
    text = f"<think>so</think>{dialect.render(calls)}"
    for end in range(len(text)):
        assert_prefix_agrees(dialect, text[:end], text)
    assert [mark.kind for mark in dialect.scan(text).marks] == (
        ["think", "name", *["argument"] * 5, "call", "name", "call", "name", "argument", "call"]
        + ["end"] * (dialect in (MISTRAL, PYTHONIC))
    )


@in_each
def test_no_calls_are_written_as_nothing(dialect: Dialect) -> None:
    assert dialect.render([]) == ""
    assert parse(dialect, "") == Turn("")


@in_each
def test_the_work_of_reading_grows_with_the_length_and_not_with_its_square(dialect: Dialect) -> None:
    opening = dialect.render([ToolCall("f", {"a": [1]})]).split("1")[0]
    units = ["1,", "'", '"",', '"\\n",', "[", "[],", '[{"a":', "1", " ", "<", "<tool_call>", "f(),", "null,", "\\"]
    units += ["[TOOL_CALLS]", "<|python_tag|>", "{", '{"name":', '{"name": "f"}, ', '{"name": "f"}; ']
    for text in [(start + unit * 4000)[:4000] for unit in units for start in ("", "[", opening)]:
        assert lines_of_reading(dialect, text) < 2.5 * lines_of_reading(dialect, text[:2000]) + 1000, text[:60]


@in_each
def test_no_search_in_a_long_text_begins_again_at_every_character(dialect: Dialect) -> None:
    """Regular expressions run no line of Python: such a search over 100,000 characters is a hang of minutes."""
    for unit in (" ", "\n", "<", "<think>", "a", "[", "\\"):
        began = time.process_time()
        parse(dialect, unit * (100_000 // len(unit)))
        assert time.process_time() - began < 20, unit


@in_each
def test_a_think_part_at_the_beginning_is_neither_content_nor_calls(dialect: Dialect) -> None:
    think = "\n<think>\nPerhaps [g()] or <tool_call>?\n</think>"
    text = f"{think}\n\n{dialect.render([F])}"
    thought = "\nPerhaps [g()] or <tool_call>?\n"
    assert parse(dialect, text) == Turn("", (F,), thought=thought)
    assert dialect.scan(text).marks[0] == Mark(len(think), "think")
    assert parse(dialect, f"{think}\nNo.") == Turn("No.", thought=thought)
    assert parse(dialect, "<think>so on").thought is None, "it is not closed"
    assert parse(dialect, "No <think>.</think>") == Turn("No <think>.</think>")


@in_each
def test_plain_messages_hold_only_text_of_three_roles(dialect: Dialect) -> None:
    messages = (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {"a": 1}}]},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "Again.", "tool_calls": [{"name": "g", "arguments": {}}]},
        {"role": "tool", "content": "3"},
        {"role": "user", "content": "Thanks."},
        {"role": "assistant", "content": "Bye."},
    )
    assert plain_messages(dialect, Prompt(messages, (TOOL,))) == [
        {"role": "system", "content": "Be brief.\n\n" + dialect.system([TOOL])},
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": dialect.render([F])},
        {"role": "user", "content": f"{dialect.observation('1')}\n{dialect.observation('2')}"},
        {"role": "assistant", "content": "Again.\n" + dialect.render([G])},
        {"role": "user", "content": dialect.observation("3")},
        {"role": "user", "content": "Thanks."},
        {"role": "assistant", "content": "Bye."},
    ]


@in_each
def test_the_system_text_appears_only_with_tools_and_shows_each_on_a_line(dialect: Dialect) -> None:
    user = {"role": "user", "content": "Hi."}
    assert plain_messages(dialect, Prompt((user,), ())) == [user]
    system, _ = plain_messages(dialect, Prompt((user,), (TOOL, TOOL)))
    assert f"<tools>\n{describe_tools([TOOL, TOOL])}\n</tools>" in system["content"]


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ValueError, match="'developer'"):
        plain_messages(HERMES, Prompt(({"role": "developer", "content": ""},), ()))
