import pytest

from smem_jax.compile.chips import peak_flops


@pytest.mark.parametrize(
    ("kind", "flops"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("TPU v5 lite", 197e12),
        ("TPU7x", 2307e12 / 2),  # of one of its two devices
        ("cpu", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_peak_rates_by_what_jax_calls_a_device(kind, flops):
    assert peak_flops(kind) == flops
