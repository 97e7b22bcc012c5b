"""A run: one phase of one profile on one model, with its parameters, its model, its data and its artifacts."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property, wraps
from pathlib import Path
from types import ModuleType
from typing import Any, Concatenate, ParamSpec, TypeVar

import pandas as pd
import plotly.graph_objects as go
import torch

from emolib.base import store
from emolib.base.config import Parameters, check_layers, resolve
from emolib.base.errors import UserError
from emolib.base.paths import ResultPaths, display, score_cache
from emolib.base.progress import Progress
from emolib.data.dataset import load_dataset, select_scenarios
from emolib.directions.controls import FAMILIES
from emolib.engine.memory import BatchShape
from emolib.engine.planning import largest_useful_batch
from emolib.models.loading import LanguageModel, load_model
from emolib.models.tokens import encode
from emolib.plots import plot_files, views
from emolib.scoring import score_texts, version_of
from emolib.scoring.cache import ScoreCache

STEP = 1
NOT_MATCHED = ("device", "generation_batch")
P = ParamSpec("P")
R = TypeVar("R")


def kept(compute: Callable[Concatenate[Run, P], R]) -> Callable[Concatenate[Run, P], R]:
    """Marks a function `f(run, …)` whose value is computed once per run and arguments.

    The value lives as long as the run and is shared: whoever changes it in place changes it for every caller. The
    arguments after `run` are hashable; one that is left out counts as its default. What raises is not kept.

    >>> @kept
    ... def doubled(run, number=2):
    ...     print("computing")
    ...     return 2 * number
    >>> run = Run(resolve("quick", "smollm2_135m", "phase1"))
    >>> doubled(run), doubled(run, 2), doubled(run, number=2)
    computing
    (4, 4, 4)
    """
    signature = inspect.signature(compute)

    @wraps(compute)
    def from_run(run: Run, *args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(run, *args, **kwargs)
        bound.apply_defaults()
        _, *values = bound.arguments.items()
        key = (compute, tuple(values))
        if key not in run.kept_values:
            run.kept_values[key] = compute(run, *args, **kwargs)
        return run.kept_values[key]

    return from_run


class Run:
    """Gives the functions of a phase what they share, and stores what they make.

    Attributes:
        params: every parameter of the phase, resolved and checked.
        paths: where its artifacts live.
        made: artifacts used or made so far, for the phase's record.
        kept_values: what functions marked `@kept` have given in this run.
    """

    def __init__(self, params: Parameters, *, overrides: Mapping[str, Any] | None = None, force: bool = False) -> None:
        self.params = params
        self.overrides = dict(overrides or {})
        self.force = force
        self.paths = ResultPaths(params.profile, _file_name(params.model))
        self.progress = Progress(params.phase)
        self.made: dict[Path, str] = {}
        self._started = time.perf_counter()
        self._computed: set[Path] = set()
        self.kept_values: dict[Any, Any] = {}

    @cached_property
    def study(self) -> ModuleType:
        """What the phase can compute: its module or package in `emolib.study`, whose name begins with the phase's."""
        rooms = importlib.import_module("emolib.study")
        phase = self.params.phase
        name = next(found.name for found in pkgutil.iter_modules(rooms.__path__) if found.name.startswith(f"{phase}_"))
        return importlib.import_module(f"{rooms.__name__}.{name}")

    @cached_property
    def data(self) -> pd.DataFrame:
        """The whole data set."""
        return load_dataset(self.params.dataset, neutral=self.params.neutral)

    @property
    def emotions(self) -> tuple[str, ...]:
        return tuple(name for name in dict.fromkeys(self.data["emotion"]) if name != self.params.neutral)

    @cached_property
    def lm(self) -> LanguageModel:
        """The model, loaded when first asked for."""
        lm = load_model(
            self.params.model,
            device=self.params.device,
            dtype=self.params.dtype,
            random_weights=self.params.random_weights,
            seed=self.params.seed,
        )
        layers = getattr(self.params, "layers", None)
        if layers is not None:
            check_layers(layers, lm.n_layers)
        return lm

    def texts(self, split: str, *, style: str = "all", count: int | None = None) -> pd.DataFrame:
        """The profile's texts of a split: `count` scenarios, or as many as the profile says, of one style or all."""
        data = self.data if style == "all" else self.data[self.data["style"] == style]
        if data.empty:
            held = ", ".join(sorted(set(self.data["style"])))
            raise UserError(f"expected texts of style {style!r}, the data set has {held}; use -p vector_style=all")
        return select_scenarios(data, split, getattr(self.params, f"n_{split}") if count is None else count)

    @property
    def scores(self) -> ScoreCache:
        """Scores that were worked out before, by any run."""
        return ScoreCache(score_cache())

    def scored(self, texts: pd.DataFrame) -> pd.DataFrame:
        """The texts' scores by the run's backend, beside their columns."""
        scores = score_texts(texts["text"].tolist(), backend=self.params.backend, cache=self.scores)
        return pd.concat([texts.reset_index(drop=True), scores], axis=1)

    def neutral_prompts(self, split: str) -> pd.DataFrame:
        texts = self.texts(split)
        return texts[texts["emotion"] == self.params.neutral].reset_index(drop=True)

    # artifacts

    def obtain(
        self, path: Path, matched: Mapping[str, Any], compute: Callable[[], bytes], *, model: bool = True
    ) -> Path:
        """Makes sure the artifact is there and current; returns its path."""
        described = {"step": STEP, **matched, **({"model": self.lm.identity} if model else {})}
        recorded = {"device": str(self.lm.device)} if model else {}
        fresh = path in self._computed
        if store.obtain(path, described, compute, force=self.force and not fresh, recorded=recorded):
            self._computed.add(path)
        self.made[path] = store.read_manifest(path)["recorded"]["sha256"]
        return path

    def obtain_group(
        self,
        wanted: Mapping[Path, Mapping[str, Any]],
        compute: Callable[[dict[Path, dict[str, Any]], Callable[[], dict[str, Any]]], None],
    ) -> None:
        """Makes sure that artifacts which are made in one go are there and current; those that are stay untouched.

        Args:
            wanted: path → what it is made from.
            compute: called with the missing ones (and what their manifests match), and with a function that gives what
                a manifest records besides; it writes them.
        """
        described = {path: {"step": STEP, **matched, "model": self.lm.identity} for path, matched in wanted.items()}
        again = {path for path in wanted if self.force and path not in self._computed}
        missing = {p: d for p, d in described.items() if p in again or store.state(p, d) != "done"}
        for path in wanted:
            if path not in missing and path not in self.made:
                store.check(path)
        if missing:
            started = time.perf_counter()
            device = str(self.lm.device)
            compute(missing, lambda: {"device": device, "seconds": round(time.perf_counter() - started, 3)})
            self._computed |= set(missing)
        for path in wanted:
            self.made[path] = store.read_manifest(path)["recorded"]["sha256"]

    def table(
        self, path: Path, matched: Mapping[str, Any], compute: Callable[[], pd.DataFrame], *, model: bool = True
    ) -> pd.DataFrame:
        """A table artifact, read back from the store so that fresh and resumed runs see the same values."""
        return store.read_table(self.obtain(path, matched, lambda: store.table_bytes(compute()), model=model))

    def keep_plot(self, fig: go.Figure, name: str) -> None:
        """Writes a figure as `plots/<model>/<model>_<name>.html`, and as PNG where the parameters ask for it."""
        drawn = plot_files.mime_bundle(fig, name)[plot_files.PLOTLY_MIME]
        matched = {"figure": store.digest(drawn)}
        path = self.paths.plot(name, "html")
        self.obtain(path, matched, lambda: plot_files.standalone_html(fig, path.stem), model=False)
        if self.params.png:
            self.obtain(self.paths.plot(name, "png"), matched, lambda: plot_files.png_bytes(fig), model=False)

    def keep_view(self, view: dict[str, Any], name: str) -> None:
        """Writes a CircuitsVis view as `plots/<model>/<model>_<name>.html`."""
        path = self.paths.plot(name, "html")
        matched = {"view": store.digest(view)}
        self.obtain(path, matched, lambda: views.standalone_view_html(view, path.stem), model=False)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """What `compute` gives, computed (or read) once in this run."""
        if name not in self.kept_values:
            self.kept_values[name] = compute()
        return self.kept_values[name]

    def shards(self, split: str) -> SweepShards:
        return SweepShards(self, split)

    def generation_batch(self, prompts: pd.DataFrame) -> int:
        """Rows generated at once: as the parameters say, or measured once on this machine and kept to.

        A resumed run reads the number again, so that it ends with the same texts to the last near tie.
        """
        given = self.params.generation_batch
        if given != "auto":
            return given
        width = max(len(ids) for ids in encode(self.lm, prompts["text"].tolist()))
        where = {
            **self.lm.identity,
            "device": str(self.lm.device),
            "threads": torch.get_num_threads(),
            "width": -(-width // 16) * 16,
            "max_new_tokens": self.params.max_new_tokens,
            "window": self.params.window,
        }
        path = self.paths.batch_size()
        known = store.read_json(path) if path.is_file() else []
        for entry in known:
            if entry["where"] == where:
                return entry["rows"]
        rows = largest_useful_batch(self.lm, BatchShape(where["width"], self.params.max_new_tokens, self.params.window))
        store.write(path, store.json_bytes([*known, {"where": where, "rows": rows}]), {"step": STEP})
        return rows

    # the end of a phase

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self._started

    @property
    def command(self) -> str:
        """The command that reproduces this phase."""
        extra = "".join(f" -p {key}={json.dumps(value)}" for key, value in sorted(self.overrides.items()))
        short = self.params
        return f"emolib run --profile {short.profile} --model {short.model} --phase {short.phase}{extra}"

    def finish(self, *, samples: int) -> dict[str, Any]:
        """Writes the phase's record and its line in the timing log; returns that line's values and, as `parameters`,
        every resolved one: what the report's summary prints."""
        now = datetime.now(UTC)
        summary = {
            "run_id": f"{now:%Y%m%dT%H%M%S}-{store.digest(self.identity())[:8]}",
            "profile": self.params.profile,
            "phase": self.params.phase,
            "model": self.params.model,
            "device": str(self.lm.device) if "lm" in self.__dict__ else "cpu",
            "samples": samples,
            "elapsed_seconds": round(self.elapsed, 1),
            "timestamp": now.isoformat(timespec="seconds"),
            "timing_log": display(self.paths.timing()),
            "command": self.command,
        }
        made = {path.relative_to(self.paths.root).as_posix(): sha for path, sha in sorted(self.made.items())}
        record = {"artifacts": made}
        store.write(self.record_path(), store.json_bytes(record), self.identity())
        _append_line(self.paths.timing(), summary)
        return {**summary, "parameters": self.params.model_dump(mode="json")}

    def identity(self) -> dict[str, Any]:
        """What decides whether a finished phase is still current."""
        values = {k: v for k, v in self.params.model_dump(mode="json").items() if k not in NOT_MATCHED}
        return {
            "step": STEP,
            "parameters": values,
            "dataset": self.dataset_digest,
            "scorers": version_of(self.params.backend),
        }

    @cached_property
    def dataset_digest(self) -> str:
        return store.digest(self.data.to_dict("list"))

    def record_path(self) -> Path:
        return self.paths.root / "status" / f"{self.paths.model}_{self.params.phase}.json"

    def state(self) -> str:
        """`done`, `stale` or `missing`: whether the phase has finished with just these parameters and data.

        It is stale, too, once an artifact that it made or read (another phase's, for example) is gone or was made anew
        with other content.
        """
        found = store.state(self.record_path(), self.identity())
        return "stale" if found == "done" and self._behind() else found

    def _behind(self) -> bool:
        """Whether the artifacts of the record are others now, by their manifests; `check_artifacts` reads the bytes."""
        for name, sha256 in store.read_json(self.record_path())["artifacts"].items():
            path = self.paths.root / name
            if path == self.paths.cross_model_table():  # every model's Phase 3 writes it anew
                continue
            manifest = store.read_manifest(path)
            if manifest is None or not path.exists() or manifest["recorded"]["sha256"] != sha256:
                return True
        return False

    def check_artifacts(self) -> bool:
        """Whether every artifact of the finished phase is still there.

        Raises:
            UserError: one of them has changed since it was written.
        """
        for name in store.read_json(self.record_path())["artifacts"]:
            path = self.paths.root / name
            if not path.exists():
                return False
            store.check(path)
        return True


class SweepShards:
    """The shards of one sweep, each an artifact of its own."""

    def __init__(self, run: Run, split: str) -> None:
        self.run = run
        self.split = split

    def begin(self, rows: int) -> None:
        tokens = self.run.params.max_new_tokens
        self.run.progress.begin(f"sweep/{self.split}", rows, tokens_per_row=tokens)

    @property
    def scores(self) -> ScoreCache:
        return self.run.scores

    def shard(
        self, name: str, matched: Mapping[str, Any], compute: Callable[[], pd.DataFrame], rows: int
    ) -> pd.DataFrame:
        place = self.run.paths.random_sweep if name.startswith(FAMILIES) else self.run.paths.sweep
        path = place(f"{self.split}_{name}")
        table = self.run.table(path, matched, compute)
        self.run.progress.advance(rows, shard=name, computed=path in self.run._computed)
        return table


def _file_name(model: str) -> str:
    """A model's name as part of a file name; a local folder gives its last part."""
    if (Path(model) / "config.json").is_file():
        return Path(model).resolve().name
    return model.replace("/", "--")


def _append_line(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, (json.dumps(values, ensure_ascii=False) + "\n").encode())
    finally:
        os.close(descriptor)


def open_run(
    profile: str = "baseline_smoke",
    model: str = "smollm2_135m",
    phase: str = "phase1",
    *,
    force: bool = False,
    **params: Any,
) -> Run:
    """Resolves and checks the parameters of one phase; every notebook's setup line.

    Args:
        params: values that override the profile's; None means "as the profile says".

    Raises:
        UserError: unknown profile, model, phase or parameter, or a value out of range.
    """
    from emolib.models.loading import check_name

    check_name(model)
    given = {key: value for key, value in params.items() if value is not None}
    force = force or bool(os.environ.get("EMOLIB_FORCE"))
    return Run(resolve(profile, model, phase, params), overrides=given, force=force)
