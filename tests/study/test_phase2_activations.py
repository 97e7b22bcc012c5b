"""Phase 2 as a run: what lies on disk after it, what a second run finds there, and the tables of its report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from planted_runs import opened_run
from tiny import plain_network, tiny_model

import emolib
from emolib.base import store
from emolib.base.errors import UserError
from emolib.data.activations import Activations, layer_file
from emolib.data.dataset import jsonl_bytes, load_dataset, select_scenarios
from emolib.models.language_model import LanguageModel
from emolib.study import phase2_activations
from emolib.study.run import Run

COUNTS = {"train": 4, "validation": 2, "test": 2}
SMALL = {**{f"n_{split}": count for split, count in COUNTS.items()}, "backend": "lexical"}
Open = Callable[..., Run]


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some scenarios of the default data set: those of both styles, and as many training scenarios of each."""
    data = load_dataset()
    parts = [select_scenarios(data, split, count) for split, count in COUNTS.items()]
    for style in ("explicit", "implicit"):
        parts.append(select_scenarios(data[data["style"] == style], "train", COUNTS["train"]))
    file = tmp_path_factory.mktemp("data") / "few.jsonl"
    file.write_bytes(jsonl_bytes(pd.concat(parts).drop_duplicates("id")))
    return file


@pytest.fixture
def opened(lm: LanguageModel, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """A run of phase 2 on the tiny model, its results in an empty folder that later runs of the test find again."""
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    usual = {**SMALL, "dataset": str(few)}
    return lambda model=lm, force=False, **params: opened_run(model, "phase2", force=force, **{**usual, **params})


@pytest.fixture
def unnamed(few: Path, tmp_path: Path) -> Path:
    """A data set whose only emotion has no word list, so that no text has a trigger."""
    data = load_dataset(few)
    data = data[data["emotion"].isin(["neutral", "gratitude"])].replace({"emotion": {"gratitude": "calm"}})
    file = tmp_path / "unnamed.jsonl"
    file.write_bytes(jsonl_bytes(data))
    return file


def written(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.safetensors"))}


def touched(folder: Path) -> dict[str, int]:
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*.safetensors")}


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


# files


def test_runs_over_some_layers_and_then_the_rest_leave_the_files_of_one_run(lm, few, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    plain_network("llama").save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)

    def extract(results: str, **params: object) -> Path:
        monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / results))
        params |= {**SMALL, "dataset": str(few), "positions": ["mean", "all"]}
        run = emolib.open_run("baseline_smoke", str(folder), "phase2", **params)
        phase2_activations.ensure(run, phase2_activations.positions(run), run.params.layers)
        return run.paths.activations()

    first = touched(extract("shards", layers="0-1"))
    assert {name.split("_layer")[1] for name in first} == {"000.safetensors", "001.safetensors"}
    shards = extract("shards", layers="2,3")
    assert {name: touched(shards)[name] for name in first} == first, "what was there is left alone"
    whole = written(extract("whole"))
    assert written(shards) == whole
    assert len(whole) == 2 * (lm.n_layers + 1 + lm.n_layers)  # two positions; resid_pre has one layer more than mlp_out
    assert written(extract("half", storage="float16")) != whole  # control


def test_a_layer_that_the_model_does_not_have_is_refused(opened, tmp_path, lm):
    run = opened(layers="0-4")
    with pytest.raises(UserError, match=r"layer 4 is out of range: .* have layers 0-3"):
        phase2_activations.ensure(run, ("last",), run.params.layers)
    with pytest.raises(UserError, match="expected layers such as 0-17"):
        opened(layers="first")


def test_half_precision_is_stored_as_such_and_read_as_single(opened):
    single, half = opened(), opened(storage="float16")
    exact = phase2_activations.activations(single, "mean").values["resid_pre"]
    before = phase2_activations.storage_table(single)
    found = phase2_activations.activations(half, "mean").values["resid_pre"]
    after = phase2_activations.storage_table(half)
    assert set(before["type"]) == {"F32"} and set(after["type"]) == {"F16"}
    without_norms = before["site"] == "mlp_out"  # the norms of the tokens stay in single precision
    assert (after["MiB"] < before["MiB"]).all()
    assert (after["MiB"] < 0.6 * before["MiB"])[without_norms].all()
    assert found.dtype == np.float32
    assert not np.array_equal(found, exact)
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-3)


