"""The grammars of the dialects, compiled: what is rendered gets through, what gets through is well-formed and fits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import jsonschema
import pytest
from toys import TOOLS, call, tool

from iterft.build import DIALECTS
from iterft.chat import Dialect, parse, think_part
from iterft.dialects.grammar import MAX_FREE_ORDER
from iterft.dialects.hermes import HERMES
from iterft.dialects.pythonic import PYTHONIC
from iterft.engine.constrained import Grammars
from iterft.envs.recorded import RecordedEnvironment
from iterft.rewards.call_match import CallMatch
from iterft.rollout import World, reference_text
from iterft.synth.tasks import generate
from iterft.tokens import encode_turn
from iterft.types import Prompt, Sample, Tool, ToolCall, Turn

pytest.importorskip("xgrammar", reason="xgrammar is not installed (the extra grammar)")

EVERY_DIALECT = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
ODD = (
    "a",
    "it's",
    'say "x"',
    "both ' and \"",
    "back\\slash\\",
    "line\nbreak\ttab\r",
    "Zürich 北京 🙂",
    "\x01\x7f\x85",
    "",
)
OPENING = {"hermes": "<tool_call>\n", "llama3": "{", "mistral": "[TOOL_CALLS] [", "pythonic": "["}


@pytest.fixture(scope="module")
def grammars(tokenizer: Any) -> Grammars:
    return Grammars(tokenizer, len(tokenizer), tokenizer.eos_token_id)


def is_accepted(grammars: Grammars, tokenizer: Any, dialect: Dialect, tools: Sequence[Tool], text: str) -> bool:
    """Whether the grammar lets the turn be written token by token, the stop token behind it."""
    try:
        grammars.matcher(dialect.grammar(tools), encode_turn(tokenizer, text))
    except ValueError:
        return False
    return True


@EVERY_DIALECT
@pytest.mark.parametrize("thinks", [False, True])
def test_every_reference_of_the_built_in_tasks_gets_through(
    grammars: Grammars, tokenizer: Any, dialect: Dialect, thinks: bool
) -> None:
    dialect = replace(dialect, thinks=thinks)
    for sample in [*generate(24, 0, "train"), *generate(12, 0, "held_out")]:
        text = reference_text(dialect, sample)
        assert is_accepted(grammars, tokenizer, dialect, sample.prompt.tools, text), text


@EVERY_DIALECT
def test_calls_of_any_tools_get_through_as_they_are_rendered(
    grammars: Grammars, tokenizer: Any, dialect: Dialect
) -> None:
    draw = Random(dialect.name)
    for _ in range(30):
        tools = [tool_of(draw, f"tool-{n}.é") for n in range(draw.randint(1, 3))]
        calls = [call_of(draw, draw.choice(tools)) for _ in range(draw.randint(0, 3))]
        text = dialect.render(calls)
        assert is_accepted(grammars, tokenizer, dialect, tools, text), (text, tools)


@pytest.mark.slow
@EVERY_DIALECT
def test_what_the_grammar_lets_a_random_writer_write_is_well_formed_and_fits_the_tools(
    grammars: Grammars, tokenizer: Any, dialect: Dialect
) -> None:
    draw = Random(dialect.name)
    samples = generate(30, 1, "train")
    num_calls = 0
    for number in range(60):
        tools = samples[number // 2].prompt.tools if number % 2 else [tool_of(draw, "f", free=False)]
        text, is_whole = scribble(grammars, tokenizer, dialect.grammar(tools), draw, OPENING[dialect.name])
        partial = dialect.scan(text.rstrip("\ufffd")).partial
        assert not partial.error, (partial.error, text)
        turn = parse(dialect, text)
        assert not (is_whole and turn.error), (turn.error, text)
        for one in turn.calls:
            assert fault_of(one, tools) == "", (one, tools)
        num_calls += len(turn.calls)
    assert num_calls > 20


@EVERY_DIALECT
def test_near_misses_do_not_get_through(grammars: Grammars, tokenizer: Any, dialect: Dialect) -> None:
    tools = (
        *TOOLS,
        {
            "name": "paint",
            "parameters": {
                "type": "object",
                "properties": {
                    "colour": {"type": "string", "enum": ["red", "blue"]},
                    "tones": {"type": "array", "items": {"type": "integer"}},
                    "frame": {"type": "object", "properties": {"w": {"type": "number"}}, "required": ["w"]},
                },
                "required": ["colour"],
            },
        },
    )
    right = [
        call("weather", city="Paris", days=3),
        call("weather", days=3, city="Paris"),
        call("paint", colour="red"),
        call("paint", colour="blue", tones=[1, 2], frame={"w": 1}),
        call("paint", frame={"w": -1.5e-7}, tones=[], colour="blue"),
    ]
    wrong = [
        call("wether", city="Paris", days=3),
        call("weather", city="Paris"),
        call("weather", town="Paris", days=3),
        call("weather", city="Paris", days=3, seats=1),
        call("weather", city="Paris", days=3.0),
        call("weather", city="Paris", days="3"),
        call("weather", city=3, days=3),
        call("weather", city=None, days=3),
        call("paint", colour="green"),
        call("paint"),
        call("paint", colour="red", tones=[1, 2.5]),
        call("paint", colour="red", tones=3),
        call("paint", colour="red", frame={}),
        call("paint", colour="red", frame={"w": 1, "h": 2}),
        call("paint", colour="red", frame={"w": True}),
    ]
    for one in right:
        assert is_accepted(grammars, tokenizer, dialect, tools, dialect.render([one])), one
        assert is_accepted(grammars, tokenizer, dialect, tools, dialect.render([right[0], one, one])), one
    for one in wrong:
        assert not is_accepted(grammars, tokenizer, dialect, tools, dialect.render([one])), one
        assert not is_accepted(grammars, tokenizer, dialect, tools, dialect.render([right[0], one])), one
    for text in (dialect.render(right)[:-1], think_part("so")[:-9], "  " + dialect.render(right[:1])[:-1]):
        assert not is_accepted(grammars, tokenizer, dialect, tools, text), text


@EVERY_DIALECT
def test_prose_gets_through_and_without_tools_nothing_but_prose(
    grammars: Grammars, tokenizer: Any, dialect: Dialect
) -> None:
    written = dialect.render([call("weather", city="Paris", days=3)])
    for tools in (TOOLS, ()):
        for text in ("", "Where to? a < b, {1}, [2](x).", f"\n {think_part('Which <city>?')}Where to?"):
            assert is_accepted(grammars, tokenizer, dialect, tools, text), text
        assert is_accepted(grammars, tokenizer, dialect, tools, written) == bool(tools)
        assert is_accepted(grammars, tokenizer, dialect, tools, think_part("Paris.") + written) == bool(tools)


def test_hermes_calls_may_stand_between_words(grammars: Grammars, tokenizer: Any) -> None:
    written = HERMES.render([call("weather", city="Paris", days=3)])
    assert is_accepted(grammars, tokenizer, HERMES, TOOLS, f"I <b>look</b>.\n{written} and {written}\nDone <tool")
    assert not is_accepted(grammars, tokenizer, HERMES, TOOLS, f"{written}\n</tool_call>")
    assert not is_accepted(grammars, tokenizer, HERMES, TOOLS, f"{written}\n<tool_call>\n")


def test_pythonic_leaves_out_what_it_cannot_write(grammars: Grammars, tokenizer: Any) -> None:
    optional = {"name": "f", "parameters": {"properties": {"a b": {"type": "string"}, "c": {"type": "integer"}}}}
    needed = {"name": "g", "parameters": {**optional["parameters"], "required": ["a b"]}}
    tools = [optional, needed, tool("h i", city="string")]
    assert is_accepted(grammars, tokenizer, PYTHONIC, tools, "[f(c=1), f()]")
    for text in ("[f(a b='x')]", "[g(c=1)]", "[g()]", "[h i(city='x')]"):
        assert not is_accepted(grammars, tokenizer, PYTHONIC, tools, text)
    assert not is_accepted(grammars, tokenizer, PYTHONIC, tools[1:], "[g()]")


@EVERY_DIALECT
def test_many_parameters_come_in_the_order_of_the_schema(grammars: Grammars, tokenizer: Any, dialect: Dialect) -> None:
    names = [f"p{n}" for n in range(MAX_FREE_ORDER + 1)]
    properties = {name: {"type": "integer"} for name in names}
    many = {"name": "f", "parameters": {"type": "object", "properties": properties, "required": names[1:3]}}

    def is_right(*given: int) -> bool:
        written = dialect.render([ToolCall("f", {f"p{n}": 1 for n in given})])
        return is_accepted(grammars, tokenizer, dialect, [many], written)

    assert is_right(1, 2) and is_right(0, 1, 2) and is_right(1, 2, 5) and is_right(*range(len(names)))
    assert not (is_right(2, 1) or is_right(0, 1) or is_right(2, 5) or is_right())


@EVERY_DIALECT
def test_schemas_that_say_little_or_speak_bfcl_are_taken_for_what_they_say(
    grammars: Grammars, tokenizer: Any, dialect: Dialect
) -> None:
    def is_right(schema: object, value: Any) -> bool:
        one = {"name": "f", "parameters": {"type": "dict", "properties": {"x": schema}, "required": ["x"]}}
        return is_accepted(grammars, tokenizer, dialect, [one], dialect.render([call("f", x=value)]))

    anything = [1, 1.5, "a", True, None, [], {}, [{"a": [1]}, "b"], {"k": {"l": None}}]
    for schema in ({}, {"type": "any"}, {"$ref": "#/x"}, True, {"enum": []}, {"type": "strange"}):
        assert all(is_right(schema, value) for value in anything), schema
    assert [is_right({"type": "float"}, value) for value in anything] == [True] * 2 + [False] * 7
    for schema in ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"const": None}]}):
        assert [is_right(schema, value) for value in anything[:6]] == [False, False, True, False, True, False]
    assert is_right({"type": "dict"}, {"k": 1, "l": "m"}) and not is_right({"type": "dict"}, [1])
    assert is_right({"type": "tuple", "items": {"type": "float"}}, [1, 2.5]) and not is_right({"type": "tuple"}, 1)
    of_numbers = {"type": "object", "additionalProperties": {"type": "number"}}
    assert is_right(of_numbers, {"k": 1, "l": 2.5}) and not is_right(of_numbers, {"k": "1"})
    for schema in ({"type": "object", "properties": {}}, {"type": "object", "properties": {}, "nullable": True}):
        assert is_right(schema, {}) and is_right(schema, {"k": 1, "l": {"m": [None]}}) and not is_right(schema, 1)
        assert is_right(schema, None) == ("nullable" in schema)
        assert is_right({**schema, **of_numbers}, {"k": 1}) and not is_right({**schema, **of_numbers}, {"k": "1"})
    for schema in ({"type": "object", "additionalProperties": False}, {"type": "object", "properties": {}}):
        schema = {**schema, "additionalProperties": False}
        assert is_right(schema, {}) and not is_right(schema, {"k": 1})
    for schema in ({"type": "string"}, {"enum": ["a", "b"]}, {"anyOf": [{"type": "string"}]}, {"type": ["string"]}):
        schema = {**schema, "nullable": True}
        assert [is_right(schema, value) for value in anything[:6]] == [False, False, True, False, True, False]
    assert is_right({"enum": [*ODD, 5, None]}, 5) and all(is_right({"enum": [*ODD, 5]}, value) for value in ODD)
    assert all(is_right({"type": "number"}, value) for value in (0, -0.0, 1e22, 5e-324, 9.9e307, 10**60, 1.25e-5))


def test_a_grammar_is_compiled_once(grammars: Grammars) -> None:
    grammars.matcher(HERMES.grammar(TOOLS), ())
    size = grammars.compiler.get_cache_size_bytes()
    assert size > 0
    grammars.matcher(HERMES.grammar([dict(one) for one in TOOLS]), ())
    assert grammars.compiler.get_cache_size_bytes() == size
    grammars.matcher(HERMES.grammar(TOOLS[:1]), ())
    assert grammars.compiler.get_cache_size_bytes() > size


def scribble(grammars: Grammars, tokenizer: Any, grammar: str, draw: Random, opening: str) -> tuple[str, bool]:
    """(a turn that begins with `opening` and goes on at random, whether it has ended); closing is preferred at times,
    or strings would fill all of it."""
    from xgrammar import allocate_token_bitmask

    ids = list(tokenizer(opening, add_special_tokens=False).input_ids)
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    closing = [token for token, text in enumerate(texts) if text and not text.strip("\"'}]), 0")]
    matcher = grammars.matcher(grammar, ids)
    bits = allocate_token_bitmask(1, len(tokenizer))
    for _ in range(250):
        matcher.fill_next_token_bitmask(bits)
        words = bits[0].tolist()
        allowed = {token for token in range(len(tokenizer)) if words[token // 32] >> (token % 32) & 1}
        preferred = sorted(allowed.intersection([*closing, tokenizer.eos_token_id]))
        token = draw.choice(preferred if preferred and draw.random() < 0.4 else sorted(allowed))
        assert matcher.accept_token(token)
        if token == tokenizer.eos_token_id:
            return tokenizer.decode(ids), True
        ids.append(token)
    return tokenizer.decode(ids), False


def fault_of(one: ToolCall, tools: Sequence[Tool]) -> str:
    """What the verifier has against a call as the reference of itself, or the schema against its values."""
    accepted = ToolCall(one.name, {name: [accepted_form(value)] for name, value in one.arguments.items()})
    sample = Sample("s", Prompt(({"role": "user", "content": ""},), tuple(tools)), (accepted,))
    verdict = World(HERMES, RecordedEnvironment(), CallMatch()).judge(sample, Turn("", (one,)))
    if verdict.reason not in ("", "wrong_value"):  # a long integer given for a number is rounded before it is compared
        return verdict.reason
    schema = next(tool["parameters"] for tool in tools if tool["name"] == one.name)
    errors = jsonschema.Draft202012Validator(closed(schema)).iter_errors(dict(one.arguments))
    return next((str(error) for error in errors), "")


def accepted_form(value: Any) -> Any:
    """The value as an alternative in `Sample.answer`: objects hold lists of alternatives, one level deep."""
    if isinstance(value, dict):
        return {key: [inner] for key, inner in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [accepted_form(item) for item in value]
    return value


def closed(schema: Any) -> Any:
    """The schema with no keys but those it lists, if it lists any."""
    if isinstance(schema, Mapping):
        inner = {key: closed(value) for key, value in schema.items()}
        return {**inner, "additionalProperties": False} if schema.get("properties") else inner
    return schema


def tool_of(draw: Random, name: str, *, free: bool = True) -> Tool:
    """A tool with any kinds of parameters; `free`: some of which nothing is declared."""
    return {"name": name, "parameters": object_schema(draw, 3, free)}


def object_schema(draw: Random, depth: int, free: bool) -> dict[str, Any]:
    least = 0 if free or depth == 3 else 1  # an object inside that lists no keys is free
    names = draw.sample(["a", "ab", "a_b", "größe", "x-y", "type", "p.q"], draw.randint(least, 4))
    properties = {name: schema_of(draw, depth - 1, free) for name in names}
    return {"type": "object", "properties": properties, "required": [name for name in names if draw.random() < 0.5]}


def schema_of(draw: Random, depth: int, free: bool) -> dict[str, Any]:
    kinds = ["string", "integer", "number", "boolean", "enum", "several"] + ["object", "array"] * (depth > 0)
    match draw.choice(kinds + ["any"] * free):
        case "enum":
            return {"type": "string", "enum": draw.sample(ODD, 3)}
        case "several":
            return {"type": ["integer", "null"]}
        case "object":
            return object_schema(draw, depth, free)
        case "array":
            return {"type": "array", "items": schema_of(draw, depth - 1, free)}
        case "any":
            return {"description": "anything"}
        case kind:
            return {"type": kind}


def call_of(draw: Random, one: Tool) -> ToolCall:
    return ToolCall(one["name"], value_of(draw, one["parameters"]))


def value_of(draw: Random, schema: Mapping[str, Any]) -> Any:
    """A value that fits, keys in any order."""
    if "enum" in schema:
        return draw.choice(schema["enum"])
    match schema.get("type"):
        case "string":
            return "".join(draw.choices(ODD, k=draw.randint(0, 3)))
        case "integer":
            return draw.choice([0, -7, 12, 10**18])
        case "number":
            return draw.choice([0, 2.5, -1e-7, 1.5e300, 3])
        case "boolean":
            return draw.random() < 0.5
        case ["integer", "null"]:
            return draw.choice([None, 4])
        case "array":
            return [value_of(draw, schema["items"]) for _ in range(draw.randint(0, 3))]
        case "object":
            return dict(chosen_members(draw, schema))
        case _:
            return draw.choice([None, "x", [1, {"k": [True]}], {"'": {}, '"': -0.5}])


def chosen_members(draw: Random, schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    names = draw.sample(list(schema["properties"]), len(schema["properties"]))
    for name in names:
        if name in schema["required"] or draw.random() < 0.5:
            yield name, value_of(draw, schema["properties"][name])


def test_the_random_calls_of_these_tests_fit_their_tools() -> None:
    draw = Random(0)
    for _ in range(50):
        one = tool_of(draw, "f")
        assert fault_of(call_of(draw, one), [one]) == "", json.dumps(one)
