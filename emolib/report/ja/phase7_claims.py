"""Phase 7's tables of the study's claims: their bars, what they rest on, and their verdicts."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import code_span
from emolib.report.ja.names import emotion_name
from emolib.report.ja.phase5_shift_words import VERDICTS, shift_verdict
from emolib.report.ja.phase5_words import VERDICTS as OF_TEXTS
from emolib.report.ja.phase5_words import together
from emolib.report.ja.phase7_words import (
    BARS,
    CLAIMS,
    FAMILY_NAMES,
    REASONS,
    SHIFT_REASONS,
    measure_name,
    nothing,
    nothing_of,
)
from emolib.report.markup import markdown_table, number, p_value, with_interval

MET = ("supported", "not_supported")


def table_bars(claims: pd.DataFrame) -> Markdown:
    """Claim → bar set beforehand → artifact → how many of each verdict."""
    rows = []
    for claim, part in claims.groupby("claim", sort=False):
        counts = part["verdict"].value_counts()
        found = [str(int(counts.get(code, 0))) for code in VERDICTS]
        artifacts = "、".join(code_span(path) for path in dict.fromkeys(part["artifact"]))
        families = "、".join(FAMILY_NAMES[family] for family in dict.fromkeys(part["family"]))
        rows.append([CLAIMS[claim], families, BARS[claim], artifacts, *found])
    words = [
        f"{word}（二次的な主張では「{OF_TEXTS[code]}」）" if code in MET else word for code, word in VERDICTS.items()
    ]
    return Markdown(markdown_table(rows, ["主張", "検定の族", "事前に定めた基準", "根拠の表", *words]))


def table_vector_claims(claims: pd.DataFrame) -> pd.DataFrame | Markdown:
    """Phase 3's claims with what they rest on and the verdict."""
    shown = claims[claims["phase"] == "phase3"]
    if shown.empty:
        return nothing_of("phase3")
    place = shown["claim"].map(list(CLAIMS).index)
    shown = shown.assign(place=place).sort_values(["model", "place"], kind="stable")
    keys = {"モデル": shown["model"], "主張": shown["claim"].map(CLAIMS), **_about(shown)}
    return pd.DataFrame({**keys, **_numbers(shown), "理由": shown["reason"].map(REASONS)}).set_index(list(keys))


def table_steering_claims(claims: pd.DataFrame) -> Markdown:
    """Phase 5's claims: by the continuation shift, and by the generated texts, which are secondary."""
    if claims[claims["phase"] == "phase5"].empty:
        return nothing_of("phase5")
    shift = shift_rows(claims)
    first = nothing("S を測れたモデルがない") if shift.empty else shift
    captions = ("継続シフトによる主張", "生成したテキストによる主張（二次的、探索）")
    return together(f"**{captions[0]}**", first, (captions[1], text_rows(claims)))


def shift_rows(claims: pd.DataFrame) -> pd.DataFrame:
    """The claims of the continuation shift, with Phase 5's verdict and the family's correction over all models."""
    shown = claims[claims["claim"] == "shift"].sort_values("model", kind="stable")
    columns = {
        "モデル": shown["model"],
        "文": shown["measure"].map(measure_name),
        "感情": shown["emotion"].map(emotion_name),
        "判定": [shift_verdict(_of_shift(row)) for row in shown.to_dict("records")],
        "検定の族": shown["family"].map(FAMILY_NAMES),
        "最も弱い条件の値 [95 % 区間]": [
            with_interval(*row, digits=3) for row in shown[["value", "low", "high"]].to_numpy()
        ],
        "片側 p": [p_value(value) for value in shown["p"]],
        "Holm（族の全モデル）": [p_value(value) for value in shown["p_holm"]],
        "順位 p": [p_value(value) for value in shown["rank_p"]],
        "順位 p の基準": [p_value(value) for value in shown["rank_bar"]],
        "n（文）": shown["n"],
        "理由": shown["reason"].map(SHIFT_REASONS),
    }
    return pd.DataFrame(columns).set_index(["モデル", "文", "感情"])


def _of_shift(row: dict[Hashable, Any]) -> dict[str, Any]:
    """The row as `shift_verdict` takes it: the CSV holds truth values as words."""
    found = {str(name): value for name, value in row.items()}
    return {**found, "exploratory": str(row["exploratory"]) == "True"}


def text_rows(claims: pd.DataFrame) -> pd.DataFrame:
    """The claims of the generated texts with their ranks, and the verdict."""
    shown = claims[claims["claim"] == "steering"].sort_values("model", kind="stable")
    keys = {"モデル": shown["model"], **_about(shown)}
    ranks = {
        "順位 p": [p_value(value) for value in shown["rank_p"]],
        "順位 p の基準": [p_value(value) for value in shown["rank_bar"]],
        "補正した順位 p": [
            "除外（縮退）" if left_out else p_value(p)
            for left_out, p in zip(shown["max_left_out"], shown["max_p"], strict=True)
        ],
    }
    columns = {**keys, **_numbers(shown, OF_TEXTS), **ranks, "理由": shown["reason"].map(REASONS)}
    return pd.DataFrame(columns).set_index(list(keys))


def _about(shown: pd.DataFrame) -> dict[str, pd.Series]:
    return {"感情": shown["emotion"].map(emotion_name), "量": shown["measure"].map(measure_name)}


def _numbers(shown: pd.DataFrame, verdicts: Mapping[str, str] = VERDICTS) -> dict[str, list[str] | pd.Series]:
    values = shown[["value", "low", "high"]].to_numpy()
    return {
        "判定": shown["verdict"].map(verdicts),
        "値 [95 % 区間]": [with_interval(*row, digits=3) for row in values],
        "基準値": [number(value) for value in shown["reference"]],
        "n": shown["n"],
        "検出できる d_z": [number(value) for value in shown["detectable_d"]],
    }
