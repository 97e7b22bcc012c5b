"""What steering costs: the divergence by both routes and by hand; and the topic that is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Case, Edit, factors_by_hand, forced_logits, plain_logits

from emolib.base.errors import UserError
from emolib.engine import divergences
from emolib.engine.generation import generate
from emolib.interventions import AblateDirection, AblateHead, Decay, Steer, SubspaceSteer
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode
from emolib.scoring.encoder import load_encoder
from emolib.steering.damage import next_token_kl, topic_kept

PROMPTS = ["The new shop by the old bridge opens again", "I", "Rain fell and", "I"]
TEXTS = [" and we went in", " know", "s stopped at noon", " do not know, said he"]
TOLERANCE = 1e-4
SEEN = 1e-2  # nats: an act that moves less would be no evidence


@pytest.fixture(params=["native", "bridge"])
def route(request: pytest.FixtureRequest) -> Callable[[LanguageModel], LanguageModel]:
    """Both routes: the engine's own forward pass, and the model's own code."""
    return (lambda lm: lm) if request.param == "native" else through_network


def through_network(lm: LanguageModel) -> LanguageModel:
    return dataclasses.replace(lm, blueprint=None)


def steer(lm: LanguageModel, layer: int, alpha: float = 1.0, **settings: Any) -> Steer:
    vector = np.random.default_rng(layer).standard_normal(lm.d_model).astype(np.float32)
    return Steer(layer, vector, alpha, unit="vector", **settings)


def varied_acts(lm: LanguageModel) -> list[Any]:
    """Every site, the final residual, timings, a head, several acts on one row."""
    last = lm.n_layers
    return [
        steer(lm, 1),
        steer(lm, last),
        (steer(lm, 0, 0.7, site="attn_out", window=1, steps=1), AblateHead(1, 2)),
        steer(lm, last - 1, -2.0, site="mlp_out", window=100, schedule=Decay(0.5)),
        steer(lm, 0, 2.0, schedule=(0.0, 1.0, 0.5)),
        (steer(lm, 1, 0.5), steer(lm, last, 0.5, steps=2)),
        AblateHead(0, 1),
    ]


def by_hand(act: Steer | AblateHead, n_prompt: int) -> tuple[str, int, Edit]:
    """The same act as a function of what one unpadded text holds."""

    def steered(hidden: torch.Tensor) -> torch.Tensor:
        factors = torch.tensor(factors_by_hand(act, n_prompt, hidden.shape[1]))
        return hidden + act.alpha * factors[None, :, None] * torch.tensor(act.vector)

    def without_head(z: torch.Tensor, values: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor:
        factors = torch.tensor(factors_by_hand(act, n_prompt, z.shape[1]))
        z[:, :, act.head] *= 1 - factors[None, :, None]
        return z

    return ("z", act.layer, without_head) if isinstance(act, AblateHead) else (act.site, act.layer, steered)


def divergences_by_hand(
    case: Case, prompt: Sequence[int], text: Sequence[int], acts: Sequence[Any], *, reverse: bool = False
) -> np.ndarray:
    """KL(unpatched ‖ patched) at every token of the text, from whole passes over prompt and text in a plain network."""
    edits = [by_hand(act, len(prompt)) for act in acts]
    scores = [plain_logits(case.plain, given, prompt, text[:-1]) for given in ([], edits)]
    p, q = (logits.double().log_softmax(-1) for logits in (reversed(scores) if reverse else scores))
    return (p.exp() * (p - q)).sum(-1).numpy()


def crossed(lm: LanguageModel, acts: Sequence[Any]) -> tuple[list[str], list[list[int]], list[Any]]:
    """Every text under every act: prompts, continuations and acts, one per row."""
    texts = list(zip(PROMPTS, encode(lm, TEXTS), strict=True))
    rows = [(prompt, ids, act) for act in acts for prompt, ids in texts]
    return tuple(list(column) for column in zip(*rows, strict=True))


def test_the_divergence_is_that_of_whole_passes_with_hooks_by_hand(
    tiny_case: Case, route: Callable[[LanguageModel], LanguageModel]
) -> None:
    prompts, texts, acts = crossed(tiny_case.lm, varied_acts(tiny_case.lm))
    expected = [
        divergences_by_hand(tiny_case, prompt, text, act if isinstance(act, tuple) else (act,))
        for prompt, text, act in zip(encode(tiny_case.lm, prompts), texts, acts, strict=True)
    ]
    means, values = next_token_kl(route(tiny_case.lm), prompts, texts, acts, per_position=True)
    for row, by_position in enumerate(expected):
        found = values[row, : len(by_position)]
        np.testing.assert_allclose(found, by_position, atol=TOLERANCE, rtol=TOLERANCE, err_msg=f"{acts[row]}")
        assert np.isnan(values[row, len(by_position) :]).all()
        assert means[row] == pytest.approx(by_position.mean(), abs=TOLERANCE, rel=TOLERANCE)
    per_act = means.reshape(-1, len(PROMPTS))
    assert (per_act.max(axis=1) > SEEN).all(), "an act that moves nothing was compared"


def test_the_divergence_is_measured_from_the_unpatched_side(tiny_case: Case) -> None:
    act = steer(tiny_case.lm, 1, 4.0)
    (prompt,), (text,) = encode(tiny_case.lm, PROMPTS[:1]), encode(tiny_case.lm, TEXTS[:1])
    forward, reverse = (
        divergences_by_hand(tiny_case, prompt, text, [act], reverse=reverse) for reverse in (False, True)
    )
    _, (found,) = next_token_kl(tiny_case.lm, PROMPTS[:1], [text], [act], per_position=True)
    np.testing.assert_allclose(found, forward, atol=TOLERANCE, rtol=TOLERANCE)
    assert np.abs(found - reverse).max() > SEEN


def test_nothing_diverges_without_a_patch(case: Case, route: Callable[[LanguageModel], LanguageModel]) -> None:
    acts = [None, steer(case.lm, 1, 0.0), steer(case.lm, case.lm.n_layers, 0.0), steer(case.lm, 0, schedule=(0.0,))]
    strong = steer(case.lm, 1, 20.0 if case.name == "bundled" else 1.0)
    prompts, texts, acts = crossed(case.lm, [*acts, strong])
    found = next_token_kl(route(case.lm), prompts, texts, acts).reshape(-1, len(PROMPTS))
    assert np.abs(found[:-1]).max() < 1e-6
    assert (found[-1] > SEEN).all()


def test_a_stronger_steer_diverges_more(case: Case) -> None:
    unit = 20.0 if case.name == "bundled" else 1.0
    for layer in (1, case.lm.n_layers):
        prompts, texts, acts = crossed(case.lm, [steer(case.lm, layer, unit * alpha) for alpha in (0.03, 0.1, 0.3, 1)])
        means = next_token_kl(case.lm, prompts, texts, acts).reshape(-1, len(PROMPTS)).mean(axis=1)
        assert (np.diff(means) > 0).all() and means[-1] > SEEN


def test_both_routes_agree_on_moves_and_ablations(tiny_case: Case) -> None:
    lm = tiny_case.lm
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.standard_normal((lm.d_model, 2)))[0].astype(np.float32)
    acts = [
        SubspaceSteer(1, basis, np.array([4.0, -4.0], np.float32)),
        SubspaceSteer(lm.n_layers, basis, np.array([6.0, -6.0], np.float32), 0.8),
        AblateDirection(1, generator.standard_normal(lm.d_model).astype(np.float32)),
        AblateHead(1, 0, "mean", np.ones(lm.d_head, np.float32)),
    ]
    rows = crossed(lm, acts)
    native, bridge = next_token_kl(lm, *rows), next_token_kl(through_network(lm), *rows)
    np.testing.assert_allclose(native, bridge, atol=TOLERANCE, rtol=TOLERANCE)
    assert (native.reshape(-1, len(PROMPTS)).max(axis=1) > SEEN).all()


def test_a_row_does_not_depend_on_the_rows_beside_it(
    tiny_case: Case, route: Callable[[LanguageModel], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = route(tiny_case.lm)
    prompts, texts, acts = crossed(lm, varied_acts(lm)[:4])
    together = next_token_kl(lm, prompts, texts, acts)
    order = np.random.default_rng(1).permutation(len(acts))
    shuffled = next_token_kl(lm, *([given[row] for row in order] for given in (prompts, texts, acts)), batch_size=3)
    np.testing.assert_allclose(shuffled, together[order], atol=TOLERANCE, rtol=TOLERANCE)
    longer = [PROMPTS[0] + " and again" * 3, *prompts], [texts[0], *texts], [acts[0], *acts]
    monkeypatch.setattr(divergences, "TOKENS_AT_ONCE", {"cpu": 3})
    np.testing.assert_allclose(next_token_kl(lm, *longer)[1:], together, atol=TOLERANCE, rtol=TOLERANCE)
    assert len(np.unique(together.round(3))) > len(together) // 2, "rows that are alike show no mix-up"


def test_one_pass_over_a_text_gives_what_the_steps_of_generation_give(
    case: Case, route: Callable[[LanguageModel], LanguageModel]
) -> None:
    lm, unit = route(case.lm), 20.0 if case.name == "bundled" else 1.0
    acts = [steer(lm, 1, unit), steer(lm, lm.n_layers, unit), steer(lm, 0, unit, window=1, schedule=Decay(0.5))]
    texts = [ids[:3] for ids in encode(lm, [" and we went in", " do not know, said he"])]
    rows = [(prompt, text, act) for act in acts for prompt, text in zip(PROMPTS, texts * 2, strict=True)]
    prompts, texts, acts = ([*column] for column in zip(*rows, strict=True))
    fed = [text[:-1] for text in texts]
    p, q = (
        forced_logits(lm, "bridge" if lm.blueprint is None else "native", prompts, given, fed).double().log_softmax(-1)
        for given in ([None] * len(acts), acts)
    )
    expected = (p.exp() * (p - q)).sum(-1).numpy()
    _, values = next_token_kl(lm, prompts, texts, acts, per_position=True)
    rtol = 1e-4 if case.name == "bundled" else 1e-5  # of distances of up to 12 nat there, of float32 logits
    np.testing.assert_allclose(values, expected, atol=1e-5, rtol=rtol)
    assert (expected.max(axis=1) > SEEN).all()


def test_the_unpatched_pass_of_a_prompt_is_shared(tiny_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    lines_run = []

    class Counting(divergences.ForcedPass):
        def hidden(self) -> torch.Tensor:
            found = super().hidden()
            lines_run.append(len(found))
            return found

    monkeypatch.setattr(divergences, "ForcedPass", Counting)
    acts = [steer(tiny_case.lm, layer) for layer in (2, 0, 1)]
    prompts, texts, acts = crossed(tiny_case.lm, [*acts, None])
    next_token_kl(tiny_case.lm, prompts, texts, acts)
    n_texts = len(set(zip(prompts, map(tuple, texts), strict=True)))
    assert sum(lines_run) == 3 * len(PROMPTS) + n_texts
    lines_run.clear()
    next_token_kl(tiny_case.lm, ["I", "Ra"] * 3, [texts[0]] * 6, acts[:6], batch_size=3)
    assert lines_run == [3 + 1, 3 + 1], "rows of one prompt belong into one batch"


def test_an_act_moves_the_predictions_from_its_own_tokens_on(tiny_case: Case) -> None:
    lm = tiny_case.lm
    (text,) = encode(lm, TEXTS[:1])
    final = [
        steer(lm, lm.n_layers, steps=0),  # the prompt's tokens alone: no later token reads the final residual
        steer(lm, lm.n_layers, schedule=(0.0, 0.0, 1.0)),
        steer(lm, lm.n_layers),
    ]
    _, values = next_token_kl(lm, PROMPTS[:1] * 3, [text] * 3, final, per_position=True)
    touched = values > SEEN
    n_tokens = len(text)
    assert touched[0].tolist() == [True] + [False] * (n_tokens - 1) and np.abs(values[0, 1:]).max() < 1e-6
    assert touched[1].tolist() == [pos == 2 for pos in range(n_tokens)]
    assert touched[2].all()


def test_the_unpatched_models_own_text_serves_as_the_continuation(case: Case) -> None:
    texts = [out.token_ids for out in generate(case.lm, PROMPTS, max_new_tokens=6)]
    act = steer(case.lm, 1, 20.0 if case.name == "bundled" else 1.0)
    means, values = next_token_kl(case.lm, PROMPTS, texts, [act] * len(PROMPTS), per_position=True)
    assert values.shape == (len(PROMPTS), max(map(len, texts)))
    assert (means > SEEN).all() and (values[~np.isnan(values)] > -1e-6).all()


def test_an_empty_continuation_has_no_divergence_and_does_not_disturb_the_others(tiny_case: Case) -> None:
    lm = tiny_case.lm
    texts = encode(lm, TEXTS)
    acts = [steer(lm, 1)] * len(texts)
    full = next_token_kl(lm, PROMPTS, texts, acts)
    means, values = next_token_kl(lm, PROMPTS, [texts[0], [], *texts[2:]], acts, per_position=True)
    assert np.isnan(means[1]) and np.isnan(values[1]).all()
    np.testing.assert_allclose(means[[0, 2, 3]], full[[0, 2, 3]], atol=TOLERANCE)
    assert np.isnan(next_token_kl(lm, PROMPTS[:1], [[]], [None])).all()
    assert next_token_kl(lm, [], [], []).shape == (0,)


def test_a_batch_that_does_not_fit_is_halved(tiny_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = crossed(tiny_case.lm, varied_acts(tiny_case.lm)[:2])
    expected = next_token_kl(tiny_case.lm, *rows)
    room, sizes = 5, []

    class Crowded(divergences.ForcedPass):
        def hidden(self) -> torch.Tensor:
            found = super().hidden()
            if len(found) > room:
                raise torch.OutOfMemoryError("out of memory")
            sizes.append(len(found))
            return found

    monkeypatch.setattr(divergences, "ForcedPass", Crowded)
    np.testing.assert_allclose(next_token_kl(tiny_case.lm, *rows), expected, atol=TOLERANCE, rtol=TOLERANCE)
    assert len(sizes) > 1
    room = 1
    expect_one_line(lambda: next_token_kl(tiny_case.lm, *rows), "does not fit in the memory")


def expect_one_line(call: Callable[[], Any], *words: str) -> None:
    with pytest.raises(UserError) as caught:
        call()
    line = str(caught.value)
    assert line == line.strip() and len(line.splitlines()) == 1
    for word in words:
        assert word in line


def test_mistakes_are_told_in_one_line(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["llama"]
    good = {"prompts": PROMPTS[:2], "continuations": encode(lm, TEXTS[:2]), "acts": [None, steer(lm, 1)]}

    def ask(**changed: Any) -> Callable[[], Any]:
        given = {**good, **changed}
        lists = [given.pop(name) for name in ("prompts", "continuations", "acts")]
        return lambda: next_token_kl(lm, *lists, **given)

    assert np.isfinite(ask()()).all()
    expect_one_line(ask(acts=[None]), "2 prompts", "2 continuations", "1 acts")
    expect_one_line(ask(continuations=[[1]]), "1 continuations")
    expect_one_line(ask(prompts="ab"), "list of prompts")
    expect_one_line(ask(prompts=["a", " "]), "non-empty")
    expect_one_line(ask(batch_size=0), "batch_size", "0")
    for wrong in (TEXTS[1], [0, lm.spec.d_vocab], [-1], [0.5], [[1], [2]], [[1], [2, 3]], [None], None):
        expect_one_line(ask(continuations=[[1], wrong]), "token ids", f"0 to {lm.spec.d_vocab - 1}", "continuation 1")
    expect_one_line(ask(acts=[None, steer(lm, lm.n_layers + 1)]), str(lm.n_layers + 1))
    foreign = Steer(1, np.ones(lm.d_model + 1, np.float32), 1.0, unit="vector")
    expect_one_line(ask(acts=[None, foreign]), "d_model")


SUBJECT = "The baker sold fresh bread at the market this morning."
PARAPHRASE = " At dawn, loaves straight from the bakery's oven were on sale in the market."
UNRELATED = " Quantum chips need temperatures close to absolute zero."


def test_a_paraphrase_keeps_the_topic_and_an_unrelated_text_does_not() -> None:
    same, near, far = topic_kept([SUBJECT] * 3, [SUBJECT, PARAPHRASE, UNRELATED])
    assert same == pytest.approx(1.0, abs=1e-9)
    assert 0.5 < near < 0.99
    assert far < 0.2


def test_the_similarity_is_that_of_mean_pooled_states() -> None:
    encoder = load_encoder(torch.device("cpu"))

    def embedded(text: str) -> np.ndarray:
        with torch.inference_mode():
            states = encoder.network(**encoder.tokenizer(text, return_tensors="pt")).last_hidden_state
        mean = states[0].double().mean(0).numpy()
        return mean / np.linalg.norm(mean)

    texts = [PARAPHRASE, UNRELATED, "x"]
    expected = [embedded(SUBJECT) @ embedded(text) for text in texts]
    np.testing.assert_allclose(topic_kept([SUBJECT] * 3, texts), expected, atol=1e-5)
    whole = encoder.features([SUBJECT, PARAPHRASE]).astype(float)
    assert abs(whole[0] @ whole[1] / np.prod(np.linalg.norm(whole, axis=1)) - expected[0]) > 0.01


def test_an_empty_text_has_no_topic_and_does_not_disturb_the_others() -> None:
    found = topic_kept([SUBJECT] * 4, [PARAPHRASE, "", " \n", UNRELATED])
    assert np.isnan(found).tolist() == [False, True, True, False]
    assert found[[0]].tobytes() == topic_kept([SUBJECT], [PARAPHRASE]).tobytes()
    assert np.isnan(topic_kept([SUBJECT], [""])).all() and topic_kept([], []).shape == (0,)


def test_mistakes_about_topics_are_told_in_one_line() -> None:
    expect_one_line(lambda: topic_kept([SUBJECT], []), "1 prompts", "0 texts")
    expect_one_line(lambda: topic_kept(SUBJECT, [SUBJECT]), "list of prompts")
    expect_one_line(lambda: topic_kept([SUBJECT], [None]), "texts[0]", "None")
    expect_one_line(lambda: topic_kept([" "], [SUBJECT]), "prompts[0]")
