"""What could have been done instead of adding an emotion's vector: other directions, and asking in words.

The first principal component, the normal of a probe, a move inside the emotion's subspace, and a prompt that asks for
the emotion. Each at the share of broken texts nearest the vector's (`matched_alphas`), and each direction beside the
vector at the direction's own strength (`equal_strength`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import yaml

from emolib.base import paths
from emolib.directions.rivals import KINDS as ALTERNATIVES
from emolib.directions.rivals import alternative_vectors
from emolib.directions.subspaces import fit_subspaces
from emolib.scoring.measures import measures
from emolib.statistics import intervals
from emolib.steering.claims import success
from emolib.steering.sweeps import Cell, prompting_shard, steer_cell, subspace_shard, sweep_cells
from emolib.study.phase5_steering import design
from emolib.study.run import Run

SUBSPACE_ALPHAS = (0.5, 1.0)


def alternatives_sweep(run: Run, split: str) -> pd.DataFrame:
    """PCA, probe and subspace steers at the chosen layer, and prompting; on validation at every strength, on test at
    the strength that `matched_alphas` gives each emotion.

    Every rival's strength is that at which its share of broken validation texts is nearest the vector's.
    """
    points = design.operating_points(run)
    chosen = None if split == "validation" else matched_alphas(run)

    def sweep(part: design.Part) -> pd.DataFrame:
        layer, given = points[part.name].layer, design.settings(run, part)
        cells = [cell for kind in ALTERNATIVES for cell in _direction_cells(run, part, kind, layer, chosen)]
        cells += _subspace_cells(run, part, layer, chosen)
        shards = [(f"directions_layer{layer:03d}", cells)]
        if split == "test":
            shards.append(prompting_shard(*prompting_templates(run, part), given))
        texts, stored = design.prompts(run, part, split), run.shards(part.file(f"{split}_alternatives"))
        return sweep_cells(run.lm, texts, shards, settings=given, run=stored)

    def compute() -> pd.DataFrame:
        table = design.joined(run, sweep)
        return design.beside_baseline(run, table) if split == "test" else table

    return run.once(f"alternatives/{split}", compute)


def matched_alphas(run: Run) -> dict[tuple[str, str, str], float]:
    """(part, kind, emotion) → the strength whose broken share on validation is nearest the vector's, the larger own
    effect of equals."""
    table = matching(run)
    return dict(zip(table[["part", "kind", "emotion"]].itertuples(index=False, name=None), table["alpha"], strict=True))


def matching(run: Run) -> pd.DataFrame:
    """How each rival's strength was matched on validation.

    Returns:
        part, kind, emotion, alpha, gap (its share of broken validation texts minus the vector's).
    """
    return run.once("matching", lambda: _matching(run))


def _matching(run: Run) -> pd.DataFrame:
    rivals, own = alternatives_sweep(run, "validation"), design.validation_sweep(run)
    points = design.operating_points(run)
    known = measures(own, run.emotions)
    found = []
    for name, point in points.items():
        mine = own[(own["part"] == name) & (own["kind"] == "emotion")]
        mine = mine[(mine["layer"] == point.layer) & (mine["alpha"] == point.alpha)]
        shares = mine.groupby("emotion")["fluency/broken"].mean()
        cells = rivals[rivals["part"] == name].groupby(["kind", "emotion", "alpha"])
        table = pd.DataFrame({"broken": cells["fluency/broken"].mean()})
        for emotion in run.emotions:
            table[emotion] = cells[known[emotion][-1]].mean()
        for (kind, emotion), rows in table.groupby(level=["kind", "emotion"]):
            gap = (rows["broken"] - shares[emotion]).round(9)
            best = rows[gap.abs() == gap.abs().min()][emotion].idxmax()
            row = {"part": name, "kind": kind, "emotion": emotion, "alpha": float(best[2])}
            found.append({**row, "gap": float(gap[best])})
    return pd.DataFrame(found)


def equal_strength(run: Run, test: pd.DataFrame, dose: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """The emotion's vector beside every other direction at that direction's own strength, which is an equal ‖Δh‖.

    The vector's texts come from the test sweep or, at other strengths, the dose sweep; a pair is left out where
    neither holds that strength. A move inside a subspace has no such strength and is not here.

    Returns:
        kind, emotion, metric, alpha (mean over parts), own and rival (mean effects, broken texts as 0), own_broken,
        rival_broken, n, ahead with its interval (see `ahead_of`).
    """
    steered = pd.concat([t[t["kind"] == "emotion"] for t in (test, dose)], ignore_index=True)
    rows = []
    for kind in ALTERNATIVES:
        for emotion, names in measures(test, run.emotions).items():
            rival = others[(others["kind"] == kind) & (others["emotion"] == emotion)]
            own = steered[steered["emotion"] == emotion]
            own = own[np.isclose(own["alpha"], own["part"].map(rival.groupby("part")["alpha"].first()).astype(float))]
            rival = rival[rival["scenario"].isin(own["scenario"])]
            if rival["scenario"].nunique() < 2:
                continue
            shared = {"kind": kind, "emotion": emotion, "alpha": float(rival["alpha"].mean())}
            shared |= {"own_broken": float(own["fluency/broken"].mean())}
            shared |= {"rival_broken": float(rival["fluency/broken"].mean())}
            base = test[(test["kind"] == "baseline") & test["scenario"].isin(rival["scenario"])]
            rows += [{**shared, "metric": m, **_beside(run, own, rival, base, m)} for m in names]
    return pd.DataFrame(rows)


def _beside(run: Run, own: pd.DataFrame, rival: pd.DataFrame, base: pd.DataFrame, metric: str) -> dict[str, float]:
    zero, ours, theirs = (success(t, metric).groupby(t["scenario"]).mean() for t in (base, own, rival))
    found = {"own": float((ours - zero).mean()), "rival": float((theirs - zero).mean()), "n": len(theirs)}
    return found | ahead_of(run, ours, theirs, success(base, metric))


def ahead_of(run: Run, ours: pd.Series, theirs: pd.Series, base: pd.Series) -> dict[str, float]:
    """How much more the emotion's vector moves a measure than a rival on the same scenarios.

    Args:
        ours, theirs: one value per scenario under the vector and under the rival.
        base: the unpatched texts' values, whose spread says what counts as no variation.

    Returns:
        ahead (mean difference), ahead_low and ahead_high (95 % BCa over scenarios), ahead_degenerate.
    """
    interval = intervals.bootstrap_mean(
        (ours - theirs).dropna().to_numpy(),
        n_resamples=run.params.n_resamples,
        seed=run.params.seed,
        reference_sd=float(base.std(ddof=1)) or None,
    )
    found = {"ahead": interval.mean, "ahead_low": interval.low, "ahead_high": interval.high}
    return found | {"ahead_degenerate": interval.degenerate}


def _direction_cells(
    run: Run, part: design.Part, kind: str, layer: int, chosen: Mapping[tuple[str, str, str], float] | None
) -> list[Cell]:
    vecs = run.once(
        f"{kind}/{part.name}",
        lambda: alternative_vectors(
            kind, design.training(run, part), design.vectors(run, part), layers=[layer], neutral=run.params.neutral
        ),
    )
    cells = []
    for emotion in run.emotions:
        alphas = run.params.alphas if chosen is None else [chosen[part.name, kind, emotion]]
        cells += [steer_cell(kind, vecs, emotion, layer, a, design.settings(run, part)) for a in alphas if a]
    return cells


def _subspace_cells(
    run: Run, part: design.Part, layer: int, chosen: Mapping[tuple[str, str, str], float] | None
) -> list[Cell]:
    subs = run.once(
        f"subspaces/{part.name}",
        lambda: fit_subspaces(design.training(run, part), k=subspace_size(run), neutral=run.params.neutral),
    )
    sizes = dict.fromkeys(run.emotions, subspace_size(run))
    _, cells = subspace_shard(subs, sizes, layer, SUBSPACE_ALPHAS, design.settings(run, part))
    return [c for c in cells if chosen is None or c.alpha == chosen[part.name, "subspace", c.emotion]]


def subspace_size(run: Run) -> int:
    """k of the subspace steers: the parameter, at most the training scenarios."""
    return min(run.params.subspace_k, min(len(part.train) for part in design.parts(run)))


# prompting


def prompting_templates(run: Run, part: design.Part) -> tuple[dict[str, str], str]:
    """What the model continues when it is asked for each emotion, and the same format without asking.

    A chat model gets an instruction in its own chat format; a base model the first few training texts of the emotion
    (of neutral, without asking) before the prompt.
    """
    wording = yaml.safe_load(paths.prompting_file().read_text(encoding="utf-8"))
    if is_chat(run):
        asked = {}
        for emotion in run.emotions:
            tone = wording["tones"].get(emotion) or wording["other"].format(label=emotion)
            asked[emotion] = design.prompt_template(run, "\n\n" + wording["instruction"].format(tone=tone))
        return asked, design.prompt_template(run)
    data = run.data
    first = data[data["scenario"].isin(part.train)]
    texts = {e: rows["text"].head(wording["examples"]).tolist() for e, rows in first.groupby("emotion")}
    written = {e: "\n\n".join([*shown, "{text}"]) for e, shown in texts.items()}
    return {e: written[e] for e in run.emotions}, written[run.params.neutral]


def is_chat(run: Run) -> bool:
    """Whether the model is known as a chat model and its tokenizer has the format."""
    return bool(run.lm.spec.chat and run.lm.tokenizer.chat_template)
