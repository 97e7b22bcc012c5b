"""The continuation shift: the same by the engine, by the model's own code and by hooks on a plain network."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import Case, Edit, Heads, count_hooks, factors_by_hand, plain_heads, plain_logits

from emolib.base.config import model_table
from emolib.base.errors import UserError
from emolib.engine import continuation, forced_pass
from emolib.engine.continuation import context_shift, continuation_shift, token_shifts
from emolib.engine.continuation_tokens import continuations
from emolib.engine.forced_pass import ForcedPass
from emolib.engine.generation import generate
from emolib.interventions import (
    AblateDirection,
    AblateHead,
    Cap,
    Clamp,
    Decay,
    Edits,
    PatchHead,
    Steer,
    SubspaceSteer,
    record_heads,
)
from emolib.models.bundled import bundled_folder
from emolib.models.carriers import is_installed
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode

PROMPTS = ["The new shop by the old bridge opens again", "I", "Rain fell and", "The new shop by the old bridge opens"]
TEXTS = ["We went in, and out.", "No one knows it", "It stopped at noon!?", "Ah, so the old man said to the cat..."]
TOLERANCE = 2e-4  # of a token's log-probability, in float32
SEEN = 1e-2  # nat: an act that moves less would be no evidence
GEMMA = model_table()["gemma3_270m"]


def through_network(lm: LanguageModel) -> LanguageModel:
    return dataclasses.replace(lm, blueprint=None)


@pytest.fixture(params=["native", "bridge"])
def route(request: pytest.FixtureRequest) -> Callable[[LanguageModel], LanguageModel]:
    """Both routes: the engine's own forward pass, and the model's own code."""
    return (lambda lm: lm) if request.param == "native" else through_network


def size_of(lm: LanguageModel) -> float:
    """The length at which a vector moves something in a model of this width."""
    return 1.0 if lm.d_model < 100 else 20.0


def steer(lm: LanguageModel, layer: int, alpha: float = 1.0, **settings: Any) -> Steer:
    vector = np.random.default_rng(layer).standard_normal(lm.d_model).astype(np.float32)
    return Steer(layer, vector, alpha * size_of(lm) / np.sqrt(lm.d_model / 48), unit="vector", **settings)


def varied_acts(lm: LanguageModel, *, values: bool = True) -> list[Any]:
    """Every kind of act, site and timing, the final residual, and several acts on one row."""
    last, generator = lm.n_layers, np.random.default_rng(0)
    basis = np.linalg.qr(generator.standard_normal((lm.d_model, 2)))[0].astype(np.float32)
    target = size_of(lm) * np.array([5.0, -3.0], np.float32)
    direction, center = generator.standard_normal((2, lm.d_model)).astype(np.float32)
    (source,) = record_heads(lm, ["An old bridge, and rain"], [(0, 1), (1, 2)])
    acts = [
        steer(lm, 1),
        steer(lm, last),
        steer(lm, 0, 0.7, site="attn_out", window=1, steps=1),
        steer(lm, last - 1, -2.0, site="mlp_out", window=100, schedule=Decay(0.5)),
        steer(lm, 0, 2.0, schedule=(0.0, 1.0, 0.5)),
        (steer(lm, 1, 0.5), AblateHead(1, 2), steer(lm, last, 0.5, steps=2)),
        SubspaceSteer(1, basis, target),
        AblateDirection(2, direction, size_of(lm) * center),
        Clamp(1, direction, 3 * size_of(lm)),
        Cap(0, direction, low=size_of(lm), site="attn_out"),
        Steer(1, generator.standard_normal(lm.d_head), size_of(lm), unit="vector", site="z", head=1),
        AblateHead(0, 1),
        AblateHead(1, 0, "mean", generator.standard_normal(lm.d_head).astype(np.float32)),
        PatchHead(0, 1, source, "result", steps=None),
        (PatchHead(1, 2, source, "pattern_v"), steer(lm, 2, 0.5)),
    ]
    return [*acts, PatchHead(1, 2, source, "v_only", steps=None)] if values else acts


@functools.lru_cache(maxsize=1)  # many rows read from one source
def heads_of_source(network: torch.nn.Module, ids: tuple[int, ...]) -> list[Heads]:
    return plain_heads(network, ids)


def by_hand(case: Case, act: Any, n_prompt: int) -> tuple[str, int, Edit]:
    """The same act as a function of what one unpadded text holds."""

    def tensor(values: Any) -> torch.Tensor:
        return torch.tensor(np.asarray(values), dtype=torch.float32)

    def moved(h: torch.Tensor) -> torch.Tensor:
        if isinstance(act, Steer):
            return act.alpha * tensor(act.vector).expand_as(h)
        if isinstance(act, SubspaceSteer):
            u = tensor(act.basis)
            return act.alpha * (tensor(act.target) - h @ u) @ u.T
        unit = tensor(act.direction) / tensor(act.direction).norm()
        if isinstance(act, Clamp):
            return (act.value - h @ unit)[..., None] * unit
        if isinstance(act, Cap):
            return (torch.clamp(h @ unit, act.low, act.high) - h @ unit)[..., None] * unit
        return -((h - tensor(act.center)) @ unit)[..., None] * unit

    def stream(hidden: torch.Tensor) -> torch.Tensor:
        factors = torch.tensor(factors_by_hand(act, n_prompt, hidden.shape[1]))
        return hidden + factors[None, :, None] * moved(hidden)

    source = act.source if isinstance(act, PatchHead) else None
    n_source = None if source is None else len(source.prompt_ids)
    theirs = None if source is None else heads_of_source(case.plain, tuple(source.prompt_ids))[act.layer]

    def heads(z: torch.Tensor, values: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor:
        factors = factors_by_hand(act, n_prompt, z.shape[1], n_source)
        own, swapped = z[0, :, act.head].clone(), values[0, :, act.head].clone()
        if theirs is not None:
            their_z, their_values, their_pattern = theirs
            written = their_z[:, act.head]
            if act.mode == "pattern_v":
                written = their_pattern[act.head] @ their_values[:, act.head]
            constant = dataclasses.replace(act, schedule="constant")
            for column in np.flatnonzero(factors_by_hand(constant, n_prompt, n_prompt, n_source)):
                swapped[column] = their_values[n_source - n_prompt + column, act.head]
        for column, factor in enumerate(factors):
            if isinstance(act, Steer):
                new = own[column] + act.alpha * tensor(act.vector)
            elif source is None:
                new = torch.zeros(case.lm.d_head) if act.mean is None else tensor(act.mean)
            elif act.mode == "v_only":
                new = pattern[0, act.head, column] @ swapped
            else:
                new = written[min(n_source - n_prompt + column, n_source - 1)]
            z[0, column, act.head] = (1 - factor) * own[column] + factor * new
        return z

    return ("z", act.layer, heads) if getattr(act, "head", None) is not None else (act.site, act.layer, stream)


def counted_by_hand(lm: LanguageModel, text: str) -> list[int]:
    """The text's tokens after a space up to the last that counts: what stands before the marks at its end."""
    ids = lm.tokenizer(" " + text, add_special_tokens=False).input_ids
    kept = re.sub(r"[.,!?\s]+$", "", " " + text)
    while lm.tokenizer.decode(ids).strip() != kept.strip():
        ids = ids[:-1]
    return ids


