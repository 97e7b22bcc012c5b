"""Claims of the continuation shift, on planted tables with a known truth."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from further_rows import further_of

from emolib.base.errors import UserError
from emolib.steering.claims import (
    IDIOMATIC,
    INSTRUMENTS_MISSING,
    MEASURES,
    NOT_MEASURABLE,
    claimed_measures,
    mean_contrasts,
    shift_claims,
    shift_conditions,
    shift_ranks,
)
from emolib.steering.findings import NOT_SUPPORTED, SUPPORTED, UNDERPOWERED
from emolib.steering.further_conditions import FURTHER
from emolib.steering.shift_tables import crossed_cells, shift_rows
from emolib.steering.specific_shift import crossed_mean

EMOTIONS = ("gratitude", "anger", "apology")
FAMILIES = ("isotropic", "covariance", "shuffled")
N = 24
Effects = Mapping[tuple[str, str], float]  # (style, measure) → S


def planted(
    effects: Effects,
    seed: int = 0,
    *,
    n: int = N,
    sd: tuple[float, float, float] = (0.1, 0.05, 0.2),
    emotions: Sequence[str] = EMOTIONS,
) -> pd.DataFrame:
    """S of every pair, style and measure: its effect, and crossed random effects of texts, prompts and cells, of which
    one half is common to the measures."""
    generator = np.random.default_rng(seed)
    cells = crossed_cells([f"p{i}" for i in range(24)], [f"t{i}" for i in range(n)])
    codes = [pd.factorize(cells[name])[0] for name in ("text", "prompt")] + [np.arange(len(cells))]

    def noise() -> np.ndarray:
        levels = (size * generator.standard_normal(len(cells)) for size in sd)
        return sum(values[code] for values, code in zip(levels, codes, strict=True))

    found = []
    for one, other in itertools.combinations(emotions, 2):
        for style in dict.fromkeys(style for style, _ in effects):
            common = noise()
            for measure in (measure for known, measure in effects if known == style):
                values = effects[style, measure] + (common + noise()) / np.sqrt(2)
                for pair in ((one, other), (other, one)):  # S is the same number in both orders
                    named = {"emotion": pair[0], "other": pair[1], "style": style, "measure": measure}
                    found.append(cells.assign(specific=values, **named))
    return pd.concat(found, ignore_index=True)


def ranks(style: str = "implicit", *, own: float = 1.0, n_controls: int = 59, seed: int = 0) -> pd.DataFrame:
    """Every emotion's own text contrast against every other, beside those of three families around 0."""
    generator, rows = np.random.default_rng(seed), []
    for emotion, other in itertools.permutations(EMOTIONS, 2):
        pair = {"style": style, "emotion": emotion, "other": other}
        rows.append({**pair, "kind": "emotion", "index": 0, "contrast": own})
        for family in FAMILIES:
            values = 0.1 * generator.standard_normal(n_controls)
            rows += [{**pair, "kind": family, "index": i, "contrast": value} for i, value in enumerate(values)]
    return shift_ranks(pd.DataFrame(rows))


def judged(passed: bool = True, *, but: tuple[str, str, str] | None = None) -> pd.DataFrame:
    """Instruments of every measure, style and emotion; one of them failed."""
    keys = itertools.product(MEASURES, ("explicit", "implicit"), EMOTIONS)
    rows = [{"measure": m, "style": s, "emotion": e, "instrument": "gold", "passed": passed} for m, s, e in keys]
    table = pd.DataFrame(rows)
    if but is not None:
        failed = (table[["measure", "style", "emotion"]] == list(but)).all(axis=1)
        table = pd.concat([table, table[failed].assign(instrument="placebo", passed=False)])
    return table


def implicit(*values: float) -> Effects:
    return {("implicit", measure): value for measure, value in zip(MEASURES, values, strict=True)}


def claimed(effects: Effects, seed: int = 0, **given: Any) -> pd.DataFrame:
    beside = pd.concat([ranks(style, seed=seed) for style in dict.fromkeys(style for style, _ in effects)])
    settings = {"instruments": judged(), "further": further_of(), **given}
    return shift_claims(shift_conditions(planted(effects, seed)), settings.pop("ranks", beside), **settings)


# conditions and ranks


