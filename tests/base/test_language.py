"""The reader's language: words from one YAML, reports from one folder, and no Japanese anywhere else."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from stand_in_language import JAPANESE, own_repository, translate, write_words

from emolib import report
from emolib.base import language, paths
from emolib.base.errors import UserError
from emolib.plots import figures, house_style, plot_files, views

ROOT = paths.repository_root()


def leaves(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, word) of every word of a language's file."""
    if not isinstance(value, dict):
        yield key, value
        return
    for part, inner in value.items():
        yield from leaves(inner, f"{key}.{part}" if key else part)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository like this one whose params/wording/ a test may change."""
    own_repository(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def english(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A stand-in for a further language, `en`: a YAML and a folder with one façade, and nothing else."""
    translate(root, "en")
    folder = root / "reports" / "en"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text('"""Reports in English."""\n')
    (folder / "phase5.py").write_text('def environment(run):\n    return f"environment of {run}"\n')
    monkeypatch.setattr(report, "__path__", [*report.__path__, str(root / "reports")])
    monkeypatch.setenv("EMOLIB_LANGUAGE", "en")
    yield root
    for name in [name for name in sys.modules if name.startswith("emolib.report.en")]:
        del sys.modules[name]
    vars(report).pop("en", None)


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_japanese_is_read_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMOLIB_LANGUAGE", raising=False)
    assert language.current() == "ja"
    assert (language.name("anger"), language.name("explicit"), language.name("joy")) == ("怒り", "明示表現", "joy")
    assert language.names("labels", "splits")["test"] == "テスト"
    assert language.word("figures.fallback", name="auc") == "図: auc"


def test_an_unknown_language_is_told_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOLIB_LANGUAGE", "jp")
    for call in (language.current, lambda: language.word("figures.nothing"), lambda: report.phase5):
        with pytest.raises(UserError, match=r"'jp' \(EMOLIB_LANGUAGE\): did you mean 'ja'\? Valid: ja") as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"figures": {}}, r"'figures.fallback' in params/wording/xx.yaml, it is missing; ja has it; .*'ja', 'xx'"),
        ({"figures": {"fallback": ["a"]}}, "expected a word under 'figures.fallback'.*got list"),
        ({"figures": {"fallback": "{nmae}"}}, r"expected only \['name'\] in braces.*\{nmae\}"),
        ({"figures": {"fallback": "{name"}}, "in braces"),
        ("figures: [", "expected YAML in params/wording/xx.yaml"),
    ],
)
def test_a_word_that_is_missing_or_broken_is_one_clear_line(
    root: Path, monkeypatch: pytest.MonkeyPatch, words: object, message: str
) -> None:
    write_words(root, "xx", words)
    monkeypatch.setenv("EMOLIB_LANGUAGE", "xx")
    with pytest.raises(UserError, match=message) as error:
        language.word("figures.fallback", name="x")
    assert "\n" not in str(error.value)


def test_names_that_are_no_table_of_words_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_words(root, "xx", {"names": {"labels": {"anger": 3}, "styles": "x"}})
    monkeypatch.setenv("EMOLIB_LANGUAGE", "xx")
    for kind in ("labels", "styles"):
        with pytest.raises(UserError, match=f"expected words under 'names.{kind}'"):
            language.names(kind)


def test_every_language_has_the_words_and_placeholders_of_the_first() -> None:
    found = {}
    for name in language.languages():
        text = (paths.params_folder("wording") / f"{name}.yaml").read_text("utf-8")
        found[name] = {key: sorted(re.findall(r"\{\w+\}", word)) for key, word in leaves(yaml.safe_load(text))}
    assert found["ja"]
    assert {name: keys for name, keys in found.items() if keys != found["ja"]} == {}


# ── a further language ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_language_is_a_folder_and_a_yaml(english: Path) -> None:
    from emolib.report import phase5 as say

    assert say.environment("a run") == "environment of a run"
    assert "phase5" in dir(report)
    assert language.languages() == ["en", "ja"]


def test_without_a_choice_the_same_line_gives_the_japanese_reports(
    english: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMOLIB_LANGUAGE")
    from emolib.report import phase5 as say

    assert say is importlib.import_module("emolib.report.ja.phase5")
    assert {"phase1", "phase2", "phase3", "phase5", "phase7"} <= set(dir(report))


def test_a_report_that_a_language_lacks_is_told(english: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="the report 'phase7' in the language 'en', only ja has it"):
        from emolib.report import phase7  # noqa: F401
    with pytest.raises(ImportError, match="phase99"):
        from emolib.report import phase99  # noqa: F401
    write_words(english, "fr", "{}")
    monkeypatch.setenv("EMOLIB_LANGUAGE", "fr")
    with pytest.raises(UserError, match=r"the folder emolib/report/fr.*one of: ja, en"):
        from emolib.report import phase5  # noqa: F401


def test_figures_and_views_hold_the_words_of_the_readers_language_alone(english: Path) -> None:
    table = pd.DataFrame({"layer": [0, 1], "emotion": "gratitude", "y": [0.1, 0.2], "null": [0.0, 0.1]})
    fig = figures.lines_by_layer(table, "y", "emotion", figures.Axes("title", y="y"), null=figures.Null("null"))
    assert fig.data[0].name == "gratitude (en)"
    assert fig.layout.xaxis.title.text == ".figures.layer"
    assert house_style.colours(["gratitude (en)"])["gratitude (en)"] == house_style.EMOTION_COLOURS["gratitude"]
    page = plot_files.standalone_html(fig, "lines").decode("utf-8")
    assert '<html lang="en">' in page
    tokens = views.coloured_tokens(["a"], [float("nan")], caption="caption")
    attention = views.attention_patterns(["a"], [[[1.0]]], ["L0H0"])
    for made in (plot_files.mime_bundle(fig, "lines"), tokens, attention):
        assert not JAPANESE.search(yaml.safe_dump(made, allow_unicode=True))
    assert tokens["text/plain"] == ".views.with_caption .views.tokens caption .views.n_tokens 1"


# ── nowhere else ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_module_outside_the_reports_and_no_template_holds_japanese() -> None:
    package = Path(language.__file__).parents[1]
    reports = package / "report"
    files = [file for file in package.rglob("*.py") if reports not in file.parents]
    assert len(files) > 50
    assert [str(f.relative_to(package)) for f in files if JAPANESE.search(f.read_text("utf-8"))] == []
    assert any(JAPANESE.search(file.read_text("utf-8")) for file in reports.rglob("*.py"))  # it would be found
    pages = [file for file in paths.site_configuration().rglob("*") if file.is_file() and file.suffix != ".pyc"]
    assert len(pages) > 5
    assert [file.name for file in pages if JAPANESE.search(file.read_text("utf-8"))] == []


def test_a_program_of_its_own_reads_the_language_from_its_environment() -> None:
    code = "from emolib.report import phase5; print(phase5.__name__)"
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "emolib.report.ja.phase5"
