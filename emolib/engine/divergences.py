"""How far acts move the distribution of the next token along fixed texts, from one pass over all of a text's tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from emolib.engine.forced_pass import TOKENS_AT_ONCE, ForcedPass, ForcedRows, network_logits
from emolib.models.language_model import LanguageModel
from emolib.models.products import linear_into
from emolib.models.workspace import Workspace

Logits = Callable[[Tensor, Tensor], Tensor]  # of some lines at some columns `[place]`: `[place, vocabulary]`


def divergences(lm: LanguageModel, rows: ForcedRows, memory: Workspace) -> np.ndarray:
    """KL(unpatched ‖ patched) in nats `[row, 1 + n_fed]`: after the prompt and after every fed token, NaN on padding.

    Raises:
        ValueError: a row without a patch.
    """
    return _read(lm, rows, _logits(lm, rows, memory))


def pair_divergences(
    lm: LanguageModel, plain: ForcedRows, asked: ForcedRows, plain_of: Sequence[int], memory: Workspace
) -> np.ndarray:
    """KL(a plain pair ‖ an asked one) in nats `[asked, 1 + n_fed]`, NaN on padding; nothing of either is patched.

    Args:
        plain, asked: pairs of a prompt and a text, without patched rows.
        plain_of: per asked pair the number of the plain one, which has the same text after another prompt.

    Raises:
        ValueError: patched rows, pairs whose texts differ.
    """
    if plain.pair_of or asked.pair_of or [plain.texts[i] for i in plain_of] != list(asked.texts):
        raise ValueError("expected pairs with the same texts, and no patched rows")
    real = torch.arange(asked.n_fed + 1) <= torch.from_numpy(asked.counts)[:, None]
    pair, column = real.nonzero().T
    of_plain, of_asked, own = _logits(lm, plain, memory), _logits(lm, asked, memory), torch.tensor(plain_of)[pair]
    parts = []
    for some in torch.arange(len(pair)).split(TOKENS_AT_ONCE.get(lm.device.type, 128)):
        log_p = _log_probabilities(of_plain, own[some], column[some], lm.device)
        log_q = _log_probabilities(of_asked, pair[some], column[some], lm.device)
        parts.append(divergence(log_p, log_q, torch.arange(len(some), device=log_p.device)).cpu().double())
    values = np.full(real.shape, np.nan)
    values[pair, column] = torch.cat(parts).numpy()
    return values


def _logits(lm: LanguageModel, rows: ForcedRows, memory: Workspace) -> Logits:
    """What the lines' distributions are read from; each call overwrites what the one before gave."""
    if lm.blueprint is None:
        whole = network_logits(lm, rows, rows.n_fed + 1)
        return lambda lines, columns: whole[lines, columns]
    hidden, net, head = ForcedPass(lm, rows).hidden(), lm.native, lm.native.head
    step = TOKENS_AT_ONCE.get(lm.device.type, 128)
    room = memory.take("scores", (step, head.weight.shape[0]), head.weight)

    def logits(lines: Tensor, columns: Tensor) -> Tensor:
        return linear_into(net.final_norm(hidden[lines, columns]), head.weight, head.bias, room[: len(lines)])

    return logits


def _read(lm: LanguageModel, rows: ForcedRows, logits: Logits) -> np.ndarray:
    """A few tokens at a time, those of one place of one pair beside each other, which share its distribution."""
    n_pairs = len(rows.prompts)
    real = torch.arange(rows.n_fed + 1) <= torch.from_numpy(rows.counts[n_pairs:])[:, None]
    row, column = real.nonzero().T
    place = torch.tensor(rows.pair_of)[row] * (rows.n_fed + 1) + column
    order = place.argsort(stable=True)
    parts = []
    for some in order.split(TOKENS_AT_ONCE.get(lm.device.type, 128)):
        places, own = place[some].unique(return_inverse=True)
        pair_and_column = (places // (rows.n_fed + 1), places % (rows.n_fed + 1))
        log_p = _log_probabilities(logits, *pair_and_column, lm.device)
        log_q = _log_probabilities(logits, n_pairs + row[some], column[some], lm.device)
        parts.append(divergence(log_p, log_q, own.to(lm.device)).cpu().double())
    values = np.full(real.shape, np.nan)
    values[row[order], column[order]] = torch.cat(parts).numpy()
    return values


def _log_probabilities(logits: Logits, lines: Tensor, columns: Tensor, device: torch.device) -> Tensor:
    return logits(lines.to(device), columns.to(device)).float().log_softmax(-1)


def divergence(log_p: Tensor, log_q: Tensor, own: Tensor) -> Tensor:
    """KL(p ‖ q) `[row]` of rows' distributions q from the p of each row's own place.

    Σ p log(p/q) + q − p: the terms that cancel in exact arithmetic keep the rounding of log-probabilities, which counts
    once per row and not squared, out of small divergences.

    Args:
        log_p: `[place, vocabulary]`.
        log_q: `[row, vocabulary]`.
        own: the place of every row.
    """
    p, wide = log_p.exp(), log_p[own]
    return (p[own] * (wide - log_q) + (log_q.exp() - p[own])).sum(-1)
