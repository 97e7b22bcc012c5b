"""Ablated and patched heads: against the same done by hand to a plain network, and what each mode leaves alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from tiny import (
    ROUTES,
    WINDOW,
    Case,
    Edit,
    assert_same_until_near_tie,
    count_hooks,
    factors_by_hand,
    forced_logits,
    patched_by_hand,
    plain_attention,
    plain_heads,
    plain_logits,
    plain_text,
)

from emolib.base.errors import UserError
from emolib.data.activations import LayerVector
from emolib.engine.generation import generate
from emolib.interventions import (
    AblateHead,
    Decay,
    Edits,
    HeadActivations,
    PatchHead,
    Steer,
    mean_head_output,
    record_heads,
)
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode

PROMPTS = ["The new shop by the old bridge", "It rained and", "I"]
SHORT, EQUAL, LONG, TINY = (
    "Rain",
    "The old shop by the new bridge",
    "Her grey cat sat on a cold red fence all night",
    "A",
)
SOURCES = (SHORT, EQUAL, LONG, TINY)
MODES = ("v_only", "pattern_v", "result")
TIMINGS: tuple[dict[str, Any], ...] = (
    {"steps": 0},
    {"window": 2, "steps": 2},
    {"schedule": Decay(0.5), "steps": None},
    {"window": 5, "schedule": [0.5, 0.0, -1.0], "steps": None},
    {"schedule": (0.0, 1.0), "steps": 1},
)
N_FORCED = 4
TOLERANCE = 5e-4  # of logits with a spread of 1 to 5, in float32
SEEN = 10 * TOLERANCE  # a patch that moves no logit this far would be no evidence

Sources = Mapping[str, HeadActivations]


@pytest.fixture(scope="module")
def case(tiny_case: Case) -> Case:
    """The tiny models; what every kind of act does to the bundled one is in test_bundled_interventions."""
    return tiny_case


@pytest.fixture(params=("native", "bridge"))
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    return request.param


@pytest.fixture(scope="module")
def sources(case: Case) -> Sources:
    """What every head did in the source texts and in the prompts."""
    lm, texts = case.lm, [*SOURCES, *PROMPTS]
    return dict(zip(texts, record_heads(lm, texts, list(product(range(lm.n_layers), range(lm.n_heads)))), strict=True))


def shown(case: Case, route: str) -> tuple[str, ...]:
    """The modes that a route offers: GPT-Neo shows its patterns too late to the bridge."""
    return MODES[1:] if case.name == "gpt_neo" and route.startswith("bridge") else MODES


def pushed(lm: LanguageModel, layer: int, head: int, alpha: float = 1.0, **settings: Any) -> Steer:
    """One head's output moved by a random vector."""
    vector = np.random.default_rng(head).standard_normal(lm.d_head)
    return Steer(layer, vector, alpha, "vector", site="z", head=head, **settings)


def head_acts(
    lm: LanguageModel, sources: Sources, modes: Sequence[str] = MODES
) -> list[AblateHead | PatchHead | Steer]:
    """Every mode, source and timing, both ablations and steers, spread over the layers and heads."""
    numbers = np.random.default_rng(0)

    def place() -> tuple[int, int]:
        return int(numbers.integers(lm.n_layers)), int(numbers.integers(lm.n_heads))

    acts: list[AblateHead | PatchHead | Steer] = []
    for mode, text, timing in product(MODES, SOURCES, TIMINGS):
        acts.append(PatchHead(*place(), sources[text], mode, **timing))
    for timing in TIMINGS:
        acts.append(AblateHead(*place(), **timing))
        acts.append(AblateHead(*place(), "mean", numbers.standard_normal(lm.d_head), **timing))
        acts.append(pushed(lm, *place(), (3.0, -2.0)[len(acts) % 2], **timing))
    for number, timing in enumerate(TIMINGS):
        text = SOURCES[number % len(SOURCES)]
        part = None if number % 2 else 1 + len(sources[text].prompt_ids) // 2
        acts.append(AblateHead(*place(), "resample", source=sources[text], source_prompt=part, **timing))
    return [act for act in acts if not isinstance(act, PatchHead) or act.mode in modes]


def resampled_place(act: AblateHead, from_end: int) -> int:
    """The source's token for the one that lies so far after the prompt's end (before it: negative)."""
    n_source = len(act.source.prompt_ids)
    wanted = from_end + (act.source_prompt or n_source)
    return min(max(wanted, 1), n_source - 1) if n_source > 1 else 0


