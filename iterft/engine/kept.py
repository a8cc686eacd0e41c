"""KV that is kept between calls: of prompts, and of what was written behind them. Least recently used goes first, and
what was written never outlives its prompt.

Shapes: K key/value heads, T tokens, E head size.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Sequence

import numpy as np
import torch

from iterft.engine.decoding import KV, Ids
from iterft.engine.trie import common_length


class KeptKv:
    """Keeps at most `max_bytes`; `num_bytes` are in use."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.entries: OrderedDict[tuple[Ids, Ids], KV] = OrderedDict()  # (prompt, ids behind it): prompts have none
        self.written: defaultdict[Ids, list[Ids]] = defaultdict(list)

    def __contains__(self, prompt: Ids) -> bool:
        return (prompt, ()) in self.entries

    def of_prompt(self, prompt: Ids) -> KV:
        """KV [K, T, E] of its tokens but the last; it must be there."""
        return self.entries[prompt, ()]

    def behind(self, prompt: Ids, ids: Ids) -> tuple[int, KV]:
        """(n, KV [K, n, E]) of the longest beginning of `ids`, but for their last, that was written behind all but the
        last token of `prompt`."""
        known, wanted = self.written.get(prompt, []), np.asarray(ids[:-1])
        shared = [common_length(np.asarray(other), wanted) for other in known]
        if not any(shared):
            return 0, []
        best = shared.index(max(shared))
        self.touch(prompt, known[best])
        kv = self.entries[prompt, known[best]]
        return shared[best], [(keys[:, : shared[best]], values[:, : shared[best]]) for keys, values in kv]

    def keep(self, prompt: Ids, kv: KV) -> None:
        """Keeps the KV of all tokens of a prompt but the last."""
        self.enter(prompt, (), kv)

    def lacks(self, prompt: Ids, ids: Ids) -> bool:
        """Whether that of `ids`, written behind all but the last token of a prompt, could be kept and is not there; if
        it is, it counts as used."""
        if (prompt, ids) in self.entries:
            self.touch(prompt, ids)
            return False
        return prompt in self

    def enter(self, prompt: Ids, ids: Ids, kv: KV) -> None:
        """Keeps the KV of `ids` behind all but the last token of a prompt that is kept, or, without ids, of the prompt
        itself."""
        if (prompt, ids) not in self.entries:
            self.entries[prompt, ids] = kv
            self.num_bytes += size_of(kv)
            if ids:
                self.written[prompt].append(ids)
        self.touch(prompt, ids)
        while self.num_bytes > self.max_bytes:
            (old_prompt, old_ids), old = self.entries.popitem(last=False)
            self.num_bytes -= size_of(old)
            if old_ids:
                self.written[old_prompt].remove(old_ids)
                if not self.written[old_prompt]:
                    del self.written[old_prompt]

    def touch(self, prompt: Ids, ids: Ids) -> None:
        """A prompt counts as used later than what is written behind it, and so stays longer."""
        self.entries.move_to_end((prompt, ids))
        self.entries.move_to_end((prompt, ()))

    def clear(self) -> None:
        self.entries.clear()
        self.written.clear()
        self.num_bytes = 0


def size_of(kv: KV) -> int:
    """Bytes."""
    return sum(part.numel() * part.element_size() for layer in kv for part in layer)


def cut_out(keys: Sequence[torch.Tensor], values: Sequence[torch.Tensor], row: int, start: int, stop: int) -> KV:
    """Of cells [rows, K, T, E] per layer a copy of those of one row, which lie side by side in one piece of memory."""
    parts = [side[row, :, start:stop] for layer in zip(keys, values, strict=True) for side in layer]
    copied = torch.stack(parts)
    return [(copied[at], copied[at + 1]) for at in range(0, len(parts), 2)]
