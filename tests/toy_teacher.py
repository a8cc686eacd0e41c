"""A teacher that is a program: it reads what it is shown, and writes what fits the form. Misbehaves on demand."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from sample_tools import TEXT
from toys import part

from iterft import Recipe, build
from iterft.completions import misfit
from iterft.log import Log
from iterft.rollout import settle_call
from iterft.synth.backend import Backend
from iterft.synth.catalog import ToolSpec, reference
from iterft.synth.checks import Objection, check
from iterft.synth.dialogues import value_at
from iterft.synth.grounding import leaves
from iterft.synth.pipeline import Order
from iterft.synth.run import Written, write_samples
from iterft.synth.stock import Stock, spoken_of, stock_of
from iterft.synth.teacher.asking import PROMPTS, choices
from iterft.synth.values import Value
from iterft.synth.wording import Bindings, Wording, fill
from iterft.synth.world import World
from iterft.toolsets.forms import load_toolset
from iterft.types import Message, Sample, ToolCall, Turn

PROMPT_OF = {path.stem: path.read_text(encoding="utf-8").strip() for path in PROMPTS.glob("*.txt")}
LEADS = ("well, ", "Now look: ", "OK so ")


@dataclass
class ToyTeacher:
    """`change(prompt, user, number, answer)` may give another answer, or raise. `asked`: requests by prompt. `meant`:
    what it has worded itself and so can read again."""

    change: Callable[[str, str, int, Any], Any] = lambda prompt, user, number, answer: answer
    name: str = "toy"
    concurrency: int = 4
    asked: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    meant: dict[str, Any] = field(default_factory=dict)

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Any] = (), schema: Mapping[str, Any] | None = None
    ) -> Message:
        system, user = (message["content"] for message in messages)
        assert system == PROMPT_OF["system"]
        prompt = next(name for name, text in PROMPT_OF.items() if user.endswith(text))
        with self.lock:
            number = self.asked[prompt]
            self.asked[prompt] += 1
        answer = self.change(prompt, user, number, getattr(self, prompt)(user, schema))
        assert schema is not None
        if prompt == "user":  # it stops where it has to, as a server's does
            answer = {"message": answer["message"][: schema["properties"]["message"]["maxLength"]]}
        assert misfit(answer, schema) == ""
        return {"role": "assistant", "content": json.dumps(answer)}

    def words(self, user: str, schema: Any) -> Any:
        texts = json.loads(part(user, "texts"))
        found = []
        for lead in LEADS:
            wording = {role: [lead + text for text in said] for role, said in texts.items()}
            self.meant["\n".join(wording["user"])] = (
                len(texts["user"]),
                [json.loads(line) for line in part(user, "calls").splitlines()],
                bool(part(user, "results")),
            )
            found.append(wording)
        return {"wordings": found}

    def assistant(self, user: str, schema: Any) -> Any:
        conversation = [json.loads(line) for line in part(user, "conversation").splitlines()]
        said = [message["content"] for message in conversation if message["role"] == "user"]
        results = [json.loads(message["content"]) for message in conversation if message["role"] == "tool"]
        known = (meant for text, meant in list(self.meant.items()) if f"{text}\n".startswith("\n".join(said) + "\n"))
        num_texts, calls, in_steps = next(known, (0, [], False))
        thinking = [{"tool": call["name"], "values": [], "missing": list(call["arguments"])[-1:]} for call in calls]
        if len(said) < num_texts:
            return {"thinking": thinking, "calls": [], "reply": "What else do I need to know?"}
        calls = calls[len(results) : len(results) + 1] if in_steps else calls if not results else []
        calls = [{**call, "arguments": filled_in(call["arguments"], results)} for call in calls]
        told = ", ".join(str(value) for result in results for value in values_in(result))
        reply = "" if calls else f"It says: {told}." if results else "I have nothing for that."
        return {"thinking": thinking, "calls": calls, "reply": reply}


@dataclass
class ToySmith(ToyTeacher):
    """Finds a domain in each headline of a document, and writes a tool of two parameters for what it is shown."""

    def tree(self, user: str, schema: Any) -> Any:
        lines = part(user, "document").splitlines()
        headlines = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
        leaves_of = {name: [line[2:] for line in lines if line.startswith("- ")] for name in headlines}
        return {"domains": [{"domain": name, "functionalities": own} for name, own in leaves_of.items()]}

    def tool_definition(self, user: str, schema: Any) -> Any:
        functionality = part(user, "functionalities").splitlines()[0]
        wish = part(user, "wish")
        subject = functionality.replace(" ", "_")
        plain = {"enum": [], "items": "string", "fields": []}
        return {
            "name": f"{subject}_{len(wish)}",
            "description": f"{functionality.capitalize()} in {part(user, 'domain')}. {wish}",
            "parameters": [
                {"name": "city", "type": "string", "description": f"City of {subject}", "required": True, **plain},
                {"name": "on_day", "type": "date", "description": f"Day of {wish}", "required": False, **plain},
            ],
            "returns": [{"name": f"{subject}_id", "type": "string"}],
        }


FROM_RESULT = "from the result: "


def filled_in(arguments: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    """Arguments with what they take from the last result."""
    return {
        name: value_at(results[-1], value.removeprefix(FROM_RESULT)) if str(value).startswith(FROM_RESULT) else value
        for name, value in arguments.items()
    }


def values_in(result: Any) -> list[Any]:
    return [value if isinstance(value, str) else json.dumps(value) for _, value in leaves(result, "")]


@dataclass
class ToyCast(ToyTeacher):
    """Plays the user and the tools as well: a user who speaks as the rules do, of calls it draws for itself."""

    stock: Stock | None = None

    def user(self, user: str, schema: Any) -> Any:
        assert self.stock is not None
        situation = part(user, "situation")
        beginnings = {key: text.partition("{")[0] for key, text in choices("situations").items()}
        fit = [key for key, beginning in beginnings.items() if situation.startswith(beginning)]
        kind = max(fit, key=lambda key: len(beginnings[key]))
        if kind == "answer":
            first = json.loads(part(user, "conversation").splitlines()[0])["content"]
            return {
                "message": next(text for text in list(self.meant) if text.startswith(f"{first}\n")).partition("\n")[2]
            }
        if kind == "chat":
            return {"message": f"Good to hear from you, number {len(self.meant)}."}
        with self.lock:
            random = Random(f"{kind} {user} {self.asked['user']}")
        names = [line.partition(":")[0] for line in part(user, "tools").splitlines() if not line.startswith(" ")]
        specs = [self.stock.shown.by_name[name] for name in names]
        first, *others = specs
        text, bindings = spoken_by(first.imperatives[0], first, random)
        calls = [called(first, bindings)]
        message = text
        if kind == "asked":
            gap = first.gaps[0]
            message, bindings = spoken_by(gap.query, first, random)
            value = first.kinds[gap.path].draw(random)
            message += f"\n{value.words}"
            calls = [called(first, {**bindings, gap.path: value})]
        elif kind == "dependent":
            link = next(link for link in self.stock.links if (link.producer, link.consumer) == (names[0], names[1]))
            partial = self.stock.tools[names[1]].partials[link.parameter][0]
            more, bindings = spoken_by(partial, others[0], random)
            value = Value("", (FROM_RESULT + link.field,))
            calls.append(called(others[0], {**bindings, link.parameter: value}))
            message = f"{text}, then {more}"
        elif kind == "parallel_same":
            for _ in range(int(situation.partition("exactly ")[2].split()[0]) - 1):
                more, bindings = spoken_by(first.imperatives[0], first, random)
                calls.append(called(first, bindings))
                message += f", and {more}"
        elif kind == "no_tool":
            calls = []
        else:
            for spec in others:
                more, bindings = spoken_by(spec.imperatives[0], spec, random)
                calls.append(called(spec, bindings))
                message += f", and {more}"
        self.meant[message] = (1 + message.count("\n"), calls, kind == "dependent")
        return {"message": message.partition("\n")[0]}

    def tool(self, user: str, schema: Any) -> Any:
        assert self.stock is not None
        call = json.loads(part(user, "call"))
        returns = {call["name"]: self.stock.tools[call["name"]].returns}
        return {"result": World(returns, 0).success(ToolCall(call["name"], call["arguments"]))}


def spoken_by(wording: Wording, tool: ToolSpec, random: Random) -> tuple[str, Bindings]:
    filled = fill(wording, tool.kinds, random)
    assert filled
    return filled[0], filled[1][0]


def called(tool: ToolSpec, bindings: Bindings) -> dict[str, Any]:
    call = settle_call(reference(tool, bindings))
    return {"name": call.name, "arguments": dict(call.arguments)}


WORLD = build.world(Recipe.load())


def judged(sample: Sample) -> list[Objection]:
    """All rules and the verifier."""
    objections = check(sample, tuple(build.DIALECTS.values()))
    verdict = WORLD.judge(sample, build.reference_turn(sample))
    return objections + ([Objection(verdict.reason, "")] if verdict.value < 1 else [])


def matches(sample: Sample, calls: Sequence[ToolCall]) -> bool:
    return WORLD.judge(sample, Turn("", tuple(calls))).value == 1.0


def stock_in(folder: Path) -> Stock:
    """The sample tools, read from a file."""
    path = folder / "my_tools.py"
    path.write_text(TEXT)
    return stock_of([spoken_of(definition) for definition in load_toolset(path).definitions])


def made_by(backend: Backend, stock: Stock, out: Path, num: int, *, with_thinking: bool = True) -> Written:
    order = Order(num, 0, "data", with_thinking, frozenset(), judged, backend)
    return write_samples(stock, order, out, Log(quiet=True))
