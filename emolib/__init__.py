"""emolib: how language models represent emotion, and whether that can be moved.

The public names below are loaded when they are first used, so that `import emolib` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from emolib.errors import UserError

if TYPE_CHECKING:
    from emolib.activations import Activations, LayerVector
    from emolib.dataset import build_dataset, load_dataset
    from emolib.effects import effect_sizes
    from emolib.extraction import extract_activations
    from emolib.generation import Generation, generate
    from emolib.interventions import (
        AblateDirection,
        AblateHead,
        Decay,
        HeadActivations,
        PatchHead,
        Steer,
        SubspaceSteer,
        mean_head_output,
        record_heads,
    )
    from emolib.models import LanguageModel, load_model
    from emolib.patching import residual_sweep
    from emolib.phases.notebook import notebook_parameters
    from emolib.phases.run import open_run
    from emolib.scoring import score_texts
    from emolib.subspaces import Subspaces, fit_subspaces
    from emolib.vectors import EmotionVectors, fit_emotion_vectors

__version__ = "0.1.0"

_HOMES = {
    "Activations": "emolib.activations",
    "LayerVector": "emolib.activations",
    "build_dataset": "emolib.dataset",
    "load_dataset": "emolib.dataset",
    "effect_sizes": "emolib.effects",
    "extract_activations": "emolib.extraction",
    "Generation": "emolib.generation",
    "generate": "emolib.generation",
    "Steer": "emolib.interventions",
    "AblateDirection": "emolib.interventions",
    "AblateHead": "emolib.interventions",
    "Decay": "emolib.interventions",
    "HeadActivations": "emolib.interventions",
    "PatchHead": "emolib.interventions",
    "SubspaceSteer": "emolib.interventions",
    "mean_head_output": "emolib.interventions",
    "record_heads": "emolib.interventions",
    "LanguageModel": "emolib.models",
    "load_model": "emolib.models",
    "residual_sweep": "emolib.patching",
    "notebook_parameters": "emolib.phases.notebook",
    "open_run": "emolib.phases.run",
    "score_texts": "emolib.scoring",
    "Subspaces": "emolib.subspaces",
    "fit_subspaces": "emolib.subspaces",
    "EmotionVectors": "emolib.vectors",
    "fit_emotion_vectors": "emolib.vectors",
}

__all__ = [
    "AblateDirection",
    "AblateHead",
    "Activations",
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
    "effect_sizes",
    "extract_activations",
    "fit_emotion_vectors",
    "fit_subspaces",
    "generate",
    "load_dataset",
    "load_model",
    "mean_head_output",
    "notebook_parameters",
    "open_run",
    "record_heads",
    "residual_sweep",
    "score_texts",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'emolib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