def test_every_token_holds_what_the_other_positions_are_made_of(opened):
    run = opened()
    phase2_activations.ensure(run, ("all", *phase2_activations.usual_positions(run)))
    whole, last, mean = (phase2_activations.stored(run, position) for position in ("all", "last", "mean"))
    texts = phase2_activations.texts_table(run)
    assert len(whole.layer("resid_pre", 2)) == texts["n_tokens"].sum()
    for i in (0, 7):
        rows = whole.of_text("resid_pre", 2, i)
        np.testing.assert_allclose(rows[-1], last.layer("resid_pre", 2)[i], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(rows[1:].mean(0), mean.layer("resid_pre", 2)[i], rtol=1e-4, atol=1e-4)
        assert not np.allclose(rows.mean(0), mean.layer("resid_pre", 2)[i], rtol=1e-4, atol=1e-4)  # control


def test_force_computes_anew_once_and_to_the_same_bytes(opened):
    plain = opened()
    folder = plain.paths.activations()
    phase2_activations.ensure(plain, ("last",))
    before, bytes_before = touched(folder), written(folder)
    phase2_activations.ensure(opened(), ("last",))
    assert touched(folder) == before  # control
    forced = opened(force=True)
    phase2_activations.ensure(forced, ("last",))
    after = touched(folder)
    assert all(after[name] > before[name] for name in before)
    assert written(folder) == bytes_before
    phase2_activations.ensure(forced, ("last",))
    assert touched(folder) == after


def test_a_damaged_file_is_told_in_one_line_and_force_heals_it(opened):
    run = opened()
    phase2_activations.ensure(run, ("last",))
    path = layer_file(run.paths.activations(), "last", "mlp_out", 1)
    intact = path.read_bytes()
    damage(path)
    with pytest.raises(UserError, match=r"corrupted artifact .*mlp_out_layer001.*--force") as caught:
        phase2_activations.activations(opened(), "last")
    assert "\n" not in str(caught.value)
    phase2_activations.ensure(opened(force=True), ("last",))
    assert path.read_bytes() == intact


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"{}", b'{"schema": 1, "matched": {}}'])
def test_a_file_whose_manifest_is_not_one_counts_as_missing(opened, content):
    run = opened()
    phase2_activations.ensure(run, ("last",))
    path = layer_file(run.paths.activations(), "last", "resid_pre", 0)
    intact, stamp = path.read_bytes(), path.stat().st_mtime_ns
    store.manifest_path(path).write_bytes(content)
    phase2_activations.ensure(opened(), ("last",))
    assert path.read_bytes() == intact and path.stat().st_mtime_ns > stamp
    assert store.read_manifest(path)["matched"]["layer"] == 0


def test_layers_that_a_deeper_model_of_this_name_left_are_not_read(opened, lm):
    deeper = tiny_model("gpt_neo", seed=1)  # a revision of its own
    deeper = replace(deeper, spec=deeper.spec.model_copy(update={"name": lm.spec.name}))
    assert phase2_activations.activations(opened(deeper), "last").n_layers == 4
    acts = phase2_activations.activations(opened(), "last")
    assert acts.n_layers == 3 and acts.revision == lm.revision
    assert set(phase2_activations.storage_table(opened())["layers"]) == {3, 4}


# texts


def test_the_texts_lie_beside_with_their_tokens_and_triggers(opened, lm):
    run = opened()
    phase2_activations.ensure(run, ("last",))
    held = pd.read_parquet(run.paths.activations() / "texts.parquet")
    assert held["id"].tolist() == phase2_activations.texts(run)["id"].tolist()
    assert {"emotion", "scenario", "style", "split", "text"} <= set(held)
    for row in held.head(8).to_dict("records"):
        ids = lm.tokenizer(row["text"]).input_ids
        assert row["tokens"].tolist() == ids and row["n_tokens"] == len(ids)
        assert "".join(row["token_strings"]) == row["text"]
    explicit = held[(held["style"] == "explicit") & (held["emotion"] == "gratitude")]
    ends = ["".join(row["token_strings"][: row["trigger"] + 1]) for row in explicit.to_dict("records")]
    assert ends and all(end.lower().endswith(("thank", "thanks", "grateful", "ful", "appreciate")) for end in ends)
    assert set(held.loc[held["emotion"] == "neutral", "trigger"]) == {-1}


@pytest.mark.parametrize("style", ["explicit", "implicit"])
def test_as_many_steering_texts_of_each_style_are_extracted_too(opened, style):
    run = opened()
    texts = phase2_activations.texts(run)
    assert texts["id"].is_unique
    wanted = set(run.texts("train", style=style)["id"])
    assert wanted <= set(texts["id"])
    assert not wanted <= set(run.texts("train")["id"])  # control: they are more than the scenarios of both styles


def test_a_style_that_the_data_set_lacks_is_told_with_the_way_out(opened, few, tmp_path):
    file = tmp_path / "plain.jsonl"
    file.write_bytes(jsonl_bytes(pd.read_json(few, lines=True).assign(style="unspecified")))
    run = opened(dataset=str(file))
    assert len(run.texts("train")) and phase2_activations.of_style(run, "implicit").empty
    with pytest.raises(UserError, match="style 'explicit', the data set has unspecified; use -p vector_style=all"):
        run.texts("train", style="explicit")


