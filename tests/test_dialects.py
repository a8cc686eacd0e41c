"""What is particular to each dialect: how it looks, where its marks lie, what is malformed and what is half settled."""

import pytest

from iterft.chat import Dialect, Mark, parse
from iterft.dialects.hermes import HERMES
from iterft.dialects.llama3 import LLAMA3
from iterft.dialects.mistral import MISTRAL
from iterft.dialects.pythonic import PYTHONIC
from iterft.types import PartialTurn, ToolCall, Turn

F, G = ToolCall("f", {"a": 1}), ToolCall("g", {})


def test_the_dialects_look_as_their_models_know_them() -> None:
    calls = [ToolCall("get_weather", {"city": "Zürich", "days": 3}), ToolCall("f", {})]
    assert HERMES.render(calls) == (
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}\n</tool_call>\n'
        '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    )
    assert LLAMA3.render(calls) == (
        '{"name": "get_weather", "parameters": {"city": "Zürich", "days": 3}}; {"name": "f", "parameters": {}}'
    )
    assert MISTRAL.render(calls) == (
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}, '
        '{"name": "f", "arguments": {}}]'
    )
    assert PYTHONIC.render(calls) == "[get_weather(city='Zürich', days=3), f()]"


def test_marks_lie_at_the_ends_of_names_values_and_calls() -> None:
    text = '<tool_call>{"name": "f", "arguments": {"a": "x", "b": 12 }}</tool_call>'
    ends = [text.index('"f"') + 3, text.index('"x"') + 3, text.index("12") + 2, len(text)]
    kinds = ["name", "argument", "argument", "call"]
    assert HERMES.scan(text).marks == tuple(map(Mark, ends, kinds))
    text = '{"name": "f", "parameters": {"a": "x", "b": 12 }}'
    ends = [text.index('"f"') + 3, text.index('"x"') + 3, text.index("12") + 2, len(text)]
    assert LLAMA3.scan(text).marks == tuple(map(Mark, ends, kinds))
    text = '[TOOL_CALLS] [{"name": "f", "arguments": {"a": "x", "b": 12 }}]'
    ends = [text.index('"f"') + 3, text.index('"x"') + 3, text.index("12") + 2, text.index("}}") + 2, len(text)]
    assert MISTRAL.scan(text).marks == tuple(map(Mark, ends, [*kinds, "end"]))
    text = "[f(a='x', b=12 )]"
    ends = [text.index("(") + 1, text.index("'x'") + 3, text.index("12") + 2, text.index(")") + 1, len(text)]
    assert PYTHONIC.scan(text).marks == tuple(map(Mark, ends, [*kinds, "end"]))


PROSE = {
    PYTHONIC: {
        "I see.": "I",
        "[see it]": "[see i",
        "[see (it)": "[see (it)",
        "[see (it is)": "[see (it i",
        "[1, 2]": "[1,",
        "\n<there>": "\n<the",
        "[]": "[]",
    },
    LLAMA3: {
        "I see.": "I",
        "{}": "{}",
        '{"no": 1}': '{"no',
        '{ "names": []}': '{ "names',
        '{"name", 1}': '{"name",',
        '{"type": "circle", "name": "c"}': '{"type": "c',
        '{"type": "function"}': '{"type": "function"}',
        '{"type": "function", "function": {}}': '{"type": "function", "f',
        '{"parameter": {}}': '{"parameter"',
        "<|pytho>": "<|pytho>",
        "[f()]": "[",
    },
    MISTRAL: {
        "I see.": "I",
        "[TOOL]": "[TOOL]",
        "[TOOL_CALL] []": "[TOOL_CALL]",
        '{"name": "f"}': "{",
        "<thi>": "<thi>",
    },
}


