"""Phase 7: statistics across the models of a profile, from what their phases 3 and 5 stored.

Reads whatever is there: Phase 3 of a model gives its k and its claims about vectors, Phase 5 its effects, its power and
its claims about steering. Makes `statistics/effect_sizes.csv`, `power_analysis.csv` and `.json`, `k_selection.csv` and
`claims.csv`. No model is loaded and no text generated. What counts as supported is in `verdicts`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import ValidationError

from emolib.base import store
from emolib.base.errors import UserError
from emolib.base.parameters import PHASE_PARAMETERS
from emolib.base.paths import ResultPaths
from emolib.directions.subspace_choice import choose_k
from emolib.scoring.measures import measures
from emolib.statistics.effect_sizes import correct, effect_sizes
from emolib.statistics.power import achieved_power, power_table
from emolib.steering.effects import success
from emolib.study.phase3_vectors.decoding import chosen_probe_layers
from emolib.study.run import Run

SOURCES = ("phase3", "phase5")  # the phases whose results are read
FAMILY = ("model", "kind", "measure")  # p values are corrected within these
MEASURES = (
    *("keywords", "target", "target_lexical", "target_encoder", "valence", "sentiment", "politeness", "goemotions"),
    "fluency",
)
K_RULE = "smallest k whose validation excess is within one standard error (that of the best k) of the best excess"
POST_HOC = "post_hoc_power_descriptive"
POST_HOC_NOTE = "describes only: it restates the p value and decides nothing (Hoenig & Heisey 2001)"


# what is at hand


@dataclass(frozen=True)
class Record:
    """A finished phase of a model, as its record tells.

    Attributes:
        parameters: what the phase ran with.
        state: `current`; `behind` (an artifact that it made or read is gone, or was made anew since: read, and told);
            `other` (made from other data, by other scorers or by another version of the phase: not read).
    """

    model: str
    phase: str
    parameters: Mapping[str, Any]
    state: Literal["current", "behind", "other"]


def records(run: Run) -> list[Record]:
    """Every record of phases 3 and 5 in this profile.

    Raises:
        UserError: none of them can be read.
    """
    found = run.once("records", lambda: [_record(run, m, p) for p in SOURCES for m in run.paths.finished_models(p)])
    if all(record.state == "other" for record in found):
        old = ", ".join(f"{record.model} {record.phase}" for record in found)
        told = f" but of other data, scorers or versions ({old})" if found else ""
        raise UserError(
            f"expected a finished Phase 3 or Phase 5 of profile {run.params.profile}, found none{told}; "
            f"run `emolib run --profile {run.params.profile} --model {run.params.model}`"
        )
    return found


def _record(run: Run, model: str, phase: str) -> Record:
    """A record beside what the phase would leave now, run with the same parameters."""
    manifest = store.read_manifest(places(run, model).record(phase)) or {"matched": {}}
    given = manifest["matched"].get("parameters", {})
    try:
        now = Run(PHASE_PARAMETERS[phase](**given), variant=run.variant.of_phase(phase))
        same = now.paths.model == model and store.state(now.record.path, now.record.identity()) == "done"
        state = ("current" if now.record.state() == "done" else "behind") if same else "other"
    except (UserError, ValidationError):  # parameters of another version, or a data set that is gone
        state = "other"
    return Record(model, phase, given, state)


def record_of(run: Run, model: str, phase: str) -> Record | None:
    """The record of a model's phase; None where there is none that is read."""
    found = [r for r in records(run) if (r.model, r.phase) == (model, phase) and r.state != "other"]
    return found[0] if found else None


def models(run: Run) -> list[str]:
    """The profile's models whose Phase 5 is read."""
    return [record.model for record in records(run) if record.phase == "phase5" and record.state != "other"]


def vector_models(run: Run) -> list[str]:
    """The profile's models whose Phase 3 is read."""
    return [record.model for record in records(run) if record.phase == "phase3" and record.state != "other"]


