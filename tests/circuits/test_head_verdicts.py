"""Verdicts on chosen heads: each condition that fails takes the claim away."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.circuits.head_verdicts import HEAD_REASONS, HEAD_VERDICTS, VERDICT_COLUMNS, HeadEvidence, head_verdicts
from emolib.circuits.screening import Exact

N, HEADS = 10, [((0, 0),), ((0, 1),), ((1, 0),)]


CONTROLS = {(0, 0): (0, 1)}


def exact(
    carried: float, base: float, emotion: str = "anger", other: str = "neutral", noise: float = 0.1, control: float = 0
) -> Exact:
    """Head 0:0 carries so much, 0:1 what is given, the third nothing; scenarios vary."""
    generator = np.random.default_rng([int(100 * abs(carried)), int(100 * abs(base))])
    changes = noise * generator.standard_normal((N, 3)) * 0.3
    changes[:, 0] -= carried
    changes[:, 1] -= control
    units = pd.DataFrame({"scenario": [f"s{n}" for n in range(N)], "emotion": emotion, "other": other})
    units = units.assign(effect="context", base=base + noise * generator.standard_normal(N))
    return Exact(units, tuple(HEADS), changes)


def judged(
    carried: float = 0.4,
    base: float = 1.0,
    labels: float = 0.4,
    topic: float = 0.0,
    p_max: float = 0.01,
    control: float = 0.0,
) -> pd.Series:
    topics, own = exact(topic, 1.0, "topic", "topic"), exact(carried, base, control=control)
    evidence = HeadEvidence(own, exact(labels, 1.0, other="joy"), topics, CONTROLS)
    found = head_verdicts({(0, 0): p_max}, "anger", evidence)
    assert found.columns.tolist() == VERDICT_COLUMNS
    assert found["verdict"].isin(HEAD_VERDICTS).all() and found["reason"].isin(HEAD_REASONS).all()
    return found.iloc[0]


def test_a_head_that_meets_every_condition_is_supported() -> None:
    row = judged()
    assert (row["verdict"], row["reason"]) == ("supported", "all_hold")
    assert row["part"] == pytest.approx(0.4, abs=0.1) and row["low"] < row["carried"] < row["high"]


@pytest.mark.parametrize(
    ("given", "verdict", "reason"),
    [
        ({"base": 0.0}, "not_measurable", "no_effect"),
        ({"base": -1.0}, "not_measurable", "no_effect"),
        ({"carried": 0.0}, "not_supported", "small_effect"),
        ({"p_max": 0.2}, "underpowered", "not_confirmed"),
        ({"labels": 0.0}, "underpowered", "not_against_labels"),
        ({"topic": 0.5}, "underpowered", "not_beyond_topics"),
        ({"control": 0.45}, "underpowered", "not_beyond_control"),
    ],
)
def test_each_condition_that_fails_takes_the_claim_away(given: dict, verdict: str, reason: str) -> None:
    row = judged(**given)
    assert (row["verdict"], row["reason"]) == (verdict, reason)


def test_without_topics_or_a_control_nothing_is_supported_and_unknown_heads_are_told() -> None:
    own, against, topics = exact(0.4, 1.0), exact(0.4, 1.0, other="joy"), exact(0.0, 1.0, "topic", "topic")
    found = head_verdicts({(0, 0): 0.01}, "anger", HeadEvidence(own, against, None, CONTROLS))
    assert found["verdict"].item() == "underpowered" and found["reason"].item() == "not_beyond_topics"
    found = head_verdicts({(0, 0): 0.01}, "anger", HeadEvidence(own, against, topics, {}))
    assert found["verdict"].item() == "underpowered" and found["reason"].item() == "not_beyond_control"
    with pytest.raises(UserError, match="ablation of head 7:7"):
        head_verdicts({(7, 7): 0.01}, "anger", HeadEvidence(own, against, None, CONTROLS))


def test_a_pair_counts_whichever_of_its_labels_stands_first() -> None:
    topics = exact(0.0, 1.0, "topic", "topic")
    first, second = (exact(0.4, 1.0, *pair) for pair in (("anger", "joy"), ("joy", "anger")))
    found = [
        head_verdicts({(0, 0): 0.01}, "anger", HeadEvidence(exact(0.4, 1.0), pair, topics, CONTROLS))
        for pair in (first, second)
    ]
    pd.testing.assert_frame_equal(found[0], found[1])
    assert found[0]["weakest_label"].item() == "joy"