def test_conditions_are_the_crossed_means_with_a_one_sided_test() -> None:
    cells = planted(implicit(0.2, 0.1, 0.0, 0.0))
    found = shift_conditions(cells).set_index(["emotion", "other", "measure"])
    assert len(found) == 6 * 4 and (found["df"] == N - 1).all()
    key = ("anger", "apology", "adjusted")
    mine = cells[(cells["emotion"] == key[0]) & (cells["other"] == key[1]) & (cells["measure"] == key[2])]
    wanted = crossed_mean(mine)
    assert found.loc[key, "mean"] == wanted["mean"] and found.loc[key, "se"] == wanted["se"]
    assert found.loc[key, "low"] < found.loc[key, "mean"] < found.loc[key, "high"]
    turned = shift_conditions(cells.assign(specific=-cells["specific"])).set_index(["emotion", "other", "measure"])
    np.testing.assert_allclose(found["p"] + turned["p"], 1)


def test_a_constant_difference_is_evidence_and_strength_zero_is_none() -> None:
    cells = planted(implicit(0.0, 0.0, 0.0, 0.0), sd=(0.0, 0.0, 0.0))
    constant = shift_conditions(cells.assign(specific=0.3))
    assert (constant["p"] == 0.5**N).all()
    assert (shift_conditions(cells.assign(specific=-0.3))["p"] == 1).all()
    nothing = shift_conditions(cells)
    assert (nothing[["mean", "se", "low", "high"]] == 0).all(axis=None) and (nothing["p"] == 1).all()


def test_a_style_with_one_text_says_nothing() -> None:
    cells = planted(implicit(0.2, 0.2, 0.2, 0.2))
    single = cells[cells["text"] == "t0"].assign(style="explicit")
    assert set(shift_conditions(pd.concat([cells, single]))["style"]) == {"implicit"}


def shifts(own: float) -> pd.DataFrame:
    """A table of shifts with an act per emotion after four prompts per text, and directions and zero after one."""
    cells = crossed_cells([f"p{i}" for i in range(12)], [f"t{i}" for i in range(12)])
    texts = [{"scenario": f"t{i}", "label": label, "style": "implicit"} for i in range(12) for label in EMOTIONS]
    acts = [{"act": e, "kind": "emotion", "owner": e, "index": 0} for e in EMOTIONS]
    drawn = [{"act": f"{f} {i}", "kind": f, "owner": "any", "index": i} for f in FAMILIES for i in range(4)]
    drawn.append({"act": "zero", "kind": "zero", "owner": EMOTIONS[0], "index": 0})
    parts = []
    for some, which in ((acts, cells), (drawn, cells.iloc[::4])):
        table = pd.DataFrame(some).assign(layer=3, alpha=1.0)
        parts.append(shift_rows(which, pd.DataFrame(texts), table).merge(table, on=["act", "layer", "alpha"]))
    rows = pd.concat(parts, ignore_index=True)
    noise = np.random.default_rng(0).normal(0, 0.01, len(rows))
    return rows.assign(shift=own * (rows["act"] == rows["label"]) + noise * (rows["kind"] != "zero"))


def test_contrasts_stand_beside_those_of_directions_in_the_same_cells() -> None:
    table = shifts(0.5)
    elsewhere = table["prompt"].isin(set(table["prompt"])) & (table["kind"] == "emotion")
    held = table.loc[table["kind"] == "isotropic", ["prompt", "text"]].drop_duplicates()
    outside = elsewhere & ~pd.MultiIndex.from_frame(table[["prompt", "text"]]).isin(pd.MultiIndex.from_frame(held))
    found = mean_contrasts(table, EMOTIONS)
    spoiled = mean_contrasts(table.assign(shift=table["shift"] + 9 * outside * (table["label"] == "anger")), EMOTIONS)
    pd.testing.assert_frame_equal(found, spoiled)
    assert outside.any() and set(found["kind"]) == {"emotion", *FAMILIES} and (found["n_texts"] == 12).all()
    sizes = found.groupby(["emotion", "other", "kind"]).size().unstack("kind")
    assert (sizes["emotion"] == 1).all() and (sizes[list(FAMILIES)] == 4).all(axis=None)
    beside = shift_ranks(found)
    assert (beside["rank_p"] == 1 / 5).all() and (beside["n_controls"] == 4).all()
    assert (shift_ranks(mean_contrasts(shifts(-0.5), EMOTIONS))["rank_p"] == 1).all(), "control"


def test_a_direction_of_one_emotions_norm_stands_for_that_emotion_alone() -> None:
    table = shifts(0.5)
    mine = table[(table["kind"] != "isotropic") | (table["index"] > 0)]
    named = mine.assign(owner=mine["owner"].mask(mine["kind"] == "isotropic", "anger"))
    counts = mean_contrasts(named, EMOTIONS).groupby(["emotion", "kind"]).size()
    assert counts["anger", "isotropic"] == 2 * 3 and ("apology", "isotropic") not in counts


