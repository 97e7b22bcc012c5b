"""Which unit of steering strength predicts, over layers and models, where texts break.

Of every model, at layers from about 15 % to 85 % of the depth, four rulers are measured:
- `resid`: the median L2 norm of the stream over the tokens of neutral training texts, each text's first left out;
- `bulk`: the same with the bulk norm, which no minority of huge dimensions moves (`emolib.data.bulk_norms`);
- `kl`: the length at which isotropic directions (others than those that are steered) change the next-token distribution
  by a mean KL(unpatched ‖ patched) of 0.1 nat along unpatched continuations of neutral *training* texts, bisected in
  log length;
- `own kl`: the same of the very direction that is steered, so a length of each direction's own.
Then steers of two families, isotropic directions and the emotions' difference-of-means vectors, run on neutral
validation prompts at absolute lengths: four steps of factor 2, further ones until the broken share passes from about 0
to about 1 (at most to the ends stated below), and one more inside the step in which it passes the half. The grid of
every layer begins at a random fraction of a step, so that its steps follow no ruler. Rows of one prompt share their
random numbers, and a family's prompts are dealt to its directions in turn (`--crossed`: every direction meets every
prompt). A text is broken by the project's own rule (`emolib.scoring.fluency`). `breaking_lengths` turns that into a
breaking length per layer; a good ruler is one in which those lie close together.

    python benchmarks/strength_units.py --models smollm2_135m gemma3_270m --json PATH --figure PATH.svg
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from breaking_lengths import breaking_table, dispersions, predictions, strengths
from measuring import described, run_main, table, write_json

import emolib
from emolib.base.errors import UserError
from emolib.data import styles
from emolib.data.dataset import select_scenarios
from emolib.directions.controls import isotropic_direction
from emolib.directions.vectors import EmotionVectors
from emolib.engine.generation import Generation
from emolib.models.language_model import LanguageModel
from emolib.scoring.fluency import (
    REFERENCE_SCENARIOS,
    fluency_reference,
    nll_limit,
    score_fluency,
    stored_nll_limit,
)
from emolib.steering.damage import next_token_kl

RULERS = ("resid", "bulk", "kl", "own kl")
TITLES = {"kl": "KL of other isotropic directions", "own kl": "KL of its own"}
SHALLOWEST, DEEPEST = 0.15, 0.85  # of the depth
TEMPERATURE = 0.7
START, STEPS = 0.125, 4  # the first lengths, in bulk norms: START · 2^k, before the random fraction of a step
LOWEST, HIGHEST = 0.01, 30.0  # the ends of what is tried, in bulk norms
WHOLE, BROKEN = 0.1, 0.9  # shares of what the unpatched texts leave that count as about none and about all
KL_WANTED, KL_ENDS, KL_STEPS = 0.1, (0.01, 30.0), 8  # nat; bulk norms; halvings of the log length
CALIBRATED = 100  # where the numbers of the isotropic directions begin that `kl` is measured on


Directions = Mapping[str, Mapping[int, np.ndarray]]  # name of each → `[layer of the experiment]` → unit vector


@dataclass(frozen=True)
class Family:
    """Directions of one kind."""

    name: str
    directions: Directions


@dataclass(frozen=True)
class Subject:
    """One model with everything that its rows share."""

    lm: LanguageModel
    layers: tuple[int, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    families: tuple[Family, ...]
    rulers: Mapping[str, Mapping[tuple[int, str], float]]  # ruler → (layer, direction) → its length
    bulk: Mapping[int, float]
    limit: float
    options: argparse.Namespace

    def grid(self, layer: int) -> np.ndarray:
        """The layer's lengths from the lowest to the highest that may be tried, in activation units, ascending."""
        part = np.random.default_rng([self.options.seed, 2, layer]).random() - 0.5
        powers = np.arange(-4, 8 + STEPS)
        units = START * 2.0 ** (powers + part)
        return self.bulk[layer] * units[(units >= LOWEST) & (units <= HIGHEST)]

    def first(self, layer: int) -> np.ndarray:
        grid = self.grid(layer)
        start = int(np.argmin(np.abs(np.log(grid / (START * self.bulk[layer])))))
        return grid[start : start + STEPS]

    def dealt(self, family: Family) -> Iterator[tuple[int, str]]:
        """Prompt and direction of every row of a cell."""
        names = list(family.directions)
        for prompt in range(len(self.prompts)):
            chosen = names if self.options.crossed else [names[prompt % len(names)]]
            yield from ((prompt, name) for name in chosen)


def layers_of(lm: LanguageModel, count: int) -> tuple[int, ...]:
    """Layers spread over the depth, the first and the final residual never among them."""
    wanted = np.linspace(SHALLOWEST, DEEPEST, count) * lm.n_layers if count > 1 else np.array([lm.n_layers / 2])
    return tuple(sorted({int(layer) for layer in np.clip(np.round(wanted), 1, lm.n_layers - 1)}))


