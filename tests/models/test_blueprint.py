"""The plain parts of a blueprint are the formulas that they stand for."""

from __future__ import annotations

import pytest
import torch

from emolib.models.attention import rotate_by
from emolib.models.blueprint import RMSNorm


@pytest.mark.parametrize("cast_first", [True, False])
@pytest.mark.parametrize("shape", [(24,), (5, 24)], ids=["one gain", "a gain per head"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_a_norm_is_the_formula(shape: tuple[int, ...], dtype: torch.dtype, tolerance: float, cast_first: bool) -> None:
    torch.manual_seed(0)
    x, gain = (3 * torch.randn(2, 7, 5, 24)).to(dtype), 1 + torch.randn(shape)
    gain = gain.to(dtype) if cast_first else gain
    wide = x.double()
    expected = wide / (wide.square().mean(-1, keepdim=True) + 0.1).sqrt() * gain.double()
    before = x.clone()
    found = RMSNorm(gain, 0.1, cast_first)(x)
    assert found.dtype == dtype and torch.equal(x, before)
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("rotated", [8, 12])
def test_a_rotation_turns_pairs_by_their_angle_and_leaves_the_rest(rotated: int) -> None:
    torch.manual_seed(0)
    x, angles = torch.randn(2, 3, 4, 12), torch.randn(2, 3, 1, rotated // 2)
    pairs = torch.complex(x[..., : rotated // 2], x[..., rotated // 2 : rotated])
    turned = pairs * torch.polar(torch.ones_like(angles), angles)
    expected = torch.cat([turned.real, turned.imag, x[..., rotated:]], dim=-1)
    sin = torch.cat([-angles.sin(), angles.sin()], dim=-1)
    kept = x.clone()
    found = rotate_by(kept, torch.cat([angles.cos()] * 2, dim=-1), sin)
    assert found.data_ptr() == kept.data_ptr()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
