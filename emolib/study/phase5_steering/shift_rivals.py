"""The emotions' vectors beside a trained direction and asking by examples, at the steer's KL: by S on test texts, and
by what is generated after test prompts. In a cross-fitted design the first part stands for all.

Every method is read on the same texts, after the same prompts (each text after one), with the same measures: raw,
adjusted (on training texts under the same method) and contextual (at the places of the same neutral texts).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from emolib.base import store
from emolib.engine.continuation import context_logprobs, context_shift
from emolib.scoring.measures import with_targets
from emolib.steering.cells import Cell
from emolib.steering.comparisons import ASKING, VECTOR
from emolib.steering.kl_search import TOLERANCE
from emolib.steering.shift_leads import TRAINED, shift_leads, text_leads
from emolib.steering.shift_measures import measured_cells
from emolib.steering.shift_parts import lexicon, row_means, token_table
from emolib.steering.specific_shift import label_pairs
from emolib.steering.sweeps import sweep_cells
from emolib.study.phase5_steering.asking import askable, asked_cells, asked_table
from emolib.study.phase5_steering.design import prompts
from emolib.study.phase5_steering.instrument_design import first_part, lexicon_design, scaled
from emolib.study.phase5_steering.own_sweeps import test_sweep
from emolib.study.phase5_steering.shift_design import ShiftDesign, counted_texts, dose_design, shift_design
from emolib.study.phase5_steering.shift_results import kept_alone
from emolib.study.phase5_steering.shift_sweeps import (
    ShiftShard,
    begin,
    emotion_shard,
    emotion_tokens,
    measurable,
    shift_points,
)
from emolib.study.phase5_steering.sweep_settings import settings
from emolib.study.phase5_steering.trained_vectors import steer_kl, trainable, trained_cells, trained_table
from emolib.study.run import Run, kept

N_FIT = 10  # training texts' scenarios that the adjustment is fitted on, with the usual number of validation texts
FEWEST_FIT = 6
PLACE = ["prompt", "text", "label", "position"]


@dataclass(frozen=True)
class ShiftRivals:
    """What stands beside the vectors.

    Attributes:
        leads: see `emolib.steering.shift_leads.shift_leads`.
        texts: see `emolib.steering.shift_leads.text_leads`.
        doses: method, emotion, dose (α, or the number of examples), kl, wanted (the steer's KL), nat, and whether the
            two are equal, within 5 %.
        trained: of the trained directions: direction, step, gain, cosine; None where none was trained.
    """

    leads: pd.DataFrame
    texts: pd.DataFrame
    doses: pd.DataFrame
    trained: pd.DataFrame | None


@kept
def beside_steers(run: Run) -> ShiftRivals | None:
    """The comparison; None where S cannot be measured, or neither could be trained nor asked for."""
    if not measurable(run) or not methods(run):
        return None
    given = {"n_resamples": run.params.n_resamples, "seed": run.params.seed}
    part, test = first_part(run), test_sweep(run)
    test = test[test["part"] == part.name]
    about = trained_table(run).drop_duplicates("direction") if TRAINED in methods(run) else None
    return ShiftRivals(
        leads=shift_leads(rival_cells(run)),
        texts=text_leads(test, rival_sweep(run), run.emotions, margin=run.params.broken_margin, **given),
        doses=_doses(run),
        trained=None if about is None else about[["direction", "step", "gain", "cosine"]].reset_index(drop=True),
    )


@kept
def methods(run: Run) -> dict[str, tuple[Cell, ...]]:
    """The cells of every other method that the data and the model allow."""
    found = {TRAINED: trained_cells(run)} if trainable(run) else {}
    return found | ({ASKING: asked_cells(run)} if askable(run) else {})


def _doses(run: Run) -> pd.DataFrame:
    alpha, rows = shift_points(run)[first_part(run).name].alpha, []
    for emotion, kl in steer_kl(run).items():
        rows.append({"method": VECTOR, "emotion": emotion, "dose": alpha, "kl": kl, "wanted": kl})
    if TRAINED in methods(run):
        for row in trained_table(run).drop_duplicates("direction").itertuples():
            at = {"method": TRAINED, "emotion": row.direction, "dose": row.alpha, "kl": row.kl, "wanted": row.wanted}
            rows.append(at)
    if ASKING in methods(run):
        table = asked_table(run).rename(columns={"n_examples": "dose"}).assign(method=ASKING)
        rows += table.astype({"dose": float}).to_dict("records")
    found = pd.DataFrame(rows, columns=["method", "emotion", "dose", "kl", "wanted"])
    return found.assign(equal=(found["kl"] / found["wanted"] - 1).abs() <= TOLERANCE)


# S


@kept
def rival_cells(run: Run) -> pd.DataFrame:
    """S of every cell by every measure and method.

    Returns:
        method, then the columns of `emolib.steering.shift_measures.measured_cells`.
    """
    found = [_measured(run, VECTOR, emotion_shard(run, first_part(run)).cells)]
    found += [_measured(run, method, cells) for method, cells in methods(run).items()]
    return pd.concat(found, ignore_index=True)


def _measured(run: Run, method: str, cells: tuple[Cell, ...]) -> pd.DataFrame:
    """S of one method."""
    part = first_part(run)
    test, fit = _designs(run)
    labels = {"test": run.emotions, "training": (*run.emotions, run.params.neutral)}
    tokens = {}
    for split, design in (("test", test), ("training", fit)):
        whole = emotion_shard(run, part, split)
        read = token_table(whole.rows, emotion_tokens(run, split)[part.name], counted_texts(run, part))
        plain = _among(read[read["label"].isin(labels[split])], design)
        if method == VECTOR:
            tokens[split] = plain
        else:
            shard = ShiftShard(run, part, f"{split}_{method}", design, labels[split], cells)
            tokens[split] = _read(run, shard, plain)
    table = row_means(tokens["test"], ["shift"])
    given = {"tokens": tokens["test"], "training": tokens["training"], "own": len(run.emotions) > 2}
    lexical = _lexicon(run, method, cells, tokens["test"])
    return measured_cells(table, pairs=label_pairs(table), lexical=lexical, **given).assign(method=method)


@kept
def _designs(run: Run) -> tuple[ShiftDesign, ShiftDesign]:
    """The test texts after one prompt each, and the training texts that the adjustment is fitted on."""
    part = first_part(run)
    fit = shift_design(run, part, "training")
    return dose_design(run, part), replace(fit, cells=fit.cells.head(scaled(run, N_FIT, FEWEST_FIT)))


def _among(tokens: pd.DataFrame, design: ShiftDesign) -> pd.DataFrame:
    held = pd.MultiIndex.from_frame(design.cells[["prompt", "text"]])
    return tokens[pd.MultiIndex.from_frame(tokens[["prompt", "text"]]).isin(held)]


def _read(run: Run, shard: ShiftShard, plain: pd.DataFrame) -> pd.DataFrame:
    """The tokens of a design under a method, held against the unpatched model after the prompt alone."""
    begin(run, shard.name, [shard])
    tokens = _at_the_point(run, token_table(shard.rows, shard.tokens(), counted_texts(run, shard.part)))
    once = plain.drop_duplicates(PLACE).set_index(PLACE)[["logprob_unpatched", "entropy"]]
    tokens = tokens.drop(columns=["logprob_unpatched", "entropy"]).join(once, on=PLACE)
    return tokens.assign(shift=tokens["logprob"] - tokens["logprob_unpatched"])


def _at_the_point(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """Acts of several strengths, as one: S holds acts of one layer and strength against each other."""
    point = shift_points(run)[first_part(run).name]
    return table.assign(layer=point.layer, alpha=point.alpha)


def _lexicon(run: Run, method: str, cells: tuple[Cell, ...], tokens: pd.DataFrame) -> pd.DataFrame:
    """What a method does to each token of the test texts in any sentence."""
    part = first_part(run)
    shard = ShiftShard(run, part, f"test_lexicon_{method}", lexicon_design(run), (run.params.neutral,), cells)
    token_ids = sorted(set(tokens["token_id"].tolist()))

    def compute() -> pd.DataFrame:
        rows = shard.rows
        asked, words, acts = shard.given(rows)
        if method == ASKING:
            plain = _plain_prompts(shard)
            found = context_logprobs(run.lm, asked, words, token_ids, batch_size=shard.batch_size)
            found = found - context_logprobs(run.lm, plain, words, token_ids, batch_size=shard.batch_size)
        else:
            found = context_shift(run.lm, asked, words, acts, token_ids, batch_size=shard.batch_size)
        return lexicon(rows, token_ids, found).astype({"layer": int, "token_id": int})

    matched = {**shard.matched(), "token_ids": store.digest(token_ids)}
    return _at_the_point(run, kept_alone(run, part, shard.name, matched, compute, shard.n_rows))


def _plain_prompts(shard: ShiftShard) -> list[str]:
    """The prompts of a shard's rows as they stand without examples."""
    alone = replace(shard, cells=tuple(replace(cell, template=None) for cell in shard.cells))
    return alone.given(alone.rows)[0]


# generated texts


@kept
def rival_sweep(run: Run) -> pd.DataFrame:
    """What is generated after the test prompts under every other method; the unpatched rows are the test sweep's."""
    part = first_part(run)
    shards = [(method, list(cells)) for method, cells in methods(run).items()]
    given, stored = settings(run, part), run.shards(part.file("test_rivals"))
    table = sweep_cells(run.lm, prompts(run, part, "test"), shards, settings=given, run=stored)
    return with_targets(table.assign(part=part.name), run.emotions)
