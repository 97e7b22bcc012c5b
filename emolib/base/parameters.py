"""Parameters of every phase: the profile and what the caller overrides, resolved into frozen typed objects.

Order of precedence: caller over profile over the defaults written here. A key that nothing knows is an error that
names the nearest valid one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from emolib.base.config import Frozen, find_model, load_profile, validated
from emolib.base.errors import UserError, nearest, shown
from emolib.base.given_paths import Place
from emolib.base.parameter_types import (
    Alphas,
    AnchorFile,
    Ascending,
    CorpusFolder,
    Count,
    DataFile,
    Folds,
    Heads,
    Inside,
    Label,
    Layers,
    Mode,
    Position,
    Rows,
    Schedule,
    Seed,
    Several,
    Site,
    Size,
    Text,
    Tokens,
    VectorPosition,
)
from emolib.base.paths import file_name, model_name, pair_name
from emolib.base.reading import as_given, field_type, is_nothing, read_as
from emolib.base.strength import STUDY_UNIT, Unit


def _crossed(folds: int) -> int:
    if folds in (1, 2):
        raise ValueError("expected 0 (the data set's own split) or at least 3 folds, to train, choose and test")
    return folds


class Parameters(Frozen):
    """What every phase needs to know."""

    profile: str
    model: str
    phase: str
    dataset: DataFile = "data/emotion_dataset.jsonl"
    neutral: Label = "neutral"
    n_train: Count = Field(40, ge=4, description="training scenarios (each gives one text per label)")
    n_validation: Count = Field(24, ge=2, description="validation scenarios")
    n_test: Count = Field(24, ge=2, description="test scenarios")
    seed: Seed = Field(0, ge=0)
    device: Text = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    random_weights: bool = False
    png: bool = Field(False, description="write every figure as PNG too; needs the extra `png` and a Chrome")
    backend: Text = Field("bundled", description="which scorers, a key of emolib.scoring.BACKENDS")


class DatasetParameters(Parameters):
    """Phase 1."""

    near_duplicate: float = Field(85.0, gt=0, le=100, description="token-set ratio that counts as near-duplicate")
    n_folds: Folds = Field(5, ge=2)


class ActivationParameters(Parameters):
    """What everything that reads activations needs to know."""

    sites: Several[Site] = ("resid_pre", "mlp_out")
    storage: Literal["float32", "float16"] = Field("float32", description="how activations are stored")
    extraction_batch: Rows = Field(32, ge=1)


class ExtractionParameters(ActivationParameters):
    """Phase 2."""

    positions: Several[Position] = ("last", "mean", "trigger")
    layers: Layers = Field(None, description="those extracted; a shard makes the same files as a whole run")


class VectorParameters(ActivationParameters):
    """Phase 3."""

    n_halves: Count = Field(50, ge=2, description="random splits for the split-half stability")
    n_shuffles: Count = Field(20, ge=1, description="label shuffles for the null of probes and subspaces")
    n_bootstrap: Count = Field(1000, ge=50, description="resamples of scenarios for intervals")
    n_folds: Folds = Field(5, ge=2, description="folds of Phase 1's leak table, which decides what is regressed out")
    k_max: Count = Field(8, ge=1, description="largest dimension of the emotion subspaces")
    n_geometry: Count = Field(30, ge=4, le=30, description="training scenarios of the labels' geometry")
    corpus: CorpusFolder = Field(
        "data/goemotions", description="folder of GoEmotions' TSV files; dev is read if at hand"
    )
    n_corpus: Count = Field(1500, ge=100, description="texts drawn from the corpus")


class AlignmentParameters(VectorParameters):
    """Phase 4, with all that says which Phase 3 of either model it goes on from; `model` is A, `other` is B."""

    other: Text = Field("rotated", description="model B, whose coordinates A's vectors are mapped into")
    anchor_texts: AnchorFile = Field(None, description="file of further neutral texts that maps are fitted on")
    n_anchor_texts: Count = Field(500, ge=20, description="neutral texts that maps are fitted on, at most")
    most_per_word: Count = Field(20, ge=1, description="occurrences of a word that become anchors, at most")
    method: Literal["ridge", "procrustes", "cca"] = Field("ridge", description="of the map that verdicts are about")
    space: Literal["standardised", "raw"] = Field("standardised", description="in which that map is fitted and judged")
    rank: Count = Field(128, ge=2, description="principal axes that the maps of all pairs of layers share")
    n_maps: Count = Field(200, ge=19, description="maps from anchors paired at random, and random maps")
    n_random_models: Count = Field(20, ge=1, description="randomly initialised copies of B")
    n_splits: Count = Field(5, ge=1, description="random halves of the scenarios, A's vectors from one, B's from one")
    n_transfer_maps: Count = Field(19, ge=1, description="maps from anchors paired at random that steer B, too")
    n_transfer_texts: Count = Field(
        12, ge=2, description="test scenarios whose texts steered B is asked about, at most"
    )


class PatchingParameters(ActivationParameters):
    """Phase 5."""

    vector_position: VectorPosition = "mean"
    vector_style: Literal["all", "explicit", "implicit"] = Field(
        "explicit", description="style of the training texts that the steering vectors are fitted on"
    )
    layers: Layers = Field(None, description="layers tried; all: every one; not given: a spread over the middle third")
    n_layer_points: Count = Field(6, ge=1, description="layers tried when `layers` is not given")
    alphas: Alphas = (0.5, 1.0, 1.5, 2.0, 3.0)
    unit: Unit = Field(
        STUDY_UNIT, description="of alphas: a change of the next token (kl), norms of the stream, or vectors"
    )
    window: Count = Field(3, ge=1)
    schedule: Schedule = Field("constant", description="constant, a rate of decay per step, or a factor per step")
    prompt_format: Literal["raw", "chat"] = Field("raw", description="chat: prompts go into the model's chat format")
    bos: Literal["model", "always"] = Field(
        "model", description="always: prompts begin with the beginning-of-sequence token though the tokenizer adds none"
    )
    max_new_tokens: Tokens = Field(30, ge=5)
    temperature: Annotated[Size, Field(ge=0)] | Literal["auto"] = Field(
        "auto", description="0 is greedy; auto: greedy, or sampled where too many unpatched greedy texts are broken"
    )
    top_p: float = Field(1.0, gt=0, le=1)
    n_samples: Count = Field(1, ge=1, description="texts per prompt and setting, when sampling")
    n_controls: Count = Field(59, ge=1, description="directions per family of controls")
    subspace_k: Count = Field(1, ge=1, description="directions of the subspace steers")
    trained_steps: Count = Field(10, ge=1, description="gradient steps of the trained direction, at most")
    asked_examples: Several[Annotated[Count, Field(ge=1, le=64)]] = Field(
        (1, 2, 4), description="numbers of examples tried for asking; the one nearest to the steer's KL is taken"
    )
    folds: Annotated[Folds, AfterValidator(_crossed)] = Field(
        0, ge=0, description="0: the data set's split; k: cross-fitted over k folds of scenarios"
    )
    smallest_d: Size = Field(0.5, gt=0, description="smallest d_z of interest; decides what counts as underpowered")
    broken_margin: float = Field(0.1, ge=0, le=1, description="broken share allowed above the baseline's")
    n_resamples: Count = Field(2000, ge=50)
    generation_batch: Annotated[Rows, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="rows at once; auto decides it at the start of a run and keeps to it"
    )

    def candidate_layers(self, n_layers: int) -> tuple[int, ...]:
        """The layers tried on validation in a model of that depth."""
        if self.layers is None:
            return spread_layers(n_layers, self.n_layer_points)
        return self.layers or tuple(range(n_layers))


class ScreeningParameters(ActivationParameters):
    """Phase 6a."""

    vector_position: VectorPosition = "mean"
    layers: Layers = Field(None, description="layers whose heads are screened; not given: all")
    n_screened: Count = Field(8, ge=2, description="test scenarios on which every head is ablated, an emotion each")
    n_ranked: Count = Field(
        8, ge=2, description="validation scenarios on which every head is ablated, an emotion each, to select from"
    )
    n_attributed: Count = Field(12, ge=2, description="validation scenarios on which AtP puts heads in order")
    n_confirmed: Count = Field(12, ge=2, description="test scenarios on which selected heads are looked at closely")
    n_top: Count = Field(
        4, ge=1, description="heads that are selected; random ones of their layers and norms stand beside"
    )
    first_trusted: Count = Field(2, ge=0, description="the first layer whose heads AtP may name")
    steps: Count = Field(0, ge=0, description="points of the integrated gradients; 0: only before `first_trusted`")
    n_bent: Count = Field(2, ge=1, description="validation scenarios on which it is worked out where first order errs")
    most_tokens: Annotated[Count, Field(ge=2)] | None = Field(
        None, description="tokens of every continuation that are read at most; None: all"
    )
    n_null: Count = Field(199, ge=19, description="rotations and shuffles that what heads write is held against")
    n_sets: Count = Field(48, ge=8, description="random sets of heads that bound what AtP may have missed")
    n_bands: Count = Field(5, ge=1, description="bands of layers by which the roads are compared")
    max_new_tokens: Tokens = Field(20, ge=5)


class HeadPatchingParameters(ActivationParameters):
    """Phase 6b."""

    heads: Heads = Field("top:5", description="such as 3:5,7:2 or 0:0-11 (layer:head), or top:10 of Phase 6a's ranking")
    n_texts: Count = Field(24, ge=2, description="test scenarios that are looked at, at most")
    emotions: Literal["all", "in_turn"] = Field(
        "all", description="under the three modes: every emotion in every cell, or one in each, in turn"
    )
    vector_style: Literal["all", "explicit", "implicit"] = Field(
        "explicit", description="style of the training texts that the steers are fitted on"
    )
    steer_layer: Annotated[Count, Field(ge=0)] | None = Field(
        None, description="of the residual steer; not given: the middle one"
    )
    match_kl: Size = Field(
        0.1, gt=0, description="change of the next token (nat) to which both ways of steering are brought"
    )
    n_steered: Count = Field(5, ge=1, le=5, description="heads that are steered, the first ones")
    max_new_tokens: Tokens = Field(30, ge=5)
    temperature: Size = Field(0.8, ge=0, description="0 is greedy")
    top_p: float = Field(0.9, gt=0, le=1)
    n_samples: Count = Field(8, ge=1, description="texts per prompt, when sampling; averaged within the scenario")
    n_null: Count = Field(19, ge=1, description="random pairs of heads that interactions are held against")
    n_candidates: Count = Field(8, ge=2, description="other heads of the same layers that random pairs are made of")
    n_resamples: Count = Field(2000, ge=50)


class CircuitParameters(ActivationParameters):
    """Phase 8."""

    vector_position: VectorPosition = "mean"
    vector_style: Literal["all", "explicit", "implicit"] = Field(
        "explicit", description="style of the training texts that the steers are fitted on"
    )
    steer_layer: Annotated[Count, Field(ge=0)] | None = Field(
        None, description="of (B)'s steers; not given: the middle one"
    )
    steer_alpha: Size = Field(1.5, gt=0, description="of (B)'s steers, in bulk norms of the stream")
    emotions: Literal["all", "in_turn"] = Field(
        "in_turn", description="every emotion (and pair) in every scenario, or one in each, in turn"
    )
    n_controls: Count = Field(59, ge=2, description="directions per family that OV projections are held against")
    n_draws: Count = Field(199, ge=19, description="lists of words as frequent that promoted words are held against")
    n_texts: Count = Field(24, ge=2, description="texts per emotion that routing and neurons are read from, at most")
    n_edges: Count = Field(4, ge=1, description="heads whose attention to the emotion's word is cut")
    n_attributed: Count = Field(24, ge=4, description="validation scenarios on which nodes are ranked by attribution")
    n_chosen: Count = Field(8, ge=2, description="validation scenarios on which the circuit is chosen")
    n_judged: Count = Field(12, ge=2, description="test scenarios on which the circuit is judged")
    steps: Count = Field(0, ge=0, description="points of the integrated gradients of heads; 0 leaves them out")
    most_tokens: Annotated[Count, Field(ge=2)] | None = Field(
        None, description="tokens of every continuation that are read at most; None: all"
    )
    least: float = Field(0.8, gt=0, le=1, description="faithfulness that a circuit has to reach on validation")
    most_nodes: Count = Field(16, ge=1, description="nodes of a circuit at most")
    n_random: Count = Field(100, ge=4, description="random sets of either kind that a circuit is held against")
    n_subsets: Count = Field(8, ge=0, description="random parts of the circuit whose completeness is looked at")
    n_resamples: Count = Field(200, ge=20, description="resamples of scenarios for stability")


class ReaderParameters(Frozen):
    """A phase that reads what others have stored: data, seeds and settings behind it are in those phases' records."""

    # what a run's identity and its data set ask of every phase's parameters; nothing of a reader depends on them
    dataset: ClassVar[str] = "data/emotion_dataset.jsonl"
    neutral: ClassVar[str] = "neutral"
    backend: ClassVar[str] = "bundled"

    profile: str
    model: str
    phase: str
    png: bool = Field(False, description="write every figure as PNG too; needs the extra `png` and a Chrome")
    variant: Text | None = Field(None, description="variant of the profile whose tables are read (`emolib variants`)")

    @model_validator(mode="before")
    @classmethod
    def _without_what_profiles_share(cls, values: dict[str, Any]) -> dict[str, Any]:
        """A profile's common parameters (scenarios per split, device, …) do nothing here; the caller's are refused."""
        return {key: value for key, value in values.items() if key in cls.model_fields or key not in SHARED}