def logprobs_by_hand(case: Case, prompt: str, text: str, act: Any) -> np.ndarray:
    """Log-probability of every token that counts, by a whole pass over prompt and text in a plain network."""
    acts = () if act is None else act if isinstance(act, tuple) else (act,)
    (ids,), tokens = encode(case.lm, [prompt]), counted_by_hand(case.lm, text)
    edits = [by_hand(case, one, len(ids)) for one in acts]
    scores = plain_logits(case.plain, edits, ids, tokens[:-1]).double().log_softmax(-1)
    return np.array([float(scores[i, token]) for i, token in enumerate(tokens)][1:])


def crossed(acts: Sequence[Any], *, in_turns: int = 1) -> tuple[list[str], list[str], list[Any]]:
    """Every prompt and text under every act, and texts after several prompts.

    Args:
        in_turns: every act meets only every so-manieth pair, the next one another; all pairs occur.
    """
    pairs = [*zip(PROMPTS, TEXTS, strict=True), (PROMPTS[0], TEXTS[3]), (PROMPTS[2], TEXTS[0])]
    rows = [(*pair, act) for j, act in enumerate(acts) for pair in pairs[j % in_turns :: in_turns]]
    return tuple(list(column) for column in zip(*rows, strict=True))


def assert_equal_to_hooks(case: Case, lm: LanguageModel, acts: Sequence[Any], *, in_turns: int = 1) -> float:
    """Fails unless every token's numbers are those by hand; gives the largest difference."""
    prompts, texts, given = crossed(acts, in_turns=in_turns)
    found, table = token_shifts(lm, prompts, texts, given), continuation_shift(lm, prompts, texts, given)
    unpatched = {pair: logprobs_by_hand(case, *pair, None) for pair in zip(prompts, texts, strict=True)}
    furthest, moved = 0.0, []
    for row, (prompt, text, act) in enumerate(zip(prompts, texts, given, strict=True)):
        mine = found[found["row"] == row]
        for column, wanted in (
            ("logprob", logprobs_by_hand(case, prompt, text, act)),
            ("logprob_unpatched", unpatched[prompt, text]),
        ):
            np.testing.assert_allclose(mine[column], wanted, atol=TOLERANCE, rtol=TOLERANCE, err_msg=f"{act}")
            assert table[column][row] == pytest.approx(wanted.mean(), abs=TOLERANCE)
            furthest = max(furthest, float(np.abs(mine[column] - wanted).max()))
        moved.append(np.abs(mine["logprob"] - mine["logprob_unpatched"]).max())
    assert (np.reshape(moved, (len(acts), -1)).max(axis=1) > SEEN).all(), "an act that moves nothing was compared"
    return furthest


