"""Extraction: every number is recomputed from the plain model, one text at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import Case, blocks, byte_tokenizer, count_hooks, plain_multimodal
from torch import nn

from emolib.base.errors import UserError
from emolib.data.bulk_norms import bulk_norm
from emolib.engine import text_pass
from emolib.engine.extraction import extract_activations, extract_positions
from emolib.engine.generation import encode
from emolib.models.language_model import LanguageModel, wrap
from emolib.models.loading import spec_of

TEXTS = ["It rained.", "The new shop by the old bridge opens again.", "I", "No", "The kettle boiled over twice."]
RELATIVE = 1e-4  # float32, relative to the largest entry of a layer


@dataclass(frozen=True)
class Plain:
    """What a plain model shows for one text: `resid_pre` `[layer, pos, d_model]`, `mlp_out` likewise."""

    resid_pre: np.ndarray
    mlp_out: np.ndarray


def mlp_of(block: nn.Module) -> nn.Module:
    """The module whose output a block adds to the residual stream as its MLP's (Gemma normalises it once more)."""
    return getattr(block, "post_feedforward_layernorm", None) or block.mlp


def plain_activations(network: nn.Module, ids: list[int]) -> Plain:
    """Hidden states of the plain network; the final residual and the MLPs by hooks on its own modules."""
    final, mlps = [], []
    handles = [mlp_of(block).register_forward_hook(lambda m, a, out: mlps.append(out)) for block in blocks(network)]
    handles.append(blocks(network)[-1].register_forward_hook(lambda m, a, out: final.append(out)))
    try:
        with torch.inference_mode():
            hidden = network(torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states
    finally:
        for handle in handles:
            handle.remove()
    (last,) = final
    last = last[0] if isinstance(last, tuple) else last
    return Plain(*(torch.cat(parts).numpy() for parts in ([*hidden[:-1], last], mlps)))


def reference(case: Case) -> list[Plain]:
    return [plain_activations(case.plain, ids) for ids in encode(case.lm, TEXTS)]


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    """`[layer, …]` arrays, layer by layer."""
    assert actual.shape == expected.shape
    for layer, (mine, theirs) in enumerate(zip(actual, expected, strict=True)):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(mine, theirs, atol=RELATIVE * scale, rtol=0, err_msg=f"layer {layer}")


def close(actual: np.ndarray, expected: np.ndarray) -> bool:
    try:
        assert_close(actual, expected)
    except AssertionError:
        return False
    return True


def test_the_last_position_equals_the_hidden_states_of_the_plain_model(case: Case) -> None:
    acts = extract_activations(case.lm, TEXTS, batch_size=3)
    expected = reference(case)
    for site in ("resid_pre", "mlp_out"):
        assert_close(acts.values[site], np.stack([getattr(plain, site)[:, -1] for plain in expected], axis=1))
    assert acts.values["resid_pre"].shape == (case.lm.n_layers + 1, len(TEXTS), case.lm.d_model)
    assert acts.values["mlp_out"].shape == (case.lm.n_layers, len(TEXTS), case.lm.d_model)
    assert {value.dtype for value in acts.values.values()} == {np.dtype(np.float32)}
    before_last = np.stack([plain.resid_pre[:, -2] for plain in expected if plain.resid_pre.shape[1] > 1], axis=1)
    several = [i for i, plain in enumerate(expected) if plain.resid_pre.shape[1] > 1]
    assert not close(acts.values["resid_pre"][:, several], before_last)


def test_the_final_residual_is_taken_before_the_final_norm(case: Case) -> None:
    acts = extract_activations(case.lm, TEXTS)
    for i, ids in enumerate(encode(case.lm, TEXTS)):
        with torch.inference_mode():
            normalised = case.plain(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1].numpy()
        assert not close(acts.values["resid_pre"][-1:, i], normalised[None])


def test_the_mean_leaves_out_the_first_token_unless_it_is_the_only_one(case: Case) -> None:
    acts = extract_activations(case.lm, TEXTS, positions="mean", batch_size=3)
    for site in ("resid_pre", "mlp_out"):
        for i, plain in enumerate(reference(case)):
            tokens = getattr(plain, site)
            kept = tokens[:, 1:] if tokens.shape[1] > 1 else tokens
            assert_close(acts.values[site][:, i], kept.mean(axis=1))
            if tokens.shape[1] > 1:
                assert not close(acts.values[site][:, i], tokens.mean(axis=1))
    assert 1 in acts.texts["n_tokens"].tolist(), "no text of a single token"


def test_batched_extraction_equals_one_text_at_a_time(case: Case) -> None:
    together = extract_positions(case.lm, TEXTS, batch_size=len(TEXTS))
    alone = extract_positions(case.lm, TEXTS, batch_size=1)
    assert set(together) == {"last", "mean"}
    for position, acts in together.items():
        for site, values in acts.values.items():
            assert_close(values, alone[position].values[site])
            assert not close(values, values[:, ::-1]), "texts are interchangeable"
        assert_close(acts.token_norms, alone[position].token_norms)
        assert_close(acts.bulk_norms, alone[position].bulk_norms)


def test_token_norms_and_their_median(case: Case) -> None:
    acts = extract_activations(case.lm, TEXTS, batch_size=2)
    norms = [np.linalg.norm(plain.resid_pre, axis=-1) for plain in reference(case)]
    assert_close(acts.token_norms, np.concatenate(norms, axis=1))
    np.testing.assert_array_equal(acts.offsets, np.cumsum([0] + [norm.shape[1] for norm in norms]))
    later = np.concatenate([norm[:, 1:] for norm in norms], axis=1)
    np.testing.assert_allclose(acts.median_norms(), np.median(later, axis=1), rtol=1e-4)
    assert not np.allclose(acts.median_norms(), np.median(np.concatenate(norms, axis=1), axis=1), rtol=1e-4)


def test_bulk_norms_and_their_median(case: Case) -> None:
    acts = extract_activations(case.lm, TEXTS, batch_size=2)
    norms = [bulk_norm(plain.resid_pre) for plain in reference(case)]
    assert_close(acts.bulk_norms, np.concatenate(norms, axis=1))
    assert not close(acts.bulk_norms, acts.token_norms)
    later = np.concatenate([norm[:, 1:] for norm in norms], axis=1)
    np.testing.assert_allclose(acts.median_bulk_norms(), np.median(later, axis=1), rtol=1e-4)
    assert replace(acts, bulk_norms=None).median_bulk_norms() is None


def test_the_table_of_texts_is_kept_in_its_order(tiny: LanguageModel) -> None:
    table = pd.DataFrame({"text": TEXTS, "emotion": list("abcde"), "scenario": range(5)}, index=[9, 7, 5, 3, 1])
    finished: list[int] = []
    acts = extract_activations(tiny, table, sites=("resid_pre",), batch_size=2, on_batch=finished.append)
    assert acts.texts[["text", "emotion", "scenario"]].to_dict("list") == table.to_dict("list")
    assert acts.texts["n_tokens"].tolist() == [len(text) for text in TEXTS]
    assert set(acts.values) == {"resid_pre"}
    assert (acts.model, acts.revision, acts.position) == (tiny.spec.name, tiny.revision, "last")
    assert finished == [2, 4, 5]


def test_the_residual_stream_is_kept_whatever_the_sites(tiny: LanguageModel) -> None:
    assert set(extract_activations(tiny, TEXTS, sites=("mlp_out",)).values) == {"resid_pre", "mlp_out"}


def test_hooks_of_the_bridge_are_gone_after_extraction_and_after_an_exception(case: Case, monkeypatch) -> None:
    lm = replace(case.lm, blueprint=None)
    extract_activations(lm, TEXTS)
    before, calls = count_hooks(lm), []

    def fail(*_: object) -> None:
        calls.append(count_hooks(lm))
        raise KeyboardInterrupt

    monkeypatch.setattr(text_pass, "reduced", fail)
    with pytest.raises(KeyboardInterrupt):
        extract_activations(lm, TEXTS, batch_size=2)
    assert calls == [before + 2 * lm.n_layers + 1]
    assert count_hooks(lm) == before


def test_the_engines_own_pass_and_the_bridge_give_the_same(case: Case) -> None:
    sites = ("resid_pre", "resid_post", "attn_out", "mlp_out")
    mine = extract_activations(case.lm, TEXTS, sites=sites, positions="mean")
    theirs = extract_activations(replace(case.lm, blueprint=None), TEXTS, sites=sites, positions="mean")
    for site in sites:
        assert_close(mine.values[site], theirs.values[site])
    assert not close(mine.values["attn_out"], theirs.values["mlp_out"])  # control
    np.testing.assert_allclose(mine.token_norms, theirs.token_norms, rtol=1e-4)


def test_a_multimodal_model_is_read_through_its_text_part() -> None:
    plain, wrapped = plain_multimodal(), plain_multimodal()
    lm = wrap(wrapped, byte_tokenizer(), spec_of(wrapped.config, "tiny-gemma3"), "seed0")
    acts = extract_activations(lm, TEXTS)
    for i, ids in enumerate(encode(lm, TEXTS)):
        with torch.inference_mode():
            expected = plain(torch.tensor([ids]), output_hidden_states=True)
            logits = lm.network(torch.tensor([ids])).logits
        hidden = torch.cat(expected.hidden_states[:-1])[:, -1].numpy()
        assert_close(acts.values["resid_pre"][:-1, i], hidden)
        torch.testing.assert_close(logits, expected.logits, atol=1e-4, rtol=0)
    assert lm.stop_ids == {lm.tokenizer.eos_token_id}
    assert not any("vision" in name for name, _ in lm.network.named_modules())


@pytest.mark.parametrize(
    ("data", "settings", "named"),
    [
        (TEXTS, {"sites": ("attention",)}, "unknown site 'attention'"),
        (TEXTS, {"positions": "first"}, "unknown position 'first'"),
        (["It rained.", " "], {}, "text 1 is ' '"),
        ([], {}, "got 0 rows"),
        (pd.DataFrame({"sentence": TEXTS}), {}, "'text', got 5 rows of sentence"),
    ],
)
def test_wrong_requests_are_named(
    data: list[str] | pd.DataFrame, settings: dict, named: str, tiny_models: dict[str, LanguageModel]
) -> None:
    with pytest.raises(UserError, match=named):
        extract_activations(tiny_models["gpt2"], data, **settings)
