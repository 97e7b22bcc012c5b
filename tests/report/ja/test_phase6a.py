"""Phase 6a's sentences follow from the verdicts and the roads."""

from __future__ import annotations

import pandas as pd
import pytest

from emolib.circuits.attribution_bends import CAUSES as BEND_CAUSES
from emolib.circuits.head_verdicts import HEAD_REASONS, HEAD_VERDICTS, VERDICT_COLUMNS
from emolib.report.ja import phase6a as say
from emolib.report.ja.phase6a_words import CAUSES, REASONS, VERDICTS
from emolib.report.ja.phase6a_words import JOINT as JOINT_WORDS

SCORES = pd.DataFrame(
    {
        **{"layer": [3, 5], "head": [1, 2], "emotion": "all", "metric": "context/resample"},
        **{"delta_mean": [-0.12, 0.01], "delta_std": [0.05, 0.02], "n_samples": 8, "t": [-6.8, 1.4]},
        **{"p": [0.008, 0.2], "p_max": [0.016, 0.9]},
    }
)
AGREEMENT = pd.DataFrame(
    {
        **{"estimate": "atp", "first": [0, 0, 3], "last": [5, 2, 5], "n": [12, 6, 6]},
        **{"correlation": [0.4, -0.3, 0.9], "size": [30.0, 140.0, 1.1], "same_sign": [0.6, 0.3, 0.9]},
    }
)
BENDS = pd.DataFrame(
    {
        **{
            "kind": "zero",
            "layer": [0, 0, 4],
            "head": [0, 1, 0],
            "exact": [0.01, -0.01, 0.02],
            "first_order": [0.9, -0.9, 0.022],
        },
        **{"start": [0.8, -0.8, 0.021], "half": [0.1, -0.1, 0.02], "block_linear": [0.5, -0.5, 0.02]},
        **{"behind_linear": [0.011, -0.011, 0.02], "scale_frozen": [0.4, -0.4, 0.02], "moved": [0.7, 0.9, 0.01]},
    }
)
MISSED = pd.DataFrame(
    {"layer": [3, 5], "head": 0, "estimate": 0.0, "upper": [0.01, 0.034], "confidence": 0.95, "n_sets": 48}
)
JOINT = pd.DataFrame(
    {
        **{"heads": ["top"], "k": 4, "n": 8, "base": 0.8, "base_p": 0.01, "joint": -0.5, "total": -0.2},
        **{"interaction": -0.3, "low": -0.4, "high": -0.2, "share": 0.6, "code": "more"},
    }
)


def verdicts(code: str, reason: str) -> pd.DataFrame:
    row = dict.fromkeys(VERDICT_COLUMNS, 0.01) | {"layer": 3, "head": 1, "emotion": "anger", "n_scenarios": 8}
    row |= {"carried": 0.2, "low": 0.1, "high": 0.3, "part": 0.4, "weakest_label": "apology", "control": 2}
    return pd.DataFrame([row | {"verdict": code, "reason": reason}])


def test_every_code_has_its_words() -> None:
    assert set(CAUSES) == set(BEND_CAUSES)
    assert set(VERDICTS) == set(HEAD_VERDICTS) and set(REASONS) == set(HEAD_REASONS)


@pytest.mark.parametrize("code", HEAD_VERDICTS)
def test_the_conclusion_says_the_verdict_and_no_other(code: str) -> None:
    table = verdicts(code, "all_hold" if code == "supported" else "no_effect")
    told = say.conclusion(table, SCORES, AGREEMENT).data
    assert f"**{VERDICTS[code]}**" in told and "3:1" in told and "+0.40" in told
    first = told.splitlines()[0]
    assert not any(f"**{word}**" in first for other, word in VERDICTS.items() if other != code)
    found = say.discussion(AGREEMENT, BENDS, MISSED, JOINT, table).data
    assert ("支持されたヘッドはない" in found) == (code != "supported")
    assert "0.034" in found and "−0.30" in found.replace("-", "−") and "60 %" in found
    (row,) = say.table_verdicts(table).data.splitlines()[2:]
    assert f"| {VERDICTS[code]} |" in row and ("40 %" in row) == (code != "not_measurable")