@pytest.mark.parametrize(
    ("dialect", "text", "settled"),
    [(dialect, *item) for dialect, items in PROSE.items() for item in items.items()],
    ids=lambda argument: argument if isinstance(argument, str) else argument.name,
)
def test_prose_is_settled_by_its_first_character_that_begins_no_call(dialect: Dialect, text: str, settled: str) -> None:
    assert dialect.scan(text).marks == (Mark(len(settled), "prose"),)
    assert parse(dialect, text) == Turn(text.strip())
    for end in range(len(text) + 1):
        assert dialect.scan(text[:end]).partial.no_more_calls == (end >= len(settled))


def test_llama3_accepts_a_leading_tag_swapped_keys_missing_arguments_and_free_white_space() -> None:
    assert parse(LLAMA3, '<|python_tag|>{"name": "f", "parameters": {"a": 1}}').calls == (F,)
    assert parse(LLAMA3, '\n<|python_tag|> {"parameters":{"a":1},"name":"f"}\n;\n{"name" : "g"} ').calls == (F, G)
    assert parse(LLAMA3, '{ "parameters": {"a": 1}, "name": "f" };{"name": "g", "parameters": {}}').calls == (F, G)


TYPED = [
    '{"type": "function", "name": "f", "parameters": {"a": 1}}',
    ' { "type":"function" , "parameters": {"a": 1}, "name": "f"}',
    '{"name": "f", "type": "function", "parameters": {"a": 1}}',
    '{"parameters": {"a": 1}, "name": "f", "type": "function"}',
    '<|python_tag|>{"type": "function", "name": "f", "parameters": {"a": 1}}',
]


@pytest.mark.parametrize("text", TYPED)
def test_llama3_reads_the_type_that_its_models_write(text: str) -> None:
    assert parse(LLAMA3, text).calls == (F,)
    assert parse(LLAMA3, f'{text}; {{"type": "function", "name": "g"}}').calls == (F, G)
    assert_prefixes_agree(LLAMA3, text)


@pytest.mark.parametrize("text", ["[f (a=1)]", "[ f\n( a =1)]", "[f\t(a=1) ]"])
def test_pythonic_reads_blanks_between_a_name_and_its_bracket(text: str) -> None:
    assert parse(PYTHONIC, text).calls == (F,)
    assert parse(PYTHONIC, text.replace("]", ", g ()]")).calls == (F, G)
    for whole in (text, text.replace("]", ", g ()]"), "[g ()]", "[g ( ) ]", "[see (it)]", "[f (a b)]"):
        assert_prefixes_agree(PYTHONIC, whole)


def assert_prefixes_agree(dialect: Dialect, text: str) -> None:
    """What is settled of a prefix is settled of the text, in its place."""
    late = dialect.scan(text)
    for end in range(len(text)):
        early = dialect.scan(text[:end])
        assert late.marks[: len(early.marks)] == early.marks, text[:end]
        assert all(mark.end >= end for mark in late.marks[len(early.marks) :]), text[:end]
        assert late.partial.calls[: len(early.partial.calls)] == early.partial.calls
        assert late.partial.content.startswith(early.partial.content)
        assert not early.partial.error


def test_mistral_accepts_swapped_keys_missing_arguments_and_free_white_space() -> None:
    text = ' [TOOL_CALLS][{"arguments":{"a":1},"name":"f"}\n,{"name" : "g"} ]\n'
    assert parse(MISTRAL, text).calls == (F, G)


def test_hermes_accepts_swapped_keys_missing_arguments_and_free_white_space() -> None:
    expected = (ToolCall("f", {"a": 1}),)
    assert parse(HERMES, '<tool_call>{"arguments":{"a":1},"name":"f"}</tool_call>').calls == expected
    assert parse(HERMES, '<tool_call>\r\n\t{ "name" : "f" , "arguments" : { "a" : 1 } } </tool_call>').calls == expected
    assert parse(HERMES, '<tool_call>{"name": "f"}</tool_call>').calls == (ToolCall("f", {}),)


