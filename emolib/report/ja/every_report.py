"""What every report has: the environment, 実行設定, rounded tables, 自動生成サマリ."""

from __future__ import annotations

import html
import os
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from IPython.display import Markdown

from emolib.base import language
from emolib.plots import figures, views
from emolib.scoring import version_of
from emolib.study.run import Run

STYLE_NAMES = language.names("labels", "styles", "style_choices")
SPLIT_NAMES = language.names("splits")
LOW_KAPPA = 0.4
FEWEST_PRESENT = 10  # below it κ is about a handful of texts
OMITTED = "（参照用の写しでは省略）"
MOST_DRAWN = 6  # lines that a figure can hold, and figures that a page can hold, and still be read


def emotion_name(label: str) -> str:
    """A label's Japanese name; other labels keep their own."""
    return language.name(label)


def metric_name(metric: str) -> str:
    """A metric column's name in Japanese."""
    family, _, name = metric.partition("/")
    if family == "keywords":
        return f"{emotion_name(name)}の語数"
    if family == "target":
        return f"{emotion_name(name)}の確率"
    return {"valence": "感情価", "politeness/score": "丁寧さ"}.get(metric, metric)


def escape(text: object) -> str:
    """Text made by a model or a user, harmless inside Markdown tables and HTML."""
    plain = html.escape(" ".join(str(text).split()), quote=False)
    return plain.translate({ord(mark): f"&#{ord(mark)};" for mark in "\\`*_|[]~$"})


