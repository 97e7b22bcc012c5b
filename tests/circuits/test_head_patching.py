"""Patched heads on models whose truth is known, and on tiny ones of every architecture."""

from __future__ import annotations

import dataclasses
from itertools import product

import numpy as np
import pandas as pd
import pytest

import emolib
from emolib.base.errors import UserError
from emolib.circuits.context_cells import ContextCells, context_cells
from emolib.circuits.head_conditions import SOURCES, HeadCondition, standard_conditions
from emolib.circuits.head_effects import (
    ablation_effects,
    context_effects,
    contrast_of_sources,
    null_p_values,
    patch_effects,
    uniformity,
)
from emolib.circuits.head_patching import Trials, head_trials
from emolib.circuits.patched_heads import PatchSettings
from emolib.interventions import AblateHead, PatchHead
from emolib.models.language_model import LanguageModel
from emolib.selftest.planted import Planted, plant

MODES = ("v_only", "pattern_v", "result")
WORDS = ["lamp", "boat", "tree", "coin", "drum", "frog", "gate", "hill", "jar", "kite", "mug", "nest"]


def small_data(n: int = 6) -> pd.DataFrame:
    """Short texts of two emotions; every scenario has a word of its own."""
    said = {"neutral": "The {} was.", "joy": "Our {} is!", "rage": "Not {} but!"}
    rows = [(word, label, "explicit", text.format(word)) for word in WORDS[:n] for label, text in said.items()]
    return pd.DataFrame(rows, columns=["scenario", "emotion", "style", "text"])


@pytest.fixture(scope="module")
def cells() -> ContextCells:
    data = small_data()
    return context_cells(data, WORDS[:2], WORDS[2:6])


def test_a_head_patched_with_its_own_activations_changes_nothing(tiny: LanguageModel, cells: ContextCells) -> None:
    """Where the emotional context is the neutral one, the source is the run itself; another scenario's is not."""
    same = {key: cells.text_of[key[0], "neutral"] for key in cells.text_of}
    for name in cells.table["text"]:  # what follows stays different
        same |= {(name, label): cells.text_of[name, label] for label in ("joy", "rage")}
    own = dataclasses.replace(cells, text_of=same)
    every = tuple((layer, head) for layer in range(tiny.n_layers) for head in (0, tiny.n_heads - 1))
    conditions = [
        HeadCondition(every, mode, target, source)
        for mode in MODES
        for target in ("neutral", "emotional")
        for source in ("same", "neutral")
    ]
    found = head_trials(tiny, own, conditions, in_turn=True).patched
    nothing, something = found[found["source"] == "same"], found[found["source"] == "neutral"]
    assert nothing["delta"].abs().max() < 2e-4
    assert something.groupby(["mode", "target"])["delta"].apply(lambda some: some.abs().max()).min() > 1e-3


def test_conditions_make_the_acts_that_they_name(tiny_models: dict[str, LanguageModel], cells: ContextCells) -> None:
    lm, words = tiny_models["llama"], cells.words(0, "joy")
    source = cells.prompt(0, "third", "joy")
    (record,) = emolib.record_heads(lm, [f"{source} {words}"], [(1, 2), (2, 0)])
    both = HeadCondition(((1, 2), (2, 0)), "v_only", "neutral")
    assert both.source_of(cells, "joy") == ("third", "joy") and both.name == "1:2+2:0"
    acts = both.acts(record, len(source), 5, {})
    assert [(act.layer, act.head, act.mode, act.window, act.steps) for act in acts] == [
        (1, 2, "v_only", 5, None),
        (2, 0, "v_only", 5, None),
    ]
    assert all(isinstance(act, PatchHead) and act.n_prompt == len(source) for act in acts)
    one, thirty = (dataclasses.replace(both, extent=name).acts(record, 9, 5, {})[0] for name in EXTREMES)
    assert ((one.window, one.steps), (thirty.window, thirty.steps)) == ((1, 0), (1, 29))
    zero = HeadCondition(((1, 2),), "zero", "emotional", "").acts(None, 0, 0, {})
    assert isinstance(zero[0], AblateHead) and zero[0].mean is None
    into = {name: HeadCondition(((1, 2),), "result", "emotional", name).source_of(cells, "joy") for name in SOURCES}
    assert into == {
        "same": ("third", "neutral"),
        "same_emotion": ("fourth", "joy"),
        "other_emotion": ("third", "rage"),
        "neutral": ("fourth", "neutral"),
        "neutral_again": ("fifth", "neutral"),
    }


