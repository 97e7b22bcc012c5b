"""One build of emolib timed in a process of its own, so that two builds (two worktrees) can take turns.

As a script it is the process: it gets a line of JSON per call on its standard input and answers with one. It uses what
both builds have in common, the library's public functions; for `judged` texts whatever the build's own sweeps use.

`sweep` generates the rows greedily, `judged` also applies the fluency rule to their texts; `sampled` and
`sampled_judged` are the same with texts that are drawn. `fluency` is the rule alone, applied to texts from elsewhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

WORKS = ("sweep", "distinct", "few", "one", "fluency", "judged", "sampled", "sampled_judged")
JUDGED = ("fluency", "judged", "sampled_judged")
DRAWN = {"temperature": 0.8, "top_p": 0.9}  # of the fluency reference
DISTINCT_PROMPTS, FEW_ROWS = 64, 32
LIMIT = 4.0  # of the NLL, for decisions that are compared


class Build:
    """A build's process.

    Args:
        tree: the worktree whose `emolib` it imports.
        settings: model, dtype, device, prompts, layers, directions, max_new_tokens.
    """

    def __init__(self, tree: Path, settings: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
        )
        self.where = self.ask(settings)["emolib"]

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            if line.startswith("{"):  # whatever else a library prints is no answer
                return json.loads(line)
        raise RuntimeError(f"the build's process ended with code {self.process.wait()}: its last words stand above")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@contextmanager
def builds(trees: dict[str, Path], settings: dict[str, Any]) -> Iterator[dict[str, Build]]:
    with ExitStack() as stack:
        made = {}
        for name, tree in trees.items():
            made[name] = Build(tree, settings)
            stack.callback(made[name].close)
        yield made


def in_turns(made: dict[str, Build], works: Sequence[str], repeats: int) -> dict[str, Any]:
    """Per work the seconds of every turn of every build, and whether the results agree.

    Returns:
        per work: `seconds`, `cpu_seconds` and `peak_bytes` by build; `ratio`, the median over the turns of the other
        build's seconds by the present one's; what `_agreement` compares.
    """
    found: dict[str, Any] = {}
    for work in works:
        answers: dict[str, list[dict[str, Any]]] = {name: [] for name in made}
        for turn in range(repeats):  # the order alternates, so that a machine that slows down favours neither
            for name in list(made) if turn % 2 == 0 else list(made)[::-1]:
                answers[name].append(made[name].ask({"work": work}))
        seconds = {name: [answer["seconds"] for answer in given] for name, given in answers.items()}
        peaks = {name: given[-1]["peak_bytes"] for name, given in answers.items()}
        found[work] = {"rows": answers["present"][0]["rows"], "seconds": seconds, "peak_bytes": peaks}
        found[work]["cpu_seconds"] = {name: [one["cpu_seconds"] for one in given] for name, given in answers.items()}
        if "other" in made:
            pairs = zip(seconds["other"], seconds["present"], strict=True)
            found[work]["ratio"] = median(other / present for other, present in pairs)
            found[work] |= _agreement(answers["present"][-1], answers["other"][-1])
    return found


def _agreement(present: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "texts" in present:
        found["equal_texts"] = sum(x == y for x, y in zip(present["texts"], other["texts"], strict=True))
    if "nll" in present:
        found["equal_decisions"] = sum(x == y for x, y in zip(present["broken"], other["broken"], strict=True))
        found["largest_nll_difference"] = max(
            abs(x - y) for x, y in zip(present["nll"], other["nll"], strict=True) if x is not None and y is not None
        )
    return found


# the process


def _serve() -> None:
    import resource

    import numpy as np
    from steering_ways import DATA, never_stopping, the_work

    import emolib
    from emolib.scoring.fluency import score_fluency

    settings = json.loads(sys.stdin.readline())
    lm = emolib.load_model(settings["model"], device=settings["device"], dtype=settings["dtype"])
    shape = [settings[name] for name in ("prompts", "layers", "directions", "max_new_tokens")]
    work = the_work(never_stopping(lm), *shape)
    data = emolib.load_dataset(DATA)["text"].tolist()
    texts: list[str] = []
    print(json.dumps({"emolib": emolib.__file__}), flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)["work"]
        rows, acts = {
            "distinct": (data[:DISTINCT_PROMPTS], None),
            "few": (work.rows[:FEW_ROWS], work.steers()[:FEW_ROWS]),
            "one": (work.rows[:1], work.steers()[:1]),
        }.get(wanted, (work.rows, work.steers()))
        decoding: dict[str, Any] = {"max_new_tokens": work.n_new}
        if wanted.startswith("sampled"):
            decoding |= DRAWN | {"seeds": [row % len(work.prompts) for row in range(len(rows))]}
        if wanted == "fluency" and not texts:
            texts = [out.text for out in emolib.generate(lm, rows, acts, max_new_tokens=work.n_new)]
        started, spent = time.perf_counter(), time.process_time()
        if wanted == "fluency":
            scores = score_fluency(texts, rows, lm, nll_limit=LIMIT)
        elif wanted in JUDGED:
            outs, scores = _judged(lm, rows, acts, decoding)
        else:
            outs = emolib.generate(lm, rows, acts, **decoding)
        answer: dict[str, Any] = {"seconds": time.perf_counter() - started, "rows": len(rows)}
        answer["cpu_seconds"] = time.process_time() - spent
        answer["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if wanted in JUDGED:
            nll = scores["fluency/nll"]
            answer |= {"broken": scores["fluency/broken"].tolist(), "nll": nll.where(np.isfinite(nll), None).tolist()}
        if wanted != "fluency":
            answer["texts"] = [list(out.token_ids) for out in outs]
        print(json.dumps(answer), flush=True)


def _judged(lm: Any, rows: list[str], acts: Any, decoding: dict[str, Any]) -> tuple[list[Any], Any]:
    """Generations and their fluency, as a sweep of this build gets them."""
    import emolib
    from emolib.scoring.fluency import score_fluency

    try:
        from emolib.engine.read_generation import generate_and_read
    except ImportError:  # an older build reads texts after all have been generated
        outs = emolib.generate(lm, rows, acts, **decoding)
        return outs, score_fluency([out.text for out in outs], rows, lm, nll_limit=LIMIT)
    from emolib.engine.sampling import Decoding

    given = dict(decoding)
    seeds = given.pop("seeds", None)
    outs, nll = generate_and_read(lm, rows, acts, decoding=Decoding(**given), seeds=seeds)
    return outs, score_fluency([out.text for out in outs], rows, lm, nll_limit=LIMIT, nll=nll)


if __name__ == "__main__":
    _serve()
