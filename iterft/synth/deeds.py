"""What a tool does, as people ask for it: verb phrases out of its name and the first sentence of its description.

A sentence is read where it begins with a verb that is known, or names a thing ("The price of a product"). One that does
neither ("Somehow frobs it") says nothing here, and the name alone is taken; a summary that is a name with capitals
("Assign Ticket") is read as one. A verb keeps its particle ("turn off"), and then has no other ways to be said. Not
here: the verbs themselves (`verbs`), what of a sentence is looked at (`sentences`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from iterft.synth.names import words_of
from iterft.synth.sentences import OPENING, PARTICLES, sentence, titled_words
from iterft.synth.verbs import base_of, head_of, is_plural, verbs

_ARTICLES = frozenset(["a", "an", "the", "all", "any", "some", "my", "your", "this", "that", "every", "each", "one"])
_MOSTLY_PREPOSITIONS = ("in", "on", "over")
_TAKING_PARTICLES = frozenset(
    ["back", "bid", "bring", "clock", "cut", "engage", "hand", "hang", "opt", "power", "put", "reply", "ring", "roll"]
) | {"shut", "sign", "swipe", "tap", "vote", "wind", "zoom"}
"""Further verbs that often have one. As verbs of their own they are rare in names."""
_NEVER_WITH_PARTICLE = frozenset(["get", "fetch", "retrieve", "show", "view", "display", "list", "enumerate"])
_ENDS_IN_PARTICLE = frozenset(
    ["time", "day", "days", "week", "weeks", "hour", "hours", "check", "sign", "log", "pick", "opt"]
)
"""A day off and a check in are things."""
_BARE = frozenset(["place", "hold", "time", "demand", "stock", "call"])
"""What has no article behind "in" and "on"."""
_PRONOUNS = frozenset(["me", "us", "you", "it", "them"])
_TO_USER = {"me": "you", "my": "your", "I": "you", "myself": "yourself"}
_BEING = frozenset(["is", "are", "was", "has", "have", "can", "does", "should"])
"""What the names of tools begin with that answer yes or no."""
_LIKE_ADJECTIVE = re.compile(
    r"\w+(?:able|ible|ed|ive|ing|ful|line|en)|exists?|paid|sent|done|gone|won|lost|left|free|full|empty|ready|busy|late"
    r"|due|safe|valid|up|down|on|off|in|out"
)
_INTO_FORMS = ("convert", "translate", "change", "transform", "export", "format", "encode")
_LOOKING = {"look up": "get", "find out": "determine", "work out": "calculate"}
_ASKING = frozenset(["whether", "how", "what", "who", "where", "why", "when", "which"])
_GIVING = ("return", "give", "provide", "obtain", "output")
_FINDING_OUT = ("find out", "tell me", "check")
_MAKING = ("create", "make", "add", "book", "schedule", "send", "order", "generate", "submit", "set up", "tell")
_MASS = ("food", "access", "information", "feedback", "money", "data", "music", "software", "help")
_VERBS_OF_SENTENCES = frozenset(
    ["type", "push", "pull", "pin", "tag", "label", "sign", "crop", "hash", "commit", "star"]
)
"""Verbs where a sentence begins with them. In names they are mostly things."""
_HANDING = ("give", "grant", "offer", "hand")
_HANGING = frozenset(["to", "for", "of", "from", "with", "by", "at", "into", "about", "between"])
"""What a name may end with (`moveTo`), and nobody says."""
_SEARCHED = {
    "wikipedia": "Wikipedia", "google": "Google", "web": "the web", "internet": "the internet", "youtube": "YouTube",
    "arxiv": "arXiv", "pubmed": "PubMed", "github": "GitHub", "reddit": "Reddit",
}  # fmt: skip
"""What is searched where a name has it behind "search", and not searched for."""
_METHODS = ("get", "post", "put", "patch", "delete")
_MAX_WORDS, _MAX_SPLIT = 12, 8


@dataclass(frozen=True)
class Deed:
    """`verb` is a base form, `says` how people say it, `thing` what it is done to, with its article, perhaps ""."""

    verb: str
    says: Sequence[str]
    thing: str

    @property
    def plain(self) -> str:
        """A phrase that completes "I cannot ...", said to the user: "show the route", "remind you"."""
        words = self.thing.split()
        is_user = [word != "I" or (at > 0 and words[at - 1].islower()) for at, word in enumerate(words)]
        thing = " ".join(
            _TO_USER.get(word, word) if of_user else word for word, of_user in zip(words, is_user, strict=True)
        )
        return f"{self.says[0].removesuffix(' me')} {thing}".strip()

    @property
    def wording(self) -> str:
        """The phrase in the language of wordings, with all the ways to say it."""
        return self._worded(self.says)

    @property
    def wording_of_own(self) -> str:
        """The same for what one wants to do oneself: not "show me", nor "remind me"."""
        worded = self._worded([said for said in self.says if not said.endswith(" me")])
        return f"have you {worded}" if self.is_done_to_one else worded

    def _worded(self, says: Sequence[str]) -> str:
        said = f"<{'|'.join(says)}>" if len(says) > 1 else says[0]
        return f"{said} {self.thing}".strip()

    @property
    def is_done_to_one(self) -> bool:
        """Whether it is done to a person who is not named: "remind me"."""
        return self.thing.partition(" ")[0] == "me" or self.thing == "us"

    @property
    def is_question(self) -> bool:
        """Whether one may as well ask what the thing is."""
        return (
            bool(self.thing)
            and not self.is_done_to_one
            and self.verb in ("get", "show", "list", "calculate", "determine", "estimate", "check")
        )


def deeds(name: str, description: str) -> list[Deed]:
    """One or two: out of the name (behind the last dot), out of the description where that says more."""
    words = _words(name, description)
    titled = titled_words(description)
    described = _described(" ".join(titled) or description) if words != titled else None
    if len(words) > 1 and (words[0] in _BEING or (words[1] in ("if", "whether") and words[2:])):
        return [described or Deed("find out", _FINDING_OUT, _whether(words))]
    verb, rest = _divided(words, described.verb if described else "")
    found = []
    if described and _is_told_better(words, verb, rest, described):
        return [described]
    if len(words) == 1 and words[0] in _SEARCHED and not described:
        return [Deed("search", ["search"], _SEARCHED[words[0]])]
    if len(words) == 2 and words[-1] == "search" and words[0] not in _METHODS:  # `vector_search`
        found.append(Deed("search", ["run", "do"], _with_article("create", words)))
    elif verb and rest and not (rest == ["me"] and verb in verbs() and verbs()[verb][0] == "get" and described):
        found.append(_deed_behind(verb, rest))
    elif " " in verb and not (described and described.verb == verb):
        found.append(_deed(verb, ""))
    elif len(words) > 1 and words[-1] in verbs() and not described and words[0] not in _ASKING:
        found.append(_deed(words[-1], _with_article(words[-1], words[:-1])))
    if described and described.thing not in [deed.thing for deed in found]:
        found.append(described)
    if not found and words[:1] and words[0] in _ASKING:  # `who_is_on_call`
        found.append(Deed("find out", _FINDING_OUT, " ".join(words)))
    if not found:
        found.append(_deed(verb, "") if verb else Deed("get", verbs()["get"][1], _with_article("get", words)))
    return found


@functools.cache
def gist(name: str, description: str) -> tuple[str, str]:
    """(the base form of the first verb, with its particle, what it is done to, in snake case, as the name says it and
    perhaps "")."""
    deed, words = deeds(name, description)[0], _words(name, description)
    verb = deed.verb
    rest = deed.thing.split() if _is_of_path(words, verb) else _divided(words, verb)[1]
    rest = [word for at, word in enumerate(rest) if at or word not in _ARTICLES]
    at = next((at for at, word in enumerate(rest) if word not in OPENING | _PRONOUNS | {*PARTICLES}), len(rest))
    end = next((end for end in range(at + 1, len(rest)) if rest[end] in OPENING), len(rest))
    return verb, "_".join(rest[at:end]).lower()


def _is_of_path(words: Sequence[str], verb: str) -> bool:
    """Whether a name is made of the method and the path of a request (`post_orders_by_id_pay`, FastAPI's
    `read_item_items_id_get`), and says less than a description that begins with this verb."""
    if len(words) < 2 or words[0] not in _METHODS:
        return len(words) > 3 and words[-1] in _METHODS
    first, last = words[0], words[-1]
    is_same = verbs().get(first, (first,))[0] == verbs().get(verb, (verb,))[0]
    return "by" in words[2:] or (not is_same and (first in ("post", "put", "patch") or last in verbs()))


def _is_told_better(words: Sequence[str], verb: str, rest: Sequence[str], described: Deed) -> bool:
    """Whether a description says all, and a name what nobody would."""
    is_by_whom = words[:-1] == rest and {*rest}.isdisjoint(described.thing.lower().split())  # `browser_navigate`
    is_split = rest[:1] in (["or"], ["and"])  # `create_or_update_file`
    return is_by_whom or is_split or _is_of_path(words, described.verb) or _is_searched(verb, rest, described)


def _is_searched(verb: str, rest: Sequence[str], described: Deed) -> bool:
    """Whether a name ends with what is searched, not with what is searched for: `search_wikipedia`."""
    is_whole = verb == described.verb == "search" and described.says == ["search"] and len(rest) == 1
    return is_whole and rest[0] in described.thing.lower().split()[:2]


def _words(name: str, description: str) -> list[str]:
    """Those of a name, or of a summary that is one and begins with a verb."""
    titled = titled_words(description)
    if titled and (titled[0] in verbs() or titled[1] in PARTICLES):
        return titled
    words = words_of(name.rpartition(".")[2])
    words = words[1:] if words[0] == "api" and len(words) > 2 else words
    return words[:-1] if len(words) > 1 and words[-1] in _HANGING else words


def _divided(words: list[str], known: str) -> tuple[str, list[str]]:
    """The verb of a name, with its particle, and the words of what it is done to; ("", words) without a verb. What
    stands before the verb is left out: `drive_list_files` lists files. `known`: the verb that it is described by."""
    if words[:1] and words[0] in _ASKING:
        return "", words
    if len(words) > 1 and known and known == words[-1] != words[0]:  # `refund_create`
        return known, words[:-1]
    at = next((at for at, word in enumerate(words[:3]) if word in verbs()), 0)
    if _begins_phrase(words, known) or len(words) == at + 1:
        at = 0
    before, words = words[:at], words[at:]
    if _begins_phrase(words, known):
        phrase = f"{words[0]} {words[1]}"
        return _LOOKING.get(phrase, phrase), words[2:] or ([] if known else before)  # `lamp_turn_off`
    if words[:1] and (words[0] in verbs() or (len(words) > 1 and words[0] == known)):
        rest = words[1:]
        is_listed = before and rest and rest[0] in OPENING and words[0] in _NEVER_WITH_PARTICLE  # `pods_list_in_x`
        return words[0], [*before, *rest] if is_listed else rest
    return "", words


def _begins_phrase(words: Sequence[str], known: str) -> bool:
    """Whether the first two words of a name are a verb and its particle."""
    if len(words) < 2 or words[1] not in PARTICLES:
        return False
    first, particle = words[:2]
    if f"{first} {particle}" in _LOOKING or known == f"{first} {particle}":
        return True
    if first in verbs():
        is_made = verbs()[first][0] in _MAKING and particle in _MOSTLY_PREPOSITIONS
        return first not in _NEVER_WITH_PARTICLE and not is_made
    return first in _TAKING_PARTICLES or (not known and particle not in _MOSTLY_PREPOSITIONS)


def _whether(words: Sequence[str]) -> str:
    """What a name asks: `is_room_free` whether the room is free, `check_if_door_is_shut` whether the door is shut."""
    first, *rest = words
    if first not in _BEING:
        return f"whether {_with_article('get', rest[1:])}"
    if len(rest) > 1 and rest[0] not in OPENING and _LIKE_ADJECTIVE.fullmatch(rest[-1]):
        return f"whether the {' '.join(rest[:-1])} {first} {rest[-1]}"
    is_thing = len(rest) > 1 and first in ("is", "was") and rest[0] not in OPENING
    article = ("an " if rest[0][0] in "aeiou" else "a ") if is_thing else ""
    return f"whether it {first} {article}{' '.join(rest)}"


def _deed(verb: str, thing: str) -> Deed:
    """`thing` may begin with the preposition that a way to say the verb ends with: it is said once."""
    base, says = verbs().get(verb, (verb, [verb]))
    first = thing.partition(" ")[0]
    if first in _PRONOUNS and len(says) > 1 and not any(said.endswith(f" {first}") for said in says):
        says = [said for said in says if " " not in said] or says[:1]  # not "send out me"
    if any(said.endswith(f" {first}") for said in says):
        thing = thing.removeprefix(f"{first} ")
    return Deed(base, says, thing)


def _described(description: str) -> Deed | None:
    """What the first sentence says, None where it is too long or says nothing that can be asked for."""
    words = sentence(description).split()
    if not 2 <= len(words) <= _MAX_WORDS or not words[0][0].isalpha():
        return None
    first, second = words[0].lower(), words[1].lower()
    verb = base_of(first)
    if first in _BEING:  # "Is the room free?"
        return None
    if first == "whether":
        return Deed("find out", _FINDING_OUT, " ".join(("whether", *words[1:])))
    if second in PARTICLES and first not in _ARTICLES and (verb or _may_take(_plain(first), second)):
        phrase = f"{verb or _plain(first)} {second}"
        return _asked_for(_LOOKING.get(phrase, phrase), words[2:]) if words[2:] else Deed(phrase, [phrase], "")
    if split := _split_phrase(verb or _plain(first), bool(verb) or second in _ARTICLES, words):
        return split
    if second in ("and", "or") and len(words) > 3 and first not in _ARTICLES and (verb or base_of(words[2].lower())):
        phrase = f"{verb or _plain(first)} {second} {base_of(words[2].lower()) or _plain(words[2].lower())}"
        return Deed(phrase, [phrase], " ".join(words[3:]))
    if verb and second == "of":
        return _named_thing(words)
    if first in _VERBS_OF_SENTENCES and second not in OPENING:
        return Deed(first, [first], " ".join(words[1:]))
    if verb or second in _ASKING or _plain(first) in _GIVING:
        return _asked_for(verb or _plain(first), _verbs_bare(words[1:]), first != verb)
    if second in _ARTICLES and first not in _ARTICLES | _ASKING:  # "Place an order", "Hoists the flag"
        return Deed(_plain(first), [_plain(first)], " ".join(_verbs_bare(words[1:])))
    return _named_thing(words)


def _may_take(verb: str, particle: str) -> bool:
    """Whether a verb that is not known may have this particle: "Users in a group" do not."""
    return verb in _TAKING_PARTICLES or particle not in _MOSTLY_PREPOSITIONS


def _split_phrase(verb: str, is_verb: bool, words: Sequence[str]) -> Deed | None:
    """The deed of a short sentence whose verb has its particle behind what it is done to ("Checks a guest in"), None
    for any other."""
    *middle, last = (word.lower() for word in words[1:])
    is_phrase = (is_verb and verb not in _NEVER_WITH_PARTICLE and verbs().get(verb, (verb,))[0] not in _MAKING) or (
        verb in _TAKING_PARTICLES
    )
    if not is_phrase or not middle or middle[0] in _ASKING or len(words) > _MAX_SPLIT:
        return None
    if middle[0] in _PRONOUNS and last in PARTICLES:
        return Deed(verb, [verb], " ".join(words[1:]))
    if last in PARTICLES and {"and", "or", "to"}.isdisjoint(middle) and middle[-1] not in _ENDS_IN_PARTICLE:
        return Deed(f"{verb} {last}", [f"{verb} {last}"], " ".join(words[1:-1]))
    is_inside = any(one in PARTICLES and other in OPENING for one, other in pairwise([*middle[1:], last]))
    return Deed(verb, [verb], " ".join(words[1:])) if is_inside else None


def _asked_for(verb: str, words: Sequence[str], is_told: bool = False) -> Deed:
    """The deed of a verb and what it is done to. `is_told`: the sentence tells what the tool does."""
    thing = " ".join(words)
    if words[0].lower() in _ASKING:
        return Deed("find out", _FINDING_OUT, thing)
    if words[0] == "me" and len(words) > 1 and verb in _GIVING:  # "Give me a joke"
        words, thing = words[1:], " ".join(words[1:])
    if verb in _HANDING and _has_two_objects(words):
        return Deed(verb, [verb], thing)
    if verb in _GIVING and (verb != "return" or is_told):
        verb = "get"
    is_name = words[0][0].isupper() and (len(words) == 1 or words[1] in OPENING)
    is_within = verb == "search" and words[0] != "for" and (words[0] == "the" or "for" in words or is_name)
    is_by = words[0] in ("by", "with", "in", "on", "at", "into") and not any(
        said.endswith(f" {words[0]}") for said in verbs().get(verb, ("", [verb]))[1]
    )
    if is_within or is_by or (verb == "log" and {"in", "into", "out"} & set(words)):
        return Deed(verb, [verb], thing)  # not "search for the web", nor "record user into the system"
    is_bare = words[0].islower() and not is_plural(words[0]) and words[0] not in _PRONOUNS | _ARTICLES
    if len(words) > 2 and words[1] == "of" and is_bare:
        thing = f"{_article(verb, words[0])} {thing}"
    return _deed(verb, thing)


def _has_two_objects(words: Sequence[str]) -> bool:
    """Whether something is handed to somebody: "a customer a discount", and not "a forecast for a city"."""
    end = next((at for at, word in enumerate(words) if word in OPENING), len(words))
    return words[0].lower() in _ARTICLES and not _ARTICLES.isdisjoint(words[2:end])


def _named_thing(words: Sequence[str]) -> Deed | None:
    """What to get of a sentence that only names it, None where it looks like no name of a thing."""
    first = words[0].lower()
    if first in _ASKING or (first not in _ARTICLES and OPENING.isdisjoint(word.lower() for word in words[1:5])):
        return None
    head = words[0] if words[0].isupper() and len(words[0]) > 1 else first
    rest = " ".join((head, *words[1:]))
    return _deed("get", rest if first in _ARTICLES else f"the {rest}")


def _verbs_bare(words: Sequence[str]) -> list[str]:
    """The words with second verbs as they are asked for: "a page and extracts its text" -> "... and extract ..."."""
    made = list(words)
    for at in range(1, len(made) - 1):
        verb = base_of(made[at])
        is_verb = made[at + 1].lower() not in OPENING if made[at].endswith("s") else False
        if made[at - 1].rstrip(",") in ("and", "or", "then") and verb and is_verb:
            made[at] = verb
    return made


def _plain(verb: str) -> str:
    """A verb that is not known, without the ending of "it hoists"."""
    if verb.endswith(("ches", "shes", "sses", "xes", "zzes", "oes")):
        return verb[:-2]
    return verb.removesuffix("s") if verb.endswith("s") and not verb.endswith("ss") else verb


def _article(verb: str, thing: str) -> str:
    """ "a" where one is made, "the" where it is there."""
    if verbs().get(verb, (verb,))[0] in _MAKING:
        return "an" if thing[0] in "aeiou" else "a"
    return "the"


def _deed_behind(verb: str, words: Sequence[str]) -> Deed:
    """The deed of a name: the verb, and what stands behind it. With a preposition it has no other ways to be said:
    "check out" "of the hotel", "add" "to the basket", "run in" "place"."""
    first, *rest = words
    if verb == "search" and first in _SEARCHED and not rest:
        return Deed(verb, [verb], _SEARCHED[first])
    if rest and first in OPENING and (" " in verb or first not in ("of", *PARTICLES)):
        is_bare = first == "by" or (first in ("to", "from") and verb in _INTO_FORMS)
        return Deed(verb, [verb], f"{first} {' '.join(rest) if is_bare else _with_article('get', rest)}")
    is_bare = verb.endswith((" in", " on")) and not rest and first in _BARE
    return _deed(verb, first if is_bare else _with_article(verb, words))


def _with_article(verb: str, words: Sequence[str]) -> str:
    """ "a ticket" where one is made, "the ticket" where it is there, "tickets" as they are, "me"."""
    at = next((at for at, word in enumerate(words) if at and word in ("by", "using", "via")), len(words))
    thing = " ".join(words[:at])
    is_several = is_plural(head_of(thing))
    is_made = _article(verb, thing) != "the"
    is_pronoun = words[0] == "me" or (len(words) == 1 and words[0] in _PRONOUNS)
    has_none = is_made if is_several or thing.endswith(_MASS) else False
    if words[0] in _ARTICLES or is_pronoun or has_none or (is_several and verb in ("find", "search", "list")):
        return thing
    return f"{_article(verb, thing)} {thing}"
