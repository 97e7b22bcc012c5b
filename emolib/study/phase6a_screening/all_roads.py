"""Phase 6a's roads over all heads, and the heads that are selected."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.circuits.contrasts import UNIT
from emolib.circuits.control_heads import against_controls, change_norms, matched_heads
from emolib.circuits.direct_writes import direct_writes
from emolib.circuits.screening import (
    Exact,
    Head,
    exact_changes,
    head_scores,
    selected,
    single_heads,
    split_half,
)
from emolib.models.tokens import encode
from emolib.study.phase3_vectors import fitting
from emolib.study.phase6a_screening.contrast_design import contrasts, digest_of, in_turn, kept_table, layers
from emolib.study.run import Run, kept

LARGE = 500_000  # bytes of the first study's JSON, from which on it is packed


@kept
def writes(run: Run) -> pd.DataFrame:
    """Road (i) on the test texts; as `emolib.circuits.direct_writes.direct_writes`."""
    position, params = run.params.vector_position, run.params
    texts = run.texts("test").reset_index(drop=True)
    matched = {"texts": digest_of(texts[["id", "text"]]), "n_null": params.n_null, **fitting.inputs(run, position)}

    def compute() -> pd.DataFrame:
        vecs, train = fitting.vectors(run, position), fitting.training(run, position)
        given = {"neutral": params.neutral, "n_null": params.n_null, "seed": params.seed}
        found = direct_writes(run.lm, texts, vecs, train, **given)
        return found[found["layer"].isin(layers(run))].reset_index(drop=True)

    return kept_table(run, "direct", matched, compute)


@kept
def ranked(run: Run) -> Exact:
    """Resample ablation of every head on the validation contrasts in turn: by this heads are selected."""
    return kept_exact(run, "exact_validation", in_turn(run, "validation"), single_heads(run.lm, layers(run)))


@kept
def ranking(run: Run) -> pd.DataFrame:
    """`screening.head_scores` of it, emotions together: the order from which Phase 6b's `top:N` takes its heads."""
    exact = ranked(run)
    matched = {"changes": digest_of(pd.DataFrame(exact.changes)), "contrasts": digest_of(exact.units)}
    return kept_table(run, "ranking", matched, lambda: head_scores(exact, emotions=[], seed=run.params.seed))


@kept
def norms(run: Run) -> np.ndarray:
    """`[layer, head]`, how much the ablation of each head changes of the stream, on the validation contrasts in turn;
    NaN in layers that are not screened."""
    table = in_turn(run, "validation")

    def compute() -> pd.DataFrame:
        found = change_norms(run.lm, table)
        at, heads = (index.ravel() for index in np.indices(found.shape))
        whole = pd.DataFrame({"layer": at, "head": heads, "norm": found.ravel()})
        return whole[whole["layer"].isin(layers(run))].reset_index(drop=True)

    stored = kept_table(run, "norms", {"contrasts": digest_of(table)}, compute)
    found = np.full((run.lm.n_layers, run.lm.n_heads), np.nan)
    found[stored["layer"].to_numpy(), stored["head"].to_numpy()] = stored["norm"].to_numpy()
    return found


@kept
def controls(run: Run) -> dict[Head, Head]:
    """Of every selected head a random one of its layer and norm."""
    return matched_heads(selected(ranking(run), run.params.n_top), norms(run), seed=run.params.seed)


@kept
def selection(run: Run) -> tuple[tuple[Head, ...], tuple[Head, ...]]:
    """The heads whose ablation takes most of the effect on validation scenarios (by t over scenarios), and their
    controls."""
    return tuple(selected(ranking(run), run.params.n_top)), tuple(controls(run).values())


def controlled(run: Run) -> pd.DataFrame:
    """The selected heads beside their controls on the test contrasts in turn, as `control_heads.against_controls`."""
    return against_controls(all_heads(run), controls(run), norms(run), seed=run.params.seed)


