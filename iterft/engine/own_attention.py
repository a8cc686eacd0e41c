"""Running a transformers backbone with an attention function of ours, which receives what it needs as a keyword."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import AttentionInterface


def forward_with(
    attention: Callable[..., tuple[torch.Tensor, None]],
    backbone: Any,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    cache: Any = None,
    **shared: Any,
) -> torch.Tensor:
    """Last hidden states [rows, tokens, D] with `attention` in every layer; `shared` reaches it unchanged. An empty
    transformers `cache` is filled with keys and values. The model's own attention is back afterwards."""
    name = f"iterft_{attention.__name__}"
    AttentionInterface.register(name, attention)
    own = backbone.config._attn_implementation
    backbone.config._attn_implementation = name
    try:
        hidden: torch.Tensor = backbone(
            input_ids=input_ids,
            position_ids=position_ids,
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=input_ids.device),  # 4-D: left as it is
            past_key_values=cache,
            use_cache=cache is not None,
            **shared,
        ).last_hidden_state
    finally:
        backbone.config._attn_implementation = own
    return hidden
