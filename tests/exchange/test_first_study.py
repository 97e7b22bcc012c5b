"""Old pickles are read without being run, whatever they ask for, and come back from the new layout unchanged."""

from __future__ import annotations

import contextlib
import copyreg
import functools
import os
import pickle
import runpy
import subprocess
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.f2py.crackfortran
import numpy.testing._private.utils
import pytest
import torch
from tiny import encode, plain_network
from torch import nn

from emolib.base import store, tensor_files
from emolib.base.errors import UserError
from emolib.data.activations import StoredActivations
from emolib.engine.extraction import extract_activations
from emolib.exchange import old_activations, unpickling
from emolib.exchange.first_study import export_pickle, import_pickle
from emolib.exchange.old_activations import read_old_pickle

LENGTHS = (3, 1, 5)
N_LAYERS, D_MODEL = 2, 8


def old_layout(make: Callable[[np.ndarray], Any] = np.asarray, **changes: Any) -> dict[str, Any]:
    """What the first study stored, with arrays made by `make`."""
    generator = np.random.default_rng(0)

    def layers(count: int) -> list[list[Any]]:
        return [[make(generator.normal(size=(n, D_MODEL)).astype(np.float32)) for n in LENGTHS] for _ in range(count)]

    value = {
        "residual_stream": layers(N_LAYERS + 1),
        "mlp_output": layers(N_LAYERS),
        "tokens": [list(range(n)) for n in LENGTHS],
        "token_strings": [[f" wörd{i}" for i in range(n)] for n in LENGTHS],
        "labels": ["anger", "anger", "neutral"],
        "metadata": {
            "model_name": "openai-community/gpt2",
            "n_layers": N_LAYERS,
            "d_model": D_MODEL,
            "d_vocab": 257,
            "n_samples": len(LENGTHS),
            "emotion_label": "anger",
            "save_residual_stream": True,
            "save_mlp_output": True,
            "save_attention": False,
        },
    }
    return value | changes


def stored(folder: Path, value: Any, protocol: int = 4) -> Path:
    path = folder / "old.pkl"
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    return path


