"""Dialogues about anybody's tools: what a user asks, what an assistant decides, what tools answer; one kind a function.

    single, parallel_same, parallel_different    one decision, from `drafts`
    asked         a value is missing: the assistant asks, is told, and calls        (two decisions)
    dependent     the second call needs what the first returns; then a summary      (three decisions)
    summary       the results are there: say what they are
    no_tool       no tool fits, or none is needed

A decision is what becomes a sample: everything before it is its prompt. Not here: which tools are shown, shares, checks
(`pipeline`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from iterft.rollout import settle_call
from iterft.synth import phrasing
from iterft.synth.catalog import ToolSpec, reference
from iterft.synth.clauses import said_name
from iterft.synth.deeds import gist
from iterft.synth.drafts import DRAFTS, Draft, follow_up
from iterft.synth.shown import messages_of, reply_of
from iterft.synth.stock import Stock
from iterft.synth.thoughts import ALL_ANSWERED, calls_thought, missing_thought
from iterft.synth.values import Value
from iterft.synth.wording import Bindings, fill
from iterft.synth.world import World, told
from iterft.types import Message, ToolCall

_BUILT_IN_ABSENT_SHARE = 0.5
"""Of requests for a tool that is not there: so many are for a built-in one, worded by hand."""

_CHAINS = (
    "{!} and then {} with the {name} from the result.",
    "First {}. Then {}, using the {name} that you get.",
    "I need you to {}. With the {name} it returns, {}.",
    "Please {}, then {} for the {name} that comes back.",
    "{!}. Take the {name} from that and {}.",
    "Could you {}, and with that {name} {}?",
)


@dataclass(frozen=True)
class Decision:
    """One turn of the assistant and what it follows. `text` "" with calls; `thought` and `said` as in `Draft`."""

    kind: str
    messages: tuple[Message, ...]
    answer: tuple[ToolCall, ...]
    text: str
    thought: str
    said: tuple[Bindings, ...] = ()


@dataclass(frozen=True)
class Dialogue:
    """`draft`: which tools must and must not be shown. `decide` waits for those that are, as refusals speak of them."""

    draft: Draft
    decide: Callable[[Sequence[ToolSpec], Random], list[Decision]]


Maker = Callable[[Stock, World, Random], Dialogue | None]


def _plain(kind: str) -> Maker:
    """The dialogue of a draft with one decision."""

    def make(stock: Stock, world: World, random: Random) -> Dialogue | None:
        pool = stock.asked
        if kind == "no_tool" and stock.others.tools and random.random() < _BUILT_IN_ABSENT_SHARE:
            pool = stock.others
        draft = DRAFTS[kind](pool, random)
        if draft is None:
            return None

        def decide(tools: Sequence[ToolSpec], random: Random) -> list[Decision]:
            text = _reply(draft, tools, random)
            return [Decision(kind, messages_of(draft), draft.calls, text, draft.thought, draft.said)]

        return Dialogue(draft, decide)

    return make


def _reply(draft: Draft, tools: Sequence[ToolSpec], random: Random) -> str:
    """What is said instead of a call. What could be done instead is not said to be all where other tools are shown."""
    if draft.calls or draft.absent is None:
        return reply_of(draft, tools, random)
    related = [tool.deed for tool in tools if tool.domain == draft.absent.domain]
    return phrasing.refusal(draft.absent.deed, related, random, len(tools))


def _asked(stock: Stock, world: World, random: Random) -> Dialogue | None:
    tool = stock.asked.lead(random)
    if not tool.gaps:
        return None
    draft = follow_up(tool, random)
    first, *_ = messages = messages_of(draft)
    missing = next(gap.path for gap in tool.gaps if gap.question == draft.messages[1])
    decisions = [
        Decision("missing_info", (first,), (), draft.messages[1], missing_thought(tool, missing)),
        Decision("single", messages, draft.calls, "", draft.thought, draft.said),
    ]
    return Dialogue(draft, lambda tools, random: decisions)


def _summary(stock: Stock, world: World, random: Random) -> Dialogue | None:
    draft = DRAFTS["parallel_same" if random.random() < 0.25 else "single"](stock.asked, random)
    if draft is None or len(draft.calls) > 2:
        return None
    calls = [settle_call(call) for call in draft.calls]
    results = [world.answer(call) for call in calls]
    text = _told(stock, calls, results, random)
    messages = (*messages_of(draft), *turn(calls, results))
    return Dialogue(draft, lambda tools, random: [Decision("summary", messages, (), text, ALL_ANSWERED)])


def _dependent(stock: Stock, world: World, random: Random) -> Dialogue | None:
    if not stock.links:
        return None
    link = random.choice(stock.links)
    first, second = stock.tools[link.producer], stock.tools[link.consumer]
    one = fill(random.choice(first.spec.imperatives), first.spec.kinds, random)
    other = fill(random.choice(second.partials[link.parameter]), second.spec.kinds, random)
    assert one and other, "one call never lacks different values"
    frame = random.choice(_CHAINS).replace("{name}", said_name(link.parameter))
    query = phrasing.framed(frame, [one[0], other[0]])
    opening = reference(first.spec, one[1][0])
    made = settle_call(opening)
    result = world.success(made)
    value = value_at(result, link.field)
    if value is None:
        return None
    words = Value(str(value), (value,))
    bindings = {**other[1][0], link.parameter: words}
    closing = reference(second.spec, bindings)
    steps = [(first.spec, one[1][0]), (second.spec, bindings)]
    draft = Draft(
        (query,), (opening, closing), (first.spec, second.spec), calls_thought(steps), said=(steps[0][1], bindings)
    )
    asked = messages_of(draft)
    between = (*asked, *turn([made], [result]))
    done = settle_call(closing)
    final = world.answer(done)
    decisions = [
        Decision("dependent", asked, (opening,), "", calls_thought(steps[:1]), draft.said[:1]),
        Decision("dependent", between, (closing,), "", calls_thought(steps[1:]), draft.said[1:]),
        Decision(
            "summary", (*between, *turn([done], [final])), (), _told(stock, [done], [final], random), ALL_ANSWERED
        ),
    ]
    return Dialogue(draft, lambda tools, random: decisions)


def _told(stock: Stock, calls: Sequence[ToolCall], results: Sequence[Any], random: Random) -> str:
    gists = [gist(call.name, stock.tools[call.name].spec.description) for call in calls]
    return told(calls, results, gists, random)


def turn(calls: Sequence[ToolCall], results: Sequence[Any]) -> tuple[Message, ...]:
    """The messages of a turn that calls, and of its results."""
    made = [{"name": call.name, "arguments": call.arguments} for call in calls]
    answers = (
        {"role": "tool", "name": call.name, "content": json.dumps(result, ensure_ascii=False)}
        for call, result in zip(calls, results, strict=True)
    )
    return ({"role": "assistant", "content": "", "tool_calls": made}, *answers)


def value_at(result: Any, path: str) -> Any:
    """What stands at a path of a result, "" being all of it; of a list, in its first item. None where there is
    nothing."""
    for part in path.split("."):
        name = part.removesuffix("[]")
        if isinstance(result, list):
            result = result[0] if result else None
        if name:
            result = result.get(name) if isinstance(result, dict) else None
        if part.endswith("[]"):
            result = result[0] if isinstance(result, list) and result else None
    return result if isinstance(result, str | int | float) else None


DIALOGUES: Mapping[str, Maker] = {
    **{kind: _plain(kind) for kind in ("single", "parallel_same", "parallel_different", "no_tool")},
    "asked": _asked,
    "summary": _summary,
    "dependent": _dependent,
}
