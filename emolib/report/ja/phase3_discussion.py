"""Phase 3's 結論 and 考察, worded from `emolib.study.phase3_vectors.answers`."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.frame import three_lines
from emolib.report.ja.names import emotion_name, emotion_names
from emolib.report.ja.phase3_decoding import SHUFFLED_HERE
from emolib.report.ja.phase3_geometry import VIEWS
from emolib.report.markup import number, with_interval
from emolib.study.phase3_vectors.answers import (
    EQUIDISTANT,
    cosine_finding,
    information_codes,
    middle_layers,
    probe_codes,
    projection_codes,
    separation_codes,
    shuffled_codes,
    stability_codes,
    subspace_codes,
)
from emolib.study.phase3_vectors.geometry_answers import RELIABLE, UNMEASURABLE, ValenceFinding

MOST_NAMED = 6
STABLE = {"above": "偶然の水準を上回る", "not_above": "偶然の水準と区別できない"}
UNSPECIFIC = "の射影は、他の感情の確率とも同じかそれ以上に相関し、その感情に特異的とは言えない。"


def conclusion(
    separation: pd.DataFrame,
    stability: pd.DataFrame,
    information: pd.DataFrame,
    k_table: pd.DataFrame,
    projections: pd.DataFrame,
    labels: ValenceFinding | None = None,
) -> Markdown:
    """結論: which vectors are stable and tell unseen texts apart, whether by more than words, and what is not known."""
    raw = separation_codes(separation[(separation["variant"] == "raw") & (separation["position"] == "mean")])
    above = raw[raw["code"] == "above"]
    if len(above):
        found = f"{emotion_names(above['emotion'])}の生のベクトルは、見ていないシナリオの感情文と中立文を対照より良く分ける。"
    else:
        found = "生のベクトルが見ていないシナリオの文を対照より良く分けるとは、どの感情でも言えない。"
    found += _stable(stability_codes(stability, _validated_layers(raw))) + _subspaces(k_table)
    rests_on = "語を超える情報は計算できないため、判定しない。"
    if words := _beyond_words(information):
        rests_on = (
            f"語を超える情報（bag of words との AUC の差）については、{words}。{_not_above_shuffles(information)}"
        )
    if mixed := emotion_names(_mixed(projections)):
        rests_on += f"{mixed}{UNSPECIFIC}"
    return three_lines(
        found=found, rests_on=rests_on, not_measured=_not_measured(raw, information, k_table, projections, labels)
    )


def _validated_layers(raw: pd.DataFrame) -> dict[str, int]:
    return raw.dropna(subset=["layer"]).set_index("emotion")["layer"].to_dict()


def _stable(codes: pd.DataFrame) -> str:
    """Which vectors point the same way in halves of the scenarios, by the codes alone."""
    parts = [
        f"{emotion_names(part['emotion'])}で{STABLE[code]}"
        for code, part in codes.groupby("code", sort=False)
        if code in STABLE
    ]
    return f"選んだ層での分割半の安定性は、{'、'.join(parts)}。" if parts else ""


def _not_above_shuffles(information: pd.DataFrame) -> str:
    """The caveat where a probe that knows more than the words is not above its own shuffles."""
    words, shuffled = information_codes(information), shuffled_codes(information)
    met = words.loc[(words["style"] == "all") & (words["code"] == "more"), "emotion"]
    doubtful = shuffled.loc[(shuffled["code"] == "not_above") & shuffled["emotion"].isin(met), "emotion"]
    if doubtful.empty:
        return ""
    return f"ただし{emotion_names(doubtful)}のプローブの AUC は、{SHUFFLED_HERE}の最大を上回らない。"


def _not_measured(
    raw: pd.DataFrame,
    information: pd.DataFrame,
    k_table: pd.DataFrame,
    projections: pd.DataFrame,
    labels: ValenceFinding | None,
) -> str:
    parts = []
    words = information_codes(information)
    if not ((words["style"] == "implicit") & (words["code"] != "unknown")).any():
        parts.append("暗示表現の文での語を超える情報（文が足りない）")
    if len(unknown := raw[raw["code"] == "unknown"]):
        parts.append(f"{emotion_names(unknown['emotion'])}の分離")
    if k_table.empty:
        parts.append("部分空間の次元 k")
    unscored = [row["emotion"] for row in projection_codes(projections).to_dict("records") if row["code"] == "unknown"]
    if unscored:
        parts.append(f"{emotion_names(unscored)}の射影と得点の相関")
    if labels is not None and labels.code == UNMEASURABLE:
        parts.append(f"ラベルの配置（第1主成分の信頼性 {number(labels.row['reliability'])}、基準 {number(RELIABLE)}）")
    listed = f"{'、'.join(parts)}。" if parts else "判定に必要な数値はそろっている。"
    return f"{listed}モデルがこの方向を使うかどうかは、このフェーズでは測れない（Phase 5）。"


# the vectors


def discussion_vectors(
    cosines: pd.DataFrame, stability: pd.DataFrame, separation: pd.DataFrame, styles: pd.DataFrame
) -> Markdown:
    """考察 about the vectors, computed from the tables."""
    middle = middle_layers(int(stability["layer"].max()))
    raw = separation[(separation["variant"] == "raw") & (separation["position"] == "mean")]
    codes = stability_codes(stability, _validated_layers(raw))
    lines = [*_cosine_lines(cosines, middle), *_stability_lines(codes)]
    inner = styles[styles["layer"].between(*middle)]
    if len(inner):
        agreement = inner.groupby("emotion", sort=False)["cosine"].mean()
        listed = "、".join(f"{emotion_name(e)} {number(v)}" for e, v in agreement.items())
        lines.append(
            f"- 明示表現の文だけ・暗示表現の文だけから作ったベクトルの中間層でのコサインは {listed}。"
            "感情語の有無に依らない成分がどれだけあるかの目安である（両者の標本誤差だけでも 1 より小さくなる）。"
        )
    lines.append(_separation_line(separation_codes(raw)))
    return Markdown("\n".join(lines))


def _cosine_lines(cosines: pd.DataFrame, middle: tuple[int, int]) -> list[str]:
    """How alike the vectors are in the middle layers, and whether a few dimensions make it so."""
    found = cosine_finding(cosines, middle)
    if found.code == "unknown":
        return ["- 比べる感情の組がないため、感情ベクトルどうしのコサインからは何も言えない。"]
    listed = "、".join(f"{VIEWS[key]} {number(value)}" for key, value in found.means.items())
    apart = "・".join(VIEWS[key] for key in found.apart)
    lines = [
        f"- 中間の層（{found.first}–{found.last}）での感情ベクトル間コサインの平均は、{listed} である。"
        + (
            f"生の値と{apart}後の値の差が大きく、生の値だけで感情どうしの近さを読むことはできない。"
            if found.code == "few_dimensions"
            else "生・標準化・除去は近く、少数の次元が値を作っているわけではない。"
        )
    ]
    if found.closer:
        lines.append(
            f"- 標準化しても感情どうしのコサインは {number(found.means['standardised'])} である。どのベクトルも同じ中立の平均を引くため、"
            f"ラベルの平均が互いに等距離でもコサインは {EQUIDISTANT:g} になる。それを上回る分だけ、感情の平均どうしは中立よりも互いに近い。"
            "この共通の成分が感情一般か、中立文の書き方かは区別できない。Phase 5 では、他の感情のベクトルとの差を主張の条件とする。"
        )
    return lines


def _stability_lines(codes: pd.DataFrame) -> list[str]:
    """Split-half cosines at the chosen layers, beside shuffled labels; emotions of which the same is true together."""
    lines = []
    for code, part in codes.groupby("code", sort=False):
        if code == "unknown":
            lines.append(f"- {emotion_names(part['emotion'])}: 分割半の安定性は計算できないため、判定しない。")
            continue
        listed = "、".join(_stability(row) for row in part.to_dict("records"))
        lines.append(f"- 分割半の安定性は、{listed}で、{STABLE[code]}。")
    return lines


def _stability(row: dict) -> str:
    how = "検証で選んだ" if row["by_validation"] else "最大となる"
    found = with_interval(row["mean"], row["low"], row["high"])
    text = f"{emotion_name(row['emotion'])} {found}（{how}層 {int(row['layer'])}、シャッフルの 97.5 % 点 {number(row['shuffled_high'])}"
    text += f"、基準を満たすのは {int(row['n_known'])} 層中 {int(row['n_met'])} 層"
    failed = row["failed"]
    return text + (f"、満たさないのは層 {', '.join(map(str, failed))}）" if 0 < len(failed) <= MOST_NAMED else "）")


def _separation_line(raw: pd.DataFrame) -> str:
    """Whether the plain vectors at the mean tell test texts apart, and what that does not mean."""
    if (raw["code"] == "unknown").all():
        return "- 生のベクトルへの射影のテスト AUC は計算できないため、判定しない。"
    passed = raw[raw["code"] == "above"]
    return (
        f"- 生のベクトルへの射影だけで、{emotion_names(passed['emotion'])}のテスト文を対照の 97.5 % 点より良く分ける。"
        if len(passed)
        else "- 生のベクトルへの射影は、どの感情のテスト文も対照の 97.5 % 点より良く分けない。"
    ) + "分けられることは、モデルがその方向を使うことを意味しない。因果は Phase 5 で問う。"


# what can be read out


def discussion_decoding(
    chosen: pd.DataFrame, n_test: int, information: pd.DataFrame, k_table: pd.DataFrame, projections: pd.DataFrame
) -> Markdown:
    """考察 about what can be read out and the hypotheses, computed."""
    lines = [*_probe_lines(chosen, n_test), _beyond_words_line(information), f"- 部分空間: {_subspaces(k_table)}"]
    if mixed := emotion_names(_mixed(projections)):
        lines.append(f"- 射影と得点: {mixed}{UNSPECIFIC}")
    else:
        lines.append(
            "- 射影と得点: どの射影も、他の感情の確率との相関が当該感情より大きいことはない（差の検定はしていない）。"
        )
    lines.append(
        "- プローブの AUC は読み出せることを示すだけで、モデルがその方向を使うことは示さない。因果は Phase 5 で問う。"
    )
    return Markdown("\n".join(lines))


def _probe_lines(chosen: pd.DataFrame, n_test: int) -> list[str]:
    said = {"above": "上回る", "not_above": "上回らない"}
    lines = []
    for code, part in probe_codes(chosen).groupby("code", sort=False):
        if code == "unknown":
            lines.append(f"- {emotion_names(part['emotion'])}: プローブのテスト AUC を計算できないため、判定しない。")
            continue
        listed = "、".join(
            f"{emotion_name(r['emotion'])} {number(r['test_auc'])}（層 {r['layer']}、シャッフルの最大 {number(r['shuffled_max'])}）"
            for r in part.to_dict("records")
        )
        lines.append(
            f"- 検証で選んだ層のプローブのテスト AUC（{n_test} シナリオ）がシャッフルの最大を{said[code]}: {listed}。"
        )
    return lines


def _beyond_words(information: pd.DataFrame) -> str:
    """Which emotions meet the bar of knowing more than the words, over all texts and in implicit ones."""
    words = information_codes(information)
    parts = []
    for style, where in (("all", "全体"), ("implicit", "暗示表現の文")):
        rows = words[(words["style"] == style) & (words["code"] != "unknown")]
        if len(rows):
            met = emotion_names(rows.loc[rows["code"] == "more", "emotion"])
            parts.append(f"{where}では" + (f"{met}が基準を満たす" if met else "どの感情でも差を検出できない"))
    return "、".join(parts)


def _beyond_words_line(information: pd.DataFrame) -> str:
    found = _beyond_words(information)
    if not found:
        return "- 語を超える情報: 計算できないため、判定しない。"
    words = information_codes(information)
    implicit = words[(words["style"] == "implicit") & (words["code"] != "unknown")]
    text = f"- 語を超える情報: {found}。{_not_above_shuffles(information)}"
    if len(implicit) and not (implicit["code"] == "more").any():
        text += (
            "「暗示表現の文では bag of words より多くを知っている」という仮説は支持されない（否定されたのでもない）。"
        )
    return text


def _subspaces(k_table: pd.DataFrame) -> str:
    coded = subspace_codes(k_table)
    found = coded[coded["code"] != "no_subspace"]
    if found.empty:
        return "ラベルに固有の部分空間は確かめられない。"
    names = "・".join(f"{emotion_name(r['emotion'])}（k = {r['k']}）" for r in found.to_dict("records"))
    text = f"ラベルに固有の部分空間は、{names}で基準を満たす。"
    if (found["k"] == 1).all():
        each = "どれも" if len(found) > 1 else ""
        text += f"{each}一つの方向であり、二つ目以降の方向がラベルに固有だという証拠はない。"
    return text


def _mixed(projections: pd.DataFrame) -> list[str]:
    """Emotions whose projection follows another emotion's score as much as its own."""
    found = projection_codes(projections)
    return found.loc[found["mixed"].astype(bool), "emotion"].tolist()
