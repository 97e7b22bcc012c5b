"""Steering: what a patch adds, where it adds it, and that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from tiny import WINDOW, Case, PlainText, assert_same_until_near_tie, blocks, count_hooks, plain_text
from torch import nn

from emolib.base.errors import UserError
from emolib.data.activations import LayerVector
from emolib.engine.bridge import BridgeRunner
from emolib.engine.generation import Generation, generate
from emolib.engine.native import NativeRunner
from emolib.interventions import (
    AblateDirection,
    AblateHead,
    Decay,
    Edits,
    Intervention,
    PatchHead,
    Steer,
    SubspaceSteer,
    first_layer,
    hook_point,
    hooked,
    record_heads,
)
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode, pad_left

PROMPTS = ["The new shop by the old bridge", "It rained and", "I"]
N_NEW = 8
N_FED = 4  # tokens fed one by one where logits are compared
LOGIT_TOLERANCE = 2e-4  # float32; times the largest logit where a patch makes them large
SITES = ("resid_pre", "attn_out", "mlp_out")
RUNNERS = {"native": NativeRunner, "bridge": BridgeRunner, "graph": functools.partial(NativeRunner, as_graph=True)}
Hook = Callable[[torch.Tensor], torch.Tensor | None]


@pytest.fixture(params=["native", "bridge"])
def engine(request: pytest.FixtureRequest) -> str:
    """Both routes to a text: the engine's own forward pass, and the model's own code."""
    return request.param


def held(lm: LanguageModel, site: str, layer: int, ids: Sequence[int]) -> torch.Tensor:
    """What a site holds in one unpatched text, by a hook."""
    kept: list[torch.Tensor] = []
    with hooked(lm, [(site, layer, kept.append)]), torch.inference_mode():
        lm.network(input_ids=torch.tensor([list(ids)]))
    return kept[0]


def random_vector(lm: LanguageModel, layer: int, seed: int = 0) -> LayerVector:
    """A random vector whose unit `resid` is the median residual norm of a sentence at that layer."""
    (ids,) = encode(lm, PROMPTS[:1])
    norm = float(held(lm, "resid_pre", layer, ids)[0, 1:].norm(dim=-1).median())
    values = np.random.default_rng(seed).standard_normal(lm.d_model).astype(np.float32)
    return LayerVector(values, lm.spec.name, lm.revision, layer, "last", norm)


def steer(lm: LanguageModel, layer: int, alpha: float = 1.0, **settings: object) -> Steer:
    return Steer(layer, random_vector(lm, layer, seed=layer), alpha, **{"unit": "resid", **settings})


def middle(lm: LanguageModel) -> int:
    return lm.n_layers // 2


def other_kinds(lm: LanguageModel, engine: str) -> list[Intervention]:
    """One act of every kind but `Steer`; head patches from a record of another text."""
    generator = np.random.default_rng(5)
    basis = np.linalg.qr(generator.standard_normal((lm.d_model, 2)))[0].astype(np.float32)
    direction = generator.standard_normal(lm.d_model).astype(np.float32)
    (record,) = record_heads(lm, ["A heavy summer storm"], [(0, 1), (1, 0)])
    mode = "v_only" if engine == "native" else "result"  # not every model shows its patterns to the bridge in time
    return [
        SubspaceSteer(1, basis, np.array([9.0, -9.0], np.float32), 0.8),
        AblateDirection(middle(lm), direction, center=direction[::-1].copy()),
        AblateHead(0, 1, "mean", record.z[0, 1].mean(0)),
        (PatchHead(0, 1, record, mode), PatchHead(1, 0, record, "pattern_v", steps=3)),
    ]


def tokens_of(outs: Sequence[Generation]) -> list[tuple[int, ...]]:
    return [out.token_ids for out in outs]


class LookingRunner(BridgeRunner):
    """The bridge's runner with a look at the residual stream behind its own hooks: `seen[layer]` after a pass."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.seen: dict[int, torch.Tensor] = {}

    def _hooks(self) -> list[tuple[str, int, Hook]]:
        layers = range(self._lm.n_layers + 1)
        return [*super()._hooks(), *(("resid_pre", n, functools.partial(self._look, n)) for n in layers)]

    def _look(self, layer: int, hidden: torch.Tensor) -> None:
        self.seen[layer] = hidden.detach().clone()