def kept_exact(run: Run, name: str, table: pd.DataFrame, variants: Sequence[Sequence[Head]], **more: Any) -> Exact:
    """Exact ablations, stored as one row per contrast and variant."""
    kind = more.get("kind", "resample")
    acts = more.get("acts")

    def compute() -> pd.DataFrame:
        found = exact_changes(run.lm, table, variants, kind=kind, acts=acts)
        numbers = np.arange(len(variants))
        rows = found.units[[*UNIT, "base"]].loc[np.repeat(found.units.index, len(variants))].reset_index(drop=True)
        heads = [",".join(f"{a}:{b}" for a, b in variant) for variant in variants]
        return rows.assign(
            kind=kind,
            variant=np.tile(numbers, len(found.units)),
            heads=np.tile(np.array(heads, dtype=object), len(found.units)),
            change=found.changes.ravel(),
        )

    matched = {"contrasts": digest_of(table), "variants": [list(map(list, one)) for one in variants], "kind": kind}
    if acts is not None:
        matched["acts"] = [act.fingerprint() for act in acts.values()]
    stored = kept_table(run, name, matched, compute)
    base = stored["base"].to_numpy().reshape(len(table), -1)[:, 0]
    changes = stored["change"].to_numpy().reshape(len(table), -1)
    return Exact(table.reset_index(drop=True).assign(base=base), tuple(map(tuple, variants)), changes, kind)


@kept
def all_heads(run: Run) -> Exact:
    """Resample ablation of every head on the test contrasts in turn."""
    return kept_exact(run, "exact_all", in_turn(run), single_heads(run.lm, layers(run)))


@kept
def scores(run: Run) -> pd.DataFrame:
    """`screening.head_scores` of all heads, emotions together; and `head_scores_<model>.json` beside it, packed by gzip
    where it is large."""
    exact = all_heads(run)
    matched = {"changes": digest_of(pd.DataFrame(exact.changes)), "contrasts": digest_of(exact.units)}
    found = kept_table(run, "head_scores", matched, lambda: head_scores(exact, emotions=[], seed=run.params.seed))
    data = store.json_bytes(_first_layout(run, found))
    packed = len(data) > LARGE
    run.artifacts.obtain(
        run.paths.head_scores(packed=packed),
        {"scores": digest_of(found), "prompts": digest_of(exact.units[["prompt_with"]])},
        lambda: gzip.compress(data, mtime=0) if packed else data,
    )
    return found


def _first_layout(run: Run, found: pd.DataFrame) -> dict[str, Any]:
    """The first study's JSON."""
    exact = all_heads(run)
    kept_columns = ["layer", "head", "metric", "delta_mean", "delta_std", "n_samples"]
    samples = [
        {"layer": head[0], "head": head[1], "scenario": scenario, "delta": round(float(change), 7)}
        for place, (head,) in enumerate(exact.variants)
        for scenario, change in zip(exact.units["scenario"], exact.changes[:, place], strict=True)
    ]
    return {
        **{"profile": run.params.profile, "model": run.params.model, "layers": layers(run)},
        "prompts": exact.units["prompt_with"].tolist(),
        "sequence_length": int(max(len(ids) for ids in encode(run.lm, exact.units["prompt_with"].tolist()))),
        "head_scores": found[kept_columns].to_dict("records"),
        "head_samples": samples,
    }


def halves(run: Run) -> pd.DataFrame:
    """Split-half reliability of the order of heads; empty with fewer than four scenarios."""
    exact = all_heads(run)
    return split_half(exact, seed=run.params.seed) if exact.units["scenario"].nunique() >= 4 else pd.DataFrame()


def samples(run: Run) -> int:
    """Contrasts that were looked at."""
    on_validation = len(contrasts(run, "validation", run.params.n_attributed)) + len(in_turn(run, "validation"))
    return on_validation + len(in_turn(run))
