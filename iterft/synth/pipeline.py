"""The rules backend: samples from tools, with no model. Dialogues are drawn, checked, and become rows with their
provenance.

Reproducible: dialogue i depends on the tools, the seed and the dialogues before it, so a run that is taken up again
from its journal ends as one that was never interrupted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from iterft.synth.catalog import ToolSpec
from iterft.synth.dialogues import DIALOGUES, Decision, Dialogue
from iterft.synth.drafts import DRAFTS
from iterft.synth.grounding import ungrounded
from iterft.synth.leaks import overlap
from iterft.synth.near import NearDuplicates
from iterft.synth.rows import row_of
from iterft.synth.shown import candidates, excluded_names
from iterft.synth.sift import Judge
from iterft.synth.stock import Stock
from iterft.synth.world import World
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
_MAX_REDRAWS = 60
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
    hold. `judge`: what else it must pass. `whole_list`: the tools that every sample shows, in this order; () where each
    dialogue gets a list of its own."""

    num_samples: int
    seed: int
    name: str
    with_thinking: bool
    runs: frozenset[str]
    judge: Judge
    whole_list: Sequence[ToolSpec] = ()


@dataclass
class Progress:
    """What was made so far: dialogues, samples by kind of dialogue, kinds given up as nothing new came, texts; and
    draws that were thrown away, by reason (of this process only)."""

    texts: NearDuplicates
    num_dialogues: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    given_up: set[str] = field(default_factory=set)
    redrawn: Counter[str] = field(default_factory=Counter)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Takes an entry of the journal."""
        if "given_up" in entry:
            self.given_up.add(entry["given_up"])
            return
        self.num_dialogues += 1
        self.counts[entry["kind"]] += len(entry["rows"])
        self.texts.add(entry["asked"])


def nothing_yet(stock: Stock, earlier: Iterable[str] = ()) -> Progress:
    """The progress of a run that has not begun. `earlier`: what is asked in other files, which it must be unlike."""
    drawn = (DRAFTS["single"](stock.asked, Random(f"example {number}")) for number in range(_NUM_EXAMPLES))
    texts = NearDuplicates("\n".join(draft.messages[::2]) for draft in drawn if draft)
    for text in earlier:
        texts.add(text)
    return Progress(texts)


def synthesize(stock: Stock, order: Order, progress: Progress) -> Iterator[dict[str, Any]]:
    """Entries of a journal, each added to `progress`: {"kind", "asked", "rows"} of a dialogue, or {"given_up": kind}.
    Ends when there are enough rows or nothing new can be made."""
    world = world_of(stock, order)
    while progress.counts.total() < order.num_samples:
        kind = _most_lacking(progress)
        if not kind:
            return
        entry = _fresh_entry(kind, stock, world, order, progress) or {"given_up": kind}
        progress.add(entry)
        yield entry


def world_of(stock: Stock, order: Order) -> World:
    """What answers the calls of the dialogues."""
    return World({name: tool.returns for name, tool in stock.tools.items()}, order.seed)


def _most_lacking(progress: Progress) -> str:
    """The kind that is furthest behind its share, "" when all are given up or would outgrow the others."""
    total = progress.counts.total() + 1
    alive = {
        kind: share
        for kind, share in SHARES.items()
        if kind not in progress.given_up and progress.counts[kind] < _MOST_OF_SHARE * share * (total + _SLACK)
    }
    return max(alive, key=lambda kind: alive[kind] * total / sum(alive.values()) - progress.counts[kind], default="")


def _fresh_entry(kind: str, stock: Stock, world: World, order: Order, progress: Progress) -> dict[str, Any] | None:
    """A dialogue that passes everything and is unlike those so far, None when no draw gives one."""
    for attempt in range(_MAX_REDRAWS):
        number = progress.num_dialogues
        random = Random(f"{order.seed} {number} {kind} {attempt}")
        entry, reason = drawn_entry(kind, stock, world, order, number, progress.texts, random)
        if entry:
            return entry
        progress.redrawn[reason] += 1
    return None


def drawn_entry(
    kind: str,
    stock: Stock,
    world: World,
    order: Order,
    number: int,
    texts: NearDuplicates,
    random: Random,
    level: int = 0,
) -> tuple[dict[str, Any] | None, str]:
    """(dialogue `number`, drawn anew, unlike `texts`, "") or (None, why this draw gives none). `level`: of the list of
    tools, see `shown.candidates`."""
    dialogue = DIALOGUES[kind](stock, world, random)
    if dialogue is None:
        return None, "no dialogue came of it"
    if texts.similarity(dialogue.asked):
        return None, "near duplicate"
    rows, reason = _rows(kind, dialogue, stock, order, number, random, level)
    return ({"kind": kind, "asked": dialogue.asked, "rows": rows}, "") if rows else (None, reason)


def _rows(
    kind: str, dialogue: Dialogue, stock: Stock, order: Order, number: int, random: Random, level: int
) -> tuple[list[dict[str, Any]], str]:
    """(the rows of a dialogue, "") or ([], why it is thrown away)."""
    tools = shown_tools(stock, dialogue, order.whole_list, random, level)
    if not tools:
        return [], "no tools to show"
    schemas = tuple(tool.schema for tool in tools)
    rows = []
    for at, decision in enumerate(dialogue.decide(tools, random), start=1):
        sample = Sample(
            id=f"{order.name}-{order.seed}-{number:06d}/{at}",
            prompt=Prompt(decision.messages, schemas),
            answer=decision.answer,
            text=decision.text,
            source="rules",
            kind=decision.kind,
            thought=decision.thought if order.with_thinking else "",
        )
        if reason := _fault(sample, decision, stock, order):
            return [], reason
        rows.append(row_of(sample, provenance=_provenance(kind, dialogue, stock)))
    return rows, ""


def _fault(sample: Sample, decision: Decision, stock: Stock, order: Order) -> str:
    """Why a sample cannot be kept, "" when it can."""
    if not _is_by_hand(decision, stock) and ungrounded(sample):
        return "a value that nobody said"
    heard = "\n".join(str(message["content"]) for message in sample.prompt.messages).lower()
    if any(value.words.lower() not in heard for said in decision.said for value in said.values()):
        return "words that nobody said"
    if overlap(sample, order.runs):
        return "overlap with evaluation data"
    objections = order.judge(sample)
    return f"rule {objections[0].reason}" if objections else ""


def _is_by_hand(decision: Decision, stock: Stock) -> bool:
    return any(stock.tools[call.name].by_hand for call in decision.answer)


def shown_tools(
    stock: Stock, dialogue: Dialogue, whole_list: Sequence[ToolSpec], random: Random, level: int = 0
) -> list[ToolSpec]:
    """The tools of a dialogue: the `whole_list`, or none where it does not suit the dialogue. Without one, in part
    (below level 0 never) the user's whole list, else some of it among others. Never one that would do for what is
    asked for in vain."""
    draft = dialogue.draft
    barred = excluded_names(draft) - {tool.name for tool in draft.present}

    def may_stand(tool: ToolSpec) -> bool:
        return tool.name not in barred and not (draft.absent and stock.is_alike(tool, draft.absent))

    if whole_list:
        return list(whole_list) if all(map(may_stand, whole_list)) else []
    may_be_whole = level >= 0 and len(stock.asked.tools) <= _MAX_WHOLE_LIST
    if may_be_whole and random.random() < _WHOLE_LIST_SHARE:
        own = [tool for tool in stock.asked.tools if may_stand(tool)]
        if own and sum(tool.num_characters for tool in own) <= _MAX_CHARACTERS:
            return random.sample(own, len(own))
    drawn = candidates(stock.shown, draft, random, level)
    chosen = [tool for tool in drawn if may_stand(tool)]
    if not chosen:
        others = (random.choice(stock.shown.tools) for _ in range(_MAX_REDRAWS))
        chosen = [tool for tool in others if may_stand(tool)][:1]
    return chosen


def _provenance(kind: str, dialogue: Dialogue, stock: Stock) -> dict[str, Any]:
    """Where a row comes from. `operators`: by which the tools it asks for were evolved."""
    names = list(dict.fromkeys(tool.name for tool in dialogue.draft.present))
    checks = CHECKS if any(stock.tools[name].by_hand for name in names) else (*CHECKS, "grounding")
    operators = {name: list(stock.tools[name].operators) for name in names if stock.tools[name].operators}
    made = {"backend": "rules", "dialogue": kind, "tools": names, "checks": list(checks)}
    return {**made, "operators": operators} if operators else made
