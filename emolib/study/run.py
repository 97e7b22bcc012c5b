"""A run: one phase of one profile on one model, with its parameters, its model and its data."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import time
from collections.abc import Callable, Hashable, Mapping
from functools import cache, cached_property, wraps
from types import ModuleType
from typing import Any, Concatenate, ParamSpec, TypeVar

import pandas as pd

from emolib.base import arguments, language, store, variants
from emolib.base.errors import UserError, shown
from emolib.base.given_paths import located
from emolib.base.parameters import (
    AlignmentParameters,
    Parameters,
    ReaderParameters,
    as_overrides,
    check_layers,
    place_of,
    read_overrides,
    resolve,
)
from emolib.base.paths import ResultPaths, score_cache
from emolib.base.progress import Progress
from emolib.base.reading import as_text
from emolib.base.shell import command
from emolib.base.signatures import told
from emolib.base.variants import PROFILE, Variant, result_paths, variant_of
from emolib.data.dataset import read_dataset, select_scenarios
from emolib.data.spellings import Merge
from emolib.data.styles import counts_in_its_style, of_style
from emolib.models.language_model import LanguageModel
from emolib.models.loading import check_name, load_known
from emolib.models.unloaded import UnloadedModel, unloaded
from emolib.scoring import BACKENDS, score_texts
from emolib.scoring.cache import ScoreCache
from emolib.study.artifacts import Artifacts, SweepShards
from emolib.study.identity import ModelContent, ModelContents
from emolib.study.record import Record

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

    @wraps(compute)
    def from_run(run: Run, *args: P.args, **kwargs: P.kwargs) -> R:
        key = _key(compute, run, *args, **kwargs)
        if key not in run.kept_values:
            run.kept_values[key] = compute(run, *args, **kwargs)
        return run.kept_values[key]

    return from_run


def _key(compute: Callable, run: Run, *args: Any, **kwargs: Any) -> Hashable:
    """A kept function's place among a run's values."""
    bound = _signature(compute).bind(run, *args, **kwargs)
    bound.apply_defaults()
    _, *values = bound.arguments.items()
    return compute, tuple(values)


_signature = cache(inspect.signature)


def decided(run: Run, function: Callable[..., R], value: R, *args: Hashable) -> None:
    """From here on a kept function gives this value in a run: it was decided elsewhere and is not worked out here.

    Args:
        function: one that is marked `@kept`.
        args: its arguments after the run.

    >>> @kept
    ... def chosen(run, split):
    ...     return "worked out"
    >>> run = Run(resolve("quick", "smollm2_135m", "phase1"))
    >>> decided(run, chosen, "given", "test")
    >>> chosen(run, "test"), chosen(run, "train")
    ('given', 'worked out')
    """
    run.kept_values[_key(inspect.unwrap(function), run, *args)] = value


class Run:
    """Gives the functions of a phase what they share.

    Attributes:
        params: every parameter of the phase, resolved and checked.
        overrides: those that the caller gave.
        variant: what differs from the profile.
        paths: where its artifacts live.
        artifacts: finds them or has them computed.
        contents: tells what models are made of.
        record: what the phase leaves when it has finished.
        progress: how far a long computation is.
        merges: spellings of the data set that were read as one label, once `data` has been asked for.
        kept_values: what functions marked `@kept` have given in this run.
    """

    def __init__(
        self,
        params: Parameters | ReaderParameters,
        *,
        overrides: Mapping[str, Any] | None = None,
        force: bool = False,
        variant: Variant = PROFILE,
        contents: Callable[[Mapping[str, Any]], ModelContent] | None = None,
        paths: ResultPaths | None = None,
    ) -> None:
        """Nothing is read, loaded or written yet.

        Args:
            overrides: those of the parameters that the caller gave.
            force: compute every artifact anew.
            variant: what differs from the profile: decides where artifacts are kept and found.
            contents: tells what models are made of; runs of one command share it.
            paths: other places for its artifacts than those of its profile.
        """
        self.params = params
        self.overrides = dict(overrides or {})
        self.variant = variant
        self.paths = paths or result_paths(params.profile, place_of(params), params.phase, variant)
        self.artifacts = Artifacts(self.paths, lambda: self.lm, begun=self._note_variant, force=force, png=params.png)
        self.contents = contents or ModelContents()
        self.record = Record(
            params,
            self.paths,
            dataset=lambda: self.dataset_digest,
            languages=lambda: sorted(set(self.data["lang"])),
            model=self.model_content,
        )
        self.progress = Progress(params.phase)
        self.kept_values: dict[Hashable, Any] = {}
        self.merges: list[Merge] = []
        self._started = time.perf_counter()

    @cached_property
    def study(self) -> ModuleType:
        """What the phase can compute: its module or package in `emolib.study`, whose name begins with the phase's."""
        rooms = importlib.import_module("emolib.study")
        phase = self.params.phase
        name = next(found.name for found in pkgutil.iter_modules(rooms.__path__) if found.name.startswith(f"{phase}_"))
        return importlib.import_module(f"{rooms.__name__}.{name}")

    @cached_property
    def data(self) -> pd.DataFrame:
        """The whole data set; `merges` says which of its spellings were read as one label.

        Raises:
            UserError: it is broken, or has labels that reports could not tell apart.
        """
        table, self.merges = read_dataset(located(self.params.dataset), neutral=self.params.neutral)
        language.check_labels(dict.fromkeys(table["emotion"]))
        return table

    @cached_property
    def dataset_digest(self) -> str:
        return store.digest(self.data.to_dict("list"))

    @cached_property
    def emotions(self) -> tuple[str, ...]:
        return tuple(name for name in dict.fromkeys(self.data["emotion"]) if name != self.params.neutral)

    @cached_property
    def lm(self) -> LanguageModel:
        """The model, loaded when first asked for."""
        lm = load_known(
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

    @cached_property
    def described(self) -> LanguageModel | UnloadedModel:
        """The model, or what is known of it without its weights; for what reads its tokenizer and its name alone."""
        params = self.params
        given = {"device": params.device, "dtype": params.dtype}
        given |= {"random_weights": params.random_weights, "seed": params.seed}
        found = None if "lm" in self.__dict__ else unloaded(params.model, **given)
        return found or self.lm

    def model_content(self, given: Mapping[str, Any]) -> ModelContent:
        """What the model of a phase with these parameters is made of: the one in memory, or else what a load would
        give now."""
        return self.lm.identity if "lm" in self.__dict__ else self.contents(given)

    def texts(self, split: str, *, style: str = "all", count: int | None = None) -> pd.DataFrame:
        """The profile's texts of a split: `count` scenarios, or as many as the profile says, of one style or all."""
        data = self.data[of_style(self.data, style)]
        if data.empty:
            held = ", ".join(sorted(set(self.data.loc[counts_in_its_style(self.data), "style"])))
            raise UserError(f"expected texts of style {shown(style)}, the data set has {held}; use -p vector_style=all")
        return select_scenarios(data, split, getattr(self.params, f"n_{split}") if count is None else count)

    def neutral_prompts(self, split: str) -> pd.DataFrame:
        texts = self.texts(split)
        return texts[texts["emotion"] == self.params.neutral].reset_index(drop=True)

    @property
    def scores(self) -> ScoreCache:
        """Scores that were worked out before, by any run."""
        return ScoreCache(score_cache())

    def scored(self, texts: pd.DataFrame) -> pd.DataFrame:
        """The texts' scores by the run's backend, beside their columns."""
        scores = score_texts(texts["text"].tolist(), backend=self.params.backend, cache=self.scores)
        return pd.concat([texts.reset_index(drop=True), scores], axis=1)

    def shards(self, split: str) -> SweepShards:
        """Where a sweep over a split finds and keeps its shards."""
        return SweepShards(
            self.artifacts,
            split,
            progress=self.progress,
            scores=self.scores,
            tokens_per_row=self.params.max_new_tokens,
        )

    def _note_variant(self) -> None:
        variants.note(self.params.profile, self.variant)

    @property
    def command(self) -> str:
        """The command that reproduces this phase."""
        params = self.params
        pair = isinstance(params, AlignmentParameters)
        which = ["--pair", params.model, params.other] if pair else ["--model", params.model]
        words = ["emolib", "run", "--profile", params.profile, *which, "--phase", params.phase]
        given = {key: value for key, value in self.overrides.items() if key != "other" or not pair}
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
        for key, value in sorted(as_overrides(params.phase, plain).items()):
            words += ["-p", f"{key}={as_text(value)}"]
        return command(words)

    def finish(self, *, samples: int) -> dict[str, Any]:
        """Ends the phase: writes its record and its line in the timing log.

        Args:
            samples: the texts that it read or made.

        Returns:
            What a report's summary prints: the line's values and, as `parameters`, every resolved one.
        """
        asked = [self.__dict__[name] for name in ("lm", "described") if name in self.__dict__]
        device = str(asked[0].device) if asked else "cpu"
        seconds = time.perf_counter() - self._started
        self.record.write(self.artifacts.made)
        line = self.record.summary(samples=samples, seconds=seconds, device=device, command=self.command)
        return {**line, "parameters": self.record.parameters()}


@told
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

    Example:
        >>> import emolib
        >>> run = emolib.open_run("baseline_smoke", "smollm2_135m", "phase5", alphas=[0.1, 0.2])
        >>> run.params.alphas, run.study.__name__
        ((0.1, 0.2), 'emolib.study.phase5_steering')
        >>> emolib.open_run("baseline_smoke", phase="phase5", alphs=[0.1])
        Traceback (most recent call last):
        emolib.base.errors.UserError: unknown parameter 'alphs' of phase5: did you mean 'alphas'? ...
    """
    for name, value in (("profile", profile), ("model", model), ("phase", phase)):
        arguments.text(name, value)
    force = arguments.flag("force", force) or bool(os.environ.get("EMOLIB_FORCE"))
    return prepared(profile, model, phase, params, force=force)


def prepared(
    profile: str,
    model: str,
    phase: str,
    params: Mapping[str, Any],
    *,
    force: bool = False,
    read: Variant | None = None,
    contents: Callable[[Mapping[str, Any]], ModelContent] | None = None,
) -> Run:
    """`open_run`, told which variant a phase reads rather than looking it up (one that will only be made by then), and
    what models are made of rather than asking again."""
    check_name(model)
    resolved = resolve(profile, model, phase, params)
    arguments.one_of("backend", resolved.backend, BACKENDS)
    values = resolved.model_dump(mode="json")  # as they were understood: a notebook must not read them otherwise
    given = as_overrides(phase, {key: values[key] for key in read_overrides(phase, params)})
    variant = variant_of(resolved, read=read)
    return Run(resolved, overrides=given, force=force, variant=variant, contents=contents)
