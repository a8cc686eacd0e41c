"""The first sentence of a description as what one asks for: without what only says that a tool is one, or only points
to its arguments, and with "my" for "your". Not here: the deed in it (`deeds`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from iterft.synth.verbs import base_of, clean, verbs

_SENTENCE = re.compile(r"(.+?)(?:[.;:(?!\n]|$)", re.DOTALL)
_TITLED = re.compile(r"[A-Z][a-z]*|[A-Z][A-Z0-9]+")
_LEADS = (
    r"(?:this|the) (?:\w+ )?(?:function|tool|endpoint|api|method|operation|command|service|utility)\b"
    r"(?: (?:can be|is|may be) used)?(?: (?:to|for|will|can))?",
    r"(?:use|call) (?:this|it|the)(?: [\w-]+)?(?: (?:function|tool|endpoint|api|method))? (?:to|for)",
    r"(?:an? )?(?:[\w-]+ )?(?:function|tool|endpoint|api|method|utility|helper|command) (?:that|which|to|for)(?: can)?",
    r"an? (?:[\w-]+ ){0,2}(?:calculator|service|wrapper|client|engine|plugin|interface|program|script) (?:that|which)"
    r"(?: can)?",
    r"(?:allow|enable|let|help|permit)s? (?:you|users?|the user|one|the caller|clients?|callers?|us)(?: to)?",
    r"(?:(?:is|can be) )?used (?:to|for)",
)
"""What only says that a tool is one."""
_IS_TOOL = re.compile(
    r"an? (?:[\w-]+ ){0,2}(?:tool|wrapper|portal|engine|shell|interface|client|api|plugin|library)\b"
    r"(?! (?:that|which))",
    re.IGNORECASE,
)
"""What says what sort of tool one is, and nothing that it does."""
_LEAD = re.compile(rf"(?:{'|'.join(_LEADS)})\s+", re.IGNORECASE)
_IF = re.compile(
    r"((?:checks?|determines?|verif(?:y|ies)|tells?|tests?|returns?|says?|finds? out)) if\b", re.IGNORECASE
)
_TRUE_IF = re.compile(r"returns? (?:true|a boolean(?: indicating)?) (?:if|when|iff|whether)\b", re.IGNORECASE)
_GIVEN = r"(?:given|specified|specific|certain|provided|supplied)"
_BY_GIVEN = re.compile(
    r"\s+(?:based on|up to|out of|for|in|on|at|to|from|with|by|within|using)\s+"
    rf"(?:(?:an?|the|one or more|any|its|their)\s+)?{_GIVEN}\b.*$",
    re.IGNORECASE | re.DOTALL,
)
_A_GIVEN = re.compile(rf"\b(?:(the)|an?)\s+{_GIVEN}\s+(?=(\w))", re.IGNORECASE)
_TAIL = re.compile(
    r"(?:\s+(?:given|specified|provided|based on|by (?:its|their|the|a|an)?|with (?:an? )?optional|using|that|which)\b"
    r"|\s+(?:if|when|and optionally)\b"
    r"|,\s*(?:this|it|which|that|returning|including|optionally|if|so|where|with|false|or false|else|otherwise)\b).*$",
    re.IGNORECASE | re.DOTALL,
)
OPENING = frozenset(["for", "in", "on", "at", "of", "to", "from", "with", "by", "about", "between", "near", "into"])
_HANGING = OPENING | {"the", "a", "an", "and", "or", "as"}
"""Words that may stand behind the name of a thing; those that hang in the air at an end."""
PARTICLES = ("up", "out", "on", "off", "down", "in", "back", "over")
_BY_USER = {"your": "my", "yourself": "myself"}


def sentence(description: str) -> str:
    """The first sentence without what says that a tool is one, and without what only points to its arguments."""
    found = _SENTENCE.match(description.strip())
    text = " ".join(found[1].replace("`", "").split()) if found else ""
    if _IS_TOOL.match(text) and not _LEAD.match(text):
        return ""
    while lead := _LEAD.match(text):
        text = text[lead.end() :]
        if lead[0].rstrip().endswith(" for") and not _of_gerund(text.partition(" ")[0].lower()):
            return ""  # "a tool for problem-solving": nothing to ask for
    text = _IF.sub(r"\1 whether", _TRUE_IF.sub("Check whether", text))
    text = _A_GIVEN.sub(_shorter, _BY_GIVEN.sub("", text))
    text = re.sub(rf"^(\w+)-({'|'.join(PARTICLES)})\b", r"\1 \2", text)  # "Check-in a guest"
    words = _by_user(clean(_TAIL.sub("", text)).replace("the user's", "my").split())
    if len(words) > 2 and words[0].endswith("ly") and base_of(words[1].lower()):
        words = words[1:]  # "Recursively search for files"
    if len(words) > 1 and (verb := _of_gerund(words[0].lower())):  # "a tool for converting units", "Archiving of items"
        words = [verb, *words[2 if words[1] == "of" else 1 :]]
    while words and words[-1].lower() in _HANGING and words[-1].lower() not in PARTICLES:
        words.pop()
    return " ".join(words)


def _by_user(words: Sequence[str]) -> list[str]:
    """The words as the one says them who is told of as "you"."""
    said = [_BY_USER.get(word, word) for word in words]
    for at, word in enumerate(said):
        if word == "you":
            said[at] = "me" if at == 1 or said[at - 1] in OPENING else "I"
    return said


def _shorter(given: re.Match[str]) -> str:
    """The article of "a given amount" as it is without "given"."""
    return "the " if given[1] else "an " if given[2].lower() in "aeiou" else "a "


def titled_words(description: str) -> list[str]:
    """The words of a first sentence in which each has a capital, as frameworks make them of names ("Assign Ticket"),
    [] of any other."""
    said = re.split(r"[.\n]", description.strip(), maxsplit=1)[0].split()
    is_name = len(said) > 1 and said[1] != "Of" and all(map(_TITLED.fullmatch, said))
    if not is_name or sum(not word.isupper() for word in said) < 2:
        return []
    words = [word if word.isupper() and len(word) > 1 else word.lower() for word in said]
    return [base_of(words[0]) or words[0], *words[1:]]


def _of_gerund(word: str) -> str:
    """ "convert" for "converting", "" for what is no such form of a known verb."""
    stem = word.removesuffix("ing")
    if stem == word:
        return ""
    return next((verb for verb in (stem, f"{stem}e", stem[:-1]) if verb in verbs()), "")
