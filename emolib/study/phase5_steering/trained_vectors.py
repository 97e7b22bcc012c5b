"""A direction per emotion that is trained on the texts that the vectors are fitted on, to stand beside them.

At the chosen layer, in the steers' window, at the length at which it moves the next token as far as the steer does. The
emotion's training texts are held against the other emotions' of the same scenario, after neutral texts of training
scenarios on which no vector was fitted, where there are such. A quarter of the scenarios decides where training ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.directions.vectors import EmotionVectors
from emolib.engine.trained_shift import ContrastRow, Descent, ShiftTraining
from emolib.steering.cells import Cell, steer_cell
from emolib.steering.damage import next_token_kl
from emolib.steering.kl_search import equal_kl_strengths
from emolib.steering.shift_leads import TRAINED
from emolib.study.phase5_steering.design import training
from emolib.study.phase5_steering.instrument_design import first_part
from emolib.study.phase5_steering.like_valent import at_one_layer
from emolib.study.phase5_steering.shift_design import training_prompts
from emolib.study.phase5_steering.shift_results import dose_kl, kept_alone, kl_texts
from emolib.study.phase5_steering.shift_sweeps import shift_points
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.phase5_steering.sweep_settings import settings, template_of
from emolib.study.run import Run, kept

HELD_OUT = 4  # every so manieth scenario decides where training ends


@kept
def steer_kl(run: Run) -> dict[str, float]:
    """How far every emotion's steer moves the next token at the chosen point, in nat; see `dose_kl`."""
    part = first_part(run)
    known = dose_kl(run, part)
    mine = known[np.isclose(known["alpha"], shift_points(run)[part.name].alpha)].set_index("emotion")["kl"]
    return {emotion: float(mine[emotion]) for emotion in run.emotions}


def trainable(run: Run) -> bool:
    """Whether the engine reads the model's weights, a KL can be measured, and there are two scenarios to train on."""
    measured = bool(kl_texts(run, first_part(run))) and min(steer_kl(run).values()) > 0
    return run.lm.blueprint is not None and measured and len(_scenarios(run)) >= 2


@kept
def trained_cells(run: Run) -> tuple[Cell, ...]:
    """The trained directions' steers at the strength at which each has its emotion's steer's KL."""
    table = trained_table(run)
    alphas = table.drop_duplicates("direction").set_index("direction")["alpha"]
    return _cells(run, _as_vectors(run, table), [float(alphas[emotion]) for emotion in run.emotions])


@kept
def trained_table(run: Run) -> pd.DataFrame:
    """What was trained.

    Returns:
        direction (the emotion), dimension, value (norm of the emotion's vector), and of every direction step (of the
        gradient steps, the one that was kept), gain (nat per token on the held-out scenarios), cosine (with the
        emotion's vector), alpha, kl (at it), wanted (the steer's), reached (within 5 %).
    """
    part = first_part(run)
    layer, wanted = shift_points(run)[part.name].layer, steer_kl(run)
    rows, descent = _rows(run), _descent(run)

    def compute() -> pd.DataFrame:
        trained, places = ShiftTraining(run.lm, layer, *rows, descent), range(len(run.emotions))
        start = _lengths(run, _cells(run, vectors(run, part), [_alpha(run)] * len(run.emotions)))
        begun = {e: trained.shift(own, start[e], steps=0) for own, e in zip(places, run.emotions, strict=True)}
        first = _as_vectors(run, _directions(run, {e: one.direction for e, one in begun.items()}))
        lengths = _lengths(run, _cells(run, first, _search(run, first)["alpha"].tolist()))
        found = {e: trained.shift(own, lengths[e]) for own, e in zip(places, run.emotions, strict=True)}
        table = _directions(run, {emotion: one.direction for emotion, one in found.items()})
        kept_steps = {e: one.curve[one.curve["chosen"]].iloc[0] for e, one in found.items()}
        own = vectors(run, part)
        about = pd.DataFrame(
            {
                "direction": list(found),
                "step": [int(kept_steps[e]["step"]) for e in found],
                "gain": [float(kept_steps[e]["held_out"]) for e in found],
                "cosine": [float(found[e].direction @ own[e][layer].direction) for e in found],
            }
        )
        strengths = _search(run, _as_vectors(run, table)).drop(columns="steps")
        return table.merge(pd.concat([about, strengths], axis=1), on="direction")

    matched = {
        "rows": store.digest([[asdict(row) for row in side] for side in rows]),
        "descent": store.digest(list(map(str, descent.fingerprint().items()))),
        "place": {"layer": layer, "alpha": _alpha(run)},
        "wanted": wanted,
        "prompts": store.digest(kl_texts(run, part)),
        "acts": store.digest([cell.fingerprint() for cell in _cells(run, vectors(run, part), [1.0] * len(wanted))]),
    }
    return kept_alone(run, part, "trained_vectors", matched, compute, len(run.emotions))