def by_hand(case: Case, act: AblateHead | PatchHead | Steer, n_prompt: int) -> tuple[str, int, Edit]:
    """The same act as a function of one unpadded text's heads; a patch reads its source from the plain network."""
    if isinstance(act, Steer):

        def add(z: torch.Tensor, own_values: torch.Tensor, own_pattern: torch.Tensor) -> torch.Tensor:
            for column, factor in enumerate(factors_by_hand(act, n_prompt, z.shape[1])):
                z[0, column, act.head] += factor * act.alpha * torch.tensor(act.vector, dtype=torch.float32)
            return z

        return "z", act.layer, add
    if isinstance(act, AblateHead):
        target = torch.zeros(case.lm.d_head) if act.mean is None else torch.tensor(act.mean, dtype=torch.float32)
        n_source = None
        if act.source is not None:
            resampled = plain_heads(case.plain, act.source.prompt_ids)[act.layer][0][:, act.head]
    else:
        n_source = len(act.source.prompt_ids)
        z, values, pattern = plain_heads(case.plain, act.source.prompt_ids)[act.layer]
        outputs = pattern[act.head] @ values[:, act.head] if act.mode == "pattern_v" else z[:, act.head]

    def edit(z: torch.Tensor, own_values: torch.Tensor, own_pattern: torch.Tensor) -> torch.Tensor:
        factors = factors_by_hand(act, n_prompt, z.shape[1], n_source)
        everywhere = factors_by_hand(dataclasses.replace(act, schedule="constant"), n_prompt, n_prompt, n_source)
        swapped = own_values[0, :, act.head].clone()
        if isinstance(act, PatchHead):
            for column in np.flatnonzero(everywhere):
                swapped[column] = values[n_source - n_prompt + column, act.head]
        for column, factor in enumerate(factors):
            if factor == 0:
                continue
            if isinstance(act, AblateHead):
                new = target if act.source is None else resampled[resampled_place(act, column - n_prompt)]
            elif act.mode == "v_only":
                new = own_pattern[0, act.head, column] @ swapped
            else:
                new = outputs[min(n_source - n_prompt + column, n_source - 1)]
            z[0, column, act.head] = (1 - factor) * z[0, column, act.head] + factor * new
        return z

    return "z", act.layer, edit


def forced_tokens(lm: LanguageModel, n_rows: int) -> list[list[int]]:
    ids = encode(lm, ["a few words go on from here and there"])[0]
    return [[ids[(row + i) % len(ids)] for i in range(N_FORCED)] for row in range(n_rows)]


def by_hand_logits(case: Case, prompts: Sequence[str], acts: Sequence[Sequence[Any]]) -> torch.Tensor:
    """`[row, step, vocabulary]` of every row alone."""
    rows, forced = encode(case.lm, prompts), forced_tokens(case.lm, len(prompts))
    given = zip(rows, acts, forced, strict=True)
    return torch.stack(
        [plain_logits(case.plain, [by_hand(case, act, len(ids)) for act in row], ids, new) for ids, row, new in given]
    )


def engine_logits(lm: LanguageModel, route: str, prompts: Sequence[str], acts: Sequence[Any]) -> torch.Tensor:
    return forced_logits(lm, route, prompts, acts, forced_tokens(lm, len(prompts)))


def beside(lm: LanguageModel, route: str, prompt: str, acts: Sequence[Any]) -> torch.Tensor:
    """Logits `[row, step, vocabulary]` of one prompt under several acts, the same tokens forced on all rows."""
    return forced_logits(lm, route, [prompt] * len(acts), acts, forced_tokens(lm, 1) * len(acts))


def assert_close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=TOLERANCE, rtol=0)


def furthest(found: torch.Tensor, other: torch.Tensor) -> float:
    return float((found - other).abs().max())


# By the engine = by hand, cached or not


@pytest.fixture(scope="module")
def expected(case: Case, sources: Sources) -> tuple[list[str], list[Any], torch.Tensor]:
    """Prompts, acts, and the logits by hand; nearly every act is seen to change something."""
    acts = head_acts(case.lm, sources)
    prompts = [PROMPTS[i % 3] for i in range(len(acts))]
    patched = by_hand_logits(case, prompts, [[act] for act in acts])
    change = (patched - by_hand_logits(case, prompts, [[]] * len(acts))).abs().flatten(1).amax(1)
    assert (change > SEEN).float().mean() > 0.9, "acts that change nothing prove nothing"
    return prompts, acts, patched


