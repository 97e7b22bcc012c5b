"""Packed rows: the same numbers as one row per text, and every ablation the same as by the acts of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
import torch
from tiny import Case, plain_attention

from emolib.base.errors import UserError
from emolib.engine.continuation import continuation_shift
from emolib.engine.continuation_tokens import continuations
from emolib.engine.observation import observe
from emolib.engine.packed_ablation import Sources, ablate_packed, find_targets
from emolib.engine.packed_pass import Held, PackedPass, PackedRows
from emolib.interventions import AblateHead, HeadActivations, Steer, mean_head_output, record_heads
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode, pad_left

CONTEXTS = ["The new shop by the old bridge", "Rain fell and", "It is a red fence, I see"]
TEXTS = [
    ["We went in, and out.", "It stopped at noon!"],
    ["No one knows it", "A few did"],
    ["Go", "Her cat sat there."],
]
DONORS = [("A grey cat sat here", "We saw the fence all day and night"), ("On and on", "It goes by the long cold road")]
DONOR_OF = (0, 1, 0)
TOLERANCE = 2e-4


def rows_of(lm: LanguageModel, acts: Sequence[Steer | None] = ()) -> PackedRows:
    texts = [[text.ids for text in continuations(lm, some)] for some in TEXTS]
    return PackedRows(encode(lm, CONTEXTS), texts, acts)


def sources_of(lm: LanguageModel) -> Sources:
    contexts, texts = zip(*DONORS, strict=True)
    return Sources(PackedRows(encode(lm, contexts), [[text.ids] for text in continuations(lm, texts)]), DONOR_OF)


def records_of(lm: LanguageModel) -> list[HeadActivations]:
    """The donors as recorded by the other route, up to the token that is fed last."""
    heads = list(product(range(lm.n_layers), range(lm.n_heads)))
    ids = [len(text.ids) - 1 for text in continuations(lm, [text for _, text in DONORS])]
    n_prompt = [len(row) for row in encode(lm, [context for context, _ in DONORS])]
    found = []
    for record, n in zip(
        record_heads(lm, [" ".join(pair) for pair in DONORS], heads), np.add(n_prompt, ids), strict=True
    ):
        parts = [{key: value[:n] for key, value in part.items()} for part in (record.z, record.values)]
        patterns = {key: value[:n, :n] for key, value in record.patterns.items()}
        record = HeadActivations(record.model, record.revision, record.prompt, record.prompt_ids[:n], *parts, patterns)
        found.append(record)
    return found


def by_acts(lm: LanguageModel, acts: Sequence[tuple]) -> np.ndarray:
    """Mean log-probabilities `[row, text]`, one row of the engine per text; acts per context."""
    pairs = [(row, text) for row in range(3) for text in range(2)]
    table = continuation_shift(
        lm,
        [CONTEXTS[row] for row, _ in pairs],
        [TEXTS[row][text] for row, text in pairs],
        [acts[row] for row, _ in pairs],
    )
    return table["logprob"].to_numpy().reshape(3, 2)


def test_packed_texts_have_the_likelihood_that_each_has_alone(tiny_case: Case) -> None:
    lm = tiny_case.lm
    packed = PackedPass(lm, rows_of(lm))
    with torch.inference_mode():
        found = packed.logprobs(packed.through(0, packed.start())).numpy()
    np.testing.assert_allclose(found, by_acts(lm, [()] * 3), atol=TOLERANCE)
    with torch.inference_mode():
        copies = PackedPass(lm, rows_of(lm), copies=2)
        twice = copies.logprobs(copies.through(0, copies.start())).numpy()
    np.testing.assert_allclose(twice, np.tile(found, (2, 1)), atol=TOLERANCE)


@pytest.mark.parametrize("site", ["resid_pre", "attn_out", "mlp_out"])
def test_steered_packed_rows_are_those_of_the_engine(tiny_case: Case, site: str) -> None:
    lm = tiny_case.lm
    vector = np.random.default_rng(0).standard_normal(lm.d_model)
    steers = [Steer(1, vector, 2.0, unit="vector", site=site), None, Steer(0, vector, -1.0, unit="vector", site=site)]
    packed = PackedPass(lm, rows_of(lm, steers))
    with torch.inference_mode():
        found = packed.logprobs(packed.through(0, packed.start())).numpy()
    wanted = by_acts(lm, [() if steer is None else (steer,) for steer in steers])
    np.testing.assert_allclose(found, wanted, atol=TOLERANCE)
    assert np.abs(found - by_acts(lm, [()] * 3))[[0, 2]].max() > 10 * TOLERANCE


@pytest.mark.parametrize("kind", ["resample", "mean", "zero"])
def test_every_ablation_is_that_of_the_engine_s_acts(tiny_case: Case, kind: str) -> None:
    lm = tiny_case.lm
    records = records_of(lm)
    heads = list(product(range(lm.n_layers), range(lm.n_heads)))
    variants = [*((head,) for head in heads), ((0, 1), (1, 0), (lm.n_layers - 1, 2)), ((1, 0), (1, 3))]
    packed = PackedPass(lm, rows_of(lm))
    found = ablate_packed(lm, packed, find_targets(lm, packed, kind, sources_of(lm)), variants)

    def act(layer: int, head: int, donor: int) -> AblateHead:
        if kind == "mean":
            return AblateHead(layer, head, "mean", mean_head_output(records, layer, head))
        if kind == "zero":
            return AblateHead(layer, head)
        n_prompt = len(encode(lm, [DONORS[donor][0]])[0])
        return AblateHead(layer, head, "resample", source=records[donor], source_prompt=n_prompt)

    for number, variant in enumerate(variants):
        wanted = by_acts(lm, [tuple(act(*head, donor) for head in variant) for donor in DONOR_OF])
        np.testing.assert_allclose(found.logprobs[number], wanted, atol=TOLERANCE, err_msg=f"{variant}")
    moved = np.abs(found.logprobs - found.base).max(axis=(1, 2))
    assert (moved > 5 * TOLERANCE).mean() > 0.7, "ablations that change nothing prove nothing"


def test_ablating_all_heads_of_a_layer_removes_its_attention(tiny_case: Case) -> None:
    lm, layer = tiny_case.lm, 1
    rows = rows_of(lm)
    packed = PackedPass(lm, rows)
    targets = find_targets(lm, packed, "zero", sources_of(lm))
    all_heads = tuple((layer, head) for head in range(lm.n_heads))
    found = ablate_packed(lm, packed, targets, [all_heads, all_heads[1:]])

    def without(at: int, z: torch.Tensor) -> torch.Tensor:
        first = torch.from_numpy(packed.tokens.place == 0)[:, None, None]
        return torch.where(first, z, torch.zeros_like(z)) if at == layer else z

    with torch.inference_mode():
        wanted = packed.logprobs(packed.through(0, packed.start(), without)).numpy()
    np.testing.assert_allclose(found.logprobs[0], wanted, atol=TOLERANCE)
    assert np.abs(found.logprobs[1] - wanted).max() > 10 * TOLERANCE


def test_heads_outputs_through_their_output_matrix_sum_to_what_attention_adds(tiny_case: Case) -> None:
    """For Gemma 3 before its norm behind attention, which the plain network's own module shows."""
    lm = tiny_case.lm
    seen: list[torch.Tensor] = []
    (ids,) = encode(lm, CONTEXTS[:1])
    handle = plain_attention(tiny_case.plain, 1).whole.register_forward_hook(lambda m, a, out: seen.append(out[0]))
    try:
        with torch.inference_mode():
            tiny_case.plain(torch.tensor([ids]))
    finally:
        handle.remove()
    kept: list[torch.Tensor] = []
    with torch.inference_mode():
        observe(lm, *pad_left([ids], lm.pad_id), [("z", 1)], lambda site, layer, value: kept.append(value.clone()))
    out = lm.native.layers[1].out
    per_head = torch.einsum("rphd,mhd->rphm", kept[0], out.weight.unflatten(1, (lm.n_heads, lm.d_head)))
    whole = per_head.sum(2) + (0 if out.bias is None else out.bias)
    torch.testing.assert_close(whole, seen[0], atol=1e-4, rtol=1e-4)
    assert (per_head[:, :, 1:].sum(2) - seen[0]).abs().max() > 1e-2


