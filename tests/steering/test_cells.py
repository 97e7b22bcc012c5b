"""Cells: what identifies them, for acts of every kind, and that a row of a table gives its cell again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.base.strength import UNITS
from emolib.directions.controls import FAMILIES, ControlSource
from emolib.directions.subspaces import fit_subspaces
from emolib.directions.vectors import fit_emotion_vectors
from emolib.engine.extraction import extract_activations
from emolib.engine.generation import generate
from emolib.interventions import (
    AblateDirection,
    AblateHead,
    Intervention,
    PatchHead,
    Steer,
    SubspaceSteer,
    record_heads,
)
from emolib.steering import cells, sweeps
from emolib.steering.cells import Cell, Controls, SweepSettings, cells_of_rows

SETTINGS = SweepSettings(max_new_tokens=5, backend="lexical")
WORDING = {"neutral": "The {} is red.", "gratitude": "Thank you for the {}!", "apology": "I am sorry about the {}."}


@pytest.fixture(scope="module")
def tiny(tiny_models):
    """A tiny model with its vectors, the activations that they were fitted on, and two prompts."""
    lm = tiny_models["llama"]
    rows = [(f"s{i}", e, text.format(thing)) for i, thing in enumerate("abcd") for e, text in WORDING.items()]
    texts = pd.DataFrame(rows, columns=["scenario", "emotion", "text"])
    texts = texts.assign(id=[f"t{i}" for i in range(len(texts))], split="train")
    acts = extract_activations(lm, texts, positions="mean")
    prompts = pd.DataFrame({"scenario": ["p0", "p1"], "split": "test", "text": ["It is noon here.", "We saw a shed."]})
    return lm, prompts, fit_emotion_vectors(acts), acts


class Recorded:
    """A store that keeps nothing and remembers what each shard was said to depend on."""

    scores = None

    def __init__(self) -> None:
        self.matched: dict[str, dict] = {}

    def begin(self, rows: int) -> None: ...

    def shard(self, name, matched, compute, rows):
        self.matched[name] = dict(matched)
        return compute()


def acts_of_every_kind(tiny) -> dict[str, Callable[[float], Intervention]]:
    """Each act by a number that changes what it does."""
    lm, _, vecs, _ = tiny
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(lm.d_model, 2)))[0].astype(np.float32)
    steer = Steer(1, vecs["apology"][1], 0.5)
    sources = {n: record_heads(lm, [text], [(1, 0)])[0] for n, text in {1.0: "I am sorry.", 2.0: "Thank you."}.items()}
    return {
        "head ablated": lambda n: AblateHead(1, 0, "mean", np.full(lm.d_head, n, np.float32)),
        "head patched": lambda n: PatchHead(1, 0, sources[n]),
        "direction ablated": lambda n: AblateDirection(1, vecs["apology"][1], np.full(lm.d_model, n, np.float32)),
        "moved in a subspace": lambda n: SubspaceSteer(1, basis, np.full(2, n, np.float32)),
        "steered": lambda n: Steer(1, vecs["apology"][1], n),
        "several": lambda n: (steer, AblateHead(1, 1, "mean", np.full(lm.d_head, n, np.float32))),
    }


KINDS_OF_ACTS = ("head ablated", "head patched", "direction ablated", "moved in a subspace", "steered", "several")


@pytest.mark.parametrize("name", KINDS_OF_ACTS)
def test_acts_of_every_kind_are_swept_and_their_shards_are_others_when_the_acts_are(tiny, name):
    lm, prompts, _, _ = tiny
    of = acts_of_every_kind(tiny)[name]
    seen = []
    for number in (1.0, 1.0, 2.0):
        kept = Recorded()
        cell = Cell("emotion", "apology", 1, 0.5, 0, of(number), 0)
        table = sweeps.sweep_cells(lm, prompts, [("one", [cell])], settings=SETTINGS, run=kept)
        seen.append(kept.matched["one"]["acts"])
    assert seen[0] == seen[1] != seen[2]
    outs = generate(lm, prompts["text"].tolist(), [of(2.0)] * 2, max_new_tokens=5)
    assert table["text"].tolist() == [out.text for out in outs]


def test_the_unpatched_cell_has_a_fingerprint_of_its_own_and_order_counts(tiny):
    first, second = (Steer(1, tiny[2][emotion][1], 0.5) for emotion in ("gratitude", "apology"))
    none, one, both, turned = (
        Cell("emotion", "any", 1, 0.5, 0, act, 0) for act in (None, first, (first, second), (second, first))
    )
    assert len({cell.fingerprint() for cell in (none, one, both, turned)}) == 4
    assert sweeps.fingerprint_of_cells([none, one]) != sweeps.fingerprint_of_cells([one, none])


def test_every_cell_of_a_sweep_is_made_again_from_its_rows(tiny):
    lm, _, fitted, acts = tiny
    vecs = dataclasses.replace(fitted, kl_lengths=0.3 * fitted.neutral_norms)
    tokens = {layer: np.random.default_rng(layer).normal(size=(40, lm.d_model)).astype(np.float32) for layer in (1, 2)}
    source = ControlSource(tokens, acts)
    for unit in UNITS:
        settings = dataclasses.replace(SETTINGS, unit=unit, schedule=0.5)
        controls = Controls(2, FAMILIES, source, direct_path=True, zero=True)
        swept = [c for _, part in sweeps._shards(vecs, [1, 2], [0.3, -0.3], controls, settings) for c in part]
        table = pd.DataFrame([dataclasses.asdict(dataclasses.replace(cell, act=None)) for cell in swept])
        again = cells_of_rows(table, vecs, settings, source=source)
        assert [cell.described() for cell in again] == [cell.described() for cell in swept]
        assert [cell.fingerprint() for cell in again] == [cell.fingerprint() for cell in swept]
        assert {cell.kind for cell in again} == {"baseline", "emotion", "direct_path", "zero", *FAMILIES}
    twice = cells_of_rows(pd.concat([table, table]), vecs, settings, source=source)
    assert twice[0] is twice[len(table)]


def test_a_row_that_does_not_say_its_act_is_refused(tiny):
    _, moves = cells.subspace_shard(fit_subspaces(tiny[3], k=1), {"apology": 1}, 1, [1.0], SETTINGS)
    rows = pd.DataFrame([dataclasses.asdict(dataclasses.replace(cell, act=None)) for cell in moves])
    with pytest.raises(UserError, match="got one of 'subspace'"):
        cells_of_rows(rows, tiny[2], SETTINGS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_samples": 2}, "one greedy text per prompt, got n_samples=2"),
        ({"template": "She said:"}, r"template that holds \{text\}"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(SETTINGS, **given).check()