def test_hermes_keeps_the_prose_around_its_blocks() -> None:
    block = HERMES.render([ToolCall("f", {})])
    turn = parse(HERMES, f"Let me see.\n{block}\n1 < 2 <tool")
    assert turn == Turn("Let me see.\n\n1 < 2 <tool", (ToolCall("f", {}),))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("null", None),
        ("(1, 'a')", [1, "a"]),
        ("(1)", 1),
        ("(1,)", [1]),
        ("()", []),
        ("[1, ]", [1]),
        ("{'a': 1,}", {"a": 1}),
        ("+1_000", 1000),
        (".5", 0.5),
        ("1.", 1.0),
        (r"'\x41\u00e9\U0001F600\q\'\a'", "Aé😀\\q'\a"),
        ("'a\\\nb'", "ab"),
        ('"it\'s"', "it's"),
    ],
)
def test_pythonic_reads_python_literals(text: str, value: object) -> None:
    turn = parse(PYTHONIC, f"[f(a={text})]")
    assert turn.error == ""
    assert repr(turn.calls) == repr((ToolCall("f", {"a": value}),))


@pytest.mark.parametrize(
    "text", ["Hi.", "[", "[]", "[see (a)]", "[1, 2]", "[get_wea", "[link](http://x.y)", "f(a=1)", "[(f())]"]
)
def test_pythonic_takes_what_does_not_open_a_list_of_calls_for_prose(text: str) -> None:
    assert parse(PYTHONIC, f" {text}\n") == Turn(text)


def test_a_pythonic_name_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(ValueError, match="'my arg'"):
        PYTHONIC.render([ToolCall("f", {"my arg": 1})])