def fitted(lm: LanguageModel, data: pd.DataFrame, count: int) -> EmotionVectors:
    """Vectors at the mean over tokens of explicit training texts, as Phase 3 fits them for Phase 5."""
    chosen = select_scenarios(data[styles.of_style(data, "explicit")], "train", count)
    return emolib.fit_emotion_vectors(emolib.extract_activations(lm, chosen, sites=("resid_pre",), positions="mean"))


def subject(name: str, data: pd.DataFrame, options: argparse.Namespace) -> tuple[Subject, list[Generation]]:
    """The model with its rulers, and its unpatched continuations."""
    lm = emolib.load_model(name, device=options.device)
    vecs, layers = fitted(lm, data, options.training_scenarios), layers_of(lm, options.layers)
    neutral = data[(data["split"] == "validation") & (data["emotion"] == "neutral")]["text"].tolist()
    if not 1 <= options.prompts <= len(neutral):
        raise UserError(
            f"expected --prompts from 1 to {len(neutral)}, the neutral validation texts; got {options.prompts}"
        )
    prompts = tuple(neutral[: options.prompts])
    seeds = tuple(int(np.random.SeedSequence([options.seed, i]).generate_state(1)[0]) for i in range(len(prompts)))

    def isotropic(first: int) -> Directions:
        return {
            f"isotropic {i}": {layer: isotropic_direction(lm.d_model, options.seed * 1000 + i) for layer in layers}
            for i in range(first, first + options.directions)
        }

    emotions = {emotion: {layer: vecs[emotion][layer].direction for layer in layers} for emotion in vecs}
    families = (Family("isotropic", isotropic(0)), Family("emotion", emotions))
    plain = emolib.generate(lm, prompts, max_new_tokens=options.new_tokens, temperature=TEMPERATURE, seeds=seeds)
    steered = {name: lengths for family in families for name, lengths in family.directions.items()}
    held = {"resid": vecs.neutral_norms, "bulk": vecs.neutral_bulk_norms}
    measured = {
        ruler: {(layer, name): float(norms[layer]) for layer in layers for name in steered}
        for ruler, norms in held.items()
    }
    bulk = {layer: float(vecs.neutral_bulk_norms[layer]) for layer in layers}
    texts = continued(lm, data, options)
    shared = kl_lengths(lm, *texts, isotropic(CALIBRATED), bulk, together=True)
    calibrated = {layer: length for (layer, _), length in shared.items()}
    measured["kl"] = {(layer, name): calibrated[layer] for layer in layers for name in steered}
    measured["own kl"] = kl_lengths(lm, *texts, steered, bulk)
    said(f"{name}: rulers measured at layers {', '.join(map(str, layers))}")
    return Subject(lm, layers, prompts, seeds, families, measured, bulk, limit_of(lm, data, options), options), plain


def continued(lm: LanguageModel, data: pd.DataFrame, options: argparse.Namespace) -> tuple[list[str], list[list[int]]]:
    """Neutral training texts and their unpatched continuations, sampled, that KL is measured along."""
    neutral = data[(data["split"] == "train") & (data["emotion"] == "neutral")]["text"].tolist()[: options.kl_prompts]
    outs = emolib.generate(
        lm,
        neutral,
        max_new_tokens=options.kl_tokens,
        temperature=TEMPERATURE,
        seeds=[options.seed * 1000 + i for i in range(len(neutral))],
    )
    told = [(text, list(out.token_ids)) for text, out in zip(neutral, outs, strict=True) if out.token_ids]
    return [text for text, _ in told], [ids for _, ids in told]


def limit_of(lm: LanguageModel, data: pd.DataFrame, options: argparse.Namespace) -> float:
    """The likelihood beyond which a text is broken, of the model's own reference."""
    if options.reference_scenarios == REFERENCE_SCENARIOS:
        return stored_nll_limit(lm)
    return nll_limit(fluency_reference(lm, select_scenarios(data, "train", options.reference_scenarios)))