# verdicts


def test_what_is_above_zero_in_every_condition_and_beyond_the_controls_is_supported() -> None:
    found = claimed(implicit(0.3, 0.3, 0.3, 0.3))
    assert len(found) == 3 and set(found["verdict"]) == {SUPPORTED} and (found["p_holm"] < 0.01).all()
    assert (found["rank_p"] == 1 / 60).all()


@pytest.mark.parametrize("failing", range(4))
def test_on_implicit_texts_every_measure_is_needed(failing: int) -> None:
    values = [0.3] * 4
    values[failing] = -0.3
    found = claimed(implicit(*values))
    assert set(found["verdict"]) == {UNDERPOWERED} and set(found["weakest_measure"]) == {MEASURES[failing]}


def test_on_explicit_texts_the_emotions_words_are_enough() -> None:
    words = {("explicit", measure): 0.0 if measure == "contextual" else 0.3 for measure in MEASURES}
    found = claimed({**words, **implicit(0.3, 0.3, 0.0, 0.3)})
    by_style = found.groupby("style")["verdict"].agg(set)
    assert by_style["explicit"] == {SUPPORTED} and SUPPORTED not in by_style["implicit"]
    assert claimed_measures("implicit") == MEASURES


def test_one_label_that_it_is_not_specific_against_is_enough_to_refuse() -> None:
    cells = planted(implicit(0.3, 0.3, 0.3, 0.3))
    pair = {"gratitude", "anger"}
    same = cells["emotion"].isin(pair) & cells["other"].isin(pair)
    found = shift_claims(
        shift_conditions(cells.assign(specific=cells["specific"] - 0.3 * same)),
        ranks(),
        instruments=judged(),
        further=further_of(),
    ).set_index("emotion")["verdict"]
    assert found["apology"] == SUPPORTED and found["gratitude"] == found["anger"] == UNDERPOWERED


def test_controls_that_reach_the_contrast_refuse_it() -> None:
    reached = claimed(implicit(0.3, 0.3, 0.3, 0.3), ranks=ranks(own=0.02))
    assert set(reached["verdict"]) == {UNDERPOWERED} and set(reached["reason"]) == {"controls_reach_it"}
    few = claimed(implicit(0.3, 0.3, 0.3, 0.3), ranks=ranks(n_controls=20))
    assert set(few["reason"]) == {"few_controls"}
    without = claimed(implicit(0.3, 0.3, 0.3, 0.3), ranks=ranks().iloc[:0])
    assert set(without["verdict"]) == {UNDERPOWERED} and set(without["reason"]) == {"few_controls"}


def test_without_instruments_nothing_is_said_of_the_emotion() -> None:
    found = claimed(implicit(0.3, 0.3, 0.3, 0.3), instruments=None)
    assert set(found["verdict"]) == {INSTRUMENTS_MISSING} and set(found["reason"]) == {"not_judged"}
    assert set(found["by_numbers"]) == {SUPPORTED} and found["exploratory"].all(), "what the numbers say stands beside"
    unjudged = judged().query("measure != 'contextual'")
    assert set(claimed(implicit(0.3, 0.3, 0.3, 0.3), instruments=unjudged)["verdict"]) == {INSTRUMENTS_MISSING}


def test_an_act_to_which_s_is_not_owed_is_refused() -> None:
    """S of two emotions is one number: an act that does nothing shares it, and its own contrast alone tells."""
    cells = planted(implicit(0.3, 0.3, 0.3, 0.3))
    idle = (cells["emotion"] == "anger") & (cells["measure"] == "own")
    conditions = shift_conditions(cells.assign(specific=cells["specific"] - 0.3 * idle))
    for style in ("implicit", "explicit"):
        beside = ranks(style)
        given = {"instruments": judged(), "further": further_of()}
        found = shift_claims(conditions.assign(style=style), beside, **given).set_index("emotion")
        assert found["verdict"].to_dict() == {"gratitude": SUPPORTED, "anger": UNDERPOWERED, "apology": SUPPORTED}
        assert found.loc["anger", ["weakest_measure", "reason"]].tolist() == ["own", "not_above_zero"]


def test_few_directions_make_whatever_is_found_exploration() -> None:
    for count, exploratory in ((59, True), (198, True), (199, False)):
        found = claimed(implicit(0.3, 0.3, 0.3, 0.3), ranks=ranks(n_controls=count))
        assert set(found["verdict"]) == {SUPPORTED} and set(found["exploratory"]) == {exploratory}


