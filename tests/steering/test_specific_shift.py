"""S and the variance of its mean, on planted shifts: what is specific is found, what is not cancels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.steering.shift_tables import crossed_cells, shift_rows
from emolib.steering.specific_shift import crossed_mean, crossed_means, label_pairs, specific_shift, text_contrast

LABELS = ("gratitude", "joy", "anger", "neutral")
ACTS = ("gratitude", "joy", "anger", "isotropic 0")
N = 24


def design(n_prompts: int = N, n_texts: int = N, per_text: int = 4) -> pd.DataFrame:
    texts = [f"t{i}" for i in range(n_texts)]
    told = pd.DataFrame([{"scenario": text, "label": label, "style": "implicit"} for text in texts for label in LABELS])
    acts = pd.DataFrame({"act": list(ACTS), "layer": 8, "alpha": 0.2})
    return shift_rows(crossed_cells([f"p{i}" for i in range(n_prompts)], texts, per_text=per_text), told, acts)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return design()


def planted(rows: pd.DataFrame, *, own: float = 0.0, noise: float = 0.02, seed: int = 0) -> pd.DataFrame:
    """Shifts that follow from the text's label, rarity and scenario and from the act's strength, and `own` more where
    act and text are of one emotion."""
    generator = np.random.default_rng(seed)
    rarity = rows.groupby(["text", "label"]).ngroup().map(dict(enumerate(generator.gamma(2, 1, 10**3))))
    strength = rows["act"].map({"gratitude": 1.0, "joy": 2.5, "anger": 0.3, "isotropic 0": 1.0})
    emotional = (rows["label"] != "neutral") * 0.4
    general = rarity * 0.3 + emotional + rows["prompt"].str[1:].astype(int) * 0.01
    specific = own * (rows["label"] == rows["act"])
    return rows.assign(shift=general + strength * 0.2 + specific + noise * generator.standard_normal(len(rows)))


def test_what_is_specific_is_found_against_every_other_label(rows: pd.DataFrame) -> None:
    cells = specific_shift(planted(rows, own=0.25))
    found = crossed_means(cells, ["emotion", "other"])
    assert len(found) == 6 and (found["n_cells"] == 4 * N).all()
    np.testing.assert_allclose(found["mean"], 0.5, atol=0.02)  # of its own text and of the other act's
    assert (found["t"] > 10).all()


def test_what_lifts_rare_or_emotional_text_under_any_act_cancels(rows: pd.DataFrame) -> None:
    table = planted(rows)
    found = crossed_means(specific_shift(table), ["emotion", "other"])
    assert (found["mean"].abs() < 4 * found["se"]).all() and (found["mean"].abs() < 0.02).all()
    contrast = text_contrast(table, "gratitude", "neutral")
    assert contrast["contrast"].mean() > 0.3, "control: the text contrast alone does see it"


def test_a_stronger_act_cancels(rows: pd.DataFrame) -> None:
    table = planted(rows, noise=0.0)
    assert table.groupby("act")["shift"].mean().max() > table.groupby("act")["shift"].mean().min() + 0.3
    assert specific_shift(table)["specific"].abs().max() < 1e-12


def test_one_emotion_that_moves_its_own_text_alone_shows_against_every_other(rows: pd.DataFrame) -> None:
    table = planted(rows, noise=0.0)
    table["shift"] += 0.3 * ((rows["label"] == "anger") & (rows["act"] == "anger"))
    means = specific_shift(table).groupby(["emotion", "other"])["specific"].mean()
    assert means["anger"].min() == pytest.approx(0.3) and means["gratitude", "joy"] == pytest.approx(0, abs=1e-12)


def test_the_difference_of_differences_is_that_of_four_means(rows: pd.DataFrame) -> None:
    table = planted(rows, own=0.1, noise=0.3, seed=3)
    means = table.groupby(["act", "label"])["shift"].mean()
    wanted = means["joy", "joy"] - means["joy", "anger"] - means["anger", "joy"] + means["anger", "anger"]
    found = specific_shift(table, pairs=[("joy", "anger")])
    assert found["specific"].mean() == pytest.approx(wanted) and wanted != pytest.approx(0)
    assert label_pairs(table)[:2] == [("gratitude", "joy"), ("gratitude", "anger")] and len(label_pairs(table)) == 6


def test_control_directions_have_a_contrast_of_their_own(rows: pd.DataFrame) -> None:
    table = planted(rows, own=0.2, noise=0.0)
    means = text_contrast(table, "gratitude", "joy").groupby("act")["contrast"].mean()
    assert set(means.index) == set(ACTS)
    assert means["gratitude"] - means["isotropic 0"] == pytest.approx(0.2)


def test_layers_strengths_and_styles_are_kept_apart(rows: pd.DataFrame) -> None:
    weak, strong = planted(rows, own=0.1, noise=0.0), planted(rows, own=0.4, noise=0.0).assign(alpha=0.4)
    means = specific_shift(pd.concat([weak, strong])).groupby("alpha")["specific"].mean()
    np.testing.assert_allclose(means, [0.2, 0.8])


def crossed_values(
    cells: pd.DataFrame, generator: np.random.Generator, sd: tuple[float, float, float], n_draws: int
) -> np.ndarray:
    """`[draw, cell]`: crossed random effects of texts, prompts and cells."""
    total = np.zeros((n_draws, len(cells)))
    for name, size in zip(("text", "prompt"), sd, strict=False):
        codes, levels = pd.factorize(cells[name])
        total += size * generator.standard_normal((n_draws, len(levels)))[:, codes]
    return total + sd[2] * generator.standard_normal(total.shape)


@pytest.mark.parametrize("sd", [(1.0, 0.7, 0.5), (1.0, 0.0, 1.0), (0.0, 1.0, 0.3), (0.0, 0.0, 1.0)])
def test_the_variance_is_that_of_the_mean_of_crossed_random_factors(sd: tuple[float, float, float]) -> None:
    cells = crossed_cells([f"p{i}" for i in range(N)], [f"t{i}" for i in range(N)])
    values = crossed_values(cells, np.random.default_rng(0), sd, 1500)
    found = pd.DataFrame([crossed_mean(cells.assign(specific=row)) for row in values[:500]])
    empirical = values.mean(axis=1).var()
    exact = sd[0] ** 2 / N + sd[1] ** 2 / N + sd[2] ** 2 / len(cells)
    assert empirical == pytest.approx(exact, rel=0.12)
    assert found["variance"].mean() == pytest.approx(exact, rel=0.08)
    naive = values.var(axis=1, ddof=1).mean() / len(cells)
    if max(sd[:2]) > 0:
        assert naive < 0.55 * exact, "control: cells taken as independent give less"
    assert (found["se"] ** 2 >= found["v_cell"] * (1 - 1e-12)).all()


def test_the_mean_s_t_keeps_its_level() -> None:
    from scipy import stats

    cells = crossed_cells([f"p{i}" for i in range(N)], [f"t{i}" for i in range(N)])
    values = crossed_values(cells, np.random.default_rng(1), (1.0, 0.7, 0.5), 800)
    found = pd.DataFrame([crossed_mean(cells.assign(specific=row)) for row in values])
    assert (found["df"] == N - 1).all()
    p = stats.t.sf(found["t"], found["df"])
    assert 0.02 < (p < 0.05).mean() < 0.075
    naive = stats.norm.sf(found["mean"] / np.sqrt(found["v_cell"]))
    assert (naive < 0.05).mean() > 0.09, "control: cells taken as independent do not keep it"


def test_a_mean_without_any_variation_has_no_t() -> None:
    cells = crossed_cells(["a", "b"], ["c", "d"], per_text=2).assign(specific=0.5)
    found = crossed_mean(cells)
    assert found["mean"] == 0.5 and found["se"] == 0 and np.isnan(found["t"])


def test_bad_tables_are_told_in_one_line(rows: pd.DataFrame) -> None:
    table = planted(rows, own=0.1)
    cells = specific_shift(table, pairs=[("joy", "anger")])
    without_act = table[~((table["act"] == "joy") & (table["text"] == "t3"))]
    cases: list[tuple[str, Callable[[], Any]]] = [
        ("at least two labels with texts and acts", lambda: specific_shift(table[table["act"] == "joy"])),
        ("the act 'joy' in every cell", lambda: specific_shift(without_act)),
        ("label 'calm' in every cell", lambda: specific_shift(table, pairs=[("joy", "calm")])),
        ("there is no shift", lambda: specific_shift(table.drop(columns="shift"))),
        ("twice there is", lambda: specific_shift(pd.concat([table, table[:1]]))),
        ("balanced design", lambda: crossed_mean(cells[:-1])),
        ("balanced design of at least two texts", lambda: crossed_mean(cells[cells["text"] == "t0"])),
        ("one row per prompt and text", lambda: crossed_mean(pd.concat([cells, cells]))),
        ("finite numbers in specific, got 1", lambda: crossed_mean(cells.assign(specific=[np.nan, *[0.0] * 95]))),
        ("a table", lambda: crossed_means("cells", ["emotion"])),
    ]
    for said, call in cases:
        with pytest.raises(UserError, match=said) as told:
            call()
        assert "\n" not in str(told.value)
