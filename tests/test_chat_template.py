"""The chat template of an exported model shows what the policy was shown, whatever the dialect and the base."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from forms import CONVERSATIONS
from hypothesis import given
from hypothesis import strategies as st
from test_chat import calls_drawn, drawn, texts, values
from test_template import LISTED, OWN, SHIPPED, SIMPLE, THINKING, own, shipped

from iterft.build import DIALECTS
from iterft.chat import Dialect
from iterft.chat_template import chat_template_of, shown
from iterft.config import ModelSettings
from iterft.dialects.hermes import HERMES
from iterft.dialects.llama3 import LLAMA3
from iterft.dialects.mistral import MISTRAL
from iterft.dialects.pythonic import PYTHONIC
from iterft.log import Log
from iterft.template import Template, choose_template, prompt_text, writes_several_calls
from iterft.tiny import train_tokenizer
from iterft.types import Message, Prompt, ToolCall

BLANK_FIRST = "\n  {% for message in messages %}{{ message.role + ': ' + message.content + '\n' }}{% endfor %}me:"
"""A template that begins with what Jinja could strip, and has no system message of its own."""
SOFTLY = "{{ 'softly ' if softly else 'loudly ' }}" + BLANK_FIRST
BASES = {
    "chatml": "",
    "blank first": BLANK_FIRST,
    "llama3_1": (SHIPPED / "llama3_1.jinja").read_text(encoding="utf-8"),
    "shows the day": (SHIPPED / "llama3_2.jinja").read_text(encoding="utf-8"),
}
PROMPTS = [
    Prompt(conversation.messages[:at], conversation.tools)
    for conversation in CONVERSATIONS
    for at, message in enumerate(conversation.messages)
    if at and message["role"] == "assistant"
]
ODD = (
    {"name": "bare"},
    {"name": "none", "description": None, "parameters": None},
    {"name": "empty", "description": " two\n  lines\u2028 ", "parameters": {}},
    {
        "name": "loose",
        "parameters": {
            "required": ["items", "get"],
            "properties": {
                "x": {},
                "y": True,
                "items": {"type": ["string", "null"], "default": None, "format": "<a>"},
                "get": {"type": None, "enum": "no list", "minimum": -0.5, "description": None},
                "keys": {"enum": ["Zürich", 1, None, {"a": [True]}], "items": {"type": "string"}},
                "grid": {"type": "array", "items": {"type": "array", "items": {"enum": ["a", "b"]}}, "minItems": 2},
                "legs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"to": {"type": "object", "properties": {"zip": {"description": "Code"}}}},
                    },
                },
                "both": {"properties": {"hidden": {}}, "items": {"type": ["integer", "null"], "properties": {"a": {}}}},
                "listed": {"items": [{"type": "string"}]},
                "not a map": {"properties": ["a"]},
            },
        },
    },
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer()


def with_base(tokenizer: Any, text: str, dialect: Dialect) -> Template:
    tokenizer = deepcopy(tokenizer)
    tokenizer.chat_template = text or tokenizer.chat_template
    return Template(tokenizer, dialect)


def assert_shown_alike(template: Template, prompts: list[Prompt]) -> None:
    text = chat_template_of(template)
    for prompt in prompts:
        assert shown(template, text, prompt) == prompt_text(template, prompt)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("thinks", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
def test_tools_calls_and_results_are_shown_as_they_were_learnt(
    tokenizer: Any, base: str, thinks: bool, dialect: Dialect
) -> None:
    template = with_base(tokenizer, BASES[base], replace(dialect, thinks=thinks))
    odd = [Prompt(({"role": role, "content": "Hi."},), ODD) for role in ("user", "assistant")]
    assert_shown_alike(template, [*PROMPTS, *odd])
    assert len(PROMPTS) > 70


@pytest.mark.parametrize("name", THINKING)
def test_a_begun_thought_is_ended_as_it_was_learnt(tokenizer: Any, name: str) -> None:
    bare = shipped(tokenizer, name, HERMES)
    template = choose_template(bare.tokenizer, HERMES, ModelSettings(), Log(quiet=True))
    assert template.thought_end
    assert_shown_alike(template, PROMPTS)
    past = bare.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Ho."}],
        chat_template=chat_template_of(template),
        tokenize=False,
    )
    assert past.rpartition("Ho.")[2].find("think") == -1, "only a turn that is to be written"


def test_an_exported_model_lives_on_the_day_on_which_it_learnt(tokenizer: Any) -> None:
    template = with_base(tokenizer, BASES["shows the day"], PYTHONIC)
    template.tokenizer.chat_template = chat_template_of(template)
    text = template.tokenizer.apply_chat_template([{"role": "user", "content": "Hi."}], tokenize=False)
    assert "26 Jul 2024" in text


@pytest.mark.slow
@drawn
@given(calls=calls_drawn, said=texts, told=st.one_of(st.none(), texts), extra=values)
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
def test_values_are_written_as_they_were_learnt(
    tokenizer: Any, dialect: Dialect, calls: list[ToolCall], said: str, told: str | None, extra: Any
) -> None:
    made = [{"name": call.name, "arguments": dict(call.arguments)} for call in calls]
    system: list[Message] = [{"role": "system", "content": told}] if told is not None else []
    messages: list[Message] = [
        *system,
        {"role": "user", "content": said},
        {"role": "assistant", "content": said, "tool_calls": made},
        {"role": "tool", "content": said},
    ]
    tool = {"name": "f", "description": said, "parameters": {"properties": {"a": {"default": extra}}}}
    template = Template(tokenizer, dialect)
    prompt = Prompt(tuple(messages), (tool,))
    assert shown(template, chat_template_of(template), prompt) == prompt_text(template, prompt)


def test_plain_tools_and_plain_calls_are_read_too(tokenizer: Any) -> None:
    template = Template(tokenizer, PYTHONIC)
    prompt = next(prompt for prompt in PROMPTS if any(message.get("tool_calls") for message in prompt.messages))
    given_plain = tokenizer.apply_chat_template(
        list(prompt.messages),
        tools=list(prompt.tools),
        chat_template=chat_template_of(template),
        add_generation_prompt=True,
        tokenize=False,
    )
    assert given_plain == prompt_text(template, prompt)


@pytest.mark.parametrize(("dialect", "key"), [(HERMES, "arguments"), (LLAMA3, "parameters"), (MISTRAL, "arguments")])
def test_arguments_as_the_text_that_servers_pass_on_are_written_as_they_are(
    tokenizer: Any, dialect: Dialect, key: str
) -> None:
    called = {"name": "f", "arguments": '{"a":  1}'}
    prompt = Prompt(
        ({"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [called]}), ()
    )
    template = Template(tokenizer, dialect)
    assert f'"{key}": {{"a":  1}}' in shown(template, chat_template_of(template), prompt)


def test_what_cannot_be_shown_is_refused(tokenizer: Any) -> None:
    template = Template(tokenizer, PYTHONIC)
    text = chat_template_of(template)
    called = {"name": "f", "arguments": "{}"}
    for message, fault in (
        ({"role": "developer", "content": ""}, "must be system, user, assistant or tool, not developer"),
        ({"role": "assistant", "content": "", "tool_calls": [called]}, "must be an object, not the text of one"),
    ):
        with pytest.raises(ValueError, match=fault):
            shown(template, text, Prompt((message,), ()))


@pytest.mark.parametrize("thinks", [False, True])
@pytest.mark.parametrize("name", [*OWN, "simple", "listed"])
def test_an_own_template_keeps_its_way_and_is_given_what_it_was_given(tokenizer: Any, name: str, thinks: bool) -> None:
    if name in OWN:
        template = shipped(tokenizer, name, *OWN[name])
    else:
        template = own(tokenizer, *{"simple": (SIMPLE, HERMES), "listed": (LISTED, MISTRAL)}[name])
    template = replace(template, parallel=writes_several_calls(template))
    template = replace(template, dialect=replace(template.dialect, thinks=thinks))
    assert_shown_alike(template, PROMPTS)
    unchanged = chat_template_of(template) == template.tokenizer.chat_template
    assert unchanged == (template.parallel and not thinks and not template.settings)


def test_settings_hold_unless_others_are_given(tokenizer: Any) -> None:
    template = replace(with_base(tokenizer, SOFTLY, HERMES), settings={"softly": True, "unused": {"a": [None, "ü'\n"]}})
    text = chat_template_of(template)
    assert shown(template, text, PROMPTS[0]).startswith("softly ")
    template.tokenizer.chat_template = text
    loud = template.tokenizer.apply_chat_template([{"role": "user", "content": "Hi."}], tokenize=False, softly=False)
    assert loud.startswith("loudly ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"jinja": ""}, "the pythonic dialect has no text in Jinja"),
        ({"jinja": HERMES.jinja}, "its text in Jinja show a prompt differently"),
        ({"system": lambda tools: f"{len(tools)} tools"}, "does not show tools by their names"),
    ],
)
def test_a_dialect_of_another_hand_that_is_not_shown_alike_is_refused(
    tokenizer: Any, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        chat_template_of(Template(tokenizer, replace(PYTHONIC, **change)))
