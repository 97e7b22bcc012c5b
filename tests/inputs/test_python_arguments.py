"""Every public function refuses what a notebook's user gives by mistake in one line, and takes what means the same.

`WRONG` has a row for every public name: a new one needs its own. `RIGHT` holds other ways to say a valid thing, with
the value that they must come to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from refusals import refused_call
from tiny import tiny_model

import emolib
from emolib.base import arguments
from emolib.base.signatures import told
from emolib.data.activations import Activations, LayerVectors
from emolib.engine.sampling import Decoding
from emolib.models.language_model import LanguageModel
from emolib.scoring.scorer import Scorer
from emolib.statistics.intervals import bootstrap_mean, paired_effects
from emolib.steering.cells import Controls, SweepSettings

TEXTS = ["Thank you for it", "The lamp is on"]
CONTINUED = [(1, 2, 3, 4)] * 2  # token ids
MADE_BY_THE_LIBRARY = {  # a user reads these, and makes none
    *("Activations", "AlignmentMap", "EmotionVectors", "Generation", "HeadActivations", "LanguageModel", "Subspaces"),
    "UserError",
}
THANKS = pd.DataFrame({"text": ["Well, thank you"]})
EMOTIONAL = pd.DataFrame({"scenario": ["a"], "emotion": ["joy"], "style": ["explicit"], "text": ["Well, thank you"]})
D = 48
VECTOR = np.linspace(-1, 1, D, dtype=np.float32)
NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class World:
    """One of everything that the library makes, on a tiny model."""

    lm: LanguageModel
    data: pd.DataFrame
    acts: Activations
    vecs: emolib.EmotionVectors
    subs: emolib.Subspaces
    record: emolib.HeadActivations
    sweep: pd.DataFrame
    folder: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    lm = tiny_model("gpt2")
    said = {"joy": "What a lovely", "neutral": "On the desk is the"}
    things = ["lamp", "book", "bread", "map"]
    rows = [(thing, label, f"{start} {thing}") for label, start in said.items() for thing in things]
    data = pd.DataFrame(rows, columns=["scenario", "emotion", "text"])
    acts = emolib.extract_activations(lm, data)
    rng = np.random.default_rng(0)
    sweep = pd.DataFrame(
        [
            {"kind": kind, "emotion": "joy", "layer": 1, "alpha": 0.4, "scenario": f"s{i}", "score": rng.random()}
            for kind in ("baseline", "emotion")
            for i in range(6)
        ]
    )
    (record,) = emolib.record_heads(lm, TEXTS[:1], "1:2")
    folder = tmp_path_factory.mktemp("world")
    return World(
        *(lm, data, acts, emolib.fit_emotion_vectors(acts), emolib.fit_subspaces(acts, k=2), record, sweep, folder)
    )


def steer(**changed: Any) -> emolib.Steer:
    return emolib.Steer(**{"layer": 1, "vector": VECTOR, "alpha": 0.5, "unit": "vector", **changed})


def generated(w: World, prompts: Any = tuple(TEXTS), *rest: Any, **changed: Any) -> list[emolib.Generation]:
    return emolib.generate(w.lm, prompts, *rest, **{"max_new_tokens": 2, **changed})


def swept(w: World, prompts: Any = tuple(TEXTS), **changed: Any) -> pd.DataFrame:
    settings = SweepSettings(max_new_tokens=2, batch_size=4, backend=changed.pop("backend", "lexical"))
    vecs = changed.pop("vecs", w.vecs)
    return emolib.residual_sweep(
        w.lm, prompts, vecs, **{"layers": [1], "alphas": [0.4], "settings": settings, **changed}
    )


def written(w: World) -> Path:
    emolib.write_vectors(w.vecs["joy"], w.folder / "joy.gguf")
    return w.folder / "joy.gguf"


def lengths(texts: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({"length": [len(text) for text in texts]})


def aligned(w: World, split: Sequence[str] = ("train", "train", "validation", "test") * 2, **changed: Any) -> Any:
    acts = replace(w.acts, texts=w.acts.texts.assign(split=split))
    given = {"acts_a": acts, "acts_b": acts, "layer_a": 1, "layer_b": 2, **changed}
    return emolib.fit_alignment(given.pop("acts_a"), given.pop("acts_b"), **given)


Case = tuple[Callable[[World], Any], Sequence[str]]
OF_ACTS: dict[str, tuple[str, Any, Sequence[str]]] = {  # what every act refuses alike: an argument and a value
    "a layer as text": ("layer", "1", ["layer", "'1'"]),
    "half a layer": ("layer", 1.5, ["layer", "1.5"]),
    "a truth as layer": ("layer", True, ["layer", "True"]),
    "no layer": ("layer", None, ["layer", "None"]),
    "window 0": ("window", 0, ["window", "at least 1"]),
    "a window as text": ("window", "3", ["window", "'3'"]),
    "a truth as window": ("window", True, ["window", "True"]),
    "negative steps": ("steps", -1, ["steps", "-1"]),
    "half a step": ("steps", 0.5, ["steps", "0.5"]),
    "an unknown schedule": ("schedule", "linear", ["schedule", "'linear'", "Decay"]),
    "a bare rate as schedule": ("schedule", 0.9, ["schedule", "Decay", "0.9"]),
    "a schedule of text": ("schedule", ["1", "2"], ["schedule", "factors"]),
    "a schedule with NaN": ("schedule", (1, NAN), ["schedule", "finite"]),
    "a schedule of two dimensions": ("schedule", np.ones((2, 2)), ["schedule"]),
}
VECTORS: dict[str, tuple[Any, Sequence[str]]] = {  # what every vector refuses alike
    "a name": ("joy", ["real numbers", "'joy'"]),
    "no vector": (None, ["real numbers", "None"]),
    "complex numbers": (VECTOR.astype(complex), ["real numbers", "complex"]),
    "complex tensor": (torch.ones(D, dtype=torch.complex64), ["real numbers", "complex"]),
    "objects": (np.array([object()] * D), ["real numbers", "object"]),
    "truths": (np.ones(D, bool), ["real numbers", "bool"]),
    "numbers as text": (["1"] * D, ["real numbers"]),
    "rows of different length": ([[1.0], [1.0, 2.0]], ["real numbers"]),
    "a dict": ({"joy": VECTOR}, ["real numbers", "dict"]),
    "nowhere": (torch.ones(D, device="meta"), ["real numbers", "meta"]),
    "small numbers of another kind": (torch.quantize_per_tensor(torch.ones(D), 0.1, 0, torch.qint8), ["real numbers"]),
    "masked": (np.ma.masked_array(VECTOR, VECTOR > 0), ["real numbers", "MaskedArray"]),
    "a table": (pd.DataFrame({"joy": VECTOR}), ["(48, 1)"]),
    "two dimensions": (VECTOR[None], ["(1, 48)"]),
    "one number": (1.0, ["()"]),
    "nothing": ([], ["(0,)"]),
    "NaN": (np.full(D, NAN), ["finite"]),
    "infinite in float32": (np.full(D, 1e200), ["finite"]),
    "every layer's": (LayerVectors(np.ones((4, D)), "m", "r", "last", np.ones(4)), ["one layer", "4 layers"]),
}


def of_act(make: Callable[..., Any], vectors: Sequence[str] = ()) -> dict[str, Case]:
    """The rows of one kind of act: `make` takes the world and changed arguments; `vectors` names its vectors."""

    def row(name: str, value: Any, says: Sequence[str]) -> Case:
        return lambda w: make(w, **{name: value}), says

    rows = {case: row(*rest) for case, rest in OF_ACTS.items()}
    for argument in vectors:
        rows |= {f"{argument}: {case}": row(argument, value, says) for case, (value, says) in VECTORS.items()}
    return rows


def texts_refused(call: Callable[[World, Any], Any]) -> dict[str, Case]:
    """What every list of texts refuses alike."""
    wrong: dict[str, tuple[Any, Sequence[str]]] = {
        "one text": ("Hello", ["list of texts", "'Hello'", "put it into a list"]),
        "bytes": (b"Hello", ["list of texts"]),
        "no texts": (None, ["list of texts", "None"]),
        "a number": (3, ["list of texts", "3"]),
        "a dict": ({"a": "b"}, ["list of texts", "dict"]),
        "a set": ({"a", "b"}, ["list of texts", "set"]),
        "None among them": (["a", None], ["text 1", "None"]),
        "bytes among them": (["a", b"b"], ["text 1"]),
        "a missing value among them": (pd.Series(["a", NAN]), ["text 1", "nan"]),
        "a number among them": (["a", 2], ["text 1", "2"]),
        "a list among them": (["a", ["b"]], ["text 1", "list"]),
        "two dimensions": (np.array([["a", "b"]]), ["list of texts", "2 dimensions"]),
    }
    return {f"texts: {name}": (lambda w, v=value: call(w, v), says) for name, (value, says) in wrong.items()}


def model_refused(call: Callable[[Any], Any]) -> dict[str, Case]:
    wrong = {"a name": ("gpt2", ["'gpt2'", "load_model"]), "None": (None, ["load_model"]), "texts": (TEXTS, ["list"])}
    return {f"model: {name}": (lambda w, v=value: call(v), says) for name, (value, says) in wrong.items()}


LOADED = "smollm2_135m"
WRONG: dict[str, dict[str, Case]] = {
    "generate": {
        "more by place than it takes": (lambda w: emolib.generate(w.lm, TEXTS, None, 30), ["positional", "by name"]),
        **texts_refused(lambda w, v: generated(w, v)),
        **model_refused(lambda v: emolib.generate(v, TEXTS)),
        "a table": (lambda w: generated(w, w.data), ["table", "column"]),
        "swapped arguments": (lambda w: emolib.generate(TEXTS, w.lm), ["model", "list"]),
        "an empty text": (lambda w: generated(w, ["a", "  "]), ["non-empty", "text 1"]),
        "one act for many prompts": (
            lambda w: generated(w, TEXTS, steer()),
            ["one per prompt (2)", "Steer", "[act] *"],
        ),
        "one head act": (lambda w: generated(w, TEXTS, emolib.AblateHead(0, 0)), ["one per prompt", "AblateHead"]),
        "acts by name": (lambda w: generated(w, TEXTS, {"a": steer()}), ["interventions", "dict"]),
        "an act as text": (lambda w: generated(w, TEXTS, ["steer", None]), ["Steer", "'steer'"]),
        "a text for acts": (lambda w: generated(w, TEXTS, "steer"), ["interventions", "'steer'"]),
        "too few acts": (lambda w: generated(w, TEXTS, [None]), ["one intervention per prompt (2)", "got 1"]),
        "a class for an act": (lambda w: generated(w, TEXTS, [emolib.Steer, None]), ["Steer", "interventions"]),
        "an act too deep": (lambda w: generated(w, TEXTS, [steer(layer=9), None]), ["layer 9", "0-2"]),
        "an act at a negative layer": (lambda w: generated(w, ["a"], [steer(layer=-1)]), ["layer -1", "0-2"]),
        "no new tokens": (lambda w: generated(w, max_new_tokens=0), ["max_new_tokens", "from 1 to"]),
        "half a token": (lambda w: generated(w, max_new_tokens=2.5), ["max_new_tokens", "2.5"]),
        "tokens as text": (lambda w: generated(w, max_new_tokens="30"), ["max_new_tokens", "'30'"]),
        "a truth as tokens": (lambda w: generated(w, max_new_tokens=True), ["max_new_tokens", "True"]),
        "None as tokens": (lambda w: generated(w, max_new_tokens=None), ["max_new_tokens", "None"]),
        "endless tokens": (lambda w: generated(w, max_new_tokens=INF), ["max_new_tokens", "inf"]),
        "very many tokens": (lambda w: generated(w, max_new_tokens=10**30), ["max_new_tokens", "1000000"]),
        "cold": (lambda w: generated(w, temperature=-1), ["temperature", "at least 0", "-1"]),
        "no temperature": (lambda w: generated(w, temperature=NAN), ["temperature", "nan"]),
        "temperature as text": (lambda w: generated(w, temperature="0.7"), ["temperature", "'0.7'"]),
        "complex temperature": (lambda w: generated(w, temperature=1j), ["temperature"]),
        "top_p 0": (lambda w: generated(w, top_p=0), ["top_p", "above 0 and at most 1"]),
        "top_p 2": (lambda w: generated(w, top_p=2), ["top_p", "at most 1", "2"]),
        "top_p as list": (lambda w: generated(w, top_p=[0.9]), ["top_p"]),
        "an unknown argument": (lambda w: generated(w, max_tokens=3), ["'max_tokens'", "'max_new_tokens'"]),
        "a dict for decoding": (lambda w: generated(w, decoding={"top_p": 1}), ["decoding", "Decoding", "dict"]),
        "batch size 0": (lambda w: generated(w, batch_size=0), ["batch_size", "at least 1"]),
        "half a batch": (lambda w: generated(w, batch_size=2.5), ["batch_size", "2.5"]),
        "a big batch": (lambda w: generated(w, batch_size="big"), ["batch_size", "'auto'", "'big'"]),
        "no batch size": (lambda w: generated(w, batch_size=None), ["batch_size", "None"]),
        "an unknown engine": (lambda w: generated(w, engine="fast"), ["engine", "'fast'", "native"]),
        "no engine": (lambda w: generated(w, engine=None), ["engine", "None"]),
        "seeds as floats": (lambda w: generated(w, temperature=1, seeds=[0.5, 1.5]), ["seeds[0]", "0.5"]),
        "one seed": (lambda w: generated(w, temperature=1, seeds=3), ["seeds", "list", "3"]),
        "a negative seed": (lambda w: generated(w, temperature=1, seeds=[0, -3]), ["seeds[1]", "-3"]),
        "a seed of None": (lambda w: generated(w, temperature=1, seeds=[0, None]), ["seeds[1]", "None"]),
        "too few seeds": (lambda w: generated(w, temperature=1, seeds=[1]), ["one seed per prompt (2)"]),
        "no seeds": (lambda w: generated(w, temperature=1), ["one seed per prompt (2)", "none"]),
        "wrong seeds that nothing draws": (lambda w: generated(w, seeds=["a", "b"]), ["seeds[0]", "'a'"]),
        "use_cache as text": (lambda w: generated(w, use_cache="no"), ["use_cache", "'no'"]),
        "progress as number": (lambda w: generated(w, progress=2), ["progress", "True"]),
        "on_batch that is none": (lambda w: generated(w, on_batch=3), ["on_batch", "function"]),
    },
    "extract_activations": {
        "no data": (lambda w: emolib.extract_activations(w.lm), ["extract_activations", "'data'"]),
        "an unknown argument": (lambda w: emolib.extract_activations(w.lm, TEXTS, site="z"), ["'site'", "'sites'"]),
        **texts_refused(lambda w, v: emolib.extract_activations(w.lm, v)),
        **model_refused(lambda v: emolib.extract_activations(v, TEXTS)),
        "no texts at all": (lambda w: emolib.extract_activations(w.lm, []), ["at least one text"]),
        "no layers": (
            lambda w: emolib.extract_activations(w.lm, TEXTS, layers=[]),
            ["at least one layer", "layers=[]"],
        ),
        "a table without texts": (lambda w: emolib.extract_activations(w.lm, w.data[["emotion"]]), ["column 'text'"]),
        "a table with a missing text": (
            lambda w: emolib.extract_activations(w.lm, pd.DataFrame({"text": ["a", None]})),
            ["text 1"],
        ),
        "one site": (
            lambda w: emolib.extract_activations(w.lm, TEXTS, sites="mlp_out"),
            ["sites", "'mlp_out'", "list"],
        ),
        "an unknown site": (lambda w: emolib.extract_activations(w.lm, TEXTS, sites=["mlp"]), ["'mlp'", "mlp_out"]),
        "a site that is none": (lambda w: emolib.extract_activations(w.lm, TEXTS, sites=[3]), ["site", "3"]),
        "an unknown position": (lambda w: emolib.extract_activations(w.lm, TEXTS, positions="first"), ["'first'"]),
        "positions as list": (lambda w: emolib.extract_activations(w.lm, TEXTS, positions=["last"]), ["position"]),
        "a layer as number": (lambda w: emolib.extract_activations(w.lm, TEXTS, layers=1), ["layers", "list", "1"]),
        "layers as text": (lambda w: emolib.extract_activations(w.lm, TEXTS, layers="0-1"), ["layers", "'0-1'"]),
        "half a layer": (lambda w: emolib.extract_activations(w.lm, TEXTS, layers=[0, 1.5]), ["layers[1]", "1.5"]),
        "a layer too many": (lambda w: emolib.extract_activations(w.lm, TEXTS, layers=[4]), ["layer 4", "0-3"]),
        "very many layers": (
            lambda w: emolib.extract_activations(w.lm, TEXTS, layers=range(3 * 10**9)),
            ["layer 2999999999", "0-3"],
        ),
        "a negative layer": (lambda w: emolib.extract_activations(w.lm, TEXTS, layers=[-1]), ["layer -1"]),
        "batch size 0": (lambda w: emolib.extract_activations(w.lm, TEXTS, batch_size=0), ["batch_size", "at least 1"]),
        "a big batch": (lambda w: emolib.extract_activations(w.lm, TEXTS, batch_size="big"), ["batch_size", "'big'"]),
        "on_batch that is none": (lambda w: emolib.extract_activations(w.lm, TEXTS, on_batch="x"), ["on_batch"]),
    },
    "load_model": {
        "a device by place": (lambda w: emolib.load_model(LOADED, "cpu"), ["load_model", "positional", "device"]),
        "an unknown argument": (lambda w: emolib.load_model(LOADED, dtyp="float16"), ["'dtyp'", "'dtype'"]),
        "no name": (lambda w: emolib.load_model(None), ["model", "None"]),
        "an empty name": (lambda w: emolib.load_model(""), ["model", "''"]),
        "a number": (lambda w: emolib.load_model(3), ["model", "3"]),
        "bytes": (lambda w: emolib.load_model(b"gpt2"), ["model"]),
        "several names": (lambda w: emolib.load_model(["gpt2"]), ["model", "list"]),
        "an unknown number type": (lambda w: emolib.load_model(LOADED, dtype="int7"), ["dtype", "'int7'", "float16"]),
        "double precision": (lambda w: emolib.load_model(LOADED, dtype=torch.float64), ["dtype", "float64", "float32"]),
        "numpy's number type": (lambda w: emolib.load_model(LOADED, dtype=np.float16), ["dtype", "bfloat16"]),
        "an absent device": (lambda w: emolib.load_model(LOADED, device="cuda:9"), ["device", "'cuda:9'", "cpu"]),
        "an unknown device": (lambda w: emolib.load_model(LOADED, device="gpu"), ["device", "'gpu'", "cpu"]),
        "a device as number": (lambda w: emolib.load_model(LOADED, device=0), ["device", "0", "cpu"]),
        "a device without numbers": (lambda w: emolib.load_model(LOADED, device="meta"), ["device", "'meta'"]),
        "a truth as text": (lambda w: emolib.load_model(LOADED, random_weights="yes"), ["random_weights", "'yes'"]),
        "a negative seed": (lambda w: emolib.load_model(LOADED, seed=-1), ["seed", "-1"]),
        "half a seed": (lambda w: emolib.load_model(LOADED, seed=0.5), ["seed", "0.5"]),
        "a very long seed": (lambda w: emolib.load_model(LOADED, seed=10**29), ["seed", "from 0 to"]),
    },
    "load_dataset": {
        "a number": (lambda w: emolib.load_dataset(3), ["data set", "3"]),
        "a list of files": (lambda w: emolib.load_dataset(["a.jsonl"]), ["data set", "list"]),
        "a NUL": (lambda w: emolib.load_dataset("a\0.jsonl"), ["data set"]),
        "no label": (lambda w: emolib.load_dataset(neutral=None), ["neutral", "None"]),
    },
    "build_dataset": {
        "no source": (lambda w: emolib.build_dataset(None, "b.jsonl"), ["source", "None"]),
        "no output": (lambda w: emolib.build_dataset("a.csv", 3), ["output", "3"]),
        "labels as text": (
            lambda w: emolib.build_dataset("a.csv", "b.jsonl", labels="joy"),
            ["labels", "'joy'", "list"],
        ),
        "a label of None": (lambda w: emolib.build_dataset("a.csv", "b.jsonl", labels=[None]), ["labels", "None"]),
        "half a seed": (lambda w: emolib.build_dataset("a.csv", "b.jsonl", seed=1.5), ["seed", "1.5"]),
        "neutral as number": (lambda w: emolib.build_dataset("a.csv", "b.jsonl", neutral=0), ["neutral", "0"]),
    },
    "Steer": {
        "no strength": (lambda w: emolib.Steer(1, VECTOR), ["Steer", "'alpha'", "by name"]),
        "an unknown argument": (lambda w: steer(strength=2), ["'strength'", "Steer", "alpha"]),
        **of_act(lambda w, **k: steer(**k), ["vector"]),
        "alpha NaN": (lambda w: steer(alpha=NAN), ["alpha", "nan"]),
        "alpha beyond reason": (
            lambda w: steer(alpha=1e38, unit="resid", resid_norm=1.0),
            ["alpha", "1000", "1e+38"],
        ),
        "alpha beyond float32": (lambda w: steer(alpha=-1e308), ["alpha", "1e+12", "has inf"]),
        "a change beyond reason": (lambda w: steer(vector=np.full(D, 1e18, np.float32), alpha=900), ["1e+12", "alpha"]),
        "a vector beyond reason": (lambda w: steer(vector=np.full(D, 3e38, np.float32)), ["1e+12", "vector"]),
        "a residual norm beyond reason": (lambda w: steer(unit="resid", resid_norm=1e39), ["1e+12", "resid_norm"]),
        "alpha infinite": (lambda w: steer(alpha=-INF), ["alpha", "inf"]),
        "alpha as text": (lambda w: steer(alpha="0.5"), ["alpha", "'0.5'"]),
        "alpha as truth": (lambda w: steer(alpha=True), ["alpha", "True"]),
        "several alphas": (lambda w: steer(alpha=[0.1, 0.2]), ["alpha"]),
        "no alpha": (lambda w: steer(alpha=None), ["alpha", "None"]),
        "an unknown unit": (lambda w: steer(unit="norm"), ["unit", "'norm'", "bulk", "resid", "vector"]),
        "an unknown site": (lambda w: steer(site="mlp"), ["site", "'mlp'", "mlp_out"]),
        "a zero vector": (lambda w: steer(vector=np.zeros(D)), ["non-zero"]),
        "no residual norm": (lambda w: steer(unit="resid"), ["resid_norm"]),
        "no bulk norm": (lambda w: steer(unit="bulk"), ["bulk_norm", "unit='vector'"]),
        "a vector without a bulk norm": (
            lambda w: steer(unit="bulk", vector=emolib.LayerVector(VECTOR, "m", "r", 1, "last", 1.0)),
            ["neutral_bulk_norm", "bulk_norm="],
        ),
        "a norm of NaN": (lambda w: steer(unit="resid", resid_norm=NAN), ["residual norm", "nan"]),
        "a norm as text": (lambda w: steer(unit="resid", resid_norm="10"), ["residual norm", "'10'"]),
        "swapped layer and vector": (lambda w: emolib.Steer(VECTOR, 1, 0.5), ["layer"]),
        "another layer's vector": (lambda w: steer(vector=w.vecs["joy"][2]), ["layer 2"]),
        "too short for the model": (lambda w: generated(w, ["a"], [steer(vector=VECTOR[:5])]), ["d_model 48", "got 5"]),
        "a head without its site": (lambda w: steer(head=1), ["head=", "site='z'"]),
        "a site without its head": (lambda w: steer(site="z"), ["head=", "None"]),
        "a head as text": (lambda w: steer(site="z", head="1"), ["head", "'1'"]),
        "a residual vector for a head": (
            lambda w: generated(w, ["a"], [steer(site="z", head=1)]),
            ["d_head 12", "got 48"],
        ),
    },
    "SubspaceSteer": {
        **of_act(lambda w, **k: emolib.SubspaceSteer(**{"layer": 1, "basis": np.eye(D)[:, :2], "target": [1, 2], **k})),
        "a basis that is a vector": (lambda w: emolib.SubspaceSteer(1, VECTOR, [1]), ["basis", "(48,)"]),
        "not orthonormal": (lambda w: emolib.SubspaceSteer(1, np.ones((D, 2)), [1, 2]), ["orthonormal"]),
        "a target too short": (lambda w: emolib.SubspaceSteer(1, np.eye(D)[:, :2], [1]), ["k = 2"]),
        "a target as text": (lambda w: emolib.SubspaceSteer(1, np.eye(D)[:, :1], "joy"), ["target", "'joy'"]),
        "alpha beyond reason": (lambda w: emolib.SubspaceSteer(1, np.eye(D)[:, :1], [1], 1e39), ["alpha", "1000"]),
        "a target beyond reason": (lambda w: emolib.SubspaceSteer(1, np.eye(D)[:, :1], [1e30]), ["1e+12", "1e+30"]),
        "alpha as text": (lambda w: emolib.SubspaceSteer(1, np.eye(D)[:, :1], [1], "1"), ["alpha", "'1'"]),
    },
    "AblateDirection": {
        **of_act(lambda w, **k: emolib.AblateDirection(**{"layer": 1, "direction": VECTOR, **k}), ["direction"]),
        "a centre too short": (lambda w: emolib.AblateDirection(1, VECTOR, VECTOR[:3]), ["center", "48", "3"]),
        "a centre as text": (lambda w: emolib.AblateDirection(1, VECTOR, "mean"), ["center", "'mean'"]),
        "an unknown site": (lambda w: emolib.AblateDirection(1, VECTOR, site="z"), ["site", "'z'"]),
    },
    "Clamp": {
        **of_act(lambda w, **k: emolib.Clamp(**{"layer": 1, "direction": VECTOR, "value": 1.0, **k}), ["direction"]),
        "no value": (lambda w: emolib.Clamp(1, VECTOR), ["Clamp", "'value'"]),
        "a value as text": (lambda w: emolib.Clamp(1, VECTOR, "1"), ["value", "'1'"]),
        "a value of NaN": (lambda w: emolib.Clamp(1, VECTOR, NAN), ["value", "nan"]),
        "an unknown site": (lambda w: emolib.Clamp(1, VECTOR, 1.0, site="z"), ["site", "'z'"]),
        "too short for the model": (lambda w: generated(w, ["a"], [emolib.Clamp(1, VECTOR[:5], 1)]), ["got 5"]),
    },
    "Cap": {
        **of_act(lambda w, **k: emolib.Cap(**{"layer": 1, "direction": VECTOR, "low": 1.0, **k}), ["direction"]),
        "no bound": (lambda w: emolib.Cap(1, VECTOR), ["low=", "high="]),
        "bounds the wrong way round": (lambda w: emolib.Cap(1, VECTOR, 2, 1), ["low 2", "high 1"]),
        "a bound as text": (lambda w: emolib.Cap(1, VECTOR, "1"), ["low", "'1'"]),
        "an infinite bound": (lambda w: emolib.Cap(1, VECTOR, high=INF), ["high", "inf"]),
    },
    "AblateHead": {
        **of_act(lambda w, **k: emolib.AblateHead(**{"layer": 1, "head": 2, **k})),
        "half a head": (lambda w: emolib.AblateHead(1, 1.5), ["head", "1.5"]),
        "a head as text": (lambda w: emolib.AblateHead(1, "2"), ["head", "'2'"]),
        "a negative head": (lambda w: generated(w, ["a"], [emolib.AblateHead(1, -2)]), ["head of 0-3", "-2"]),
        "an unknown way": (lambda w: emolib.AblateHead(1, 2, how="noise"), ["'noise'", "mean"]),
        "a way that is none": (lambda w: emolib.AblateHead(1, 2, how=None), ["ablation", "None"]),
        "a source for another way": (lambda w: emolib.AblateHead(1, 2, source=w.record), ["resample", "source"]),
        "a source that is none": (
            lambda w: emolib.AblateHead(1, 2, "resample", source=TEXTS),
            ["source", "record_heads"],
        ),
        "a source without the head": (lambda w: emolib.AblateHead(0, 0, "resample", source=w.record), ["1:2", "0:0"]),
        "a mean of NaN": (lambda w: emolib.AblateHead(1, 2, how="mean", mean=[NAN]), ["mean", "finite"]),
        "a mean of another width": (
            lambda w: generated(w, ["a"], [emolib.AblateHead(1, 2, how="mean", mean=[1.0])]),
            ["d_head 12", "got 1"],
        ),
        "a head too many": (lambda w: generated(w, ["a"], [emolib.AblateHead(1, 4)]), ["head of 0-3", "4"]),
    },
    "PatchHead": {
        **of_act(lambda w, **k: emolib.PatchHead(**{"layer": 1, "head": 2, "source": w.record, **k})),
        "a list of sources": (lambda w: emolib.PatchHead(1, 2, [w.record]), ["source", "record_heads", "list"]),
        "a text as source": (lambda w: emolib.PatchHead(1, 2, "Thank you"), ["source", "record_heads"]),
        "a head that was not recorded": (lambda w: emolib.PatchHead(1, 3, w.record), ["1:2", "1:3"]),
        "an unknown mode": (lambda w: emolib.PatchHead(1, 2, w.record, mode="kv"), ["'kv'", "v_only"]),
    },
    "Decay": {
        "no rate": (lambda w: emolib.Decay(), ["Decay", "'rate'"]),
        "rate 0": (lambda w: emolib.Decay(0), ["decay rate", "above 0"]),
        "rate 2": (lambda w: emolib.Decay(2), ["decay rate", "at most 1"]),
        "NaN": (lambda w: emolib.Decay(NAN), ["decay rate", "nan"]),
        "text": (lambda w: emolib.Decay("0.9"), ["decay rate", "'0.9'"]),
        "a truth": (lambda w: emolib.Decay(True), ["decay rate", "True"]),
    },
    "record_heads": {
        **texts_refused(lambda w, v: emolib.record_heads(w.lm, v, "1:2")),
        **model_refused(lambda v: emolib.record_heads(v, TEXTS, "1:2")),
        "heads in words": (lambda w: emolib.record_heads(w.lm, TEXTS, "first"), ["3:5", "'first'"]),
        "one pair": (lambda w: emolib.record_heads(w.lm, TEXTS, (1, 2)), ["pairs"]),
        "half a head": (lambda w: emolib.record_heads(w.lm, TEXTS, [(1, 2.5)]), ["pairs", "2.5"]),
        "no heads": (lambda w: emolib.record_heads(w.lm, TEXTS, []), ["pairs"]),
        "a number": (lambda w: emolib.record_heads(w.lm, TEXTS, 3), ["pairs", "3"]),
        "very many digits": (lambda w: emolib.record_heads(w.lm, TEXTS, "9" * 5000 + ":1"), ["3:5"]),
        "other digits": (lambda w: emolib.record_heads(w.lm, TEXTS, "\u0663:1"), ["3:5"]),
        "a head too many": (lambda w: emolib.record_heads(w.lm, TEXTS, "1:4"), ["head of 0-3"]),
        "batch size 0": (lambda w: emolib.record_heads(w.lm, TEXTS, "1:2", batch_size=0), ["batch_size"]),
        "a big batch": (lambda w: emolib.record_heads(w.lm, TEXTS, "1:2", batch_size="auto"), ["batch_size", "'auto'"]),
    },
    "patch_heads": {
        **model_refused(lambda v: emolib.patch_heads(v, "1:2", EMOTIONAL)),
        "heads in words": (lambda w: emolib.patch_heads(w.lm, "first", EMOTIONAL), ["3:5", "'first'"]),
        "a head too many": (lambda w: emolib.patch_heads(w.lm, "1:4", EMOTIONAL), ["head of 0-3"]),
        "the first of no ranking": (lambda w: emolib.patch_heads(w.lm, "top:2", EMOTIONAL), ["ranking", "'top:2'"]),
        "no data": (lambda w: emolib.patch_heads(w.lm, "1:2", None), ["data", "table"]),
        "a table without styles": (
            lambda w: emolib.patch_heads(w.lm, "1:2", EMOTIONAL.drop(columns="style")),
            ["no style"],
        ),
        "no texts": (lambda w: emolib.patch_heads(w.lm, "1:2", EMOTIONAL), ["split test", "texts="]),
        "settings as dict": (lambda w: emolib.patch_heads(w.lm, "1:2", EMOTIONAL, settings={}), ["settings"]),
    },
    "mean_head_output": {
        "no records": (lambda w: emolib.mean_head_output([], 1, 2), ["records"]),
        "one record": (lambda w: emolib.mean_head_output(w.record, 1, 2), ["records", "list"]),
        "texts": (lambda w: emolib.mean_head_output(TEXTS, 1, 2), ["records", "record_heads"]),
        "another head": (lambda w: emolib.mean_head_output([w.record], 1, 3), ["1:2"]),
        "a head as text": (lambda w: emolib.mean_head_output([w.record], "1", "2"), ["layer", "'1'"]),
    },
    "fit_emotion_vectors": {
        "a table": (lambda w: emolib.fit_emotion_vectors(w.data), ["extract_activations", "DataFrame"]),
        "an array": (lambda w: emolib.fit_emotion_vectors(np.ones((2, 3))), ["extract_activations", "ndarray"]),
        "an absent label": (lambda w: emolib.fit_emotion_vectors(w.acts, neutral="calm"), ["'calm'", "neutral"]),
        "a label of None": (lambda w: emolib.fit_emotion_vectors(w.acts, neutral=None), ["neutral", "None"]),
        "several labels": (lambda w: emolib.fit_emotion_vectors(w.acts, neutral=["neutral"]), ["neutral", "list"]),
        "bare texts": (lambda w: emolib.fit_emotion_vectors(emolib.extract_activations(w.lm, TEXTS)), ["neutral"]),
        "a label that is none": (
            lambda w: emolib.fit_emotion_vectors(
                emolib.extract_activations(w.lm, w.data.assign(emotion=["neutral", None] * 4))
            ),
            ["'emotion'", "text 1"],
        ),
        "whiten as text": (lambda w: emolib.fit_emotion_vectors(w.acts, whiten="yes"), ["whiten", "'yes'"]),
        "some layers": (
            lambda w: emolib.fit_emotion_vectors(emolib.extract_activations(w.lm, w.data, layers=[1])),
            ["every layer"],
        ),
        "a reference that is none": (lambda w: emolib.fit_emotion_vectors(w.acts, reference=w.data), ["reference"]),
        "covariates of another length": (
            lambda w: emolib.fit_emotion_vectors(w.acts, covariates=np.ones((3, 2))),
            ["8 rows", "covariates"],
        ),
        "covariates as text": (
            lambda w: emolib.fit_emotion_vectors(w.acts, covariates="length"),
            ["covariates", "'length'"],
        ),
    },
    "fit_subspaces": {
        "k by place": (lambda w: emolib.fit_subspaces(w.acts, 8), ["fit_subspaces", "positional", "k"]),
        "a table": (lambda w: emolib.fit_subspaces(w.data), ["extract_activations", "DataFrame"]),
        "k 0": (lambda w: emolib.fit_subspaces(w.acts, k=0), ["k", "at least 1"]),
        "k too large": (lambda w: emolib.fit_subspaces(w.acts, k=9), ["k from 1 to 4"]),
        "half a k": (lambda w: emolib.fit_subspaces(w.acts, k=1.5), ["k", "1.5"]),
        "k as text": (lambda w: emolib.fit_subspaces(w.acts, k="2"), ["k", "'2'"]),
        "no scenarios": (
            lambda w: emolib.fit_subspaces(emolib.extract_activations(w.lm, w.data.drop(columns="scenario")), k=1),
            ["'scenario'"],
        ),
        "two texts of one label in a scenario": (
            lambda w: emolib.fit_subspaces(emolib.extract_activations(w.lm, w.data.assign(scenario="lamp")), k=1),
            ["scenario", "'lamp'"],
        ),
    },
    "EmotionVectors": {
        "an unknown emotion": (lambda w: w.vecs["jpy"], ["'jpy'", "'joy'"]),
        "a number for an emotion": (lambda w: w.vecs[0], ["emotion", "0"]),
        "several emotions": (lambda w: w.vecs[["joy"]], ["emotion"]),
        "a layer too many": (lambda w: w.vecs["joy"][9], ["layer 9", "0-3"]),
        "a negative layer": (lambda w: w.vecs["joy"][-1], ["layer -1"]),
        "a layer as text": (lambda w: w.vecs["joy"]["1"], ["layer", "'1'"]),
        "half a layer": (lambda w: w.vecs["joy"][0.5], ["layer", "0.5"]),
        "a slice": (lambda w: w.vecs["joy"][0:2], ["layer", "slice"]),
    },
    "fit_alignment": {
        "a table": (lambda w: aligned(w, acts_a=w.data), ["acts_a", "extract_anchors", "DataFrame"]),
        "no splits": (lambda w: aligned(w, acts_b=w.acts), ["'split'", "acts_b"]),
        "one split": (lambda w: aligned(w, ["train"] * 8), ["validation", "give more texts"]),
        "an unknown split": (lambda w: aligned(w, ["fit"] * 8), ["'fit'", "train, validation, test"]),
        "a layer too deep": (lambda w: aligned(w, layer_b=9), ["layer 9"]),
        "a layer as text": (lambda w: aligned(w, layer_a="1"), ["layer_a", "'1'"]),
        "an unknown method": (lambda w: aligned(w, method="procrust"), ["did you mean 'procrustes'"]),
        "an unknown space": (lambda w: aligned(w, space="whitened"), ["space", "'whitened'"]),
        "rank 0": (lambda w: aligned(w, rank=0), ["rank", "at least 1"]),
        "a penalty of 0": (lambda w: aligned(w, penalty=0), ["penalty", "above 0"]),
        "a penalty of a rotation": (lambda w: aligned(w, method="procrustes", penalty=1.0), ["ridge alone"]),
        "layers left out": (lambda w: emolib.fit_alignment(w.acts, w.acts), ["fit_alignment", "layer_a"]),
    },
    "AlignmentMap": {
        "another layer's vector": (lambda w: aligned(w).map(w.vecs["joy"][2]), ["map begins at"]),
        "another width": (lambda w: aligned(w).map(np.ones(5)), ["48 dimensions"]),
        "a name": (lambda w: aligned(w).map("joy"), ["vector", "numbers"]),
        "NaN": (lambda w: aligned(w).map(np.full(D, NAN)), ["finite"]),
        "the share of nothing": (lambda w: aligned(w).kept(np.zeros(D)), ["other than zero"]),
        "the share of several": (lambda w: aligned(w).kept(np.ones((2, D))), ["one vector"]),
    },
    "Subspaces": {
        "an unknown emotion": (lambda w: w.subs["jpy"], ["'jpy'", "'joy'"]),
        "several emotions": (lambda w: w.subs[["joy"]], ["emotion"]),
        "k 0": (lambda w: w.subs["joy"][1].leading(0), ["k", "from 1 to 2"]),
        "half a k": (lambda w: w.subs["joy"][1].leading(1.5), ["k", "1.5"]),
    },
    "LayerVector": {
        "another layer's": (lambda w: w.vecs["joy"][1] + w.vecs["joy"][2], ["one model, layer"]),
        "a number added": (lambda w: w.vecs["joy"][1] + 3, ["LayerVector", "int"]),
        "an array compared": (lambda w: w.vecs["joy"][1].cosine(VECTOR), ["LayerVector", "ndarray"]),
        "times a text": (lambda w: w.vecs["joy"][1] * "2", ["factor", "'2'"]),
        "times NaN": (lambda w: NAN * w.vecs["joy"][1], ["factor", "nan"]),
        "two dimensions": (lambda w: emolib.LayerVector(VECTOR[None], "m", "r", 1, "last", 1.0), ["(1, 48)"]),
        "text values": (lambda w: emolib.LayerVector("joy", "m", "r", 1, "last", 1.0), ["real numbers", "'joy'"]),
        "half a layer": (lambda w: emolib.LayerVector(VECTOR, "m", "r", 1.5, "last", 1.0), ["layer", "1.5"]),
    },
    "Activations": {
        "an unknown site": (lambda w: w.acts.layer("mlp", 1), ["'mlp'", "mlp_out"]),
        "a layer as text": (lambda w: w.acts.layer("resid_pre", "1"), ["layer", "'1'"]),
        "a layer too many": (lambda w: w.acts.layer("mlp_out", 3), ["layer 3"]),
        "a mask too short": (lambda w: w.acts.where([True]), ["mask", "(1,)"]),
    },
    "HeadActivations": {"a head that was not recorded": (lambda w: w.record.check(0, 0), ["1:2", "0:0"])},
    "Generation": {
        "made of nothing is no prompt": (lambda w: generated(w, generated(w)), ["text 0", "Generation"]),
    },
    "LanguageModel": {
        "a message that is none": (lambda w: w.lm.in_chat_format(None), ["content", "None"]),
        "no chat format": (lambda w: w.lm.in_chat_format("Hello"), ["chat format"]),
    },
    "UserError": {"a long one stays short": (lambda w: (_ for _ in ()).throw(emolib.UserError("x" * 9999)), ["xxx"])},
    "screen_heads": {
        **model_refused(lambda v: emolib.screen_heads(v, pd.DataFrame())),
        "texts": (lambda w: emolib.screen_heads(w.lm, TEXTS), ["contrasts", "table", "list"]),
        "a data set": (lambda w: emolib.screen_heads(w.lm, w.data), ["contrasts", "prompt_with"]),
    },
    "residual_sweep": {
        "no layers": (lambda w: emolib.residual_sweep(w.lm, TEXTS, w.vecs), ["residual_sweep", "'layers'", "'alphas'"]),
        **texts_refused(lambda w, v: swept(w, v)),
        **model_refused(lambda v: emolib.residual_sweep(v, TEXTS, None, layers=[1], alphas=[1])),
        "a table without scenarios": (lambda w: swept(w, pd.DataFrame({"text": TEXTS})), ["'scenario'"]),
        "no prompts": (lambda w: swept(w, []), ["at least one prompt"]),
        "a dict of vectors": (lambda w: swept(w, vecs={"joy": VECTOR}), ["vecs", "fit_emotion_vectors", "dict"]),
        "one layer": (lambda w: swept(w, layers=1), ["layers", "list", "1"]),
        "layers as text": (lambda w: swept(w, layers="1-2"), ["layers", "'1-2'"]),
        "half a layer": (lambda w: swept(w, layers=[0.5]), ["layers[0]", "0.5"]),
        "a layer too many": (lambda w: swept(w, layers=[7]), ["layer 7"]),
        "one alpha": (lambda w: swept(w, alphas=0.4), ["alphas", "list", "0.4"]),
        "an alpha as text": (lambda w: swept(w, alphas=["0.4"]), ["alphas[0]", "'0.4'"]),
        "an alpha of NaN": (lambda w: swept(w, alphas=[0.1, NAN]), ["alphas[1]", "nan"]),
        "half a control": (lambda w: swept(w, n_controls=1.5), ["n_controls", "1.5"]),
        "negative controls": (lambda w: swept(w, n_controls=-1), ["n_controls", "-1"]),
        "controls as number": (lambda w: swept(w, controls=3), ["controls", "Controls", "3"]),
        "settings as dict": (lambda w: swept(w, settings={"window": 3}), ["settings", "SweepSettings", "dict"]),
        "an unknown unit": (lambda w: SweepSettings(unit="norm"), ["unit", "'norm'"]),
        "window 0": (lambda w: SweepSettings(window=0), ["window", "at least 1"]),
        "samples as text": (lambda w: SweepSettings(n_samples="3", temperature=1), ["n_samples", "'3'"]),
        "a seed of half": (lambda w: SweepSettings(seed=0.5), ["seed", "0.5"]),
        "a limit as text": (lambda w: SweepSettings(nll_limit="high"), ["nll_limit", "'high'"]),
        "half a count": (lambda w: Controls(1.5), ["count", "1.5"]),
        "one family": (lambda w: Controls(1, families="isotropic"), ["families", "'isotropic'", "list"]),
    },
    "score_texts": {
        "a backend by place": (
            lambda w: emolib.score_texts(TEXTS, "bundled"),
            ["score_texts", "positional", "backend"],
        ),
        **texts_refused(lambda w, v: emolib.score_texts(v)),
        "an unknown backend": (lambda w: emolib.score_texts(TEXTS, backend="bundle"), ["'bundle'", "'bundled'"]),
        "no backend": (lambda w: emolib.score_texts(TEXTS, backend=None), ["backend", "None"]),
        "no backends": (lambda w: emolib.score_texts(TEXTS, backend=[]), ["backend"]),
        "prompts alone": (lambda w: emolib.score_texts(TEXTS, prompts=TEXTS, backend=lengths), ["lm="]),
        "one prompt": (lambda w: emolib.score_texts(TEXTS, prompts="a", lm=w.lm, backend=lengths), ["prompts", "'a'"]),
        "a model's name": (
            lambda w: emolib.score_texts(TEXTS, prompts=TEXTS, lm="gpt2", backend=lengths),
            ["'gpt2'", "load_model"],
        ),
        "too few prompts": (
            lambda w: emolib.score_texts(TEXTS, prompts=["a"], lm=w.lm, backend=lengths, nll_limit=3),
            ["one prompt per text (2)", "got 1"],
        ),
        "a limit as text": (
            lambda w: emolib.score_texts(TEXTS, prompts=TEXTS, lm=w.lm, backend=lengths, nll_limit="3"),
            ["nll_limit", "'3'"],
        ),
        "a path as cache": (
            lambda w: emolib.score_texts(TEXTS, backend=lengths, cache="scores"),
            ["cache", "'scores'"],
        ),
        "an unknown device": (
            lambda w: emolib.score_texts(TEXTS, backend="encoder", device="gpu"),
            ["device", "'gpu'"],
        ),
        "a scorer that gives a number": (lambda w: emolib.score_texts(TEXTS, backend=len), ["scorer", "2 rows"]),
    },
    "effect_sizes": {
        "a metric by place": (lambda w: emolib.effect_sizes(w.sweep, ["score"]), ["effect_sizes", "metrics"]),
        "a list": (lambda w: emolib.effect_sizes([1, 2], metrics=["score"]), ["sweep", "table", "list"]),
        "one metric": (lambda w: emolib.effect_sizes(w.sweep, metrics="score"), ["metrics", "'score'", "list"]),
        "an unknown metric": (lambda w: emolib.effect_sizes(w.sweep, metrics=["scores"]), ["'scores'", "'score'"]),
        "no metrics": (lambda w: emolib.effect_sizes(w.sweep, metrics=[]), ["at least one metric"]),
        "an unknown direction": (
            lambda w: emolib.effect_sizes(w.sweep, metrics=["score"], direction="up"),
            ["direction", "'up'"],
        ),
        "half a resample": (
            lambda w: emolib.effect_sizes(w.sweep, metrics=["score"], n_resamples=99.5),
            ["n_resamples", "99.5"],
        ),
        "a seed as text": (lambda w: emolib.effect_sizes(w.sweep, metrics=["score"], seed="0"), ["seed", "'0'"]),
        "confidence in per cent": (
            lambda w: emolib.effect_sizes(w.sweep, metrics=["score"], confidence=95),
            ["confidence", "below 1", "95"],
        ),
        "unknown resamples": (
            lambda w: emolib.effect_sizes(w.sweep, metrics=["score"], resamples="bca"),
            ["resamples", "'bca'"],
        ),
        "success that is none": (
            lambda w: emolib.effect_sizes(w.sweep, metrics=["score"], success="broken"),
            ["success", "'broken'"],
        ),
        "an unknown p": (lambda w: emolib.effect_sizes(w.sweep, metrics=["score"], p="p"), ["'p'", "column"]),
        "alphas of text": (
            lambda w: emolib.effect_sizes(w.sweep.assign(alpha="much"), metrics=["score"]),
            ["'alpha'", "numbers"],
        ),
        "lists for emotions": (
            lambda w: emolib.effect_sizes(w.sweep.assign(emotion=[["joy"]] * 12), metrics=["score"]),
            ["'emotion'", "['joy']"],
        ),
        "success that gives nothing": (
            lambda w: emolib.effect_sizes(
                w.sweep.rename(columns={"score": "target/joy"}),
                metrics=["target/joy"],
                success=lambda table, metric: None,
            ),
            ["success", "one number per row"],
        ),
        "p as number": (lambda w: emolib.effect_sizes(w.sweep, metrics=["score"], p=0.05), ["p", "0.05"]),
        "an unknown family": (
            lambda w: emolib.effect_sizes(w.sweep, metrics=["score"], family="metrics"),
            ["'metrics'", "column"],
        ),
        "a metric of texts": (
            lambda w: emolib.effect_sizes(w.sweep.assign(score="high"), metrics=["score"]),
            ["'score'", "numbers"],
        ),
        "differences as text": (lambda w: paired_effects([["a"]]), ["numbers"]),
        "one difference": (lambda w: bootstrap_mean([0.5]), ["at least 2"]),
    },
    "with_kl_lengths": {
        "no model": (lambda w: emolib.with_kl_lengths("gpt2", w.vecs, [1], TEXTS, CONTINUED), ["load_model", "'gpt2'"]),
        "no vectors": (lambda w: emolib.with_kl_lengths(w.lm, w.acts, [1], TEXTS, CONTINUED), ["fit_emotion_vectors"]),
        "a layer too deep": (lambda w: emolib.with_kl_lengths(w.lm, w.vecs, [99], TEXTS, CONTINUED), ["layers", "99"]),
        "a layer as number": (lambda w: emolib.with_kl_lengths(w.lm, w.vecs, 1, TEXTS, CONTINUED), ["layers"]),
        "a text too few": (lambda w: emolib.with_kl_lengths(w.lm, w.vecs, [1], TEXTS, []), ["continuation per prompt"]),
        "ids as text": (
            lambda w: emolib.with_kl_lengths(w.lm, w.vecs, [1], TEXTS, ["abcd"] * len(TEXTS)),
            ["token ids"],
        ),
    },
    "continuation_shift": {
        "no model": (lambda w: emolib.continuation_shift("gpt2", TEXTS, TEXTS), ["load_model", "'gpt2'"]),
        "one text": (lambda w: emolib.continuation_shift(w.lm, TEXTS, TEXTS[0]), ["list"]),
        "a text too few": (lambda w: emolib.continuation_shift(w.lm, TEXTS, TEXTS[:-1]), ["one text per prompt"]),
        "acts that are none": (lambda w: emolib.continuation_shift(w.lm, TEXTS, TEXTS, ["x"] * len(TEXTS)), ["'x'"]),
    },
    "write_vectors": {
        "no vectors": (lambda w: emolib.write_vectors("joy", w.folder / "a.gguf"), ["fit_emotion_vectors", "'joy'"]),
        "all emotions": (lambda w: emolib.write_vectors(w.vecs, w.folder / "a.gguf"), ["vecs['gratitude']"]),
        "another ending": (lambda w: emolib.write_vectors(w.vecs["joy"], w.folder / "a.bin"), [".gguf", "a.bin"]),
        "a path as number": (lambda w: emolib.write_vectors(w.vecs["joy"], 3), ["path", "3"]),
        "a folder that is a file": (
            lambda w: emolib.write_vectors(w.vecs["joy"], written(w) / "a.gguf"),
            ["folder"],
        ),
        "layers before the first": (
            lambda w: emolib.write_vectors(w.vecs["joy"], w.folder / "a.gguf", layers=[1]),
            ["layers", "got 1"],
        ),
        "layers as text": (
            lambda w: emolib.write_vectors(w.vecs["joy"], w.folder / "a.gguf", layers="2-3"),
            ["layers", "'2-3'"],
        ),
        "a hint as number": (
            lambda w: emolib.write_vectors(w.vecs["joy"], w.folder / "a.gguf", model_hint=2),
            ["model_hint", "2"],
        ),
        "means of another shape": (
            lambda w: emolib.write_vectors(w.vecs["joy"], w.folder / "a.gguf", neutral_means=VECTOR),
            ["neutral_means", "[48]"],
        ),
        "a strength as text": (
            lambda w: emolib.write_vectors(w.vecs["joy"], w.folder / "a.gguf", strength="1"),
            ["strength", "'1'"],
        ),
    },
    "read_vectors": {
        "no file": (lambda w: emolib.read_vectors(w.folder / "none.gguf"), ["none.gguf", "no such file"]),
        "a path as number": (lambda w: emolib.read_vectors(3), ["path", "3"]),
        "a folder": (lambda w: emolib.read_vectors(w.folder), ["file"]),
        "a label as number": (lambda w: emolib.read_vectors(written(w), label=3), ["label", "3"]),
        "a model's name": (lambda w: emolib.read_vectors(written(w), lm="gpt2"), ["load_model", "'gpt2'"]),
    },
    "verify_run": {
        "no run": (lambda w: emolib.verify_run(None), ["run", "phase9", "NoneType"]),
        "a profile's name": (lambda w: emolib.verify_run("quick"), ["run", "phase9", "str"]),
    },
    "open_run": {
        "no profile": (lambda w: emolib.open_run(None), ["profile", "None"]),
        "a profile as number": (lambda w: emolib.open_run(3), ["profile", "3"]),
        "a loaded model": (lambda w: emolib.open_run("quick", w.lm), ["model", "LanguageModel"]),
        "a phase as number": (lambda w: emolib.open_run("quick", LOADED, 5), ["phase", "5"]),
        "an unknown phase": (lambda w: emolib.open_run("quick", LOADED, "phase55"), ["'phase55'", "phase5"]),
        "an unknown parameter": (lambda w: emolib.open_run("quick", phase="phase5", alphs=[1]), ["'alphs'", "alphas"]),
        "force as text": (lambda w: emolib.open_run("quick", force="no"), ["force", "'no'"]),
        "a parameter of another kind": (lambda w: emolib.open_run("quick", phase="phase5", window="wide"), ["window"]),
    },
    "open_confirmation": {
        "no model": (lambda w: emolib.open_confirmation(None, "x.jsonl"), ["model", "None"]),
        "no file": (lambda w: emolib.open_confirmation(LOADED), ["a sealed file at ''", "no such file"]),
        "a table": (lambda w: emolib.open_confirmation(LOADED, TEXTS), ["sealed", "list"]),
        "an unknown parameter": (lambda w: emolib.open_confirmation(LOADED, "x", alphas=[1]), ["'alphas'"]),
        "force as text": (lambda w: emolib.open_confirmation(LOADED, "x", force="no"), ["force", "'no'"]),
    },
    "notebook_parameters": {
        "no namespace": (lambda w: emolib.notebook_parameters(None), ["globals()", "None"]),
        "a list": (lambda w: emolib.notebook_parameters(["layers"]), ["globals()", "list"]),
        "overrides that are none": (
            lambda w: emolib.notebook_parameters({"In": ['emolib.open_run(p, m, "phase5")'], "overrides": [1]}),
            ["overrides", "list"],
        ),
    },
}
CASES = [(name, case) for name, cases in WRONG.items() for case in cases]


def test_every_public_name_has_a_row() -> None:
    assert set(WRONG) == set(emolib.__all__)


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}: {case}" for name, case in CASES])
def test_a_mistake_is_told_in_one_line(world: World, name: str, case: str) -> None:
    call, says = WRONG[name][case]
    refused_call(lambda: call(world), says)


# what means the same


def same_texts(w: World, prompts: Any, **changed: Any) -> tuple[Any, Any]:
    return [out.token_ids for out in generated(w, prompts, **changed)], [out.token_ids for out in generated(w)]


def same_act(act: Any, plain: Any) -> tuple[Any, Any]:
    return act.fingerprint(), plain.fingerprint()


def loaded_with(**given: Any) -> Any:
    """What `load_model` makes of its arguments, before anything is read."""
    from emolib.models.devices import pick_device, pick_dtype

    return pick_dtype(given["dtype"]) if "dtype" in given else pick_device(given["device"])


RIGHT: dict[str, Callable[[World], tuple[Any, Any]]] = {
    "texts as tuple": lambda w: same_texts(w, tuple(TEXTS)),
    "texts as generator": lambda w: same_texts(w, (text for text in TEXTS)),
    "texts as array of str": lambda w: same_texts(w, np.array(TEXTS)),
    "texts as array of objects": lambda w: same_texts(w, np.array(TEXTS, dtype=object)),
    "texts as Series": lambda w: same_texts(w, pd.Series(TEXTS, index=[7, 3])),
    "texts as Index": lambda w: same_texts(w, pd.Index(TEXTS)),
    "texts as dict's values": lambda w: same_texts(w, dict(enumerate(TEXTS)).values()),
    "a prompt is a plain str": lambda w: (type(generated(w, np.array(TEXTS))[0].prompt), str),
    "tokens as np.int64": lambda w: same_texts(w, TEXTS, max_new_tokens=np.int64(2)),
    "tokens as 2.0": lambda w: same_texts(w, TEXTS, max_new_tokens=2.0),
    "tokens as a tensor": lambda w: same_texts(w, TEXTS, max_new_tokens=torch.tensor(2)),
    "temperature as np.float32": lambda w: same_texts(w, TEXTS, temperature=np.float32(0)),
    "batch size as np.int32": lambda w: same_texts(w, TEXTS, batch_size=np.int32(1)),
    "batch size as 1.0": lambda w: same_texts(w, TEXTS, batch_size=1.0),
    "use_cache as np.bool": lambda w: same_texts(w, TEXTS, use_cache=np.True_),
    "acts as generator": lambda w: same_texts(w, TEXTS, interventions=(None for _ in TEXTS)),
    "acts as tuple": lambda w: same_texts(w, TEXTS, interventions=(None, None)),
    "no texts": lambda w: (generated(w, []), []),
    "seeds as array": lambda w: (
        [out.seed for out in generated(w, temperature=1, seeds=np.array([3, 4]))],
        [3, 4],
    ),
    "seeds as whole floats": lambda w: (
        [out.token_ids for out in generated(w, temperature=1, seeds=[3.0, 4.0])],
        [out.token_ids for out in generated(w, temperature=1, seeds=[3, 4])],
    ),
    "decoding with fields": lambda w: same_texts(w, TEXTS, decoding=Decoding(30), max_new_tokens=np.int8(2)),
    "decoding's numbers": lambda w: (dataclasses.astuple(Decoding(np.int64(3), 1, Decimal("0.5"))), (3, 1.0, 0.5)),
    "a layer as np.int64": lambda w: same_act(steer(layer=np.int64(1)), steer()),
    "a layer as 1.0": lambda w: same_act(steer(layer=1.0), steer()),
    "layer 1.0 is 1": lambda w: (repr(steer(layer=1.0).layer), "1"),
    "a vector as list": lambda w: same_act(steer(vector=VECTOR.tolist()), steer()),
    "a vector as Series": lambda w: same_act(steer(vector=pd.Series(VECTOR)), steer()),
    "a vector as tensor": lambda w: same_act(steer(vector=torch.tensor(VECTOR, requires_grad=True)), steer()),
    "a vector of doubles": lambda w: same_act(steer(vector=torch.tensor(VECTOR, dtype=torch.float64)), steer()),
    "a vector of whole numbers": lambda w: (steer(vector=torch.arange(D)).delta()[-1], 23.5),
    "a vector of bfloat16": lambda w: (steer(vector=torch.ones(D, dtype=torch.bfloat16)).delta()[0], 0.5),
    "a sparse vector": lambda w: (steer(vector=torch.eye(D)[0].to_sparse()).delta()[:2].tolist(), [0.5, 0.0]),
    "alpha as a tensor": lambda w: same_act(steer(alpha=torch.tensor(0.5)), steer()),
    "alpha as np.float32": lambda w: same_act(steer(alpha=np.float32(0.5)), steer()),
    "a window of 3.0": lambda w: same_act(steer(window=3.0), steer()),
    "a schedule as array": lambda w: same_act(steer(schedule=np.array([1.0, 0.5])), steer(schedule=(1, 0.5))),
    "a head as np.int64": lambda w: same_act(emolib.AblateHead(np.int8(1), np.int64(2)), emolib.AblateHead(1, 2)),
    "a rate as np.float64": lambda w: (emolib.Decay(np.float64(0.5)), emolib.Decay(0.5)),
    "heads as arrays": lambda w: (list(emolib.record_heads(w.lm, TEXTS[:1], np.array([[1, 2]]))[0].z), [(1, 2)]),
    "heads with blanks": lambda w: (list(emolib.record_heads(w.lm, TEXTS[:1], "1:2, 0:1")[0].z), [(1, 2), (0, 1)]),
    "records as tuple": lambda w: (
        emolib.mean_head_output((w.record,), np.int64(1), 2.0).tolist(),
        w.record.z[1, 2][1:].mean(0).tolist(),
    ),
    "layers as array": lambda w: (
        emolib.extract_activations(w.lm, TEXTS, layers=np.array([2, 0])).layer_numbers,
        (0, 2),
    ),
    "layers as set": lambda w: (emolib.extract_activations(w.lm, TEXTS, layers={2, 0}).layer_numbers, (0, 2)),
    "layers as range": lambda w: (emolib.extract_activations(w.lm, TEXTS, layers=range(4)).layer_numbers, (0, 1, 2, 3)),
    "layers as range of floats": lambda w: (emolib.extract_activations(w.lm, TEXTS, layers=[1.0]).layer_numbers, (1,)),
    "sites as list": lambda w: (list(emolib.extract_activations(w.lm, TEXTS, sites=["z"]).values), ["resid_pre", "z"]),
    "a Series for a data set": lambda w: (
        emolib.extract_activations(w.lm, w.data["text"]).values["resid_pre"].tolist(),
        w.acts.values["resid_pre"].tolist(),
    ),
    "a table of texts alone": lambda w: (
        emolib.extract_activations(w.lm, THANKS, positions="trigger").texts["emotion"].tolist(),
        ["unlabelled"],
    ),
    "a layer by np.int64": lambda w: (w.vecs["joy"][np.int64(1)].layer, 1),
    "an emotion by np.str_": lambda w: (w.vecs[np.str_("joy")][1].layer, 1),
    "k as 2.0": lambda w: (emolib.fit_subspaces(w.acts, k=2.0).k, 2),
    "a factor of np.float64": lambda w: (
        (np.float64(2) * w.vecs["joy"][1].values).tolist(),
        (w.vecs["joy"][1] * 2).values.tolist(),
    ),
    "a LayerVector of a list": lambda w: (emolib.LayerVector([3, 4], "m", "r", 1, "last", 1.0).norm, 5.0),
    "a sweep's numbers": lambda w: (
        swept(w, backend=lengths, layers=np.array([1]), alphas=np.array([0.4]), n_controls=np.int64(1))[
            "text"
        ].tolist(),
        swept(w, backend=lengths, layers=[1], alphas=[0.4], n_controls=1)["text"].tolist(),
    ),
    "settings' numbers": lambda w: (SweepSettings(window=np.int64(2), seed=1.0), SweepSettings(window=2, seed=1)),
    "settings of profiles": lambda w: (SweepSettings(schedule=0.9).factors(), emolib.Decay(0.9)),
    "texts to score as Series": lambda w: (
        emolib.score_texts(pd.Series(TEXTS), backend=lengths)["length"].tolist(),
        [16, 14],
    ),
    "an empty text to score": lambda w: (emolib.score_texts([""], backend=lengths)["length"].tolist(), [0]),
    "a Scorer": lambda w: (emolib.score_texts(["abc"], backend=Scorer("mine", None, lengths))["length"].tolist(), [3]),
    "metrics as tuple": lambda w: (
        emolib.effect_sizes(w.sweep, metrics=("score",), n_resamples=np.int64(99))["mean"].tolist(),
        emolib.effect_sizes(w.sweep, metrics=["score"], n_resamples=99.0)["mean"].tolist(),
    ),
    "number types": lambda w: (
        [loaded_with(dtype=name) for name in ("fp16", "half", "torch.float16", torch.float16, "bf16", "fp32")],
        ["float16"] * 4 + ["bfloat16", "float32"],
    ),
    "a torch device": lambda w: (loaded_with(device=torch.device("cpu")), "cpu"),
    "a dataset's path": lambda w: (
        len(emolib.load_dataset(Path("data/emotion_dataset.jsonl"))),
        len(emolib.load_dataset()),
    ),
    "a run's numbers": lambda w: (
        emolib.open_run("quick", phase="phase5", window=np.int64(2), alphas=np.array([0.1])).params.window,
        2,
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_means_the_same_gives_the_same(world: World, name: str) -> None:
    given, expected = RIGHT[name](world)
    assert given == expected


def test_a_model_of_another_kind_is_told_from_one_that_was_copied(world: World) -> None:
    assert arguments.instance("lm", replace(world.lm), LanguageModel, "load_model").spec == world.lm.spec


def test_a_fault_within_a_function_stays_a_fault() -> None:
    @told
    def broken(number: int) -> int:
        return number + "one"

    with pytest.raises(TypeError, match="unsupported operand"):
        broken(1)
    refused_call(lambda: broken(number=1, other=2), ["'other'", "broken", "number"])


@pytest.mark.parametrize("name", sorted(set(emolib.__all__) - MADE_BY_THE_LIBRARY))
def test_calls_that_do_not_fit_a_signature_are_told(name: str) -> None:
    says = "'lm' and 'prompts'" if name == "generate" else "'no_such_argument'"  # generate takes names of Decoding, too
    refused_call(lambda: getattr(emolib, name)(no_such_argument=1), [says])
