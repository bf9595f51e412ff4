"""Value vectors that are read through a quantised down projection."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fastneurons.engine.discovery import NoSiteError
from fastneurons.engine.values import pushed_value, value_vectors

H, I = 48, 600  # noqa: E741  # more neurons than are pushed at once


class StaticScale:
    """A projection that quantises its input with a static scale by vLLM's own function, as FP8 checkpoints do."""

    def __init__(self, scale: float, weight_scale: float, kind: str) -> None:
        self.input_scale = torch.tensor([scale])
        generator = torch.Generator().manual_seed(0)
        self.codes = torch.randn((H, I), generator=generator).mul(100).to(torch.float8_e4m3fn)
        self.weight_scale, self.kind = weight_scale, kind
        self.quant_method = self
        self.weight = self.codes
        self.output_size = H

    @property
    def vectors(self) -> torch.Tensor:
        """What the projection computes with, float32 [I, H]."""
        return self.codes.float().T * self.weight_scale

    def apply(self, layer: Any, x: torch.Tensor, bias: None) -> torch.Tensor:
        if self.kind == "fp8":
            codes, _ = quantise_fp8(x, self.input_scale)
        else:
            codes = (x.float() / self.input_scale).round().clamp(-128, 127)
        scaled = codes.float() @ self.codes.float().T
        return (scaled * self.input_scale * self.weight_scale).to(x.dtype)


def quantise_fp8(x: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    module = pytest.importorskip("vllm.model_executor.layers.quantization.input_quant_fp8")
    shape = pytest.importorskip("vllm.model_executor.layers.quantization.utils.quant_utils").GroupShape
    from vllm.config import VllmConfig, set_current_vllm_config

    with set_current_vllm_config(VllmConfig()):
        quantise = module.QuantFP8(static=True, group_shape=shape.PER_TENSOR)
        return quantise.forward_native(x, scale)


@pytest.mark.parametrize("kind", ["fp8", "int8"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("scale", [1 / 1000, 0.0173, 1 / 448, 0.33, 1.0, 2.7])
def test_a_static_scale_changes_no_value_vector(scale, dtype, kind):
    down = StaticScale(scale, 0.003, kind)
    site: Any = SimpleNamespace(down=down, neurons=I, path="model.layers.0.mlp")
    found = value_vectors(site, dtype, torch.device("cpu"))
    assert found.dtype == dtype and found.shape == (I, H)
    # Rounded twice: by the projection, and once divided.
    place = torch.finfo(dtype).eps
    torch.testing.assert_close(found.float(), down.vectors, rtol=1.01 * place, atol=1e-5)
    if kind == "fp8" and scale < 0.02 and scale != 1 / 448:
        # The test can fail: with ones, value vectors are too short by 3 % and more.
        ones = -down.apply(down, -torch.eye(I, dtype=dtype)[:8], None).float()
        assert (1 - ones / down.vectors[:8]).nanmedian() > 0.02


def test_without_a_static_scale_ones_are_pushed():
    assert pushed_value(None) == 1
    assert pushed_value(torch.ones(3)) == 1


def test_four_bit_inputs_are_refused():
    down = SimpleNamespace(
        weight=torch.zeros(H, I // 2, dtype=torch.uint8), input_global_scale_inv=torch.ones(1)
    )
    site: Any = SimpleNamespace(down=down, neurons=I, path="model.layers.0.mlp")
    with pytest.raises(
        NoSiteError, match=r"model\.layers\.0\.mlp: attribution needs the value vectors.*NVFP4"
    ):
        value_vectors(site, torch.bfloat16, torch.device("cpu"))
