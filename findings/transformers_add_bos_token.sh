#!/usr/bin/env bash
# transformers 5.23.0: `add_bos_token: true` in tokenizer_config.json is not read beside a tokenizer.json.
#
# Models of the Llama and Gemma families were trained with a first token (BOS) before every text, and their tokenizers'
# configuration says so by `add_bos_token`. With 4.57.3 `LlamaTokenizerFast` follows it (and takes `true` where nothing
# is said). With 5.23.0 what counts is the post-processor inside tokenizer.json alone: where a fine-tune's or a
# conversion's file has none, texts lose the first token although the configuration asks for it. Nothing is said, and
# `tokenizer.add_bos_token` reads False. Set on the loaded object, it works. Until then every activation is that of a
# text as the model did not meet it in training.
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
cd "$home"
cat >look.py <<'PY'
import json
from pathlib import Path

import tokenizers
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

transformers.logging.set_verbosity_error()
print(f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}")
IS_5 = transformers.__version__.startswith("5.")
TEXTS = ["thank you so much", "you are welcome"] * 5
for kind in ("LlamaTokenizerFast", "PreTrainedTokenizerFast"):
    for said in (True, False, None):
        folder = Path(f"{kind}-{said}")
        folder.mkdir(exist_ok=True)
        made = Tokenizer(models.BPE(unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        special = ["<unk>", "<s>", "</s>"]
        made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=80, special_tokens=special, show_progress=False))
        made.save(str(folder / "tokenizer.json"))
        named = {"tokenizer_class": kind, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        told = named if said is None else {**named, "add_bos_token": said}
        (folder / "tokenizer_config.json").write_text(json.dumps(told))
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokens = tokenizer.convert_ids_to_tokens(tokenizer("thank you").input_ids)
        print(f"{kind:24} add_bos_token {said!s:6} {tokens}")
        expected = kind == "LlamaTokenizerFast" and said is not False and not IS_5
        assert (tokens[0] == "<s>") == expected, tokens
        if IS_5 and said:
            tokenizer.add_bos_token = True
            tokens = tokenizer.convert_ids_to_tokens(tokenizer("thank you").input_ids)
            print(f"{'':24} set on the object    {tokens}")
            assert tokens[0] == "<s>"
PY
for version in 4.57.3 5.23.0; do
    python3 -m venv "$home/$version"
    "$home/$version/bin/pip" install --quiet "transformers==$version"
    "$home/$version/bin/python" look.py 2>"$home/said" || { tail -3 "$home/said"; exit 1; }
done

# Output seen:
# transformers 4.57.3, tokenizers 0.22.2
# LlamaTokenizerFast       add_bos_token True   ['<s>', '▁thank', '▁you']
# LlamaTokenizerFast       add_bos_token False  ['▁thank', '▁you']
# LlamaTokenizerFast       add_bos_token None   ['<s>', '▁thank', '▁you']
# PreTrainedTokenizerFast  add_bos_token True   ['▁thank', '▁you']
# PreTrainedTokenizerFast  add_bos_token False  ['▁thank', '▁you']
# PreTrainedTokenizerFast  add_bos_token None   ['▁thank', '▁you']
# transformers 5.23.0, tokenizers 0.23.3
# LlamaTokenizerFast       add_bos_token True   ['▁thank', '▁you']
#                          set on the object    ['<s>', '▁thank', '▁you']
# LlamaTokenizerFast       add_bos_token False  ['▁thank', '▁you']
# LlamaTokenizerFast       add_bos_token None   ['▁thank', '▁you']
# PreTrainedTokenizerFast  add_bos_token True   ['▁thank', '▁you']
#                          set on the object    ['<s>', '▁thank', '▁you']
# PreTrainedTokenizerFast  add_bos_token False  ['▁thank', '▁you']
# PreTrainedTokenizerFast  add_bos_token None   ['▁thank', '▁you']
