"""Cells: one setting of a sweep each, generated for every prompt, and how they are written and made again.

What a cell does decides the identity of the shard that holds its texts (`fingerprint`). A cell is made again from the
row of a sweep table that it left (`cells_of_rows`), so that what was done to a text can be done once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError, nearest, shown
from emolib.base.signatures import told
from emolib.base.strength import DEFAULT_UNIT, UNITS, Unit
from emolib.data.activations import LayerVector
from emolib.directions.controls import FAMILIES, ControlSource, isotropic_direction
from emolib.directions.subspaces import Subspaces
from emolib.directions.vectors import EmotionVectors
from emolib.engine.generation import checked_batch_size
from emolib.engine.sampling import Decoding
from emolib.interventions import Decay, Intervention, Steer, SubspaceSteer, fingerprint_of
from emolib.interventions.schedules import Schedule, checked_schedule

KINDS = (
    *("baseline", "emotion", "isotropic", "direct_path", "covariance", "shuffled"),
    *("pca", "probe", "subspace", "prompting", "prompting_baseline", "zero", "other_style", "trained"),
)  # their places seed the control directions: a new kind goes to the end
STEERED = ("emotion", "direct_path", "zero", "pca", "probe", "trained")  # kinds that steer with a vector of their own


@told
@dataclass(frozen=True)
class SweepSettings:
    """How every row of a sweep is generated and scored.

    Attributes:
        temperature, top_p: 0 is greedy; when sampling, the rows of one prompt share their random numbers, so that a
            steered text and its baseline differ by the patch alone.
        nll_limit: above it a text is broken (`scoring.fluency`); None leaves fluency out.
        schedule: `constant`, the rate of an exponential decay per step, or the factor of every step.
        template: what the model continues, with the prompt's text in place of `{text}`.
        n_samples: texts per prompt and cell, when sampling.
    """

    unit: Unit = DEFAULT_UNIT
    window: int = 3
    schedule: str | float | tuple[float, ...] = "constant"
    template: str = "{text}"
    n_samples: int = 1
    max_new_tokens: int = 30
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    batch_size: int | Literal["auto"] = "auto"
    backend: str = "bundled"
    nll_limit: float | None = None

    def __post_init__(self) -> None:
        arguments.one_of("unit", self.unit, UNITS)
        decoding = Decoding(self.max_new_tokens, self.temperature, self.top_p)
        rate = isinstance(self.schedule, float)
        checked = {
            "window": arguments.whole_number("window", self.window, least=1),
            "schedule": Decay(self.schedule).rate if rate else checked_schedule(self.schedule),
            "template": arguments.text("template", self.template),
            "n_samples": arguments.whole_number("n_samples", self.n_samples, least=1),
            "max_new_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": arguments.whole_number("seed", self.seed, least=0),
            "batch_size": checked_batch_size(self.batch_size) or "auto",
            "nll_limit": None if self.nll_limit is None else arguments.number("nll_limit", self.nll_limit),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def fingerprint(self) -> dict[str, object]:
        """Everything here that determines a row's values."""
        return {key: value for key, value in self.__dict__.items() if key != "batch_size"}

    def check(self) -> None:
        """Raises `UserError` for settings that contradict each other."""
        if self.n_samples > 1 and self.temperature == 0:
            raise UserError(f"expected one greedy text per prompt, got n_samples={self.n_samples}; set a temperature")
        if "{text}" not in self.template:
            raise UserError(f"expected a template that holds {{text}}, got {shown(self.template)}")

    def factors(self) -> Schedule:
        """The schedule as an intervention takes it."""
        return Decay(self.schedule) if isinstance(self.schedule, float) else self.schedule


@dataclass(frozen=True)
class Cell:
    """One setting, generated for every prompt.

    Attributes:
        template: instead of the settings'.
    """

    kind: str
    emotion: str
    layer: int
    alpha: float
    index: int
    act: Intervention
    seed: int
    template: str | None = None

    def described(self) -> tuple[str, str, int, float, int, int, str | None]:
        """What a row says of its cell."""
        return self.kind, self.emotion, self.layer, self.alpha, self.index, self.seed, self.template

    def fingerprint(self) -> str:
        """What the cell does to the model, as one hash: equal where its acts are equal."""
        return fingerprint_of(self.act)


@told
@dataclass(frozen=True)
class Controls:
    """Which control directions, and which other controls, run beside the emotions' vectors.

    Attributes:
        count: directions per family, layer and strength, of the same norm as the steer. In unit `vector` every
            emotion's vector has its own norm, so every direction is used once per emotion.
        families: of `emolib.directions.controls.FAMILIES`.
        source: what the families beside `isotropic` are drawn from.
        direct_path: also steer at the final residual, with the emotion's vector of that layer.
        zero: also pass every prompt through a steer of strength 0, whose texts have to be the baseline's.

    Raises:
        UserError: an unknown family, or one without its source.
    """

    count: int = 0
    families: Sequence[str] = ("isotropic",)
    source: ControlSource | None = field(default=None, repr=False)
    direct_path: bool = False
    zero: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", arguments.whole_number("count", self.count, least=0))
        object.__setattr__(self, "families", tuple(arguments.listed("families", self.families, "families")))
        for name in ("direct_path", "zero"):
            object.__setattr__(self, name, arguments.flag(name, getattr(self, name)))
        for family in self.families if self.count else ():
            if family not in FAMILIES:
                raise UserError(f"unknown family of controls {shown(family)}: {nearest(family, FAMILIES)}")
            if self.source is None and family != "isotropic":
                raise UserError(f"expected source=ControlSource(…) for the control family {family}, got none")


