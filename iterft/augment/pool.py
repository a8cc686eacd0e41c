"""Where distractors come from: a pool of tools, and what can be told of two tools, or a tool and a request, by words.

Words are compared by their first letters, a cheap stem. That is blind to synonyms, and to scripts without blanks; the
rules here keep accidents rare and cannot rule them out. Not here: which list gets how many (`lists`).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from operator import itemgetter
from pathlib import Path

from iterft.data import as_row, collector_paused
from iterft.readers import parts
from iterft.readers.parts import RowFault
from iterft.sources import rows
from iterft.types import Sample, Tool

STEM_LETTERS = 4
MAX_NEAR = 8
MAX_RARE_WORDS = 4
MAX_POSTINGS = 64
MAX_DRAWS = 32
"""So many tools are looked at for one distractor before it is given up."""
ALIKE_SHARE = 0.5
MIN_WORDS = 3

WORD = re.compile(r"[A-Z]*[^\W\d_A-Z]+|[A-Z]+")
NOT_IN_NAMES = re.compile(r"[\W_]+")
EMPTY_WORDS = frozenset(
    WORD.findall(
        """a about above after again all also am an and any api are as at available based be been by call called can
        check could data desired detail details did different do does during each etc fetch find following
        for from function get give given go had has have he hello help her hi how i id if in info
        information into is it its just know let like list look lookup make may me more my name need new no
        not number obtain of on one only optional or other our out parameter particular please provide
        provided query related request required result results retrieve return returns search see set she
        should show so some specific specified specify string such tell than thank thanks that the their
        them there these they this those to tool type up us use used user using value various via want was
        we what when where which who will with within without would you your"""
    )
)
"""Words that say nothing of what a tool or a request is about."""


class ToolPool:
    """Tools of distinct names, none of which the held-out part asks for. Remembers the words of all texts of tools that
    it was asked about, as lists repeat them."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self.tools = tuple(tools)
        self.words = lru_cache(maxsize=None)(words)
        self.bare = lru_cache(maxsize=None)(bare)

    @cached_property
    def by_word(self) -> dict[str, list[int]]:
        """Word of a name or description -> the tools that hold it."""
        index: dict[str, list[int]] = {}
        for number, tool in enumerate(self.tools):
            for word in self.own_words(tool):
                index.setdefault(word, []).append(number)
        return index

    def own_words(self, tool: Tool) -> frozenset[str]:
        """Those of its name and description."""
        return self.words(tool["name"]) | self.words(description_of(tool))

    def random_tools(self, rng: random.Random) -> Iterator[Tool]:
        for _ in range(MAX_DRAWS if self.tools else 0):
            yield self.tools[int(rng.random() * len(self.tools))]

    def near_tools(self, tool: Tool, rng: random.Random) -> list[Tool]:
        """Tools that share the most of this one's rarest words, in random order. Common words are not looked at: they
        are slow to follow and say little."""
        lists = [self.by_word[word] for word in self.own_words(tool) if word in self.by_word]
        found = [numbers for numbers in lists if len(numbers) > 1 or self.tools[numbers[0]]["name"] != tool["name"]]
        found.sort(key=lambda numbers: (len(numbers), numbers))
        counts = Counter(chain.from_iterable(numbers[:MAX_POSTINGS] for numbers in found[:MAX_RARE_WORDS]))
        nearest = sorted(counts.items(), key=itemgetter(1), reverse=True)[:MAX_NEAR]
        return [self.tools[number] for number, _ in rng.sample(nearest, len(nearest))]

    def is_alike(self, tool: Tool, other: Tool) -> bool:
        """Whether one could well stand in for the other: the words of one name are among those of the other, or half of
        all words of the two descriptions are common to both."""
        name, other_name = self.words(tool["name"]), self.words(other["name"])
        if name and other_name and (name <= other_name or other_name <= name):
            return True
        said, other_said = self.words(description_of(tool)), self.words(description_of(other))
        return len(said & other_said) > ALIKE_SHARE * len(said | other_said)

    def is_unrelated(self, tool: Tool, asked: frozenset[str]) -> bool:
        """Whether no word of its name, its description and the names of its parameters is among those `asked`. A tool
        that says next to nothing of itself counts as related: it may do anything."""
        own = self.own_words(tool)
        known = len(own) >= MIN_WORDS and asked.isdisjoint(own)
        return known and asked.isdisjoint(self.words(parameters_of(tool)))


@collector_paused()
def load_pool(file: str, samples: Sequence[Sample], held_out: Sequence[Sample]) -> ToolPool:
    """The tools of `file`, or those of `samples` when it is "". Left out are those that have a name of a reference tool
    of `held_out`, however it is spelt, and the later ones of several of one name."""
    tools = read_tools(Path(file)) if file else (tool for sample in samples for tool in sample.prompt.tools)
    first: dict[str, Tool] = {}
    for tool in tools:
        first.setdefault(tool["name"], tool)
    known = {bare(call.name) for sample in held_out for call in sample.answer}
    kept = []
    for tool in first.values():
        if (name := bare(tool["name"])) not in known:
            known.add(name)
            kept.append(tool)
    return ToolPool(kept)


def read_tools(path: Path) -> Iterator[Tool]:
    """The tools of a file, one a row, in OpenAI's form, Anthropic's or that of MCP. ValueError for a row that holds
    none."""
    if not path.is_file():
        raise ValueError(f"data.tool_pool {path}: no such file; give a file of tools, or leave it empty")
    for number, content in rows(str(path), "data.tool_pool"):
        try:
            yield from parts.read_tools(as_row(content))
        except RowFault as fault:
            raise ValueError(f"data.tool_pool {path}: line {number}: {fault}; mend or remove the row") from fault


def unrelated_tools(
    pool: ToolPool, sample: Sample, taken: Sequence[Tool], num_tools: int, rng: random.Random
) -> list[Tool]:
    """Up to so many tools of the pool that are unrelated to the request and to the right tools that were `taken`."""
    asked = asked_words([sample], taken)
    found: dict[str, Tool] = {}
    for _ in range(num_tools):
        for tool in pool.random_tools(rng):
            if tool["name"] not in found and pool.is_unrelated(tool, asked):
                found[tool["name"]] = tool
                break
    return list(found.values())


def asked_words(samples: Sequence[Sample], taken: Sequence[Tool]) -> frozenset[str]:
    """What the requests are about: the words of all that the users said, and of the right tools taken away."""
    said = [
        str(message.get("content") or "")
        for sample in samples
        for message in sample.prompt.messages
        if message["role"] == "user"
    ]
    shown = [f"{tool['name']} {description_of(tool)} {parameters_of(tool)}" for tool in taken]
    return words(" ".join(said + shown))


def words(text: str) -> frozenset[str]:
    """The beginnings of all words that say something, in lower case; names are cut at underscores and capitals."""
    return frozenset([word[:STEM_LETTERS] for word in {*map(str.lower, WORD.findall(text))} - EMPTY_WORDS])


def description_of(tool: Tool) -> str:
    return str(tool.get("description") or "")


def parameters_of(tool: Tool) -> str:
    properties = (tool.get("parameters") or {}).get("properties")
    return " ".join(properties) if isinstance(properties, dict) else ""


def bare(name: str) -> str:
    """A name without what only spells it differently: case, underscores, dots."""
    return NOT_IN_NAMES.sub("", name).lower()
