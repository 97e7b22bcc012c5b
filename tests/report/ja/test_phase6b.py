"""Phase 6b's report: what made-up tables are called, and that nothing is said of what was not measurable."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.base.parameters import resolve
from emolib.circuits.head_effects import ablation_effects, context_effects, contrast_of_sources, patch_effects
from emolib.circuits.head_patching import Trials
from emolib.report.ja import phase6b as say
from emolib.study.phase6b_head_patching import differences

N = 20


def trials(share: float, total: float = 1.0) -> Trials:
    """Two heads: 1:2 carries a share of the context's effect, 3:0 nothing."""
    rng = np.random.default_rng(0)
    base = pd.DataFrame({"text": [f"s{i}" for i in range(N)], "style": "explicit", "prompt": "p", "third": "c"})
    contexts, rows = [], []
    for emotion in ("gratitude", "anger"):
        effect = total + 0.2 * rng.standard_normal(N)
        contexts.append(base.assign(emotion=emotion, m_neutral=0.0, m_emotional=effect, effect=effect))
        for heads, carried in (("1:2", share), ("3:0", 0.0)):
            for mode in ("v_only", "pattern_v", "result"):
                for target, sign in (("neutral", 1), ("emotional", -1)):
                    for source, part in (("same", 1), ("same_emotion", 1), ("other_emotion", 0), ("neutral", 0)):
                        delta = sign * part * carried * effect + 0.05 * rng.standard_normal(N)
                        about = {"heads": heads, "mode": mode, "target": target, "source": source, "extent": "whole"}
                        rows.append(
                            base.assign(emotion=emotion, **about, m_unpatched=0.0, m_patched=delta, delta=delta)
                        )
    return Trials(pd.concat(contexts, ignore_index=True), pd.concat(rows, ignore_index=True))


def row_of(table: str, *cells: str) -> list[str]:
    """The cells of the one row that holds these."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    (row,) = {tuple(row) for row in rows if set(cells) <= set(row)}
    return list(row)


@pytest.fixture(scope="module")
def found() -> Trials:
    return trials(0.6)


def test_the_conclusion_names_the_heads_that_carry_and_those_that_do_not(found: Trials) -> None:
    context, effects = context_effects(found, n_resamples=200), patch_effects(found, n_resamples=200)
    text = say.conclusion(context, effects, pd.DataFrame()).data
    assert "感情 → 中立（出力の差し替え）で、1:2は**担う**、3:0は**担わない**" in text
    assert "操作の効果（S）は測れなかった" in text and "判定できなかったものはない" in text
    nothing = trials(0.6, total=0.0)
    context, effects = context_effects(nothing, n_resamples=200), patch_effects(nothing, n_resamples=200)
    text = say.conclusion(context, effects, pd.DataFrame()).data
    assert "1:2・3:0は**測定不能**" in text and "ヘッドの割合は測定不能" in text


def test_tables_say_shares_and_verdicts(found: Trials) -> None:
    effects = patch_effects(found, n_resamples=200)
    modes = say.table_modes(effects).data
    assert row_of(modes, "1:2", "感情 → 中立", "出力（result）")[-1] == "担う"
    assert row_of(modes, "3:0", "中立 → 感情", "値だけ（v_only）")[-1] == "担わない"
    assert row_of(say.table_sources(effects).data, "1:2", "感情 → 中立", "別のシナリオの同じ感情")
    named = say.table_heads(pd.DataFrame({"layer": [1, 3], "head": [2, 0], "origin": ["named", "ranked"]})).data
    assert row_of(named, "1", "2")[:3] == ["1", "1", "2"] and row_of(named, "3")[-1].startswith("Phase 6a")
    lost = say.table_ablations(ablation_effects(found, n_resamples=200)).data
    assert row_of(lost, "1:2", "再標本アブレーション（主）")[-1] == "担わない"
    contrast = contrast_of_sources(found, "same_emotion", "neutral", n_resamples=200)
    table = say.table_contrasts(contrast[contrast["target"] == "neutral"].assign(contrast="emotion")).data
    assert row_of(table, "1:2", "別のシナリオの感情 − 別のシナリオの中立")[-1] == "< 0.001"
    assert "測れない" in say.table_interactions(pd.DataFrame()).data
    assert "測れない" in say.table_ways(pd.DataFrame(), pd.DataFrame()).data


def test_metrics_stand_in_one_row_with_a_part_per_emotion() -> None:
    row = {"target": "neutral", "baseline": 0.1, "patched": 0.3, "difference": 0.2, "p_t": 0.04}
    table = pd.DataFrame([{**row, "metric": "politeness/score", "emotion": name} for name in ("anger", "gratitude")])
    told = say.table_metrics(table, "neutral").data.splitlines()
    assert told[0].count("Baseline") == 2 and told[2] == "| 丁寧さ |" + " 0.100 | 0.300 | +0.200 | 0.040 |" * 2
    assert len(say.table_metrics(table, "emotional").data.splitlines()) == 2


def test_the_primary_ablation_under_a_steer_is_named_and_told(found: Trials) -> None:
    table = pd.DataFrame(
        {
            **{"ablation": ["all resample", "all mean", "random resample", "3:5 resample"], "emotion": "anger", "n": 9},
            **{"s_with": 1.0, "s_low": 0.8, "s_high": 1.2, "s_left": 0.4, "mean": 0.6, "ci_low": 0.5, "ci_high": 0.7},
            **{"share": [0.6, 0.0, 0.0, 0.1], "share_low": [0.5, -0.1, -0.1, 0.0], "share_high": [0.7, 0.1, 0.1, 0.15]},
        }
    )
    told = say.table_mediation(table).data
    for name in ("すべて（再標本、主）", "すべて（平均）", "ランダムなヘッド（再標本、主）", "3:5（再標本、主）"):
        assert row_of(told, name)
    context, effects = context_effects(found, n_resamples=200), patch_effects(found, n_resamples=200)
    assert "怒りが担う" in say.conclusion(context, effects, table).data, "not what mean ablation says"


def test_differences_of_texts_are_marked_and_what_the_model_wrote_is_escaped() -> None:
    pairs = pd.DataFrame(
        {
            "target": ["neutral"],
            "emotion": ["anger"],
            "scenario": ["s"],
            "prompt": ["<i>p</i>"],
            "before": ["it is late"],
            "after": ["it was <script> late"],
            "likeness": [0.5],
        }
    )
    text = say.texts(pairs, differences, "neutral").data
    assert "**" in text and "<script>" not in text and "<i>" not in text
    assert "1 件のうち 0 件" in say.sentence_likeness(pairs).data


def test_next_actions_follow_from_the_codes(found: Trials) -> None:
    context, effects = context_effects(found, n_resamples=200), patch_effects(found, n_resamples=200)
    params = resolve("quick", "smollm2_135m", "phase6b", {"heads": "1:2,3:0"})
    text = say.next_actions(context, effects, params).data
    assert "1:2が何を読んで" in text and "--head-spec top:5" in text
    assert "貪欲法" not in say.remarks(params, context).data
