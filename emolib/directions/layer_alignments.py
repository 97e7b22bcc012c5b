"""Maps between all layers of two models at once: every layer is decomposed once, whatever the number of pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.directions.alignment import AlignmentMap
from emolib.directions.anchor_blocks import checked_blocks, chosen_layers
from emolib.directions.anchor_moments import SPACES, AnchorMoments, Pair, gather
from emolib.directions.map_fits import METHODS, PairSums, fit_pair


@dataclass(frozen=True)
class LayerAlignments:
    """Maps between all layers of two models, in a shared rank.

    Attributes:
        table: space, method, layer_a, layer_b, rank, penalty, n_canonical, r2_in_sample, r2_validation, r2_held_out,
            and cka (of the pair in the space, the same for every method).
        moments: by space, what the maps are made from.
    """

    table: pd.DataFrame
    moments: dict[str, AnchorMoments]

    def map(self, layer_a: int, layer_b: int, *, method: str = "ridge", space: str = "standardised") -> AlignmentMap:
        """One pair's map.

        Raises:
            UserError: a space or layers that were left out.
        """
        arguments.one_of("space", space, self.moments)
        moments = self.moments[space]
        for name, layer, side in (("layer_a", layer_a, moments.a), ("layer_b", layer_b, moments.b)):
            if layer not in side.layers:
                raise UserError(f"expected {name} among {', '.join(map(str, side.layers))}, got {shown(layer)}")
        places = moments.a.layers.index(layer_a), moments.b.layers.index(layer_b)
        return AlignmentMap.of(moments, places, method, fit_pair(PairSums.of(moments, *places), method))


def align_layers(
    anchors: Pair | Iterable[Pair],
    *,
    layers_a: Sequence[int] | None = None,
    layers_b: Sequence[int] | None = None,
    methods: Sequence[str] = ("ridge", "procrustes"),
    spaces: Sequence[str] = ("standardised",),
    rank: int = 128,
) -> LayerAlignments:
    """`fit_alignment` for every layer of A with every layer of B, each layer decomposed once.

    Args:
        anchors: two `Activations` of the same anchors, or blocks of them that can be gone through twice
            (`emolib.engine.anchors.AnchorBlocks`): what is kept does not grow with the number of anchors.
        layers_a, layers_b: numbers of the layers; None takes all that there are.
        rank: principal axes of every layer; what B's leave out counts as unexplained.

    Raises:
        UserError: as `fit_alignment`.
    """
    methods = [arguments.one_of("methods", one, METHODS) for one in arguments.listed("methods", methods, "methods")]
    spaces = [arguments.one_of("spaces", one, SPACES) for one in arguments.listed("spaces", spaces, "spaces")]
    rank = arguments.whole_number("rank", rank, least=1)
    blocks = checked_blocks(anchors)
    chosen = chosen_layers(blocks, layers_a, layers_b)
    moments = gather(blocks, *chosen, rank=rank, spaces=spaces)
    rows = []
    for space, of_space in moments.items():
        for place_a, number_a in enumerate(chosen[0]):
            for place_b, number_b in enumerate(chosen[1]):
                pair, cka = PairSums.of(of_space, place_a, place_b), float(of_space.cka[place_a, place_b])
                for method in methods:
                    fit = fit_pair(pair, method)
                    place = {"space": space, "method": method, "layer_a": number_a, "layer_b": number_b}
                    said = {"rank": fit.rank, "penalty": fit.penalty, "n_canonical": fit.n_canonical}
                    r2 = {"in_sample": "train", "validation": "validation", "held_out": "test"}
                    rows.append(place | said | {f"r2_{name}": fit.r2[of] for name, of in r2.items()} | {"cka": cka})
    table = pd.DataFrame(rows).astype({"penalty": float, "n_canonical": "Int64"})
    return LayerAlignments(table, moments)