def number(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """A number inside a sentence or a cell: a dash where there is none, and no minus before a zero."""
    if pd.isna(value):
        return "—"
    return f"{round(float(value), digits) + 0.0:{'+' if signed else ''}.{digits}f}"


def tidy(table: pd.DataFrame, *, digits: int = 3, names: dict[str, str] | None = None) -> pd.DataFrame:
    """The table as printed: floats rounded, columns renamed, labels in Japanese, no -0."""
    shown = table.rename(columns=names or {}).copy()
    for column in shown.columns:
        if pd.api.types.is_float_dtype(shown[column]):
            shown[column] = shown[column].astype(float).round(digits) + 0.0  # float32 would show its own digits
    return shown


def show(run: Run, fig: go.Figure, name: str) -> None:
    """Shows a figure in the notebook and keeps it as a file of its own under the run's plots."""
    figures.show(fig, name)
    run.keep_plot(fig, name)


def show_view(run: Run, view: dict[str, Any], name: str) -> None:
    """Shows a CircuitsVis view in the notebook and keeps it as a file of its own under the run's plots."""
    views.show(view)
    run.keep_view(view, name)


def show_cross_model(run: Run, table: pd.DataFrame) -> None:
    """A figure for each of the first few emotions of the raw cosines between models; none where there is one model."""
    pairs = table.assign(pair=table["model_a"] + " – " + table["model_b"], layer=table["layer_a"])
    for emotion in list(dict.fromkeys(pairs["emotion"]))[:MOST_DRAWN]:
        part = pairs[pairs["emotion"] == emotion]
        title = f"モデルどうしの生のコサイン（{emotion_name(emotion)}、座標をそろえていない）"
        fig = figures.lines_by_layer(part, "cosine", "pair", figures.Axes(title, y="コサイン"))
        show(run, fig, f"cross_model_{emotion}")


def none_at_hand() -> pd.DataFrame:
    """What stands where a table would be empty."""
    return pd.DataFrame({"結果": ["該当なし"]})


def layers_shown(n_layers: int, count: int = 7) -> list[int]:
    """A few layers, evenly spread, for the tables beside the figures."""
    return sorted({round(i * n_layers / (count - 1)) for i in range(count)})


def markdown_table(rows: list[list[Any]], header: list[str]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def environment_line(run: Run) -> Markdown:
    """One line: which model, with which weights, on which device."""
    lm = run.lm
    weights = "シード付き乱数重み（事前学習なし）" if lm.spec.random_weights else "事前学習済みの重み"
    return Markdown(
        f"モデル `{lm.spec.name}`（{lm.spec.hub_id}、{weights}、改訂 `{lm.revision[:12]}`、"
        f"{lm.identity['dtype']}、デバイス `{lm.device}`）、プロファイル `{run.params.profile}`。"
    )


BACKEND_NAMES = {
    "bundled": "同梱（感情価: VADER、丁寧さ: n-gram 回帰、GoEmotions: n-gram とエンコーダの結合、感情語: 語の一覧）",
    "lexical": "同梱（感情価: VADER、丁寧さ: n-gram 回帰、GoEmotions: n-gram のみ、感情語: 語の一覧）",
    "encoder": "同梱（感情価: VADER、丁寧さ: n-gram 回帰、GoEmotions: エンコーダのみ、感情語: 語の一覧）",
    "huggingface": "Hugging Face（公開の分類器 3 種、感情語: 語の一覧）",
}


def scorer_line(run: Run) -> Markdown:
    """Which scorers gave the numbers, and their version."""
    backend = run.params.backend
    shown = BACKEND_NAMES.get(backend, backend)
    return Markdown(f"採点器 `{backend}`: {shown}。版 `{version_of(backend)[:12]}`。")


def settings_table(run: Run) -> Markdown:
    """実行設定: every resolved parameter, and the counts of scenarios."""
    values = run.params.model_dump(mode="json")
    rows = [[f"`{key}`", f"`{_plain(value)}`"] for key, value in values.items() if key not in ("device",)]
    counts = "、".join(f"{SPLIT_NAMES[s]} {values[f'n_{s}']}" for s in ("train", "validation", "test"))
    return Markdown(f"シナリオ数は {counts}。\n\n" + markdown_table(rows, ["パラメータ", "値"]))


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return "—" if value is None else str(value)


def summary(run: Run, *, samples: int) -> Markdown:
    """自動生成サマリ: closes the phase (its record and its line in the timing log) and prints what it was."""
    facts = run.finish(samples=samples)
    if os.environ.get("EMOLIB_REFERENCE") or "PYTEST_VERSION" in os.environ:  # the committed copies and nbval's re-run
        facts = {**facts, "run_id": OMITTED, "elapsed_seconds": OMITTED, "timestamp": OMITTED}
    names = {
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
    rows = [[names[key], f"`{value}`" if key in ("timing_log", "command") else value] for key, value in facts.items()]
    values = run.params.model_dump(mode="json")
    metadata = "\n".join(f"- `{key}`: `{_plain(value)}`" for key, value in values.items())
    return Markdown(f"{markdown_table(rows, ['項目', '値'])}\n\n**メタデータ**\n\n{metadata}")


FAMILIES = {
    "keywords": "感情語の一覧",
    "target_lexical": "n-gram",
    "target_encoder": "エンコーダ",
    "target": "結合（判定に使う値）",
}


def agreement_rows(table: pd.DataFrame) -> pd.DataFrame:
    """How far the two GoEmotions models agree on the texts; what is not defined is a dash."""
    names = {
        "emotion": "感情",
        "kappa": "Cohen の κ",
        "rank_correlation": "順位相関",
        "share_a": "「あり」の割合（n-gram）",
        "share_b": "「あり」の割合（エンコーダ）",
        "n_present": "いずれかが「あり」とした数",
        "n": "テキスト数",
    }
    shown = table.assign(emotion=table["emotion"].map(emotion_name)).set_index("emotion")
    for column in ("kappa", "rank_correlation", "share_a", "share_b"):
        shown[column] = ["—" if pd.isna(v) else f"{v:.2f}" for v in shown[column]]
    return shown.rename(columns=names).rename_axis("感情")


def agreement_sentence(table: pd.DataFrame) -> Markdown:
    """What the agreement of the two models says about the scores."""
    if table.empty:
        return Markdown("この採点器には分類器が一つしかないため、一致は計算できない。")
    known = table[table["n_present"] >= FEWEST_PRESENT].dropna(subset=["kappa"])
    rare = [
        emotion_name(row["emotion"]) for row in table.to_dict("records") if row["emotion"] not in set(known["emotion"])
    ]
    low = known[known["kappa"] < LOW_KAPPA]
    lines = []
    if len(known):
        listed = "、".join(f"{emotion_name(row['emotion'])} κ = {row['kappa']:.2f}" for row in known.to_dict("records"))
        lines.append(f"二つの分類器の一致は {listed}。")
    if len(known) and low.empty:
        lines.append(
            f"いずれも κ ≥ {LOW_KAPPA} であり、二つの分類器の有無の判断はおおむね一致する（同じ注釈で学習しているため、共通の誤りは除けない）。"
        )
    if len(low):
        names = "・".join(emotion_name(e) for e in low["emotion"])
        lines.append(f"{names}は κ < {LOW_KAPPA} で、分類器の種類によって判断が分かれる。その感情の確率は慎重に読む。")
        never = low[low[["share_a", "share_b"]].min(axis=1) == 0]
        if len(never):
            lines.append(
                f"{'・'.join(emotion_name(e) for e in never['emotion'])}では一方の分類器がどのテキストにも「あり」と判定しないため、κ は定義上 0 になる。"
                "表の順位相関が高ければ、順序は似ているが、閾値を超えるかどうかで分かれている。"
            )
    if rare:
        lines.append(
            f"{'・'.join(rare)}は、「あり」とされたテキストが {FEWEST_PRESENT} に満たず、κ からは何も言えない。"
        )
    return Markdown("".join(lines))
