"""Orthogonal perturbations: their geometry, and what a direction that alone matters leaves of the effect."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.steering.perturbations import perturbed, survival


def test_the_part_along_the_vector_stays_and_the_rest_is_orthogonal() -> None:
    v = np.random.default_rng(0).standard_normal(40)
    for degrees in (0, 30, 45, 60):
        w = perturbed(v, degrees, 1)
        assert w @ v == pytest.approx(v @ v)
        assert np.linalg.norm(w - v) == pytest.approx(np.tan(np.radians(degrees)) * np.linalg.norm(v))
    assert (perturbed(v, 45, 1) != perturbed(v, 45, 2)).any() and (perturbed(v, 45, 1) == perturbed(v, 45, 1)).all()
    for wrong in ((np.zeros(3), 45), (v, 90)):
        with pytest.raises(UserError, match="angle"):
            perturbed(*wrong, 0)


def test_shares_are_of_the_vectors_own_effect_and_undefined_without_one() -> None:
    keys = [(other, degrees, i) for other in ("a", "b") for degrees, i in ((0, 0), (45, 0), (45, 1))]
    rows = pd.DataFrame(keys, columns=["other", "degrees", "index"]).assign(style="implicit", emotion="joy")
    rows["specific"] = [0.4, 0.2, 0.4, 0.8, 0.4, 0.2]
    found = survival(rows).set_index("degrees")
    assert found.loc[0, ["specific", "left"]].tolist() == pytest.approx([0.6, 1.0])
    assert found.loc[45, ["specific", "left", "n"]].tolist() == pytest.approx([0.3, 0.5, 2])
    assert survival(rows.assign(specific=-rows["specific"]))["left"].isna().all()
    with pytest.raises(UserError, match="0 degrees"):
        survival(rows[rows["degrees"] > 0])
