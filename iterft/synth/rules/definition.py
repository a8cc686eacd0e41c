"""API definition: every tool shown is one that could be called, its schema sound."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from iterft.synth.rules.facts import Facts, Rule, shown

_BROKEN_NAME = re.compile(r"[\x00-\x1f\x7f]|^\s|\s$|^$")

SCHEMA_REASONS = (
    "not_a_schema",
    "unknown_type",
    "malformed_properties",
    "malformed_required",
    "undeclared_required",
    "nameless_parameter",
    "malformed_enum",
    "enum_of_another_type",
    "default_misfit",
    "malformed_bound",
    "crossed_bounds",
    "malformed_pattern",
    "unresolved_reference",
)
"""Faults of schemas that are told by `json_schema.schema_faults`, each a reason of its own."""


def nameless_tool(facts: Facts) -> str:
    """A name is there and is one line."""
    for tool in facts.sample.prompt.tools:
        name = tool.get("name")
        if not isinstance(name, str) or _BROKEN_NAME.search(name):
            return f"{name!r} is no name"
    return ""


def repeated_tool(facts: Facts) -> str:
    """No two tools have one name."""
    counts = Counter(str(tool.get("name")) for tool in facts.sample.prompt.tools)
    return next((f"{count} tools are called {name}" for name, count in counts.items() if count > 1), "")


def undescribed_tool(facts: Facts) -> str:
    """Every tool says what it does."""
    silent = (name for name, tool in facts.tools.items() if not str(tool.get("description") or "").strip())
    return next((f"{name} has no description" for name in silent), "")


def parameters_no_object(facts: Facts) -> str:
    """Arguments are named, so parameters are those of an object."""
    for name, tool in facts.tools.items():
        parameters = tool.get("parameters")
        declared = parameters.get("type", "object") if isinstance(parameters, Mapping) else "object"
        if declared not in ("object", "dict"):
            return f"{name}: parameters are of type {shown(declared)}"
    return ""


def unsound_schema(reason: str) -> Rule:
    """The rule that no schema has faults of this reason."""

    def rule(facts: Facts) -> str:
        return next((f"{name}: {fault}" for name, fault in facts.tool_faults if fault.reason == reason), "")

    return rule


RULES: Mapping[str, Rule] = {
    "nameless_tool": nameless_tool,
    "repeated_tool": repeated_tool,
    "undescribed_tool": undescribed_tool,
    "parameters_no_object": parameters_no_object,
    **{reason: unsound_schema(reason) for reason in SCHEMA_REASONS},
}
