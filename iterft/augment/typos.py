"""Typing errors in the last message of the user, as people make them: a neighbouring key, two letters swapped, one
dropped or doubled, the first capital or the last sign lost.

Only plain words of four letters and more are hurt, behind their first letter, once each. Left alone is whatever the
reference may have its values from: every word that shares its beginning with a word of an accepted value, of an `enum`
of the tools called, of an earlier call or of what a think part quotes, or that names a flag; numbers, dates and their
words; names (capitals inside a sentence), quotes, code, addresses. And no typo makes a word that occurs anywhere in
the data, as then it would say something else.
"""

from __future__ import annotations

import random
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from iterft.augment.pool import EMPTY_WORDS, STEM_LETTERS, WORD, description_of, parameters_of
from iterft.augment.request import HOLE, Edit, begins_sentence, calls_made, open_text, texts_in, values_of
from iterft.types import Sample
from iterft.ways_to_write import MONTHS, NUMBER_WORDS

LEAST, MOST = 8, 12
"""Words to one typo."""
MIN_LETTERS = 4
MAX_DRAWS = 8
CAPITAL_SHARE = 0.3
"""How often a word at the beginning loses its capital rather than a letter."""
SORTS = ("swapped", "doubled", "neighbour", "dropped")
WEIGHTS = (3, 2, 3, 3)
NUM_SHORT_SORTS = 2
"""Of the sorts, those that short words may have: with another letter, or one less, "book" is soon "boo"."""
SHORT = 4

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NEIGHBOURS = {
    letter: "".join(
        row[place]
        for near, row in enumerate(ROWS)
        for place in ((at - 1, at + 1) if near == number else (at, at + 1) if near == number - 1 else (at - 1, at))
        if abs(near - number) <= 1 and 0 <= place < len(row)
    )
    for number, keys in enumerate(ROWS)
    for at, letter in enumerate(keys)
}
"""The keys around a key of an English keyboard, whose rows are set off by half a key."""

PLAIN = re.compile(rf"(?<!\S)\(?([A-Za-z][a-z]{{{MIN_LETTERS - 1},}})(?=[.,!?;:)]*(?:\s|\Z))")
ENDING = re.compile(r"(?<!\S)[A-Za-z]*[a-z]([.!?])\s*\Z")
LETTERS = re.compile(r"[A-Za-z]+")
QUOTED = re.compile(r'"([^"]+)"')
TIMES_AND_NUMBERS = frozenset(map(str.lower, [*MONTHS, *NUMBER_WORDS])).union(
    LETTERS.findall(
        """monday tuesday wednesday thursday friday saturday sunday today tonight tomorrow yesterday noon midday
        midnight morning afternoon evening night weekend thirteen fourteen fifteen sixteen seventeen eighteen
        nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion dozen half
        quarter quarters third thirds first second fourth fifth sixth seventh eighth ninth tenth once twice double
        triple percent cent true false with without couple pair both single every daily weekly monthly
        yearly hourly"""
    )
)

SOON_MADE = frozenset(
    LETTERS.findall(
        """form forms dose though thorough thou quite being bring tale pace hose loss loose wrote white whit store
        sore tired tried trail trial angel angle diary dairy clam calm silver sliver untied untie ones cars tier fist
        firs sing sign filed field fried dated sated right night light sight might place palace poem sown mono"""
    )
)
"""Words that a slip soon makes of common ones, should the data not know them."""


@dataclass(frozen=True)
class Kept:
    """Words, in lower case, that no typo may hurt, nor make: those that hold one of `inside` or begin with one of
    `stems`."""

    inside: frozenset[str]
    stems: frozenset[str]

    def holds(self, word: str) -> bool:
        return (
            word in TIMES_AND_NUMBERS or word[:STEM_LETTERS] in self.stems or any(map(word.__contains__, self.inside))
        )


def words_known(samples: Iterable[Sample]) -> frozenset[str]:
    """Every word that occurs in messages or in what tools say of themselves, and common ones, in lower case."""
    texts = {str(message.get("content") or "") for sample in samples for message in sample.prompt.messages}
    tools = {id(tool): tool for sample in samples for tool in sample.prompt.tools}
    texts.update(f"{tool['name']} {description_of(tool)} {parameters_of(tool)}" for tool in tools.values())
    return EMPTY_WORDS.union(SOON_MADE, *(LETTERS.findall(text.lower()) for text in texts))


