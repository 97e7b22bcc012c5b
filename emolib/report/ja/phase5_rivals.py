"""Phase 5's sentences and tables about controls, strengths, rivals of the mean difference, and damage."""

from __future__ import annotations

import numpy as np
import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.every_report import emotion_name, metric_name, none_at_hand, number, tidy
from emolib.report.ja.phase5 import KINDS, SHORT
from emolib.steering.summaries import prompt_shares, unchanged_at_zero

SMALL = 0.02  # of a word per text, or of a probability
MOSTLY_BROKEN = 0.5  # above it what broken texts do not count decides a mean
HIGHER, BY = 3, 0.1  # times, and words or probability: from there on a format's own baseline says it already
MEASURES = {"keywords": "語数", "target": "確率"}
OTHER_BASELINE = "prompting"  # every other method starts from the vector's own unpatched texts


def family_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The largest effect, the rank p and the largest cosine of every family of controls."""
    shown = table.assign(
        emotion=table["emotion"].map(emotion_name),
        metric=table["metric"].map(metric_name),
        family=table["family"].map(SHORT),
    )
    names = {
        "emotion": "感情",
        "metric": "指標",
        "family": "対照の族",
        "own": "自分のベクトル",
        "largest": "対照の最大",
    }
    names |= {"p": "片側順位 p", "cosine": "ベクトルとのコサイン（最大）"}
    return tidy(shown, digits=3, names=names).set_index(["感情", "指標", "対照の族"])


def norm_rows(table: pd.DataFrame) -> pd.DataFrame:
    """‖Δh‖/‖h‖ as it came out, per kind."""
    names = {"kind": "種類", "mean": "平均", "min": "最小", "max": "最大", "size": "n"}
    return tidy(table.assign(kind=table["kind"].map(KINDS)), digits=3, names=names).set_index("種類")


def zero_sentence(sweep: pd.DataFrame) -> Markdown:
    """Whether a steer of strength 0 leaves every text as it was."""
    same, n = unchanged_at_zero(sweep)
    text = f"強さ 0（α = 0）のパッチを通した {n} テキストのうち、パッチなしと一致したのは {same} である。"
    return Markdown(text + ("" if same == n else "一致しないテキストがあるため、以下の数値を用いる前に原因を調べる。"))


def dose_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Own effect at every strength; emotions and measures down, strengths across."""
    shown = table.assign(emotion=table["emotion"].map(emotion_name), metric=table["metric"].map(metric_name))
    wide = shown.pivot(index=["emotion", "metric"], columns="alpha", values="effect")
    wide = wide.reindex(list(dict.fromkeys(zip(shown["emotion"], shown["metric"], strict=True))))
    wide.columns = [f"α = {alpha:g}" for alpha in wide.columns]
    return tidy(wide.rename_axis(["感情", "指標"]), digits=2)


def dose_curves(table: pd.DataFrame, family: str) -> pd.DataFrame:
    """One kind of measure with a band of ± 1.96 standard errors, for the figure."""
    own = table[table["metric"].str.startswith(f"{family}/")]
    return own.assign(low=own["effect"] - 1.96 * own["se"], high=own["effect"] + 1.96 * own["se"])