def _alpha(run: Run) -> float:
    return float(shift_points(run)[first_part(run).name].alpha)


def _descent(run: Run) -> Descent:
    given = settings(run, first_part(run))
    return Descent(run.params.trained_steps, window=given.window, schedule=given.factors(), seed=run.params.seed)


def _directions(run: Run, found: dict[str, np.ndarray]) -> pd.DataFrame:
    """Directions as a table, each of its emotion's vector's norm."""
    part = first_part(run)
    own, layer = vectors(run, part), shift_points(run)[part.name].layer
    tables = [
        pd.DataFrame({"direction": e, "dimension": range(len(w)), "value": w.astype(float) * own[e][layer].norm})
        for e, w in found.items()
    ]
    return pd.concat(tables, ignore_index=True)


def _as_vectors(run: Run, table: pd.DataFrame) -> EmotionVectors:
    part = first_part(run)
    return at_one_layer(vectors(run, part), shift_points(run)[part.name].layer, table)


def _cells(run: Run, vecs: EmotionVectors, alphas: Sequence[float]) -> tuple[Cell, ...]:
    part = first_part(run)
    layer, given = shift_points(run)[part.name].layer, settings(run, part)
    pairs = zip(run.emotions, alphas, strict=True)
    return tuple(steer_cell(TRAINED, vecs, emotion, layer, float(alpha), given) for emotion, alpha in pairs)


def _lengths(run: Run, cells: Sequence[Cell]) -> dict[str, float]:
    """What every steer adds, in activation units."""
    return {cell.emotion: float(np.linalg.norm(cell.act.delta())) for cell in cells}


def _search(run: Run, vecs: EmotionVectors) -> pd.DataFrame:
    """The strength of each emotion's direction that has its steer's KL; see `equal_kl_strengths`."""
    prompts, wanted, alpha = kl_texts(run, first_part(run)), steer_kl(run), _alpha(run)
    sign = float(np.sign(alpha))  # a run may suppress

    def measure(which: Sequence[int], alphas: np.ndarray) -> np.ndarray:
        every = np.full(len(run.emotions), alpha)
        every[list(which)] = sign * alphas
        cells = [_cells(run, vecs, every.tolist())[i] for i in which]
        rows = [(prompt, ids, cell.act) for cell in cells for prompt, ids in prompts]
        found = np.asarray(next_token_kl(run.lm, *([*column] for column in zip(*rows, strict=True))))
        return found.reshape(len(cells), len(prompts)).mean(axis=1)

    found = equal_kl_strengths(measure, [abs(alpha)] * len(run.emotions), [wanted[e] for e in run.emotions])
    return found.assign(alpha=sign * found["alpha"])


# the texts


@kept
def _scenarios(run: Run) -> pd.DataFrame:
    """Scenarios down, emotions across: the texts that the vectors are fitted on."""
    texts = training(run, first_part(run)).texts
    texts = texts[texts["emotion"].isin(run.emotions)]
    wide = texts.pivot_table(index="scenario", columns="emotion", values="text", aggfunc="first").dropna()
    return wide.sample(frac=1.0, random_state=run.params.seed)[list(run.emotions)]


def _rows(run: Run) -> tuple[list[ContrastRow], list[ContrastRow]]:
    """The rows to train on and those that decide where it ends, with every emotion's text."""
    texts, template = _scenarios(run), template_of(run)
    prompts = training_prompts(run, first_part(run))
    free = [name for name in prompts if name not in texts.index]
    found: tuple[list[ContrastRow], list[ContrastRow]] = ([], [])
    for place, (scenario, row) in enumerate(texts.iterrows()):
        pool = free or [name for name in prompts if name != scenario]
        prompt = template.replace("{text}", prompts[pool[place % len(pool)]])
        held = place % HELD_OUT == HELD_OUT - 1 or place == len(texts) - 1 < HELD_OUT - 1
        found[int(held)].append(ContrastRow(prompt, tuple(row[emotion] for emotion in run.emotions)))
    return found
