"""What every kind of artifact looks like: the one table of places, formats, columns, keys and shapes.

An artifact that no line of `SCHEMAS` fits is a failure: a new kind of artifact gets its line here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

Format = Literal["table", "csv", "json", "tensors", "html", "png", "md"]

SCORES = (
    *("sentiment/", "politeness/", "goemotions/", "goemotions_lexical/", "goemotions_encoder/", "keywords/"),
    *("expressed/", "fluency/", "target/", "target_lexical/", "target_encoder/"),
)
SHARES = (
    *("goemotions/", "goemotions_lexical/", "goemotions_encoder/", "target/", "target_lexical/", "target_encoder/"),
    *("expressed/", "sentiment/POSITIVE", "sentiment/NEUTRAL", "sentiment/NEGATIVE"),
)
RANGES = {  # of columns of these names, wherever they stand
    **dict.fromkeys(("auc", "share", "p", "p_holm", "p_t", "p_wilcoxon", "p_bonferroni", "p_fdr", "overlap"), (0, 1)),
    **dict.fromkeys(("rank_p", "rank_p_worst", "shuffled_max", "random_high", "wrong_way", "held_share"), (0, 1)),
    **dict.fromkeys(("cosine", "raw", "standardised", "trimmed", "whitened", "spearman", "pearson"), (-1, 1)),
}
ROUNDING = 1e-6  # by which a float32 may leave its range


@dataclass(frozen=True)
class Schema:
    """One kind of artifact.

    Attributes:
        kind: what it is called.
        phase: whose artifact it is.
        place: below the run's folder, as a regular expression; `{model}` stands for the model's name.
        columns: of a table: those it must have, as `name:type` (`str`, `int`, `float`, `bool`, `list`, `any`).
        blank: columns in which values may be missing; `*`: all.
        families: beginnings of further columns, all of them numbers. Without any, a table has its `columns` alone.
        key: what names a row of a table; no two rows share it.
        crossed: every combination of the key's values has its row.
        every: key columns that hold all `emotion`s of the run, or every `layer` of the model.
        empty: a table may have no row.
        tensors: of a tensor file: name (as a regular expression) → number of axes and types.
        fields: what a JSON object must have, as `columns`.
        told: whether a report's computed conclusion may take numbers from it.
    """

    kind: str
    phase: str
    place: str
    format: Format = "table"
    columns: str = ""
    blank: str = ""
    families: tuple[str, ...] = ()
    key: str = ""
    crossed: bool = False
    every: str = ""
    empty: bool = False
    tensors: Mapping[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    fields: str = ""
    told: bool = True

    @property
    def types(self) -> dict[str, str]:
        """Column (or field) → type."""
        return dict(item.split(":") for item in (self.columns or self.fields).split())

    def match(self, place: str, model: str) -> re.Match[str] | None:
        """Whether a place is one of this kind, for that model."""
        return _pattern(self.place, model).fullmatch(place)

    @property
    def of_model(self) -> bool:
        return "{model}" in self.place


@cache
def _pattern(place: str, model: str) -> re.Pattern[str]:
    return re.compile(place.replace("{model}", re.escape(model)))


_FLOATS = ("F32", "F16")
_TEXTS = "id:str scenario:str topic:str emotion:str text:str lang:str style:str split:str n_tokens:int tokens:list"
_KEYED = "emotion:str layer:int"
_LAYER = r"(?P<site>[a-z_]+)_layer(?P<layer>\d{3})\.safetensors"
_SWEEP = (
    "row_id:str scenario:str split:str emotion:str layer:int alpha:float unit:str kind:str index:int seed:int text:str "
    "sample:int delta_ratio:float n_tokens:int finish_reason:str"
)
_CLAIM = (
    "emotion:str metric:str own_effect:float own_effect_unfiltered:float wrong_way:float wrong_way_unfiltered:float "
    "n:int vs_others:float ci_low:float ci_high:float degenerate:bool n_nonzero:int p_sign:float "
    "p_flip:float beats_others:bool p_isotropic:float "
    "max_isotropic:float p_covariance:float max_covariance:float p_shuffled:float max_shuffled:float rank_p:float "
    "random_max:float bar:float beats_random:bool supported:bool direct_path:float direct_path_counted:float"
)
_LEXICON = "act:str layer:int alpha:float token_id:int lexical:float"
_JUDGED = (
    "measure:str style:str emotion:str instrument:str stand_in:str other:str n:int n_texts:float n_prompts:float "
    "estimate:float sd:float se:float t:float df:float p:float upper:float"
)
_SHIFT_CLAIM = (
    "style:str emotion:str n_texts:int weakest_other:str weakest_measure:str p:float mean:float low:float "
    "high:float rank_p:float n_controls:int like_valent:str n_concepts:int concepts_reaching:int "
    "nearest_concept:str lexical_share:float kl_rank_p:float kl_controls:int missing:str share_of_gold:float "
    "p_holm:float bar:float exploratory:bool by_numbers:str by_numbers_reason:str verdict:str reason:str"
)
_OF_INSTRUMENT = "measure style emotion instrument stand_in"
_RESIDUAL = r"patching/residual/{model}_residual_sweep_"
_SHIFT = r"patching/shift/{model}_shift_((?P<shift_part>fold\d+)_)?"
_SHIFTED = (
    r"validation_layer\d{3}|test_zero|test_dose|test_(isotropic|covariance|shuffled)_\d{4}|"
    r"test_concepts|test_equal_kl|test_perturbed"
)
_RANKED = (
    "style:str emotion:str other:str contrast:float p_isotropic:float p_covariance:float p_shuffled:float "
    "n_isotropic:int n_covariance:int n_shuffled:int rank_p:float worst_family:str n_controls:int"
)
_SHIFT_KEYS = "prompt:str text:str label:str style:str act:str layer:int alpha:float"
_CROSSED = (
    "mean:float se:float variance:float v_text:float v_prompt:float v_cell:float n_texts:int n_prompts:int n_cells:int "
    "t:float df:int"
)
_CONDITIONS = f"style:str emotion:str other:str measure:str {_CROSSED} low:float high:float p:float"
_VECTORS = r"emotion_vectors/{model}_"
_EMPTY_TEXT = "fluency/nll fluency/perplexity"  # what an empty text does not have


def _whole_sweep(name: str) -> Schema:
    place = rf"{_RESIDUAL}(?P<whole>{name})\.parquet"
    columns = f"{_SWEEP} part:str valence:float"
    key = "part row_id"
    return Schema(
        f"sweep {name}", "phase5", place, columns=columns, blank=_EMPTY_TEXT, families=SCORES, key=key, told=False
    )


def _dataset(name: str, columns: str, key: str = "", **more: object) -> Schema:
    return Schema(f"dataset {name}", "phase1", rf"dataset/{name}\.parquet", columns=columns, key=key, **more)  # type: ignore[arg-type]


def _vector_table(name: str, columns: str, key: str, **more: object) -> Schema:
    place = rf"{_VECTORS}{name}\.parquet"
    return Schema(f"vectors {name.partition('_(')[0]}", "phase3", place, columns=columns, key=key, **more)  # type: ignore[arg-type]


def _geometry(name: str, columns: str, key: str, **more: object) -> Schema:
    place = rf"emotion_geometry/{{model}}_{name}\.parquet"
    return Schema(f"geometry {name}", "phase3", place, columns=columns, key=key, **more)  # type: ignore[arg-type]


def _statistics(name: str, columns: str, key: str, families: tuple[str, ...] = ()) -> Schema:
    more = {"blank": "*", "key": key, "empty": True, "families": families}
    return Schema(f"statistics {name}", "phase7", rf"statistics/{name}\.csv", "csv", columns, **more)  # type: ignore[arg-type]


def _instruments(kind: str, name: str, columns: str, key: str = "", **more: object) -> Schema:
    place = rf"patching/instruments/{{model}}_instrument{name}\.parquet"
    return Schema(kind, "phase5", place, columns=columns, key=key, **more)  # type: ignore[arg-type]


def _alignment(name: str, columns: str, key: str, **more: object) -> Schema:
    place = rf"alignment/{{model}}_{name}\.parquet"
    return Schema(f"alignment {name}", "phase4", place, columns=columns, key=key, **more)  # type: ignore[arg-type]


def _screening(name: str, columns: str, key: str, **more: object) -> Schema:
    place = rf"screening/{{model}}_{name}\.parquet"
    return Schema(f"screening {name.partition('_(')[0]}", "phase6a", place, columns=columns, key=key, **more)  # type: ignore[arg-type]


def _heads(name: str, columns: str, key: str, **more: object) -> Schema:
    place = rf"patching/head_patching/{{model}}_{name}\.parquet"
    return Schema(f"heads {name}", "phase6b", place, columns=columns, key=key, **more)  # type: ignore[arg-type]


def _circuits(name: str, columns: str, key: str, **more: object) -> Schema:
    place = rf"circuits/{{model}}_{name}\.parquet"
    return Schema(f"circuits {name.partition('_(')[0]}", "phase8", place, columns=columns, key=key, **more)  # type: ignore[arg-type]


_POSITION = "(?P<position>last|mean|trigger)"
_ACTIVATIONS = {"values": (-1, _FLOATS), "offsets": (1, ("I64",)), "token_norms": (1, _FLOATS)}
_ACTIVATIONS |= {"bulk_norms": (1, _FLOATS)}
_KINDS_OF_VECTORS = {r"(vector|whitened|discriminant)/.+": (2, _FLOATS), "pooled_sd": (2, _FLOATS)}
_KINDS_OF_VECTORS |= {"neutral_norms": (1, _FLOATS), "neutral_bulk_norms": (1, _FLOATS)}


def _confirmation(name: str, columns: str, key: str, blank: str = "") -> Schema:
    """A table on sealed texts, named by the frozen choice and the file."""
    place = rf"confirmation/{{model}}_[0-9a-f]{{8}}_[0-9a-f]{{8}}_{name}\.parquet"
    return Schema(f"confirmation, {name}", "", place, columns=columns, key=key, blank=blank, told=False)


SCHEMAS: tuple[Schema, ...] = (
    # phase 1
    _dataset("label_counts", "split:str style:str emotion:str texts:int scenarios:int", "split style emotion"),
    _dataset(
        "duplicates",
        "kind:str ratio:float id_a:str id_b:str scenario_a:str scenario_b:str emotion_a:str emotion_b:str text_a:str "
        "text_b:str",
        "kind id_a id_b",
        empty=True,
    ),
    _dataset("openings", "emotion:str rank:int opening:str count:int share:float", "emotion rank"),
    _dataset("punctuation", "emotion:str mark:str count:int share:float scenarios:int shared:int", "emotion mark"),
    _dataset("keyword_rates", "emotion:str style:str keywords:str share:float n:int", "emotion style keywords"),
    _dataset(
        "leaks", "comparison:str features:str style:str auc:float n:int", "comparison features style", blank="auc"
    ),
    _dataset(
        "gates",
        "emotion:str style:str texts:str features:str n:int auc:float low:float high:float",
        "emotion style texts features",
        blank="auc low high",
    ),
    _dataset(
        "leak_search",
        "emotion:str kind:str feature:str own_word:bool train_share:float train_neutral:float held_share:float "
        "held_neutral:float auc:float n:int p:float p_holm:float confirmed:bool",
        "emotion kind feature",
        empty=True,
    ),
    Schema(
        "dataset scores",
        "phase1",
        r"dataset/scores_[^/]+\.parquet",
        columns="id:str scenario:str emotion:str text:str lang:str style:str split:str valence:float",
        families=(*SCORES, "topic", "minimal_pair", "idiomatic"),
        key="id",
        told=False,
    ),
    Schema(
        "dataset lengths",
        "phase1",
        r"dataset/lengths_{model}\.parquet",
        columns="emotion:str unit:str n:int mean:float min:int max:int sd:float",
        key="emotion unit",
    ),
    # phase 2
    Schema(
        "activations",
        "phase2",
        rf"activations/{{model}}/(?P<position>[^/]+)/{_LAYER}",
        "tensors",
        tensors=_ACTIVATIONS,
        told=False,
    ),
    Schema(
        "activations texts",
        "phase2",
        r"activations/{model}/texts\.parquet",
        columns=f"{_TEXTS} token_strings:list",
        families=("trigger", "minimal_pair", "idiomatic"),
        key="id",
        told=False,
    ),
    # phase 3
    Schema(
        "companions",
        "phase3",
        rf"companions/{{model}}/(?P<position>last|mean)/{_LAYER}",
        "tensors",
        tensors=_ACTIVATIONS,
        told=False,
    ),
    Schema(
        "companions texts",
        "phase3",
        r"companions/{model}/texts\.parquet",
        columns=f"{_TEXTS} token_strings:list",
        families=("trigger", "minimal_pair", "idiomatic"),
        key="id",
        told=False,
    ),
    Schema(
        "companions embedding",
        "phase3",
        r"companions/{model}/embedding_mean\.safetensors",
        "tensors",
        tensors={"values": (2, _FLOATS)},
        told=False,
    ),
    Schema(
        "vectors",
        "phase3",
        rf"{_VECTORS}vectors_{_POSITION}(_(?P<style>explicit|implicit))?\.safetensors",
        "tensors",
        tensors=_KINDS_OF_VECTORS,
        told=False,
    ),
    Schema(
        "companion vectors",
        "phase3",
        r"emotion_geometry/{model}_vectors_five_mean\.safetensors",
        "tensors",
        tensors=_KINDS_OF_VECTORS,
        told=False,
    ),
    _vector_table(
        "norms_(mean|last|trigger)",
        f"{_KEYED} l1:float l2:float resid_norm:float l2_share:float",
        "emotion layer",
        crossed=True,
        every="emotion layer",
    ),
    _vector_table(
        "stability_(mean|last|trigger)",
        f"{_KEYED} mean:float low:float high:float shuffled:float shuffled_high:float",
        "emotion layer",
        crossed=True,
        every="emotion layer",
    ),
    _vector_table(
        "cosines_(mean|last|trigger)",
        "pair:str first:str second:str layer:int raw:float standardised:float trimmed:float whitened:float",
        "pair layer",
        crossed=True,
        every="layer",
        blank="whitened",
        empty=True,
    ),
    _vector_table(
        "distances_(mean|last|trigger)",
        "pair:str first:str second:str layer:int distance:float share:float",
        "pair layer",
        crossed=True,
        every="layer",
        blank="share",
    ),
    _vector_table(
        "probes_(mean|last|trigger)",
        f"{_KEYED} split:str auc:float shuffled_mean:float shuffled_max:float",
        "emotion layer split",
        crossed=True,
        every="emotion layer",
    ),
    _vector_table(
        "separation_(mean|last|trigger)",
        f"{_KEYED} split:str variant:str auc:float",
        "emotion layer split variant",
        crossed=True,
        every="emotion layer",
        blank="auc",
    ),
    _vector_table(
        "chosen_separation",
        "position:str emotion:str variant:str layer:int validation_auc:float auc:float low:float high:float "
        "random_high:float shuffled_high:float",
        "position emotion variant",
        crossed=True,
        every="emotion",
        blank="validation_auc auc low high random_high shuffled_high",
    ),
    _vector_table(
        "information",
        f"{_KEYED} source:str style:str c:float auc:float low:float high:float shuffled_mean:float shuffled_max:float "
        "advantage:float advantage_low:float advantage_high:float advantage_p:float "
        "advantage_best_p:float n:int",
        "emotion source style",
        every="emotion",
        blank="*",
    ),
    _vector_table(
        "cross_style",
        f"{_KEYED} source:str trained_on:str tested_on:str auc:float low:float high:float shuffled_max:float n:int",
        "emotion source trained_on tested_on",
        blank="*",
        empty=True,
    ),
    _vector_table("corpus_projections", "emotion:str", "", families=("",), blank="*"),
    Schema(
        "cross-model similarity",
        "phase3",
        r"emotion_vectors/cross_model_similarity\.csv",
        "csv",
        columns="model_a:str model_b:str d_model_a:int d_model_b:int comparable:str emotion:str layer_a:int "
        "layer_b:int cosine:float chance:float labels:any n_labels:int label_correlation:float label_p:float "
        "label_ceiling:float label_reliability:float embedding_correlation:float embedding_p:float warning:str",
        blank="*",
        key="model_a model_b emotion layer_a layer_b",
        empty=True,
    ),
    Schema(
        "subspaces",
        "phase3",
        rf"emotion_subspaces/{{model}}_subspaces_{_POSITION}\.safetensors",
        "tensors",
        tensors={r"basis/.+": (3, _FLOATS), r"(target|neutral|share)/.+": (2, _FLOATS)},
        told=False,
    ),
    Schema(
        "subspaces stability",
        "phase3",
        r"emotion_subspaces/{model}_stability\.parquet",
        columns=f"{_KEYED} k:int mean:float low:float high:float null:float null_high:float",
        key="emotion layer k",
        crossed=True,
        every="emotion layer",
    ),
    Schema(
        "subspaces overlap",
        "phase3",
        r"emotion_subspaces/{model}_overlap_(validation|test)\.parquet",
        columns=f"{_KEYED} k:int overlap:float null:float null_high:float null_max:float excess:float se:float",
        key="emotion layer k",
        crossed=True,
        every="emotion",
    ),
    _geometry(
        "dissimilarities",
        "layer:int first:str second:str dissimilarity:float reliability:float",
        "layer first second",
        blank="reliability",
    ),
    _geometry(
        "likeness",
        "emotion:str companion:str layer:int n_scenarios:int plain:float corrected:float low:float high:float "
        "reliability:float",
        "emotion companion layer",
        crossed=True,
        every="emotion",
        blank="corrected low high reliability",
    ),
    _geometry(
        "valence",
        "layer:int pearson:float low:float high:float spearman:float p:float reliability:float pearson_2:float "
        "pearson_3:float share_1:float share_2:float share_3:float embedding_pearson:float embedding_low:float "
        "embedding_high:float embedding_spearman:float embedding_p:float embedding_reliability:float difference:float "
        "difference_low:float difference_high:float n_labels:int n_scenarios:int",
        "layer",
        blank="*",
    ),
    # phase 5
    *map(_whole_sweep, ("validation", "test", "dose", "alternatives", "other_style", "rivals")),
    Schema(
        "claims",
        "phase5",
        rf"{_RESIDUAL}claims\.parquet",
        columns=_CLAIM,
        blank="*",
        families=("unfiltered_", "median", "share", "share_baseline", "share_control"),
        key="emotion metric",
    ),
    Schema(
        "claims of the other style",
        "phase5",
        rf"{_RESIDUAL}other_style_claims\.parquet",
        columns=f"{_CLAIM} broken:float cosine:float n_fitted:int",
        blank="*",
        key="emotion metric",
    ),
    Schema(
        "damage",
        "phase5",
        rf"{_RESIDUAL}damage\.parquet",
        columns="scenario:str kind:str emotion:str kl:float topic:float topic_base:float",
        blank="kl topic topic_base",
        told=False,
    ),
    Schema(
        "control cosines",
        "phase5",
        rf"{_RESIDUAL}control_cosines\.parquet",
        columns="family:str emotion:str cosine:float n_directions:int effective:float",
        key="family emotion",
        crossed=True,
        every="emotion",
    ),
    Schema(
        "shard",
        "phase5",
        r"(patching/residual/{model}_residual|patching_random/{model}_random)_sweep_(?P<shard>.+)\.parquet",
        columns=_SWEEP,
        blank=_EMPTY_TEXT,
        families=SCORES,
        key="row_id",
        told=False,
    ),
    Schema(
        "fluency reference",
        "phase5",
        r"patching/residual/{model}_((?P<part>[^/]+)_)?fluency_reference\.parquet",
        columns="id:str emotion:str prompt:str text:str nll:float",
        blank="nll",
        key="id",
        told=False,
    ),
    Schema(
        "KL lengths",
        "phase5",
        r"patching/residual/{model}_((?P<part>[^/]+)_)?kl_lengths\.parquet",
        columns=f"{_KEYED} length:float kl:float unit:float",
        key="emotion layer",
        crossed=True,
        every="emotion",
    ),
    Schema(
        "decoding",
        "phase5",
        r"patching/residual/{model}_decoding\.json",
        "json",
        fields="temperature:float broken:int n:int share:float rule:any scenarios:list",
    ),
    Schema(
        "shift shard",
        "phase5",
        rf"{_SHIFT}(?P<shift_shard>{_SHIFTED})\.parquet",
        columns=f"{_SHIFT_KEYS} n_tokens:int shift:float shift_sum:float shift_per_character:float kind:str owner:str "
        "index:int",
        key="prompt text label style act layer alpha",
        told=False,
    ),
    Schema(
        "shift tokens",
        "phase5",
        rf"{_SHIFT}(?P<shift_tokens>test_emotion|test_training|test_like_\d)\.parquet",
        columns="row:int position:int token_id:int word:str logprob:float logprob_unpatched:float entropy:float",
        key="row position",
        told=False,
    ),
    Schema(
        "shift tokens of other methods",
        "phase5",
        rf"{_SHIFT}(test|training)_(trained|prompting)\.parquet",
        columns="row:int position:int token_id:int word:str logprob:float logprob_unpatched:float entropy:float",
        key="row position",
        told=False,
    ),
    Schema(
        "trained vectors",
        "phase5",
        rf"{_SHIFT}trained_vectors\.parquet",
        columns="direction:str dimension:int value:float step:int gain:float cosine:float alpha:float kl:float "
        "wanted:float reached:bool",
        key="direction dimension",
        told=False,
    ),
    Schema(
        "KL of asking",
        "phase5",
        rf"{_SHIFT}asked_kl\.parquet",
        columns="emotion:str n_examples:int kl:float",
        key="emotion n_examples",
    ),
    Schema(
        "shift lexicon",
        "phase5",
        rf"{_SHIFT}test_(like_\d_)?lexicon(_(emotion|trained|prompting))?\.parquet",
        columns="act:str layer:int alpha:float token_id:int lexical:float",
        key="act layer alpha token_id",
        told=False,
    ),
    Schema(
        "shift KL",
        "phase5",
        rf"{_SHIFT}dose_kl\.parquet",
        columns="emotion:str alpha:float kl:float",
        key="emotion alpha",
    ),
    Schema(
        "shift specific",
        "phase5",
        r"patching/shift/{model}_shift_specific\.parquet",
        columns="measure:str prompt:str text:str style:str layer:int alpha:float emotion:str other:str specific:float "
        "part:str",
        key="measure prompt text style emotion other part",
        told=False,
    ),
    Schema(
        "shift conditions",
        "phase5",
        r"patching/shift/{model}_shift_conditions\.parquet",
        columns=_CONDITIONS,
        blank="t",
        key="style emotion other measure",
        every="emotion",
    ),
    Schema(
        "shift ranks",
        "phase5",
        r"patching/shift/{model}_shift_ranks\.parquet",
        columns=_RANKED,
        key="style emotion other",
        every="emotion",
    ),
    Schema(
        "shift ranks at equal KL",
        "phase5",
        r"patching/shift/{model}_shift_equal_kl_ranks\.parquet",
        columns=_RANKED,
        key="style emotion other",
    ),
    Schema(
        "strengths of equal KL",
        "phase5",
        rf"{_SHIFT}equal_kl\.parquet",
        columns="family:str index:int emotion:str start:float alpha:float kl:float wanted:float reached:bool steps:int",
        key="family index emotion",
        empty=True,
    ),
    Schema(
        "like-valent and concept vectors",
        "phase5",
        rf"{_SHIFT}(like|concept)_vectors\.parquet",
        columns="direction:str dimension:int value:float",
        key="direction dimension",
        told=False,
    ),
    Schema(
        "shift like-valent conditions",
        "phase5",
        r"patching/shift/{model}_shift_like_conditions\.parquet",
        columns=_CONDITIONS,
        blank="t",
        key="style emotion other measure",
    ),
    Schema(
        "shift beside concepts",
        "phase5",
        r"patching/shift/{model}_shift_concepts\.parquet",
        columns="style:str emotion:str other:str contrast:float n_concepts:int reaching:int nearest:str "
        "nearest_contrast:float lexical_share:float",
        blank="lexical_share",
        key="style emotion other",
    ),
    Schema(
        "shift survival",
        "phase5",
        r"patching/shift/{model}_shift_survival\.parquet",
        columns="style:str emotion:str degrees:float specific:float left:float least:float most:float n:int",
        blank="left least most",
        key="style emotion degrees",
    ),
    Schema(
        "shift doses",
        "phase5",
        r"patching/shift/{model}_shift_doses\.parquet",
        columns=f"style:str emotion:str alpha:float {_CROSSED} kl:float",
        blank="t",
        key="style emotion alpha",
        every="emotion",
    ),
    Schema(
        "shift claims",
        "phase5",
        r"patching/shift/{model}_shift_claims\.parquet",
        columns=_SHIFT_CLAIM,
        blank="share_of_gold lexical_share kl_rank_p",
        key="style emotion",
    ),
    # instruments of phase 5
    _instruments("instruments", "s", f"{_JUDGED} gold:float passed:bool verdict:str", _OF_INSTRUMENT, blank="*"),
    _instruments("instruments by pair", "s_pairs", f"{_JUDGED} verdict:str", f"{_OF_INSTRUMENT} other", blank="*"),
    _instruments(
        "instruments, what counts",
        "s_admission",
        "measure:str style:str emotion:str instrument:str passed:bool verdict:str",
        "measure style emotion",
    ),
    _instruments(
        "placebos",
        "s_placebos",
        "measure:str style:str instrument:str emotion:str stand_in:str number:int passed:bool",
        "measure style instrument number",
        empty=True,
    ),
    _instruments(
        "placebo directions",
        "_directions",
        "direction:str dimension:int value:float",
        "direction dimension",
        empty=True,
        told=False,
    ),
    _instruments(
        "lexical parts under contexts",
        r"_gold_\d+_lexicon",
        f"instrument:str stand_in:str {_LEXICON}",
        "instrument stand_in act token_id",
        told=False,
    ),
    _instruments("lexical parts", "_placebo_.+_lexicon", _LEXICON, "act token_id", told=False),
    _instruments(
        "scores of gold",
        "_gold_scores",
        "scenario:str emotion:str style:str text:str",
        "scenario emotion",
        families=SCORES,
        told=False,
    ),
    _instruments(
        "scores of placebos",
        "_placebo_scores",
        "id:str pair:str kind:str role:str text:str",
        "id",
        families=SCORES,
        told=False,
    ),
    _instruments(
        "tokens of instruments",
        "_(gold|placebo)_.+",
        "row:int position:int token_id:int word:str logprob:float logprob_unpatched:float entropy:float",
        "row position",
        told=False,
    ),
    # phase 4, of a pair of models
    Schema(
        "alignment map",
        "phase4",
        r"alignment/{model}_map\.safetensors",
        "tensors",
        tensors={"matrix": (2, _FLOATS), "(mean|scale)_[ab]": (1, _FLOATS)},
        told=False,
    ),
    _alignment(
        "anchors",
        "text:int start:int stop:int word:str token_a:int token_b:int split:str source:str",
        "text start",
        told=False,
    ),
    _alignment(
        "layers",
        "space:str method:str layer_a:int layer_b:int rank:int penalty:float n_canonical:any r2_in_sample:float "
        "r2_validation:float r2_held_out:float cka:float validation_margin:float",
        "space method layer_a layer_b",
        blank="penalty n_canonical cka validation_margin",
        crossed=True,
    ),
    _alignment(
        "curve",
        "space:str layer_a:int layer_b:int r2_in_sample:float r2_held_out:float permuted_in_sample:float "
        "permuted_held_out:float",
        "space layer_a",
        crossed=True,
    ),
    _alignment(
        "methods",
        "space:str method:str rank:int penalty:float n_canonical:float r2_in_sample:float r2_held_out:float cka:float "
        "kept:float margin:float cosine:float cosine_others:float",
        "space method",
        blank="penalty n_canonical cka",
        crossed=True,
    ),
    _alignment(
        "margins",
        "style:str label:str margin:float low:float high:float matched:float mismatched:float rank:float "
        "n_candidates:int nearest_other:str ceiling_a:float ceiling_b:float ceiling:float ceiling_low:float "
        "n_scenarios:int",
        "style label",
        blank="low high ceiling_low",
        crossed=True,
    ),
    _alignment(
        "untrained",
        "seed:int style:str label:str margin:float r2_held_out:float r2_in_sample:float layer_b:int",
        "seed style label",
        crossed=True,
    ),
    _alignment(
        "nulls",
        "style:str label:str null:str null_mean:float null_95:float p:float n_maps:int",
        "style label null",
        blank="null_95 p",
        crossed=True,
    ),
    _alignment(
        "verdicts",
        "style:str label:str margin:float low:float high:float ceiling:float ceiling_low:float n_scenarios:int "
        "hardest_null:str bar:float verdict:str reason:str",
        "style label",
        blank="low high ceiling_low",
        crossed=True,
    ),
    _alignment(
        "rivals",
        "style:str label:str rival:str margin:float low:float high:float permuted_95:float",
        "style label rival",
        blank="low high",
        empty=True,
    ),
    _alignment(
        "overlaps",
        "emotion:str k:int before:float after:float permuted_mean:float permuted_95:float random_95:float "
        "ceiling:float",
        "emotion k",
        blank="before",
        crossed=True,
    ),
    _alignment(
        "agreement",
        "compared:str given:str correlation:float p:float ceiling:float same_texts:float n_labels:int n_scenarios:int",
        "compared given",
        blank="correlation p ceiling same_texts",
        empty=True,
    ),
    _alignment(
        "monitoring",
        "style:str emotion:str n_texts:int mapped:float mapped_low:float mapped_high:float own:float own_low:float "
        "own_high:float permuted_95:float words:float",
        "style emotion",
        blank="words",
    ),
    _alignment(
        "lengths",
        "kind:str act:str owner:str length:float kl:float",
        "kind act",
        blank="length kl",
    ),
    _alignment(
        "shifts",
        "prompt:str text:str label:str style:str act:str layer:int alpha:float n_tokens:int shift:float "
        "shift_sum:float shift_per_character:float kind:str owner:str",
        "prompt text label kind act",
        told=False,
    ),
    # phase 7
    _statistics(
        "effect_sizes",
        "model:str measure:str on_target:bool kind:str emotion:str layer:int alpha:float metric:str counted:bool "
        "baseline_mean:float baseline_sd:float n:int mean:float sd:float d_z:float hedges_g:float ci_low:float "
        "ci_high:float d_low:float d_high:float t:float p_t:float p_wilcoxon:float p_sign:float p_flip:float "
        "p_paired:float n_nonzero:int degenerate:bool "
        "mean_unfiltered:float direction:any rank_p_worst:float family:str family_size:int p_bonferroni:float "
        "p_fdr:float",
        "model kind emotion metric layer alpha",
        ("rank_p_", "n_"),
    ),
    _statistics(
        "power_analysis",
        "model:str emotion:str metric:str d:float power:float alpha:float n_required:any n:int detectable_d:float "
        "power_at_n:float underpowered:bool observed_d:float post_hoc_power_descriptive:float",
        "model emotion metric d power",
    ),
    _statistics(
        "k_selection",
        "model:str emotion:str layer:int k:int overlap:float null:float null_high:float excess:float se:float "
        "null_max:float test_overlap:float test_null:float test_null_high:float test_excess:float chosen:bool "
        "chosen_k:int best_k:int best_excess:float best_se:float found:bool rule:str",
        "model emotion layer k",
    ),
    _statistics(
        "claims",
        "phase:str claim:str model:str emotion:str measure:str bar:str value:float low:float high:float "
        "reference:float n:int detectable_d:float rank_p:float rank_bar:float max_p:float max_family:str max_at:str "
        "max_z:float max_left_out:bool n_controls:int degenerate:bool n_nonzero:int p_sign:float p_flip:float "
        "p_best:float family:str p:float p_holm:float "
        "exploratory:bool by_numbers:str by_numbers_reason:str verdict:str reason:any artifact:str",
        "phase claim model emotion measure",
    ),
    Schema(
        "power analysis, as JSON",
        "phase7",
        r"statistics/power_analysis\.json",
        "json",
        fields="test:str alpha:float designs:list observed:list post_hoc_power_descriptive:str",
    ),
    # phase 6a
    _screening(
        "direct",
        "layer:int head:int emotion:str position:str style:str written:float sd:float n_scenarios:int norm:float "
        "cosine:float p_rotation:float p_max:float",
        "layer head emotion position style",
    ),
    _screening(
        "attribution_validation",
        "layer:int head:int emotion:str carried:float se:float n_scenarios:int",
        "layer head emotion",
        crossed=True,
    ),
    _screening(
        "(ranking|head_scores)",
        "layer:int head:int emotion:str metric:str delta_mean:float delta_std:float n_samples:int t:float p:float "
        "p_max:float",
        "layer head emotion",
    ),
    _screening(
        "bends",
        "kind:str layer:int head:int exact:float first_order:float start:float half:float block_linear:float "
        "behind_linear:float scale_frozen:float moved:float",
        "kind layer head",
        blank="scale_frozen",
    ),
    _screening("norms", "layer:int head:int norm:float", "layer head"),
    _screening(
        "roads",
        "layer:int head:int exact:float atp:float dropped:float query:float key:float value:float query_linear:float "
        "key_linear:float integrated:float",
        "layer head",
        blank="integrated",
    ),
    _screening("mlps", "layer:int carried:float se:float neuron:int neuron_carried:float", "layer"),
    _screening("missed", "layer:int head:int estimate:float upper:float confidence:float n_sets:int", "layer head"),
    _screening(
        "exact_(all|validation|labels|topics|steer|joint|mean|zero|context)",
        "scenario:str emotion:str other:str base:float kind:str variant:int heads:str change:float",
        "scenario emotion other variant",
        told=False,
    ),
    _screening(
        "verdicts",
        "layer:int head:int emotion:str n_scenarios:int base:float base_p:float carried:float low:float high:float "
        "part:float part_high:float p_max:float p_holm:float weakest_label:str label_carried:float label_p:float "
        "topic_share:float topic_p:float control:int control_carried:float control_p:float verdict:str reason:str",
        "layer head emotion",
        blank="label_carried label_p topic_share topic_p control_carried control_p",
    ),
    _screening(
        "texts",
        "emotion:str prompt:str layer:int head:int role:str text:str",
        "emotion prompt layer head",
        families=SCORES,
        told=False,
    ),
    Schema(
        "head scores, as JSON",
        "phase6a",
        r"screening/head_scores_{model}\.json(\.gz)?",
        "json",
        fields="profile:str model:str layers:list prompts:list sequence_length:int head_scores:list head_samples:list",
        told=False,
    ),
    # phase 6b
    _heads("heads", "layer:int head:int origin:str", "layer head"),
    _heads(
        "context",
        "text:str style:str prompt:str third:str emotion:str m_emotional:float m_neutral:float effect:float",
        "text prompt emotion",
    ),
    _heads(
        "trials",
        "heads:str mode:str target:str source:str extent:str text:str style:str prompt:str third:str emotion:str "
        "m_unpatched:float m_patched:float delta:float",
        "heads mode target source extent text prompt emotion",
        told=False,
    ),
    _heads(
        "interactions",
        "pair:str n:int mean:float sd:float d_z:float ci_low:float ci_high:float p_t:float degenerate:bool "
        "delta_a:float delta_b:float delta_ab:float p_null:float null_sd:float n_null:int",
        "pair",
        blank="d_z ci_low ci_high p_t p_null null_sd",
        empty=True,
    ),
    _heads("fluency_reference", "id:str emotion:str prompt:str text:str nll:float", "id", blank="nll"),
    _heads(
        "texts",
        "kind:str target:str emotion:str scenario:str sample:int prompt:str text:str",
        "kind target emotion scenario sample prompt",
        blank=_EMPTY_TEXT,
        families=(*SCORES, "valence"),
        told=False,
    ),
    _heads("strengths", "way:str emotion:str factor:float kl:float", "way emotion", blank="factor", crossed=True),
    _heads(
        "steered",
        "way:str ablation:str prompt:str text:str style:str layer:int alpha:float emotion:str other:str specific:float",
        "way ablation prompt text emotion other",
        empty=True,
        told=False,
    ),
    _heads(
        "steered_texts",
        "way:str emotion:str scenario:str sample:int prompt:str text:str",
        "way emotion scenario sample",
        blank=_EMPTY_TEXT,
        families=(*SCORES, "valence"),
        empty=True,
        told=False,
    ),
    # phase 8
    Schema(
        "OV projections of heads",
        "phase8",
        r"circuits/{model}_ov_head_projections\.csv",
        "csv",
        "layer:int head:int emotion:str target:str cosine:float gain:float dot:float",
        families=("z_",),
        blank="*",
        key="layer head emotion target",
        every="emotion",
    ),
    _circuits(
        "ov_qk_results",
        "emotion:str target:str measure:str family:str layer:int head:int value:float z:float p:float n_heads:int "
        "n_controls:int n_effective:float n_beyond:int",
        "emotion target measure family",
        crossed=True,
        every="emotion",
    ),
    _circuits(
        "promoted_lists",
        "layer:int head:int emotion:str list:str logit:float matched:float difference:float z:float p:float "
        "n_tokens:int n_draws:int",
        "emotion list",
        blank="z",
        empty=True,
    ),
    _circuits(
        "promoted_tokens",
        "layer:int head:int emotion:str rank:int token_id:int token:str logit:float",
        "layer head emotion rank",
        told=False,
    ),
    _circuits(
        "composition",
        "layer:int head:int reader_layer:int reader_head:int kind:str score:float expected:float z:float",
        "layer head reader_layer reader_head kind",
        blank="z",
        empty=True,
    ),
    _circuits(
        "mlps",
        "layer:int emotion:str contribution:float",
        "layer emotion",
        families=("mean_", "p_"),
        crossed=True,
        every="emotion",
    ),
    _circuits(
        "neurons",
        "layer:int neuron:int emotion:str activation:float cosine:float contribution:float of_mlp:float",
        "layer neuron emotion",
        every="emotion",
    ),
    _circuits("reconstruction", "layer:int check:str error:float", "layer check", crossed=True),
    _circuits(
        "qk_routing",
        "layer:int head:int n:int score:float attention:float t:float p:float",
        "layer head",
        blank="t p",
        empty=True,
    ),
    _circuits(
        "cut_edges",
        "layer:int head:int role:str form:str n:int whole:float mean:float ci_low:float ci_high:float p_t:float",
        "layer head role form",
        blank="ci_low ci_high p_t",
        empty=True,
    ),
    _circuits(
        "attributions_(context|steer)",
        "scenario:str layer:int kind:str index:int carried:float",
        "scenario layer kind index",
        told=False,
    ),
    _circuits(
        "circuit_(context|steer)",
        "effect:str reached:bool faithfulness:float layer:int kind:str index:int score:float",
        "layer kind index",
        empty=True,
    ),
    _circuits(
        "effects",
        "effect:str split:str n:int whole:float low:float high:float code:str",
        "effect split",
        crossed=True,
    ),
    _circuits(
        "judged",
        "effect:str measure:str value:float low:float high:float whole:float code:str",
        "effect measure",
        blank="value low high",
        empty=True,
    ),
    _circuits(
        "minimality", "effect:str node:str loss:float low:float high:float", "effect node", blank="*", empty=True
    ),
    _circuits(
        "gaps", "effect:str part:int size:int circuit:float model:float gap:float", "effect part", blank="*", empty=True
    ),
    _circuits(
        "ablations",
        "effect:str ablation:str set:str size:int faithfulness:float low:float high:float code:str",
        "effect ablation set",
        blank="faithfulness low high",
        empty=True,
    ),
    _circuits(
        "curves",
        "effect:str rule:str size:int share:float faithfulness:float low:float high:float code:str",
        "effect rule size",
        blank="faithfulness low high",
        empty=True,
    ),
    _circuits(
        "areas",
        "effect:str rule:str measure:str value:float low:float high:float code:str",
        "effect rule measure",
        blank="value low high",
        empty=True,
    ),
    _circuits(
        "random_sets",
        "effect:str matching:str set:str size:int faithfulness:float random:float random_95:float p:float n:int "
        "overlap:float matched:float code:str",
        "effect matching set",
        blank="faithfulness random random_95 p",
        empty=True,
    ),
    _circuits(
        "stability",
        "effect:str claims:str nodes:float flips:float n_claims:int n_scenarios:int size:int",
        "effect claims",
        blank="flips",
        empty=True,
    ),
    _circuits(
        "edges",
        "effect:str sender:str receiver:str sender_layer:int receiver_layer:int carried:float low:float high:float",
        "effect sender receiver",
        blank="carried low high",
        empty=True,
    ),
    _circuits(
        "roles",
        "effect:str node:str kind:str layer:int index:int score:float direct:float received:float sent:float "
        "loss:float low:float high:float role:str chosen:float core:bool",
        "effect node",
        blank="direct received sent loss low high",
        empty=True,
    ),
    _circuits(
        "verdicts",
        "effect:str size:int n_heads:int n_mlps:int n_nodes:int reached:bool chosen_at:float n:int value:float "
        "low:float high:float complete:float complete_low:float random_95:float p:float verdict:str reason:str",
        "effect",
        blank="chosen_at value low high complete complete_low random_95 p",
    ),
    Schema(
        "circuit summary, as JSON",
        "phase8",
        r"circuits/{model}_circuit_summary\.json",
        "json",
        fields="profile:str model:str effects:any",
        told=False,
    ),
    Schema("circuit summary", "phase8", r"circuits/{model}_circuit_summary\.md", "md", told=False),
    # phase 9
    Schema(
        "verification",
        "phase9",
        r"verification/{model}_checks\.parquet",
        columns="model:str check:str file:str status:str compared:int told:str of:float deviation:float "
        "tolerance:float",
        blank="of deviation tolerance",
    ),
    Schema(
        "alterations",
        "phase9",
        r"verification/{model}_alterations\.parquet",
        columns="name:str group:str file:str status:str check:str told:str measure:str before:float after:float",
        blank="before after",
        key="name",
    ),
    # of a confirmation, which is no phase
    _confirmation(
        "claims", f"{_SHIFT_CLAIM} outcome:str", "style emotion", "share_of_gold lexical_share kl_rank_p reason"
    ),
    _confirmation("conditions", _CONDITIONS, "style emotion other measure", "t"),
    _confirmation("like_valent", _CONDITIONS, "style emotion other measure", "t"),
    _confirmation("ranks", _RANKED, "style emotion other"),
    _confirmation("family", "model:str style:str emotion:str p:float known:bool", "model style emotion"),
    Schema(
        "confirmation, texts",
        "",
        r"confirmation/{model}_[0-9a-f]{8}_[0-9a-f]{8}_texts\.parquet",
        columns=f"{_CLAIM} way:str broken:float broken_baseline:float",
        blank="*",
        families=("unfiltered_", "median", "share", "share_baseline", "share_control"),
        key="way emotion metric",
        told=False,
    ),
    Schema(
        "confirmation",
        "",
        r"confirmation/{model}_[0-9a-f]{8}_[0-9a-f]{8}_found\.json",
        "json",
        fields="model:str choice:str told:str sealed:str standing:str claims:list",
        told=False,
    ),
    # of every phase
    Schema("figure", "", r"plots/{model}/[^/]+\.html", "html", told=False),
    Schema("figure", "", r"plots/{model}/[^/]+\.png", "png", told=False),
    Schema("record", "", r"status/{model}_(?P<phase>phase\d[a-z]?)\.json", "json", fields="artifacts:any", told=False),
    Schema(
        "seal",
        "",
        r"seals/{model}_(?P<phase>phase\d[a-z]?)\.json",
        "json",
        fields="report:str sha256:str record:str",
        told=False,
    ),
    Schema("variant", "", r"variant\.json", "json", fields="differs:any", told=False),
    Schema("batch size", "", r"timing/{model}_batch_size\.json", "json", told=False),
)
WITHOUT_MANIFEST = re.compile(r"\.lock|rehearsals\.jsonl|timing/phase_timings\.jsonl|site/.*|variants/.*")


def schema_of(place: str, model: str) -> tuple[Schema, dict[str, str | None]] | None:
    """The first kind that a place fits, for a model, and what the place says (position, site, layer, part, …)."""
    for schema in SCHEMAS:
        found = schema.match(place, model)
        if found is not None:
            return schema, found.groupdict()
    return None
