"""Consistency: turns follow each other as they must, results belong to their calls, the reference to what was asked.

The last four rules are FunRL's AST stage (arXiv 2508.05118): a reference that is a call although no tool applies, or
reads as one, and prose although a call is needed. Whether a call was needed is told from what the sample itself says:
its kind, or an announcement in the prose.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

from iterft.chat import THINK_CLOSE, THINK_OPEN, call_in_text
from iterft.synth.rules.dialogue import main_script, wanted_script
from iterft.synth.rules.facts import Facts, Rule, answers_to, calls_of, is_failure, results_of, shown
from iterft.types import ToolCall

CALL_KINDS = frozenset(
    ["single", "parallel", "parallel_same", "parallel_different", "dependent", "multiple", "parallel_multiple"]
)
NO_CALL_KINDS = frozenset(["no_tool", "no_call", "missing_info", "irrelevance", "summary"])
"""Kinds of samples that say whether a call is right."""

_ROLES = ("system", "user", "assistant", "tool")
_ONE_CALL = re.compile(
    r"\b(?:only|exactly|at most|no more than) (?:one|1|a single) (?:function|tool|call)\b"
    r"|\b(?:never|do not|don't) (?:call|make|use) more than (?:one|1|a single) (?:function|tool|call)\b",
    re.IGNORECASE,
)
_ONLY_JSON = re.compile(
    r"\b(?:respond|reply|answer)\b[^.\n]{0,40}\b(?:only|strictly|exclusively)\b[^.\n]{0,20}\bjson\b"
    r"|\bonly (?:respond|reply|answer)\b[^.\n]{0,30}\bjson\b"
    r"|\b(?:respond|reply|answer) (?:in|with) json only\b",
    re.IGNORECASE,
)
_ANNOUNCED = re.compile(
    r"\b(?:i'll|i will|let me|i am going to|i'm going to|calling|now (?:calling|using))\b[^?!\n]{0,60}", re.IGNORECASE
)


def unknown_role(facts: Facts) -> str:
    """Roles are system, user, assistant and tool."""
    return next(
        (f"role {message.get('role')!r}" for message in facts.messages if message.get("role") not in _ROLES), ""
    )


def system_not_first(facts: Facts) -> str:
    """What the system says comes first."""
    roles = [message.get("role") for message in facts.messages]
    return "a system message after others" if "system" in roles[roles.count("system") :] else ""


def nobody_asked(facts: Facts) -> str:
    """The reference, and each earlier turn of the assistant, answers a user or a tool, not the assistant itself."""
    for number, (message, after) in enumerate(pairwise(facts.messages), start=1):
        is_cut = message.get("role") == after.get("role") == "assistant" and not message.get("tool_calls")
        if is_cut:
            return f"messages {number} and {number + 1} are both the assistant's"
    last = facts.messages[-1].get("role") if facts.messages else None
    return f"the last message is the {last}'s" if last not in ("user", "tool") else ""


def stray_result(facts: Facts) -> str:
    """A result follows a call, or another result of the same turn."""
    before = ""
    for number, message in enumerate(facts.messages, start=1):
        role = "call" if message.get("tool_calls") else str(message.get("role"))
        if role == "tool" and before not in ("call", "tool"):
            return f"message {number} is a result without a call"
        before = role
    return ""


def unanswered_call(facts: Facts) -> str:
    """Each call is followed by its result before anyone else speaks."""
    for at, message in enumerate(facts.messages):
        num_calls = len(message.get("tool_calls") or ())
        following = facts.messages[at + 1 : at + 1 + num_calls]
        if sum(each.get("role") == "tool" for each in following) < num_calls:
            return f"message {at + 1} makes {num_calls} calls that are not all answered"
    return ""


def surplus_result(facts: Facts) -> str:
    """There are no more results than calls."""
    for at, message in enumerate(facts.messages):
        num_calls = len(message.get("tool_calls") or ())
        if num_calls and len(results_of(facts.messages, at)) > num_calls:
            return f"message {at + 1} makes {num_calls} calls that get more results"
    return ""


def result_of_another_tool(facts: Facts) -> str:
    """Results that name their tools name those that were called in that turn, each no more often than it was."""
    for at, message in enumerate(facts.messages):
        called = Counter(call.name for call in calls_of(message))
        results = results_of(facts.messages, at) if called else []
        named = Counter(str(result["name"]) for result in results if result.get("name"))
        for name in named - called:
            if name not in called or len(results) <= called.total():  # else it is one result more
                return f"{name} answers {named[name]} of the calls of {', '.join(called.elements())}"
    return ""


def result_of_another_call(facts: Facts) -> str:
    """A result that gives the id of its call gives one that was made in that turn."""
    ids: list[object] = []
    for message in facts.messages:
        if message.get("tool_calls"):
            ids = [call["id"] for call in message["tool_calls"] if call.get("id")]
        elif message.get("role") == "tool" and ids and message.get("tool_call_id", ids[0]) not in ids:
            return f"id {message['tool_call_id']!r} is none of the calls'"
    return ""


def call_already_answered(facts: Facts) -> str:
    """Nothing is called again whose result has come since the user last spoke, unless that was a failure."""
    since: list[ToolCall] = []
    for at, message in enumerate(facts.messages):
        if message.get("role") == "user":
            since = []
        answered = answers_to(message, results_of(facts.messages, at))
        since += [call for call, result in answered if result is None or not is_failure(result)]
    return next((f"{call.name} was called with these arguments before" for call in facts.calls if call in since), "")


def more_calls_than_allowed(facts: Facts) -> str:
    """A system text that allows one call gets one."""
    is_limited = len(facts.calls) > 1 and _ONE_CALL.search(facts.system)
    return f"{len(facts.calls)} calls, but the system allows one" if is_limited else ""


def reply_not_json(facts: Facts) -> str:
    """A system text that wants nothing but JSON gets JSON."""
    if not facts.reply or not _ONLY_JSON.search(facts.system):
        return ""
    try:
        json.loads(facts.reply)
    except ValueError:
        return f"the system wants JSON only, not {shown(facts.reply)}"
    return ""


def language_not_wanted(facts: Facts) -> str:
    """A system text that prescribes a language gets its script, as far as a reply is long enough to have one."""
    wanted, found = wanted_script(facts.system), main_script(facts.reply)
    return f"the system wants {wanted}, the reply is {found}" if wanted and found and found != wanted else ""


def think_left_open(facts: Facts) -> str:
    """A think part that is opened is closed, once."""
    for text in facts.prose:
        if text.count(THINK_OPEN) != text.count(THINK_CLOSE):
            return f"{text.count(THINK_OPEN)} opened, {text.count(THINK_CLOSE)} closed"
    return ""


def call_where_none_is_right(facts: Facts) -> str:
    """A sample whose kind says that no call is right makes none."""
    is_wrong = facts.sample.kind in NO_CALL_KINDS and bool(facts.sample.answer)
    return f"kind {facts.sample.kind}, but {facts.sample.answer[0].name} is called" if is_wrong else ""


def call_in_prose(facts: Facts) -> str:
    """Prose does not read as a call in any dialect."""
    found = call_in_text(facts.dialects, facts.reply)
    return f"reads as a call of {found[1].name} in the {found[0].name} dialect" if found else ""


def prose_where_a_call_is_due(facts: Facts) -> str:
    """A sample whose kind says that a call is right makes one."""
    is_wrong = facts.sample.kind in CALL_KINDS and not facts.sample.answer
    return f"kind {facts.sample.kind}, but nothing is called" if is_wrong else ""


def call_announced(facts: Facts) -> str:
    """A reply that says it calls one of the tools does so."""
    if not facts.reply or "?" in facts.reply:
        return ""
    names = [name for name in facts.tools if "_" in name or "." in name or not name.islower()]
    said = [found[0] for found in _ANNOUNCED.finditer(facts.reply)]
    return next((f"says {shown(text)} and does not" for text in said if any(name in text for name in names)), "")


RULES: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (
        unknown_role,
        system_not_first,
        nobody_asked,
        stray_result,
        unanswered_call,
        surplus_result,
        result_of_another_tool,
        result_of_another_call,
        call_already_answered,
        more_calls_than_allowed,
        reply_not_json,
        language_not_wanted,
        think_left_open,
        call_where_none_is_right,
        call_in_prose,
        prose_where_a_call_is_due,
        call_announced,
    )
}