def test_the_shift_is_that_of_whole_passes_with_hooks_by_hand(
    tiny_case: Case, route: Callable[[LanguageModel], LanguageModel], record_property: Callable[[str, object], None]
) -> None:
    lm = route(tiny_case.lm)
    hooks = count_hooks(lm)
    values = not (lm.blueprint is None and tiny_case.name == "gpt_neo")  # it shows its patterns too late to the bridge
    furthest = assert_equal_to_hooks(tiny_case, lm, varied_acts(tiny_case.lm, values=values))
    record_property("furthest", furthest)
    print(f"furthest {tiny_case.name}: {furthest:.2g}")
    assert count_hooks(lm) == hooks


def test_the_bundled_model_s_shift_is_that_of_hooks_by_hand(bundled_case: Case) -> None:
    acts = varied_acts(bundled_case.lm)  # tiny models meet every pair under every act; here each act meets two
    print(f"furthest bundled: {assert_equal_to_hooks(bundled_case, bundled_case.lm, acts, in_turns=3):.2g}")


@pytest.mark.skipif(not is_installed(GEMMA), reason="gemma3_270m is not installed")
def test_gemma_s_shift_is_that_of_hooks_by_hand() -> None:
    from transformers import AutoModelForCausalLM

    from emolib.models.loading import load_model

    lm = load_model("gemma3_270m", device="cpu", dtype="float32")
    folder, _ = bundled_folder(GEMMA)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", attn_implementation="eager").eval()
    large = [steer(lm, 1, 20.0), steer(lm, lm.n_layers, 1.0), AblateHead(0, 1)]
    print(f"furthest gemma: {assert_equal_to_hooks(Case('gemma', lm, plain), lm, large, in_turns=3):.2g}")


def test_without_a_patch_the_shift_is_zero(case: Case, route: Callable[[LanguageModel], LanguageModel]) -> None:
    lm = case.lm
    idle = [None, steer(lm, 1, 0.0), steer(lm, lm.n_layers, 0.0), steer(lm, 0, schedule=(0.0,)), (steer(lm, 1, 0.0),)]
    prompts, texts, acts = crossed([*idle, steer(lm, 1)])
    table = continuation_shift(route(lm), prompts, texts, acts)
    per_act = table["shift"].to_numpy().reshape(len(idle) + 1, -1)
    assert (per_act[:-1] == 0).all() and (table["shift_sum"].to_numpy().reshape(per_act.shape)[:-1] == 0).all()
    assert (per_act[-1] != 0).all(), "control: the other act does something"
    assert (table["logprob"] < 0).all()


