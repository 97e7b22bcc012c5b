"""Ctrl-C, kills and closed terminals: one line that says how to go on, and nothing half-written stays."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from refusals import Place, one_good_line

from emolib.base import paths
from emolib.base.interrupts import before_leaving, stoppable
from emolib.base.own_folders import own_folder

COMMAND = ["run", "--profile", "baseline_smoke", "--phase", "phase1", "-p", "neutral=neutral"]
# has an artifact half-written and computes as long as the file `hold` is there
CELL = """
import os, pathlib, time
import numpy as np
from emolib.base import store, tensor_files
results = pathlib.Path(os.environ["EMOLIB_RESULTS"]) / "baseline_smoke"
store.write(results / "finished.json", b"1", {})
shape = {results / "half.safetensors": {"values": ("float32", (4,))}}
with tensor_files.tensor_files(shape, {path: {} for path in shape}):
    pathlib.Path(os.environ["BEGUN"]).touch()
    while os.path.exists(os.environ["HOLD"]):
        np.linalg.svd(np.ones((700, 700)))
"""


def as_in_a_terminal() -> None:
    """Lets signals act in the new process: a test run in the background hands on that they are ignored."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@dataclass
class Study:
    """A copy of the repository whose first phase waits, and a command that runs there."""

    folder: Path

    def __post_init__(self) -> None:
        root = self.folder / "root"
        (root / "notebooks").mkdir(parents=True)
        (self.folder / "tmp").mkdir()
        for name in ("params", "data", "docs"):
            (root / name).symlink_to(paths.repository_root() / name)
        book = nbformat.read(paths.notebook_file("phase1"), as_version=4)
        cells = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", [])]
        book.cells = [*cells, nbformat.v4.new_code_cell(CELL)]
        nbformat.write(book, root / "notebooks" / paths.NOTEBOOKS["phase1"])
        self.hold, self.begun, self.temporary = self.folder / "hold", self.folder / "begun", self.folder / "tmp"
        places = {name: str(self.folder / name.lower()) for name in ("RESULTS", "EXECUTED", "CACHE")}
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("EMOLIB_", "PYTEST_"))},
            **{f"EMOLIB_{name}": place for name, place in places.items()},
            **{"EMOLIB_ROOT": str(root), "HOLD": str(self.hold), "BEGUN": str(self.begun)},
            "TMPDIR": str(self.temporary),
        }

    def start(self) -> subprocess.Popen[str]:
        """Runs the command in a process group of its own, as a terminal does."""
        return subprocess.Popen(
            [sys.executable, "-c", "from emolib.cli import main; main()", *COMMAND],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            start_new_session=True,
            preexec_fn=as_in_a_terminal,
        )

    def computing(self) -> subprocess.Popen[str]:
        """The command, once its kernel computes."""
        self.hold.touch()
        self.begun.unlink(missing_ok=True)
        process = self.start()
        wait_for(lambda: self.begun.exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        return process

    def files(self) -> list[str]:
        """What lies in the places that a run writes to."""
        found = [self.folder / name for name in ("results", "executed", "tmp")]
        return sorted(
            str(path.relative_to(self.folder)) for place in found for path in place.rglob("*") if not path.is_dir()
        )

    def kernels(self) -> list[str]:
        """The processes whose connection file lies in this study's temporary folder."""
        alive = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = entry.read_text()
            except OSError:
                continue
            if str(self.temporary) in line and "ipykernel" in line:
                alive.append(line)
        return alive


KEPT = ["results/baseline_smoke/finished.json", "results/baseline_smoke/finished.json.manifest.json"]


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def study() -> Iterator[Study]:
    with own_folder(Path("/tmp"), "emolib-stopping-") as folder:  # pytest's own is too deep for a socket's name
        yield Study(folder)


def end(process: subprocess.Popen[str], number: int, *, group: bool, times: int = 1) -> tuple[int, str]:
    """Sends the signal as often as said, and returns the exit code and what stands on stderr."""
    for _ in range(times):
        if process.poll() is None:
            (os.killpg if group else os.kill)(process.pid, number)
        time.sleep(0.02)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_what_a_killed_run_leaves_goes_with_the_next_and_after_ctrl_c_the_same_command_goes_on(study: Study) -> None:
    process = study.computing()
    process.kill()
    process.communicate(timeout=60)
    wait_for(lambda: not study.kernels(), seconds=30)  # nobody has told the kernel
    left = study.files()
    assert any(name.startswith("tmp/emolib-run-") for name in left) and any(name.endswith(".partial") for name in left)

    code, err = end(study.computing(), signal.SIGINT, group=True, times=3)
    one_good_line(err, ["emolib: stopped", "what is finished is kept", "go on with: emolib run --profile"])
    assert code == 130
    assert shlex.split(err.partition("go on with: ")[2]) == ["emolib", *COMMAND]
    assert [name for name in study.files() if not name.endswith(".lock")] == KEPT
    assert study.kernels() == []

    study.hold.unlink()
    again = study.start()
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0 and err == "", err
    assert "phase1: done in" in out and "executed/baseline_smoke/smollm2_135m/phase1_dataset.ipynb" in study.files()
    assert not [name for name in study.files() if name.startswith("tmp/") or name.endswith(".partial")]


@pytest.mark.parametrize(
    ("number", "group", "code"), [(signal.SIGTERM, False, 143), (signal.SIGHUP, True, 129), (signal.SIGINT, False, 130)]
)
def test_other_signals_end_a_run_alike(study: Study, number: int, group: bool, code: int) -> None:
    found, err = end(study.computing(), number, group=group, times=2)
    one_good_line(err, ["emolib: stopped", "go on with: emolib run"])
    assert found == code
    assert [name for name in study.files() if not name.endswith(".lock")] == KEPT and study.kernels() == []


@pytest.mark.parametrize("library", ["_yaml", "_multiarray_umath", "libtorch_python"])
def test_an_interrupt_while_libraries_are_loaded_is_one_line(study: Study, library: str) -> None:
    process = study.start()
    wait_for(lambda: _loaded(process.pid, library) or process.poll() is not None)
    time.sleep(0.2)  # `yaml` is loaded just before `main` begins
    code, err = end(process, signal.SIGINT, group=True)
    assert code == 130, err
    one_good_line(err, ["emolib: stopped", "emolib run"])


def test_what_takes_long_to_load_is_loaded_where_an_interrupt_is_answered() -> None:
    heavy = ("numpy", "pandas", "scipy", "torch", "transformers")
    code = f"import sys, emolib.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"  # `main` is not entered yet


def test_what_tells_of_phases_alone_loads_no_library_that_reckons_draws_or_runs_models() -> None:
    """They take seconds; `emolib status` needs none of them."""
    assert (
        _brought("emolib.pipeline.phases", "nbformat", "plotly", "sklearn", "scipy.stats", "transformer_lens") == "[]"
    )
    assert _brought("nbformat", "nbformat") == "['nbformat']"


def _brought(module: str, *heavy: str) -> str:
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _loaded(pid: int, library: str) -> bool:
    try:
        return library in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


INTERRUPTED = {
    "site": ("emolib.pipeline.site.build_site", ["site", "--profile", "quick"]),
    "build-dataset": ("emolib.data.dataset.convert", ["build-dataset", "my texts.csv", "-o", "out.jsonl"]),
    "import-pickle": ("emolib.exchange.first_study.import_pickle", ["import-pickle", "a.pkl", "-o", "new"]),
    "export-pickle": ("emolib.exchange.first_study.export_pickle", ["export-pickle", "new", "-o", "a.pkl"]),
    "export-vectors": ("emolib.study.exported_vectors.export_vectors", ["export-vectors", "anger", "-o", "a.gguf"]),
    "import-vectors": ("emolib.exchange.vector_files.rewrite_vectors", ["import-vectors", "a.npy", "-o", "a.gguf"]),
    "train-scorers": ("emolib.scoring.training.train_scorers", ["train-scorers", "--goemotions", "g", "--tydip", "t"]),
    "check-scorers": ("emolib.scoring.sanity.sanity_accuracy", ["check-scorers"]),
    "selftest": ("emolib.selftest.running.print_selftest", ["selftest", "--repeats", "6"]),
    "status": ("emolib.pipeline.phases.status", ["status", "-p", "neutral=in doubt"]),
    "variants": ("emolib.base.variants.names", ["variants"]),
    "fetch": ("emolib.models.fetching.fetch", ["fetch", "gemma3_270m"]),
    "models": ("emolib.base.config.model_table", ["models"]),
    "run": ("emolib.pipeline.phases.run_phases", ["run", "-p", "neutral=b  c", "--debug"]),
    "a value of several lines": ("emolib.pipeline.phases.run_phases", ["run", "--model", "a\nb\x1b[2J"]),
    "a value in another script": ("emolib.pipeline.phases.run_phases", ["run", "--model", "中立　'!7"]),
}


@pytest.mark.parametrize("case", INTERRUPTED)
def test_every_command_names_itself_when_it_is_interrupted(place: Place, case: str) -> None:
    function, arguments = INTERRUPTED[case]

    place.monkeypatch.setattr(function, interrupted)
    asked = place.ask(arguments)
    assert asked.code == 130 and asked.out == "" and asked.made == []
    one_good_line(asked.err, ["emolib: stopped", f"with: emolib {arguments[0]}"])
    printed = asked.err.partition("with: ")[2]
    words = subprocess.run(["bash", "-c", f"printf '%s\\0' {printed}"], capture_output=True, check=True).stdout
    assert words.decode().split("\0")[:-1] == ["emolib", *arguments]


def test_a_command_that_is_too_long_to_print_is_not_cut(place: Place) -> None:
    place.monkeypatch.setattr("emolib.pipeline.phases.run_phases", interrupted)
    asked = place.ask(["run", "-p", "neutral=" + "x" * 2000])
    one_good_line(asked.err, ["go on with: the same command"], never=["xxx", "…"])


def test_force_is_told_apart(place: Place) -> None:
    place.monkeypatch.setattr("emolib.pipeline.phases.run_phases", interrupted)
    asked = place.ask(["run", "--force"])
    one_good_line(asked.err, ["--force computes everything anew", "emolib run --force"], never=["is kept"])


WITHIN = """
import sys, time
from emolib.base.interrupts import before_leaving, stoppable
with stoppable(lambda: "stopped") as stop, before_leaving(lambda: print("called", flush=True)):
    print("ready", flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            {body}
        except {caught}:
            pass
"""


@pytest.mark.parametrize("caught", ["KeyboardInterrupt", "BaseException"])
def test_who_swallows_the_interrupt_is_ended_all_the_same(caught: str) -> None:
    code = WITHIN.format(body="time.sleep(0.1)", caught=caught)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)  # the loop has begun
    os.kill(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (143, "stopped\n") and "called" in out


LOST = """
import signal, time, weakref
from emolib.base.interrupts import stoppable
class Lock: pass
lock = Lock()
reference = weakref.ref(lock, lambda _: signal.raise_signal(signal.SIGINT))
with stoppable(lambda: "stopped") as stop:
    began = time.monotonic()
    try:
        del lock
        time.sleep(30)
    except KeyboardInterrupt:
        print(time.monotonic() - began < 1)
        stop.leave()
"""


def test_an_interrupt_that_python_drops_is_raised_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOST], capture_output=True, text=True, timeout=30, preexec_fn=as_in_a_terminal
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "True\n", "stopped\n")


