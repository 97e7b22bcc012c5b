"""Hours that the full design takes for each model of the table, from speeds measured on this machine.

    python benchmarks/study_cost.py --json benchmarks/results/NAME.json
    python benchmarks/study_cost.py --models smollm2_135m,gpt2_small --rows 64 --repeats 1
    python benchmarks/study_cost.py --device cuda --json benchmarks/results/DATE_h200_study-cost.json

Measured, the median of the repeats: new tokens per second of `emolib.generate` with a steer of its own on every row,
texts per second of extraction, of the scorers, and of fluency under the model. The bundled model runs as it is, the
others at full size with seeded random weights, one at a time, in the table's dtype. A model that is not asked for or
does not fit in memory is extrapolated from the nearest measured one (of the same dtype, where there is one) by the
operations of the matrix products per token. A large model gets fewer rows and tokens than asked for; the table says so,
and the time of all tokens then follows from that of the first and the mean of the others.

The design is the profile `baseline`, phases 2 and 5, the ones that run a model over many texts. Rows count as if every
text had its full length and were distinct: texts that end early or equal one another make it cheaper.

With `--from-json` the hours on a GPU come from the JSON of a run with `--device cuda`, or from that of
steering_throughput.py (generation alone); without it from `benchmarks/results/*h200*.json`.

The first study's figures are from its own logs on one GPU of 24 GB: a residual sweep of 8 prompts × 3 emotions × 30
tokens took 20 s for gpt2_small (12 layers), 1,564 s for llama3_8b (16 layers) and 931 s for qwen3_8b (18 layers); its
whole study of five models was estimated at 90 to 175 hours. What it would take for the design here is the tokens
generated, at the speed of those logs.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import described, run_main, seconds, table, write_json
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

import emolib
from emolib.base.config import ModelSpec, find_model, model_table
from emolib.base.errors import UserError, nearest
from emolib.base.parameters import PatchingParameters, resolve
from emolib.base.paths import repository_root
from emolib.directions.controls import FAMILIES
from emolib.directions.rivals import KINDS as ALTERNATIVES
from emolib.engine.extraction import extract_positions
from emolib.engine.memory import BatchShape, OutOfMemory, available_memory, out_of_memory
from emolib.engine.planning import batch_size_for
from emolib.models.carriers import is_installed
from emolib.models.devices import DTYPES, pick_device
from emolib.models.language_model import LanguageModel
from emolib.models.silence import quiet
from emolib.models.tokens import encode
from emolib.scoring import score_texts
from emolib.scoring.fluency import score_fluency
from emolib.study import phase2_activations
from emolib.study.phase5_steering import design, rival_sweeps, sweep_settings
from emolib.study.run import Run

PROFILE = "baseline"
ROWS = {"cpu": 256, "mps": 256, "cuda": 2048}
ROWS_PER_PROMPT = 20  # a shard of controls continues every prompt so often
BUDGET = {"cpu": 4e12, "mps": 1e14, "cuda": 2e15}  # operations of one measurement; above it rows and tokens are fewer
LEAST_ROWS, LEAST_TOKENS, LEAST_TEXTS = 16, 8, 4
TOKENS_PER_TEXT = 30
WORDS_PER_TOKEN = 0.75
MEMORY_FACTOR, MEMORY_BESIDE = 1.1, 2**30  # bytes needed: those of the weights times this, and these

FIRST_STUDY = {"gpt2_small": (12, 20.0), "llama3_8b": (16, 1564.0), "qwen3_8b": (18, 931.0)}  # layers, seconds
FIRST_STUDY_TOKENS_PER_LAYER = 8 * 3 * 30
FIRST_STUDY_HOURS = (90, 175)
RESULTS = repository_root() / "benchmarks" / "results"


# the design


RIVALS = "test_rivals"  # the sweep of what stands beside the vectors at their KL


@dataclass(frozen=True)
class DesignRows:
    """How much of everything a profile asks of a model, all folds together.

    Attributes:
        extraction: texts whose activations are read.
        reference: sampled, unpatched continuations that fluency is judged by.
        decision: greedy, unpatched continuations by which the texts are greedy or sampled; 0 where a number says it.
        sweep: generated and scored rows by `sweep/kind`.
        new_tokens: per generated row.
        parts: 1, or the folds of a cross-fitted design.
    """

    extraction: int
    reference: int
    decision: int
    sweep: dict[str, int]
    new_tokens: int
    parts: int

    @property
    def scored(self) -> int:
        return sum(self.sweep.values())

    @property
    def generated(self) -> int:
        return self.reference + self.decision + self.scored


def design_rows(profile: str, model: str, **changed: Any) -> DesignRows:
    """Counts the rows of a profile's phases 2 and 5 from its parameters.

    Args:
        changed: parameters of phase 5 that are not as the profile says.

    Raises:
        UserError: a model outside the table, an unknown profile, or one whose layers the model does not have.
    """
    spec = spec_named(model)
    params = resolve(profile, spec.name, "phase5", changed)
    run = Run(params)
    parts = design.parts(run)
    n_prompts = {
        split: sum(len(design.prompts(run, part, split)) for part in parts) for split in ("validation", "test")
    }
    first = sweep_settings.REFERENCE_SCENARIOS if params.folds else params.n_train
    cells = cells_per_prompt(params, len(params.candidate_layers(spec.n_layers)), len(run.emotions))
    n_prompts["rivals"] = len(design.prompts(run, parts[0], "test"))  # the first part stands for all
    rows = {
        name: count * n_prompts["rivals" if name.startswith(RIVALS) else name.split("/")[0].split("_")[0]]
        for name, count in cells.items()
    }
    return DesignRows(
        extraction=len(phase2_activations.texts(run)) + sum(len(part.train) for part in parts),
        reference=sum(min(first, len(part.train)) for part in parts) * (1 + len(run.emotions)),
        decision=len(design.prompts(run, parts[0], "validation")) if params.temperature == "auto" else 0,
        sweep={name: params.n_samples * count for name, count in rows.items()},
        new_tokens=params.max_new_tokens,
        parts=len(parts),
    )


def cells_per_prompt(params: PatchingParameters, n_layers: int, n_emotions: int) -> dict[str, int]:
    """Rows of every prompt by sweep and kind; a sweep's name begins with the split that its prompts are of."""
    strengths = {alpha for alpha in params.alphas if alpha != 0}
    doses = max((len({-chosen, *strengths} - {chosen}) for chosen in strengths), default=0)
    # in unit `vector` a direction takes every emotion's own norm in turn
    controls = params.n_controls * (n_emotions if params.unit == "vector" else 1)
    return {
        "validation/baseline": 1,
        "validation/emotion": n_layers * len(strengths) * n_emotions,
        "test/baseline": 1,
        **dict.fromkeys(("test/emotion", "test/direct_path"), n_emotions),
        "test/zero": 1,
        **{f"test/{family}": controls for family in FAMILIES},
        "test_dose/emotion": doses * n_emotions,
        **{f"validation_alternatives/{kind}": len(strengths) * n_emotions for kind in ALTERNATIVES},
        "validation_alternatives/subspace": len(rival_sweeps.SUBSPACE_ALPHAS) * n_emotions,
        "test_other_style/other_style": n_emotions,
        "test_alternatives/prompting_baseline": 1,
        **{f"test_alternatives/{kind}": n_emotions for kind in (*ALTERNATIVES, "subspace", "prompting")},
        **{f"{RIVALS}/{kind}": n_emotions for kind in ("trained", "prompting")},
    }


