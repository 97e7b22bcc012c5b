"""Products by either library are the same products."""

from __future__ import annotations

import pytest
import torch

from emolib.models import products
from emolib.models.products import linear, linear_into


@pytest.fixture(params=[True, False], ids=["onednn", "torch"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(products, "prefers_onednn", lambda: request.param)
    return request.param


@pytest.mark.parametrize("shape", [(5, 24), (2, 3, 24), (0, 24)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_a_product_is_that_of_float64(library: bool, shape: tuple[int, ...], transposed: bool, with_bias: bool) -> None:
    torch.manual_seed(0)
    x, weight, bias = (
        torch.randn(shape),
        torch.randn(24, 40).t() if transposed else torch.randn(40, 24),
        torch.randn(40),
    )
    expected = x.double() @ weight.double().t() + (bias.double() if with_bias else 0)
    with torch.inference_mode():
        found = linear(x, weight, bias if with_bias else None)
    assert found.shape == expected.shape
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_can_be_written_into_a_part_of_a_larger_memory(
    library: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "CHUNK_BYTES", 200)  # several chunks, the last a smaller one
    torch.manual_seed(0)
    x, weight, bias = torch.randn(7, 24).to(dtype), torch.randn(45, 24).to(dtype), torch.randn(45).to(dtype)
    memory = torch.full((9, 45), 5.0, dtype=dtype)
    with torch.inference_mode():
        found = linear_into(x, weight, bias, memory[:7])
    assert found.data_ptr() == memory.data_ptr() and (memory[7:] == 5).all()
    wanted = (x.double() @ weight.double().t() + bias.double()).to(dtype)
    torch.testing.assert_close(found, wanted, atol=1e-5 if dtype == torch.float32 else 0.1, rtol=0.02)