class StatisticsParameters(ReaderParameters):
    """Phase 7."""

    modes: Several[Mode] = Field(("effect", "power", "k"), description="which of its tables are written")
    n_bootstrap: Annotated[Count, Field(ge=50)] | None = Field(
        None, description="resamples of scenarios for the intervals; None: as many as the model's Phase 5 took"
    )
    ds: Ascending[Annotated[Size, Field(gt=0)]] = Field((0.2, 0.3, 0.5), description="assumed d_z")
    powers: Ascending[Inside] = (0.8, 0.85)
    significance: float = Field(0.05, gt=0, lt=1, description="level of the two-sided tests")
    smallest_d: Size = Field(0.5, gt=0, description="smallest d_z of interest; what a design must be able to detect")


class VerificationParameters(ReaderParameters):
    """Phase 9."""

    recompute: bool = Field(True, description="work drawn rows out again by another route; needs the model")
    share: float = Field(0.05, gt=0, le=1, description="of the rows of every kind and table that are worked out again")
    least: Count = Field(2, ge=1, description="rows of every kind and table at least, as far as there are so many")
    alterations: bool = Field(True, description="alter what the run holds, in memory, and see that it is noticed")
    seed: Seed = Field(0, ge=0, description="of the draws")


RESERVED = ("profile", "model", "phase")
SHARED = frozenset(Parameters.model_fields)
PHASE_PARAMETERS: dict[str, type[Parameters | ReaderParameters]] = {
    "phase1": DatasetParameters,
    "phase2": ExtractionParameters,
    "phase3": VectorParameters,
    "phase4": AlignmentParameters,
    "phase5": PatchingParameters,
    "phase6a": ScreeningParameters,
    "phase6b": HeadPatchingParameters,
    "phase7": StatisticsParameters,
    "phase8": CircuitParameters,
    "phase9": VerificationParameters,
}