# triggers


def test_the_trigger_is_dropped_where_no_text_has_one(opened, unnamed):
    assert phase2_activations.positions(opened()) == ("last", "mean", "trigger")  # control
    run = opened(dataset=str(unnamed))
    assert phase2_activations.positions(run) == ("last", "mean") == phase2_activations.usual_positions(run)
    phase2_activations.ensure(run, phase2_activations.positions(run))
    assert set(phase2_activations.storage_table(run)["position"]) == {"last", "mean"}
    assert phase2_activations.trigger_table(phase2_activations.texts_table(run))["found"].tolist() == [0, 0, 0, 0]
    assert phase2_activations.trigger_table(phase2_activations.texts_table(run))["place"].isna().all()


def test_a_run_that_wants_nothing_but_the_missing_trigger_is_told(opened, unnamed):
    with pytest.raises(UserError, match="give another position than 'trigger'") as caught:
        phase2_activations.positions(opened(dataset=str(unnamed), positions=["trigger"]))
    assert "\n" not in str(caught.value)
    assert phase2_activations.positions(opened(positions=["trigger"])) == ("trigger",)  # control


def test_triggers_are_counted_per_label_and_style(opened):
    run = opened()
    table = phase2_activations.trigger_table(phase2_activations.texts_table(run)).set_index(["emotion", "style"])
    held = phase2_activations.texts_table(run)
    for (emotion, style), row in table.iterrows():
        own = held[(held["emotion"] == emotion) & (held["style"] == style)]
        there = own[own["trigger"] >= 0]
        assert (row["texts"], row["found"]) == (len(own), len(there))
        if len(there):
            shares = [t / (n - 1) for t, n in zip(there["trigger"], there["n_tokens"], strict=True)]
            assert row["place"] == pytest.approx(np.mean(shares))
    assert table.loc[("gratitude", "explicit"), "found"] > 0
    assert table.loc[("gratitude", "implicit"), "found"] == 0
    assert table.loc[("neutral", "explicit"), "found"] == 0


def test_a_tokenizer_that_tells_no_places_leaves_the_triggers_out(opened, lm):
    class Slow:
        """The tokenizer without its offsets."""

        is_fast = False

        def __getattr__(self, name: str) -> object:
            return getattr(lm.tokenizer, name)

        def __call__(self, *args: object, **options: object) -> object:
            return lm.tokenizer(*args, **options)

    run = opened(replace(lm, tokenizer=Slow()))
    assert phase2_activations.positions(run) == ("last", "mean")
    assert "trigger" not in phase2_activations.texts_table(run)
    assert set(phase2_activations.trigger_table(phase2_activations.texts_table(run))["found"]) == {0}


# tables


def test_what_is_stored_is_listed_for_the_layers_and_sites_of_the_run(opened, lm):
    whole = opened(positions=["last"], sites=["mlp_out", "z"])
    phase2_activations.ensure(whole, ("last",))
    n, table = len(phase2_activations.texts(whole)), phase2_activations.storage_table(whole).set_index("site")
    assert table["layers"].to_dict() == {"resid_pre": 4, "mlp_out": 3, "z": 3}
    assert table["shape"].to_dict() == {"resid_pre": "48", "mlp_out": "48", "z": "4×12"}
    assert set(table["rows"]) == set(table["texts"]) == {n}
    sizes = [p.stat().st_size for p in (whole.paths.activations() / "last").glob("z_layer*.safetensors")]
    assert table.loc["z", "MiB"] == pytest.approx(sum(sizes) / 2**20)
    some = opened(positions=["last"], sites=["mlp_out"], layers="2-3")
    phase2_activations.ensure(some, ("last",), some.params.layers)
    assert phase2_activations.storage_table(some).set_index("site")["layers"].to_dict() == {
        "resid_pre": 2,
        "mlp_out": 1,
    }


def test_the_final_residual_alone_can_be_extracted(opened):
    run = opened(layers="3")
    acts = phase2_activations.activations(run, "last", run.params.layers)
    assert acts.layer_numbers == (3,) and set(acts.values) == {"resid_pre"}
    assert phase2_activations.storage_table(run)["site"].unique().tolist() == ["resid_pre"]
    np.testing.assert_array_equal(
        acts.layer("resid_pre", 3), phase2_activations.activations(opened(), "last").values["resid_pre"][3]
    )


@pytest.fixture
def pair_of_acts(opened: Open) -> SimpleNamespace:
    """Activations of every layer, and of layers 1 and 3 alone."""
    run = opened()
    return SimpleNamespace(
        run=run,
        all=phase2_activations.activations(run, "mean"),
        some=phase2_activations.activations(run, "mean", (1, 3)),
    )