@pytest.mark.parametrize(
    ("word", "verdict"),
    [("not_measurable", NOT_MEASURABLE), ("underpowered", UNDERPOWERED), ("not_judged", INSTRUMENTS_MISSING)],
)
def test_an_instrument_that_leaves_it_open_is_not_one_that_failed(word: str, verdict: str) -> None:
    table = judged().assign(verdict="admitted")
    one = (table["measure"] == "raw") & (table["style"] == "implicit") & (table["emotion"] == "anger")
    table = table.assign(passed=~one, verdict=table["verdict"].mask(one, word))
    found = claimed(implicit(0.3, 0.3, 0.3, 0.3), instruments=table).set_index("emotion")["verdict"]
    assert found["anger"] == verdict and found["apology"] == SUPPORTED


def test_an_instrument_that_failed_makes_its_emotion_and_style_not_measurable() -> None:
    failed = judged(but=("adjusted", "implicit", "anger"))
    found = claimed(implicit(0.3, 0.3, 0.3, 0.3), instruments=failed).set_index("emotion")["verdict"]
    assert found["anger"] == NOT_MEASURABLE and found["apology"] == SUPPORTED
    elsewhere = judged(but=("adjusted", "explicit", "anger"))
    assert set(claimed(implicit(0.3, 0.3, 0.3, 0.3), instruments=elsewhere)["verdict"]) == {SUPPORTED}
    of_words = {("explicit", measure): 0.3 for measure in MEASURES}
    not_needed = judged(but=("contextual", "explicit", "anger"))
    assert set(claimed(of_words, instruments=not_needed)["verdict"]) == {SUPPORTED}


def gold(estimate: float) -> pd.DataFrame:
    keys = itertools.product(("explicit", "implicit"), EMOTIONS)
    return pd.DataFrame([{"style": style, "emotion": emotion, "estimate": estimate} for style, emotion in keys])


def test_not_supported_is_said_only_well_below_gold() -> None:
    nothing = implicit(0.0, 0.0, 0.0, 0.0)
    far, near = (claimed(nothing, gold=gold(estimate)) for estimate in (2.0, 0.05))
    assert set(far["verdict"]) == {NOT_SUPPORTED} and set(far["reason"]) == {"below_gold"}
    assert set(near["verdict"]) == {UNDERPOWERED}
    assert set(claimed(nothing)["verdict"]) == {UNDERPOWERED} and claimed(nothing)["share_of_gold"].isna().all()
    assert set(claimed(nothing, gold=gold(-1.0))["verdict"]) == {UNDERPOWERED}, "gold without an effect refutes nothing"


def test_gold_may_be_told_apart_by_label_and_measure() -> None:
    whole = [
        {"style": "implicit", "emotion": e, "other": o, "measure": m, "estimate": 0.05 if m == "raw" else 1.0}
        for e, o in itertools.permutations(EMOTIONS, 2)
        for m in MEASURES
    ]
    found = claimed(implicit(0.0, 0.3, 0.3, 0.3), gold=pd.DataFrame(whole))
    assert set(found["verdict"]) == {UNDERPOWERED}
    swapped = pd.DataFrame(whole).assign(estimate=lambda table: 1.05 - table["estimate"])
    assert set(claimed(implicit(0.0, 0.3, 0.3, 0.3), gold=swapped)["verdict"]) == {NOT_SUPPORTED}


def test_few_texts_and_idiomatic_ones_support_nothing() -> None:
    few = planted(implicit(0.3, 0.3, 0.3, 0.3), n=6)
    found = shift_claims(shift_conditions(few), ranks(), instruments=judged())
    assert set(found["reason"]) == {"few_scenarios"}
    phrases = shift_conditions(planted(implicit(0.3, 0.3, 0.3, 0.3)).assign(style=IDIOMATIC))
    assert len(phrases) == 24 and shift_claims(phrases, ranks(IDIOMATIC), instruments=judged()).empty


def test_a_claim_without_one_of_its_measures_is_refused() -> None:
    with pytest.raises(UserError, match="contextual S of 'gratitude'"):
        claimed({("implicit", "raw"): 0.3, ("implicit", "adjusted"): 0.3})
    with pytest.raises(UserError, match="raw, adjusted, contextual, own"):
        shift_conditions(planted({("implicit", "plain"): 0.3}))


# what is needed beside the own labels and directions of the same norm


