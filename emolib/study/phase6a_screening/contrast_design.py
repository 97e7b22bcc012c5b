"""What Phase 6a compares: which texts stand after which contexts, and where its tables lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from emolib.base import store
from emolib.circuits.contrasts import context_contrasts
from emolib.interventions import Steer
from emolib.study.phase3_vectors import fitting
from emolib.study.run import Run, kept

STEER_ALPHA = 0.3  # in bulk norms, of the exploratory (B)


def layers(run: Run) -> list[int]:
    """Those whose heads are screened."""
    return list(range(run.lm.n_layers)) if not run.params.layers else sorted(run.params.layers)


def scenarios_of(run: Run, split: str, count: int) -> list[str]:
    """The first scenarios of a split that have every label, in the profile's order."""
    texts = run.texts(split)
    whole = texts.groupby("scenario", sort=False)["emotion"].nunique()
    return [str(name) for name in whole.index[whole == whole.max()][:count]]


def pool_of(run: Run, split: str) -> list[str]:
    """All scenarios of the data set's split that have every label: contexts and sources come from these."""
    data = run.data[run.data["split"] == split]
    counts = data.groupby("scenario")["emotion"].nunique()
    return sorted(counts.index[counts == run.data["emotion"].nunique()])


@kept
def contrasts(run: Run, split: str, count: int, others: bool = False) -> pd.DataFrame:
    """(A) on so many scenarios of a split, every emotion against neutral (and, with `others`, every pair of emotions,
    which is the same whichever of the two stands first)."""
    pool = pool_of(run, split)
    given = {"pool": pool, "neutral": run.params.neutral, "seed": run.params.seed}
    wanted = run.emotions if others else ()
    table = context_contrasts(run.data, run.emotions, scenarios_of(run, split, count), others=wanted, **given)
    order = {name: place for place, name in enumerate((*run.emotions, run.params.neutral))}
    once = table["emotion"].map(order) < table["other"].map(order)
    return cut(run, table[once].reset_index(drop=True))


@kept
def in_turn(run: Run, split: str = "test") -> pd.DataFrame:
    """The scenarios of a split on which all heads are ablated, each with one emotion, in turn."""
    table = contrasts(run, split, run.params.n_ranked if split == "validation" else run.params.n_screened)
    names = list(dict.fromkeys(table["scenario"]))
    turn = {name: run.emotions[number % len(run.emotions)] for number, name in enumerate(names)}
    return table[table["emotion"] == table["scenario"].map(turn)].reset_index(drop=True)


def cut(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    return table if run.params.most_tokens is None else table.assign(most_tokens=run.params.most_tokens)


def kept_table(run: Run, name: str, matched: Mapping[str, Any], compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    given = {"seed": run.params.seed, "layers": layers(run), **matched}
    return run.artifacts.table(run.paths.screening(name), given, compute)


def digest_of(table: pd.DataFrame) -> str:
    return store.digest(table.to_dict("list"))


def steers(run: Run) -> dict[str, Steer]:
    """The exploratory steers of (B), at the middle layer."""
    vecs, layer = fitting.vectors(run, run.params.vector_position), run.lm.n_layers // 2
    return {emotion: Steer(layer, vecs[emotion][layer], STEER_ALPHA, unit="bulk") for emotion in run.emotions}


def shown_text(run: Run, emotional: bool) -> str:
    """The first context in turn and what follows it; or its neutral counterpart with the same text behind."""
    first = in_turn(run).iloc[0]
    return f"{first['prompt_with' if emotional else 'prompt_without']} {first['text_with']}"
