"""What the benchmarks share: the machine's name and limits, peak memory, and results as JSON and as a table."""

from __future__ import annotations

import json
import platform
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from emolib.base.errors import UserError
from emolib.models.products import linear

PACKAGES = ("emolib", "torch", "transformers", "transformer-lens", "numpy")
SQUARE = {"cpu": 2048, "cuda": 8192, "mps": 4096}


def run_main(main: Callable[[], None]) -> None:
    """Runs a benchmark; a user's mistake is one line and exit code 2."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    found = re.search(r"model name\s*:\s*(.+)", _read("/proc/cpuinfo")) if sys.platform.startswith("linux") else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


def described(device: torch.device) -> dict[str, Any]:
    """Where and with what a result was measured."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": device_name(device),
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "versions": versions,
    }


def seconds(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Wall time of one call, the device's queue emptied before and after, and what the call returned."""
    synchronize(device)
    started = time.perf_counter()
    result = work()
    synchronize(device)
    return time.perf_counter() - started, result


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def product_peak(
    device: torch.device, dtype: torch.dtype, shapes: Sequence[tuple[int, int]], n_rows: int, *, size: int | None = None
) -> dict[str, float]:
    """Operations per second of matrix products, each the best of eight.

    Args:
        size: rows and columns of the large square product; None takes those of `SQUARE`.

    Returns:
        `torch`: as torch multiplies, the better of a large square product and the model's own at `n_rows` rows;
        `best`: the same by the fastest library at hand (`emolib.models.products`).
    """
    size = size or SQUARE[device.type]
    square = torch.randn(size, size, device=device).to(dtype)
    weights = [torch.randn(out, into, device=device).to(dtype) for out, into in shapes]
    inputs = {into: torch.randn(n_rows, into, device=device).to(dtype) for _, into in shapes}

    def rate(product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> float:
        def own() -> None:
            for weight in weights:
                product(inputs[weight.shape[1]], weight)

        with torch.inference_mode():
            work = 2 * n_rows * sum(out * into for out, into in shapes) / _best(own, device)
            return max(work, 2 * size**3 / _best(lambda: product(square, square), device))

    by_torch = rate(torch.nn.functional.linear)
    return {"torch": by_torch, "best": max(by_torch, rate(linear))}


def _best(work: Callable[[], Any], device: torch.device, times: int = 8) -> float:
    work()
    return min(seconds(work, device)[0] for _ in range(times))


def resident_bytes(peak: bool = False) -> int | None:
    """The process's resident memory now, or its highest since `forget_peak`; None where the system does not tell."""
    found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", _read("/proc/self/status"))
    return int(found[1]) * 1024 if found else None


def forget_peak() -> None:
    """Starts the count of the highest resident memory anew."""
    Path("/proc/self/clear_refs").write_text("5")


def write_json(path: str | None, result: Mapping[str, Any]) -> None:
    text = json.dumps(result, indent=1, ensure_ascii=False)
    if path:
        Path(path).write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A plain table with a column per key of the first row."""
    names = list(rows[0])
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
    lines = [names, ["-" * width for width in widths], *cells]
    return "\n".join("  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)) for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "" if value is None else str(value)
