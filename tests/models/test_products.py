"""Products by either library are the same products."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from refusals import refused_call

from emolib.models import product_choice, products
from emolib.models.product_choice import FEW, MANY, SHAPES, Choice, choose, widened_linear
from emolib.models.products import linear, linear_into


@pytest.fixture(params=[True, False], ids=["onednn", "torch"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(products, "prefers_onednn", lambda n_rows: request.param)
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


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, float]:
    """What a measurement finds (of few rows torch is faster); the cache is empty, the environment asks for nothing."""
    seconds = {"torch": 2.0, "onednn": 1.0, "asked": 0.0}

    def found(shapes: Sequence[tuple[int, ...]], dtype: torch.dtype) -> dict[str, float]:
        seconds["asked"] += 1
        assert (dtype == torch.bfloat16) == (shapes == SHAPES["widened"])
        if shapes != SHAPES["many"]:
            return {"torch": 0.5, "other": 0.6}
        return {"torch": seconds["torch"], "other": seconds["onednn"]}

    monkeypatch.setenv("EMOLIB_CACHE", str(tmp_path))
    monkeypatch.delenv("EMOLIB_PRODUCTS", raising=False)
    monkeypatch.setattr(product_choice, "measure", found)
    monkeypatch.setattr(product_choice, "_has_onednn", lambda: True)
    return seconds


def test_the_faster_library_is_taken_and_remembered(timed: dict[str, float], tmp_path: Path) -> None:
    assert choose() == Choice(many=True, few=False)
    timed["onednn"] = 3.0
    assert choose() == Choice(many=True, few=False) and timed["asked"] == 3
    (tmp_path / "products.json").write_text("no json")
    assert choose() == choose() == Choice(many=False, few=False) and timed["asked"] == 6
    (stored,) = json.loads((tmp_path / "products.json").read_text()).values()
    assert stored["chosen"] == {"many": False, "few": False, "widened": False}
    assert stored["seconds"]["many"] == {"torch": 2.0, "other": 3.0}


@pytest.mark.parametrize("spoilt", [True, {"many": True, "few": True}, {"many": True, "few": 1, "widened": True}])
def test_an_answer_of_another_form_is_measured_anew(timed: dict[str, float], tmp_path: Path, spoilt: object) -> None:
    choose()
    known = json.loads((tmp_path / "products.json").read_text())
    (key,) = known
    (tmp_path / "products.json").write_text(json.dumps({key: {**known[key], "chosen": spoilt}}))
    assert choose() == Choice(many=True, few=False) and timed["asked"] == 6


def test_the_number_of_rows_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_choice", lambda: Choice(many=True, few=False))
    asked = []
    monkeypatch.setattr(products, "onednn_linear", lambda x, weight, bias: asked.append(x.shape) or x @ weight.t())
    weight = torch.randn(4, 3)
    for shape in [(1, 1, 3), (FEW - 1, 3), (FEW, 1, 3), (2, FEW, 3)]:
        assert linear(torch.randn(shape), weight).shape == (*shape[:-1], 4)
    assert asked == [(FEW, 1, 3), (2, FEW, 3)]


@pytest.mark.parametrize("n_rows", [MANY - 1, MANY])
def test_many_rows_of_bfloat16_are_multiplied_in_float32_where_that_is_faster(
    n_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_choice", lambda: Choice(many=False, few=False, widened=True))
    widened = []
    monkeypatch.setattr(
        products, "widened_linear", lambda *given: widened.append(len(given[0])) or widened_linear(*given)
    )
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(shape).bfloat16() for shape in [(n_rows, 24), (45, 24), (45,)])
    wanted = (x.double() @ weight.double().t() + bias.double()).bfloat16()
    memory = torch.empty(n_rows, 45, dtype=torch.bfloat16)
    for found in (linear(x, weight, bias), linear_into(x, weight, bias, memory)):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found, wanted, atol=1e-2, rtol=1e-2)
    assert widened == ([n_rows] * 2 if n_rows >= MANY else [])


def test_nearly_as_fast_is_not_enough(timed: dict[str, float]) -> None:
    timed["onednn"] = 1.95
    assert not choose().many


def test_another_number_of_threads_is_measured_anew(timed: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose().many
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert choose().many and timed["asked"] == 6


def test_a_cache_that_cannot_be_written_is_no_obstacle(timed: dict[str, float], tmp_path: Path) -> None:
    (tmp_path / "products.json").mkdir()
    assert choose().many and choose().many and timed["asked"] == 6


@pytest.mark.parametrize(("asked", "expected"), [("torch", False), ("onednn", True)])
def test_the_variable_decides(
    timed: dict[str, float], monkeypatch: pytest.MonkeyPatch, asked: str, expected: bool
) -> None:
    timed["onednn"] = 3.0 if expected else 1.0  # the measurement would say otherwise
    monkeypatch.setenv("EMOLIB_PRODUCTS", asked)
    assert choose() == Choice.both(expected) and timed["asked"] == 0
    monkeypatch.setattr(product_choice, "_has_onednn", lambda: False)
    if expected:
        refused_call(choose, ["EMOLIB_PRODUCTS=onednn", "leave"])


def test_another_name_in_the_variable_is_refused(timed: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOLIB_PRODUCTS", "mkl")
    refused_call(choose, ["EMOLIB_PRODUCTS", "'mkl'", "torch or onednn"])


def test_a_real_measurement_takes_little_time() -> None:
    begun = time.process_time()
    dtypes = {"many": torch.float32, "few": torch.float32, "widened": torch.bfloat16}
    taken = [product_choice.measure(SHAPES[name], dtype) for name, dtype in dtypes.items()]
    assert all(set(of) == {"torch", "other"} and all(0 < seconds < 2 for seconds in of.values()) for of in taken)
    assert time.process_time() - begun < 4 * torch.get_num_threads()


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
