"""How often the loops of compiled programs turn."""

import jax
import jax.numpy as jnp
import pytest

from smem_jax.compile import hlo, loops

# As the TPU compiler writes it, with no word of how often it turns.
LOOP = """HloModule m, is_scheduled=true, num_partitions=4

%body (param: (s32[], f32[8], s32[])) -> (s32[], f32[8], s32[]) {{
  %constant.1 = s32[]{{:T(128)}} constant({step})
  %param = (s32[]{{:T(128)}}, f32[8]{{0:T(128)}}, /*index=2*/s32[]{{:T(128)}}) parameter(0)
  %i = s32[]{{:T(128)}} get-tuple-element(%param), index=0
  %copy = s32[]{{:T(128)S(6)}} copy(%i), backend_config={{"flag_configs":[]}}
  %add = s32[]{{:T(128)}} add(%copy, %constant.1)
  %x = f32[8]{{0:T(128)}} get-tuple-element(%param), index=1
  %tanh = f32[8]{{0:T(128)}} tanh(%x)
  %end = s32[]{{:T(128)}} get-tuple-element(%param), index=2
  ROOT %tuple.1 = (s32[]{{:T(128)}}, f32[8]{{0}}, s32[]) tuple(%add, %tanh, {kept})
}}

%condition (param.1: (s32[], f32[8], s32[])) -> pred[] {{
  %constant.2 = s32[]{{:T(128)}} constant({last})
  %param.1 = (s32[]{{:T(128)}}, f32[8]{{0:T(128)}}, s32[]{{:T(128)}}) parameter(0)
  %i.1 = s32[]{{:T(128)}} get-tuple-element(%param.1), index=0
  %end.1 = s32[]{{:T(128)}} get-tuple-element(%param.1), index=2
  ROOT %lt = pred[]{{:T(512)}} compare(%i.1, {limit}), direction={direction}
}}

ENTRY %main (p: f32[8], q: s32[]) -> f32[8] {{
  %p = f32[8]{{0:T(128)}} parameter(0)
  %q = s32[] parameter(1)
  %first = s32[]{{:T(128)}} constant({first})
  %copy.1 = s32[]{{:T(128)}} copy(%first)
  %given = s32[]{{:T(128)}} constant(20)
  %tuple = (s32[]{{:T(128)}}, f32[8]{{0:T(128)}}, s32[]{{:T(128)}}) tuple(%copy.1, %p, {given})
  %while = (s32[]{{:T(128)}}, f32[8]{{0:T(128)}}, s32[]{{:T(128)}}) while(%tuple), \
condition=%condition, body=%body, metadata={{op_name="jit(f)/while"}}
  ROOT %result = f32[8]{{0:T(128)}} get-tuple-element(%while), index=1
}}
"""
USUAL = {
    "first": 0,
    "last": 6,
    "step": 1,
    "direction": "LT",
    "limit": "%constant.2",
    "kept": "%end",
    "given": "%given",
}


@pytest.mark.parametrize(
    ("changed", "turns"),
    [
        ({}, 6),
        ({"step": 2, "last": 7}, 4),
        ({"first": 2, "direction": "LE"}, 5),
        ({"first": 9}, 0),
        ({"limit": "%end.1"}, 20),  # the end came in with the state, which the loop leaves alone
        ({"limit": "%end.1", "given": "%q"}, None),  # known only when it runs
        ({"limit": "%end.1", "kept": "%add"}, None),  # the loop changes its own end
        ({"direction": "NE"}, None),
    ],
)
def test_turns_of_a_loop_are_read_off_its_counter(changed, turns):
    module = hlo.parse(LOOP.format(**USUAL | changed))
    main = module.computations["main"]
    assert loops.trip_count(module, main, main.instructions["while"]) == turns
    runs = loops.runs(module)
    assert runs.times["body"] == (1 if turns is None else turns)
    assert runs.unknown_loops == (["while"] if turns is None else [])


def test_turns_that_the_compiler_says_are_taken():
    text = LOOP.format(**USUAL | {"direction": "NE"}).replace(
        "body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"11"}}'
    )
    module = hlo.parse(text)
    assert loops.runs(module).times == {"main": 1, "body": 11, "condition": 12}
    assert module.num_devices == 4


def test_loops_of_a_compiled_program_multiply():
    def nested(x):
        inner = lambda x, _: (jnp.tanh(x @ x), None)  # noqa: E731
        outer = lambda x, _: (jax.lax.scan(inner, x, None, length=5)[0], None)  # noqa: E731
        return jax.lax.scan(outer, x, None, length=3)[0]

    module = hlo.parse(jax.jit(nested).lower(jnp.ones((16, 16))).compile().as_text())
    assert max(loops.runs(module).times.values()) in (15, 18)  # a condition is met once more
    products = [
        loops.runs(module).times[computation.name]
        for computation in module.computations.values()
        for each in computation.instructions.values()
        if each.opcode == "dot" and computation.name in loops.runs(module).times
    ]
    assert products == [15]
