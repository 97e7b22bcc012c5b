"""Phase 5's primary measure in words: every verdict, what it hangs on, and what is not said without instruments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from phase5_rows import clean, outcome_of, shift_of

from emolib.report.ja import phase5_shift as told
from emolib.report.ja import phase5_shift_doses as dosed
from emolib.report.ja.phase5_conclusion import conclusion
from emolib.report.ja.phase5_discussion import discussion
from emolib.report.ja.phase5_next import next_actions
from emolib.report.ja.phase5_shift_words import REASONS, VERDICTS, shift_verdict
from emolib.steering.claims import SHIFT_VERDICTS

SUPPORT = "「支持」"


def everything(outcome: Any) -> str:
    shown = [told.table_shift_claims(outcome), told.table_shift_effects(outcome), dosed.table_shift_doses(outcome)]
    return "\n".join(clean(one) for one in [*shown, conclusion(outcome), discussion(outcome), next_actions(outcome)])


def test_every_verdict_has_its_word() -> None:
    assert set(VERDICTS) == set(SHIFT_VERDICTS)


def test_without_judged_instruments_nothing_is_called_supported() -> None:
    outcome = outcome_of(shift=shift_of())
    first, rests, unmeasured = clean(conclusion(outcome)).splitlines()
    assert "計器が判定できないため「支持」は述べず" in first and "感謝・怒り・謝罪で数値は条件を満たす" in first
    assert "暗示表現の文（感情についての主張）では" in first and "明示表現の文（感情の語についての主張）では" in first
    assert "層 14・α = 0.3" in first and "nat/トークン" in first
    assert "S（未補正）は感謝・怒り" in rests and "プラセボ）は、この設計では判定できない" in unmeasured
    assert "計器の判定なし（探索: 数値は条件を満たす）" in clean(told.table_shift_claims(outcome))
    text = everything(outcome).replace("「支持」は述べず", "").replace("「支持」も「不支持」も述べず", "")
    assert SUPPORT not in text and "**支持" not in text and "| 支持" not in text
    judged = everything(outcome_of(shift=shift_of(judged=True)))
    assert "「支持」（探索）" in judged and "計器の判定なし" not in judged, "control"


def test_few_directions_are_exploration_and_enough_of_them_are_not() -> None:
    few, many = (outcome_of(shift=shift_of(judged=True, n_controls=count)) for count in (59, 199))
    assert "各群 59 本であり（主張には 199 本以上）" in clean(conclusion(few)) and "支持（探索）" in everything(few)
    assert "探索である" not in clean(conclusion(many)) and "支持（探索）" not in everything(many)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"failed": "raw"}, "測定不能"),
        ({"n_texts": 6}, "この設計では条件に届きえない"),
        ({"n_controls": 5}, "この設計では条件に届きえない"),
        ({"size": 0.0}, "数値は条件を満たさない"),
    ],
)
def test_what_is_open_is_called_so(given: dict[str, Any], says: str) -> None:
    text = everything(outcome_of(shift=shift_of(**{"judged": "failed" in given, **given})))
    assert says in text and "数値は条件を満たす）" not in text


def test_an_effect_that_another_emotion_s_act_may_owe_is_told() -> None:
    text = clean(discussion(outcome_of(shift=shift_of(idle="anger"))))
    assert "暗示表現の怒りでは、S は 0 より大きいが、自ベクトル対比は 0 より大きいと言えない" in text
    assert "自ベクトル対比は 0 より大きいと言えない" not in clean(discussion(outcome_of(shift=shift_of())))


def test_effects_hold_every_pair_its_ranks_and_the_mean() -> None:
    shift = shift_of()
    rows = told.effect_rows(shift.conditions, shift.ranks, "implicit")
    assert rows.index.tolist()[:3] == [("感謝", "怒り"), ("感謝", "謝罪"), ("感謝", "（平均）")]
    assert (
        rows.loc[("感謝", "怒り"), "順位 p（等方）"] == "0.017" and "±" in rows.loc[("感謝", "怒り"), "自ベクトル対比"]
    )
    assert rows.loc[("感謝", "（平均）"), "順位 p（等方）"] == "—"


def test_idiomatic_texts_are_shown_and_nothing_is_claimed_of_them() -> None:
    outcome = outcome_of(shift=shift_of(styles=("implicit", "idiomatic")))
    assert "定型句を含む暗示表現（" in clean(told.table_shift_effects(outcome))
    assert "定型句" not in clean(told.table_shift_claims(outcome))
    assert "定型句を含む暗示表現の文からは何も主張しない" in clean(conclusion(outcome))


def test_doses_stand_beside_their_kl_and_strength_zero_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = outcome_of(shift=shift_of())
    text = clean(dosed.table_shift_doses(outcome))
    assert "α を強めるほど増える" in text and "逆向きでは" in text and "（0.30）" in text
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(dosed, "show", lambda run, fig, name: drawn.update({name: fig}))
    dosed.figure_shift_doses(None, outcome)
    assert list(drawn) == ["shift_dose", "shift_dose_kl"]
    assert 0.0 in set(np.concatenate([np.asarray(trace.x, dtype=float) for trace in drawn["shift_dose"].data]))
    dosed.figure_shift_doses(None, outcome_of())
    assert len(drawn) == 2


def test_where_s_cannot_be_measured_the_texts_are_read_and_it_is_said_why() -> None:
    for why in ("one_emotion", "few_scenarios"):
        outcome = outcome_of(unmeasurable=why)
        text = clean(conclusion(outcome))
        assert "生成したテキストで選び" in text and "総合判定が「条件を満たす」のは感謝" in text
        assert "|" not in clean(told.table_shift_effects(outcome))


def test_every_reason_is_worded() -> None:
    row = {"verdict": "instruments_missing", "by_numbers": "underpowered", "exploratory": True}
    for reason in REASONS:
        assert shift_verdict({**row, "by_numbers_reason": reason})
    assert pd.Series(list(REASONS.values())).is_unique
