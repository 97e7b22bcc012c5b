"""How large what each node writes is: what random sets are matched on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from emolib.base import arguments
from emolib.circuits.nodes import Node, all_nodes
from emolib.circuits.ov_qk import known_blueprint
from emolib.engine.observation import observe
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode, pad_left

BATCH = 16


def node_norms(lm: LanguageModel, texts: Sequence[str]) -> dict[Node, float]:
    """The mean norm of what every head (z W_O, before a block's norm on it) and MLP adds, over tokens but the first.

    Raises:
        UserError: no texts, or weights that the engine does not read.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> norms = node_norms(lm, ["The lamp is on the desk."])
    >>> len(norms), min(norms.values()) > 0
    (300, True)
    """
    net = known_blueprint(lm)
    rows = encode(lm, arguments.texts(texts))
    sums = dict.fromkeys(all_nodes(lm), 0.0)
    n_tokens = 0
    for start in range(0, len(rows), BATCH):
        ids, mask = pad_left(rows[start : start + BATCH], lm.pad_id)
        counted = mask.bool() & ((mask.cumsum(1) > 1) | (mask.sum(1, keepdim=True) == 1))
        n_tokens += int(counted.sum())

        def take(site: str, layer: int, value: Tensor, counted: Tensor = counted) -> None:
            chosen = value[counted.to(value.device)].float()
            if site == "mlp_out":
                sums[Node(layer, "mlp")] += float(chosen.norm(dim=-1).sum())
                return
            output = net.layers[layer].out.weight.float().T.reshape(net.n_heads, net.d_head, -1)
            written = torch.einsum("thd,hdm->thm", chosen, output).norm(dim=-1).sum(0)
            for head, total in enumerate(written.tolist()):
                sums[Node(layer, "head", head)] += total

        observe(lm, ids, mask, [(site, layer) for layer in range(lm.n_layers) for site in ("z", "mlp_out")], take)
    return {node: total / n_tokens for node, total in sums.items()}