def refusal(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(UserError) as caught:
        read_old_pickle(path)
    (line,) = str(caught.value).splitlines()
    assert path.name in line and line.isprintable()
    return line


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def plain(value: Any) -> np.ndarray:
    return value.detach().float().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def same_layers(left: list | None, right: list | None) -> bool:
    if left is None or right is None:
        return left is right
    return len(left) == len(right) and all(
        len(a) == len(b) and all(map(np.array_equal, map(plain, a), map(plain, b)))
        for a, b in zip(left, right, strict=True)
    )


def same(old: old_activations.OldActivations, value: dict[str, Any]) -> bool:
    parts = all(getattr(old, key) == value.get(key) for key in ("tokens", "token_strings", "labels", "metadata"))
    return parts and all(same_layers(getattr(old, key), value.get(key)) for key in old_activations.SITES)


# --- what is asked for is refused by name, and not run


class Asks:
    """Pickled, it asks for a call."""

    def __init__(self, function: Callable, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self._call


def sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def text(value: str) -> bytes:
    return b"X" + sized(value.encode())


def name(module: str, attribute: str, *, stacked: bool = False) -> bytes:
    """The opcodes for a name: GLOBAL, or STACK_GLOBAL, which follows dots."""
    return text(module) + text(attribute) + b"\x93" if stacked else f"c{module}\n{attribute}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def program(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


def touch(mark: Path) -> str:
    return f"touch '{mark}'"


def opens(mark: Path) -> str:
    return f"open({str(mark)!r}, 'w').close()"


def evil(mark: Path, protocol: int = 2) -> bytes:
    return pickle.dumps(Asks(os.system, touch(mark)), protocol)


def object_file(mark: Path) -> str:
    path = mark.with_suffix(".npy")
    np.save(path, np.array([Asks(os.system, touch(mark))], dtype=object), allow_pickle=True)
    return str(path)


def script(mark: Path) -> str:
    path = mark.with_suffix(".py")
    path.write_text(opens(mark))
    return str(path)


def bound(mark: Path) -> bytes:
    """Path(mark).touch, got by getattr."""
    return call(name("builtins", "getattr"), call(name("pathlib", "Path"), text(str(mark))), text("touch"))


def got(mark: Path) -> bytes:
    """The same call, by attrgetter."""
    getter = call(name("operator", "attrgetter"), text("touch"))
    return call(call(getter, call(name("pathlib", "Path"), text(str(mark)))))


def dotted(mark: Path, module: str, attribute: str) -> bytes:
    return program(call(name(module, attribute, stacked=True), text(touch(mark))), 4)


def imported(mark: Path) -> bytes:
    module = call(name("importlib", "import_module"), text("os")) + b"q\x000"
    getter = call(name("operator", "attrgetter"), text("system"))
    return program(module + call(call(getter, b"h\x00"), text(touch(mark))))


def magic_then(mark: Path, protocol: int) -> bytes:
    return unpickling.TORCH_MAGIC + pickle.dumps(1001, 2) + evil(mark, protocol)


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "os.system": (lambda m: Asks(os.system, touch(m)), f"{os.system.__module__}.system"),
    "os.system by its other name": (lambda m: program(call(name("os", "system"), text(touch(m)))), "os.system"),
    "eval": (lambda m: Asks(eval, opens(m)), "builtins.eval"),
    "exec": (lambda m: Asks(exec, opens(m)), "builtins.exec"),
    "Popen": (lambda m: Asks(subprocess.Popen, ["touch", str(m)]), "subprocess.Popen"),
    "getattr": (lambda m: program(call(bound(m))), "builtins.getattr"),
    "numpy runstring": (
        lambda m: Asks(np.testing._private.utils.runstring, opens(m), {}),
        "numpy.testing._private.utils.runstring",
    ),
    "numpy.load": (lambda m: Asks(np.load, object_file(m), None, True), "numpy.load"),
    "numpy.f2py": (lambda m: Asks(numpy.f2py.crackfortran.myeval, opens(m)), "numpy.f2py.crackfortran.myeval"),
    "in an OrderedDict": (lambda m: OrderedDict(a=[np.ones(2), Asks(os.system, touch(m))]), "system"),
    "in an object array": (lambda m: np.array([Asks(os.system, touch(m))], dtype=object), "numpy.dtype('O8')"),
    "in a storage": (lambda m: Asks(torch.storage._load_from_bytes, evil(m)), "system"),
    "in a storage, newer": (lambda m: Asks(torch.storage._load_from_bytes, evil(m, 4)), "system"),
    "behind a storage's magic": (lambda m: Asks(torch.storage._load_from_bytes, magic_then(m, 2)), "system"),
    "behind it, newer": (lambda m: Asks(torch.storage._load_from_bytes, magic_then(m, 4)), "system"),
    "run_path": (lambda m: Asks(runpy.run_path, script(m)), "runpy.run_path"),
    "partial": (lambda m: Asks(functools.partial(os.system, touch(m))), "functools.partial"),
    "attrgetter": (lambda m: program(got(m)), "operator.attrgetter"),
    "import_module": (imported, "importlib.import_module"),
    "pickle.loads": (lambda m: Asks(pickle.loads, evil(m)), "_pickle.loads"),
    "dots": (lambda m: dotted(m, "os", "path.os.system"), "os.path.os.system"),
    "dots from an allowed module": (
        lambda m: dotted(m, "torch.storage", "torch.serialization.os.system"),
        "torch.storage.torch.serialization.os.system",
    ),
    "dots from the module of an allowed name": (
        lambda m: dotted(m, "torch._utils", "torch.serialization.os.system"),
        "torch._utils.torch.serialization.os.system",
    ),
    "an allowed name cut elsewhere": (
        lambda m: program(call(name("torch", "storage._load_from_bytes", stacked=True), b"B" + sized(evil(m))), 4),
        "torch.storage._load_from_bytes",
    ),
    "INST": (lambda m: program(b"(" + text(touch(m)) + b"ios\nsystem\n"), "os.system"),
    "OBJ": (lambda m: program(b"(" + name("os", "system") + text(touch(m)) + b"o"), "os.system"),
}


def ran(mark: Path, load: Callable[[], Any]) -> bool:
    """Whether an unguarded load has the side effect (a started process may take a moment)."""
    with contextlib.suppress(Exception):
        load()
    until = time.monotonic() + 20
    while not mark.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return mark.exists()


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_pickle_is_refused_by_name_and_not_run(attack: str, tmp_path: Path) -> None:
    make, asked = HOSTILE[attack]
    mark = tmp_path / "mark"
    payload = make(mark)
    if isinstance(payload, bytes):
        path = stored(tmp_path, payload)
        message = refusal(path)
    else:
        for protocol in (2, 3, 4, 5):
            path = stored(tmp_path, old_layout(metadata={"note": payload}), protocol)
            message = refusal(path)
            assert not mark.exists()
    assert asked in message and "asks for" in message and message.endswith("nothing of it was run")
    with pytest.raises(UserError):
        import_pickle(path, tmp_path / "out")
    assert not mark.exists() and not (tmp_path / "out").exists()
    assert ran(mark, lambda: pickle.loads(path.read_bytes())), "the payload does nothing even where it may"


def test_a_registered_extension_does_not_pass_by_the_table_of_names(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    copyreg.add_extension(os.system.__module__, "system", 0xF0)
    try:
        path = stored(tmp_path, program(call(b"\x82\xf0", text(touch(mark)))))
        assert ran(mark, lambda: pickle.loads(path.read_bytes()))  # and the name is in the registry's cache now
        mark.unlink()
        assert "the opcode EXT1" in refusal(path)
        assert not mark.exists()
    finally:
        copyreg.remove_extension(os.system.__module__, "system", 0xF0)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_file_of_torch_save_is_refused_by_name_and_not_run(zipped: bool, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "old.pt"
    value = old_layout(torch.from_numpy, metadata={"note": Asks(os.system, touch(mark))})
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    assert f"asks for {os.system.__module__}.system" in refusal(path)
    assert not mark.exists()
    assert ran(mark, lambda: torch.load(path, weights_only=False))


@pytest.mark.parametrize("kind", ["pickle", "zip", "before zip"])
def test_what_follows_the_walk_holds_alone(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark, path = tmp_path / "mark", tmp_path / "old.pt"
    value = old_layout(torch.from_numpy, metadata={"note": Asks(os.system, touch(mark))})
    if kind == "pickle":
        path.write_bytes(pickle.dumps(value))
    else:
        torch.save(value, path, _use_new_zipfile_serialization=kind == "zip")
    monkeypatch.setattr(unpickling, "walk", lambda stream, source, size, **_: size)
    assert f"{os.system.__module__}.system" in refusal(path)
    assert not mark.exists()
    torch.save(old_layout(torch.from_numpy), path, _use_new_zipfile_serialization=kind == "zip")
    assert same(read_old_pickle(path), old_layout())


@pytest.mark.parametrize(
    ("identity", "shown"), [(b"Pmodels/secret\n", "'models/secret'"), (b"(K\x01tQ", "of type tuple")]
)
def test_persistent_ids_are_refused(identity: bytes, shown: str, tmp_path: Path) -> None:
    assert f"asks for the persistent id {shown}, which" in refusal(stored(tmp_path, program(identity)))


def test_a_name_with_control_characters_stays_on_one_line(tmp_path: Path) -> None:
    message = refusal(stored(tmp_path, program(name("os\n\x1b[2J", "sys\rtem", stacked=True), 4)))
    assert "os\\n\\x1b[2J.sys\\rtem" in message


STORED = b"<a stored storage>"
SLOTS = b"N}" + text("values") + text("anything") + b"s\x86b"  # BUILD with (None, {"values": "anything"})


MISUSED = {
    "a call's attributes": (name("numpy", "dtype") + SLOTS, "sets attributes of a call"),
    "a storage's attributes": (
        call(name("torch.storage", "_load_from_bytes"), STORED) + SLOTS,
        "sets attributes of a storage",
    ),
    "a bare array": (call(name("numpy", "ndarray"), b"(J\xff\xff\xff\x7ft"), "numpy.ndarray(…)"),
    "objects": (call(name("numpy", "dtype"), text("O")), "numpy.dtype('O')"),
    "objects among fields": (call(name("numpy", "dtype"), text("f4,O")), "numpy.dtype('f4,O')"),
    "objects in a tuple": (call(name("numpy", "dtype"), b"(" + text("a") + text("O") + b"t"), "numpy.dtype(tuple)"),
    "another class of array": (
        call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "dtype")),
        "no numpy.ndarray",
    ),
    "a filled OrderedDict": (call(name("collections", "OrderedDict"), b"]"), "OrderedDict made of something"),
    "another codec": (call(name("_codecs", "encode"), text("a"), text("zlib")), "something else than latin1"),
}


@pytest.mark.parametrize("case", MISUSED)
def test_allowed_names_do_only_what_old_files_need(case: str, tmp_path: Path) -> None:
    body, named = MISUSED[case]
    tensor = pickle.dumps(torch.arange(3.0), 3)
    start = tensor.index(b"B", tensor.index(b"_load_from_bytes"))  # BINBYTES with the bytes of a real storage
    storage = tensor[start : start + 5 + int.from_bytes(tensor[start + 1 : start + 5], "little")]
    assert named in refusal(stored(tmp_path, program(body.replace(STORED, storage), 3)))


# --- files that are damaged, or made to exhaust the machine


def test_a_file_cut_anywhere_is_one_line(tmp_path: Path) -> None:
    for protocol in (2, 4, 5):
        whole = pickle.dumps(old_layout(), protocol)
        for cut in np.linspace(1, len(whole) - 1, 60).astype(int):
            refusal(stored(tmp_path, whole[:cut]))
        assert same(read_old_pickle(stored(tmp_path, whole)), old_layout())


@pytest.mark.parametrize("content", [b"", b"text,emotion\n", b"\x89PNG\r\n", bytes(100), b"PK\x03\x04", b"\x80\x04"])
def test_what_is_no_pickle_is_one_line(content: bytes, tmp_path: Path) -> None:
    refusal(stored(tmp_path, content))


def test_random_damage_is_one_line_or_harmless(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    whole, lines = pickle.dumps(old_layout(torch.from_numpy), 2), []
    for _ in range(150):
        data = bytearray(whole)
        for place in generator.integers(0, len(data), 3):
            data[place] = generator.integers(0, 256)
        try:
            read_old_pickle(stored(tmp_path, bytes(data)))
        except UserError as error:
            lines.append(str(error))
    assert len(lines) > 10 and all(len(line.splitlines()) == 1 for line in lines)


def eight(value: int) -> bytes:
    return value.to_bytes(8, "little")


TOWER = b")" + b"\x85" * 300_000
TWICE = b")" + b"q\x00h\x00\x86" * 60
DEMANDING = {
    "bytes": (b"\x8e" + eight(2**60) + b"abc", "BINBYTES8 claims"),
    "text": (b"\x8d" + eight(2**62), "BINUNICODE8 claims"),
    "negative length": (b"T\xff\xff\xff\xff", "BINSTRING claims"),
    "bytearray": (b"\x96" + eight(2**40), "BYTEARRAY8 claims"),
    "frame": (b"\x95" + eight(2**62), "FRAME claims"),
    "memo": (b"Nr" + (2**31).to_bytes(4, "little"), "memo place 2147483648"),
    "memo by text": (b"Np99999999999\n", "memo place 99999999999"),
    "tower of tuples as a key": (b"}" + TOWER + b"Ns", "a tuple as a key"),
    "tower among keys": (b"}(" + text("a") + b"N" + TOWER + b"Nu", "a tuple as a key"),
    "shared tuples as a key": (b"}" + TWICE + b"Ns", "a tuple as a key"),
    "tower in a set": (b"(" + TOWER + b"\x91", "the opcode FROZENSET"),
    "shared tuples as an id": (TWICE + b"Q", "persistent id of type tuple"),
    "the same bytes decoded again": (
        name("_codecs", "encode")
        + b"q\x00"
        + text("a" * 10_000)
        + b"q\x010"
        + b"(h\x01"
        + text("latin1")
        + b"tq\x020"
        + b"h\x00h\x02R0" * 3000
        + b"N",
        "decoded again and again",
    ),
    "an array larger than its bytes": (
        call(
            name("numpy._core.numeric", "_frombuffer"),
            b"C\x04abcd",
            call(name("numpy", "dtype"), text("f4")),
            b"(J\xff\xff\xff\x7ft",
            text("C"),
        ),
        "shape (2147483647,)",
    ),
    "bytes after the end": (b"N.N", "2 bytes follow"),
}


@pytest.mark.parametrize("case", DEMANDING)
def test_a_file_that_would_exhaust_the_machine_is_one_line(case: str, tmp_path: Path) -> None:
    body, named = DEMANDING[case]
    assert named in refusal(stored(tmp_path, program(body, 4)))


def test_parts_that_repeat_each_other_without_end_are_refused(tmp_path: Path) -> None:
    row: list = ["a"] * 1000
    for _ in range(3):
        row = [row] * 1000
    assert "repeat each other" in refusal(stored(tmp_path, old_layout(metadata={"note": row})))
    array = np.ones((100, D_MODEL), np.float32)
    shared = {"residual_stream": [[array] * 500] * 50, "labels": ["a"] * 500, "metadata": {}}
    assert "repeat each other" in refusal(stored(tmp_path, shared))
    few = {"residual_stream": [[array] * 2] * 2, "labels": ["a"] * 2, "metadata": {}}
    assert read_old_pickle(stored(tmp_path, few)).lengths == [100, 100]


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (10**9,), (1,)), (0, (4,), (1,)), (1, (3,), (1,)), (0, (2, 2), (0, 1)), (0, (2,), (3,))],
)
def test_a_tensor_beyond_its_storage_is_refused(
    offset: int, size: tuple[int, ...], stride: tuple[int, ...], tmp_path: Path
) -> None:
    class Larger:
        def __reduce__(self) -> tuple:
            storage = torch.arange(3.0)._typed_storage()
            return torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, OrderedDict())

    assert "in a storage of 3 numbers" in refusal(stored(tmp_path, old_layout(metadata={"note": Larger()})))


