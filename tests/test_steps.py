"""Cutting turns into steps: nothing is lost, a prefix is cut as the whole is, and characters may span tokens."""

from __future__ import annotations

from typing import Any

import pytest
from toys import PARIS, ROME, TOOLS, call

from iterft.chat import Dialect
from iterft.config import ModelSettings
from iterft.dialects.hermes import HERMES
from iterft.dialects.llama3 import LLAMA3
from iterft.dialects.mistral import MISTRAL
from iterft.dialects.pythonic import PYTHONIC
from iterft.log import Log
from iterft.models import load_tokenizer, resolve
from iterft.search.steps import Span, cut
from iterft.template import Template
from iterft.tokens import _each_beginning, encode_turn, render_prompt, token_texts
from iterft.types import Prompt

SPOKEN = [HERMES, LLAMA3, MISTRAL, PYTHONIC]
DIALECTS = pytest.mark.parametrize("dialect", SPOKEN, ids=[dialect.name for dialect in SPOKEN])
STEPS = pytest.mark.parametrize("step", ["turn", "call", "argument"])
CALLS = [PARIS, call("book", city="Zürich 日本 😀", seats=2), ROME]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(resolve(ModelSettings(base="random:llama"), Log(quiet=True)))


def texts_of(spans: list[Span], pieces: list[str]) -> list[tuple[str, str]]:
    return [(span.kind, "".join(pieces[span.start : span.stop])) for span in spans]


@DIALECTS
@STEPS
def test_spans_follow_each_other_and_cover_the_turn(tokenizer: Any, dialect: Dialect, step: str) -> None:
    ids = encode_turn(tokenizer, dialect.render(CALLS))
    spans = cut(dialect, step, token_texts(tokenizer, ids), "stop")
    assert [token for span in spans for token in ids[span.start : span.stop]] == list(ids)
    assert all(span.start < span.stop for span in spans)
    assert len(spans) >= {"turn": 1, "call": 3, "argument": 7}[step]


@DIALECTS
@STEPS
def test_spans_from_a_boundary_on_are_those_of_the_whole(tokenizer: Any, dialect: Dialect, step: str) -> None:
    pieces = token_texts(tokenizer, encode_turn(tokenizer, dialect.render(CALLS)))
    whole = cut(dialect, step, pieces, "stop")
    for at, span in enumerate(whole):
        assert cut(dialect, step, pieces, "stop", begin=span.start) == whole[at:]


@DIALECTS
@STEPS
@pytest.mark.parametrize("by", ["token", "character"])
def test_spans_of_a_prefix_are_spans_of_the_whole(tokenizer: Any, dialect: Dialect, step: str, by: str) -> None:
    text = dialect.render(CALLS)
    pieces = [*text, ""] if by == "character" else token_texts(tokenizer, encode_turn(tokenizer, text))
    whole = cut(dialect, step, pieces, "stop")
    for length in range(1, len(pieces)):
        spans = cut(dialect, step, pieces[:length], "length")
        assert spans[:-1] == whole[: len(spans) - 1]
        assert spans[-1].partial.error


def test_a_hermes_turn_is_cut_at_names_values_and_calls() -> None:
    text = HERMES.render([PARIS])
    assert texts_of(cut(HERMES, "argument", [*text, ""], "stop"), [*text, ""]) == [
        ("name", '<tool_call>\n{"name": "weather"'),
        ("argument", ', "arguments": {"city": "Paris"'),
        ("argument", ', "days": 3}'),
        ("call", "}\n</tool_call>"),
        ("turn", ""),
    ]
    text = HERMES.render([PARIS, ROME])
    assert [kind for kind, _ in texts_of(cut(HERMES, "call", [*text, ""], "stop"), [*text, ""])] == [
        "call",
        "call",
        "turn",
    ]
    assert texts_of(cut(HERMES, "turn", [*text, ""], "stop"), [*text, ""]) == [("turn", text)]


def test_a_pythonic_turn_is_cut_at_names_values_and_calls() -> None:
    text = PYTHONIC.render([call("f", a="x", b="y"), call("g")])
    assert texts_of(cut(PYTHONIC, "argument", [*text, ""], "stop"), [*text, ""]) == [
        ("name", "[f("),
        ("argument", "a='x'"),
        ("argument", ", b='y'"),
        ("call", ")"),
        ("name", ", g("),
        ("call", ")"),
        ("end", "]"),
        ("turn", ""),
    ]


