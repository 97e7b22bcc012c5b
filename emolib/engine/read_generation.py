"""Generation whose texts are read under the unpatched model as soon as their batch is done.

What the batch has computed of that model is not computed again: a row's layers below its first patched one, all layers
of a row without a patch. A batch's residuals are given up before the next one begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from emolib.engine.generation import Generation, Options, generate_parts
from emolib.engine.likelihood import continuation_nll
from emolib.engine.residuals import Known, Residuals
from emolib.engine.sampling import Decoding
from emolib.interventions import Intervention
from emolib.models.language_model import LanguageModel, checked_model


def generate_and_read(
    lm: LanguageModel,
    prompts: Sequence[str],
    interventions: Sequence[Intervention] | None = None,
    *,
    decoding: Decoding,
    seeds: Sequence[int] | None = None,
    batch_size: int | Literal["auto"] = "auto",
) -> tuple[list[Generation], np.ndarray]:
    """As `generate`, and every text's mean token NLL after its prompt under the unpatched model, `[row]` in nats.

    A text is read as its tokenizer splits it, which need not be as it was generated; NaN where that gives no token.

    Raises:
        UserError: as `generate` and `continuation_nll`.
    """
    checked_model(lm)
    known: dict[tuple[str, str], float] = {}

    def read(outs: Sequence[Generation], left: Residuals | None) -> None:
        new: dict[tuple[str, str], Known | None] = {}
        for row, out in enumerate(outs):
            pair = out.prompt, out.text
            if pair not in known:
                new[pair] = _further(new.get(pair), left.of(row, out.token_ids) if left else None)
        ids = token_ids(lm, [text for _, text in new])
        nll = continuation_nll(lm, [prompt for prompt, _ in new], ids, list(new.values()))
        known.update(zip(new, nll.tolist(), strict=True))

    outs = generate_parts(lm, prompts, interventions, Options(decoding, seeds, batch_size), read)
    return outs, np.array([known[out.prompt, out.text] for out in outs], dtype=float)


def _further(one: Known | None, other: Known | None) -> Known | None:
    """The one that saves more layers."""
    if one is None or other is None:
        return one or other
    return other if other.layer > one.layer else one


def token_ids(lm: LanguageModel, texts: Sequence[str]) -> list[list[int]]:
    """Of continuations: without the special tokens that begin a text."""
    return lm.tokenizer(list(texts), add_special_tokens=False).input_ids if texts else []
