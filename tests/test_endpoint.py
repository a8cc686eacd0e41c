"""The endpoint against a real server that misbehaves: what is tried again, what given up, and what never shown."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from toy_server import Answer, Reply, Request, ToyServer, in_turn, refused, said, toy_server

from iterft.completions import read_answer
from iterft.config import EndpointSettings
from iterft.endpoint import Endpoint, endpoint
from iterft.log import Log
from iterft.protocols import ChatFault
from iterft.threads import side_by_side

HELLO = [{"role": "user", "content": "Hello"}]
OK = said("Good day.")
KEY = "sk-Very.Secret-123"
SCHEMA = {
    "type": "object",
    "properties": {"sure": {"type": "boolean"}},
    "required": ["sure"],
    "additionalProperties": False,
}


@pytest.fixture(autouse=True)
def straight_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextmanager
def talking(answer: Answer, log: Log | None = None, **settings: Any) -> Iterator[tuple[Endpoint, ToyServer]]:
    """An endpoint before a server that answers so, with waits too short to notice."""
    with toy_server(answer) as server:
        chosen = EndpointSettings(**{"base_url": server.url, "model": "toy", "max_wait_s": 0.02, **settings})
        with endpoint(chosen, log or Log(quiet=True)) as model:
            yield model, server


def fault_of(answer: Answer, schema: Any = None, **settings: Any) -> tuple[ChatFault, int]:
    """Why a chat came to nothing, and after how many requests."""
    with talking(answer, **settings) as (model, server):
        with pytest.raises(ChatFault) as caught:
            model.chat(HELLO, schema=schema)
        return caught.value, len(server.requests)


def error_of(answer: Answer, **settings: Any) -> tuple[str, int]:
    """What a person is told who cannot go on, and after how many requests."""
    with talking(answer, **settings) as (model, server):
        with pytest.raises(ValueError) as caught:
            model.chat(HELLO)
        assert not isinstance(caught.value, ChatFault)
        return str(caught.value), len(server.requests)


def test_a_chat_sends_what_the_settings_say_and_returns_the_message() -> None:
    with talking(in_turn(OK), temperature=0.2, max_tokens=7, extra={"top_p": 0.9}) as (model, server):
        assert model.chat(HELLO) == {"role": "assistant", "content": "Good day."}
        assert (model.usage.requests, model.usage.retries) == (1, 0)
        assert (model.usage.prompt_tokens, model.usage.completion_tokens) == (10, 3)
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.key == ""
    assert request.body == {"model": "toy", "messages": HELLO, "temperature": 0.2, "max_tokens": 7, "top_p": 0.9}


def test_half_a_character_is_replaced() -> None:
    with talking(in_turn(said("Good \ud83d"))) as (model, _):
        assert model.chat(HELLO)["content"] == "Good ?"


def test_half_a_character_that_a_decoder_gave_three_marks_for_is_as_long_as_the_grammar_counted_it() -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string", "maxLength": 3}}}
    bytes_allowed = b'{"text": "a\xed\xa0\x80b"}'
    with talking(in_turn(said(bytes_allowed.decode("utf-8", "replace")))) as (model, _):
        assert json.loads(model.chat(HELLO, schema=schema)["content"]) == {"text": "a\ufffdb"}


def test_a_null_in_extra_takes_one_of_our_keys_out() -> None:
    extra = {"max_tokens": None, "max_completion_tokens": 5}
    with talking(in_turn(OK), extra=extra) as (model, server):
        model.chat(HELLO)
    assert "max_tokens" not in server.requests[0].body
    assert server.requests[0].body["max_completion_tokens"] == 5


def test_server_errors_are_tried_again() -> None:
    with talking(in_turn(refused(500, "boom"), refused(503, "boom"), OK)) as (model, server):
        assert model.chat(HELLO)["content"] == "Good day."
        assert (model.usage.requests, model.usage.retries) == (3, 2)
        assert model.usage.trouble == {"server error": 1, "unavailable": 1}
        assert not model.usage.failures
    assert len(server.requests) == 3


def test_tries_are_bounded_and_the_fault_names_status_message_and_what_to_do() -> None:
    fault, num_requests = fault_of(in_turn(refused(500, "out of memory")), max_retries=2)
    assert (fault.reason, num_requests) == ("server error", 3)
    assert "500 Internal Server Error: out of memory; see the server's own log" in fault.detail


@pytest.mark.parametrize(
    ("told", "least"),
    [("1", 1.0), (format_datetime(datetime.now(UTC) - timedelta(days=1)), 0.2), ("soon", 0.2)],
    ids=["seconds", "a day that is over", "words"],  # the same in each process that collects them
)
def test_a_server_that_is_busy_is_given_the_time_it_asks_for(told: str, least: float) -> None:
    with talking(in_turn(refused(429, "busy", Retry_After=told), OK), max_wait_s=2.0) as (model, _):
        started = time.monotonic()
        assert model.chat(HELLO)["content"] == "Good day."
        assert time.monotonic() - started >= least
        assert model.usage.trouble == {"rate limited": 1}


@pytest.mark.parametrize(
    "told", ["3600", format_datetime(datetime.now(UTC) + timedelta(hours=1))], ids=["seconds", "an hour from now"]
)
def test_a_server_that_asks_for_more_time_than_there_is_is_not_asked_again(told: str) -> None:
    fault, num_requests = fault_of(in_turn(refused(429, "busy", Retry_After=told)))
    assert (fault.reason, num_requests) == ("rate limited", 1)
    assert "it asks to wait 3" in fault.detail


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_cannot_mend_is_not_tried_again(status: int) -> None:
    fault, num_requests = fault_of(in_turn(refused(status, "the prompt is too long")))
    assert (fault.reason, num_requests) == ("refused", 1)
    assert "the prompt is too long" in fault.detail


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        (refused(401, "no key"), "set endpoint.key_env to the name of the environment variable"),
        (refused(402, "pay"), "the account is out of credit"),
        (refused(403, "forbidden"), "has no right"),
        (refused(404, "no model 'toy'"), "check endpoint.base_url (it mostly ends in /v1) and endpoint.model"),
        (Reply({"error": {"code": "insufficient_quota"}}, 429), "the account is out of credit"),
        (Reply(b"", 308, {"Location": "https://elsewhere/v1"}), "(to https://elsewhere/v1); check endpoint.base_url"),
    ],
)
def test_what_no_request_would_survive_ends_the_run_at_once(reply: Reply, advice: str) -> None:
    error, num_requests = error_of(in_turn(reply))
    assert num_requests == 1
    assert error.startswith("endpoint http://127.0.0.1:")
    assert f": {reply.status} " in error
    assert advice in error


def test_a_key_that_was_good_before_has_its_rights_and_the_prompt_is_what_is_forbidden() -> None:
    forbidden = refused(403, "your input was flagged")
    with talking(in_turn(OK, forbidden, OK)) as (model, _):
        model.chat(HELLO)
        with pytest.raises(ChatFault, match=r"refused: .*your input was flagged"):
            model.chat(HELLO)
        assert model.chat(HELLO)["content"] == "Good day."


def test_a_server_that_is_not_there_ends_the_run_after_some_tries() -> None:
    with toy_server(in_turn(OK)) as server:
        url = server.url
    log = Log(quiet=True)
    settings = EndpointSettings(base_url=url, model="toy", max_wait_s=0.01, max_retries=2)
    with endpoint(settings, log) as model:
        with pytest.raises(ValueError, match=r"cannot be reached .*check that the server runs") as caught:
            model.chat(HELLO)
        assert url in str(caught.value)
        assert model.usage.trouble == {"unreachable": 3}


def test_a_server_that_hangs_is_left_in_time() -> None:
    started = time.monotonic()
    fault, num_requests = fault_of(in_turn(Reply({}, hold_s=30)), timeout_s=0.2, max_retries=1)
    assert (fault.reason, num_requests) == ("timeout", 2)
    assert "no whole answer within 0.2 s; raise endpoint.timeout_s" in fault.detail
    assert time.monotonic() - started < 5


def test_an_answer_that_drips_in_is_left_in_time_although_each_byte_comes_soon() -> None:
    drip = Reply({"choices": "x" * 200}, drip_s=0.05)
    started = time.monotonic()
    fault, _ = fault_of(in_turn(drip), timeout_s=0.4, max_retries=0)
    assert fault.reason == "timeout"
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(b'{"choices": [{"mess'), "garbled"),
        (Reply(b"<html>hello</html>"), "garbled"),
        (Reply({"choices": []}, cut=4), "disconnected"),
        (Reply({"error": {"message": "upstream is down"}}), "unavailable"),
        (Reply(b"no gzip", headers={"Content-Encoding": "gzip"}), "garbled"),
    ],
)
def test_a_reply_that_is_not_whole_is_asked_for_again(reply: Reply, reason: str) -> None:
    with talking(in_turn(reply, OK)) as (model, _):
        assert model.chat(HELLO)["content"] == "Good day."
        assert model.usage.trouble == {reason: 1}
    assert fault_of(in_turn(reply), max_retries=1)[0].reason == reason


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (said("Half a sen", "length"), "endpoint.max_tokens"),
        (said(None), "it is empty"),
        (said("  "), "it is empty"),
        (said(None, refusal="I must not."), "would not answer (I must not.)"),
        (said("", "content_filter"), "would not answer (content_filter)"),
        (Reply({"choices": []}), 'holds no message ({"choices": []})'),
        (Reply([1, 2]), "holds no message ([1, 2])"),
        (said(None, tool_calls=[{"function": {"name": "f", "arguments": '{"a": '}}]), "arguments not JSON"),
        (said(None, tool_calls=[{"function": {"arguments": "{}"}}]), "a call without a name"),
        (said(None, tool_calls=7), "holds no message"),
    ],
)
def test_a_reply_of_no_use_is_asked_for_again_so_many_times(reply: Reply, why: str) -> None:
    with talking(in_turn(reply, OK)) as (model, server):
        assert model.chat(HELLO)["content"] == "Good day."
        assert (model.usage.unusable, model.usage.retries) == (1, 0)
        assert server.requests[0] == server.requests[1]
    fault, num_requests = fault_of(in_turn(reply), max_repairs=2)
    assert (fault.reason, num_requests) == ("no useful answer", 3)
    assert why in fault.detail


def test_calls_are_read_into_our_form_and_tools_and_results_written_in_theirs() -> None:
    tool = {"name": "weather", "description": "", "parameters": {"type": "object", "properties": {}}}
    calls = [{"name": "weather", "arguments": {"city": city}} for city in ("Oslo", "Århus")]
    messages = [
        *HELLO,
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "rain"},
        {"role": "tool", "content": "sun"},
        {"role": "assistant", "content": "", "tool_calls": calls[:1]},
        {"role": "tool", "content": "snow"},
    ]
    made = [{"type": "function", "id": "1", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}]
    with talking(in_turn(said(None, tool_calls=made, finish_reason="tool_calls"))) as (model, server):
        answer = model.chat(messages, [tool])
    assert answer["tool_calls"] == [{"name": "weather", "arguments": {"city": "Rome"}}]
    body = server.requests[0].body
    assert body["tools"] == [{"type": "function", "function": tool}]
    asked = [[call["id"] for call in message.get("tool_calls", ())] for message in body["messages"]]
    told = [message.get("tool_call_id") for message in body["messages"]]
    assert [*asked[1], *asked[4]] == [told[2], told[3], told[5]] == ["call00000", "call00001", "call00002"]
    assert json.loads(body["messages"][1]["tool_calls"][1]["function"]["arguments"]) == {"city": "Århus"}


def test_a_result_without_a_call_is_the_callers_mistake() -> None:
    with talking(in_turn(OK)) as (model, server):
        with pytest.raises(ValueError, match="follows no call of its own: rain"):
            model.chat([*HELLO, {"role": "tool", "content": "rain"}])
        assert server.requests == []


@pytest.mark.parametrize(
    "content",
    [
        '{"sure": true}',
        '<think>{"sure": false}?</think>\n{"sure": true}',
        'Here it is:\n```json\n{"sure": true}\n```\nAnything else?',
        'My answer is {"sure": true}, as {you} see.',
        'As {you} see: {"sure": true}',
    ],
)
def test_a_schema_is_asked_for_and_what_stands_around_the_value_is_passed_over(content: str) -> None:
    with talking(in_turn(said(content))) as (model, server):
        assert json.loads(model.chat(HELLO, schema=SCHEMA)["content"]) == {"sure": True}
    (request,) = server.requests
    assert request.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA},
    }
    assert request.body["messages"] == HELLO


@pytest.mark.parametrize("character", ["\n", "\t", "\x1d"])
def test_control_characters_as_they_are_do_not_spoil_a_value(character: str) -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    with talking(in_turn(said('{"text": "one' + character + 'two {}"}'))) as (model, _):
        assert json.loads(model.chat(HELLO, schema=schema)["content"]) == {"text": f"one{character}two {{}}"}
    fault, _ = fault_of(in_turn(said('{"text": NaN,' + character + '"b": 1}')), schema=schema)
    assert fault.reason == "no useful answer", "and nothing else that is no JSON"


@pytest.mark.parametrize("text", ["Write\n```\n[1]\n```\nthere.", "They mark it </think> {so}.", "[{"])
def test_what_stands_inside_the_value_does_not_end_it(text: str) -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    with talking(in_turn(said(json.dumps({"text": text})))) as (model, _):
        assert json.loads(model.chat(HELLO, schema=schema)["content"]) == {"text": text}
        assert model.usage.unusable == 0


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("I am sure.", "it is no JSON"),
        ('{"sure": tru', "it is no JSON"),
        ('{"sure": NaN}', "NaN is no JSON"),
        ('{"sure": "yes"}', "$.sure: 'yes' is not of type 'boolean'"),
        ('{"sure": true, "odd": 1}', "$: Additional properties are not allowed"),
        ("[]", "$: [] is not of type 'object'"),
    ],
)
def test_an_answer_that_does_not_fit_the_schema_is_told_so_and_asked_for_again(content: str, complaint: str) -> None:
    with talking(in_turn(said(content), said(content), said('{"sure": false}'))) as (model, server):
        assert json.loads(model.chat(HELLO, schema=SCHEMA)["content"]) == {"sure": False}
        assert model.usage.unusable == 2
    for request in server.requests[1:]:
        asked, answered, complained = request.body["messages"]
        assert json.dumps(SCHEMA) in asked["content"]
        assert answered == {"role": "assistant", "content": content}
        assert complaint in complained["content"]
    assert fault_of(in_turn(said(content)), SCHEMA, max_repairs=1)[1] == 2


@pytest.mark.parametrize(
    ("reply", "repeated"),
    [(said("ha" * 5000, "length"), "ha" * 500), (said(None), "(nothing)"), (said('"\ud83d"'), '"?"')],
)
def test_a_useless_answer_is_repeated_to_the_model_in_part_and_never_as_nothing(reply: Reply, repeated: str) -> None:
    with talking(in_turn(reply, said('{"sure": true}'))) as (model, server):
        model.chat(HELLO, schema=SCHEMA)
    assert server.requests[1].body["messages"][1] == {"role": "assistant", "content": repeated}


def without_response_format(request: Request, number: int, status: int = 400) -> Reply:
    if "response_format" in request.body:
        return refused(status, "response_format is not supported")
    return said('{"sure": true}' if number % 2 else '{"sure": 1}')


@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_server_that_takes_no_response_format_is_told_the_schema_in_words_and_checked(status: int) -> None:
    with talking(partial(without_response_format, status=status), max_retries=0) as (model, server):
        for _ in range(2):
            assert json.loads(model.chat(HELLO, schema=SCHEMA)["content"]) == {"sure": True}
        assert model.usage.unusable == 1
        assert model.usage.failures == {}
    constrained = ["response_format" in request.body for request in server.requests]
    assert constrained == [True, False, False, False], "it is asked once only"
    complained = ["cannot be used" in request.body["messages"][-1]["content"] for request in server.requests]
    assert complained == [False, False, False, True]
    for request in server.requests[1:]:
        assert json.dumps(SCHEMA) in request.body["messages"][0]["content"]
        assert sum(json.dumps(SCHEMA) in message["content"] for message in request.body["messages"]) == 1


def test_a_request_that_is_refused_with_and_without_a_schema_does_not_change_what_is_asked_of_others() -> None:
    def answer(request: Request, number: int) -> Reply:
        return refused(400, "too long") if number < 2 else said('{"sure": true}')

    with talking(answer) as (model, server):
        with pytest.raises(ChatFault, match="too long"):
            model.chat(HELLO, schema=SCHEMA)
        model.chat(HELLO, schema=SCHEMA)
    assert "response_format" in server.requests[-1].body


def test_the_schema_in_words_is_a_message_of_its_own_where_the_user_spoke_not_last() -> None:
    messages = [*HELLO, {"role": "assistant", "content": "Yes?"}]
    with talking(without_response_format) as (model, server):
        model.chat(messages, schema=SCHEMA)
    assert [message["role"] for message in server.requests[1].body["messages"]] == ["user", "assistant", "user"]


def test_too_many_failures_in_a_row_end_the_run_and_a_success_between_them_does_not() -> None:
    bad = refused(400, "no")
    with talking(in_turn(bad, bad, OK, bad, bad, bad, OK), max_failures=3) as (model, _):
        for _ in range(2):
            with pytest.raises(ChatFault):
                model.chat(HELLO)
        model.chat(HELLO)
        for _ in range(2):
            with pytest.raises(ChatFault):
                model.chat(HELLO)
        with pytest.raises(ValueError, match="3 requests in a row came to nothing, the last: refused: 400") as caught:
            model.chat(HELLO)
        assert not isinstance(caught.value, ChatFault)
        assert model.usage.failures == {"refused": 5}


def test_the_only_model_of_a_server_need_not_be_named() -> None:
    def answer(request: Request, number: int) -> Reply:
        return Reply({"data": [{"id": "the-one"}]}) if request.path == "/v1/models" else OK

    with talking(answer, model="") as (model, server):
        model.chat(HELLO)
        assert model.name == "the-one"
    assert server.requests[1].body["model"] == "the-one"


@pytest.mark.parametrize(("listed", "told"), [(["a", "b"], "it lists a, b"), ([], "it lists no models")])
def test_a_server_of_several_models_or_none_asks_for_a_name(listed: list[str], told: str) -> None:
    reply = Reply({"data": [{"id": name} for name in listed]})
    with pytest.raises(ValueError, match=f"{told}; set endpoint.model"), talking(in_turn(reply), model=""):
        pass


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (refused(500, "starting"), "its models cannot be listed: server error: 500"),
        (refused(404, "no such path"), "404 Not Found: no such path; check endpoint.base_url"),
        (Reply([1]), "it lists no models"),
        (Reply({"data": [1, {}]}), "it lists no models"),
    ],
)
def test_a_server_that_lists_nothing_readable_is_named(reply: Reply, told: str) -> None:
    with pytest.raises(ValueError, match=r"^endpoint http://127") as caught:
        error_of(in_turn(reply), model="", max_retries=0)
    assert told in str(caught.value)
    assert not isinstance(caught.value, ChatFault)


def test_the_key_is_sent_and_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOY_KEY", KEY + "\n")
    wrong = refused(401, f"Incorrect API key provided: {KEY}")
    log = Log(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError) as caught, talking(in_turn(OK, wrong), log, key_env="TOY_KEY") as (model, server):
        model.chat(HELLO)
        assert server.requests[0].key == f"Bearer {KEY}"
        model.chat(HELLO)
    assert "401 Unauthorized: Incorrect API key provided: [key]; check the key in" in str(caught.value)
    shown = capsys.readouterr()
    written = (tmp_path / "metrics.jsonl").read_text()
    assert '"requests": 2' in written
    assert "2 requests (0 of them retries), 10 + 3 tokens" in shown.out
    for text in (repr(caught.value), shown.out, shown.err, written):
        assert KEY not in text


@pytest.mark.parametrize(
    "echo",
    [
        refused(400, f"bad header {KEY}"),
        refused(400, "x" * 290 + KEY),
        Reply({"odd": KEY}),
        Reply({"error": {"message": KEY}}),
        Reply(f"<p>{KEY}</p>".encode()),
        said(None, refusal=KEY),
    ],
)
def test_the_key_is_taken_out_of_faults_too(echo: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", KEY)
    fault, _ = fault_of(in_turn(echo), key_env="TOY_KEY", max_retries=0)
    assert "[key]" in fault.detail
    assert KEY[:4] not in str(fault)


def test_a_reply_that_happens_to_hold_the_key_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", "none")
    with talking(in_turn(said("There is none.")), key_env="TOY_KEY") as (model, _):
        assert model.chat(HELLO)["content"] == "There is none."


@pytest.mark.parametrize("held", [None, "", " ", "two words", "schlüssel"])
def test_a_key_that_is_missing_or_none_names_the_variable_only(
    held: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if held is not None:
        monkeypatch.setenv("TOY_KEY", held)
    with pytest.raises(ValueError, match=r"endpoint\.key_env: .*TOY_KEY") as caught:
        error_of(in_turn(OK), key_env="TOY_KEY")
    assert not held or not held.strip() or held not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"key_env": KEY}, "endpoint.key_env: must be the name, in capitals"),
        ({"base_url": f"https://me:{KEY}@host/v1"}, "endpoint.base_url: must be http://HOST"),
        ({"base_url": f"https://host/v1?key={KEY}"}, "endpoint.base_url: must be http://HOST"),
        ({"base_url": "localhost:8000"}, "endpoint.base_url: must be http://HOST"),
        ({"timeout_s": 0}, "endpoint.timeout_s: must be greater than 0, but it is 0"),
        ({"concurrency": 0}, "endpoint.concurrency: must be greater than 0, but it is 0"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_named_and_a_key_put_in_the_wrong_place_not_repeated(
    settings: dict[str, Any], rule: str
) -> None:
    with pytest.raises(ValueError) as caught, talking(in_turn(OK), **settings):
        pass
    assert str(caught.value).startswith(rule)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("address", ["http://HOST:PORT/v1", "http://localhost:8000:8000/v1"])
def test_an_address_that_is_none_is_one_sentence(address: str) -> None:
    settings = EndpointSettings(base_url=address, model="toy")
    with (
        pytest.raises(ValueError, match=r"^endpoint.base_url http.*check the address"),
        endpoint(settings, Log(quiet=True)),
    ):
        pass


def test_a_proxy_that_cannot_be_used_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://127.0.0.1:1080")
    settings = EndpointSettings(base_url="http://localhost:1/v1", model="toy")
    with pytest.raises(ValueError, match="environment that name a proxy"), endpoint(settings, Log(quiet=True)):
        pass


def test_content_may_be_parts_of_which_text_counts() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": '{"sure": '},
             {"type": "text", "text": "true}"}, "odd", {"type": "text", "text": None}]  # fmt: skip
    reply = Reply({"choices": [{"message": {"role": "assistant", "content": parts}}]})
    with talking(in_turn(reply)) as (model, _):
        assert json.loads(model.chat(HELLO, schema=SCHEMA)["content"]) == {"sure": True}


@pytest.mark.parametrize(("value", "is_fit"), [(19.99, True), (0.07, True), (4.35, True), (3, True), (19.995, False)])
def test_a_multiple_of_a_hundredth_is_one(value: float, is_fit: bool) -> None:
    schema = {"anyOf": [{"type": "number", "multipleOf": 0.01}, {"type": "string"}]}
    answer, fault = read_answer(json.dumps(value), schema)
    assert (answer, fault == "") == ((json.dumps(value) if is_fit else ""), is_fit)


def slow_echo(request: Request, number: int) -> Reply:
    content = request.body["messages"][0]["content"]
    return Reply(said(content).body, hold_s=0.02 * (5 - int(content) % 5))


def ask(model: Endpoint) -> Callable[[str], str]:
    return lambda content: model.chat([{"role": "user", "content": content}])["content"]


def test_many_chats_run_side_by_side_keep_their_order_and_never_exceed_the_bound() -> None:
    items = [str(number) for number in range(40)]
    done: list[int] = []
    with talking(slow_echo, concurrency=4) as (model, server):
        answers = side_by_side(items, ask(model), 12, lambda index, answer: done.append(int(answer)))
        assert server.most_open == 4
    assert answers == items
    assert sorted(done) == list(range(40))
    assert done != list(range(40)), "they end in another order than they begin in"


def test_an_error_among_many_chats_ends_them_all_at_once() -> None:
    def answer(request: Request, number: int) -> Reply:
        return refused(401, "no key") if number == 5 else Reply(OK.body, hold_s=0.1 if number < 5 else 30)

    started = time.monotonic()
    with pytest.raises(ValueError, match="no key"), talking(answer, concurrency=4) as (model, _):
        side_by_side(["1"] * 100, ask(model), 4, lambda *_: None)
    assert time.monotonic() - started < 5, "the hanging ones are not waited for"


INTERRUPTED = """
import signal, sys
from iterft.config import EndpointSettings
from iterft.endpoint import endpoint
from iterft.log import Log
from iterft.threads import side_by_side

signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where tests run in the background
with endpoint(EndpointSettings(base_url=sys.argv[1], model="toy"), Log()) as model:
    side_by_side(range(50), lambda n: model.chat([{"role": "user", "content": str(n)}]), 8, lambda *_: None)
"""


def test_an_interrupt_ends_a_process_whose_server_hangs() -> None:
    with toy_server(in_turn(Reply({}, hold_s=60))) as server:
        run = [sys.executable, "-c", INTERRUPTED, server.url]
        with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            while len(server.requests) < 8 and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in err
    assert "toy: 8 requests" in out
