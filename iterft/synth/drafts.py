"""What is asked for, before it is decided which tools are shown: one function per kind of sample.

Each draws one `Draft` from a pool of tools, or None where this draw led nowhere. Which tools are shown is `shown.py`;
shares and samples are `tasks.py` (the built-in tasks) and `dialogues.py` (anybody's tools).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from iterft.json_schema import FORMATS, is_number, types_of
from iterft.synth import phrasing
from iterft.synth.catalog import Joint, ToolSpec, reference
from iterft.synth.clauses import clauses_of, is_noun, said_name
from iterft.synth.thoughts import NO_TOOL_ASKED, absent_thought, calls_thought, is_own, missing_thought
from iterft.synth.values import Value, kind_of
from iterft.synth.wording import Bindings, Repeat, Slot, Wording, drawn, fill, repeats, slots
from iterft.types import ToolCall

_FOLLOW_UP_SHARE = 0.10
_SMALL_TALK_SHARE = 0.25
_MAX_REDRAWS = 200
_MAX_FILLED = 10
_MANY_WORDS = 4


@dataclass(frozen=True)
class Pool:
    """What is drawn from. `small_talk` are pairs of query and reply. `leads`: the tools that a request may begin with,
    all where none are named."""

    tools: Sequence[ToolSpec]
    joints: Sequence[Joint]
    small_talk: Sequence[tuple[Wording, str]]
    leads: Sequence[ToolSpec] = ()

    def lead(self, random: Random) -> ToolSpec:
        """The tool that a request begins with."""
        return random.choice(self.leads or self.tools)

    @functools.cached_property
    def by_name(self) -> Mapping[str, ToolSpec]:
        return {tool.name: tool for tool in self.tools}

    @functools.cached_property
    def by_cluster(self) -> Mapping[str, list[ToolSpec]]:
        return _grouped(self.tools, lambda tool: tool.cluster)

    @functools.cached_property
    def by_domain(self) -> Mapping[str, list[ToolSpec]]:
        return _grouped(self.tools, lambda tool: tool.domain)

    @functools.cached_property
    def num_with_gaps(self) -> int:
        return sum(bool(tool.gaps) for tool in self.tools)


@dataclass(frozen=True)
class Draft:
    """A sample before it gets its candidates: `present` must be among them, `absent` and its rivals must not. `said`:
    what each call was said with, by path of the parameter."""

    messages: tuple[str, ...]
    calls: tuple[ToolCall, ...]
    present: tuple[ToolSpec, ...]
    thought: str
    absent: ToolSpec | None = None
    text: str = ""
    said: tuple[Bindings, ...] = ()


def _grouped(tools: Sequence[ToolSpec], key: Callable[[ToolSpec], str]) -> Mapping[str, list[ToolSpec]]:
    groups: dict[str, list[ToolSpec]] = {}
    for tool in tools:
        groups.setdefault(key(tool), []).append(tool)
    return groups


def _asking(messages: Sequence[str], asked: Sequence[tuple[ToolSpec, Bindings]]) -> Draft:
    """Messages that ask for these calls."""
    calls = tuple(reference(tool, bindings) for tool, bindings in asked)
    present = tuple({tool.name: tool for tool, _ in asked}.values())
    said = tuple(bindings for _, bindings in asked)
    return Draft(tuple(messages), calls, present, calls_thought(asked), said=said)


def _single(pool: Pool, random: Random) -> Draft | None:
    tool = pool.lead(random)
    if tool.gaps and random.random() < _FOLLOW_UP_SHARE * len(pool.tools) / pool.num_with_gaps:
        return follow_up(tool, random)
    query, bindings = _one_query(tool, random)
    return _asking([query], [(tool, bindings)])


def _one_query(tool: ToolSpec, random: Random) -> tuple[str, Bindings]:
    """A message that asks for one call, and what it binds."""
    is_request = random.random() < len(tool.imperatives) / (len(tool.imperatives) + len(tool.queries))
    text, bindings = _filled(random.choice(tool.imperatives if is_request else tool.queries), tool, random)
    return (phrasing.request(text, random) if is_request else text), bindings


def _filled(wording: Wording, tool: ToolSpec, random: Random) -> tuple[str, Bindings]:
    for _ in range(_MAX_FILLED):
        filled = fill(wording, tool.kinds, random)
        assert filled, "one call never lacks different values"
        text, (bindings,) = filled
        if is_own(tool) or not coincide(bindings, tool):
            break
    return text, bindings


def follow_up(tool: ToolSpec, random: Random) -> Draft:
    """The earlier exchange says what is wanted and all values but one; the last message gives that one."""
    gap = random.choice(tool.gaps)
    query, bindings = _filled(gap.query, tool, random)
    value = tool.kinds[gap.path].draw(random) if is_own(tool) else drawn(gap.path, tool.kinds, random, bindings)
    answer = phrasing.reply(value.words, random, not is_own(tool), _is_free(tool, gap.path, value))
    return _asking([query, gap.question, answer], [(tool, {**bindings, gap.path: value})])


def _is_free(tool: ToolSpec, path: str, value: Value) -> bool:
    """Whether a value could be taken for more than it is: one that requests put in quotes, or of many words."""
    if is_own(tool) or tool.declared is None:
        return False
    schema = tool.declared["parameters"]["properties"][path]
    is_text = types_of(schema) == ["string"] and not {"enum", "format"} & {*schema}
    is_long = is_text and len(value.words.split()) >= _MANY_WORDS
    return is_long or any(f'"{{{path}}}"' in form for form in clauses_of(path, schema, ()))


def _parallel_same(pool: Pool, random: Random) -> Draft | None:
    tool = pool.lead(random)
    wordings = [wording for wording in (*tool.imperatives, *tool.queries) if repeats(wording)]
    if not wordings:
        return None
    wording = random.choice(wordings)
    num_calls = random.choices((2, 3, 4), (60, 28, 12))[0]
    if random.random() < 0.3 and (path := _lone_slot(wording)):
        text, first = _filled(wording, tool, random)
        name = "" if is_own(tool) or not takes_like(path, first) else said_name(path)
        if name and not is_noun(path):
            return None
        others = [tool.kinds[path].draw(random) for _ in range(num_calls - 1)]
        each = [first, *({**first, path: value} for value in others)]
        if len({str(bindings[path].accepted) for bindings in each}) < num_calls:
            return None
        if not is_own(tool) and any(coincide(bindings, tool) for bindings in each):
            return None
        query = phrasing.request(text, random) if wording in tool.imperatives else text
        query = phrasing.same_for(query, [value.words for value in others], random, name)
    else:
        filled = fill(wording, tool.kinds, random, num_calls)
        if filled is None:
            return None
        text, each = filled
        if not is_own(tool) and any(coincide(bindings, tool) for bindings in each):
            return None
        query = phrasing.request(text, random) if wording in tool.imperatives else text
    return _asking([query], [(tool, bindings) for bindings in each])


def _lone_slot(wording: Wording) -> str:
    """The path of the only thing that the repeated clause says, or ""."""
    match repeats(wording):
        case Repeat((Slot(path),)):
            return path
        case _:
            return ""


def coincide(bindings: Bindings, tool: ToolSpec) -> bool:
    """Whether two arguments have the same text: nobody flies from Oslo to Oslo."""
    texts = [
        value.accepted[0]
        for path, value in bindings.items()
        if isinstance(value.accepted[0], str) and "enum" not in tool.kinds[path].schema
    ]
    return len(set(texts)) < len(texts)


def takes_like(path: str, bindings: Bindings) -> bool:
    """Whether another argument has a value of the same type and form, so that one value alone could be for either."""
    return any(_form(value) == _form(bindings[path]) for other, value in bindings.items() if other != path)


def _form(value: Value) -> str:
    accepted = value.accepted[0]
    if is_number(accepted):
        return "number"
    if not isinstance(accepted, str):
        return type(accepted).__name__
    return next((name for name, fits in FORMATS.items() if fits(accepted)), "text")


def _parallel_different(pool: Pool, random: Random) -> Draft | None:
    if pool.joints and random.random() < 0.25:
        return _joint(random.choice(pool.joints), pool, random)
    tools = [pool.lead(random)]
    num_tools = random.choices((2, 3), (75, 25))[0]
    for _ in range(_MAX_REDRAWS):
        tool = random.choice(pool.by_domain[tools[0].domain] if random.random() < 0.6 else pool.tools)
        if not any(tool is other or tool.name in other.rivals for other in tools):
            tools.append(tool)
        if len(tools) == num_tools:
            break
    if len(tools) < num_tools:
        return None
    spoken = [_filled(random.choice(tool.imperatives), tool, random) for tool in tools]
    imperatives = [text for text, _ in spoken]
    if tools[0].queries and random.random() < 0.3:
        text, bindings = _filled(random.choice(tools[0].queries), tools[0], random)
        spoken[0] = (text, bindings)
        query = phrasing.added(text, imperatives[1:], random)
    else:
        query = phrasing.requests(imperatives, random)
    return _asking([query], [(tool, bindings) for tool, (_, bindings) in zip(tools, spoken, strict=True)])


def _joint(joint: Joint, pool: Pool, random: Random) -> Draft | None:
    tools = [pool.by_name[name] for name in joint.names]
    kinds = {path: kind for tool in reversed(tools) for path, kind in tool.kinds.items()}
    for index, tool in enumerate(tools):
        kinds |= {f"{index}.{path}": kind for path, kind in tool.kinds.items()}
    filled = fill(joint.query, kinds, random)
    assert filled, "one call never lacks different values"
    query, (bindings,) = filled
    asked = []
    for index, tool in enumerate(tools):
        own = {path: value for path, value in bindings.items() if path in tool.kinds}
        own |= {path: bindings[f"{index}.{path}"] for path in tool.kinds if f"{index}.{path}" in bindings}
        asked.append((tool, own))
    return _asking([query], asked)


def _missing_info(pool: Pool, random: Random) -> Draft | None:
    tool = pool.lead(random)
    if not tool.gaps:
        return None
    gap = random.choice(tool.gaps)
    query, _ = _filled(gap.query, tool, random)
    return Draft((query,), (), (tool,), missing_thought(tool, gap.path), text=gap.question)


def _no_tool(pool: Pool, random: Random) -> Draft | None:
    if random.random() < _SMALL_TALK_SHARE:
        wording, answer = random.choice(pool.small_talk)
        filled = fill(wording, {path: kind_of(path) for path in slots(wording)}, random)
        assert filled, "one message never lacks different values"
        return Draft((filled[0],), (), (), NO_TOOL_ASKED, text=answer)
    absent = random.choice(pool.tools)
    return Draft((_one_query(absent, random)[0],), (), (), absent_thought(absent), absent)


DRAFTS: Mapping[str, Callable[[Pool, Random], Draft | None]] = {
    "single": _single,
    "parallel_same": _parallel_same,
    "parallel_different": _parallel_different,
    "missing_info": _missing_info,
    "no_tool": _no_tool,
}
