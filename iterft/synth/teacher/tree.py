"""The context tree of tools: domains, and what can be done in each (ToolACE's TSS, arXiv 2409.00920).

Speciation: the tree is grown by a teacher out of documents, or read off tools at hand. Adaptation: a part of one domain
is drawn, for a new tool to be about. Two levels; not here: how tools come of it (`tools`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from iterft.protocols import ChatModel
from iterft.synth.deeds import deeds
from iterft.synth.questions import object_schema
from iterft.synth.teacher.asking import WORDS, ask, listed
from iterft.toolsets.parts import Definition

PIECE_CHARACTERS = 6000
"""Of a document that are read at once."""
MAX_FUNCTIONALITIES = 3
"""In the part of a domain that one tool is about."""
_SUFFIXES = (".txt", ".md", ".rst", ".json", ".yaml", ".yml", ".html")

Tree = Mapping[str, Sequence[str]]
"""Domain -> its functionalities, each once."""

_DOMAIN = object_schema(domain=WORDS, functionalities=listed(WORDS, 12))
TREE = object_schema(domains=listed(_DOMAIN, 6))


@dataclass(frozen=True)
class Subtree:
    """What a new tool is to be about."""

    domain: str
    functionalities: tuple[str, ...]


def pieces_of(paths: Iterable[Path]) -> list[str]:
    """The text of files, and of the documents in folders, cut where a paragraph ends if it can be. ValueError when
    there is none."""
    files = [file for path in paths for file in _files(path)]
    texts = [text for file in files for text in _cut(_read(file))]
    if not texts:
        raise ValueError("--documents: nothing to read in them; give files of text")
    return texts


def tree_of_tools(definitions: Iterable[Definition]) -> Tree:
    """By the group of each tool, what the tools of the group do."""
    return merged((each.group or "tools", [deeds(each.name, each.description)[0].plain]) for each in definitions)


def read_branches(piece: str, model: ChatModel) -> list[tuple[str, list[str]]]:
    """Domains and functionalities that a piece of a document tells of. ChatFault when that came to nothing."""
    said = ask(model, "tree", {"document": piece}, TREE)["domains"]
    return [(each["domain"], each["functionalities"]) for each in said]


def merged(branches: Iterable[tuple[str, Sequence[str]]]) -> Tree:
    """One tree of branches: domains and functionalities that differ in case and blanks only are one. Branches without a
    leaf are left out."""
    tree: dict[str, dict[str, str]] = {}
    names: dict[str, str] = {}
    for domain, functionalities in branches:
        leaves = {" ".join(leaf.lower().split()): " ".join(leaf.split()) for leaf in functionalities if leaf.strip()}
        if domain.strip() and leaves:
            key = " ".join(domain.lower().split())
            names.setdefault(key, " ".join(domain.split()))
            known = tree.setdefault(key, {})
            known.update((leaf, text) for leaf, text in leaves.items() if leaf not in known)
    return {names[key]: tuple(tree[key].values()) for key in tree}


def subtree(tree: Tree, counts: Mapping[str, int], random: Random) -> Subtree:
    """A part of one of the domains that have the fewest tools so far."""
    least = min(counts.get(domain, 0) for domain in tree)
    domain = random.choice([domain for domain in tree if counts.get(domain, 0) == least])
    number = random.randint(1, min(MAX_FUNCTIONALITIES, len(tree[domain])))
    return Subtree(domain, tuple(random.sample(list(tree[domain]), number)))


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise ValueError(f"--documents {path}: no such file or folder")
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    return [path]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--documents {path}: cannot be read as text ({error})") from error


def _cut(text: str) -> list[str]:
    pieces = []
    rest = text.strip()
    while rest:
        end = len(rest) if len(rest) <= PIECE_CHARACTERS else rest.rfind("\n\n", 1, PIECE_CHARACTERS)
        end = end if end > 0 else PIECE_CHARACTERS
        pieces.append(rest[:end])
        rest = rest[end:].strip()
    return pieces
