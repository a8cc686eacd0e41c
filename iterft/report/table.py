"""The closing table: one row per iteration, before them one of the base where it was evaluated."""

from __future__ import annotations

import shutil
from typing import Any

from rich.console import Console
from rich.table import Table


def print_table(records: list[dict[str, Any]]) -> None:
    """Accuracy with its interval, by kind; failures; deficient samples, trees, nodes, pairs; seconds per step."""
    bases = [{"iteration": "base", **record["base"], "seconds": {}} for record in records if "base" in record]
    records = [*bases, *records]
    kinds = sorted({kind for record in records for kind in record["by_kind"]})
    bfcl = sorted({category for record in records for category in record["bfcl"]})
    table = Table(title="held-out accuracy, in %", show_lines=True)
    headers = ("iteration", "accuracy [95 %]", "by kind", "failures", "deficient / trees / nodes", "pairs", "seconds")
    for header in (*headers[:3], *(["BFCL"] if bfcl else []), *headers[3:]):
        table.add_column(header)
    for record in records:
        low, high = record["interval"]
        cells = [
            "warm-up" if record["iteration"] == 0 else str(record["iteration"]),
            f"{100 * record['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}]",
            "\n".join(f"{kind} {percent(*record['by_kind'][kind])}" for kind in kinds if kind in record["by_kind"]),
            *(["\n".join(bfcl_line(name, record["bfcl"]) for name in bfcl)] if bfcl else []),
            counts(record["reasons"]),
            " / ".join(str(record[key]) for key in ("deficient", "trees", "nodes") if key in record),
            f"{record['pairs']}, {record['planted_pairs']} planted\n{counts(record['pairs_by_reason'])}"
            if "pairs" in record
            else "",
            "\n".join(f"{step} {seconds:.0f}" for step, seconds in record["seconds"].items()),
        ]
        table.add_row(*cells)
    Console(width=max(150, shutil.get_terminal_size().columns)).print(table)


def percent(right: int, total: int) -> str:
    return f"{100 * right / total:.1f} ({total})"


def bfcl_line(name: str, scores: dict[str, dict[str, int]]) -> str:
    return f"{name} {percent(scores[name]['num_correct'], scores[name]['num_items'])}" if name in scores else name


def counts(values: dict[str, int]) -> str:
    return "\n".join(f"{name} {count}" for name, count in values.items())