def every_model(run: Run) -> list[str]:
    """The profile's models with anything to read."""
    return sorted({*models(run), *vector_models(run)})


def places(run: Run, model: str) -> ResultPaths:
    return run.paths.of_model(model)


def stored(run: Run, path: Path) -> pd.DataFrame:
    """An artifact of another phase; its hash is checked and it is never computed here.

    Raises:
        UserError: it is not there, or has changed since it was written.
    """
    table = run.once(str(path), lambda: store.read_table(path))
    run.artifacts.note(path)
    return table


def test_sweep(run: Run, model: str) -> pd.DataFrame:
    """A model's test rows at its operating point, with the control directions."""
    return stored(run, places(run, model).sweep("test"))


def emotions_of(sweep: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(sweep.loc[sweep["kind"] == "emotion", "emotion"]))


def vector_places(run: Run) -> pd.DataFrame:
    """Which vectors phases 3 and 5 of a model are about: their layers, texts and positions.

    Returns:
        model, emotion, probe_layer (Phase 3's, chosen on validation), layer (that steers; a row each where folds chose
        several), style and position of the texts behind the steering vectors (Phase 3's: all, mean), stability with
        low and high: of Phase 3's vectors at the layer that steers. Models with both phases only.
    """
    rows = []
    for model in (name for name in models(run) if name in vector_models(run)):
        where, sweep, given = places(run, model), test_sweep(run, model), record_of(run, model, "phase5").parameters
        probes, stability = (stored(run, where.vector_table(f"{name}_mean")) for name in ("probes", "stability"))
        used = sweep[sweep["kind"] == "emotion"].drop_duplicates(["emotion", "layer"])[["emotion", "layer"]]
        known = chosen_probe_layers(probes)[["emotion", "layer"]].rename(columns={"layer": "probe_layer"})
        cosines = stability.rename(columns={"mean": "stability"})[["emotion", "layer", "stability", "low", "high"]]
        table = known.merge(used, on="emotion").merge(cosines, how="left", on=["emotion", "layer"])
        named = {"model": model, "style": given["vector_style"], "position": given["vector_position"]}
        rows.append(table.assign(**named))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


# effects


EFFECT_COLUMNS = (
    *("model", "measure", "on_target", "kind", "emotion", "layer", "alpha", "metric", "counted", "baseline_mean"),
    *("baseline_sd", "n", "mean", "sd", "d_z", "hedges_g", "ci_low", "ci_high", "d_low", "d_high", "t", "p_t"),
    *("p_wilcoxon", "n_nonzero", "degenerate", "mean_unfiltered", "direction", "rank_p_worst"),
    *("family", "family_size", "p_bonferroni", "p_fdr"),
)


def effects(run: Run) -> pd.DataFrame:
    """Every model × kind × emotion × metric against the unpatched text; `statistics/effect_sizes.csv`.

    Returns:
        The columns of `emolib.statistics.effect_sizes.effect_sizes`, before them model, and measure (the metric's
        family), on_target (the metric measures the steered emotion). p values are corrected within model × kind ×
        measure. Intervals take the resamples of the model's Phase 5 and are equal to those that it prints, unless
        `n_bootstrap` is given.
        Empty where no model has a Phase 5.
    """
    settings = {model: _resampling(run, model) for model in models(run)}

    def compute() -> pd.DataFrame:
        parts = [_effects_of(run, model, given) for model, given in settings.items()]
        if not parts:
            return pd.DataFrame(columns=EFFECT_COLUMNS)
        table = pd.concat(parts, ignore_index=True)
        return correct(table.drop(columns=["family", "family_size", "p_bonferroni", "p_fdr"]), family=FAMILY)

    sources = [path for model in models(run) for path in _sweep_files(run, model)]
    return run.once("effects", lambda: _csv(run, "effect", "effect_sizes", sources, {"resampling": settings}, compute))


