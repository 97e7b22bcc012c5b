"""Moves in the residual stream: to a place in a subspace, and out of a direction."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tiny import (
    ROUTES,
    Case,
    Edit,
    assert_same_until_near_tie,
    factors_by_hand,
    forced_logits,
    patched_by_hand,
    plain_logits,
    plain_text,
)

from emolib.base.errors import UserError
from emolib.data.activations import LayerVector
from emolib.engine.generation import generate
from emolib.interventions import AblateDirection, Cap, Clamp, Decay, Edits, Steer, SubspaceSteer
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode

PROMPTS = ["The new shop by the old bridge", "It rained and", "I"]
SITES = ("resid_pre", "attn_out", "mlp_out")
TIMINGS: tuple[dict[str, Any], ...] = (
    {"window": 3},
    {"window": None, "schedule": Decay(0.5)},
    {"window": 2, "schedule": [0.5, 0.0, -1.0]},
    {"window": 100, "steps": 0},
    {"window": 1, "schedule": (0.0, 1.0, 0.5), "steps": 1},
)
N_FORCED = 4
TOLERANCE = 5e-4  # of logits with a spread of 1 to 5, in float32
SEEN = 10 * TOLERANCE  # a patch that moves no logit this far would be no evidence


def basis(lm: LanguageModel, k: int, seed: int = 0) -> np.ndarray:
    """k orthonormal columns `[d_model, k]`."""
    drawn = np.random.default_rng(seed).standard_normal((lm.d_model, k))
    return np.linalg.qr(drawn)[0].astype(np.float32)


def subspace(lm: LanguageModel, layer: int, k: int = 2, **settings: Any) -> SubspaceSteer:
    target = np.arange(2, 2 + k) * (-1.0) ** np.arange(k)
    return SubspaceSteer(layer, basis(lm, k, seed=layer + k), target, **settings)


def ablation(lm: LanguageModel, layer: int, *, centred: bool = True, **settings: Any) -> AblateDirection:
    direction, center = np.random.default_rng(layer).standard_normal((2, lm.d_model))
    return AblateDirection(layer, 3 * direction, 2 * center if centred else None, **settings)


def clamp(lm: LanguageModel, layer: int, value: float = 2.5, **settings: Any) -> Clamp:
    return Clamp(layer, 3 * np.random.default_rng(layer).standard_normal(lm.d_model), value, **settings)


def cap(lm: LanguageModel, layer: int, low: float | None, high: float | None, **settings: Any) -> Cap:
    return Cap(layer, 3 * np.random.default_rng(layer).standard_normal(lm.d_model), low, high, **settings)


def stream_acts(lm: LanguageModel) -> list[SubspaceSteer | AblateDirection | Clamp | Cap]:
    """Every site, k, timing and strength, spread over the layers; the final residual too."""
    acts: list[SubspaceSteer | AblateDirection | Clamp | Cap] = []
    for number, site in enumerate(SITES):
        for i, timing in enumerate(TIMINGS):
            layer = (2 * i + number) % lm.n_layers
            alpha = (1.0, 0.5, -1.0)[(i + number) % 3]
            acts.append(subspace(lm, layer, k=1 + i % 3, alpha=alpha, site=site, **timing))
            acts.append(ablation(lm, layer, centred=(i + number) % 2 == 0, site=site, **timing))
            acts.append(clamp(lm, layer, (2.5, -3.0)[i % 2], site=site, **timing))
            bounds = ((3.0, 3.2), (None, -30.0), (30.0, None))[i % 3]  # bounds that every coordinate breaks
            acts.append(cap(lm, layer, *bounds, site=site, **timing))
    final = [subspace(lm, lm.n_layers), ablation(lm, lm.n_layers), clamp(lm, lm.n_layers)]
    return [*acts, *final, cap(lm, lm.n_layers, 30.0, None)]


def by_hand(act: Any, n_prompt: int) -> tuple[str, int, Edit]:
    """The same act as a function of the hidden states of one unpadded text."""

    def moved(h: torch.Tensor, factor: float) -> torch.Tensor:
        if isinstance(act, Steer):
            return h + factor * act.alpha * torch.tensor(act.vector, dtype=torch.float32)
        if isinstance(act, SubspaceSteer):
            u, mu = (torch.tensor(part, dtype=torch.float32) for part in (act.basis, act.target))
            return h + factor * act.alpha * (u @ (mu - u.T @ h))
        d = torch.tensor(act.direction, dtype=torch.float32)
        d = d / d.norm()
        if isinstance(act, Clamp):
            return h + factor * (act.value - h @ d) * d
        if isinstance(act, Cap):
            return h + factor * (torch.clamp(h @ d, act.low, act.high) - h @ d) * d
        c = torch.zeros_like(d) if act.center is None else torch.tensor(act.center, dtype=torch.float32)
        return h - factor * ((h - c) @ d) * d

    def edit(hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.clone()
        for column, factor in enumerate(factors_by_hand(act, n_prompt, hidden.shape[1])):
            if factor:
                hidden[0, column] = moved(hidden[0, column], factor)
        return hidden

    return act.site, act.layer, edit


def forced_tokens(lm: LanguageModel, n_rows: int) -> list[list[int]]:
    ids = encode(lm, ["a few words go on from here and there"])[0]
    return [[ids[(row + i) % len(ids)] for i in range(N_FORCED)] for row in range(n_rows)]


def by_hand_logits(case: Case, prompts: Sequence[str], acts: Sequence[Sequence[Any]]) -> torch.Tensor:
    """`[row, step, vocabulary]` of every row alone."""
    rows, forced = encode(case.lm, prompts), forced_tokens(case.lm, len(prompts))
    given = zip(rows, acts, forced, strict=True)
    return torch.stack(
        [plain_logits(case.plain, [by_hand(act, len(ids)) for act in row], ids, new) for ids, row, new in given]
    )


def engine_logits(lm: LanguageModel, route: str, prompts: Sequence[str], acts: Sequence[Any]) -> torch.Tensor:
    return forced_logits(lm, route, prompts, acts, forced_tokens(lm, len(prompts)))


@pytest.fixture(scope="module")
def case(tiny_case: Case) -> Case:
    """The tiny models; what every kind of act does to the bundled one is in test_bundled_interventions."""
    return tiny_case


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, torch.Tensor, torch.Tensor]]:
    """What every patched site held before and after its acts: (site, layer, before, after) per pass."""
    seen: list[tuple[str, int, torch.Tensor, torch.Tensor]] = []
    apply = Edits.stream

    def look(self: Edits, site: str, layer: int, hidden: torch.Tensor, columns: Any) -> torch.Tensor:
        before = hidden.clone()
        after = apply(self, site, layer, hidden, columns)
        if (site, layer) in self.places:
            seen.append((site, layer, before, after.clone()))
        return after

    monkeypatch.setattr(Edits, "stream", look)
    return seen


@pytest.fixture(params=("native", "bridge"))
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    return request.param


# By the engine = by hand, cached or not


@pytest.fixture(scope="module")
def expected(case: Case) -> tuple[list[str], list[Any], torch.Tensor]:
    """Prompts, acts, and the logits by hand; every act is seen to change something."""
    acts = stream_acts(case.lm)
    prompts = [PROMPTS[i % 3] for i in range(len(acts))]
    patched = by_hand_logits(case, prompts, [[act] for act in acts])
    change = (patched - by_hand_logits(case, prompts, [[]] * len(acts))).abs().flatten(1).amax(1)
    assert change.min() > SEEN, "an act that changes nothing proves nothing"
    return prompts, acts, patched


@pytest.mark.parametrize("route", ROUTES)
def test_moves_equal_the_same_moves_by_hand(case: Case, expected: tuple, route: str) -> None:
    prompts, acts, patched = expected
    torch.testing.assert_close(engine_logits(case.lm, route, prompts, acts), patched, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("use_cache", [True, False])
def test_moved_texts_equal_the_plain_loop_under_hooks(case: Case, engine: str, use_cache: bool) -> None:
    lm, n_new = case.lm, 6
    acts = [subspace(lm, 1, k=3), ablation(lm, 0), ablation(lm, lm.n_layers - 1, site="mlp_out")]
    outs = generate(lm, PROMPTS, acts, max_new_tokens=n_new, engine=engine, use_cache=use_cache)
    unpatched = generate(lm, PROMPTS, max_new_tokens=n_new, engine=engine)
    assert sum(a.token_ids != b.token_ids for a, b in zip(outs, unpatched, strict=True)) >= 2
    equal = []
    for out, act in zip(outs, acts, strict=True):
        with patched_by_hand(case.plain, [by_hand(act, len(out.prompt_ids))]):
            reference = plain_text(case.plain, out.prompt_ids, n_new, lm.stop_ids)
        equal.append(assert_same_until_near_tie(out.token_ids, reference) / len(reference.margins))
    assert np.mean(equal) > 0.8


def test_different_moves_on_every_row_equal_each_row_alone(case: Case, expected: tuple, engine: str) -> None:
    prompts, acts, _ = expected
    some = range(0, len(acts), 5)
    prompts, acts = [prompts[i] for i in some], [acts[i] for i in some]
    kept = [*acts[:2], None, *acts[3:]]
    together = engine_logits(case.lm, engine, prompts, kept)
    forced = forced_tokens(case.lm, len(acts))
    for row, (prompt, act) in enumerate(zip(prompts, kept, strict=True)):
        alone = forced_logits(case.lm, engine, [prompt], [act], [forced[row]])[0]
        torch.testing.assert_close(together[row], alone, atol=TOLERANCE, rtol=0)


# Several acts at one place


@pytest.mark.parametrize("site", SITES)
def test_acts_at_one_place_apply_in_their_order(case: Case, engine: str, site: str) -> None:
    lm, layer = case.lm, case.lm.n_layers // 2
    push = np.random.default_rng(5).standard_normal(lm.d_model)
    acts = (
        Steer(layer, 2 * push, 1.0, unit="vector", site=site),
        subspace(lm, layer, k=2, alpha=0.5, site=site),
        AblateDirection(layer, push + basis(lm, 2, seed=layer + 2)[:, 0], site=site),
    )
    orders = [acts, acts[::-1], (acts[1], acts[0], acts[2])]
    prompts = PROMPTS[:1] * len(orders)
    forced = forced_tokens(lm, 1) * len(orders)
    n_prompt = len(encode(lm, PROMPTS[:1])[0])
    found = forced_logits(lm, engine, prompts, orders, forced)
    for row, order in zip(found, orders, strict=True):
        edits = [by_hand(act, n_prompt) for act in order]
        wanted = plain_logits(case.plain, edits, encode(lm, PROMPTS[:1])[0], forced[0])
        torch.testing.assert_close(row, wanted, atol=TOLERANCE, rtol=0)
    for other in found[1:]:
        assert (found[0] - other).abs().max() > SEEN, "the order made no difference"


def test_acts_at_several_sites_and_layers_of_one_row_add_up(case: Case, engine: str) -> None:
    lm = case.lm
    acts = (
        ablation(lm, lm.n_layers),
        subspace(lm, 1, site="mlp_out"),
        ablation(lm, 1, site="attn_out", window=2),
        subspace(lm, 0, k=3, schedule=Decay(0.5)),
    )
    rows = [acts, acts[1:], acts[:-1], None]
    found = engine_logits(lm, engine, [PROMPTS[0]] * 4, rows)
    wanted = by_hand_logits(case, [PROMPTS[0]] * 4, [acts, acts[1:], acts[:-1], ()])
    torch.testing.assert_close(found, wanted, atol=TOLERANCE, rtol=0)
    for other in wanted[1:]:
        assert (wanted[0] - other).abs().max() > SEEN


# What a move does where it falls


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_at_alpha_one_the_coordinates_become_the_target(
    case: Case, engine: str, site: str, k: int, streams: list
) -> None:
    lm = case.lm
    full = subspace(lm, 1, k=k, site=site)
    u, mu = torch.tensor(full.basis), torch.tensor(full.target, dtype=torch.float32)
    for act in (full, dataclasses.replace(full, alpha=0.5)):
        streams.clear()
        (out,) = generate(lm, PROMPTS[:1], [act], max_new_tokens=3, engine=engine)
        assert len(streams) == min(len(out.token_ids) + 1, 3), "the prefill and every token that is fed back"
        for _, _, before, after in streams:
            patched = slice(-3, None)  # of a step its one column
            old, new = before[0, patched] @ u, after[0, patched] @ u
            wanted = mu.expand_as(new) if act.alpha == 1 else (old + mu) / 2
            torch.testing.assert_close(new, wanted, atol=1e-4, rtol=1e-4)
            assert_along(u, before, after)
        assert (streams[0][2][0, -3:] @ u - mu).abs().max() > 0.2, "the coordinates were there before"


def assert_along(u: torch.Tensor, before: torch.Tensor, after: torch.Tensor) -> None:
    """What changed lies in the span of u's orthonormal columns."""
    change = (after - before)[0]
    torch.testing.assert_close(change, change @ u @ u.T, atol=1e-5 * float(before.abs().max()), rtol=0)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("centred", [True, False])
