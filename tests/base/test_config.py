"""What `params/` says: the table of models."""

from emolib.base import config

MODELS = {
    *("smollm2_135m", "gemma3_270m", "gpt2_small", "pythia-160m"),
    *("gpt-neo-125m", "llama3_8b", "gemma3_12b", "qwen3_8b", "rotated"),
}


def test_the_table_holds_its_models_with_dimensions_that_agree_with_their_configuration():
    from transformers import AutoConfig

    table = config.model_table()
    assert set(table) == MODELS
    for spec in table.values():
        if spec.rotation is not None:  # of the size of what it is made of, but for the width
            base = table[spec.rotation.of]
            for name in ("n_layers", "n_heads", "n_kv_heads", "d_vocab", "chat", "dtype"):
                assert getattr(spec, name) == getattr(base, name), name
            assert spec.d_model > base.d_model
            continue
        settings = dict(spec.config)
        official = AutoConfig.for_model(settings.pop("model_type"), **settings)
        kv = getattr(official, "num_key_value_heads", None) or official.num_attention_heads
        found = (
            official.num_hidden_layers,
            official.hidden_size,
            official.num_attention_heads,
            kv,
            official.vocab_size,
        )
        assert found == (spec.n_layers, spec.d_model, spec.n_heads, spec.n_kv_heads, spec.d_vocab), spec.name


def test_an_alias_and_a_hub_id_name_the_same_model():
    assert config.find_model("gpt2") == config.find_model("openai-community/gpt2") == config.find_model("gpt2_small")
    assert config.find_model("gpt3") is None