EXTREMES = ("one_token", "thirty_tokens")


def test_m_and_delta_equal_those_worked_out_row_by_row(
    tiny_models: dict[str, LanguageModel], cells: ContextCells
) -> None:
    lm = tiny_models["qwen3"]
    condition = HeadCondition(((1, 3),), "result", "neutral")
    row = head_trials(lm, cells, [condition]).patched.iloc[0]
    target, source = (cells.prompt(0, "third", label) for label in ("neutral", "joy"))
    n_bare, n_target, n_source = (len(text) for text in (cells.bare_prompt(0), target, source))  # a byte is a token
    by_hand = []
    for label in ("joy", "neutral"):
        words = cells.words(0, label)
        (record,) = emolib.record_heads(lm, [f"{source} {words}"], [(1, 3)])
        window = min(n_target, n_source) - n_bare
        act = PatchHead(1, 3, record, "result", window=window, steps=None, source_prompt=n_source)
        by_hand.append(emolib.continuation_shift(lm, [target], [words], [act]).iloc[0])
    assert row["m_unpatched"] == pytest.approx(
        by_hand[0]["logprob_unpatched"] - by_hand[1]["logprob_unpatched"], abs=1e-5
    )
    assert row["delta"] == pytest.approx(by_hand[0]["shift"] - by_hand[1]["shift"], abs=1e-5)
    assert abs(row["delta"]) > 1e-3


# The planted circuit


def test_the_write_head_carries_the_emotion_and_a_noise_head_does_not(
    planted: Planted, planted_texts: pd.DataFrame
) -> None:
    write = (planted.truth.write_layer, planted.truth.write_head)
    settings = PatchSettings(n_pairs=1, n_null=3, n_candidates=4, n_resamples=200)
    found = emolib.patch_heads(planted.lm, [write, (1, 1)], planted_texts, settings=settings)
    assert found.context["measurable"].all()
    name, noise = f"{write[0]}:{write[1]}", "1:1"

    def of(heads: str, **wanted: str) -> pd.Series:
        table = found.effects[(found.effects["heads"] == heads) & (found.effects["emotion"] == "all")]
        for column, value in {"extent": "whole", "mode": "result", "source": "same", **wanted}.items():
            table = table[table[column] == value]
        (row,) = [row for _, row in table.iterrows()]
        return row

    for mode, target in product(MODES, ("neutral", "emotional")):
        carried, nothing = (of(heads, mode=mode, target=target) for heads in (name, noise))
        assert abs(nothing["share"]) < 0.1
        if (mode, target) == ("v_only", "neutral"):  # it finds the trigger by its keys: values alone bring nothing
            assert abs(carried["share"]) < 0.1
        else:
            assert carried["share_low"] > 0.7 and carried["share"] < 1.3, (mode, target, carried["share"])
    # it carries the emotion, whichever scenario it comes from, and not the scenario
    assert of(name, target="neutral", source="same_emotion")["share"] > 0.7
    assert abs(of(name, target="emotional", source="same_emotion")["share"]) < 0.2
    assert of(name, target="emotional", source="other_emotion")["share"] > 0.7
    assert abs(of(name, target="neutral", source="neutral")["share"]) < 0.2
    # what it writes while the text is read counts, not what it writes at the context
    assert abs(of(name, target="neutral", extent="prompt")["share"]) < 0.1
    assert of(name, target="neutral", extent="thirty_tokens")["share"] > 0.7
    lost = found.ablations[found.ablations["emotion"] == "all"].set_index(["heads", "mode"])["share"]
    assert (lost[name] > 0.7).all() and (lost[noise].abs() < 0.1).all() and len(lost[name]) == 3
    (pair,) = [row for _, row in found.interactions.iterrows()]
    assert abs(pair["mean"]) < 0.1 * abs(pair["delta_a"]) and pair["n_null"] == 1  # two heads of the layer are left


def test_without_a_circuit_there_is_no_share(planted_texts: pd.DataFrame) -> None:
    cut = plant("gpt2", distractors=(), cut=True)
    some = PatchSettings(modes=("result",), sources=("same",), ablations=(), long=False, n_pairs=0, n_resamples=200)
    found = emolib.patch_heads(cut.lm, "1:2", planted_texts, settings=some)
    assert not found.context["measurable"].any()
    assert found.effects["share"].isna().all()


