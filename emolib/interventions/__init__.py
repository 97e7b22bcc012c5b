"""What an intervention is (`kinds`), what heads did in a text (`records`), hook points (`hooks`), and a batch's
interventions as tensors that a forward pass applies (`edits`)."""

from emolib.interventions.edits import Edits, first_layer
from emolib.interventions.hooks import hook_point, hooked
from emolib.interventions.kinds import (
    AblateDirection,
    AblateHead,
    Act,
    Intervention,
    PatchHead,
    Steer,
    SubspaceSteer,
    acts_of,
    check_interventions,
    fingerprint_of,
)
from emolib.interventions.records import (
    HeadActivations,
    mean_head_output,
    parse_heads,
    record_heads,
)
from emolib.interventions.schedules import Decay, schedule_factors

__all__ = [
    "AblateDirection",
    "AblateHead",
    "Act",
    "Decay",
    "Edits",
    "HeadActivations",
    "Intervention",
    "PatchHead",
    "Steer",
    "SubspaceSteer",
    "acts_of",
    "check_interventions",
    "fingerprint_of",
    "first_layer",
    "hook_point",
    "hooked",
    "mean_head_output",
    "parse_heads",
    "record_heads",
    "schedule_factors",
]
