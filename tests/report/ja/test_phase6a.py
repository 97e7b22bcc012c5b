"""Phase 6a's sentences follow from the verdicts and the roads."""

from __future__ import annotations

import pandas as pd
import pytest

from emolib.circuits.head_verdicts import HEAD_REASONS, HEAD_VERDICTS, VERDICT_COLUMNS
from emolib.report.ja import phase6a as say
from emolib.report.ja.phase6a_words import REASONS, VERDICTS

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
MISSED = pd.DataFrame(
    {"layer": [3, 5], "head": 0, "estimate": 0.0, "upper": [0.01, 0.034], "confidence": 0.95, "n_sets": 48}
)
JOINT = pd.DataFrame(
    {"heads": ["top"], "k": 4, "joint": -0.5, "total": -0.2, "interaction": -0.3, "se": 0.05, "share": 0.6}
)


def verdicts(code: str, reason: str) -> pd.DataFrame:
    row = dict.fromkeys(VERDICT_COLUMNS, 0.01) | {"layer": 3, "head": 1, "emotion": "anger", "n_scenarios": 8}
    row |= {"carried": 0.2, "low": 0.1, "high": 0.3, "part": 0.4, "weakest_label": "apology"}
    return pd.DataFrame([row | {"verdict": code, "reason": reason}])


def test_every_code_has_its_words() -> None:
    assert set(VERDICTS) == set(HEAD_VERDICTS) and set(REASONS) == set(HEAD_REASONS)


@pytest.mark.parametrize("code", HEAD_VERDICTS)
def test_the_conclusion_says_the_verdict_and_no_other(code: str) -> None:
    table = verdicts(code, "all_hold" if code == "supported" else "no_effect")
    told = say.conclusion(table, SCORES, AGREEMENT).data
    assert f"**{VERDICTS[code]}**" in told and "3:1" in told and "+0.40" in told
    first = told.splitlines()[0]
    assert not any(f"**{word}**" in first for other, word in VERDICTS.items() if other != code)
    found = say.discussion(AGREEMENT, MISSED, JOINT, table).data
    assert ("支持されたヘッドはない" in found) == (code != "supported")
    assert "0.034" in found and "−0.30" in found.replace("-", "−") and "60 %" in found
    listed = say.table_verdicts(table)
    assert listed["判定"].item() == VERDICTS[code] and listed["効果に対する割合"].item() == "40 %"


def test_a_joint_ablation_within_its_error_is_called_so() -> None:
    near = JOINT.assign(interaction=-0.05, se=0.05)
    table = verdicts("supported", "all_hold")
    assert "和と区別できない" in say.discussion(AGREEMENT, MISSED, near, table).data
    assert "互いに代わり" in say.discussion(AGREEMENT, MISSED, JOINT, table).data


def test_what_is_not_there_is_told() -> None:
    assert "4 未満" in say.table_halves(pd.DataFrame()).data
    assert "一つ" in say.table_joint(JOINT.head(0)).data
    assert "S は測れない" in say.table_steer(None, ((), ())).data
    assert "0.034" in say.table_missed(MISSED).data and "5:0" in say.table_missed(MISSED).data
