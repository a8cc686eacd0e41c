"""What a teacher has answered, kept on the disk: a run that goes on gets the same answers without asking again."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iterft.journal import append_to_journal, read_journal
from iterft.protocols import ChatModel
from iterft.types import Message, Tool


def answers_of(out: Path) -> Path:
    return out.with_name(out.name + ".answers")


class Answers:
    """The file of answers of one model. An answer counts for the same request in the same place of a run only; what
    came to nothing is not kept."""

    def __init__(self, model: ChatModel, path: Path) -> None:
        self.model, self.path = model, path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.known: dict[str, Message] = {row["key"]: row["message"] for row in read_journal(path)}
        self._lock = threading.Lock()

    def within(self, scope: str) -> Scoped:
        """The model as asked in one place of a run, by one thread."""
        return Scoped(self, scope)

    def keep(self, key: str, message: Message) -> None:
        with self._lock:
            self.known[key] = message
            append_to_journal(self.path, {"key": key, "message": dict(message)})


class Scoped:
    """`protocols.ChatModel` that remembers; made by `Answers.within`."""

    def __init__(self, answers: Answers, scope: str) -> None:
        self.answers, self.scope = answers, scope
        self.num_asked = 0

    @property
    def name(self) -> str:
        return self.answers.model.name

    @property
    def concurrency(self) -> int:
        return 1

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), schema: Mapping[str, Any] | None = None
    ) -> Message:
        """The answer that is known, else the model's. The same request put again may have another answer."""
        request = json.dumps(
            [self.scope, self.num_asked, self.name, list(messages), list(tools), schema], sort_keys=True, default=str
        )
        self.num_asked += 1
        key = hashlib.sha256(request.encode()).hexdigest()[:32]
        if key not in self.answers.known:
            self.answers.keep(key, self.answers.model.chat(messages, tools, schema))
        return self.answers.known[key]