# those that are about two models, and run for a pair alone
OF_PAIRS = tuple(phase for phase, schema in PHASE_PARAMETERS.items() if issubclass(schema, AlignmentParameters))


def place_of(params: Parameters | StatisticsParameters) -> str:
    """The name of the places of what a phase makes: the model's, or that of the pair of models."""
    if isinstance(params, AlignmentParameters):
        return pair_name(file_name(params.model), file_name(params.other))
    return file_name(params.model)


def _checked_profile(name: str) -> dict[str, Any]:
    """What the profile's file says; every key one that some phase knows."""
    values = load_profile(name, as_written=True)
    common = [key for key in Parameters.model_fields if key not in RESERVED]
    for key in values:
        if key not in (*common, *PHASE_PARAMETERS):
            raise _unknown_key(key, name, [*common, *PHASE_PARAMETERS])
    for phase in PHASE_PARAMETERS:
        own, valid = values.get(phase, {}), parameter_names(phase)
        if not isinstance(own, Mapping):
            raise UserError(
                f"expected parameters by name under {phase} in profile {shown(name)}, got {shown(own)}; "
                f"write {phase}: {{name: value}} or leave it out"
            )
        for key in own:
            if key not in valid:
                raise _unknown_key(f"{phase}.{key}", name, valid)
    return values