def spec_named(model: str) -> ModelSpec:
    """The table's entry; a model outside it has no place among the design's."""
    spec = find_model(model)
    if spec is None:
        raise UserError(f"unknown model {model!r}: {nearest(model, studied())}")
    return spec


# hours


@dataclass(frozen=True)
class Speeds:
    """Per second; None where nothing is known.

    Attributes:
        tokens: new tokens, every row steered.
        extracted: texts of which activations are read.
        fluency: continuations whose likelihood is read.
        scored: continuations that the scorers read.
    """

    tokens: float
    extracted: float | None = None
    fluency: float | None = None
    scored: float | None = None

    def scaled(self, factor: float) -> Speeds:
        """The speeds of a model whose tokens cost 1/factor as much; the scorers' do not depend on it."""
        own = {name: value and value * factor for name, value in asdict(self).items() if name != "scored"}
        return replace(self, **own)


def hours(rows: DesignRows, speeds: Speeds) -> dict[str, float | None]:
    """Hours by part, None where the speed is unknown, and the total of those known."""
    work = {
        "extraction": (rows.extraction, speeds.extracted),
        "generation": (rows.generated * rows.new_tokens, speeds.tokens),
        "fluency": (rows.generated, speeds.fluency),
        "scorers": (rows.scored, speeds.scored),
    }
    parts = {name: None if speed is None else count / speed / 3600 for name, (count, speed) in work.items()}
    return {**parts, "total": sum(part for part in parts.values() if part is not None)}


