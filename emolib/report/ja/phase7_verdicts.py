"""Phase 7's sentences and tables about the study's claims."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.every_report import STYLE_NAMES, emotion_name, markdown_table, metric_name
from emolib.report.ja.phase5_words import KINDS as KIND_NAMES
from emolib.report.ja.phase7 import POSITIONS, nothing_of, shown_interval, shown_number, shown_p
from emolib.statistics.power import required_scenarios
from emolib.steering.claims import FEWEST_SCENARIOS, LEVEL
from emolib.steering.findings import POWER, overall
from emolib.study.phase7_claims import study_tables, verdicts
from emolib.study.run import Run

VERDICTS = {"supported": "支持", "not_supported": "不支持", "underpowered": "検出力不足"}
REASONS = {
    "bar_reached": "基準を満たす",
    "few_scenarios": f"シナリオが {FEWEST_SCENARIOS} 未満",
    "few_controls": "対照の数では順位 p が基準に届かない",
    "degenerate": "0 でない差が少ないか、ばらつきがごく小さい",
    "too_small_to_detect": "区間が基準値を含み、この n では関心のある最小の効果を検出できない",
    "controls_reach_it": "対照の中に同じかそれ以上動かす方向があり、順位 p が基準を超える",
    "bar_missed": "基準を満たさない",
}
CLAIMS = {
    "stability": "ベクトルは標本を替えても同じ方向を向く",
    "separation": "ベクトルへの射影が見ていない文を分ける",
    "readout": "残差ストリームから感情文と中立文を見分けられる",
    "beyond_words": "残差ストリームは bag-of-words を超える情報をもつ（全体）",
    "beyond_words_implicit": "残差ストリームは bag-of-words を超える情報をもつ（暗示文）",
    "subspace": "ラベルに固有の部分空間がある",
    "steering": "自分のベクトルが、他のベクトルより、また対照より多く動かす",
}
BARS = {
    "stability": "分割半コサインの 95 % 区間 > シャッフルの 97.5 % 点",
    "separation": "テスト AUC の 95 % 区間 > 乱数方向とシャッフルの 97.5 % 点",
    "readout": "プローブのテスト AUC の 95 % 区間 > シャッフルの最大",
    "beyond_words": "AUC の差の 95 % 区間 > 0",
    "beyond_words_implicit": "AUC の差の 95 % 区間 > 0",
    "subspace": "検証の超過の最良 > シャッフルの超過の最大の 97.5 % 点",
    "steering": "自−他の 95 % BCa 区間 > 0、かつ最も厳しい対照の順位 p ≤ 基準",
}


def _names(values: Iterable[str]) -> str:
    return "・".join(dict.fromkeys(values))


def _measure(name: str) -> str:
    """A claim's measure as printed: a metric, a layer, a k, or nothing more to say."""
    if name in ("auc", "auc_difference"):
        return {"auc": "AUC", "auc_difference": "AUC の差"}[name]
    return name.replace("layer", "層") if name.startswith("layer") else metric_name(name)


def claim_rows(table: pd.DataFrame, phase: str) -> pd.DataFrame:
    """The claims of one phase with what they rest on and the verdict."""
    shown = table[table["phase"] == phase]
    if shown.empty:
        return nothing_of(phase)
    place = shown["claim"].map(list(CLAIMS).index)
    shown = shown.assign(place=place).sort_values(["model", "place"], kind="stable")
    keys = {"モデル": shown["model"]} | ({} if phase == "phase5" else {"主張": shown["claim"].map(CLAIMS)})
    keys |= {"感情": shown["emotion"].map(emotion_name), "量": shown["measure"].map(_measure)}
    columns = {
        **keys,
        "判定": shown["verdict"].map(VERDICTS),
        "値 [95 % 区間]": [shown_interval(*values, digits=3) for values in shown[["value", "low", "high"]].to_numpy()],
        "基準値": [shown_number(value) for value in shown["reference"]],
        "n": shown["n"],
        "検出できる d_z": [shown_number(value) for value in shown["detectable_d"]],
    }
    if phase == "phase5":
        columns |= {
            "順位 p": [shown_p(value) for value in shown["rank_p"]],
            "順位 p の基準": [shown_p(value) for value in shown["rank_bar"]],
            "補正した順位 p": [
                "除外（縮退）" if left_out else shown_p(p)
                for left_out, p in zip(shown["max_left_out"], shown["max_p"], strict=True)
            ],
        }
    columns["理由"] = shown["reason"].map(REASONS)
    return pd.DataFrame(columns).set_index(list(keys))


