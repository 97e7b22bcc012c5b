"""Steering: what a patch adds, where it adds it, and that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from tiny import Case, assert_same_until_near_tie, blocks, count_hooks, plain_text
from torch import nn

from emolib.activations import LayerVector
from emolib.errors import UserError
from emolib.generation import Generation, encode, generate, pad_left, position_ids
from emolib.interventions import Intervention, Steer, SteeringBatch, hook_point, recorded
from emolib.models import LanguageModel

PROMPTS = ["The new shop by the old bridge", "It rained and", "I"]
N_NEW = 8


def random_vector(lm: LanguageModel, layer: int, seed: int = 0) -> LayerVector:
    """A random vector whose unit `resid` is the median residual norm of a sentence at that layer."""
    (ids,) = encode(lm, PROMPTS[:1])
    with recorded(lm, ("resid_pre",)) as kept, torch.inference_mode():
        lm.network(input_ids=torch.tensor([ids]))
    norm = float(kept["resid_pre", layer][0, 1:].norm(dim=-1).median())
    values = np.random.default_rng(seed).standard_normal(lm.d_model).astype(np.float32)
    return LayerVector(values, lm.spec.name, lm.revision, layer, "last", norm)


def steer(lm: LanguageModel, layer: int, alpha: float = 1.0, **settings: object) -> Steer:
    return Steer(layer, random_vector(lm, layer, seed=layer), alpha, **settings)


def middle(lm: LanguageModel) -> int:
    return lm.n_layers // 2


def tokens_of(outs: Sequence[Generation]) -> list[tuple[int, ...]]:
    return [out.token_ids for out in outs]


def residuals(lm: LanguageModel, prompts: Sequence[str], acts: Sequence[Intervention]) -> dict[int, torch.Tensor]:
    """The residual stream at every layer of the prefill, steered: layer → `[row, pos, d_model]`."""
    ids, mask = pad_left(encode(lm, prompts), lm.tokenizer.pad_token_id)
    with SteeringBatch(lm, acts, mask, 1).applied(), recorded(lm, ("resid_pre",)) as kept, torch.inference_mode():
        lm.network(input_ids=ids, attention_mask=mask, position_ids=position_ids(mask))
    return {layer: hidden.clone() for (_, layer), hidden in kept.items()}


# None and zero


def test_none_and_zero_alpha_reproduce_the_unpatched_text(case: Case) -> None:
    unpatched = generate(case.lm, PROMPTS, max_new_tokens=N_NEW)
    zero = steer(case.lm, middle(case.lm), alpha=0.0)
    for acts in ([None] * 3, [zero] * 3, [zero, None, zero]):
        outs = generate(case.lm, PROMPTS, acts, max_new_tokens=N_NEW)
        assert tokens_of(outs) == tokens_of(unpatched)
        assert [out.delta_ratio for out in outs] == [0.0] * 3


def test_steered_neighbours_leave_an_unpatched_row_alone(case: Case) -> None:
    prompts = [PROMPTS[0], *PROMPTS, PROMPTS[1]]
    strong = [steer(case.lm, layer, alpha=8.0) for layer in (0, middle(case.lm))]
    zero = dataclasses.replace(strong[1], alpha=0.0)
    unpatched = tokens_of(generate(case.lm, prompts, max_new_tokens=N_NEW))
    mixed = tokens_of(generate(case.lm, prompts, [strong[0], None, zero, None, strong[1]], max_new_tokens=N_NEW))
    assert mixed[1:4] == unpatched[1:4]
    assert mixed[0] != unpatched[0] and mixed[4] != unpatched[4], "the neighbours were not steered"


# By the engine = by hand; cached = uncached


@contextlib.contextmanager
def steered_by_hand(network: nn.Module, act: Steer, delta: np.ndarray, n_prompt: int) -> Iterator[None]:
    """The patch of one unpadded prompt on a plain network, column after column."""

    def patched(hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.clone()
        for column in range(hidden.shape[1]):
            step = max(column - n_prompt + 1, 0)
            in_prompt = column < n_prompt
            if in_prompt and (column < n_prompt - act.window or (column == 0 and n_prompt > 1)):
                continue
            if act.steps is not None and step > act.steps:
                continue
            schedule = (1.0,) * (step + 1) if act.schedule == "constant" else act.schedule
            if step < len(schedule):
                hidden[:, column] += schedule[step] * torch.tensor(delta)
        return hidden

    def at_input(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if args:
            return (patched(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": patched(kwargs["hidden_states"])}

    def at_output(module: nn.Module, args: tuple, output: torch.Tensor | tuple) -> torch.Tensor | tuple:
        return (patched(output[0]), *output[1:]) if isinstance(output, tuple) else patched(output)

    layers = blocks(network)
    if act.layer == len(layers):
        handle = layers[-1].register_forward_hook(at_output)
    else:
        handle = layers[act.layer].register_forward_pre_hook(at_input, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def acts_to_compare(lm: LanguageModel) -> list[Steer]:
    return [
        steer(lm, 0),
        steer(lm, middle(lm)),
        steer(lm, middle(lm), alpha=-1.0, window=1),
        steer(lm, middle(lm), schedule=(2.0, 0.0, 1.0)),
        steer(lm, middle(lm), alpha=2.0, steps=2),
        steer(lm, middle(lm), alpha=2.0, steps=0),
        steer(lm, lm.n_layers),
    ]


def test_steering_equals_the_same_patch_by_hand_cached_or_not(case: Case) -> None:
    lm = case.lm
    acts = acts_to_compare(lm)
    prompts = [PROMPTS[i % 3] for i in range(len(acts))]
    expected = []
    for prompt, act in zip(prompts, acts, strict=True):
        (ids,) = encode(lm, [prompt])
        values, unit = act.vector.values, act.vector.neutral_norm
        delta = act.alpha * unit * values / np.sqrt((values**2).sum())
        with steered_by_hand(case.plain, act, delta, len(ids)):
            expected.append(plain_text(case.plain, ids, N_NEW, lm.stop_ids))
    unpatched = generate(lm, prompts, max_new_tokens=N_NEW)
    assert sum(reference.tokens != out.token_ids for reference, out in zip(expected, unpatched, strict=True)) >= 6
    cached, uncached = (generate(lm, prompts, acts, max_new_tokens=N_NEW, use_cache=cache) for cache in (True, False))
    for outs in (cached, uncached):
        equal = [assert_same_until_near_tie(out.token_ids, ref) for out, ref in zip(outs, expected, strict=True)]
        assert sum(equal) > 0.8 * sum(len(ref.tokens) for ref in expected)
    ratios = [[out.delta_ratio for out in outs] for outs in (cached, uncached)]
    np.testing.assert_allclose(*ratios, rtol=1e-3)


def test_schedule_and_steps_change_the_text(case: Case) -> None:
    layer = middle(case.lm)
    variants = [
        steer(case.lm, layer, alpha=4.0, **settings)
        for settings in (
            {},
            {"steps": 0},
            {"schedule": (0.0, 1.0)},
            {"schedule": (1.0, -1.0, 1.0, -1.0)},
            {"window": 1},
        )
    ]
    texts = tokens_of(generate(case.lm, PROMPTS[:1] * 5, variants, max_new_tokens=N_NEW))
    assert len(set(texts)) >= 4
    same = [dataclasses.replace(variants[1], steps=None, schedule=(1.0,)), variants[1]]
    assert len(set(tokens_of(generate(case.lm, PROMPTS[:1] * 2, same, max_new_tokens=N_NEW)))) == 1


# Where the patch falls


@pytest.mark.parametrize("window", [1, 3, 100])
def test_the_patch_falls_on_the_last_tokens_and_never_on_the_first(case: Case, window: int) -> None:
    lm, layer = case.lm, middle(case.lm)
    act = steer(lm, layer, alpha=0.7, window=window)
    prompts = [*PROMPTS, "Hi", PROMPTS[0]]
    acts = [act, act, act, act, None]
    lengths = [len(row) for row in encode(lm, prompts)]
    before, after = residuals(lm, prompts, [None] * 5), residuals(lm, prompts, acts)
    width = max(lengths)
    expected = torch.zeros(5, width, lm.d_model)
    for row, length in enumerate(lengths[:4]):
        n_patched = 1 if length == 1 else min(window, length - 1)
        expected[row, width - n_patched :] = torch.tensor(act.delta())
    scale = float(before[layer].abs().max())
    torch.testing.assert_close(after[layer] - before[layer], expected, atol=1e-5 * max(scale, 1), rtol=0)
    for earlier in range(layer):
        assert torch.equal(after[earlier], before[earlier])
    assert not torch.equal(after[layer + 1][:4], before[layer + 1][:4])


def test_nothing_is_written_in_place(case: Case) -> None:
    lm = case.lm
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    prompts = [PROMPTS[0]] * 3
    layers = (0, middle(lm), lm.n_layers)
    acts = [steer(lm, layers[0], 5.0), None, steer(lm, layers[1], 5.0)]
    at_the_end = [steer(lm, lm.n_layers, 5.0), None, None]
    with contextlib.ExitStack() as stack:
        for layer in layers:  # registered before the steer's own hook: it sees the tensor that the steer is given
            handle = hook_point(lm, "resid_pre", layer).register_forward_hook(
                lambda module, args, hidden: seen.append((hidden, hidden.clone()))
            )
            stack.callback(handle.remove)
        steered = residuals(lm, prompts, acts)
        residuals(lm, prompts, at_the_end)
    assert len(seen) == 6
    for hidden, copy in seen:
        assert torch.equal(hidden, copy)
    alone = residuals(lm, prompts, [None] * 3)
    for layer, hidden in steered.items():
        assert torch.equal(hidden[1], alone[layer][1])
    assert not torch.equal(steered[lm.n_layers][0], alone[lm.n_layers][0])


# Units


def test_alpha_counts_residual_norms_or_vectors(tiny: LanguageModel) -> None:
    vector = random_vector(tiny, 1)
    in_resid = Steer(1, vector, 0.5).delta()
    assert np.linalg.norm(in_resid) == pytest.approx(0.5 * vector.neutral_norm, rel=1e-5)
    np.testing.assert_allclose(in_resid, Steer(1, vector.values, 0.5, resid_norm=vector.neutral_norm).delta())
    np.testing.assert_array_equal(Steer(1, vector, 0.5, unit="vector").delta(), 0.5 * vector.values)
    np.testing.assert_array_equal(Steer(1, torch.tensor(vector.values), -2, unit="vector").delta(), -2 * vector.values)


def test_delta_ratio_is_the_realised_relative_step(case: Case) -> None:
    lm, layer = case.lm, middle(case.lm)
    act = steer(lm, layer, alpha=0.7)
    outs = generate(lm, PROMPTS, [act] * 3, max_new_tokens=2)
    norms = residuals(lm, PROMPTS, [None] * 3)[layer].norm(dim=-1)
    delta = float(np.linalg.norm(act.delta()))
    for out, row in zip(outs, norms, strict=True):
        n_patched = min(3, max(len(out.prompt_ids) - 1, 1))
        assert out.delta_ratio == pytest.approx(float((delta / row[-n_patched:]).mean()), rel=1e-3)
    (twice,) = generate(lm, PROMPTS[:1], [dataclasses.replace(act, alpha=1.4)], max_new_tokens=2)
    assert twice.delta_ratio == pytest.approx(2 * outs[0].delta_ratio, rel=1e-3)


# The final residual, and that a steer acts at all


def test_the_final_residual_reaches_the_logits_and_nothing_else(case: Case) -> None:
    lm = case.lm
    ids, mask = pad_left(encode(lm, PROMPTS), lm.tokenizer.pad_token_id)
    logits = []
    for acts in ([None] * 3, [steer(lm, lm.n_layers, 2.0)] * 3):
        with SteeringBatch(lm, acts, mask, 1).applied(), recorded(lm, ("resid_pre",)) as kept, torch.inference_mode():
            logits.append(lm.network(input_ids=ids, attention_mask=mask, position_ids=position_ids(mask)).logits)
        logits.append({layer: hidden.clone() for (_, layer), hidden in kept.items()})
    base, base_hidden, patched, patched_hidden = logits
    assert (patched[:, -1] - base[:, -1]).abs().amax(-1).min() > 0.1
    torch.testing.assert_close(patched[0, :-3], base[0, :-3], atol=1e-4, rtol=0)
    for layer in range(lm.n_layers):
        assert torch.equal(base_hidden[layer], patched_hidden[layer])
    assert not torch.equal(base_hidden[lm.n_layers], patched_hidden[lm.n_layers])


def test_a_strong_steer_changes_the_text_at_every_layer(case: Case) -> None:
    layers = sorted({0, middle(case.lm), case.lm.n_layers - 1, case.lm.n_layers})
    (unpatched,) = generate(case.lm, PROMPTS[:1], max_new_tokens=N_NEW)
    acts = [steer(case.lm, layer, alpha=8.0) for layer in layers]
    for out in generate(case.lm, PROMPTS[:1] * len(acts), acts, max_new_tokens=N_NEW):
        assert out.token_ids != unpatched.token_ids
        assert out.delta_ratio > 1


# Hooks are gone


def test_hooks_are_gone_after_generating_and_recording(case: Case) -> None:
    lm = case.lm
    generate(lm, PROMPTS[:1], max_new_tokens=1)  # the bridge wires hooks of its own at the first pass
    before = count_hooks(lm)
    acts = [steer(lm, 0), steer(lm, middle(lm)), steer(lm, lm.n_layers)]
    _, mask = pad_left(encode(lm, PROMPTS), lm.tokenizer.pad_token_id)
    with SteeringBatch(lm, acts, mask, 1).applied():
        assert count_hooks(lm) == before + 3
        with recorded(lm, ("resid_pre", "mlp_out")):
            assert count_hooks(lm) == before + 3 + 2 * lm.n_layers + 1
    assert count_hooks(lm) == before
    generate(lm, PROMPTS, acts, max_new_tokens=2)
    assert count_hooks(lm) == before


def test_hooks_are_gone_after_an_exception(case: Case) -> None:
    lm = case.lm
    acts = [steer(lm, 0, 5.0)] * 3
    unpatched = tokens_of(generate(lm, PROMPTS, max_new_tokens=N_NEW))
    before, calls = count_hooks(lm), []

    def fail(module: nn.Module, args: tuple, output: object) -> None:
        calls.append(count_hooks(lm))
        if len(calls) == 2:  # the first token is out, the second is under way
            raise RuntimeError("out of memory")

    handle = blocks(lm.network)[-1].register_forward_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="out of memory"):
            generate(lm, PROMPTS, acts, max_new_tokens=N_NEW)
    finally:
        handle.remove()
    assert calls == [before + 2] * 2, "the steer's hook was not there when the pass failed"
    assert count_hooks(lm) == before
    assert tokens_of(generate(lm, PROMPTS, max_new_tokens=N_NEW)) == unpatched


# Mistakes


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"alpha": float("nan")}, "alpha, got nan"),
        ({"alpha": float("inf")}, "alpha, got inf"),
        ({"layer": 2}, "belongs to layer 1, the steer to layer 2"),
        ({"window": 0}, "window .* got 0"),
        ({"unit": "norm"}, "unknown unit 'norm'"),
        ({"site": "mlp_out"}, "unknown site 'mlp_out'"),
        ({"schedule": "linear"}, "got 'linear'"),
        ({"schedule": (1.0, float("nan"))}, r"got \(1.0, nan\)"),
        ({"steps": -1}, "steps .* got -1"),
        ({"vector": np.ones(4)}, "resid_norm"),
        ({"vector": np.ones(4), "resid_norm": float("nan")}, "got nan"),
        ({"vector": np.ones(4), "resid_norm": 0.0}, "got 0.0"),
        ({"vector": np.zeros(4), "unit": "vector"}, "norm 0.0"),
        ({"vector": np.full(4, np.nan), "unit": "vector"}, "norm nan"),
        ({"vector": np.ones((2, 4)), "unit": "vector"}, r"shape \(2, 4\)"),
    ],
)
def test_a_wrong_steer_is_refused_where_it_is_written(settings: dict, named: str) -> None:
    right = {"layer": 1, "vector": LayerVector(np.ones(4, np.float32), "m", "r", 1, "last", 2.0), "alpha": 0.5}
    assert Steer(**right).delta().shape == (4,)
    with pytest.raises(UserError, match=named):
        Steer(**{**right, **settings})


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_steer_that_does_not_fit_the_model_is_refused_before_generating(
    alpha: float, tiny_models: dict[str, LanguageModel]
) -> None:
    lm, other = tiny_models["gpt2"], tiny_models["gpt_neox"]
    wide = np.ones(lm.d_model + 1, np.float32)
    wrong = {
        f"layer {lm.n_layers + 1} is out of range": Steer(lm.n_layers + 1, wide[1:], alpha, unit="vector"),
        "layer -1 is out of range": Steer(-1, wide[1:], alpha, unit="vector"),
        f"d_model {lm.d_model}, got {lm.d_model + 1}": Steer(1, wide, alpha, unit="vector"),
        f"got one of {other.spec.name}": steer(other, 1, alpha),
    }
    finished: list[int] = []
    for named, act in wrong.items():
        with pytest.raises(UserError, match=named):
            generate(lm, PROMPTS, [None, None, act], max_new_tokens=2, batch_size=1, on_batch=finished.append)
    assert finished == []


def test_hook_points_outside_the_model_are_refused(tiny: LanguageModel) -> None:
    assert hook_point(tiny, "resid_pre", tiny.n_layers) is not hook_point(tiny, "resid_pre", tiny.n_layers - 1)
    for site, layer in (("mlp_out", tiny.n_layers), ("resid_pre", tiny.n_layers + 1), ("resid_pre", -1)):
        with pytest.raises(UserError, match=f" {layer}"):
            hook_point(tiny, site, layer)