@pytest.mark.parametrize("route", ROUTES)
def test_head_acts_equal_the_same_acts_by_hand(case: Case, expected: tuple, route: str) -> None:
    modes = shown(case, route)
    kept = [i for i, act in enumerate(expected[1]) if getattr(act, "mode", modes[0]) in modes]
    prompts, acts = ([part[i] for i in kept] for part in expected[:2])
    forced = forced_tokens(case.lm, len(expected[1]))
    assert_close(forced_logits(case.lm, route, prompts, acts, [forced[i] for i in kept]), expected[2][kept])


@pytest.mark.parametrize("route", ROUTES)
def test_generated_tokens_read_the_source_s_values_past_a_window_of_attention(
    case: Case, sources: Sources, route: str
) -> None:
    lm, prompt = case.lm, "Rained"
    (ids,), (forced,) = encode(lm, [prompt]), encode(lm, ["on and on it goes"])
    forced = forced[: 2 * WINDOW]
    heads = list(product(range(lm.n_layers), (0, lm.n_heads - 1)))
    rows = [tuple(PatchHead(*head, sources[EQUAL], mode, steps=None) for head in heads) for mode in shown(case, route)]
    found = forced_logits(lm, route, [prompt] * len(rows), rows, [forced] * len(rows))
    unpatched = plain_logits(case.plain, [], ids, forced)
    for row, logits in zip(rows, found, strict=True):
        wanted = plain_logits(case.plain, [by_hand(case, act, len(ids)) for act in row], ids, forced)
        assert furthest(wanted[-1], unpatched[-1]) > SEEN
        assert_close(logits, wanted)


@pytest.mark.parametrize("use_cache", [True, False])
def test_texts_with_head_acts_equal_the_plain_loop_under_hooks(
    case: Case, engine: str, use_cache: bool, sources: Sources
) -> None:
    lm, n_new = case.lm, 6
    acts: list[Any] = [
        tuple(AblateHead(layer, 0) for layer in range(lm.n_layers)),
        tuple(PatchHead(layer, 1, sources[LONG], "result", steps=None) for layer in range(lm.n_layers)),
        tuple(PatchHead(layer, 2, sources[EQUAL], shown(case, engine)[0], steps=2) for layer in range(lm.n_layers)),
    ]
    prompts = [PROMPTS[0]] * 3
    outs = generate(lm, prompts, acts, max_new_tokens=n_new, engine=engine, use_cache=use_cache)
    (unpatched,) = generate(lm, prompts[:1], max_new_tokens=n_new, engine=engine)
    assert sum(out.token_ids != unpatched.token_ids for out in outs) >= 2
    equal = []
    for out, row in zip(outs, acts, strict=True):
        with patched_by_hand(case.plain, [by_hand(case, act, len(out.prompt_ids)) for act in row]):
            reference = plain_text(case.plain, out.prompt_ids, n_new, lm.stop_ids)
        equal.append(assert_same_until_near_tie(out.token_ids, reference) / len(reference.margins))
    assert np.mean(equal) > 0.8


def test_different_acts_on_every_row_equal_each_row_alone(case: Case, expected: tuple, engine: str) -> None:
    modes = shown(case, engine)
    kept = [i for i, act in enumerate(expected[1]) if getattr(act, "mode", modes[0]) in modes][::6]
    prompts, acts = ([part[i] for i in kept] for part in expected[:2])
    acts[2] = None
    together, forced = engine_logits(case.lm, engine, prompts, acts), forced_tokens(case.lm, len(acts))
    for row, (prompt, act) in enumerate(zip(prompts, acts, strict=True)):
        assert_close(together[row], forced_logits(case.lm, engine, [prompt], [act], [forced[row]])[0])
    texts = [
        [out.token_ids for out in generate(case.lm, prompts, acts, max_new_tokens=3, batch_size=size, engine=engine)]
        for size in (1, 2, 128)
    ]
    assert texts[0] == texts[1] == texts[2]


