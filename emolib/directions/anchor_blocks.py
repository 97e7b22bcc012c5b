"""What is given as anchors, looked at before anything is reckoned: rows of two models that belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.data.activations import Activations
from emolib.directions.anchor_moments import SPLITS, Pair

SOURCE = "extract_anchors (rows of two models that belong together)"


def checked_blocks(anchors: Pair | Iterable[Pair]) -> Callable[[], Iterator[Pair]]:
    """A function that goes through the blocks anew, every block checked as it comes.

    Raises:
        UserError: no activations, blocks that can be gone through only once; later, from the blocks: rows that do not
            belong together, no column `split`, values that are not finite, another model than in the first block.
    """
    if isinstance(anchors, tuple) and len(anchors) == 2:
        pair = (arguments.instance("acts_a", anchors[0], Activations, SOURCE), _second(anchors[1]))
        _check(*pair)
        return lambda: iter([pair])
    if not isinstance(anchors, Iterable) or iter(anchors) is anchors:
        raise UserError(
            "expected two Activations, or blocks of them that can be gone through twice, got "
            f"{type(anchors).__name__}; give AnchorBlocks, or a list"
        )

    def blocks() -> Iterator[Pair]:
        names = None
        for first, second in anchors:
            _check(arguments.instance("acts_a", first, Activations, SOURCE), _second(second))
            own = tuple((acts.model, acts.revision, acts.d_model) for acts in (first, second))
            if names is not None and own != names:
                raise UserError(f"expected blocks of two models, got one of {own} after {names}")
            names = own
            yield first, second
        if names is None:
            raise UserError("expected at least one block of anchors, got none")

    return blocks


def chosen_layers(
    blocks: Callable[[], Iterator[Pair]], layers_a: Sequence[int] | None, layers_b: Sequence[int] | None
) -> tuple[list[int], list[int]]:
    """The numbers of the layers on either side; those of the first block where none are given.

    Raises:
        UserError: a layer that the activations do not have.
    """
    first = next(blocks())
    found = []
    for name, layers, acts in zip(("layers_a", "layers_b"), (layers_a, layers_b), first, strict=True):
        numbers = list(acts.layer_numbers) if layers is None else arguments.whole_numbers(name, layers, least=0)
        for number in numbers:
            acts.layer("resid_pre", number)
        if not numbers:
            raise UserError(f"expected at least one layer as {name}, got none")
        found.append(list(dict.fromkeys(numbers)))
    return found[0], found[1]


def _second(acts: object) -> Activations:
    return arguments.instance("acts_b", acts, Activations, SOURCE)


def _check(acts_a: Activations, acts_b: Activations) -> None:
    for name, acts in (("acts_a", acts_a), ("acts_b", acts_b)):
        n_rows, n_texts = acts.values["resid_pre"].shape[1], len(acts.texts)
        if n_rows != n_texts:
            raise UserError(
                f"expected one row per anchor in {name}, got {n_rows} rows of {n_texts} texts; take extract_anchors, "
                "or activations at one position"
            )
        if "split" not in acts.texts:
            raise UserError(f"expected a column 'split' in the texts of {name}, found none; say {', '.join(SPLITS)}")
        if not np.isfinite(acts.values["resid_pre"]).all():
            raise UserError(f"the activations of {name} hold values that are not finite; extract them in float32")
    if len(acts_a.texts) != len(acts_b.texts):
        raise UserError(
            f"expected the same anchors twice, got {len(acts_a.texts)} and {len(acts_b.texts)} rows; extract both from "
            "the same texts"
        )
    for column in ("split", "id"):
        if column not in acts_a.texts or column not in acts_b.texts:
            continue
        first, second = acts_a.texts[column].to_numpy(), acts_b.texts[column].to_numpy()
        if (other := np.flatnonzero(first != second)).size:
            place = int(other[0])
            raise UserError(
                f"expected the same anchors in the same order, row {place} has {column} {shown(first[place])} in "
                f"acts_a and {shown(second[place])} in acts_b; extract both from the same texts"
            )
    if strange := sorted(set(map(str, acts_a.texts["split"])) - set(SPLITS)):
        raise UserError(f"expected the splits {', '.join(SPLITS)}, found {shown(strange[0])}; rename it")
