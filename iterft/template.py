"""Which chat template shows a prompt: the tokenizer's own with its tools and calls, or ours.

The own one is what an instruction-tuned model has seen, so it is used wherever `why_not_own` finds nothing against it.
Ours is the tokenizer's template for plain messages, the tools in the dialect's system text; it works with every
template. `choose_template` decides once a run, so that warm-up, search and evaluation show the same prompts. Not here:
token ids (`tokens`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from jinja2 import TemplateError

from iterft.chat import THINK_CLOSE, THINK_OPEN, Dialect, asking_to_think, plain_messages, role_of
from iterft.config import ModelSettings
from iterft.log import Log
from iterft.setting_rules import first_line
from iterft.types import Message, Prompt, Tool, ToolCall

# Some templates show the day. With the day of the run, the same recipe and seed would not give the same prompts; this
# day is what Llama 3.1's own template falls back to.
TODAY = datetime(2024, 7, 26)

EMPTY_THOUGHT = f"{THINK_OPEN}\n\n{THINK_CLOSE}\n\n"
"""What Qwen3's template writes where its models shall not think."""

FAILURES = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a template can raise on a prompt that it was not written for."""


@dataclass(frozen=True)
class Template:
    """How prompts become text.

    own        the tokenizer's template shows tools and calls
    parallel   it also writes several calls of one turn as the dialect does; where not, such a turn of the history is
               shown as the text that the dialect writes
    folds      without `own`: the system text is shown in front of the first request, as the tokenizer's template has no
               place for it
    settings   what the template is given besides, unchanged
    other_stops   ids besides the stop token with which the model may end a turn, as Llama's do before a tool's result
    thought_end   ends prompts that the tokenizer's template ends inside a thought, where turns hold none
    """

    tokenizer: Any
    dialect: Dialect
    own: bool = False
    parallel: bool = False
    folds: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    other_stops: frozenset[int] = frozenset()
    thought_end: str = ""


def choose_template(tokenizer: Any, dialect: Dialect, settings: ModelSettings, log: Log) -> Template:
    """As `model.template` says; ValueError where it is `own` and the tokenizer's cannot be used, where it shows neither
    tools nor our text, and where turns shall think but prompts have begun to already. The tokenizer's stop token is
    from now on what its template ends turns with."""
    end_turns_as_shown(tokenizer, dialect, settings, log)
    template = chosen_template(tokenizer, dialect, settings, log)
    if dialect.thinks:
        refuse_begun_thought(template)
        return template
    return ending_begun_thought(template, log)


def end_turns_as_shown(tokenizer: Any, dialect: Dialect, settings: ModelSettings, log: Log) -> None:
    """Where a template ends turns with another special token than the tokenizer's stop token (Phi's and Gemma's, or
    those of untuned models with a chat template), it becomes the stop token: the model has learnt to end with it, and
    past turns show it. ValueError where turns would have no end at all."""
    template = Template(tokenizer, dialect, settings=settings.template_kwargs)
    said = ({"role": "user", "content": USER}, {"role": "assistant", "content": WORDS})
    try:
        text = apply(template, said, open_turn=False)
    except ValueError:
        text = ""
    after, known = text.rpartition(WORDS)[2].lstrip() if WORDS in text else "", tokenizer.eos_token
    if known and (not after or after.startswith(known)):
        return
    found = max(
        (token for token in tokenizer.get_added_vocab() if token and after.startswith(token)), key=len, default=""
    )
    if found:
        tokenizer.eos_token = found
        log.say(f"turns end with {found}, as in the tokenizer's chat template, and not with {known}")
    elif not known:
        raise ValueError(
            "model.base: its tokenizer has no stop token (eos_token), and its chat template ends turns with none"
        )


def ending_begun_thought(template: Template, log: Log) -> Template:
    """A turn would be a thought to the end where its prompt has begun one, as those of models that always think do."""
    text = first_prompt(template)
    if not text.rstrip().endswith(THINK_OPEN):
        return template
    log.say(f"prompts begin a thought ({THINK_OPEN}) by the tokenizer's template, and end it empty (model.think)")
    begun = "\n" if text.endswith("\n") else ""
    return replace(template, thought_end=EMPTY_THOUGHT.removeprefix(f"{THINK_OPEN}{begun}"))


def first_prompt(template: Template) -> str:
    return prompt_text(template, Prompt(({"role": "user", "content": USER},), PROBE_TOOLS))


def refuse_begun_thought(template: Template) -> None:
    """A turn would open a second think part, or none, and what is inside of it would not be known as one."""
    text = first_prompt(template).rstrip()
    if text.endswith((THINK_OPEN, THINK_CLOSE)):
        raise ValueError(
            f"model.think: turns begin with a think part, but the tokenizer's template writes {text[-20:]!r} itself at "
            "the end of each prompt; have it leave that out (model.template_kwargs; for Qwen3 "
            "model.template_kwargs.enable_thinking=true), or set model.think=false"
        )


def chosen_template(tokenizer: Any, dialect: Dialect, settings: ModelSettings, log: Log) -> Template:
    ours = Template(tokenizer, dialect, settings=settings.template_kwargs)
    if settings.template == "ours":
        return with_room(ours)
    own = replace(ours, own=True)
    reason = why_not_own(own)
    if not reason:
        own = replace(own, parallel=writes_several_calls(own))
        log.say("the tokenizer's own chat template shows tools and calls (model.template)")
        return own
    if settings.template == "own":
        raise ValueError(
            f"model.template: own needs a chat template that shows tools and writes turns in the {dialect.name} "
            f"dialect, but {reason}; set it to auto or ours, or choose another model.dialect"
        )
    log.say(f"tools and calls are shown by our own text, as {reason} (model.template)")
    return with_room(ours)


def with_room(ours: Template) -> Template:
    """Our text where the tokenizer's template has a place for it: in a system message, or else in front of the first
    request. ValueError where neither is shown."""
    for template in (ours, replace(ours, folds=True)):
        if not (fault := faults_of(template, (plain_fault, result_fault))):
            return template
    raise ValueError(
        f"model.base: our text cannot be shown by the tokenizer's chat template either, as {fault}; give a model whose "
        "template shows plain messages of system or user"
    )


def prompt_text(template: Template, prompt: Prompt) -> str:
    """The prompt up to where the assistant's turn begins. ValueError when the template refuses it."""
    prompt = whole(template, prompt)
    if template.own:
        return apply(template, tool_messages(template, prompt), prompt.tools) + template.thought_end
    messages = plain_messages(template.dialect, prompt)
    return apply(template, folded(messages) if template.folds else messages) + template.thought_end


