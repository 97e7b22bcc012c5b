"""One data set per form, looked at closely: the direction, the layer, the effect, and the head that writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from emolib.directions.controls import FAMILIES
from emolib.directions.vectors import cosine
from emolib.engine.generation import generate
from emolib.interventions import AblateHead
from emolib.selftest.loop import N_CONTROLS, Design, Outcome, run_loop
from emolib.selftest.planted import Planted, planted_scenarios
from emolib.selftest.planted.planted_effects import specific_counts
from emolib.selftest.planted.planting import Form, Head
from emolib.selftest.planted_attribution import seen_by_attribution
from emolib.selftest.rows import Row, at_least, at_most, within

COSINE = 0.95
NORM_MARGIN = 0.01
N_ABLATED, N_TOKENS = 12, 12
BACKED_UP, SEEN, UNSEEN = 0.5, 0.3, 0.05


def truth_rows(form: Form, seed: int) -> list[Row]:
    """What the loop finds in a model with the circuit, without distractors, and with the circuit cut."""
    design = Design(form, seed, seed)
    found, bare = run_loop(design), run_loop(replace(design, distractors=False))
    cuts = {name: run_loop(replace(design, cut=cut)) for name, cut in (("write head", "writer"), ("circuit", True))}
    return [
        *direction_rows(form, found),
        *effect_rows(form, found),
        *(
            at_most(form, f"{name} cut: emotions supported", float(cut.claims["supported"].sum()), 0)
            for name, cut in cuts.items()
        ),
        within(form, "without distractors: layer chosen", bare.point.layer, found.point.layer, 0),
        at_most(form, "without distractors: claims that differ", _differing(found, bare), 0),
        *head_rows(form, found.planted, seed),
        *distractor_rows(form, found.planted, seed),
    ]


def _differing(one: Outcome, other: Outcome) -> int:
    return int((one.claims["supported"].to_numpy() != other.claims["supported"].to_numpy()).sum())


def direction_rows(form: str, found: Outcome) -> list[Row]:
    truth, rows = found.planted.truth, []
    for emotion, direction in truth.directions.items():
        fitted = found.vectors[emotion].values[truth.write_layer + 1]
        name = f"direction {emotion}: cosine with the planted one"
        rows.append(at_least(form, name, float(cosine(fitted, direction)), COSINE))
    rows.append(within(form, "layer chosen on validation", found.point.layer, truth.read_layer, 0))
    return rows


def effect_rows(form: str, found: Outcome) -> list[Row]:
    """The smallest rank p there is, for every emotion; and controls as large as the steers."""
    smallest = 1 / (1 + N_CONTROLS)
    rows = []
    for family in FAMILIES:
        worst = float((found.claims[f"p_{family}"] - smallest).abs().max()) + smallest
        rows.append(within(form, f"effect: worst rank p, {family} controls", worst, smallest, 0))
    for family in FAMILIES:
        name = f"{family} controls: size over the steer's"
        rows.append(within(form, name, found.control_norms[family], 1, NORM_MARGIN))
    return rows


def head_rows(form: str, planted: Planted, seed: int) -> list[Row]:
    """The head whose ablation takes most emotion words away is the writer; unread and topic head take none.

    The backup head is ablated throughout, since it stands in for the writer.
    """
    shares = ablation_shares(planted, seed)
    writer = (planted.truth.write_layer, planted.truth.write_head)
    unread, topic = (planted.truth.distractors[role] for role in ("unread", "topic"))
    second = max(share for head, share in shares.items() if head != writer)
    return [
        at_least(form, "write head: share of emotion words lost without it", shares[writer], 0.9),
        within(form, "unread head: the same", shares[unread], 0, 0.1),
        within(form, "topic head: the same", shares[topic], 0, 0.1),
        at_least(form, "write head's share less the next head's", shares[writer] - second, 0.25),
    ]


def distractor_rows(form: str, planted: Planted, seed: int) -> list[Row]:
    """The backup head stands in for the writer; a first-order estimate sees the writer, not the saturated head."""
    writer, backup = (planted.truth.write_layer, planted.truth.write_head), planted.truth.distractors["backup"]
    data = planted_scenarios(planted, N_ABLATED, seed)
    acts = [None, (AblateHead(*writer),), (AblateHead(*writer), AblateHead(*backup))]
    intact, backed, silent = np.mean([_specific(planted, data, e, acts) for e in planted.truth.directions], axis=0)
    rows = [
        at_most(form, "writer ablated, backup head left: share of words lost", float(1 - backed / intact), BACKED_UP),
        at_least(form, "both ablated: the same", float(1 - silent / intact), 0.9),
    ]
    shares = {role: seen_by_attribution(planted, head, seed) for role, head in _attributed(planted).items()}
    rows.append(at_least(form, "writer: first-order estimate over exact effect", shares["writer"], SEEN))
    rows.append(within(form, "saturated head: the same", shares["saturated"], 0, UNSEEN))
    return rows


def _attributed(planted: Planted) -> dict[str, Head]:
    truth = planted.truth
    return {"writer": (truth.write_layer, truth.write_head), "saturated": truth.distractors["saturated"]}


def ablation_shares(planted: Planted, seed: int) -> dict[Head, float]:
    """Per head: the share of specific emotion words (own minus others') that emotional prompts lose without it."""
    data = planted_scenarios(planted, N_ABLATED, seed)
    backup = planted.truth.distractors["backup"]
    heads = [head for head in np.ndindex(planted.lm.n_layers, planted.lm.n_heads) if head != backup]
    acts = [(AblateHead(*backup),), *((AblateHead(*head), AblateHead(*backup)) for head in heads)]
    counts = np.mean([_specific(planted, data, emotion, acts) for emotion in planted.truth.directions], axis=0)
    return {head: float(1 - left / counts[0]) for head, left in zip(heads, counts[1:], strict=True)}


def _specific(planted: Planted, data: pd.DataFrame, emotion: str, acts: Sequence[tuple | None]) -> np.ndarray:
    """Mean specific count per act over the prompts of an emotion, greedy: `[act]`."""
    prompts = data.loc[data["emotion"] == emotion, "text"].tolist()
    rows = [act for act in acts for _ in prompts]
    outs = generate(planted.lm, prompts * len(acts), rows, max_new_tokens=N_TOKENS)
    return specific_counts([out.text for out in outs], emotion).reshape(len(acts), -1).mean(1)