def bar_rows(table: pd.DataFrame) -> Markdown:
    """Claim → bar set beforehand → artifact → how many of each verdict."""
    rows = []
    for claim, part in table.groupby("claim", sort=False):
        counts = part["verdict"].value_counts()
        found = [str(int(counts.get(word, 0))) for word in VERDICTS]
        artifacts = "、".join(f"`{path}`" for path in dict.fromkeys(part["artifact"]))
        rows.append([CLAIMS[claim], BARS[claim], artifacts, *found])
    return Markdown(markdown_table(rows, ["主張", "事前に定めた基準", "根拠の表", *VERDICTS.values()]))


def _claim_name(row: dict[str, Any]) -> str:
    return (
        _measure(row["measure"])
        if row["claim"] == "steering"
        else f"{emotion_name(row['emotion'])}: {CLAIMS[row['claim']]}"
    )


def _of(count: int, total: int) -> str:
    """`count` of `total` cases in words."""
    if count == total:
        return f"{total} 件すべて" if total > 1 else "1 件"
    return f"{total} 件のうち {count} 件"


def discussion(run: Run, effects: pd.DataFrame, claims: pd.DataFrame) -> Markdown:
    """考察, computed from the claims, what they rest on, and the effects."""
    params, grounds = run.params, verdicts.grounds(run)
    lines = ["- 判定は主張の種類ごとに数える。種類によって根拠の強さが違うため、合計は示さない。"]
    for model, part in claims.groupby("model", sort=False):
        own = grounds[grounds["model"] == model] if len(grounds) else grounds
        lines += _model_lines(str(model), part, own)
    if "phase5" in set(claims["phase"]):
        lines += _correction_lines(claims, params.significance)
    else:
        lines.append("- Phase 5 の読める記録がないため、操作についての主張はない。")
    lines += _weak_lines(claims, params.smallest_d)
    lines += _family_lines(effects, params.significance)
    return Markdown("\n".join(lines))


def _model_lines(model: str, claims: pd.DataFrame, grounds: pd.DataFrame) -> list[str]:
    """Per claim: how many of each verdict, about which emotions (and measures), and what qualifies it."""
    lines = [f"- **{model}**"]
    for claim, part in claims.groupby("claim", sort=False):
        texts = []
        for word, name in VERDICTS.items():
            rows = part[part["verdict"] == word]
            if len(rows):
                column, shown = ("measure", _measure) if claim == "steering" else ("emotion", emotion_name)
                texts.append(f"{name} {len(rows)}（{_names(rows[column].map(shown))}）")
        lines.append(f"    - {CLAIMS[claim]} — {'、'.join(texts)}。{_caveat(str(claim), part, grounds)}")
        if claim == "steering":
            lines.append(f"    - 感情ごとの総合判定（二つの指標がともに支持のときだけ支持） — {_overall(part)}。")
    return lines


