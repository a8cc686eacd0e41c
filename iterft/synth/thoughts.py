"""What the think part of a sample says: which tool fits, which words give each value, what is missing.

    set the thermostat: set_thermostat, room = kitchen ("the kitchen"), temperature = 21.5
    set the thermostat: set_thermostat, temperature is not said

One line per call. A value that is said just as it is written stands alone, else the words follow; one that the wording
implies is marked so. Of tools that are not our own, what is said but left out of the call, being the default, is left
out here too. Made from what the query was filled with, not guessed from its text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from iterft.rollout import settle, settle_call
from iterft.synth.catalog import ToolSpec, reference
from iterft.synth.values import Value
from iterft.synth.wording import Bindings

NO_TOOL_ASKED = "no tool is asked for"
ALL_ANSWERED = "all calls are answered"


def calls_thought(asked: Sequence[tuple[ToolSpec, Bindings]]) -> str:
    """A line per call."""
    return "\n".join(_line(tool, bindings) for tool, bindings in asked)


def cited(value: Value, heard: str) -> Value:
    """The value with the words it was said with in `heard`, which is in lower case; without words where it has to be
    inferred."""
    wordings = (value.words, _written(value.accepted[0]))
    return Value(next((words for words in wordings if words and words.lower() in heard), ""), value.accepted)


def missing_thought(tool: ToolSpec, path: str) -> str:
    """The tool fits, but a required value is not said."""
    return f"{tool.deed}: {tool.name}, {path} is not said"


def absent_thought(tool: ToolSpec) -> str:
    """What is asked for would take `tool`, which is not there."""
    return f"{tool.deed}: no tool fits"


def is_own(tool: ToolSpec) -> bool:
    """Whether it is one of ours, worded by hand; others come with the definition that they are shown with."""
    return tool.declared is None


def _line(tool: ToolSpec, bindings: Bindings) -> str:
    paths = [parameter.path for parameter in tool.parameters if parameter.path in bindings]
    if not is_own(tool):
        written = settle_call(reference(tool, bindings)).arguments
        paths = [path for path in paths if path in written]  # not what is said and is the default anyway
    said = (f"{path} = {_said(bindings[path], is_own(tool))}" for path in paths)
    return ", ".join([f"{tool.deed}: {tool.name}", *said])


def _said(value: Value, may_imply: bool) -> str:
    """`may_imply`: a switch without words of its own is implied by others; else a clause of its own has set it."""
    written = _written(value.accepted[0])
    if value.words == written or (not may_imply and isinstance(value.accepted[0], bool)):
        return written
    return f'{written} ("{value.words}")' if value.words else f"{written} (implied)"


def _written(accepted: Any) -> str:
    """As the call has it: an accepted object holds alternatives."""
    return accepted if isinstance(accepted, str) else json.dumps(settle(accepted), ensure_ascii=False)
