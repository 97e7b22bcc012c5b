"""What Phase 7 reads: the finished phases 3 and 5 of every model of the profile, and whether they still stand.

A model with either of them is read. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import ValidationError

from emolib.base import store
from emolib.base.errors import UserError
from emolib.base.parameters import PHASE_PARAMETERS
from emolib.base.paths import ResultPaths
from emolib.base.shell import command
from emolib.steering.effects import control_counts
from emolib.study.decided import read_regime
from emolib.study.identity import READ_BY_PHASE7 as READ
from emolib.study.identity import ModelContent
from emolib.study.phase3_vectors.decoding import chosen_probe_layers
from emolib.study.run import Run, kept


@dataclass(frozen=True)
class Source:
    """A finished phase of a model, as its record tells.

    Attributes:
        parameters: what the phase ran with.
        state: `current`; `behind` (an artifact that it made or read is gone, or was made anew since: read, and told);
            `other` (made from other data or another model, by other scorers or another version: not read).
    """

    model: str
    phase: str
    parameters: Mapping[str, Any]
    state: Literal["current", "behind", "other"]


@kept
def finished_phases(run: Run) -> list[Source]:
    """Every record of phases 3 and 5 in this profile.

    Raises:
        UserError: none of them can be read.
    """
    found = [_source(run, model, phase) for phase in READ for model in run.paths.finished_models(phase)]
    if all(source.state == "other" for source in found):
        old = ", ".join(f"{source.model} {source.phase}" for source in found)
        told = f" but of other data, scorers or versions ({old})" if found else ""
        raise UserError(
            f"expected a finished Phase 3 or Phase 5 of profile {run.params.profile}, found none{told}; "
            f"run `{command(['emolib', 'run', '--profile', run.params.profile, '--model', run.params.model])}`"
        )
    return found


def _source(run: Run, model: str, phase: str) -> Source:
    """A record beside what the phase would leave now, run with the same parameters."""
    manifest = store.read_manifest(places(run, model).record(phase)) or {"matched": {}}
    given = manifest["matched"].get("parameters", {})

    def content(params: Mapping[str, Any]) -> ModelContent:
        try:
            return run.contents(params)
        except UserError:  # a folder or a hub out of reach: nothing says that the tables are of another model
            return manifest["matched"].get("model", {})

    try:
        now = Run(PHASE_PARAMETERS[phase](**given), variant=run.variant.of_phase(phase), contents=content)
        same = now.paths.model == model and store.state(now.record.path, now.record.identity()) == "done"
        state = ("current" if now.record.state() == "done" else "behind") if same else "other"
    except (UserError, ValidationError):  # parameters of another version, or a data set that is gone
        state = "other"
    return Source(model, phase, given, state)


def source_of(run: Run, model: str, phase: str) -> Source | None:
    """A model's finished phase; None where there is none that is read."""
    found = [s for s in finished_phases(run) if (s.model, s.phase) == (model, phase) and s.state != "other"]
    return found[0] if found else None


def steered_models(run: Run) -> list[str]:
    """The profile's models whose Phase 5 is read."""
    return _read(run, "phase5")


def vector_models(run: Run) -> list[str]:
    """The profile's models whose Phase 3 is read."""
    return _read(run, "phase3")


def every_model(run: Run) -> list[str]:
    """The profile's models with anything to read."""
    return sorted({*steered_models(run), *vector_models(run)})


def _read(run: Run, phase: str) -> list[str]:
    return [source.model for source in finished_phases(run) if source.phase == phase and source.state != "other"]


def places(run: Run, model: str) -> ResultPaths:
    """Where another model's artifacts of this profile lie."""
    return run.paths.of_model(model)


@kept
def stored(run: Run, path: Path) -> pd.DataFrame:
    """An artifact of another phase; its hash is checked and it is never computed here.

    Raises:
        UserError: it is not there, or has changed since it was written.
    """
    return run.artifacts.stored_table(path)


def test_sweep(run: Run, model: str) -> pd.DataFrame:
    """A model's test rows at its operating point, with the control directions."""
    return stored(run, places(run, model).sweep("test"))


def samples(run: Run) -> int:
    """Texts whose scores are analysed."""
    return sum(len(test_sweep(run, model)) for model in steered_models(run))


def steering_facts(run: Run, model: str) -> dict[str, Any] | None:
    """What a model's test sweep holds; None without its Phase 5.

    Returns:
        n_scenarios, n_texts, layers and alphas that steer, controls (directions by family), temperature (0 is greedy).
    """
    source = source_of(run, model, "phase5")
    if source is None:
        return None
    sweep = test_sweep(run, model)
    steered = sweep[sweep["kind"] == "emotion"]
    facts = {"n_scenarios": steered["scenario"].nunique(), "n_texts": len(sweep)}
    facts |= {"layers": sorted(set(steered["layer"])), "alphas": sorted(set(steered["alpha"]))}
    return facts | {"controls": control_counts(sweep), "temperature": _temperature(run, source)}


def _temperature(run: Run, source: Source) -> float:
    """That of a model's Phase 5: as its parameters say, or as it decided."""
    asked = source.parameters["temperature"]
    if asked != "auto":
        return float(asked)
    path = places(run, source.model).decoding()
    found = read_regime(path)
    run.artifacts.note(path)
    return found.temperature


def vector_places(run: Run) -> pd.DataFrame:
    """Which vectors phases 3 and 5 of a model are about: their layers, texts and positions.

    Returns:
        model, emotion, probe_layer (Phase 3's, chosen on validation), layer (that steers; a row each where folds chose
        several), style and position of the texts behind the steering vectors (Phase 3's: all, mean), stability with
        low and high: of Phase 3's vectors at the layer that steers. Models with both phases only.
    """
    rows = []
    for model in (name for name in steered_models(run) if name in vector_models(run)):
        where, sweep, given = places(run, model), test_sweep(run, model), source_of(run, model, "phase5").parameters
        probes, stability = (stored(run, where.vector_table(f"{name}_mean")) for name in ("probes", "stability"))
        used = sweep[sweep["kind"] == "emotion"].drop_duplicates(["emotion", "layer"])[["emotion", "layer"]]
        known = chosen_probe_layers(probes)[["emotion", "layer"]].rename(columns={"layer": "probe_layer"})
        cosines = stability.rename(columns={"mean": "stability"})[["emotion", "layer", "stability", "low", "high"]]
        table = known.merge(used, on="emotion").merge(cosines, how="left", on=["emotion", "layer"])
        named = {"model": model, "style": given["vector_style"], "position": given["vector_position"]}
        rows.append(table.assign(**named))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def vector_differences(places: pd.DataFrame) -> pd.DataFrame:
    """In what the vectors that steer differ from those that Phase 3's claims are about, one row per model.

    Args:
        places: see `vector_places`.

    Returns:
        model, layers and probe_layers (those of emotions whose layers differ), same_layer, style, same_style (Phase 3
        takes texts of all styles), position, same_position (Phase 3 takes the mean).
    """
    rows = []
    for model, table in places.groupby("model", sort=False) if len(places) else ():
        others = table[table["probe_layer"] != table["layer"]]
        style, position = table[["style", "position"]].iloc[0]
        row = {
            "model": model,
            "layers": sorted(set(table["layer"])),
            "probe_layers": sorted(set(others["probe_layer"])),
        }
        row |= {"same_layer": others.empty, "style": style, "same_style": style == "all"}
        rows.append({**row, "position": position, "same_position": position == "mean"})
    return pd.DataFrame(rows)
