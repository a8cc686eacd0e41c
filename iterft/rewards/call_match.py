"""The verifier for samples with a reference: does the last turn make exactly the calls that the reference accepts?

Decisions on items of BFCL (samples of that source) are those of its official Python AST checker, as
`scripts/check_verifier.py` measures. One rule serves all its categories: as many calls as entries, in any order, each
entry looked up among the tools by its name. Other data are judged alike, but for values (`value_match`), parameters of
which `additionalProperties` allows more than are listed, and replies: where no call is right, words that write the name
of a tool as a call, or that are the beginning of a call or of JSON, are a call that went wrong ("unparsable"): were
they right, garbled calls would be what is learnt there. Beyond a verdict this names the reason and judges *unfinished*
turns. Not here: single values, what a reply says.

Calls are matched as the official checker does: entries in their order, each takes the first free call that it accepts.
This is greedy: where two entries overlap, an order of calls can fail that an optimal assignment would pass. It also
makes objections exact: a closed call always precedes those to come, so replaying the same matching on the closed calls
tells which entries are left, and any call that one of those accepts can still be part of an accepted turn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from iterft.rewards.value_match import declared_type, is_writable, value_fault
from iterft.types import BFCL, PartialTurn, Reward, Sample, Tool, ToolCall, Trajectory

_NOTHING: Mapping[str, Any] = {}
_MAX_SHOWN = 80
_BEGUN = re.compile(r"""\A\s*(?:\[\s*[A-Za-z_][\w.]*(?:\(|\s*=)|\[?\s*\{\s*["'])""")
_BARE = re.compile(r"\A\s*\[(?=[^\s\[\]]*[A-Za-z_])[^\s\[\]]+\]\s*\Z")


@dataclass(frozen=True)
class CallMatch:
    """The verifier of samples whose `answer` is the reference; an empty `answer` asks for no call and no error."""

    def __call__(self, trajectory: Trajectory) -> Reward:
        """1.0 or 0.0 for the last turn. `parts["calls"]`: the share of reference calls that were matched."""
        assert trajectory.turns, "a trajectory without turns cannot be judged"
        sample, turn = trajectory.sample, trajectory.turns[-1]
        if turn.error:
            return Reward(0.0, "unparsable")
        matching = _match(sample, turn.calls)
        fault = _turn_fault(sample, turn.calls, matching) or _words_fault(sample, turn.content)
        num_entries = len(sample.answer)
        parts = {"calls": 1.0 - len(matching.left) / num_entries} if num_entries else {}
        if fault is None:
            return Reward(1.0, parts=parts)
        return Reward(0.0, fault.reason, parts)

    def explain(self, trajectory: Trajectory) -> str:
        """One sentence for people on why the last turn fails; "" when it passes."""
        sample, turn = trajectory.sample, trajectory.turns[-1]
        if turn.error:
            return f"The turn is not well-formed: {turn.error}."
        fault = _turn_fault(sample, turn.calls, _match(sample, turn.calls)) or _words_fault(sample, turn.content)
        return _sentence(fault, sample) if fault else ""

    def objection(self, sample: Sample, partial: PartialTurn) -> str:
        """ "" while some accepted answer still continues `partial`; once its calls are, the reason of the verdict."""
        if partial.error:
            return "unparsable"
        matching = _match(sample, partial.calls)
        if partial.finished or partial.no_more_calls:
            fault = _turn_fault(sample, partial.calls, matching)
        elif matching.strays:
            fault = _stray_fault(sample, partial.calls, matching)
        elif partial.in_call or partial.expects == "call":
            fault = _open_fault(sample, partial, matching.left)
        else:
            fault = None
        words = partial.content + (partial.undecided if partial.finished else "")
        fault = fault or _words_fault(sample, words, partial.finished)
        return fault.reason if fault else ""


class _Fault(NamedTuple):
    """What is wrong first: the reason, its tool and parameter, the value written; `num_right` arguments came before."""

    reason: str
    tool: str = ""
    parameter: str = ""
    value: Any = None
    accepted: Sequence[Any] = ()
    num_right: int = 0


class _Matching(NamedTuple):
    """Indices of calls that no entry took, entries that took no call, and why a stray was not taken, in the order of
    the entries of its name that are left."""

    strays: list[int]
    left: list[ToolCall]
    faults: dict[int, list[_Fault]]


def _match(sample: Sample, calls: Sequence[ToolCall]) -> _Matching:
    free = list(range(len(calls)))
    left = []
    faults: dict[int, list[_Fault]] = {}
    for entry in sample.answer:
        tool = _tool(sample, entry.name)
        found: dict[int, _Fault] = {}
        for index in free:
            if calls[index].name == entry.name and tool:
                fault = _call_fault(calls[index], entry, tool, as_bfcl=sample.source == BFCL)
                if fault is None:
                    free.remove(index)
                    break
                found[index] = fault
        else:
            left.append(entry)
            for index, fault in found.items():
                faults.setdefault(index, []).append(fault)
    return _Matching(free, left, faults)


def _turn_fault(sample: Sample, calls: Sequence[ToolCall], matching: _Matching) -> _Fault | None:
    """What is wrong with a whole turn: its first stray call, else the first entry that was not called."""
    if matching.strays:
        return _stray_fault(sample, calls, matching)
    if matching.left:
        return _Fault("missing_call" if calls else "no_call", matching.left[0].name)
    return None


def _words_fault(sample: Sample, words: str, finished: bool = True) -> _Fault | None:
    """What is wrong with the words of a turn where no call is right: a call that they write or begin with, as the
    sample's own reply does not; of a turn that has ended, one name in brackets too."""
    if sample.answer or sample.source == BFCL or not any(mark in words for mark in '([{"'):
        return None
    written = _calls_in_words(tuple(tool["name"] for tool in sample.prompt.tools))
    for form in (written, _BEGUN, *([_BARE] if finished else [])):
        found = form.search(words)
        if found and not form.search(sample.text):
            return _Fault("unparsable", found[0].strip())
    return None


def is_call_in_disguise(sample: Sample) -> bool:
    """Whether the reply that a sample has instead of calls is a call of one of its tools, dialects apart: JSON of name
    and arguments, a call in a list, or one that is all of the reply. One in passing ("use f(x) for that") is none."""
    text, names = sample.text, "|".join(re.escape(tool["name"]) for tool in sample.prompt.tools)
    if sample.answer or not names or ("(" not in text and '"name"' not in text):
        return False
    if re.search(rf'"name"\s*:\s*"(?:{names})"', text) and re.search(r'"(?:arguments|parameters)"\s*:', text):
        return True
    return bool(re.search(rf"\[\s*(?:{names})\(|\A\s*(?:```\w*\s*)?(?:{names})\(.*\)\s*(?:```)?\s*\Z", text, re.DOTALL))


@lru_cache(maxsize=256)
def _calls_in_words(names: tuple[str, ...]) -> re.Pattern[str]:
    """`name(`, `"name": "name"`; a blank before the bracket only behind a name that is no word of prose."""
    any_name = "|".join(map(re.escape, names))
    no_words = "|".join(re.escape(name) for name in names if not name.isalpha() or not name[1:].islower())
    blank = rf"|(?<![\w.])(?:{no_words})\s+\(" if no_words else ""
    return re.compile(rf'(?<![\w.])(?:{any_name})\({blank}|"name"\s*:\s*"(?:{any_name})"' if names else r"(?!)")


def _stray_fault(sample: Sample, calls: Sequence[ToolCall], matching: _Matching) -> _Fault:
    """Why no entry took the first stray call, told against the entry that it follows longest."""
    index = matching.strays[0]
    name = calls[index].name
    fault = _name_fault(sample, name, _tool(sample, name), matching.left)
    return fault or max(matching.faults[index], key=lambda fault: fault.num_right)


def _open_fault(sample: Sample, partial: PartialTurn, left: Sequence[ToolCall]) -> _Fault | None:
    """What keeps the open (or announced) call from becoming one of the entries that are left; None if nothing does."""
    name = partial.open_name
    if name is None:
        return _room_fault(sample, "", left)
    tool = _tool(sample, name)
    fault = _name_fault(sample, name, tool, left)
    if fault:
        return fault
    assert tool is not None, "a name without fault is that of a tool"
    longest: _Fault | None = None
    for entry in left:
        if entry.name != name:
            continue
        fault = _written_fault(name, partial.open_arguments, entry, tool, as_bfcl=sample.source == BFCL)
        if fault is None and partial.expects == "argument" and not _has_more(partial.open_arguments, entry, tool):
            fault = _Fault("unknown_parameter", name, num_right=len(partial.open_arguments))
        if fault is None:
            return None
        if longest is None or fault.num_right > longest.num_right:
            longest = fault
    return longest


def _room_fault(sample: Sample, name: str, left: Sequence[ToolCall]) -> _Fault | None:
    if not sample.answer:
        return _Fault("unneeded_call", name)
    return None if left else _Fault("extra_call", name)


def _name_fault(sample: Sample, name: str, tool: Tool | None, left: Sequence[ToolCall]) -> _Fault | None:
    if sample.answer and tool is None:
        return _Fault("unknown_tool", name)
    fault = _room_fault(sample, name, left)
    if fault is None and all(entry.name != name for entry in left):
        return _Fault("wrong_tool", name, accepted=[entry.name for entry in left])
    return fault


def _call_fault(call: ToolCall, entry: ToolCall, tool: Tool, *, as_bfcl: bool) -> _Fault | None:
    """The first fault of a whole call against an entry of its name: among what is written, then what is missing."""
    fault = _written_fault(call.name, call.arguments, entry, tool, as_bfcl=as_bfcl)
    if fault:
        return fault
    for parameter in tool.get("parameters", _NOTHING).get("required", ()):
        if parameter not in call.arguments:
            return _Fault("missing_parameter", call.name, parameter, num_right=len(call.arguments))
    for parameter, alternatives in entry.arguments.items():
        if parameter not in call.arguments and "" not in alternatives:
            return _Fault("missing_parameter", call.name, parameter, num_right=len(call.arguments))
    return None


def _written_fault(
    name: str, arguments: Mapping[str, Any], entry: ToolCall, tool: Tool, *, as_bfcl: bool
) -> _Fault | None:
    """The first argument, in the order written, that is not accepted."""
    for num_right, (parameter, value) in enumerate(arguments.items()):
        alternatives = entry.arguments.get(parameter)
        if alternatives is None or not _is_known(parameter, tool):
            return _Fault("unknown_parameter", name, parameter, value, num_right=num_right)
        fault = value_fault(value, alternatives, schema_of(parameter, tool), as_bfcl=as_bfcl)
        if fault:
            return _Fault(fault, name, parameter, value, alternatives, num_right)
    return None


def _has_more(arguments: Mapping[str, Any], entry: ToolCall, tool: Tool) -> bool:
    """Whether the entry accepts an argument that is not yet written."""
    return any(
        parameter not in arguments and _is_known(parameter, tool) and is_writable(others, schema_of(parameter, tool))
        for parameter, others in entry.arguments.items()
    )


def _tool(sample: Sample, name: str) -> Tool | None:
    return next((tool for tool in sample.prompt.tools if tool["name"] == name), None)


def _is_known(parameter: str, tool: Tool) -> bool:
    """Whether the schema lists the parameter, or says that there are others; one without a list knows them all."""
    schema = tool.get("parameters") or _NOTHING
    properties = schema.get("properties")
    return properties is None or parameter in properties or _others(schema) is not None


def schema_of(parameter: str, tool: Tool) -> object:
    """The schema of a parameter, None where the tool declares none."""
    schema = tool.get("parameters") or _NOTHING
    properties = schema.get("properties") or _NOTHING
    return properties[parameter] if parameter in properties else _others(schema)


def _others(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of parameters that are not listed, {} for any; None where it does not say that there are any."""
    others = schema.get("additionalProperties")
    return others if isinstance(others, Mapping) else _NOTHING if others is True else None


def _sentence(fault: _Fault, sample: Sample) -> str:
    """One sentence for people."""
    tool, parameter, value = fault.tool, fault.parameter, _shown(fault.value)
    match fault.reason:
        case "unparsable":
            return f"The words hold a call that is not written as one: {tool}."
        case "unneeded_call":
            return f"No call is right here, but {tool} was called."
        case "no_call":
            return f"No call was made where {tool} was expected."
        case "missing_call":
            return f"A call of {tool} is missing."
        case "extra_call":
            return f"The call of {tool} comes on top of the {len(sample.answer)} expected."
        case "unknown_tool":
            return f"{tool} is none of the tools."
        case "wrong_tool":
            return f"{tool} was called where {' or '.join(dict.fromkeys(fault.accepted))} was expected."
        case "missing_parameter":
            return f"{tool}: {parameter} is missing."
        case "unknown_parameter":
            offered = _tool(sample, tool)
            is_known = offered is not None and _is_known(parameter, offered)
            return f"{tool}: {parameter} " + ("is to be left out." if is_known else "is none of the parameters.")
        case "wrong_type":
            offered = _tool(sample, tool)
            wanted = declared_type(schema_of(parameter, offered)) if offered else None
            got = type(fault.value).__name__
            wanted_name = wanted.__name__ if wanted else "value"
            return f"{tool}: {parameter} is {value} ({got}), not an accepted {wanted_name}."
        case _:
            return f"{tool}: {parameter} is {value}, accepted: {', '.join(map(_shown, fault.accepted))}."


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
