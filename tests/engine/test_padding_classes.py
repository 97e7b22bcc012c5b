"""Which texts are padded to one length: by what runs more often, prompts or texts."""

from __future__ import annotations

import numpy as np
import pytest

from emolib.engine.padding_classes import STEPS, padding_classes

N_LAYERS = 6
Row = tuple[tuple[int, ...], tuple[int, ...]]


def rows(seed: int, n: int = 40) -> list[Row]:
    """Five prompts, texts of 2 to 30 tokens."""
    generator = np.random.default_rng(seed)
    prompts = [tuple(generator.integers(0, 9, size).tolist()) for size in (5, 9, 20, 20, 31)]
    lengths = generator.integers(2, 31, n)
    texts = [tuple(generator.integers(0, 9, length).tolist()) for length in lengths]
    return [(prompts[i], text) for i, text in zip(generator.integers(0, 5, n), texts, strict=True)]


def classes_of(given: list[Row], layers: list[int]) -> list[list[int]]:
    prompts, texts = zip(*given, strict=True)
    return padding_classes(prompts, texts, layers, N_LAYERS)


@pytest.mark.parametrize("layers", [0, 3, 300])
def test_every_row_is_in_one_class_and_pairs_stay_together(layers: int) -> None:
    given = [row for row in rows(0) for _ in range(2)]
    found = classes_of(given, [layers] * len(given))
    assert sorted(row for some in found for row in some) == list(range(len(given)))
    for some in found:
        pairs = [given[row] for row in some]
        assert pairs == sorted(pairs)


def test_a_long_prompt_runs_once_where_few_layers_are_patched() -> None:
    given = [(prompt * 9, text) for prompt, text in rows(1, 15)]  # contexts are longer than texts

    def run_of(layers: int) -> int:
        return sum(len({given[row][0] for row in some}) for some in classes_of(given, [layers] * len(given)))

    assert run_of(0) == len({prompt for prompt, _ in given}) < run_of(300)


def test_with_many_layers_per_row_texts_are_padded_by_less_than_a_step() -> None:
    given = rows(1)
    found = classes_of(given, [300] * len(given))
    for some in found:
        lengths = [len(given[row][1]) for row in some]
        assert max(lengths) - min(lengths) < STEPS[0]
    assert len(found) > 3
    fewer = classes_of(given, [20] * len(given))
    assert len(fewer) < len(found), "a class is worth more than a token or two of padding"


def test_the_classes_do_not_depend_on_the_order_of_the_rows() -> None:
    given = rows(2)
    order = np.random.default_rng(3).permutation(len(given)).tolist()
    turned = classes_of([given[i] for i in order], [2] * len(given))
    found = classes_of(given, [2] * len(given))
    assert [[given[order[row]] for row in some] for some in turned] == [[given[row] for row in some] for some in found]
