"""Phase 3: emotion vectors and subspaces, what they separate and what can be read out."""

from __future__ import annotations

from emolib.directions.vectors import principal_components
from emolib.study.phase3_vectors.cross_model import (
    cross_model as similarity_across_models,
)
from emolib.study.phase3_vectors.decoding import (
    chosen_probe_layers,
    corpus_correlations,
    cross_style,
    information,
    probes,
    projection_correlations,
    token_projections,
    trigger_projections,
)
from emolib.study.phase3_vectors.fitting import (
    cosines,
    distances,
    norms,
    position_norms,
    stability,
    training,
)
from emolib.study.phase3_vectors.geometry import (
    companion_vectors,
    geometry_layer,
    label_dissimilarities,
    label_places,
    label_valence,
    likeness,
    valence_table,
)
from emolib.study.phase3_vectors.geometry_answers import valence_finding
from emolib.study.phase3_vectors.pair_separation import (
    minimal_pair_separation,
)
from emolib.study.phase3_vectors.restricted import (
    restricted_table,
    style_agreement,
)
from emolib.study.phase3_vectors.separation import (
    chosen_separation,
)
from emolib.study.phase3_vectors.subspace_fits import (
    chosen_k,
    subspace_halves,
    subspace_shares,
    topic_overlap,
)

__all__ = [
    "chosen_k",
    "chosen_probe_layers",
    "chosen_separation",
    "companion_vectors",
    "corpus_correlations",
    "cosines",
    "cross_style",
    "distances",
    "geometry_layer",
    "information",
    "label_dissimilarities",
    "label_places",
    "label_valence",
    "likeness",
    "minimal_pair_separation",
    "norms",
    "position_norms",
    "principal_components",
    "probes",
    "projection_correlations",
    "restricted_table",
    "similarity_across_models",
    "stability",
    "style_agreement",
    "subspace_halves",
    "subspace_shares",
    "token_projections",
    "topic_overlap",
    "training",
    "trigger_projections",
    "valence_finding",
    "valence_table",
]
