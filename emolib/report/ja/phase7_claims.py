"""Phase 7's tables of the study's claims: their bars, what they rest on, and their verdicts."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import code_span
from emolib.report.ja.names import emotion_name
from emolib.report.ja.phase5_words import VERDICTS
from emolib.report.ja.phase7_words import BARS, CLAIMS, REASONS, measure_name, nothing_of
from emolib.report.markup import markdown_table, number, p_value, with_interval


def table_bars(claims: pd.DataFrame) -> Markdown:
    """Claim → bar set beforehand → artifact → how many of each verdict."""
    rows = []
    for claim, part in claims.groupby("claim", sort=False):
        counts = part["verdict"].value_counts()
        found = [str(int(counts.get(code, 0))) for code in VERDICTS]
        artifacts = "、".join(code_span(path) for path in dict.fromkeys(part["artifact"]))
        rows.append([CLAIMS[claim], BARS[claim], artifacts, *found])
    return Markdown(markdown_table(rows, ["主張", "事前に定めた基準", "根拠の表", *VERDICTS.values()]))


def table_vector_claims(claims: pd.DataFrame) -> pd.DataFrame | Markdown:
    """Phase 3's claims with what they rest on and the verdict."""
    shown = claims[claims["phase"] == "phase3"]
    if shown.empty:
        return nothing_of("phase3")
    place = shown["claim"].map(list(CLAIMS).index)
    shown = shown.assign(place=place).sort_values(["model", "place"], kind="stable")
    keys = {"モデル": shown["model"], "主張": shown["claim"].map(CLAIMS), **_about(shown)}
    return pd.DataFrame({**keys, **_numbers(shown), "理由": shown["reason"].map(REASONS)}).set_index(list(keys))


def table_steering_claims(claims: pd.DataFrame) -> pd.DataFrame | Markdown:
    """Phase 5's claims with their ranks, and the verdict."""
    shown = claims[claims["phase"] == "phase5"].sort_values("model", kind="stable")
    if shown.empty:
        return nothing_of("phase5")
    keys = {"モデル": shown["model"], **_about(shown)}
    ranks = {
        "順位 p": [p_value(value) for value in shown["rank_p"]],
        "順位 p の基準": [p_value(value) for value in shown["rank_bar"]],
        "補正した順位 p": [
            "除外（縮退）" if left_out else p_value(p)
            for left_out, p in zip(shown["max_left_out"], shown["max_p"], strict=True)
        ],
    }
    columns = {**keys, **_numbers(shown), **ranks, "理由": shown["reason"].map(REASONS)}
    return pd.DataFrame(columns).set_index(list(keys))


def _about(shown: pd.DataFrame) -> dict[str, pd.Series]:
    return {"感情": shown["emotion"].map(emotion_name), "量": shown["measure"].map(measure_name)}


def _numbers(shown: pd.DataFrame) -> dict[str, list[str] | pd.Series]:
    values = shown[["value", "low", "high"]].to_numpy()
    return {
        "判定": shown["verdict"].map(VERDICTS),
        "値 [95 % 区間]": [with_interval(*row, digits=3) for row in values],
        "基準値": [number(value) for value in shown["reference"]],
        "n": shown["n"],
        "検出できる d_z": [number(value) for value in shown["detectable_d"]],
    }
