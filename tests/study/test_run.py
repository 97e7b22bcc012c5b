"""A run: the phase's functions by name, and what is computed once, and where other values than the profile's lead."""

from __future__ import annotations

import gc
import shlex
import weakref
from pathlib import Path

import pandas as pd
import pytest

from emolib.base import store, variants
from emolib.base.parameters import PHASE_PARAMETERS, resolve
from emolib.study.run import Run, kept, open_run

MODEL = "smollm2_135m"


def opened(phase: str = "phase1", **params: object) -> Run:
    return Run(resolve("quick", "smollm2_135m", phase, params))


@pytest.mark.parametrize("phase", PHASE_PARAMETERS)
def test_the_study_of_a_run_is_the_room_of_its_phase(phase: str) -> None:
    assert opened(phase).study.__name__.startswith(f"emolib.study.{phase}_")


@pytest.mark.parametrize("phase", ["phase3", "phase4", "phase5", "phase7"])
def test_the_face_of_a_phase_gives_every_name_it_promises(phase: str) -> None:
    study = opened(phase).study
    assert study.__all__ and all(callable(getattr(study, name)) for name in study.__all__)


@pytest.fixture
def calls() -> list[tuple[Run, int, str]]:
    return []


@pytest.fixture
def counted(calls: list[tuple[Run, int, str]]):
    @kept
    def counted(run: Run, number: int, word: str = "a") -> list[int]:
        """How often."""
        calls.append((run, number, word))
        return [number]

    return counted


def test_a_kept_value_is_computed_once_per_arguments(calls, counted) -> None:
    run = opened()
    first = counted(run, 1)
    assert counted(run, 1) is first and counted(run, 1, "a") is first and counted(run, word="a", number=1) is first
    assert len(calls) == 1
    assert counted(run, 2) == [2] and counted(run, 1, "b") is not first
    assert [call[1:] for call in calls] == [(1, "a"), (2, "a"), (1, "b")]


def test_each_run_keeps_its_own(calls, counted) -> None:
    one, other = opened(), opened()
    assert counted(one, 1) is not counted(other, 1)
    assert [call[0] for call in calls] == [one, other]


def test_two_functions_with_the_same_arguments_do_not_share(counted) -> None:
    @kept
    def other(run: Run, number: int, word: str = "a") -> str:
        return f"{number}{word}"

    run = opened()
    assert counted(run, 1) == [1] and other(run, 1) == "1a"


def test_none_is_kept_and_an_exception_is_not(calls) -> None:
    outcomes: list[object] = [ValueError("not yet"), None]

    @kept
    def sometimes(run: Run) -> None:
        calls.append((run, 0, ""))
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome

    run = opened()
    with pytest.raises(ValueError, match="not yet"):
        sometimes(run)
    assert sometimes(run) is None and sometimes(run) is None
    assert len(calls) == 2


def test_kept_values_go_with_their_run() -> None:
    class Large:
        pass

    @kept
    def large(run: Run) -> Large:
        return Large()

    run = opened()
    seen = weakref.ref(large(run))
    gc.collect()
    assert seen() is not None
    del run
    gc.collect()
    assert seen() is None


def test_a_kept_function_keeps_its_name_and_description(counted) -> None:
    assert counted.__name__ == "counted" and counted.__doc__ == "How often."


def test_an_argument_that_cannot_be_told_apart_is_refused(counted) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        counted(opened(), [1])


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path))
    return tmp_path


def numbered(run: Run, path: Path, number: int, *, made_from: object = None) -> int:
    """The number that the artifact holds: `number` where it is made now."""
    table = run.artifacts.table(path, {"made_from": made_from}, lambda: pd.DataFrame({"number": [number]}), model=False)
    return int(table["number"][0])


def test_a_run_with_other_values_keeps_what_it_makes_apart(results: Path) -> None:
    profile, other = open_run("quick", MODEL, "phase5"), open_run("quick", MODEL, "phase5", alphas=[0.25])
    assert variants.names("quick") == [], "opening a run writes nothing"
    assert numbered(profile, profile.paths.sweep("test"), 1) == 1
    assert numbered(other, other.paths.sweep("test"), 2, made_from=0.25) == 2
    again = open_run("quick", MODEL, "phase5", alphas=(0.25,), device="cpu")
    assert numbered(again, again.paths.sweep("test"), 3, made_from=0.25) == 2, "the same values find their variant"
    assert numbered(open_run("quick", MODEL, "phase5"), profile.paths.sweep("test"), 3) == 1
    assert variants.names("quick") == [other.variant.name]
    assert variants.find("quick", other.variant.name) == other.variant


def test_a_variant_takes_over_what_the_profile_made_from_just_the_same(results: Path) -> None:
    profile = open_run("quick", MODEL, "phase5")
    assert numbered(profile, profile.paths.sweep("baseline"), 1) == 1
    other = open_run("quick", MODEL, "phase5", n_resamples=500)
    copied = other.paths.sweep("baseline")
    assert numbered(other, copied, 2) == 1 and copied not in other.artifacts.computed
    assert copied.read_bytes() == profile.paths.sweep("baseline").read_bytes()
    assert numbered(other, other.paths.sweep("baseline"), 3, made_from="others") == 3
    assert numbered(profile, profile.paths.sweep("baseline"), 4) == 1
    forced = open_run("quick", MODEL, "phase5", n_resamples=500, force=True)
    assert numbered(forced, copied, 5) == 5


def test_what_a_variant_shares_with_the_profile_is_found_there_and_force_leaves_it(results: Path) -> None:
    profile = open_run("quick", MODEL, "phase3")
    assert numbered(profile, profile.paths.vector_table("norms_mean"), 1) == 1
    first = open_run("quick", MODEL, "phase5", alphas=[0.25])
    assert numbered(first, first.paths.vector_table("norms_mean"), 2) == 1
    assert numbered(first, first.paths.sweep("test"), 2) == 2
    assert store.read_manifest(first.paths.sweep("test"))["recorded"].get("copied_from") is None
    forced = open_run("quick", MODEL, "phase5", alphas=[0.25], force=True)
    assert numbered(forced, forced.paths.vector_table("norms_mean"), 3) == 1
    assert numbered(forced, forced.paths.sweep("test"), 3) == 3
    mended = open_run("quick", MODEL, "phase3", force=True)
    assert numbered(mended, mended.paths.vector_table("norms_mean"), 4) == 4


def test_the_command_of_a_run_is_read_back_by_a_shell() -> None:
    run = open_run("quick", MODEL, "phase5", alphas=[0.25, 0.3], layers="8-12", bos="always")
    words = shlex.split(run.command)
    assert words[:8] == ["emolib", "run", "--profile", "quick", "--model", MODEL, "--phase", "phase5"]
    given = dict(word.split("=", 1) for word in words[9::2])
    assert open_run("quick", MODEL, "phase5", **given).overrides == run.overrides