def test_ablating_removes_the_centred_component_and_nothing_else(
    case: Case, engine: str, site: str, centred: bool, streams: list
) -> None:
    lm, act = case.lm, ablation(case.lm, 1, centred=centred, site=site)
    (out,) = generate(lm, PROMPTS[:1], [act], max_new_tokens=3, engine=engine)
    d = torch.tensor(act.direction / np.linalg.norm(act.direction), dtype=torch.float32)
    place = float(np.dot(act.center, d.numpy())) if centred else 0.0
    n_patched = len(out.prompt_ids) - 1
    for _, _, before, after in streams:
        coordinates = after[0, -n_patched:] @ d
        accuracy = 1e-5 * float(before.abs().max())
        torch.testing.assert_close(coordinates, torch.full_like(coordinates, place), atol=accuracy, rtol=1e-5)
        assert_along(d[:, None], before, after)
    assert (streams[0][2][0, -n_patched:] @ d - place).abs().max() > 0.2, "there was nothing to remove"


@pytest.mark.parametrize("centred", [True, False])
def test_ablating_is_a_move_to_the_centre_in_one_dimension(case: Case, engine: str, centred: bool) -> None:
    act = ablation(case.lm, 1, centred=centred)
    unit = act.direction / np.linalg.norm(act.direction)
    place = float(np.dot(act.center, unit)) if centred else 0.0
    move = SubspaceSteer(1, unit[:, None], [place], window=None)
    elsewhere = dataclasses.replace(move, target=[place + 3])
    forced = forced_tokens(case.lm, 1) * 3
    ablated, moved, other = forced_logits(case.lm, engine, PROMPTS[:1] * 3, [act, move, elsewhere], forced)
    torch.testing.assert_close(ablated, moved, atol=TOLERANCE, rtol=0)
    assert (ablated - other).abs().max() > SEEN


