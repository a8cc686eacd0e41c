"""What can go wrong between a request and its reply, whether another try may mend it, and what a person can do.

Nothing is sent here. Bodies of replies come as text, from which the key has been taken out already.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from iterft.completions import server_says
from iterft.config import EndpointSettings

FIRST_WAIT_S = 0.5
"""Before the first further try, less what is left to chance."""

MAY_MEND = frozenset({408, 409, 425, 429})
"""Refusals (4xx) that the same request may escape a little later. So it may server errors (5xx), but for 501."""

REFUSED, BROKEN = "refused", "server error"
"""The reasons of requests that the server will not have, and of those over which it fails (500)."""

CHECK_ADDRESS = "check endpoint.base_url (it mostly ends in /v1) and endpoint.model"
REFUSES_ALL: Mapping[int, str] = {
    401: "check the key in the variable that endpoint.key_env names",
    402: "the account is out of credit",
    403: "the key in the variable that endpoint.key_env names has no right to this",
    404: CHECK_ADDRESS,
    405: CHECK_ADDRESS,
    501: "this server has no chat completions",
}
"""Refusals that concern every request, and what to do."""


@dataclass(frozen=True)
class Trouble:
    """Why one try came to nothing. `mends`: another may not; `wait_s`: how long the server asks to wait before it.
    `advice`: what a person can do. `is_fatal`: no request would fare better; `spares_others`: unless one has already,
    as moderation refuses some prompts by the status of a key without rights (OpenRouter)."""

    reason: str
    detail: str
    advice: str = ""
    mends: bool = False
    is_fatal: bool = False
    spares_others: bool = False
    wait_s: float = 0.0


def overdue(timeout_s: float) -> Trouble:
    advice = "raise endpoint.timeout_s, or lower endpoint.concurrency or endpoint.max_tokens"
    return Trouble("timeout", f"no whole answer within {timeout_s:g} s", advice, mends=True)


def garbled(what: str) -> Trouble:
    return Trouble("garbled", f"the reply {what}", mends=True)


def broken(error: httpx2.RequestError) -> Trouble:
    """No reply, or not a whole one."""
    said = str(error) or type(error).__name__
    if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError)):
        advice = "check that the server runs, and endpoint.base_url"
        return Trouble("unreachable", f"cannot be reached ({said})", advice, mends=True, is_fatal=True)
    if isinstance(error, httpx2.DecodingError):
        return garbled(f"cannot be decoded ({said})")
    return Trouble("disconnected", f"the connection broke ({said})", mends=True)


def failed(text: str) -> Trouble:
    """A success by its status, an error by its body, as some relays have it."""
    return Trouble("unavailable", f"an error in place of a reply: {told_in(text)}", mends=True)


def told_in(text: str) -> str:
    """What the body of a reply that reports an error says."""
    try:
        return server_says(json.loads(text))
    except ValueError:
        return server_says(text)


def refusal(response: httpx2.Response, text: str, settings: EndpointSettings) -> Trouble:
    """What a reply other than success, with `text` as its body, means."""
    status = response.status_code
    detail = f"{status} {response.reason_phrase}: {told_in(text)}"
    if response.is_redirect:
        return Trouble(REFUSED, f"{detail} (to {response.headers.get('Location')})", CHECK_ADDRESS, is_fatal=True)
    if status == 429 and "insufficient_quota" in text:
        return Trouble(REFUSED, detail, REFUSES_ALL[402], is_fatal=True)
    if status == 401 and not settings.key_env:
        advice = "set endpoint.key_env to the name of the environment variable that holds the key"
        return Trouble(REFUSED, detail, advice, is_fatal=True)
    if status in REFUSES_ALL:
        return Trouble(REFUSED, detail, REFUSES_ALL[status], is_fatal=True, spares_others=status == 403)
    if status in MAY_MEND or status >= 500:
        wait_s = retry_after(response)
        if wait_s > settings.max_wait_s:
            detail += f" (it asks to wait {wait_s:.0f} s, more than endpoint.max_wait_s)"
        if status == 500:
            return Trouble(BROKEN, detail, "see the server's own log", mends=True, wait_s=wait_s)
        reason = "unavailable" if status > 500 else "rate limited"
        return Trouble(reason, detail, "lower endpoint.concurrency", mends=True, wait_s=wait_s)
    return Trouble(REFUSED, detail)


def retry_after(response: httpx2.Response) -> float:
    """How many seconds the server asks to wait, told in seconds or as a date; 0 where it asks nothing readable."""
    told = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(told))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # no date; or one without a zone
        return 0.0


def backoff(tries: int, max_wait_s: float) -> float:
    """Seconds to wait after so many tries: doubling, of which up to half is left to chance. Clients that were turned
    away together must not come back together, so the chance is nobody's seed."""
    return min(max_wait_s, FIRST_WAIT_S * 2.0 ** (tries - 1)) * random.SystemRandom().uniform(0.5, 1.0)
