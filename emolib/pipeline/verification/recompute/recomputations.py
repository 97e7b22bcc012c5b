"""Every recomputation of a run, in order."""

from __future__ import annotations

from collections.abc import Callable

from emolib.base.errors import UserError
from emolib.pipeline.verification.check_rows import BROKEN, Rows
from emolib.pipeline.verification.recompute.drawn_rows import Sampling
from emolib.pipeline.verification.recompute.material import Material
from emolib.pipeline.verification.recompute.references import check_lengths, check_references
from emolib.pipeline.verification.recompute.scores import check_scores
from emolib.pipeline.verification.recompute.shifts import check_shifts
from emolib.pipeline.verification.recompute.stored_residuals import check_activations, check_tokens
from emolib.pipeline.verification.recompute.stored_vectors import check_vector_tables, check_vectors
from emolib.pipeline.verification.recompute.texts import check_texts
from emolib.pipeline.verification.run_files import RunFiles

RECOMPUTATIONS: tuple[Callable[[Material, Rows], None], ...] = (
    check_tokens,
    check_activations,
    check_vectors,
    check_vector_tables,
    check_references,
    check_lengths,
    check_texts,
    check_shifts,
    check_scores,
)


def recompute(run: RunFiles, rows: Rows, sampling: Sampling) -> None:
    """Adds what every recomputation finds; where the model is out of reach, that is told and none is made."""
    material = Material(run, sampling.share, sampling.least, sampling.seed)
    try:
        _ = material.model
    except UserError as error:
        rows.check = "recomputed"
        rows.skipped(run.model, f"nothing can be worked out again with this model here: {error}")
        return
    for check in RECOMPUTATIONS:
        try:
            check(material, rows)
        except BROKEN as error:
            rows.failed(run.model, f"the recomputation came to no end: {type(error).__name__}: {error}")