def kl_lengths(
    lm: LanguageModel,
    prompts: Sequence[str],
    continuations: Sequence[Sequence[int]],
    directions: Directions,
    bulk: Mapping[int, float],
    *,
    together: bool = False,
) -> dict[tuple[int, str], float]:
    """Per layer and direction the length that changes the next-token distribution by `KL_WANTED`.

    An end of `KL_ENDS` where the change is not reached between them; with `together` the mean over the directions is
    held against it, one length per layer.
    """
    places = [(layer, name) for layer in bulk for name in directions]
    low, high = (np.log([end * bulk[layer] for layer, _ in places]) for end in KL_ENDS)
    groups = np.array([layer if together else i for i, (layer, _) in enumerate(places)])
    for _ in range(KL_STEPS):
        middle = (low + high) / 2
        acts = [
            emolib.Steer(layer, directions[name][layer], float(np.exp(length)), unit="vector")
            for (layer, name), length in zip(places, middle, strict=True)
            for _ in prompts
        ]
        values = next_token_kl(lm, [*prompts] * len(places), [*continuations] * len(places), acts)
        of_place = pd.Series(np.asarray(values).reshape(len(places), len(prompts)).mean(axis=1))
        beyond = of_place.groupby(groups).transform("mean").to_numpy() > KL_WANTED
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    return dict(zip(places, np.exp((low + high) / 2).tolist(), strict=True))


# steered texts


Cells = list[tuple[int, Family, float]]


def steered(one: Subject, cells: Cells) -> pd.DataFrame:
    """One row per steered text: layer, family, direction, length, prompt, broken."""
    rows = [
        {"layer": layer, "family": family.name, "direction": name, "length": float(length), "prompt": prompt,
         "act": emolib.Steer(layer, family.directions[name][layer], float(length), unit="vector")}
        for layer, family, length in cells
        for prompt, name in one.dealt(family)
    ]  # fmt: skip
    held = pd.DataFrame(rows)
    prompts = [one.prompts[i] for i in held["prompt"]]
    started = time.perf_counter()
    outs = emolib.generate(
        one.lm,
        prompts,
        held["act"].tolist(),
        max_new_tokens=one.options.new_tokens,
        temperature=TEMPERATURE,
        seeds=[one.seeds[i] for i in held["prompt"]],
    )
    broken = broken_of(one, prompts, outs)
    tokens = sum(len(out.token_ids) for out in outs)
    said(f"{one.lm.spec.name}: {len(held)} rows, {tokens} tokens in {time.perf_counter() - started:.0f} s")
    return held.drop(columns="act").assign(broken=broken)


def broken_of(one: Subject, prompts: Sequence[str], outs: Sequence[Generation]) -> np.ndarray:
    scored = score_fluency([out.text for out in outs], prompts, one.lm, nll_limit=one.limit)
    return scored["fluency/broken"].to_numpy(bool)


def sweep(one: Subject, baseline: float) -> pd.DataFrame:
    """Every row of a model: the first lengths, further ones to both sides as needed, and one within the crossing."""
    whole = baseline + WHOLE * (1 - baseline)
    gone = baseline + BROKEN * (1 - baseline)
    families = {family.name: family for family in one.families}
    cells: Cells = [
        (layer, family, length) for layer in one.layers for family in one.families for length in one.first(layer)
    ]
    parts = []
    while cells:
        parts.append(steered(one, cells))
        shares = pd.concat(parts).groupby(["layer", "family", "length"])["broken"].mean()
        cells = []
        for (layer, family), part in shares.groupby(level=[0, 1]):
            tried, grid = part.index.get_level_values("length").to_numpy(), one.grid(layer)
            below, above = grid[grid < tried.min() * 0.99], grid[grid > tried.max() * 1.01]
            if part.iloc[0] > whole and len(below):
                cells.append((layer, families[family], below[-1]))
            if part.iloc[-1] < gone and len(above):
                cells.append((layer, families[family], above[0]))
    inner: Cells = []
    for (layer, family), part in shares.groupby(level=[0, 1]):
        lengths = part.index.get_level_values("length").to_numpy()
        over = np.flatnonzero(part.to_numpy() >= baseline + 0.5 * (1 - baseline))
        if len(over) and over[0] > 0:
            inner.append((layer, families[family], float(np.sqrt(lengths[over[0] - 1] * lengths[over[0]]))))
    return pd.concat([*parts, steered(one, inner)] if inner else parts, ignore_index=True)


# results


def said(text: str) -> None:
    print(text, flush=True)


def measured_rows(options: argparse.Namespace) -> tuple[pd.DataFrame, dict[str, pd.Series], list[Subject]]:
    data, parts, baselines, subjects = emolib.load_dataset(), [], {}, []
    for name in options.models:
        one, plain = subject(name, data, options)
        broken = broken_of(one, one.prompts, plain)
        baselines[one.lm.spec.name] = pd.Series(broken.astype(float))
        parts.append(sweep(one, float(broken.mean())).assign(model=one.lm.spec.name))
        subjects.append(one)
    return pd.concat(parts, ignore_index=True), baselines, subjects


