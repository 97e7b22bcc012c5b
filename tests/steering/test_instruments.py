"""The rule that judges instruments, on planted shifts: it sees what is specific, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted_shifts import OTHERS, OWN, design, noisy, own_texts
from scipy import stats

from emolib.base.errors import UserError
from emolib.steering.instruments import (
    COLUMNS,
    NEEDED,
    PAIR_COLUMNS,
    admission,
    effect,
    instrument_table,
    judged_pairs,
    passes,
    placebo_rows,
    share_bound,
)
from emolib.steering.own_shift import own_shift
from emolib.steering.shift_measures import measured_cells
from emolib.steering.shift_tables import crossed_cells
from emolib.steering.specific_shift import specific_shift

PAIRS = [(emotion, other) for emotion, others in OTHERS.items() for other in others]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return design()


def verdict(table: pd.DataFrame, instrument: str = "gold_a") -> pd.Series:
    """The whole rule on gratitude."""
    cells = measured_cells(table, pairs=PAIRS).assign(instrument=instrument)
    found = instrument_table(judged_pairs(cells))
    assert len(found) == 1 and found.columns.tolist() == COLUMNS
    return found.iloc[0]


def test_an_act_that_moves_its_own_texts_alone_passes(rows: pd.DataFrame) -> None:
    found = verdict(rows.assign(shift=noisy(rows, 0) + 0.15 * own_texts(rows)))
    assert found["passed"] and found["verdict"] == "passed"
    assert found["estimate"] == pytest.approx(0.3, abs=0.12) and found["p"] < 0.01 and found["n"] == 96


def test_nothing_passes_in_at_most_8_percent() -> None:
    rows, pairs = design(OWN, OWN), PAIRS[:2]
    single, whole = [], []
    for seed in range(200):
        cells = specific_shift(rows.assign(shift=noisy(rows, seed)), pairs=pairs)
        p = [effect(part)["p"] for _, part in cells.groupby("other")]
        single.append(p[0] <= 0.05)
        whole.append(max(p) <= 0.05)
    assert sum(whole) <= 9 and share_bound(sum(whole), 200) <= 0.08
    assert 2 <= sum(single) <= 16, "control: one pair alone passes about as often as its level says"


def test_what_every_act_does_to_every_text_does_not_pass(rows: pd.DataFrame) -> None:
    rarity = rows["text"].str.split().str[1].astype(int) * 0.01 + (rows["label"] == "gratitude") * 0.5
    strength = rows["act"].map({"gratitude": 2.0}).fillna(1.0)
    flattened = verdict(rows.assign(shift=rarity + noisy(rows, 1)))
    constant = verdict(rows.assign(shift=0.7 * strength))
    assert not flattened["passed"]
    assert not constant["passed"] and constant["p"] == 1.0 and constant["verdict"] == "failed"


def test_valence_shared_with_a_like_valent_label_does_not_pass(rows: pd.DataFrame) -> None:
    pleasant = rows["label"].isin(["gratitude", "joy", "admiration"]) & rows["act"].isin(
        ["gratitude", "joy", "admiration"]
    )
    table = rows.assign(shift=noisy(rows, 2) + 0.2 * pleasant)
    assert not verdict(table)["passed"]
    pairs = judged_pairs(measured_cells(table, pairs=PAIRS).assign(instrument="gold_a")).set_index("other")["verdict"]
    assert pairs["anger"] == pairs["apology"] == "passed", "control: the other emotions alone do not refuse it"
    assert "passed" not in (pairs["joy"], pairs["admiration"])


def test_an_act_that_moves_words_alone_passes_where_the_words_are() -> None:
    parts = {style: design(style=style) for style in ("explicit", "implicit")}
    table = pd.concat(
        part.assign(shift=noisy(part, 3) + 0.2 * own_texts(part) * (style == "explicit"))
        for style, part in parts.items()
    )
    cells = measured_cells(table, pairs=PAIRS).assign(instrument="gold_a")
    found = instrument_table(judged_pairs(cells)).set_index("style")["passed"]
    assert found["explicit"] and not found["implicit"]


def test_s_credits_an_act_that_does_nothing_with_what_the_others_do_and_the_own_contrast_does_not(
    rows: pd.DataFrame,
) -> None:
    others = own_texts(rows) * (rows["act"] != "gratitude")
    table = rows.assign(shift=noisy(rows, 4) + 0.3 * others)
    cells = measured_cells(table, pairs=PAIRS, own=True).assign(instrument="gold_a")
    found = instrument_table(judged_pairs(cells)).set_index("measure")["passed"]
    assert found["raw"], "S of two labels is one number, whichever act it is owed to"
    assert not found["own"]
    seen = rows.assign(shift=noisy(rows, 4) + 0.3 * own_texts(rows))
    own = judged_pairs(own_shift(seen, pairs=PAIRS).assign(measure="own", instrument="gold_a"))
    assert (own["verdict"] == "passed").all(), "control: an act that does something is seen"


def test_s_is_symmetric(rows: pd.DataFrame) -> None:
    table = rows.assign(shift=noisy(rows, 5))
    both = specific_shift(table, pairs=[("gratitude", "joy"), ("joy", "gratitude")])
    one, other = (part["specific"].to_numpy() for _, part in both.groupby("emotion", sort=False))
    np.testing.assert_allclose(one, other, atol=1e-12)
    assert np.abs(one).max() > 0.1


def test_contexts_that_cells_share_are_a_third_factor() -> None:
    cells = crossed_cells([f"p{i}" for i in range(24)], [f"t{i}" for i in range(24)])
    generator = np.random.default_rng(0)
    thirds = generator.permutation(np.arange(96) % 12)
    rejected = {"with": 0, "without": 0}
    for _ in range(300):
        values = generator.standard_normal(12)[thirds] + 0.5 * generator.standard_normal(96)
        table = cells.assign(specific=values)
        rejected["without"] += effect(table)["p"] <= 0.05
        rejected["with"] += effect(table.assign(third=thirds))["p"] <= 0.05
    assert rejected["with"] <= 24 < 40 <= rejected["without"]


def test_cells_that_are_left_out_leave_the_level_as_it_is() -> None:
    cells = crossed_cells([f"p{i}" for i in range(24)], [f"t{i}" for i in range(24)])[7:]
    generator, rejected = np.random.default_rng(1), 0
    codes = pd.factorize(cells["text"])[0]
    for _ in range(300):
        values = generator.standard_normal(24)[codes] + generator.standard_normal(len(cells))
        rejected += effect(cells.assign(specific=values))["p"] <= 0.05
    assert 4 <= rejected <= 26


def test_a_constant_difference_is_evidence_and_none_is_not() -> None:
    cells = pd.DataFrame({"text": [f"t{i}" for i in range(24)]})
    one, none, down, few = (
        effect(cells.assign(specific=values))
        for values in ([1.0] * 24, [0.0] * 24, [-1.0] * 24, [1.0, 1.0, 1.0, *[0.0] * 21])
    )
    assert one["p"] == pytest.approx(0.5**24) and np.isnan(one["t"])
    assert none["p"] == 1.0 and down["p"] == 1.0
    assert few["p"] == pytest.approx(0.125), "three scenarios that differ are no evidence, whatever t says"
    assert stats.ttest_1samp([1.0, 1.0, 1.0, *[0.0] * 21], 0, alternative="greater").pvalue < 0.05
    crossed = crossed_cells([f"p{i}" for i in range(8)], [f"t{i}" for i in range(8)]).assign(specific=0.5)
    assert effect(crossed)["p"] == pytest.approx(0.5**8)
    noise = np.where(np.arange(32) % 2, 1e-17, -1e-17)
    assert effect(crossed.assign(specific=noise))["p"] == 1.0, "rounding is no effect"


def test_paired_cells_give_the_paired_test() -> None:
    values = np.random.default_rng(0).standard_normal(20) + 0.3
    found = effect(pd.DataFrame({"text": range(20), "specific": values}))
    wanted = stats.ttest_1samp(values, 0, alternative="greater")
    assert found["t"] == pytest.approx(wanted.statistic) and found["p"] == pytest.approx(wanted.pvalue)
    assert found["df"] == 19 and found["upper"] == pytest.approx(values.mean() + stats.t.ppf(0.95, 19) * found["se"])


def made_pairs(verdicts: dict[str, dict[str, float]]) -> pd.DataFrame:
    """Pairs of gratitude against anger: per instrument the estimate in standard errors."""
    rows = []
    for instrument, told in verdicts.items():
        t, se = told["t"], told.get("se", 0.1)
        p = stats.t.sf(t, 23)
        row = {"measure": "raw", "style": "implicit", "emotion": "gratitude", "instrument": instrument, "stand_in": ""}
        row |= {"other": "anger", "n": 96, "n_texts": 24, "n_prompts": 24, "estimate": t * se, "sd": se * 24**0.5}
        row |= {"se": se, "t": t, "df": 23, "p": p, "upper": t * se + 1.7 * se}
        rows.append({**row, "verdict": "passed" if p <= 0.05 else "failed" if t < 0.1 else "underpowered"})
    return pd.DataFrame(rows, columns=PAIR_COLUMNS)


GOOD = {"gold_a": {"t": 5.0}, **{name: {"t": 0.0} for name in ("denied", "mention", "like_valent")}}


def made_placebos(n_passed: int, n: int = 200) -> pd.DataFrame:
    flags = [True] * n_passed + [False] * (n - n_passed)
    return pd.DataFrame({"measure": "raw", "style": "all", "instrument": "placebo_texts", "passed": flags})


@pytest.mark.parametrize(
    ("changed", "n_passed", "n", "wanted"),
    [
        ({}, 9, 200, ("admitted", "")),
        ({}, 10, 200, ("not_measurable", "placebos")),
        ({}, 0, 60, ("underpowered", "placebos")),
        ({}, 30, 60, ("not_measurable", "placebos")),
        ({"gold_a": {"t": 0.0}}, 0, 200, ("not_measurable", "gold_a")),
        ({"gold_a": {"t": 1.0}}, 0, 200, ("underpowered", "gold_a")),
        ({"denied": {"t": 3.0}}, 0, 200, ("not_measurable", "denied")),
        ({"like_valent": {"t": 3.0}}, 0, 200, ("not_measurable", "like_valent")),
        ({"mention": {"t": 1.0, "se": 0.5}}, 0, 200, ("underpowered", "mention")),
        ({"gold_b": {"t": 0.0}}, 0, 200, ("admitted", "")),
    ],
)
def test_a_measure_counts_only_where_every_instrument_says_so(
    changed: dict[str, dict[str, float]], n_passed: int, n: int, wanted: tuple[str, str]
) -> None:
    table = instrument_table(made_pairs({**GOOD, **changed}))
    found = admission(table, made_placebos(n_passed, n))
    assert found[["verdict", "instrument"]].values.tolist() == [list(wanted)]


def test_a_missing_instrument_is_told() -> None:
    for name in NEEDED:
        table = instrument_table(made_pairs({key: told for key, told in GOOD.items() if key != name}))
        assert admission(table, made_placebos(0))["instrument"].tolist() == [name]
    found = admission(instrument_table(made_pairs(GOOD)), made_placebos(0)[:0])
    assert found[["verdict", "instrument"]].values.tolist() == [["not_judged", "placebos"]]


def test_the_worst_pair_speaks_for_the_emotion() -> None:
    pairs = pd.concat([made_pairs({"gold_a": {"t": 5.0}}), made_pairs({"gold_a": {"t": 0.0}}).assign(other="joy")])
    found = instrument_table(pairs).iloc[0]
    assert not found["passed"] and found["other"] == "joy" and found["verdict"] == "failed"
    assert passes(pairs, ["emotion"])["passed"].tolist() == [False]
    assert passes(pairs[pairs["other"] == "anger"], ["emotion"])["passed"].tolist() == [True]


def test_labels_of_like_valence_have_a_gold_of_their_own() -> None:
    own, like = made_pairs(GOOD), made_pairs({"like_valent": {"t": 1.0}}).assign(other="joy")
    rest = own[own["instrument"] != "like_valent"]
    for t, wanted in ((5.0, "failed"), (1.0, "underpowered")):
        gold = made_pairs({"gold_like": {"t": t}}).assign(other="joy")
        table = instrument_table(pd.concat([rest, like, gold])).set_index("instrument")
        assert table["verdict"]["like_valent"] == wanted and table["gold"]["like_valent"] == pytest.approx(t * 0.1)
        assert admission(table.reset_index(), made_placebos(0))["instrument"].tolist() == (
            ["like_valent"] if wanted == "underpowered" else [""]
        )


def test_the_bound_of_a_share_is_clopper_and_pearsons() -> None:
    for n_passed, n in ((0, 36), (9, 200), (40, 200)):
        bound = share_bound(n_passed, n)
        assert stats.binom.cdf(n_passed, n, bound) == pytest.approx(0.05)
    assert share_bound(9, 200) <= 0.08 < share_bound(10, 200) and share_bound(3, 3) == 1.0
    row = placebo_rows(made_placebos(10)).iloc[0]
    assert row["n"] == 200 and row["estimate"] == 0.05 and row["passed"] and row["verdict"] == "passed"
    assert set(OWN) > {"gratitude"}


def test_bad_tables_are_told_in_one_line(rows: pd.DataFrame) -> None:
    cells = specific_shift(rows.assign(shift=0.0), pairs=PAIRS[:1])
    doubled = pd.DataFrame({"text": ["a", "a"], "specific": [0.0, 1.0]})
    cases: list[tuple[str, Callable[[], Any]]] = [
        ("there is no measure, instrument", lambda: judged_pairs(cells)),
        ("one row each", lambda: effect(doubled)),
        ("there is no specific", lambda: effect(cells.drop(columns="specific"))),
        ("expected instruments of placebo_texts", lambda: placebo_rows(made_placebos(0).assign(instrument="gold_a"))),
        ("expected columns", lambda: admission(cells, made_placebos(0))),
        ("number n_passed|n_passed", lambda: share_bound(5, 3)),
    ]
    for said, call in cases:
        with pytest.raises(UserError, match=said) as told:
            call()
        assert "\n" not in str(told.value)