def test_a_packed_zip_file_is_refused(tmp_path: Path) -> None:
    good, packed = tmp_path / "good.pt", tmp_path / "packed.pt"
    torch.save(old_layout(torch.from_numpy), good)
    with zipfile.ZipFile(good) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other:
        for entry in archive.infolist():
            other.writestr(entry.filename, archive.read(entry))
    assert "packed" in refusal(packed)
    assert same(read_old_pickle(good), old_layout())


# --- what does not fit together is told by layer and sample


def spoiled(change: Callable[[dict], Any]) -> dict[str, Any]:
    value = old_layout()
    change(value)
    return value


MISFITS = {
    "samples of a layer": (lambda v: v["residual_stream"][1].pop(), ["residual_stream layer 1", "found 2 samples"]),
    "layers": (lambda v: v["mlp_output"].pop(), ["mlp_output has 1 layers", "n_layers 2"]),
    "layers between sites": (
        lambda v: (v["metadata"].pop("n_layers"), v["mlp_output"].pop()),
        ["residual_stream has 3 layers, mlp_output 1"],
    ),
    "labels": (lambda v: v["labels"].append("anger"), ["n_samples 3", "4 labels"]),
    "d_model": (lambda v: v["metadata"].update(d_model=9), ["layer 0 sample 0", "[3, 9], found [3, 8]"]),
    "positions": (
        lambda v: v["mlp_output"][1].__setitem__(2, np.ones((4, D_MODEL), np.float32)),
        ["mlp_output layer 1 sample 2", "[5, 8], found [4, 8]"],
    ),
    "dimensions": (
        lambda v: v["residual_stream"][2].__setitem__(1, np.ones((1, 1, D_MODEL), np.float32)),
        ["residual_stream layer 2 sample 1", "[pos, d_model]", "(1, 1, 8)"],
    ),
    "integers": (
        lambda v: v["residual_stream"][0].__setitem__(0, np.ones((3, D_MODEL), np.int64)),
        ["residual_stream layer 0 sample 0", "int64"],
    ),
    "no array": (lambda v: v["residual_stream"][0].__setitem__(0, "x"), ["layer 0 sample 0", "found a str"]),
    "tokens": (lambda v: v["tokens"][0].pop(), ["tokens sample 0: expected 3 of type int, found 2 entries"]),
    "nothing saved": (lambda v: v.update(residual_stream=None, mlp_output=None), ["neither residual_stream nor"]),
    "no labels": (lambda v: (v.update(labels=None), v["metadata"].pop("emotion_label")), ["expected labels"]),
    "metadata": (lambda v: v.update(metadata=[1]), ["a dict as metadata, found a list"]),
    "metadata's values": (lambda v: v["metadata"].update(x=float("nan")), ["plain finite numbers", "metadata"]),
    "text on several lines": (lambda v: v["metadata"].update(n_layers="two\n\x1b[2J"), ["n_layers two \\x1b[2J"]),
    "half a character": (lambda v: v["labels"].__setitem__(0, "\ud800"), ["labels, found a str"]),
}