@pytest.mark.parametrize("site", SITES)
def test_clamping_leaves_the_value_and_changes_nothing_else(case: Case, engine: str, site: str, streams: list) -> None:
    act = clamp(case.lm, 1, site=site)
    (out,) = generate(case.lm, PROMPTS[:1], [act], max_new_tokens=3, engine=engine)
    d, n_patched = torch.tensor(act.coordinates()[0][:, 0]), len(out.prompt_ids) - 1
    assert len(streams) == min(len(out.token_ids) + 1, 3)
    for _, _, before, after in streams:
        stands = after[0, -n_patched:] @ d
        torch.testing.assert_close(stands, torch.full_like(stands, 2.5), atol=1e-4, rtol=1e-5)
        assert_along(d[:, None], before, after)
    assert (streams[0][2][0, -n_patched:] @ d - 2.5).abs().min() > 1e-3, "the coordinates were there before"


@pytest.mark.parametrize("site", SITES)
def test_a_cap_moves_what_lies_outside_to_the_bound_and_leaves_the_rest(
    case: Case, engine: str, site: str, streams: list
) -> None:
    lm = case.lm
    looks = cap(lm, 1, -1e6, 1e6, site=site)
    (base,) = generate(lm, PROMPTS[:1], [looks], max_new_tokens=1, engine=engine)
    d, n_patched = torch.tensor(looks.direction / np.linalg.norm(looks.direction)).float(), len(base.prompt_ids) - 1
    ((_, _, before, after),) = streams
    assert torch.equal(before, after) and base.delta_ratio == 0.0, "a bound that nothing breaks changed something"
    stood = (before[0] @ d)[-n_patched:]
    low, high = (float(bound) for bound in stood.quantile(torch.tensor([0.3, 0.7])))
    streams.clear()
    generate(lm, PROMPTS[:1], [cap(lm, 1, low, high, site=site)], max_new_tokens=1, engine=engine)
    ((_, _, before, after),) = streams
    outside = (stood < low) | (stood > high)
    assert 0 < int(outside.sum()) < len(stood), "the bounds split nothing"
    torch.testing.assert_close((after[0] @ d)[-n_patched:], stood.clamp(low, high), atol=1e-4, rtol=1e-5)
    assert torch.equal(after[0, -n_patched:][~outside], before[0, -n_patched:][~outside])
    assert_along(d[:, None], before, after)


