"""The second implementation of the claims agrees with the first on data of known truth, and shares no code with it."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stored_phases import EMOTIONS, rows_of, sweep_table

from emolib.pipeline.verification import claim_checks
from emolib.pipeline.verification.claim_checks import FAMILIES, claims, operating_point
from emolib.scoring.measures import measures
from emolib.steering.operating_point import choose_operating_point
from emolib.steering.text_claims import claims_table


def with_covariance(sweep: pd.DataFrame) -> pd.DataFrame:
    """The sweep with the third family of controls, and some texts broken."""
    drawn = sweep[sweep["kind"] == "shuffled"].assign(kind="covariance")
    values = [name for name in drawn if "/" in name and name != "fluency/broken"]
    drawn[values] = drawn[values].to_numpy() * 0.9
    whole = pd.concat([sweep, drawn], ignore_index=True)
    broken = np.random.default_rng(3).random(len(whole)) < 0.2
    return whole.assign(**{"fluency/broken": broken})


@pytest.mark.parametrize("push", [dict.fromkeys(EMOTIONS, 3.0), dict.fromkeys(EMOTIONS, 0.0), {"anger": 1.0}])
def test_both_implementations_agree(push: dict[str, float]) -> None:
    sweep = with_covariance(sweep_table(push, n=12, n_controls=9))
    wanted = claims_table(sweep, measures(sweep, EMOTIONS), families=FAMILIES, n_resamples=500, seed=4)
    found = claims(sweep, n_resamples=500, seed=4)
    assert found["metric"].tolist() == wanted["metric"].tolist()
    shared = [name for name in wanted if name not in ("emotion", "metric")]
    assert set(shared) <= set(found)
    np.testing.assert_allclose(found[shared].astype(float), wanted[shared].astype(float), rtol=1e-9, atol=1e-12)


def test_another_seed_moves_the_interval() -> None:
    sweep = with_covariance(sweep_table(dict.fromkeys(EMOTIONS, 1.0), n=12, n_controls=9))
    one, other = (claims(sweep, n_resamples=500, seed=seed) for seed in (0, 1))
    assert (one["own_effect"] == other["own_effect"]).all()
    assert (one["ci_low"] != other["ci_low"]).any()


def test_the_operating_point_is_chosen_alike() -> None:
    settings = [("baseline", "none", -1, 0.0, 0)]
    settings += [("emotion", e, layer, alpha, 0) for e in EMOTIONS for layer in (3, 5) for alpha in (0.5, 1.0)]
    for seed in range(5):
        sweep = rows_of(settings, {"anger": 1.0}, n=10, seed=seed).assign(split="validation", part="")
        sweep["fluency/broken"] = np.random.default_rng(seed).random(len(sweep)) < 0.3
        for margin in (0.0, 0.1, 0.5):
            point = choose_operating_point(sweep, measures(sweep, EMOTIONS), broken_margin=margin)
            assert operating_point(sweep, margin) == (point.layer, point.alpha)


def test_it_imports_nothing_of_what_made_the_claims() -> None:
    tree = ast.parse(Path(claim_checks.__file__).read_text(encoding="utf-8"))
    named = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    made = ("emolib.steering", "emolib.statistics", "emolib.study", "emolib.scoring", "emolib.directions")
    assert named and not [name for name in named if name.startswith(made)]
