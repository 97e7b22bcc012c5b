"""Adjusted shifts from the design's own other half."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.steering.cross_fitted import can_cross_fit, cross_fitted_shifts
from emolib.steering.shift_tables import KEYS

PAIR = ("joy", "fear")


def made_tokens(*, flattening: float, own: float, n_texts: int = 12, seed: int = 0) -> pd.DataFrame:
    """Ten tokens of each text of three labels under two acts: a push on rare tokens, and one on the own label's."""
    generator = np.random.default_rng(seed)
    rows = [
        {"prompt": f"p{i}", "text": f"t{i}", "label": label, "style": "implicit", "act": act, "layer": 3, "alpha": 0.2}
        for i in range(n_texts)
        for label in (*PAIR, "calm")
        for act in PAIR
    ]
    tokens = pd.DataFrame(rows).loc[np.repeat(np.arange(len(rows)), 10)].assign(row=np.repeat(np.arange(len(rows)), 10))
    tokens = tokens.reset_index(drop=True)
    logprob = -generator.exponential(3.0, len(tokens))
    tokens = tokens.assign(
        position=np.tile(np.arange(1, 11), len(rows)),
        logprob_unpatched=logprob,
        entropy=generator.uniform(2, 6, len(tokens)),
        log_frequency=generator.normal(size=len(tokens)),
        mark=0.0,
    )
    mine = (tokens["label"] == tokens["act"]).to_numpy(float)
    return tokens.assign(shift=-flattening * logprob + own * mine + 0.01 * generator.normal(size=len(tokens)))


def test_what_a_push_on_rare_tokens_does_is_taken_off_and_what_the_label_gets_stays() -> None:
    tokens = made_tokens(flattening=0.2, own=0.5)
    found = cross_fitted_shifts(tokens, PAIR)
    assert set(found["label"]) == set(PAIR) and len(found) == 12 * 2 * 2 and not found.duplicated(KEYS).any()
    means = found.groupby(["act", "label"])["shift"].mean()
    assert means["joy", "joy"] == pytest.approx(0.5, abs=0.03) and means["joy", "fear"] == pytest.approx(0, abs=0.03)
    plain = tokens.groupby(["act", "label"])["shift"].mean()
    assert plain["joy", "fear"] > 0.3, "control"


def test_no_text_is_predicted_from_its_own_scenario() -> None:
    tokens = made_tokens(flattening=0.2, own=0.0)
    odd = tokens["text"] == "t0"
    changed = tokens.assign(shift=tokens["shift"] + 5.0 * (odd & (tokens["label"] == "calm")))
    before, after = (cross_fitted_shifts(one, PAIR).set_index(KEYS)["shift"].sort_index() for one in (tokens, changed))
    moved = (after - before).abs().groupby("text").max()
    assert moved["t0"] < 1e-9 and (moved > 0.1).any(), "only the other half's prediction has seen it"


def test_too_few_tokens_predict_nothing() -> None:
    assert can_cross_fit(made_tokens(flattening=0.1, own=0.1), PAIR)
    few = made_tokens(flattening=0.1, own=0.1, n_texts=4)
    assert not can_cross_fit(few, PAIR) and not can_cross_fit(few[few["label"].isin(PAIR)], PAIR)
    with pytest.raises(UserError, match="at least 40 training tokens"):
        cross_fitted_shifts(few, PAIR)
    with pytest.raises(UserError, match="two scenarios"):
        cross_fitted_shifts(few[few["text"] == "t0"], PAIR)
