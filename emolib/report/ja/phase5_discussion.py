"""Phase 5's 考察 and 次のアクション, computed from the run's outcome."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name
from emolib.report.ja.names import FAMILIES, emotion_name, emotion_names, metric_name
from emolib.report.ja.phase5_choice import rule
from emolib.report.ja.phase5_other_style import other_style_lines
from emolib.report.ja.phase5_shift_discussion import shift_lines
from emolib.report.ja.phase5_texts import quoted
from emolib.report.ja.phase5_words import (
    NO_INTERVAL,
    OTHERS,
    VERDICTS,
    metric_names,
    share,
    sized,
    verdict_word,
)
from emolib.report.markup import number
from emolib.steering.candidates import silent_measures
from emolib.steering.comparisons import DIRECT_SHARE, broken_shares, decimals
from emolib.steering.findings import (
    ALONE,
    POWER,
    SUPPORTED,
    scorer_dependence,
    stock_phrase,
    unfiltered,
)
from emolib.steering.robustness import PHRASE
from emolib.study.phase5_steering import Outcome


def discussion(outcome: Outcome) -> Markdown:
    """考察, computed: first what the continuation shift says, then the generated texts, which are secondary."""
    params, claims = outcome.params, outcome.claims
    lines = ["**継続シフト**", "", *shift_lines(outcome), "", "**生成したテキスト（二次的）**", ""]
    for emotion, part in claims.groupby("emotion", sort=False):
        lines.append(f"- **{emotion_name(str(emotion))}: {VERDICTS[outcome.verdicts[emotion]]}**。")
        lines += [f"    - {claim_sentence(row)}" for row in part.to_dict("records")]
    lines += [_power_line(claims)]
    lines += [f"- {line}" for line in other_style_lines(outcome.other_style, claims, vector_style=params.vector_style)]
    lines += unfiltered_lines(outcome)
    lines += _choice_lines(outcome)
    lines.append(broken_sentence(outcome))
    lines += scorer_lines(outcome.scorers)
    lines += phrase_lines(outcome.phrases)
    lines += label_lines(outcome.other_labels)
    lines.append(_no_emotion_line(outcome))
    lines.append(direct_sentence(outcome))
    return Markdown("\n".join(lines))


def claim_sentence(row: dict) -> str:
    """One emotion and measure: the effect, both conditions, and what the mean leaves out."""
    metric = row["metric"]
    low, high = (number(row[key], decimals(metric), signed=True) for key in ("ci_low", "ci_high"))
    interval = NO_INTERVAL if row["degenerate"] else f"95 % BCa 区間 {low} 〜 {high}"
    text = (
        f"{metric_name(metric)}: {verdict_word(row)}。変化は平均 {sized(metric, row['own_effect'])}"
        f"（プロンプトの中央値 {sized(metric, row['median'])}）、{OTHERS}は {sized(metric, row['vs_others'])}（{interval}）。"
        f"対照方向の最大は {sized(metric, row['random_max'])}、最も厳しい対照群の片側順位 p は {row['rank_p']:.4f}"
        f"（基準 {row['bar']:.4f} 以下）。"
        f"値が下がったプロンプトは {share(row['wrong_way'])}（破綻もそのまま数えると {share(row['wrong_way_unfiltered'])}）。"
    )
    if not pd.isna(row["share"]):
        text += (
            f"当該感情の語を含む、破綻していないテキストは {share(row['share'])}"
            f"（パッチなし {share(row['share_baseline'])}、対照方向の最大 {share(row['share_control'])}）。"
        )
    if row["few_scenarios_move"]:
        text += "中央値がほぼ 0 なので、平均の変化は半数以下のプロンプトによる。"
    return text


def _power_line(claims: pd.DataFrame) -> str:
    row = claims.iloc[0]
    return (
        f"- 対照方向は三種類の対照群に各 {row['n_controls']} 本である。テスト {row['n']} シナリオの対応のある両側 t 検定（5 %）で"
        f"検出力 {POWER:g} となる最小の効果は d_z ≈ {number(row['detectable_d'])} である。"
        "すべての指標に二つの条件を同時に求める本判定の検出力はこれより低く、小さい効果は見逃しうる。"
    )


# broken texts


def unfiltered_lines(outcome: Outcome) -> list[str]:
    """Where a verdict hangs on counting broken texts as 0, and where it does not."""
    lines, kept = [], []
    for row in outcome.claims.to_dict("records"):
        raw = {**row, **unfiltered(row)}
        if row["hangs_on_broken"]:
            lines.append(_hanging_line(row, raw))
        elif row["verdict"] == SUPPORTED:
            kept.append(row["metric"])
    before, after = outcome.verdicts, outcome.unfiltered_verdicts
    for emotion in before.index[before != after]:
        lines.append(
            f"- 破綻したテキストもそのまま数えると、{emotion_name(str(emotion))}の総合判定は「{VERDICTS[after[emotion]]}」になる。"
        )
    if kept:
        lines.append(f"- 破綻したテキストをそのまま数えても、{metric_names(kept)}はすべての条件を満たす。")
    return lines


def _hanging_line(row: dict, raw: dict) -> str:
    words = [VERDICTS[row[key]] for key in ("verdict", "unfiltered_verdict")]
    text = (
        f"- {metric_name(row['metric'])}の判定は破綻の数え方に依る。破綻したテキストを 0 とすれば「{words[0]}」、"
        f"そのまま数えれば「{words[1]}」である（そのまま数えた値は {_conditions(raw)}）。"
    )
    if row["one_scenario"]:
        text += f"ただし、その差の合計の {share(row['unfiltered_largest'])} は一つのプロンプトによる。"
    return text


def _conditions(row: dict) -> str:
    digits = decimals(row["metric"])
    mean, low, high = (number(row[key], digits) for key in ("vs_others", "ci_low", "ci_high"))
    interval = NO_INTERVAL if row["degenerate"] else f"[{low}, {high}]"
    return f"{OTHERS} {mean} {interval}、順位 p = {row['rank_p']:.4f}"


def broken_sentence(outcome: Outcome) -> str:
    """The shares on test beside the unpatched texts there; the ceiling of the choice was another, on validation."""
    found = outcome.broken_findings
    listed = "、".join(f"{emotion_name(str(emotion))} {share(row['share'])}" for emotion, row in found.iterrows())
    first = found.iloc[0]
    text = f"- テストでの破綻率は、パッチなしの {share(first['baseline'])} に対して、{listed} である。"
    limit = f"テストのパッチなし + {100 * outcome.params.broken_margin:.0f} ポイント（{share(first['limit'])}）"
    over = [str(emotion) for emotion in found.index[~found["within"].astype(bool)]]
    if not over:
        return text + f"いずれも{limit}に収まる。"
    return text + (
        f"{emotion_names(over)}は{limit}を超える。"
        "破綻したテキストは成功に数えていないが、これらの感情の操作は読める文を保ちにくい。"
    )


# the choice


def _choice_lines(outcome: Outcome) -> list[str]:
    """Which measures hardly differ among the candidates, and what the rule on broken texts allowed."""
    lines = []
    if silent := silent_measures(outcome.points):
        end = "ほとんど差がない" if outcome.shift is not None else "ほとんど差がなく、動作点は他の指標で決まった"
        lines.append(f"- {metric_names(silent)}は検証のどの候補でも{end}。")
    for row in outcome.ceilings.to_dict("records"):
        start = f"- {row['part']}: " if row["part"] else "- "
        lines.append(
            f"{start}検証でのパッチなしの破綻率は {share(row['baseline'])}、候補の上限は {share(row['ceiling'])} だった。{rule(row)}"
        )
    return lines


# the scorers, stock phrases, labels


def scorer_lines(scorers: pd.DataFrame) -> list[str]:
    """Where one GoEmotions model alone gives another verdict than the measure, and where their sizes differ much."""
    lines, agreed = [], []
    for row in scorer_dependence(scorers).to_dict("records"):
        name = f"{emotion_name(row['emotion'])}の確率"
        if row["differs"]:
            alone = "、".join(
                f"{FAMILIES[family]}だけでは「{VERDICTS[row[f'{family}_verdict']]}」" for family in row["differs"]
            )
            lines.append(
                f"- {name}は、結合した値で「{VERDICTS[row['verdict']]}」だが、{alone}である。判定は分類器の選び方に依る。"
            )
        elif row["verdict"] == SUPPORTED:
            agreed.append(name)
        if row["rests_on"] in ALONE:
            sizes = "、".join(f"{FAMILIES[family]} {number(row[f'{family}_own'], signed=True)}" for family in ALONE)
            lines.append(f"- {name}の変化は、{sizes}であり、この指標の値は{FAMILIES[row['rests_on']]}に大きく依る。")
    if agreed:
        lines.append(f"- {'・'.join(agreed)}は、二つの分類器のどちらだけで測っても条件を満たす。")
    return lines


def phrase_lines(phrases: pd.DataFrame) -> list[str]:
    """How much of an emotion's texts, and of what counts as its success, is one phrase."""
    told = phrases[phrases["phrase"] != ""].to_dict("records")
    if not told:
        return []
    listed = "、".join(
        f"{emotion_name(row['emotion'])}{quoted(row['phrase'])} {share(row['share'])}"
        f"（パッチなし {share(row['baseline'])}、{_of_successes(row)}）"
        for row in told
    )
    base = told[0]
    lines = [
        f"- 最も多い {PHRASE} 語の並びと、それを含むテキストの割合は、{listed}である。"
        f"パッチなしのテキストで最も多い並びは{quoted(base['baseline_phrase'])} {share(base['baseline_share'])}である。"
    ]
    stock = [str(emotion) for emotion in phrases.loc[stock_phrase(phrases), "emotion"]]
    if stock:
        lines.append(
            f"- {emotion_names(stock)}では、成功したテキスト（当該感情の語を含み、破綻していないもの）の半数以上が同じ並びを含む。"
            "定型句を引き出したことと感情を操作したことは、ここの指標では区別できない。"
        )
    return lines


