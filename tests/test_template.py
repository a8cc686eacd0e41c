"""Which chat templates show tools and calls as a dialect does, why others are refused, and what prompts look like."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trl
from toys import PARIS, ROME, TOOLS

from iterft import Iterator, Recipe
from iterft.build import DIALECTS, data
from iterft.chat import THINK_FIRST, Dialect, plain_messages
from iterft.chat_template import chat_template_of
from iterft.config import ModelSettings
from iterft.dialects.hermes import HERMES
from iterft.dialects.llama3 import LLAMA3
from iterft.dialects.mistral import MISTRAL
from iterft.dialects.pythonic import PYTHONIC
from iterft.log import Log
from iterft.template import (
    Template,
    choose_template,
    prompt_text,
    refuse_begun_thought,
    why_not_own,
    writes_several_calls,
)
from iterft.tiny import build_tiny, train_tokenizer
from iterft.tokens import encode_turn
from iterft.types import Prompt, Sample, ToolCall

QUIET = Log(quiet=True)
SHIPPED = Path(trl.__file__).parent / "chat_templates"
NO_THINKING = {"enable_thinking": False}
THINKING = ("deepseek_r1_distill", "nemotron_3_nano", "qwen3_5_think", "qwen3_6")
"""Templates whose prompts begin a thought."""
OWN = {
    "qwen2_5": (HERMES, {}),
    "qwen2_5_training": (HERMES, {}),
    "qwen3": (HERMES, NO_THINKING),
    "qwen3_training": (HERMES, NO_THINKING),
    "qwen3_instruct_2507": (HERMES, {}),
    "qwen3_instruct_2507_training": (HERMES, {}),
    "qwen3_vl": (HERMES, {}),
    "qwen3_vl_training": (HERMES, {}),
    "llama3_1": (LLAMA3, {}),
    "llama3_2": (LLAMA3, {}),
}
"""Templates of TRL that pass: the dialect they write, and what they must be given for it."""

SIMPLE = (
    "{% if tools %}{% for tool in tools %}{{ tool.function | tojson }}\n{% endfor %}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}"
    "{% if message.tool_calls is defined %}{% for call in message.tool_calls %}"
    "{{ '\n' if not loop.first }}{{ '<tool_call>\n' + call.function | tojson + '\n</tool_call>' }}{% endfor %}"
    "{% else %}{{ message.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The least that passes with hermes."""

LISTED = (
    "{% if tools %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    "{% for message in messages %}{% if message.tool_calls is defined %}[TOOL_CALLS] ["
    "{% for call in message.tool_calls %}{{ ', ' if not loop.first }}{{ call.function | tojson }}{% endfor %}]"
    "{{ eos_token }}{% elif message.role == 'assistant' %}{{ message.content + eos_token }}"
    "{% elif message.role == 'tool' %}[TOOL_RESULTS] {{ message.content | tojson }}[/TOOL_RESULTS]"
    "{% else %}[INST] {{ message.content }}[/INST]{% endif %}{% endfor %}"
)
"""Calls in one list, as Mistral's models write them."""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer()


def own(tokenizer: Any, text: str, dialect: Dialect, settings: dict[str, Any] | None = None) -> Template:
    """The template `text` on a tokenizer whose stop token is the one that ends its turns."""
    tokenizer = deepcopy(tokenizer)
    tokenizer.chat_template = text
    tokenizer.eos_token = "<|eot_id|>" if "<|eot_id|>" in text else "<|im_end|>"
    return Template(tokenizer, dialect, own=True, settings=settings or {})


def shipped(tokenizer: Any, name: str, dialect: Dialect, settings: dict[str, Any] | None = None) -> Template:
    return own(tokenizer, (SHIPPED / f"{name}.jinja").read_text(encoding="utf-8"), dialect, settings)


def history(*calls: ToolCall) -> Prompt:
    """A request, the calls it got, what they returned, and a further request."""
    called = [{"name": call.name, "arguments": call.arguments} for call in calls]
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": called},
        *({"role": "tool", "content": f"result {number}"} for number in range(len(calls))),
        {"role": "assistant", "content": "Sunny.", "tool_calls": []},
        {"role": "user", "content": "And then?"},
    ]
    return Prompt(tuple(messages), TOOLS)


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.jinja")))
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
def test_the_templates_that_trl_ships_pass_with_the_dialect_they_write_and_no_other(
    tokenizer: Any, name: str, dialect: Dialect
) -> None:
    writes, settings = OWN.get(name, (None, {}))
    reason = why_not_own(shipped(tokenizer, name, dialect, settings))
    assert (reason == "") == (dialect is writes), reason
    assert "\n" not in reason


