"""Activations of the companions: further labels on some of the data set's training scenarios.

Makes `companions/<model>/`, laid out as Phase 2's activations, and `embedding_mean.safetensors` beside them.
`n_geometry` and `n_train` say how many scenarios are taken (profile `quick`: 909 texts in one pass, 1.8 times those of
its Phase 2; `baseline_smoke`: 132).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from emolib.base import store, tensor_files
from emolib.data import companions as companion_file
from emolib.data.activations import TEXTS, Activations, StoredActivations, layer_file
from emolib.data.dataset import select_scenarios
from emolib.engine.embeddings import mean_embeddings
from emolib.engine.observation import places_of
from emolib.engine.stored_extraction import texts_with_tokens
from emolib.study.phase2_activations import NORMS, obtain_layers
from emolib.study.run import Run, kept

SETS = ("fifteen", "five")
POSITIONS = ("mean", "last")


@kept
def chosen(run: Run, kind: str) -> pd.DataFrame | None:
    """The texts of the training scenarios that are taken, the data set's own labels and the companions'.

    Args:
        kind: `fifteen`: all labels on `n_geometry` scenarios; `five`: the labels of like valence on `n_train`.

    Returns:
        One row per text; None where the data set is another than the companions'.
    """
    found = _companions(run)
    if found is None:
        return None
    texts = companion_file.joined(run.data, found, kind)
    wanted = run.params.n_geometry if kind == "fifteen" else run.params.n_train
    train = texts[texts["split"] == "train"]
    whole = train.groupby("scenario")["emotion"].nunique() == texts["emotion"].nunique()
    return select_scenarios(texts, "train", min(wanted, int(whole.sum())))


@kept
def _companions(run: Run) -> pd.DataFrame | None:
    return companion_file.companions_of(run.data)


@kept
def texts(run: Run) -> pd.DataFrame | None:
    """Every text of both choices, once."""
    parts = [chosen(run, kind) for kind in SETS]
    known = [part for part in parts if part is not None]
    return pd.concat(known).drop_duplicates("id").reset_index(drop=True) if known else None


def activations(run: Run, kind: str, position: str = "mean") -> Activations:
    """The residual stream of the texts of one choice at every layer, found or computed."""
    whole = _activations(run, position)
    wanted = chosen(run, kind)
    assert wanted is not None, "whoever asks has looked whether there are companions"
    return whole.where(whole.texts["id"].isin(set(wanted["id"])))


@kept
def _activations(run: Run, position: str) -> Activations:
    _ensure(run)
    layers = range(run.lm.n_layers + 1)  # by their numbers: a deeper model of this name may have left more
    return StoredActivations(run.paths.companion_activations(), position).read(sites=("resid_pre",), layers=layers)


def _ensure(run: Run) -> None:
    wanted = texts(run)
    assert wanted is not None, "whoever asks has looked whether there are companions"
    folder, params = run.paths.companion_activations(), run.params
    run.artifacts.table(folder / TEXTS, {"texts": digest(run)}, lambda: texts_with_tokens(run.lm, wanted))
    places = places_of(run.lm, ("resid_pre",))
    named = {layer_file(folder, position, *place): (position, *place) for position in POSITIONS for place in places}

    def matched(part: tuple[str, str, int]) -> dict[str, Any]:
        position, site, layer = part
        values = {"texts": digest(run), "position": position, "site": site, "layer": layer, "storage": params.storage}
        return values | {"norms": NORMS}

    obtain_layers(run, wanted, folder, {path: (part, matched(part)) for path, part in named.items()}, step="companions")


@kept
def embedding(run: Run, kind: str) -> np.ndarray:
    """The mean token embedding of the texts of one choice `[text, d_model]`, in the order of `activations`."""
    wanted = texts(run)
    assert wanted is not None, "whoever asks has looked whether there are companions"

    def compute() -> bytes:
        return tensor_files.tensor_bytes({"values": mean_embeddings(run.lm, wanted["text"].tolist())})

    path = run.paths.companion_activations() / "embedding_mean.safetensors"
    run.artifacts.obtain(path, {"texts": digest(run)}, compute)
    with tensor_files.open_tensors(path) as view:
        values = view.get_tensor("values")
    part = chosen(run, kind)
    assert part is not None
    return values[wanted["id"].isin(set(part["id"])).to_numpy()]


@kept
def digest(run: Run) -> str:
    """Of the texts with everything that is said about them."""
    wanted = texts(run)
    return store.digest([] if wanted is None else wanted.fillna("").to_dict("list"))


@kept
def inputs(run: Run, kind: str) -> dict[str, Any]:
    """What tables about one choice are made from: the stored residuals, the embedding, and which texts they are."""
    _ensure(run)
    embedding(run, kind)
    folder = run.paths.companion_activations()
    made = {str(path.relative_to(folder)): sha for path, sha in run.artifacts.made.items() if folder in path.parents}
    part = chosen(run, kind)
    assert part is not None
    ids = store.digest(part["id"].tolist())
    return {"activations": store.digest(made), "texts": ids, "labels": digest(run), "neutral": run.params.neutral}
