"""A run's identity: what decides whether a finished phase is still current.

It is made of the resolved parameters (less those that change no value), the content of the data set and the version of
the scorers. The model's content, and whatever else an artifact is made from, stands in the manifest of each artifact; a
phase whose artifacts are others now is stale, too (`emolib.study.record`).
"""

from __future__ import annotations

from typing import Any

from emolib.base.parameters import Parameters, StatisticsParameters
from emolib.base.paths import ResultPaths
from emolib.scoring import version_of
from emolib.study.artifacts import STEP

NOT_MATCHED = ("device", "generation_batch")


def identity(params: Parameters | StatisticsParameters, paths: ResultPaths, *, dataset: str) -> dict[str, Any]:
    """What a finished phase's record must say for the phase to count as done.

    Args:
        dataset: the digest of the data set.
    """
    values = {key: value for key, value in parameters(params, paths).items() if key not in NOT_MATCHED}
    return {"step": STEP, "parameters": values, "dataset": dataset, "scorers": version_of(params.backend)}


def parameters(params: Parameters | StatisticsParameters, paths: ResultPaths) -> dict[str, Any]:
    """Every resolved parameter; of a phase that reads others' tables also `records`, the finished phases that it
    finds: with a new one it is stale."""
    values = params.model_dump(mode="json")
    if isinstance(params, StatisticsParameters):
        finished = paths.finished_models
        values["records"] = [f"{model}_{phase}" for phase in ("phase3", "phase5") for model in finished(phase)]
    return values
