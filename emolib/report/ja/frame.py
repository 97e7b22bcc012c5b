"""What frames every report: the environment, 実行設定, the scorers, and 自動生成サマリ."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from IPython.display import Markdown

from emolib.base.escaping import Name, code_span
from emolib.report.ja.names import BACKEND_NAMES, SPLIT_NAMES
from emolib.report.markup import NOTHING, markdown_table, plain
from emolib.scoring import version_of
from emolib.study.run import Run

OMITTED = "（参照用の写しでは省略）"
FACTS = {
    "run_id": "実行 ID",
    "profile": "プロファイル",
    "phase": "フェーズ",
    "model": "モデル",
    "device": "デバイス",
    "samples": "サンプル数",
    "elapsed_seconds": "経過秒数",
    "timestamp": "時刻（UTC）",
    "timing_log": "時間記録",
    "command": "再現コマンド",
}
SIDE_BY_SIDE = 3  # parameters in a line of the table
OF_THIS_TIME = ("run_id", "elapsed_seconds", "timestamp")


def environment(run: Run) -> Markdown:
    """One line: which model, with which weights, on which device."""
    lm = run.described
    weights = "シード付き乱数重み（事前学習なし）" if lm.spec.random_weights else "事前学習済みの重み"
    return Markdown(
        f"モデル {code_span(lm.spec.name)}（{Name(lm.spec.hub_id)}、{weights}、改訂 {code_span(lm.revision[:12])}、"
        f"{lm.identity['dtype']}、デバイス `{lm.device}`）、プロファイル {code_span(run.params.profile)}。"
    )


def scorers(run: Run) -> Markdown:
    """Which scorers gave the numbers, and their version."""
    backend = run.params.backend
    shown = BACKEND_NAMES.get(backend) or Name(backend)
    return Markdown(f"採点器 {code_span(backend)}: {shown}。版 {code_span(version_of(backend)[:12])}。")


def settings(run: Run, *, unset: str = NOTHING, counted: str = "シナリオ数は {}。") -> Markdown:
    """実行設定: every resolved parameter, and the counts of scenarios (in `counted`) where the phase has them."""
    values = run.params.model_dump(mode="json", include=set(type(run.params).model_fields))
    cells = [[code_span(key), code_span(plain(value, unset=unset))] for key, value in values.items() if key != "device"]
    table = markdown_table(_side_by_side(cells), ["パラメータ", "値"] * SIDE_BY_SIDE)
    if not all(f"n_{split}" in values for split in SPLIT_NAMES):
        return Markdown(table)
    counts = "、".join(f"{name} {values[f'n_{split}']}" for split, name in SPLIT_NAMES.items())
    return Markdown(f"{counted.format(counts)}\n\n{table}")


def _side_by_side(pairs: list[list[str]]) -> list[list[str]]:
    """The pairs read down the first column, then the next: what follows a long table stays in sight."""
    height = -(-len(pairs) // SIDE_BY_SIDE)
    filled = [*pairs, *([["", ""]] * (height * SIDE_BY_SIDE - len(pairs)))]
    return [[cell for pair in filled[row::height] for cell in pair] for row in range(height)]


def summary(facts: Mapping[str, Any]) -> Markdown:
    """自動生成サマリ: what the finished phase was.

    Args:
        facts: what `run.finish` gives; `parameters` among it are every resolved parameter by name.
    """
    shown = {key: facts[key] for key in FACTS}
    if os.environ.get("EMOLIB_REFERENCE") or "PYTEST_VERSION" in os.environ:  # the committed copies and nbval's re-run
        shown |= dict.fromkeys(OF_THIS_TIME, OMITTED)
    rows = [
        [FACTS[key], code_span(value) if key in ("timing_log", "command") else Name(value)]
        for key, value in shown.items()
    ]
    metadata = "\n".join(f"- {code_span(key)}: {code_span(plain(value))}" for key, value in facts["parameters"].items())
    return Markdown(f"{markdown_table(rows, ['項目', '値'])}\n\n**メタデータ**\n\n{metadata}")


def three_lines(*, found: str, rests_on: str, not_measured: str) -> Markdown:
    """結論: what was found, on what it hangs, and what was not measurable, one line each."""
    lines = {"分かったこと": found, "何に依るか": rests_on, "測れなかったこと": not_measured}
    return Markdown("\n".join(f"- **{name}**: {text}" for name, text in lines.items()))