def _caveat(claim: str, part: pd.DataFrame, grounds: pd.DataFrame) -> str:
    """What the reader of a supported claim has to know beside it."""
    supported = part[part["verdict"] == "supported"]
    if claim in ("separation", "readout"):
        return _words_caveat(grounds) if len(supported) else ""
    if claim == "beyond_words" and len(supported):
        ends = "・".join(shown_number(low, 3) for low in supported["low"])
        many = f"（検定は {len(part)} 件）" if len(part) > 1 else ""
        return f"支持した区間の下限は {ends} で、検定の数の補正はしていない{many}。"
    if claim == "beyond_words_implicit" and supported.empty:
        return "感情語のない文では、語を超える情報があるとは一つも示せていない。"
    if claim == "subspace":
        holds = supported[(supported["low"] <= supported["reference"]) & (supported["high"] >= supported["reference"])]
        if len(holds):
            return f"事前の規則どおり点推定で判定した。支持した {_of(len(holds), len(supported))}で、95 % 区間は基準値を含む。"
    return ""


def _words_caveat(grounds: pd.DataFrame) -> str:
    """How far the words of the test texts alone would have told."""
    shares, words = grounds["explicit_share"].dropna(), grounds["words"].dropna()
    if shares.empty or not shares.max() > 0 or words.empty:
        return ""
    text = f"ただしテスト文の {_span(100 * shares, 0)} % は感情語を含む明示文であり、bag-of-words の AUC も {_span(words)} である"
    implicit = grounds["words_implicit"].dropna()
    return text + (f"（暗示文だけでは {_span(implicit)}）。" if len(implicit) else "。")


def _span(values: pd.Series, digits: int = 2) -> str:
    ends = [shown_number(value, digits) for value in (values.min(), values.max())]
    return "〜".join(dict.fromkeys(ends))


def _overall(steering: pd.DataFrame) -> str:
    """The verdict per emotion, in words."""
    found: dict[str, list[str]] = {}
    for emotion, word in overall(steering).items():
        found.setdefault(word, []).append(emotion_name(str(emotion)))
    return "、".join(f"{VERDICTS[word]}: {'・'.join(found[word])}" for word in VERDICTS if word in found)


def _correction_lines(claims: pd.DataFrame, significance: float) -> list[str]:
    """Whether the supported steering claims survive the correction for how many are looked at, and what set it."""
    steering = claims[claims["claim"] == "steering"]
    supported = steering[steering["verdict"] == "supported"]
    if supported.empty:
        return ["- Phase 5 の主張で支持されたものはない。"]
    lost = supported[~(supported["max_p"] <= significance)]
    text = (
        f"- 感情と指標の数で補正した順位 p（最大統計量）は、支持された Phase 5 の主張 "
        f"{_of(len(supported) - len(lost), len(supported))}で {significance:g} 以下である。"
    )
    if len(lost):
        text += f"{_names(lost['measure'].map(_measure))}は補正後の水準に届かず、割り引いて読む。"
    return [text, *(line for _, part in steering.groupby("model", sort=False) for line in _maximum_lines(part))]


def _maximum_lines(steering: pd.DataFrame) -> list[str]:
    """One model: what took no part in the maximum, and where the largest control lies."""
    left_out, kept = (steering[steering["max_left_out"].astype(bool) == out] for out in (True, False))
    text = f"- {steering['model'].iloc[0]} の最大統計量: "
    if len(left_out):
        text += (
            f"縮退した{_names(left_out['measure'].map(_measure))}は最大から除き、残る {len(kept)} 組でとった"
            "（ほとんど動かない指標では、一つの文に語が一つ出ただけで大きな z になる）。"
        )
    else:
        text += f"縮退した組はなく、{len(kept)} 組すべてでとった。"
    known = kept.dropna(subset=["max_z"])
    if known.empty:
        return []
    for (family, at), part in known.groupby(["max_family", "max_at"], sort=False):
        who = "" if len(part) == len(known) else f"{_names(part['measure'].map(_measure))}の p では、"
        text += f"{who}最大を決めた対照は{KIND_NAMES[family]}、指標は{_measure(at)}（z = {part['max_z'].iloc[0]:.1f}）である。"
    return [text]


