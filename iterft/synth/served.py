"""Whether a tool might serve what small talk asks for: a web search knows capitals, a phone can call a person.

By the sort of what is asked, tools are barred whose name or description holds a word of a list. The lists are wide: one
refusal of what could be done does more harm than a talk less beside some tool. Not here: words that tool and talk have
in common (`stock`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from iterft.types import Tool

_ANYTHING = "ask|chat|assistant|llm|gpt|prompt|agent"
_KNOWING = (
    "search|web|browse|internet|online|google|bing|answer|question|knowledge|wiki|wikipedia|encyclopedia|fact|trivia"
    f"|research|lookup|explain|teach|learn|library|{_ANYTHING}"
)
_PLACES = "country|countries|nation|geography|capital|population|demographic|inhabitant|atlas|map"
_EVENTS = "match|matches|score|concert|event|party|parties|sport|game|review|news|fixture|result"
_TALKING = "call|phone|dial|ring|telephone|contact|notify|message|sms|text|speak|talk"
_WRITING = (
    f"write|writing|compose|poem|poetry|verse|rhyme|story|stories|generate|content|lyric|creative|text|{_ANYTHING}"
)
_CHORES = (
    "order|buy|purchase|food|pizza|meal|dish|dishes|deliver|delivery|restaurant|ride|taxi|car|drive|driver|pick|wash"
    "|clean|iron|laundry|dog|pet|peel|cook|kitchen|robot|chore|errand|household|hire|kid|school|garage|task"
)
_ASKED: Sequence[tuple[str, str]] = (
    (r"capital of|inhabitants|population|monarchy|European Union|language do people", f"{_KNOWING}|{_PLACES}|language"),
    (r"people in \S.* always|make friends", f"{_KNOWING}|{_PLACES}|city|cities|recommend|suggest|meet|group|{_EVENTS}"),
    (r"\bwrote\b|author", f"{_KNOWING}|book|author|literature|novel"),
    (r"won the war|was king", f"{_KNOWING}|history|historical"),
    (r"^Why |difference between|[Ee]xplain|explain", f"{_KNOWING}|define|definition|dictionary|compare|describe"),
    (r"^How do I", f"{_KNOWING}|instruction|tutorial|guide|video|recipe|howto"),
    (r"lottery", f"{_KNOWING}|predict|forecast|random|draw|lottery|number"),
    (r"^What did|^How was", f"{_KNOWING}|{_EVENTS}|{_TALKING}|mail|email|inbox|note|diary|transcript|calendar|log"),
    (r"^Should I", f"{_ANYTHING}|advise|advice|recommend|suggest|decide|compare|coach"),
    (r"joke|riddle", f"joke|riddle|humor|humour|fun|pun|entertain|tell|{_WRITING}"),
    (r"^Write", _WRITING),
    (r"^Sing", f"sing|song|music|audio|play|voice|speech|sound|{_WRITING}"),
    (
        r"^Paint|^Draw|picture",
        f"draw|paint|image|picture|photo|sketch|art|illustrate|illustration|render|generate|{_ANYTHING}",
    ),
    (r"call \S.*(?:phone|late|right now)|^Please call", f"{_TALKING}|{_ANYTHING}"),
    (r"^(?:Can|Could) you (?!explain)", f"{_CHORES}|{_ANYTHING}"),
    (r"nervous|excited|had a \S+ day", f"{_ANYTHING}|diary|journal|mood"),
)
"""(what small talk says, the words of tools that might do it)."""
_SEARCHING = "search|browse|find|query|ask|answer|question|look"
_WIDELY = "web|internet|google|bing|wikipedia|llm|gpt|chatbot"
_FORMS = "(?:e?s|ing|e?d|er|ers)?"


def might_serve(tool: Tool, said: str) -> bool:
    """Whether a tool might do what is `said`, by the sort of it."""
    text = _text_of(tool)
    return any(_holding(words).search(text) for asked, words in _ASKED if re.search(asked, said))


def knows_all(tool: Tool) -> bool:
    """Whether a tool might find out whatever one wants to know, as a search of the web."""
    text = _text_of(tool)
    return bool(_holding(_WIDELY).search(text) and _holding(_SEARCHING).search(text))


def _text_of(tool: Tool) -> str:
    return " ".join(re.findall(r"[A-Z]*[a-z]+|[A-Z]+", f"{tool['name']} {tool.get('description') or ''}")).lower()


@functools.cache
def _holding(words: str) -> re.Pattern[str]:
    """Words in all their forms: "searches", "browsing", "dialed"."""
    stems = (re.sub(r"e$", "e?", word) for word in words.split("|"))
    return re.compile(rf"\b(?:{'|'.join(stems)}){_FORMS}\b")
