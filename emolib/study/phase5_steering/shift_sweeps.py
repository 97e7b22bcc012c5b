"""Phase 5's continuation shifts: under every candidate on validation texts, under the chosen one on test texts.

The acts are those of the sweeps: the same cells, hence the same vectors, unit, window and schedule. What the measures
are is in `emolib.steering.shift_tables`, `specific_shift` and `shift_parts`; what follows what, in `shift_design`.
Every shard is an artifact: one per candidate layer, and of the controls one per family or some hundred directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from emolib.base import store
from emolib.base.errors import UserError
from emolib.directions.controls import FAMILIES
from emolib.engine.continuation import continuation_shift, token_shifts
from emolib.engine.continuation_means import means_of_tokens
from emolib.interventions import Intervention
from emolib.steering.cells import Cell, control_cells, steer_cell
from emolib.steering.claims import ANY, OWN
from emolib.steering.operating_point import OperatingPoint
from emolib.steering.shift_choice import broken_shares, choose_shift_point
from emolib.steering.shift_leads import METHODS
from emolib.steering.shift_tables import ACT, shift_table
from emolib.steering.specific_shift import specific_shift
from emolib.steering.sweeps import fingerprint_of_cells
from emolib.study.phase5_steering.design import Part, controls, parts
from emolib.study.phase5_steering.shift_design import (
    FEWEST_TRAINING,
    GRID_POINTS,
    ShiftDesign,
    control_design,
    dose_design,
    grid_design,
    shift_design,
    unmeasurable,
)
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.phase5_steering.sweep_settings import settings, template_of
from emolib.study.phase5_steering.validation_sweeps import candidate_layers, validation_sweep
from emolib.study.run import Run, kept

DIRECTIONS_PER_SHARD = 100
LARGEST_BATCH = 512  # rows of one pass; a run that generates fewer at once keeps to that number
ZERO = "zero"


@dataclass(frozen=True)
class ShiftShard:
    """Some acts on a design, which make one artifact.

    Attributes:
        labels: whose texts are looked at.
    """

    run: Run = field(repr=False)
    part: Part
    name: str
    design: ShiftDesign = field(repr=False)
    labels: tuple[str, ...]
    cells: tuple[Cell, ...] = field(repr=False)

    @property
    def rows(self) -> pd.DataFrame:
        """The design's rows, with kind, owner and index of their acts; see `act_table`."""
        acts = act_table(self.cells)
        rows = self.design.rows(acts, self.labels)
        return rows.merge(acts, on=ACT, how="left", validate="many_to_one")

    @property
    def n_rows(self) -> int:
        """How many rows the model reads."""
        return len(self.design.cells) * len(self.labels) * len(self.cells)

    def given(self, rows: pd.DataFrame) -> tuple[list[str], list[str], list[Intervention]]:
        """Prompts, texts and acts of the rows, as the engine takes them."""
        template = template_of(self.run)
        by_act = dict(zip(act_table(self.cells)[ACT].itertuples(index=False, name=None), self.cells, strict=True))
        cells = [by_act[act] for act in rows[ACT].itertuples(index=False, name=None)]
        texts = [self.design.prompts[name] for name in rows["prompt"]]
        prompts = [(c.template or template).replace("{text}", text) for c, text in zip(cells, texts, strict=True)]
        return prompts, rows["words"].tolist(), [cell.act for cell in cells]

    @property
    def batch_size(self) -> int:
        """Rows at once: never more than the run generates, a number that a resumed run finds again."""
        size = settings(self.run, self.part).batch_size
        return LARGEST_BATCH if size == "auto" else min(size, LARGEST_BATCH)

    def matched(self) -> dict[str, object]:
        """What the numbers are made from, beside the model."""
        return {
            "design": store.digest([self.design.written(), self.labels, template_of(self.run)]),
            "cells": [cell.described() for cell in self.cells],
            "acts": fingerprint_of_cells(self.cells),
        }

    def shifts(self) -> pd.DataFrame:
        """As `shift_table` gives it, with the columns of `act_table`; found or computed."""

        def compute() -> pd.DataFrame:
            rows = self.rows
            found = continuation_shift(self.run.lm, *self.given(rows), batch_size=self.batch_size)
            return shift_table(rows, found).assign(**rows[["kind", "owner", "index"]].to_dict("series"))

        return self._kept(compute)

    def tokens(self) -> pd.DataFrame:
        """As `emolib.engine.continuation.token_shifts` gives them for `rows`; found or computed."""

        def compute() -> pd.DataFrame:
            return token_shifts(self.run.lm, *self.given(self.rows), batch_size=self.batch_size)

        return self._kept(compute)

    def shifts_of(self, tokens: pd.DataFrame) -> pd.DataFrame:
        """What `shifts` gives, from these tokens, and `shift_shortest`; see `shift_table`."""
        rows = self.rows
        found = means_of_tokens(self.run.lm, rows["words"].tolist(), tokens)
        return shift_table(rows, found, tokens).assign(**rows[["kind", "owner", "index"]].to_dict("series"))

    def _kept(self, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        path = self.run.paths.shift(self.part.file(self.name))
        table = self.run.artifacts.table(path, self.matched(), compute)
        computed = path in self.run.artifacts.computed
        self.run.progress.advance(self.n_rows, shard=self.name, computed=computed)
        return table


def act_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """The acts of cells: an emotion's own bears its label's name, a control direction that of its family and number.

    Returns:
        act, layer, alpha, kind (`emotion`, another way of moving towards an emotion, `zero` or a family), owner (the
        emotion whose vector or norm it has, `any` for directions that stand for all of them), index.
    """
    rows = []
    for cell in cells:
        name = cell.emotion if cell.kind in METHODS else ZERO if cell.kind == ZERO else f"{cell.kind} {cell.index}"
        if cell.kind in FAMILIES and cell.emotion != ANY:
            name += f" of {cell.emotion}"
        row = {"act": name, "layer": cell.layer, "alpha": cell.alpha, "kind": cell.kind}
        rows.append({**row, "owner": cell.emotion, "index": cell.index})
    return pd.DataFrame(rows)


def measurable(run: Run) -> bool:
    """Whether S can be measured; see `emolib.study.phase5_steering.shift_design.unmeasurable`."""
    return not unmeasurable(run)


# validation


@kept
def validation_shifts(run: Run) -> pd.DataFrame:
    """The shift of the emotions' texts under every emotion's act at every candidate layer and alpha.

    Returns:
        The columns of `emolib.steering.shift_tables.shift_table`, kind, owner, index and part.

    Raises:
        UserError: S cannot be measured; see `emolib.study.phase5_steering.shift_design.unmeasurable`.
    """
    check_measurable(run)
    shards = []
    for part in parts(run):
        vecs, given = vectors(run, part), settings(run, part)
        design = grid_design(run, part)
        for layer, alphas in _candidates(run, part).items():
            cells = [steer_cell(OWN, vecs, emotion, layer, alpha, given) for alpha in alphas for emotion in vecs]
            name = f"validation_layer{layer:03d}"
            shards.append(ShiftShard(run, part, name, design, run.emotions, tuple(cells)))
    begin(run, "validation", shards)
    return pd.concat([shard.shifts().assign(part=shard.part.name) for shard in shards], ignore_index=True)


def _candidates(run: Run, part: Part) -> dict[int, list[float]]:
    """The strengths at which S is measured on validation, by layer."""
    alphas = [alpha for alpha in run.params.alphas if alpha]
    grid = dict.fromkeys(candidate_layers(run), alphas)
    if GRID_POINTS == "all":
        return grid
    sweep = validation_sweep(run)
    shares = broken_shares(sweep[sweep["part"] == part.name], broken_margin=run.params.broken_margin)
    left = set(shares.loc[shares["choosable"], ["layer", "alpha"]].itertuples(index=False, name=None))
    few = {layer: [alpha for alpha in some if (layer, alpha) in left] for layer, some in grid.items()}
    return {layer: some for layer, some in few.items() if some}


@kept
def shift_points(run: Run) -> dict[str, OperatingPoint]:
    """One layer and alpha for all emotions per part, chosen by S on its validation texts; see `choose_shift_point`."""
    table, written = validation_shifts(run), validation_sweep(run)
    found = {}
    for name, rows in table.groupby("part", sort=False):
        generated = written[written["part"] == name]
        cells = specific_shift(rows.drop(columns="part"))
        found[str(name)] = choose_shift_point(cells, generated, broken_margin=run.params.broken_margin)
    return found


# test


@kept
def emotion_shard(run: Run, part: Part, split: str = "test") -> ShiftShard:
    """The emotions' acts at the chosen point on a part's `test` or `training` texts of all labels."""
    point, given, vecs = shift_points(run)[part.name], settings(run, part), vectors(run, part)
    cells = [steer_cell(OWN, vecs, emotion, point.layer, point.alpha, given) for emotion in vecs]
    labels = (*run.emotions, run.params.neutral)
    name = "test_emotion" if split == "test" else "test_training"
    return ShiftShard(run, part, name, shift_design(run, part, split), labels, tuple(cells))


@kept
def emotion_tokens(run: Run, split: str = "test") -> dict[str, pd.DataFrame]:
    """The tokens of `emotion_shard` of every part, by its name."""
    shards = [emotion_shard(run, part, split) for part in parts(run)]
    begin(run, split, shards)
    return {shard.part.name: shard.tokens() for shard in shards}


@kept
def test_shifts(run: Run) -> pd.DataFrame:
    """The shift of test texts at the chosen points: under the emotions' acts of all labels' texts after four prompts
    each; under every control direction, and a steer of strength 0, of the emotions' texts of `control_design`.

    Returns:
        The columns of `emolib.steering.shift_tables.shift_table` (`shift_shortest` under the emotions' acts alone),
        kind, owner, index and part.
    """
    tokens = emotion_tokens(run)
    found = [emotion_shard(run, part).shifts_of(tokens[part.name]).assign(part=part.name) for part in parts(run)]
    shards = [shard for part in parts(run) for shard in _control_shards(run, part)]
    begin(run, "test", shards)
    found += [shard.shifts().assign(part=shard.part.name) for shard in shards]
    return pd.concat(found, ignore_index=True)


def _control_shards(run: Run, part: Part) -> list[ShiftShard]:
    """The steer of strength 0, then the directions of every family."""
    point, given, vecs = shift_points(run)[part.name], settings(run, part), vectors(run, part)
    design = control_design(run, part)
    source = controls(run, part, (point.layer,))
    cells = {"test_zero": [steer_cell(ZERO, vecs, run.emotions[0], point.layer, 0.0, given)]}
    for family in FAMILIES:
        for start in range(0, run.params.n_controls, DIRECTIONS_PER_SHARD):
            numbers = range(start, min(start + DIRECTIONS_PER_SHARD, run.params.n_controls))
            cells[f"test_{family}_{start:04d}"] = [
                cell
                for number in numbers
                for cell in control_cells(vecs, point.layer, point.alpha, number, given, family, source)
            ]
    return [ShiftShard(run, part, name, design, run.emotions, tuple(some)) for name, some in cells.items()]


@kept
def dose_shifts(run: Run) -> pd.DataFrame:
    """The shift of the emotions' test texts after one prompt each, at the other strengths and with the opposite sign.

    Nothing is chosen from it.

    Returns:
        As `test_shifts`, with the rows at the chosen strength.
    """
    check_measurable(run)
    shards, chosen = [], []
    for part in parts(run):
        design = dose_design(run, part)
        shards.append(ShiftShard(run, part, "test_dose", design, run.emotions, tuple(dose_cells(run, part))))
        pairs = pd.MultiIndex.from_frame(design.cells[["prompt", "text"]])
        rows = test_shifts(run)
        rows = rows[(rows["part"] == part.name) & (rows["kind"] == OWN) & rows["label"].isin(run.emotions)]
        chosen.append(rows[pd.MultiIndex.from_frame(rows[["prompt", "text"]]).isin(pairs)])
    begin(run, "dose", shards)
    return pd.concat([*chosen, *(shard.shifts().assign(part=shard.part.name) for shard in shards)], ignore_index=True)


def dose_cells(run: Run, part: Part) -> list[Cell]:
    """The emotions' acts at the strengths that were not chosen, and at the chosen one with the opposite sign."""
    point, given, vecs = shift_points(run)[part.name], settings(run, part), vectors(run, part)
    others = sorted({-point.alpha, *(alpha for alpha in run.params.alphas if alpha not in (0, point.alpha))})
    return [steer_cell(OWN, vecs, emotion, point.layer, alpha, given) for alpha in others for emotion in vecs]


def check_measurable(run: Run) -> None:
    """Raises `UserError` where S cannot be measured."""
    why = unmeasurable(run)
    if why == "one_emotion":
        raise UserError("expected at least two emotions: the shift of one has nothing to be specific against")
    if why:
        raise UserError(
            "expected scenarios with a text of every label, at least two of one style for validation and for test, and "
            f"{FEWEST_TRAINING} for training, got fewer; give more scenarios"
        )


def begin(run: Run, label: str, shards: Sequence[ShiftShard]) -> None:
    """Tells the progress how many rows a stretch has."""
    run.progress.begin(f"shift/{label}", sum(shard.n_rows for shard in shards))
