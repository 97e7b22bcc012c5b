"""A cut edge: against the same done by hand to a plain network, on every route of the engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import ROUTES, Case, forced_logits, plain_logits

from emolib.base.errors import UserError
from emolib.engine.continuation import continuation_shift
from emolib.engine.generation import generate
from emolib.interventions import CutEdge
from emolib.models.tokens import encode

PROMPTS = ["The new shop by the old bridge", "It rained and"]
FORCED = [[5, 80, 9], [70, 7, 33]]
LAYER, HEAD, TOLERANCE = 1, 2, 5e-4


def cut_by_hand(case: Case, key: int, value: torch.Tensor | None, row: int) -> torch.Tensor:
    def edit(z: torch.Tensor, values: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor:
        target = torch.zeros(z.shape[-1]) if value is None else value
        change = pattern[:, HEAD, :, key, None] * (target - values[:, key, HEAD])[:, None]
        change[:, 0] = 0  # the first token is never patched
        z[:, :, HEAD] += change
        return z

    ids = encode(case.lm, [PROMPTS[row]])[0]
    return plain_logits(case.plain, [("z", LAYER, edit)], ids, FORCED[row])


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("given", [False, True], ids=["nothing", "another value"])
def test_a_cut_edge_is_what_it_says(tiny_case: Case, route: str, given: bool) -> None:
    keys = (len(encode(tiny_case.lm, PROMPTS)[0]) - 3, 8)  # within the local windows
    value = np.linspace(-1, 1, tiny_case.lm.d_head).astype(np.float32) if given else None
    acts = [CutEdge(LAYER, HEAD, key, value) for key in keys]
    if tiny_case.name == "gpt_neo" and route.startswith("bridge"):
        with pytest.raises(UserError, match="only after its heads' outputs"):
            forced_logits(tiny_case.lm, route, PROMPTS, acts, FORCED)
        return
    found = forced_logits(tiny_case.lm, route, PROMPTS, acts, FORCED)
    plain = forced_logits(tiny_case.lm, route, PROMPTS, [None, None], FORCED)
    for row, key in enumerate(keys):
        expected = cut_by_hand(tiny_case, key, None if value is None else torch.tensor(value), row)
        torch.testing.assert_close(found[row], expected, atol=TOLERANCE, rtol=0)
    assert (found - plain).abs().max() > 10 * TOLERANCE


def test_an_edge_to_what_a_local_head_does_not_see_changes_nothing(tiny_case: Case) -> None:
    lm = tiny_case.lm
    if lm.native.layers[LAYER].window is None:
        shift = continuation_shift(lm, PROMPTS[:1], ["It came at noon."], [CutEdge(LAYER, HEAD, 1)])
        assert shift["shift"][0] != 0
        return
    shift = continuation_shift(lm, PROMPTS[:1], ["It came at noon."], [CutEdge(LAYER, HEAD, 1, window=1)])
    assert abs(shift["shift"][0]) < 1e-6


def test_edges_that_do_not_fit_are_refused(tiny_case: Case) -> None:
    lm = tiny_case.lm
    for act, message in (
        (CutEdge(1, 9, 0), "head of"),
        (CutEdge(1, 2, 0, value=np.zeros(3)), "value of d_head"),
        (CutEdge(1, 2, 500), "within the prompt"),
    ):
        with pytest.raises(UserError, match=message):
            generate(lm, PROMPTS[:1], [act], max_new_tokens=1)
    with pytest.raises(UserError, match="key"):
        CutEdge(1, 2, -1)
    assert CutEdge(1, 2, 3).fingerprint() != CutEdge(1, 2, 4).fingerprint()
    assert CutEdge(1, 2, 3).fingerprint() == CutEdge(1, 2, 3).fingerprint()