def test_rows_that_end_early_leave_the_other_rows_their_acts(
    case: Case, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, n_new, last = case.lm, 10, case.lm.n_layers - 1
    patches = [PatchHead(i % last, i % lm.n_heads, sources[EQUAL], MODES[i % 3], steps=None) for i in range(8)]
    acts = [(patch, AblateHead(patch.layer, (patch.head + 1) % lm.n_heads), AblateHead(last, 0)) for patch in patches]
    prompts = [PROMPTS[i % 3] for i in range(8)]
    free = generate(lm, prompts, acts, max_new_tokens=n_new, engine="native")
    stops = sorted({out.token_ids[i] for i, out in enumerate(free) if len(out.token_ids) > i and i < 4})
    monkeypatch.setattr(lm.network.generation_config, "eos_token_id", stops)
    lm, kept = dataclasses.replace(lm), []
    go_on = Edits.select
    monkeypatch.setattr(Edits, "select", lambda self, rows: (kept.append(len(rows)), go_on(self, rows))[1])
    outs = generate(lm, prompts, acts, max_new_tokens=n_new, engine="native")
    assert kept and kept[-1] < 8, "no row was dropped while others went on"
    for out, row in zip(outs, acts, strict=True):
        with patched_by_hand(case.plain, [by_hand(case, act, len(out.prompt_ids)) for act in row]):
            reference = plain_text(case.plain, out.prompt_ids, n_new, lm.stop_ids)
        assert_same_until_near_tie(out.token_ids, reference)


# Several acts on one row


def test_acts_on_several_layers_and_heads_of_one_row_add_up(case: Case, engine: str, sources: Sources) -> None:
    lm, modes = case.lm, shown(case, engine)
    last = lm.n_layers - 1
    acts = (
        PatchHead(last, 0, sources[LONG], modes[0], steps=None),
        AblateHead(0, 1),
        AblateHead(1, 0, "mean", np.ones(lm.d_head), window=2),
        PatchHead(1, 1, sources[SHORT], "pattern_v"),
        PatchHead(1, 2, sources[EQUAL], modes[0], steps=1),
        PatchHead(0, 2, sources[EQUAL], "result"),
    )
    for prompt in PROMPTS[:2]:
        rows = [acts, acts[::-1], *(acts[:i] + acts[i + 1 :] for i in range(len(acts)))]
        found = beside(lm, engine, prompt, rows)
        (ids,) = encode(lm, [prompt])
        for row, logits in zip(rows, found, strict=True):
            edits = [by_hand(case, act, len(ids)) for act in row]
            assert_close(logits, plain_logits(case.plain, edits, ids, forced_tokens(lm, 1)[0]))
        assert_close(found[0], found[1])  # at different places the order means nothing
        assert min(furthest(found[0], fewer) for fewer in found[2:]) > SEEN


def test_acts_on_one_head_apply_in_their_order(case: Case, engine: str, sources: Sources) -> None:
    lm, mode = case.lm, shown(case, engine)[0]
    first, second = AblateHead(1, 1, "mean", np.full(lm.d_head, 2.0)), PatchHead(1, 1, sources[EQUAL], "result")
    halves = [dataclasses.replace(act, schedule=(0.5, 0.5), steps=None) for act in (first, second)]
    reads = PatchHead(1, 1, sources[EQUAL], mode)
    orders = [tuple(halves), tuple(halves[::-1]), (first, reads), (reads, first)]
    found = beside(lm, engine, PROMPTS[0], orders)
    (ids,) = encode(lm, PROMPTS[:1])
    for row, logits in zip(orders[:2], found, strict=False):
        edits = [by_hand(case, act, len(ids)) for act in row]
        assert_close(logits, plain_logits(case.plain, edits, ids, forced_tokens(lm, 1)[0]))
    assert furthest(found[0], found[1]) > SEEN
    (alone,) = beside(lm, engine, PROMPTS[0], [first])
    assert_close(found[3], alone)  # an ablation leaves nothing of what was there
    assert furthest(found[2], found[3]) > SEEN


# Ablating


def test_ablating_all_heads_leaves_the_bias_of_the_attention_output(case: Case, engine: str) -> None:
    lm, layer = case.lm, 1
    bias = plain_attention(case.plain, layer).out.bias
    all_heads = tuple(AblateHead(layer, head) for head in range(lm.n_heads))
    (ids,) = encode(lm, PROMPTS[:1])

    def bias_alone(module: torch.nn.Module, args: tuple, output: tuple) -> tuple:
        added = output[0].clone()
        added[:, 1:] = 0 if bias is None else bias
        return added, *output[1:]

    forced = forced_tokens(lm, 1)[0]
    handle = plain_attention(case.plain, layer).whole.register_forward_hook(bias_alone)
    try:
        wanted = plain_logits(case.plain, [], ids, forced)
    finally:
        handle.remove()
    found, all_but_one = beside(lm, engine, PROMPTS[0], [all_heads, all_heads[1:]])
    assert_close(found, wanted)
    assert furthest(all_but_one, wanted) > SEEN


def test_mean_ablation_puts_the_mean_in_the_head_s_place(case: Case, engine: str, sources: Sources) -> None:
    lm = case.lm
    mean = mean_head_output([sources[SHORT], sources[LONG]], 1, 2)
    act = AblateHead(1, 2, "mean", mean)
    as_tensor, zero = AblateHead(1, 2, "mean", torch.tensor(mean)), AblateHead(1, 2, "mean", np.zeros(lm.d_head))
    found = beside(lm, engine, PROMPTS[0], [act, as_tensor, zero, AblateHead(1, 2), None])
    (ids,) = encode(lm, PROMPTS[:1])
    wanted = plain_logits(case.plain, [by_hand(case, act, len(ids))], ids, forced_tokens(lm, 1)[0])
    for same, other in ((found[0], wanted), (found[0], found[1]), (found[2], found[3])):
        assert_close(same, other)
    assert furthest(found[0], found[3]) > SEEN
    assert furthest(found[0], found[4]) > SEEN


# Steering


def test_a_steer_of_a_head_moves_that_head_s_output_alone(case: Case, engine: str, outputs: list) -> None:
    lm, layer, head = case.lm, 1, 2
    act = pushed(lm, layer, head, 2.0, window=2)
    beside(lm, engine, PROMPTS[0], [act])
    steered = outputs[0][1][0]
    outputs.clear()
    nothing = dataclasses.replace(act, schedule=(1e-9,))  # the same columns are fed, and next to nothing is added
    beside(lm, engine, PROMPTS[0], [nothing])
    change = steered - outputs[0][1][0]
    expected = torch.zeros_like(change)
    expected[-2:, head] = torch.tensor(act.delta())
    torch.testing.assert_close(change, expected, atol=1e-5, rtol=1e-5)


def test_a_steer_of_a_head_counts_the_unit_that_it_is_given(tiny: LanguageModel) -> None:
    vector = np.array([3.0, 4.0])
    assert Steer(1, vector, 0.5, "resid", site="z", head=0, resid_norm=10.0).delta().tolist() == [3.0, 4.0]
    outs = generate(tiny, PROMPTS[:1] * 2, [pushed(tiny, 1, 1, alpha) for alpha in (2.0, 4.0)], max_new_tokens=1)
    assert outs[1].delta_ratio == pytest.approx(2 * outs[0].delta_ratio, rel=1e-3) and outs[0].delta_ratio > 0.05


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"site": "attn_out"}, "head= together with site='z', and only then, got 'attn_out', 1"),
        ({"head": None}, "head= together with site='z', and only then, got 'z', None"),
        ({"head": 1.5}, "head .*1.5"),
        ({"vector": LayerVector(np.ones(4, np.float32), "m", "r", 1, "last", 2.0)}, "bare vector"),
        ({"vector": np.ones((2, 4))}, r"shape \(2, 4\)"),
    ],
)
def test_a_wrong_steer_of_a_head_is_refused_where_it_is_written(settings: dict, named: str) -> None:
    right = {"layer": 1, "vector": np.ones(4), "alpha": 1.0, "unit": "vector", "site": "z", "head": 1}
    assert Steer(**right).width == 4
    with pytest.raises(UserError, match=named):
        Steer(**{**right, **settings})


