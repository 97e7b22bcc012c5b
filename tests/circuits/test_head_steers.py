"""Steering by heads, and what ablated heads leave of a steer's effect, on the planted model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import emolib
from emolib.base.errors import UserError
from emolib.circuits.context_cells import context_cells
from emolib.circuits.head_mediation import WITH, head_ablations, mediated_shares, steered_shifts
from emolib.circuits.head_steers import damage_difference, head_steers, head_vectors, matched_to_kl
from emolib.interventions import AblateHead, Steer
from emolib.selftest.planted import Planted, planted_scenarios
from emolib.steering.damage import next_token_kl

PROMPT = "we found the kettle by our oven monday outside , just noted . and"


def of_split(table: pd.DataFrame, split: str) -> list[str]:
    return list(table.loc[table["split"] == split, "scenario"].unique())


def test_a_head_s_vectors_push_its_emotion_and_a_noise_head_s_do_not(
    planted: Planted, planted_texts: pd.DataFrame
) -> None:
    lm, write = planted.lm, (planted.truth.write_layer, planted.truth.write_head)
    texts = planted_scenarios(planted, 12, seed=3)
    acts = emolib.extract_activations(lm, texts, sites=("z",), positions="last")
    vectors = head_vectors(acts, [write, (1, 1)])
    cells = context_cells(planted_texts, of_split(planted_texts, "test"), of_split(planted_texts, "validation"))

    def s_of(head: tuple[int, int]) -> pd.Series:
        steers = {emotion: head_steers({head: found[head]}, 1.0) for emotion, found in vectors.items()}
        return steered_shifts(lm, cells, steers).groupby("emotion")["specific"].mean()

    by_write, by_noise = s_of(write), s_of((1, 1))
    assert (by_write > 0.5).all() and by_noise.abs().max() < 0.1 * by_write.min()
    assert vectors["anger"][write].shape == (lm.d_head,)
    with pytest.raises(UserError, match="texts of 'calm'"):
        head_vectors(acts, [write], neutral="calm")
    with pytest.raises(UserError, match="site z"):
        head_vectors(emolib.extract_activations(lm, texts.head(2)), [write])


def test_ablating_the_steered_head_takes_its_effect_away_and_another_head_does_not(
    planted: Planted, planted_texts: pd.DataFrame
) -> None:
    lm, write = planted.lm, (planted.truth.write_layer, planted.truth.write_head)
    cells = context_cells(planted_texts, of_split(planted_texts, "test"), of_split(planted_texts, "validation"))
    acts = emolib.extract_activations(lm, planted_scenarios(planted, 12, seed=3), sites=("z",), positions="last")
    steers = {name: head_steers(found, 1.0) for name, found in head_vectors(acts, [write]).items()}
    later = {name: (*act, AblateHead(*write)) for name, act in steers.items()}  # what was added is taken out again
    ablations = {"1:1": [(AblateHead(1, 1),)] * len(cells), "0:1": [(AblateHead(0, 1),)] * len(cells)}
    shifts = steered_shifts(lm, cells, steers, ablations)
    assert set(shifts["ablation"]) == {WITH, "1:1", "0:1"}
    shares = mediated_shares(shifts, n_resamples=200)
    assert shares["share"].abs().max() < 0.2 and (shares["s_low"] > 0).all()
    assert steered_shifts(lm, cells, later)["specific"].abs().max() < 1e-4
    gone = shifts[shifts["ablation"] == WITH].assign(ablation="all", specific=0.0)
    assert (
        mediated_shares(pd.concat([shifts, gone]), n_resamples=200)
        .set_index("ablation")
        .loc["all", "share"]
        .eq(1)
        .all()
    )
    with pytest.raises(UserError, match="at least two emotions"):
        steered_shifts(lm, cells, {"anger": steers["anger"]})
    with pytest.raises(UserError, match="acts of 6 cells"):
        steered_shifts(lm, cells, steers, {"1:1": [(AblateHead(1, 1),)]})


def test_a_head_that_reads_the_steer_is_held_by_resampling_and_one_that_does_not_changes_nothing(
    planted: Planted, planted_texts: pd.DataFrame
) -> None:
    """A steer of the head that writes reaches the text through W_O alone: what stands before it in the act is replaced
    first, what stands behind it takes the steer out again."""
    lm, write = planted.lm, (planted.truth.write_layer, planted.truth.write_head)
    cells = context_cells(planted_texts, of_split(planted_texts, "test"), of_split(planted_texts, "validation"))
    acts = emolib.extract_activations(lm, planted_scenarios(planted, 12, seed=3), sites=("z",), positions="last")
    found = head_ablations(lm, cells, {"write": [write], "both": [write, (1, 1)]}, kinds=["resample", "mean", "zero"])
    assert list(found) == [f"{name} {kind}" for name in ("write", "both") for kind in ("resample", "mean", "zero")]
    by_resample = found["write resample"]
    assert len(by_resample) == len(cells) and len(found["both mean"][0]) == 2
    sources = [act.source for (act,) in by_resample]
    assert len({source.prompt for source in sources}) > 1, "each cell has a source of its own"
    for cell, (act,) in enumerate(by_resample):
        fourth, fifth = (cells.text_of[cells.table[role].iloc[cell], "neutral"] for role in ("fourth", "fifth"))
        assert act.source.prompt == f"{fourth} {fifth}" and fourth != cells.bare_prompt(cell)
    steers = {name: head_steers(vectors, 1.0) for name, vectors in head_vectors(acts, [write]).items()}
    held = {name: (*act, *by_resample[0]) for name, act in steers.items()}
    assert steered_shifts(lm, cells, held)["specific"].abs().max() < 1e-4
    shares = mediated_shares(steered_shifts(lm, cells, steers, found), n_resamples=200).set_index("ablation")
    assert shares.loc["both resample", "share"].abs().max() < 0.2
    with pytest.raises(UserError, match="unknown ablation"):
        head_ablations(lm, cells, {"write": [write]}, kinds=["noise"])
    with pytest.raises(UserError, match="at least one head"):
        head_ablations(lm, cells, {"none": []})


def test_a_factor_is_found_at_which_the_next_token_changes_as_much_as_wanted(planted: Planted) -> None:
    lm, direction = planted.lm, planted.truth.directions["anger"]
    (out,) = emolib.generate(lm, [PROMPT], max_new_tokens=6)
    given = ([PROMPT], [out.token_ids])
    found = matched_to_kl(
        lm, lambda f: Steer(2, direction, f, unit="vector"), *given, kl=0.2, start=planted.truth.strength
    )
    assert found.reached and found.kl == pytest.approx(0.2, rel=0.05)
    act = Steer(2, direction, found.factor, unit="vector")
    assert float(np.mean(next_token_kl(lm, *given, [act]))) == pytest.approx(0.2, rel=0.05)
    still = matched_to_kl(lm, lambda f: Steer(2, direction, f * 1e-9, unit="vector"), *given, kl=0.2, start=1.0)
    assert not still.reached and still.kl < 0.01


def test_damage_is_paired_by_scenario() -> None:
    texts = pd.DataFrame(
        {
            "way": ["heads", "residual"] * 3,
            "emotion": ["joy"] * 4 + ["rage"] * 2,
            "scenario": ["a", "a", "b", "b", "a", "a"],
            "broken": [False, True, False, False, False, True],
            "nll": [3.0, 4.0, 3.0, 3.5, 2.0, 4.0],
        }
    )
    found = damage_difference(texts).set_index("emotion")
    assert found.loc["joy", ["n", "broken_heads", "broken_residual"]].tolist() == [2, 0.0, 0.5]
    assert found.loc["rage", "nll_difference"] == -2.0 and found.loc["all", "broken_difference"] == -0.5
    short = texts.assign(nll=[3.0, 4.0, float("nan"), 3.5, 2.0, 4.0])
    found = damage_difference(short).set_index("emotion")
    assert found.loc["joy", ["nll_heads", "nll_residual", "nll_difference"]].tolist() == [3.0, 4.0, -1.0]
