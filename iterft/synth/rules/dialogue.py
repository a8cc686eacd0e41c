"""Dialogue: what is said is there, of sane length and characters, in one language, and complete."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache

from iterft.synth.rules.facts import Facts, Rule, calls_of, shown, text_of

MAX_CHARACTERS = 20_000
"""Of one message of a person or of the assistant: more is a document, not something said."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_BROKEN = re.compile(
    "\ufffd|[\u00c2\u00c3][\u0080-\u00bf\u0152-\u02dc\u2013-\u2122]|\u00e2[\u20ac\u0080][\u0080-\u2122]"
)
_MARKS = re.compile(
    r"<\|[A-Za-z_]+\|>|\[/?INST\]|\[/?TOOL_CALLS\]|</s>|<</?SYS>>|</?(?:tool_call|tool_response|functioncall)>"
)
_PLACEHOLDER = re.compile(
    r"\[(?:insert|your|enter)\b[^\]\n]*\]|\{\{\s*\w+\s*\}\}|<(?:insert|your|enter)\b[^>\n]*>", re.IGNORECASE
)
_DANGLING = re.compile(
    r"[,;(\[{-]\s*$|\b(?:a|an|and|the|of|with|because|which|but|or|is|are|your|from)\s*$", re.IGNORECASE
)
_EMOTICON = re.compile(r"[:;=]'?-?[(\[{]")
_INTERVAL = re.compile(r"\[\s*[-+]?[\w.∞]+\s*[,;]\s*[-+]?[\w.∞]+\s*\)|\(\s*[-+]?[\w.∞]+\s*[,;]\s*[-+]?[\w.∞]+\s*\]")
"""From a number to another of which one belongs to it: [0, 1)."""
_PAIRED = (("(", ")"), ("[", "]"), ("{", "}"))
_WORD = re.compile(r"[^\W\d_]+")
_TRANSLATION = re.compile(
    r"translat|language|transliterat|pronounce|chinese|japanese|korean|russian|arabic|greek|hindi|thai|hebrew",
    re.IGNORECASE,
)
_LANGUAGE = re.compile(
    r"\b(?:(?:always|only) (?:respond|reply|answer|speak|write)(?: only)?|(?:respond|reply|answer|speak|write) only)"
    r" in (\w+)",
    re.IGNORECASE,
)
_SCRIPTS = {
    **dict.fromkeys(("english", "german", "french", "spanish", "italian", "portuguese", "dutch"), "LATIN"),
    **dict.fromkeys(("chinese", "japanese"), "CJK"),
    "korean": "HANGUL",
    "russian": "CYRILLIC",
    "arabic": "ARABIC",
    "greek": "GREEK",
    "hebrew": "HEBREW",
    "hindi": "DEVANAGARI",
    "thai": "THAI",
}
_MIN_LETTERS = 12
_MAX_REPEATS = 3


def no_user_message(facts: Facts) -> str:
    """Somebody asks for something."""
    return "" if any(message.get("role") == "user" for message in facts.messages) else "no message is the user's"


def empty_message(facts: Facts) -> str:
    """Users say something, and the assistant says something or calls. A tool may answer nothing."""
    for number, message in enumerate(facts.messages, start=1):
        is_empty = not text_of(message).strip() and not message.get("tool_calls")
        if is_empty and message.get("role") in ("user", "assistant"):
            return f"message {number} of the {message.get('role')} is empty"
    return ""


def nothing_to_learn(facts: Facts) -> str:
    """The reference calls or says something."""
    return "" if facts.sample.answer or facts.sample.text.strip() else "the reference neither calls nor says anything"


def too_long(facts: Facts) -> str:
    return next(
        (f"{len(text)} characters in one message" for text in _said(facts) if len(text) > MAX_CHARACTERS),
        "",
    )


def control_characters(facts: Facts) -> str:
    """No control characters besides tabs and ends of lines."""
    return next((f"{found[0]!r} in a message" for text in _said(facts) if (found := _CONTROL.search(text))), "")


def broken_encoding(facts: Facts) -> str:
    """No characters that only come of reading a text in the wrong encoding."""
    return next((f"{found[0]!r} in {shown(text)}" for text in _said(facts) if (found := _BROKEN.search(text))), "")