def chosen(
    tokenizer: Any, name: str, stop: str, log: Log = QUIET, extra: tuple[str, ...] = (), **settings: Any
) -> Template:
    """By our own text, the tokenizer's stop token being `stop`."""
    tokenizer = deepcopy(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": list(extra)})
    tokenizer.chat_template = (SHIPPED / f"{name}.jinja").read_text(encoding="utf-8")
    tokenizer.eos_token = stop
    return choose_template(tokenizer, HERMES, ModelSettings(template="ours", **settings), log)


@pytest.mark.parametrize(("name", "end"), [("phi3", "<|end|>"), ("gemma3", "<end_of_turn>"), ("qwen2_5", "<|im_end|>")])
def test_turns_end_as_the_template_shows_them(
    tokenizer: Any, name: str, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    template = chosen(tokenizer, name, "<|endoftext|>", Log(), (end,))
    assert template.tokenizer.eos_token == end
    assert (
        f"turns end with {end}, as in the tokenizer's chat template, and not with <|endoftext|>"
        in capsys.readouterr().out
    )
    past = prompt_text(template, history(PARIS))
    assert past.partition("Sunny.")[2].startswith(end), "as what is learnt ends"
    assert encode_turn(template.tokenizer, "Sunny.")[-1] == template.tokenizer.convert_tokens_to_ids(end)
    chosen(tokenizer, name, end, Log(), (end,))
    assert capsys.readouterr().out == "", "it does already"


def test_turns_without_an_end_are_refused(tokenizer: Any) -> None:
    tokenizer = deepcopy(tokenizer)
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.role + ': ' + message.content + '\n' }}{% endfor %}"
    )
    settings = ModelSettings(template="ours")
    assert choose_template(tokenizer, HERMES, settings, QUIET).tokenizer.eos_token == "<|im_end|>"
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match=r"^model.base: its tokenizer has no stop token"):
        choose_template(tokenizer, HERMES, settings, QUIET)


def test_without_a_place_for_system_messages_the_first_request_shows_the_tools(tokenizer: Any) -> None:
    template = chosen(tokenizer, "gemma", "<end_of_turn>", extra=("<end_of_turn>",))
    text = prompt_text(template, history(PARIS))
    assert text.index("weather\n  city") < text.index("Weather?") < text.index("result 0"), (
        "as system messages are refused"
    )
    assert chat_template_of(template), "which shows the same prompts"
    assert not chosen(tokenizer, "qwen2_5", "<|im_end|>").folds


def test_a_template_that_shows_no_plain_messages_is_refused(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=r"^model.base: our text cannot be shown .* leaves out names of tools and"):
        chosen(tokenizer, "idefics3", "<|im_end|>")


@pytest.mark.parametrize("name", OWN)
def test_the_wish_for_think_parts_speaks_against_no_template(tokenizer: Any, name: str) -> None:
    template = shipped(tokenizer, name, *OWN[name])
    asking = replace(template, dialect=replace(template.dialect, thinks=True))
    assert why_not_own(asking) == ""
    assert writes_several_calls(asking) == writes_several_calls(template)
    assert THINK_FIRST in prompt_text(asking, history(PARIS))


