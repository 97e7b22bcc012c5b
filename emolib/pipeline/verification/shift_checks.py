"""Phase 5's continuation shifts: the choice by S, its conditions and its claims, computed once more.

Written from what the documents say, without the code that makes them. S of an emotion e against another o is
[Δ(act e, text e) − Δ(act e, text o)] − [Δ(act o, text e) − Δ(act o, text o)]; a mean over cells of texts and prompts
has the variance of texts plus that of prompts minus that of cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from emolib.pipeline.verification.check_rows import Rows, careful
from emolib.pipeline.verification.run_files import RunFiles

TOLERANCE = 1e-9
IDIOMATIC = "idiomatic"
NEEDED = {"implicit": ("raw", "adjusted", "contextual", "own")}  # by other styles: all but the contextual part
OF_WORDS = ("raw", "adjusted", "own")
CLAIM = ("style", "emotion")
CELL = ["style", "prompt", "text"]


# the choice


def shift_point(shifts: pd.DataFrame, written: pd.DataFrame, margin: float) -> tuple[int, float]:
    """The candidate with the largest S over emotions in standard errors, mean over styles, among those whose generated
    texts break seldom enough.

    Args:
        shifts: validation rows of the continuation shift, of one part.
        written: validation rows of the sweep, of that part.
    """
    steered, base = (written[written["kind"] == kind] for kind in ("emotion", "baseline"))
    broken = steered.groupby(["layer", "alpha", "emotion"])["fluency/broken"].mean().groupby(["layer", "alpha"]).max()
    allowed = broken[broken <= base["fluency/broken"].mean() + margin + 1e-9]
    pool = allowed if len(allowed) else broken[broken == broken.min()]
    rows = [(layer, alpha, _criterion(part)) for (layer, alpha), part in shifts.groupby(["layer", "alpha"])]
    table = pd.DataFrame(rows, columns=["layer", "alpha", "score"])
    table = table[pd.MultiIndex.from_frame(table[["layer", "alpha"]]).isin(pool.index)]
    best = table.sort_values(["score", "alpha", "layer"], ascending=[False, True, True], kind="stable").iloc[0]
    return int(best["layer"]), float(best["alpha"])


def _criterion(shifts: pd.DataFrame) -> float:
    """Of one candidate."""
    emotions = sorted(set(shifts["act"]))
    wide = shifts.pivot_table(index=CELL, columns=["act", "label"], values="shift")
    total = pd.Series(0.0, index=wide.index)
    for one in emotions:
        against = [specific(wide, one, other) for other in emotions if other != one]
        total = total + pd.concat(against, axis=1).mean(axis=1)
    cells = total.rename("specific").reset_index()
    found = []
    for style, part in cells.groupby("style"):
        if style != IDIOMATIC and part["text"].nunique() > 1:
            mean, se, _, _ = crossed(part)
            found.append(0.0 if not se > 1e-9 * part["specific"].abs().max() else mean / se)
    return float(np.mean(found))


def specific(wide: pd.DataFrame, one: str, other: str) -> pd.Series:
    """S of every cell from shifts by act and label."""
    return (wide[one, one] - wide[one, other]) - (wide[other, one] - wide[other, other])


def crossed(cells: pd.DataFrame) -> tuple[float, float, int, int]:
    """Mean, standard error, and the numbers of texts and prompts."""
    n, deviation = len(cells), cells["specific"] - cells["specific"].mean()
    parts = {name: deviation.groupby(cells[name]).sum().to_numpy() for name in ("text", "prompt")}
    parts["cell"] = deviation.to_numpy()
    v = {name: (sums**2).sum() / n**2 * len(sums) / (len(sums) - 1) for name, sums in parts.items()}
    variance = max(v["text"] + v["prompt"] - v["cell"], v["cell"])
    return float(cells["specific"].mean()), float(np.sqrt(variance)), len(parts["text"]), len(parts["prompt"])


# the conditions


def check_shift_conditions(run: RunFiles, rows: Rows) -> None:
    """Every condition of a claim is what the cells of S give."""
    rows.check = "conditions of S"
    cells = run.of_kind("shift specific")
    for artifact in run.of_kind("shift conditions"):
        if not cells:
            rows.failed(artifact.path, "the cells that it is about are missing")
            continue
        held, made_from = run.table(artifact), run.table(cells[0])
        rows.judged(artifact.path, careful(lambda: list(_condition_problems(held, made_from))), len(held))  # noqa: B023


def _condition_problems(held: pd.DataFrame, cells: pd.DataFrame) -> Iterator[str]:
    named = ["style", "emotion", "other", "measure"]
    groups = {key: part for key, part in cells.groupby(named) if part["text"].nunique() > 1}
    if set(groups) != set(held[named].itertuples(index=False, name=None)):
        yield "its styles, emotions and measures are not those of the cells"
        return
    for row in held.to_dict("records"):
        part = groups[tuple(row[name] for name in named)]
        mean, se, texts, prompts = crossed(part)
        df = min(texts, prompts) - 1
        p = (0.5**texts if mean > 0 else 1.0) if not se > 1e-9 * abs(mean) else float(stats.t.sf(mean / se, df))
        for name, value in {"mean": mean, "se": se, "p": p, "n_texts": texts, "df": df}.items():
            if not np.isclose(row[name], value, rtol=1e-6, atol=TOLERANCE):
                told = ", ".join(str(row[key]) for key in named)
                yield f"{name} of {told} is {row[name]:.6g}, the cells give {value:.6g}"


# the claims


def check_shift_claims(run: RunFiles, rows: Rows) -> None:
    """Every claim of S follows from its conditions and ranks."""
    rows.check = "claims of S"
    made = {kind: run.of_kind(f"shift {kind}") for kind in ("conditions", "ranks", "like-valent conditions")}
    for artifact in run.of_kind("shift claims"):
        if not (made["conditions"] and made["ranks"]):
            rows.failed(artifact.path, "the conditions or ranks that it is about are missing")
            continue
        held = run.table(artifact)
        conditions, ranks = (run.table(made[kind][0]) for kind in ("conditions", "ranks"))
        like = made["like-valent conditions"]
        conditions = pd.concat([conditions.assign(like=False), *(run.table(of).assign(like=True) for of in like[:1])])
        problems = careful(lambda: list(_claim_problems(held, conditions, ranks)))  # noqa: B023
        rows.judged(artifact.path, problems, len(held))


def _claim_problems(held: pd.DataFrame, conditions: pd.DataFrame, ranks: pd.DataFrame) -> Iterator[str]:
    claimed = conditions[conditions["style"] != IDIOMATIC]
    wanted = set(claimed.loc[~claimed["like"], list(CLAIM)].itertuples(index=False, name=None))
    if wanted != set(held[list(CLAIM)].itertuples(index=False, name=None)):
        yield "its styles and emotions are not those of the conditions"
        return
    for style, rows in held.groupby("style", sort=False):
        found = [_claim(row, claimed, ranks) for row in rows.to_dict("records")]
        for row, one, p in zip(rows.to_dict("records"), found, _holm([one["p"] for one in found]), strict=True):
            one["p_holm"] = p
            for name in ("p", "p_holm", "rank_p", "n_texts", "n_controls"):
                if not np.isclose(row[name], one[name], rtol=1e-9, atol=1e-12, equal_nan=True):
                    yield f"{name} of {style}, {row['emotion']} is {row[name]:.6g}, the conditions give {one[name]:.6g}"
            if row["by_numbers"] != (word := _word({**row, **one})):
                yield f"by_numbers of {style}, {row['emotion']} is {row['by_numbers']}, its numbers give {word}"
            if row["verdict"] not in (row["by_numbers"], "not_measurable", "instruments_missing", "underpowered"):
                yield f"the verdict on {style}, {row['emotion']} is {row['verdict']}, which its numbers do not give"


def _claim(row: Mapping[Any, Any], conditions: pd.DataFrame, ranks: pd.DataFrame) -> dict[str, float]:
    """The numbers of one claim."""
    mine, beside = (
        table[(table["style"] == row["style"]) & (table["emotion"] == row["emotion"])] for table in (conditions, ranks)
    )
    mine = mine[mine["measure"].isin(NEEDED.get(row["style"], OF_WORDS))]
    own = mine[~mine["like"]]
    mine = mine[~mine["like"] | mine["other"].isin(str(row["like_valent"]).split(","))]
    ranked = set(own["other"]) <= set(beside["other"]) and beside["rank_p"].notna().all()
    return {
        "p": float(mine["p"].max()),
        "n_texts": int(mine["n_texts"].min()),
        "rank_p": float(beside["rank_p"].max()) if ranked else float("nan"),
        "n_controls": int(beside["n_controls"].min()) if ranked else 0,
    }


def _holm(p: list[float]) -> list[float]:
    """Holm's correction by its definition: the k-th smallest times the number left, never below the one before."""
    order = np.argsort(p, kind="stable")
    found, largest = [0.0] * len(p), 0.0
    for place, number in enumerate(order):
        largest = max(largest, min(1.0, p[number] * (len(p) - place)))
        found[number] = largest
    return found


def _word(row: Mapping[Any, Any]) -> str:
    """What the numbers alone come to."""
    if row["n_texts"] < 10:
        return "underpowered"
    if row["share_of_gold"] < 0.2:
        return "not_supported"
    if 1 / (1 + row["n_controls"]) > row["bar"] + 1e-12:
        return "underpowered"
    met = row["p_holm"] <= 0.05 and row["rank_p"] <= row["bar"] + 1e-12
    met = met and not row["missing"] and not row["concepts_reaching"]
    return (
        "supported"
        if met and row["kl_rank_p"] <= max(row["bar"], 1 / (1 + row["kl_controls"])) + 1e-12
        else "underpowered"
    )


def check_shift_zero(run: RunFiles, rows: Rows) -> None:
    """An act of strength 0 shifts nothing at all."""
    rows.check = "shift at alpha 0"
    for artifact in run.of_kind("shift shard"):
        table = run.table(artifact)
        zero = table[table["kind"] == "zero"]
        if len(zero):
            moved = int((zero[["shift", "shift_sum", "shift_per_character"]] != 0).any(axis=1).sum())
            rows.judged(artifact.path, [f"{moved} rows are not 0"] if moved else [], len(zero))
