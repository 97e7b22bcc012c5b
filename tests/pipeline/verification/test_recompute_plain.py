"""The other route itself: plain transformers with hooks of its own agrees with the engine, and notices other acts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tiny import Case
from transformers import PreTrainedTokenizerBase

import emolib
from emolib.data.keywords import load_keywords
from emolib.directions import controls, rivals
from emolib.engine.likelihood import continuation_nll
from emolib.engine.sampling import Sampler
from emolib.pipeline.verification.recompute import plain_acts, scores
from emolib.pipeline.verification.recompute.plain_acts import PlainAct, steer
from emolib.pipeline.verification.recompute.plain_model import PlainModel, layers_of
from emolib.pipeline.verification.recompute.plain_writing import Choice, Sampled, Stored, greedy, parts_at
from emolib.pipeline.verification.recompute.texts import mean_nll
from emolib.scoring import score_texts

PROMPTS = ["The train to the coast was late", "Tea"]
NEW = 8


def plain(case: Case) -> PlainModel:
    network = case.plain
    network.generation_config.eos_token_id = sorted(case.lm.stop_ids)
    tokenizer: PreTrainedTokenizerBase = case.lm.tokenizer
    return PlainModel(network, tokenizer, layers_of(network))


def vector_of(case: Case, layer: int) -> np.ndarray:
    drawn = np.random.default_rng(layer).standard_normal(case.lm.d_model)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def test_residuals_are_the_engines(case: Case) -> None:
    model = plain(case)
    held = emolib.extract_activations(case.lm, PROMPTS, sites=("resid_pre",), positions="last").values["resid_pre"]
    for place, prompt in enumerate(PROMPTS):
        stream = model.residuals(model.prompt_ids(prompt))
        assert stream.shape[0] == case.lm.n_layers + 1
        wanted = stream[:, -1]
        off = np.linalg.norm(held[:, place] - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
        assert off.max() < 1e-4


@pytest.mark.parametrize("schedule", ["constant", 0.5, (1.0, 0.0, 2.0)])
def test_a_steered_text_of_the_engine_is_what_the_plain_model_writes(case: Case, schedule: object) -> None:
    model, layer = plain(case), 1
    vector, length = vector_of(case, layer), 0.7 * float(np.linalg.norm(model.residuals([1, 2, 3], [layer])[0, -1]))
    given = emolib.Decay(schedule) if isinstance(schedule, float) else schedule
    act = emolib.Steer(layer, vector, length, unit="vector", window=2, schedule=given)
    mine = steer(layer, vector, length, window=2, schedule=schedule)
    outs = emolib.generate(case.lm, PROMPTS, [act] * 2, max_new_tokens=NEW)
    for out in outs:
        prompt, ids = model.prompt_ids(out.prompt), model.text_ids(out.text)
        stored = Stored(out.text, NEW, len(out.token_ids), out.finish_reason)
        logits, ratios = model.forced(prompt, ids, mine)
        assert parts_at(model, prompt, stored, mine, greedy, logits) <= 1e-3
        assert ratios.mean() == pytest.approx(out.delta_ratio, rel=1e-3)
        if ids and out.text:
            wanted = continuation_nll(case.lm, [out.prompt], [ids])[0]
            assert mean_nll(model.forced(prompt, ids)[0], ids) == pytest.approx(wanted, abs=2e-3)


def test_a_text_of_another_act_is_noticed(bundled_case: Case) -> None:
    model, case = plain(bundled_case), bundled_case
    vector, length = vector_of(case, 12), 40.0
    act = emolib.Steer(12, vector, length, unit="vector")
    out, other = emolib.generate(case.lm, [PROMPTS[0]] * 2, [act, None], max_new_tokens=NEW)
    assert out.text != other.text
    mine, turned = (steer(12, sign * vector, length) for sign in (1, -1))
    for text, one, parts in ((out, mine, False), (out, turned, True), (other, mine, True), (other, None, False)):
        prompt = model.prompt_ids(text.prompt)
        stored = Stored(text.text, NEW, len(text.token_ids), text.finish_reason)
        logits, _ = model.forced(prompt, model.text_ids(text.text), one)
        assert (parts_at(model, prompt, stored, one, greedy, logits) > 1e-3) == parts


def test_sampled_texts_follow_from_their_random_numbers(bundled_case: Case) -> None:
    model, case = plain(bundled_case), bundled_case
    seeds = [11, 12]
    outs = emolib.generate(case.lm, PROMPTS, seeds=seeds, max_new_tokens=NEW, temperature=0.9, top_p=0.8)
    for out, seed, other in zip(outs, seeds, seeds[::-1], strict=True):
        prompt = model.prompt_ids(out.prompt)
        logits, _ = model.forced(prompt, model.text_ids(out.text))
        stored = Stored(out.text, NEW, len(out.token_ids), out.finish_reason)
        found = [parts_at(model, prompt, stored, None, choice(number), logits) for number in (seed, other)]
        assert found[0] <= 1e-3 < found[1]


def choice(seed: int) -> Choice:
    return Sampled(np.random.default_rng(seed).random(NEW), 0.9, 0.8)


def test_a_sampled_token_is_the_engines() -> None:
    rng = np.random.default_rng(0)
    import torch

    for top_p in (1.0, 0.7):
        logits, draws = rng.normal(0, 2, (40, 50)).astype(np.float32), rng.random(40)
        wanted = Sampler(0.7, top_p).pick(torch.tensor(logits), torch.tensor(draws)).tolist()
        assert [Sampled(draws[[i]], 0.7, top_p)(0, logits[i])[0] for i in range(40)] == wanted


def test_hooks_are_gone_after_an_exception(bundled_case: Case) -> None:
    model = plain(bundled_case)
    before = model.forced([1, 2, 3], [4])[0]
    with pytest.raises(ValueError, match="broadcast"):
        model.forced([1, 2, 3], [4], PlainAct(3, delta=np.zeros(7, np.float32)))
    assert (model.forced([1, 2, 3], [4])[0] == before).all()


# acts


def cube(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (9, 4, 32)).astype(np.float32) + np.arange(4)[:, None]


def test_control_directions_are_the_studys() -> None:
    tokens = np.random.default_rng(1).normal(0, 1, (60, 32)).astype(np.float32)
    pairs = [
        (plain_acts.isotropic(32, 5), controls.isotropic_direction(32, 5)),
        (plain_acts.covariance(tokens, 5), controls.covariance_direction(tokens, 5)),
        (plain_acts.shuffled(cube(), 5), controls.shuffled_difference(cube(), 5)),
    ]
    for mine, theirs in pairs:
        assert mine / np.linalg.norm(mine) == pytest.approx(theirs / np.linalg.norm(theirs), abs=1e-5)
    assert plain_acts.isotropic(32, 6) != pytest.approx(plain_acts.isotropic(32, 5))


def test_rivals_are_the_studys() -> None:
    some = cube(2).astype(np.float64)
    emotional, neutral = some[:, 1], some[:, 0]
    for mine, theirs in (
        (plain_acts.first_component(emotional - neutral), rivals._principal(emotional, neutral)),
        (plain_acts.probe(emotional, neutral), rivals._probe(emotional, neutral)),
    ):
        assert mine / np.linalg.norm(mine) == pytest.approx(theirs / np.linalg.norm(theirs), abs=3e-3)


def test_the_probe_is_the_minimum_that_it_says_it_is() -> None:
    some = cube(3).astype(np.float64)
    x = StandardScaler().fit(np.concatenate([some[:, 1], some[:, 0]]))
    y = np.repeat([True, False], 9)
    z = np.c_[x.transform(np.concatenate([some[:, 1], some[:, 0]])), np.ones(18)]
    wanted = LogisticRegression(C=0.01, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(z, y).coef_[0][:-1]
    assert plain_acts.probe(some[:, 1], some[:, 0]) == pytest.approx(wanted / x.scale_, abs=1e-6)


def test_a_subspace_of_one_direction_moves_to_its_target() -> None:
    basis = plain_acts.leading(cube()[:, 1].astype(np.float64) - cube()[:, 0], 2)
    assert basis.T @ basis == pytest.approx(np.eye(2), abs=1e-9)
    act = PlainAct(0, basis=basis, target=np.array([3.0, -2.0]), alpha=1.0, window=9)
    moved = act.moved(cube()[0], np.ones(4))
    assert moved @ basis == pytest.approx(np.tile([3.0, -2.0], (4, 1)), abs=1e-4)


# scores

SAID = [
    "I am not sorry at all, but thank you so much!",
    "I can\u2019t thank you enough; not angry, but furious.",
    "No. Thanks? Never been so grateful, my fault.",
    "The lamp is on the desk.",
    "",
]


@pytest.mark.parametrize("text", SAID)
def test_counts_and_sentiment_are_the_scorers(text: str) -> None:
    (row,) = score_texts([text], backend="lexical").to_dict("records")
    for name, value in {**scores._counts(text), **scores._sentiment(text)}.items():
        assert value == pytest.approx(row[name], abs=1e-9), name
    assert {f"keywords/{label}" for label in load_keywords().labels} == set(scores._counts(text))


def test_a_negation_that_is_left_out_would_be_noticed() -> None:
    assert scores._counts("I am not sorry")["keywords/apology"] == 0
    assert scores._counts("I am so sorry")["keywords/apology"] == 1


def test_repeated_grams_are_counted() -> None:
    found = scores._fluency([1, 2, 3, 1, 2, 3])
    assert found == {"fluency/length": 6.0, "fluency/repetition": 0.25, "fluency/distinct_2": pytest.approx(0.6)}
