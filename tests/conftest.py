"""The tests reach no network and leave nothing behind: models are tiny, random and kept in a temporary folder."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

CACHE = tempfile.TemporaryDirectory(prefix="iterft-tests-")
"""Lives as long as the session; removed when the interpreter ends."""
os.environ.setdefault("ITERFT_CACHE", CACHE.name)