# Patching


def test_a_head_s_own_recording_changes_nothing_and_another_text_s_does(
    case: Case, engine: str, sources: Sources
) -> None:
    heads = list(product(range(case.lm.n_layers), (0, case.lm.n_heads - 1)))
    for prompt, mode in product(PROMPTS, shown(case, engine)):
        rows = [
            tuple(PatchHead(*head, sources[text], mode) for head in heads)
            for text in (prompt, EQUAL, SHORT, LONG, TINY)
        ]
        unpatched, own, *others = beside(case.lm, engine, prompt, [None, *rows])
        assert_close(own, unpatched)
        for other in others:
            assert furthest(other, unpatched) > SEEN


def test_a_source_that_goes_on_is_matched_token_by_token_behind_the_prompt(case: Case, engine: str) -> None:
    """A head's own recording of prompt and text changes nothing while the text is fed; as a prompt alone it does."""
    lm, words = case.lm, "a few words go on"
    prompt, longer = PROMPTS[0], "Now the new shop by the old bridge"
    n_prompt, n_longer = (len(ids) for ids in encode(lm, [prompt, longer]))
    heads = list(product(range(lm.n_layers), (0, lm.n_heads - 1)))
    own, other = record_heads(lm, [f"{prompt} {words}", f"{longer} {words}"], heads)
    forced = [list(own.prompt_ids[n_prompt : n_prompt + N_FORCED])] * 5
    for mode in shown(case, engine):
        rows = [
            None,
            *(
                tuple(PatchHead(*head, own, mode, steps=None, source_prompt=number) for head in heads)
                for number in (n_prompt, None)
            ),
            *(
                tuple(PatchHead(*head, other, mode, steps=None, source_prompt=number) for head in heads)
                for number in (n_longer, n_longer - 1)
            ),
        ]
        unpatched, same, shifted, theirs, moved = forced_logits(lm, engine, [prompt] * 5, rows, forced)
        assert_close(same, unpatched)
        for changed in (shifted, theirs, moved):
            assert furthest(changed, unpatched) > SEEN
        assert furthest(theirs, moved) > SEEN


