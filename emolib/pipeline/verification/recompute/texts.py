"""Phase 5's texts worked out again: drawn rows of every kind of every sweep, one at a time, through plain transformers.

A greedy text follows from its prompt and its act. The text's tokens are fed in one pass under the act; where each of
them has the highest logit at its step, and the text ends where it has to, no other text could have come out. Where that
is not so (or where the text does not say how it was split into tokens), the text is written anew, token by token with a
cache. Of sampled texts the row's random numbers are drawn again, and every token has to be the one that its number
meets. A text that parts from the stored one passes only where another token was nearer than the tolerance at that step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from emolib.pipeline.verification.check_rows import BROKEN, Measured, Rows
from emolib.pipeline.verification.recompute.material import Material
from emolib.pipeline.verification.recompute.plain_acts import PlainAct
from emolib.pipeline.verification.recompute.plain_model import PlainModel
from emolib.pipeline.verification.recompute.plain_writing import Choice, Sampled, Stored, greedy, log_softmax, parts_at
from emolib.pipeline.verification.recompute.shard_acts import PartActs, part_of, parts_of, sweep_of
from emolib.pipeline.verification.run_files import Artifact

PARTS = {True: 1e-3, False: 0.25}  # logits (or a share of probability), by whether the model is one of float32
LIKELIHOOD = {True: 1e-3, False: 0.05}  # nat per token
RATIO = {True: 1e-3, False: 0.03}  # of ‖Δh‖/‖h‖, relative


@dataclass(frozen=True)
class Drawn:
    """One row of a shard that is worked out again.

    Attributes:
        prompt: what the model continued, template included.
        number: of the prompt in its shard, which seeds a sampled text.
    """

    artifact: Artifact
    row: Mapping[str, Any]
    prompt: str
    number: int
    act: PlainAct | None
    settings: Mapping[str, Any]

    @property
    def stratum(self) -> str:
        """Sweep, part and kind, which rows are drawn by."""
        return stratum(self.artifact, str(self.row["kind"]))

    @property
    def told(self) -> str:
        return str(self.row["row_id"])


def drawn_rows(material: Material, measured: Mapping[str, list[Measured]], rows: Rows) -> Iterator[Drawn]:
    """Rows of every kind of every sweep and part, with their acts; what cannot be worked out again is told.

    Args:
        measured: by stratum the measurements, which are told how many rows there are.
    """
    parts = parts_of(material)
    for name, found in strata(material).items():
        for one in measured[name]:
            one.of = len(found)
        for at in material.drawn(f"texts {name}", len(found)):
            artifact, place = found[at]
            try:
                yield _drawn(material, artifact, place, parts[part_of(artifact)])
            except BROKEN as error:
                rows.failed(artifact.path, f"a row of {name} cannot be worked out again: {error}")


def strata(material: Material) -> dict[str, list[tuple[Artifact, int]]]:
    """By `stratum` the shard and the place of every row."""
    found: dict[str, list[tuple[Artifact, int]]] = {}
    for artifact in material.run.of_kind("shard"):
        if artifact.manifest is None:
            continue  # told by another check
        for place, kind in enumerate(material.run.table(artifact)["kind"]):
            found.setdefault(stratum(artifact, str(kind)), []).append((artifact, place))
    return found


def stratum(artifact: Artifact, kind: str) -> str:
    """What rows are drawn by: the part where the design has several, the sweep, and the kind of act."""
    return " ".join([*filter(None, [part_of(artifact)]), sweep_of(artifact), kind])


def _drawn(material: Material, artifact: Artifact, place: int, part: PartActs) -> Drawn:
    matched = artifact.matched
    prompts, settings = matched["prompts"], matched["settings"]
    count = len(prompts["text"])
    cell = matched["cells"][place // (count * int(settings["n_samples"]))]
    template = cell[6] or settings["template"]
    row = {str(name): value for name, value in material.run.table(artifact).iloc[place].items()}
    prompt = template.replace("{text}", prompts["text"][place % count])
    return Drawn(artifact, row, prompt, place % count, part.act(cell, settings), settings)


def check_texts(material: Material, rows: Rows) -> None:
    """Drawn texts are what the plain model writes under the same act; likelihoods, too, and how far the act moves."""
    whole = strata(material)
    exact = material.is_float32
    tolerances = {
        "recomputed texts": PARTS[exact],
        "recomputed likelihoods": LIKELIHOOD[exact],
        "recomputed strengths": RATIO[exact],
    }
    found = {name: [Measured(0, limit) for limit in tolerances.values()] for name in whole}
    ties: dict[str, list[str]] = {name: [] for name in whole}
    rows.check = "recomputed texts"
    if not whole:
        rows.skipped(material.run.paths.sweep("test"), "no sweep is stored")
    for drawn in drawn_rows(material, found, rows):
        _judge(material.model, drawn, found[drawn.stratum], ties[drawn.stratum])
    for place, check in enumerate(tolerances):
        rows.check = check
        for name, measured in found.items():
            if measured[place].compared:
                rows.measured(name, measured[place], "; ".join(ties[name]) if not place else "")


def _judge(model: PlainModel, drawn: Drawn, found: list[Measured], ties: list[str]) -> None:
    """One row: its text, its likelihood without the act, and how far the act moved the prompt."""
    text, likelihood, strength = found
    row, given = drawn.row, drawn.settings
    prompt, ids = model.prompt_ids(drawn.prompt), model.text_ids(str(row["text"]))
    logits, ratios = model.forced(prompt, ids, drawn.act)
    stored = Stored(str(row["text"]), int(given["max_new_tokens"]), int(row["n_tokens"]), str(row["finish_reason"]))
    off = parts_at(model, prompt, stored, drawn.act, _choice(drawn), logits)
    if 0 < off <= text.tolerance:
        ties.append(f"{drawn.told} parts at a step where another token was {off:.1g} away")
    text.add(off, f"the text of {drawn.told}")
    if drawn.act is not None:
        held, wanted = float(row["delta_ratio"]), float(ratios.mean())
        strength.add(abs(held / wanted - 1) if wanted else abs(held), f"the realised strength of {drawn.told}")
    if ids and not pd.isna(row.get("fluency/nll", np.nan)):
        plain = logits if drawn.act is None else model.forced(prompt, ids)[0]
        likelihood.add(abs(mean_nll(plain, ids) - float(row["fluency/nll"])), f"the likelihood of {drawn.told}")


def mean_nll(logits: np.ndarray, ids: list[int]) -> float:
    """Mean negative log-likelihood of a text's tokens, in nats; `logits` are `[1 + text, vocabulary]`."""
    return float(-log_softmax(logits[:-1])[np.arange(len(ids)), ids].mean())


def _choice(drawn: Drawn) -> Choice:
    given = drawn.settings
    if not float(given["temperature"]):
        return greedy
    sample = int(drawn.row["sample"])
    key = [int(given["seed"]), 2, drawn.number, *([sample] if sample else [])]  # of prompt and sample, whatever the act
    draws = random_numbers(key, int(given["max_new_tokens"]))
    return Sampled(draws, float(given["temperature"]), float(given["top_p"]))


def random_numbers(key: list[int], count: int) -> np.ndarray:
    """Those that a row's tokens are drawn with, one per step."""
    return np.random.default_rng(int(np.random.SeedSequence(key).generate_state(1)[0])).random(count)
