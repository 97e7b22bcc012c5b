"""Fingerprints of acts: equal where the same is done, different where any field changes, the same in every process."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from emolib.base import paths
from emolib.data.activations import LayerVector
from emolib.interventions import (
    AblateDirection,
    AblateHead,
    Act,
    Cap,
    Clamp,
    Decay,
    HeadActivations,
    PatchHead,
    Steer,
    SubspaceSteer,
    fingerprint_of,
)

ARRAY = np.array([1.0, -2.0, 0.5, 0.25], np.float32)
BASIS = np.eye(4, 2, dtype=np.float32)


def vector(values: np.ndarray = ARRAY, layer: int = 2, neutral_norm: float = 8.0) -> LayerVector:
    return LayerVector(values.copy(), "model", "revision", layer, "last", neutral_norm)


def source(scale: float = 1.0, n_tokens: int = 3) -> HeadActivations:
    """Two layers with two heads each, whose numbers all differ."""
    heads = [(layer, head) for layer in (2, 3) for head in (0, 1)]
    numbers = np.random.default_rng(0)
    z, values, patterns = (
        {head: scale * numbers.standard_normal((6, 6)).astype(np.float32)[:n_tokens, :width] for head in heads}
        for width in (4, 4, n_tokens)
    )
    return HeadActivations("model", "revision", "a text", tuple(range(n_tokens)), z, values, patterns)


RESAMPLED = {"how": "resample", "mean": None, "source": source()}


TIMING: dict[str, list[Any]] = {
    "window": [1, 7, None],
    "schedule": [Decay(0.5), Decay(0.25), (1.0, 0.5), (0.5, 1.0), (1.0,)],
    "steps": [0, 1, 12],
}
# per kind: an act as keywords, and for every field other values, each of which does something else
CASES: dict[type[Act], tuple[dict[str, Any], dict[str, list[Any]]]] = {
    Steer: (
        {"layer": 2, "vector": ARRAY, "alpha": 0.5, "unit": "resid", "resid_norm": 8.0},
        {
            "layer": [0, 3],
            "vector": [ARRAY[::-1].copy(), -ARRAY],
            "alpha": [0.25, -0.5, 0.0],
            "unit": ["vector"],
            "site": ["attn_out", "mlp_out"],
            "resid_norm": [9.0],
            "bulk_norm": [{"unit": "bulk", "bulk_norm": 7.0}, {"unit": "bulk", "bulk_norm": 9.5}],
            "kl_length": [{"unit": "kl", "kl_length": 6.0}, {"unit": "kl", "kl_length": 10.5}],
            "head": [{"site": "z", "head": 0}, {"site": "z", "head": 3}],
            **TIMING,
        },
    ),
    SubspaceSteer: (
        {"layer": 2, "basis": BASIS, "target": np.array([1.0, 2.0])},
        {
            "layer": [0, 3],
            "basis": [BASIS[::-1].copy(), -BASIS],
            "target": [np.array([2.0, 1.0])],
            "alpha": [0.5, -1.0],
            "site": ["attn_out", "mlp_out"],
            **TIMING,
        },
    ),
    AblateDirection: (
        {"layer": 2, "direction": ARRAY},
        {
            "layer": [0, 3],
            "direction": [ARRAY[::-1].copy(), ARRAY + 1],
            "center": [ARRAY, 2 * ARRAY],
            "site": ["attn_out", "mlp_out"],
            **TIMING,
            "window": [1, 7],
        },
    ),
    Clamp: (
        {"layer": 2, "direction": ARRAY, "value": 1.5},
        {
            "layer": [0, 3],
            "direction": [ARRAY[::-1].copy(), ARRAY + 1],
            "value": [0.0, -1.5],
            "site": ["attn_out", "mlp_out"],
            **TIMING,
            "window": [1, 7],
        },
    ),
    Cap: (
        {"layer": 2, "direction": ARRAY, "low": -1.0, "high": 1.5},
        {
            "layer": [0, 3],
            "direction": [ARRAY[::-1].copy(), ARRAY + 1],
            "low": [None, 0.0],
            "high": [None, 2.5],
            "site": ["attn_out", "mlp_out"],
            **TIMING,
            "window": [1, 7],
        },
    ),
    AblateHead: (
        {"layer": 2, "head": 1, "how": "mean", "mean": ARRAY},
        {
            "layer": [0, 3],
            "head": [0, 2],
            "how": [{"how": "zero", "mean": None}],
            "mean": [-ARRAY, 2 * ARRAY],
            "source": [RESAMPLED, {**RESAMPLED, "source": source(2.0)}],
            "source_prompt": [{**RESAMPLED, "source_prompt": 2}],
            **TIMING,
            "window": [1, 7],
        },
    ),
    PatchHead: (
        {"layer": 2, "head": 1, "source": source()},
        {
            "layer": [3],
            "head": [0],
            "source": [source(2.0), source(n_tokens=2)],
            "mode": ["pattern_v", "result"],
            **TIMING,
            "window": [1, 7],
            "steps": [1, 12, None],
            "source_prompt": [1, 2],
        },
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_change_of_any_field_gives_another_fingerprint(kind: type[Act]) -> None:
    given, others = CASES[kind]
    assert set(others) == {field.name for field in dataclasses.fields(kind)}, "every field has its case"
    changed = [value if isinstance(value, dict) else {name: value} for name in others for value in others[name]]
    found = [kind(**given).fingerprint(), *(kind(**{**given, **change}).fingerprint() for change in changed)]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("kind", CASES)
def test_equal_acts_have_equal_fingerprints_whatever_objects_hold_their_numbers(kind: type[Act]) -> None:
    given, _ = CASES[kind]
    first = kind(**given).fingerprint()
    copies = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in given.items()}
    tensors = {name: torch.tensor(value) if isinstance(value, np.ndarray) else value for name, value in given.items()}
    if kind is PatchHead:
        copies["source"] = tensors["source"] = source()
    assert kind(**copies).fingerprint() == kind(**tensors).fingerprint() == first
    timed = kind(**{**given, "layer": np.int64(2), "schedule": [1.0, 0.5]})
    assert timed.fingerprint() == kind(**{**given, "schedule": (1, 0.5)}).fingerprint()


def test_a_vector_counts_by_its_numbers_and_the_size_of_its_unit() -> None:
    """Whose vector it is and how its unit was named does not count; the unit's size does."""
    bare = Steer(2, ARRAY, 0.5, unit="resid", resid_norm=8.0).fingerprint()
    assert Steer(2, vector(), 0.5, unit="resid").fingerprint() == bare
    renamed = dataclasses.replace(vector(), model="other", position="mean")
    assert Steer(2, renamed, 0.5, unit="resid").fingerprint() == bare
    assert Steer(2, vector(neutral_norm=9.0), 0.5, unit="resid").fingerprint() != bare
    assert AblateDirection(2, vector()).fingerprint() == AblateDirection(2, ARRAY).fingerprint()


