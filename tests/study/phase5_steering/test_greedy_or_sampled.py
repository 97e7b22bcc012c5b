"""Whether Phase 5's texts are greedy or sampled: decided once, by unpatched validation texts, and kept to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planted_runs import in_two_styles, steering_run, written
from tiny import byte_tokenizer, plain_network

from emolib.base import store
from emolib.base.errors import UserError
from emolib.engine.generation import generate
from emolib.engine.read_generation import generate_and_read
from emolib.engine.sampling import Sampler
from emolib.models.language_model import LanguageModel, wrap
from emolib.models.loading import spec_of
from emolib.scoring.fluency import nll_limit, score_fluency
from emolib.selftest.planted import Planted, plant, planted_scenarios
from emolib.steering import sweeps
from emolib.steering.regime import LOOPING_SHARE, SAMPLING_TEMPERATURE, Regime, regime_of
from emolib.study.phase5_steering import design, own_sweeps, rival_sweeps, sweep_settings, validation_sweeps
from emolib.study.run import Run

FEW = {"layers": [2], "alphas": [0.15], "n_controls": 2, "temperature": "auto"}


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant("llama", distractors=False)


@pytest.fixture(scope="module")
def saved(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(in_two_styles(planted_scenarios(planted, 30, seed=1)), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def looping() -> LanguageModel:
    """A random Gemma with tied embeddings, which repeats its last token."""
    network, tokenizer = plain_network("gemma3_text", tie_word_embeddings=True), byte_tokenizer()
    return wrap(network, tokenizer, spec_of(network.config, "looping"), "seed0")


@pytest.fixture
def begin(planted: Planted, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Opens runs whose results lie in a folder of the test's own."""
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    return lambda lm=planted.lm, **given: steering_run(lm, saved, **given)


def broken_share(run: Run, part: design.Part) -> float:
    """Of the part's unpatched greedy validation texts, by hand."""
    texts = design.prompts(run, part, "validation")["text"].tolist()
    limit = nll_limit(sweep_settings.reference(run, part))
    outs = [out.text for out in generate(run.lm, texts, max_new_tokens=run.params.max_new_tokens)]
    return float(score_fluency(outs, texts, run.lm, nll_limit=limit)["fluency/broken"].mean())


def temperatures(run: Run) -> set[float]:
    """Those in the manifests of the run's sweeps."""
    manifests = [store.read_manifest(path) for path in run.artifacts.made if "_sweep_" in path.name]
    return {manifest["matched"]["settings"]["temperature"] for manifest in manifests}


@pytest.mark.parametrize(
    ("broken", "expected"), [((0, 5), "greedy"), ((1, 5), "greedy"), ((2, 5), "sampled"), ((5, 5), "sampled")]
)
def test_the_share_of_broken_texts_decides(broken: tuple[int, int], expected: str) -> None:
    n_broken, n = broken
    found = regime_of([True] * n_broken + [False] * (n - n_broken))
    assert (found.code, found.n, found.share) == (expected, n, n_broken / n)
    assert found.temperature == (SAMPLING_TEMPERATURE if expected == "sampled" else 0)
    assert (found.share > LOOPING_SHARE) == (expected == "sampled")
    with pytest.raises(UserError, match="got none"):
        regime_of([])


@pytest.mark.parametrize("loops", [False, True], ids=["no loops", "loops"])
def test_a_model_that_loops_is_sampled_and_one_that_does_not_is_greedy(
    begin: Callable[..., Run], planted: Planted, looping: LanguageModel, loops: bool
) -> None:
    run, temperature = begin(lm=looping if loops else planted.lm, **FEW), 0.7 if loops else 0.0
    (part,) = design.parts(run)
    share = broken_share(run, part)
    assert (share > LOOPING_SHARE) == bool(temperature)
    found = sweep_settings.regime(run)
    assert (found.temperature, found.share, found.n) == (temperature, share, 6)
    own_sweeps.test_sweep(run), own_sweeps.dose_sweep(run), rival_sweeps.alternatives_sweep(run, "validation")
    assert temperatures(run) == {temperature}
    kept = json.loads(run.paths.decoding().read_text())
    assert (kept["temperature"], kept["share"], kept["n"]) == (temperature, share, 6)
    assert kept["rule"] == {"looping_share": LOOPING_SHARE, "temperature": SAMPLING_TEMPERATURE}
    assert run.paths.decoding() in run.artifacts.made