def folded(messages: Sequence[Message]) -> list[Message]:
    """The system message, if there is one in front, as the beginning of the first request."""
    if not messages or messages[0]["role"] != "system":
        return list(messages)
    system, *rest = messages
    if not rest or rest[0]["role"] != "user":
        return [{**system, "role": "user"}, *rest]
    return [{**rest[0], "content": f"{system['content']}\n\n{rest[0]['content']}"}, *rest[1:]]


def whole(template: Template, prompt: Prompt) -> Prompt:
    """The prompt with all that is asked for in it."""
    return asking_to_think(prompt) if template.dialect.thinks else prompt


def tool_messages(template: Template, prompt: Prompt) -> list[dict[str, Any]]:
    """The messages in the form that templates with tools know. ValueError on an unknown role."""
    shown: list[dict[str, Any]] = []
    for message in prompt.messages:
        calls = message.get("tool_calls") or ()
        if len(calls) > 1 and not template.parallel:
            shown += plain_messages(template.dialect, Prompt((message,), ()))
            continue
        form = {**message, "role": role_of(message), "content": message.get("content") or ""}
        form.pop("tool_calls", None)  # templates ask whether it is there, not whether it is empty
        if calls:
            functions = ({"name": call["name"], "arguments": dict(call["arguments"])} for call in calls)
            form["tool_calls"] = [{"type": "function", "function": function} for function in functions]
        shown.append(form)
    return shown


def apply(
    template: Template, messages: Sequence[Message], tools: Sequence[Tool] = (), *, open_turn: bool = True
) -> str:
    """The text of the messages, with the beginning of the assistant's next turn if `open_turn`."""
    try:
        text: str = template.tokenizer.apply_chat_template(
            list(messages),
            tools=[{"type": "function", "function": dict(tool)} for tool in tools] or None,
            add_generation_prompt=open_turn,
            tokenize=False,
            **{"strftime_now": TODAY.strftime, **template.settings},
        )
    except FAILURES as error:
        raise ValueError(f"the chat template refuses the prompt ({first_line(error)})") from error
    return text


PROBE_TOOLS: tuple[Tool, ...] = (
    {
        "name": "dim_lamp",
        "description": "Makes one lamp darker.",
        "parameters": {
            "type": "object",
            "properties": {
                "room": {"type": "string", "description": "Where the lamp stands"},
                "steps": {"type": "integer", "description": "How much darker"},
            },
            "required": ["room"],
        },
    },
    {
        "name": "ring_bell",
        "description": "Rings the bell downstairs.",
        "parameters": {
            "type": "object",
            "properties": {"seconds": {"type": "number", "description": "How long it rings"}},
            "required": ["seconds"],
        },
    },
)
PROBE_CALLS = (
    ToolCall("dim_lamp", {"room": 'Küche "oben" <1>', "steps": 2, "only": [True, None, {"by": 0.5}]}),
    ToolCall("ring_bell", {"seconds": 1.5}),
)
SYSTEM, USER = "Speak like a butler.", "Darker upstairs, please."
WORDS, RESULT = "With pleasure.", "It is darker by 2 of 9 steps."