def template_marks(facts: Facts) -> str:
    """No marks of a chat template or of a way to write calls in what is said."""
    return next((f"{found[0]} in {shown(text)}" for text in _said(facts) if (found := _MARKS.search(text))), "")


def placeholder_text(facts: Facts) -> str:
    """Nothing that was to be filled in: in what the user says unless a call passes it on, in what the assistant says
    unless the user did."""
    passed_on = _passed_on(facts)
    for texts, known in ((facts.said_by("user"), passed_on), (facts.prose, facts.asked)):
        for text in texts:
            if found := next((each[0] for each in _PLACEHOLDER.finditer(text) if each[0] not in known), ""):
                return f"{found} in {shown(text)}"
    return ""


def mixed_languages(facts: Facts) -> str:
    """The reply is in the user's script, unless another language is the subject, or what the system wants."""
    if not facts.reply or _TRANSLATION.search(facts.asked):
        return ""
    asked, replied = main_script(facts.asked), main_script(facts.reply)
    is_mixed = asked and replied and asked != replied and replied not in _scripts(facts.asked)
    is_mixed = is_mixed and replied != wanted_script(facts.system)
    return f"asked in {asked}, replied in {replied}" if is_mixed else ""


def unfinished_reply(facts: Facts) -> str:
    """The assistant's prose does not break off in the middle of a sentence."""
    plain = (_EMOTICON.sub("", text) for text in facts.prose)
    return next((f"ends with {shown(text[-20:])}" for text in plain if _DANGLING.search(text)), "")


def unclosed_text(facts: Facts) -> str:
    """What the assistant opens in its prose, brackets and fences, it closes."""
    for text in facts.prose:
        plain = _INTERVAL.sub("", _EMOTICON.sub("", text))
        if plain.count("```") % 2:
            return "a fence is not closed"
        for opening, closing in _PAIRED:
            if plain.count(opening) > plain.count(closing):
                return f"{opening} is not closed in {shown(text)}"
    return ""


def looping_text(facts: Facts) -> str:
    """No sentence of some length is said over and over."""
    for text in facts.prose:
        counts = Counter(part.strip() for part in re.split(r"[.!?\n]+", text) if len(part.split()) >= 4)
        for part, count in counts.items():
            if count > _MAX_REPEATS:
                return f"{shown(part)} is said {count} times"
    return ""


def main_script(text: str) -> str:
    """The script of most letters ("LATIN", "CJK", ...), "" when there are few letters or no script has most."""
    counts = _scripts(text)
    total = sum(counts.values())
    script = max(counts, key=lambda name: counts[name], default="")
    return script if total >= _MIN_LETTERS and counts[script] > 0.6 * total else ""


def wanted_script(system: str) -> str:
    """The script of the language that a system text prescribes for replies, "" where none that is known."""
    wanted = _LANGUAGE.search(system)
    return _SCRIPTS.get(wanted[1].lower(), "") if wanted else ""


@lru_cache(maxsize=1024)
def _scripts(text: str) -> Mapping[str, int]:
    counts: Counter[str] = Counter()
    for word in _WORD.findall(text):
        if word.isascii():
            counts["LATIN"] += len(word)
        else:
            counts.update(map(_script, word))
    return counts


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    name = unicodedata.name(letter, "").split(" ")[0]
    return "CJK" if name in ("CJK", "HIRAGANA", "KATAKANA") else name


def _passed_on(facts: Facts) -> str:
    """The arguments of all calls."""
    calls = [*facts.calls, *(call for message in facts.messages for call in calls_of(message))]
    return json.dumps([call.arguments for call in calls], ensure_ascii=False, default=str)


def _said(facts: Facts) -> Iterator[str]:
    """All that people and the assistant say; results of tools may hold anything."""
    yield from facts.said_by("user")
    yield from facts.prose


RULES: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (
        no_user_message,
        empty_message,
        nothing_to_learn,
        too_long,
        control_characters,
        broken_encoding,
        template_marks,
        placeholder_text,
        mixed_languages,
        unfinished_reply,
        unclosed_text,
        looping_text,
    )
}
