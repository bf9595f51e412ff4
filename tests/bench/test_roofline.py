"""The roofline's arithmetic, against numbers worked out by hand."""

import json
import subprocess
import sys

import pytest

from fastneurons.planning.shapes import product_s
from tests.bench.scripts import BENCHMARKS, script

roofline, sass = script("roofline"), script("sass")

# A teraflop and 100 GB a second; 2 multiprocessors at 1 GHz: 8 warp instructions and 32 special lanes a nanosecond.
GPU = roofline.Gpu("toy", 90, 1e12, 1e11, 1e9, 2, 1e9, "made up")
MODEL = roofline.Model("toy", 8, 16, 2, 2, 1, 4, 100, False)


def test_a_product_takes_the_longer_of_operations_and_bytes():
    # 2 * 1000 * 1000 * 1000 operations; 6 MB.
    assert product_s(GPU, 1000, 1000, 1000) == pytest.approx(2e-3)
    # 2 MFLOP in 2 us; (1000 + 1,000,000 + 1000) * 2 bytes in 20.04 us.
    assert product_s(GPU, 1, 1000, 1000) == pytest.approx(20.04e-6)


def test_the_products_of_a_step_are_those_of_all_layers_and_one_row_a_prompt_of_the_unembedding():
    # K x N of a layer: 8 x 16, 8 x 8, 8 x 32, 16 x 8; at 10 tokens all are bound by their bytes.
    layer = sum(2 * (10 * k + k * n + 10 * n) for k, n in [(8, 16), (8, 8), (8, 32), (16, 8)])
    head = 2 * (3 * 8 + 8 * 100 + 3 * 100)
    assert roofline.products_s(GPU, MODEL, 10, 3) == pytest.approx((2 * layer + head) / 1e11)


def test_parameters_are_those_that_the_models_are_named_after():
    counts = {name: round(model.num_parameters / 1e9, 2) for name, model in roofline.MODELS.items()}
    assert counts == {"llama-3.2-1b": 1.24, "llama-3.1-8b": 8.03, "llama-3.1-70b": 70.55}


def test_weights_are_spread_over_as_many_gpus_as_they_need():
    h100, h200 = roofline.GPUS["h100"], roofline.GPUS["h200"]
    assert roofline.ranks_needed(h100, roofline.MODELS["llama-3.1-8b"]) == 1
    assert roofline.ranks_needed(h100, roofline.MODELS["llama-3.1-70b"]) == 4  # 141 GB in 4 * 80
    assert roofline.ranks_needed(h200, roofline.MODELS["llama-3.1-70b"]) == 2


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (roofline.Load(1e11), 1.0),
        (roofline.Load(1e11, instructions=16e9), 2.0),  # 2 * 4 schedulers at 1 GHz
        (roofline.Load(1e11, instructions=16e9, special=3e9), 3.0),  # 32 threads over 2 * 16 lanes
    ],
)
def test_a_kernel_takes_the_longest_of_what_it_asks_for(load, expected):
    assert load.seconds(GPU) == pytest.approx(expected)


def test_the_share_is_of_the_step_without_observing():
    row = roofline.Row("", "", 1, 1, 8.0, 2.0, {"last": 0.25}, {"last": 0.25})
    assert row.share("last") == pytest.approx(0.05)


def test_clocks_fit_the_operations_a_clock():
    per_clock = {80: 2048, 90: 4096, 100: 8192}
    for gpu in roofline.GPUS.values():
        expected = gpu.multiprocessors * per_clock[gpu.arch] * gpu.clock
        assert gpu.bf16_flops == pytest.approx(expected, rel=0.002), gpu.name


STRAIGHT = """
kernel:
        /*0000*/                   LDG.E R1, desc[UR1][R2.64] ;
        /*0010*/                   MUFU.EX2 R1, R1 ;
        /*0020*/                   STG.E desc[UR1][R2.64], R1 ;
        /*0030*/               @P0 EXIT ;
        /*0040*/                   STG.E desc[UR1][R4.64], R1 ;
        /*0050*/                   EXIT ;
.L_x_0:
        /*0060*/                   BRA `(.L_x_0);
        /*0070*/                   NOP;
"""

LOOP = """
        /*0000*/                   S2R R0, SR_TID.X ;
.L_x_1:
        /*0010*/                   LDG.E R1, desc[UR1][R2.64] ;
        /*0020*/              @!P0 BRA `(.L_x_3) ;
        /*0030*/                   IADD3 R1, R1, R1, RZ ;
        /*0040*/              @!P1 BRA `(.L_x_2) ;
        /*0050*/                   REDG.E.ADD.STRONG.GPU desc[UR2][R4.64], R1 ;
.L_x_2:
        /*0060*/                   IADD3 R1, RZ, RZ, RZ ;
.L_x_3:
        /*0070*/                   MUFU.RCP R1, R1 ;
        /*0080*/               @P2 EXIT ;
        /*0090*/                   BRA `(.L_x_1) ;
.L_x_4:
        /*00a0*/                   BRA `(.L_x_4);
"""


def test_rows_that_are_not_read_leave_a_straight_kernel_early():
    code = sass.parse(STRAIGHT)
    assert (code.once, code.read) == (sass.Part(4, 1), sass.Part(2, 0))
    assert code.row == code.handed_on == sass.Part(0, 0)


def test_what_is_handed_on_is_counted_apart_from_a_loops_turns():
    code = sass.parse(LOOP)
    assert code.once == sass.Part(1, 0)
    assert code.row == sass.Part(5, 1)  # LDG, the jump, MUFU, EXIT, the way back
    assert code.handed_on == sass.Part(4, 0)


def test_other_kernels_are_refused():
    with pytest.raises(ValueError, match="another kind of kernel"):
        sass.parse("        /*0000*/                   NOP;")


def test_the_script_says_that_it_is_on_paper_and_adds_more_for_more(tmp_path):
    found = tmp_path / "found.json"
    command = [sys.executable, str(BENCHMARKS / "roofline.py"), "llama-3.1-8b", "--tokens", "2048"]
    done = subprocess.run([*command, "--json", str(found)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "nothing was run on a GPU" in done.stdout
    [row] = json.loads(found.read_text())["rows"]
    # 2,048 tokens of 8 billion parameters less an embedding: 2 * 7.5e9 * 2048 operations at 989 TFLOP/s.
    assert row["products_s"] == pytest.approx(0.0292, rel=0.05)
    # 2,048 * 3 * 14,336 * 2 bytes in 32 layers at 3.35 TB/s.
    assert row["activation_s"] == pytest.approx(32 * 2048 * 3 * 14336 * 2 / 3.35e12, rel=0.01)
    assert 0 < row["share"]["last"] < row["share"]["last, 6 thresholds"] < 0.01
    assert row["share"]["corpus"] < row["share"]["any, 6 thresholds"]
