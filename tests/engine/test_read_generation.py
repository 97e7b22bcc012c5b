"""Texts that are read as soon as they are generated: as likely as by a pass of their own, and no layer is run twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from tiny import Case

from emolib.engine import histories, read_generation
from emolib.engine.decoding_job import DROP_SHARE
from emolib.engine.generation import Generation, Options, generate, generate_parts
from emolib.engine.histories import Histories, HistoryPass
from emolib.engine.likelihood import continuation_nll
from emolib.engine.read_generation import generate_and_read, token_ids
from emolib.engine.residuals import Known, Residuals
from emolib.engine.sampling import Decoding
from emolib.interventions import AblateHead, Intervention, Steer
from emolib.models.language_model import LanguageModel

PROMPTS = ["The new shop by the old bridge opens again", "I", "Rain"]
DECODINGS = {"greedy": Decoding(8), "sampled": Decoding(8, temperature=1.0, top_p=0.95)}


def rows_of(lm: LanguageModel) -> tuple[list[str], list[Intervention]]:
    """Every prompt without an act, and with acts at the first, an inner, the last layer, and the final residual."""
    vectors = iter(np.random.default_rng(0).standard_normal((5, lm.d_model)).astype(np.float32))
    acts: list[Intervention] = [None, AblateHead(lm.n_layers - 1, 0)]
    for layer in (0, 1, lm.n_layers - 1, lm.n_layers):
        vector = next(vectors)
        acts.append(Steer(layer, vector / np.linalg.norm(vector), 0.5, unit="resid", resid_norm=10.0))
    acts.append((Steer(1, next(vectors), 1.0, unit="vector", steps=2, site="mlp_out"), acts[-1]))
    return PROMPTS * len(acts), [act for act in acts for _ in PROMPTS]


def with_what_is_left(
    lm: LanguageModel, decoding: Decoding, look: Callable[[Sequence[Generation], list[Known | None]], None]
) -> list[Generation]:
    prompts, acts = rows_of(lm)

    def on_part(outs: Sequence[Generation], left: Residuals | None) -> None:
        assert left is not None
        look(outs, [left.of(row, out.token_ids) for row, out in enumerate(outs)])

    return generate_parts(lm, prompts, acts, Options(decoding, seeds=list(range(len(prompts)))), on_part)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_texts_are_as_likely_as_when_they_are_read_afterwards(case: Case, decoding: str) -> None:
    prompts, acts = rows_of(case.lm)
    given = {"decoding": DECODINGS[decoding], "seeds": list(range(len(prompts)))}
    outs, nll = generate_and_read(case.lm, prompts, acts, **given)
    assert outs == generate(case.lm, prompts, acts, **given)
    alone = continuation_nll(case.lm, prompts, token_ids(case.lm, [out.text for out in outs]))
    np.testing.assert_allclose(nll, alone, atol=2e-4)
    assert len(np.unique(nll.round(3))) > len(prompts) // 3, "texts are as likely as each other: nothing was compared"
    small, small_nll = generate_and_read(case.lm, prompts, acts, **given, batch_size=4)
    np.testing.assert_allclose(small_nll, alone, atol=2e-4)
    assert [out.prompt for out in small] == prompts


@pytest.mark.parametrize("decoding", DECODINGS)
def test_what_generation_leaves_behind_is_of_the_unpatched_model(case: Case, decoding: str) -> None:
    """Of the tokens as they were generated: all residuals are used, and spoilt ones spoil the likelihood."""
    layers: list[int] = []

    def look(outs: Sequence[Generation], known: list[Known | None]) -> None:
        prompts, ids = [out.prompt for out in outs], [out.token_ids for out in outs]
        layers.extend(0 if one is None else one.layer for one in known)
        alone = continuation_nll(case.lm, prompts, ids)
        np.testing.assert_allclose(continuation_nll(case.lm, prompts, ids, known), alone, atol=2e-4)
        with torch.inference_mode():
            for one in known:
                if one is not None:
                    one.values.mul_(-3)
        spoilt = continuation_nll(case.lm, prompts, ids, known)
        moved = np.abs(spoilt - alone) > 1e-3
        assert moved[[one is not None for one in known]].mean() > 0.5

    with_what_is_left(case.lm, DECODINGS[decoding], look)
    last = case.lm.n_layers
    assert set(layers) == {0, 1, last - 1, last} and layers.count(0) == len(PROMPTS)


def test_layers_below_the_first_act_are_not_run_again(tiny_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, layer = tiny_case.lm, 1
    computed: list[int] = []
    heads = HistoryPass._heads

    def counted(self: HistoryPass, of: object, x: torch.Tensor, span: object) -> object:
        computed.append(x.shape[1])
        return heads(self, of, x, span)

    vector = np.random.default_rng(0).standard_normal(lm.d_model).astype(np.float32)
    acts = [Steer(layer, sign * vector, 1.0, unit="vector") for sign in (1, -1)]

    def on_part(outs: Sequence[Generation], left: Residuals | None) -> None:
        assert left is not None
        known = [left.of(row, out.token_ids) for row, out in enumerate(outs)]
        monkeypatch.setattr(HistoryPass, "_heads", counted)
        continuation_nll(lm, [out.prompt for out in outs], [out.token_ids for out in outs], known)

    generate_parts(lm, PROMPTS[:1] * 2, acts, Options(DECODINGS["greedy"]), on_part)
    n_prompt = len(lm.tokenizer(PROMPTS[0]).input_ids)
    assert len(computed) == lm.n_layers
    assert set(computed[:layer]) == {n_prompt} and min(computed[layer:]) == max(computed[layer:]) > n_prompt + 7


def test_a_text_that_is_split_otherwise_goes_on_from_what_is_alike(tiny_case: Case) -> None:
    """Residuals of another text with the same prompt serve the tokens that both begin with, and none after."""
    lm = tiny_case.lm

    def look(outs: Sequence[Generation], known: list[Known | None]) -> None:
        prompts = [out.prompt for out in outs]
        for place in (0, 3, 6, 7):
            ids = [[*out.token_ids[:place], 65, *out.token_ids[place + 1 :], 66] for out in outs]
            alone = continuation_nll(lm, prompts, ids)
            np.testing.assert_allclose(continuation_nll(lm, prompts, ids, known), alone, atol=2e-4)

    with_what_is_left(lm, DECODINGS["greedy"], look)


def test_nodes_are_computed_where_what_follows_them_needs_their_keys() -> None:
    values = torch.zeros(4, 2)
    tree = Histories()
    tree.add([9], [1, 2, 3, 4], Known(5, [1, 2, 3, 4], values))
    tree.add([9], [1, 2, 7, 4], Known(2, [1, 2, 7, 4], values))
    tree.add([9], [1, 8, 3, 4])
    tree.add([9], [1, 2, 3, 6, 6], Known(4, [1, 2, 3, 6, 6], values))
    tree.add([8], [1, 2, 3], Known(6, [1, 2, 5], values))
    entries = tree.entries()
    by_text = [[int(entries[node]) for node in nodes[:-1]] for _, nodes in tree.texts]
    # "1" begins a text of which nothing is known, "1 2" one that enters at 2, "1 2 3" one that enters at 4
    assert by_text == [[0, 2, 4], [0, 2, 2], [0, 0, 0], [0, 2, 4, 4], [6, 6]]
    assert all(entries[node] == 0 for nodes in tree.prompts for node in nodes)


def test_rows_that_end_early_leave_their_own_residuals(tiny_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_case.lm
    monkeypatch.setitem(lm.__dict__, "stop_ids", frozenset(range(0, 256, 4)))
    ended: list[int] = []

    def look(outs: Sequence[Generation], known: list[Known | None]) -> None:
        texts = [row for row, out in enumerate(outs) if out.token_ids]
        prompts, ids = [outs[row].prompt for row in texts], [outs[row].token_ids for row in texts]
        alone = continuation_nll(lm, prompts, ids)
        np.testing.assert_allclose(continuation_nll(lm, prompts, ids, [known[row] for row in texts]), alone, atol=2e-4)
        ended.extend(len(outs[row].token_ids) for row in texts)

    rows = with_what_is_left(lm, DECODINGS["sampled"], look)
    assert sum(length < 7 for length in ended) > 0 and max(ended) > min(ended)
    assert sum(out.finish_reason == "stop" for out in rows) * DROP_SHARE > len(rows), "no row was dropped"


@pytest.mark.parametrize("route", ["network", "plain"])
def test_equal_texts_are_read_once_and_other_routes_read_all(
    tiny_case: Case, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_case.lm if route == "plain" else dataclasses.replace(tiny_case.lm, blueprint=None)
    read: list[int] = []
    original = continuation_nll

    def counted(lm: LanguageModel, prompts: list[str], ids: list[list[int]], known: list[Known | None]) -> np.ndarray:
        read.append(len(ids))
        assert route == "plain" or not any(known)
        return original(lm, prompts, ids, known)

    monkeypatch.setattr(read_generation, "continuation_nll", counted)
    outs, nll = generate_and_read(lm, ["Rain"] * 6, decoding=Decoding(5), batch_size=2)
    assert sum(read) == 1 and len(set(nll.tolist())) == 1
    expected = original(tiny_case.lm, ["Rain"], token_ids(lm, [outs[0].text]))
    np.testing.assert_allclose(nll[:1], expected, atol=2e-4)


def test_blocks_are_made_once_per_set_of_entered_texts(tiny_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    blocks = histories.HistoryPass._blocks

    def counted(self: HistoryPass, count: int) -> object:
        made.append(count)
        return blocks(self, count)

    monkeypatch.setattr(histories.HistoryPass, "_blocks", counted)
    ids = token_ids(tiny_case.lm, [" opened again."])
    continuation_nll(tiny_case.lm, ["The new shop"], ids)
    assert len(made) == 1
