"""A chat model in this process: answers fit what they are asked for, threads share it, faults are those of one chat."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator
from toys import TOOLS
from updates import LORA, QUIET

from iterft import Iterator as Loop
from iterft import Recipe, build
from iterft.config import EndpointSettings
from iterft.engine.decoding import Fork
from iterft.local_chat import LocalChat
from iterft.protocols import ChatFault, ChatModel

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("xgrammar") is None, reason="xgrammar is not installed (the extra grammar)"
)

SETTINGS = EndpointSettings(temperature=1.0, max_tokens=60)
ENDLESS = {"type": "string", "minLength": 1000}
SCHEMA = {
    "type": "object",
    "properties": {
        "verdict": {"enum": ["right", "wrong"]},
        "names": {"type": "array", "items": {"enum": ["Ada", "Bo"]}, "minItems": 1, "maxItems": 3},
        "is_due": {"type": "boolean"},
    },
    "required": ["verdict", "names", "is_due"],
    "additionalProperties": False,
}


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": "Answer."}, {"role": "user", "content": text}]


@pytest.fixture
def model() -> Iterator[LocalChat]:
    with build.chat_model("debug", SETTINGS, QUIET) as model:
        assert isinstance(model, LocalChat)
        yield model


def answers(model: ChatModel, num_threads: int) -> list[str]:
    """Three equal chats of each of six."""
    with ThreadPoolExecutor(num_threads) as pool:
        chats = [pool.submit(model.chat, said(f"number {n}"), (), SCHEMA) for n in range(6) for _ in range(3)]
        return [chat.result()["content"] for chat in chats]


@pytest.mark.slow
def test_answers_fit_the_schema_and_are_the_same_however_many_threads_ask(model: ChatModel) -> None:
    found = answers(model, 1)
    for text in found:
        Draft202012Validator(SCHEMA).validate(json.loads(text))
    assert len(set(found)) > 6, "equal chats draw anew"
    with build.chat_model("debug", SETTINGS, QUIET) as other:
        together = answers(other, 9)
    assert [sorted(together[at : at + 3]) for at in range(0, 18, 3)] == [
        sorted(found[at : at + 3]) for at in range(0, 18, 3)
    ]


def test_texts_of_bounded_length_are_json_whatever_the_grammar_lets_pass() -> None:
    text = {"type": "string", "maxLength": 20}
    schema = {**SCHEMA, "properties": {"a": text, "b": text}, "required": ["a", "b"]}
    settings = EndpointSettings(temperature=1.0, max_tokens=400)
    with ThreadPoolExecutor(12) as pool, build.chat_model("debug", settings, QUIET) as model:
        chats = [pool.submit(model.chat, said(f"number {n}"), (), schema) for n in range(60)]
        found = [json.loads(chat.result()["content"]) for chat in chats]
    for answer in found:
        Draft202012Validator(schema).validate(answer)
    texts = "".join(answer["a"] + answer["b"] for answer in found)
    assert any(character < " " for character in texts), "control characters came through and are escaped"


@pytest.mark.slow
def test_with_tools_it_calls_what_is_there_or_says_something(model: LocalChat) -> None:
    """A model that begins about every second reply as calls begin, and ends what may end."""
    inner, tokenizer = model.decoder.model, model.template.tokenizer
    head = torch.nn.Linear(inner.config.hidden_size, inner.config.vocab_size)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        head.bias[[tokenizer.convert_tokens_to_ids("["), tokenizer.eos_token_id]] = torch.tensor([6.0, 4.0])
    inner.set_output_embeddings(head)
    tool = {
        "name": "pick",
        "parameters": {"type": "object", "properties": {"who": {"enum": ["Ada", "Bo"]}}, "required": ["who"]},
    }
    called = checked = 0
    for number in range(30):
        try:
            message = model.chat(said(f"pick {number}"), [tool])
        except ChatFault as fault:
            assert "cut off" in fault.detail or "it is empty" in fault.detail
            continue
        for call in message.get("tool_calls", ()):
            called += 1
            assert call["name"] == "pick" and call["arguments"]["who"] in ("Ada", "Bo")
        assert message["content"] or message["tool_calls"]
        checked += 1
    assert called > 3 and checked > called + 3


def test_other_ids_that_a_model_ends_with_end_its_answers_and_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from iterft import models

    other = models.load_tokenizer(models.resolve(LORA, QUIET)).convert_tokens_to_ids("<|endoftext|>")
    monkeypatch.setattr(models, "stops_of", lambda base: frozenset({other}))
    with build.chat_model("debug", SETTINGS, QUIET) as model:
        assert isinstance(model, LocalChat)
        inner, tokenizer = model.decoder.model, model.template.tokenizer
        head = torch.nn.Linear(inner.config.hidden_size, inner.config.vocab_size)
        with torch.no_grad():
            head.weight.zero_()
            head.bias.zero_()
            head.bias[[tokenizer.convert_tokens_to_ids("a"), other]] = 20.0
        inner.set_output_embeddings(head)
        answers = []
        for number in range(12):
            with suppress(ChatFault):  # it may be empty
                answers.append(model.chat(said(f"number {number}"))["content"])
    assert answers and all(set(answer) == {"a"} for answer in answers)


def test_an_answer_that_does_not_end_and_a_prompt_that_cannot_be_shown_cost_only_that_chat(model: ChatModel) -> None:
    with pytest.raises(ChatFault, match="no useful answer: it was cut off, being longer than 60 tokens"):
        model.chat(said("go on"), (), ENDLESS)
    with pytest.raises(ChatFault, match="refused"):
        model.chat([{"role": "nobody", "content": "x"}], TOOLS)
    with pytest.raises(ChatFault, match="refused: there is no grammar for its form"):
        model.chat(said("go on"), (), {"type": "string", "pattern": r"^a\bc$"})
    assert json.loads(model.chat(said("well"), (), SCHEMA)["content"])


def test_who_still_waits_when_it_is_closed_or_breaks_down_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(2) as pool, build.chat_model("debug", SETTINGS, QUIET) as model:
        assert isinstance(model, LocalChat)

        def fork(wish: Any) -> Fork:
            raise MemoryError("no room")

        monkeypatch.setattr(model, "fork", fork)
        chats = [pool.submit(model.chat, said("x"), (), SCHEMA) for _ in range(2)]
        for chat in chats:
            with pytest.raises(MemoryError, match="no room"):
                chat.result(timeout=30)


@pytest.mark.slow
def test_a_run_folder_is_its_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a run folder"), build.chat_model(str(tmp_path), SETTINGS, QUIET):
        pass
    recipe = Recipe.load("debug", ["iters=0", "warmup.num_samples=4", "data.num_held_out=4"])
    run = Loop(recipe, tmp_path / "run", quiet=True).run()
    with build.chat_model(str(run.folder), SETTINGS, QUIET) as model:
        assert model.name.endswith("iter_000/checkpoint")
        assert json.loads(model.chat(said("well"), (), SCHEMA)["content"])
    with pytest.raises(ValueError, match="no such recipe"), build.chat_model("nowhere", SETTINGS, QUIET):
        pass
