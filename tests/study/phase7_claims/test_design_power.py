"""How many scenarios effects need: known numbers."""

from __future__ import annotations

import json

from stored_phases import (
    add_phase5,
    open_run,
    sweep_table,
)

from emolib.study import phase7_claims as study


def test_the_power_table_has_known_numbers_and_names_what_only_describes():
    sweep = sweep_table({"gratitude": 1.5})
    sweep["keywords/anger"] = 0.0
    add_phase5(sweep)
    run = open_run()
    table = study.power(run)
    needed = table[table["metric"] == "target/anger"].set_index(["d", "power"])["n_required"].to_dict()
    expected = {0.2: (199, 227), 0.3: (90, 102), 0.5: (34, 38)}
    assert needed == {(d, power): n for d, pair in expected.items() for power, n in zip((0.8, 0.85), pair, strict=True)}
    assert table["detectable_d"].round(2).unique().tolist() == [0.6, 0.64] and (table["n"] == 24).all()
    assert len(table) == 6 * len(needed)
    assert "post_hoc_power_descriptive" in table and "post_hoc_power" not in table
    record = json.loads(run.paths.statistics("power_analysis.json").read_text())
    assert len(record["designs"]) == 6 and len(record["observed"]) == 6
    seen = {row["metric"]: row for row in record["observed"]}
    assert seen["keywords/anger"]["observed_d"] is None
    assert seen["keywords/gratitude"]["post_hoc_power_descriptive"] > 0.9
    assert "decides nothing" in record["post_hoc_power_descriptive"]