def _of_successes(row: dict) -> str:
    """What share of the texts that count as a success holds the phrase."""
    if not row["n_own"]:
        return "成功したテキストなし"
    return f"成功した {row['n_own']} テキスト中 {share(row['own_share'])}"


def label_lines(found: pd.DataFrame) -> list[str]:
    """Vectors under which a label that is not their own rises most.

    Args:
        found: see `emolib.steering.comparisons.other_labels`.
    """
    listed = "、".join(
        f"{emotion_name(row['emotion'])}ベクトル（{Name(row['label'])} {number(row['change'], signed=True)}、"
        f"当該感情の {Name(row['own_label'])} は {number(row['own_change'], signed=True)}）"
        for row in found.to_dict("records")
    )
    return [f"- 最も増えたラベルが当該感情のものでないのは、{listed}である。"] if listed else []


def _no_emotion_line(outcome: Outcome) -> str:
    parts = []
    for metric, by_chance in outcome.by_chance.items():
        changes = outcome.specificity[metric]
        listed = "、".join(f"{emotion_name(str(e))} {number(v, signed=True)}" for e, v in changes.items())
        parts.append(
            f"{metric_name(metric)}の変化は、{listed}（等方的なランダム方向の平均 {number(by_chance, signed=True)}）"
        )
    return f"- {'、'.join(parts)}である。感情価と丁寧さの動きだけでは感情を特定できないため、判定には用いない。"