def outcome(
    rows: pd.DataFrame, baselines: Mapping[str, pd.Series], subjects: Sequence[Subject], options: argparse.Namespace
) -> dict[str, Any]:
    """Everything that is found, as JSON holds it."""
    rulers = {
        ruler: {(one.lm.spec.name, *place): length for one in subjects for place, length in one.rulers[ruler].items()}
        for ruler in RULERS
    }
    depth = {one.lm.spec.name: one.lm.n_layers for one in subjects}
    scales = {f"in {ruler}": strengths(rows, lengths) for ruler, lengths in rulers.items()}

    def lengths(keys: list[str]) -> list[dict[str, Any]]:
        """The breaks of every cell, as a length and in every ruler."""
        found = []
        for model, part in rows.assign(**scales).groupby("model", sort=False):
            tables = {
                scale: breaking_table(part, baselines[str(model)], keys, scale=scale).set_index(keys)["breaking"]
                for scale in ("length", *scales)
            }
            together = pd.DataFrame(tables).rename(columns={"length": "breaking"}).reset_index()
            about = together["layer"] / depth[str(model)]
            found += together.assign(model=model, depth=about).to_dict("records")
        return found

    cells = rows.groupby(["model", "layer", "family", "length"], sort=False)["broken"].agg(["mean", "size"])
    return {
        "settings": {key: value for key, value in vars(options).items() if key not in ("json", "figure")},
        "unpatched": {model: float(values.mean()) for model, values in baselines.items()},
        "nll_limit": {one.lm.spec.name: one.limit for one in subjects},
        "rulers": [
            {"model": model, "layer": layer, "direction": name, **{r: rulers[r][model, layer, name] for r in RULERS}}
            for model, layer, name in rulers["bulk"]
        ],
        "breaking": known(lengths(["layer", "family"])),
        "by_direction": known(lengths(["layer", "family", "direction"])),
        "dispersion": known(
            dispersions(rows, baselines, rulers, n_resamples=options.resamples, seed=options.seed).to_dict("records")
        ),
        "auc": known(predictions(rows, rulers)),
        "cells": cells.reset_index().rename(columns={"mean": "broken", "size": "rows"}).to_dict("records"),
    }


def known(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with None where a number is not known, as JSON has it."""
    return [
        {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in row.items()}
        for row in rows
    ]


def draw(path: Path, breaking: Sequence[Mapping[str, Any]]) -> None:
    """Breaking length / ruler over relative depth: a panel per ruler, a line per model and family."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("--figure needs matplotlib, which is not installed; pip install matplotlib") from error
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    shown = pd.DataFrame(breaking)
    for axes, ruler in zip(figure.subplots(1, len(RULERS), sharex=True, sharey=True), RULERS, strict=True):
        for (model, family), part in shown.groupby(["model", "family"], sort=False):
            style = "-" if family == "isotropic" else "--"
            colour = f"C{list(dict.fromkeys(shown['model'])).index(model)}"
            axes.plot(part["depth"], part[f"in {ruler}"], style, marker="o", color=colour, label=f"{model}, {family}")
        axes.set(title=TITLES.get(ruler, ruler), xlabel="layer / number of layers", yscale="log")
    figure.axes[0].set_ylabel("breaking strength")
    figure.axes[-1].legend(fontsize=7)
    figure.savefig(path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["smollm2_135m", "gemma3_270m"])
    for name, value in {
        "prompts": 16, "new-tokens": 24, "directions": 4, "layers": 6, "seed": 0, "training-scenarios": 40,
        "reference-scenarios": REFERENCE_SCENARIOS, "resamples": 400, "kl-prompts": 8, "kl-tokens": 12,
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--crossed", action="store_true", help="every direction meets every prompt: more rows")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json")
    parser.add_argument("--figure", help="a file that ends in .svg, .png or .pdf")
    given = parser.parse_args()
    for name in ("directions", "layers", "training_scenarios", "reference_scenarios", "kl_prompts", "kl_tokens"):
        if getattr(given, name) < 1:
            raise UserError(f"expected --{name.replace('_', '-')} of at least 1, got {getattr(given, name)}")
    if given.figure and Path(given.figure).suffix not in (".svg", ".png", ".pdf"):
        raise UserError(f"expected --figure with a name that ends in .svg, .png or .pdf, got {given.figure}")
    return given


def main() -> None:
    options = arguments()
    started = time.perf_counter()
    rows, baselines, subjects = measured_rows(options)
    found = outcome(rows, baselines, subjects, options)
    seconds = round(time.perf_counter() - started, 1)
    for name in ("breaking", "dispersion", "auc"):
        print(f"\n{name}\n{table(found[name])}")
    print(f"\n{len(rows)} steered rows, {seconds:.0f} s; sd is that of log2(breaking strength) over layers")
    if options.json:
        write_json(options.json, {**described(subjects[0].lm.device), "seconds": seconds, **found})
    if options.figure:
        draw(Path(options.figure), found["breaking"])


if __name__ == "__main__":
    run_main(main)