def _resampling(run: Run, model: str) -> dict[str, Any]:
    """The resamples behind the intervals that the model's Phase 5 prints."""
    given = record_of(run, model, "phase5").parameters
    return {"n_resamples": run.params.n_bootstrap or given["n_resamples"], "seed": given["seed"], "resamples": "scipy"}


def _sweep_files(run: Run, model: str) -> list[Path]:
    where = places(run, model)
    rivals = where.sweep("alternatives")
    return [where.sweep("test"), *([rivals] if rivals.exists() else [])]


def _effects_of(run: Run, model: str, settings: Mapping[str, Any]) -> pd.DataFrame:
    """One model's effects: what the test sweep holds, and what could have been done instead."""
    test, *others = [stored(run, path) for path in _sweep_files(run, model)]
    tables = [test] + [part for table in others for part in _rivals(table)]
    known = measures(test, emotions_of(test))
    own = {(emotion, metric) for emotion, names in known.items() for metric in names}
    rows = []
    for table in tables:
        metrics = [name for name in test.columns if name.split("/")[0] in MEASURES and name in table]
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


def own_effects(run: Run) -> pd.DataFrame:
    """The emotions' own vectors on their own measures: what claims are about."""
    table = effects(run)
    return table[(table["kind"] == "emotion") & table["on_target"].astype(bool)].reset_index(drop=True)


def families(table: pd.DataFrame, significance: float) -> pd.DataFrame:
    """Per named family: how many tests, how many without a test (degenerate), and how many p below the level."""
    rows, counted = [], ("p_t", "p_bonferroni", "p_fdr")
    for keys, part in table.groupby(list(FAMILY), sort=False):
        row = {**dict(zip(FAMILY, keys, strict=True)), "tests": len(part), "degenerate": int(part["degenerate"].sum())}
        rows.append(row | {name: int((part[name] < significance).sum()) for name in counted})
    return pd.DataFrame(rows, columns=[*FAMILY, "tests", "degenerate", *counted])


# power

POWER_COLUMNS = (
    *("d", "power", "alpha", "n_required", "n", "detectable_d", "power_at_n", "underpowered", "observed_d"),
    POST_HOC,
)


def power(run: Run) -> pd.DataFrame:
    """Scenarios that assumed effects need, and what the present number detects; `statistics/power_analysis.csv`.

    Returns:
        Per model, emotion, measure (its own), d and power: the columns of `emolib.statistics.power.power_table`,
        observed_d, and the post-hoc power under a name that says that it only describes.
    """
    params = run.params
    settings = {"ds": params.ds, "powers": params.powers, "alpha": params.significance}

    def compute() -> pd.DataFrame:
        design = cache(lambda n: power_table(**settings, n=n).drop(columns="post_hoc_power"))
        parts = []
        for row in own_effects(run).to_dict("records"):
            observed = {name: row[name] for name in ("model", "emotion", "metric")} | {"observed_d": row["d_z"]}
            reached = float(achieved_power(row["d_z"], row["n"], alpha=params.significance))
            parts.append(design(row["n"]).assign(**observed, **{POST_HOC: reached}))
        named = ["model", "emotion", "metric"]
        table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*named, *POWER_COLUMNS])
        return table[[*named, *(name for name in table if name not in named)]]

    sources = [path for model in models(run) for path in _sweep_files(run, model)]
    matched = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    matched |= {"resampling": {model: _resampling(run, model) for model in models(run)}}
    table = run.once("power", lambda: _csv(run, "power", "power_analysis", sources, matched, compute))
    if "power" in params.modes:
        data = store.json_bytes(_power_record(table, params.significance))
        path = run.paths.statistics("power_analysis.json")
        run.artifacts.obtain(path, {"table": store.digest(data.decode())}, lambda: data, model=False)
    return table


