"""Cutting the edge to the emotion's word: it matters at the head that writes, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from emolib.base.errors import UserError
from emolib.circuits.edge_effects import EdgeRow, edge_effects
from emolib.models.tokens import encode
from emolib.selftest.planted import plant, words


@pytest.mark.parametrize("freeze", [False, True], ids=["cut", "frozen"])
def test_only_the_writers_edge_to_the_trigger_matters(freeze: bool) -> None:
    planted = plant("gpt2", effect=2.0, noise=0.05, distractors=("topic",))
    lm, truth = planted.lm, planted.truth
    rows = []
    for i, trigger in enumerate(truth.triggers["anger"]):
        prompt, matched = (f"we found the kettle , really {word} ." for word in (trigger, words.FILLERS[i]))
        key = encode(lm, [prompt])[0].index(lm.tokenizer.convert_tokens_to_ids(trigger))
        for said, weight in ((truth.outputs["anger"][i], 1.0), (words.PLAIN[i], -1.0)):
            text = f"and {said} kettle."
            rows.append(EdgeRow(f"s{i}", prompt, text, weight, key, matched if freeze else None))
    write = (truth.write_layer, truth.write_head)
    found = edge_effects(lm, rows, [write, (0, 1), (1, 1)]).groupby(["layer", "head"])["effect"].mean()
    assert found[write] < -0.3 and found[-1, -1] == pytest.approx(found[write], abs=0.1)
    assert np.abs([found[0, 1], found[1, 1]]).max() < 0.1
    elsewhere = [EdgeRow(row.scenario, row.prompt, row.text, row.weight, row.key - 3) for row in rows]
    assert abs(edge_effects(lm, elsewhere, [write])["effect"]).max() < 0.1  # another word of the same text


def test_matched_prompts_that_do_not_fit_are_refused() -> None:
    planted = plant("gpt2")
    row = EdgeRow("s", "we found the kettle .", "and old kettle.", 1.0, 2, "we found a big kettle .")
    with pytest.raises(UserError, match="differs at token 2 alone"):
        edge_effects(planted.lm, [row], "1:2")
    with pytest.raises(UserError, match="all of them"):
        edge_effects(planted.lm, [row, EdgeRow("s", row.prompt, row.text, 1.0, 2)], "1:2")
