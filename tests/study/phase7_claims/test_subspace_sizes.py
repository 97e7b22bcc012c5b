"""How many directions subspaces have, on made-up overlaps."""

from __future__ import annotations

import pandas as pd
from stored_phases import (
    add_phase3,
    add_phase5,
    open_run,
    sweep_table,
)

from emolib.study import phase7_claims as study
from emolib.study.phase7_claims.subspace_sizes import COLUMNS as K_COLUMNS


def test_the_k_table_has_the_overlaps_the_choice_and_the_rule():
    add_phase5(sweep_table())
    add_phase3()
    run = open_run()
    table = study.k_selection(run)
    assert list(table.columns) == list(K_COLUMNS) and set(table["layer"]) == {2}  # the probe's best
    one = table[table["emotion"] == "gratitude"]
    assert one["k"].tolist() == [1, 2, 3, 4] and one["chosen"].tolist() == [False, True, False, False]
    assert (one["chosen_k"] == 2).all() and (one["best_k"] == 3).all() and one["found"].all()
    assert "one standard error" in one["rule"].iloc[0]
    assert pd.read_csv(run.paths.statistics("k_selection.csv"))["chosen_k"].eq(2).all()
    add_phase3(found=False)
    again = study.k_selection(open_run())
    assert (again["chosen_k"] == 2).all() and not again["found"].any()
    assert not study.next_directions(again)["found"].any() and study.next_directions(table)["found"].all()
