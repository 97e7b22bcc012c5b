"""Phase 7: whose results are read, what they were made with, and which vectors the claims are about."""

from __future__ import annotations

from typing import Any

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name, code_span
from emolib.report.ja import frame
from emolib.report.ja.names import emotion_name, style_name
from emolib.report.ja.phase5_words import KINDS
from emolib.report.ja.phase7_words import POSITIONS, nothing, quoted, texts_named
from emolib.report.markup import NOTHING, number, with_interval
from emolib.statistics.effect_sizes import CONTROL_FAMILIES
from emolib.study.phase7_claims import claim_sources as reading
from emolib.study.run import Run

STATES = {
    "other": "は、今とは異なるデータ・モデル・採点器、またはこのフェーズの別の版による記録なので、読まない。",
    "behind": "は、用いた成果物の一部が記録の後で作り直されたか失われている。**結果が古い可能性がある。**",
}
BOTH_NEEDED = "Phase 3 と Phase 5 の両方の読める記録があるモデルがない"


def environment(run: Run) -> Markdown:
    """Whose results are read and in what state they are; no model is loaded."""
    read = {"Phase 3": reading.vector_models(run), "Phase 5": reading.steered_models(run)}
    named = "、".join(f"{phase} は {quoted(models) or 'なし'}" for phase, models in read.items())
    lines = [
        f"プロファイル {code_span(run.params.profile)} で読める記録: {named}。モデルは読み込まず、保存された表だけを読む。"
    ]
    if run.paths.model not in reading.every_model(run):
        lines.append(f"この報告を作ったモデル {code_span(run.paths.model)} 自身の読める記録はない。")
    without = [model for model in read["Phase 5"] if model not in read["Phase 3"]]
    if without:
        lines.append(f"Phase 3 の読める記録がない {quoted(without)} では、Phase 3 の主張と k を扱わない。")
    without = [model for model in read["Phase 3"] if model not in read["Phase 5"]]
    if without:
        lines.append(f"Phase 5 の読める記録がない {quoted(without)} では、Phase 3 の主張と k だけを扱う。")
    return Markdown("".join(lines + _state_lines(reading.finished_phases(run))))


def _state_lines(sources: list[reading.Source]) -> list[str]:
    """Which records do not stand for the present data and artifacts."""
    lines = []
    for state, text in STATES.items():
        names = [
            f"{code_span(source.model)} の Phase {source.phase[-1]}" for source in sources if source.state == state
        ]
        if names:
            lines.append(f"{'、'.join(names)} {text}")
    return lines


def settings(run: Run) -> Markdown:
    """実行設定: every parameter of this phase; what the results were made with is in `table_sources`."""
    return frame.settings(run, unset="—（Phase 5 と同じ）")


def table_sources(run: Run) -> pd.DataFrame:
    """Per model: what its phases really used, by their records and tables."""
    columns = {model: _vector_facts(run, model) | _steering_facts(run, model) for model in reading.every_model(run)}
    return pd.DataFrame(columns).fillna(NOTHING).rename_axis("項目")


def _vector_facts(run: Run, model: str) -> dict[str, Any]:
    source = reading.source_of(run, model, "phase3")
    if source is None:
        return {}
    given = source.parameters
    counts = " / ".join(str(given[f"n_{split}"]) for split in ("train", "validation", "test"))
    return {"Phase 3: シナリオ（訓練 / 検証 / テスト）": counts, "Phase 3: データ": given["dataset"]}


def _steering_facts(run: Run, model: str) -> dict[str, Any]:
    facts = reading.steering_facts(run, model)
    if facts is None:
        return {}
    given = reading.source_of(run, model, "phase5").parameters
    values = {
        "テストシナリオ": facts["n_scenarios"],
        "採点したテキスト": facts["n_texts"],
        "データ": given["dataset"],
        "採点器": given["backend"],
        "ベクトルの文・位置": texts_named(given["vector_style"], given["vector_position"]),
        "層": ", ".join(map(str, facts["layers"])),
        "α": ", ".join(f"{alpha:g}" for alpha in facts["alphas"]),
        "温度": f"{facts['temperature']:g}（{'標本抽出' if facts['temperature'] else '貪欲'}）",
        "再抽出の回数・シード": f"{run.params.n_bootstrap or given['n_resamples']}・{given['seed']}",
        **{f"{KINDS[family]}の数": facts["controls"].get(family, 0) for family in CONTROL_FAMILIES},
    }
    return {f"Phase 5: {name}": value for name, value in values.items()}


# which vectors the claims are about


def table_vectors(places: pd.DataFrame) -> pd.DataFrame | Markdown:
    """Phase 3's vectors beside those that steer: layers, texts, and Phase 3's stability at the layer that steers."""
    if places.empty:
        return nothing(BOTH_NEEDED)
    columns = {
        "モデル": places["model"],
        "感情": places["emotion"].map(emotion_name),
        "Phase 3 の層（プローブ）": places["probe_layer"],
        "Phase 5 の層": places["layer"],
        "Phase 3 の文・位置": texts_named("all", "mean"),
        "Phase 5 の文・位置": [texts_named(*of) for of in places[["style", "position"]].itertuples(index=False)],
        "Phase 5 の層での分割半コサイン（Phase 3 のベクトル）": [
            with_interval(*values) for values in places[["stability", "low", "high"]].to_numpy()
        ],
    }
    return pd.DataFrame(columns).set_index(["モデル", "感情"])


def limits(places: pd.DataFrame, differences: pd.DataFrame) -> Markdown:
    """限界 that depend on what was run: whether phases 3 and 5 are about the same vectors."""
    if places.empty:
        return Markdown(f"- {BOTH_NEEDED}ため、二つのフェーズのベクトルの違いは述べない。")
    lines = [_vector_line(row, places[places["model"] == row["model"]]) for row in differences.to_dict("records")]
    return Markdown("\n".join(lines))


def _vector_line(row: dict[str, Any], places: pd.DataFrame) -> str:
    differs = []
    if not row["same_layer"]:
        own, steered = ("・".join(map(str, row[name])) for name in ("probe_layers", "layers"))
        differs.append(f"層（Phase 3 のプローブは {own}、操作は {steered}）")
    if not row["same_style"]:
        name = style_name(row["style"])
        differs.append(f"文（Phase 3 は全体、操作は{name}の文だけ）")
    if not row["same_position"]:
        name = Name(POSITIONS.get(row["position"], row["position"]))
        differs.append(f"位置（Phase 3 は平均、操作は{name}）")
    if not differs:
        return f"- {Name(row['model'])}: Phase 3 の主張と Phase 5 の操作は、同じ層・文・位置のベクトルについてである。"
    text = (
        f"- {Name(row['model'])}: Phase 3 の主張のベクトルと、Phase 5 で操作に用いたベクトルは、{'と'.join(differs)}が違う。"
        "安定性・分離・部分空間の判定を、操作に用いたベクトルの性質とは読まない。"
    )
    known = places.dropna(subset=["stability"])
    if known.empty:
        return text
    shown = "、".join(f"{emotion_name(at.emotion)} {number(at.stability)}" for at in known.itertuples())
    return f"{text}操作の層での、Phase 3 のベクトルの分割半コサインは {shown} である。"