def test_norms_and_shares_are_those_of_plain_arithmetic(pair_of_acts):
    acts, table = pair_of_acts.all, phase2_activations.norm_shares(pair_of_acts.all).set_index("layer")
    first = acts.offsets[:-1]
    later = np.setdiff1d(np.arange(acts.offsets[-1]), first)
    for layer in range(4):
        norms, energy = acts.token_norms[layer], (acts.values["resid_pre"][layer] ** 2).sum(0)
        assert table.loc[layer, "first_token_norm"] == pytest.approx(np.median(norms[first]))
        assert table.loc[layer, "median_norm"] == pytest.approx(np.median(norms[later]))
        bulk = np.median(acts.bulk_norms[layer][later])
        assert table.loc[layer, "bulk_norm"] == pytest.approx(bulk)
        assert table.loc[layer, "bulk_share"] == pytest.approx(bulk / np.median(norms[later]))
        for count in (1, 3, 10):
            share = np.sort(energy)[-count:].sum() / energy.sum()
            assert table.loc[layer, f"top{count}_share"] == pytest.approx(share, rel=1e-5)
    assert (table["top10_share"] > table["top3_share"]).all() and (table["top3_share"] > table["top1_share"]).all()


def test_tables_of_some_layers_are_rows_of_the_whole_tables(pair_of_acts):
    for made in (phase2_activations.norm_shares, phase2_activations.massive_dimensions):
        whole, some = made(pair_of_acts.all), made(pair_of_acts.some)
        assert some["layer"].drop_duplicates().tolist() == [1, 3]
        pd.testing.assert_frame_equal(some, whole[whole["layer"].isin([1, 3])].reset_index(drop=True))


def test_the_cost_is_that_of_the_pass(opened):
    run = opened()
    phase2_activations.ensure(run, phase2_activations.positions(run))
    row = phase2_activations.cost(run).iloc[0]
    held = phase2_activations.texts_table(run)
    assert (row["texts"], row["tokens"], row["device"]) == (len(held), held["n_tokens"].sum(), "cpu")
    assert row["texts_per_s"] == pytest.approx(row["texts"] / max(row["seconds"], 1e-9))


def test_a_score_that_follows_the_norm_is_found_and_one_at_random_is_not(pair_of_acts, monkeypatch):
    acts, run = pair_of_acts.all, pair_of_acts.run
    inner = [acts.token_norms[2, a + 1 : b].mean() for a, b in zip(acts.offsets[:-1], acts.offsets[1:], strict=True)]
    random = np.random.default_rng(0).random(len(inner))
    planted_scores(monkeypatch, gratitude=inner, anger=random)
    table = phase2_activations.norm_correlations(run, acts).set_index("score")
    assert table.loc["target/gratitude", "strongest"] == pytest.approx(1.0)
    assert table.loc["target/gratitude", "layer"] == 2
    assert table.loc["target/gratitude", "null"] < 0.7
    assert abs(table.loc["target/anger", "strongest"]) <= table.loc["target/anger", "null"]


def test_a_text_of_one_token_has_no_part_in_the_correlations(pair_of_acts, monkeypatch):
    acts = pair_of_acts.all
    counts = acts.texts["n_tokens"].to_numpy().copy()
    start, stop = acts.offsets[3:5]
    kept = np.ones(acts.offsets[-1], dtype=bool)
    kept[start + 1 : stop] = False
    counts[3] = 1
    short = with_tokens(acts, counts, kept)
    planted_scores(monkeypatch, gratitude=counts[counts > 1])
    table = phase2_activations.norm_correlations(pair_of_acts.run, short)
    assert table["strongest"].notna().all() and set(table["n"]) == {len(counts) - 1}


def with_tokens(acts: Activations, counts: np.ndarray, kept: np.ndarray) -> Activations:
    offsets = np.concatenate([[0], np.cumsum(counts)])
    texts = acts.texts.assign(n_tokens=counts)
    bulk = None if acts.bulk_norms is None else acts.bulk_norms[:, kept]
    return replace(acts, texts=texts, token_norms=acts.token_norms[:, kept], bulk_norms=bulk, offsets=offsets)


def planted_scores(monkeypatch: pytest.MonkeyPatch, **targets: object) -> None:
    """Scores that are given in place of those that scorers find."""

    def scored(run: Run, texts: pd.DataFrame) -> pd.DataFrame:
        found = {"sentiment/POSITIVE": 0.5, "sentiment/NEGATIVE": 0.5, "politeness/score": 0.0}
        found |= {f"goemotions/{name}": 0.0 for name in ("gratitude", "anger", "annoyance", "remorse")}
        found |= {f"goemotions/{name}": values for name, values in targets.items()}
        return texts.reset_index(drop=True).assign(**found)

    monkeypatch.setattr(Run, "scored", scored)