def test_clamping_to_zero_is_ablating_and_a_cap_of_one_value_is_a_clamp(case: Case, engine: str) -> None:
    lm = case.lm
    direction = 3 * np.random.default_rng(1).standard_normal(lm.d_model)
    acts = [
        *(AblateDirection(1, direction), clamp(lm, 1, 0.0), cap(lm, 1, 0.0, 0.0)),
        *(cap(lm, 1, 4.0, 4.0), clamp(lm, 1, 4.0), clamp(lm, 1, 1.0)),
    ]
    forced = forced_tokens(lm, 1) * len(acts)
    ablated, zero, at_zero, capped, four, one = forced_logits(lm, engine, PROMPTS[:1] * len(acts), acts, forced)
    for same, other in ((ablated, zero), (zero, at_zero), (capped, four)):
        torch.testing.assert_close(same, other, atol=TOLERANCE, rtol=0)
    assert (four - one).abs().max() > SEEN and (zero - one).abs().max() > SEEN


def changed_columns(before: torch.Tensor, after: torch.Tensor, n_columns: int) -> list[int]:
    """Which columns of a text a patch changed; a pass need not feed columns before the first patched one."""
    changed = ((after - before)[0].abs().amax(-1) > 1e-5).nonzero()[:, 0]
    return (changed + n_columns - before.shape[1]).tolist()


