"""Runs of the smoke profile on models and texts whose truth is known, as the tests of several phases open them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from emolib.base.parameters import resolve
from emolib.data.dataset import jsonl_bytes
from emolib.models.language_model import LanguageModel
from emolib.selftest.planted import words
from emolib.study.run import Run

VECTORS = {  # of 40 planted scenarios, split 60/20/20
    **{"n_train": 24, "n_validation": 8, "n_test": 8},
    **{"backend": "lexical", "sites": ["resid_pre"]},
}
STEERING = {  # of 30
    **{"n_train": 18, "n_validation": 6, "n_test": 6},
    **{"backend": "lexical", "sites": ["resid_pre"], "layers": [1, 2], "alphas": [0.1, 0.15], "n_controls": 2},
    **{"max_new_tokens": 6, "vector_style": "all", "vector_position": "last", "generation_batch": 64},
    **{"n_resamples": 100, "broken_margin": 1.0},  # the planted emotional words are unlikely, hence broken text
}


def opened_run(model: LanguageModel, phase: str, *, force: bool = False, **params: object) -> Run:
    """A run of the smoke profile with this model in place of one that is loaded."""
    run = Run(resolve("baseline_smoke", model.spec.name, phase, params), overrides=params, force=force)
    run.__dict__["lm"] = model
    return run


def vectors_run(lm: LanguageModel, file: Path, **params: object) -> Run:
    """Phase 3 on these texts."""
    return opened_run(lm, "phase3", dataset=str(file), **{**VECTORS, **params})


def steering_run(lm: LanguageModel, file: Path, **params: object) -> Run:
    """Phase 5 on these texts."""
    return opened_run(lm, "phase5", dataset=str(file), **{**STEERING, **params})


def in_two_styles(data: pd.DataFrame) -> pd.DataFrame:
    """Every other scenario of a split in the one style, the rest in the other."""
    place = data.groupby("split")["scenario"].transform(lambda names: pd.factorize(names)[0])
    return data.assign(style=np.where(place % 2, "explicit", "implicit"))


def without_triggers(data: pd.DataFrame) -> pd.DataFrame:
    """The same texts with fillers for triggers; a subject of its own keeps every text of a scenario unique."""
    triggers = {word for found in words.TRIGGERS.values() for word in found}
    place = data.groupby("scenario").cumcount().to_numpy()
    order = np.random.default_rng(3).permuted(np.tile(np.arange(4), (data["scenario"].nunique(), 1)), axis=1).ravel()
    texts = []
    for i, text in enumerate(data["text"]):
        kept = [words.FILLERS[i % 3] if word in triggers else word for word in text.split()]
        texts.append(" ".join([words.SUBJECTS[order[i]], *kept[1:]]))
    assert place.max() == 3
    return data.assign(text=texts)


def written(data: pd.DataFrame, folder: Path) -> Path:
    """The file of a data set."""
    file = folder / "texts.jsonl"
    file.write_bytes(jsonl_bytes(data))
    return file
