"""Dialogues played by three agents, each with a prompt of its own: a user who wants something, an assistant who
decides, tools that answer (ToolACE's SDG, arXiv 2409.00920).

Of the rules' plan stay the kind of dialogue and the tools; what is said, which values there are and what tools return
is the agents'. The assistant does not know the plan: a dialogue is kept if it decides the same as often as it is asked,
and what the plan wants at each point, and if every value it passes on was said.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from iterft.protocols import ChatModel
from iterft.synth.backend import Backend, Fault, Plan, Told
from iterft.synth.dialogues import Decision, turn
from iterft.synth.grounding import Said, leaves
from iterft.synth.questions import is_usable, object_schema
from iterft.synth.shown import asked_tools
from iterft.synth.teacher.answers import Answers
from iterft.synth.teacher.asking import TEXT, ask, asked_with, choices, told_tools
from iterft.synth.teacher.assistant import Action, Matches, agreed, answer_of, thought_of
from iterft.synth.teacher.replies import asks, invented, refuses, untold
from iterft.types import Message, ToolCall

NAME = "dialogues"
_MAX_TRIES, _PATIENCE = 2, 6


def play_backend(answers: Answers, matches: Matches, votes: int) -> Backend:
    """`votes`: how often the assistant is asked for each decision."""
    model = answers.model

    def tell(plan: Plan, fault: Fault) -> Told | str:
        teacher = answers.within(plan.scope)
        played = play(plan, teacher, lambda messages, schemas: agreed(teacher, messages, schemas, votes, matches))
        if isinstance(played, str):
            return played
        return fault(played) or Told(played, NAME, {"teacher": model.name, "votes": votes})

    settings = {**asked_with(model), "votes": votes}
    return Backend(NAME, tell, model.concurrency, _MAX_TRIES, _PATIENCE, settings)


@dataclass(frozen=True)
class Step:
    """What the plan wants the assistant to do at a point: call tools of these names, or speak. `kind` is "" where it is
    no sample; `refuses`: what was asked for takes a tool that is not there."""

    kind: str
    names: tuple[str, ...]
    refuses: bool = False


Decide = Callable[[Sequence[Message], Sequence[Any]], Action | None]


def play(plan: Plan, model: ChatModel, decide: Decide) -> list[Decision] | str:
    """The decisions of a dialogue, or why there are none. ChatFault when a request came to nothing."""
    schemas = [tool.schema for tool in plan.tools]
    steps = steps_of(plan)
    messages: tuple[Message, ...] = (said_by_user(plan, (), model),)
    decisions = []
    for step, is_last in zip(steps, [*[False] * (len(steps) - 1), True], strict=True):
        action = decide(messages, schemas)
        if action is None:
            return "decisions that differ"
        if reason := departure(action, step, messages):
            return reason
        if step.kind:
            decisions.append(_decision(step, action, messages, plan))
        if is_last:
            break
        if action.calls:
            results = [answered(call, plan, messages, model) for call in action.calls]
            messages = (*messages, *turn(action.calls, results))
        else:
            messages = (*messages, {"role": "assistant", "content": action.reply})
            messages = (*messages, said_by_user(plan, messages, model))
    return decisions


def steps_of(plan: Plan) -> list[Step]:
    """The plan's decisions; in front of the telling of results the calls that they come from."""
    absent = plan.draft.absent is not None
    steps = [
        Step(decision.kind, _names(decision.answer), absent and decision.kind == "no_tool")
        for decision in plan.decisions
    ]
    is_only_told = plan.draft.calls and not any(step.names for step in steps)
    return [Step("", _names(plan.draft.calls)), *steps] if is_only_told else steps


def departure(action: Action, step: Step, messages: Sequence[Message]) -> str:
    """How the assistant does something else than planned, or says what it cannot know; "" if it does not."""
    if _names(action.calls) != step.names:
        return "another decision than planned"
    if step.kind == "missing_info" and not asks(action.reply):
        return "missing information that is not asked for"
    if step.refuses and not refuses(action.reply):
        return "a request that is not refused"
    if step.kind == "dependent" and messages[-1]["role"] == "tool" and not depends(action.calls, messages):
        return "a second call that could have been the first"
    if step.kind == "summary" and untold(action.reply, messages):
        return "a result that is not told"
    if action.reply and invented(action.reply, messages):
        return "a reply that invents something"
    return ""


def depends(calls: Sequence[ToolCall], messages: Sequence[Message]) -> bool:
    """Whether some value of the calls is nothing that the user has said."""
    said = Said("\n".join(message["content"] for message in messages if message["role"] == "user"))
    values = (pair for call in calls for name, value in call.arguments.items() for pair in leaves(value, name))
    return any(not said.holds(path, value) for path, value in values)


def said_by_user(plan: Plan, messages: Sequence[Message], model: ChatModel) -> Message:
    """What the user says first, or to the assistant's question."""
    manner = Random(f"manner {plan.scope}").choice(list(choices("manners").values()))
    calls = plan.draft.calls
    situation = choices("situations")["answer" if messages else _situation(plan)]
    material = {
        "tools": told_tools([tool.schema for tool in asked_tools(plan.draft)]) if calls or plan.draft.absent else "",
        "conversation": _lines(messages),
        "situation": situation.format(names=", ".join(call.name for call in calls), count=len(calls), manner=manner),
        "manner": manner,
    }
    said = ask(model, "user", material, object_schema(message=TEXT))
    return {"role": "user", "content": said["message"].strip()}


def answered(call: ToolCall, plan: Plan, messages: Sequence[Message], model: ChatModel) -> Any:
    """What the tool returns, of the form of its results."""
    tool = next(tool.schema for tool in plan.tools if tool.name == call.name)
    returns = plan.returns[call.name]
    material = {
        "tools": told_tools([tool]),
        "conversation": _lines(messages),
        "call": json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False),
    }
    return ask(model, "tool", material, object_schema(result=returns if is_usable(returns) else {}))["result"]


def _situation(plan: Plan) -> str:
    return "chat" if plan.kind == "no_tool" and not plan.draft.absent else plan.kind


def _decision(step: Step, action: Action, messages: tuple[Message, ...], plan: Plan) -> Decision:
    thought = thought_of(action, messages, plan.tools)
    if not action.calls and step.kind != "missing_info":
        thought = plan.decisions[-1].thought  # that no tool fits, or all is answered, is planned
    answer = answer_of(action.calls, [tool.schema for tool in plan.tools])
    return Decision(step.kind, messages, answer, action.reply.strip(), thought)


def _names(calls: Sequence[ToolCall]) -> tuple[str, ...]:
    return tuple(sorted(call.name for call in calls))


def _lines(messages: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(json.dumps(dict(message), ensure_ascii=False) for message in messages)