@pytest.mark.parametrize("prompt", PROMPTS)
def test_without_a_window_every_token_but_the_first_is_patched(
    case: Case, engine: str, prompt: str, streams: list
) -> None:
    lm, n_new = case.lm, 3
    n_prompt = len(encode(lm, [prompt])[0])
    first = 1 if n_prompt > 1 else 0  # the only token is patched
    forced_logits(lm, f"{engine} uncached", [prompt], [ablation(lm, 1)], forced_tokens(lm, 1))
    for step, (_, _, before, after) in enumerate(streams):
        assert changed_columns(before, after, n_prompt + step) == list(range(first, n_prompt + step))
    assert len(streams) == N_FORCED + 1
    streams.clear()
    narrow = ablation(lm, 1, window=2, steps=1)
    forced_logits(lm, engine, [prompt], [narrow], [tokens[:n_new] for tokens in forced_tokens(lm, 1)])
    fed = [changed_columns(before, after, n_prompt + step) for step, (_, _, before, after) in enumerate(streams)]
    assert fed[0] == list(range(max(n_prompt - 2, first), n_prompt))
    assert [column for columns in fed[1:] for column in columns] == [n_prompt]


def test_delta_ratio_is_the_realised_relative_step(case: Case, engine: str, streams: list) -> None:
    lm = case.lm
    for act in (subspace(lm, 1), ablation(lm, 1, site="attn_out")):
        streams.clear()
        (out,) = generate(lm, PROMPTS[:1], [act], max_new_tokens=1, engine=engine)
        ((_, _, before, after),) = streams
        n_patched = 3 if act.window else len(out.prompt_ids) - 1
        ratios = ((after - before).norm(dim=-1) / before.norm(dim=-1))[0, -n_patched:]
        assert out.delta_ratio == pytest.approx(float(ratios.mean()), rel=1e-3)
        assert out.delta_ratio > 0.01