# Tables of made-up trials


def made_up(effect: float, n: int = 40, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A context's effect of 1 and a head that carries `effect` of it, with noise; A/A of noise alone."""
    rng = np.random.default_rng(seed)
    texts = [f"s{i}" for i in range(n)]
    base = pd.DataFrame({"text": texts, "style": "explicit", "prompt": "p", "third": "c", "emotion": "joy"})
    total = 1 + 0.2 * rng.standard_normal(n)
    context = base.assign(m_neutral=0.0, m_emotional=total, effect=total)
    parts = []
    for target, sign in (("neutral", 1), ("emotional", -1)):
        for source in SOURCES:
            carried = sign * effect * total if source in ("same", "same_emotion") else 0 * total
            row = base.assign(heads="1:2", mode="result", target=target, source=source, extent="whole", m_unpatched=0.0)
            parts.append(row.assign(delta=carried + 0.1 * rng.standard_normal(n)))
    patched = pd.concat(parts, ignore_index=True)
    return context, patched.assign(m_patched=patched["delta"])


def test_shares_and_null_p_values_of_made_up_trials() -> None:
    trials = Trials(*made_up(0.6))
    effects = patch_effects(trials, n_resamples=200).set_index(["target", "source"])
    for target in ("neutral", "emotional"):
        row = effects.loc[target, "same"]
        assert row["share_low"] < 0.6 < row["share_high"] and row["share_high"] - row["share_low"] < 0.2
        assert abs(effects.loc[(target, "other_emotion"), "share"]) < 0.1
    assert bool(context_effects(trials)["measurable"].item())
    carried = contrast_of_sources(trials, "same_emotion", "neutral", n_resamples=200).set_index("target")
    assert carried.loc["neutral", "mean"] == pytest.approx(0.6, abs=0.1)
    lost = ablation_effects(trials, n_resamples=200)
    assert lost["mode"].tolist() == ["resample"] and abs(lost["share"].item()) < 0.1
    p = [null_p_values(Trials(*made_up(0.6, 12, seed)))["p_t"].item() for seed in range(40)]
    assert uniformity(np.array(p))["p_ks"] > 0.01
    assert uniformity(np.array(p) ** 3)["p_ks"] < 0.01, "a null that is no null passed"
    flat = Trials(trials.context.assign(effect=lambda table: table["effect"] - 1), trials.patched)
    assert patch_effects(flat, n_resamples=200)["share"].isna().all()


def test_standard_conditions_cover_what_is_reported() -> None:
    found = standard_conditions([(1, 2), (3, 0)])
    assert len(set(found)) == len(found)
    assert {condition.name for condition in found} == {"1:2", "3:0", "1:2+3:0"}
    one = [condition for condition in found if condition.name == "1:2"]
    assert {(c.mode, c.target) for c in one if c.source == "same" and c.extent == "whole"} == {
        (mode, target) for mode in MODES for target in ("neutral", "emotional")
    }
    assert {c.extent for c in one} == {"whole", "prompt", "one_token", "thirty_tokens"}
    assert {(c.mode, c.target) for c in one if not c.source} == {
        (mode, target) for mode in ("zero", "mean") for target in ("neutral", "emotional")
    }


# Mistakes


def test_wrong_arguments_are_refused(tiny_models: dict[str, LanguageModel]) -> None:
    lm, data = tiny_models["gpt2"], small_data()
    given = {"texts": WORDS[:2], "pool": WORDS[2:6]}
    with pytest.raises(UserError, match=r"head of 0-3, got 9"):
        emolib.patch_heads(lm, "1:9", data, **given)
    with pytest.raises(UserError, match="ranking of heads"):
        emolib.patch_heads(lm, "top:3", data, **given)
    with pytest.raises(UserError, match="split test"):
        emolib.patch_heads(lm, "1:1", data)
    with pytest.raises(UserError, match="1 scenarios in both"):
        emolib.patch_heads(lm, "1:1", data, texts=WORDS[:3], pool=WORDS[2:6])
    with pytest.raises(UserError, match="at least one condition"):
        head_trials(lm, context_cells(data, WORDS[:2], WORDS[2:6]), [])
    with pytest.raises(UserError, match="unknown mode 'values'"):
        PatchSettings(modes=("values",))
