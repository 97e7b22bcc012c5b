"""Batched = single: before a model is used in batches, a padded batch is held against each of its rows alone.

One left pad breaks a model whose positions are not derived from the mask; this is where that would show.
"""

from __future__ import annotations

import torch

from emolib.engine.bridge import BridgeRunner
from emolib.engine.native import NativeRunner
from emolib.interventions import Edits, bridge_sites
from emolib.models.language_model import LanguageModel, logits_apart
from emolib.models.tokens import pad_left

ROWS = ([7, 11, 13, 17, 19, 23], [29, 31, 37])


def check_batching(lm: LanguageModel, *, native: bool | None = None) -> None:
    """Holds the logits of a left-padded batch against those of each text alone, once per model in memory.

    Args:
        native: the batch goes through the engine's forward pass; False the bridge; None the engine where it knows the
            model. Each text alone goes through the model's own code, without padding, mask or position ids.

    Raises:
        UserError: the bridge cannot run the model.
        RuntimeError: the logits differ by more than the dtype explains, as hooks on the model make them.
    """
    native = lm.blueprint is not None if native is None else native
    if lm.blueprint is None:
        bridge_sites(lm)
    checked = lm.worked_out.batching_checked
    if native in checked:
        return
    longest = lm.limits.positions
    rows = [[token % lm.limits.vocabulary for token in row[:longest]] for row in ROWS]
    ids, mask = pad_left(rows, lm.pad_id)
    edits = Edits(lm, [None] * len(ids), [len(row) for row in rows], ids.shape[1], 1)
    with torch.inference_mode():
        together = (NativeRunner if native else BridgeRunner)(lm, ids, mask, edits, 0).start().float()
        alone = [lm.network(input_ids=torch.tensor([row], device=lm.device)).logits[0, -1] for row in rows]
    single = torch.stack(alone).float()
    error, allowed = logits_apart(together, single, lm.dtype)
    if not error <= allowed:
        remedy = "remove hooks that change the model, or use engine='bridge'" if native else "it cannot be batched"
        raise RuntimeError(
            f"the {'engine' if native else 'model'}'s logits of {lm.spec.name} in a padded batch differ from the "
            f"model's own on each text alone by {error:.2g} of their spread (at most {allowed:g} expected): {remedy}"
        )
    checked.add(native)
