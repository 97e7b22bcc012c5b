"""Head patching: one head gets what it had in another text (`PatchHead`).

Under grouped-query attention several query heads share the keys and values of one KV head. A patch changes one query
head alone: `v_only` works out that head's own output again, z + Σ_j pattern[·, j] (source value_j − value_j), with the
values that its KV head has in the source. The KV head itself, and with it every other query head that reads it, stays
as it is. (Patching the values where the model keeps them would change all of them at once.) `edits.Edits` applies it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.signatures import told
from emolib.interventions.act_arguments import check_place
from emolib.interventions.fingerprints import act_fingerprint
from emolib.interventions.head_records import HeadActivations
from emolib.interventions.schedules import Schedule

READ_FROM_SOURCE = {"v_only": ("values",), "pattern_v": ("patterns", "values"), "result": ("z",)}
PATCH_MODES = tuple(READ_FROM_SOURCE)


@told
@dataclass(frozen=True, eq=False)
class PatchHead:
    """Gives one head what it had in another text; token i from the end takes what token i from the source's end had.

    Attributes:
        source: from `record_heads`; must hold this layer and head of the same model.
        mode: `v_only`: the head reads the source's values at the matched prompt tokens, under its own attention
            pattern (other heads of the same KV head are untouched);
            `pattern_v`: its output is recomputed from the source's pattern and values;
            `result`: its output is the source's.
            At the prefill the last two agree in exact arithmetic.
        window: None patches every matched prompt token but the first; under `v_only` it also bounds whose values are
            taken from the source.
        steps: 0 patches the prefill alone; otherwise that many generated tokens too: under `v_only` they read the
            source's values at the prompt tokens, under the others they take the source's last output.
        source_prompt: how many of the source's tokens stand for the prompt; None: all of them. The later ones stand for
            what follows: the j-th token after the prompt takes what the source had at the j-th after its own (its last
            one beyond its end). So two prompts of unequal length followed by one text are matched token by token.

    Raises:
        UserError: an unknown mode, a source without this head, more tokens for the prompt than it has.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> (thanks,) = emolib.record_heads(lm, ["Thank you so much for your help."], "3:5")
    >>> act = PatchHead(3, 5, thanks, mode="result")
    >>> act.outputs().shape == (len(thanks.prompt_ids), lm.d_head)
    True
    >>> plain, patched = emolib.generate(lm, ["The report is on the desk."] * 2, [None, act], max_new_tokens=2)
    >>> plain.delta_ratio, patched.delta_ratio > 0
    (0.0, True)
    """

    layer: int
    head: int
    source: HeadActivations
    mode: Literal["v_only", "pattern_v", "result"] = "v_only"
    window: int | None = None
    schedule: Schedule = "constant"
    steps: int | None = 0
    source_prompt: int | None = None

    def __post_init__(self) -> None:
        check_place(self)
        arguments.one_of("patch mode", self.mode, PATCH_MODES)
        arguments.instance("a source", self.source, HeadActivations, "record_heads (one of its list)")
        self.source.check(self.layer, self.head)
        if self.source_prompt is not None:
            most = len(self.source.prompt_ids)
            given = arguments.whole_number("source_prompt", self.source_prompt, least=1, most=most)
            object.__setattr__(self, "source_prompt", given)

    @property
    def n_prompt(self) -> int:
        """The source's tokens that stand for the prompt."""
        return len(self.source.prompt_ids) if self.source_prompt is None else self.source_prompt

    def outputs(self) -> Float[np.ndarray, "pos d_head"]:
        """The head's output at every source token."""
        key = (self.layer, self.head)
        if self.mode == "pattern_v":
            return self.source.patterns[key] @ self.source.values[key]
        return self.source.z[key]

    def fingerprint(self) -> str:
        """A hash of the head, what it takes from the source, and when."""
        key = (self.layer, self.head)
        parts = {name: getattr(self.source, name)[key] for name in READ_FROM_SOURCE[self.mode]}
        shared = {} if self.source_prompt is None else {"source_prompt": self.source_prompt}
        return act_fingerprint(self, "patch", self.head, mode=self.mode, **shared, **parts)
