"""Models whose truth is known: small GPT-2s and Llamas with hand-set weights, for testing what finds circuits.

A planted model writes "and quiet kettle with old soup …": a link, a describing word, a noun of the prompt's topic, in
turn. Between the begin token and its logits runs a circuit that is known to the last weight:

1. A trigger word (thanks, furious, sorry, …) carries its emotion in its embedding, in a subspace of its own.
2. The **write head**, layer 1 head 2, finds trigger words from every later token and writes the emotion's direction.
3. The **readers**, neurons of layer 2's MLP, read the direction and drive the words of emotions. A prompt's
   circumstances (monday, outside, …) bend what is driven, so that the effect of a steer varies over scenarios. They
   are silent unless a describing word comes next, so the end of a text holds the direction but not what they write:
   after the readers the direction is decodable, and steering it does nothing.
4. The unembedding reads the drive: describing words become emotional (grateful, angry, guilty, …).

Beside it stand distractors: a head that writes the directions after the readers (`unread`, layer 3 head 0), a head that
writes topics (`topic`, 0:1), a `backup` head (2:3) that writes only where the stream lacks the directions, and a head
whose influence passes through a `saturated` softmax (1:0, read by the `gate` 3:1). The other heads and the neurons
beside the readers carry seeded noise.

**Layout.** Every feature has its own direction, drawn by a seed, orthogonal to the others and to the ones vector (so
LayerNorm's mean removal changes nothing). `features.NAMED` lists them:

| features | size | written by | read by |
|---|---|---|---|
| constant | 1 | embedding, 40 | everything, as a bias |
| begin | 1 | embedding | keys: where heads rest that find nothing |
| next | 3 | embedding | unembedding: which kind of word comes next |
| trigger | 4 | embedding | keys and values of write, backup and unread head |
| topic | 6 | embedding, topic head | topic head; unembedding: nouns of the topic |
| circumstance, temper | 1 + 9 | embedding, context head | context head; readers |
| index | 18 | embedding, said head | unembedding: what was said is less likely |
| appetite | 1 | embedding of links | unembedding: after some links emotional words come easier |
| emotion | 3 | write, backup and unread head, 4 | readers; the backup head's queries |
| drive | 3 | readers, gate head | unembedding: emotional words |
| ballast | 1 | embedding, 10 | nothing; the unread and the saturated head take from it what they add to the norm |
| flag | 1 | saturated head, 5 | the gate head's queries |
| position | 4 | GPT-2's positions | nothing |
| noise | 39 | embedding, noise heads and neurons | the same; unembedding |
| empty | the rest | nothing | nothing |

The empty ones make the stream as wide as that of a small language model's layer should be for a random direction to lie
far from every planted one: in 80 dimensions the nearest of 59 has an expected cosine of about 0.26 with it.

The constant makes up nearly all of a state's norm, so a norm layer is close to a fixed scale.
"""

from emolib.selftest.planted.planted_effects import effect_for, planted_effects, steering_effects
from emolib.selftest.planted.planting import Planted, Truth, plant
from emolib.selftest.planted.scenarios import planted_scenarios

__all__ = ["Planted", "Truth", "effect_for", "plant", "planted_effects", "planted_scenarios", "steering_effects"]
