"""The formalized thinking part of a decision (ToolACE, section 2.3): which tool fits, which value comes from which
words, what is missing. It is written from what the dialogue was made of, so it cannot be wrong about it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from iterft.rollout import settle_call
from iterft.synth.catalog import ToolSpec
from iterft.synth.dialogues import Decision
from iterft.synth.drafts import Draft
from iterft.synth.wording import Bindings
from iterft.types import ToolCall


def thought(decision: Decision, draft: Draft, tools: Sequence[ToolSpec]) -> str:
    """A few short sentences, in the order in which one decides."""
    by_name = {tool.name: tool for tool in tools}
    if decision.answer:
        parts = [
            _of_call(by_name[call.name], call, said) for call, said in zip(decision.answer, decision.said, strict=True)
        ]
        return " ".join((*parts, "Nothing is missing."))
    if decision.kind == "summary":
        return "All calls are answered. No further call is needed: say what the results are."
    if decision.kind == "missing_info":
        (tool,) = draft.present
        missing = next(gap.path for gap in tool.gaps if gap.question == decision.text)
        return f"{tool.name} fits ({tool.description}) {missing} is required and nobody has said it. Ask for it."
    if draft.absent:
        return f"What is asked for is to {draft.absent.deed}. None of the tools does that. Say so."
    return "No tool is needed. Answer in plain words."


def _of_call(tool: ToolSpec, call: ToolCall, said: Bindings) -> str:
    """Which tool, then each value with the words that say it."""
    values = settle_call(call).arguments
    sources = []
    for name, value in values.items():
        words = ", ".join(found.words for path, found in said.items() if path.partition(".")[0] == name and found.words)
        origin = f'said as "{words}"' if words else "by what the request implies"
        sources.append(f"{name} = {json.dumps(value, ensure_ascii=False)}, {origin}")
    left_out = [
        parameter.path for parameter in tool.parameters if parameter.path not in values and not parameter.required
    ]
    text = f"{tool.name} fits ({tool.description})"
    text += f" Values: {'; '.join(sources)}." if sources else ""
    return text + (f" Not said and optional: {', '.join(left_out)}." if left_out else "")
