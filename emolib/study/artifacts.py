"""What a run makes and reads: each artifact found in the store or computed, and noted for the phase's record."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from emolib.base import store
from emolib.base.errors import UserError, shown
from emolib.base.paths import ResultPaths
from emolib.base.progress import Progress
from emolib.directions.controls import FAMILIES
from emolib.models.language_model import LanguageModel
from emolib.scoring.cache import ScoreCache

if TYPE_CHECKING:
    import plotly.graph_objects as go

STEP = 1

Matched = Mapping[str, Any]


class Artifacts:
    """The artifacts of one run.

    Attributes:
        paths: where they live.
        made: those used or made so far, with the sha256 of their files.
        computed: those of them that were computed in this run.
    """

    def __init__(
        self,
        paths: ResultPaths,
        model: Callable[[], LanguageModel],
        *,
        begun: Callable[[], None] = lambda: None,
        force: bool = False,
        png: bool = False,
    ) -> None:
        """Nothing is read or written yet.

        Args:
            model: gives the model whose content is part of an artifact's identity; called when it is needed.
            begun: called once, when the first artifact of the run's own place is there.
            force: compute every artifact of the run's own place anew, once; what lies elsewhere is not touched.
            png: keep figures as PNG too.
        """
        self.paths = paths
        self.made: dict[Path, str] = {}
        self.computed: set[Path] = set()
        self._model = model
        self._begun: Callable[[], None] | None = begun
        self._force = force
        self._png = png

    def obtain(self, path: Path, matched: Matched, compute: Callable[[], bytes], *, model: bool = True) -> Path:
        """Makes sure the artifact is there and current; returns its path.

        Args:
            matched: what it is made from, beside the model.
            model: whether the model's content decides it, too.
        """
        self._below_the_root(path)
        recorded = {"device": str(self._model().device)} if model else {}
        described = self._described(matched, model=model)
        self._take_over(path, described)
        if store.obtain(path, described, compute, force=self._forced(path), recorded=recorded):
            self.computed.add(path)
        self.note(path)
        return path

    def obtain_group(
        self,
        wanted: Mapping[Path, Matched],
        compute: Callable[[dict[Path, dict[str, Any]], Callable[[], dict[str, Any]]], None],
    ) -> None:
        """Makes sure that artifacts which are made in one go are there and current; those that are stay untouched.

        Args:
            wanted: path → what it is made from.
            compute: called with the missing ones (and what their manifests match), and with a function that gives what
                a manifest records besides; it writes them.
        """
        for path in wanted:
            self._below_the_root(path)
        described = {path: self._described(matched, model=True) for path, matched in wanted.items()}
        for path in described:
            self._take_over(path, described[path])
        again = {path for path in wanted if self._forced(path)}
        missing = {p: d for p, d in described.items() if p in again or store.state(p, d) != "done"}
        for path in wanted:
            if path not in missing and path not in self.made:
                store.check(path)
        if missing:
            started = time.perf_counter()
            device = str(self._model().device)
            compute(missing, lambda: {"device": device, "seconds": round(time.perf_counter() - started, 3)})
            self.computed |= set(missing)
        for path in wanted:
            self.note(path)

    def table(
        self, path: Path, matched: Matched, compute: Callable[[], pd.DataFrame], *, model: bool = True
    ) -> pd.DataFrame:
        """A table artifact, read back from the store so that fresh and resumed runs see the same values."""
        return store.read_table(self.obtain(path, matched, lambda: store.table_bytes(compute()), model=model))

    def stored_table(self, path: Path) -> pd.DataFrame:
        """A table that another phase has made; its hash is checked and it is never computed here.

        Raises:
            UserError: it is not there, or has changed since it was written.
        """
        table = store.read_table(path)
        self.note(path)
        return table

    def note(self, path: Path) -> None:
        """Notes an artifact that is there as one that the phase stands on."""
        self.made[path] = store.recorded_sha256(path)
        if self._begun is not None and path.is_relative_to(self.paths.own):
            begun, self._begun = self._begun, None
            begun()

    def keep_plot(self, fig: go.Figure, name: str) -> None:
        """Writes a figure as `plots/<model>/<model>_<name>.html`, and as PNG where the parameters ask for it."""
        from emolib.plots import plot_files

        drawn = plot_files.mime_bundle(fig, name)[plot_files.PLOTLY_MIME]
        matched = {"figure": store.digest(drawn)}
        path = self.paths.plot(name, "html")
        self.obtain(path, matched, lambda: plot_files.standalone_html(fig, path.stem), model=False)
        if self._png:
            self.obtain(self.paths.plot(name, "png"), matched, lambda: plot_files.png_bytes(fig), model=False)

    def keep_view(self, view: dict[str, Any], name: str) -> None:
        """Writes a CircuitsVis view as `plots/<model>/<model>_<name>.html`."""
        from emolib.plots import views

        path = self.paths.plot(name, "html")
        matched = {"view": store.digest(view)}
        self.obtain(path, matched, lambda: views.standalone_view_html(view, path.stem), model=False)

    def _below_the_root(self, path: Path) -> None:
        """The second gate, whoever made the path: `paths.inside` makes none that leaves the results."""
        root, place = (Path(os.path.normpath(one)) for one in (self.paths.results, path))
        if not place.is_relative_to(root):
            raise UserError(f"expected a place below the results for an artifact, got {shown(str(path))}; not written")

    def _described(self, matched: Matched, *, model: bool) -> dict[str, Any]:
        return {"step": STEP, **matched, **({"model": self._model().identity} if model else {})}

    def _take_over(self, path: Path, described: Matched) -> None:
        """Copies what the profile holds in a variant's place, where it was made from just the same."""
        paths = self.paths
        if paths.variant is None or self._force or not path.is_relative_to(paths.own):
            return
        twin = paths.of_profile().own / path.relative_to(paths.own)
        if store.state(path, described) != "done" and store.state(twin, described) == "done":
            store.copy(twin, path)

    def _forced(self, path: Path) -> bool:
        return self._force and path not in self.computed and path.is_relative_to(self.paths.own)


class SweepShards:
    """The shards of one sweep, each an artifact of its own; the store that `sweep_cells` asks for."""

    def __init__(
        self, artifacts: Artifacts, split: str, *, progress: Progress, scores: ScoreCache, tokens_per_row: int
    ) -> None:
        self.artifacts = artifacts
        self.split = split
        self.progress = progress
        self.scores = scores
        self.tokens_per_row = tokens_per_row

    def begin(self, rows: int) -> None:
        self.progress.begin(f"sweep/{self.split}", rows, tokens_per_row=self.tokens_per_row)

    def shard(self, name: str, matched: Matched, compute: Callable[[], pd.DataFrame], rows: int) -> pd.DataFrame:
        """One shard's rows, found or computed."""
        paths = self.artifacts.paths
        place = paths.random_sweep if name.startswith(FAMILIES) else paths.sweep
        path = place(f"{self.split}_{name}")
        table = self.artifacts.table(path, matched, compute)
        self.progress.advance(rows, shard=name, computed=path in self.artifacts.computed)
        return table