def residuals(lm: LanguageModel, prompts: Sequence[str], acts: Sequence[Intervention]) -> dict[int, torch.Tensor]:
    """The residual stream at every layer of the prefill, steered: layer → `[row, pos, d_model]`."""
    rows = encode(lm, prompts)
    ids, mask = pad_left(rows, lm.tokenizer.pad_token_id)
    runner = LookingRunner(lm, ids, mask, Edits(lm, acts, [len(row) for row in rows], ids.shape[1], 1), 1)
    with torch.inference_mode():
        runner.start()
    return runner.seen


def logits_of(
    runner: str, lm: LanguageModel, prompts: Sequence[str], acts: Sequence[Intervention], fed: torch.Tensor
) -> torch.Tensor:
    """Logits of all rows in one batch, after the prompts and after each token of `fed`: `[row, 1 + step, token]`."""
    order = sorted(range(len(prompts)), key=lambda i: first_layer(acts[i], lm.n_layers))
    rows = encode(lm, [prompts[i] for i in order])
    ids, mask = pad_left(rows, lm.tokenizer.pad_token_id)
    with torch.inference_mode():
        edits = Edits(lm, [acts[i] for i in order], [len(row) for row in rows], ids.shape[1], len(fed))
        running = RUNNERS[runner](lm, ids, mask, edits, len(fed))
        steps = [running.start().clone()]
        steps += [running.step(token.expand(len(prompts)).contiguous()).clone() for token in fed]
    return torch.stack(steps, dim=1)[torch.tensor(np.argsort(order))]


# None and zero


def test_none_and_zero_alpha_reproduce_the_unpatched_text(case: Case, engine: str) -> None:
    unpatched = generate(case.lm, PROMPTS, max_new_tokens=N_NEW, engine=engine)
    zero = steer(case.lm, middle(case.lm), alpha=0.0)
    never = steer(case.lm, 0, alpha=5.0, schedule=(0.0, 0.0))
    for acts in ([None] * 3, [zero] * 3, [zero, None, zero], [(zero, never), (), never]):
        outs = generate(case.lm, PROMPTS, acts, max_new_tokens=N_NEW, engine=engine)
        assert tokens_of(outs) == tokens_of(unpatched)
        assert [out.delta_ratio for out in outs] == [0.0] * 3
    small = steer(case.lm, middle(case.lm), alpha=1e-3)
    assert all(out.delta_ratio > 0 for out in generate(case.lm, PROMPTS, [small] * 3, max_new_tokens=1, engine=engine))


def test_steered_neighbours_leave_an_unpatched_row_alone(case: Case, engine: str) -> None:
    prompts = [PROMPTS[0], *PROMPTS, PROMPTS[1]]
    strong = [steer(case.lm, layer, alpha=8.0) for layer in (0, middle(case.lm))]
    zero = dataclasses.replace(strong[1], alpha=0.0)
    acts = [strong[0], None, zero, None, strong[1]]
    unpatched = tokens_of(generate(case.lm, prompts, max_new_tokens=N_NEW, engine=engine))
    mixed = tokens_of(generate(case.lm, prompts, acts, max_new_tokens=N_NEW, engine=engine))
    assert mixed[1:4] == unpatched[1:4]
    assert mixed[0] != unpatched[0] and mixed[4] != unpatched[4], "the neighbours were not steered"


# By the engine = by hand; cached = uncached


def delta_by_hand(act: Steer) -> np.ndarray:
    values = act.vector.values
    return act.alpha * act.vector.neutral_norm * values / np.sqrt((values**2).sum())


def factor_by_hand(act: Steer, column: int, n_prompt: int) -> float:
    """The schedule's factor at a column of an unpadded text."""
    step = max(column - n_prompt + 1, 0)
    in_prompt = column < n_prompt
    if in_prompt and (column < n_prompt - act.window or (column == 0 and n_prompt > 1)):
        return 0.0
    if act.steps is not None and step > act.steps:
        return 0.0
    if isinstance(act.schedule, Decay):
        return act.schedule.rate**step
    schedule = (1.0,) * (step + 1) if act.schedule == "constant" else act.schedule
    return schedule[step] if step < len(schedule) else 0.0


