"""Effect sizes of everything that was done to the texts, with the correction for how many there are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from emolib.scoring.measures import measures
from emolib.statistics.effect_sizes import UnscoredWarning, correct, effect_sizes
from emolib.steering.effects import success
from emolib.study.phase7_claims.claim_sources import places, source_of, steered_models, stored
from emolib.study.phase7_claims.statistics_files import statistics_table
from emolib.study.run import Run, kept

FAMILY = ("model", "kind", "measure")  # p values are corrected within these
MEASURES = (
    *("keywords", "target", "target_lexical", "target_encoder", "valence", "sentiment", "politeness", "goemotions"),
    "fluency",
)
EFFECT_COLUMNS = (
    *("model", "measure", "on_target", "kind", "emotion", "layer", "alpha", "metric", "counted", "baseline_mean"),
    *("baseline_sd", "n", "mean", "sd", "d_z", "hedges_g", "ci_low", "ci_high", "d_low", "d_high", "t", "p_t"),
    *(
        "p_wilcoxon",
        "p_sign",
        "p_flip",
        "p_paired",
        "n_nonzero",
        "degenerate",
        "mean_unfiltered",
        "direction",
        "rank_p_worst",
    ),
    *("family", "family_size", "p_bonferroni", "p_fdr"),
)


@kept
def effects(run: Run) -> pd.DataFrame:
    """Every model × kind × emotion × metric against the unpatched text; `statistics/effect_sizes.csv`.

    Returns:
        The columns of `emolib.statistics.effect_sizes.effect_sizes`, before them model, and measure (the metric's
        family), on_target (the metric measures the steered emotion). p values are corrected within model × kind ×
        measure. Intervals take the resamples of the model's Phase 5 and are equal to those that it prints, unless
        `n_bootstrap` is given.
        Empty where no model has a Phase 5.
    """
    settings = {model: resampling(run, model) for model in steered_models(run)}

    def compute() -> pd.DataFrame:
        parts = [_effects_of(run, model, given) for model, given in settings.items()]
        if not parts:
            return pd.DataFrame(columns=EFFECT_COLUMNS)
        table = pd.concat(parts, ignore_index=True)
        bare = table.drop(columns=["family", "family_size", "p_bonferroni", "p_fdr"])
        return correct(bare, family=FAMILY, p="p_paired")

    return statistics_table(
        run,
        "effect_sizes",
        mode="effect",
        made_from=[path for model in settings for path in sweep_files(run, model)],
        settings={"resampling": settings},
        compute=compute,
    )


def resampling(run: Run, model: str) -> dict[str, Any]:
    """The resamples behind the intervals that the model's Phase 5 prints."""
    given = source_of(run, model, "phase5").parameters
    return {"n_resamples": run.params.n_bootstrap or given["n_resamples"], "seed": given["seed"], "resamples": "scipy"}


def sweep_files(run: Run, model: str) -> list[Path]:
    """A model's sweeps on test prompts: at its operating point, and what could have been done instead."""
    where = places(run, model)
    rivals = where.sweep("alternatives")
    return [where.sweep("test"), *([rivals] if rivals.exists() else [])]


def _effects_of(run: Run, model: str, settings: Mapping[str, Any]) -> pd.DataFrame:
    """One model's effects: what the test sweep holds, and what could have been done instead."""
    test, *others = [stored(run, path) for path in sweep_files(run, model)]
    tables = [test] + [part for table in others for part in _rivals(table)]
    known = measures(test, emotions_of(test))
    own = {(emotion, metric) for emotion, names in known.items() for metric in names}
    rows = []
    for table in tables:
        metrics = [name for name in test.columns if name.split("/")[0] in MEASURES and name in table]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnscoredWarning)  # an empty text has no likelihood; each row's n tells
            rows.append(effect_sizes(_at_one_point(table), metrics=metrics, success=success, **settings))
    found = pd.concat(rows, ignore_index=True)
    pairs = zip(found["emotion"], found["metric"], strict=True)
    found.insert(0, "model", model)
    found.insert(1, "measure", found["metric"].str.split("/").str[0])
    found.insert(2, "on_target", [pair in own for pair in pairs])
    return found


def _rivals(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Other steers beside the unpatched text, and prompting beside the same prompt format without the request."""
    asked = table["kind"].isin(["prompting", "prompting_baseline"])
    prompting = table[asked].assign(kind=table["kind"].replace("prompting_baseline", "baseline"))
    return [part for part in (table[~asked], prompting) if part["kind"].nunique() > 1]


def emotions_of(sweep: pd.DataFrame) -> list[str]:
    """The emotions whose vectors steer, in their order."""
    return list(dict.fromkeys(sweep.loc[sweep["kind"] == "emotion", "emotion"]))


def _at_one_point(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it is, or with the chosen points of a cross-fitted design's parts as one.

    Each part chose its own layer and alpha for its own scenarios: together they are one setting, the chosen one, with
    the parts' mean alpha, and layer −1 where layers differ.
    """
    if "part" not in table or table["part"].nunique() < 2:
        return table
    points = table.drop_duplicates(["kind", "emotion", "part"]).groupby(["kind", "emotion"])
    alpha = points["alpha"].mean().round(9)
    layer = points["layer"].agg(lambda layers: layers.iloc[0] if layers.nunique() == 1 else -1)
    place = pd.MultiIndex.from_frame(table[["kind", "emotion"]])
    return table.assign(alpha=alpha.reindex(place).to_numpy(), layer=layer.reindex(place).to_numpy())


def own_effects(effects: pd.DataFrame) -> pd.DataFrame:
    """The emotions' own vectors on their own measures: what claims are about."""
    own = (effects["kind"] == "emotion") & effects["on_target"].astype(bool)
    return effects[own].reset_index(drop=True)


def families(table: pd.DataFrame, significance: float) -> pd.DataFrame:
    """Per named family: how many tests, how many without a test (degenerate), and how many p below the level."""
    rows, counted = [], ("p_t", "p_bonferroni", "p_fdr")
    for keys, part in table.groupby(list(FAMILY), sort=False):
        row = {**dict(zip(FAMILY, keys, strict=True)), "tests": len(part), "degenerate": int(part["degenerate"].sum())}
        rows.append(row | {name: int((part[name] < significance).sum()) for name in counted})
    return pd.DataFrame(rows, columns=[*FAMILY, "tests", "degenerate", *counted])
