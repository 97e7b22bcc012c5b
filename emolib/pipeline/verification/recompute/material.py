"""What a recomputation reads of a run: its texts, its stored activations, and which of them vectors were fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emolib.base.errors import UserError
from emolib.data.dataset import select_scenarios
from emolib.data.styles import of_style
from emolib.pipeline.verification.recompute.plain_model import PlainModel
from emolib.pipeline.verification.record_checks import dataset_of
from emolib.pipeline.verification.run_files import Artifact, RunFiles, read_tensors

OTHER_STYLE = {"implicit": "explicit"}  # of any other style: implicit
SPLITS = ("train", "validation", "test")


@dataclass
class Material:
    """A run as recomputations read it.

    Attributes:
        share: of the rows of every kind and table that are drawn, from 0 to 1.
        least: rows of every kind and table that are drawn at least.
        seed: of the draws.
    """

    run: RunFiles
    share: float = 0.05
    least: int = 2
    seed: int = 0
    _tensors: dict[Path, dict[str, np.ndarray]] = field(default_factory=dict)
    _trained: dict[tuple[frozenset[str], str], pd.Series] = field(default_factory=dict)

    @cached_property
    def model(self) -> PlainModel:
        """The run's model through plain transformers.

        Raises:
            UserError: it is out of reach, or no phase that ran it has finished.
        """
        made = PlainModel.of(self.parameters)
        if made.tokenizer.bos_token_id is not None and len(self.texts):
            begins = {row[0] for row in self.texts["tokens"]} == {made.tokenizer.bos_token_id}
            made.first_id = made.tokenizer.bos_token_id if begins else None
        return made

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Of Phase 5, whose sweeps are worked out again; without it of the last phase that ran the model."""
        if "phase5" in self.run.records:
            return self.run.records["phase5"].parameters
        found = [record.parameters for record in self.run.records.values() if "n_train" in record.parameters]
        if not found:
            raise UserError(f"expected a finished phase that ran {self.run.model}, found none; run it first")
        return found[-1]

    @property
    def is_float32(self) -> bool:
        record = next(record for record in self.run.records.values() if record.matched.get("model"))
        return str(record.matched["model"].get("dtype")) == "float32"

    def drawn(self, name: str, count: int) -> np.ndarray:
        """Which of `count` rows of a kind are drawn, in rising order: the share, but at least `least`."""
        wanted = min(count, max(self.least, int(np.ceil(self.share * count))))
        key = [self.seed, *name.encode()]
        return np.sort(np.random.default_rng(key).choice(count, wanted, replace=False))

    # texts

    @cached_property
    def texts(self) -> pd.DataFrame:
        """The texts that activations are of, in their order; empty without Phase 2."""
        found = self.run.of_kind("activations texts")
        return self.run.table(found[0]) if found else pd.DataFrame()

    @cached_property
    def data(self) -> pd.DataFrame:
        """The data set as it lies on disk."""
        record = next(record for record in self.run.records.values() if "n_train" in record.parameters)
        found = dataset_of(record)
        if found is None:
            raise UserError(f"the data set {record.parameters.get('dataset')} cannot be read; put it back")
        return found

    def chosen(self, split: str, style: str = "all") -> pd.DataFrame:
        """The profile's texts of a split, of one style or all."""
        data = self.data[of_style(self.data, style)]
        return select_scenarios(data, split, int(self.parameters[f"n_{split}"]))

    def altered(self) -> Material:
        """The same material of a run that can be altered in memory; what was read is shared."""
        return replace(self, run=self.run.copied(), _tensors=dict(self._tensors), _trained={})

    def trained_on(self, held_out: frozenset[str], style: str) -> pd.Series:
        """Which rows of `texts` vectors of a style were fitted on.

        Args:
            held_out: scenarios that a part of a cross-fitted design validates and tests on; empty for the data set's
                own split.
        """
        key = (held_out, style)
        if key not in self._trained:
            self._trained[key] = self._fitted(held_out, style)
        return self._trained[key]

    def _fitted(self, held_out: frozenset[str], style: str) -> pd.Series:
        if held_out:
            inside = self.texts["scenario"].isin(self._universe - held_out)
            return inside & of_style(self.texts, style)
        if style == self.other_style:
            return self.texts["id"].isin(self._other_style_ids)
        return self.texts["id"].isin(self.chosen("train", style)["id"])

    @property
    def other_style(self) -> str:
        return OTHER_STYLE.get(str(self.parameters.get("vector_style", "explicit")), "implicit")

    @cached_property
    def _other_style_ids(self) -> set[str]:
        """As many training scenarios of the other style as the profile asks for, or all that are whole."""
        data = self.data[(self.data["split"] == "train") & of_style(self.data, self.other_style)]
        whole = data.groupby("scenario")["emotion"].nunique() == self.data["emotion"].nunique()
        count = min(int(self.parameters["n_train"]), int(whole.sum()))
        return set(select_scenarios(data, "train", count)["id"]) if count else set()

    @cached_property
    def _universe(self) -> set[str]:
        return set().union(*(self.chosen(split)["scenario"] for split in SPLITS))

    def training_scenarios(self, held_out: frozenset[str]) -> set[str]:
        """The scenarios that a part trains on."""
        return self._universe - held_out if held_out else set(self.chosen("train")["scenario"])

    # activations

    def stored(self, site: str, position: str) -> dict[int, Artifact]:
        """By layer the files of one site and position."""
        found = [a for a in self.run.of_kind("activations") if a.said["site"] == site]
        return {int(a.said["layer"] or 0): a for a in found if a.said["position"] == position}

    def tensors(self, artifact: Artifact) -> dict[str, np.ndarray]:
        """A file's tensors, read once."""
        if artifact.path not in self._tensors:
            self._tensors[artifact.path] = read_tensors(artifact.path)[2]
        return self._tensors[artifact.path]

    def put(self, artifact: Artifact, tensors: dict[str, np.ndarray]) -> None:
        """Lets the file's tensors be read as these; the file stays as it is."""
        self._tensors[artifact.path] = tensors

    def activations(self, position: str, layer: int) -> np.ndarray:
        """`resid_pre` of every text at a position that every text has, `[text, d_model]`.

        Raises:
            UserError: it is not stored.
        """
        found = self.stored("resid_pre", position).get(layer)
        if found is None:
            raise UserError(f"expected resid_pre of layer {layer} at {position}, found no such file; run Phase 2")
        return self.tensors(found)["values"].astype(np.float32)