def _unknown_key(key: str, profile: str, valid: list[str]) -> UserError:
    if key.rpartition(".")[2] in RESERVED:
        return UserError(f"profile {shown(profile)} cannot set {shown(key)}: the command line says that; remove it")
    return UserError(f"unknown key {shown(key)} in profile {shown(profile)}: {nearest(key.rpartition('.')[2], valid)}")


def resolve(
    profile: str, model: str, phase: str, overrides: Mapping[str, Any] | None = None
) -> Parameters | ReaderParameters:
    """The parameters of one phase: caller over profile over defaults; every key checked.

    Args:
        profile: a name in `params/profiles/`.
        model: a name or alias of `params/models/`, a hub id, a local folder or a GGUF file.
        phase: `phase1`, `phase2`, ….
        overrides: the caller's values; None means "as the profile says".

    Raises:
        UserError: for an unknown profile, phase or parameter, or a value out of range.
    """
    if phase not in PHASE_PARAMETERS:
        raise UserError(f"unknown phase {shown(phase)}: {nearest(phase, PHASE_PARAMETERS)}")
    check_known(overrides or {}, [phase])
    resolved = _resolved(profile, model, phase, read_overrides(phase, overrides or {}))
    spec = find_model(model)
    layers = getattr(resolved, "layers", None)
    if spec is not None and layers is not None:
        check_layers(layers, spec.n_layers, of_heads=isinstance(resolved, ScreeningParameters))
    return resolved


