"""What a tool does, as people ask for it: verb phrases out of its name and the first sentence of its description.

A sentence is read where it begins with a verb that is known, or names a thing ("The price of a product"). One that does
neither ("Somehow frobs it") says nothing here, and the name alone is taken. Not here: the verbs themselves (`verbs`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from iterft.synth.names import words_of
from iterft.synth.verbs import base_of, clean, head_of, is_plural, verbs

_SENTENCE = re.compile(r"(.+?)(?:[.;:(\n]|$)", re.DOTALL)
_LEADS = (
    r"(?:this|the) (?:\w+ )?(?:function|tool|endpoint|api|method|operation|command|service|utility)\b"
    r"(?: (?:can be|is|may be) used)?(?: (?:to|for|will|can))?",
    r"(?:use|call) (?:this|it|the)(?: [\w-]+)?(?: (?:function|tool|endpoint|api|method))? (?:to|for)",
    r"(?:an? )?(?:[\w-]+ )?(?:function|tool|endpoint|api|method|utility|helper|command) (?:that|which|to|for)(?: can)?",
    r"(?:allow|enable|let|help|permit)s? (?:you|users?|the user|one|the caller|clients?|callers?|us)(?: to)?",
    r"(?:(?:is|can be) )?used (?:to|for)",
)
"""What only says that a tool is one."""
_LEAD = re.compile(rf"(?:{'|'.join(_LEADS)})\s+", re.IGNORECASE)
_IF = re.compile(
    r"((?:checks?|determines?|verif(?:y|ies)|tells?|tests?|returns?|says?|finds? out)) if\b", re.IGNORECASE
)
_TRUE_IF = re.compile(r"returns? (?:true|a boolean(?: indicating)?) (?:if|when|iff|whether)\b", re.IGNORECASE)
_GIVEN = r"(?:given|specified|specific|certain|provided|supplied)"
_BY_GIVEN = re.compile(
    r"\s+(?:for|in|on|at|of|to|from|with|by|within|using)\s+(?:(?:an?|the|one or more|any|its|their)\s+)?"
    rf"{_GIVEN}\b.*$",
    re.IGNORECASE | re.DOTALL,
)
_A_GIVEN = re.compile(rf"\b(?:(the)|an?)\s+{_GIVEN}\s+(?=(\w))", re.IGNORECASE)
_TAIL = re.compile(
    r"(?:\s+(?:given|specified|provided|based on|by (?:its|their|the|a|an)?|using|that|which|if|when)\b"
    r"|,\s*(?:this|it|which|that|returning|including|optionally|if|so|where|with|false|or false|else|otherwise)\b).*$",
    re.IGNORECASE | re.DOTALL,
)
_OPENING = frozenset(["for", "in", "on", "at", "of", "to", "from", "with", "by", "about", "between", "near", "into"])
_HANGING = _OPENING | {"the", "a", "an", "and", "or", "as"}
"""Words that may stand behind the name of a thing; those that hang in the air at an end."""
_ARTICLES = frozenset(["a", "an", "the", "all", "any", "some", "my", "your", "this", "that", "every", "each", "one"])
_PARTICLES = ("up", "out", "on", "off", "down", "in", "back", "over")
_LOOKING = {"look up": "get", "find out": "determine", "work out": "calculate"}
_ASKING = frozenset(["whether", "how", "what", "who", "where", "why", "when", "which"])
_GIVING = ("return", "give", "provide", "tell", "obtain", "output")
_FINDING_OUT = ("find out", "tell me", "check")
_MAKING = ("create", "add", "book", "schedule", "send", "order", "generate", "submit")
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
    words = words_of(name.rpartition(".")[2])
    words = words if words[:1] and words[0] in _ASKING else _from_verb(words)
    described = _described(description)
    found = []
    if len(words) > 1 and (words[0] in verbs() or (described and words[0] == described.verb)):
        found.append(_deed(words[0], _with_article(words[0], words[1:])))
    elif len(words) > 1 and words[-1] in verbs() and not described and words[0] not in _ASKING:
        found.append(_deed(words[-1], _with_article(words[-1], words[:-1])))
    if described and described.thing not in [deed.thing for deed in found]:
        found.append(described)
    if not found and words[:1] and words[0] in _ASKING:  # `who_is_on_call`
        found.append(Deed("find out", _FINDING_OUT, " ".join(words)))
    if not found:
        is_verb = bool(words) and words[0] in verbs()
        found.append(_deed(words[0], "") if is_verb else Deed("get", verbs()["get"][1], _with_article("get", words)))
    return found


def _from_verb(words: list[str]) -> list[str]:
    """The words of a name without what stands before its verb: `drive_list_files` lists files."""
    at = next((at for at, word in enumerate(words[:3]) if word in verbs()), 0)
    return words[at:] if len(words) > at + 1 else words


def _deed(verb: str, thing: str) -> Deed:
    """`thing` may begin with the preposition that a way to say the verb ends with: it is said once."""
    base, says = verbs().get(verb, (verb, [verb]))
    first = thing.partition(" ")[0]
    if any(said.endswith(f" {first}") for said in says):
        thing = thing.removeprefix(f"{first} ")
    return Deed(base, says, thing)


def _described(description: str) -> Deed | None:
    """What the first sentence says, None where it is too long or says nothing that can be asked for."""
    words = _sentence(description).split()
    if not 2 <= len(words) <= _MAX_WORDS or not words[0][0].isalpha():
        return None
    first, second = words[0].lower(), words[1].lower()
    verb = base_of(first)
    if second in _PARTICLES and len(words) > 2 and first not in _ARTICLES:
        phrase = f"{verb or _plain(first)} {second}"
        return _asked_for(_LOOKING.get(phrase, phrase), words[2:])
    if second in ("and", "or") and len(words) > 3 and first not in _ARTICLES and (verb or base_of(words[2].lower())):
        phrase = f"{verb or _plain(first)} {second} {base_of(words[2].lower()) or _plain(words[2].lower())}"
        return Deed(phrase, [phrase], " ".join(words[3:]))
    if verb and second == "of":
        return _named_thing(words)
    if verb or second in _ASKING or _plain(first) in _GIVING:
        return _asked_for(verb or _plain(first), _verbs_bare(words[1:]), first != verb)
    if second in _ARTICLES and first not in _ARTICLES | _ASKING:  # "Place an order", "Hoists the flag"
        return Deed(_plain(first), [_plain(first)], " ".join(_verbs_bare(words[1:])))
    return _named_thing(words)


def _sentence(description: str) -> str:
    """The first sentence without what says that a tool is one, and without what only points to its arguments."""
    found = _SENTENCE.match(description.strip())
    text = " ".join(found[1].split()) if found else ""
    while lead := _LEAD.match(text):
        text = text[lead.end() :]
        if lead[0].rstrip().endswith(" for") and not _of_gerund(text.partition(" ")[0].lower()):
            return ""  # "a tool for problem-solving": nothing to ask for
    text = _IF.sub(r"\1 whether", _TRUE_IF.sub("Check whether", text))
    text = _A_GIVEN.sub(_shorter, _BY_GIVEN.sub("", text))
    words = clean(_TAIL.sub("", text)).replace("the user's", "my").split()
    if len(words) > 2 and words[0].endswith("ly") and base_of(words[1].lower()):
        words = words[1:]  # "Recursively search for files"
    if len(words) > 1 and (verb := _of_gerund(words[0].lower())):  # "a tool for converting units", "Archiving of items"
        words = [verb, *words[2 if words[1] == "of" else 1 :]]
    while words and words[-1].lower() in _HANGING and words[-1].lower() not in _PARTICLES:
        words.pop()
    return " ".join(words)


def _shorter(given: re.Match[str]) -> str:
    """The article of "a given amount" as it is without "given"."""
    return "the " if given[1] else "an " if given[2].lower() in "aeiou" else "a "


def _asked_for(verb: str, words: Sequence[str], is_told: bool = False) -> Deed:
    """The deed of a verb and what it is done to. `is_told`: the sentence tells what the tool does."""
    thing = " ".join(words)
    if words[0].lower() in _ASKING:
        return Deed("find out", _FINDING_OUT, thing)
    if verb in _GIVING and (verb != "return" or is_told):
        verb = "get"
    is_within = verb == "search" and words[0] != "for" and (words[0] == "the" or "for" in words)
    if is_within or (verb == "log" and {"in", "into", "out"} & set(words)):
        return Deed(verb, [verb], thing)  # not "search for the web", nor "record user into the system"
    if len(words) > 2 and words[1] == "of" and words[0].islower() and not is_plural(words[0]):
        thing = f"{_article(verb, words[0])} {thing}"
    return _deed(verb, thing)


def _named_thing(words: Sequence[str]) -> Deed | None:
    """What to get of a sentence that only names it, None where it looks like no name of a thing."""
    first = words[0].lower()
    if first in _ASKING or (first not in _ARTICLES and _OPENING.isdisjoint(word.lower() for word in words[1:5])):
        return None
    head = words[0] if words[0].isupper() and len(words[0]) > 1 else first
    rest = " ".join((head, *words[1:]))
    return _deed("get", rest if first in _ARTICLES else f"the {rest}")


def _verbs_bare(words: Sequence[str]) -> list[str]:
    """The words with second verbs as they are asked for: "a page and extracts its text" -> "... and extract ..."."""
    made = list(words)
    for at in range(1, len(made) - 1):
        verb = base_of(made[at])
        is_verb = made[at + 1].lower() not in _OPENING if made[at].endswith("s") else False
        if made[at - 1].rstrip(",") in ("and", "or", "then") and verb and is_verb:
            made[at] = verb
    return made


def _plain(verb: str) -> str:
    """A verb that is not known, without the ending of "it hoists"."""
    if verb.endswith(("ches", "shes", "sses", "xes", "zzes", "oes")):
        return verb[:-2]
    return verb.removesuffix("s") if verb.endswith("s") and not verb.endswith("ss") else verb


def _of_gerund(word: str) -> str:
    """ "convert" for "converting", "" for what is no such form of a known verb."""
    stem = word.removesuffix("ing")
    if stem == word:
        return ""
    return next((verb for verb in (stem, f"{stem}e", stem[:-1]) if verb in verbs()), "")


def _article(verb: str, thing: str) -> str:
    """ "a" where one is made, "the" where it is there."""
    if verbs().get(verb, (verb,))[0] in _MAKING:
        return "an" if thing[0] in "aeiou" else "a"
    return "the"


def _with_article(verb: str, words: Sequence[str]) -> str:
    """ "a ticket" where one is made, "the ticket" where it is there, "tickets" as they are."""
    at = next((at for at, word in enumerate(words) if at and word in ("by", "using", "via")), len(words))
    thing = " ".join(words[:at])
    is_several = is_plural(head_of(thing))
    is_made = _article(verb, thing) != "the"
    if words[0] in _ARTICLES or (is_several and (is_made or verb in ("find", "search", "list"))):
        return thing
    return f"{_article(verb, thing)} {thing}"
