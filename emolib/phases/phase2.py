"""Phase 2: activations of the training, validation and test texts.

Needs the data set and the model. Makes `activations/<model>_last.safetensors` and `…_mean.safetensors`.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from emolib import store
from emolib.activations import Activations
from emolib.extraction import POSITIONS, extract_positions
from emolib.phases.run import Run
from emolib.phases.scores import with_targets

N_SHUFFLES = 1000


def texts(run: Run) -> pd.DataFrame:
    """The profile's scenarios of every split, and the explicit training scenarios for steering vectors."""
    parts = [run.texts(split) for split in ("train", "validation", "test")]
    explicit = run.data[(run.data["split"] == "train") & (run.data["style"] == "explicit")]
    if explicit["scenario"].nunique() >= run.params.n_train:
        parts.append(run.texts("train", style="explicit"))
    return pd.concat(parts).drop_duplicates("id").reset_index(drop=True)


def activations(run: Run, position: str) -> Activations:
    """The activations at one position, found or computed (both positions in one pass over the texts)."""
    wanted = texts(run)
    matched = {"texts": store.digest(wanted.to_dict("list")), "sites": list(run.params.sites)}
    fresh: dict[str, Activations] = {}

    def compute(name: str) -> bytes:
        if not fresh:
            run.progress.begin("activations", len(wanted))
            fresh.update(
                extract_positions(
                    run.lm,
                    wanted,
                    sites=run.params.sites,
                    positions=POSITIONS,
                    batch_size=run.params.extraction_batch,
                    on_batch=lambda done: run.progress.advance(done - run.progress.done),
                )
            )
        return store.tensor_bytes(fresh[name].tensors())

    for name in POSITIONS:
        run.obtain(run.paths.activations(name), {**matched, "position": name}, lambda name=name: compute(name))
    lengths = wanted.assign(n_tokens=_token_counts(run, wanted))
    with store.open_tensors(run.paths.activations(position)) as view:
        return Activations.from_tensors(
            view, lengths, position=position, model=run.lm.spec.name, revision=run.lm.revision
        )


def _token_counts(run: Run, wanted: pd.DataFrame) -> list[int]:
    return [len(row) for row in run.lm.tokenizer(wanted["text"].tolist()).input_ids]


def shape_table(acts: Activations) -> pd.DataFrame:
    """Site, layers, texts, d_model and MiB of what is stored."""
    rows = [
        {"site": site, "layers": v.shape[0], "texts": v.shape[1], "d_model": v.shape[2], "MiB": v.nbytes / 2**20}
        for site, v in acts.values.items()
    ]
    return pd.DataFrame(rows)


def norm_correlations(run: Run, acts: Activations) -> pd.DataFrame:
    """Spearman correlation, over the texts, of the mean token norm at the layer where it is strongest with each score.

    The text's length is among the scores, as what else the norm may follow. `null` is the 97.5th percentile of the
    same maximum over layers when the scores are shuffled between texts.
    """
    scored = with_targets(run.scored(acts.texts), run.emotions)
    columns = {"n_tokens": acts.texts["n_tokens"].to_numpy()}
    named = [*(f"target/{e}" for e in run.emotions), "valence", "politeness/score"]
    columns |= {name: scored[name].to_numpy() for name in named if name in scored}
    inner = [slice(start + 1, stop) for start, stop in itertools.pairwise(acts.offsets)]  # the first token left out
    norms = np.stack([[layer[part].mean() for part in inner] for layer in acts.token_norms])
    ranked = _standard(rankdata(norms, axis=1))
    rng = np.random.default_rng(run.params.seed)
    rows = []
    for name, values in columns.items():
        score = _standard(rankdata(values)[None])[0]
        found = ranked @ score
        best = int(np.argmax(np.abs(found)))
        by_chance = np.abs(ranked @ rng.permuted(np.tile(score, (N_SHUFFLES, 1)), axis=1).T).max(axis=0)
        row = {"score": name, "n": len(values), "layer": best, "strongest": float(found[best])}
        rows.append({**row, "null": float(np.quantile(by_chance, 0.975)), "median": float(np.median(found))})
    return pd.DataFrame(rows)


def _standard(rows: np.ndarray) -> np.ndarray:
    """Rows of mean 0 and length 1, so that a product of two is their correlation."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(float).tiny)


def norm_shares(acts: Activations, *, largest: tuple[int, ...] = (1, 3, 10)) -> pd.DataFrame:
    """Per layer: the median residual norm, the first token's, and the share of ‖h‖² in the largest dimensions."""
    first = acts.token_norms[:, acts.offsets[:-1]]
    energy = (acts.values["resid_pre"] ** 2).mean(axis=1)
    ordered = -(-energy).copy()
    ordered.sort(axis=1)
    ordered = ordered[:, ::-1]
    table = pd.DataFrame(
        {
            "layer": range(acts.n_layers + 1),
            "median_norm": acts.median_norms(),
            "first_token_norm": pd.Series(list(first)).map(lambda row: float(pd.Series(row).median())),
        }
    )
    for count in largest:
        table[f"top{count}_share"] = ordered[:, :count].sum(axis=1) / ordered.sum(axis=1)
    return table
