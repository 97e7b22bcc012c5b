"""m with most of the model held: against hooks by hand, and on a model whose circuit is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import Case, plain_attention, plain_logits

from emolib.base.errors import UserError
from emolib.circuits.faithfulness import faithfulness, judge_circuit
from emolib.circuits.kept_nodes import EffectRow, circuit_effect, resampled
from emolib.circuits.nodes import Node, all_nodes
from emolib.engine.continuation import continuation_shift
from emolib.engine.continuation_tokens import continuations
from emolib.interventions import Steer
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode
from emolib.selftest.planted import Planted, plant, planted_scenarios, words

PROMPTS, TEXTS = ["The new shop by the old bridge", "It rained and"], ["It came at noon.", "They left early."]
SOURCE = ("The old shop by the new bridge and", "He went by a bus.")


def steer_for(lm: LanguageModel) -> Steer:
    vector = np.random.default_rng(0).standard_normal(lm.d_model)
    return Steer(1, vector, 0.5, unit="resid", resid_norm=5.0)


def test_with_everything_free_m_is_the_continuation_shift(tiny: LanguageModel) -> None:
    act = steer_for(tiny)
    rows = [EffectRow(f"s{i}", PROMPTS[i], TEXTS[i], 1.0, act) for i in range(2)]
    effect = circuit_effect(tiny, rows, all_nodes(tiny))
    expected = continuation_shift(tiny, PROMPTS, TEXTS, [act, act])
    np.testing.assert_allclose(effect.without, expected["logprob_unpatched"], atol=1e-4)
    np.testing.assert_allclose(effect.whole, expected["shift"], atol=2e-4)
    assert np.abs(effect.whole).max() > 1e-2
    # with every node held at its own unsteered value only the residual path is left; without a steer nothing is moved
    still = circuit_effect(tiny, [EffectRow(r.scenario, r.prompt, r.text, 1.0) for r in rows], all_nodes(tiny))
    assert np.abs(still.gained([frozenset()])).max() < 1e-5
    assert np.abs(effect.gained([frozenset()])[0] - effect.whole).max() > 1e-4


def test_layers_before_the_first_node_are_the_rows_own(tiny: LanguageModel) -> None:
    """Nodes from layer 1 on alone, against all nodes of which those of layer 0 are kept in every set."""
    act = steer_for(tiny)
    rows = [EffectRow(f"s{i}", PROMPTS[i], TEXTS[i], 1.0, act, source=SOURCE) for i in range(2)]
    late, every = circuit_effect(tiny, rows, all_nodes(tiny, 1)), circuit_effect(tiny, rows, all_nodes(tiny))
    first = frozenset(node for node in every.nodes if node.layer == 0)
    some = [frozenset(), frozenset(late.nodes[2:5]), frozenset(late.nodes[::2])]
    np.testing.assert_allclose(late.gained(some), every.gained([kept | first for kept in some]), atol=1e-4)
    assert np.abs(every.gained([frozenset()]) - every.gained([first])).max() > 1e-3  # those of layer 0 do something


def held_by_hand(case: Case, row: int, heads: set[int], mlp: bool, layer: int) -> float:
    """Mean log-probability with some heads and the MLP of one layer held at the source's values."""
    lm = case.lm
    ids = encode(lm, [PROMPTS[row], SOURCE[0]])
    own, source = (found.ids for found in continuations(lm, [TEXTS[row], SOURCE[1]]))
    kept: dict[str, torch.Tensor] = {}

    def keep(name: str):
        def edit(value: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
            kept[name] = value[0].clone()
            return value

        return edit

    plain_logits(case.plain, [("z", layer, keep("z")), ("mlp_out", layer, keep("mlp"))], ids[1], source[:-1])
    n, m, fed = len(ids[0]), len(ids[1]), len(own) - 1
    pairs = [(n - 1 - i, m - 1 - i) for i in range(min(n - 1, m))]
    pairs += [(n + j, m + min(j, len(source) - 2)) for j in range(fed)]
    at, of = (torch.tensor(side) for side in zip(*pairs, strict=True))

    def hold_heads(z: torch.Tensor, values: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor:
        for head in heads:
            z[0, at, head] = kept["z"][of, head]
        return z

    def hold_mlp(value: torch.Tensor) -> torch.Tensor:
        value = value.clone()
        value[0, at] = kept["mlp"][of]
        return value

    edits = [("z", layer, hold_heads)] + ([("mlp_out", layer, hold_mlp)] if mlp else [])
    logits = plain_logits(case.plain, edits, ids[0], own[:-1])[1:]
    return float(logits.log_softmax(-1).gather(1, torch.tensor(own[1:])[:, None]).mean())


@pytest.mark.parametrize("mlp", [False, True], ids=["heads", "heads and MLP"])
def test_held_nodes_have_the_sources_values(tiny_case: Case, mlp: bool) -> None:
    lm, layer = tiny_case.lm, 1
    assert plain_attention(tiny_case.plain, layer) is not None
    nodes = (Node(layer, "head", 1), Node(layer, "head", 2), *((Node(layer, "mlp"),) if mlp else ()))
    rows = [EffectRow(f"s{i}", PROMPTS[i], TEXTS[i], 1.0, source=SOURCE) for i in range(2)]
    effect = circuit_effect(lm, rows, nodes)
    found = effect.gained([frozenset(), frozenset(nodes)]) + effect.without
    for row in range(2):
        assert found[0, row] == pytest.approx(held_by_hand(tiny_case, row, {1, 2}, mlp, layer), abs=2e-4)
        assert found[1, row] == pytest.approx(float(effect.without[row]), abs=1e-5)
    assert np.abs(found[0] - found[1]).min() > 1e-3  # holding them does something


def context_rows(planted: Planted, *, resample: bool = False) -> list[EffectRow]:
    """An emotional prompt in the place of the neutral one: the emotion's describing words against plain ones."""
    data = planted_scenarios(planted, 9).set_index(["scenario", "emotion"])["text"]
    names = list(data.index.unique("scenario"))
    rows = []
    for i, scenario in enumerate(names):
        neutral = data[scenario, "neutral"]
        emotion, outputs = list(planted.truth.outputs.items())[i % 3]
        for words_of, weight in ((outputs, 1.0), (words.PLAIN, -1.0)):
            text = f"and {words_of[i % 6]} kettle."
            rows.append(EffectRow(scenario, data[scenario, emotion], text, weight, without=neutral))
    runs = {name: (data[name, "neutral"], f"and {words.PLAIN[i % 6]} kettle.") for i, name in enumerate(names)}
    return resampled(rows, runs) if resample else rows


@pytest.mark.parametrize(("form", "resample"), [("gpt2", False), ("gpt2", True), ("llama", False)])
def test_the_planted_circuit_explains_the_context(form: str, resample: bool) -> None:
    planted = plant(form, effect=2.0, noise=0.05)
    truth, lm = planted.truth, planted.lm
    effect = circuit_effect(lm, context_rows(planted, resample=resample), all_nodes(lm))
    write, read = Node(truth.write_layer, "head", truth.write_head), Node(truth.read_layer, "mlp")
    judged = judge_circuit(effect, frozenset({write, read}), n_subsets=4)
    values = judged.summary.set_index("measure")["value"]
    assert set(judged.summary["code"]) == {"measured"}
    assert 0.7 < values["faithfulness"] < 1.3 and values["completeness"] > 0.7, values
    assert abs(values["residual_path"]) < 0.2
    assert (judged.minimality["loss"] > 0.5).all()
    others = [Node(0, "head", 1), Node(3, "head", 0), Node(3, "mlp"), read, write]
    table = faithfulness(effect, [frozenset({node}) for node in others])
    assert (table["faithfulness"].abs() < 0.25).all()  # none of them alone, the writer and the readers included


def test_the_planted_readers_explain_what_their_mlp_does() -> None:
    """Groups of neurons: the readers of all emotions, and two of the others of their layer."""
    planted = plant("gpt2", effect=2.0, noise=0.05)
    truth, lm = planted.truth, planted.lm
    size = lm.native.layers[truth.read_layer].down.weight.shape[1]
    readers = sorted(neuron for members in truth.readers.values() for neuron in members)
    rest = [neuron for neuron in range(size) if neuron not in readers]
    names = [Node(truth.read_layer, "neurons", i) for i in range(3)]
    groups = dict(zip(names, (readers, rest[::2], rest[1::2]), strict=True))
    nodes = [node for node in all_nodes(lm) if node != Node(truth.read_layer, "mlp")] + names
    effect = circuit_effect(lm, context_rows(planted), nodes, groups=groups)
    write = Node(truth.write_layer, "head", truth.write_head)
    whole = circuit_effect(lm, context_rows(planted), all_nodes(lm))
    np.testing.assert_allclose(effect.whole, whole.whole, atol=1e-6)
    found, by_mlp = (
        faithfulness(one, [frozenset({write, node}) for node in members])["faithfulness"].to_numpy()
        for one, members in ((effect, names), (whole, [Node(truth.read_layer, "mlp")]))
    )
    assert found[0] == pytest.approx(by_mlp[0], abs=0.1) and found[0] > 0.7 and np.abs(found[1:]).max() < 0.2
    everything = frozenset({write, *names})
    assert faithfulness(effect, [everything])["faithfulness"][0] == pytest.approx(by_mlp[0], abs=1e-4)


def test_a_backup_is_seen_by_holding_the_writer_alone() -> None:
    """Without the writer the backup writes: holding the writer takes little, unless the backup is left out."""
    losses = []
    for distractors in ((), ("backup",)):
        planted = plant("gpt2", effect=2.0, noise=0.0, distractors=distractors)
        lm, truth = planted.lm, planted.truth
        effect = circuit_effect(lm, context_rows(planted), all_nodes(lm))
        write = Node(truth.write_layer, "head", truth.write_head)
        losses.append(1 - faithfulness(effect, [frozenset(effect.nodes) - {write}])["faithfulness"][0])
    assert losses[0] > 0.9 and losses[1] < 0.6


@pytest.mark.parametrize("ablation", ["source", "mean", "zero"])
def test_a_steers_effect_goes_through_the_readers(ablation: str) -> None:
    planted = plant("gpt2", effect=2.0, noise=0.0)
    lm, truth = planted.lm, planted.truth
    data = planted_scenarios(planted, 6)
    neutral = data[data["emotion"] == "neutral"]
    pair = ("gratitude", "anger")
    acts = {
        emotion: Steer(truth.read_layer, truth.directions[emotion] * np.float32(truth.strength), 1.0, unit="vector")
        for emotion in pair
    }
    rows = [
        EffectRow(scenario, prompt, f"and {truth.outputs[said][i % 6]} kettle.", weight, acts[act])
        for i, (scenario, prompt) in enumerate(zip(neutral["scenario"], neutral["text"], strict=True))
        for act, said, weight in (
            (pair[0], pair[0], 1.0),
            (pair[0], pair[1], -1.0),
            (pair[1], pair[0], -1.0),
            (pair[1], pair[1], 1.0),
        )
    ]
    nodes = all_nodes(lm, truth.read_layer)
    effect = circuit_effect(lm, rows, nodes, ablation=ablation)
    np.testing.assert_allclose(effect.without, 0, atol=1e-6)  # S of no steer is 0
    read, other = Node(truth.read_layer, "mlp"), Node(3, "mlp")
    table = faithfulness(effect, [frozenset({read}), frozenset({other}), frozenset(nodes) - {read}])
    assert table["faithfulness"][0] > 0.7 and (table["faithfulness"][1:].abs() < 0.3).all(), table


def test_rows_and_nodes_that_do_not_fit_are_refused(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["gpt2"]
    rows = [EffectRow(f"s{i}", PROMPTS[i], TEXTS[i], 1.0) for i in range(2)]
    with pytest.raises(UserError, match="expected nodes of"):
        circuit_effect(lm, rows, [Node(1, "head", 9)])
    with pytest.raises(UserError, match=r"missing: \['s1'\]"):
        resampled(rows, {"s0": SOURCE, "s2": SOURCE})
    one, two = Node(1, "neurons", 0), Node(1, "neurons", 1)
    for nodes, groups in (
        ([one], None),
        ([one], {one: [10**6]}),
        ([one, two], {one: [1, 2], two: [2, 3]}),
        ([one, Node(1, "mlp")], {one: [1]}),
    ):
        with pytest.raises(UserError, match=r"nodes of|groups|that no other node"):
            circuit_effect(lm, rows, nodes, groups=groups)
    with pytest.raises(UserError, match="got none"):
        circuit_effect(lm, [], all_nodes(lm))
    with pytest.raises(UserError, match="at least 2 scenarios"):
        circuit_effect(lm, rows[:1], all_nodes(lm))
