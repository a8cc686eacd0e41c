"""A teacher that is a program: it reads what it is shown, and writes what fits the form. Misbehaves on demand."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toys import part

from iterft.completions import misfit
from iterft.synth.teacher.asking import PROMPTS
from iterft.types import Message

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
        said = "\n".join(message["content"] for message in conversation if message["role"] == "user")
        num_results = sum(message["role"] == "tool" for message in conversation)
        whole = next((meant for text, meant in list(self.meant.items()) if text.startswith(said)), (0, [], False))
        num_texts, calls, in_steps = whole
        if num_texts != said.count("\n") + 1 and num_texts != sum(m["role"] == "user" for m in conversation):
            calls = []
        if in_steps:
            calls = calls[num_results : num_results + 1]
        return {"thinking": [], "calls": calls, "reply": "" if calls else "I see."}