def control_seed(seed: int, kind: str, layer: int, index: int) -> int:
    """The seed of one control direction: independent of how many there are and of the order in which they run."""
    return int(np.random.SeedSequence([seed, KINDS.index(kind), layer, index]).generate_state(1)[0])


def baseline_cell(settings: SweepSettings) -> Cell:
    """Every prompt as the unpatched model continues it."""
    return Cell("baseline", "none", -1, 0.0, 0, None, settings.seed)


def steer_cell(
    kind: str, vecs: EmotionVectors, emotion: str, layer: int, alpha: float, settings: SweepSettings
) -> Cell:
    """A steer with an emotion's vector of that layer."""
    return Cell(kind, emotion, layer, alpha, 0, _steer(vecs[emotion][layer], alpha, settings), settings.seed)


def _steer(vector: LayerVector, alpha: float, settings: SweepSettings) -> Steer:
    given = {"unit": settings.unit, "window": settings.window, "schedule": settings.factors()}
    return Steer(vector.layer, vector, alpha, **given)


def control_cells(
    vecs: EmotionVectors,
    layer: int,
    alpha: float,
    index: int,
    settings: SweepSettings,
    family: str = "isotropic",
    source: ControlSource | None = None,
) -> list[Cell]:
    """One control direction; in unit `vector` once per emotion, scaled to that emotion's norm."""
    seed = control_seed(settings.seed, family, layer, index)
    like = vecs[vecs.emotions[0]][layer]
    direction = source.direction(family, layer, seed) if source else isotropic_direction(len(like.values), seed)
    named = {e: vecs[e][layer].norm for e in vecs} if settings.unit == "vector" else {"any": 1.0}
    cells = []
    for emotion, norm in named.items():
        vector = replace(like, values=direction * np.float32(norm))
        cells.append(Cell(family, emotion, layer, alpha, index, _steer(vector, alpha, settings), seed))
    return cells


def subspace_shard(
    subs: Subspaces, sizes: Mapping[str, int], layer: int, alphas: Sequence[float], settings: SweepSettings
) -> tuple[str, list[Cell]]:
    """Moves to the mean coordinates of every emotion in its first k directions: h ← h + α U (μ − Uᵀh).

    Args:
        sizes: k per emotion.
    """
    cells = []
    for alpha in alphas:
        for emotion, k in sizes.items():
            part = subs[emotion][layer].leading(k)
            act = SubspaceSteer(
                layer, part.basis, part.target, alpha, window=settings.window, schedule=settings.factors()
            )
            cells.append(Cell("subspace", emotion, layer, float(alpha), k, act, settings.seed))
    return f"subspace_layer{layer:03d}", cells


def prompting_shard(templates: Mapping[str, str], plain: str, settings: SweepSettings) -> tuple[str, list[Cell]]:
    """The emotion asked for in words instead of steered, and the same format without asking.

    Args:
        templates: per emotion what the model continues, with `{text}` in it.
        plain: the same without the emotion; what the effect of asking is measured against.
    """
    base = Cell("prompting_baseline", "none", -1, 0.0, 0, None, settings.seed, plain)
    asked = [Cell("prompting", e, -1, 0.0, 0, None, settings.seed, template) for e, template in templates.items()]
    return "prompting", [base, *asked]


def cells_of_rows(
    rows: pd.DataFrame, vecs: EmotionVectors, settings: SweepSettings, *, source: ControlSource | None = None
) -> list[Cell]:
    """The cell of every row of a sweep table, made again from what the row says.

    Args:
        rows: columns kind, emotion, layer, alpha, index. Kinds `pca` and `probe` need their own vectors as `vecs`.
        source: what the families beside `isotropic` were drawn from.

    Raises:
        UserError: a kind whose act a row does not say (a move inside a subspace, asking in words, another style).
    """
    made: dict[tuple, Cell] = {}
    found = []
    for row in rows[["kind", "emotion", "layer", "alpha", "index"]].itertuples(index=False):
        if row not in made:
            made[row] = _cell_of_row(*row, vecs=vecs, settings=settings, source=source)
        found.append(made[row])
    return found


def _cell_of_row(
    kind: str,
    emotion: str,
    layer: int,
    alpha: float,
    index: int,
    *,
    vecs: EmotionVectors,
    settings: SweepSettings,
    source: ControlSource | None,
) -> Cell:
    if kind == "baseline":
        return baseline_cell(settings)
    if kind in STEERED:
        return steer_cell(kind, vecs, emotion, int(layer), float(alpha), settings)
    if kind in FAMILIES:
        cells = control_cells(vecs, int(layer), float(alpha), int(index), settings, kind, source)
        return next(cell for cell in cells if cell.emotion == emotion)
    raise UserError(f"expected rows of {', '.join(('baseline', *STEERED, *FAMILIES))}, got one of {shown(kind)}")
