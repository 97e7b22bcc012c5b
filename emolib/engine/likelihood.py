"""How likely a model finds a continuation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from emolib.engine.histories import Histories, HistoryPass
from emolib.engine.memory import keep_freed_memory
from emolib.engine.parity import check_batching
from emolib.engine.residuals import Known
from emolib.engine.token_losses import log_partition
from emolib.models.finite import require_finite
from emolib.models.language_model import LanguageModel
from emolib.models.limits import check_ids, check_length
from emolib.models.tokens import encode, pad_left, position_ids

NODES_AT_ONCE = 4096  # distinct histories of one pass
ROWS_AT_ONCE = 128  # the same through a model's own code, where nothing is shared


def continuation_nll(
    lm: LanguageModel,
    prompts: Sequence[str],
    ids: Sequence[Sequence[int]],
    known: Sequence[Known | None] | None = None,
) -> np.ndarray:
    """Mean token negative log-likelihood, `[text]` in nats, of continuations under the unpatched model.

    Args:
        ids: token ids per continuation; NaN comes back for an empty one.
        known: per continuation what generation has left behind after the same prompt, by which layers are saved.

    Raises:
        UserError: ids or lengths that the model does not have, or a likelihood that is not finite.
    """
    result = np.full(len(ids), np.nan)
    chosen = [i for i in range(len(ids)) if len(ids[i])]
    if not chosen:
        return result
    check_batching(lm)
    if lm.device.type == "cpu":
        keep_freed_memory()
    rows = dict(zip(chosen, encode(lm, [prompts[i] for i in chosen], name="prompts"), strict=True))
    check_ids(lm, [ids[i] for i in chosen], "continuation {place}")
    longest = max(chosen, key=lambda i: len(rows[i]) + len(ids[i]))
    check_length(lm, len(rows[longest]), len(ids[longest]), f"prompt {longest}")
    if lm.blueprint is None:
        found = _by_network(lm, chosen, rows, ids)
    else:
        found = _by_engine(lm, chosen, rows, ids, known or [None] * len(ids))
    for part, losses in found:
        result[part] = [float(loss.double().mean()) for loss in losses]
        require_finite(lm, ((i, result[i : i + 1]) for i in sorted(part)), "the log-likelihood")
    return result


Rows = Mapping[int, Sequence[int]]
Losses = Iterator[tuple[Sequence[int], Sequence[Tensor]]]  # some texts' numbers, and the NLL of every token of each


def _by_engine(
    lm: LanguageModel,
    chosen: Sequence[int],
    prompts: Rows,
    ids: Sequence[Sequence[int]],
    known: Sequence[Known | None],
) -> Losses:
    """Texts that begin alike beside one another, so many that a pass has its nodes; what they share runs once."""
    tree, part = Histories(), []
    in_order = sorted(chosen, key=lambda i: (len(prompts[i]) // 8, prompts[i], ids[i]))
    for i in in_order:
        tree.add(prompts[i], ids[i], known[i])
        part.append(i)
        if len(tree) >= NODES_AT_ONCE or i == in_order[-1]:
            with torch.inference_mode():
                losses = HistoryPass(lm, tree).losses()
            yield part, losses
            tree, part = Histories(), []


def _by_network(lm: LanguageModel, chosen: Sequence[int], prompts: Rows, ids: Sequence[Sequence[int]]) -> Losses:
    """The same through the model's own code, those of like length together."""
    in_order = sorted(chosen, key=lambda i: (len(prompts[i]) // 8, len(ids[i]), prompts[i]))
    lengths = {i: (len(prompts[i]), len(ids[i])) for i in chosen}
    for part in _parts(in_order, lengths, lm.limits.positions):
        with torch.inference_mode():
            losses = _network_nll(lm, [prompts[i] for i in part], _padded_right([ids[i] for i in part]).to(lm.device))
        yield part, [loss[: len(ids[i])] for i, loss in zip(part, losses.cpu(), strict=True)]


def _parts(
    chosen: Sequence[int], lengths: Mapping[int, tuple[int, int]], positions: int | None
) -> Iterator[Sequence[int]]:
    """So many texts at once; single ones where padding prompts and continuations would take more positions than are."""
    for start in range(0, len(chosen), ROWS_AT_ONCE):
        part = chosen[start : start + ROWS_AT_ONCE]
        prompt, text = (max(lengths[i][side] for i in part) for side in (0, 1))
        if positions is not None and prompt + text - 1 > positions:
            yield from ([i] for i in part)
        else:
            yield part


def _padded_right(rows: Sequence[Sequence[int]]) -> Tensor:
    """Token ids `[row, pos]`: what follows a text cannot reach it."""
    target = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for i, row in enumerate(rows):
        target[i, : len(row)] = torch.tensor(row)
    return target


def _network_nll(lm: LanguageModel, prompts: Sequence[Sequence[int]], target: Tensor) -> Tensor:
    """NLL of every target token, `[row, pos]` in float32."""
    ids, mask = pad_left(prompts, lm.pad_id)
    ids = torch.cat([ids.to(lm.device), target[:, :-1]], dim=1)
    mask = torch.cat([mask.to(lm.device), torch.ones_like(target[:, :-1])], dim=1)
    places = position_ids(mask)
    logits = lm.network(
        input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False, logits_to_keep=target.shape[1]
    ).logits
    scores = logits.gather(2, target[..., None])[..., 0].float()
    return log_partition(logits) - scores
