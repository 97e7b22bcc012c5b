"""The second implementation of the choice by S, its conditions and claims agrees with the first, and sees a fault."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from phase5_rows import shift_of

from emolib.pipeline.verification import claim_checks, shift_checks
from emolib.steering.claims import shift_conditions
from emolib.steering.shift_choice import choose_shift_point
from emolib.steering.shift_tables import crossed_cells, shift_rows
from emolib.steering.specific_shift import specific_shift

EMOTIONS = ("gratitude", "anger", "apology")


def shifts(seed: int, sizes: dict[tuple[int, float], float]) -> pd.DataFrame:
    """Emotions' texts of three styles under the emotions' acts, at every candidate; its size is the own texts' lead."""
    rng, parts = np.random.default_rng(seed), []
    for style in ("explicit", "implicit", "idiomatic"):
        texts = [f"{style} {i}" for i in range(6)]
        told = pd.DataFrame([{"scenario": t, "label": e, "style": style} for t in texts for e in EMOTIONS])
        keys = list(itertools.product(EMOTIONS, sizes))
        acts = pd.DataFrame([(e, layer, alpha) for e, (layer, alpha) in keys], columns=["act", "layer", "alpha"])
        parts.append(shift_rows(crossed_cells([f"p{i}" for i in range(6)], texts, per_text=1), told, acts))
    rows = pd.concat(parts, ignore_index=True)
    lead = rows[["layer", "alpha"]].apply(tuple, axis=1).map(sizes) * (rows["act"] == rows["label"])
    return rows.assign(shift=lead + 0.2 * rng.standard_normal(len(rows)))


def written(seed: int, candidates: list[tuple[int, float]]) -> pd.DataFrame:
    """Generated validation texts, some of them broken."""
    settings = [("baseline", "none", -1, 0.0)]
    settings += [("emotion", e, layer, alpha) for e in EMOTIONS for layer, alpha in candidates]
    table = pd.DataFrame([row for row in settings for _ in range(10)], columns=["kind", "emotion", "layer", "alpha"])
    broken = np.random.default_rng(seed).random(len(table)) < 0.3
    return table.assign(split="validation", part="", **{"fluency/broken": broken})


def test_the_point_is_chosen_alike() -> None:
    candidates = list(itertools.product((3, 5), (0.5, 1.0)))
    chosen = set()
    for seed in range(6):
        sizes = dict(zip(candidates, np.random.default_rng(seed).permutation([0.0, 0.1, 0.3, 0.5]), strict=True))
        table, texts = shifts(seed, sizes), written(seed, candidates)
        for margin in (0.0, 0.1, 0.5):
            point = choose_shift_point(specific_shift(table), texts, broken_margin=margin)
            assert shift_checks.shift_point(table, texts, margin) == (point.layer, point.alpha)
            chosen.add((point.layer, point.alpha))
    assert len(chosen) > 2


def cells() -> pd.DataFrame:
    rng, parts = np.random.default_rng(0), []
    for one, other, measure in itertools.product(EMOTIONS, EMOTIONS, ("raw", "own")):
        if one != other:
            design = crossed_cells([f"p{i}" for i in range(12)], [f"t{i}" for i in range(12)])
            named = {"style": "implicit", "emotion": one, "other": other, "measure": measure}
            parts.append(design.assign(specific=0.1 + 0.2 * rng.standard_normal(len(design)), **named))
    return pd.concat(parts, ignore_index=True)


def test_conditions_agree_and_a_changed_one_is_seen() -> None:
    table = cells()
    held = shift_conditions(table)
    assert list(shift_checks._condition_problems(held, table)) == []
    for name in ("mean", "se", "p", "n_texts"):
        (told,) = shift_checks._condition_problems(held.assign(**{name: held[name].where(held.index != 3, 7)}), table)
        assert told.startswith(f"{name} of implicit")
    assert list(shift_checks._condition_problems(held.iloc[1:], table)), "one that is missing"


@pytest.mark.parametrize("judged", [False, True])
@pytest.mark.parametrize("given", [{}, {"n_texts": 6}, {"n_controls": 5}, {"size": 0.0}, {"idle": "anger"}])
def test_claims_agree_and_a_verdict_that_its_numbers_do_not_give_is_seen(judged: bool, given: dict[str, Any]) -> None:
    shift = shift_of(judged=judged, **given)
    like = shift.further.like_valent.assign(like=True)
    conditions = pd.concat([shift.conditions.assign(like=False), like], ignore_index=True)
    assert list(shift_checks._claim_problems(shift.claims, conditions, shift.ranks)) == []
    other = "supported" if shift.claims["by_numbers"].iloc[0] != "supported" else "underpowered"
    row = shift.claims.index == shift.claims.index[0]
    for column in ("by_numbers", "p_holm", "rank_p"):
        wrong = other if column == "by_numbers" else 0.012345
        changed = shift.claims.assign(**{column: shift.claims[column].mask(row, wrong)})
        assert list(shift_checks._claim_problems(changed, conditions, shift.ranks)), column
    if other == "supported":
        changed = shift.claims.assign(verdict=shift.claims["verdict"].mask(row, "supported"))
        assert list(shift_checks._claim_problems(changed, conditions, shift.ranks))


def test_phase_7_s_rows_are_phase_5_s() -> None:
    held = shift_of().claims
    rows = pd.DataFrame(
        {
            **{"claim": "shift", "model": "m", "emotion": held["emotion"], "measure": "shift/" + held["style"]},
            **{"value": held["mean"], "low": held["low"], "high": held["high"], "p": held["p"], "n": held["n_texts"]},
            **{"verdict": held["verdict"], "reason": held["reason"]},
        }
    )
    run = SimpleNamespace(model="m")
    assert list(claim_checks._shift_problems(run, rows, held)) == []
    for column, wrong in {"value": 9.0, "p": 0.5, "verdict": "supported", "reason": "bar_reached"}.items():
        changed = rows.assign(**{column: rows[column].mask(rows.index == 1, wrong)})
        assert list(claim_checks._shift_problems(run, changed, held)), column
    assert list(claim_checks._shift_problems(run, rows.iloc[1:], held)), "one that is missing"


def test_it_imports_nothing_of_what_made_the_claims() -> None:
    tree = ast.parse(Path(shift_checks.__file__).read_text(encoding="utf-8"))
    named = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    made = ("emolib.steering", "emolib.statistics", "emolib.study", "emolib.scoring", "emolib.directions")
    assert named and not [name for name in named if name.startswith(made)]
