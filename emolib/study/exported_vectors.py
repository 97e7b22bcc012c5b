"""A run's emotion vectors for other programs."""

from __future__ import annotations

from pathlib import Path

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.base.parameter_types import parse_layers
from emolib.exchange.control_vectors import write_vectors
from emolib.study.phase3_vectors import fitting
from emolib.study.run import open_run


def export_vectors(
    profile: str, model: str, emotion: str, output: str | Path, *, layers: str | None = None, position: str = "mean"
) -> tuple[int, ...]:
    """Writes one emotion's vectors of Phase 3, which are computed first where they are missing.

    Args:
        layers: such as `8-20`; None takes all from 2 on.
        position: of the run's.

    Returns:
        The layers that were written.

    Raises:
        UserError: as `open_run` and `write_vectors`; an unknown emotion, position or form of layers.
    """
    try:
        chosen = None if layers is None else parse_layers(layers) or None
    except ValueError as error:
        raise UserError(f"{error} after --layers, got {shown(layers)}") from error
    run = open_run(profile, model, "phase3")
    arguments.one_of("emotion", emotion, run.emotions)
    arguments.one_of("position", position, fitting.positions(run))
    return write_vectors(fitting.vectors(run, position)[emotion], output, layers=chosen)
