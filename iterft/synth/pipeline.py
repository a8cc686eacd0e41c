"""Samples from tools: dialogues are planned by rules, told by a backend, checked, and become rows with their
provenance.

Reproducible: dialogue i depends on the tools, the seed, the dialogues before it and what a teacher answers, so a run
that is taken up again from its journal ends as one that was never interrupted. Dialogues that are told side by side
are planned together and kept in their order, and are one entry of the journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from iterft.protocols import ChatFault
from iterft.rollout import settle
from iterft.synth.backend import RULES, Backend, Plan, Told
from iterft.synth.catalog import ToolSpec
from iterft.synth.dialogues import DIALOGUES, Decision, Dialogue
from iterft.synth.drafts import DRAFTS
from iterft.synth.grounding import leaves, said_on, ungrounded
from iterft.synth.leaks import overlap
from iterft.synth.near import NearDuplicates
from iterft.synth.rows import row_of
from iterft.synth.shown import candidates, excluded_names
from iterft.synth.sift import Judge
from iterft.synth.stock import Stock
from iterft.synth.world import World
from iterft.threads import side_by_side
from iterft.types import Prompt, Sample

SHARES: Mapping[str, float] = {
    "single": 0.30,
    "parallel_same": 0.12,
    "parallel_different": 0.14,
    "dependent": 0.15,
    "asked": 0.10,
    "summary": 0.07,
    "no_tool": 0.12,
}
"""Of the samples, by the kind of their dialogue. About 30 % of all decisions are to call nothing."""

CHECKS = ("rules", "verifier", "words", "near_duplicates")
"""What every sample has passed; those of tools that are not worded by hand also "grounding"."""
NEAR_DUPLICATE = "near duplicate"
_MAX_REDRAWS = 60
_DECISIONS = {"asked": 2, "dependent": 3}
"""How many samples a dialogue gives, where it is not one."""
_MOST_OF_SHARE, _SLACK = 2, 20
"""Where other kinds are given up, a kind takes at most twice its share (of so many samples more than there are): a few
calls among thousands of refusals are no data."""
_NUM_EXAMPLES = 400
_WHOLE_LIST_SHARE = 0.4
_MAX_WHOLE_LIST = 12
_MAX_CHARACTERS = 5000


@dataclass(frozen=True)
class Order:
    """What is wanted. `name` is only the beginning of ids. `runs`: word runs of evaluation data, which no sample may
    hold. `judge`: what else it must pass. `backend`: who tells the dialogues."""

    num_samples: int
    seed: int
    name: str
    with_thinking: bool
    runs: frozenset[str]
    judge: Judge
    backend: Backend = RULES


@dataclass
class Progress:
    """What was made so far: dialogues, empty places of them included, samples by kind of dialogue, empty places in a
    row by kind, of which `patience` make it given up, texts; and what was thrown away or happened on the way, by reason
    (of this process only)."""

    texts: NearDuplicates
    patience: int = 1
    num_dialogues: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    fruitless: Counter[str] = field(default_factory=Counter)
    redrawn: Counter[str] = field(default_factory=Counter)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Takes an entry of the journal."""
        for dialogue in entry["dialogues"]:
            kind = dialogue["kind"]
            self.num_dialogues += 1
            self.counts[kind] += dialogue["num_rows"]
            if dialogue["num_rows"]:
                self.texts.add(dialogue["asked"])
                self.fruitless[kind] = 0
            else:
                self.fruitless[kind] += 1

    @property
    def given_up(self) -> set[str]:
        """Kinds of which nothing new came."""
        return {kind for kind, number in self.fruitless.items() if number >= self.patience}


@dataclass(frozen=True)
class Place:
    """A place of one dialogue, and what came of it: rows, or none. `counted`: what was thrown away on the way."""

    kind: str
    asked: str = ""
    rows: Sequence[dict[str, Any]] = ()
    counted: Counter[str] = field(default_factory=Counter)


def nothing_yet(stock: Stock, backend: Backend = RULES) -> Progress:
    """The progress of a run that has not begun."""
    drawn = (DRAFTS["single"](stock.asked, Random(f"example {number}")) for number in range(_NUM_EXAMPLES))
    return Progress(NearDuplicates("\n".join(draft.messages[::2]) for draft in drawn if draft), backend.patience)