def test_the_context_kind_takes_each_text_s_values_under_the_other_context(tiny_models: dict) -> None:
    lm = tiny_models["llama"]
    contexts, texts = encode(lm, CONTEXTS[:2]), [text.ids for text in continuations(lm, TEXTS[0])]
    rows = PackedRows(contexts, [texts, texts])
    packed = PackedPass(lm, rows)
    targets = find_targets(lm, packed, "context", Sources(rows, (1, 1), same_text=True))
    every = [tuple(product(range(lm.n_layers), range(lm.n_heads)))]
    found = ablate_packed(lm, packed, targets, [*every, [(0, 0)]])
    np.testing.assert_allclose(found.logprobs[:, 1], found.base[[1, 1]], atol=TOLERANCE)  # the other context is its own
    assert np.abs(found.logprobs[0, 0] - found.base[0]).max() > 10 * TOLERANCE


def test_a_variant_needs_heads_that_the_model_has(tiny_models: dict) -> None:
    lm = tiny_models["gpt2"]
    packed = PackedPass(lm, rows_of(lm))
    targets = find_targets(lm, packed, "zero", sources_of(lm))
    for wrong in ([()], [[(0, 9)]], [[(7, 0)]]):
        with pytest.raises(UserError, match="expected heads of layers"):
            ablate_packed(lm, packed, targets, wrong)
    with pytest.raises(UserError, match="unknown ablation"):
        find_targets(lm, packed, "noise", sources_of(lm))
    held = Held()
    with torch.inference_mode():
        packed.through(0, packed.start(), held=held)
    assert len(held.z) == lm.n_layers and len(held.resid) == lm.n_layers + 1