def module_at(network: nn.Module, site: str, layer: int) -> nn.Module:
    """The module of a plain network whose output is added to the residual stream; of Gemma 3, its norms."""
    names = {
        "attn_out": ("attn", "attention", "self_attn"),
        "mlp_out": ("mlp",),
    }
    block = blocks(network)[layer]
    if hasattr(block, "post_feedforward_layernorm"):
        names = {"attn_out": ("post_attention_layernorm",), "mlp_out": ("post_feedforward_layernorm",)}
    (found,) = [getattr(block, name) for name in names[site] if hasattr(block, name)]
    return found


@contextlib.contextmanager
def steered_by_hand(network: nn.Module, acts: Sequence[Steer], n_prompt: int) -> Iterator[None]:
    """The patches of one unpadded prompt on a plain network, column after column."""

    def hooks_of(act: Steer) -> tuple[Callable, Callable]:
        def patched(hidden: torch.Tensor) -> torch.Tensor:
            hidden = hidden.clone()
            for column in range(hidden.shape[1]):
                hidden[:, column] += factor_by_hand(act, column, n_prompt) * torch.tensor(delta_by_hand(act))
            return hidden

        def at_input(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            if args:
                return (patched(args[0]), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": patched(kwargs["hidden_states"])}

        def at_output(module: nn.Module, args: tuple, output: torch.Tensor | tuple) -> torch.Tensor | tuple:
            return (patched(output[0]), *output[1:]) if isinstance(output, tuple) else patched(output)

        return at_input, at_output

    layers = blocks(network)
    with contextlib.ExitStack() as stack:
        for act in acts:
            at_input, at_output = hooks_of(act)
            if act.site != "resid_pre":
                handle = module_at(network, act.site, act.layer).register_forward_hook(at_output)
            elif act.layer == len(layers):
                handle = layers[-1].register_forward_hook(at_output)
            else:
                handle = layers[act.layer].register_forward_pre_hook(at_input, with_kwargs=True)
            stack.callback(handle.remove)
        yield


def acts_to_compare(lm: LanguageModel) -> list[tuple[Steer, ...]]:
    half, last = middle(lm), lm.n_layers - 1
    return [
        (steer(lm, 0),),
        (steer(lm, half),),
        (steer(lm, half, alpha=-1.0, window=1),),
        (steer(lm, half, schedule=(2.0, 0.0, 1.0)),),
        (steer(lm, half, schedule=(0.0, 1.5)),),
        (steer(lm, half, alpha=2.0, schedule=Decay(0.6)),),
        (steer(lm, half, alpha=2.0, schedule=Decay(0.9), steps=1),),
        (steer(lm, half, alpha=2.0, steps=2),),
        (steer(lm, half, alpha=2.0, steps=0),),
        (steer(lm, lm.n_layers),),
        (steer(lm, 0, site="attn_out"),),
        (steer(lm, half, site="mlp_out", window=2),),
        (steer(lm, last, alpha=2.0, site="attn_out", window=1, schedule=Decay(0.5)),),
        (steer(lm, last, alpha=2.0, site="mlp_out", steps=1),),
        (steer(lm, half, site="attn_out"), steer(lm, 0, alpha=-1.0), steer(lm, half, site="attn_out", window=1)),
    ]


def long_windows(lm: LanguageModel) -> list[tuple[Steer, ...]]:
    """Windows that reach beyond the local attention of some models, and beyond the prompt."""
    acts = [steer(lm, layer, 0.7, site=site, window=100) for site in SITES for layer in (0, middle(lm))]
    return [(act,) for act in [*acts, steer(lm, 1, 0.7, window=WINDOW + 2), steer(lm, lm.n_layers, window=100)]]


@pytest.mark.parametrize("acts_of", [acts_to_compare, long_windows])
def test_logits_equal_those_of_the_same_patch_by_hand_at_every_step(
    case: Case, acts_of: Callable[[LanguageModel], list[tuple[Steer, ...]]]
) -> None:
    lm = case.lm
    acts = [None, *acts_of(lm)]
    rows = [(prompt, act) for act in acts for prompt in PROMPTS]
    fed = torch.tensor(encode(lm, ["so many words, again"])[0][:N_FED])
    expected = []
    for prompt, act in rows:
        (ids,) = encode(lm, [prompt])
        with steered_by_hand(case.plain, act or (), len(ids)), torch.inference_mode():
            expected.append(case.plain(torch.tensor([[*ids, *fed.tolist()]])).logits[0, -1 - len(fed) :])
    expected = torch.stack(expected)
    unpatched = expected[: len(PROMPTS)].repeat(len(acts), 1, 1)
    changed = (expected - unpatched).abs().amax((1, 2))
    assert (changed[len(PROMPTS) :] > 0.05).all(), "a patch that changes nothing proves nothing"
    allowed = LOGIT_TOLERANCE * max(1.0, float(expected.abs().max()) / 10)
    for runner in RUNNERS:
        logits = logits_of(runner, lm, *zip(*rows, strict=True), fed)
        error = (logits - expected).abs().amax((1, 2))
        worst = int(error.argmax())
        assert error[worst] < allowed, f"{runner}: {error[worst]:.3g} at {rows[worst]}"


@pytest.fixture(scope="module")
def texts_by_hand(case: Case) -> list[PlainText]:
    """The text of every act that is compared, each behind a prompt of its own; most differ from the unpatched text."""
    lm = case.lm
    unpatched = [plain_text(case.plain, ids, N_NEW, lm.stop_ids) for ids in encode(lm, PROMPTS)]
    texts = []
    for i, act in enumerate(acts_to_compare(lm)):
        (ids,) = encode(lm, [PROMPTS[i % 3]])
        with steered_by_hand(case.plain, act, len(ids)):
            texts.append(plain_text(case.plain, ids, N_NEW, lm.stop_ids))
    differ = sum(text.tokens != unpatched[i % 3].tokens for i, text in enumerate(texts))
    assert differ >= 0.8 * len(texts)
    return texts


def test_texts_equal_those_of_the_same_patch_by_hand_cached_or_not(
    case: Case, texts_by_hand: list[PlainText], engine: str
) -> None:
    lm, expected = case.lm, texts_by_hand
    acts = acts_to_compare(lm)
    prompts = [PROMPTS[i % 3] for i in range(len(acts))]
    ratios = []
    for use_cache in (True, False):
        outs = generate(lm, prompts, acts, max_new_tokens=N_NEW, use_cache=use_cache, engine=engine)
        equal = [assert_same_until_near_tie(out.token_ids, ref) for out, ref in zip(outs, expected, strict=True)]
        assert sum(equal) > 0.8 * sum(len(ref.tokens) for ref in expected)
        ratios.append([out.delta_ratio for out in outs])
    np.testing.assert_allclose(*ratios, rtol=1e-3)


def test_schedule_and_steps_change_the_text(case: Case, engine: str) -> None:
    layer = middle(case.lm)
    variants = [
        steer(case.lm, layer, alpha=4.0, **settings)
        for settings in (
            {},
            {"steps": 0},
            {"schedule": (0.0, 1.0)},
            {"schedule": (1.0, -1.0, 1.0, -1.0)},
            {"schedule": Decay(0.3)},
            {"window": 1},
        )
    ]

    def texts(acts: list[Steer]) -> list[tuple[int, ...]]:
        return tokens_of(generate(case.lm, PROMPTS[:1] * len(acts), acts, max_new_tokens=N_NEW, engine=engine))

    assert len(set(texts(variants))) >= 4
    once = [dataclasses.replace(variants[1], steps=None, schedule=(1.0,)), variants[1]]
    always = [variants[0], dataclasses.replace(variants[0], schedule=Decay(1.0)), dataclasses.replace(variants[0])]
    for same in (once, always):
        assert len(set(texts(same))) == 1


def test_a_patched_row_goes_on_the_same_when_its_neighbours_end(
    tiny: LanguageModel, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts = [None, *acts_to_compare(tiny), *other_kinds(tiny, engine)] * 2
    prompts = PROMPTS[:1] * len(acts)
    settings = {"max_new_tokens": N_NEW, "temperature": 0.7, "seeds": list(range(len(acts))), "engine": engine}
    free = tokens_of(generate(tiny, prompts, acts, **settings))
    stop = Counter(token for tokens in free for token in sorted(set(tokens[:-2]))).most_common(1)[0][0]
    counts: list[int] = []
    step = RUNNERS[engine].step

    def counted(self: NativeRunner | BridgeRunner, tokens: torch.Tensor) -> torch.Tensor:
        counts.append(len(tokens))
        return step(self, tokens)

    monkeypatch.setattr(RUNNERS[engine], "step", counted)
    monkeypatch.setattr(tiny.network.generation_config, "eos_token_id", stop)
    ended = tokens_of(generate(dataclasses.replace(tiny), prompts, acts, **settings))
    assert ended == [tokens[: tokens.index(stop)] if stop in tokens else tokens for tokens in free]
    assert {len(tokens) == N_NEW for tokens in ended} == {True, False}
    assert (counts[-1] < len(acts)) == (engine == "native"), "rows are dropped by the native engine alone"


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


# Nothing is written in place


def test_no_hook_writes_into_the_tensor_that_it_is_given(case: Case) -> None:
    lm = case.lm
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    prompts = [PROMPTS[0]] * 3
    places = [("resid_pre", 0), ("resid_pre", middle(lm)), ("attn_out", 1), ("mlp_out", 1), ("resid_pre", lm.n_layers)]
    acts = [(steer(lm, 0, 5.0), steer(lm, 1, 5.0, site="attn_out")), None, steer(lm, middle(lm), 5.0)]
    at_the_end = [steer(lm, lm.n_layers, 5.0), None, steer(lm, 1, 5.0, site="mlp_out")]
    with contextlib.ExitStack() as stack:
        for place in places:  # registered before the steer's own hook: it sees the tensor that the steer is given
            handle = hook_point(lm, *place).register_forward_hook(
                lambda module, args, hidden: seen.append((hidden, hidden.clone()))
            )
            stack.callback(handle.remove)
        steered = residuals(lm, prompts, acts)
        residuals(lm, prompts, at_the_end)
    assert len(seen) == 2 * len(places)
    for hidden, copied in seen:
        assert torch.equal(hidden, copied)
    alone = residuals(lm, prompts, [None] * 3)
    for layer, hidden in steered.items():
        assert torch.equal(hidden[1], alone[layer][1])
    assert not torch.equal(steered[lm.n_layers][0], alone[lm.n_layers][0])


def tensors_in(value: object) -> list[torch.Tensor]:
    """Every tensor of nested dataclasses and tuples: a blueprint's weights."""
    if isinstance(value, torch.Tensor):
        return [value]
    if dataclasses.is_dataclass(value):
        return [found for field in dataclasses.fields(value) for found in tensors_in(getattr(value, field.name))]
    return [found for part in value for found in tensors_in(part)] if isinstance(value, tuple) else []


def arrays_in(act: Intervention) -> list[np.ndarray]:
    """Every array that an intervention holds, its vectors and records included."""
    if isinstance(act, np.ndarray):
        return [act]
    if isinstance(act, tuple | dict):
        return [found for part in (act.values() if isinstance(act, dict) else act) for found in arrays_in(part)]
    if not dataclasses.is_dataclass(act):
        return []
    return [found for field in dataclasses.fields(act) for found in arrays_in(getattr(act, field.name))]


@pytest.mark.parametrize("use_cache", [True, False])
def test_weights_prompts_and_interventions_are_as_before(case: Case, engine: str, use_cache: bool) -> None:
    lm = case.lm
    acts = [None, *other_kinds(lm, engine)] + [steer(lm, 1, 3.0, site=site) for site in SITES]
    acts += [steer(lm, 0, 3.0, schedule=Decay(0.5)), steer(lm, lm.n_layers, 3.0)]
    prompts = [PROMPTS[i % 3] for i in range(len(acts))]
    unpatched = tokens_of(generate(lm, prompts, max_new_tokens=4, engine=engine))
    kept = [*lm.network.state_dict().values(), *tensors_in(lm.blueprint)]
    copies = [tensor.clone() for tensor in kept]
    arrays, acts_before, prompts_before = copy.deepcopy(arrays_in(tuple(acts))), list(acts), list(prompts)
    settings = {"max_new_tokens": 4, "engine": engine, "use_cache": use_cache}
    first = generate(lm, prompts, acts, **settings)
    assert all(torch.equal(tensor, copied) for tensor, copied in zip(kept, copies, strict=True))
    assert prompts == prompts_before and all(a is b for a, b in zip(acts, acts_before, strict=True))
    assert len(arrays) >= 16
    for array, copied in zip(arrays_in(tuple(acts)), arrays, strict=True):
        np.testing.assert_array_equal(array, copied)
    changed = [mine != theirs for mine, theirs in zip(tokens_of(first), unpatched, strict=True)]
    assert not changed[0] and sum(changed) >= 4, "acts that do nothing write nothing"
    assert generate(lm, prompts, acts, **settings) == first


# Units


def test_alpha_counts_residual_norms_or_vectors(tiny: LanguageModel) -> None:
    vector = random_vector(tiny, 1)
    in_resid = Steer(1, vector, 0.5, unit="resid").delta()
    assert np.linalg.norm(in_resid) == pytest.approx(0.5 * vector.neutral_norm, rel=1e-5)
    bare = Steer(1, vector.values, 0.5, unit="resid", resid_norm=vector.neutral_norm)
    np.testing.assert_allclose(in_resid, bare.delta())
    np.testing.assert_array_equal(Steer(1, vector, 0.5, unit="vector").delta(), 0.5 * vector.values)
    np.testing.assert_array_equal(Steer(1, torch.tensor(vector.values), -2, unit="vector").delta(), -2 * vector.values)


@pytest.mark.parametrize("site", SITES)
def test_delta_ratio_is_the_realised_relative_step(case: Case, engine: str, site: str) -> None:
    lm, layer = case.lm, middle(case.lm)
    act = steer(lm, layer, alpha=0.7, site=site)
    outs = generate(lm, PROMPTS, [act] * 3, max_new_tokens=2, engine=engine)
    delta = float(np.linalg.norm(act.delta()))
    for out in outs:
        norms = held(lm, site, layer, out.prompt_ids).reshape(len(out.prompt_ids), lm.d_model).norm(dim=-1)
        n_patched = min(3, max(len(out.prompt_ids) - 1, 1))
        assert out.delta_ratio == pytest.approx(float((delta / norms[-n_patched:]).mean()), rel=1e-3)
    twice = dataclasses.replace(act, alpha=1.4)
    (stronger,) = generate(lm, PROMPTS[:1], [twice], max_new_tokens=2, engine=engine)
    assert stronger.delta_ratio == pytest.approx(2 * outs[0].delta_ratio, rel=1e-3)


# The final residual, and that a steer acts at all


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_final_residual_reaches_the_logits_and_nothing_else(case: Case, runner: str) -> None:
    lm = case.lm
    fed = torch.tensor(encode(lm, ["so many words, again"])[0][:2])
    acts = [steer(lm, layer, 2.0, steps=0) for layer in (lm.n_layers, 0)]
    base, final, first = (logits_of(runner, lm, PROMPTS, [act] * 3, fed) for act in (None, *acts))
    for patched in (final, first):
        assert (patched - base)[:, 0].abs().amax(-1).min() > 0.1
    torch.testing.assert_close(final[:, 1:], base[:, 1:], atol=LOGIT_TOLERANCE, rtol=0)
    assert (first - base)[:, 1:].abs().amax(-1).min() > 0.01, "an earlier layer reaches later tokens by its keys"


def test_the_final_residual_is_the_only_one_that_changes(case: Case) -> None:
    lm = case.lm
    base, patched = (residuals(lm, PROMPTS, [act] * 3) for act in (None, steer(lm, lm.n_layers, 2.0)))
    for layer in range(lm.n_layers):
        assert torch.equal(base[layer], patched[layer])
    assert not torch.equal(base[lm.n_layers], patched[lm.n_layers])


def test_a_strong_steer_changes_the_text_at_every_layer(case: Case, engine: str) -> None:
    layers = sorted({0, middle(case.lm), case.lm.n_layers - 1, case.lm.n_layers})
    (unpatched,) = generate(case.lm, PROMPTS[:1], max_new_tokens=N_NEW, engine=engine)
    acts = [steer(case.lm, layer, alpha=8.0) for layer in layers]
    for out in generate(case.lm, PROMPTS[:1] * len(acts), acts, max_new_tokens=N_NEW, engine=engine):
        assert out.token_ids != unpatched.token_ids
        assert out.delta_ratio > 1


# Hooks are gone, or were never there


def test_hooks_are_gone_after_generating_and_recording(case: Case) -> None:
    lm = case.lm
    generate(lm, PROMPTS[:1], max_new_tokens=1, engine="bridge")  # the bridge wires hooks of its own at the first pass
    acts = [steer(lm, 0), steer(lm, middle(lm), site="mlp_out"), steer(lm, lm.n_layers)]
    before, during = count_hooks(lm), []
    handle = blocks(lm.network)[0].register_forward_hook(lambda module, args, output: during.append(count_hooks(lm)))
    try:
        generate(lm, PROMPTS[:1] * 3, acts, max_new_tokens=2, engine="bridge")
    finally:
        handle.remove()
    assert during == [before + 1 + len(acts)] * 2, "one hook per place while the network runs, and the one above"
    assert count_hooks(lm) == before
    places = [("resid_pre", lm.n_layers), *((site, layer) for site in SITES for layer in range(lm.n_layers))]
    with hooked(lm, [(*place, lambda value: None) for place in places], may_stay_silent=True):
        assert count_hooks(lm) == before + len(places)
    assert count_hooks(lm) == before


def test_a_hook_that_never_fires_is_an_error(case: Case) -> None:
    lm = case.lm
    ids = torch.tensor(encode(lm, PROMPTS[1:2]))
    places = [("attn_out", 0), ("mlp_out", lm.n_layers - 1)]
    hooks = [(*place, lambda value: None) for place in places]
    with hooked(lm, hooks), torch.inference_mode():
        lm.network(input_ids=ids)
    before = count_hooks(lm)
    with pytest.raises(UserError, match=r"attn_out at layer 0, mlp_out at layer .* never fired"), hooked(lm, hooks):
        pass
    assert count_hooks(lm) == before


def test_the_native_engine_registers_no_hook_and_runs_none(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = case.lm
    acts = [(steer(lm, 0), steer(lm, 1, site="attn_out")), *other_kinds(lm, "result"), steer(lm, lm.n_layers)]
    prompts = PROMPTS[:1] * len(acts)
    for engine in ("native", "bridge"):  # the first calls wire the bridge and check the blueprint
        generate(lm, PROMPTS[:1], max_new_tokens=2, engine=engine)
    registered: list[nn.Module] = []
    called: list[int] = []
    for name in ("register_forward_hook", "register_forward_pre_hook"):
        original = getattr(nn.Module, name)

        def register(self: nn.Module, *args: object, _original: Callable = original, **kwargs: object) -> object:
            registered.append(self)
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(nn.Module, name, register)
    handle = hook_point(lm, "resid_pre", 0).register_forward_hook(lambda module, args, output: called.append(1))
    registered.clear()
    try:
        generate(lm, prompts, acts, max_new_tokens=2, engine="native")
        assert not registered and not called
        generate(lm, prompts, acts, max_new_tokens=2, engine="bridge")
        assert registered and called
    finally:
        handle.remove()


def test_hooks_are_gone_after_an_exception(case: Case) -> None:
    lm = case.lm
    acts = [steer(lm, 0, 5.0)] * 3
    prompts = [PROMPTS[0]] * 3
    unpatched = tokens_of(generate(lm, prompts, max_new_tokens=N_NEW, engine="bridge"))
    before, calls = count_hooks(lm), []

    def fail(module: nn.Module, args: tuple, output: object) -> None:
        calls.append(count_hooks(lm))
        if len(calls) == 2:  # the first token is out, the second is under way
            raise RuntimeError("a fault")

    handle = blocks(lm.network)[-1].register_forward_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="a fault"):
            generate(lm, prompts, acts, max_new_tokens=N_NEW, engine="bridge")
    finally:
        handle.remove()
    assert calls == [before + 2] * 2, "the steer's hook was not there when the pass failed"
    assert count_hooks(lm) == before
    assert tokens_of(generate(lm, prompts, max_new_tokens=N_NEW, engine="bridge")) == unpatched


@pytest.mark.parametrize("failing", ["start", "step"])
def test_a_call_after_a_failed_one_gives_the_same_texts(
    tiny: LanguageModel, engine: str, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts = [steer(tiny, 0, 5.0), steer(tiny, 1, 5.0, site="mlp_out"), None]
    settings = {"max_new_tokens": N_NEW, "engine": engine}
    patched, unpatched = (tokens_of(generate(tiny, PROMPTS, given, **settings)) for given in (acts, None))
    method = getattr(RUNNERS[engine], failing)

    def fail(*args: object) -> torch.Tensor:
        method(*args)
        raise RuntimeError("a fault")

    with monkeypatch.context() as patch:
        patch.setattr(RUNNERS[engine], failing, fail)
        with pytest.raises(RuntimeError, match="a fault"):
            generate(tiny, PROMPTS, acts, **settings)
    assert tokens_of(generate(tiny, PROMPTS, **settings)) == unpatched
    assert tokens_of(generate(tiny, PROMPTS, acts, **settings)) == patched != unpatched


# Mistakes


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"alpha": float("nan")}, "finite alpha .*, got nan"),
        ({"alpha": float("inf")}, "finite alpha .*, got inf"),
        ({"layer": 2}, "belongs to layer 1, the steer to layer 2"),
        ({"window": 0}, "window .* got 0"),
        ({"unit": "norm"}, "unknown unit 'norm'"),
        ({"site": "resid_post"}, "unknown site 'resid_post'"),
        ({"schedule": "linear"}, "got 'linear'"),
        ({"schedule": "decay"}, "Decay.rate. .* got 'decay'"),
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
    vector = LayerVector(np.ones(4, np.float32), "m", "r", 1, "last", 2.0)
    right = {"layer": 1, "vector": vector, "alpha": 0.5, "unit": "resid"}
    assert Steer(**right).delta().shape == (4,)
    with pytest.raises(UserError, match=named):
        Steer(**{**right, **settings})


def test_a_unit_vector_takes_strengths_as_large_as_residual_norms_are() -> None:
    unit = np.array([0.6, 0.8], np.float32)
    assert np.allclose(Steer(1, unit, 20_000, unit="vector").delta(), [12_000, 16_000])
    with pytest.raises(UserError, match="from -1000 to 1000"):
        Steer(1, unit, 20_000, unit="resid", resid_norm=1.0)


@pytest.mark.parametrize("rate", [0.0, -0.5, 1.5, float("nan")])
def test_a_decay_that_does_not_fall_is_refused(rate: float) -> None:
    assert Decay(1.0).rate == 1.0
    with pytest.raises(UserError, match=f"got {rate}"):
        Decay(rate)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_steer_that_does_not_fit_the_model_is_refused_before_generating(
    alpha: float, tiny_models: dict[str, LanguageModel], engine: str
) -> None:
    lm, other = tiny_models["gpt2"], tiny_models["gpt_neox"]
    wide = np.ones(lm.d_model + 1, np.float32)
    wrong = {
        f"layer {lm.n_layers + 1} is out of range": Steer(lm.n_layers + 1, wide[1:], alpha, unit="vector"),
        "layer -1 is out of range": Steer(-1, wide[1:], alpha, unit="vector"),
        f"d_model {lm.d_model}, got {lm.d_model + 1}": Steer(1, wide, alpha, unit="vector"),
        f"got one of {other.spec.name}": steer(other, 1, alpha),
        f"0-{lm.n_layers - 1} for Steer": Steer(lm.n_layers, wide[1:], alpha, unit="vector", site="mlp_out"),
    }
    finished: list[int] = []
    for named, act in wrong.items():
        with pytest.raises(UserError, match=named):
            generate(
                lm,
                PROMPTS,
                [None, None, act],
                max_new_tokens=2,
                batch_size=1,
                on_batch=finished.append,
                engine=engine,
            )
    assert finished == []


def test_hook_points_outside_the_model_are_refused(tiny: LanguageModel) -> None:
    assert hook_point(tiny, "resid_pre", tiny.n_layers) is not hook_point(tiny, "resid_pre", tiny.n_layers - 1)
    for site, layer in (("mlp_out", tiny.n_layers), ("resid_pre", tiny.n_layers + 1), ("resid_pre", -1)):
        with pytest.raises(UserError, match=f" {layer}"):
            hook_point(tiny, site, layer)
