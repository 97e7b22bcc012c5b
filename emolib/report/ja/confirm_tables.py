"""The confirmation's tables: the frozen choice, the sealed file, the claims and what they stand on."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name, code_span
from emolib.report.ja.confirm_words import OUTCOMES, WAYS, WHY_ASIDE, style_about
from emolib.report.ja.names import POSITION_NAMES, UNIT_NAMES, companion_name, emotion_name, metric_name, style_name
from emolib.report.ja.phase5_shift import claim_row, effect_rows
from emolib.report.ja.phase5_shift_words import MEASURES, text_style
from emolib.report.ja.phase5_words import OTHERS, OWN, share, together, verdict_word
from emolib.report.markup import markdown_table, number, p_value, with_interval
from emolib.study.confirmation import Confirmation

HASH = 12  # letters of a hash that a reader compares


def environment(confirmation: Confirmation) -> Markdown:
    """Whose choice is held against which texts."""
    study, sealed = confirmation.ready.study, confirmation.ready.sealed
    return Markdown(
        f"モデル {code_span(study.model)}、凍結した選択 {code_span(study.digest[:HASH])}、封のファイルの sha256 "
        f"{code_span(sealed.sha256)}、初めて開けた時刻 {confirmation.opened_at}。"
    )


def table_choice(confirmation: Confirmation) -> Markdown:
    """The frozen choice, with the hashes of what it stands on."""
    study = confirmation.ready.study
    choice, commit = study.choice, study.code.git_commit
    rows = [
        ["凍結した時刻（UTC）", Name(study.frozen_at)],
        ["プロファイル", code_span(study.profile)],
        ["層", choice.layer],
        ["α（単位）", f"{choice.alpha:g}（{UNIT_NAMES[choice.unit]}）"],
        ["単位の長さ（活性の単位）", number(choice.kl_length, 4)],
        ["窓・スケジュール", f"{choice.window}・{code_span(choice.schedule)}"],
        ["ベクトルの位置・表現", f"{POSITION_NAMES[choice.vector_position]}・{style_name(choice.vector_style)}"],
        ["主張の規則", code_span(study.rule.sha256[:HASH])],
        ["コード（コミット）", code_span(commit[:HASH]) if commit else "—"],
        ["ベクトル", code_span(study.vectors.sha256[:HASH])],
        ["計器", code_span(study.instruments[:HASH])],
        *[[f"データ {code_span(name)}", code_span(value[:HASH])] for name, value in study.data.items()],
    ]
    return Markdown(markdown_table(rows, ["項目", "値"]))


def table_sealed(confirmation: Confirmation) -> Markdown:
    """How many scenarios the file gives, and which were set aside before anything was read."""
    sealed = confirmation.ready.sealed
    counts = sealed.texts.drop_duplicates("scenario")["style"].value_counts()
    rows = [
        [f"{text_style(style)}のシナリオ（各 {sealed.texts['emotion'].nunique()} ラベル）", n]
        for style, n in counts.items()
    ]
    rows.append(["プロンプト（中立の文）", len(sealed.prompts)])
    for why, name in WHY_ASIDE.items():
        aside = sealed.set_aside.loc[sealed.set_aside["why"] == why, "scenario"].nunique()
        rows.append([f"除いた暗示表現のシナリオ: {name}", aside])
    rows.append(["残したが、同じラベルの訓練の文 1 件とだけ 3-gram を共有するシナリオ", sealed.n_shared_once])
    return Markdown(markdown_table(rows, ["内容", "数"]))


def table_claims(confirmation: Confirmation) -> Markdown:
    """The outcome per style and emotion with the condition that holds least."""
    rows = []
    for row in confirmation.outcome.claims.to_dict("records"):
        shown = claim_row(row)
        rows.append({**{key: shown.pop(key) for key in ("文", "感情")}, "結果": OUTCOMES[row["outcome"]], **shown})
    return together(pd.DataFrame(rows).set_index(["文", "感情"]))


def table_effects(confirmation: Confirmation) -> Markdown:
    """S of every emotion against every other by every measure, and its rank among the controls."""
    found = confirmation.outcome
    parts = []
    for style, part in found.conditions.groupby("style", sort=False):
        size = f"{int(part['n_texts'].max())} シナリオの文、プロンプト {int(part['n_prompts'].max())} 件"
        caption = f"{style_about(str(style))}（{size}、単位 nat/トークン）"
        parts.append((caption, effect_rows(found.conditions, found.ranks, str(style))))
    return together(*parts)


def table_like_valent(confirmation: Confirmation) -> pd.DataFrame:
    """S of every emotion against the labels of like valence, by every measure."""
    rows = []
    held = confirmation.outcome.like_valent
    for (style, emotion, other), part in held.groupby(["style", "emotion", "other"], sort=False):
        row = {"文": text_style(str(style)), "感情": emotion_name(str(emotion)), "相手": companion_name(str(other))}
        for one in part.to_dict("records"):
            row[MEASURES[one["measure"]]] = (
                f"{with_interval(one['mean'], one['low'], one['high'], digits=3, signed=True)}（p {p_value(one['p'])}）"
            )
        rows.append(row)
    return pd.DataFrame(rows).set_index(["文", "感情", "相手"])


def table_family(confirmation: Confirmation) -> pd.DataFrame:
    """Every claim that Holm's correction takes together, and its p before it."""
    family = confirmation.outcome.family
    shown = {
        "文": [text_style(style) for style in family["style"]],
        "モデル": [Name(model) for model in family["model"]],
        "感情": [emotion_name(emotion) for emotion in family["emotion"]],
        "補正前の片側 p": [
            p_value(p) if known else "1（未開封）" for p, known in zip(family["p"], family["known"], strict=True)
        ],
    }
    return pd.DataFrame(shown).set_index(["文", "モデル", "感情"])


def table_texts(confirmation: Confirmation) -> pd.DataFrame:
    """What the generated texts meet, greedy and sampled; a secondary measure."""
    rows = [
        {
            "生成": WAYS[row["way"]],
            "指標": metric_name(row["metric"]),
            "判定（二次的）": verdict_word(row),
            OWN: number(row["own_effect"], 3, signed=True),
            OTHERS: with_interval(row["vs_others"], row["ci_low"], row["ci_high"], digits=3, signed=True),
            "順位 p": p_value(row["rank_p"]),
            "破綻の割合（パッチなし）": f"{share(row['broken'])}（{share(row['broken_baseline'])}）",
            "プロンプト数": row["n"],
        }
        for row in confirmation.outcome.texts.to_dict("records")
    ]
    return pd.DataFrame(rows).set_index(["生成", "指標"])
