"""Who is ahead by S and by generated texts, on tables whose answer is planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.steering.comparisons import ASKING, VECTOR
from emolib.steering.shift_leads import EVERY, TRAINED, shift_leads, text_leads
from emolib.steering.shift_tables import crossed_cells

EMOTIONS = ("gratitude", "anger", "apology")


def cells_of(sizes: dict[str, float], *, noise: float = 0.05, n: int = 24) -> pd.DataFrame:
    """S of every method in the same cells: its size, what the text brings to all of them, and noise of its own."""
    generator = np.random.default_rng(0)
    cells = crossed_cells([f"prompt {i}" for i in range(n)], [f"text {i}" for i in range(n)], per_text=2, seed=1)
    shared = dict(zip(cells["text"].unique(), generator.standard_normal(n), strict=True))
    rows = []
    for method, size in sizes.items():
        for emotion in EMOTIONS:
            for other in EMOTIONS:
                if other != emotion:
                    value = size + cells["text"].map(shared) + noise * generator.standard_normal(len(cells))
                    about = {"method": method, "measure": "raw", "style": "implicit", "emotion": emotion}
                    rows.append(cells.assign(**about, other=other, specific=value))
    return pd.concat(rows, ignore_index=True)


def test_a_lead_is_found_though_texts_differ_more_than_methods() -> None:
    found = shift_leads(cells_of({VECTOR: 0.2, TRAINED: 0.5, ASKING: 0.1})).set_index(["emotion", "method"])
    assert set(found.index.get_level_values("emotion")) == {*EMOTIONS, EVERY}
    for emotion in (*EMOTIONS, EVERY):
        assert found.loc[(emotion, TRAINED), "larger"] == "rival" and found.loc[(emotion, ASKING), "larger"] == VECTOR
        assert found.loc[(emotion, VECTOR), "larger"] == "" and np.isnan(found.loc[(emotion, VECTOR), "p"])
        assert found.loc[(emotion, TRAINED), "ahead"] == pytest.approx(-0.3, abs=0.05)
        assert found.loc[(emotion, TRAINED), "p"] < 1e-6
    assert found.loc[(EVERY, ASKING), "se"] < found.loc[("anger", ASKING), "se"]


def test_equal_methods_are_undecided_and_an_unvarying_lead_is_told_by_its_signs() -> None:
    same = shift_leads(cells_of({VECTOR: 0.2, ASKING: 0.2}))
    asked = same[same["method"] == ASKING]
    assert (asked["larger"] == "undecided").all() and (asked["p"] > 0.05).all()
    flat = shift_leads(cells_of({VECTOR: 0.2, ASKING: 0.1}, noise=0.0)).query("method == @ASKING")
    assert (flat["larger"] == VECTOR).all() and (flat["p"] <= 2 * 0.5**24 + 1e-9).all()


def test_methods_in_other_cells_are_refused() -> None:
    cells = cells_of({VECTOR: 0.2, ASKING: 0.1})
    lacking = cells.drop(cells.index[cells["method"] == ASKING][:1].append(cells.index[-2:]))
    lacking = lacking[~((lacking["method"] == ASKING) & (lacking["text"] == "text 3"))]
    with pytest.raises(UserError, match="every method in the same cells"):
        shift_leads(lacking)


def sweep(sizes: dict[str, float], broken: dict[str, float]) -> pd.DataFrame:
    generator, rows = np.random.default_rng(2), []
    base = generator.uniform(0, 0.2, 24)
    for kind in ("baseline", *sizes):
        for number in range(24):
            value = base[number] + (0.0 if kind == "baseline" else sizes[kind] + 0.05 * generator.standard_normal())
            row = {"scenario": f"s{number}", "kind": kind, "emotion": "none" if kind == "baseline" else "anger"}
            rows.append({**row, "target/anger": value, "fluency/broken": number < 24 * broken.get(kind, 0.0)})
    return pd.DataFrame(rows)


def test_generated_texts_are_compared_only_where_as_many_are_broken() -> None:
    table = sweep({VECTOR: 0.3, TRAINED: 0.6, ASKING: 0.6}, {ASKING: 0.5})
    own = table["kind"].isin(["baseline", VECTOR])
    given = {"margin": 0.1, "n_resamples": 200, "seed": 0}
    found = text_leads(table[own], table[~own], ["anger"], **given).set_index("method")
    assert found["larger"].to_dict() == {VECTOR: "", TRAINED: "rival", ASKING: "not_compared"}
    assert found.loc[TRAINED, "ahead"] == pytest.approx(-0.3, abs=0.05) and found.loc[ASKING, "broken"] == 0.5
    behind = sweep({VECTOR: 0.6, TRAINED: 0.3}, {})
    own = behind["kind"].isin(["baseline", VECTOR])
    assert text_leads(behind[own], behind[~own], ["anger"], **given)["larger"].tolist() == ["", VECTOR]
