"""What Phase 2's tables say, as codes and numbers: how norms grow, what dominates them, whether they tell emotion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.data.activations import Activations

EVEN_GROWTH = 1.5  # norms of two layers within this factor are of one size
FAR_LARGER = 2.0  # what a first token's norm has to reach, in medians of the others
DOMINATED = 0.5  # of ‖h‖² in the three largest dimensions
WEAK = 0.3  # rank correlations up to this size
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Growth:
    """How the median norm changes from the first layer to the last: `even`, `uneven` or `unknown`."""

    code: str
    first: int
    last: int
    factor: float


@dataclass(frozen=True)
class FirstTokens:
    """The layer where first tokens exceed the others most, in their median: `far_larger`, `alike` or `unknown`."""

    code: str
    layer: int
    ratio: float


@dataclass(frozen=True)
class Dominance:
    """The layers in which three dimensions hold more than half of ‖h‖², and their largest share in any layer:
    `dominated`, `spread` or `unknown`."""

    code: str
    layers: tuple[int, ...]
    share: float


@dataclass(frozen=True)
class LargestDimension:
    """The dimension that is largest in most layers (`share` of them), and the layer where any is most extreme:
    `known` or `unknown`."""

    code: str
    dimension: int
    share: float
    extreme_layer: int
    extreme_dimension: int
    ratio: float
    energy: float


@dataclass(frozen=True)
class NormAndScores:
    """Whether a text's norm follows a score: `by_chance`, `weak`, `beyond` or `unknown` where no score varies.

    Attributes:
        beyond: the scores beyond the null of the maximum over layers.
        strongest: largest |rank correlation| of any score at its best layer.
        median: largest |median over layers|.
        length: rank correlation with the number of tokens.
    """

    code: str
    beyond: tuple[str, ...]
    strongest: float
    median: float
    length: float


@dataclass(frozen=True)
class Findings:
    """All of the above, of the layers of one extraction."""

    growth: Growth
    first_tokens: FirstTokens
    dominance: Dominance
    dimension: LargestDimension
    norm_and_scores: NormAndScores


def findings(acts: Activations, norms: pd.DataFrame, correlations: pd.DataFrame, massive: pd.DataFrame) -> Findings:
    """What the tables of `norm_shares`, `norm_correlations` and `massive_dimensions` say.

    Of all layers the last, the final residual, is of a kind of its own, as is layer 0, the embedding: growth is that of
    the blocks' inputs, dominance that of the layers between.
    """
    blocks = acts.layer_numbers[:-1] if acts.layers is None else acts.layer_numbers
    inner = [layer for layer in blocks if layer > 0]
    return Findings(
        _growth(norms[norms["layer"].isin(blocks)]),
        _first_tokens(norms),
        _dominance(norms[norms["layer"].isin(inner)]),
        _dimension(massive[massive["layer"].isin(inner)]),
        _norm_and_scores(correlations),
    )


def _growth(table: pd.DataFrame) -> Growth:
    first, last = (int(table["layer"].iloc[i]) for i in (0, -1))
    factor = float(table["median_norm"].iloc[-1] / table["median_norm"].iloc[0])
    if first == last or np.isnan(factor):
        return Growth(UNKNOWN, first, last, factor)
    return Growth("even" if 1 / EVEN_GROWTH < factor < EVEN_GROWTH else "uneven", first, last, factor)


def _first_tokens(table: pd.DataFrame) -> FirstTokens:
    ratio = (table["first_token_norm"] / table["median_norm"]).dropna()
    if ratio.empty:
        return FirstTokens(UNKNOWN, -1, float("nan"))
    largest = float(ratio.max())
    code = "far_larger" if largest >= FAR_LARGER else "alike"
    return FirstTokens(code, int(table.loc[ratio.idxmax(), "layer"]), largest)


def _dominance(table: pd.DataFrame) -> Dominance:
    known = table.dropna(subset=["top3_share"])
    if known.empty:
        return Dominance(UNKNOWN, (), float("nan"))
    layers = tuple(int(layer) for layer in known.loc[known["top3_share"] > DOMINATED, "layer"])
    return Dominance("dominated" if layers else "spread", layers, float(known["top3_share"].max()))


def _dimension(table: pd.DataFrame) -> LargestDimension:
    first = table[table["rank"] == 1].dropna(subset=["ratio"])
    if first.empty:
        return LargestDimension(UNKNOWN, -1, float("nan"), -1, -1, float("nan"), float("nan"))
    counts = first["dimension"].value_counts()
    top = first.loc[first["ratio"].idxmax()]
    return LargestDimension(
        "known",
        int(counts.index[0]),
        float(counts.iloc[0] / len(first)),
        int(top["layer"]),
        int(top["dimension"]),
        float(top["ratio"]),
        float(top["share"]),
    )


def _norm_and_scores(table: pd.DataFrame) -> NormAndScores:
    length = float(table.loc[table["score"] == "n_tokens", "strongest"].max())
    others = table[table["score"] != "n_tokens"].dropna(subset=["strongest", "null"])
    if others.empty:
        return NormAndScores(UNKNOWN, (), float("nan"), float("nan"), length)
    size = others["strongest"].abs()
    beyond = others[size > others["null"]]
    code = "by_chance"
    if len(beyond):
        code = "weak" if beyond["strongest"].abs().max() <= WEAK else "beyond"
    return NormAndScores(code, tuple(beyond["score"]), float(size.max()), float(others["median"].abs().max()), length)
