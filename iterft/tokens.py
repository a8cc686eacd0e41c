"""Text <-> token ids with a transformers tokenizer: prompts, turns, and what each id adds to the text.

Not here: the model that samples ids (`engine`), how calls are written (`chat`), and which template shows them
(`template`).
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import lru_cache
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


def token_texts(tokenizer: Any, ids: Sequence[int], other_stops: Container[int] = ()) -> list[str]:
    """What each id adds to the decoded text; what ends a turn, the stop token or one of `other_stops`, adds "". A
    character spread over several ids belongs to the last of them."""
    stop_id = tokenizer.eos_token_id  # a property that is slow
    visible = [token for token in ids if token != stop_id and token not in other_stops]
    whole = tokenizer.decode(visible)
    for split in (_each_alone, _each_character, _each_beginning):
        pieces = without_added_beginning(split(tokenizer, visible), whole)
        if "".join(pieces) == whole:
            break
    return pieces + [""] * (len(ids) - len(visible))


def without_added_beginning(pieces: list[str], whole: str) -> list[str]:
    """The pieces without the blank that tokenizers cut off where a text begins."""
    joined = "".join(pieces)
    added = len(joined) - len(whole)
    if joined != " " * added + whole:
        return pieces
    cut = []
    for piece in pieces:
        cut.append(piece[added:])
        added = max(0, added - len(piece))
    return cut


@lru_cache(maxsize=8)
def _leading(tokenizer: Any) -> tuple[tuple[int, ...], str]:
    """Ids of a letter, and their text: behind them nothing stands at the beginning, where some decoders cut a blank."""
    ids = tuple(tokenizer("a", add_special_tokens=False).input_ids)
    return ids, tokenizer.decode(list(ids))


def _inside(tokenizer: Any, ids: Sequence[int]) -> str:
    """What the ids add behind others."""
    leading, text = _leading(tokenizer)
    decoded: str = tokenizer.decode([*leading, *ids])
    return decoded[len(text) :]


@lru_cache(maxsize=1 << 18)
def _alone(tokenizer: Any, token: int) -> str:
    return _inside(tokenizer, [token])


def _each_alone(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Right where no character is spread over several ids, and none reads differently for what stands beside it."""
    return [_alone(tokenizer, token) for token in ids]


def _each_character(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Right where no character reads differently for what stands beside it."""
    pieces, before = [], ""
    begun: list[int] = []
    for token in ids:
        begun.append(token)
        text = _alone(tokenizer, token) if len(begun) == 1 else _inside(tokenizer, begun)
        settled = text.rstrip("\ufffd")
        pieces.append(settled[len(before) :])
        before = settled
        if settled == text:
            begun, before = [], ""
    if begun:  # a character that was never finished
        pieces[-1] += _inside(tokenizer, begun)[len(before) :]
    return pieces


def _each_beginning(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Right always, and slow: decodes every beginning."""
    pieces, before = [], ""
    for at in range(1, len(ids) + 1):
        after = tokenizer.decode(ids[:at])
        settled = after.rstrip("\ufffd")
        pieces.append(settled[len(before) :] if settled.startswith(before) else "")
        before = settled if settled.startswith(before) else before
    pieces[-1] += tokenizer.decode(ids)[len(before) :]
    return pieces


def num_tokens_of(tokenizer: Any, ids: Sequence[int], beginning: str) -> int:
    """How many of the ids it takes to say `beginning`, with which their text begins."""
    if not beginning:
        return 0
    ends = accumulate(map(len, token_texts(tokenizer, ids)), initial=0)
    return next(number for number, end in enumerate(ends) if end >= len(beginning))
