"""Edited prompts, scored or continued, beside the same prompts intact in the same engine."""

import numpy as np

from fastneurons.bench.contender import Contender, Findings, Setting, Work
from fastneurons.bench.engine import options_of
from fastneurons.engine.edits import Edits
from fastneurons.engine.generation import ToGenerate, generate, greedy
from fastneurons.engine.scoring import ToScore, score, scoring_engine
from fastneurons.neuron_sets import Edit, NeuronSet

# Share of each layer's neurons that an edit switches off: about as many as a category has.
_SHARE = 0.25


class Edited(Contender):
    """An engine whose prompts each have an edit other than those beside it.

    Its reference is the same engine, with the same prompts intact. The last half of each prompt is scored.

    Args:
        setting: Which model and languages.
        num_edits: Edits in the bank; prompts take them by turns.
        most: Tokens to generate after each prompt; 0 scores instead.
        compiled: Whether vLLM compiles the model.
    """

    def __init__(self, setting: Setting, num_edits: int = 64, most: int = 0, compiled: bool = False) -> None:
        self._engine = scoring_engine(
            setting.model, options_of(setting, compiled), observation={"edits": num_edits}
        )
        self._most = most
        self._edits = Edits(self._engine)
        among = self._edits.model
        rng = np.random.default_rng(0)
        self._slots = [
            self._edits.put(
                Edit(NeuronSet.from_bits(among, (rng.random(among.shape) < _SHARE) & among.exists))
            )
            for _ in range(num_edits)
        ]
        self._edits.check()

    def find(self, work: Work) -> Findings:
        """Nothing: edits are compared with hooks in the tests."""
        return Findings()

    def round(self, work: Work) -> None:
        """Run each prompt under the next edit."""
        self._run(work, self._slots)

    def reference_round(self, work: Work) -> bool:
        """Run each prompt as it is."""
        self._run(work, [None])
        return True

    def close(self) -> None:
        """End the engine."""
        self._engine.close()

    def _run(self, work: Work, slots: list[int] | list[None]) -> None:
        number = len(slots)
        if self._most:
            parameters = greedy(self._engine, self._most, ignore_eos=True)
            prompts = (ToGenerate(ids, slots[k % number]) for k, ids in enumerate(work.all_prompts))
            for _ in generate(self._engine, prompts, parameters):
                pass
            return
        # Without prefix cache no salt is needed.
        texts = (
            ToScore(ids, max(1, len(ids) // 2), slots[k % number]) for k, ids in enumerate(work.all_prompts)
        )
        for _ in score(self._engine, texts):
            pass
