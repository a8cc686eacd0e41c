"""Rows whose next tokens a grammar decides: compiling it, following what a row writes, and masking logits.

On xgrammar, an extra that is asked for only where a grammar is. Not here: what a grammar says, which is text to us.

Shapes: A active rows, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch

Matcher = Any
"""xgrammar's GrammarMatcher: where in its grammar a row stands."""

MAX_COMPILED_BYTES = 1 << 29
"""Compiled grammars kept; those that were not used for longest go first."""


def require_xgrammar(setting: str) -> None:
    """ValueError, which names `setting`, where xgrammar or a part of it is missing."""
    try:
        import xgrammar  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{setting}: needs xgrammar ({error}); pip install -e '.[grammar]', or do without") from error


class Grammars:
    """Grammars in EBNF and JSON schemas, compiled once each for a tokenizer and logits of `vocab_size` tokens."""

    def __init__(self, tokenizer: Any, vocab_size: int, stop_id: int) -> None:
        from xgrammar import GrammarCompiler, TokenizerInfo

        vocabulary = TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocab_size, stop_token_ids=[stop_id])
        self.compiler = GrammarCompiler(vocabulary, cache_limit_bytes=MAX_COMPILED_BYTES)

    def json_matcher(self, schema: Mapping[str, Any]) -> Matcher:
        """For JSON that fits the schema, with no white space but a blank behind commas and colons."""
        from xgrammar import GrammarMatcher

        compiled = self.compiler.compile_json_schema(json.dumps(schema), any_whitespace=False, strict_mode=False)
        return GrammarMatcher(compiled)

    def matcher(self, grammar: str, written: Sequence[int]) -> Matcher:
        """Stands behind what is `written` already. ValueError where the grammar does not let that be written."""
        from xgrammar import GrammarMatcher

        matcher = GrammarMatcher(self.compiler.compile_grammar(grammar))
        for at, token in enumerate(written):
            if not matcher.accept_token(token):
                raise ValueError(
                    f"token {at} of the turn that is to go on, {token}, is not what its grammar lets follow"
                )
        return matcher


def allowed_logits(logits_AV: torch.Tensor, matchers: Sequence[Matcher | None]) -> torch.Tensor:
    """The logits, -inf where a row's grammar does not let the token follow; the tensor itself where no row has one."""
    bound = [at for at, matcher in enumerate(matchers) if matcher is not None]
    if not bound:
        return logits_AV
    from xgrammar import allocate_token_bitmask, apply_token_bitmask_inplace

    num_tokens = logits_AV.shape[1]
    bits = allocate_token_bitmask(len(matchers), num_tokens)
    filler().batch_fill_next_token_bitmask([matchers[at] for at in bound], bits, bound)
    allowed_AV = logits_AV.clone()
    apply_token_bitmask_inplace(allowed_AV, bits.to(logits_AV.device), vocab_size=num_tokens)
    return allowed_AV


def back_inside(tokens_A: torch.Tensor, allowed_AV: torch.Tensor) -> torch.Tensor:
    """The drawn tokens; the most likely one in place of one that is not allowed: sums over the vocabulary are rounded,
    and a draw may fall between two of them."""
    is_outside_A = allowed_AV.gather(-1, tokens_A[:, None]).squeeze(-1) == float("-inf")
    return torch.where(is_outside_A, allowed_AV.argmax(dim=-1), tokens_A)


@cache
def filler() -> Any:
    """Fills the masks of several rows at once, in threads of its own."""
    from xgrammar import BatchGrammarMatcher

    return BatchGrammarMatcher()


def follow(matcher: Matcher, token: int) -> None:
    """Moves on by a token that was drawn. ValueError where the grammar had none to offer."""
    if not matcher.accept_token(token):
        raise ValueError("no token of the tokenizer can write what the grammar asks for; sample without a grammar")
