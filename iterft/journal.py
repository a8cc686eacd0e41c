"""Files that work leaves behind line by line, so that a kill costs no more than what was under way."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def read_journal(path: Path) -> Iterator[Any]:
    """The values appended so far, none where there is no file. A torn last line (a kill in mid-write) is cut off first,
    so that what is appended next begins a line."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    for line in whole.splitlines():
        yield json.loads(line)


def append_to_journal(path: Path, value: Any) -> None:
    """Adds `value` as a line of JSON; it is on the disk when this returns."""
    with path.open("a", encoding="utf-8") as out:
        out.write(json.dumps(value) + "\n")
        out.flush()
        os.fsync(out.fileno())


@contextmanager
def locked(path: Path, refusal: str) -> Iterator[None]:
    """Nobody else has locked this file or folder meanwhile, as far as its file system can tell; ValueError of `refusal`
    when somebody has. A process that dies leaves no lock."""
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(refusal) from None
        except OSError:
            pass  # no locks there
        yield
    finally:
        os.close(handle)


def digest_of(values: Iterable[Any]) -> str:
    """Sixteen digits that differ where the values do."""
    return hashlib.sha256(json.dumps(list(values), sort_keys=True, default=str).encode()).hexdigest()[:16]
