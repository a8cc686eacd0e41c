"""Text <-> token ids with a transformers tokenizer: prompts, turns, and what each id adds to the text.

Not here: the model that samples ids (`engine`), how calls are written (`chat`), and which template shows them
(`template`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from iterft.template import Template, prompt_text
from iterft.types import Prompt


def render_prompt(template: Template, prompt: Prompt) -> tuple[int, ...]:
    """Ids of the prompt, up to where the assistant's turn begins. ValueError when the template refuses it."""
    return tuple(template.tokenizer(prompt_text(template, prompt), add_special_tokens=False).input_ids)


def encode_turn(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Ids of an assistant turn, the stop token behind."""
    return (*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id)


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What each id adds to the decoded text; the stop token adds "". A character spread over several ids belongs to the
    last of them."""
    visible = [token for token in ids if token != tokenizer.eos_token_id]
    pieces: list[str] = tokenizer.batch_decode([[token] for token in visible])
    if "".join(pieces) != tokenizer.decode(visible):
        pieces, before = [], ""
        for at in range(1, len(visible) + 1):
            after = tokenizer.decode(visible[:at])
            settled = after.rstrip("\ufffd")
            pieces.append(settled[len(before) :] if settled.startswith(before) else "")
            before = settled if settled.startswith(before) else before
        pieces[-1] += tokenizer.decode(visible)[len(before) :]  # a character that was never finished
    return pieces + [""] * (len(ids) - len(visible))


def num_tokens_of(tokenizer: Any, ids: Sequence[int], beginning: str) -> int:
    """How many of the ids it takes to say `beginning`, with which their text begins."""
    if not beginning:
        return 0
    ends = accumulate(map(len, token_texts(tokenizer, ids)), initial=0)
    return next(number for number, end in enumerate(ends) if end >= len(beginning))
