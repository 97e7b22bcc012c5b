"""What a model cannot be given (texts beyond its positions, ids beyond its embedding, sites that it does not have) is
refused before the first token; what it can be given, to the last position, works."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from refusals import Place, Refusal, one_good_line, refused, refused_call
from tiny import BRIDGED, byte_tokenizer, plain_network, tiny_model
from transformers import AutoConfig, AutoModelForCausalLM

import emolib
from emolib.base.config import ModelSpec
from emolib.engine.generation import generate
from emolib.engine.likelihood import continuation_nll
from emolib.engine.memory import BatchShape
from emolib.engine.planning import largest_useful_batch
from emolib.interventions import AblateHead, PatchHead, Steer, hook_point, record_heads
from emolib.models.language_model import LanguageModel, wrap
from emolib.models.loading import spec_of
from emolib.models.tokens import encode
from emolib.scoring.fluency import score_fluency

SHORT = {"gpt2": {"n_positions": 64}, "gpt_neo": {"max_position_embeddings": 64}}
BOUNDED = ("gpt2", "gpt_neo", "opt", "gptj", "gpt_bigcode", "mpt")  # a table of 64 positions, of one kind or another
ENDLESS = ("llama", "gpt_neox", "falcon", "mistral", "bloom")


def model(architecture: str, tokenizer: Any = None, **changed: Any) -> LanguageModel:
    network = plain_network(architecture, **{**SHORT.get(architecture, {}), **changed})
    return wrap(network, tokenizer or byte_tokenizer(), spec_of(network.config, f"tiny-{architecture}"), "seed0")


@pytest.fixture(scope="module")
def models() -> Callable[[str], LanguageModel]:
    made: dict[str, LanguageModel] = {}

    def of(architecture: str) -> LanguageModel:
        if architecture not in made:
            made[architecture] = model(architecture)
        return made[architecture]

    return of


# what the bridge makes of a model


def test_a_model_whose_numbers_the_bridge_would_change_is_refused() -> None:
    says = ["bridge", "tiny-gpt2", "config.json", "another model"]
    refused_call(lambda: model("gpt2", scale_attn_weights=False), says)
    assert generate(model("gpt2", scale_attn_by_inverse_layer_idx=True), ["ab"], max_new_tokens=2)[0].prompt == "ab"


# positions


@pytest.mark.parametrize("engine", ["auto", "bridge"])
@pytest.mark.parametrize("architecture", BOUNDED)
def test_every_position_is_used_and_none_beyond(models: Callable, architecture: str, engine: str) -> None:
    lm = models(architecture)
    (whole,) = generate(lm, ["a" * 60], max_new_tokens=5, engine=engine)  # the last new token is never fed
    assert len(whole.token_ids) == 5 or whole.finish_reason == "stop"
    says = ["64 positions", "60 tokens", "66", "at most 5 new tokens"]
    refused_call(lambda: generate(lm, ["b", "a" * 60], max_new_tokens=6, engine=engine), says)
    refused_call(lambda: generate(lm, ["a" * 65], max_new_tokens=1, engine=engine), ["64 positions", "65 tokens"])


@pytest.mark.parametrize("architecture", BOUNDED)
def test_whole_texts_are_held_against_the_positions_too(models: Callable, architecture: str) -> None:
    lm = models(architecture)
    acts = emolib.extract_activations(lm, ["a" * 64, "b"], sites=("resid_pre",))
    assert np.isfinite(acts.values["resid_pre"]).all()
    says = ["64 positions", "text 1", "65 tokens", "shorter"]
    for read in (emolib.extract_activations, lambda lm, texts: record_heads(lm, texts, "1:1")):
        refused_call(lambda read=read: read(lm, ["b", "a" * 65]), says)


@pytest.mark.parametrize("architecture", BOUNDED)
def test_likelihood_uses_every_position_and_padding_needs_none(models: Callable, architecture: str) -> None:
    lm = models(architecture)
    ids = encode(lm, ["b" * 5, "c" * 45])
    # a long prompt with a short text beside a short prompt with a long one: only padding goes beyond the table
    together = continuation_nll(lm, ["a" * 60, "a" * 20], ids)
    alone = [float(continuation_nll(lm, [p], [i])[0]) for p, i in zip(["a" * 60, "a" * 20], ids, strict=True)]
    assert together == pytest.approx(alone, abs=1e-4)
    says = ["64 positions", "prompt 0", "60 tokens", "6 new ones"]
    refused_call(lambda: score_fluency(["b" * 6], ["a" * 60], lm), says)


@pytest.mark.parametrize("architecture", ENDLESS)
def test_rotary_models_go_on_beyond_their_training_and_say_so_once(architecture: str) -> None:
    lm = model(architecture, **({} if architecture == "bloom" else {"max_position_embeddings": 64}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            (out,) = generate(lm, ["a" * 70], max_new_tokens=2)
            emolib.extract_activations(lm, ["a" * 80], sites=("resid_pre",))
    told = [str(one.message) for one in caught if "trained" in str(one.message)]
    assert len(told) == (0 if architecture == "bloom" else 1)  # bloom has no positions and names no length
    for line in told:
        one_good_line(line, ["64 tokens", "70 tokens", "72"])
    assert len(out.token_ids) == 2 or out.finish_reason == "stop"


def test_measuring_the_batch_size_needs_no_position_beyond_the_table(models: Callable) -> None:
    assert largest_useful_batch(models("gpt2"), BatchShape(63, 2)) >= 1


def test_more_tokens_than_memory_has_room_for_are_refused(models: Callable) -> None:
    lm = model("llama", num_hidden_layers=3, num_key_value_heads=4, head_dim=4096, num_attention_heads=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused_call(lambda: generate(lm, ["a"], max_new_tokens=10**6), ["1000000 tokens", "GiB", "fewer tokens"])
    refused_call(lambda: generate(lm, ["a"], max_new_tokens=10**9), ["max_new_tokens", "1000000"])


# ids


def with_tokens(*added: str, **special: str) -> Any:
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(list(added))
    for name, token in special.items():
        setattr(tokenizer, name, token)
    return tokenizer


ALIEN = [
    ("pad", with_tokens("<pad>", pad_token="<pad>"), ["pad", "'<pad>'", "257", "id 257", "resize"]),
    ("bos", with_tokens("<s>", bos_token="<s>"), ["bos", "'<s>'", "id 257"]),
    ("eos", with_tokens("</s>", eos_token="</s>"), ["eos", "'</s>'", "id 257"]),
]


@pytest.mark.parametrize(("name", "tokenizer", "says"), ALIEN, ids=[name for name, *_ in ALIEN])
@pytest.mark.parametrize("architecture", ["gpt2", "opt"])
def test_special_tokens_beyond_the_embedding_are_refused_with_the_model(
    architecture: str, name: str, tokenizer: Any, says: Sequence[str]
) -> None:
    refused_call(lambda: model(architecture, tokenizer), says)


def test_special_tokens_that_are_changed_later_are_refused(models: Callable) -> None:
    lm = model("gpt2")
    lm.tokenizer.add_special_tokens({"pad_token": "<pad>"})
    refused_call(lambda: generate(lm, ["a", "bcd"], max_new_tokens=2), ["pad", "'<pad>'", "257"])


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "opt"])
def test_prompt_ids_beyond_the_embedding_are_refused_and_others_work(architecture: str) -> None:
    lm = model(architecture, with_tokens("<happy>"))
    says = ["257", "text 1", "'<happy>'", "tokenizer is larger"]
    for call in (
        lambda: generate(lm, ["plain", "so <happy>"], max_new_tokens=2),
        lambda: emolib.extract_activations(lm, ["plain", "so <happy>"]),
        lambda: record_heads(lm, ["plain", "so <happy>"], "0:0"),
    ):
        refused_call(call, says)
    refused_call(lambda: score_fluency(["<happy>"], ["plain"], lm), ["continuation 0", "257"])
    assert generate(lm, ["plain"], max_new_tokens=2)[0].prompt_ids == tuple(encode(lm, ["plain"])[0])


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "opt"])
def test_a_tokenizer_without_pad_and_end_works_like_one_with_them(architecture: str) -> None:
    bare = byte_tokenizer()
    bare.eos_token = None
    lm, usual = model(architecture, bare, eos_token_id=None, pad_token_id=None), model(architecture)
    assert lm.pad_id == 0 and lm.tokenizer.pad_token is None
    texts = ["Thank you", "The lamp is on the desk"]
    mine, theirs = (generate(one, texts, max_new_tokens=4) for one in (lm, usual))
    for a, b in zip(mine, theirs, strict=True):
        assert a.token_ids[: len(b.token_ids)] == b.token_ids  # padding means nothing; only the end is not known
    acts, others = (emolib.extract_activations(one, texts, sites=("resid_pre",)) for one in (lm, usual))
    assert np.array_equal(acts.values["resid_pre"], others.values["resid_pre"])


def test_a_model_with_few_tokens_is_checked_with_its_own() -> None:
    network = plain_network("gpt2", n_positions=4)
    lm = wrap(network, byte_tokenizer(), spec_of(network.config, "four positions"), "seed0")
    assert len(generate(lm, ["ab"], max_new_tokens=3)) == 1


def test_texts_that_give_no_token_are_named(models: Callable) -> None:
    lm = model("gpt2", with_tokens())
    lm.tokenizer.backend_tokenizer.normalizer = __import__("tokenizers").normalizers.Replace("\u200b", "")
    says = ["text 1", "no", "token"]
    refused_call(lambda: generate(lm, ["a", "\u200b\u200b"], max_new_tokens=1), says)
    refused_call(lambda: emolib.extract_activations(lm, ["a", "\u200b"]), says)


def test_half_a_character_is_named(models: Callable) -> None:
    refused_call(lambda: generate(models("gpt2"), ["a", "b\ud800"], max_new_tokens=1), ["text 1", "whole characters"])


# sites and heads of models that run through their own code


@pytest.mark.parametrize("architecture", BRIDGED)
def test_the_sites_of_a_model_run_by_its_own_code_add_up(models: Callable, architecture: str) -> None:
    lm = models(architecture)
    assert lm.blueprint is None
    sites = ("resid_pre", "attn_out", "mlp_out", "resid_post")
    texts = ["Thank you", "The lamp is on the desk"]
    one = emolib.extract_activations(lm, texts, sites=sites, positions="all")
    assert one.values["mlp_out"].shape == (3, len("".join(texts)), 48)
    sums = one.values["resid_pre"][:-1] + one.values["attn_out"] + one.values["mlp_out"]  # parallel or one by one
    assert np.allclose(sums, one.values["resid_post"], atol=1e-4)
    assert np.array_equal(one.values["resid_post"], one.values["resid_pre"][1:])
    apart = [emolib.extract_activations(lm, [text], positions="all").values["mlp_out"] for text in texts]
    assert np.allclose(np.concatenate(apart, axis=1), one.values["mlp_out"], atol=1e-4)


@pytest.mark.parametrize("architecture", BRIDGED)
@pytest.mark.parametrize("site", ["attn_out", "mlp_out"])
def test_steers_of_what_a_block_adds_move_the_stream_by_that_much(
    models: Callable, architecture: str, site: str
) -> None:
    lm = models(architecture)
    vector = np.random.default_rng(0).standard_normal(48).astype(np.float32)
    steer = Steer(2, vector, 0.7, unit="vector", site=site, window=1)
    final = Steer(3, vector, 0.7, unit="vector", window=1)  # the last block's output
    texts = ["Thank you", "The lamp is on the desk"]
    kept = {}
    for name, act in (("site", steer), ("final", final)):
        with torch.inference_mode():
            handle = hook_point(lm, "resid_pre", 3).register_forward_hook(
                lambda module, inputs, output, name=name: kept.__setitem__(name, output[:, -1].clone())
            )
            outs = generate(lm, texts, [act, None], max_new_tokens=1, engine="bridge")
            handle.remove()
        assert outs[0].delta_ratio > 0 and outs[1].delta_ratio == 0
    plain = emolib.extract_activations(lm, texts[:1], sites=("resid_pre",)).values["resid_pre"][3, 0]
    moved = kept["site"][0].numpy() - plain
    if site == "attn_out" and architecture not in ("gptj", "falcon"):  # there the MLP reads the change, too
        assert np.abs(moved).max() > 0.1
    else:
        assert np.allclose(moved, 0.7 * vector, atol=1e-4)


HEAD_ACTS = ("zero", "result", "pattern_v", "v_only")
LATE_PATTERNS = ("opt", "gptj")  # show their patterns only after their heads' outputs


def head_act(lm: LanguageModel, name: str, source: str) -> AblateHead | PatchHead:
    if name == "zero":
        return AblateHead(1, 2)
    return PatchHead(1, 2, record_heads(lm, [source], "1:2")[0], mode=name)


@pytest.mark.parametrize("architecture", BRIDGED)
@pytest.mark.parametrize("name", HEAD_ACTS)
def test_head_acts_work_or_are_refused_before_the_run(models: Callable, architecture: str, name: str) -> None:
    lm, text = models(architecture), "Thank you for it"
    act = head_act(lm, name, "The lamp is big.")
    batches: list[int] = []

    def run(act: Any) -> list[emolib.Generation]:
        return generate(lm, [text, text, "x"], [None, act, None], max_new_tokens=4, on_batch=batches.append)

    if name == "v_only" and architecture in LATE_PATTERNS:
        refused_call(lambda: run(act), ["v_only", "pattern_v"])
        assert batches == []
        return
    plain, patched, _ = run(act)
    assert plain.delta_ratio == 0 < patched.delta_ratio
    if name != "zero":  # what the head has in the same text changes nothing
        own = head_act(lm, name, text)
        same, again, _ = run(own)
        assert again.token_ids == same.token_ids and again.delta_ratio < 1e-4


def test_head_widths_beside_d_model_are_the_models_own(models: Callable) -> None:
    lm = models("mistral")
    assert (lm.d_head, lm.d_model // lm.n_heads) == (16, 12)
    acts = emolib.extract_activations(lm, ["Thank you"], sites=("z",))
    assert acts.values["z"].shape == (3, 1, 4, 16)
    (record,) = record_heads(lm, ["Thank you"], "1:3")
    assert record.z[1, 3].shape == record.values[1, 3].shape == (9, 16)
    expected = record.patterns[1, 3] @ record.values[1, 3]  # grouped: head 3 reads KV head 1
    assert np.allclose(expected, record.z[1, 3], atol=1e-5)


def test_one_kv_head_for_all_is_read_as_the_model_has_it(models: Callable) -> None:
    (record,) = record_heads(models("falcon"), ["Thank you"], "1:3")
    assert np.allclose(record.patterns[1, 3] @ record.values[1, 3], record.z[1, 3], atol=1e-5)


@dataclass(frozen=True)
class Missing:
    """A site that the bridge does not have, or gives in another shape."""

    site: str
    call: Callable[[LanguageModel], Any]


VECTOR = np.ones(48, np.float32)
MISSING = {
    "extraction": Missing("mlp_out", lambda lm: emolib.extract_activations(lm, ["a"])),
    "of patterns": Missing("pattern", lambda lm: emolib.extract_activations(lm, ["a"], sites=("pattern",))),
    "steer": Missing("mlp_out", lambda lm: generate(lm, ["a"], [Steer(1, VECTOR, 1, unit="vector", site="mlp_out")])),
    "ablation": Missing("z", lambda lm: generate(lm, ["a"], [AblateHead(1, 0)])),
    "recording": Missing("v", lambda lm: record_heads(lm, ["a"], "1:0")),
}


@pytest.mark.parametrize("name", MISSING)
@pytest.mark.parametrize("how", ["absent", "another shape", "silent"])
def test_a_site_that_the_bridge_does_not_give_is_named(name: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, case = model("opt"), MISSING[name]
    seen = dict(emolib.interventions.bridge_sites(lm))
    if how == "absent":
        monkeypatch.setitem(emolib.interventions.hooks.HEAD_SITES, case.site, "hook_elsewhere")
        lm.worked_out.bridge_sites = None
    elif how == "silent":
        del seen[case.site, 1]
        lm.worked_out.bridge_sites = seen
    else:
        lm.worked_out.bridge_sites = {**seen, (case.site, 1): (7, 5)}
    refused_call(lambda: case.call(lm), [case.site, "layer", "OPTForCausalLM"])


def test_a_model_that_the_bridge_cannot_run_is_refused_in_one_line() -> None:
    lm = model("opt", do_layer_norm_before=False)  # OPT-350m's form: no final norm
    for call in (
        lambda: generate(lm, ["a"], max_new_tokens=1),
        lambda: emolib.extract_activations(lm, ["a"]),
        lambda: record_heads(lm, ["a"], "0:0"),
    ):
        refused_call(call, ["bridge", "OPTForCausalLM", "choose another model"])


SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 32}
LINEAR = {f"linear_{name}": 8 for name in ("key_head_dim", "value_head_dim", "num_key_heads", "num_value_heads")}
UNSUPPORTED = {  # model_type: settings, words of the line
    "mamba": ({}, ["attention in every layer"]),
    "mamba2": ({}, ["attention in every layer"]),
    "falcon_mamba": ({}, ["attention in every layer"]),
    "rwkv": ({}, ["attention in every layer"]),
    "recurrent_gemma": ({**SMALL, "lru_width": 32}, ["attention in every layer", "'linear_attention'"]),
    "jamba": ({**SMALL, "num_key_value_heads": 2}, ["attention in every layer", "'linear_attention'"]),
    "qwen3_next": ({**SMALL, "num_key_value_heads": 2, **LINEAR}, ["attention in every layer", "'linear_attention'"]),
    "lfm2": ({**SMALL, "layer_types": ["conv", "full_attention", "conv"]}, ["attention in every layer", "'conv'"]),
    "falcon_h1": ({}, ["attention in every layer", "'hybrid'"]),
    "musicgen": ({}, ["attention in every layer"]),
    "zamba2": ({}, ["attention in every layer"]),
    "bert": ({}, ["'bert'", "reads both ways"]),
    "roberta": ({}, ["'roberta'", "reads both ways"]),
    "distilbert": ({}, ["'distilbert'", "which is none"]),
    "deberta-v2": ({}, ["'deberta-v2'", "which is none"]),
    "t5": ({}, ["'t5'", "which is none"]),
    "vit": ({}, ["'vit'", "which is none"]),
    "clip": ({}, ["'clip'", "which is none"]),
    "resnet": ({}, ["'resnet'", "which is none"]),
}
SUPPORTS = ["'mine'", "supported", "GPT-2", "Llama", "Gemma 3"]


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_an_architecture_without_attention_or_direction_is_told_with_those_that_are_supported(kind: str) -> None:
    settings, says = UNSUPPORTED[kind]
    config = AutoConfig.for_model(kind, **settings)
    refused_call(lambda: spec_of(config, "mine"), [*SUPPORTS, *says])


@pytest.mark.parametrize("kind", ["mistral", "gemma2", "gpt_oss", "qwen2_moe", "cohere2", "bloom", "mpt", "phi"])
def test_decoders_with_attention_in_every_layer_are_described(kind: str) -> None:
    found = spec_of(AutoConfig.for_model(kind), "mine")
    assert found.n_layers > 1 and found.n_heads > 1 and found.d_model > 1


def test_a_folder_of_a_hybrid_model_is_refused_before_it_is_loaded(place: Place) -> None:
    config = AutoConfig.for_model("recurrent_gemma", vocab_size=257, eos_token_id=256, lru_width=32, **SMALL)
    AutoModelForCausalLM.from_config(config).save_pretrained(place.folder / "mine")
    byte_tokenizer().save_pretrained(place.folder / "mine")
    run = ["run", "--profile", "baseline_smoke", "--phase", "phase1", "--model", "./mine"]
    refused(place, Refusal("hybrid", run, ["attention in every layer", "'linear_attention'", "supported"]))


def test_an_entry_of_the_table_with_such_a_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, says in {"mamba": "attention in every layer", "bert": "reads both ways", "lama": "'llama'"}.items():
        sizes = {"n_layers": 2, "d_model": 32, "n_heads": 4, "n_kv_heads": 4, "d_vocab": 257}
        spec = ModelSpec(name="mine", hub_id="mine", **sizes, random_weights=True, config={"model_type": kind})
        monkeypatch.setattr("emolib.models.loading.find_model", lambda name, spec=spec: spec)
        monkeypatch.setattr("emolib.models.sources.find_model", lambda name, spec=spec: spec)
        refused_call(lambda: emolib.load_model("mine", random_weights=True), ["'mine'", says])


def test_an_architecture_that_the_bridge_does_not_know_is_refused_in_one_line() -> None:
    sizes = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    config = AutoConfig.for_model("biogpt", vocab_size=257, pad_token_id=0, **sizes)
    network = AutoModelForCausalLM.from_config(config)
    says = ["bridge", "'mine'", "BioGptForCausalLM", "choose another model"]
    refused_call(lambda: wrap(network, byte_tokenizer(), spec_of(config, "mine"), "1"), says)


def test_known_architectures_have_every_site_without_a_look() -> None:
    lm = tiny_model("gpt2")
    generate(lm, ["a"], [AblateHead(0, 0)], max_new_tokens=1)
    assert lm.worked_out.bridge_sites is None


@pytest.mark.parametrize("engine", ["auto", "bridge"])
@pytest.mark.parametrize("drawn", [False, True])
def test_no_text_comes_from_logits_that_are_not_finite(engine: str, drawn: bool) -> None:
    lm = model("llama")
    fields: Any = {"temperature": 1.0, "seeds": [1, 2]} if drawn else {}
    act = Steer(1, VECTOR, 1.0, unit="vector")

    def run(acts: Any) -> list[emolib.Generation]:
        return generate(lm, ["a", "bc"], acts, max_new_tokens=2, engine=engine, **fields)

    assert len(run([None, act])) == 2
    object.__setattr__(act, "vector", np.full(48, np.nan, np.float32))  # as an overflow in 16 bits gives them
    object.__setattr__(act, "delta", lambda: act.vector)
    refused_call(lambda: run([None, act]), ["prompts[1]", "Steer", "not finite", "weaker"])


BROKEN = {  # the weight that is NaN, what reads it out, and the words of the line
    "likelihood": (2, lambda lm: continuation_nll(lm, ["a", "b"], [[3], [5, 7]]), ["log-likelihood", "text 0"]),
    "likelihood after an empty text": (
        "one text",
        lambda lm: continuation_nll(lm, ["a", "b", "c"], [[], [3], [5, 200]]),
        ["log-likelihood", "text 1"],
    ),
    "extraction": (1, lambda lm: emolib.extract_activations(lm, ["a", "bc"]), ["mlp_out at layer 1", "text 1"]),
    "extraction of all tokens": (
        1,
        lambda lm: emolib.extract_activations(lm, ["a", "bc"], sites=("resid_post",), positions="all", layers=[0, 1]),
        ["resid_post at layer 1", "text 1"],
    ),
    "the final residual": (
        2,
        lambda lm: emolib.extract_activations(lm, ["a"], sites=("attn_out",), positions="mean"),
        ["resid_pre at layer 3", "text 0"],
    ),
    "heads": (1, lambda lm: record_heads(lm, ["a", "bc"], "2:1"), ["head 1 at layer 2", "text 0"]),
}


@pytest.mark.parametrize("architecture", ["llama", "mistral"])
@pytest.mark.parametrize("name", BROKEN)
def test_nothing_is_read_out_that_is_not_finite(architecture: str, name: str) -> None:
    place, call, says = BROKEN[name]
    lm = model(architecture)
    call(lm)
    lm.worked_out.batching_checked |= {True, False}  # the padded batch is held against single texts otherwise
    with torch.inference_mode():
        if isinstance(place, int):
            lm.network.model.layers[place].mlp.down_proj.weight[0] = torch.nan
        else:
            lm.network.lm_head.weight[200] = -torch.inf
    refused_call(lambda: call(lm), [*says, "not finite in float32", f"tiny-{architecture}"])
