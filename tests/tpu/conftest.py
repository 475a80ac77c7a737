"""Sets what libtpu wants to know of its machine where there is no TPU, before JAX is imported.

Any machine is as good as another: the tests compile for chips that they name.
"""

import os

import pytest

for _name, _value in {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # by several test processes, since none opens a TPU
}.items():
    os.environ.setdefault(_name, _value)


@pytest.fixture(scope="session", autouse=True)
def programs_are_compiled_once():
    """Not here: what was compiled without a TPU cannot be read back."""
