"""Which heads are patched, and where: texts of test scenarios after prompts and contexts of validation ones."""

from __future__ import annotations

from typing import Any

import pandas as pd

from emolib.base import paths, store
from emolib.base.errors import UserError
from emolib.circuits.context_cells import ContextCells, context_cells
from emolib.circuits.head_choices import choose_heads, top_count
from emolib.circuits.patched_heads import PatchSettings, other_heads
from emolib.interventions import Head, check_heads
from emolib.study.run import Run, kept

RANKING = "ranking"  # Phase 6a's table: layer, head, emotion (all), t of the change by exact ablation


@kept
def heads(run: Run) -> tuple[Head, ...]:
    """The heads that `heads` names; of `top:N` the first ones of Phase 6a's ranking on validation scenarios.

    Raises:
        UserError: a head that the model does not have, `top:N` without Phase 6a.
    """
    given = run.params.heads
    chosen = choose_heads(given, None if top_count(given) is None else _ranking(run))
    check_heads(run.lm, chosen)
    return chosen


def _ranking(run: Run) -> pd.DataFrame:
    """Phase 6a's order of heads by exact ablation on validation scenarios."""
    place = run.paths.screening(RANKING)
    if not place.exists():
        raise UserError(
            f"expected Phase 6a's ranking of heads for heads={run.params.heads} in {paths.display(place)}, it is not "
            "there; run phase6a first, or name heads: --head-spec 3:5,7:2"
        )
    return run.artifacts.stored_table(place)


def head_table(run: Run) -> pd.DataFrame:
    """The heads in order: layer, head, and whether they were named or ranked."""
    origin = "named" if top_count(run.params.heads) is None else "ranked"
    rows = [{"layer": layer, "head": head, "origin": origin} for layer, head in heads(run)]
    return run.artifacts.table(
        run.paths.head_patching("heads"), {"chosen_heads": list(heads(run))}, lambda: pd.DataFrame(rows)
    )


@kept
def cells(run: Run) -> ContextCells:
    """One cell per test scenario, `n_texts` at most; prompts and contexts from all validation scenarios of the data.

    Nothing of them is chosen by what the model does with them.
    """
    data, params = run.data, run.params
    texts = list(dict.fromkeys(run.texts("test")["scenario"]))[: params.n_texts]
    return context_cells(data, texts, _pool(run, texts), neutral=params.neutral, seed=params.seed)


def _pool(run: Run, texts: list[str]) -> list[str]:
    data = run.data
    return [
        name for name in dict.fromkeys(data.loc[data["split"] == "validation", "scenario"]) if name not in set(texts)
    ]


@kept
def random_heads(run: Run) -> tuple[Head, ...]:
    """As many other heads of the same layers."""
    return tuple(other_heads(run.lm, heads(run), len(heads(run)), seed=run.params.seed + 1))


def patch_settings(run: Run) -> PatchSettings:
    """What is tried."""
    params = run.params
    return PatchSettings(
        n_null=params.n_null, n_candidates=params.n_candidates, n_resamples=params.n_resamples, seed=params.seed
    )


def matched(run: Run, **more: Any) -> dict[str, Any]:
    """What the numbers are made from, beside the model."""
    found = cells(run)
    texts = sorted((*key, text) for key, text in found.text_of.items())
    design = [found.table.to_dict("list"), found.emotions, texts]
    return {"design": store.digest(design), "chosen_heads": [list(map(int, head)) for head in heads(run)], **more}