@pytest.mark.parametrize("given", [0.0, 0.3])
def test_a_number_means_that_number_and_nothing_is_looked_at(
    begin: Callable[..., Run], looping: LanguageModel, given: float
) -> None:
    run = begin(lm=looping, **{**FEW, "temperature": given})
    assert sweep_settings.regime(run) == Regime(given) and sweep_settings.regime(run).code == "given"
    validation_sweeps.validation_sweep(run)
    assert temperatures(run) == {given} and not run.paths.decoding().exists()


def test_it_is_decided_once_for_all_parts_and_found_again(
    begin: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    folded = {**FEW, "n_train": 8, "n_validation": 4, "n_test": 4, "folds": 3}
    calls = []
    monkeypatch.setattr(
        sweep_settings, "regime_of", lambda broken: calls.append(len(broken)) or Regime(0.7, 5, len(broken))
    )
    run = begin(**folded)
    parts = design.parts(run)
    assert {sweep_settings.settings(run, part).temperature for part in parts} == {0.7}
    assert calls == [len(parts[0].validation)]
    again = begin(**folded)
    assert sweep_settings.regime(again) == Regime(0.7, 5, calls[0]) and len(calls) == 1
    assert not again.artifacts.computed & {again.paths.decoding()}
    longer = begin(**{**folded, "max_new_tokens": 7})  # other texts are looked at anew
    sweep_settings.regime(longer)
    assert len(calls) == 2


def test_a_decision_that_was_changed_is_refused(begin: Callable[..., Run]) -> None:
    run = begin(**FEW)
    sweep_settings.regime(run)
    kept = run.paths.decoding()
    kept.write_bytes(store.json_bytes({**json.loads(kept.read_text()), "temperature": 0.7}))
    with pytest.raises(UserError, match="corrupted") as found:
        sweep_settings.regime(begin(**FEW))
    assert "\n" not in str(found.value)


def test_every_row_of_a_prompt_and_sample_has_the_same_random_numbers(
    begin: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Baseline, steers, controls, rivals and other strengths: two texts of one prompt differ by the patch alone."""
    seen: list[pd.DataFrame] = []

    def noted(lm: LanguageModel, texts: list[str], acts: list[Any], *, seeds: list[int], **given: Any) -> Any:
        outs, nll = generate_and_read(lm, texts, acts, seeds=seeds, **given)
        seen.append(pd.DataFrame({"drawn": seeds, "text": [out.text for out in outs]}))
        return outs, nll

    monkeypatch.setattr(sweeps, "generate_and_read", noted)
    run = begin(**{**FEW, "temperature": 0.9, "n_samples": 2})
    tables = [own_sweeps.test_sweep(run), own_sweeps.dose_sweep(run), rival_sweeps.alternatives_sweep(run, "test")]
    sweep = pd.concat(tables).drop_duplicates(["row_id", "text"])
    rows = sweep.merge(pd.concat(seen).drop_duplicates(), on="text")
    held = rows.groupby("text")["drawn"].transform("nunique") == 1  # texts that came of one seed alone
    rows = rows[held]
    kinds = {"baseline", "emotion", "isotropic", "covariance", "shuffled", "direct_path", "zero", "pca", "prompting"}
    assert kinds <= set(rows["kind"])
    of_prompt = rows.groupby(["scenario", "sample"])["drawn"].agg(["nunique", "first"])
    assert (of_prompt["nunique"] == 1).all() and of_prompt["first"].is_unique and len(of_prompt) == 12
    draws = [Sampler(0.9, 1.0).draws([seed], 4)[0].tolist() for seed in of_prompt["first"]]
    assert len({tuple(draw) for draw in draws}) == 12
    base = rows[rows["kind"] == "baseline"].set_index(["scenario", "sample"])["text"]
    zero = rows[rows["kind"] == "zero"].set_index(["scenario", "sample"])["text"]
    assert (zero == base[zero.index]).all()
