"""What an act is (`steers`, `coordinate_limits`, `ablations`, `head_patches`), what may stand on a row (`acts`), what
heads did in a text (`head_records`), hook points (`hooks`), and a batch's acts as tensors in a forward pass (`edits`,
`changes`)."""

from emolib.interventions.ablations import AblateDirection, AblateHead
from emolib.interventions.acts import Act, Intervention, acts_of, check_interventions, fingerprint_of, one_per_row
from emolib.interventions.bridge_sites import bridge_sites, check_sites
from emolib.interventions.coordinate_limits import Cap, Clamp
from emolib.interventions.edge_cuts import CutEdge
from emolib.interventions.edits import Edits, first_layer
from emolib.interventions.head_patches import PatchHead
from emolib.interventions.head_records import (
    Head,
    HeadActivations,
    check_heads,
    mean_head_output,
    parse_heads,
    record_heads,
)
from emolib.interventions.hooks import hook_point, hooked
from emolib.interventions.schedules import Decay, schedule_factors
from emolib.interventions.steers import Steer, SubspaceSteer

__all__ = [
    "AblateDirection",
    "AblateHead",
    "Act",
    "Cap",
    "Clamp",
    "CutEdge",
    "Decay",
    "Edits",
    "Head",
    "HeadActivations",
    "Intervention",
    "PatchHead",
    "Steer",
    "SubspaceSteer",
    "acts_of",
    "bridge_sites",
    "check_heads",
    "check_interventions",
    "check_sites",
    "fingerprint_of",
    "first_layer",
    "hook_point",
    "hooked",
    "mean_head_output",
    "one_per_row",
    "parse_heads",
    "record_heads",
    "schedule_factors",
]