HERMES_FAULTS = {
    "<tool_call>f": "expected {",
    "<tool_call>\n<": "expected {",
    "<tool_call>[": "expected {",
    "<tool_call>{}": 'expected "arguments" or "name"',
    '<tool_call>{"p': 'expected "arguments" or "name"',
    '<tool_call>{"name": "f", "p': 'expected "arguments"',
    '<tool_call>{"name": "f", "n': 'expected "arguments"',
    '<tool_call>{"name": "f", "arguments": {},': "expected }",
    '<tool_call>{"name": ""': "empty tool name",
    '<tool_call>{"name": n': 'expected "',
    '<tool_call>{"name": "f",}': 'expected "arguments"',
    '<tool_call>{"arguments": {}}': "expected ,",
    '<tool_call>{"arguments": [': "expected {",
    '<tool_call>{"arguments": "': "expected {",
    '<tool_call>{"name": "f", "arguments": {"a": 1, "a"': "repeated key",
    '<tool_call>{"name": "f", "arguments": {"a": {"b": 1, "b"': "repeated key",
    '<tool_call>{"name": "f", "arguments": {"a": 1,}': "expected a quoted key",
    '<tool_call>{"name": "f", "arguments": {a': "expected a quoted key",
    '<tool_call>{"name": "f", "arguments": {"a" 1': "expected :",
    '<tool_call>{"name": "f", "arguments": {"a": N': "expected a value",
    '<tool_call>{"name": "f", "arguments": {"a": I': "expected a value",
    '<tool_call>{"name": "f", "arguments": {"a": T': "expected a value",
    '<tool_call>{"name": "f", "arguments": {"a": tru,': "expected a value",
    '<tool_call>{"name": "f", "arguments": {"a": \'': "expected a value",
    '<tool_call>{"name": "f", "arguments": {"a": [1,]': "expected a value",
    '<tool_call>{"name": "f", "arguments": {"a": 01': "expected a value",
    '<tool_call>{"name": "f", "arguments": {"a": 1.,': "expected a value",
    '<tool_call>{"name": "f", "arguments": {"a": .': "expected a value",
    '<tool_call>{"name": "f", "arguments": {"a": +': "expected a value",
    '<tool_call>{"name": "f", "arguments": {"a": 1e999,': "number too large",
    '<tool_call>{"name": "f", "arguments": {"a": ' + "1" * 5000 + ",": "too many digits",
    '<tool_call>{"name": "f", "arguments": {"a": ' + "[" * 66: "nested more than 64 deep",
    '<tool_call>{"name": "f", "arguments": {"a": "\n': "control character",
    '<tool_call>{"name": "f", "arguments": {"a": "\\x': "unknown escape",
    '<tool_call>{"name": "f", "arguments": {"a": "\\u00g': "4 hexadecimal digits",
    '<tool_call>{"name": "f", "arguments": {"a": "\\ud800"': "lone surrogate",
    '<tool_call>{"name": "f"}}': "expected </tool_call>",
    '<tool_call>{"name": "f"} x': "expected </tool_call>",
    '<tool_call>{"name": "f"}<t': "expected </tool_call>",
    "no call </tool_call>": "</tool_call> without <tool_call>",
}
PYTHONIC_FAULTS = {
    "[f(1)": "positional argument",
    "[f('": "the name of an argument",
    "[f(a)": "positional argument",
    "[f(**{": "positional argument",
    "[f(a==": "expected a value",
    "[f(a=1, a=": "repeated argument",
    "[f(a=1,)": "the name of an argument",
    "[f(a=1 b": "expected , or )",
    "[f(a=)": "expected a value",
    "[f(a=b": "expected a value",
    "[f(a=1+": "expected a value",
    "[f(a=0x": "expected a value",
    "[f(a=n)": "expected a value",
    "[f(a=i": "expected a value",
    "[f(a=g": "expected a value",
    "[f(a={1": "expected a quoted key",
    "[f(a={'b': 1, 'b'": "repeated key",
    "[f(a=[,": "expected a value",
    "[f(a='x' '": "expected , or )",
    "[f(a='\n": "control character",
    "[f(a='\\N": "octal or named escape",
    "[f(a='\\xg": "2 hexadecimal digits",
    "[f(a='\\U00110000": "escape of no character",
    "[f(a='\ud800'": "lone surrogate",
    "[f(a=" + "9" * 5000 + ",": "too many digits",
    "[f(a=" + "(" * 66: "nested more than 64 deep",
    "[f() g": "expected , or ]",
    "[f(),]": "the name of a tool",
    "[f(), g]": "expected (",
    "[f()] x": "expected nothing after",
}

LLAMA3_FAULTS = {
    "<|python_tag|>p": "expected {",
    "<|python_tag|><": "expected {",
    "<|python_tag|>{}": 'expected "name" or "parameters"',
    '{"name": "f", "a': 'expected "parameters"',
    '{"name": ""': "empty tool name",
    '{"name": 3': 'expected "',
    '{"name": "f", "type": "t': 'expected "function"',
    '{"type": "function", "name": "f", "t': 'expected "parameters"',
    '{"parameters": [': "expected {",
    '{"name": "f", "parameters": {"a": T': "expected a value",
    '{"name": "f"}}': "expected ;",
    '{"name": "f"} D': "expected ;",
    '{"name": "f"},': "expected ;",
    '{"name": "f"}; <': "expected {",
    '{"name": "f"};;': "expected {",
}
MISTRAL_FAULTS = {
    "[TOOL_CALLS] f": "expected [",
    "[TOOL_CALLS]{": "expected [",
    "[TOOL_CALLS] []": "expected {",
    '[TOOL_CALLS] ["': "expected {",
    "[TOOL_CALLS] [{}": 'expected "arguments" or "name"',
    '[TOOL_CALLS] [{"name": "f", "arguments": {},': "expected }",
    '[TOOL_CALLS] [{"name": "f", "i': 'expected "arguments"',
    '[TOOL_CALLS] [{"name": "f"};': "expected , or ]",
    '[TOOL_CALLS] [{"name": "f"},]': "expected {",
    '[TOOL_CALLS] [{"name": "f"}] x': "expected nothing after",
}
FAULTS = {HERMES: HERMES_FAULTS, LLAMA3: LLAMA3_FAULTS, MISTRAL: MISTRAL_FAULTS, PYTHONIC: PYTHONIC_FAULTS}


