"""Phase 5: residual patching with random controls.

Needs Phase 3's vectors. Makes the fluency reference, the validation sweep (from which one layer and alpha are chosen
for all emotions), the test sweep at that point with its random controls and the direct-path control, and the claims.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from emolib import statistics, store
from emolib.config import spread_layers
from emolib.patching import OperatingPoint, SweepSettings, choose_operating_point, residual_sweep, specific_difference
from emolib.patching import success as success_of
from emolib.phases import phase3
from emolib.phases.run import Run
from emolib.phases.scores import agreement, measures, with_targets
from emolib.scoring import goemotions
from emolib.scoring.fluency import fluency_reference, nll_limit
from emolib.vectors import EmotionVectors


def vectors(run: Run) -> EmotionVectors:
    return phase3.vectors(run, run.params.vector_position, style=run.params.vector_style)


def candidate_layers(run: Run) -> tuple[int, ...]:
    """The layers tried on validation: those given, or a spread over the middle of the depth."""
    return run.params.layers or spread_layers(run.lm.n_layers, run.params.n_layer_points)


def reference(run: Run) -> pd.DataFrame:
    """Sampled, unpatched continuations of the training texts, and their likelihood."""
    params = run.params
    texts = run.texts("train")
    matched = {
        "texts": store.digest(texts.to_dict("list")),
        "max_new_tokens": params.max_new_tokens,
        "seed": params.seed,
    }

    def compute() -> pd.DataFrame:
        run.progress.begin("fluency reference", len(texts), tokens_per_row=params.max_new_tokens)
        table = fluency_reference(
            run.lm,
            texts,
            max_new_tokens=params.max_new_tokens,
            seed=params.seed,
            batch_size=run.generation_batch(texts),
        )
        run.progress.advance(len(texts))
        return table

    return run.table(run.paths.fluency_reference(), matched, compute)


def settings(run: Run) -> SweepSettings:
    params = run.params
    return SweepSettings(
        unit=params.unit,
        window=params.window,
        max_new_tokens=params.max_new_tokens,
        temperature=params.temperature,
        top_p=params.top_p,
        seed=params.seed,
        batch_size=run.generation_batch(run.neutral_prompts("validation")),
        backend=params.backend,
        nll_limit=nll_limit(reference(run)),
    )


def validation_sweep(run: Run) -> pd.DataFrame:
    """Every candidate layer × alpha × emotion on the validation prompts."""
    layers, alphas = candidate_layers(run), run.params.alphas
    return run.once(
        "validation",
        lambda: with_targets(_sweep(run, "validation", layers, alphas, n_controls=0, direct_path=False), run.emotions),
    )


def operating_point(run: Run) -> OperatingPoint:
    """One layer and alpha for all emotions, chosen on validation rows alone."""
    sweep = validation_sweep(run)
    return choose_operating_point(sweep, measures(sweep, run.emotions), broken_margin=run.params.broken_margin)


def baseline_broken(sweep: pd.DataFrame) -> float:
    """Share of broken texts among the unpatched ones."""
    return float(sweep.loc[sweep["kind"] == "baseline", "fluency/broken"].mean())


def test_sweep(run: Run) -> pd.DataFrame:
    """The chosen point on the test prompts, with its random directions and the direct path."""
    point, count = operating_point(run), run.params.n_controls
    return run.once(
        "test",
        lambda: with_targets(
            _sweep(run, "test", [point.layer], [point.alpha], n_controls=count, direct_path=True), run.emotions
        ),
    )


def _sweep(run: Run, split: str, layers, alphas, *, n_controls: int, direct_path: bool) -> pd.DataFrame:
    return residual_sweep(
        run.lm,
        run.neutral_prompts(split),
        vectors(run),
        layers=layers,
        alphas=alphas,
        n_controls=n_controls,
        direct_path=direct_path,
        settings=settings(run),
        run=run.shards(split),
    )


def metrics(run: Run, sweep: pd.DataFrame) -> list[str]:
    """The measures of every emotion, family by family, then what is no emotion: valence and politeness."""
    names = [name for one in measures(sweep, run.emotions).values() for name in one]
    return [*sorted(names, key=lambda name: name.startswith("target/")), "valence", "politeness/score"]


def scorer_effects(run: Run, sweep: pd.DataFrame) -> pd.DataFrame:
    """The effect on an emotion's own probability by each model alone and by the measure that decides, over scenarios.

    `own` is the mean change under the emotion's own vector, `vs_others` that minus the other vectors'; broken texts
    count as 0.
    """
    steered = sweep[sweep["kind"] == "emotion"]
    rows = []
    for emotion in run.emotions:
        for family in ("target_lexical", "target_encoder", "target"):
            metric = f"{family}/{emotion}"
            if metric in sweep:
                own = effects(sweep, "emotion", emotion, metric).mean()
                difference = specific_difference(steered, emotion, metric, run.emotions).mean()
                rows.append({"emotion": emotion, "family": family, "own": float(own), "vs_others": float(difference)})
    return pd.DataFrame(rows)


def label_changes(run: Run, sweep: pd.DataFrame) -> pd.DataFrame:
    """Mean change of all 28 GoEmotions probabilities under every emotion's vector, `[steered, label]`."""
    rows = {
        emotion: {
            label: float(effects(sweep, "emotion", emotion, f"goemotions/{label}", counted=False).mean())
            for label in goemotions.LABELS
        }
        for emotion in run.emotions
    }
    return pd.DataFrame(rows).T.rename_axis("steered")


