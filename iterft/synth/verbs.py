"""What a tool does, as people ask for it: verb phrases out of its name and its description.

The table `verbs.txt` holds a verb and those that mean the same to a program, then the ways in which people say it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from iterft.synth.typed import words_of

_TABLE = Path(__file__).parent / "verbs.txt"
_SENTENCE = re.compile(r"(.+?)(?:[.;:(\n]|$)", re.DOTALL)
_TAIL = re.compile(
    r"\s+(?:(?:for|in|on|at|of|to|from|with) (?:a|the|one or more) (?:given|specified|specific|certain)\b"
    r"|given\b|specified\b|based on\b|by (?:its|their|the|a|an)?\b|using\b|that\b|which\b|if\b|when\b).*$",
    re.IGNORECASE | re.DOTALL,
)
_SIGNS = re.compile(r"[\[\]<>|~{}@]")
_ARTICLES = frozenset(["a", "an", "the", "all", "any", "some", "my", "your", "this", "that", "every", "each", "one"])
_PARTICLES = ("up", "out", "on", "off", "down", "in", "back", "over")
_LOOKING = {"look up": "get", "looks up": "get", "find out": "determine", "work out": "calculate"}
_MAX_WORDS = 12


@dataclass(frozen=True)
class Deed:
    """`verb` is a base form, `says` how people say it, `thing` what it is done to, with its article, perhaps ""."""

    verb: str
    says: Sequence[str]
    thing: str

    @property
    def plain(self) -> str:
        """A phrase that completes "I cannot ..."."""
        return f"{self.says[0]} {self.thing}".strip()

    @property
    def wording(self) -> str:
        """The phrase in the language of wordings, with all the ways to say it."""
        return self._worded(self.says)

    @property
    def wording_of_own(self) -> str:
        """The same for what one wants to do oneself: not "show me"."""
        return self._worded([said for said in self.says if not said.endswith(" me")])

    def _worded(self, says: Sequence[str]) -> str:
        said = f"<{'|'.join(says)}>" if len(says) > 1 else says[0]
        return f"{said} {self.thing}".strip()

    @property
    def is_question(self) -> bool:
        """Whether one may as well ask what the thing is."""
        return bool(self.thing) and self.verb in ("get", "show", "list", "calculate", "determine", "estimate", "check")


def deeds(name: str, description: str) -> list[Deed]:
    """One or two: out of the name (behind the last dot), out of the description where that says more."""
    words = _from_verb(words_of(name.rpartition(".")[2]))
    described = _described(description)
    found = []
    if len(words) > 1 and (words[0] in verbs() or (described and words[0] == described.verb)):
        found.append(_deed(words[0], _with_article(words[0], words[1:])))
    elif len(words) > 1 and words[-1] in verbs() and not described:
        found.append(_deed(words[-1], _with_article(words[-1], words[:-1])))
    if described and described.thing not in [deed.thing for deed in found]:
        found.append(described)
    if not found:
        is_verb = bool(words) and words[0] in verbs()
        found.append(_deed(words[0], "") if is_verb else Deed("get", verbs()["get"][1], _with_article("get", words)))
    return found


def _from_verb(words: list[str]) -> list[str]:
    """The words of a name without what stands before its verb: `drive_list_files` lists files."""
    at = next((at for at, word in enumerate(words[:3]) if word in verbs()), 0)
    return words[at:] if len(words) > at + 1 else words


@functools.cache
def verbs() -> Mapping[str, tuple[str, Sequence[str]]]:
    """Verb -> (the first of those that mean the same, how people say it)."""
    table = {}
    for line in _TABLE.read_text(encoding="utf-8").splitlines():
        names, _, says = line.partition(" = ")
        for name in names.split():
            table[name] = (names.split()[0], says.split("|"))
    return table


def be(thing: str) -> str:
    """ "are" for several, "is" for one."""
    return "are" if is_plural(thing) else "is"


def is_plural(thing: str) -> bool:
    return thing.endswith("s") and not thing.endswith(("ss", "us", "is"))


def plural(name: str) -> str:
    """A name of one thing as that of several."""
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "x", "ch", "sh")) else f"{name}s"


def clean(text: str) -> str:
    """Text without what means something in a wording."""
    return " ".join(_SIGNS.sub(" ", text).split())


def _deed(verb: str, thing: str) -> Deed:
    base, says = verbs().get(verb, (verb, [verb]))
    return Deed(base, says, thing.removeprefix("for "))


def _described(description: str) -> Deed | None:
    """What the first sentence says, None where it is too long or says nothing."""
    found = _SENTENCE.match(description.strip())
    text = clean(_TAIL.sub("", found[1])).replace("the user's", "my") if found else ""
    words = text.split()
    if len(words) > 2 and words[0].endswith("ly") and words[1].lower() in verbs():
        words = words[1:]  # "Recursively search for files"
    if not 2 <= len(words) <= _MAX_WORDS or not words[0][0].isalpha():
        return None
    first = words[0].lower()
    if words[1] in _PARTICLES and len(words) > 2:
        verb = f"{first} {words[1]}"
        return _deed(_LOOKING.get(verb, verb), " ".join(words[2:]))
    for verb in (first, first.removesuffix("s"), first.removesuffix("es"), first.removesuffix("ies") + "y"):
        if verb == "return" and verb != first:
            verb = "get"
        if verb in verbs():
            return _deed(verb, " ".join(words[1:]))
    if first in ("returns", "gives", "provides", "tells", "obtain", "obtains"):
        return _deed("get", " ".join(words[1:]))
    if words[1].lower() in _ARTICLES and first not in _ARTICLES:  # "Place an order", "Hoists the flag"
        base = first.removesuffix("s") if first.endswith("s") and not first.endswith("ss") else first
        return Deed(base, [base], " ".join(words[1:]))
    head = words[0] if words[0].isupper() and len(words[0]) > 1 else first
    rest = " ".join((head, *words[1:]))
    return _deed("get", rest if first in _ARTICLES else f"the {rest}")


def _with_article(verb: str, words: Sequence[str]) -> str:
    """ "a ticket" where one is made, "the ticket" where it is there, "tickets" as they are."""
    thing = " ".join(words)
    is_several = is_plural(thing)
    if verbs().get(verb, (verb,))[0] in ("create", "add", "book", "schedule", "send", "order", "generate", "submit"):
        return thing if is_several else f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"
    return thing if words[0] in _ARTICLES or (is_several and verb in ("find", "search", "list")) else f"the {thing}"