def reasons(**further: Any) -> set[str]:
    found = claimed(implicit(0.3, 0.3, 0.3, 0.3), further=further_of(**further))
    assert set(found["verdict"]) == {UNDERPOWERED if set(found["reason"]) != {"bar_reached"} else SUPPORTED}
    return set(found["reason"])


def test_each_further_condition_can_refuse_a_claim_alone() -> None:
    assert reasons() == {"bar_reached"}
    assert reasons(like=0.0) == {"not_above_zero"}
    assert reasons(concept=0.3) == {"concepts_reach_it"} and reasons(concept=0.29) == {"bar_reached"}
    assert reasons(kl=0.31) == {"equal_kl_reaches_it"} and reasons(kl=0.29) == {"bar_reached"}
    assert reasons(kl=0.31, n_kl=59) == {"equal_kl_reaches_it"}  # with so many the bar is that of equal norm
    found = claimed(implicit(0.3, 0.3, 0.3, 0.3), further=further_of(like=0.0))
    assert found["weakest_other"].isin(["joy", "admiration", "sadness", "fear", "embarrassment"]).all()


@pytest.mark.parametrize("part", FURTHER)
def test_a_condition_that_was_not_measured_is_named_and_leaves_nothing_supported(part: str) -> None:
    attribute = {"like_valent": "like_valent", "concepts": "concepts", "equal_kl": "equal_kl"}[part]
    found = claimed(implicit(0.3, 0.3, 0.3, 0.3), further=further_of(**{attribute: None}))
    assert set(found["missing"]) == {part} and set(found["reason"]) == {"conditions_missing"}
    assert set(claimed(implicit(0.3, 0.3, 0.3, 0.3), further=None)["missing"]) == {",".join(FURTHER)}


def test_one_label_of_like_valence_without_one_measure_is_missing() -> None:
    whole = further_of().like_valent
    fewer = whole[(whole["other"] != "joy") | (whole["measure"] != "adjusted")]
    found = claimed(implicit(0.3, 0.3, 0.3, 0.3), further=further_of(like_valent=fewer)).set_index("emotion")
    assert found["missing"].to_dict() == {"gratitude": "like_valent", "anger": "", "apology": ""}
    assert found.loc["anger", "like_valent"] == "sadness,fear" and found.loc["gratitude", "like_valent"] == ""


def test_the_share_of_the_word_is_that_of_its_vector_alone() -> None:
    found = claimed(implicit(0.3, 0.3, 0.3, 0.3))
    assert found["lexical_share"].tolist() == pytest.approx([0.2] * 3) and (found["n_concepts"] == 3).all()
    assert found["nearest_concept"].str.startswith("lexical:").all()


# many draws


def share_claimed(effects: Effects, n_draws: int = 200) -> float:
    """The share of draws in which one of two emotions is claimed, all directions far below: S alone decides."""
    beside, given = ranks(), {"instruments": judged(), "further": further_of()}
    draws = (shift_conditions(planted(effects, seed, emotions=EMOTIONS[:2])) for seed in range(n_draws))
    found = (shift_claims(conditions, beside, **given) for conditions in draws)
    return float(np.mean([(table["verdict"] == SUPPORTED).any() for table in found]))


@pytest.mark.parametrize("effects", [implicit(0, 0, 0, 0), implicit(0.5, 0.5, 0, 0.5)], ids=["nothing", "words alone"])
def test_a_null_claims_nothing(effects: Effects) -> None:
    assert share_claimed(effects) <= 0.08


def test_what_is_there_is_claimed_as_often_as_its_size_lets_one_expect() -> None:
    assert share_claimed(implicit(0.15, 0.15, 0.15, 0.15), 40) >= 0.9


def test_other_models_claims_are_corrected_together_and_one_that_is_not_known_counts_as_one() -> None:
    alone = claimed(implicit(*[1.0] * len(MEASURES))).set_index("emotion")
    p = alone["p"]
    for beside in ([1.0, 1.0, 1.0], [0.0, 0.0, 0.0]):
        found = claimed(implicit(*[1.0] * len(MEASURES)), family={"implicit": beside}).set_index("emotion")
        assert (found["p"] == p).all()
        worst = 6 if beside[0] else 3
        assert found["p_holm"].min() == pytest.approx(min(1.0, worst * p.min()), rel=1e-6)
    assert alone["p_holm"].min() == pytest.approx(3 * p.min(), rel=1e-6)
    assert (
        claimed(implicit(*[1.0] * len(MEASURES)), family={"explicit": [1.0]})
        .set_index("emotion")["p_holm"]
        .equals(alone["p_holm"])
    )