def test_pattern_and_values_make_the_output(case: Case, engine: str, sources: Sources) -> None:
    lm, source = case.lm, sources[EQUAL]
    assert len(source.prompt_ids) == len(sources[PROMPTS[0]].prompt_ids)
    patches = [PatchHead(layer, 1, source, mode) for layer in range(lm.n_layers) for mode in ("pattern_v", "result")]
    found = beside(lm, engine, PROMPTS[0], patches)
    assert_close(found[::2], found[1::2])
    others = beside(lm, engine, PROMPTS[0], [None, PatchHead(0, 1, source, shown(case, engine)[0])])
    assert furthest(found[0], others[0]) > SEEN


def test_each_mode_reads_what_it_names(case: Case, engine: str, sources: Sources) -> None:
    lm, key, true = case.lm, (1, 1), sources[EQUAL]
    n_tokens = len(true.prompt_ids)
    first_only = np.eye(n_tokens, dtype=np.float32)[[0] * n_tokens]
    altered = {
        "z": dataclasses.replace(true, z={key: true.z[key] + 1}),
        "values": dataclasses.replace(true, values={key: true.values[key][::-1].copy()}),
        "patterns": dataclasses.replace(true, patterns={key: first_only}),
    }
    reads = {"v_only": {"values"}, "pattern_v": {"values", "patterns"}, "result": {"z"}}
    np.testing.assert_allclose(first_only.sum(1), 1)
    for mode in shown(case, engine):
        rows = [PatchHead(*key, source, mode) for source in (true, *altered.values())]
        whole, *changed = beside(lm, engine, PROMPTS[0], rows)
        for part, logits in zip(altered, changed, strict=True):
            if part in reads[mode]:
                assert furthest(logits, whole) > SEEN, f"{mode} does not read {part}"
            else:
                assert_close(logits, whole)


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, torch.Tensor]]:
    """The heads' outputs z of every patched layer, once the acts were applied: (layer, `[row, pos, head, d_head]`)."""
    seen: list[tuple[int, torch.Tensor]] = []
    apply = Edits.heads

    def look(self: Edits, layer: int, z: torch.Tensor, columns: Any, parts: Any) -> torch.Tensor:
        after = apply(self, layer, z, columns, parts)
        if ("z", layer) in self.places:
            seen.append((layer, after.clone()))
        return after

    monkeypatch.setattr(Edits, "heads", look)
    return seen


def test_v_only_leaves_the_other_heads_of_its_kv_head_as_they_were(
    case: Case, engine: str, sources: Sources, outputs: list
) -> None:
    lm, layer = case.lm, 1
    if lm.n_kv_heads == lm.n_heads:
        pytest.skip("every query head has its own KV head")
    shared = lm.n_heads // lm.n_kv_heads
    patched, siblings = shared, list(range(shared + 1, 2 * shared))
    acts = [PatchHead(layer, patched, sources[EQUAL], steps=None), AblateHead(layer, patched)]
    passes = []
    for act in acts:
        outputs.clear()
        beside(lm, engine, PROMPTS[0], [act])
        passes.append([z for _, z in outputs])
    for read, ablated in zip(*passes, strict=True):
        assert torch.equal(read[:, :, siblings], ablated[:, :, siblings])
        assert not torch.equal(read[:, :, patched], ablated[:, :, patched])
    unpatched, _, own_pattern = plain_heads(case.plain, encode(lm, PROMPTS[:1])[0])[layer]
    prefill = passes[0][0][0]
    n_fed = len(prefill)  # columns before the first patched one need not be fed
    assert_close(prefill[:, siblings], unpatched[-n_fed:, siblings])
    assert furthest(prefill[-1, patched], unpatched[-1, patched]) > SEEN
    # the control: values put into the KV head itself reach its other query heads
    values = torch.tensor(sources[EQUAL].values[layer, patched])
    for head in siblings:
        assert furthest(own_pattern[head] @ values, unpatched[:, head]) > SEEN


