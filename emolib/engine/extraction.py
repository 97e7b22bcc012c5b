"""Activations of a model on a table of texts, kept in memory. `stored_extraction` writes them to disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.signatures import told
from emolib.data.activations import Activations
from emolib.engine.observation import places_of
from emolib.engine.positions import POSITIONS
from emolib.engine.text_pass import Part, Texts, read_texts, site_width
from emolib.models.language_model import LanguageModel, checked_model

SITES = ("resid_pre", "mlp_out")


@told
def extract_activations(
    lm: LanguageModel,
    data: pd.DataFrame | Sequence[str],
    *,
    sites: Sequence[str] = SITES,
    positions: str = "last",
    layers: Collection[int] | None = None,
    batch_size: int = 32,
    on_batch: Callable[[int], None] | None = None,
) -> Activations:
    """Runs the model over every text once and keeps what one position of each text, or every token, holds.

    Args:
        data: a data set (column `text`, and whatever else is to be kept beside it) or bare strings.
        sites: of `resid_pre` (always kept), `resid_post`, `attn_out`, `mlp_out`, `z` and `pattern`.
        positions: `last` (the final token), `mean` (over tokens, the first left out), `trigger` (where the word of the
            text's emotion stands; texts without one are left out) or `all`. Of `pattern`: the attention of that token
            (`mean`: the mean over attending tokens) to every token. See `Activations` for the shapes.
        layers: those kept; None keeps all. Layers after the last one are not computed.

    Raises:
        UserError: unknown site, position or layer, no texts, an empty text, or activations that are not finite.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> acts = extract_activations(lm, ["Thank you so much", "The lamp is on"], sites=("mlp_out",))
    >>> acts.values["resid_pre"].shape, acts.values["mlp_out"].shape  # the final residual is one layer more
    ((31, 2, 576), (30, 2, 576))
    """
    position = arguments.one_of("position", positions, POSITIONS)
    return extract_positions(
        lm, data, sites=sites, positions=(position,), layers=layers, batch_size=batch_size, on_batch=on_batch
    )[position]


def extract_positions(
    lm: LanguageModel,
    data: pd.DataFrame | Sequence[str],
    *,
    sites: Sequence[str] = SITES,
    positions: Sequence[str] = ("last", "mean"),
    layers: Collection[int] | None = None,
    batch_size: int = 32,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, Activations]:
    """`extract_activations` for several positions in one pass over the texts."""
    checked_model(lm)
    positions = arguments.texts(positions, "positions")
    sites = tuple(dict.fromkeys(("resid_pre", *arguments.listed("sites", sites, "sites"))))
    places = places_of(lm, sites, layers)
    texts = Texts.of(lm, data, positions)
    parts = [(position, *place) for position in positions for place in places]
    numbers = sorted({layer for site, layer in places if site == "resid_pre"})
    depth = {site: sum(1 for named, _ in places if named == site) for site in sites}
    kept = {
        (p, site): np.zeros((depth[site], texts.offsets((p, site, 0))[-1], *site_width(lm, site)), np.float32)
        for p in positions
        for site in sites
    }
    norms = {
        name: np.zeros((len(numbers), texts.token_offsets[-1]), np.float32) for name in ("token_norms", "bulk_norms")
    }

    def put(name: str, part: Part, row: int, values: np.ndarray) -> None:
        if name == "values":
            kept[part[:2]][numbers.index(part[2]), row : row + len(values)] = values
        else:
            norms[name][numbers.index(part[2]), row : row + len(values)] = values

    read_texts(lm, texts, parts, put, batch_size, on_batch)
    found = {}
    for position in positions:
        present = texts.present if position == "trigger" else np.ones(len(texts.lengths), dtype=bool)
        of_present = np.repeat(present, texts.lengths)
        found[position] = Activations(
            {site: kept[position, site] for site in sites},
            texts.table[present].reset_index(drop=True),
            norms["token_norms"][:, of_present],
            np.concatenate([[0], np.cumsum(texts.lengths[present])]),
            position=position,
            model=lm.spec.name,
            revision=lm.revision,
            layers=None if len(numbers) == lm.n_layers + 1 else tuple(numbers),
            bulk_norms=norms["bulk_norms"][:, of_present],
        )
    return found