@DIALECTS
def test_a_number_is_settled_within_its_own_step(dialect: Dialect) -> None:
    """A step boundary right behind the last digit would leave open whether more digits follow."""
    text = dialect.render([PARIS, ROME])
    for span in cut(dialect, "argument", [*text, ""], "stop"):
        if text[: span.stop].rstrip(",)} ").endswith("3") and span.kind == "argument":
            assert span.partial.open_arguments == {"city": "Paris", "days": 3}


@DIALECTS
def test_what_is_settled_behind_a_step_is_what_its_prefix_says(tokenizer: Any, dialect: Dialect) -> None:
    pieces = token_texts(tokenizer, encode_turn(tokenizer, dialect.render(CALLS)))
    spans = cut(dialect, "argument", pieces, "stop")
    for span in spans[:-1]:
        assert span.partial == dialect.scan("".join(pieces[: span.stop])).partial
    assert spans[-1].partial.finished and len(spans[-1].partial.calls) == 3


def test_prose_is_one_step_where_calls_may_follow_it() -> None:
    pieces = [*"I cannot do that.", ""]
    (span,) = cut(HERMES, "argument", pieces, "stop")
    assert (span.kind, span.start, span.stop, span.partial.content) == ("turn", 0, len(pieces), "I cannot do that.")


def test_prose_that_rules_out_calls_is_cut_where_it_does() -> None:
    pieces = ["[one", "] I", " can", "not."]
    assert texts_of(cut(PYTHONIC, "argument", pieces, "stop"), pieces) == [("prose", "[one] I"), ("turn", " cannot.")]


def test_a_turn_that_ran_out_of_tokens_is_an_error_of_its_last_step() -> None:
    pieces = [*HERMES.render([PARIS])[:60]]
    *first, last = cut(HERMES, "argument", pieces, "length")
    assert first and not any(span.partial.error for span in first)
    assert "token budget" in last.partial.error


@pytest.mark.parametrize(
    "text", ["plain words", "Zürich 日本 😀😀", "one 😀 two 日本語", "naïve — “quotes” 🇨🇭", "\ufffd odd \ufffd", "é"]
)
def test_token_texts_join_to_the_decoded_whole(tokenizer: Any, text: str) -> None:
    ids = encode_turn(tokenizer, text)
    pieces = token_texts(tokenizer, ids)
    assert len(pieces) == len(ids)
    assert pieces[-1] == ""
    assert "".join(pieces) == text
    assert pieces[:-1] == _each_beginning(tokenizer, ids[:-1]), "what is quick says the same"


def test_whatever_ends_a_turn_says_nothing(tokenizer: Any) -> None:
    other = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    ids = (*encode_turn(tokenizer, "No.")[:-1], other)
    assert "".join(token_texts(tokenizer, ids)) == "No.<|endoftext|>"
    assert token_texts(tokenizer, ids, {other})[-1] == "" and "".join(token_texts(tokenizer, ids, {other})) == "No."


def test_a_character_over_several_tokens_belongs_to_the_last_of_them(tokenizer: Any) -> None:
    ids = encode_turn(tokenizer, "a😀b")
    pieces = token_texts(tokenizer, ids)
    assert len(ids) > 4, "the emoji is to be several tokens"
    assert [piece for piece in pieces if piece] == ["a", "😀", "b"]
    assert pieces.index("😀") == len(ids) - 3


def test_a_character_that_is_never_finished_is_the_last_tokens(tokenizer: Any) -> None:
    ids = encode_turn(tokenizer, "a😀")[:-2]
    assert "".join(token_texts(tokenizer, ids)) == tokenizer.decode(ids)
    assert token_texts(tokenizer, ids)[0] == "a"


def test_a_prompt_ends_where_the_turn_begins(tokenizer: Any) -> None:
    prompt = Prompt(({"role": "user", "content": "Weather in Zürich?"},), TOOLS)
    text = tokenizer.decode(render_prompt(Template(tokenizer, HERMES), prompt))
    assert text.endswith("<|im_start|>assistant\n")
    assert "Weather in Zürich?" in text and "weather" in text.split("<|im_end|>")[0]


def test_an_encoded_turn_ends_with_one_stop_token(tokenizer: Any) -> None:
    ids = encode_turn(tokenizer, HERMES.render([PARIS]))
    assert ids.count(tokenizer.eos_token_id) == 1 and ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids[:-1]) == HERMES.render([PARIS])
