"""What accelerators can do, by their makers' public pages; nothing here was measured."""

import dataclasses
import re

_GIB = 2**30
_2D = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_3D = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16")
_HOSTS = ("1", "2", "4", "8", "16", "32", "64")


@dataclasses.dataclass(frozen=True)
class Chip:
    """Figures of one accelerator chip.

    `hbm_bytes` is what a program can have of the chip's large memory: of a TPU, what its compiler
    allows, which is less than what the chip has. `flops` are bfloat16 multiplications and
    additions a second, dense; `hbm_bandwidth` and `interconnect` are bytes a second, the latter out
    of the chip, over all its links together. Programs see `devices` devices in a chip, and each has
    its share. `shapes` are slices of TPUs, or numbers of GPUs, that exist; `grid` is how many sizes
    a slice has, `most` how many chips there are in one network.
    """

    name: str
    hbm_bytes: int
    flops: float
    hbm_bandwidth: float
    interconnect: float
    shapes: tuple[str, ...]
    most: int
    devices: int = 1

    @property
    def is_gpu(self) -> bool:
        """Whether this is no TPU."""
        return self.name in GPUS

    @property
    def grid(self) -> int:
        """How many sizes the shape of a slice has."""
        return self.shapes[0].count("x") + 1

    def of_device(self) -> "Chip":
        """The share of one device."""
        n = self.devices
        return dataclasses.replace(
            self,
            hbm_bytes=self.hbm_bytes // n,
            flops=self.flops / n,
            hbm_bandwidth=self.hbm_bandwidth / n,
            interconnect=self.interconnect / n,
            devices=1,
        )


# Pages give the bandwidth of the links in both directions together; here is half of it. The memory
# is what libtpu 0.0.42 names in 'Ran out of memory on HBM'; tests/tpu checks that it still does.
TPUS = {
    chip.name: chip
    for chip in (
        # https://cloud.google.com/tpu/docs/v4: 275 TFLOPS, 32 GiB, 1200 GB/s; six links of 50 GB/s
        # (arXiv 2304.01433, table 4).
        Chip("v4", int(30.75 * _GIB), 275e12, 1.2e12, 300e9, _3D, 4096),
        # https://cloud.google.com/tpu/docs/v5e: 197 TFLOPS, 16 GB, 819 GB/s, ICI 400 GB/s.
        Chip("v5e", int(15.75 * _GIB), 197e12, 819e9, 200e9, _2D, 256),
        # https://cloud.google.com/tpu/docs/v5p: 459 TFLOPS, 95 GB, 2765 GB/s, ICI 1200 GB/s.
        Chip("v5p", int(95.74 * _GIB), 459e12, 2765e9, 600e9, _3D, 8960),
        # https://cloud.google.com/tpu/docs/v6e: 918 TFLOPS, 32 GB, 1638 GB/s, ICI 800 GB/s.
        Chip("v6e", int(31.25 * _GIB), 918e12, 1638e9, 400e9, _2D, 256),
        # https://cloud.google.com/tpu/docs/tpu7x: 2307 TFLOPS, 192 GiB, 7380 GB/s, ICI 1200 GB/s;
        # each of its two chiplets is a device.
        Chip("tpu7x", int(2 * 94.75 * _GIB), 2307e12, 7380e9, 600e9, _3D, 9216, devices=2),
    )
}

# Dense rates: the pages of Hopper give twice these, with sparsity. NVLink is half of what the pages
# give for both directions. A part of the memory goes to the driver and to CUDA.
GPUS = {
    chip.name: chip
    for chip in (
        # https://www.nvidia.com/en-us/data-center/a100/ (SXM): 312 TFLOPS, 1555 and 2039 GB/s,
        # NVLink 600 GB/s.
        Chip("a100-40", 40 * _GIB, 312e12, 1555e9, 300e9, _HOSTS, 1024),
        Chip("a100-80", 80 * _GIB, 312e12, 2039e9, 300e9, _HOSTS, 1024),
        # https://www.nvidia.com/en-us/data-center/h100/ (SXM): 989 TFLOPS, 3.35 TB/s, NVLink
        # 900 GB/s.
        Chip("h100", 80 * _GIB, 989e12, 3350e9, 450e9, _HOSTS, 1024),
        # https://www.nvidia.com/en-us/data-center/h200/ (SXM): 989 TFLOPS, 141 GB, 4.8 TB/s.
        Chip("h200", int(141e9), 989e12, 4800e9, 450e9, _HOSTS, 1024),
        # https://www.nvidia.com/en-us/data-center/hgx/ (HGX B200): 2.25 PFLOPS, 180 GB, 8 TB/s,
        # NVLink 1.8 TB/s.
        Chip("b200", int(180e9), 2250e12, 8000e9, 900e9, _HOSTS, 1024),
    )
}


_TPU_KINDS = {
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
    "TPU7x": "tpu7x",
}


def peak_flops(device_kind: str) -> float | None:
    """Peak bfloat16 FLOP/s of a device as `jax.Device.device_kind` names it; None if unknown."""
    if device_kind in _TPU_KINDS:
        return TPUS[_TPU_KINDS[device_kind]].of_device().flops
    gpu = re.match(r"NVIDIA (A100|H100|H200|B200)\b", device_kind)
    # Both A100 have one rate. Cards in PCIe slots have a lower one than these, of SXM modules.
    return GPUS["a100-80" if gpu[1] == "A100" else gpu[1].lower()].flops if gpu else None
