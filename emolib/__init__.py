"""emolib: how language models represent emotion, and whether that can be moved.

The public names below are loaded when they are first used, so that `import emolib` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from emolib.base.errors import UserError

if TYPE_CHECKING:
    from emolib.circuits.patched_heads import patch_heads
    from emolib.circuits.screening import screen_heads
    from emolib.data.activations import Activations, LayerVector
    from emolib.data.dataset import build_dataset, load_dataset
    from emolib.directions.alignment import AlignmentMap, fit_alignment
    from emolib.directions.subspaces import Subspaces, fit_subspaces
    from emolib.directions.vectors import EmotionVectors, fit_emotion_vectors
    from emolib.engine.continuation import continuation_shift
    from emolib.engine.extraction import extract_activations
    from emolib.engine.generation import Generation, generate
    from emolib.exchange.control_vectors import write_vectors
    from emolib.interventions import (
        AblateDirection,
        AblateHead,
        Cap,
        Clamp,
        Decay,
        HeadActivations,
        PatchHead,
        Steer,
        SubspaceSteer,
        mean_head_output,
        record_heads,
    )
    from emolib.models.language_model import LanguageModel
    from emolib.models.loading import load_model
    from emolib.pipeline.notebook_parameters import notebook_parameters
    from emolib.pipeline.verification.run_verification import verify_run
    from emolib.scoring import score_texts
    from emolib.statistics.effect_sizes import effect_sizes
    from emolib.steering.given_vectors import read_vectors
    from emolib.steering.kl_lengths import with_kl_lengths
    from emolib.steering.sweeps import residual_sweep
    from emolib.study.confirmation.confirmed import open_confirmation
    from emolib.study.run import open_run

__version__ = "0.1.0"

_HOMES = {
    "Activations": "emolib.data.activations",
    "LayerVector": "emolib.data.activations",
    "build_dataset": "emolib.data.dataset",
    "load_dataset": "emolib.data.dataset",
    "continuation_shift": "emolib.engine.continuation",
    "effect_sizes": "emolib.statistics.effect_sizes",
    "extract_activations": "emolib.engine.extraction",
    "Generation": "emolib.engine.generation",
    "generate": "emolib.engine.generation",
    "Steer": "emolib.interventions",
    "AblateDirection": "emolib.interventions",
    "AblateHead": "emolib.interventions",
    "Cap": "emolib.interventions",
    "Clamp": "emolib.interventions",
    "Decay": "emolib.interventions",
    "HeadActivations": "emolib.interventions",
    "PatchHead": "emolib.interventions",
    "SubspaceSteer": "emolib.interventions",
    "mean_head_output": "emolib.interventions",
    "record_heads": "emolib.interventions",
    "patch_heads": "emolib.circuits.patched_heads",
    "LanguageModel": "emolib.models.language_model",
    "load_model": "emolib.models.loading",
    "read_vectors": "emolib.steering.given_vectors",
    "write_vectors": "emolib.exchange.control_vectors",
    "screen_heads": "emolib.circuits.screening",
    "residual_sweep": "emolib.steering.sweeps",
    "with_kl_lengths": "emolib.steering.kl_lengths",
    "notebook_parameters": "emolib.pipeline.notebook_parameters",
    "verify_run": "emolib.pipeline.verification.run_verification",
    "open_confirmation": "emolib.study.confirmation.confirmed",
    "open_run": "emolib.study.run",
    "score_texts": "emolib.scoring",
    "AlignmentMap": "emolib.directions.alignment",
    "fit_alignment": "emolib.directions.alignment",
    "Subspaces": "emolib.directions.subspaces",
    "fit_subspaces": "emolib.directions.subspaces",
    "EmotionVectors": "emolib.directions.vectors",
    "fit_emotion_vectors": "emolib.directions.vectors",
}

__all__ = [
    "AblateDirection",
    "AblateHead",
    "Activations",
    "AlignmentMap",
    "Cap",
    "Clamp",
    "Decay",
    "EmotionVectors",
    "Generation",
    "HeadActivations",
    "LanguageModel",
    "LayerVector",
    "PatchHead",
    "Steer",
    "SubspaceSteer",
    "Subspaces",
    "UserError",
    "build_dataset",
    "continuation_shift",
    "effect_sizes",
    "extract_activations",
    "fit_alignment",
    "fit_emotion_vectors",
    "fit_subspaces",
    "generate",
    "load_dataset",
    "load_model",
    "mean_head_output",
    "notebook_parameters",
    "open_confirmation",
    "open_run",
    "patch_heads",
    "read_vectors",
    "record_heads",
    "residual_sweep",
    "score_texts",
    "screen_heads",
    "verify_run",
    "with_kl_lengths",
    "write_vectors",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'emolib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