def synthesize(stock: Stock, order: Order, progress: Progress) -> Iterator[dict[str, Any]]:
    """Entries of a journal, each added to `progress`: {"dialogues", "rows"} of the dialogues that were told side by
    side. Ends when there are enough rows or nothing new can be made."""
    world = World({name: tool.returns for name, tool in stock.tools.items()}, order.seed)
    while kinds := _next_kinds(progress, order):
        first = progress.num_dialogues

        def filled(at: int, kinds: Sequence[str] = kinds, first: int = first) -> Place:
            return _filled(kinds[at], first + at, stock, world, order, progress)

        if len(kinds) == 1:
            places = [filled(0)]
        else:
            places = side_by_side(range(len(kinds)), filled, len(kinds), lambda at, place: None)
        entry = _entry(places, progress)
        progress.add(entry)
        yield entry


def _next_kinds(progress: Progress, order: Order) -> list[str]:
    """Kinds of the dialogues to be told next, side by side. [] when there are enough samples, or all kinds are given up
    or would outgrow the others."""
    counts = Counter(progress.counts)
    kinds: list[str] = []
    while len(kinds) < order.backend.width and counts.total() < order.num_samples:
        kind = _most_lacking(counts, progress.given_up)
        if not kind:
            break
        kinds.append(kind)
        counts[kind] += _DECISIONS.get(kind, 1)
    return kinds


def _most_lacking(counts: Counter[str], given_up: set[str]) -> str:
    """The kind that is furthest behind its share, "" when there is none."""
    total = counts.total() + 1
    alive = {
        kind: share
        for kind, share in SHARES.items()
        if kind not in given_up and counts[kind] < _MOST_OF_SHARE * share * (total + _SLACK)
    }
    return max(alive, key=lambda kind: alive[kind] * total / sum(alive.values()) - counts[kind], default="")


def _entry(places: Sequence[Place], progress: Progress) -> dict[str, Any]:
    """What is kept of dialogues that were told side by side: of two near duplicates the first. Counts what is not."""
    texts = NearDuplicates()
    kept: list[Place] = []
    for place in places:
        progress.redrawn.update(place.counted)
        if len(places) > 1 and place.rows:
            if texts.similarity(place.asked):
                progress.redrawn[NEAR_DUPLICATE] += 1
                place = Place(place.kind)
            else:
                texts.add(place.asked)
        kept.append(place)
    dialogues = [{"kind": place.kind, "asked": place.asked, "num_rows": len(place.rows)} for place in kept]
    return {"dialogues": dialogues, "rows": [row for place in kept for row in place.rows]}


def _filled(kind: str, number: int, stock: Stock, world: World, order: Order, progress: Progress) -> Place:
    """A dialogue that passes everything and is unlike those so far, or an empty place when no try gives one."""
    counted: Counter[str] = Counter()
    num_told = 0
    for attempt in range(_MAX_REDRAWS):
        scope = f"{order.seed} {number} {kind} {attempt}"
        plan, reason = _planned(kind, stock, world, scope)
        if plan is None:
            counted[reason] += 1
            continue
        told = _told(plan, stock, order, progress)
        if isinstance(told, Told):
            rows = [_row(sample, plan, told, stock) for sample in _samples(told.decisions, plan, order, told.source)]
            ids = (f"{order.name}-{order.seed}-{number:06d}/{at}" for at in range(1, len(rows) + 1))
            rows = [{**row, "id": name} for row, name in zip(rows, ids, strict=True)]
            return Place(kind, asked_in(told.decisions), rows, counted + told.counted)
        counted[told] += 1
        num_told += 1
        if num_told == order.backend.max_tries:
            break
    return Place(kind, counted=counted)


def _planned(kind: str, stock: Stock, world: World, scope: str) -> tuple[Plan | None, str]:
    """(a dialogue by rules, "") or (None, why this draw gives none)."""
    random = Random(scope)
    dialogue = DIALOGUES[kind](stock, world, random)
    if dialogue is None:
        return None, "no dialogue came of it"
    tools = shown_tools(stock, dialogue, random)
    if not tools:
        return None, "no tools to show"
    return Plan(kind, dialogue.draft, tools, dialogue.decide(tools, random), world.returns, scope), ""