def why_not_own(template: Template) -> str:
    """Why the tokenizer's own template (`template.own` is True) cannot be used with the dialect, as the part of a
    sentence; "" when it can.

    Told by rendering: tools are shown with their descriptions and parameters; a turn, with one call or in words, is
    written as what we train on (the dialect's text, which `parse` reads back, and the stop token) behind what we prompt
    with; results of tools are shown. Several calls in one turn are not asked for, as Llama's templates refuse them: the
    model may well make them, and past ones are shown as text (`Template.parallel`).
    """
    return faults_of(template, (tools_fault, turn_fault, result_fault))


def faults_of(template: Template, checks: Sequence[Callable[[Template], str]]) -> str:
    """What the first check says that finds one, or that the template refuses."""
    for check in checks:
        try:
            reason = check(template)
        except ValueError as error:
            reason = str(error)
        if reason:
            return reason
    return ""


def tools_fault(template: Template) -> str:
    missing = not_shown(template)
    if missing[:1] == ["names of tools"]:
        return "the tokenizer's template shows no tools"
    return f"the tokenizer's template shows no {' and no '.join(missing)}" if missing else ""


def plain_fault(template: Template) -> str:
    """Of our text in plain messages."""
    if missing := not_shown(template):
        return f"of plain messages it leaves out {' and '.join(missing[:2])}"
    past = ({"role": "user", "content": USER}, turn_of(PROBE_CALLS[:1]), {"role": "user", "content": USER})
    is_shown = template.dialect.render(PROBE_CALLS[:1]) in prompt_text(template, Prompt(past, PROBE_TOOLS))
    return "" if is_shown else "of plain messages it leaves out or changes what the assistant has said"


def not_shown(template: Template) -> list[str]:
    """What of a prompt with tools is missing in its text."""
    messages = ({"role": "system", "content": SYSTEM}, {"role": "user", "content": USER})
    text = prompt_text(template, Prompt(messages, PROBE_TOOLS))
    parameters = [tool["parameters"]["properties"] for tool in PROBE_TOOLS]
    wanted = {
        "names of tools": [tool["name"] for tool in PROBE_TOOLS],
        "names of parameters": [name for properties in parameters for name in properties],
        "descriptions of tools": [tool["description"] for tool in PROBE_TOOLS],
        "descriptions of parameters": [one["description"] for properties in parameters for one in properties.values()],
        "system messages": [SYSTEM],
        "user messages": [USER],
    }
    return [what for what, parts in wanted.items() if not all(part in text for part in parts)]


def turn_fault(template: Template) -> str:
    stop = template.tokenizer.eos_token
    for expected, message in (
        (template.dialect.render(PROBE_CALLS[:1]), turn_of(PROBE_CALLS[:1])),
        (WORDS, {"role": "assistant", "content": WORDS}),
    ):
        before, after = probe_turn(template, message)
        if not after.startswith(before):
            return "what the tokenizer's template prompts with is not how it begins a turn"
        written, found, _ = after.removeprefix(before).partition(stop)
        if not found:
            return f"the tokenizer's template writes no stop token {stop!r} behind a turn"
        if THINK_CLOSE in written:
            return (
                "the tokenizer's template puts a think part of its own before a turn (its models may think): switch "
                "it off in model.template_kwargs, for Qwen3 with enable_thinking: false"
            )
        if written != expected:
            at = max(n for n in range(len(expected) + 1) if written.startswith(expected[:n]))
            return (
                f"the tokenizer's template writes a turn with {written[at : at + 40]!r} where the "
                f"{template.dialect.name} dialect writes {expected[at : at + 40]!r}"
            )
    return ""


def result_fault(template: Template) -> str:
    messages = ({"role": "user", "content": USER}, turn_of(PROBE_CALLS[:1]), {"role": "tool", "content": RESULT})
    text = prompt_text(template, Prompt(messages, PROBE_TOOLS))
    return "" if RESULT in text else "the tokenizer's template shows no results of tools"


def writes_several_calls(template: Template) -> bool:
    """Whether the own template writes a turn of several calls as the dialect does."""
    try:
        before, after = probe_turn(replace(template, parallel=True), turn_of(PROBE_CALLS))
    except ValueError:
        return False
    return after.startswith(before + template.dialect.render(PROBE_CALLS) + template.tokenizer.eos_token)


def probe_turn(template: Template, turn: Message) -> tuple[str, str]:
    """(the prompt before the turn, the text that ends with it)"""
    messages = ({"role": "user", "content": USER}, turn)
    before = prompt_text(template, Prompt(messages[:1], PROBE_TOOLS))
    both = whole(template, Prompt(messages, PROBE_TOOLS))
    return before, apply(template, tool_messages(template, both), both.tools, open_turn=False)


def turn_of(calls: Sequence[ToolCall]) -> Message:
    called = [{"name": call.name, "arguments": call.arguments} for call in calls]
    return {"role": "assistant", "content": "", "tool_calls": called}