def dose_breakage_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Broken share, and the effect with every text as it is; strengths across."""
    parts = []
    for emotion, part in table[table["metric"] != "valence"].groupby("emotion", sort=False):
        wide = part.pivot(index="metric", columns="alpha", values="unfiltered").loc[list(dict.fromkeys(part["metric"]))]
        wide.index = [f"{metric_name(metric)}（そのまま）" for metric in wide.index]
        broken = part.groupby("alpha")["broken"].first().rename("破綻率").to_frame().T
        found = pd.concat([broken, wide])
        parts.append(pd.concat({emotion_name(emotion): found}, names=["感情", "量"]))
    shown = pd.concat(parts)
    shown.columns = [f"α = {alpha:g}" for alpha in shown.columns]
    return tidy(shown, digits=2)


def dose_sentence(table: pd.DataFrame) -> Markdown:
    """Whether more strength gives more effect, and what the opposite sign does, where enough texts are whole."""
    lines = []
    for (emotion, metric), part in table[table["metric"] != "valence"].groupby(["emotion", "metric"], sort=False):
        ordered = part.sort_values("alpha")
        texts = [_growth(ordered[ordered["alpha"] >= 0])]
        texts += [_opposite(row) for row in ordered[ordered["alpha"] < 0].to_dict("records")]
        lines.append(f"- {metric_name(metric)}（{emotion_name(emotion)}ベクトル）: {''.join(texts)}")
    return Markdown("\n".join(lines))


def _growth(added: pd.DataFrame) -> str:
    """What the effect does as α grows from 0; nothing about its course where most texts of a strength are broken."""
    lost = added[added["broken"] > MOSTLY_BROKEN]
    listed = "、".join(f"{row.alpha:g}（{row.broken:.0%}）" for row in lost.itertuples())
    why = f"α = {listed}では半分を超える続きが破綻しているため、"
    farthest = added.loc[added["effect"].abs().idxmax()]
    if abs(farthest["effect"]) < SMALL:
        text = f"変化は最大でも {number(farthest['effect'], 3, signed=True)} で、目安の {SMALL:g} に届かない。"
        if lost.empty:
            return text
        kept = number(added.loc[added["unfiltered"].abs().idxmax(), "unfiltered"], signed=True)
        text += f"ただし {why}効かないのか、破綻して数えられないのかは分からない"
        return text + f"（破綻もそのまま数えた変化は最大 {kept}）。"
    if len(lost):
        whole = added[(added["broken"] <= MOSTLY_BROKEN) & (added["alpha"] > 0)]
        rest = "、".join(f"α = {row.alpha:g} の {number(row.effect, signed=True)}" for row in whole.itertuples())
        return f"{why}増え方は読まない（破綻が半分以下の強さ: {rest or 'なし'}）。"
    first, last = added.iloc[0], added.iloc[-1]
    steps = np.diff(added["effect"])
    if (steps >= 0).all() or (steps <= 0).all():
        ends = f"{number(first['effect'], signed=True)} から {number(last['effect'], signed=True)} へ"
        course = "増える" if (steps >= 0).all() else "減る"
        return f"α を {first['alpha']:g} から {last['alpha']:g} へ強めると、平均は {ends}単調に{course}。"
    most = f"α = {farthest['alpha']:g} の {number(farthest['effect'], signed=True)}"
    return f"平均は α に対して単調ではない（0 から最も離れるのは {most}）。"


def _opposite(row: dict) -> str:
    """What the opposite sign does, or that most of its texts are broken."""
    values = f"{number(row['effect'], signed=True)}（破綻もそのまま数えると {number(row['unfiltered'], signed=True)}）"
    if row["broken"] > MOSTLY_BROKEN:
        return f"逆向き（α = {row['alpha']:g}）は続きの {row['broken']:.0%} が破綻しているため、変化 {values}の符号は読まない。"
    return f"逆向き（α = {row['alpha']:g}、破綻率 {row['broken']:.0%}）では {values}。"


def layer_heatmap(pareto: pd.DataFrame) -> pd.DataFrame:
    """The largest specific effect over strengths on validation; layers down, emotions across."""
    best = pareto.groupby(["layer", "emotion"], sort=True)["effect"].max().unstack("emotion")
    return best.rename(index=lambda v: f"層 {v}", columns=emotion_name)[
        [emotion_name(e) for e in dict.fromkeys(pareto["emotion"])]
    ]


def pareto_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The Pareto front per emotion: no candidate has more effect without more broken texts, or fewer without less."""
    rows = []
    for emotion, part in table.groupby("emotion", sort=False):
        for row in part.sort_values("broken", kind="stable").to_dict("records"):
            better = part[(part["effect"] >= row["effect"]) & (part["broken"] <= row["broken"])]
            if not ((better["effect"] > row["effect"]) | (better["broken"] < row["broken"])).any():
                rows.append({**row, "emotion": emotion_name(emotion), "metric": metric_name(row["metric"])})
    names = {"emotion": "感情", "layer": "層", "alpha": "α", "metric": "指標", "effect": "自分 − 他感情の平均"}
    return tidy(pd.DataFrame(rows), digits=2, names={**names, "broken": "破綻率"}).set_index(["感情", "層", "α"])