def test_the_shift_does_not_depend_on_batches_or_order(tiny_case: Case) -> None:
    lm = tiny_case.lm
    prompts, texts, acts = crossed([*varied_acts(lm), None])
    together = continuation_shift(lm, prompts, texts, acts)
    order = np.random.default_rng(0).permutation(len(acts))
    shuffled = continuation_shift(lm, *([given[i] for i in order] for given in (prompts, texts, acts)))
    alone = continuation_shift(lm, prompts, texts, acts, batch_size=1)
    columns = ["logprob", "logprob_unpatched", "shift", "shift_sum"]
    np.testing.assert_allclose(shuffled[columns], together[columns].iloc[order], atol=TOLERANCE)
    np.testing.assert_allclose(alone[columns], together[columns], atol=TOLERANCE)
    assert together["shift"].abs().median() > SEEN
    assert shuffled["row"].tolist() == list(range(len(acts)))


def test_a_batch_that_does_not_fit_in_memory_is_halved(tiny_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_case.lm
    prompts, texts, acts = crossed([steer(lm, 1), steer(lm, 0, -1.0), None])
    wanted, tried = continuation_shift(lm, prompts, texts, acts), []
    read = continuation.read_rows

    def small(lm: LanguageModel, rows: Any, *others: Any) -> Any:
        tried.append(len(rows.pair_of))
        if len(rows.pair_of) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return read(lm, rows, *others)

    monkeypatch.setattr(continuation, "read_rows", small)
    pd.testing.assert_frame_equal(continuation_shift(lm, prompts, texts, acts), wanted, atol=TOLERANCE)
    assert max(tried) > 2 and min(tried) <= 1


def test_pairs_and_prefixes_that_rows_share_run_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, fed = case.lm, []
    heads = ForcedPass._heads

    def counted(self: ForcedPass, layer: object, x: torch.Tensor, span: object) -> Any:
        fed.append(len(x) * x.shape[1])
        return heads(self, layer, x, span)

    monkeypatch.setattr(ForcedPass, "_heads", counted)
    deep, shallow = steer(lm, lm.n_layers - 1), steer(lm, 1)
    continuation_shift(lm, PROMPTS[:1] * 6, TEXTS[:1] * 6, [deep, shallow, deep, None, shallow, deep])
    n_prompt, n_fed = len(encode(lm, PROMPTS[:1])[0]), continuations(lm, TEXTS[:1])[0].n_tokens
    own = 3 + n_fed  # window and text
    once = (n_prompt - 3 + own) * lm.n_layers
    assert sum(fed) == once + 2 * own * (lm.n_layers - 1) + 3 * own


def test_the_acts_fall_where_generation_lets_them_fall(case: Case) -> None:
    lm = case.lm
    acts = [steer(lm, 1, 4.0), steer(lm, 0, 4.0, window=1, steps=4), steer(lm, 1, 5.0, schedule=Decay(0.7))]
    elsewhere = False
    for act in acts:
        (out,) = generate(lm, PROMPTS[:1], [act], max_new_tokens=12)
        (plain,) = generate(lm, PROMPTS[:1], [None], max_new_tokens=12)
        assert out.token_ids != plain.token_ids, "control: the act changes the text"
        tokens = token_ids_shift(lm, PROMPTS[0], out.token_ids, act)
        assert (tokens["best"] >= -1e-3).all(), "what generation chose is not the best here: other positions"
        elsewhere |= bool((token_ids_shift(lm, PROMPTS[0], out.token_ids, None)["best"] < -1e-3).any())
    assert elsewhere, "control: without the act the same tokens are not the best"


def token_ids_shift(lm: LanguageModel, prompt: str, ids: Sequence[int], act: Any) -> pd.DataFrame:
    """Of every token after the first: its log-probability minus that of the best one under the act."""
    (row,) = encode(lm, [prompt])
    rows = forced_pass.ForcedRows([row], [list(ids)], [] if act is None else [0], [] if act is None else [act], 0, 0)
    rows = dataclasses.replace(rows, width=len(row), n_fed=len(ids) - 1)
    with torch.inference_mode():
        hidden = ForcedPass(lm, rows).hidden()[-1, 1:]
        logits = torch.nn.functional.linear(lm.native.final_norm(hidden), lm.native.head.weight, lm.native.head.bias)
    wanted = torch.tensor(list(ids[1:]))
    return pd.DataFrame({"best": (logits.gather(1, wanted[:, None])[:, 0] - logits.amax(-1)).numpy()})


def test_first_token_and_final_mark_do_not_count(bundled: LanguageModel) -> None:
    texts = ["Thanks for that", "Thanks for that.", "Thanks for that!?", "Thanks for that. ", 'Thanks for "that."']
    table = token_shifts(bundled, ["It rained."] * 5, texts)
    words = [part["word"].tolist() for _, part in table.groupby("row")]
    assert words == [["for", "that"]] * 4 + [["for", '"', "that"]]
    same = [part["logprob"].to_numpy() for _, part in table.groupby("row")]
    for other in same[1:4]:
        np.testing.assert_allclose(other, same[0], atol=TOLERANCE)
    assert np.abs(same[4][-1] - same[0][-1]) > SEEN
    assert table["position"].tolist() == [1, 2] * 4 + [1, 2, 3]


def test_sums_means_and_characters_are_those_of_the_tokens(bundled: LanguageModel) -> None:
    acts = [steer(bundled, 10), None, steer(bundled, 20)] * 2
    prompts, texts = (
        ["It rained all day."] * 6,
        ["Thank you for coming, dear.", "No."[:1] + "o one came by, I see."] * 3,
    )
    table, tokens = (function(bundled, prompts, texts, acts) for function in (continuation_shift, token_shifts))
    differences = tokens["logprob"] - tokens["logprob_unpatched"]
    np.testing.assert_allclose(table["shift"], differences.groupby(tokens["row"]).mean(), atol=1e-12)
    np.testing.assert_allclose(table["shift_sum"], differences.groupby(tokens["row"]).sum(), atol=1e-12)
    assert (table["n_tokens"] == tokens.groupby("row").size()).all()
    assert table["n_characters"][0] == len(" you for coming, dear")
    assert (tokens["entropy"] > 0).all()


def test_entropies_are_those_of_the_unpatched_distribution(tiny_case: Case) -> None:
    act = steer(tiny_case.lm, 1)
    table = token_shifts(tiny_case.lm, PROMPTS[:2], TEXTS[:2], [act, None])
    for row, part in table.groupby("row"):
        (ids,), tokens = encode(tiny_case.lm, [PROMPTS[row]]), counted_by_hand(tiny_case.lm, TEXTS[row])
        scores = plain_logits(tiny_case.plain, [], ids, tokens[:-1]).double().log_softmax(-1)[1:]
        np.testing.assert_allclose(part["entropy"], -(scores.exp() * scores).sum(-1), atol=TOLERANCE)


def test_a_token_s_shift_in_any_place_is_the_mean_over_places(
    tiny_case: Case, route: Callable[[LanguageModel], LanguageModel]
) -> None:
    lm, wanted_ids = tiny_case.lm, [3, 40, 3, 200]
    acts = [steer(lm, 1), None, AblateHead(0, 1), steer(lm, lm.n_layers)]
    found = context_shift(route(lm), PROMPTS, TEXTS, acts, wanted_ids)
    for row, act in enumerate(acts):
        (ids,), tokens = encode(lm, [PROMPTS[row]]), counted_by_hand(lm, TEXTS[row])
        edits = [] if act is None else [by_hand(tiny_case, act, len(ids))]
        patched, plain = (
            plain_logits(tiny_case.plain, given, ids, tokens[:-1]).double().log_softmax(-1)[1:] for given in (edits, [])
        )
        np.testing.assert_allclose(found[row], (patched - plain)[:, wanted_ids].mean(0), atol=TOLERANCE)
    assert (found[1] == 0).all() and (np.abs(found[[0, 2, 3]]).max(axis=1) > SEEN / 2).all()


def test_nothing_to_compare_gives_an_empty_table(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["llama"]
    assert continuation_shift(lm, [], []).empty and token_shifts(lm, [], []).empty
    assert context_shift(lm, [], [], None, [1, 2]).shape == (0, 2)
    assert continuation_shift(lm, PROMPTS[:1], TEXTS[:1])["shift"].tolist() == [0.0]


def test_bad_input_is_told_in_one_line(bundled: LanguageModel, tiny_models: dict[str, LanguageModel]) -> None:
    lm, good = tiny_models["gpt2"], ("The old bridge", "It is closed.")
    wide = Steer(1, np.ones(7), 1.0, unit="vector")
    cases: list[tuple[str, Callable[[], Any]]] = [
        ("got 2 prompts and 1 texts", lambda: continuation_shift(lm, [good[0]] * 2, [good[1]])),
        (
            r"one intervention per prompt \(1\), got 2",
            lambda: continuation_shift(lm, *map(list, zip(good)), [None] * 2),
        ),
        (r"write \[act\] \* len", lambda: continuation_shift(lm, [good[0]], [good[1]], steer(lm, 1))),
        ("put it into a list", lambda: continuation_shift(lm, good[0], [good[1]])),
        ("put it into a list", lambda: continuation_shift(lm, [good[0]], good[1])),
        ("non-empty texts, text 0 is", lambda: continuation_shift(lm, [good[0]], [""])),
        ("non-empty texts, text 0 of prompts", lambda: continuation_shift(lm, [" "], [good[1]])),
        ("text 1 of texts has none: 'Yes.'", lambda: continuation_shift(bundled, [good[0]] * 2, [good[1], "Yes."])),
        ("text 0 of texts has none: 'Yes'", lambda: continuation_shift(bundled, [good[0]], ["Yes"])),
        ("text 0 of texts has none: '...'", lambda: continuation_shift(bundled, [good[0]], ["..."])),
        ("has 256 positions", lambda: continuation_shift(lm, [good[0]], ["word " * 60])),
        ("has 256 positions", lambda: continuation_shift(lm, ["word " * 60], [good[1]])),
        ("vectors of d_model 48", lambda: continuation_shift(lm, [good[0]], [good[1]], [wide])),
        ("a layer", lambda: continuation_shift(lm, [good[0]], [good[1]], [AblateHead(lm.n_layers, 0)])),
        ("batch_size of at least 1", lambda: continuation_shift(lm, [good[0]], [good[1]], batch_size=0)),
        ("unknown argument", lambda: continuation_shift(lm, [good[0]], [good[1]], act=[None])),
        ("token ids below", lambda: context_shift(lm, [good[0]], [good[1]], None, [10**6])),
        ("token_ids", lambda: context_shift(lm, [good[0]], [good[1]], None, [-1])),
    ]
    for said, call in cases:
        with pytest.raises(UserError, match=said) as told:
            call()
        assert "\n" not in str(told.value)


def test_text_and_prompt_up_to_the_last_position_are_taken(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["gpt2"]
    long, short = "word " * 40, "I"
    text = "on and on it goes"  # beside it the padding of the other text reaches past the table
    longest = "a" * (256 - len(long))
    table = continuation_shift(lm, [long, short], [longest, text], [steer(lm, 1), steer(lm, 1)])
    alone = continuation_shift(lm, [long], [longest], [steer(lm, 1)])
    np.testing.assert_allclose(table["shift"][0], alone["shift"][0], atol=TOLERANCE)


def test_a_log_probability_that_is_not_finite_is_told(tiny_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_case.lm
    stream = Edits.stream

    def broken(self: Edits, site: str, layer: int, hidden: torch.Tensor, columns: Any) -> torch.Tensor:
        after = stream(self, site, layer, hidden, columns)
        return after * float("nan") if layer == lm.n_layers else after

    monkeypatch.setattr(Edits, "stream", broken)
    with pytest.raises(UserError, match=r"log-probability of .* is not finite"):
        continuation_shift(lm, PROMPTS, TEXTS, [steer(lm, 1)] * 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_come_near_float32(bundled: LanguageModel, dtype: torch.dtype) -> None:
    from emolib.models.loading import load_model

    half = load_model("smollm2_135m", device="cpu", dtype=str(dtype).removeprefix("torch."))
    acts = [steer(bundled, 10), steer(bundled, 20), None, steer(bundled, 1)]
    exact, near = (continuation_shift(lm, PROMPTS, TEXTS, acts) for lm in (bundled, half))
    np.testing.assert_allclose(near["logprob_unpatched"], exact["logprob_unpatched"], atol=0.1)
    np.testing.assert_allclose(near["shift"], exact["shift"], atol=0.15)
    assert near["shift"][2] == 0
