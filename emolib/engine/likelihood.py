"""How likely a model finds a continuation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from emolib.engine.memory import keep_freed_memory
from emolib.engine.native import NativeRunner
from emolib.engine.parity import check_batching
from emolib.interventions import Edits
from emolib.models.finite import require_finite
from emolib.models.language_model import LanguageModel
from emolib.models.limits import check_ids, check_length
from emolib.models.products import linear_into
from emolib.models.tokens import encode, pad_left, position_ids
from emolib.models.workspace import Workspace

ROWS_AT_ONCE = 128
TOKENS_AT_ONCE = 128  # whose logits over the vocabulary are held together


def continuation_nll(lm: LanguageModel, prompts: Sequence[str], ids: Sequence[Sequence[int]]) -> np.ndarray:
    """Mean token negative log-likelihood, `[text]` in nats, of continuations under the unpatched model.

    Args:
        ids: token ids per continuation; NaN comes back for an empty one.

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
    chosen.sort(key=lambda i: (len(rows[i]) // 8, len(ids[i]), rows[i]))  # like lengths together
    compute = _network_nll if lm.blueprint is None else _native_nll
    memory = Workspace()
    lengths = {i: (len(rows[i]), len(ids[i])) for i in chosen}
    for part in _parts(chosen, lengths, lm.limits.positions):
        target, real = _padded_right([ids[i] for i in part])
        with torch.inference_mode():
            loss = compute(lm, [rows[i] for i in part], target.to(lm.device), memory).cpu()
        result[part] = (loss.where(real, 0.0).sum(1) / real.sum(1)).double().numpy()
        require_finite(lm, ((i, result[i : i + 1]) for i in part), "the log-likelihood")
    return result


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


def _padded_right(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and what of them is real, `[row, pos]`: what follows a text cannot reach it."""
    width = max(len(row) for row in rows)
    target = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        target[i, : len(row)] = torch.tensor(row)
    lengths = torch.tensor([len(row) for row in rows])
    return target, torch.arange(width) < lengths[:, None]


def _native_nll(lm: LanguageModel, prompts: Sequence[Sequence[int]], target: Tensor, memory: Workspace) -> Tensor:
    """NLL of every target token, `[row, pos]`; distinct prompts run once."""
    ids, mask = pad_left(prompts, lm.pad_id)
    n_rows, n_new = target.shape
    edits = Edits(lm, [None] * n_rows, [len(row) for row in prompts], ids.shape[1], n_new)
    runner = NativeRunner(lm, ids, mask, edits, n_new - 1, workspace=memory)
    losses = [_token_nll(runner.start(), target[:, 0])[:, None]]
    if n_new > 1:
        hidden, wanted = runner.read(target[:, :-1]).flatten(0, 1), target[:, 1:].flatten()
        head = lm.native.head
        logits = memory.take("scores", (TOKENS_AT_ONCE, head.weight.shape[0]), head.weight)
        parts = [
            _token_nll(linear_into(h, head.weight, head.bias, logits[: len(h)]), w)
            for h, w in zip(hidden.split(TOKENS_AT_ONCE), wanted.split(TOKENS_AT_ONCE), strict=True)
        ]
        losses.append(torch.cat(parts).view(n_rows, n_new - 1))
    return torch.cat(losses, dim=1)


def _network_nll(lm: LanguageModel, prompts: Sequence[Sequence[int]], target: Tensor, memory: Workspace) -> Tensor:
    """The same through the model's own code."""
    ids, mask = pad_left(prompts, lm.pad_id)
    ids = torch.cat([ids.to(lm.device), target[:, :-1]], dim=1)
    mask = torch.cat([mask.to(lm.device), torch.ones_like(target[:, :-1])], dim=1)
    places = position_ids(mask)
    logits = lm.network(
        input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False, logits_to_keep=target.shape[1]
    ).logits
    return _token_nll(logits, target)


def _token_nll(logits: Tensor, target: Tensor) -> Tensor:
    """Logits `[…, vocabulary]` and targets `[…]` → NLL in float32."""
    return cross_entropy(logits.float().flatten(0, -2), target.flatten(), reduction="none").view(target.shape)