@pytest.mark.parametrize(
    ("dialect", "text", "fault"),
    [(dialect, *item) for dialect, items in FAULTS.items() for item in items.items()],
    ids=lambda argument: argument[:70] if isinstance(argument, str) else argument.name,
)
def test_malformed_text_is_an_error_from_its_first_wrong_character_on(dialect: Dialect, text: str, fault: str) -> None:
    scan = dialect.scan(text)
    assert fault in scan.partial.error
    assert parse(dialect, text + "}") == Turn(scan.partial.content.strip(), (), scan.partial.error)
    assert dialect.scan(text[:-1]).partial.error == ""


THINKING = {"<think>I would call": "inside its think part"}
OPEN_ENDS = {
    HERMES: {
        "<tool_call>": "inside a call",
        '<tool_call>{"name": "f"}': "inside a call",
        '<tool_call>{"name": "f"}</tool_call': "inside a call",
    },
    LLAMA3: {
        "<|python_tag|>": "inside a call",
        '{"name":': "inside a call",
        '{"name": "f", "parameters": {"a": 1}': "inside a call",
        '{"name": "f"}; ': "another call must follow",
    },
    MISTRAL: {
        "[TOOL_CALLS]": "before the list of calls is closed",
        "[TOOL_CALLS] [": "before the list of calls is closed",
        '[TOOL_CALLS] [{"name": "f", "arguments": {': "inside a call",
        '[TOOL_CALLS] [{"name": "f"}': "before the list of calls is closed",
        '[TOOL_CALLS] [{"name": "f"}, ': "another call must follow",
    },
    PYTHONIC: {
        "[f(": "inside a call",
        "[f(a=1,": "inside a call",
        "[f()": "before the list of calls is closed",
        "[f(), ": "another call must follow",
    },
}


@pytest.mark.parametrize(
    ("dialect", "text", "error"),
    [(dialect, *item) for dialect, items in OPEN_ENDS.items() for item in (items | THINKING).items()],
)
def test_a_turn_that_ends_with_something_open_is_malformed(dialect: Dialect, text: str, error: str) -> None:
    assert dialect.scan(text).partial.error == ""
    turn = parse(dialect, text)
    assert error in turn.error
    assert (turn.content, turn.calls) == ("", ())