def test_what_else_python_drops_is_told_as_ever() -> None:
    code = LOST.replace("signal.raise_signal(signal.SIGINT)", "1 / 0").replace("sleep(30)", "sleep(0)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "ZeroDivisionError" in done.stderr


def test_handlers_are_back_after_the_block() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with stoppable(lambda: ""):
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable(lambda: ""):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_own_folders_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    dead, other = tmp_path / "emolib-run-dead", tmp_path / "emolib-site-dead"
    for folder in (dead, other):
        folder.mkdir()
        (folder / "kernel-ipc-1").touch()
    target = tmp_path / "a user's own"
    target.mkdir()
    (tmp_path / "emolib-run-link").symlink_to(target)
    with own_folder(tmp_path, "emolib-run-") as first, own_folder(tmp_path, "emolib-run-") as second:
        assert first.is_dir() and second.is_dir() and not dead.exists()
        assert other.exists() and target.exists()
    assert not first.exists() and not second.exists()


def test_a_folder_is_gone_after_an_error_and_calls_are_forgotten(tmp_path: Path) -> None:
    called: list[int] = []
    with (
        pytest.raises(KeyboardInterrupt),
        own_folder(tmp_path, "a-") as folder,
        before_leaving(lambda: called.append(1)),
    ):
        interrupted()
    assert not folder.exists() and called == []
    shutil.rmtree(tmp_path)
    with own_folder(tmp_path / "new", "a-") as folder:
        assert folder.parent == tmp_path / "new"