def first_study_speed(model: str) -> float | None:
    """Tokens per second of the first study's residual sweep; None where it left no log."""
    layers, taken = FIRST_STUDY.get(model, (0, 1.0))
    return layers * FIRST_STUDY_TOKENS_PER_LAYER / taken or None


# measuring


@dataclass(frozen=True)
class Size:
    """Bytes of a model's weights and operations per token, known before it is loaded."""

    weight_bytes: int
    flops_per_token: int


def studied() -> dict[str, ModelSpec]:
    """The models of the table that have weights of their own, by name."""
    return {name: spec for name, spec in model_table().items() if spec.rotation is None}


def size_of(spec: ModelSpec) -> Size:
    """Bytes of the weights in the table's dtype, tied ones once, and operations of the products for one token."""
    settings = dict(spec.config)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    with quiet(), torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config, dtype=DTYPES[spec.dtype])
    products = [m.weight.numel() for m in network.modules() if isinstance(m, torch.nn.Linear | Conv1D)]
    held = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    return Size(held, 2 * sum(products))


@dataclass(frozen=True)
class Portion:
    """What one measurement runs: rows to generate, tokens of each, texts to read."""

    rows: int
    new_tokens: int
    texts: int


def portion(flops_per_token: int, rows: int, new_tokens: int, budget: float) -> Portion:
    """What was asked for, or as much of it as the operations allow: first fewer tokens, then fewer rows."""
    allowed = int(budget / flops_per_token)
    texts = min(rows, max(LEAST_TEXTS, allowed // TOKENS_PER_TEXT))
    if rows * new_tokens > allowed:
        new_tokens = min(new_tokens, max(LEAST_TOKENS, allowed // rows))
        rows = min(rows, max(LEAST_ROWS, allowed // new_tokens))
    return Portion(rows, new_tokens, texts)


def measure(lm: LanguageModel, part: Portion, rows: DesignRows, params: PatchingParameters, repeats: int) -> Speeds:
    """All but the scorers' speed, for rows of the design's length."""
    lm.__dict__["stop_ids"] = frozenset()  # every row gets all of its tokens
    data = emolib.load_dataset(params.dataset, neutral=params.neutral)
    neutral = data.loc[data["emotion"] == params.neutral, "text"].tolist()[: max(1, part.rows // ROWS_PER_PROMPT)]
    prompts = [neutral[i % len(neutral)] for i in range(part.rows)]
    extraction = resolve(params.profile, params.model, "phase2")
    texts = data.sample(min(part.texts, len(data)), random_state=0)
    continuations = made_continuations(part.texts, rows.new_tokens)

    def extract() -> None:
        extract_positions(lm, texts, sites=extraction.sites, batch_size=extraction.extraction_batch)

    def judge() -> None:
        score_fluency(continuations, prompts[: part.texts], lm)

    return Speeds(
        generation_speed(lm, prompts, part.new_tokens, rows.new_tokens, params, repeats),
        len(texts) / median_seconds(extract, lm.device, repeats),
        part.texts / median_seconds(judge, lm.device, repeats),
    )


def generation_speed(
    lm: LanguageModel, prompts: Sequence[str], n_run: int, n_new: int, params: PatchingParameters, repeats: int
) -> float:
    """Tokens per second for rows of `n_new` tokens, from runs of `n_run`; every row has a direction of its own."""
    layers = params.candidate_layers(spec_named(params.model).n_layers)
    directions = np.random.default_rng(0).standard_normal((len(prompts), lm.d_model)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    layer = layers[len(layers) // 2]  # nearly all rows of the design are the controls of one point
    steers = [emolib.Steer(layer, direction, 1.0, unit="vector", window=params.window) for direction in directions]
    width = max(len(row) for row in encode(lm, prompts))
    size = batch_size_for(lm, len(prompts), BatchShape(width, n_run, params.window, len(set(prompts)) / len(prompts)))

    def run(count: int) -> Callable[[], Any]:
        return lambda: emolib.generate(lm, prompts, steers, max_new_tokens=count, batch_size=size)

    taken = median_seconds(run(n_run), lm.device, repeats)
    if n_run != n_new:
        per_step = max(taken - median_seconds(run(1), lm.device, repeats), 0.0) / (n_run - 1)
        taken += (n_new - n_run) * per_step
    return len(prompts) * n_new / taken


def median_seconds(work: Callable[[], Any], device: torch.device, repeats: int) -> float:
    work()  # warm-up
    return statistics.median(seconds(work, device)[0] for _ in range(repeats))


def made_continuations(count: int, n_tokens: int) -> list[str]:
    """Distinct texts of about so many tokens: words of the data set's texts, one after the other."""
    words = " ".join(emolib.load_dataset()["text"]).split()
    length = max(1, round(n_tokens * WORDS_PER_TOKEN))
    apart = max(1, (len(words) - length) // count)
    return [" ".join(words[i * apart : i * apart + length]) for i in range(count)]


def scorers_speed(params: PatchingParameters, count: int, device: torch.device, repeats: int) -> float:
    texts = made_continuations(count, params.max_new_tokens)
    return count / median_seconds(
        lambda: score_texts(texts, backend=params.backend, device=str(device)), device, repeats
    )


def measure_model(spec: ModelSpec, size: Size, device: torch.device, arguments: argparse.Namespace) -> dict[str, Any]:
    """The model's speeds, or the reason why there are none."""
    needed = int(size.weight_bytes * MEMORY_FACTOR) + MEMORY_BESIDE
    free = available_memory(device)
    if needed > free:
        return {"reason": f"needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"}
    rows, params = design_rows(PROFILE, spec.name), resolve(PROFILE, spec.name, "phase5")
    n_new = arguments.new_tokens or rows.new_tokens
    part = portion(size.flops_per_token, arguments.rows or ROWS[device.type], n_new, BUDGET[device.type])
    pretrained = spec.bundled is not None and is_installed(spec)
    try:
        with out_of_memory():
            lm = emolib.load_model(spec.name, device=str(device), random_weights=not pretrained)
            speeds = measure(lm, part, rows, params, arguments.repeats)
    except OutOfMemory:
        return {"reason": "ran out of memory"}
    weights = "random" if lm.spec.random_weights else "pretrained"
    return {"speeds": speeds, "weights": weights, "ran": asdict(part), "reduced": part.new_tokens < n_new}


def extrapolated(model: str, sizes: Mapping[str, Size], measured: Mapping[str, Speeds]) -> tuple[str, Speeds]:
    """The measured model that is nearest, of the same dtype if there is one, and its speeds by the operations."""
    factors = {name: sizes[name].flops_per_token / sizes[model].flops_per_token for name in measured}
    dtypes = {name: spec.dtype for name, spec in studied().items()}
    source = min(measured, key=lambda name: (dtypes[name] != dtypes[model], abs(math.log(factors[name]))))
    return source, measured[source].scaled(factors[source])


# a GPU's speeds from other runs


def gpu_speeds(paths: Sequence[Path], *, strict: bool) -> dict[str, Speeds]:
    """Speeds by model from results measured on a GPU; of several for one model the last.

    Args:
        strict: a file that tells none is an error, else it is passed over.
    """
    found: dict[str, Speeds] = {}
    for path in paths:
        try:
            told = _speeds_in(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            told = {}
        if strict and not told:
            raise UserError(
                f"expected speeds measured on a GPU in {path.name!r}, found none; give the JSON of study_cost.py or "
                "steering_throughput.py with --device cuda"
            )
        found |= told
    return found


def _speeds_in(outcome: Mapping[str, Any]) -> dict[str, Speeds]:
    if not str(outcome["settings"]["device"]).startswith("cuda"):
        return {}
    if outcome["benchmark"] == "study_cost":
        return {name: Speeds(**one["speeds"]) for name, one in outcome["models"].items() if one["how"] == "measured"}
    if outcome["benchmark"] == "steering_throughput":
        spec = spec_named(outcome["settings"]["model"])
        result = outcome["results"].get(spec.dtype)
        return {spec.name: Speeds(result["c"]["tokens_per_s"])} if result else {}
    return {}


# all together


def costs(chosen: Sequence[ModelSpec], device: torch.device, arguments: argparse.Namespace) -> dict[str, Any]:
    """By model of the table, small ones first: its rows, its speeds and where they come from, and its hours."""
    sizes = {name: size_of(spec) for name, spec in studied().items()}
    names = sorted(sizes, key=lambda name: sizes[name].flops_per_token)
    results = [Path(path) for path in arguments.from_json or sorted(RESULTS.glob("*h200*.json"))]
    gpu = gpu_speeds(results, strict=bool(arguments.from_json))
    found = {}
    for name in (name for name in names if studied()[name] in chosen):
        print(f"{name} …", file=sys.stderr, flush=True)
        found[name] = measure_model(studied()[name], sizes[name], device, arguments)
        gc.collect()  # before the next is loaded: the bridge's modules refer to one another
        if device.type == "cuda":
            torch.cuda.empty_cache()
    measured = {name: one.pop("speeds") for name, one in found.items() if "speeds" in one}
    if not measured:
        raise UserError("no model could be measured: " + "; ".join(f"{n} {one['reason']}" for n, one in found.items()))
    params = resolve(PROFILE, chosen[0].name, "phase5")
    scored = scorers_speed(params, arguments.rows or ROWS["cpu"], device, arguments.repeats)
    models = {}
    for name in names:
        source, speeds = (name, measured[name]) if name in measured else extrapolated(name, sizes, measured)
        origin = {"how": "measured" if name in measured else "extrapolated", "from": source}
        cost = cost_of(name, replace(speeds, scored=scored), gpu.get(name))
        models[name] = {**origin, **found.get(name, {"reason": "not asked for"}), **asdict(sizes[name]), **cost}
    return models


def cost_of(name: str, speeds: Speeds, gpu: Speeds | None) -> dict[str, Any]:
    """The design's rows for a model and the hours at its speeds, at a GPU's, and at the first study's."""
    rows, first = design_rows(PROFILE, name), first_study_speed(name)
    return {
        "dtype": studied()[name].dtype,
        "rows": {**asdict(rows), "generated": rows.generated, "scored": rows.scored},
        "speeds": asdict(speeds),
        "hours": hours(rows, speeds),
        "gpu": gpu and {"speeds": asdict(gpu), "hours": hours(rows, gpu)},
        "first_study": first and {"tokens": first, "hours": hours(rows, Speeds(first))["generation"]},
    }


def shown(models: Mapping[str, Mapping[str, Any]]) -> str:
    """One line per model; rows and tokens that were fewer than asked for stand beside the speed's source."""
    lines = []
    for name, one in models.items():
        speeds, taken, first = one["speeds"], one["hours"], one["first_study"] or {}
        how = "measured" if one["how"] == "measured" else f"from {one['from']}"
        if one.get("reduced"):
            how += f" ({one['ran']['rows']} rows × {one['ran']['new_tokens']} tokens)"
        line = {"model": name, "speeds": how, "weights": one.get("weights"), "tokens/s": speeds["tokens"]}
        line |= {"texts read/s": speeds["extracted"], "fluency/s": speeds["fluency"], "rows": one["rows"]["generated"]}
        line |= {f"{part} h": taken[part] for part in ("extraction", "generation", "fluency", "scorers")}
        line |= {"all h": taken["total"], "GPU h": gpu_cell(one["gpu"])}
        lines.append({**line, "first study tokens/s": first.get("tokens"), "at its speed h": first.get("hours")})
    return table(lines)


def gpu_cell(gpu: Mapping[str, Any] | None) -> str:
    if gpu is None:
        return "not measured"
    alone = " (generation alone)" if gpu["hours"]["scorers"] is None else ""
    return f"{gpu['hours']['total']:.3g}{alone}"


def checked(arguments: argparse.Namespace) -> list[ModelSpec]:
    """The models asked for; every number is checked before anything is loaded."""
    for name, least in (("rows", 1), ("new_tokens", 2), ("repeats", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise UserError(f"expected --{name.replace('_', '-')} of at least {least}, got {value}")
    names = arguments.models.split(",") if arguments.models else list(studied())
    return list({spec.name: spec for spec in map(spec_named, names)}.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", help="names of the table, such as smollm2_135m,gpt2_small; all when left out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, help=f"rows to generate at once, texts to read; {ROWS} when left out")
    parser.add_argument("--new-tokens", type=int, help="tokens per row that are run; the design's when left out")
    parser.add_argument("--repeats", type=int, default=3, help="the median counts")
    parser.add_argument("--from-json", action="append", help="a GPU run's JSON; may be repeated")
    parser.add_argument("--json", help="where the result goes; printed when left out")
    arguments = parser.parse_args()
    chosen = checked(arguments)
    device = torch.device(pick_device(arguments.device))
    models = costs(chosen, device, arguments)
    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    settings |= {"device": str(device), "profile": PROFILE}
    first = {"hours_of_five_models": FIRST_STUDY_HOURS}
    about = {"benchmark": "study_cost", **described(device), "settings": settings}
    write_json(arguments.json, {**about, "models": models, "first_study": first})
    print(shown(models))
    for name, one in models.items():
        if "reason" in one:
            print(f"{name}: {one['reason']}; extrapolated from {one['from']} by operations per token")
    folds = next(iter(models.values()))["rows"]["parts"]
    print(f"profile {PROFILE}: " + (f"{folds} folds" if folds > 1 else "one split, no folds"))
    print("first study: its whole study of five models was estimated at {} to {} hours".format(*FIRST_STUDY_HOURS))


if __name__ == "__main__":
    run_main(main)