def pareto_points(table: pd.DataFrame) -> np.ndarray:
    return table[["broken", "effect"]].to_numpy()


def pareto_hover(table: pd.DataFrame) -> list[str]:
    return [f"層 {layer}、α = {alpha:g}" for layer, alpha in zip(table["layer"], table["alpha"], strict=True)]


def prompt_histogram(table: pd.DataFrame, family: str) -> pd.DataFrame:
    """One kind of measure of `emolib.steering.summaries.prompt_effects`, for the histogram."""
    return table[table["metric"].str.startswith(f"{family}/")]


def prompt_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Share of the prompts that move as meant, not at all, and the wrong way."""
    shares = prompt_shares(table)
    named = shares.assign(emotion=shares["emotion"].map(emotion_name), metric=shares["metric"].map(metric_name))
    names = {"emotion": "感情", "metric": "指標", "up": "値が上がった", "same": "変わらない", "down": "値が下がった"}
    names |= {"down_unfiltered": "値が下がった（破綻もそのまま数える）", "median": "中央値"}
    return tidy(named, digits=2, names=names).set_index(["感情", "指標"])


# other ways of steering


def rival_level_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Where every method starts, where it ends and how far that is; measures across."""
    cells = {
        "なし": _numbers(table, "base"),
        "あり": _numbers(table, "level"),
        "差 [95 % BCa]": _intervals(table, "effect", "low", "high", "degenerate"),
    }
    return _across(table, cells)


def rival_strength_rows(table: pd.DataFrame) -> pd.DataFrame:
    """How strong every method is, how many texts it breaks beside the vector, and how specific it is."""
    whole = table.drop_duplicates(["emotion", "kind"])
    silent = whole["kind"] == OTHER_BASELINE
    shown = {
        "α": ["—" if no else f"{round(alpha, 3):g}" for no, alpha in zip(silent, whole["alpha"], strict=True)],
        "‖Δh‖/‖h‖": ["—" if no else number(r) for no, r in zip(silent, whole["delta_ratio"], strict=True)],
        "破綻率": [f"{share:.0%}" for share in whole["broken"]],
        "ベクトルとの差（ポイント）": _points(whole, "broken_gap"),
        "同、検証": _points(whole, "validation_gap"),
    }
    specific = _across(table, {"自分 − 他感情の平均": _numbers(table, "vs_others", signed=True)})
    return pd.DataFrame(shown, index=_methods(whole)).loc[specific.index].join(specific)


def rival_lead_rows(table: pd.DataFrame) -> pd.DataFrame:
    """How much more the vector does than every method that starts from the same texts."""
    others = table[~table["kind"].isin(["emotion", OTHER_BASELINE])]
    return _across(others, {"ベクトル − 方法 [95 % BCa]": _leads(others)})


def equal_strength_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The vector beside every other direction at that direction's own α."""
    if table.empty:
        return none_at_hand()
    whole = table.drop_duplicates(["emotion", "kind"])
    pairs = zip(whole["own_broken"], whole["rival_broken"], strict=True)
    shown = {"α": [f"{round(alpha, 3):g}" for alpha in whole["alpha"]]}
    shown["破綻率（ベクトル / 方法）"] = [f"{own:.0%} / {rival:.0%}" for own, rival in pairs]
    pairs = zip(_numbers(table, "own", signed=True), _numbers(table, "rival", signed=True), strict=True)
    wide = _across(table, {"ベクトル / 方法": [" / ".join(pair) for pair in pairs], "差 [95 % BCa]": _leads(table)})
    return pd.DataFrame(shown, index=_methods(whole)).loc[wide.index].join(wide)


def _across(table: pd.DataFrame, cells: dict[str, list[str]]) -> pd.DataFrame:
    """Emotions and methods down, every kind of measure with its columns across; a dash where one is missing."""
    index = _methods(table)
    long = pd.DataFrame(cells, index=index)
    family = table["metric"].str.partition("/")[0].to_numpy()
    parts = [long[family == name].add_prefix(f"{shown}: ") for name, shown in MEASURES.items() if name in family]
    order = [(e, k) for e in dict.fromkeys(index.get_level_values(0)) for k in KINDS.values() if (e, k) in index]
    return pd.concat([part.reindex(order) for part in parts], axis=1).fillna("—")


