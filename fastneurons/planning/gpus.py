"""Data sheets of GPUs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """A data sheet.

    Args:
        arch: Compute capability, as 90.
        bf16_flops: Dense, a second.
        bandwidth: Bytes a second.
        memory_bytes: Of the device.
        multiprocessors: Streaming multiprocessors.
        clock: At which `bf16_flops` is given, in Hz: that is 2,048 (sm_80), 4,096 (sm_90) or 8,192 (sm_100)
            operations a multiprocessor and clock.
        source: Where these stand.
        link_bandwidth: NVLink's bytes a second in one direction; half of what data sheets call its total.
    """

    name: str
    arch: int
    bf16_flops: float
    bandwidth: float
    memory_bytes: float
    multiprocessors: int
    clock: float
    source: str
    link_bandwidth: float = 450e9


GPUS = {
    "a100": Gpu(
        "A100 SXM 80 GB", 80, 312e12, 2.039e12, 80e9, 108, 1.410e9, "NVIDIA A100 data sheet, 2021", 300e9
    ),
    "h100": Gpu("H100 SXM", 90, 989.4e12, 3.35e12, 80e9, 132, 1.830e9, "NVIDIA H100 data sheet, 2023"),
    "h200": Gpu("H200 SXM", 90, 989.4e12, 4.8e12, 141e9, 132, 1.830e9, "NVIDIA H200 data sheet, 2024"),
    "b200": Gpu(
        "B200 (HGX)", 100, 2250e12, 8.0e12, 180e9, 148, 1.856e9, "NVIDIA HGX B200 data sheet, 2025", 900e9
    ),
}
