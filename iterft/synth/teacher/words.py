"""Rules plan, the teacher words: which tools, calls, values and results there are is settled; what the user says and
what the assistant replies is said anew.

A wording is kept if the dialogue passes everything with it: all rules, every value still to be found, and every
decision made again, the same, by a reader who sees no more than the tools and the words. One that does not is asked for
again with what was wrong; after so many times the rules' own wording stays.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from iterft.protocols import ChatFault, ChatModel
from iterft.rollout import settle_call
from iterft.synth.backend import RULES, Backend, Fault, Plan, Told
from iterft.synth.dialogues import Decision
from iterft.synth.questions import object_schema
from iterft.synth.shown import asked_tools
from iterft.synth.teacher.answers import Answers
from iterft.synth.teacher.asking import TEXT, ask, asked_with, choices, list_schema, told_tools
from iterft.synth.teacher.assistant import Matches, act
from iterft.synth.teacher.replies import asks, invented, left_out, refuses
from iterft.synth.thoughts import calls_thought, cited
from iterft.types import Message, Prompt, Sample

NAME = "words"
SAID_ANEW = "said in the teacher's words"
OWN_WORDS = "said in the rules' words"
NUM_WORDINGS = 3
"""To choose from, each in a manner of its own, out of one request."""
MAX_TRIES = 3
_PATIENCE = 3


def words_backend(answers: Answers, matches: Matches) -> Backend:
    model = answers.model

    def tell(plan: Plan, fault: Fault) -> Told | str:
        if reason := fault(plan.decisions):
            return reason
        return in_other_words(plan, fault, answers.within(plan.scope), matches)

    return Backend(NAME, tell, width=model.concurrency, patience=_PATIENCE, settings=asked_with(model))


def in_other_words(plan: Plan, fault: Fault, model: ChatModel, matches: Matches) -> Told:
    """The dialogue in the first of the teacher's wordings that can be kept, in the rules' own where none can."""
    random = Random(f"manners {plan.scope}")
    reason, remark = "", ""
    for _ in range(MAX_TRIES):
        try:
            for wording in wordings(plan, model, random, remark):
                decisions = said_anew(plan, wording)
                reason, detail = objection(plan, decisions, fault, model, matches)
                if not reason:
                    return Told(decisions, NAME, {"teacher": model.name}, Counter([SAID_ANEW]))
                remark = f"{json.dumps(wording, ensure_ascii=False)}\n{reason}{detail and f' ({detail})'}"
        except ChatFault as chat_fault:
            reason = f"teacher: {chat_fault.reason}"
    return Told(plan.decisions, RULES.name, {}, Counter([f"{OWN_WORDS}: {reason}"]))


def wordings(plan: Plan, model: ChatModel, random: Random, remark: str) -> list[Mapping[str, Sequence[str]]]:
    """Texts of "user" and "assistant", as many as the plan has."""
    said = said_in(plan)
    numbers = {role: list_schema(TEXT, len(texts)) for role, texts in said.items()}
    calls = [settle_call(call) for call in plan.draft.calls]
    material = {
        "tools": told_tools([tool.schema for tool in asked_tools(plan.draft)]),
        "calls": "\n".join(json.dumps({"name": call.name, "arguments": call.arguments}) for call in calls),
        "results": "\n".join(str(message["content"]) for message in _last(plan).messages if message["role"] == "tool"),
        "texts": json.dumps(said, ensure_ascii=False),
        "manners": "\n".join(random.sample(list(choices("manners").values()), NUM_WORDINGS)),
        "remark": remark,
    }
    schema = object_schema(wordings=list_schema(object_schema(**numbers), NUM_WORDINGS))
    found: list[Mapping[str, Sequence[str]]] = ask(model, "words", material, schema)["wordings"]
    return found


def said_in(plan: Plan) -> dict[str, list[str]]:
    """What user and assistant say in the plan, each in order; an assistant that says nothing is left out."""
    last = _last(plan)
    said: dict[str, list[str]] = {"user": [], "assistant": []}
    for message in last.messages:
        if message["role"] in said and message["content"]:
            said[message["role"]].append(message["content"])
    if last.text:
        said["assistant"].append(last.text)
    return {role: texts for role, texts in said.items() if texts}


def said_anew(plan: Plan, wording: Mapping[str, Sequence[str]]) -> list[Decision]:
    """The plan's decisions in this wording. Thoughts cite the words that are said now."""
    new = {
        (role, old): text.strip()
        for role, texts in said_in(plan).items()
        for old, text in zip(texts, wording[role], strict=True)
    }
    specs = {tool.name: tool for tool in plan.tools}
    decisions = []
    for decision in plan.decisions:
        messages = tuple(
            {**message, "content": new.get((message["role"], message["content"]), message["content"])}
            for message in decision.messages
        )
        thought = decision.thought
        if decision.said:
            heard = _heard(messages)
            bindings = [{path: cited(value, heard) for path, value in said.items()} for said in decision.said]
            asked = [(specs[call.name], own) for call, own in zip(decision.answer, bindings, strict=True)]
            thought = calls_thought(asked)
        text = new.get(("assistant", decision.text), "")
        decisions.append(replace(decision, messages=messages, text=text, thought=thought))
    return decisions


def objection(
    plan: Plan, decisions: Sequence[Decision], fault: Fault, model: ChatModel, matches: Matches
) -> tuple[str, str]:
    """(why the wording cannot be kept, more about it), ("", "") if it can. What takes a request comes last."""
    if reason := fault(decisions):
        return reason, ""
    schemas = [tool.schema for tool in plan.tools]
    for decision, planned in zip(decisions, plan.decisions, strict=True):
        if decision.text and (detail := invented(decision.text, decision.messages)):
            return "a reply that invents something", detail
        if decision.text and (detail := left_out(decision.text, planned.text, decision.messages)):
            return "a reply that leaves something out", detail
        if decision.text and asks(planned.text) and not asks(decision.text):
            return "a question that does not ask", ""
        if decision.text and refuses(planned.text) and not refuses(decision.text):
            return "a refusal that does not refuse", ""
    for decision in decisions:
        sample = Sample("", Prompt(decision.messages, tuple(schemas)), decision.answer)
        if not _is_told(decision) and not matches(sample, act(model, decision.messages, schemas).calls):
            return "read as something else", ""
    return "", ""


def _is_told(decision: Decision) -> bool:
    """Whether it only puts results into words."""
    return decision.messages[-1]["role"] == "tool" and not decision.answer


def _last(plan: Plan) -> Decision:
    return plan.decisions[-1]


def _heard(messages: Sequence[Message]) -> str:
    said: list[Any] = [message["content"] for message in messages if message["role"] in ("user", "tool")]
    return "\n".join(said).lower()
