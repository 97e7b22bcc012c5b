"""The bar that `generate` shows on request."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
from tqdm import tqdm

from emolib.engine.generation import generate
from emolib.models.language_model import LanguageModel

PROMPTS = ["The new shop", "by the", "old bridge"]
RATE = re.compile(r"[\d.]+[kM]?token/s")


@pytest.fixture
def lm(tiny_models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    """A model that has been checked, and a bar that is drawn at every update however quick."""
    generate(tiny_models["gpt2"], PROMPTS, max_new_tokens=2)
    monkeypatch.setattr("emolib.base.progress.tqdm", functools.partial(tqdm, mininterval=0, miniters=1))
    return tiny_models["gpt2"]


@pytest.mark.parametrize("mode", ["bar", None])
def test_the_bar_shows_tokens_per_second_up_to_the_last_token(
    mode: str | None, lm: LanguageModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("EMOLIB_PROGRESS", raising=False)
    if mode is not None:
        monkeypatch.setenv("EMOLIB_PROGRESS", mode)
    outs = generate(lm, PROMPTS, max_new_tokens=4, batch_size=1, progress=True)
    written = capsys.readouterr()
    assert RATE.search(written.err), written.err
    assert re.findall(r"([\d.]+)/12\.0", written.err)[-1] == "12.0"
    assert written.out == "" and len(outs) == 3


@pytest.mark.parametrize(("mode", "settings"), [("off", {"progress": True}), ("bar", {"progress": False}), ("bar", {})])
def test_the_bar_is_silent_when_off_and_by_default(
    mode: str,
    settings: dict[str, bool],
    lm: LanguageModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EMOLIB_PROGRESS", mode)
    generate(lm, PROMPTS, max_new_tokens=4, batch_size=1, **settings)
    assert capsys.readouterr() == ("", "")


def test_a_pipelines_progress_file_gets_no_bar(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EMOLIB_PROGRESS", str(tmp_path / "progress.jsonl"))
    generate(lm, PROMPTS, max_new_tokens=4, progress=True)
    assert capsys.readouterr() == ("", "") and not list(tmp_path.iterdir())


def test_the_bar_is_closed_after_a_failure(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EMOLIB_PROGRESS", "bar")

    def stop(finished: int) -> None:
        raise KeyboardInterrupt

    before = len(tqdm._instances)
    with pytest.raises(KeyboardInterrupt):
        generate(lm, PROMPTS, max_new_tokens=4, batch_size=1, progress=True, on_batch=stop)
    assert len(tqdm._instances) == before
    assert RATE.search(capsys.readouterr().err), "no bar was shown"
