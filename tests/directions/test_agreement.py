"""The agreement of two models' tables of dissimilarities, on planted labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from emolib.base.errors import UserError
from emolib.directions.agreement import agreement, disjoint_agreement
from emolib.directions.dissimilarities import dissimilarities, one_dimensional_tables


def planted(width: int, noise: float, seed: int, n_labels: int = 12) -> np.ndarray:
    """Labels of one geometry in a model's own coordinates of that width, with noise of its own."""
    shared = np.random.default_rng(0).standard_normal((n_labels, 5))
    rng = np.random.default_rng(seed)
    own = shared @ np.linalg.qr(rng.standard_normal((width, 5)))[0].T
    return dissimilarities(own + noise * rng.standard_normal((n_labels, width)) / np.sqrt(width))


def test_models_of_unlike_width_agree_where_their_labels_lie_alike() -> None:
    found = agreement(planted(576, 0.3, 1), planted(640, 0.3, 2))
    assert found.correlation > 0.9 and found.p == 1 / 10000
    upper = np.triu_indices(12, 1)
    spearman = stats.spearmanr(planted(576, 0.3, 1)[upper], planted(640, 0.3, 2)[upper]).statistic
    assert found.correlation == pytest.approx(spearman)


def test_unrelated_labels_reach_a_small_p_as_seldom_as_they_should() -> None:
    rng = np.random.default_rng(3)
    tables = [dissimilarities(rng.standard_normal((10, 40))) for _ in range(400)]
    p = [agreement(a, b, n_permutations=199).p for a, b in zip(tables[::2], tables[1::2], strict=True)]
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.1
    assert 0.4 < np.mean(p) < 0.6


def test_few_labels_take_every_order_and_a_table_without_values_says_nothing() -> None:
    table = planted(8, 0.1, 1, n_labels=4)
    assert agreement(table, table).p >= 1 / 24 and round(agreement(table, table).p * 24, 9) % 1 == 0
    none = np.full((4, 4), np.nan)
    assert np.isnan(agreement(table, none).correlation) and np.isnan(agreement(np.ones((4, 4)), table).p)


def of_valence(seed: int, *, shared: float, n_labels: int = 14) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Tables of two models whose labels follow valence, and beyond it a geometry of their own or (`shared`) one; and
    what valence alone can make of them."""
    rng = np.random.default_rng(seed)
    valence, common = rng.standard_normal(n_labels), rng.standard_normal((n_labels, 4))
    tables = []
    for width in (30, 40):
        inside = np.column_stack([2 * valence, shared * common + rng.standard_normal((n_labels, 4))])
        tables.append(dissimilarities(inside @ np.linalg.qr(rng.standard_normal((width, 5)))[0].T))
    return tables[0], tables[1], one_dimensional_tables(valence)


def test_what_valence_alone_makes_alike_is_gone_once_it_is_given_and_the_rest_stays() -> None:
    """Distances in valence are not all that valence makes of cosines."""
    found = {name: [] for name in ("plain", "distances", "partial", "beyond")}
    for seed in range(60):
        first, second, valence = of_valence(seed, shared=0.0)
        found["plain"].append(agreement(first, second, n_permutations=199).p)
        found["distances"].append(agreement(first, second, given=valence[:1], n_permutations=199).p)
        found["partial"].append(agreement(first, second, given=valence, n_permutations=199).p)
        first, second, valence = of_valence(seed, shared=3.0)
        found["beyond"].append(agreement(first, second, given=valence, n_permutations=199).p)
    reached = {name: np.mean(np.array(values) <= 0.05) for name, values in found.items()}
    assert reached["plain"] > 0.9 and reached["distances"] > 0.5
    assert reached["partial"] <= 0.15 and reached["beyond"] > 0.9


def test_the_partial_correlation_is_that_of_the_residuals_of_the_ranks() -> None:
    first, second, valence = of_valence(1, shared=1.0)
    upper = np.triu_indices(len(first), 1)
    ranks = [stats.rankdata(table[upper]) for table in (first, second, valence[0])]
    design = np.column_stack([np.ones(len(ranks[0])), ranks[2]])
    left = [rank - design @ np.linalg.lstsq(design, rank, rcond=None)[0] for rank in ranks[:2]]
    found = agreement(first, second, given=valence[:1], n_permutations=99)
    assert found.correlation == pytest.approx(np.corrcoef(*left)[0, 1])
    assert np.isnan(agreement(first, second, given=[first]).correlation)  # nothing is left of the first


def cubes(seed: int, *, same: bool, noise: float, n: int = 16, n_labels: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """`[scenario, label, d]` of two models; the texts' noise is common to both, in each model's own coordinates."""
    rng = np.random.default_rng(seed)
    texts = noise * rng.standard_normal((n, n_labels, 6))
    geometries = [rng.standard_normal((n_labels, 6)) for _ in range(2)]
    found = []
    for width, geometry in zip((24, 32), geometries[:1] * 2 if same else geometries, strict=True):
        found.append((geometry + texts) @ np.linalg.qr(rng.standard_normal((width, 6)))[0].T)
    return found[0], found[1]


def test_models_that_share_only_the_texts_noise_agree_on_the_same_texts_and_not_on_disjoint_ones() -> None:
    same_texts, apart = [], []
    for seed in range(30):
        a, b = cubes(seed, same=False, noise=8.0)
        found = disjoint_agreement(a, b, n_halves=6, n_permutations=99, seed=seed)
        same_texts.append(found.same_texts)
        apart.append(found.plain.correlation)
    assert np.mean(same_texts) > 0.5 and abs(np.mean(apart)) < 0.1


def test_models_of_one_geometry_reach_the_ceiling_that_the_halves_set() -> None:
    a, b = cubes(0, same=True, noise=1.0)
    found = disjoint_agreement(a, b, given=[np.abs(np.subtract.outer(np.arange(10.0), np.arange(10.0)) % 3)])
    assert found.plain.correlation > 0.5 and found.plain.p == 1 / 10000
    assert found.plain.correlation == pytest.approx(found.ceiling, abs=0.15)
    assert found.ceiling == pytest.approx(np.sqrt(found.half_a * found.half_b))
    assert found.partial.correlation > 0.5 and np.isnan(disjoint_agreement(a, b, n_permutations=9).partial.correlation)


@pytest.mark.parametrize(
    ("shapes", "given", "words"),
    [
        (((6, 5, 3), (5, 5, 3)), (), "same 4 or more scenarios"),
        (((6, 3, 3), (6, 3, 3)), (), "same 4 or more scenarios"),
        (((6, 5), (6, 5)), (), "two cubes"),
        (((6, 5, 3), (6, 5, 4)), (np.eye(4),), "given tables for 5 labels"),
    ],
)
def test_tables_that_do_not_belong_together_are_told(shapes: tuple, given: tuple, words: str) -> None:
    with pytest.raises(UserError, match=words):
        disjoint_agreement(np.ones(shapes[0]), np.ones(shapes[1]), given=given)
