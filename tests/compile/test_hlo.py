"""Reading the text of compiled programs."""

import pytest

from smem_jax.compile import hlo


def test_arrays_of_a_type():
    found = hlo.arrays("(bf16[8,128]{1,0:T(8,128)(2,1)S(1)}, pred[3], token[], s4[3], f8e4m3fn[2])")
    assert [each.nbytes for each in found] == [2048, 3, 0, 2, 2]
    assert [each.in_hbm for each in found] == [False, True, True, True, True]


def test_a_line_that_makes_no_sense_is_named():
    with pytest.raises(ValueError, match="makes no sense"):
        hlo.parse("HloModule m\n\nENTRY %main () -> f32[] {\n  ROOT %x = f32[] \n}\n")