# Mistakes


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"basis": np.ones((4, 2))}, "orthonormal"),
        ({"basis": np.ones(4)}, r"shape \(4,\)"),
        ({"basis": np.full((4, 2), np.nan)}, "finite"),
        ({"target": np.ones(3)}, "k = 2 .* got 3"),
        ({"target": np.full(2, np.inf)}, "finite"),
        ({"target": np.ones((2, 1))}, r"shape \(2, 1\)"),
        ({"alpha": float("nan")}, "finite alpha .*, got nan"),
        ({"site": "z"}, "unknown site 'z'"),
        ({"window": 0}, "window .* got 0"),
        ({"steps": -1}, "steps .* got -1"),
        ({"schedule": "linear"}, "got 'linear'"),
    ],
)
def test_a_wrong_subspace_is_refused_where_it_is_written(settings: dict, named: str) -> None:
    right = {"layer": 1, "basis": np.eye(4)[:, :2], "target": np.ones(2)}
    assert SubspaceSteer(**right).width == 4
    with pytest.raises(UserError, match=named):
        SubspaceSteer(**{**right, **settings})


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"direction": np.zeros(4)}, "norm 0"),
        ({"direction": np.full(4, np.nan)}, "finite"),
        ({"direction": np.ones((2, 4))}, r"shape \(2, 4\)"),
        ({"center": np.ones(3)}, "length 4, got 3"),
        ({"center": np.full(4, np.inf)}, "finite"),
        ({"site": "resid_post"}, "unknown site 'resid_post'"),
        ({"window": -1}, "window .* got -1"),
        (
            {"direction": LayerVector(np.ones(4, np.float32), "m", "r", 2, "last", 2.0)},
            "belongs to layer 2, the ablation to 1",
        ),
    ],
)
def test_a_wrong_ablation_is_refused_where_it_is_written(settings: dict, named: str) -> None:
    right = {"layer": 1, "direction": np.ones(4), "center": np.ones(4)}
    assert AblateDirection(**right).width == 4
    with pytest.raises(UserError, match=named):
        AblateDirection(**{**right, **settings})


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        (Clamp, {"direction": np.zeros(4)}, "norm 0"),
        (Clamp, {"value": float("nan")}, "finite value, got nan"),
        (Clamp, {"value": 1e20}, r"1e\+12"),
        (Clamp, {"site": "z"}, "unknown site 'z'"),
        (
            Clamp,
            {"direction": LayerVector(np.ones(4, np.float32), "m", "r", 2, "last", 2.0)},
            "layer 2, the clamp to 1",
        ),
        (Cap, {"low": None, "high": None}, "low=, high= or both"),
        (Cap, {"low": 2.0, "high": 1.0}, "low at most high, got low 2 and high 1"),
        (Cap, {"high": float("inf")}, "finite high, got inf"),
        (Cap, {"direction": np.ones((2, 4))}, r"shape \(2, 4\)"),
        (Cap, {"direction": LayerVector(np.ones(4, np.float32), "m", "r", 2, "last", 2.0)}, "layer 2, the cap to 1"),
    ],
)
def test_a_wrong_limit_is_refused_where_it_is_written(kind: type, settings: dict, named: str) -> None:
    right = {"layer": 1, "direction": np.ones(4), **({"value": 1.0} if kind is Clamp else {"low": 0.0})}
    assert kind(**right).width == 4
    with pytest.raises(UserError, match=named):
        kind(**{**right, **settings})


def test_a_move_that_does_not_fit_the_model_is_refused_before_generating(tiny: LanguageModel, engine: str) -> None:
    width, last = tiny.d_model, tiny.n_layers
    foreign = LayerVector(np.ones(width, np.float32), "another", "revision", 1, "last", 2.0)
    wrong = {
        f"d_model {width}, got {width + 1}": AblateDirection(1, np.ones(width + 1)),
        f"d_model {width}, got {width - 1}": SubspaceSteer(1, np.eye(width - 1)[:, :2], np.ones(2)),
        f"layer {last + 1} is out of range": subspace(tiny, last + 1),
        "layer -1 is out of range": AblateDirection(-1, np.ones(width)),
        f"for AblateDirection here, got {last}": ablation(tiny, last, site="mlp_out"),
        "got one of another": AblateDirection(1, foreign),
        f"d_model {width}, got {width + 2}": Clamp(1, np.ones(width + 2), 1.0),
        f"d_model {width}, got {width + 3}": Cap(1, np.ones(width + 3), 1.0),
        f"for Cap here, got {last}": cap(tiny, last, 1.0, None, site="attn_out"),
        "got one of another .*": Clamp(1, foreign, 1.0),
    }
    finished: list[int] = []
    for named, act in wrong.items():
        with pytest.raises(UserError, match=named):
            generate(
                tiny,
                PROMPTS,
                [None, None, act],
                max_new_tokens=1,
                batch_size=1,
                engine=engine,
                on_batch=finished.append,
            )
    assert finished == []
    generate(tiny, PROMPTS[:1], [ablation(tiny, last)], max_new_tokens=1, engine=engine, on_batch=finished.append)
    assert finished == [1]