def scorer_agreement(run: Run, sweep: pd.DataFrame) -> pd.DataFrame:
    """How far the two GoEmotions models agree on the unpatched texts and those under the emotions' vectors."""
    return agreement(sweep[sweep["kind"].isin(["baseline", "emotion"])], run.emotions)


def specificity_matrix(run: Run, sweep: pd.DataFrame, *, counted: bool = True) -> pd.DataFrame:
    """Mean change of every metric under every emotion's vector, over test scenarios.

    Args:
        counted: broken texts count as no success (0 words, probability 0); False takes every text as it is.
    """
    rows = []
    for emotion in run.emotions:
        row: dict[str, Any] = {"steered": emotion}
        for metric in metrics(run, sweep):
            row[metric] = float(effects(sweep, "emotion", emotion, metric, counted=counted).mean())
        rows.append(row)
    return pd.DataFrame(rows).set_index("steered")


def _value(sweep: pd.DataFrame, metric: str, *, counted: bool) -> pd.Series:
    """The metric, with broken texts as 0 where it counts successes."""
    successes = metric.startswith(("keywords/", "target"))
    return success_of(sweep, metric) if counted and successes else sweep[metric].astype(float)


def effects(sweep: pd.DataFrame, kind: str, emotion: str, metric: str, *, counted: bool = True) -> pd.Series:
    """Patched minus baseline per scenario (random directions averaged)."""
    value = _value(sweep, metric, counted=counted)
    table = sweep.assign(value=value)
    base = table[table["kind"] == "baseline"].groupby("scenario")["value"].mean()
    chosen = table[(table["kind"] == kind) & (table["emotion"] == emotion)]
    return chosen.groupby("scenario")["value"].mean() - base


def control_effects(sweep: pd.DataFrame, emotion: str, metric: str, *, counted: bool = True) -> pd.Series:
    """Mean effect of every random direction, by its index."""
    value = _value(sweep, metric, counted=counted)
    table = sweep.assign(value=value)
    base = float(table.loc[table["kind"] == "baseline", "value"].mean())
    chosen = table[(table["kind"] == "isotropic") & table["emotion"].isin(["any", emotion])]
    return chosen.groupby("index")["value"].mean() - base


def claims(run: Run, sweep: pd.DataFrame) -> pd.DataFrame:
    """One row per emotion and measure: is it moved by its own vector more than by the others and by chance?

    The bar, set beforehand: the 95 % BCa interval of [own vector − mean of the other vectors], over test scenarios,
    lies above 0, and the rank p against the random directions is at most 1/60 (or the smallest the design allows). An
    emotion is supported where each of its measures is.
    """
    return pd.DataFrame(
        [_claim(run, sweep, e, metric) for e, names in measures(sweep, run.emotions).items() for metric in names]
    )