def _power_record(table: pd.DataFrame, significance: float) -> dict[str, Any]:
    """The same as JSON: the designs once, then every observed effect."""
    design = ["d", "power", "n_required", "n", "detectable_d", "power_at_n", "underpowered"]
    seen = ["model", "emotion", "metric", "n", "observed_d", POST_HOC]
    return {
        "test": "two-sided paired t test over scenarios",
        "alpha": significance,
        "designs": _records(table[design].drop_duplicates()),
        "observed": _records(table[seen].drop_duplicates()),
        POST_HOC: POST_HOC_NOTE,
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON holds them: null where there is no number."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


# k


def k_selection(run: Run) -> pd.DataFrame:
    """overlap(k) of every emotion's subspace against its null, and the chosen k; `statistics/k_selection.csv`.

    Returns:
        Per model, emotion and k, at the layer that the probe chose on validation: overlap, null, null_high, excess and
        se (scenarios resampled), null_max, test_overlap, test_null, test_null_high, test_excess, chosen, chosen_k,
        best_k, found (the best excess lies above null_max) and rule. Empty where no model has an overlap table: it
        takes Phase 3 and two emotions.
    """
    sources = [path for model in vector_models(run) for path in _k_files(run, model)]

    def compute() -> pd.DataFrame:
        parts = [_k_of(run, model) for model in vector_models(run) if _k_files(run, model)]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=K_COLUMNS)

    matched = {"columns": list(K_COLUMNS)}
    return run.once("k", lambda: _csv(run, "k", "k_selection", sources, matched, compute))


K_COLUMNS = (
    *("model", "emotion", "layer", "k", "overlap", "null", "null_high", "excess", "se", "null_max"),
    *("test_overlap", "test_null", "test_null_high", "test_excess"),
    *("chosen", "chosen_k", "best_k", "best_excess", "best_se", "found", "rule"),
)


def _k_files(run: Run, model: str) -> list[Path]:
    """The overlaps on validation and on test, and the probes; nothing where there is one emotion alone."""
    where = places(run, model)
    files = [where.subspace_table("overlap_validation"), where.subspace_table("overlap_test")]
    return [*files, where.vector_table("probes_mean")] if files[0].exists() else []


def _k_of(run: Run, model: str) -> pd.DataFrame:
    validation, test, probes = (stored(run, path) for path in _k_files(run, model))
    chosen = chosen_probe_layers(probes)
    layers = dict(zip(chosen["emotion"], chosen["layer"], strict=True))
    picked = choose_k(validation, layer_of=layers)
    picked = picked.rename(columns={"k": "chosen_k", "se": "best_se"}).drop(columns=["excess", "null_max"])
    names = {name: f"test_{name}" for name in ("overlap", "null", "null_high", "excess")}
    held_out = test.rename(columns=names)[["emotion", "layer", "k", *names.values()]]
    table = validation.merge(picked, on=["emotion", "layer"]).merge(held_out, how="left", on=["emotion", "layer", "k"])
    table = table.assign(model=model, chosen=table["k"] == table["chosen_k"], rule=K_RULE)
    return table[list(K_COLUMNS)]


# files


def _csv(
    run: Run,
    mode: str,
    name: str,
    sources: list[Path],
    settings: Mapping[str, Any],
    compute: Callable[[], pd.DataFrame],
) -> pd.DataFrame:
    """A table kept as `statistics/<name>.csv` and read back; only computed where its mode is not asked for."""
    if mode not in run.params.modes:
        return compute()
    for path in sources:
        stored(run, path)
    matched = {"sources": {path.name: run.artifacts.made[path] for path in sources}, **settings}
    return read_csv(
        run.artifacts.obtain(run.paths.statistics(f"{name}.csv"), matched, lambda: csv_bytes(compute()), model=False)
    )


def csv_bytes(table: pd.DataFrame) -> bytes:
    """All digits: what is read back is what was computed."""
    return table.to_csv(index=False).encode()


def read_csv(path: Path) -> pd.DataFrame:
    """The table as it was written; only an empty field is missing (a label may be called `null`)."""
    store.check(path)
    # the python engine alone reads back the very digits with every pandas
    return pd.read_csv(io.BytesIO(path.read_bytes()), keep_default_na=False, na_values=[""], engine="python")
