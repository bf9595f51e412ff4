"""Tensor parallelism: two processes, each with half of every layer's neurons, give the single process's arrays."""

import numpy as np
import pytest

from fastneurons.errors import InputError
from tests.engine.conftest import examples, measure, tiny_options

pytestmark = pytest.mark.engine


def test_two_ranks_give_the_arrays_of_one(models, open_session):
    # 88 neurons: 44 a rank, which end inside a byte.
    model, rows = models(), examples(12, seed=12, longest=150)
    one = open_session(model, thresholds=(0.0, 0.1), options=tiny_options())
    alone = measure(one, rows)
    one.close()
    two = open_session(model, thresholds=(0.0, 0.1), options=tiny_options(tensor_parallel_size=2))
    assert two.facts.workers == 2
    assert two.facts.neurons == 88
    together = measure(two, rows)
    assert together.keys() == alone.keys()
    for name, array in alone.items():
        np.testing.assert_array_equal(together[name], array, err_msg=name)


def test_a_refusal_reaches_the_caller_from_a_worker_process(tmp_path, open_session):
    import transformers

    from tests.engine import tiny

    config = transformers.MixtralConfig(
        vocab_size=320, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=256,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="mixture of experts"):
        open_session(tmp_path, options=tiny_options(max_model_len=128, tensor_parallel_size=2))
