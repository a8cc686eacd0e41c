"""The chat template of an exported model: whoever serves it shows it the prompts that it has learnt from.

It is the tokenizer's own template, and before it, in Jinja, what `template.prompt_text` does in Python: settings that
the template is always given, our wish for a think part, and, where the own template does not show tools, tools, calls
and results as text.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import Any

from iterft.chat import THINK_FIRST
from iterft.jinja import filled
from iterft.template import (
    PROBE_CALLS,
    PROBE_TOOLS,
    RESULT,
    SYSTEM,
    TODAY,
    USER,
    WORDS,
    Template,
    apply,
    prompt_text,
    turn_of,
)
from iterft.tool_list import DEFINITIONS, ITEMS_SHOWN, SHOWN
from iterft.types import Message, Prompt

SLOT = "\N{OBJECT REPLACEMENT CHARACTER}"


def chat_template_of(template: Template) -> str:
    """ValueError, with the reason as a part of a sentence, where there is none that shows what `prompt_text` does."""
    dialect = template.dialect
    if not dialect.jinja:
        raise ValueError(f"the {dialect.name} dialect has no text in Jinja")
    base: str = template.tokenizer.get_chat_template(tools=[{}] if template.own else None)
    changes = [day_as_learnt(base)] if "strftime_now" in base else []
    changes += [
        f"{{%- if {name} is not defined -%}}{{%- set {name} = {value!r} -%}}{{%- endif -%}}"
        for name, value in template.settings.items()
    ]
    if not template.own or not template.parallel or dialect.thinks:
        before_tools, is_shown, after_tools = dialect.system(({"name": SLOT},)).partition(SLOT)
        before_result, _, after_result = dialect.observation(SLOT).partition(SLOT)
        if not is_shown:
            raise ValueError(f"the {dialect.name} dialect does not show tools by their names")
        changes += [
            filled("tool_list", SHOWN=sorted(SHOWN), ITEMS_SHOWN=sorted(ITEMS_SHOWN), DEFINITIONS=DEFINITIONS),
            dialect.jinja,
            filled(
                "messages",
                OWN=template.own,
                PARALLEL=template.parallel,
                FOLDS=template.folds,
                THINK_FIRST=THINK_FIRST if dialect.thinks else "",
                BEFORE_TOOLS=before_tools,
                AFTER_TOOLS=after_tools,
                BEFORE_RESULT=before_result,
                AFTER_RESULT=after_result,
            ),
        ]
    if template.thought_end:  # a template's last line break would not be shown, were it the end
        end = f"{{% if add_generation_prompt %}}{{{{ {template.thought_end!r} }}}}{{% endif %}}"
        base = base.removesuffix("\n") + end
    if not changes:
        return base
    text = "\n".join(change.rstrip() for change in changes) + "{{- '' }}" + base  # which may begin with a blank
    for prompt in PROBES:
        if shown(template, text, prompt) != prompt_text(template, prompt):
            raise ValueError(f"the {dialect.name} dialect and its text in Jinja show a prompt differently")
    return text


def day_as_learnt(base: str) -> str:
    """`strftime_now`, by which a template shows the day, as it was when it was learnt from."""
    days = {form: TODAY.strftime(form) for _, form in re.findall(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""", base)}
    return f"{{%- macro strftime_now(form) -%}}{{{{- {days!r}[form] -}}}}{{%- endmacro -%}}"


def shown(template: Template, text: str, prompt: Prompt) -> str:
    """What the chat template `text` makes of the prompt in the form that servers are given. ValueError when it refuses
    it."""
    alone = replace(template, settings={"chat_template": text, "strftime_now": datetime.now().strftime})
    return apply(alone, [in_openai_form(message) for message in prompt.messages], prompt.tools)


def in_openai_form(message: Message) -> dict[str, Any]:
    form = {key: value for key, value in message.items() if key != "tool_calls"}
    if calls := message.get("tool_calls"):
        form["tool_calls"] = [{"type": "function", "function": call} for call in calls]
    return form


PROBES = tuple(
    Prompt((*system, {"role": "user", "content": USER}, *past), tools)
    for system in ((), ({"role": "system", "content": SYSTEM},))
    for tools in ((), PROBE_TOOLS)
    for past in (
        (),
        (
            turn_of(PROBE_CALLS),
            {"role": "tool", "content": RESULT},
            {"role": "tool", "content": RESULT},
            {"role": "assistant", "content": WORDS},
            {"role": "user", "content": USER},
            turn_of(PROBE_CALLS[:1]),
            {"role": "tool", "content": RESULT},
        ),
    )
)
"""With a system message and without, with tools and without, at the beginning and behind calls."""