def _methods(table: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays(
        [table["emotion"].map(emotion_name), table["kind"].map(KINDS)], names=["感情", "方法"]
    )


def _intervals(table: pd.DataFrame, value: str, low: str, high: str, degenerate: str) -> list[str]:
    return [
        _of(row["metric"], row[value], signed=True)
        + ("（区間なし）" if row[degenerate] else f" [{_of(row['metric'], row[low])}, {_of(row['metric'], row[high])}]")
        for row in table.to_dict("records")
    ]


def _numbers(table: pd.DataFrame, column: str, *, signed: bool = False) -> list[str]:
    return [_of(metric, value, signed=signed) for metric, value in zip(table["metric"], table[column], strict=True)]


def _of(metric: str, value: float, *, signed: bool = False) -> str:
    """A value of a measure: words to two places, probabilities to three."""
    return number(value, 2 if metric.startswith("keywords/") else 3, signed=signed)


def _leads(table: pd.DataFrame) -> list[str]:
    return _intervals(table, "ahead", "ahead_low", "ahead_high", "ahead_degenerate")


def _points(table: pd.DataFrame, column: str) -> list[str]:
    """A difference of shares; a dash where there is none, and for the vector itself."""
    itself = table["kind"] == "emotion"
    return ["—" if no or pd.isna(gap) else _point(gap) for no, gap in zip(itself, table[column], strict=True)]


def _point(gap: float) -> str:
    """A difference of shares in percentage points."""
    return number(100 * gap, 0, signed=True)


def rival_sentence(table: pd.DataFrame, margin: float) -> Markdown:
    """What the vector does beside methods that break as many texts, and beside asking.

    Args:
        table: see `steering.rivals`.
        margin: how far apart broken shares on test may lie for two methods to be compared.
    """
    lines = []
    for emotion, part in table.groupby("emotion", sort=False):
        near = _near(part, margin)
        lines.append(_comparable(emotion, part.drop_duplicates("kind").set_index("kind"), near, margin))
        for metric, rows in part.groupby("metric", sort=False):
            if text := _measure(rows.set_index("kind"), near):
                lines.append(f"    - {metric_name(metric)}: {text}")
    n = int(table["n"].min())
    lines.append(
        f"- {n} シナリオでは、破綻率そのものに最大 {100 * np.sqrt(0.25 / n):.0f} ポイントの標準誤差がある。"
        f"差が {100 * margin:.0f} ポイント以内でも、破綻率が等しいとは言えない。"
        "区間は補正していない。指示と感情ベクトルは基準の文も書式も異なり、対応のある差は計算しない。"
    )
    return Markdown("\n".join(lines))


def _near(part: pd.DataFrame, margin: float) -> list[str]:
    """The methods that start from the vector's own texts and break about as many of them."""
    gaps = (
        part.drop_duplicates("kind").set_index("kind")["broken_gap"].drop(["emotion", OTHER_BASELINE], errors="ignore")
    )
    return list(gaps.index[gaps.abs() <= margin + 1e-9])


def _comparable(emotion: str, rows: pd.DataFrame, near: list[str], margin: float) -> str:
    shares = f"感情ベクトル {rows.loc['emotion', 'broken']:.0%}"
    if OTHER_BASELINE in rows.index:
        shares += f"、指示 {rows.loc[OTHER_BASELINE, 'broken']:.0%}"
    named = {k: f"{KINDS[k]} {_point(gap)}" for k, gap in rows["broken_gap"].items()}
    others = [k for k in named if k not in ("emotion", OTHER_BASELINE)]
    far = "、".join(named[k] for k in others if k not in near)
    text = f"- {emotion_name(emotion)}（破綻率は{shares}）: 感情ベクトルとの破綻率の差が {100 * margin:.0f} ポイント以内の方法は"
    if not others:
        return f"- {emotion_name(emotion)}（破綻率は{shares}）"
    if not near:
        return text + f"なく（{far}）、大小を比べない。"
    text += f"{'、'.join(named[k] for k in near)}。"
    return text + (f"破綻率が離れているため比べないのは{far}。" if far else "")


def _measure(rows: pd.DataFrame, near: list[str]) -> str:
    """One measure: nothing moves it, or the vector beside each comparable method, and beside asking."""
    asked = _asked(rows) if OTHER_BASELINE in rows.index else ""
    if rows["effect"].abs().max() < SMALL:
        text = f"どの方法でも、変化の絶対値は {SMALL:g} に満たない（最大 {number(rows['effect'].abs().max(), 3)}）。"
        if rows.loc["emotion", "broken"] > MOSTLY_BROKEN:
            text += (
                "感情ベクトルでは半分を超える続きが破綻しており、効かないのか、破綻して数えられないのかは分からない。"
            )
        return text
    return "".join(_against(rows.loc[kind], KINDS[kind]) for kind in near) + asked


def _against(row: pd.Series, name: str) -> str:
    metric, lead = row["metric"], _of(row["metric"], row["ahead"], signed=True)
    if row["ahead_degenerate"]:
        return f"{name}との差は {lead}（0 でない差が少なく、区間なし）。"
    between = f"{lead} [{_of(metric, row['ahead_low'])}, {_of(metric, row['ahead_high'])}]"
    if row["ahead_low"] > 0 or row["ahead_high"] < 0:
        larger, smaller = ("感情ベクトル", name) if row["ahead"] > 0 else (name, "感情ベクトル")
        return f"{larger}は{smaller}より大きい（対応のある差 {between}）。"
    return f"{name}との大小は決まらない（対応のある差 {between}）。"


def _asked(rows: pd.DataFrame) -> str:
    """Asking beside the vector, unless the format alone already says it."""
    asked, steered = rows.loc[OTHER_BASELINE], rows.loc["emotion"]
    told, moved = (
        {key: _of(row["metric"], row[key], signed=key == "effect") for key in ("base", "level", "effect")}
        for row in (asked, steered)
    )
    if asked["base"] >= HIGHER * steered["base"] and asked["base"] - steered["base"] >= BY:
        return (
            f"指示の書式だけで、指示がなくても水準 {told['base']} に達している（ベクトルの基準は {moved['base']}）。"
            f"指示ありは {told['level']}、ベクトルありは {moved['level']} だが、出発点が違うため、"
            f"差（指示 {told['effect']}、ベクトル {moved['effect']}）どうしは比べられない。"
        )
    ways = "、".join(
        f"{name}は {way['base']} → {way['level']}（{way['effect']}）"
        for name, way in (("指示", told), ("ベクトル", moved))
    )
    if asked["degenerate"] or steered["degenerate"]:
        return f"{ways}で、一方に区間がないため比べない。"
    if asked["low"] > steered["high"] or steered["low"] > asked["high"]:
        larger = "指示" if asked["effect"] > steered["effect"] else "ベクトル"
        return f"{ways}で、差の区間は重ならず、{larger}の方が大きい。"
    return f"{ways}で、差の区間は重なる（差の検定はしていない）。"


def equal_strength_sentence(table: pd.DataFrame) -> Markdown:
    """Where the vector or the other direction is larger at an equal α."""
    if table.empty:
        return Markdown("同じ α で比べられる組がない。")
    decided = table[~table["ahead_degenerate"].astype(bool)]
    behind, ahead = decided[decided["ahead_high"] < 0], decided[decided["ahead_low"] > 0]
    lines = [
        f"- 感情ベクトルより大きい方法: {_pairs(behind) or 'どの組でも、そうとは言えない'}。",
        f"- 感情ベクトルの方が大きい: {_pairs(ahead) or 'どの組でも、そうとは言えない'}。",
        f"- {len(table)} 組のうち残る {len(table) - len(behind) - len(ahead)} 組は、区間が 0 を含むか、区間がない"
        f"（点推定で方法の方が大きいのは {len(table)} 組のうち {(table['ahead'] < 0).sum()} 組）。区間は補正していない。",
    ]
    return Markdown("\n".join(lines))


def _pairs(rows: pd.DataFrame) -> str:
    cells = zip(rows.to_dict("records"), _leads(rows), strict=True)
    return "、".join(
        f"{metric_name(row['metric'])}の{KINDS[row['kind']]}（α = {round(row['alpha'], 3):g}、差 {lead}）"
        for row, lead in cells
    )