@pytest.mark.parametrize("mode", ["v_only", "pattern_v", "result"])
def test_of_a_source_counts_what_the_mode_reads(mode: str) -> None:
    act = PatchHead(2, 1, source(), mode)
    key = (2, 1)
    for name, read in {"z": ["result"], "values": ["v_only", "pattern_v"], "patterns": ["pattern_v"]}.items():
        table = getattr(act.source, name)
        other_head = dataclasses.replace(act.source, **{name: {**table, (3, 0): 2 * table[3, 0]}})
        this_head = dataclasses.replace(act.source, **{name: {**table, key: 2 * table[key]}})
        assert dataclasses.replace(act, source=other_head).fingerprint() == act.fingerprint()
        same = dataclasses.replace(act, source=this_head).fingerprint() == act.fingerprint()
        assert same == (mode not in read), name


def test_several_acts_on_one_row_count_in_their_order() -> None:
    one, two = Steer(2, ARRAY, 0.5, unit="vector"), AblateHead(2, 1)
    assert fingerprint_of(one) == fingerprint_of((one,)) == one.fingerprint()
    assert fingerprint_of(None) == fingerprint_of(())
    found = [fingerprint_of(each) for each in (None, one, two, (one, two), (two, one), (one, one))]
    assert len(set(found)) == len(found)


def test_another_process_with_another_hash_seed_gives_the_same_fingerprints() -> None:
    code = (
        "import test_fingerprints as t; print(*(kind(**given).fingerprint() for kind, (given, _) in t.CASES.items()))"
    )
    folder = str(paths.repository_root() / "tests" / "interventions")
    path = os.pathsep.join([str(paths.repository_root()), folder])
    here = [kind(**given).fingerprint() for kind, (given, _) in CASES.items()]
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.split() == here
