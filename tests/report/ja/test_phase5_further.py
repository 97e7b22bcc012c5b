"""What Phase 5 prints of the further conditions and of perturbed vectors, computed from made-up outcomes."""

from __future__ import annotations

from dataclasses import replace

from further_rows import further_of
from phase5_rows import clean, outcome_of, shift_of

from emolib.report import phase5 as say
from emolib.report.ja.phase5_shift_words import concept_name


def test_like_valent_labels_concepts_and_equal_kl_are_told_in_words() -> None:
    shown = clean(say.table_further(outcome_of(shift=shift_of(judged=True))))
    for told in ("喜び", "悲しみ", "語（感謝）", "語の寄与", "20%", "届いた本数", "順位から除いた"):
        assert told in shown, told
    assert "を測って" not in shown and "がないため" not in shown
    claims = clean(say.table_shift_claims(outcome_of(shift=shift_of(judged=True))))
    assert "0（語（" in claims and "測っていない条件" in claims


def test_what_was_not_measured_is_named() -> None:
    bare = shift_of(judged=True, further=further_of(like_valent=None, equal_kl=None))
    shown = clean(say.table_further(outcome_of(shift=bare)))
    assert "感情価の近い感情に対する S・KL をそろえた対照がないため、数値にかかわらず「支持」としない" in shown
    assert "感情価の近い感情に対する S・KL をそろえた対照を測っていない" in clean(
        say.conclusion(outcome_of(shift=bare))
    )
    assert "感情のラベルが一つしかない" in clean(say.table_further(outcome_of()))


def test_what_survives_a_perturbation_is_a_share_and_undefined_without_an_effect() -> None:
    shift = shift_of(judged=True)
    shown = clean(say.table_survival(outcome_of(shift=shift)))
    assert "50%（40%〜60%）" in shown and "S に残る割合は 50%〜50% である" in shown
    without = shift.survival.assign(left=float("nan"))
    lost = clean(say.table_survival(outcome_of(shift=replace(shift, survival=without))))
    assert "残る割合は定義できない" in lost


def test_concepts_have_names() -> None:
    names = [str(concept_name(act)) for act in ("topic:work", "lexical:anger", "denied:apology")]
    assert names == ["話題 work", "語（怒り）", "否定（謝罪）"]
