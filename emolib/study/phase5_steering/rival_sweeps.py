"""What could have been done instead of adding an emotion's vector: other directions, and asking in words.

The first principal component, the normal of a probe, a move inside the emotion's subspace, and a prompt that asks for
the emotion, each at the share of broken texts nearest the vector's (`matched_alphas`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import pandas as pd
from pydantic import Field

from emolib.base import paths
from emolib.base.config import Frozen, validated
from emolib.base.labels import spelled
from emolib.base.yaml_files import read_mapping
from emolib.directions.rivals import KINDS as ALTERNATIVES
from emolib.directions.rivals import alternative_vectors
from emolib.directions.subspaces import Subspaces, fit_subspaces
from emolib.directions.vectors import EmotionVectors
from emolib.scoring.measures import measures
from emolib.steering.cells import Cell, prompting_shard, steer_cell, subspace_shard
from emolib.steering.sweeps import sweep_cells
from emolib.study.phase5_steering.design import Part, parts, prompts, training
from emolib.study.phase5_steering.own_sweeps import beside_baseline, operating_points
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.phase5_steering.sweep_settings import prompt_template, settings
from emolib.study.phase5_steering.validation_sweeps import joined, validation_sweep
from emolib.study.run import Run, kept

SUBSPACE_ALPHAS = (0.5, 1.0)


@kept
def alternatives_sweep(run: Run, split: str) -> pd.DataFrame:
    """PCA, probe and subspace steers at the chosen layer, and prompting; on validation at every strength, on test at
    the strength that `matched_alphas` gives each emotion.

    Every rival's strength is that at which its share of broken validation texts is nearest the vector's.
    """
    points = operating_points(run)
    chosen = None if split == "validation" else matched_alphas(run)

    def sweep(part: Part) -> pd.DataFrame:
        layer, given = points[part.name].layer, settings(run, part)
        cells = [cell for kind in ALTERNATIVES for cell in _direction_cells(run, part, kind, layer, chosen)]
        cells += _subspace_cells(run, part, layer, chosen)
        shards = [(f"directions_layer{layer:03d}", cells)]
        if split == "test":
            shards.append(prompting_shard(*prompting_templates(run, part), given))
        texts, stored = prompts(run, part, split), run.shards(part.file(f"{split}_alternatives"))
        return sweep_cells(run.lm, texts, shards, settings=given, run=stored)

    table = joined(run, sweep)
    return beside_baseline(run, table) if split == "test" else table


def matched_alphas(run: Run) -> dict[tuple[str, str, str], float]:
    """(part, kind, emotion) → the strength whose broken share on validation is nearest the vector's, the larger own
    effect of equals."""
    table = matching(run)
    return dict(zip(table[["part", "kind", "emotion"]].itertuples(index=False, name=None), table["alpha"], strict=True))


@kept
def matching(run: Run) -> pd.DataFrame:
    """How each rival's strength was matched on validation.

    Returns:
        part, kind, emotion, alpha, gap (its share of broken validation texts minus the vector's).
    """
    rivals, own = alternatives_sweep(run, "validation"), validation_sweep(run)
    points = operating_points(run)
    known = measures(own, run.emotions)
    found = []
    for name, point in points.items():
        mine = own[(own["part"] == name) & (own["kind"] == "emotion")]
        mine = mine[(mine["layer"] == point.layer) & (mine["alpha"] == point.alpha)]
        shares = mine.groupby("emotion")["fluency/broken"].mean()
        cells = rivals[rivals["part"] == name].groupby(["kind", "emotion", "alpha"])
        broken = cells["fluency/broken"].mean()
        effects = {emotion: cells[known[emotion][-1]].mean() for emotion in run.emotions}
        for (kind, emotion), rows in broken.groupby(level=["kind", "emotion"]):
            gap = (rows - shares[emotion]).round(9)
            best = effects[emotion].loc[gap.index[gap.abs() == gap.abs().min()]].idxmax()
            row = {"part": name, "kind": kind, "emotion": emotion, "alpha": float(best[2])}
            found.append({**row, "gap": float(gap[best])})
    return pd.DataFrame(found)


@kept
def _directions(run: Run, part: Part, kind: str, layer: int) -> EmotionVectors:
    return alternative_vectors(
        kind, training(run, part), vectors(run, part), layers=[layer], neutral=run.params.neutral
    )


def _direction_cells(
    run: Run, part: Part, kind: str, layer: int, chosen: Mapping[tuple[str, str, str], float] | None
) -> list[Cell]:
    vecs = _directions(run, part, kind, layer)
    cells = []
    for emotion in run.emotions:
        alphas = run.params.alphas if chosen is None else [chosen[part.name, kind, emotion]]
        cells += [steer_cell(kind, vecs, emotion, layer, a, settings(run, part)) for a in alphas if a]
    return cells


@kept
def _subspaces(run: Run, part: Part) -> Subspaces:
    return fit_subspaces(training(run, part), k=subspace_size(run), neutral=run.params.neutral)


def _subspace_cells(
    run: Run, part: Part, layer: int, chosen: Mapping[tuple[str, str, str], float] | None
) -> list[Cell]:
    subs = _subspaces(run, part)
    sizes = dict.fromkeys(run.emotions, subspace_size(run))
    _, cells = subspace_shard(subs, sizes, layer, SUBSPACE_ALPHAS, settings(run, part))
    return [c for c in cells if chosen is None or c.alpha == chosen[part.name, "subspace", c.emotion]]


def subspace_size(run: Run) -> int:
    """k of the subspace steers: the parameter, at most the training scenarios."""
    return min(run.params.subspace_k, min(len(part.train) for part in parts(run)))


# prompting


def prompting_templates(run: Run, part: Part) -> tuple[dict[str, str], str]:
    """What the model continues when it is asked for each emotion, and the same format without asking.

    A chat model gets an instruction in its own chat format; a base model the first few training texts of the emotion
    (of neutral, without asking) before the prompt.
    """
    wording = prompting_words()
    if is_chat(run):
        asked = {}
        for emotion in run.emotions:
            tone = wording.tones.get(spelled(emotion, wording.tones)) or wording.other.replace("{label}", emotion)
            asked[emotion] = prompt_template(run, "\n\n" + wording.instruction.replace("{tone}", tone))
        return asked, prompt_template(run)
    data = run.data
    first = data[data["scenario"].isin(part.train)]
    texts = {e: rows["text"].head(wording.examples).tolist() for e, rows in first.groupby("emotion")}
    written = {e: "\n\n".join([*shown, "{text}"]) for e, shown in texts.items()}
    return {e: written[e] for e in run.emotions}, written[run.params.neutral]


class PromptingWords(Frozen):
    """What `params/prompting.yaml` says: how an emotion is asked for."""

    instruction: Annotated[str, Field(pattern=r"\{tone\}")]
    tones: dict[str, str]
    other: Annotated[str, Field(pattern=r"\{label\}")]
    examples: Annotated[int, Field(ge=0, le=1_000)]


def prompting_words() -> PromptingWords:
    """The file's words.

    Raises:
        UserError: a word that is missing, unknown or of another kind.
    """
    file = paths.prompting_file()
    return validated(PromptingWords, read_mapping(file, as_written=True), f"key in {paths.display(file)}")


def is_chat(run: Run) -> bool:
    """Whether the model is known as a chat model and its tokenizer has the format."""
    return bool(run.lm.spec.chat and run.lm.tokenizer.chat_template)
