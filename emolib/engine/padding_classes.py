"""Which texts that are fed after their prompts are padded to one length.

By the length of the text, or by the longest text of its prompt, in longer or shorter steps, whichever feeds fewest
tokens: few acts on many prompts should run each prompt once, many acts on few prompts should pad little.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

STEPS = (4, 2, 1)  # in which lengths that are padded to one follow each other, in tokens
CLASS_TOKENS = 64  # through all layers, that a further class is worth: batches get smaller
Tokens = tuple[int, ...]


def padding_classes(
    prompts: Sequence[Tokens], texts: Sequence[Tokens], layers: Sequence[int], n_layers: int
) -> list[list[int]]:
    """The rows of every padded length, shorter texts first; pairs of prompt and text beside each other.

    They follow from the rows alone, never from how these are batched.

    Args:
        prompts, texts: token ids per row.
        layers: how many layers each row runs through beside its unpatched pair; below 1 none.
        n_layers: of the model.

    >>> prompt = tuple(range(8))
    >>> padding_classes([prompt] * 2, [(3, 4), (3, 4, 5, 6, 7, 8)], [0, 0], 4)
    [[0, 1]]
    >>> padding_classes([prompt] * 2, [(3, 4), (3, 4, 5, 6, 7, 8)], [800, 0], 4)
    [[0], [1]]
    """
    own = [len(text) for text in texts]
    longest: dict[Tokens, int] = defaultdict(int)
    for prompt, length in zip(prompts, own, strict=True):
        longest[prompt] = max(longest[prompt], length)
    of_prompts = [longest[prompt] for prompt in prompts]
    ways = [_by_length(lengths, step) for step in STEPS for lengths in (own, of_prompts)]

    def tokens(classes: Sequence[Sequence[int]]) -> int:
        """Through layers: prompts once per class, texts once per pair, and once per row from its first act on."""
        total = CLASS_TOKENS * n_layers * len(classes)
        for rows in classes:
            pairs = {(prompts[row], texts[row]) for row in rows}
            late = n_layers * len(pairs) + sum(max(layers[row], 0) for row in rows)
            total += n_layers * sum(map(len, {prompt for prompt, _ in pairs})) + late * max(own[row] for row in rows)
        return total

    return [sorted(rows, key=lambda row: (prompts[row], texts[row])) for rows in min(ways, key=tokens)]


def _by_length(lengths: Sequence[int], step: int) -> list[list[int]]:
    members: dict[int, list[int]] = defaultdict(list)
    for row, length in enumerate(lengths):
        members[-(-(length - 1) // step)].append(row)  # the last token is not fed
    return [rows for _, rows in sorted(members.items())]
