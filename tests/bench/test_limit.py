"""The machine's limit: each shape's best time of all turns counts, and it rises only."""

import contextlib
import subprocess
import sys
import time

import psutil
import pytest
import torch
from transformers import LlamaConfig

from fastneurons.bench.child import ChildError, LimitChild
from fastneurons.bench.contender import Setting
from fastneurons.bench.limit import MatrixProducts, layer_shapes
from fastneurons.errors import FastneuronsError

CONFIG = LlamaConfig(
    hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=3
)


def test_each_shapes_best_time_of_all_turns_counts(monkeypatch):
    times = {128: [4.0, 1.0, 2.0], 64: [1.0, 3.0, 0.5], 192: [2.0, 2.0, 2.0]}
    shapes = [(64, 128), (64, 64), (64, 192), (96, 64)]
    assert layer_shapes(CONFIG) == shapes
    products = MatrixProducts(CONFIG, torch.float32, tokens=10)
    turn = 0
    monkeypatch.setattr(products, "_time", lambda a, b: times[len(b)][turn])
    rates = []
    for turn in range(3):  # noqa: B007
        limit = products.measure()
        rates.append(limit.tokens_per_s)
    operations = 2 * sum(k * n for k, n in shapes)
    # Sums of the best of 64 -> 128, 64 -> 64, 64 -> 192 and 96 -> 64 after each turn.
    best = [4.0 + 1.0 + 2.0 + 1.0, 1.0 + 1.0 + 2.0 + 1.0, 1.0 + 0.5 + 2.0 + 0.5]
    assert rates == pytest.approx([10 / (3 * seconds) for seconds in best])
    assert limit.flops == pytest.approx(10 * operations / best[-1])
    assert (limit.flops_per_token, limit.tokens) == (3 * operations, 10)


def test_it_is_timed_in_a_process_of_its_own_again_and_again(tmp_path):
    CONFIG.save_pretrained(tmp_path)
    products = LimitChild(Setting(str(tmp_path), (), "bfloat16"))
    try:
        rates = [products.measure().tokens_per_s for _ in range(3)]
    finally:
        products.close()
    assert 0 < rates[0] <= rates[1] <= rates[2]
    assert products.dtype == "bfloat16"
    assert products.machine.cores
    with pytest.raises(ChildError, match="none"):
        LimitChild(Setting(str(tmp_path / "none"), ()))


def test_products_that_fail_are_not_taken_for_a_contender_that_fails(tmp_path):
    CONFIG.save_pretrained(tmp_path)
    products = LimitChild(Setting(str(tmp_path), (), "float32"))
    products._process.kill()
    products._process.join()
    with pytest.raises(
        FastneuronsError, match="matrix products could not be timed: its process ended with exit status -9"
    ) as caught:
        products.measure()
    assert not isinstance(caught.value, ChildError)
    products.close()


KILLED_LATER = """
import sys
from fastneurons.bench.child import LimitChild
from fastneurons.bench.contender import Setting
products = LimitChild(Setting(sys.argv[1], (), "float32"))
print(products._process.pid, flush=True)
sys.stdin.read()
"""


def test_its_process_ends_with_a_benchmark_that_is_killed(tmp_path):
    CONFIG.save_pretrained(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_LATER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as benchmark:  # fmt: skip
        assert benchmark.stdout is not None
        child = psutil.Process(int(benchmark.stdout.readline()))
        assert child.is_running()
        benchmark.kill()
    deadline = time.monotonic() + 60
    with contextlib.suppress(psutil.NoSuchProcess):
        while child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "it goes on without the benchmark"
            time.sleep(0.05)
