"""Samples from tools: dialogues are planned by rules, told by a backend, checked, and become rows with their
provenance.

Reproducible: dialogue i depends on the tools, the seed, the dialogues before it and what a teacher answers, so a run
that is taken up again from its journal ends as one that was never interrupted. Dialogues that are told side by side
are planned together and kept in their order, and are one entry of the journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from iterft.synth.shares import SHARES
from iterft.synth.shown import candidates, excluded_names
from iterft.synth.sift import Judge
from iterft.synth.stock import Stock
from iterft.synth.world import World
from iterft.threads import side_by_side
from iterft.types import Prompt, Sample

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


Entry = dict[str, Any]
"""A dialogue as it is journalled, see `synthesize`."""


@dataclass(frozen=True)
class Order:
    """What is wanted. `name` is only the beginning of ids. `runs`: word runs of evaluation data, which no sample may
    hold. `judge`: what else it must pass. `backend`: who tells the dialogues. `whole_list`: the tools
    that every sample shows, in this order; () where each dialogue gets a list of its own. `shares`: of the samples, by
    kind of dialogue. `alone_share`: of the dialogues, see `shown_tools`."""

    num_samples: int
    seed: int
    name: str
    with_thinking: bool
    runs: frozenset[str]
    judge: Judge
    backend: Backend = RULES
    whole_list: Sequence[ToolSpec] = ()
    shares: Mapping[str, float] = field(default_factory=lambda: SHARES)
    alone_share: float = 0.0


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
        kind = entry["kind"]
        self.num_dialogues += 1
        self.counts[kind] += len(entry["rows"])
        if entry["rows"]:
            self.texts.add(entry["asked"])
            self.fruitless[kind] = 0
        else:
            self.fruitless[kind] += 1

    @property
    def given_up(self) -> set[str]:
        """Kinds of which nothing new came."""
        return {kind for kind, number in self.fruitless.items() if number >= self.patience}


def nothing_yet(stock: Stock, backend: Backend = RULES, earlier: Iterable[str] = ()) -> Progress:
    """The progress of a run that has not begun. `earlier`: what is asked in other files, which it must be unlike."""
    drawn = (DRAFTS["single"](stock.asked, Random(f"example {number}")) for number in range(_NUM_EXAMPLES))
    texts = NearDuplicates("\n".join(draft.messages[::2]) for draft in drawn if draft)
    for text in earlier:
        texts.add(text)
    return Progress(texts, backend.patience)


def synthesize(stock: Stock, order: Order, progress: Progress) -> Iterator[Entry]:
    """Entries of a journal, each added to `progress`: {"kind", "asked", "rows"} of a dialogue, without rows where its
    place stays empty; "more": how many are still to come of those that were told side by side. Ends when there are
    enough rows or nothing new can be made."""
    world = world_of(stock, order)
    while kinds := _next_kinds(progress, order):
        first = progress.num_dialogues

        def filled(at: int, kinds: Sequence[str] = kinds, first: int = first) -> tuple[Entry, Counter[str]]:
            return _filled(kinds[at], first + at, stock, world, order, progress.texts)

        if len(kinds) == 1:
            places = [filled(0)]
        else:
            places = side_by_side(range(len(kinds)), filled, len(kinds), lambda at, place: None)
        for entry in _kept(places, progress):
            progress.add(entry)
            yield entry


def world_of(stock: Stock, order: Order) -> World:
    """What answers the calls of the dialogues."""
    return World({name: tool.returns for name, tool in stock.tools.items()}, order.seed)


def _next_kinds(progress: Progress, order: Order) -> list[str]:
    """Kinds of the dialogues to be told next, side by side. [] when there are enough samples, or all kinds are given up
    or would outgrow the others."""
    counts = Counter(progress.counts)
    kinds: list[str] = []
    while len(kinds) < order.backend.width and counts.total() < order.num_samples:
        kind = _most_lacking(counts, progress.given_up, order.shares)
        if not kind:
            break
        kinds.append(kind)
        counts[kind] += _DECISIONS.get(kind, 1)
    return kinds


def _most_lacking(counts: Counter[str], given_up: set[str], shares: Mapping[str, float]) -> str:
    """The kind that is furthest behind its share, "" when there is none."""
    total = counts.total() + 1
    alive = {
        kind: share
        for kind, share in shares.items()
        if kind not in given_up and counts[kind] < _MOST_OF_SHARE * share * (total + _SLACK)
    }
    return max(alive, key=lambda kind: alive[kind] * total / sum(alive.values()) - counts[kind], default="")


def _kept(places: Sequence[tuple[Entry, Counter[str]]], progress: Progress) -> list[Entry]:
    """What is kept of dialogues that were told side by side: of two near duplicates the first. Counts what is not."""
    texts = NearDuplicates()
    kept: list[Entry] = []
    for entry, counted in places:
        progress.redrawn.update(counted)
        if len(places) > 1 and entry["rows"]:
            if texts.similarity(entry["asked"]):
                progress.redrawn[NEAR_DUPLICATE] += 1
                entry = _empty(entry["kind"])
            else:
                texts.add(entry["asked"])
        left = len(places) - len(kept) - 1
        kept.append({**entry, "more": left} if left else entry)
    return kept


def _filled(
    kind: str, number: int, stock: Stock, world: World, order: Order, texts: NearDuplicates
) -> tuple[Entry, Counter[str]]:
    """(a dialogue that passes everything and is unlike `texts`, or an empty place when no try gives one, what happened
    on the way)."""
    counted: Counter[str] = Counter()
    num_told = 0
    for attempt in range(_MAX_REDRAWS):
        plan, reason = _planned(kind, stock, world, order, f"{order.seed} {number} {kind} {attempt}")
        if plan is None:
            counted[reason] += 1
            continue
        told = _told(plan, stock, order, texts)
        if isinstance(told, Told):
            return _entry(plan, told, stock, order, number), counted + told.counted
        counted[told] += 1
        num_told += 1
        if num_told == order.backend.max_tries:
            break
    return _empty(kind), counted


def drawn_entry(
    kind: str, stock: Stock, world: World, order: Order, number: int, texts: NearDuplicates, scope: str, level: int = 0
) -> tuple[Entry | None, str]:
    """(dialogue `number`, drawn anew from `scope`, unlike `texts`, "") or (None, why this draw gives none). `level`: of
    the list of tools, see `shown.candidates`."""
    plan, reason = _planned(kind, stock, world, order, scope, level)
    if plan is None:
        return None, reason
    told = _told(plan, stock, order, texts)
    return (_entry(plan, told, stock, order, number), "") if isinstance(told, Told) else (None, told)


def _empty(kind: str) -> Entry:
    return {"kind": kind, "asked": "", "rows": []}


def _entry(plan: Plan, told: Told, stock: Stock, order: Order, number: int) -> Entry:
    rows = [_row(sample, plan, told, stock) for sample in _samples(told.decisions, plan, order, told.source)]
    named = [{**row, "id": f"{order.name}-{order.seed}-{number:06d}/{at}"} for at, row in enumerate(rows, start=1)]
    return {"kind": plan.kind, "asked": asked_in(told.decisions), "rows": named}


def _planned(
    kind: str, stock: Stock, world: World, order: Order, scope: str, level: int = 0
) -> tuple[Plan | None, str]:
    """(a dialogue by rules, "") or (None, why this draw gives none)."""
    random = Random(scope)
    dialogue = DIALOGUES[kind](stock, world, random)
    if dialogue is None:
        return None, "no dialogue came of it"
    tools = shown_tools(stock, dialogue, order, random, level)
    if not tools:
        return None, "no tools to show"
    return Plan(kind, dialogue.draft, tools, dialogue.decide(tools, random), world.returns, scope), ""


def _told(plan: Plan, stock: Stock, order: Order, texts: NearDuplicates) -> Told | str:
    """The dialogue as the backend tells it, or why it is thrown away."""

    def fault(decisions: Sequence[Decision]) -> str:
        if texts.similarity(asked_in(decisions)):
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
    """Whether a value is neither said in its words nor in others that it can be found in. Only what a clause implies
    needs no words."""
    heard = "\n".join(str(message["content"]) for message in sample.prompt.messages).lower()
    spoken = [each for said in decision.said for each in said.items() if not each[1].is_implied]
    if not all(value.words for _, value in spoken):
        return True
    missing = [(path, value) for path, value in spoken if value.words.lower() not in heard]
    if not missing:
        return False
    held = said_on(sample)
    return not all(
        held.holds(inner, leaf) for path, value in missing for inner, leaf in leaves(settle(value.accepted[0]), path)
    )


def _is_by_hand(decision: Decision, stock: Stock) -> bool:
    return any(stock.tools[call.name].by_hand for call in decision.answer)


def shown_tools(stock: Stock, dialogue: Dialogue, order: Order, random: Random, level: int = 0) -> list[ToolSpec]:
    """The tools of a dialogue: the `whole_list`, or none where it does not suit the dialogue. Without one, in part
    (below level 0 never) the user's whole list, else some of it among others; but in `alone_share` of the dialogues
    (above level 0 never) what they need alone, a single tool where they need none. Never one that would do for what is
    asked for in vain."""
    draft = dialogue.draft
    barred = excluded_names(draft) - {tool.name for tool in draft.present}

    def may_stand(tool: ToolSpec) -> bool:
        return tool.name not in barred and not stock.might_do(tool, draft)

    if order.whole_list:
        return list(order.whole_list) if all(map(may_stand, order.whole_list)) else []
    is_alone = level <= 0 and order.alone_share > 0 and random.random() < order.alone_share
    if is_alone and draft.present:
        return random.sample(draft.present, len(draft.present))
    may_be_whole = not is_alone and level >= 0 and len(stock.asked.tools) <= _MAX_WHOLE_LIST
    if may_be_whole and random.random() < _WHOLE_LIST_SHARE:
        own = [tool for tool in stock.asked.tools if may_stand(tool)]
        if own and sum(tool.num_characters for tool in own) <= _MAX_CHARACTERS:
            return random.sample(own, len(own))
    drawn = candidates(stock.shown, draft, random, level)
    chosen = [tool for tool in drawn if may_stand(tool)]
    if not chosen:
        others = (random.choice(stock.shown.tools) for _ in range(_MAX_REDRAWS))
        chosen = [tool for tool in others if may_stand(tool)][:1]
    return chosen[:1] if is_alone else chosen


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
