"""Sweeps and what is chosen from them, on real generations and on tables with a known answer."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.base.strength import UNITS
from emolib.data.keywords import load_keywords
from emolib.directions.controls import FAMILIES, ControlSource
from emolib.directions.rivals import alternative_vectors
from emolib.directions.subspaces import fit_subspaces
from emolib.directions.vectors import fit_emotion_vectors
from emolib.engine.extraction import extract_activations
from emolib.engine.generation import generate
from emolib.interventions import Decay, Steer, SubspaceSteer
from emolib.scoring import keyword_counts
from emolib.steering import cells, sweeps
from emolib.steering.cells import Controls

EMOTIONS = ("gratitude", "apology")


@pytest.fixture(scope="module")
def material(tiny_models):
    lm = tiny_models["llama"]
    texts = pd.DataFrame(
        {
            "id": list("abcdef"),
            "scenario": ["s1", "s2"] * 3,
            "split": "validation",
            "emotion": ["neutral"] * 2 + ["gratitude"] * 2 + ["apology"] * 2,
            "text": ["It is noon.", "The bus is red.", "Thank you all.", "I am grateful.", "I am sorry.", "My fault."],
        }
    )
    return lm, texts, fit_emotion_vectors(extract_activations(lm, texts))


def sweep_of(material, **changes):
    lm, texts, vecs = material
    prompts = texts[texts["emotion"] == "neutral"]
    values = {"layers": [1], "alphas": [0.5], "count": 3, "direct_path": True} | changes
    settings = cells.SweepSettings(max_new_tokens=6)
    return sweeps.residual_sweep(lm, prompts, vecs, settings=settings, **with_controls(values))


def with_controls(values):
    """The arguments of a sweep, those of its controls in one."""
    names = [field.name for field in dataclasses.fields(Controls)]
    beside = {name: values[name] for name in names if name in values}
    return {**{name: value for name, value in values.items() if name not in names}, "controls": Controls(**beside)}


def test_a_sweep_has_one_row_per_prompt_and_cell_with_the_named_columns(material):
    table = sweep_of(material)
    assert list(table.columns[:11]) == sweeps.KEY_COLUMNS
    assert table["row_id"].is_unique
    counts = table["kind"].value_counts().to_dict()
    assert counts == {"baseline": 2, "emotion": 4, "direct_path": 4, "isotropic": 6}


def test_alpha_zero_rows_are_the_baseline(material):
    table = sweep_of(material, alphas=[0.0], count=0, direct_path=False)
    assert set(table["kind"]) == {"baseline"}


def test_a_steer_of_strength_zero_gives_the_baseline_s_texts_and_one_that_steers_does_not(material):
    table = sweep_of(material, zero=True, alphas=[2.0], count=0)
    texts = {kind: part["text"].tolist() for kind, part in table.groupby("kind")}
    assert texts["zero"] == texts["baseline"]
    assert (table.loc[table["kind"] == "zero", ["alpha", "delta_ratio"]] == 0).all(axis=None)
    assert not set(texts["emotion"]) <= set(texts["baseline"])


def test_a_controls_direction_does_not_depend_on_how_many_there_are(material):
    few, many = sweep_of(material, count=2), sweep_of(material, count=13)
    few, many = (table[table["kind"] == "isotropic"] for table in (few, many))
    merged = few.merge(many, on="row_id", suffixes=("", "_many"))
    assert len(merged) == len(few) and (merged["text"] == merged["text_many"]).all()
    assert few["seed"].nunique() == 2
    other_layer = cells.control_seed(0, "isotropic", 2, 0)
    assert other_layer != cells.control_seed(0, "isotropic", 1, 0)


def test_a_number_of_controls_is_that_many_isotropic_directions(material):
    lm, texts, vecs = material
    given = {"layers": [1], "alphas": [0.5], "settings": cells.SweepSettings(max_new_tokens=6)}
    prompts = texts[texts["emotion"] == "neutral"]
    short, whole = (
        sweeps.residual_sweep(lm, prompts, vecs, **given, **beside)
        for beside in ({"n_controls": 2}, {"controls": Controls(2)})
    )
    pd.testing.assert_frame_equal(short, whole)
    assert (short["kind"] == "isotropic").sum() == 4 and not (short["kind"] == "direct_path").any()
    with pytest.raises(UserError, match="n_controls or controls, got both"):
        sweeps.residual_sweep(lm, prompts, vecs, **given, n_controls=2, controls=Controls(2))


def with_every_unit(vecs):
    """Vectors that know the unit `kl`, too."""
    return dataclasses.replace(vecs, kl_lengths=0.3 * vecs.neutral_norms)


def test_controls_have_the_norm_of_the_steer(material):
    vecs = with_every_unit(material[2])
    for unit in UNITS:
        settings = cells.SweepSettings(unit=unit)
        own = cells.steer_cell("emotion", vecs, "apology", 1, 0.4, settings)
        drawn = cells.control_cells(vecs, 1, 0.4, 0, settings)
        same = [c for c in drawn if c.emotion in ("any", "apology")]
        assert len(same) == 1
        assert np.linalg.norm(same[0].act.delta()) == pytest.approx(np.linalg.norm(own.act.delta()), rel=1e-5)


class Recorded:
    """A store that keeps nothing and remembers what each shard was said to depend on."""

    def __init__(self) -> None:
        self.matched: dict[str, dict] = {}

    scores = None

    def begin(self, rows: int) -> None:
        self.total = rows

    def shard(self, name, matched, compute, rows):
        self.matched[name] = dict(matched)
        return compute()


def test_a_shard_depends_on_its_vectors_and_on_the_word_lists(material, monkeypatch):
    first, again, other = Recorded(), Recorded(), Recorded()
    for store in (first, again):
        sweep_of(material, run=store)
    assert first.matched == again.matched
    lists = load_keywords()
    patterns = {**lists.patterns, "apology": lists.patterns["anger"]}
    monkeypatch.setattr(keyword_counts, "load_keywords", lambda: dataclasses.replace(lists, patterns=patterns))
    sweep_of(material, run=other)
    assert all(other.matched[name] != matched for name, matched in first.matched.items())
    stronger = Recorded()
    sweep_of(material, run=stronger, alphas=[0.7])
    assert stronger.matched["layer001"]["acts"] != first.matched["layer001"]["acts"]


def test_bad_sweeps_are_refused(material, tiny_models):
    with pytest.raises(UserError, match="layer 9 is out of range"):
        sweep_of(material, layers=[9])
    with pytest.raises(UserError, match="finite alphas"):
        sweep_of(material, alphas=[float("inf")])
    lm, texts, vecs = material
    with pytest.raises(UserError, match="expected vectors of"):
        sweeps.residual_sweep(tiny_models["gpt2"], texts, vecs, layers=[1], alphas=[0.1])
    with pytest.raises(UserError, match="column 'split'"):
        sweeps.residual_sweep(lm, texts.drop(columns="split"), vecs, layers=[1], alphas=[0.1])


# families, other directions, samples, schedules, templates, subspaces

THINGS = ("bus", "kettle", "ladder", "meeting", "window")
WORDING = {"neutral": "The {} is red.", "gratitude": "Thank you for the {}!", "apology": "I am sorry about the {}."}
STRONG = 1.5  # residual norms: enough that a random model's greedy text changes


@pytest.fixture(scope="module")
def trained(tiny_models):
    """A tiny model, two prompts, its vectors, the activations that they were fitted on, and a source of controls."""
    lm = tiny_models["llama"]
    rows = [(f"s{i}", e, text.format(thing)) for i, thing in enumerate(THINGS) for e, text in WORDING.items()]
    texts = pd.DataFrame(rows, columns=["scenario", "emotion", "text"])
    texts = texts.assign(id=[f"t{i}" for i in range(len(texts))], split="train")
    acts = extract_activations(lm, texts, positions="mean")
    neutral = texts[texts["emotion"] == "neutral"]
    whole = extract_activations(lm, neutral, positions="all")
    source = ControlSource({layer: whole.layer("resid_pre", layer) for layer in range(3)}, acts)
    prompts = pd.DataFrame({"scenario": ["p0", "p1"], "split": "test", "text": ["It is noon here.", "We saw a shed."]})
    return lm, prompts, fit_emotion_vectors(acts), acts, source


def sweep_with(trained, settings=None, **changes):
    lm, prompts, vecs, _, source = trained
    given = {"max_new_tokens": 6, "backend": "lexical", **(settings or {})}
    values = {"layers": [1], "alphas": [STRONG], "source": source, **changes}
    return sweeps.residual_sweep(lm, prompts, vecs, settings=cells.SweepSettings(**given), **with_controls(values))


def texts_of(table, **where):
    for key, value in where.items():
        table = table[table[key] == value]
    return table["text"].tolist()


def test_families_run_side_by_side_each_in_shards_of_its_own(trained):
    kept = Recorded()
    table = sweep_with(trained, count=21, families=FAMILIES, direct_path=True, run=kept)
    named = [f"{family}_layer001_{start}" for family in FAMILIES for start in ("0000", "0020")]
    assert list(kept.matched) == ["baseline", "layer001", "direct_path", *named]
    counts = table["kind"].value_counts().to_dict()
    assert counts == {"baseline": 2, "emotion": 4, "direct_path": 4, **dict.fromkeys(FAMILIES, 42)}
    assert kept.total == len(table) and table["row_id"].is_unique
    assert (table.loc[table["kind"].isin(FAMILIES), "emotion"] == "any").all()


def test_a_familys_rows_do_not_depend_on_the_other_families_their_order_or_their_number(trained):
    many = sweep_with(trained, count=4, families=FAMILIES)
    few = sweep_with(trained, count=2, families=FAMILIES[::-1])
    both = few.merge(many, on="row_id", suffixes=("", "_many"))
    assert len(both) == len(few)
    assert (both["text"] == both["text_many"]).all() and (both["seed"] == both["seed_many"]).all()
    for family in FAMILIES:
        assert many.loc[many["kind"] == family, "seed"].nunique() == 4
    texts = {family: tuple(texts_of(many, kind=family)) for family in FAMILIES}
    assert len(set(texts.values())) == 3  # the families are not one and the same


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("unit", UNITS)
def test_the_norms_of_every_family_are_those_of_the_steer(trained, family, unit):
    vecs, source = with_every_unit(trained[2]), trained[4]
    settings = cells.SweepSettings(unit=unit)
    drawn = cells.control_cells(vecs, 1, 0.4, 3, settings, family, source)
    assert [cell.emotion for cell in drawn] == (list(EMOTIONS) if unit == "vector" else ["any"])
    norms = {}
    for emotion in EMOTIONS:
        own = cells.steer_cell("emotion", vecs, emotion, 1, 0.4, settings).act.delta()
        control = next(cell.act.delta() for cell in drawn if cell.emotion in ("any", emotion))
        assert np.linalg.norm(control) == pytest.approx(np.linalg.norm(own), rel=1e-5)
        assert abs(control @ own) < 0.999 * np.linalg.norm(own) ** 2
        norms[emotion] = np.linalg.norm(own)
    apart = abs(norms["gratitude"] - norms["apology"]) > 1e-3 * norms["apology"]
    assert bool(apart) is (unit == "vector")  # else one direction would do for both


def test_cells_of_other_directions_are_swept_alone(trained):
    lm, prompts, vecs, acts, _ = trained
    kept = Recorded()
    other = alternative_vectors("pca", acts, vecs, layers=[1])
    settings = cells.SweepSettings(max_new_tokens=6, backend="lexical")
    steered = [cells.steer_cell("pca", other, emotion, 1, STRONG, settings) for emotion in EMOTIONS]
    table = sweeps.sweep_cells(lm, prompts, [("pca_layer001", steered)], settings=settings, run=kept)
    assert list(kept.matched) == ["pca_layer001"]
    assert table["kind"].unique().tolist() == ["pca"] and len(table) == 4
    steers = [Steer(1, other["apology"][1], STRONG)] * 2
    outs = generate(lm, prompts["text"].tolist(), steers, max_new_tokens=6)
    assert texts_of(table, emotion="apology") == [out.text for out in outs]
    assert texts_of(table, emotion="apology") != texts_of(sweep_with(trained), kind="emotion", emotion="apology")


def test_several_samples_are_distinct_rows_and_the_first_is_that_of_a_single_one(trained):
    sampling = {"temperature": 1.0, "max_new_tokens": 12}
    one, three = (sweep_with(trained, {**sampling, "n_samples": n}, count=1) for n in (1, 3))
    assert len(three) == 3 * len(one) and three["row_id"].is_unique
    assert one["sample"].unique().tolist() == [0]
    first = three[three["sample"] == 0].set_index("row_id")
    assert first["text"].to_dict() == one.set_index("row_id")["text"].to_dict()
    per_cell = three.groupby(["scenario", "kind", "emotion", "index"])["text"].nunique()
    assert (per_cell == 3).all()
    assert set(three["row_id"]) - set(first.index) == {f"{name}|{i}" for name in first.index for i in (1, 2)}
    other = sweep_with(trained, {**sampling, "seed": 1})
    assert texts_of(other, kind="baseline") != texts_of(one, kind="baseline")


def test_several_samples_of_greedy_text_are_refused(trained):
    with pytest.raises(UserError, match="n_samples=3; set a temperature") as found:
        sweep_with(trained, {"n_samples": 3})
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("schedule", "by_hand"),
    [
        ((1.0, 1.0, 0.0, 0.0, 0.0, 0.0), {"steps": 1}),
        ((1.0, 1.0), {"steps": 1}),
        (0.5, {"schedule": (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125)}),
        ("constant", {"schedule": (1.0,) * 6}),
    ],
)
def test_a_schedule_is_what_the_steer_by_hand_does(trained, schedule, by_hand):
    lm, prompts, vecs, _, _ = trained
    table = sweep_with(trained, {"schedule": schedule})
    steers = [Steer(1, vecs["gratitude"][1], STRONG, **by_hand)] * 2
    expected = [out.text for out in generate(lm, prompts["text"].tolist(), steers, max_new_tokens=6)]
    assert texts_of(table, kind="emotion", emotion="gratitude") == expected
    prefill_alone = [Steer(1, vecs["gratitude"][1], STRONG, steps=0)] * 2
    assert expected != [out.text for out in generate(lm, prompts["text"].tolist(), prefill_alone, max_new_tokens=6)]


def test_controls_and_subspaces_follow_the_schedule_too(trained):
    _, _, vecs, acts, source = trained
    settings = cells.SweepSettings(schedule=0.5, window=2)
    drawn = [cells.control_cells(vecs, 1, 0.3, 0, settings, family, source)[0] for family in FAMILIES]
    drawn += cells.subspace_shard(fit_subspaces(acts, k=1), {"apology": 1}, 1, [1.0], settings)[1]
    assert all(cell.act.schedule == Decay(0.5) and cell.act.window == 2 for cell in drawn)


def test_a_template_stands_around_every_prompt(trained):
    lm, prompts, vecs, _, _ = trained
    table = sweep_with(trained, {"template": "She said: {text} And then"})
    full = [f"She said: {text} And then" for text in prompts["text"]]
    plain = [out.text for out in generate(lm, full, max_new_tokens=6)]
    steered = [out.text for out in generate(lm, full, [Steer(1, vecs["apology"][1], STRONG)] * 2, max_new_tokens=6)]
    assert texts_of(table, kind="baseline") == plain != texts_of(sweep_with(trained), kind="baseline")
    assert texts_of(table, kind="emotion", emotion="apology") == steered != plain


def test_a_template_without_a_place_for_the_prompt_is_refused(trained):
    with pytest.raises(UserError, match=r"template that holds \{text\}") as found:
        sweep_with(trained, {"template": "She said:"})
    assert "\n" not in str(found.value)


def test_prompting_cells_use_templates_of_their_own(trained):
    lm, prompts, _, _, _ = trained
    settings = cells.SweepSettings(max_new_tokens=6, backend="lexical", template="Now {text}")
    asked = {"gratitude": "Thank them. {text}", "apology": "Say sorry. {text}"}
    shards = [("baseline", [cells.baseline_cell(settings)]), cells.prompting_shard(asked, "Go on. {text}", settings)]
    table = sweeps.sweep_cells(lm, prompts, shards, settings=settings)

    def written(template):
        return [out.text for out in generate(lm, [template.format(text=t) for t in prompts["text"]], max_new_tokens=6)]

    assert texts_of(table, kind="baseline") == written("Now {text}")
    assert texts_of(table, kind="prompting_baseline") == written("Go on. {text}") != written("Now {text}")
    for emotion, template in asked.items():
        assert texts_of(table, kind="prompting", emotion=emotion) == written(template)
    assert table["row_id"].is_unique and len(table) == 8


def test_fluency_is_judged_after_the_prompt_that_the_model_saw(trained):
    lm, prompts, _, _, _ = trained
    settings = cells.SweepSettings(max_new_tokens=6, backend="lexical", nll_limit=5.0)
    shards = [cells.prompting_shard({"apology": "Say sorry. {text}"}, "{text}", settings)]
    table = sweeps.sweep_cells(lm, prompts, shards, settings=settings)
    asked = table[table["kind"] == "prompting"]
    for template, same in (("Say sorry. {text}", True), ("{text}", False)):
        full = [template.format(text=text) for text in prompts["text"]]
        scores = sweeps.score_texts(asked["text"].tolist(), prompts=full, lm=lm, backend="lexical", nll_limit=5.0)
        assert np.allclose(scores["fluency/nll"], asked["fluency/nll"], atol=1e-4) is same


def test_subspace_cells_move_to_the_coordinates_of_the_first_k_directions(trained):
    lm, prompts, _, acts, _ = trained
    subs = fit_subspaces(acts, k=3)
    settings = cells.SweepSettings(max_new_tokens=6, backend="lexical")
    name, moves = cells.subspace_shard(subs, {"gratitude": 1, "apology": 3}, 2, [0.5, 1.0], settings)
    assert name == "subspace_layer002"
    sizes = [(c.emotion, c.alpha, c.index) for c in moves]
    assert sizes == [("gratitude", 0.5, 1), ("apology", 0.5, 3), ("gratitude", 1.0, 1), ("apology", 1.0, 3)]
    table = sweeps.sweep_cells(lm, prompts, [(name, moves)], settings=settings)
    whole = subs["apology"][2]
    for k, same in ((3, True), (1, False)):
        act = SubspaceSteer(2, whole.basis[:, :k], whole.target[:k], 1.0)
        outs = generate(lm, prompts["text"].tolist(), [act] * 2, max_new_tokens=6)
        rows = table[(table["emotion"] == "apology") & (table["alpha"] == 1.0)]
        assert np.allclose([out.delta_ratio for out in outs], rows["delta_ratio"], rtol=1e-4) is same
        if same:
            assert texts_of(rows) == [out.text for out in outs]


def test_a_shard_is_another_one_when_anything_that_decides_its_values_is(trained):
    def matched(settings=None, **changes):
        kept = Recorded()
        sweep_with(trained, settings, count=1, families=["shuffled"], run=kept, **changes)
        return kept.matched

    first = matched()
    assert matched({"batch_size": 3}) == first
    lm, prompts, vecs, acts, source = trained
    for settings in (
        {"schedule": 0.9},
        {"schedule": (1.0, 0.5)},
        {"template": "So {text}"},
        {"temperature": 0.7},
        {"temperature": 0.7, "n_samples": 2},
        {"window": 2},
        {"max_new_tokens": 7},
        {"nll_limit": 4.0},
    ):
        assert all(found != first[name] for name, found in matched(settings).items()), settings
    shuffled = dataclasses.replace(source, train=acts.where(acts.texts["scenario"] != "s0"))
    found = matched(source=shuffled)
    assert {name: found[name] == first[name] for name in first} == {
        "baseline": True,
        "layer001": True,
        "shuffled_layer001_0000": False,
    }
    turned = dataclasses.replace(vecs, values={**vecs.values, "apology": -vecs.values["apology"]})
    found = matched_of((lm, prompts, turned, acts, source))
    assert found["layer001"] != first["layer001"] and found["baseline"] == first["baseline"]
    found = matched_of((lm, prompts.assign(text=prompts["text"] + "?"), vecs, acts, source))
    assert all(found[name] != first[name] for name in found)


def matched_of(trained):
    kept = Recorded()
    sweep_with(trained, run=kept)
    return kept.matched


def test_a_prompting_shard_is_another_one_when_its_templates_are(trained):
    lm, prompts, _, _, _ = trained
    settings = cells.SweepSettings(max_new_tokens=5, backend="lexical")
    found = []
    for asked in ("Thank them. {text}", "Thank them. {text}", "Thank her. {text}"):
        kept = Recorded()
        shards = [cells.prompting_shard({"gratitude": asked}, "{text}", settings)]
        sweeps.sweep_cells(lm, prompts, shards, settings=settings, run=kept)
        found.append(kept.matched["prompting"])
    assert found[0] == found[1] != found[2]


def test_a_subspace_shard_is_another_one_when_its_target_is(trained):
    lm, prompts, _, acts, _ = trained
    settings = cells.SweepSettings(max_new_tokens=5, backend="lexical")
    subs = fit_subspaces(acts, k=1)
    further = dataclasses.replace(subs, targets={e: 2 * target for e, target in subs.targets.items()})
    found = []
    for given in (subs, subs, further):
        kept = Recorded()
        shards = [cells.subspace_shard(given, {"apology": 1}, 1, [1.0], settings)]
        sweeps.sweep_cells(lm, prompts, shards, settings=settings, run=kept)
        found.append(kept.matched["subspace_layer001"])
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"families": ["isotropic", "covarience"]}, "unknown family of controls 'covarience'.*covariance"),
        (
            {"families": FAMILIES, "source": None},
            r"expected source=ControlSource\(…\) for the control family covariance",
        ),
    ],
)
def test_families_that_cannot_be_drawn_are_refused_in_one_line(trained, changes, message):
    with pytest.raises(UserError, match=message) as found:
        sweep_with(trained, count=1, **changes)
    assert "\n" not in str(found.value)
    sweep_with(trained, count=0, **{**changes, "families": ()})  # none are drawn
