"""The roads beside each other, and what may be claimed of heads."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from planted_contrasts import planted_contrasts

from emolib.base.errors import UserError
from emolib.circuits.attribution import Attributed
from emolib.circuits.screening import (
    Exact,
    exact_changes,
    head_scores,
    joint_against_sum,
    road_agreement,
    road_table,
    screen_heads,
    selected,
    single_heads,
    split_half,
)
from emolib.models.language_model import LanguageModel
from emolib.selftest.planted import Planted, plant

HEADS = list(product(range(4), range(4)))


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant("llama", noise=0.1, distractors=["topic", "unread"])


def made_up(changes: np.ndarray, variants: list | None = None) -> Exact:
    units = pd.DataFrame({"scenario": [f"s{n:03d}" for n in range(len(changes))], "emotion": "anger"})
    units = units.assign(other="neutral", effect="context", base=1.0)
    return Exact(units, tuple(variants or [(head,) for head in HEADS[: changes.shape[1]]]), changes)


def test_the_planted_writer_is_chosen_and_confirmed(planted: Planted) -> None:
    writer = (planted.truth.write_layer, planted.truth.write_head)
    table = planted_contrasts(planted, 12)
    first, second = table.iloc[:6], table.iloc[6:]
    found = screen_heads(planted.lm, first, methods=["first_order"])
    assert selected(found.scores, 1) == [writer]
    confirmed = head_scores(exact_changes(planted.lm, second, single_heads(planted.lm)))
    own = confirmed[
        (confirmed["emotion"] == "all") & (confirmed["layer"] == writer[0]) & (confirmed["head"] == writer[1])
    ]
    assert own["p_max"].item() <= 2 / 64 and own["delta_mean"].item() < -0.5
    agreement = road_agreement(found.roads, n_bands=1)
    assert agreement.loc[agreement["estimate"] == "atp", "correlation"].item() > 0.3


def test_false_claims_over_nulls_stay_below_one_in_twenty(planted: Planted) -> None:
    """Neutral contexts on both sides of a model that reads emotions; units are redrawn and their sides exchanged."""
    pool = exact_changes(
        planted.lm, planted_contrasts(planted, 40, seed=5, null=True), single_heads(planted.lm)
    ).changes
    assert (pool.std(axis=0) > 0).mean() > 0.5, "ablations that change nothing prove nothing"
    generator, claims = np.random.default_rng(0), 0
    for _ in range(200):
        rows = generator.choice(len(pool), 10, replace=False)
        signs = generator.choice([-1.0, 1.0], (10, 1))
        scores = head_scores(made_up(signs * pool[rows]), emotions=[])
        claims += bool((scores["p_max"] <= 0.05).any())
    assert claims <= 0.05 * 200 + 1.96 * np.sqrt(200 * 0.05 * 0.95)


def test_scores_pool_emotions_within_scenarios() -> None:
    exact = made_up(np.array([[-1.0, 0.1], [-1.2, 0.0], [-0.9, 0.2], [-1.1, -0.1]]))
    units = exact.units.assign(scenario=["a", "a", "b", "b"], emotion=["anger", "joy"] * 2)
    scores = head_scores(Exact(units, exact.variants, exact.changes)).set_index(["emotion", "head"])
    assert scores.loc[("all", 0), "n_samples"] == 2
    assert scores.loc[("all", 0), "delta_mean"] == pytest.approx(-1.05)
    assert scores.loc[("joy", 0), "delta_mean"] == pytest.approx(-1.15)
    with pytest.raises(UserError, match="several at once"):
        head_scores(made_up(np.zeros((4, 1)), [((0, 0), (0, 1))]))


def test_agreement_is_by_depth_and_split_halves_need_a_common_order() -> None:
    generator = np.random.default_rng(0)
    truth = generator.standard_normal(16)
    exact = made_up(truth + 0.05 * generator.standard_normal((12, 16)))
    atp = np.tile(truth, (12, 1)).reshape(12, 4, 4)
    atp[:, 0] *= -100  # the first layer is of the wrong sign, and far too large
    roads = road_table(exact, Attributed({"atp": atp, "dropped": np.abs(atp)}, np.zeros((12, 4)), None))
    found = road_agreement(roads, n_bands=4).set_index(["estimate", "first", "last"])
    assert found.loc[("atp", 1, 1), "correlation"] > 0.9 and found.loc[("atp", 0, 0), "correlation"] < -0.9
    assert found.loc[("atp", 0, 0), "size"] == pytest.approx(100, rel=0.2)
    assert found.loc[("atp", 0, 0), "same_sign"] == 0
    some = road_agreement(roads.assign(integrated=roads["exact"].where(roads["layer"] == 1)), n_bands=4)
    own = some[some["estimate"] == "integrated"]
    assert own[["first", "last", "n"]].to_numpy().tolist() == [[1, 1, 4]], "nothing is said of all layers"
    assert split_half(exact)["correlation"].item() > 0.9
    assert abs(split_half(made_up(generator.standard_normal((12, 16))))["correlation"].item()) < 0.4


def test_heads_that_stand_in_for_each_other_do_more_together() -> None:
    single = made_up(np.tile([-0.1, -0.1, -0.3], (4, 1)) + 0.01 * np.arange(4)[:, None])
    joint = made_up(np.tile([-0.9, -0.4], (4, 1)) + 0.0, [(HEADS[0], HEADS[1]), (HEADS[0], HEADS[2])])
    found = joint_against_sum(joint, single)
    assert found["interaction"].iloc[0] < -0.6 and found["k"].tolist() == [2, 2]
    assert abs(found["interaction"].iloc[1]) < 0.1
    assert found["base_p"].iloc[0] == pytest.approx(2 / 2**4) and found["code"].tolist() == ["not_measurable"] * 2
    more = made_up(np.tile([-0.1, -0.1, -0.3], (8, 1)) + 0.01 * np.arange(8)[:, None])
    both = made_up(np.tile([-0.9, -0.2], (8, 1)) + 0.02 * np.arange(8)[:, None], joint.variants)
    found = joint_against_sum(both, more)
    assert found["code"].tolist() == ["more", "less"] and found["share"].iloc[0] == pytest.approx(0.83)
    gone = Exact(more.units.assign(base=-1.0), more.variants, more.changes)
    assert joint_against_sum(both, gone)["share"].isna().all()


def test_all_heads_at_once_take_the_context_from_a_real_model(bundled: LanguageModel) -> None:
    """In the bundled model the kind `context` on all heads leaves of the effect what the words alone do to nothing."""
    from emolib import load_dataset
    from emolib.circuits.contrasts import context_contrasts

    data = load_dataset().query("split == 'validation'")
    names = sorted(data["scenario"].unique())
    table = context_contrasts(data, ["gratitude"], names[:2], pool=names)
    every = [tuple(product(range(bundled.n_layers), range(bundled.n_heads)))]
    found = exact_changes(bundled, table, [*every, [(29, 0)]], kind="context")
    assert (found.units["base"].abs() > 0.01).all()
    assert np.abs(found.changes[:, 0] + found.units["base"]).max() < 0.5 * found.units["base"].abs().max()
    assert np.abs(found.changes[:, 1]).max() < np.abs(found.changes[:, 0]).max()
