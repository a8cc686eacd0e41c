"""A `protocols.ChatModel` in this process: a model decoded by our engine, its answers bound by a grammar.

    with LocalChat(decoder, grammars, template, "base", settings) as model:
        message = model.chat([{"role": "user", "content": "Hello"}], schema={"type": "object"})

With a schema the answer is JSON that fits it, with tools a turn of the dialect that calls only what is there. Chats of
several threads share a batch: one thread decodes for all. Not here: servers (`endpoint`), turns that are learnt from
(`policies`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Self

from iterft.chat import parse
from iterft.completions import read_answer
from iterft.config import EndpointSettings
from iterft.engine.constrained import Grammars
from iterft.engine.decoders import Decoder
from iterft.engine.decoding import Decoded, Fork
from iterft.protocols import ChatFault
from iterft.rollout import seed_of
from iterft.setting_rules import first_line
from iterft.template import Template
from iterft.tokens import render_prompt, token_texts
from iterft.types import Message, Prompt, Tool

NO_USE = "no useful answer"

UNLIMITED = 4096
"""Tokens of an answer where the settings give no limit."""


@dataclass(frozen=True, eq=False)
class Wish:
    """What a thread waits for: the row that answers the prompt."""

    prompt: Prompt
    schema: Mapping[str, Any] | None
    answer: Future[Decoded] = field(default_factory=Future)


class LocalChat:
    """Of equal chats each draws anew; the n-th of them is the same in every run of the same model."""

    def __init__(
        self,
        decoder: Decoder,
        grammars: Grammars,
        template: Template,
        name: str,
        settings: EndpointSettings,
    ) -> None:
        self.decoder, self.grammars, self.template = decoder, grammars, template
        self.name, self.concurrency = name, settings.concurrency
        self.temperature, self.max_new_tokens = settings.temperature, settings.max_tokens or UNLIMITED
        self.wishes: SimpleQueue[Wish | None] = SimpleQueue()
        self.asked: Counter[tuple[int, ...]] = Counter()
        self.error: Exception | None = None
        """Why nothing is decoded any more; set before what waits is refused, so that who comes later sees it."""
        self.thread = Thread(target=self.work, name="local chat", daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wishes.put(None)
        self.thread.join()

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), schema: Mapping[str, Any] | None = None
    ) -> Message:
        """See `protocols.ChatModel`."""
        wish = Wish(Prompt(tuple(messages), tuple(tools)), schema)
        self.wishes.put(wish)
        if self.error is not None:
            self.refuse_all(self.error)
        row = wish.answer.result()
        if not row.stopped:
            raise ChatFault(NO_USE, f"it was cut off, being longer than {self.max_new_tokens} tokens")
        text = "".join(token_texts(self.template.tokenizer, row.ids, self.template.other_stops))
        if schema is not None:
            answer, fault = read_answer(text, schema)
            if fault:
                raise ChatFault(NO_USE, fault)
            return {"role": "assistant", "content": answer}
        turn = parse(self.template.dialect, text)
        if turn.error or not (turn.calls or turn.content):
            raise ChatFault(NO_USE, turn.error or "it is empty")
        calls = [{"name": call.name, "arguments": call.arguments} for call in turn.calls]
        return {"role": "assistant", "content": turn.content, **({"tool_calls": calls} if calls else {})}

    def work(self) -> None:
        """Decodes until it is told to end, or cannot go on."""
        forks: deque[Fork] = deque()
        waiting: dict[Fork, Wish] = {}
        error: Exception = ChatFault("closed", "the model was closed before it had answered")
        try:
            while self.take_in(forks, waiting, is_idle=True):
                for fork, (row,) in self.decoder.stream(forks, self.temperature, self.max_new_tokens):
                    waiting.pop(fork).answer.set_result(row)
                    if not self.take_in(forks, waiting, is_idle=False):
                        return
        except Exception as broken:  # out of memory, say: those who wait are told, here nobody would hear it
            error = broken
        finally:
            self.error = error
            for wish in waiting.values():
                wish.answer.set_exception(error)
            self.refuse_all(error)

    def refuse_all(self, error: Exception) -> None:
        """Answers what is still wished for with why there is no more decoding."""
        with suppress(Empty):  # several threads may be at it
            while True:
                wish = self.wishes.get_nowait()
                if wish is not None:
                    wish.answer.set_exception(error)

    def take_in(self, forks: deque[Fork], waiting: dict[Fork, Wish], *, is_idle: bool) -> bool:
        """Moves what is wished for to the forks; waits for the first if it `is_idle`. False when it is to end."""
        while is_idle or not self.wishes.empty():
            wish = self.wishes.get()
            if wish is None:
                return False
            try:
                fork = self.fork(wish)
            except ValueError as error:
                wish.answer.set_exception(ChatFault("refused", str(error)))
                continue
            except Exception as error:
                wish.answer.set_exception(error)
                raise
            forks.append(fork)
            waiting[fork] = wish
            is_idle = False
        return True

    def fork(self, wish: Wish) -> Fork:
        """ValueError where the chat template refuses the prompt, or no grammar can be made for what is asked for."""
        ids = render_prompt(self.template, wish.prompt)
        matcher = None
        try:
            if wish.schema is not None:
                matcher = self.grammars.json_matcher(wish.schema)
            elif wish.prompt.tools:
                matcher = self.grammars.matcher(self.template.dialect.grammar(wish.prompt.tools), ())
        except RuntimeError as error:  # of xgrammar: patterns with \b, bounds beyond 64 bits, ...
            raise ValueError(f"there is no grammar for its form ({first_line(error)})") from error
        self.asked[ids] += 1
        return Fork(ids, (), 1, seed_of(ids, self.asked[ids]), None, matcher)