def _told(plan: Plan, stock: Stock, order: Order, progress: Progress) -> Told | str:
    """The dialogue as the backend tells it, or why it is thrown away."""

    def fault(decisions: Sequence[Decision]) -> str:
        if progress.texts.similarity(asked_in(decisions)):
            return NEAR_DUPLICATE
        samples = _samples(decisions, plan, order, order.backend.name)
        faults = (_fault(sample, decision, stock, order) for sample, decision in zip(samples, decisions, strict=True))
        return next(filter(None, faults), "")

    try:
        return order.backend.tell(plan, fault)
    except ChatFault as chat_fault:
        return f"teacher: {chat_fault.reason}"


def _samples(decisions: Sequence[Decision], plan: Plan, order: Order, source: str) -> list[Sample]:
    schemas = tuple(tool.schema for tool in plan.tools)
    return [
        Sample(
            id=plan.scope,
            prompt=Prompt(decision.messages, schemas),
            answer=decision.answer,
            text=decision.text,
            source=source,
            kind=decision.kind,
            thought=decision.thought if order.with_thinking else "",
        )
        for decision in decisions
    ]


def asked_in(decisions: Sequence[Decision]) -> str:
    """All that the user says."""
    said = (message["content"] for message in decisions[-1].messages if message["role"] == "user")
    return "\n".join(said)


def _fault(sample: Sample, decision: Decision, stock: Stock, order: Order) -> str:
    """Why a sample cannot be kept, "" when it can."""
    if order.with_thinking and not sample.thought:
        return "no thought in the form wanted"
    if not (_is_by_hand(decision, stock) and decision.said) and ungrounded(sample):
        return "a value that nobody said"
    if _unheard(sample, decision):
        return "words that nobody said"
    if overlap(sample, order.runs):
        return "overlap with evaluation data"
    objections = order.judge(sample)
    return f"rule {objections[0].reason}" if objections else ""


def _unheard(sample: Sample, decision: Decision) -> bool:
    """Whether a value is neither said in its words nor in others that it can be found in."""
    heard = "\n".join(str(message["content"]) for message in sample.prompt.messages).lower()
    missing = [
        (path, value) for said in decision.said for path, value in said.items() if value.words.lower() not in heard
    ]
    if not missing:
        return False
    held = said_on(sample)
    return not all(
        held.holds(inner, leaf) for path, value in missing for inner, leaf in leaves(settle(value.accepted[0]), path)
    )


def _is_by_hand(decision: Decision, stock: Stock) -> bool:
    return any(stock.tools[call.name].by_hand for call in decision.answer)


def shown_tools(stock: Stock, dialogue: Dialogue, random: Random) -> list[ToolSpec]:
    """The tools of a dialogue: in part the user's whole list, else some of it among others; never one that would do for
    what is asked for in vain."""
    draft = dialogue.draft
    barred = excluded_names(draft) - {tool.name for tool in draft.present}

    def may_stand(tool: ToolSpec) -> bool:
        return tool.name not in barred and not (draft.absent and stock.is_alike(tool, draft.absent))

    if len(stock.asked.tools) <= _MAX_WHOLE_LIST and random.random() < _WHOLE_LIST_SHARE:
        own = [tool for tool in stock.asked.tools if may_stand(tool)]
        if own and sum(tool.num_characters for tool in own) <= _MAX_CHARACTERS:
            return random.sample(own, len(own))
    drawn = candidates(stock.shown, draft, random)
    chosen = [tool for tool in drawn if may_stand(tool)]
    if not chosen:
        others = (random.choice(stock.shown.tools) for _ in range(_MAX_REDRAWS))
        chosen = [tool for tool in others if may_stand(tool)][:1]
    return chosen


def _row(sample: Sample, plan: Plan, told: Told, stock: Stock) -> dict[str, Any]:
    """`provenance`: where a row comes from; `operators`: by which the tools it asks for were evolved."""
    names = list(dict.fromkeys(tool.name for tool in plan.draft.present))
    is_literal = not any(stock.tools[name].by_hand for name in names) or any(
        each.answer and not each.said for each in told.decisions
    )
    checks = [*CHECKS, "grounding"] if is_literal else list(CHECKS)
    operators = {name: list(stock.tools[name].operators) for name in names if stock.tools[name].operators}
    made = {"backend": told.source, "dialogue": plan.kind, "tools": names, "checks": checks, **told.provenance}
    return row_of(sample, provenance={**made, "operators": operators} if operators else made)