def _weak_lines(claims: pd.DataFrame, smallest_d: float) -> list[str]:
    """Why the design could not tell, and that a missed bar is no refutation."""
    lines = []
    for reason, part in claims[claims["verdict"] == "underpowered"].groupby("reason", sort=False):
        count = _of(len(part), int((claims["verdict"] == "underpowered").sum()))
        lines.append(f"- 検出力不足の {count}の理由は「{REASONS[reason]}」である。")
    missed = claims[claims["verdict"] == "not_supported"]
    if len(missed):
        lines.append(
            f"- 不支持の {len(missed)} 件は、事前の基準を満たさなかったという意味であり、効果がないことの証明ではない。"
        )
        degenerate = missed[missed["reason"] == "degenerate"]
        if len(degenerate):
            lines.append(
                f"- {_names(map(_claim_name, degenerate.to_dict('records')))}は 0 でない差が少ないか、ばらつきがごく小さく、"
                "効果量と区間を計算しない。"
            )
        reached = missed[(missed["reason"] == "controls_reach_it") & (missed["low"] <= 0) & (missed["high"] >= 0)]
        for row in reached.to_dict("records"):
            lines.append(
                f"- {_claim_name(row)}は、順位 p が基準を超え（{shown_p(row['rank_p'])}）、区間も 0 を含む。規則では不支持だが、"
                f"この n では d_z < {row['detectable_d']:.2f} の効果は検出力 {POWER:g} に届かず、小さい効果の有無は分からない。"
            )
    seen = claims[(claims["claim"] == "steering") & (claims["verdict"] == "supported")]
    blind = seen[seen["detectable_d"] > smallest_d]
    if len(blind):
        lines.append(
            f"- 支持された Phase 5 の主張 {_of(len(blind), len(seen))}は、d_z = {smallest_d:g} を検出力 {POWER:g} で検出できない設計で得た。"
            "このような設計で有意になった効果の大きさは、真の値より大きめに出やすい。"
        )
    return lines


def _family_lines(effects: pd.DataFrame, significance: float) -> list[str]:
    """How many of all comparisons remain after correction."""
    if effects.empty:
        return []
    counted = study_tables.families(effects[effects["kind"] == "emotion"], significance)
    total = counted[["tests", "degenerate", "p_t", "p_bonferroni", "p_fdr"]].sum()
    return [
        f"- 感情ベクトルの全指標 {total['tests']} 件の比較のうち、縮退は {total['degenerate']} 件、p < {significance:g} は "
        f"{total['p_t']} 件、補正の単位ごとに補正した後は Bonferroni {total['p_bonferroni']} 件、BH {total['p_fdr']} 件である。"
        f"何も起きていなければ p < {significance:g} は約 {significance * (total['tests'] - total['degenerate']):.0f} 件と見込まれる。"
        "ただし指標は互いに重なり、同じノルムの対照方向でも多くの指標が動きうるため、この数は感情への特異性の証拠ではない。"
    ]


def next_actions(run: Run, claims: pd.DataFrame) -> Markdown:
    """次のアクション, computed."""
    params, reasons = run.params, set(claims["reason"])
    lines = []
    if "few_scenarios" in reasons:
        lines.append(
            f"- シナリオが {FEWEST_SCENARIOS} 未満の主張は判定できない。`quick` 以上のプロファイルで走らせる。"
        )
    if "few_controls" in reasons:
        lines.append("- 対照の数では順位 p が基準に届かない。`n_controls` を増やす。")
    if "too_small_to_detect" in reasons:
        needed = required_scenarios(params.smallest_d, power=POWER, alpha=LEVEL)
        lines.append(
            f"- 検出力不足の主張には、d_z = {params.smallest_d:g} なら {needed} シナリオが要る。`baseline` で確かめる。"
        )
    failed = claims[claims["verdict"] == "not_supported"]
    if len(failed):
        lines.append(
            f"- 不支持の主張（{_names(map(_claim_name, failed.to_dict('records')))}）は、別の指標や採点器でも同じかを確かめる。"
        )
    if len(study_tables.models(run)) < len(study_tables.every_model(run)):
        without = "・".join(model for model in study_tables.every_model(run) if model not in study_tables.models(run))
        lines.append(f"- {without} では Phase 5 を走らせ、操作についての主張を判定する。")
    if len(study_tables.every_model(run)) == 1:
        lines.append("- 一つのモデルの結果である。他のモデルで Phase 5 まで走らせ、この表に加える。")
    old = [
        f"{record.model} の Phase {record.phase[-1]}"
        for record in study_tables.records(run)
        if record.state != "current"
    ]
    if old:
        lines.append(f"- {'、'.join(old)} は記録が今の成果物と合わない。走らせ直す。")
    if not lines:
        lines.append("- すべての主張が支持された。別のデータで再現するかを確かめる。")
    return Markdown("\n".join(lines))


