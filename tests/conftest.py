"""Models that many tests share, loaded once per session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from refusals import Place
from smoke_run import shared_folder, smoke_run
from tiny import ARCHITECTURES, Case, plain_network, tiny_model
from torch import nn
from transformers import AutoModelForCausalLM

from emolib.models.bundled import BUNDLED, bundled_folder
from emolib.models.language_model import LanguageModel
from emolib.models.loading import load_model

# Files of more than half a minute: the run of every phase, on which others wait, then those that need none of it
LONGEST = (
    *("test_phases.py", "test_selftest.py", "test_examples.py", "test_scoring_training.py", "test_benchmarks.py"),
    *("test_instruments_stage.py", "test_planted.py"),
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several processes the longest files begin first, so that none waits for another at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def tiny_models() -> dict[str, LanguageModel]:
    """A tiny seeded model of each architecture."""
    return {architecture: tiny_model(architecture) for architecture in ARCHITECTURES}


@pytest.fixture(scope="session", params=ARCHITECTURES)
def tiny(request: pytest.FixtureRequest, tiny_models: dict[str, LanguageModel]) -> LanguageModel:
    """Each tiny model in turn."""
    return tiny_models[request.param]


@pytest.fixture(scope="session")
def bundled() -> LanguageModel:
    """The bundled language model."""
    return load_model(BUNDLED, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def bundled_plain(bundled: LanguageModel) -> nn.Module:
    """The bundled weights in a Hugging Face model that is not wrapped."""
    folder, _ = bundled_folder(bundled.spec)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", attn_implementation="eager")
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="session", params=ARCHITECTURES)
def tiny_case(request: pytest.FixtureRequest, tiny_models: dict[str, LanguageModel]) -> Case:
    """Each tiny model in turn, beside the same weights unwrapped."""
    return Case(request.param, tiny_models[request.param], plain_network(request.param))


@pytest.fixture(scope="session")
def bundled_case(bundled: LanguageModel, bundled_plain: nn.Module) -> Case:
    """The bundled model beside the same weights unwrapped."""
    return Case("bundled", bundled, bundled_plain)


@pytest.fixture(scope="session", params=[*ARCHITECTURES, "bundled"])
def case(request: pytest.FixtureRequest, tiny_models: dict[str, LanguageModel]) -> Case:
    """Each tiny model and the bundled one in turn, beside the same weights unwrapped."""
    if request.param == "bundled":
        return request.getfixturevalue("bundled_case")
    return Case(request.param, tiny_models[request.param], plain_network(request.param))


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One undisturbed run of every phase of `baseline_smoke`, and what it printed; read, never written."""
    return smoke_run(shared_folder(tmp_path_factory))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    """An empty working directory, with results and reports of its own, for commands that are to be refused."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EMOLIB_RESULTS", str(folder / "results"))
    monkeypatch.setenv("EMOLIB_EXECUTED", str(folder / "executed"))
    return Place(folder, monkeypatch, capsys)


@pytest.fixture(autouse=True)
def gradients_stay_on() -> Iterator[None]:
    """A test that leaves torch without gradients spoils the ones behind it, so it is the one that fails."""
    yield
    left = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    assert left == (False, True), "expected inference mode off and gradients on after a test"