# the direct path


def direct_sentence(outcome: Outcome) -> str:
    """What the direct path does beside the vector, which is another vector than that of the chosen layer."""
    shares = broken_shares(outcome.broken, "direct_path")
    broken = "、".join(f"{emotion_name(str(emotion))} {share(value)}" for emotion, value in shares.items())
    return (
        f"- 直接経路（最終残差である層 {outcome.n_layers} に、その層の感情ベクトルを同じ α で加える。選んだ層のものとは別のベクトルである）"
        f"での変化は付録「破綻したテキストの数え方」の表に示す（破綻率は、{broken}）。"
        + _direct_size(outcome.claims[outcome.claims["verdict"] == SUPPORTED])
        + _direct_ahead(outcome.claims.to_dict("records"))
    )


def _direct_size(supported: pd.DataFrame) -> str:
    if supported.empty:
        return "条件を満たす指標がないため、効果の経路は論じない。"
    note = f"選んだ層での変化の 1/{DIRECT_SHARE}（便宜上の目安であり、検定ではない）"
    large = supported[supported["direct_large"].astype(bool)]
    if len(large):
        return f"{metric_names(large['metric'])}では{note}以上であり、直接経路の寄与を無視できない。"
    return (
        f"条件を満たす指標では、いずれも{note}に満たない。このベクトルが語彙のロジットを直接押し上げる効果は小さいが、"
        "層が異なればベクトルも異なるため、選んだ層のベクトルについての経路の割合は分からない。"
    )


def _direct_ahead(rows: list[dict]) -> str:
    """Rows in which the direct path does more than the vector, broken texts as they are or as 0."""
    ways = {
        "direct_ahead": ("破綻もそのまま", "direct_path", "own_effect_unfiltered"),
        "direct_ahead_counted": ("破綻を 0 として", "direct_path_counted", "own_effect"),
    }
    listed = []
    for row in rows:
        for code, (way, direct, own) in ways.items():
            if row[code]:
                sizes = " 対 ".join(sized(row["metric"], row[key]) for key in (direct, own))
                listed.append(f"{metric_name(row['metric'])}（{way} {sizes}）")
    return f"直接経路の方が大きいのは{'、'.join(listed)}である。" if listed else "直接経路の方が大きい指標はない。"
