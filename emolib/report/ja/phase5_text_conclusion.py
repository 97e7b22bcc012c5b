"""What Phase 5's generated texts come to: secondary beside the continuation shift, alone where S cannot be measured."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.frame import three_lines
from emolib.report.ja.names import FAMILIES, UNIT_NAMES, emotion_name, emotion_names, metric_name
from emolib.report.ja.phase5_other_style import TEXTS
from emolib.report.ja.phase5_words import REASONS, metric_names, per_verdict, share, sized
from emolib.report.markup import number
from emolib.steering.findings import (
    SUPPORTED,
    UNDERPOWERED,
    emotions_with,
    scorer_dependence,
    stock_phrase,
)
from emolib.study.phase5_steering import Outcome


def sentence_texts(outcome: Outcome) -> Markdown:
    """The generated texts alone, in three lines."""
    return three_lines(
        found=text_found(outcome), rests_on=text_hangs_on(outcome), not_measured=text_unmeasured(outcome)
    )


def text_found(outcome: Outcome) -> str:
    claims = outcome.claims
    points = "、".join(
        f"{name + ': ' if name else ''}層 {point.layer}・α = {point.alpha:g}" for name, point in outcome.points.items()
    )
    where = f"{points}、α の単位は「{UNIT_NAMES[outcome.params.unit]}」、テスト {int(claims['n'].max())} シナリオ"
    text = f"生成したテキストの総合判定が{per_verdict(outcome.verdicts)}である（{where}）。"
    supported = claims[claims["verdict"] == SUPPORTED]
    if supported.empty:
        return text + "二つの条件をともに満たした指標はない。"
    listed = "、".join(
        f"{metric_name(row['metric'])} {sized(row['metric'], row['own_effect'])}"
        for row in supported.to_dict("records")
    )
    return text + f"条件を満たした指標の、パッチなしからの変化は、{listed}である。"


def text_hangs_on(outcome: Outcome) -> str:
    """What the verdicts would be otherwise by; of what is not supported only that it hangs on broken texts."""
    claims = outcome.claims
    parts = _on_broken(claims)
    held = emotions_with(outcome.verdicts, SUPPORTED)
    if (claims["verdict"] == SUPPORTED).any():
        parts += _on_few(claims) + _on_scorers(outcome) + _on_phrases(outcome, held) + _on_style(outcome, held)
        if not parts:
            return "破綻の数え方、少数のプロンプト、分類器の種類、定型句、ベクトルを作った文の表現のいずれにも、条件を満たすことは依らない。"
    elif not parts:
        return "条件を満たした指標がなく、破綻の数え方を変えても判定は変わらない。"
    return "。".join(parts) + "。"


def _on_broken(claims: pd.DataFrame) -> list[str]:
    rows = claims[claims["hangs_on_broken"].astype(bool)]
    return [f"破綻したテキストを 0 とするかどうかで判定が変わるのは{metric_names(rows['metric'])}"] if len(rows) else []


def _on_few(claims: pd.DataFrame) -> list[str]:
    rows = claims[claims["few_scenarios_move"].astype(bool)]
    return (
        [f"{metric_names(rows['metric'])}は、変化の中央値がほぼ 0 で、半数以下のプロンプトに依る"] if len(rows) else []
    )


def _on_scorers(outcome: Outcome) -> list[str]:
    parts = []
    for row in scorer_dependence(outcome.scorers).to_dict("records"):
        if row["verdict"] == SUPPORTED and row["differs"]:
            models = "・".join(FAMILIES[family] for family in row["differs"])
            parts.append(f"{emotion_name(row['emotion'])}の確率は、分類器を{models}だけにすると条件を満たさない")
    return parts


def _on_phrases(outcome: Outcome, held: list[str]) -> list[str]:
    phrases = outcome.phrases
    rows = phrases[stock_phrase(phrases) & phrases["emotion"].isin(held)]
    if rows.empty:
        return []
    listed = "・".join(f"{emotion_name(row.emotion)} {share(row.own_share)}" for row in rows.itertuples())
    return [f"成功したテキスト（当該感情の語を含み、破綻していないもの）の多くが一つの定型句を含む（{listed}）"]


def _on_style(outcome: Outcome, held: list[str]) -> list[str]:
    if outcome.other_style is None or not held:
        return []
    met = outcome.other_style.groupby("emotion", sort=False)["supported"].all()
    name = TEXTS["explicit" if outcome.params.vector_style == "implicit" else "implicit"]
    lost = [emotion for emotion in held if not met[emotion]]
    return [f"{name}から作ったベクトルでは{emotion_names(lost)}の条件が満たされない"] if lost else []


def text_unmeasured(outcome: Outcome) -> str:
    claims = outcome.claims
    parts = []
    rows = claims[claims["verdict"] == UNDERPOWERED]
    for reason, part in rows.groupby("reason", sort=False):
        which = "どの指標も" if len(part) == len(claims) else f"{metric_names(part['metric'])}は"
        parts.append(f"{which}検出力不足である（{REASONS[str(reason)]}）")
    broken = outcome.broken_findings
    if len(over := [str(emotion) for emotion in broken.index[~broken["within"].astype(bool)]]):
        parts.append(
            f"{emotion_names(over)}では破綻が許容幅を超えて増え、効かないことと、破綻して数えられないことを分けられない"
        )
    d = number(float(claims["detectable_d"].max()))
    if d != "—":
        parts.append(f"d_z（差の平均 / 差の標準偏差）が {d} に満たない効果の有無は、このシナリオ数では分からない")
    parts.append("ここで数えるのは語と分類器の確率であり、書き手が感情を表しているかどうかは測っていない")
    return "。".join(parts) + "。"