def read_overrides(phase: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A caller's values as their types have them; None and `null`, "as the profile says", left out.

    What names a file or a folder is found here, where the caller stands, and named so that a notebook finds it, too.

    Raises:
        UserError: a value of another type, or a file that is not there.

    >>> read_overrides("phase5", {"alphas": "0.2,0.3", "neutral": "no", "unit": None})
    {'alphas': (0.2, 0.3), 'neutral': 'no'}
    """
    schema = PHASE_PARAMETERS[phase]
    kinds = {key: field_type(schema, key) for key in given}
    read = {}
    for key, value in given.items():
        if not is_nothing(kinds[key], value):
            read[key] = _read(key, kinds[key], value)
    return read


def as_overrides(phase: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that JSON holds (a dump, a variant's file) as a caller gives them."""
    return {key: as_given(field_type(PHASE_PARAMETERS[phase], key), value) for key, value in values.items()}


def _read(key: str, kind: Any, value: Any) -> Any:
    try:
        if isinstance(value, list | tuple) and not value:
            raise ValueError("expected at least one value, got none")
        read = read_as(kind, value)
    except ValueError as error:
        raise UserError(f"parameter {shown(key)}: {error} (got {shown(value)})") from None
    for place in getattr(kind, "__metadata__", ()):
        if isinstance(place, Place):
            return place.named(read)
    return read


def parameter_names(phase: str) -> list[str]:
    """What can be set in a phase."""
    return [name for name in PHASE_PARAMETERS[phase].model_fields if name not in RESERVED]


def check_known(given: Iterable[str], phases: Sequence[str]) -> None:
    """Raises `UserError` for a parameter that none of these phases has."""
    valid = {key for phase in phases for key in parameter_names(phase)}
    for key in given:
        if key not in valid:
            of = f" of {phases[0]}" if len(phases) == 1 else ""
            raise UserError(f"unknown parameter {shown(key)}{of}: {known_elsewhere(key, valid)}")


def known_elsewhere(key: str, valid: Iterable[str]) -> str:
    """Ends an error about a parameter that is none of `valid`: the phases that have it, or the nearest of the valid.

    >>> known_elsewhere("alphas", ["near_duplicate", "n_folds"])
    'phase5 has it, not what is run here; leave it out, or run that'
    """
    others = [phase for phase in PHASE_PARAMETERS if key in parameter_names(phase)]
    if not others:
        return nearest(key, valid)
    have, these = ("has", "that") if len(others) == 1 else ("have", "one of these")
    named = " and ".join([", ".join(others[:-1]), others[-1]]) if len(others) > 1 else others[0]
    return f"{named} {have} it, not what is run here; leave it out, or run {these}"


def usual(params: Parameters | ReaderParameters) -> Parameters | ReaderParameters:
    """What the profile alone gives for the same phase and model; its layers may be too deep for the model."""
    return _resolved(params.profile, params.model, params.phase, {})


def _resolved(profile: str, model: str, phase: str, given: Mapping[str, Any]) -> Parameters | ReaderParameters:
    settings = _checked_profile(profile)
    schema = PHASE_PARAMETERS[phase]
    common = {key: value for key, value in settings.items() if key not in PHASE_PARAMETERS}
    inherited: dict[str, Any] = {}
    for name, other in PHASE_PARAMETERS.items():
        shared = next(base for base in schema.__mro__ if issubclass(base, Frozen) and issubclass(other, base))
        if name != phase:  # what both phases read must be the same for both, such as the sites
            own = settings.get(name, {})
            inherited.update({key: value for key, value in own.items() if key in shared.model_fields})
    inherited.update(settings.get(phase, {}))
    values = {**common, **inherited, **given, "profile": profile, "phase": phase, "model": _named(model)}
    if "other" in schema.model_fields:
        values["other"] = _named(given.get("other", schema.model_fields["other"].default))
    return validated(schema, values, "parameter")


def _named(model: str) -> str:
    """A model by the table's name for it, a folder or file by its whole path, a hub id as it is."""
    spec = find_model(model)
    return spec.name if spec else model_name(model)


def check_layers(layers: tuple[int, ...], n_layers: int, *, of_heads: bool = False) -> None:
    """Raises `UserError` for a layer outside 0 … n_layers (n_layers is the final residual, which has no heads)."""
    for layer in layers:
        if of_heads and not 0 <= layer < n_layers:
            raise UserError(f"layer {layer} is out of range: this model's heads lie in layers 0-{n_layers - 1}")
        if not 0 <= layer <= n_layers:
            raise UserError(
                f"layer {layer} is out of range: this model has layers 0-{n_layers - 1}, "
                f"and {n_layers} for the final residual"
            )


def spread_layers(n_layers: int, count: int) -> tuple[int, ...]:
    """`count` layers spread evenly over the middle third of the depth."""
    if count == 1:
        return (round(n_layers / 2),)
    first, last = n_layers / 3, n_layers * 2 / 3
    return tuple(sorted({round(first + (last - first) * i / (count - 1)) for i in range(count)}))