def test_generated_tokens_are_patched_only_as_steps_say(case: Case, engine: str, sources: Sources) -> None:
    for mode in shown(case, engine):
        rows = [PatchHead(1, 1, sources[LONG], mode, steps=steps) for steps in (0, 2, None)]
        default = PatchHead(1, 1, sources[LONG], mode)
        none, two, every, plain = beside(case.lm, engine, PROMPTS[0], [*rows, default])
        assert_close(plain, none)
        assert_close(two[0], none[0])  # all alike at the prefill
        assert_close(two[:3], every[:3])
        for step in (1, 2, 3, 4):
            assert furthest(every[step], none[step]) > TOLERANCE
        assert furthest(two[1], none[1]) > TOLERANCE
        assert furthest(two[3], every[3]) > TOLERANCE


def test_the_ratio_of_a_head_patch_is_relative_to_that_head_s_output(case: Case, engine: str, sources: Sources) -> None:
    lm, layer, head = case.lm, 1, 1
    z = sources[PROMPTS[0]].z[layer, head]
    patch = PatchHead(layer, head, sources[EQUAL], "result", window=4)
    acts = [AblateHead(layer, head), AblateHead(layer, head, window=2, schedule=(0.25,)), patch, None]
    outs = generate(lm, PROMPTS[:1] * 4, acts, max_new_tokens=1, engine=engine)
    step = np.linalg.norm(sources[EQUAL].z[layer, head] - z, axis=1) / np.linalg.norm(z, axis=1)
    assert [out.delta_ratio for out in outs] == pytest.approx([1.0, 0.25, float(step[-4:].mean()), 0.0], rel=1e-3)


# Mistakes


def test_v_only_through_the_bridge_is_refused_where_patterns_come_too_late(
    tiny_models: dict[str, LanguageModel],
) -> None:
    lm = tiny_models["gpt_neo"]
    (source,) = record_heads(lm, [EQUAL], "1:1")
    generate(lm, PROMPTS[:1], max_new_tokens=1, engine="bridge")
    before = count_hooks(lm)
    with pytest.raises(UserError, match=r"GPTNeoForCausalLM .*v_only .* bridge; use mode pattern_v or result"):
        generate(lm, PROMPTS, [None, None, PatchHead(1, 1, source)], max_new_tokens=2, engine="bridge")
    assert count_hooks(lm) == before
    for mode in MODES[1:]:
        assert generate(lm, PROMPTS[:1], [PatchHead(1, 1, source, mode)], max_new_tokens=2, engine="bridge")
    assert generate(lm, PROMPTS[:1], [PatchHead(1, 1, source)], max_new_tokens=2, engine="native")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"how": "resample"}, "'resample'"),
        ({"how": "mean"}, "mean=.* how='mean'"),
        ({"mean": np.ones(4)}, "mean=.* how='mean'"),
        ({"how": "mean", "mean": np.ones((2, 4))}, r"shape \(2, 4\)"),
        ({"how": "mean", "mean": np.full(4, np.nan)}, "finite"),
        ({"window": 0}, "window .* got 0"),
        ({"steps": -2}, "steps .* got -2"),
        ({"schedule": (1.0, float("inf"))}, "inf"),
    ],
)
def test_a_wrong_head_ablation_is_refused_where_it_is_written(settings: dict, named: str) -> None:
    assert AblateHead(0, 1, "mean", np.ones(4)).target(4).tolist() == [1.0] * 4
    with pytest.raises(UserError, match=named):
        AblateHead(0, 1, **settings)


