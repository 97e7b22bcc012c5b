"""Phase 5's texts worked out again: drawn rows of every kind of every sweep, one at a time, through plain transformers.

A greedy text follows from its prompt and its act. The text's tokens are fed in one pass under the act; where each of
them has the highest logit at its step, and the text ends where it has to, no other text could have come out. Where that
is not so (or where the text does not say how it was split into tokens), the text is written anew, token by token with a
cache. Of sampled texts the row's random numbers are drawn again: every token has to be the one that its number meets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from emolib.pipeline.verification.recompute.acts import PlainAct
from emolib.pipeline.verification.recompute.material import Material
from emolib.pipeline.verification.recompute.plain_model import PlainModel
from emolib.pipeline.verification.recompute.shard_acts import PartActs, part_of, parts_of, sweep_of
from emolib.pipeline.verification.rows import BROKEN, Measured, Rows
from emolib.pipeline.verification.run_files import Artifact

NEAR_TIE = {True: 1e-3, False: 0.25}  # logits, by whether the model is one of float32
DRAWS = {True: 1e-3, False: 0.05}  # of a probability, by which a drawn number may lie beside its token
LIKELIHOOD = {True: 1e-3, False: 0.05}  # nat per token
HALF_A_CHARACTER = "\N{REPLACEMENT CHARACTER}"
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
        "recomputed texts": (DRAWS if _sampled(material) else NEAR_TIE)[exact],
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


def _sampled(material: Material) -> bool:
    settings = [a.matched["settings"] for a in material.run.of_kind("shard") if a.manifest]
    return any(float(given["temperature"]) > 0 for given in settings)


def _judge(model: PlainModel, drawn: Drawn, found: list[Measured], ties: list[str]) -> None:
    """One row: its text, its likelihood without the act, and how far the act moved the prompt."""
    text, likelihood, strength = found
    prompt, ids = model.prompt_ids(drawn.prompt), model.text_ids(str(drawn.row["text"]))
    logits, ratios = model.forced(prompt, ids, drawn.act)
    if float(drawn.settings["temperature"]) > 0:
        off = _sampled_off(model, drawn, ids, logits)
    else:
        forced = _greedy_off(model, drawn, ids, logits)
        off = _written_anew(model, drawn, prompt) if forced is None else forced
    if 0 < off <= text.tolerance:
        ties.append(f"{drawn.told} parts at a step whose two best logits lie {off:.1g} apart")
    text.add(off, f"the text of {drawn.told}")
    if drawn.act is not None:
        held, wanted = float(drawn.row["delta_ratio"]), float(ratios.mean())
        strength.add(abs(held / wanted - 1) if wanted else abs(held), f"the realised strength of {drawn.told}")
    if ids and not pd.isna(drawn.row.get("fluency/nll", np.nan)):
        plain = logits if drawn.act is None else model.forced(prompt, ids)[0]
        nll = float(-log_softmax(plain[:-1])[np.arange(len(ids)), ids].mean())
        likelihood.add(abs(nll - float(drawn.row["fluency/nll"])), f"the likelihood of {drawn.told}")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities `[…, vocabulary]` in float64."""
    wide = logits.astype(np.float64)
    top = wide.max(axis=-1, keepdims=True)
    return np.asarray(wide - top - np.log(np.exp(wide - top).sum(axis=-1, keepdims=True)))


# greedy texts


def _greedy_off(model: PlainModel, drawn: Drawn, ids: list[int], logits: np.ndarray) -> float | None:
    """0 where the tokens are those of the highest logits and the text ends as it says; None where that is not told."""
    if len(ids) != drawn.row["n_tokens"] or model.tokenizer.decode(ids, skip_special_tokens=True) != drawn.row["text"]:
        return None
    best = logits.argmax(axis=-1)
    ended = drawn.row["finish_reason"] == "stop"
    as_long = len(ids) == drawn.settings["max_new_tokens"]
    ends = int(best[-1]) in model.stop_ids if ended else as_long
    return 0.0 if (best[:-1] == ids).all() and ends and not set(ids) & model.stop_ids else None


def _written_anew(model: PlainModel, drawn: Drawn, prompt: list[int]) -> float:
    """0 where writing gives the stored text; else how far the two best logits are apart where the texts part."""
    held, most = str(drawn.row["text"]), int(drawn.settings["max_new_tokens"])
    ids: list[int] = []
    steps = model.steps(prompt, drawn.act)
    logits = next(steps)
    for _ in range(most):
        first, second = np.argpartition(-logits, 1)[:2]
        first, second = (first, second) if logits[first] >= logits[second] else (second, first)
        gap = float(logits[first] - logits[second])
        if int(first) in model.stop_ids:
            done = model.tokenizer.decode(ids, skip_special_tokens=True) == held
            return 0.0 if done and drawn.row["finish_reason"] == "stop" else gap
        ids.append(int(first))
        written = model.tokenizer.decode(ids, skip_special_tokens=True).rstrip(HALF_A_CHARACTER)
        if not held.startswith(written):
            return gap
        if len(ids) < most:
            logits = steps.send(int(first))
    same = model.tokenizer.decode(ids, skip_special_tokens=True) == held and drawn.row["finish_reason"] == "length"
    return 0.0 if same else gap


# sampled texts


def _sampled_off(model: PlainModel, drawn: Drawn, ids: list[int], logits: np.ndarray) -> float:
    """How far beside its token's share of the probabilities the farthest of the row's random numbers lies."""
    given = drawn.settings
    ended = drawn.row["finish_reason"] == "stop"
    draws = _random_numbers(drawn, int(given["max_new_tokens"]))
    off = 0.0
    for step, token in enumerate(ids):
        off = max(off, _beside(logits[step], {token}, draws[step], float(given["temperature"]), float(given["top_p"])))
    if ended:
        last = (logits[len(ids)], model.stop_ids, draws[len(ids)])
        off = max(off, _beside(*last, float(given["temperature"]), float(given["top_p"])))
    return off


def _random_numbers(drawn: Drawn, count: int) -> np.ndarray:
    """Those of the row: of its prompt and its sample, whatever its act is."""
    sample = int(drawn.row["sample"])
    key = [int(drawn.settings["seed"]), 2, drawn.number, *([sample] if sample else [])]
    return np.random.default_rng(int(np.random.SeedSequence(key).generate_state(1)[0])).random(count)


def _beside(logits: np.ndarray, tokens: set[int], draw: float, temperature: float, top_p: float) -> float:
    """How far a number lies from the nearest of the tokens' intervals, when probabilities stand by falling size.

    Tokens whose logits lie a thousandth apart may stand in either order: their intervals count as one.
    """
    shares = np.exp(log_softmax(logits / temperature))
    order = np.lexsort((np.arange(len(shares)), -logits))
    ends = shares[order].cumsum()
    nucleus = ends - shares[order] < top_p
    ends = ends / ends[nucleus][-1]
    starts = np.concatenate([[0.0], ends[:-1]])
    beside = 1.0
    for token in tokens:
        alike = nucleus & (np.abs(logits[order] - logits[token]) <= NEAR_TIE[True])
        if alike.any():
            low, high = starts[alike].min(), ends[alike].max()
            beside = min(beside, max(0.0, float(low - draw), float(draw - high)))
    return beside