# which vectors the claims are about


def place_rows(run: Run) -> pd.DataFrame:
    """Phase 3's vectors beside those that steer: layers, texts, and Phase 3's stability at the layer that steers."""
    table = study_tables.vector_places(run)
    if table.empty:
        return pd.DataFrame({"結果": ["Phase 3 と Phase 5 の両方の読める記録があるモデルがないため、示すものがない"]})
    cosines = table[["stability", "low", "high"]].to_numpy()
    columns = {
        "モデル": table["model"],
        "感情": table["emotion"].map(emotion_name),
        "Phase 3 の層（プローブ）": table["probe_layer"],
        "Phase 5 の層": table["layer"],
        "Phase 3 の文・位置": f"{STYLE_NAMES['all']}・{POSITIONS['mean']}",
        "Phase 5 の文・位置": [
            f"{STYLE_NAMES.get(style, style)}・{POSITIONS.get(position, position)}"
            for style, position in table[["style", "position"]].itertuples(index=False)
        ],
        "Phase 5 の層での分割半コサイン（Phase 3 のベクトル）": [shown_interval(*values) for values in cosines],
    }
    return pd.DataFrame(columns).set_index(["モデル", "感情"])


def limits(run: Run) -> Markdown:
    """限界 that depend on what was run: whether phases 3 and 5 are about the same vectors."""
    table = study_tables.vector_places(run)
    if table.empty:
        return Markdown(
            "- Phase 3 と Phase 5 の両方の読める記録があるモデルがないため、二つのフェーズのベクトルの違いは述べない。"
        )
    return Markdown("\n".join(_place_line(str(model), part) for model, part in table.groupby("model", sort=False)))


def _place_line(model: str, table: pd.DataFrame) -> str:
    layers = "・".join(str(layer) for layer in sorted(set(table["layer"])))
    others = table[table["probe_layer"] != table["layer"]]
    differs = []
    if len(others):
        own = "・".join(str(layer) for layer in sorted(set(others["probe_layer"])))
        differs.append(f"層（Phase 3 のプローブは {own}、操作は {layers}）")
    style, position = table[["style", "position"]].iloc[0]
    if style != "all":
        differs.append(f"文（Phase 3 は{STYLE_NAMES['all']}、操作は{STYLE_NAMES.get(style, style)}の文だけ）")
    if position != "mean":
        differs.append(f"位置（Phase 3 は{POSITIONS['mean']}、操作は{POSITIONS.get(position, position)}）")
    if not differs:
        return f"- {model}: Phase 3 の主張と Phase 5 の操作は、同じ層・文・位置のベクトルについてである。"
    text = (
        f"- {model}: Phase 3 の主張のベクトルと、Phase 5 で操作に用いたベクトルは、{'と'.join(differs)}が違う。"
        "安定性・分離・部分空間の判定を、操作に用いたベクトルの性質とは読まない。"
    )
    known = table.dropna(subset=["stability"])
    if known.empty:
        return text
    listed = "、".join(f"{emotion_name(row.emotion)} {shown_number(row.stability)}" for row in known.itertuples())
    return f"{text}操作の層での、Phase 3 のベクトルの分割半コサインは {listed} である。"
