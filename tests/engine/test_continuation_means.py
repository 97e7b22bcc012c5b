"""A text's shift from its tokens' is the text's own, to the last digit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.engine.continuation import continuation_shift, token_shifts
from emolib.engine.continuation_means import means_of_tokens
from emolib.interventions import Steer
from emolib.models.language_model import LanguageModel

PROMPTS = ["The new shop by the old bridge opens again", "Rain fell and", "The new shop by the old bridge opens again"]
TEXTS = ["We went in, and out.", "No one knows it", "It stopped at noon!?"]


def test_the_means_of_tokens_are_what_a_call_of_its_own_gives(tiny: LanguageModel) -> None:
    vector = np.linspace(-1, 1, tiny.d_model, dtype=np.float32)
    acts = [Steer(1, vector, 1.0, unit="vector"), None, Steer(2, vector, 2.0, unit="vector")]
    wanted = continuation_shift(tiny, PROMPTS, TEXTS, acts)
    found = means_of_tokens(tiny, TEXTS, token_shifts(tiny, PROMPTS, TEXTS, acts))
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)
    assert wanted["shift"][0] != 0 and wanted["shift"][1] == 0


def test_tokens_of_other_texts_are_refused(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["gpt2"]
    tokens = token_shifts(lm, PROMPTS, TEXTS)
    for texts, given in ((TEXTS[::-1], tokens), (TEXTS, tokens.iloc[:-1]), (TEXTS, tokens.iloc[::-1])):
        with pytest.raises(UserError, match="of these 3 texts"):
            means_of_tokens(lm, texts, given)
    assert means_of_tokens(lm, [], token_shifts(lm, [], [])).empty
