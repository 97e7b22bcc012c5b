"""What Phase 5's sweeps say, as the report reads it: `emolib.steering`'s tables of this run, each made once."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.base.parameters import PatchingParameters
from emolib.directions.controls import FAMILIES, effective_number
from emolib.scoring.measures import measures
from emolib.steering import alternatives, candidates, comparisons, robustness, summaries
from emolib.steering.cells import control_seed
from emolib.steering.text_claims import claims_table
from emolib.study.phase5_steering import judging, other_style, shift_rivals
from emolib.study.phase5_steering.design import Part, controls, parts
from emolib.study.phase5_steering.own_sweeps import dose_sweep, test_sweep
from emolib.study.phase5_steering.rival_sweeps import alternatives_sweep, matching
from emolib.study.phase5_steering.side_effects import of_sweep
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.phase5_steering.sweep_settings import settings
from emolib.study.phase5_steering.validation_sweeps import validation_sweep
from emolib.study.run import Run, kept


def _resampling(params: PatchingParameters) -> dict[str, int]:
    return {"n_resamples": params.n_resamples, "seed": params.seed}


# validation


@kept
def layer_means(run: Run) -> pd.DataFrame:
    """See `emolib.steering.candidates.layer_means`."""
    sweep = validation_sweep(run)
    return candidates.layer_means(sweep, measures(sweep, run.emotions))


# test


@kept
def claims(run: Run) -> pd.DataFrame:
    """Every emotion and measure against the other vectors and against every family of controls.

    Returns:
        The columns of `emolib.steering.text_claims.claims_table` and of `emolib.steering.robustness.with_robustness`.
    """
    sweep = test_sweep(run)
    known, given = measures(sweep, run.emotions), {"families": FAMILIES, **_resampling(run.params)}
    return robustness.with_robustness(claims_table(sweep, known, **given), sweep, known, **given)


@kept
def scorer_effects(run: Run) -> pd.DataFrame:
    """The effect on an emotion's own probability by each model alone and by the measure that decides, over scenarios.

    Returns:
        The columns of `emolib.steering.robustness.single_scorers`; broken texts count as 0.
    """
    sweep = test_sweep(run)
    known = measures(sweep, run.emotions)
    return robustness.single_scorers(sweep, known, families=FAMILIES, **_resampling(run.params))


@kept
def family_ranks(run: Run) -> pd.DataFrame:
    """See `emolib.steering.summaries.family_ranks`."""
    return summaries.family_ranks(claims(run), control_cosines(run))


@kept
def metric_changes(run: Run) -> pd.DataFrame:
    """See `emolib.steering.summaries.metric_changes`."""
    return summaries.metric_changes(test_sweep(run), run.emotions)


@kept
def specificity(run: Run, counted: bool = True) -> pd.DataFrame:
    """See `emolib.steering.summaries.specificity_matrix`."""
    return summaries.specificity_matrix(test_sweep(run), run.emotions, counted=counted)


@kept
def label_changes(run: Run) -> pd.DataFrame:
    """See `emolib.steering.summaries.label_changes`."""
    return summaries.label_changes(test_sweep(run), run.emotions)


@kept
def scorer_agreement(run: Run) -> pd.DataFrame:
    """See `emolib.steering.summaries.scorer_agreement`."""
    return summaries.scorer_agreement(test_sweep(run), run.emotions)


@kept
def control_effects(run: Run) -> pd.DataFrame:
    """See `emolib.steering.summaries.beside_controls`."""
    return summaries.beside_controls(test_sweep(run), run.emotions)


@kept
def prompt_effects(run: Run) -> pd.DataFrame:
    """See `emolib.steering.summaries.prompt_effects`."""
    return summaries.prompt_effects(test_sweep(run), run.emotions)


def realised_norms(run: Run) -> pd.DataFrame:
    """See `emolib.steering.summaries.realised_norms`."""
    return summaries.realised_norms(test_sweep(run))


@kept
def broken_shares(run: Run) -> pd.DataFrame:
    """See `emolib.steering.summaries.broken_table`."""
    return summaries.broken_table(test_sweep(run))


@kept
def stock_phrases(run: Run) -> pd.DataFrame:
    """See `emolib.steering.robustness.stock_phrases`."""
    return robustness.stock_phrases(test_sweep(run), run.emotions)


@kept
def doses(run: Run) -> pd.DataFrame:
    """See `emolib.steering.summaries.doses`."""
    return summaries.doses(test_sweep(run), dose_sweep(run), run.emotions)


@kept
def rivals(run: Run) -> pd.DataFrame:
    """See `emolib.steering.alternatives.rivals`."""
    others = alternatives_sweep(run, "test")
    return alternatives.rivals(test_sweep(run), others, run.emotions, matching=matching(run), **_resampling(run.params))


@kept
def rival_findings(run: Run) -> pd.DataFrame:
    """See `emolib.steering.comparisons.rival_findings`."""
    return comparisons.rival_findings(rivals(run), margin=run.params.broken_margin)


@kept
def equal_strength(run: Run) -> pd.DataFrame:
    """See `emolib.steering.alternatives.equal_strength`."""
    others = alternatives_sweep(run, "test")
    return alternatives.equal_strength(
        test_sweep(run), dose_sweep(run), others, run.emotions, **_resampling(run.params)
    )


@kept
def examples(run: Run) -> pd.DataFrame:
    """See `emolib.steering.summaries.examples`."""
    prompts = run.data[run.data["emotion"] == run.params.neutral].set_index("scenario")["text"]
    return summaries.examples(test_sweep(run), run.emotions, prompts=prompts)


@kept
def control_cosines(run: Run) -> pd.DataFrame:
    """The largest cosine of a family's control directions with each emotion's vector, over all parts.

    A family whose directions lie close to the vector holds part of what it is to be the control of.

    Returns:
        family, emotion, cosine, n_directions (of the smallest part) and effective: how many orthogonal ones they are
        worth (`emolib.directions.controls.effective_number`, the fewest of a part).
    """
    sweep = test_sweep(run)
    matched = {**of_sweep(sweep), "settings": [settings(run, part).fingerprint() for part in parts(run)]}

    def compute() -> pd.DataFrame:
        found = pd.concat([_cosines_of_part(run, part, sweep) for part in parts(run)])
        worst = {"cosine": "max", "n_directions": "min", "effective": "min"}
        return found.groupby(["family", "emotion"], sort=False, as_index=False).agg(worst)

    return run.artifacts.table(run.paths.sweep("control_cosines"), {**matched, "columns": "effective"}, compute)


def _cosines_of_part(run: Run, part: Part, sweep: pd.DataFrame) -> pd.DataFrame:
    drawn = sweep[sweep["kind"].isin(FAMILIES) & (sweep["part"] == part.name)]
    drawn = drawn[["kind", "layer", "index"]].drop_duplicates()
    vecs, source = vectors(run, part), controls(run, part, tuple(sorted(set(drawn["layer"].astype(int)))))
    rows = []
    for (family, layer), part_of in drawn.astype({"layer": int, "index": int}).groupby(["kind", "layer"], sort=False):
        seeds = [control_seed(run.params.seed, family, layer, index) for index in part_of["index"]]
        directions = np.array([source.direction(family, layer, seed) for seed in seeds])
        shared = {"family": family, "n_directions": len(directions), "effective": effective_number(directions)}
        for emotion in run.emotions:
            cosine = float((directions @ vecs[emotion][layer].direction).max())
            rows.append({**shared, "emotion": emotion, "cosine": cosine})
    return pd.DataFrame(rows)


def save(run: Run) -> None:
    """The continuation shifts, the whole sweeps and the claims of both as artifacts beside their shards."""
    beside = shift_rivals.beside_steers(run)
    judging.save(run)
    matched = {"shards": sorted(sha for path, sha in run.artifacts.made.items() if "_sweep_" in path.name)}
    tables = {
        "validation": validation_sweep(run),
        "test": test_sweep(run),
        "dose": dose_sweep(run),
        "alternatives": alternatives_sweep(run, "test"),
        "claims": claims(run),
    }
    other = other_style.claims(run)
    if other is not None:
        tables |= {"other_style": other_style.sweep(run), "other_style_claims": other}
    if beside is not None:
        tables["rivals"] = shift_rivals.rival_sweep(run)
    for name, table in tables.items():
        columns = {"columns": list(table)} if name == "claims" else {}
        run.artifacts.table(run.paths.sweep(name), {**matched, **columns}, lambda table=table: table)
