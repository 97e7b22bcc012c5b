"""`circuit_summary.json` and `circuit_summary.md`: what was found, for other programs and for reading elsewhere."""

from __future__ import annotations

from typing import Any

import pandas as pd

from emolib.base import store
from emolib.study.phase8_circuits.chosen_circuits import effects
from emolib.study.phase8_circuits.judged_circuits import areas, judged, random_sets, roles, stability, verdicts
from emolib.study.run import Run

MISSING = "—"


def circuit_summary(run: Run) -> dict[str, Any]:
    """The summary, kept as JSON and as Markdown.

    Returns:
        profile, model, and per effect its verdict, nodes with roles, measures, areas, random sets and stability.
    """
    tables = {
        "nodes": roles(run),
        "measures": judged(run),
        "areas": areas(run),
        "random_sets": random_sets(run),
        "stability": stability(run),
    }
    about = verdicts(run).set_index("effect")
    found = {
        which: {
            **_plain(about.loc[[which]])[0],
            **{name: _plain(table[table["effect"] == which].drop(columns="effect")) for name, table in tables.items()},
        }
        for which in effects(run)
    }
    summary = {"profile": run.params.profile, "model": run.params.model, "effects": found}
    matched = {"summary": store.digest(summary)}
    run.artifacts.obtain(run.paths.circuits("circuit_summary", "json"), matched, lambda: store.json_bytes(summary))
    text = _markdown(summary).encode()
    run.artifacts.obtain(run.paths.circuits("circuit_summary", "md"), matched, lambda: text)
    return summary


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: what is missing is null."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(key): _bare(value) for key, value in row.items()} for row in rows]


def _bare(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _markdown(summary: dict[str, Any]) -> str:
    lines = [f"# Circuits of {summary['model']}, profile {summary['profile']}", ""]
    for which, found in summary["effects"].items():
        lines += [f"## {which}", "", f"{found['verdict']} ({found['reason']}), {found['size']} nodes", ""]
        lines += ["| node | role | loss | direct | received | sent |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {node['node']} | {node['role']} | "
            + " | ".join(_written(node[name]) for name in ("loss", "direct", "received", "sent"))
            + " |"
            for node in found["nodes"]
        ]
        lines += ["", "| measure | value | low | high |", "|---|---|---|---|"]
        lines += [
            f"| {row['measure']} | " + " | ".join(_written(row[name]) for name in ("value", "low", "high")) + " |"
            for row in found["measures"]
        ]
        lines.append("")
    return "\n".join(lines)


def _written(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"