def test_heads_that_grow_the_effect_are_not_counted_among_those_that_carry_it() -> None:
    table, grown = verdicts("supported", "all_hold"), SCORES.assign(delta_mean=[0.12, 0.01])
    assert "減るものが 1 個、増えるものが 0 個" in say.conclusion(table, SCORES, AGREEMENT).data
    assert "減るものが 0 個、増えるものが 1 個" in say.conclusion(table, grown, AGREEMENT).data


def test_a_joint_ablation_is_called_what_its_code_says() -> None:
    table = verdicts("supported", "all_hold")
    told = {
        code: say.discussion(AGREEMENT, BENDS, MISSED, JOINT.assign(code=code), table).data
        for code in ("more", "less", "open", "not_measurable")
    }
    for code, word in JOINT_WORDS.items():
        assert [other for other, text in told.items() if word in text] == [code]
    gone = JOINT.assign(share=float("nan"), code="not_measurable")
    assert "%" not in next(
        line for line in say.discussion(AGREEMENT, BENDS, MISSED, gone, table).data.splitlines() if "同時" in line
    )
    assert "測定不能" in say.table_joint(gone).data and "60 %" in say.table_joint(JOINT).data


def test_where_first_order_errs_is_told_from_the_sizes_alone() -> None:
    told = say.discussion(AGREEMENT, BENDS, MISSED, JOINT, verdicts("supported", "all_hold")).data
    (first,) = [line for line in told.splitlines() if "層 0 の AtP" in line]
    assert "90.00 倍" in first and CAUSES["scale"] in first and "80 %" in first
    (fourth,) = [line for line in told.splitlines() if "層 4 の AtP" in line]
    assert "1.10 倍" in fourth and not any(word in fourth for word in CAUSES.values())
    other = BENDS.assign(scale_frozen=BENDS["exact"])
    assert CAUSES["block"] in say.table_bends(other).data and CAUSES["scale"] not in say.table_bends(other).data


def test_selection_and_controls_are_told_beside_what_atp_says() -> None:
    atp = pd.DataFrame({"layer": [3, 5], "head": [1, 2], "emotion": "all", "carried": [0.1, 0.4], "se": 0.1})
    rows = say.table_selection(SCORES, atp, (((3, 1),), ((5, 2),))).data.splitlines()[2:]
    assert (
        "| 3:1 | 選択 | -0.120 | -6.80 | 8 | -0.100 | 2 / 2 |" in rows[0] and "対照" in rows[1] and "1 / 2" in rows[1]
    )
    beside = pd.DataFrame(
        {
            **{"layer": [3], "head": 1, "control": 4, "norm": 2.0, "control_norm": 1.8, "n_scenarios": 8},
            **{"carried": 0.3, "control_carried": 0.1, "difference": 0.2, "low": 0.1, "high": 0.3, "p": 0.008},
        }
    )
    assert "| 3:1 | 3:4 | 0.90 | +0.300 | +0.100 | +0.200 [+0.100, +0.300] | 0.008 |" in say.table_controls(beside).data
    assert "対照はない" in say.table_controls(beside.head(0)).data


def test_metrics_that_no_head_changes_are_not_listed() -> None:
    named = {"layer": 3, "head": 1, "role": "top", "n_samples": 4}
    changes = {"goemotions/joy": (0.0, 0.0), "goemotions/fear": (0.0, 0.1), "goemotions/anger": (0.1, 0.1)}
    table = pd.DataFrame(
        [{**named, "metric": name, "delta_mean": mean, "delta_std": sd} for name, (mean, sd) in changes.items()]
    )
    (row,) = say.table_text_changes(table).data.splitlines()[2:]
    assert "anger" in row and "joy" not in row and "fear" not in row and row.count("—") == 2


def test_what_is_not_there_is_told() -> None:
    assert "4 未満" in say.table_halves(pd.DataFrame()).data
    assert "一つ" in say.table_joint(JOINT.head(0)).data
    assert "S は測れない" in say.table_steer(None, ((), ())).data
    assert "0.034" in say.table_missed(MISSED).data and "5:0" in say.table_missed(MISSED).data