@pytest.mark.parametrize("case", MISFITS)
def test_parts_that_do_not_fit_are_named(case: str, tmp_path: Path) -> None:
    change, words = MISFITS[case]
    message = refusal(stored(tmp_path, spoiled(change)))
    assert all(word in message for word in words), message


def test_another_object_is_named(tmp_path: Path) -> None:
    assert "found a list" in refusal(stored(tmp_path, [1]))
    assert "found a dict without residual_stream" in refusal(stored(tmp_path, {"a": 1}))
    with pytest.raises(UserError, match="it is a folder"):
        read_old_pickle(tmp_path)
    with pytest.raises(UserError, match="found no such file"):
        read_old_pickle(tmp_path / "none.pkl")


# --- real old files

MAKERS: dict[str, Callable[[np.ndarray], Any]] = {
    "float32": np.asarray,
    "fortran": np.asfortranarray,
    "big-endian": lambda a: a.astype(">f4"),
    "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "float64": lambda a: a.astype(np.float64),
    "torch": torch.from_numpy,
    "torch transposed": lambda a: torch.from_numpy(a.T.copy()).T,
    "torch slice": lambda a: torch.from_numpy(np.concatenate([-a, a]))[len(a) :],
    "parameter": lambda a: nn.Parameter(torch.from_numpy(a)),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("maker", MAKERS)
def test_arrays_of_every_make_are_read_exactly(maker: str, protocol: int, tmp_path: Path) -> None:
    old = read_old_pickle(stored(tmp_path, old_layout(MAKERS[maker]), protocol))
    assert same(old, old_layout())
    assert not same(old, old_layout(lambda a: a[:, ::-1]))
    assert {sample.dtype for layer in old.residual_stream for sample in layer} == {np.dtype(np.float32)}
    assert (old.lengths, old.d_model, old.not_finite) == (list(LENGTHS), D_MODEL, 0)


def test_files_by_numpy_1_are_read(tmp_path: Path) -> None:
    for protocol in (2, 5):
        new = pickle.dumps(old_layout(), protocol)
        # the names differ by one letter, and so does the length that stands before them from protocol 4 on
        other = new.replace(b"cnumpy._core.", b"cnumpy.core.").replace(b"\x8c\x13numpy._core", b"\x8c\x12numpy.core")
        if protocol == 5:
            other = other.replace(b"\x95" + eight(len(new) - 11), b"\x95" + eight(len(other) - 11))
        assert other != new and b"numpy._core" not in other
        assert same(read_old_pickle(stored(tmp_path, other)), old_layout())


@pytest.mark.parametrize("half", [np.float16, torch.float16, torch.bfloat16])
def test_halves_keep_their_values(half: Any, tmp_path: Path) -> None:
    def make(array: np.ndarray) -> Any:
        return torch.from_numpy(array).to(half) if isinstance(half, torch.dtype) else array.astype(half)

    old = read_old_pickle(stored(tmp_path, old_layout(make)))
    assert same(old, old_layout(make)) and not same(old, old_layout())
    assert old.residual_stream[0][0].dtype == (np.float32 if half is torch.bfloat16 else np.float16)


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch_save_are_read(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    value = old_layout(torch.from_numpy, tokens=[torch.arange(n)[None] for n in LENGTHS])
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    assert same(read_old_pickle(path), old_layout())


def test_optional_parts_may_be_missing_and_numpy_scalars_are_plain(tmp_path: Path) -> None:
    value = old_layout(mlp_output=None, labels=None, attention=[1], cache=None)
    value["tokens"] = [np.arange(n) for n in LENGTHS]
    value["metadata"] |= {"n_samples": np.int64(3), "emotion_label": np.str_("anger")}
    del value["token_strings"]
    old = read_old_pickle(stored(tmp_path, value))
    assert old.mlp_output is None and old.token_strings is None and old.left_out == ("attention",)
    assert old.tokens == [list(range(n)) for n in LENGTHS] and old.labels == ["anger"] * 3
    assert type(old.metadata["n_samples"]) is int


def test_values_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    value = old_layout()
    value["residual_stream"][1][2][3, 4] = np.nan
    value["mlp_output"][0][0][0, :2] = np.inf
    assert read_old_pickle(stored(tmp_path, value)).not_finite == 3


# --- the new layout, and back


@pytest.mark.parametrize("changes", [{}, {"mlp_output": None}, {"tokens": None, "token_strings": None}])
def test_an_old_file_comes_back_unchanged(changes: dict, tmp_path: Path) -> None:
    value = old_layout(lambda a: a.astype(np.float16) if len(a) == 3 and changes else a, **changes)
    import_pickle(stored(tmp_path, value), tmp_path / "new")
    export_pickle(tmp_path / "new", tmp_path / "back.pkl")
    back = read_old_pickle(tmp_path / "back.pkl")
    assert same(back, value)
    unguarded = pickle.loads((tmp_path / "back.pkl").read_bytes())
    assert same_layers(unguarded["residual_stream"], value["residual_stream"])
    value["residual_stream"][2][1][0, 5] += np.float32(1e-3)
    assert not same(back, value)


def test_all_positions_are_one_file_per_site_and_layer(tmp_path: Path) -> None:
    value = old_layout(lambda a: a.astype(np.float16))
    import_pickle(stored(tmp_path, value), tmp_path / "new")
    tensors = sorted(path.name for path in (tmp_path / "new" / "all").glob("*.safetensors"))
    assert tensors == [f"mlp_out_layer{i:03d}.safetensors" for i in range(2)] + [
        f"resid_pre_layer{i:03d}.safetensors" for i in range(3)
    ]
    with tensor_files.open_tensors(tmp_path / "new" / "all" / "resid_pre_layer001.safetensors") as view:
        assert view.get_tensor("offsets").tolist() == [0, 3, 4, 9]
        np.testing.assert_array_equal(view.get_tensor("values"), np.concatenate(value["residual_stream"][1]))
        assert view.get_tensor("values").dtype == np.float16
    texts = store.read_table(tmp_path / "new" / "texts.parquet")
    assert texts["emotion"].tolist() == value["labels"] and texts["n_tokens"].tolist() == list(LENGTHS)
    assert texts["text"][0] == " wörd0 wörd1 wörd2" and texts["tokens"][2].tolist() == [0, 1, 2, 3, 4]
    assert store.read_json(tmp_path / "new" / "index.json")["metadata"] == value["metadata"]


@pytest.mark.parametrize("position", ["last", "mean"])
def test_one_position_is_what_extraction_gives(position: str, tiny_models: dict, tmp_path: Path) -> None:
    lm, network = tiny_models["gpt2"], plain_network("gpt2")
    sentences = ["It rained.", "I", "The kettle boiled over."]
    rows = encode(lm, sentences)
    with torch.inference_mode():
        hidden = [network(torch.tensor([ids]), output_hidden_states=True).hidden_states[:-1] for ids in rows]
    value = {
        "residual_stream": [[states[layer][0].numpy() for states in hidden] for layer in range(lm.n_layers)],
        "mlp_output": None,
        "tokens": rows,
        "labels": ["neutral", "anger", "anger"],
        "metadata": {"model_name": "../tiny gpt2", "n_layers": lm.n_layers, "d_model": lm.d_model},
    }
    import_pickle(stored(tmp_path, value), tmp_path / "new", position=position)
    texts = store.read_table(tmp_path / "new" / "texts.parquet")
    acts = StoredActivations(tmp_path / "new", position).read()
    assert acts.model == "../tiny gpt2" and acts.layers == tuple(range(lm.n_layers))  # the final residual was not saved
    expected = extract_activations(lm, sentences, positions=position)
    other = extract_activations(lm, sentences, positions="mean" if position == "last" else "last")
    for name_, held in (("expected", expected), ("other", other)):
        close = np.allclose(acts.values["resid_pre"], held.values["resid_pre"][:-1], atol=1e-4)
        assert close == (name_ == "expected")
    np.testing.assert_allclose(acts.token_norms, expected.token_norms[:-1], rtol=1e-4)
    np.testing.assert_allclose(acts.bulk_norms, expected.bulk_norms[:-1], rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(acts.offsets, expected.offsets)
    assert acts.values["resid_pre"].dtype == np.float32
    assert acts.where(texts["emotion"] == "anger").values["resid_pre"].shape[1] == 2


def test_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, written = stored(tmp_path, old_layout()), []

    def full(target: Path, *arguments: Any) -> None:
        written.append(target)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        write(target, *arguments)

    write = store.write
    monkeypatch.setattr(store, "write", full)
    with pytest.raises(UserError, match="No space left"):
        import_pickle(path, tmp_path / "new")
    assert len(written) == 4 and [p.name for p in tmp_path.iterdir()] == ["old.pkl"]
    monkeypatch.undo()
    import_pickle(path, tmp_path / "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "old.pkl"]


def test_wrong_requests_are_named_and_change_nothing(tmp_path: Path) -> None:
    path, new = stored(tmp_path, old_layout()), tmp_path / "new"
    with pytest.raises(UserError, match="unknown position 'first'"):
        import_pickle(path, new, position="first")
    without = tmp_path / "mlp.pkl"
    without.write_bytes(pickle.dumps(old_layout(residual_stream=None)))
    with pytest.raises(UserError, match="needs residual_stream"):
        import_pickle(without, new, position="last")
    assert not new.exists()
    with pytest.raises(UserError, match="expected a folder that `emolib import-pickle` wrote"):
        export_pickle(tmp_path, tmp_path / "back.pkl")
    import_pickle(path, new, position="mean")
    with pytest.raises(UserError, match="imported with position 'all', got 'mean'"):
        export_pickle(new, tmp_path / "back.pkl")
    before = contents(new)
    with pytest.raises(UserError, match="does not exist yet"):
        import_pickle(path, new)
    assert before == contents(new) and not (tmp_path / "back.pkl").exists()


def test_a_changed_file_of_the_folder_is_noticed_by_the_export(tmp_path: Path) -> None:
    import_pickle(stored(tmp_path, old_layout()), tmp_path / "new")
    path = tmp_path / "new" / "all" / "resid_pre_layer001.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="corrupted artifact"):
        export_pickle(tmp_path / "new", tmp_path / "back.pkl")
    assert not (tmp_path / "back.pkl").exists()
