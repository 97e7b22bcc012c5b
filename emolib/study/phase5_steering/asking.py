"""Asking by examples instead of steering: an emotion's training texts before the prompt, in the prompt's own format.

The number of examples is the dose: of those tried, the one whose KL on validation prompts is nearest to the steer's.
"""

from __future__ import annotations

import pandas as pd

from emolib.base import store
from emolib.steering.cells import Cell
from emolib.steering.comparisons import ASKING
from emolib.steering.context_kl import context_kl, nearest_dose
from emolib.steering.few_shot import asked_template, example_scenarios
from emolib.study.phase5_steering.design import training
from emolib.study.phase5_steering.instrument_design import first_part
from emolib.study.phase5_steering.shift_design import shift_design
from emolib.study.phase5_steering.shift_results import kept_alone, kl_texts
from emolib.study.phase5_steering.sweep_settings import template_of
from emolib.study.phase5_steering.trained_vectors import steer_kl
from emolib.study.run import Run, kept


@kept
def example_texts(run: Run) -> pd.DataFrame:
    """Scenarios down, emotions across: the texts that may be examples, as many as are tried at most.

    They are of those that the vectors are fitted on, of no scenario that is measured or adjusted by; see
    `emolib.steering.few_shot.example_scenarios`.
    """
    part, data = first_part(run), run.data
    held = set(shift_design(run, part, "training").cells["text"])
    fitted = training(run, part).texts
    fitted = fitted[~fitted["scenario"].isin(held)]
    train = data["scenario"].isin(part.train) if part.name else data["split"] == "train"
    tested = data["scenario"].isin(part.test) if part.name else data["split"] == "test"
    names = example_scenarios(fitted, data[train], data[tested], emotions=run.emotions)
    wide = fitted.pivot_table(index="scenario", columns="emotion", values="text", aggfunc="first")
    return wide.reindex(index=names, columns=list(run.emotions)).head(max(run.params.asked_examples))


def askable(run: Run) -> bool:
    """Whether there are examples enough for the fewest that are tried, and a KL to bring them near to."""
    measured = bool(kl_texts(run, first_part(run))) and min(steer_kl(run).values()) > 0
    return measured and len(example_texts(run)) >= min(run.params.asked_examples)


@kept
def asked_doses(run: Run) -> pd.DataFrame:
    """The KL of every number of examples that is tried and that there are.

    Returns:
        emotion, n_examples, kl (mean over the validation prompts of `kl_texts`, nat).
    """
    part, texts = first_part(run), kl_texts(run, first_part(run))
    cells = [_cell(run, emotion, count) for count in _counts(run) for emotion in run.emotions]

    def compute() -> pd.DataFrame:
        rows = [(prompt, _asked(run, cell, prompt), ids) for cell in cells for prompt, ids in texts]
        found = context_kl(run.lm, *([*column] for column in zip(*rows, strict=True)))
        named = [(cell.emotion, cell.index) for cell in cells for _ in texts]
        table = pd.DataFrame(named, columns=["emotion", "n_examples"]).assign(kl=found)
        return table.groupby(["emotion", "n_examples"], sort=False)["kl"].mean().reset_index()

    matched = {"prompts": store.digest(texts), "cells": [cell.described() for cell in cells]}
    return kept_alone(run, part, "asked_kl", matched, compute, len(cells) * len(texts))


@kept
def asked_table(run: Run) -> pd.DataFrame:
    """The number of examples per emotion; see `emolib.steering.context_kl.nearest_dose`."""
    return nearest_dose(asked_doses(run), steer_kl(run))


@kept
def asked_cells(run: Run) -> tuple[Cell, ...]:
    """Asking for every emotion at its number of examples."""
    chosen = asked_table(run).set_index("emotion")["n_examples"]
    return tuple(_cell(run, emotion, int(chosen[emotion])) for emotion in run.emotions)


def _counts(run: Run) -> list[int]:
    return [count for count in sorted(run.params.asked_examples) if count <= len(example_texts(run))]


def _cell(run: Run, emotion: str, count: int) -> Cell:
    template = asked_template(example_texts(run)[emotion].head(count).tolist(), template_of(run))
    return Cell(ASKING, emotion, -1, 0.0, count, None, run.params.seed, template)


def _asked(run: Run, cell: Cell, prompt: str) -> str:
    """What stands in the place of a prompt that is in the run's format."""
    head, _, tail = template_of(run).partition("{text}")
    assert cell.template is not None, "asking has a template of its own"
    return cell.template.replace("{text}", prompt[len(head) : len(prompt) - len(tail)])
