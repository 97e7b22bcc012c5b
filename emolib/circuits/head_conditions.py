"""What is done to heads, in which run, and what it comes from: conditions, and the acts that they make of a cell.

The *target* is the run that is patched: after the neutral context (emotion → neutral: is what the head has in an
emotional context enough?) or after the emotional one (neutral → emotion: is it needed?). The *source* says whose
activations the heads get, and thereby what they carry:

| source | target neutral gets | target emotional gets | what is carried if it acts |
|---|---|---|---|
| `same` | the same scenario's emotional text | the same scenario's neutral text | whatever differs between the two |
| `same_emotion` | the emotion's text of another scenario | the same | the emotion, not the scenario |
| `other_emotion` | another emotion's text, same scenario | the same | being emotional, or the scenario |
| `neutral` | another scenario's neutral text (A/A) | the same | resample ablation |
| `neutral_again` | a third one's (A/A) | the same | what two neutral sources differ by chance |
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emolib.base import arguments
from emolib.circuits.context_cells import ContextCells, context_tokens
from emolib.interventions import AblateHead, Act, Head, HeadActivations, PatchHead

PATCHES = ("v_only", "pattern_v", "result")
ABLATIONS = ("zero", "mean")
TARGETS = ("neutral", "emotional")
SOURCES = ("same", "same_emotion", "other_emotion", "neutral", "neutral_again")
EXTENTS = ("whole", "prompt", "one_token", "thirty_tokens")
LONG = 30  # tokens: the prompt's last one and 29 that follow


@dataclass(frozen=True)
class HeadCondition:
    """Some heads of one run, changed in one way.

    Attributes:
        heads: (layer, head), one or several at once.
        mode: `v_only`, `pattern_v`, `result`, or an ablation by `zero` or `mean` (then there is no source).
        target, source: see the module.
        extent: `whole` changes the context's tokens and all of the text that follows (an ablation every token but the
            first); `prompt` the context's alone; `one_token` the prompt's last one; `thirty_tokens` that one and the 29
            that follow.

    >>> HeadCondition(((3, 5), (7, 2)), "result", "neutral", "same").name
    '3:5+7:2'
    """

    heads: tuple[Head, ...]
    mode: str
    target: str
    source: str = "same"
    extent: str = "whole"

    def __post_init__(self) -> None:
        arguments.one_of("mode", self.mode, (*PATCHES, *ABLATIONS))
        arguments.one_of("target", self.target, TARGETS)
        arguments.one_of("source", self.source, (*SOURCES, ""))
        arguments.one_of("extent", self.extent, EXTENTS)

    @property
    def name(self) -> str:
        """The heads as text; several are joined by +."""
        return head_names(self.heads)

    def source_of(self, cells: ContextCells, emotion: str) -> tuple[str, str] | None:
        """Role and label of the context that the heads' activations come from; None for an ablation."""
        if self.mode in ABLATIONS:
            return None
        own = emotion if self.target == "neutral" else cells.neutral
        return {
            "same": ("third", own),
            "same_emotion": ("fourth", emotion),
            "other_emotion": ("third", cells.other(emotion)),
            "neutral": ("fourth", cells.neutral),
            "neutral_again": ("fifth", cells.neutral),
        }[self.source]

    def acts(
        self,
        record: HeadActivations | None,
        n_prompt: int,
        window: int,
        means: Mapping[Head, np.ndarray],
    ) -> tuple[Act, ...]:
        """The acts of one row.

        Args:
            record: of the source's prompt and the row's text behind it; None for an ablation.
            n_prompt: tokens of that prompt.
            window: context tokens that target and source both have.
            means: what mean ablation puts in a head's place, `[d_head]`.
        """
        if record is None:
            return tuple(
                AblateHead(*head, "mean", means[head]) if self.mode == "mean" else AblateHead(*head)
                for head in self.heads
            )
        reach, steps = {
            "whole": (window, None),
            "prompt": (window, 0),
            "one_token": (1, 0),
            "thirty_tokens": (1, LONG - 1),
        }[self.extent]
        return tuple(
            PatchHead(*head, record, self.mode, reach, steps=steps, source_prompt=n_prompt)  # type: ignore[arg-type]
            for head in self.heads
        )


def head_names(heads: Sequence[Head]) -> str:
    """Heads as text.

    >>> head_names([(3, 5)])
    '3:5'
    """
    return "+".join(f"{layer}:{head}" for layer, head in heads)


def shared_window(lengths: Mapping[str, int], bare: int, target: str, source: str) -> int:
    """Context tokens, counted from the end, that two prompts with one beginning both have.

    Args:
        lengths: tokens by prompt.
        bare: tokens of the prompt without a context.

    >>> shared_window({"a b c d": 4, "a b c": 3}, 1, "a b c d", "a b c")
    2
    """
    return min(context_tokens(range(lengths[prompt]), range(bare)) for prompt in (target, source))


def standard_conditions(
    heads: Sequence[Head],
    *,
    modes: Collection[str] = PATCHES,
    sources: Collection[str] = SOURCES,
    long: bool = True,
    ablations: Collection[str] = ABLATIONS,
) -> list[HeadCondition]:
    """The conditions that are reported, for every head and, as far as marked *, for all together.

    Every mode with the source `same` into both targets *; the other sources by `result` into both targets (`neutral`,
    which is resample ablation, *); the sources of A/A by every mode but `pattern_v` (at matched tokens it gives what
    `result` does) into the neutral target; the extents by `result` into the neutral target; ablations of both *.

    >>> len(standard_conditions([(3, 5)], modes=["result"], sources=["same"], long=False, ablations=[]))
    2
    """
    found: list[HeadCondition] = []
    for some in [(head,) for head in heads] + ([tuple(heads)] if len(heads) > 1 else []):
        alone = len(some) == 1
        found += [HeadCondition(some, mode, target) for mode in modes for target in TARGETS]
        further = [name for name in sources if name == "neutral" or (alone and name not in ("same", "neutral_again"))]
        found += [HeadCondition(some, "result", target, source) for source in further for target in TARGETS]
        if alone and {"neutral", "neutral_again"} <= set(sources):
            by = [mode for mode in modes if mode != "pattern_v"]
            found += [
                HeadCondition(some, mode, "neutral", name) for mode in by for name in ("neutral", "neutral_again")
            ]
        if alone and long:
            found += [HeadCondition(some, "result", "neutral", "same", extent) for extent in EXTENTS[1:]]
        found += [HeadCondition(some, mode, target, "") for mode in ablations for target in TARGETS]
    return list(dict.fromkeys(found))
