"""A `protocols.ChatModel` behind a network: any server that speaks OpenAI's chat completions (vLLM, llama.cpp, hosted
ones). Text only. What is sent and how a reply is read: `completions`; here is all that can go wrong on the way.

    with endpoint(settings, log) as model:
        message = model.chat([{"role": "user", "content": "Hello"}])

Requests run on one event loop in a thread of its own, so that a time-out covers the whole answer, however slowly it
drips in, and leaving the context ends what is under way.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal

from iterft.completions import (
    as_request,
    read_reply,
    response_format,
    server_says,
    with_complaint,
    with_schema_in_words,
)
from iterft.config import EndpointSettings
from iterft.log import Log
from iterft.protocols import ChatFault
from iterft.setting_rules import first_line, validate
from iterft.trouble import BROKEN, REFUSED, Trouble, backoff, broken, failed, garbled, overdue, refusal
from iterft.types import Message, Tool


@dataclass
class Usage:
    """What an endpoint was asked and what became of it. `requests` counts every try, `retries` those after the first,
    `trouble` what went wrong on the way by reason; `unusable` replies came through and were of no use; `failures` are
    the chats given up, by reason."""

    requests: int = 0
    retries: int = 0
    unusable: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    trouble: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)


@contextmanager
def endpoint(settings: EndpointSettings, log: Log) -> Iterator[Endpoint]:
    """The chat model behind `settings.base_url`. ValueError when a setting breaks its rule, the key is missing, or,
    with no model named, the server lists none or several. What was used is logged at the end."""
    validate(settings, "endpoint.")
    key = read_key(settings)
    try:
        client = httpx2.AsyncClient(
            base_url=settings.base_url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(None, connect=settings.connect_timeout_s),
            limits=httpx2.Limits(max_connections=None),
        )
    except (httpx2.InvalidURL, ImportError, ValueError) as error:
        raise ValueError(
            f"endpoint.base_url {settings.base_url}: {first_line(error)}; check the address, and the variables of the "
            "environment that name a proxy"
        ) from error
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client):
        model = Endpoint(settings, key, client, portal, log)
        try:
            if not settings.model:
                model.settings = replace(settings, model=portal.call(model.only_model))
            yield model
        finally:
            model.report()


class Endpoint:
    """`protocols.ChatModel`; made by `endpoint`. All counting happens on the loop's thread."""

    def __init__(
        self, settings: EndpointSettings, key: str, client: httpx2.AsyncClient, portal: BlockingPortal, log: Log
    ) -> None:
        self.settings, self.log = settings, log
        self.usage = Usage()
        self._key, self._client, self._portal = key, client, portal
        self._slots = anyio.Semaphore(settings.concurrency)
        self._failures_in_a_row = 0
        self._has_answered = False
        self._refused_schemas: set[str] = set()

    @property
    def name(self) -> str:
        return self.settings.model

    @property
    def concurrency(self) -> int:
        return self.settings.concurrency

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), schema: Mapping[str, Any] | None = None
    ) -> Message:
        """See `protocols.ChatModel`. ValueError when no request can succeed, or too many in a row have failed."""
        body = {
            "model": self.settings.model,
            "temperature": self.settings.temperature,
            "max_tokens": self.settings.max_tokens or None,
            **as_request(messages, tools),
            **self.settings.extra,
        }
        return self._portal.call(self._chat, {key: value for key, value in body.items() if value is not None}, schema)

    def report(self) -> None:
        """What was used, as a line and a metric."""
        usage = self.usage
        self.log.metric("endpoint", model=self.name, **vars(usage))
        self.log.say(
            f"{self.name or self.settings.base_url}: {usage.requests} requests ({usage.retries} of them retries), "
            f"{usage.prompt_tokens} + {usage.completion_tokens} tokens, {usage.unusable} replies of no use"
            + "".join(f", {reason} {count}" for reason, count in usage.trouble.items())
            + (f"; given up: {dict(usage.failures)}" if usage.failures else "")
        )

    async def only_model(self) -> str:
        """The name of the one model that the server lists."""
        try:
            listed = await self._request("GET", "models", None)
        except ChatFault as fault:
            raise self._error(f"its models cannot be listed: {fault}") from fault
        entries = listed.get("data") if isinstance(listed, dict) else None
        names = [str(entry["id"]) for entry in entries or () if isinstance(entry, dict) and "id" in entry]
        if len(names) != 1:
            raise self._error(
                f"it lists {', '.join(names[:10]) or 'no models'}; set endpoint.model to one that it serves"
            )
        return names[0]

    async def _chat(self, body: dict[str, Any], schema: Mapping[str, Any] | None) -> Message:
        try:
            message = await self._useful_reply(body, schema)
        except ChatFault as fault:
            self.usage.failures[fault.reason] += 1
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= self.settings.max_failures:
                raise self._error(
                    f"{self._failures_in_a_row} requests in a row came to nothing, the last: {fault}; mend the server "
                    "or the settings (endpoint.max_failures raises the bound)"
                ) from fault
            raise
        self._failures_in_a_row = 0
        return message

    async def _useful_reply(self, body: dict[str, Any], schema: Mapping[str, Any] | None) -> Message:
        """The first reply that can be used, asked for again where one cannot."""
        request, fault = body, ""
        for _ in range(1 + self.settings.max_repairs):
            payload = await (self._complete(request) if schema is None else self._complete_json(request, body, schema))
            message, fault = read_reply(payload, schema)
            if not fault:
                return message
            self.usage.unusable += 1
            if schema is not None:
                request = with_complaint(with_schema_in_words(body, schema), message, fault)
        raise ChatFault("no useful answer", self._plain(fault))

    async def _complete_json(self, request: dict[str, Any], body: dict[str, Any], schema: Mapping[str, Any]) -> Any:
        """The server's reply, asked to keep to the schema. A server that refuses that (or breaks down over it, as vLLM
        does where a library is missing), but not the request with the schema told in words, is not asked again.
        `request`: `body`, or what complains about the reply to it."""
        key = json.dumps(schema, sort_keys=True)
        if key not in self._refused_schemas:
            try:
                return await self._complete({**request, "response_format": response_format(schema)})
            except ChatFault as fault:
                if fault.reason not in (REFUSED, BROKEN):
                    raise
        reply = await self._complete(with_schema_in_words(body, schema) if request is body else request)
        if key not in self._refused_schemas:
            self._refused_schemas.add(key)
            self.log.say_once(f"{self.name}: takes no response_format; answers are checked against the schema instead")
        return reply

    async def _complete(self, body: dict[str, Any]) -> Any:
        payload = await self._request("POST", "chat/completions", body)
        usage = payload.get("usage") if isinstance(payload, dict) else None
        if isinstance(usage, dict):
            self.usage.prompt_tokens += whole(usage.get("prompt_tokens"))
            self.usage.completion_tokens += whole(usage.get("completion_tokens"))
        return payload

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """The JSON that the server replies, after as many tries as it takes and the settings grant. ChatFault when they
        are used up or another would be useless, ValueError when that holds for all requests."""
        tries = 0
        while True:
            tries += 1
            self.usage.requests += 1
            async with self._slots:
                trouble, payload = await self._try(method, path, body)
            if trouble is None:
                self._has_answered |= body is not None
                return payload
            self.usage.trouble[trouble.reason] += 1
            if not trouble.mends or tries > self.settings.max_retries or trouble.wait_s > self.settings.max_wait_s:
                detail = trouble.detail + (f"; {trouble.advice}" if trouble.advice else "")
                is_fatal = trouble.is_fatal and not (trouble.spares_others and self._has_answered)
                raise self._error(detail) if is_fatal else ChatFault(trouble.reason, detail)
            self.usage.retries += 1
            await anyio.sleep(max(trouble.wait_s, backoff(tries, self.settings.max_wait_s)))

    async def _try(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[Trouble | None, Any]:
        """(None, the JSON replied), or (what went wrong, None)."""
        try:
            with anyio.fail_after(self.settings.timeout_s):
                response = await self._client.request(method, path, json=body)
        except TimeoutError:
            return overdue(self.settings.timeout_s), None
        except httpx2.RequestError as error:
            return broken(error), None
        if not response.is_success:
            return refusal(response, self._plain(response.text), self.settings), None
        try:
            payload = json.loads(response.text)
        except ValueError:
            return garbled(f"is no JSON: {server_says(self._plain(response.text))}"), None
        if isinstance(payload, dict) and payload.get("error"):
            return failed(self._plain(response.text)), None
        return None, payload

    def _error(self, detail: str) -> ValueError:
        return ValueError(f"endpoint {self.settings.base_url}: {detail}")

    def _plain(self, text: str) -> str:
        """What a server says, without the key, should it repeat it."""
        return text.replace(self._key, "[key]") if self._key else text


def whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def read_key(settings: EndpointSettings) -> str:
    """The key out of the environment, "" where none is wanted. Errors name the variable, never what is in it."""
    if not settings.key_env:
        return ""
    key = os.environ.get(settings.key_env, "").strip()
    if not key:
        raise ValueError(f"endpoint.key_env: {settings.key_env} is not set; export the key under that name")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError(
            f"endpoint.key_env: what {settings.key_env} holds is no key (blanks, or not ASCII); export it anew"
        )
    return key
