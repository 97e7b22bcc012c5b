"""The rank p that is corrected for how many emotions and measures are looked at."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from stored_phases import (
    EMOTIONS,
    fluke,
    sweep_table,
)

from emolib.scoring.measures import measures
from emolib.statistics.intervals import max_statistic_p
from emolib.steering.effects import control_effects
from emolib.steering.effects import effects as own_effects_of
from emolib.steering.text_claims import claims_table
from emolib.study.phase7_claims.steering_claims import corrected_ranks


def test_the_corrected_rank_p_is_the_plain_one_for_one_cell_and_larger_for_many():
    sweep = sweep_table({"gratitude": 0.4, "apology": 0.3})
    cells = [(e, f"{kind}/{e}") for e in EMOTIONS for kind in ("keywords", "target")]
    plain = claims_table(sweep, measures(sweep, EMOTIONS), families=("isotropic", "shuffled"))["rank_p"].to_numpy()
    alone = np.array([corrected_ranks(sweep, [cell])["max_p"][0] for cell in cells])
    assert alone == pytest.approx(plain)
    together = corrected_ranks(sweep, cells)
    assert (together["max_p"] >= plain - 1e-12).all() and (together["max_p"] > plain).any()
    assert set(together["max_family"]) <= {"isotropic", "shuffled"} and set(together["max_at"]) <= {m for _, m in cells}
    without = corrected_ranks(sweep[~sweep["kind"].isin(["isotropic", "shuffled"])], cells)
    assert without["max_p"].isna().all() and not without["max_left_out"].any()


def test_the_corrected_rank_p_does_not_depend_on_a_measures_unit():
    sweep = sweep_table({"gratitude": 0.4, "apology": 0.5}, seed=4)
    cells = [(e, f"{kind}/{e}") for e in EMOTIONS for kind in ("keywords", "target")]
    before = corrected_ranks(sweep, cells)["max_p"]
    for emotion in EMOTIONS:
        sweep[f"keywords/{emotion}"] *= 1000
    assert corrected_ranks(sweep, cells)["max_p"].tolist() == pytest.approx(before) and len(set(before)) > 3


def test_a_degenerate_cell_takes_no_part_in_the_maximum():
    cells = [(e, f"{kind}/{e}") for e in EMOTIONS for kind in ("keywords", "target")]
    table = corrected_ranks(fluke(moves=False), cells).set_index(pd.Index([metric for _, metric in cells]))
    assert table.index[table["max_left_out"]].tolist() == ["keywords/anger"]
    assert np.isnan(table.loc["keywords/anger", "max_p"])
    kept = table.drop("keywords/anger")
    assert kept["max_p"].to_numpy() == pytest.approx(1 / 60) and (kept["max_z"] < 4).all()
    assert "keywords/anger" not in set(kept["max_at"])
    moved = corrected_ranks(fluke(moves=True), cells)
    assert not moved["max_left_out"].any() and moved["max_p"].notna().all()


def test_the_fluke_of_a_degenerate_cell_would_have_beaten_every_effect():
    sweep = fluke(moves=False)
    cells = [(e, f"{kind}/{e}") for e in EMOTIONS for kind in ("keywords", "target")]
    own = np.array([own_effects_of(sweep, "emotion", *cell).mean() for cell in cells])
    nulls = pd.concat([control_effects(sweep, *cell) for cell in cells], axis=1).to_numpy()
    assert max_statistic_p(own, nulls, studentised=True).min() >= 2 / 60 - 1e-12