def typos(known: Container[str], sample: Sample, text: str, rng: random.Random) -> list[Edit]:
    """Typos in `text`, what the user said last: about one in ten words, but at least one; [] where there is no place
    for one. `known`: words that none of them may make."""
    opened = open_text(text)
    kept = kept_words(sample)
    num_words = sum(HOLE not in chunk for chunk in opened.split())
    wanted = max(1, round(num_words / rng.uniform(LEAST, MOST)))
    places: list[re.Match[str]] = [found for found in PLAIN.finditer(opened) if is_plain(found, opened, kept)]
    ending = ENDING.search(opened)
    if ending and not kept.holds(LETTERS.findall(ending[0])[-1].lower()):
        places.append(ending)
    rng.shuffle(places)
    edits: list[Edit] = []
    for place in places:
        if len(edits) == wanted:
            break
        start, end = place.span(1)
        if place is ending:
            edits.append(Edit(start, end, ""))
        elif written := mistyped(place[1], known, kept, rng):
            edits.append(Edit(start, end, written))
    return edits


def is_plain(found: re.Match[str], text: str, kept: Kept) -> bool:
    """Whether a word says no value and is no name."""
    return (found[1].islower() or begins_sentence(text, found.start())) and not kept.holds(found[1].lower())


def mistyped(word: str, known: Container[str], kept: Kept, rng: random.Random) -> str:
    """The word with one typo; "" where none was found that makes no other word."""
    if word[0].isupper() and rng.random() < CAPITAL_SHARE:
        return word[0].lower() + word[1:]
    num_sorts = NUM_SHORT_SORTS if len(word) <= SHORT else len(SORTS)
    for _ in range(MAX_DRAWS):
        written = struck(word, rng.choices(SORTS[:num_sorts], WEIGHTS[:num_sorts])[0], rng)
        lower = written.lower()
        if written != word and lower not in known and not kept.holds(lower):
            return written
    return ""


def struck(word: str, sort: str, rng: random.Random) -> str:
    """The word with one error of this sort behind its first letter; the last is not dropped: it may be a plural's."""
    at = rng.randrange(1, len(word) - (sort in ("swapped", "dropped")))
    before, letter, after = word[:at], word[at], word[at + 1 :]
    match sort:
        case "neighbour":
            return before + rng.choice(NEIGHBOURS[letter]) + after
        case "swapped":
            return before + after[0] + letter + after[1:]
        case "dropped":
            return before + after
        case _:
            return before + letter + letter + after


def kept_words(sample: Sample) -> Kept:
    """The words that values of this sample may be taken from."""
    texts = list(texts_in([list(call.arguments.values()) for call in sample.answer]))
    called = {call.name for call in sample.answer}
    texts += [text for tool in sample.prompt.tools if tool["name"] in called for text in enums_in(tool)]
    texts += texts_in(calls_made(sample))
    texts += QUOTED.findall(sample.thought)
    words = {word for text in texts for word in words_in(text)}
    flags = [value.name for value in values_of(sample) if any(isinstance(each, bool) for each in value.accepted)]
    inside = {word for word in words if len(word) == STEM_LETTERS - 1}.union(*map(words_in, flags))
    return Kept(frozenset(inside), frozenset(word[:STEM_LETTERS] for word in words))


def words_in(text: str) -> set[str]:
    """The words of a text or a name, and whole runs of letters, in lower case."""
    return {word.lower() for word in (*WORD.findall(text), *LETTERS.findall(text))}


def enums_in(schema: object) -> Sequence[str]:
    """The strings that a schema lists, at any depth."""
    if isinstance(schema, dict):
        listed = schema.get("enum")
        own = [value for value in listed if isinstance(value, str)] if isinstance(listed, list) else []
        return [*own, *(text for inner in schema.values() for text in enums_in(inner))]
    return [text for inner in schema for text in enums_in(inner)] if isinstance(schema, list) else []