@pytest.mark.parametrize("name", OWN)
def test_what_is_trained_on_is_what_the_own_template_writes(tokenizer: Any, name: str) -> None:
    template = shipped(tokenizer, name, *OWN[name])
    prompt = Prompt(({"role": "user", "content": "Weather?"},), TOOLS)
    called = {"type": "function", "function": {"name": PARIS.name, "arguments": dict(PARIS.arguments)}}
    tools = [{"type": "function", "function": tool} for tool in TOOLS]
    whole = template.tokenizer.apply_chat_template(
        [*prompt.messages, {"role": "assistant", "content": "", "tool_calls": [called]}],
        tools=tools,
        tokenize=False,
        **template.settings,
        strftime_now=lambda form: "26 Jul 2024",
    )
    turn = template.dialect.render([PARIS]) + template.tokenizer.eos_token
    assert whole.startswith(prompt_text(template, prompt) + turn)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([("{{ tool.function | tojson }}", "{{ tool.function.name }}")], "no names of parameters and no descriptions"),
        ([("tool.function | tojson", "tool.function.parameters | tojson")], "shows no tools"),
        ([("{% if tools %}", "{% if false %}")], "shows no tools"),
        ([("tool.function", "dict(tool.function, description='')")], "shows no descriptions of tools"),
        (
            [("messages %}", "messages %}{% if message.role == 'system' %}{% continue %}{% endif %}")],
            "shows no system messages",
        ),
        ([("<|im_end|>\n' }}", "\n' }}")], "writes no stop token '<|im_end|>'"),
        ([("{% if add_generation_prompt %}{{ '<|im_start|>", "{% if add_generation_prompt %}{{ '")], "prompts with"),
        ([("<|im_end|>\n' }}", "\n<|im_end|>' }}")], "writes a turn with '\\n' where the hermes dialect writes ''"),
        ([("<tool_call>\n", "<tool_call>")], 'with \'{"name": "dim_lamp"'),
        ([("{{ message.content }}", "{{ ' ' + message.content }}")], "with ' With pleasure.' where"),
        ([("{{ message.content }}", "{{ message.content if message.role != 'tool' }}")], "shows no results of tools"),
        (
            [("{% else %}{{", "{% elif message.role == 'tool' %}{{ raise_exception('No such role') }}{% else %}{{")],
            "refuses the prompt (No such role)",
        ),
        ([("{{ message.content }}", "{{ message.content + 1 }}")], "refuses the prompt (can only concatenate"),
    ],
)
def test_a_template_that_shows_less_or_writes_otherwise_is_refused_with_its_reason(
    tokenizer: Any, changes: Sequence[tuple[str, str]], reason: str
) -> None:
    assert why_not_own(own(tokenizer, SIMPLE, HERMES)) == ""
    text = SIMPLE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    assert reason in why_not_own(own(tokenizer, text, HERMES))


def test_a_template_that_thinks_by_itself_is_refused_with_what_to_do(tokenizer: Any) -> None:
    assert "enable_thinking: false" in why_not_own(shipped(tokenizer, "qwen3", HERMES))


def test_a_template_of_mistral_passes_unless_it_wants_ids_of_calls(tokenizer: Any) -> None:
    template = own(tokenizer, LISTED, MISTRAL)
    assert why_not_own(template) == ""
    assert writes_several_calls(template)
    asks = "{% if call.id is not defined %}{{ raise_exception('Calls must have ids.') }}{% endif %}"
    strict = LISTED.replace("{{ call.function", asks + "{{ call.function")
    assert "Calls must have ids." in why_not_own(own(tokenizer, strict, MISTRAL))


def test_several_past_calls_are_shown_as_the_dialect_writes_them(tokenizer: Any) -> None:
    for name, (dialect, settings) in OWN.items():
        template = shipped(tokenizer, name, dialect, settings)
        assert writes_several_calls(template) == (dialect is HERMES)
        for parallel in {False, writes_several_calls(template)}:
            told = Template(template.tokenizer, dialect, True, parallel, settings)
            text = prompt_text(told, history(PARIS, ROME))
            assert f"\n{dialect.render([PARIS, ROME])}{template.tokenizer.eos_token}" in text
            assert all(part in text for part in ("result 0", "result 1", "Sunny.", "And then?"))


