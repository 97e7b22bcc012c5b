"""What heads did in a text: their outputs, expanded values and attention patterns, recorded for `PatchHead`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.base.signatures import told
from emolib.interventions.bridge_sites import check_sites
from emolib.interventions.hooks import hooked
from emolib.models.finite import require_finite
from emolib.models.language_model import LanguageModel, checked_model
from emolib.models.tokens import encode, pad_left, position_ids

Head = tuple[int, int]
RECORDED = ("z", "v", "pattern")  # sites
MOST_HEADS = 1000  # in one range


@dataclass(frozen=True)
class HeadActivations:
    """Heads in one prompt; keys are (layer, head), tokens are the prompt's without padding.

    Attributes:
        z: output before W_O, `[pos, d_head]`.
        values: `[pos, d_head]`; of grouped-query attention, those of the head's KV head.
        patterns: attention weights, `[query pos, key pos]`.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> (record,) = emolib.record_heads(lm, ["Thank you so much"], [(3, 5)])
    >>> n_tokens = len(record.prompt_ids)
    >>> record.z[3, 5].shape == record.values[3, 5].shape == (n_tokens, lm.d_head)
    True
    >>> record.patterns[3, 5].shape == (n_tokens, n_tokens)
    True
    """

    model: str
    revision: str
    prompt: str
    prompt_ids: tuple[int, ...]
    z: Mapping[Head, Float[np.ndarray, "pos d_head"]]
    values: Mapping[Head, Float[np.ndarray, "pos d_head"]]
    patterns: Mapping[Head, Float[np.ndarray, "pos pos"]]

    def check(self, layer: int, head: int) -> None:
        """Raises `UserError` unless this layer and head were recorded."""
        if (layer, head) not in self.z:
            known = ", ".join(f"{a}:{b}" for a, b in self.z)
            raise UserError(f"the source holds the heads {known}, not {layer}:{head}; record it with record_heads")


def parse_heads(heads: str | Sequence[Head]) -> tuple[Head, ...]:
    """`"3:5,7:2"`, ranges such as `"0:0-11"` (heads 0 to 11 of layer 0), or pairs (layer, head) as a tuple of pairs.

    Each head once, in the order given.

    Raises:
        UserError: another form, a range that falls, or no head at all.

    >>> parse_heads("7:2,3:0-2,7:2")
    ((7, 2), (3, 0), (3, 1), (3, 2))
    """
    wrong = UserError(
        f"expected heads such as 3:5,7:2 (layer:head), 0:0-11 (a range) or pairs (layer, head), got {shown(heads)}"
    )
    if not isinstance(heads, str | Iterable):
        raise wrong
    given: Sequence[Sequence[int]]
    given = [pair for part in heads.split(",") for pair in _read(part, wrong)] if isinstance(heads, str) else heads
    try:
        pairs = [arguments.whole_numbers("heads", pair) for pair in given]
    except UserError:
        raise wrong from None
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise wrong
    return tuple(dict.fromkeys((layer, head) for layer, head in pairs))


def _read(part: str, wrong: UserError) -> list[list[int]]:
    """`3:5` or `0:0-11` as pairs."""
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*:\s*([0-9]{1,9})(?:\s*-\s*([0-9]{1,9}))?\s*", part)
    if found is None:
        raise wrong
    layer, first, last = (None if number is None else int(number) for number in found.groups())
    if layer is None or first is None or (last is not None and not first <= last < first + MOST_HEADS):
        raise wrong
    return [[layer, head] for head in range(first, (first if last is None else last) + 1)]


def check_heads(lm: LanguageModel, heads: Iterable[Head]) -> None:
    """Raises `UserError` for a layer or head that the model does not have."""
    for layer, head in heads:
        if not 0 <= layer < lm.n_layers:
            raise UserError(f"expected a layer of 0-{lm.n_layers - 1} for heads, got {layer}")
        if not 0 <= head < lm.n_heads:
            raise UserError(f"expected a head of 0-{lm.n_heads - 1}, got {head}")


@told
def record_heads(
    lm: LanguageModel, prompts: Sequence[str], heads: str | Sequence[Head], *, batch_size: int = 32
) -> list[HeadActivations]:
    """Runs every prompt once, unpatched, and keeps what the heads read and wrote: one `HeadActivations` per prompt.

    Args:
        heads: pairs (layer, head), or `"3:5,7:2"`.

    Raises:
        UserError: empty prompts, a layer or head that the model does not have, or values that are not finite.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> records = record_heads(lm, ["Thank you so much", "The lamp is on"], "3:5,7:2")
    >>> len(records), sorted(records[0].z)
    (2, [(3, 5), (7, 2)])
    """
    checked_model(lm)
    wanted = parse_heads(heads)
    batch_size = arguments.whole_number("batch_size", batch_size, least=1)
    prompts = arguments.texts(prompts, "prompts")
    check_heads(lm, wanted)
    layers = sorted({layer for layer, _ in wanted})
    check_sites(lm, [(site, layer) for layer in layers for site in RECORDED])
    rows = encode(lm, prompts, name="prompts")
    found: list[HeadActivations] = []
    for start in range(0, len(rows), batch_size):
        chunk = rows[start : start + batch_size]
        kept, width = _run(lm, chunk, layers)
        for i, ids in enumerate(chunk):
            first = width - len(ids)
            parts = {head: _of_head(lm, kept, head, i, first) for head in wanted}
            for (layer, head), part in parts.items():
                require_finite(lm, ((start + i, values) for values in part), f"head {head} at layer {layer}")
            found.append(
                HeadActivations(
                    lm.spec.name,
                    lm.revision,
                    prompts[start + i],
                    tuple(ids),
                    *({head: part[j] for head, part in parts.items()} for j in range(3)),
                )
            )
    return found


class _Enough(Exception):  # not an error: ends a pass behind the last layer that is wanted
    pass


@torch.inference_mode()
def _run(lm: LanguageModel, rows: Sequence[Sequence[int]], layers: Sequence[int]) -> tuple[dict, int]:
    """`{(site, layer): tensor on the CPU}` of one padded batch, and its width."""
    kept: dict[tuple[str, int], torch.Tensor] = {}

    def keep(key: tuple[str, int]) -> Callable[[torch.Tensor], None]:
        def function(value: torch.Tensor) -> None:
            heads = value if key[0] == "pattern" else value.reshape(*ids.shape, -1, lm.d_head)
            kept[key] = heads.detach().float().cpu()

        return function

    def stop(value: torch.Tensor) -> None:
        raise _Enough

    ids, mask = (part.to(lm.device) for part in pad_left(rows, lm.pad_id))
    keys = [(site, layer) for site in RECORDED for layer in layers]
    hooks: list[tuple[str, int, Callable[[torch.Tensor], None]]] = [(*key, keep(key)) for key in keys]
    if lm.blueprint is not None:  # of others it is not known whether every block's input is passed
        hooks.append(("resid_pre", max(layers) + 1, stop))
    with contextlib.suppress(_Enough), hooked(lm, hooks):
        lm.network(
            input_ids=ids, attention_mask=mask, position_ids=position_ids(mask), use_cache=False, logits_to_keep=1
        )
    silent = [f"{site} at layer {layer}" for site, layer in keys if (site, layer) not in kept]
    if silent:  # a pass that was ended is not looked at by `hooked`
        raise UserError(f"expected the bridge of {type(lm.network).__name__} to pass {', '.join(silent)}, it did not")
    return kept, ids.shape[1]


def _of_head(
    lm: LanguageModel, kept: Mapping[tuple[str, int], torch.Tensor], which: Head, row: int, first: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One head's z, values and pattern in one row, padding left out."""
    layer, head = which
    z = kept["z", layer][row, first:, head]
    values = kept["v", layer][row, first:]
    shared = lm.n_heads // values.shape[1]  # query heads per KV head
    return z.numpy(), values[:, head // shared].numpy(), kept["pattern", layer][row, head, first:, first:].numpy()


@told
def mean_head_output(records: Sequence[HeadActivations], layer: int, head: int) -> Float[np.ndarray, " d_head"]:
    """Mean of z over all tokens but each text's first; what mean ablation puts in a head's place.

    Raises:
        UserError: no record holds a second token, or one lacks this head.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> records = emolib.record_heads(lm, ["The lamp is on the desk", "It rained all day"], "3:5")
    >>> mean = mean_head_output(records, 3, 5)
    >>> act = emolib.AblateHead(3, 5, how="mean", mean=mean)
    >>> mean.shape == (lm.d_head,)
    True
    """
    layer, head = arguments.whole_number("layer", layer), arguments.whole_number("head", head)
    records = arguments.listed("records", records, "what record_heads gives")
    for record in records:
        arguments.instance("records", record, HeadActivations, "record_heads").check(layer, head)
    tokens = [record.z[layer, head][1:] for record in records if len(record.prompt_ids) > 1]
    if not tokens:
        raise UserError("expected records of texts of at least two tokens, got none")
    return np.concatenate(tokens).mean(0)
