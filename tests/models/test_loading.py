"""Finding and loading models: the bundled one, folders, and what is said when something is missing."""

import dataclasses
import time

import pytest
import torch

from emolib.base.errors import UserError
from emolib.models import loading


def test_the_bundled_model_is_the_real_one(bundled):
    ids = bundled.tokenizer("Thank you so much for your help. I am", return_tensors="pt").input_ids
    with torch.inference_mode():
        out = bundled.network.generate(ids, max_new_tokens=7, do_sample=False, pad_token_id=2)
    assert bundled.tokenizer.decode(out[0, ids.shape[1] :]).startswith(" so grateful to have you")
    assert (bundled.n_layers, bundled.d_model) == (30, 576)


def test_unknown_names_are_told_at_once_with_the_nearest():
    with pytest.raises(UserError, match=r"unknown model 'smolm2_135m'.*did you mean 'smollm2_135m'"):
        loading.load_model("smolm2_135m")


def test_no_hub_is_one_line_within_seconds(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9", raising=False)
    started = time.monotonic()
    with pytest.raises(UserError, match="no hub answered") as caught:
        loading.load_model("emolib-tests/no-such-model")
    assert time.monotonic() - started < 30
    assert "\n" not in str(caught.value)


def test_a_gated_model_says_how_to_get_access(monkeypatch):
    import httpx
    from huggingface_hub.errors import GatedRepoError

    def refuse(*_args, **_kwargs):
        raise GatedRepoError("gated", response=httpx.Response(403, request=httpx.Request("GET", "http://hub.invalid")))

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    with pytest.raises(UserError, match=r"is gated: accept its licence .* `hf auth login`"):
        loading.load_model("llama3_8b")


def test_a_local_folder_loads_and_one_without_safetensors_is_refused(tiny_models, tmp_path):
    lm = tiny_models["gpt2"]
    folder = tmp_path / "mine"
    # the bridge has wrapped the modules of the fixture's model, so a fresh one of the same configuration is saved
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(lm.network.config).save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    loaded = loading.load_model(str(folder))
    assert loaded.spec.name == "mine" and loaded.d_model == lm.d_model
    assert len(loaded.revision) == 64
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="expected safetensors weights"):
        loading.load_model(str(folder))


def test_random_weights_are_seeded_and_say_so():
    first, again, other = (loading.load_model("gpt2", random_weights=True, seed=seed) for seed in (0, 0, 1))
    weights = [dict(lm.network.named_parameters()) for lm in (first, again, other)]
    name = next(n for n in weights[0] if "wte" in n)
    assert torch.equal(weights[0][name], weights[1][name]) and not torch.equal(weights[0][name], weights[2][name])
    assert "random weights" in first.describe() and first.revision != other.revision
    assert first.d_model == 768 and first.n_layers == 12


def test_an_impossible_device_is_one_line():
    with pytest.raises(UserError, match="expected a device torch can use here"):
        loading.load_model("smollm2_135m", device="cuda:7")


def test_what_was_worked_out_about_a_model_does_not_go_to_its_copies(tiny_models):
    """A copy by `dataclasses.replace` may have other weights: it begins anew."""
    lm = dataclasses.replace(tiny_models["gpt2"])
    lm.worked_out.nll_limit = 1.5
    lm.worked_out.batching_checked.add(True)
    copy = dataclasses.replace(lm, blueprint=None)
    assert copy.worked_out.nll_limit is None and not copy.worked_out.batching_checked
    assert "worked_out" not in repr(lm)
