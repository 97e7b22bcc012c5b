"""Activations on disk: streamed, in shards, at every position, read back by layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import Case

from emolib.base import store
from emolib.base.errors import UserError
from emolib.data.activations import StoredActivations, layer_file
from emolib.engine.extraction import extract_activations, extract_positions
from emolib.engine.observation import SITES, observe, places_of
from emolib.engine.positions import POSITIONS
from emolib.engine.stored_extraction import extract_to_folder, store_activations, texts_with_tokens
from emolib.engine.triggers import trigger_tokens
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode, pad_left

TEXTS = pd.DataFrame(
    {
        "id": [f"t{i}" for i in range(6)],
        "text": [
            "I am so sorry, I broke it.",
            "Thank you for the soup.",
            "It rained on the bridge.",
            "They say sorry and I say thanks.",
            "Not thankful at all.",
            "No",
        ],
        "emotion": ["apology", "gratitude", "neutral", "gratitude", "gratitude", "neutral"],
    }
)
RELATIVE = 1e-4


@pytest.fixture(scope="module")
def lm(tiny_models: dict[str, LanguageModel]) -> LanguageModel:
    return tiny_models["llama"]


def alone(lm: LanguageModel, text: str) -> dict[tuple[str, int], np.ndarray]:
    """Every site of one text, run alone: `[pos, …]`, a pattern `[head, query, key]`."""
    ids, mask = pad_left(encode(lm, [text]), lm.tokenizer.pad_token_id)
    found = {}
    observe(lm, ids, mask, places_of(lm, SITES), lambda s, n, v: found.update({(s, n): v[0].float().clone().numpy()}))
    return found


def expected_rows(site: str, position: str, whole: np.ndarray, trigger: int) -> np.ndarray:
    """What a position keeps of one text, by plain indexing."""
    if position == "trigger" and trigger < 0:
        return whole[:0] if site != "pattern" else np.zeros((0, len(whole)))
    if site == "pattern":
        attended = {"last": whole[:, -1], "trigger": whole[:, trigger]}.get(position)
        if position == "mean":
            attended = whole[:, 1:].mean(1) if whole.shape[1] > 1 else whole.mean(1)
        return whole.transpose(1, 2, 0).reshape(-1, len(whole)) if position == "all" else attended.T
    if position == "mean":
        return (whole[1:] if len(whole) > 1 else whole).mean(0)[None]
    return {"all": whole, "last": whole[-1:], "trigger": whole[trigger][None]}[position]


def close(a: np.ndarray, b: np.ndarray, relative: float = RELATIVE) -> bool:
    return a.shape == b.shape and (not b.size or float(np.abs(a - b).max()) <= relative * float(np.abs(b).max()))


def test_every_site_and_position_on_disk_equals_each_text_run_alone(case: Case, tmp_path: Path) -> None:
    lm = case.lm
    held = extract_to_folder(lm, TEXTS, tmp_path, sites=SITES, positions=POSITIONS, batch_size=4)
    triggers = trigger_tokens(lm.tokenizer, TEXTS)
    first = case.name != "bundled"  # there "Thank" is one token, and the first of its text
    assert (triggers >= 0).tolist() == [True, first, False, True, False, False]
    for i, text in enumerate(TEXTS["text"]):
        whole = alone(lm, text)
        for position in POSITIONS:
            for (site, layer), value in whole.items():
                mine = held[position].of_text(site, layer, i)
                assert close(mine, expected_rows(site, position, value, triggers[i])), (site, layer, position, i)
    swapped = expected_rows("z", "all", alone(lm, TEXTS["text"][1])["z", 0][::-1], 0)
    assert not close(held["all"].of_text("z", 0, 1), swapped)  # control


def test_what_is_read_back_is_what_memory_holds(lm: LanguageModel, tmp_path: Path) -> None:
    in_memory = extract_positions(lm, TEXTS, sites=SITES, positions=POSITIONS)
    on_disk = extract_to_folder(lm, TEXTS, tmp_path, sites=SITES, positions=POSITIONS)
    for position, acts in in_memory.items():
        back = on_disk[position].read()
        assert set(back.values) == set(SITES) == set(acts.values)
        for site in SITES:
            np.testing.assert_array_equal(back.values[site], acts.values[site])
        np.testing.assert_array_equal(back.token_norms, acts.token_norms)
        np.testing.assert_array_equal(back.bulk_norms, acts.bulk_norms)
        np.testing.assert_array_equal(back.offsets, acts.offsets)
        assert back.texts["id"].tolist() == acts.texts["id"].tolist()
        assert (back.model, back.revision, back.layers, back.n_layers) == (acts.model, acts.revision, None, lm.n_layers)
    assert in_memory["trigger"].texts["id"].tolist() == ["t0", "t1", "t3"]


def test_shards_of_layers_are_the_files_of_one_run(lm: LanguageModel, tmp_path: Path) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.safetensors")}

    sites = ("resid_pre", "z", "mlp_out")
    extract_to_folder(lm, TEXTS, tmp_path / "whole", sites=sites, positions=("last", "all"))
    for layers in ([0, 1], range(2, lm.n_layers + 1)):
        extract_to_folder(lm, TEXTS, tmp_path / "shards", sites=sites, positions=("last", "all"), layers=layers)
    assert files(tmp_path / "shards") == files(tmp_path / "whole")
    extract_to_folder(lm, TEXTS[:5], tmp_path / "shards", sites=sites, positions=("last",), layers=[1])
    assert files(tmp_path / "shards") != files(tmp_path / "whole")  # control


def test_one_layer_is_read_without_the_others(lm: LanguageModel, tmp_path: Path) -> None:
    held = extract_to_folder(lm, TEXTS, tmp_path, positions=("last",))["last"]
    expected = held.layer("mlp_out", 1)
    for path in (tmp_path / "last").glob("*"):
        if "mlp_out_layer001" not in path.name:
            path.write_bytes(b"damaged")
    np.testing.assert_array_equal(StoredActivations(tmp_path, "last").layer("mlp_out", 1), expected)
    with pytest.raises(UserError):  # control: another layer is damaged
        StoredActivations(tmp_path, "last").layer("mlp_out", 0)


def test_a_subset_of_layers_keeps_its_numbers(lm: LanguageModel) -> None:
    some, every = (extract_activations(lm, TEXTS, layers=layers) for layers in ([1, 3], None))
    assert some.layers == (1, 3) == some.layer_numbers
    np.testing.assert_array_equal(some.layer("resid_pre", 3), every.values["resid_pre"][3])
    np.testing.assert_array_equal(some.layer("mlp_out", 1), every.values["mlp_out"][1])
    with pytest.raises(UserError, match="layer 2 of resid_pre is not among"):
        some.layer("resid_pre", 2)
    with pytest.raises(UserError, match="expected activations of every layer"):
        _ = some.n_layers


def test_half_precision_is_close_and_half_as_large_and_read_as_single(lm: LanguageModel, tmp_path: Path) -> None:
    single, half = (
        extract_to_folder(lm, TEXTS, tmp_path / kind, positions=("all",), storage=kind)["all"]
        for kind in ("float32", "float16")
    )
    sizes = [layer_file(tmp_path / kind, "all", "mlp_out", 0).stat().st_size for kind in ("float32", "float16")]
    assert 0.45 < sizes[1] / sizes[0] < 0.65
    a, b = single.layer("resid_pre", 2), half.layer("resid_pre", 2)
    assert b.dtype == np.float32 and close(b, a, 1e-3) and not np.array_equal(a, b)


def test_values_beyond_half_precision_are_refused_and_leave_nothing(lm: LanguageModel, tmp_path: Path, monkeypatch):
    from emolib.engine import text_pass

    plain = text_pass.reduced
    monkeypatch.setattr(text_pass, "reduced", lambda *a: (rows * np.float32(1e6) for rows in plain(*a)))
    with pytest.raises(UserError, match=r"within the reach of float16 \(65504\), found .* store them in float32"):
        extract_to_folder(lm, TEXTS, tmp_path, storage="float16")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_an_interrupted_pass_leaves_no_file_and_a_kill_is_overwritten(lm: LanguageModel, tmp_path: Path) -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    parts = [("all", "resid_pre", 0)]
    with pytest.raises(KeyboardInterrupt):
        store_activations(lm, TEXTS, tmp_path, parts, on_batch=stop)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    left = layer_file(tmp_path, *parts[0]).with_name(".resid_pre_layer000.safetensors.partial")
    left.write_bytes(b"what a killed run left" * 10_000)
    (path,) = store_activations(lm, TEXTS, tmp_path, parts, matched=lambda part: {"part": list(part)})
    assert not left.exists() and store.state(path, {"part": list(parts[0])}) == "done"
    store.check(path)


def test_tokens_and_triggers_are_kept_beside_the_texts(lm: LanguageModel) -> None:
    table = texts_with_tokens(lm, TEXTS)
    assert table["tokens"].tolist() == encode(lm, TEXTS["text"].tolist())
    assert ["".join(row) for row in table["token_strings"]] == TEXTS["text"].tolist()  # one token per byte
    assert table["n_tokens"].tolist() == [len(text) for text in TEXTS["text"]]
    ends = [text[: place + 1] for text, place in zip(TEXTS["text"], table["trigger"], strict=True) if place >= 0]
    assert ends == ["I am so sorry", "Thank", "They say sorry and I say thanks"]  # its own emotion's word


def test_triggers_of_the_bundled_models_tokens(bundled: LanguageModel) -> None:
    table = texts_with_tokens(bundled, TEXTS)
    words = [row[i] if i >= 0 else None for row, i in zip(table["token_strings"], table["trigger"], strict=True)]
    assert words == [" sorry", None, None, " thanks", None, None]  # "Thank" is the first token of its text
    bare = texts_with_tokens(bundled, ["I apologise and thank you."])  # any list's first word
    assert bare["token_strings"][0][bare["trigger"][0]] in (" apologise", "ise", "ologise")


def test_texts_without_any_trigger_are_told_in_one_line(lm: LanguageModel) -> None:
    with pytest.raises(UserError, match="word of their emotion's list in params/keywords/, found none"):
        extract_activations(lm, ["It rained."], positions="trigger")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"positions": ("first",)}, "unknown position 'first'"),
        ({"storage": "bfloat16"}, "unknown storage 'bfloat16'"),
        ({"layers": [9]}, "layer 9 is out of range"),
        ({"sites": ("attention",)}, "unknown site 'attention'"),
    ],
)
def test_wrong_requests_are_named_and_leave_nothing(settings: dict, named: str, lm: LanguageModel, tmp_path: Path):
    with pytest.raises(UserError, match=named):
        extract_to_folder(lm, TEXTS, tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()


def test_what_is_not_stored_is_told(lm: LanguageModel, tmp_path: Path) -> None:
    held = extract_to_folder(lm, TEXTS, tmp_path, positions=("last",), layers=[1])["last"]
    with pytest.raises(UserError, match="layer 2 of resid_pre at position 'last' is not stored"):
        held.layer("resid_pre", 2)
    with pytest.raises(UserError, match="expected activations at position 'mean'"):
        _ = StoredActivations(tmp_path, "mean").sites
    assert held.read().layers == (1,)