def _claim(run: Run, sweep: pd.DataFrame, emotion: str, metric: str) -> dict[str, Any]:
    steered = sweep[sweep["kind"] == "emotion"]
    n_controls = run.params.n_controls
    difference = specific_difference(steered, emotion, metric, run.emotions)
    baseline = success_of(sweep[sweep["kind"] == "baseline"], metric)
    interval = statistics.bootstrap_mean(
        difference.to_numpy(),
        n_resamples=run.params.n_resamples,
        seed=run.params.seed,
        reference_sd=float(baseline.std(ddof=1)) or None,
    )
    own = effects(sweep, "emotion", emotion, metric)
    unfiltered = effects(sweep, "emotion", emotion, metric, counted=False)
    controls = control_effects(sweep, emotion, metric)
    p = statistics.rank_p(float(own.mean()), controls.to_numpy())
    beats_others = not interval.degenerate and interval.low > 0
    return {
        "emotion": emotion,
        "metric": metric,
        "own_effect": float(own.mean()),
        "own_effect_unfiltered": float(unfiltered.mean()),
        "vs_others": interval.mean,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "degenerate": interval.degenerate,
        "random_max": float(controls.max()),
        "rank_p": p,
        "direct_path": float(effects(sweep, "direct_path", emotion, metric, counted=False).mean()),
        "wrong_way": float((own < 0).mean()),
        "n": interval.n,
        "beats_others": beats_others,
        "beats_random": p <= max(1 / 60, 1 / (1 + n_controls)) + 1e-12,
        "supported": beats_others and p <= 1 / 60 + 1e-12,
    }


def broken_table(sweep: pd.DataFrame) -> pd.DataFrame:
    """Share of broken texts and mean fluency per kind and emotion at the operating point."""
    columns = {"fluency/broken": "broken", "fluency/nll": "nll", "fluency/repetition": "repetition"}
    keys = ["kind", "emotion", "layer"]
    table = sweep.groupby(keys, sort=False)[list(columns)].mean().rename(columns=columns)
    return table.assign(n=sweep.groupby(keys, sort=False).size()).reset_index()


def metric_changes(run: Run, sweep: pd.DataFrame) -> pd.DataFrame:
    """Baseline, patched and random means with standard errors, per emotion, for its own measures and what is no
    emotion; every text as it is."""
    rows = []
    base = sweep[sweep["kind"] == "baseline"]
    random = sweep[sweep["kind"] == "isotropic"]
    for emotion in run.emotions:
        own = sweep[(sweep["kind"] == "emotion") & (sweep["emotion"] == emotion)]
        for metric in (*measures(sweep, run.emotions)[emotion], "valence", "politeness/score"):
            row: dict[str, Any] = {"emotion": emotion, "metric": metric}
            per_direction = random.groupby("index")[metric].mean()
            for name, values in (("baseline", base[metric]), ("patched", own[metric]), ("random", per_direction)):
                row[name], row[f"{name}_se"] = statistics.mean_and_se(values)
            rows.append(row)
    return pd.DataFrame(rows)


def examples(run: Run, sweep: pd.DataFrame, emotion: str) -> pd.DataFrame:
    """Best, median and worst text of an emotion by rule, and the first broken one, beside their baselines.

    Ordered by the effect on the emotion's first measure (broken counted as 0), then on the second, then by scenario:
    nothing is picked by hand.
    """
    metric, *others = measures(sweep, run.emotions)[emotion]
    base = sweep[sweep["kind"] == "baseline"].set_index("scenario")
    own = sweep[(sweep["kind"] == "emotion") & (sweep["emotion"] == emotion)].copy()
    own["effect"] = success_of(own, metric) - own["scenario"].map(success_of(base, metric))
    second = others[0] if others else metric
    own["shift"] = success_of(own, second) - own["scenario"].map(success_of(base, second))
    ordered = own.sort_values(["effect", "shift", "scenario"], ascending=[False, False, True], kind="stable")
    picks = [("best", ordered.iloc[0]), ("median", ordered.iloc[len(ordered) // 2]), ("worst", ordered.iloc[-1])]
    broken = ordered[ordered["fluency/broken"]]
    if len(broken):
        picks.append(("broken", broken.iloc[0]))
    prompts = run.neutral_prompts("test").set_index("scenario")["text"]
    return pd.DataFrame(
        [
            {
                "rule": rule,
                "scenario": row["scenario"],
                "prompt": prompts[row["scenario"]],
                "baseline": base.loc[row["scenario"], "text"],
                "patched": row["text"],
                "effect": float(row["effect"]),
                "shift": float(row["shift"]),
                "broken": bool(row["fluency/broken"]),
            }
            for rule, row in picks
        ]
    )


def save_results(run: Run, validation: pd.DataFrame, test: pd.DataFrame) -> None:
    """The whole sweeps and the claims as artifacts beside their shards."""
    matched = {"shards": sorted(sha for path, sha in run.made.items() if "_sweep_" in path.name)}
    run.table(run.paths.sweep("validation"), matched, lambda: validation)
    run.table(run.paths.sweep("test"), matched, lambda: test)
    run.table(run.paths.sweep("claims"), matched, lambda: claims(run, test))