def test_one_past_call_goes_through_the_own_template(tokenizer: Any) -> None:
    text = prompt_text(shipped(tokenizer, "qwen2_5", HERMES), history(PARIS))
    assert text.endswith(
        "<|im_start|>user\nWeather?<|im_end|>\n"
        f"<|im_start|>assistant\n{HERMES.render([PARIS])}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nresult 0\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\nSunny.<|im_end|>\n<|im_start|>user\nAnd then?<|im_end|>\n<|im_start|>assistant\n"
    )
    text = prompt_text(shipped(tokenizer, "llama3_2", LLAMA3), history(PARIS))
    assert f"assistant<|end_header_id|>\n\n{LLAMA3.render([PARIS])}<|eot_id|>" in text
    assert 'ipython<|end_header_id|>\n\n"result 0"<|eot_id|>' in text


@pytest.mark.parametrize("name", OWN)
def test_prompts_that_share_tools_share_their_beginning_and_without_tools_there_is_none_of_it(
    tokenizer: Any, name: str
) -> None:
    template = shipped(tokenizer, name, *OWN[name])
    first, second = (
        prompt_text(template, Prompt(({"role": "user", "content": words},), TOOLS)) for words in ("One?", "Two?")
    )
    shared = first[: first.index("One?")]
    assert second.startswith(shared)
    assert all(tool["name"] in shared for tool in TOOLS)
    assert "weather" not in prompt_text(template, Prompt(({"role": "user", "content": "One?"},), ()))


def test_the_day_in_a_prompt_is_fixed_unless_the_recipe_gives_another(tokenizer: Any) -> None:
    prompt = Prompt(({"role": "user", "content": "Hi."},), TOOLS)
    assert "Today Date: 26 Jul 2024" in prompt_text(shipped(tokenizer, "llama3_2", LLAMA3), prompt)
    given = shipped(tokenizer, "llama3_2", LLAMA3, {"date_string": "1 Jan 2030"})
    assert "Today Date: 1 Jan 2030" in prompt_text(given, prompt)


def test_settings_reach_the_template_in_our_own_text_too(tokenizer: Any) -> None:
    template = shipped(tokenizer, "qwen3", PYTHONIC, NO_THINKING)
    ours = Template(template.tokenizer, PYTHONIC, settings=NO_THINKING)
    text = prompt_text(ours, Prompt(({"role": "user", "content": "Hi."},), TOOLS))
    assert text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert PYTHONIC.system(TOOLS) in text


