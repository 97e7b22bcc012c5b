"""What every cell of a shard did, worked out again from the run's stored activations and the shard's manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from emolib.base.errors import UserError
from emolib.pipeline.verification.recompute import plain_acts
from emolib.pipeline.verification.recompute.material import Material
from emolib.pipeline.verification.recompute.plain_acts import PlainAct
from emolib.pipeline.verification.recompute.stored_vectors import Fit, mean_difference
from emolib.pipeline.verification.run_files import Artifact
from emolib.pipeline.verification.sweep_checks import SHARD

WITH_VECTOR = ("emotion", "direct_path", "zero", "other_style", "pca", "probe")
UNPATCHED = ("baseline", "prompting", "prompting_baseline")
ANGLES = (30.0, 45.0, 60.0)  # degrees between a vector and the perturbed one
Cell = Sequence[Any]  # kind, emotion, layer, alpha, index, seed, template


@dataclass
class PartActs:
    """The acts of one part of the design (all of it unless the design is cross-fitted).

    Attributes:
        name: empty, or `fold0`, ….
        held_out: the scenarios that the part validates and tests on; empty for the data set's own split.
    """

    material: Material
    name: str
    held_out: frozenset[str]
    _tokens: dict[int, np.ndarray] = field(default_factory=dict)

    def act(self, cell: Cell, settings: Mapping[str, Any]) -> PlainAct | None:
        """What a cell does; None where it does nothing to the stream.

        Raises:
            UserError: a kind that is not known here, or something that it was made from is not stored.
        """
        kind, emotion, layer, alpha, index, seed = cell[:6]
        timing = {"window": int(settings["window"]), "schedule": plain_schedule(settings["schedule"])}
        if kind in UNPATCHED or (kind == "zero" and not alpha):
            return None
        if kind == "subspace":
            return self._move(emotion, int(layer), float(alpha), int(index), timing)
        if kind == "perturbed":
            vector = self._perturbed(emotion, int(layer), int(index), int(seed))
        else:
            vector = self._vector(kind, emotion, int(layer), int(seed))
        whose = emotion in self.emotions and kind != "perturbed"
        own = self.mean_difference(emotion, int(layer)) if whose else vector
        unit = self._unit(str(settings["unit"]), int(layer), own)
        return plain_acts.steer(int(layer), vector, float(alpha) * unit, **timing)

    def _vector(self, kind: str, emotion: str, layer: int, seed: int) -> np.ndarray:
        match kind:
            case "emotion" | "direct_path" | "zero":
                return self.mean_difference(emotion, layer)
            case "other_style":
                return self.mean_difference(emotion, layer, self.material.other_style)
            case "concept":
                return self._stored("like-valent and concept vectors", emotion)
            case "trained":
                return self._stored("trained vectors", emotion)
            case "isotropic":
                return plain_acts.isotropic(self.material.activations(self.position, layer).shape[1], seed)
            case "covariance":
                return plain_acts.covariance(self.neutral_tokens(layer), seed)
            case "shuffled":
                return plain_acts.shuffled(self.cube(layer), seed)
            case "pca" | "probe":
                cube, place = self.cube(layer).astype(np.float64), 1 + self.emotions.index(emotion)
                if kind == "pca":
                    return plain_acts.first_component(cube[:, place] - cube[:, 0])
                return plain_acts.probe(cube[:, place], cube[:, 0])
        raise UserError(f"expected a kind of act that can be worked out again, got {kind}")

    def _stored(self, files: str, name: str) -> np.ndarray:
        """A direction as it is stored: what it was made from, or how it was trained, is not followed."""
        for artifact in self.material.run.of_kind(files):
            table = self.material.run.table(artifact)
            mine = table[table["direction"] == name].sort_values("dimension")
            if len(mine):
                return mine["value"].to_numpy(np.float32)
        raise UserError(f"expected a stored vector of {name}, found none; run Phase 5")

    def _perturbed(self, emotion: str, layer: int, number: int, seed: int) -> np.ndarray:
        """An emotion's vector with an orthogonal one added; its number counts emotions, then the angles of `ANGLES`."""
        v = self.mean_difference(emotion, layer).astype(np.float64)
        angle = np.radians(ANGLES[number % len(ANGLES)])
        key = [seed, 5, self.emotions.index(emotion), 0]
        drawn = np.random.default_rng(int(np.random.SeedSequence(key).generate_state(1)[0])).standard_normal(len(v))
        drawn -= (drawn @ v) / (v @ v) * v
        found: np.ndarray = v + np.tan(angle) * np.linalg.norm(v) * drawn / np.linalg.norm(drawn)
        return found

    def _unit(self, unit: str, layer: int, own: np.ndarray) -> float:
        """The length that a strength of 1 has, in activation units."""
        if unit == "vector":
            return float(np.linalg.norm(own))
        if unit == "kl":
            return self._kl_length(layer)
        name = {"resid": "token_norms", "bulk": "bulk_norms"}[unit]
        file = self.material.tensors(self.material.stored("resid_pre", self.position)[layer])
        return float(np.median(file[name][self._later_tokens_of_neutral]))

    def _kl_length(self, layer: int) -> float:
        for artifact in self.material.run.of_kind("KL lengths"):
            if (artifact.said.get("part") or "") == self.name:
                table = self.material.run.table(artifact)
                return float(table.loc[table["layer"] == layer, "unit"].iloc[0])
        raise UserError("expected the lengths of the unit kl, found no such table; run Phase 5")

    def _move(self, emotion: str, layer: int, alpha: float, k: int, timing: Mapping[str, Any]) -> PlainAct:
        cube, place = self.cube(layer).astype(np.float64), 1 + self.emotions.index(emotion)
        basis = plain_acts.leading(cube[:, place] - cube[:, 0], k).astype(np.float32)
        target = (cube[:, place].mean(axis=0) @ basis).astype(np.float32)
        return PlainAct(layer, basis=basis, target=target, alpha=alpha, **timing)

    # what the acts are made from

    @property
    def position(self) -> str:
        return str(self.material.parameters.get("vector_position", "mean"))

    @property
    def style(self) -> str:
        return str(self.material.parameters.get("vector_style", "explicit"))

    @property
    def neutral(self) -> str:
        return str(self.material.parameters.get("neutral", "neutral"))

    def mean_difference(self, emotion: str, layer: int, style: str | None = None) -> np.ndarray:
        """An emotion's vector, fitted anew on the stored activations of the part's training texts."""
        fit = Fit(self.position, style or self.style, self.neutral, self.held_out)
        return mean_difference(self.material, fit, layer, emotion).astype(np.float32)

    @cached_property
    def _trained(self) -> np.ndarray:
        return np.asarray(self.material.trained_on(self.held_out, self.style))

    @cached_property
    def emotions(self) -> list[str]:
        labels = self.material.texts["emotion"][self._trained]
        return [name for name in dict.fromkeys(labels) if name != self.neutral]

    @cached_property
    def _places(self) -> np.ndarray:
        """`[scenario, label]`: where the texts of the scenarios that have every label stand; neutral comes first."""
        texts = self.material.texts
        rows = texts.assign(place=np.arange(len(texts)))[self._trained]
        wide = rows.pivot(index="scenario", columns="emotion", values="place").dropna()
        return wide[[self.neutral, *self.emotions]].to_numpy(dtype=int)

    def cube(self, layer: int) -> np.ndarray:
        """`[scenario, label, d_model]`."""
        return self.material.activations(self.position, layer)[self._places]

    @cached_property
    def _later_tokens_of_neutral(self) -> np.ndarray:
        """Of all stored tokens those of neutral training texts that are not a text's first."""
        texts = self.material.texts
        neutral = self._trained & (texts["emotion"] == self.neutral).to_numpy()
        counts = texts["n_tokens"].to_numpy()
        chosen = np.repeat(neutral, counts)
        chosen[np.cumsum(counts) - counts] = False
        return chosen

    def neutral_tokens(self, layer: int) -> np.ndarray:
        """`[token, d_model]`: the residual at the tokens of the part's neutral training texts, first ones left out."""
        if layer not in self._tokens:
            data = self.material.data
            train = self.material.training_scenarios(self.held_out)
            texts = data.loc[data["scenario"].isin(train) & (data["emotion"] == self.neutral), "text"]
            model = self.material.model
            parts = [model.residuals(model.prompt_ids(text), [layer])[0][1:] for text in texts]
            self._tokens[layer] = np.concatenate(parts)
        return self._tokens[layer]


def parts_of(material: Material) -> dict[str, PartActs]:
    """The parts of the run's design, by name, as the shards tell them."""
    held_out: dict[str, set[str]] = {}
    for artifact in material.run.of_kind("shard"):
        name = part_of(artifact)
        prompts = artifact.matched.get("prompts", {}) if artifact.manifest else {}
        held_out.setdefault(name, set()).update(prompts.get("scenario", ()))
    return {name: PartActs(material, name, frozenset(held if name else ())) for name, held in held_out.items()}


def part_of(artifact: Artifact) -> str:
    """The part whose shard it is."""
    found = SHARD.fullmatch(artifact.said["shard"] or "")
    return (found["part"] or "") if found else ""


def sweep_of(artifact: Artifact) -> str:
    """The sweep whose shard it is."""
    found = SHARD.fullmatch(artifact.said["shard"] or "")
    return found["what"] if found else artifact.path.stem


def plain_schedule(value: Any) -> Any:
    """A schedule as manifests and records hold it: a word, a rate, or factors."""
    return value if isinstance(value, str | float) else [float(factor) for factor in value]
