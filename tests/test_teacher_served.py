"""A teacher on a real server, vLLM's on a CPU: SmolLM2 writes much that is of no use, but in the form asked for."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from toy_teacher import judged, made_by, matches, stock_in

from iterft.completions import read_json
from iterft.config import EndpointSettings
from iterft.data import load_samples
from iterft.endpoint import Endpoint, endpoint
from iterft.log import Log
from iterft.protocols import ChatFault, ChatModel
from iterft.synth.teacher.answers import Answers
from iterft.synth.teacher.assistant import act
from iterft.synth.teacher.play import play_backend
from iterft.synth.teacher.tools import write_tools
from iterft.synth.teacher.words import OWN_WORDS, SAID_ANEW, words_backend
from iterft.types import Message

NEEDED = ("vllm", "uvicorn", "watchfiles", "outlines_core", "lmformatenforcer", "model_hosting_container_standards")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in NEEDED), reason="vLLM's server is not installed"
    ),
]

START_S = 900
CUT_OFF = "it was cut off"


@pytest.fixture(scope="module")
def url(smollm2: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", smollm2, "--port", str(port)]
    command += ["--host", "127.0.0.1", "--enforce-eager", "--max-model-len", "4096", "--served-model-name", "smollm2"]
    command += ["--dtype", "float32"]
    quiet = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    quiet["OMP_NUM_THREADS"] = "1"  # of two threads that share a core each waits for the other
    address = f"http://127.0.0.1:{port}/v1"
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **quiet}, start_new_session=True)
        try:
            wait_for(f"{address}/models", process, log)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + START_S
    while time.monotonic() < ends:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(1)
        else:
            return
    raise AssertionError(f"no server within {START_S} s: {log.read_text()[-3000:]}")


@dataclass
class Listening:
    """Passes requests on and keeps what came of them."""

    model: ChatModel
    heard: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    faults: list[ChatFault] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def concurrency(self) -> int:
        return self.model.concurrency

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Any] = (), schema: Mapping[str, Any] | None = None
    ) -> Message:
        assert schema is not None
        try:
            message = self.model.chat(messages, tools, schema)
        except ChatFault as fault:
            self.faults.append(fault)
            raise
        self.heard.append((message["content"], schema))
        return message

    def check(self) -> None:
        """All that was heard is what its schema asks for, and only length has spoilt an answer."""
        for content, schema in self.heard:
            _, fault = read_json(content, schema)
            assert fault == "", content
        assert all(CUT_OFF in fault.detail for fault in self.faults), self.faults


@pytest.fixture(scope="module")
def served(url: str) -> Iterator[Endpoint]:
    """Asked once for each answer: what is of no use is a fault at once. Answers are short, as a CPU writes a dozen
    tokens a second."""
    settings = EndpointSettings(
        base_url=url, max_repairs=0, max_tokens=200, concurrency=3, timeout_s=600.0, max_failures=1000
    )
    with endpoint(settings, Log(quiet=True)) as model:
        yield model


CITY = {"type": "string", "minLength": 1, "maxLength": 20}
FORMS: Mapping[str, Mapping[str, Any]] = {
    "flag": {"is_city": {"type": "boolean"}},
    "choice": {"unit": {"enum": ["celsius", "fahrenheit"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "list": {"cities": {"type": "array", "items": CITY, "minItems": 1, "maxItems": 3}},
    "nested": {"place": {"type": "object", "properties": {"city": CITY}, "required": ["city"]}, "label": CITY},
}


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_that_has_room_parses(served: Endpoint, form: str) -> None:
    teacher, properties = Listening(served), FORMS[form]
    schema = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    teacher.chat([{"role": "user", "content": "What is the weather in Oslo in the next 3 days?"}], schema=schema)
    assert len(teacher.heard) == 1
    teacher.check()


def test_what_a_teacher_words_is_kept_or_counted_and_all_samples_pass(served: Endpoint, tmp_path: Path) -> None:
    teacher = Listening(served)
    backend = words_backend(Answers(teacher, tmp_path / "answers"), matches)
    out = tmp_path / "data.jsonl"
    written = made_by(backend, stock_in(tmp_path), out, 3)
    samples = load_samples(out, "FILE", 0.0).samples
    assert len(samples) == 3 and [judged(sample) for sample in samples] == [[]] * 3
    told = sum(number for why, number in written.progress.redrawn.items() if why.startswith((SAID_ANEW, OWN_WORDS)))
    assert told >= 1 and len(teacher.heard) + len(teacher.faults) >= told
    teacher.check()


def test_what_a_teacher_plays_passes_or_is_counted(served: Endpoint, tmp_path: Path) -> None:
    teacher = Listening(served)
    backend = play_backend(Answers(teacher, tmp_path / "answers"), matches, votes=2)
    backend = replace(backend, max_tries=1, patience=1)
    out = tmp_path / "data.jsonl"
    written = made_by(backend, stock_in(tmp_path), out, 1, with_thinking=False)
    assert len(written.rows) + written.progress.redrawn.total() > 0
    if written.rows:
        assert [judged(sample) for sample in load_samples(out, "FILE", 0.0).samples] == [[]]
    teacher.check()


def test_an_assistant_decides_in_form(served: Endpoint, tmp_path: Path) -> None:
    teacher = Listening(served)
    tools = [tool.schema for tool in stock_in(tmp_path).asked.tools]
    try:
        action = act(teacher, [{"role": "user", "content": "Weather in Oslo on 2026-05-03?"}], tools)
    except ChatFault:
        assert teacher.faults
    else:
        assert {made.name for made in action.calls} <= {str(tool["name"]) for tool in tools}
    teacher.check()


def test_what_a_teacher_writes_is_a_tool_or_counted(served: Endpoint, tmp_path: Path) -> None:
    teacher = Listening(served)
    answers = Answers(teacher, tmp_path / "answers")
    made = write_tools({"harbour": ("moor a boat",)}, [], 2, 0, answers, frozenset())
    assert len(made.tools) + made.dropped.total() >= 2
    teacher.check()