def test_auto_takes_the_own_template_where_it_passes_and_says_why_where_not(
    tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    qwen = shipped(tokenizer, "qwen2_5", HERMES).tokenizer
    chosen = choose_template(qwen, HERMES, ModelSettings(), Log())
    assert (chosen.own, chosen.parallel) == (True, True)
    assert "own chat template" in capsys.readouterr().out
    chosen = choose_template(qwen, PYTHONIC, ModelSettings(), Log())
    assert not chosen.own
    assert "our own text, as the tokenizer's template writes a turn with '<tool_call>" in capsys.readouterr().out
    assert not choose_template(qwen, HERMES, ModelSettings(template="ours"), Log()).own
    assert capsys.readouterr().out == ""


def test_own_is_refused_where_the_template_does_not_pass(tokenizer: Any) -> None:
    settings = ModelSettings(template="own")
    with pytest.raises(ValueError, match=r"model\.template: own needs .* shows no tools; set it to auto or ours"):
        choose_template(tokenizer, HERMES, settings, Log(quiet=True))


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
def test_a_template_without_tools_goes_on_showing_our_text(tokenizer: Any, dialect: Dialect) -> None:
    chosen = choose_template(tokenizer, dialect, ModelSettings(), Log(quiet=True))
    prompt = history(PARIS, ROME)
    assert prompt_text(chosen, prompt) == tokenizer.apply_chat_template(
        plain_messages(dialect, prompt), add_generation_prompt=True, tokenize=False
    )


def test_an_unknown_role_is_refused_with_every_template(tokenizer: Any) -> None:
    prompt = Prompt(({"role": "developer", "content": ""},), ())
    for template in (Template(tokenizer, HERMES), shipped(tokenizer, "qwen2_5", HERMES)):
        with pytest.raises(ValueError, match="'developer'"):
            prompt_text(template, prompt)


def test_samples_whose_prompt_the_template_refuses_are_dropped_and_counted() -> None:
    recipe = Recipe.load("debug", ["data.num_train=20", "data.num_held_out=4"])
    refused: list[str] = []

    def num_tokens(sample: Sample) -> int:
        if len(refused) < 3:
            refused.append(sample.id)
            raise ValueError("the chat template refuses the prompt (no)")
        return 1

    found = data(recipe, lambda: num_tokens)
    assert found.dropped["train: the chat template refuses the prompt (no)"] == 3
    assert not {sample.id for sample in found.train} & set(refused)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3", "llama3_2"])
def test_a_run_shows_warm_up_and_evaluation_the_same_own_template(tokenizer: Any, tmp_path: Path, name: str) -> None:
    template = shipped(tokenizer, name, *OWN[name])
    stop = template.tokenizer.eos_token  # the tiny models' vocabulary has only its own
    template = own(tokenizer, template.tokenizer.chat_template.replace(stop, "<|im_end|>"), *OWN[name])
    build_tiny("qwen3" if name == "qwen3" else "llama", tmp_path / "model")
    template.tokenizer.save_pretrained(tmp_path / "model")
    overrides = ["data.num_train=12", "data.num_held_out=2", "warmup.num_samples=4", "policy.max_new_tokens=8"]
    overrides += [f"model.base={tmp_path / 'model'}", f"model.dialect={template.dialect.name}", "model.template=own"]
    overrides += [f"model.template_kwargs.{key}={str(value).lower()}" for key, value in template.settings.items()]
    iterator = Iterator(Recipe.load("debug", [*overrides, "iters=0"]), tmp_path / "run", quiet=True)
    assert [record["iteration"] for record in iterator.run().records] == [0]
    prompt = iterator.held_out[0].prompt
    with iterator.serve(iterator.store.checkpoint(0)) as policy:
        assert iterator.tokenizer.decode(policy.render(prompt)) == prompt_text(template, prompt)


@pytest.mark.parametrize("name", THINKING)
def test_a_thought_that_prompts_begin_is_ended_where_turns_hold_none(
    tokenizer: Any, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    bare = shipped(tokenizer, name, PYTHONIC)
    template = choose_template(bare.tokenizer, PYTHONIC, ModelSettings(), Log())
    assert "prompts begin a thought (<think>)" in capsys.readouterr().out
    prompt = Prompt(({"role": "user", "content": "Hi."},), TOOLS)
    begun = prompt_text(replace(template, thought_end=""), prompt)
    assert begun.endswith(("<think>", "<think>\n"))
    assert prompt_text(template, prompt) == begun.rstrip() + "\n\n</think>\n\n"
    thinking = replace(PYTHONIC, thinks=True)
    with pytest.raises(ValueError, match=r"model.think: .*<think>.*' itself at the end .*or set model.think=false"):
        choose_template(bare.tokenizer, thinking, ModelSettings(), QUIET)


@pytest.mark.parametrize("settings", [NO_THINKING, {}])
def test_prompts_that_think_already_are_refused_where_turns_shall(tokenizer: Any, settings: dict[str, Any]) -> None:
    thinking = replace(HERMES, thinks=True)
    template = replace(shipped(tokenizer, "qwen3", thinking, settings), own=False)
    if settings:
        with pytest.raises(ValueError, match=r"model.think: .*'.*</think>' itself at the end .*enable_thinking=true"):
            refuse_begun_thought(template)
    else:
        refuse_begun_thought(template)
    refuse_begun_thought(replace(template, settings={"enable_thinking": True}))
