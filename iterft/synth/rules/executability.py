"""Executability: the calls of the reference, and those made before, would be accepted by their tools."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from iterft.synth.rules.facts import Facts, Rule, calls_of, shown

_PLACEHOLDER = re.compile(
    r"<\w[\w ]*>|\{\{?\w[\w ]*\}?\}|\[(?:your|insert|enter)[^\]]*\]|your[_-]\w+|(?:insert|enter)[ _-].*|lorem ipsum.*"
    r"|placeholder|tbd|todo|xxx+|undefined|\.\.\.",
    re.IGNORECASE,
)

VALUE_REASONS = (
    "missing_parameter",
    "unknown_parameter",
    "wrong_type",
    "not_in_enum",
    "out_of_bounds",
    "not_a_multiple",
    "wrong_length",
    "repeated_items",
    "pattern_mismatch",
    "format_mismatch",
)
"""Faults of arguments that are told by `json_schema.value_faults`, each a reason of its own."""


def unknown_tool(facts: Facts) -> str:
    """Only tools that are shown are called."""
    return next((f"{call.name} is none of the tools" for call in facts.calls if call.name not in facts.tools), "")


def unfit_argument(reason: str) -> Rule:
    """The rule that no argument has faults of this reason."""

    def rule(facts: Facts) -> str:
        return next((f"{name}: {fault}" for name, fault in facts.call_faults if fault.reason == reason), "")

    return rule


def earlier_call_misfit(facts: Facts) -> str:
    """Calls in the messages, which the policy learns from by example, are of tools that are shown, and fit them."""
    earlier = [call for message in facts.messages for call in calls_of(message)]
    unknown = next((call.name for call in earlier if call.name not in facts.tools), None)
    if unknown is not None:
        return f"{unknown} is none of the tools"
    return next((f"{name}: {fault}" for name, fault in facts.faults_of(earlier)), "")


def repeated_call(facts: Facts) -> str:
    """No call is made twice in one turn."""
    for at, call in enumerate(facts.calls):
        if call in facts.calls[:at]:
            return f"{call.name} is called twice with the same arguments"
    return ""


def nothing_accepted(facts: Facts) -> str:
    """Each argument has an accepted value."""
    for call in facts.sample.answer:
        for name, accepted in call.arguments.items():
            if not accepted:
                return f"{call.name}: no value of {name} is accepted"
    return ""


def blank_value(facts: Facts) -> str:
    """A text that a tool requires says something."""
    for call in facts.calls:
        for name in facts.parameters_of(call.name).get("required") or ():
            value = call.arguments.get(name)
            if isinstance(value, str) and not value.strip():
                return f"{call.name}: {name} is empty"
    return ""


def placeholder_value(facts: Facts) -> str:
    """No value stands for one that is still to be filled in, unless the user wrote it."""
    for call in facts.calls:
        for name, value in call.arguments.items():
            for text in _texts(value):
                if _PLACEHOLDER.fullmatch(text.strip()) and text not in facts.asked:
                    return f"{call.name}: {name} is {shown(text)}"
    return ""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


RULES: Mapping[str, Rule] = {
    "unknown_tool": unknown_tool,
    **{reason: unfit_argument(reason) for reason in VALUE_REASONS},
    "earlier_call_misfit": earlier_call_misfit,
    "repeated_call": repeated_call,
    "nothing_accepted": nothing_accepted,
    "blank_value": blank_value,
    "placeholder_value": placeholder_value,
}
