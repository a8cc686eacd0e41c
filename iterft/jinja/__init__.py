"""What we write into prompts, in Jinja, for chat templates of exported models (`chat_template`): one text a file.

Words in capitals are filled in. All names that a text sets begin with `iterft`, as another template follows behind it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
_BLANK = re.compile(r"\b[A-Z]{2,}(?:_[A-Z]+)*\b")


def filled(name: str, **values: Any) -> str:
    """The text `name`, each word in capitals replaced by its value (as JSON has them), written so that Jinja reads it.
    KeyError for a word without one."""
    text = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    return _BLANK.sub(lambda blank: repr(values[blank.group()]), text)
