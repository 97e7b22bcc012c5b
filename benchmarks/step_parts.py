"""What one decode step is made of, part by part: milliseconds of all blocks' products, norms, rotations, activations
and attention at a number of rows, of the vocabulary's product and of the pick, each the fastest of a few.

Products by torch's own library and by oneDNN, which also takes an activation or a sum into the product; float32
products made of two or three bfloat16 parts, with their error. Nothing is loaded: tensors of SmolLM2-135M's shapes.

    python benchmarks/step_parts.py --rows 1,32,512 --dtypes float32,bfloat16 --json …
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from measuring import described, run_main, seconds, table, write_json
from torch import Tensor
from torch.nn import functional

from emolib.engine.sampling import highest
from emolib.models.attention import attention, rotate_by
from emolib.models.blueprint import RMSNorm
from emolib.models.product_choice import onednn_linear

CPU = torch.device("cpu")
N_LAYERS, D_MODEL, D_INNER, VOCABULARY = 30, 576, 1536, 49_152
N_HEADS, N_KV, D_HEAD, N_KEYS = 9, 3, 64, 45
SHAPES = {"qkv": (960, D_MODEL), "out": (D_MODEL, D_MODEL), "up": (2 * D_INNER, D_MODEL), "down": (D_MODEL, D_INNER)}


def milliseconds(work: Callable[[], Any], times: int = 5) -> float:
    work()
    return 1e3 * min(seconds(work, CPU)[0] for _ in range(times))


def parts(n_rows: int, dtype: torch.dtype) -> dict[str, float]:
    """Milliseconds per step of so many rows, by part; weights are read from memory, as many as the model has."""
    weights = {name: [torch.full(shape, 0.01, dtype=dtype) for _ in range(N_LAYERS)] for name, shape in SHAPES.items()}
    head = torch.full((VOCABULARY, D_MODEL), 0.01, dtype=dtype)
    x, inner = (torch.randn(n_rows, 1, width).to(dtype) for width in (D_MODEL, D_INNER))
    logits = torch.empty(n_rows, VOCABULARY, dtype=dtype)

    def every(product: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], None]:
        def run() -> None:
            for name, layers in weights.items():
                for weight in layers:
                    product(inner if name == "down" else x, weight)

        return run

    found = {
        "products of the blocks, torch": milliseconds(every(functional.linear)),
        "products of the blocks, oneDNN": milliseconds(every(onednn_linear)),
        "MLPs, torch": milliseconds(
            lambda: [_mlp(x, *pair) for pair in zip(weights["up"], weights["down"], strict=True)]
        ),
        "MLPs, oneDNN, activation and sums inside": milliseconds(
            lambda: [_fused_mlp(x, *pair) for pair in zip(weights["up"], weights["down"], strict=True)]
        ),
        "vocabulary's product, torch": milliseconds(lambda: torch.mm(x[:, 0], head.t(), out=logits)),
        "vocabulary's product, oneDNN": milliseconds(lambda: onednn_linear(x[:, 0], head)),
    }
    logits.normal_()
    found |= {
        "pick, max": milliseconds(lambda: logits.max(-1).indices),
        "pick, in blocks": milliseconds(lambda: highest(logits)),
    }
    return found | {name: N_LAYERS * taken for name, taken in _of_one_block(n_rows, dtype, x).items()}


def _of_one_block(n_rows: int, dtype: torch.dtype, x: Tensor) -> dict[str, float]:
    """What is no product, in one block."""
    both = torch.randn(n_rows, 1, N_HEADS + N_KV, D_HEAD).to(dtype)
    angle = torch.randn(n_rows, 1, 1, D_HEAD).to(dtype)
    keys = torch.randn(n_rows, N_KV, N_KEYS, D_HEAD).to(dtype)
    gate, up = torch.randn(n_rows, 1, 2 * D_INNER).to(dtype).chunk(2, dim=-1)
    gain = torch.ones(D_MODEL, dtype=dtype)
    norm = RMSNorm(gain, 1e-5)
    return {
        "norms, two a block": 2 * milliseconds(lambda: norm(x)),
        "norms, by torch's function": 2 * milliseconds(lambda: functional.rms_norm(x, (D_MODEL,), gain, 1e-5)),
        "rotations": milliseconds(lambda: rotate_by(both, angle, angle)),
        "attention, 45 own columns": milliseconds(lambda: attention(both[:, :, :N_HEADS], keys, keys, None, 0.125)),
        "attention, by torch's function": milliseconds(
            lambda: functional.scaled_dot_product_attention(
                both[:, 0, :N_HEADS].view(n_rows, N_KV, N_HEADS // N_KV, D_HEAD), keys, keys, scale=0.125
            )
        ),
        "gates": milliseconds(lambda: functional.silu(gate).mul_(up)),
        "residual sums, two a block": 2 * milliseconds(lambda: x.add_(x)),
    }


def _mlp(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    gate, inner = functional.linear(x, up).chunk(2, dim=-1)
    return functional.linear(functional.silu(gate).mul_(inner), down).add_(x)


def _fused_mlp(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    binary = torch.ops.mkldnn._linear_pointwise.binary
    gate = torch.ops.mkldnn._linear_pointwise(x, up[:D_INNER], None, "swish", [], "")
    return binary(binary(x, gate, up[D_INNER:], None, "mul"), x, down, None, "add")


def split_products(n_rows: int) -> list[dict[str, Any]]:
    """A float32 product beside the same made of bfloat16 parts (x = x₁ + x₂, W = W₁ + W₂), by the parts' products kept.

    oneDNN multiplies float32 numbers in bfloat16 where it is told to, with float32 sums and results.
    """
    x, weight = torch.randn(n_rows, D_MODEL), torch.randn(2 * D_INNER, D_MODEL) / D_MODEL**0.5
    exact = x.double() @ weight.double().t()
    (x1, x2), (w1, w2) = _in_parts(x), _in_parts(weight)
    x16, w16 = x1.bfloat16(), w1.bfloat16()
    flops = 2 * n_rows * weight.numel()

    def row(way: str, product: Callable[[], Tensor]) -> dict[str, Any]:
        error = float((product().double() - exact).abs().max() / exact.std())
        return {"product": way, "GFLOP/s": flops / milliseconds(product) / 1e6, "largest error, in spreads": error}

    rows = [
        row("float32, torch", lambda: functional.linear(x, weight)),
        row("float32, oneDNN", lambda: onednn_linear(x, weight)),
        row("bfloat16 numbers and results, torch", lambda: functional.linear(x16, w16)),
    ]
    settings = torch.backends.mkldnn.matmul
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        rows += [
            row("one bfloat16 part, float32 results", lambda: onednn_linear(x, weight)),
            row("two: x₁W₁ + x₂W₁", lambda: onednn_linear(x1, w1) + onednn_linear(x2, w1)),
            row("three: … + x₁W₂", lambda: onednn_linear(x1, w1) + onednn_linear(x2, w1) + onednn_linear(x1, w2)),
        ]
    finally:
        settings.fp32_precision = before
    return rows


def _in_parts(values: Tensor) -> tuple[Tensor, Tensor]:
    """What bfloat16 holds of float32 numbers, and of what is left."""
    first = values.bfloat16().float()
    return first, (values - first).bfloat16().float()


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1,32,512")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--json", help="where the result goes; printed when left out")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    sizes = [int(part) for part in arguments.rows.split(",")]
    found = {
        dtype: {n_rows: parts(n_rows, getattr(torch, dtype)) for n_rows in sizes}
        for dtype in arguments.dtypes.split(",")
    }
    split = split_products(max(sizes))
    write_json(arguments.json, {"benchmark": "step_parts", **described(CPU), "milliseconds": found, "split": split})
    for dtype, by_rows in found.items():
        names = list(next(iter(by_rows.values())))
        print(table([{f"ms a step, {dtype}": name} | {f"{n} rows": by_rows[n][name] for n in sizes} for name in names]))
        print()
    print(table(split))


if __name__ == "__main__":
    run_main(main)