HERMES_PARTIALS = {
    "<": PartialTurn(undecided="<"),
    "Hm <tool_c": PartialTurn(content="Hm ", undecided="<tool_c"),
    "<tool_call>": PartialTurn(in_call=True),
    '<tool_call>{"name": "f': PartialTurn(in_call=True),
    '<tool_call>{"name": "f"': PartialTurn(in_call=True, open_name="f"),
    '<tool_call>{"name": "f", ': PartialTurn(in_call=True, open_name="f"),
    '<tool_call>{"name": "f", "arguments": {"a": 1': PartialTurn(in_call=True, open_name="f"),
    '<tool_call>{"name": "f", "arguments": {"a": 1 ': PartialTurn(in_call=True, open_name="f", open_arguments={"a": 1}),
    '<tool_call>{"arguments": {"a": 1, "b": [2,': PartialTurn(
        in_call=True, open_arguments={"a": 1}, expects="argument"
    ),
    '<tool_call>{"arguments": {"a": 1, "b": []': PartialTurn(in_call=True, open_arguments={"a": 1, "b": []}),
    '<tool_call>{"arguments": {"a": 1}, "name": "f"}</tool_call>\n': PartialTurn(calls=(F,)),
}
PYTHONIC_PARTIALS = {
    " [": PartialTurn(undecided="["),
    "[get_wea": PartialTurn(undecided="[get_wea"),
    "[see ": PartialTurn(undecided="[see "),
    "[see i": PartialTurn(content="[see i", no_more_calls=True),
    "[f (a": PartialTurn(undecided="[f (a"),
    "[f (a=": PartialTurn(open_list=True, in_call=True, open_name="f"),
    "<thi": PartialTurn(undecided="<thi"),
    "[f(": PartialTurn(open_list=True, in_call=True, open_name="f"),
    "[f(a=1": PartialTurn(open_list=True, in_call=True, open_name="f"),
    "[f(a=1 ": PartialTurn(open_list=True, in_call=True, open_name="f", open_arguments={"a": 1}),
    "[f(a='x', b=2": PartialTurn(
        open_list=True, in_call=True, open_name="f", open_arguments={"a": "x"}, expects="argument"
    ),
    "[f(a=1)": PartialTurn(open_list=True, calls=(F,)),
    "[f(a=1), g": PartialTurn(open_list=True, calls=(F,), expects="call"),
    "[f(a=1), g(": PartialTurn(open_list=True, calls=(F,), in_call=True, open_name="g"),
    "[f(a=1), g()]": PartialTurn(calls=(F, G), no_more_calls=True),
    "[f(a=1), g()]\n": PartialTurn(calls=(F, G), no_more_calls=True),
}

LLAMA3_PARTIALS = {
    " {": PartialTurn(undecided="{"),
    "<|python_": PartialTurn(undecided="<|python_"),
    '{ "parameters" ': PartialTurn(undecided='{ "parameters" '),
    '{"na': PartialTurn(undecided='{"na'),
    '{"no': PartialTurn(content='{"no', no_more_calls=True),
    "<|python_tag|>": PartialTurn(in_call=True),
    '{"name":': PartialTurn(in_call=True),
    '{"name": "f"': PartialTurn(in_call=True, open_name="f"),
    '{"name": "f", "parameters": {"a": 1, ': PartialTurn(
        in_call=True, open_name="f", open_arguments={"a": 1}, expects="argument"
    ),
    '{"name": "f", "parameters": {"a": 1}}': PartialTurn(calls=(F,)),
    '{"name": "f", "parameters": {"a": 1}};': PartialTurn(calls=(F,), expects="call"),
    '{"name": "f", "parameters": {"a": 1}}; {"name': PartialTurn(calls=(F,), in_call=True),
    '{"name": "f", "parameters": {"a": 1}}; {"name": "g"}\n': PartialTurn(calls=(F, G)),
}
MISTRAL_PARTIALS = {
    " [TOOL_": PartialTurn(undecided="[TOOL_"),
    "[TOOL ": PartialTurn(content="[TOOL ", no_more_calls=True),
    "[TOOL_CALLS]": PartialTurn(open_list=True),
    "[TOOL_CALLS] [{": PartialTurn(open_list=True, in_call=True),
    '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}': PartialTurn(
        open_list=True, in_call=True, open_name="f", open_arguments={"a": 1}
    ),
    '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}': PartialTurn(open_list=True, calls=(F,)),
    '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}, ': PartialTurn(open_list=True, calls=(F,), expects="call"),
    '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}, {"name": "g"}]': PartialTurn(calls=(F, G), no_more_calls=True),
}
PARTIALS = {HERMES: HERMES_PARTIALS, LLAMA3: LLAMA3_PARTIALS, MISTRAL: MISTRAL_PARTIALS, PYTHONIC: PYTHONIC_PARTIALS}


@pytest.mark.parametrize(
    ("dialect", "text", "partial"),
    [(dialect, *item) for dialect, items in PARTIALS.items() for item in items.items()],
)
def test_a_prefix_says_what_is_settled(dialect: Dialect, text: str, partial: PartialTurn) -> None:
    assert dialect.scan(text).partial == partial
