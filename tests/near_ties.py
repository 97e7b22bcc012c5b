"""How near to a tie the greedy texts of the smoke reports come: `python tests/near_ties.py`.

A greedy text follows from the best logit of every step. Where the two best lie closer together than two processors'
float32 products do, another machine may write another text, and every number that is counted in it may change. A
reference must not hang on that: `nox -s references` calls this, and fails where a step lies within `GAP`.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field

import nbformat
import torch
from torch import Tensor

from emolib.base import paths
from emolib.engine.sampling import Sampler
from emolib.pipeline.phases import phases_in_order

GAP = 2e-4  # in logits; another library of products moved these gaps by up to 6e-5


@dataclass
class Gaps:
    """The differences of the two best logits of every greedy step, of rows that have ended too."""

    found: list[float] = field(default_factory=list)

    @contextlib.contextmanager
    def of_greedy_steps(self) -> Iterator[None]:
        """Notes every greedy choice that is made inside."""
        pick = Sampler.pick

        def noting(sampler: Sampler, logits: Tensor, draw: Tensor) -> Tensor:
            if sampler.temperature == 0:
                best = torch.topk(logits.float(), 2).values
                self.found += (best[:, 0] - best[:, 1]).tolist()
            return pick(sampler, logits, draw)

        Sampler.pick = noting
        try:
            yield
        finally:
            Sampler.pick = pick

    def sentence(self) -> str:
        near = sum(gap < GAP for gap in self.found)
        smallest = min(self.found, default=float("nan"))
        return f"{len(self.found)} greedy steps, {near} within {GAP:g} of a tie; the smallest gap is {smallest:.1e}"


def run_notebook(phase: str) -> None:
    """Runs a notebook's code in this process, with the parameters that it is committed with (the smoke profile's)."""
    notebook = nbformat.read(paths.notebook_file(phase), as_version=4)
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, phase, "exec"), names)


def main() -> int:
    """Prints one line; 1 where a step lies within `GAP`."""
    gaps, silent = Gaps(), io.StringIO()
    with tempfile.TemporaryDirectory(prefix="emolib-results-") as empty, gaps.of_greedy_steps():
        os.environ["EMOLIB_RESULTS"] = empty
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            for phase in phases_in_order():
                run_notebook(phase)
    print(gaps.sentence())
    return int(not gaps.found or min(gaps.found) < GAP)


if __name__ == "__main__":
    sys.exit(main())
