"""Phase 7's 次のアクション, computed from the claims and from what was read."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name
from emolib.base.parameters import StatisticsParameters
from emolib.report.ja.names import named
from emolib.report.ja.phase7_conclusion import claim_name
from emolib.report.ja.phase7_words import listed
from emolib.statistics.power import required_scenarios
from emolib.steering.findings import NOT_SUPPORTED, POWER
from emolib.steering.text_claims import FEWEST_SCENARIOS, LEVEL
from emolib.study.phase7_claims.claim_sources import Source


def next_actions(claims: pd.DataFrame, sources: Sequence[Source], params: StatisticsParameters) -> Markdown:
    """次のアクション, computed."""
    reasons, lines = set(claims["reason"]), []
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
    failed = claims[claims["verdict"] == NOT_SUPPORTED]
    if len(failed):
        names = listed(map(claim_name, failed.to_dict("records")))
        lines.append(f"- 不支持の主張（{names}）は、別の指標や採点器でも同じかを確かめる。")
    lines += _source_lines(sources)
    return Markdown("\n".join(lines or ["- すべての主張が支持された。別のデータで再現するかを確かめる。"]))


def _source_lines(sources: Sequence[Source]) -> list[str]:
    """Which phases are missing or have to be run again."""
    read = {
        phase: {s.model for s in sources if s.phase == phase and s.state != "other"} for phase in ("phase3", "phase5")
    }
    every = sorted(set().union(*read.values()))
    lines, without = [], [model for model in every if model not in read["phase5"]]
    if without:
        lines.append(f"- {named(without)} では Phase 5 を走らせ、操作についての主張を判定する。")
    if len(every) == 1:
        lines.append("- 一つのモデルの結果である。他のモデルで Phase 5 まで走らせ、この表に加える。")
    old = [f"{Name(source.model)} の Phase {source.phase[-1]}" for source in sources if source.state != "current"]
    if old:
        lines.append(f"- {'、'.join(old)} は記録が今の成果物と合わない。走らせ直す。")
    return lines
