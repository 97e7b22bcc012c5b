"""Variants: what counts as one, where its phases lie, and that only a variant can be deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from emolib.base import paths, store, variants
from emolib.base.errors import UserError
from emolib.base.parameters import PHASE_PARAMETERS, resolve
from emolib.base.variants import PROFILE, Variant, result_paths, variant_of

MODEL = "smollm2_135m"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("EMOLIB_EXECUTED", str(tmp_path / "executed"))
    return tmp_path


def variant(phase: str, profile: str = "quick", model: str = MODEL, **given: object) -> Variant:
    return variant_of(resolve(profile, model, phase, given))


def places(phase: str, which: Variant) -> paths.ResultPaths:
    return result_paths("quick", MODEL, phase, which)


@pytest.mark.parametrize("profile", ["baseline_smoke", "quick", "baseline"])
@pytest.mark.parametrize("phase", PHASE_PARAMETERS)
def test_a_profile_as_it_is_is_no_variant(profile: str, phase: str) -> None:
    assert variant(phase, profile) == PROFILE and PROFILE.name is None


def test_the_profiles_own_values_are_no_variant_however_they_are_written() -> None:
    alphas = [0.5, 1.0, 1.5, 2.0, 3.0]
    assert variant("phase5", alphas=alphas, n_controls=59, window="3", seed=0, layers=None) == PROFILE
    assert variant("phase5", "baseline", layers="all") == PROFILE
    assert variant("phase5", alphas="[3, 2, 1.5, 1, 0.5]", n_controls="59", generation_batch="auto") == PROFILE


@pytest.mark.parametrize("given", [{"device": "cpu"}, {"generation_batch": 7}, {"png": True}])
def test_where_and_how_a_phase_runs_is_no_variant(given: dict) -> None:
    assert variant("phase5", **given) == PROFILE


def test_a_part_of_the_layers_is_no_variant_of_phase_2_but_one_of_phase_5() -> None:
    assert variant("phase2", layers="0-17") == PROFILE
    assert variant("phase5", layers="8-12").differs == {"layers": [8, 9, 10, 11, 12]}


def test_the_same_values_have_one_name_and_others_another() -> None:
    one = variant("phase5", alphas=[0.25], layers="8-9")
    assert one.name == variant("phase5", layers=[8, 9], alphas=[0.25], png=True).name
    assert len({one.name, variant("phase5", alphas=[0.25]).name, variant("phase5", alphas=[0.26]).name}) == 3
    assert one.name.isalpha() and len(one.name) == 8


def test_a_profile_whose_layers_the_model_lacks_can_have_a_variant() -> None:
    assert variant("phase5", "baseline_smoke", "gpt2_small", layers="4,6").differs == {"layers": [4, 6]}


def test_a_phase_finds_the_others_where_their_own_values_put_them() -> None:
    root = paths.results_root() / "quick"
    steered = variant("phase5", alphas=[0.25], n_train=12)
    other_data = variant("phase3", n_train=12)
    where = places("phase5", steered)
    assert where.sweep("test").is_relative_to(root / "variants" / steered.name)
    assert where.vectors("mean").is_relative_to(root / "variants" / other_data.name)
    assert where.activations().is_relative_to(root / "variants" / other_data.name)
    assert other_data.name != steered.name
    alone = places("phase5", variant("phase5", alphas=[0.25]))
    assert alone.activations() == paths.ResultPaths("quick", MODEL).activations() == root / "activations" / MODEL
    assert alone.lock() == root / ".lock" and alone.timing() != paths.ResultPaths("quick", MODEL).timing()


def test_folds_of_the_leaks_put_phase_1_elsewhere_too() -> None:
    where = places("phase3", variant("phase3", n_folds=4))
    assert where.dataset("leaks.parquet") == places("phase1", variant("phase1", n_folds=4)).dataset("leaks.parquet")
    assert "variants" in where.dataset("leaks.parquet").parts


def test_phase_7_lies_with_the_variant_that_it_reads_unless_its_own_values_differ() -> None:
    read = variant("phase5", alphas=[0.25])
    variants.note("quick", read)
    assert variant("phase7", variant=read.name).name == read.name
    where = places("phase7", variant("phase7", variant=read.name))
    assert where.record("phase5") == places("phase5", read).record("phase5")
    assert where.record("phase3") == paths.ResultPaths("quick", MODEL).record("phase3")
    stricter = variant("phase7", variant=read.name, significance=0.01)
    assert stricter.differs == {"alphas": [0.25], "phase7.significance": 0.01}
    assert places("phase7", stricter).record("phase5") == where.record("phase5")
    assert variant("phase7", n_bootstrap=300).of_phase("phase3") == PROFILE, "its resamples are not Phase 3's"
    with pytest.raises(UserError, match=rf"unknown variant 'abcdefgh' of profile 'quick': valid is {read.name}$"):
        variant("phase7", variant="abcdefgh")
    with pytest.raises(UserError, match=rf"of profile 'quick': did you mean '{read.name}'"):
        variant("phase7", variant=read.name[:-1])


@pytest.mark.parametrize(
    ("phase", "given"),
    [("phase5", {"alphas": [0.25], "n_train": 12}), ("phase3", {"n_halves": 20}), ("phase1", {"near_duplicate": 90.0})],
)
def test_a_name_leads_back_to_the_values(phase: str, given: dict) -> None:
    made = variant(phase, **given)
    variants.note("quick", made)
    found = variants.find("quick", made.name)
    assert found == made
    for other in ("phase1", "phase2", "phase3", "phase5"):
        assert variant(other, **found.overrides(other)) == made.of_phase(other)
    variants.note("quick", Variant({**made.differs, "phase7.significance": 0.01}))
    stricter = variants.find("quick", Variant({**made.differs, "phase7.significance": 0.01}).name)
    assert variant("phase7", **stricter.overrides("phase7")) == stricter


def test_nothing_is_kept_of_the_profile_itself() -> None:
    variants.note("quick", PROFILE)
    assert variants.names("quick") == [] and not paths.variants_folder("quick").exists()


def fill(which: Variant) -> list[Path]:
    variants.note("quick", which)
    files = [places("phase5", which).sweep("test"), paths.executed_file("quick", MODEL, "phase5", which.name)]
    for file in files:
        store.write_atomically(file, b"12345")
    return files


def test_deleting_takes_that_variant_alone() -> None:
    gone, kept = variant("phase5", alphas=[0.25]), variant("phase5", alphas=[0.35])
    removed, left = fill(gone), fill(kept)
    profile = places("phase5", PROFILE).sweep("test")
    store.write_atomically(profile, b"1")
    told = variants.delete("quick", gone.name)
    assert [folder.name for folder, _ in told] == [gone.name] * 2 and told[1][1] == 5 < told[0][1]
    assert not any(file.parent.exists() for file in removed) and all(file.exists() for file in [*left, profile])
    assert variants.names("quick") == [kept.name]


@pytest.mark.parametrize("name", ["", ".", "..", "../../quick", "/tmp", "aaaaaaaa", "*"])
def test_only_a_variant_that_is_there_can_be_deleted(name: str) -> None:
    files = fill(variant("phase5", alphas=[0.25]))
    with pytest.raises(UserError, match="unknown variant"):
        variants.delete("quick", name)
    assert all(file.exists() for file in files)


def test_a_variant_whose_folder_leads_elsewhere_is_not_deleted(folders: Path) -> None:
    made = variant("phase5", alphas=[0.25])
    fill(made)
    elsewhere = folders / "elsewhere"
    (paths.variants_folder("quick") / made.name).rename(elsewhere)
    (paths.variants_folder("quick") / made.name).symlink_to(elsewhere)
    with pytest.raises(UserError, match="leads elsewhere"):
        variants.delete("quick", made.name)
    assert (elsewhere / paths.VARIANT_FILE).is_file()


def test_a_variant_in_use_is_not_deleted() -> None:
    made = variant("phase5", alphas=[0.25])
    files = fill(made)
    with (
        store.lock(paths.ResultPaths("quick", MODEL).lock()),
        pytest.raises(UserError, match="another run holds"),
    ):
        variants.delete("quick", made.name)
    assert all(file.exists() for file in files)


def test_what_has_finished_is_listed_by_model() -> None:
    made = variant("phase5", alphas=[0.25])
    variants.note("quick", made)
    assert variants.finished("quick", made.name) == {}
    for model, phase in (("b", "phase5"), ("a", "phase7"), ("a", "phase5")):
        store.write(places("phase5", made).of_model(model).record(phase), b"{}", {})
    assert variants.finished("quick", made.name) == {"a": ["phase5", "phase7"], "b": ["phase5"]}
