"""Every kind of intervention on the bundled model: by hand on the plain network, and by both engines."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import Case, assert_same_until_near_tie, plain_attention, plain_text

from emolib.engine.generation import Generation, generate
from emolib.interventions import (
    AblateDirection,
    AblateHead,
    Cap,
    Clamp,
    Decay,
    Intervention,
    PatchHead,
    Steer,
    SubspaceSteer,
    mean_head_output,
    record_heads,
)
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode

PROMPTS = ["She opened the letter from the office and", "The bus was late again"]
SOURCES = ["What a dreadful noise you make", "Thank you"]
HEADS = [(8, 4), (8, 3), (12, 0)]  # two query heads of one KV head, and one elsewhere
N_NEW = 6

SIXTY = {"unit": "resid", "resid_norm": 60.0}


def every_kind(lm: LanguageModel) -> list[Intervention]:
    rng = np.random.default_rng(0)
    vectors = [rng.standard_normal(lm.d_model).astype(np.float32) for _ in range(4)]
    basis = np.linalg.qr(rng.standard_normal((lm.d_model, 3)))[0].astype(np.float32)
    recorded = record_heads(lm, SOURCES, HEADS)
    acts: list[Intervention] = [None]
    acts += [Steer(12, vectors[0], 0.5, **SIXTY, site=site) for site in ("resid_pre", "attn_out", "mlp_out")]
    acts += [
        Steer(8, vectors[1], 0.5, **SIXTY, schedule=Decay(0.7)),
        Steer(lm.n_layers, vectors[1], 3.0, "vector"),
    ]
    acts += [SubspaceSteer(14, basis, np.full(3, 20.0, np.float32)), AblateDirection(14, vectors[2], vectors[3])]
    acts += [Clamp(12, vectors[0], 30.0), Cap(12, vectors[0], low=20.0)]
    acts += [Steer(8, vectors[0][: lm.d_head], 3.0, "vector", site="z", head=4)]
    acts += [AblateHead(8, 4), AblateHead(8, 4, "mean", mean_head_output(recorded, 8, 4))]
    acts += [
        PatchHead(*head, source, mode, steps=steps)
        for source, head in zip(recorded, HEADS, strict=False)
        for mode in ("v_only", "pattern_v", "result")
        for steps in (0, 2)
    ]
    acts.append(tuple(PatchHead(*head, recorded[0]) for head in HEADS))
    acts.append((Steer(8, vectors[0], 0.3, **SIXTY), AblateHead(8, 4), AblateDirection(12, vectors[2])))
    return acts


@pytest.fixture(scope="module")
def written(bundled: LanguageModel) -> dict[str, list[Generation]]:
    acts = every_kind(bundled)
    rows, prompts = [act for act in acts for _ in PROMPTS], PROMPTS * len(acts)
    return {
        engine: generate(bundled, prompts, rows, max_new_tokens=N_NEW, engine=engine) for engine in ("native", "bridge")
    }


def test_both_engines_write_the_same_texts(written: dict[str, list[Generation]]) -> None:
    native, bridge = written["native"], written["bridge"]
    same = [mine.token_ids == theirs.token_ids for mine, theirs in zip(native, bridge, strict=True)]
    assert np.mean(same) >= 0.95  # float32: a near tie may part one
    for mine, theirs in zip(native, bridge, strict=True):
        assert mine.delta_ratio == pytest.approx(theirs.delta_ratio, rel=1e-3, abs=1e-6)


def test_the_acts_change_texts(written: dict[str, list[Generation]]) -> None:
    outs = written["native"]
    changed = [out.token_ids != outs[i % len(PROMPTS)].token_ids for i, out in enumerate(outs)]
    assert not any(changed[: len(PROMPTS)]) and sum(changed) > len(outs) / 4


def test_an_ablated_head_equals_the_same_by_hand(bundled_case: Case, written: dict[str, list[Generation]]) -> None:
    lm, (layer, head) = bundled_case.lm, HEADS[0]
    place = next(i for i, act in enumerate(every_kind(lm)) if isinstance(act, AblateHead)) * len(PROMPTS)
    own = slice(head * lm.d_head, (head + 1) * lm.d_head)

    def without(module, inputs):
        z = inputs[0].clone()
        z[:, 1:, own] = 0
        return (z,)

    handle = plain_attention(bundled_case.plain, layer).out.register_forward_pre_hook(without)
    try:
        wanted = [plain_text(bundled_case.plain, ids, N_NEW, lm.stop_ids) for ids in encode(lm, PROMPTS)]
    finally:
        handle.remove()
    for out, reference in zip(written["native"][place:], wanted, strict=False):
        assert_same_until_near_tie(out.token_ids, reference)


def test_a_head_patched_with_its_own_recording_changes_nothing(bundled: LanguageModel) -> None:
    """Grouped KV heads: two query heads of one KV head, and one elsewhere; another text's recording does change it."""
    own = record_heads(bundled, PROMPTS, HEADS)
    modes = ("v_only", "pattern_v", "result")
    acts: list[Intervention] = [None, None]
    acts += [tuple(PatchHead(*head, source, mode) for head in HEADS) for mode in modes for source in own]
    acts += [tuple(PatchHead(*head, source, mode) for head in HEADS) for mode in modes for source in own[::-1]]
    outs = generate(bundled, PROMPTS * 7, acts, max_new_tokens=N_NEW)
    for i, out in enumerate(outs[2:8]):
        assert out.token_ids == outs[i % 2].token_ids and out.delta_ratio < 1e-4
    assert min(out.delta_ratio for out in outs[8:]) > 0.05