def test_a_wrong_head_patch_is_refused_where_it_is_written(sources: Sources, tiny_models: dict) -> None:
    lm = tiny_models["llama"]
    (source,) = record_heads(lm, [EQUAL], "0:1,2:3")
    assert PatchHead(2, 3, source).mode == "v_only"
    wrong: dict[str, dict[str, Any]] = {
        "0:1, 2:3, not 1:3; record it": {"layer": 1},
        "not 2:0": {"head": 0},
        "'values'": {"mode": "values"},
        "got ndarray": {"source": source.z[0, 1]},
        "window .* got 0": {"window": 0},
        "steps .* got -1": {"steps": -1},
        "got 'falling'": {"schedule": "falling"},
        "source_prompt .* got 0": {"source_prompt": 0},
        "source_prompt .* got 99": {"source_prompt": 99},
    }
    for named, settings in wrong.items():
        with pytest.raises(UserError, match=named):
            PatchHead(**{"layer": 2, "head": 3, "source": source, **settings})


def test_a_head_act_that_does_not_fit_the_model_is_refused_before_generating(
    tiny: LanguageModel, tiny_models: dict[str, LanguageModel], engine: str
) -> None:
    other = tiny_models["gpt2" if "gpt2" not in tiny.spec.name else "llama"]
    (foreign,) = record_heads(other, [EQUAL], "1:1")
    (renamed,) = record_heads(tiny, [EQUAL], "1:1")
    renamed = dataclasses.replace(renamed, revision="seed9")
    last = tiny.n_layers
    wrong = {
        f"got one of {foreign.model}": PatchHead(1, 1, foreign, "result"),
        "got one of .* seed9": PatchHead(1, 1, renamed, "result"),
        f"head of 0-{tiny.n_heads - 1}, got {tiny.n_heads}": AblateHead(1, tiny.n_heads),
        "head of .* got -1": AblateHead(1, -1),
        f"layer of 0-{last - 1} for AblateHead here, got {last}": AblateHead(last, 0),
        f"layer {last + 1} is out of range": AblateHead(last + 1, 0),
        "layer -1 is out of range": AblateHead(-1, 0),
        f"d_head {tiny.d_head}, got {tiny.d_head + 1}": AblateHead(1, 0, "mean", np.ones(tiny.d_head + 1)),
        f"d_head {tiny.d_head}, got {tiny.d_head + 2}": Steer(
            1, np.ones(tiny.d_head + 2), 1.0, "vector", site="z", head=0
        ),
        f"head of 0-{tiny.n_heads - 1}, got {tiny.n_heads + 1}": pushed(tiny, 1, tiny.n_heads + 1),
        f"layer of 0-{last - 1} for Steer here, got {last}": pushed(tiny, last, 0),
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


def test_what_follows_prompts_of_unequal_length_is_resampled_alike(case: Case, engine: str, sources: Sources) -> None:
    lm, source = case.lm, sources[LONG]
    act = AblateHead(1, 0, "resample", source=source, source_prompt=12)
    short, long = (act.targets(width, width + N_FORCED, lm.d_head) for width in (5, 9))
    np.testing.assert_array_equal(short, long[4:])
    np.testing.assert_array_equal(short[4:], source.z[1, 0][11 : 12 + N_FORCED])
    early = AblateHead(1, 0, "resample", source=source, source_prompt=2).targets(5, 6, lm.d_head)
    np.testing.assert_array_equal(early[:5], np.tile(source.z[1, 0][1], (5, 1)))  # never the source's first token
    forced = [forced_tokens(lm, 1)[0]] * 2
    found = forced_logits(lm, f"{engine}", [PROMPTS[0]] * 2, [act, dataclasses.replace(act, source_prompt=11)], forced)
    assert furthest(found[0], found[1]) > SEEN
    assert act.fingerprint() != dataclasses.replace(act, source_prompt=11).fingerprint()


def test_resampling_needs_a_source_that_holds_the_head_and_is_the_model_s(case: Case, sources: Sources) -> None:
    source = sources[EQUAL]
    with pytest.raises(UserError, match="how='resample'"):
        AblateHead(1, 0, "resample")
    with pytest.raises(UserError, match="how='resample'"):
        AblateHead(1, 0, source=source)
    with pytest.raises(UserError, match="source_prompt"):
        AblateHead(1, 0, "resample", source=source, source_prompt=99)
    foreign = dataclasses.replace(source, revision="another")
    with pytest.raises(UserError, match="expected heads of"):
        generate(case.lm, PROMPTS[:1], [AblateHead(1, 0, "resample", source=foreign)])
