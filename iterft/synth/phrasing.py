"""How clauses become a user's message, and what an assistant says when no call is right. Frames only, no tools."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from iterft.synth.values import joined

# {} is an imperative in lower case, {!} the same with a capital. Terse and polite forms are about equally likely.
_REQUESTS = (
    "{!}.",
    "{!}.",
    "{!}",
    "{!}, please.",
    "Please {}.",
    "Please {}.",
    "Can you {}?",
    "Could you {}?",
    "Could you please {}?",
    "I'd like you to {}.",
    "I need you to {}.",
    "Hi, can you {}?",
    "Hey, {}.",
    "Would you be so kind as to {}?",
    "{} pls",
    "{}",
)
_PAIRS = (
    "{!} and {}.",
    "{!}, and {}.",
    "Please {}, and then {}.",
    "Could you {} and also {}?",
    "First {}, then {}.",
    "Two things, please: {}, and {}.",
    "{!}. Also, {}.",
    "{!}. After that, {}, please.",
    "Can you {}? While you're at it, {}.",
    "I need you to {}. And {}, too.",
)
_TRIPLES = (
    "{!}, {}, and {}.",
    "Please {}, {} and then {}.",
    "Three things: {}; {}; and {}.",
    "First {}, then {}, and finally {}.",
    "Could you {}, {}, and also {}?",
    "{!}. Then {}. And {}, please.",
    "1) {}\n2) {}\n3) {}",
)
_ADDED = ("Also, {}.", "And please {}.", "Oh, and {}.", "Then {}, please.", "Apart from that, {}.")
_SAME = ("The same for {}, please.", "Do the same for {}.", "And the same for {}.", "Same thing for {}.")
_REPLIES = ("{}", "{}, please", "{}.", "Oh, right: {}", "{!}.")
_QUOTING_REPLIES = ("{}", '"{}"', '"{}", please', 'Oh, right: "{}"', 'It is "{}".')
_REFUSALS = (
    "I'm sorry, but I have no tool to {deed}.",
    "I can't {deed} with the tools I have.",
    "None of the tools I have lets me {deed}.",
    "Unfortunately, I'm not able to {deed} here.",
    "I'm afraid I can't {deed}; there is no tool for that.",
)
_OFFERS = (" I could {other}, if that helps.", " What I can do is {other}.", " I can only {other}.")
_ONE_OF_OFFERS = _OFFERS[:2]


def request(imperative: str, random: Random) -> str:
    """A message with one request."""
    return framed(random.choice(_REQUESTS), [imperative])


def requests(imperatives: Sequence[str], random: Random) -> str:
    """A message with two or three requests."""
    return framed(random.choice(_PAIRS if len(imperatives) == 2 else _TRIPLES), imperatives)


def added(query: str, imperatives: Sequence[str], random: Random) -> str:
    """A whole query with one or two more requests after it."""
    return f"{_ended(query)} {framed(random.choice(_ADDED), [' and '.join(imperatives)])}"


def same_for(query: str, words: Sequence[str], random: Random, name: str = "") -> str:
    """A whole query, then the wish for the same with other `words`, for what is called `name` where that is not
    plain."""
    frame, said = random.choice(_SAME), joined(list(words), random)
    return f"{_ended(query)} {framed(frame, [f'{name} {said}' if name else said])}"


def reply(words: str, random: Random, is_literal: bool = False, is_free: bool = False) -> str:
    """A user's answer to the question for one value. `is_literal`: it stays as it is written. `is_free`: it is any
    text, and marked off from what is said around it."""
    frame = random.choice(_QUOTING_REPLIES if is_free else _REPLIES)
    return framed(frame.replace("{!}", "{}") if is_literal else frame, [words])


def refusal(deed: str, others: Sequence[str], random: Random, num_tools: int = 1) -> str:
    """Says that `deed` cannot be done; often names one of the things that can, as the only one where there is no other
    of `num_tools`."""
    offers = _OFFERS if num_tools == 1 else _ONE_OF_OFFERS
    offer = random.choice(offers).format(other=random.choice(others)) if others and random.random() < 0.4 else ""
    return random.choice(_REFUSALS).format(deed=deed) + offer


def _ended(query: str) -> str:
    return query if query[-1] in ".?!)" else query + "."


def framed(frame: str, clauses: Sequence[str]) -> str:
    """The clauses in the places {} of a frame; {!} begins it with a capital. No full stop behind one that has its
    own."""
    pieces = frame.replace("{!}", "{}").split("{}")
    text = pieces[0]
    for index, (clause, piece) in enumerate(zip(clauses, pieces[1:], strict=True)):
        is_capital = index == 0 and frame.startswith("{!}")
        ended = piece[1:] if piece[:1] == "." and clause[-1] in ".?!" else piece
        text += (clause[0].upper() + clause[1:] if is_capital else clause) + ended
    return text
