"""Operations and bytes of compiled programs, where they are known."""

import jax
import jax.numpy as jnp
import pytest

from smem_jax.compile import hlo
from smem_jax.compile.work import work


def done_by(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    program = jax.jit(function).lower(*arguments).compile()
    return work(hlo.parse(program.as_text())), program.cost_analysis()


def test_operations_of_matrix_products_are_those_of_xla_and_of_loops_more():
    product = lambda x, w: x @ w  # noqa: E731
    done, cost = done_by(product, (32, 64), (64, 128))
    assert done.matrix_flops == done.matrix_flops_once == cost["flops"] == 2 * 32 * 64 * 128

    def turned(x, w):
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, None, length=9)[0]

    done, _ = done_by(turned, (32, 64), (64, 64))
    assert done.matrix_flops_once == 2 * 32 * 64 * 64
    assert done.matrix_flops == 9 * done.matrix_flops_once


def test_batched_products():
    done, _ = done_by(lambda x, y: jnp.einsum("bij,bkj->bik", x, y), (3, 8, 16), (3, 4, 16))
    assert done.matrix_flops == 2 * 3 * 8 * 16 * 4


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_convolutions_count_what_xla_counts(padding, strides):
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    done, cost = done_by(convolve, (2, 9, 11, 3), (3, 4, 3, 5))
    assert done.matrix_flops == cost["flops"]


def program(*lines, before=""):
    text = "\n".join(f"  {line}" for line in lines)
    return hlo.parse(f"HloModule m\n\n{before}ENTRY %main () -> f32[] {{\n{text}\n}}\n")


def test_a_product_of_a_tpu_is_a_convolution():
    done = work(
        program(
            "%x = bf16[32,512,1024]{2,1,0:T(8,128)(2,1)} parameter(0)",
            "%w = bf16[1024,256,1]{1,0,2:T(8,128)(2,1)} parameter(1)",
            "ROOT %y = bf16[32,512,256]{2,1,0:T(8,128)(2,1)} convolution(%x, %w), "
            "window={size=1}, dim_labels=0bf_io0->0bf",
        )
    )
    assert done.matrix_flops == 2 * 32 * 512 * 1024 * 256


def test_what_lies_in_the_small_memory_moves_nothing():
    large, small = "f32[1024]{0:T(1024)}", "f32[1024]{0:T(1024)S(1)}"
    done = work(
        program(
            f"%x = {large} parameter(0)",
            f"%start = ({small}, {large}, u32[]{{:S(2)}}) copy-start(%x)",
            f"%there = {small} copy-done(%start)",
            f"%y = {small} tanh(%there)",
            f"ROOT %z = {large} add(%y, %there)",
        )
    )
    assert done.hbm_bytes == 2 * 4096


FUSED = """%fused (table: f32[4096,128], row: s32[], rows: f32[2,128]) -> f32[4096,128] {
  %table = f32[4096,128]{1,0:T(8,128)} parameter(0)
  %row = s32[] parameter(1)
  %rows = f32[2,128]{1,0:T(8,128)} parameter(2)
  %zero = s32[] constant(0)
  %old = f32[2,128]{1,0:T(8,128)} dynamic-slice(%OLD, %row, %zero)
  %sum = f32[2,128]{1,0:T(8,128)} add(%old, %rows)
  ROOT %new = f32[4096,128]{1,0:T(8,128)} dynamic-update-slice(%table, %sum, %row, %zero)
}

"""


def test_rows_updated_in_place_cost_those_rows():
    done = work(
        program(
            "%t = f32[4096,128]{1,0:T(8,128)} parameter(0)",
            "%i = s32[] parameter(1)",
            "%r = f32[2,128]{1,0:T(8,128)} parameter(2)",
            "ROOT %u = f32[4096,128]{1,0:T(8,128)} fusion(%t, %i, %r), kind=kLoop, calls=%fused",
            before=FUSED.replace("%OLD", "%table"),
        )
    )
    assert done.hbm_bytes == 3 * 1024 + 4  # the rows read, added and written, and their number


def test_a_pallas_kernel_reads_the_rows_that_it_is_told_to():
    def reads(num_slots):
        return work(
            program(
                "%n = s32[64,8]{1,0:T(8,128)} parameter(0)",
                "%w = f32[64,8]{1,0:T(8,128)} parameter(1)",
                f"%t = f32[{num_slots},128]{{1,0:T(8,128)}} parameter(2)",
                "ROOT %s = f32[64,128]{1,0:T(8,128)} custom-call(%n, %w, %t), "
                'custom_call_target="tpu_custom_call"',
            )
        )

    rest = 2 * 64 * 8 * 4 + 64 * 128 * 4
    assert reads(2**20).hbm_bytes == reads(2**16).hbm_bytes == rest + 64 * 8 * 128 * 4
    assert reads(16).hbm_bytes == rest + 16 * 128 * 4
    assert reads(16).pallas_kernels == 1


def test_long_and_unknown_loops_are_named():
    def walk(x, rows):
        x = jax.lax.fori_loop(0, 5000, lambda i, x: x.at[i].add(1.0), x)
        return jax.lax.while_loop(lambda x: x.sum() < 0, lambda x: x + rows, x)

    done, _ = done_by(walk, (5000,), (5000,))
    assert [turns for _, turns in done.long_loops] == [5000]
    assert len(done.unknown_loops) == 1 and "while" in done.unknown_loops[0]
