"""What is read out of optimised HLO: small modules by hand, and one that JAX writes."""

import jax
import jax.numpy as jnp

from benchmarks.accelerators import hlo

LOOP = """\
HloModule jit_step, is_scheduled=true

FileNames
1 "/code/step.py"

FunctionNames
1 "step"

FileLocations
1 {file_name_id=1 function_name_id=1 line=7 end_line=7 column=1 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}

%written (param_0.1: f32[64,256], param_1.1: f32[1,256], param_2.1: s32[]) -> f32[64,256] {
  %param_0.1 = f32[64,256]{1,0} parameter(0)
  %param_1.1 = f32[1,256]{1,0} parameter(1)
  %param_2.1 = s32[] parameter(2)
  %zero = s32[] constant(0)
  ROOT %update = f32[64,256]{1,0} dynamic-update-slice(%param_0.1, %param_1.1, %param_2.1, %zero)
}

%looked_up (param_0.2: bf16[1000,256], param_1.2: s32[]) -> bf16[1,256] {
  %param_0.2 = bf16[1000,256]{1,0} parameter(0)
  %param_1.2 = s32[] parameter(1)
  %none = s32[] constant(0)
  ROOT %row = bf16[1,256]{1,0} dynamic-slice(%param_0.2, %param_1.2, %none), \
dynamic_slice_sizes={1,256}
}

%body (state: (s32[], f32[64,256], bf16[1000,256])) -> (s32[], f32[64,256], bf16[1000,256]) {
  %state = (s32[], f32[64,256]{1,0}, bf16[1000,256]{1,0}) parameter(0)
  %step = s32[] get-tuple-element(%state), index=0
  %ring = f32[64,256]{1,0} get-tuple-element(%state), index=1
  %table = bf16[1000,256]{1,0} get-tuple-element(%state), index=2
  %row.1 = bf16[1,256]{1,0:S(1)} fusion(%table, %step), kind=kLoop, calls=%looked_up
  %new = f32[1,256]{1,0:S(1)} convert(%row.1)
  %ring.1 = f32[64,256]{1,0} fusion(%ring, %new, %step), kind=kLoop, calls=%written
  %turned = f32[64,256]{0,1} copy(%ring.1), metadata={op_name="turn" stack_frame_id=1}
  %one = s32[] constant(1)
  %step.1 = s32[] add(%step, %one)
  %sum = f32[64,256]{1,0} all-reduce(%turned), to_apply=%add
  ROOT %out = (s32[], f32[64,256]{1,0}, bf16[1000,256]{1,0}) tuple(%step.1, %sum, %table)
}

%condition (state.1: (s32[], f32[64,256], bf16[1000,256])) -> pred[] {
  %state.1 = (s32[], f32[64,256]{1,0}, bf16[1000,256]{1,0}) parameter(0)
  %step.2 = s32[] get-tuple-element(%state.1), index=0
  %last = s32[] constant(9)
  ROOT %more = pred[] compare(%step.2, %last), direction=LT
}

ENTRY %main (ring.2: f32[64,256], table.1: bf16[1000,256]) -> f32[64,256] {
  %ring.2 = f32[64,256]{1,0} parameter(0)
  %table.1 = bf16[1000,256]{1,0} parameter(1)
  %start = s32[] constant(0)
  %first = (s32[], f32[64,256]{1,0}, bf16[1000,256]{1,0}) tuple(%start, %ring.2, %table.1)
  %done = (s32[], f32[64,256]{1,0}, bf16[1000,256]{1,0}) while(%first), condition=%condition, \
body=%body
  ROOT %result = f32[64,256]{1,0} get-tuple-element(%done), index=1
}
"""
KERNEL = """\
HloModule jit_kernel

ENTRY %main (query: f32[64,4], ring: f32[64,256]) -> (f32[64,4], f32[64,256]) {
  %query = f32[64,4]{1,0} parameter(0)
  %ring = f32[64,256]{1,0} parameter(1)
  ROOT %kernel = (f32[64,4]{1,0}, f32[64,256]{1,0}) custom-call(%query, %ring), \
custom_call_target="tpu_custom_call", output_to_operand_aliasing={{1}: (1, {})}
}
"""
RING, ROW = 64 * 256 * 4, 256


def test_a_step_is_the_body_of_the_loop():
    body = hlo.Module(LOOP).loop_body
    assert [one.name for one in body.values() if one.opcode == "fusion"] == ["row.1", "ring.1"]


def test_hbm_bytes_count_slices_and_updates_as_such_and_fast_memory_not_at_all():
    module = hlo.Module(LOOP)
    looked_up = ROW * 2  # the row of the table; what becomes of it lies in fast memory
    written = ROW * 4  # the new row of the ring, in place
    copied = exchanged = 2 * RING
    numbers = 5 * 4  # the step's, read thrice and written, and the one that is added
    total = looked_up + written + copied + exchanged + numbers
    assert module.hbm_bytes(module.loop_body) == total


def test_what_a_kernel_writes_in_place_is_read_once():
    module = hlo.Module(KERNEL)
    assert module.hbm_bytes(module.entry) == RING + 2 * 64 * 4 * 4


def test_launches_leave_out_what_is_free_and_if_wanted_numbers():
    module = hlo.Module(LOOP)
    # row, convert, ring, copy, add, all-reduce
    assert module.launches(module.loop_body) == 6
    assert module.launches(module.loop_body, least_bytes=8) == 5


def test_copies_are_named_by_their_source_line():
    module = hlo.Module(LOOP)
    assert module.copies(module.loop_body, RING) == [(RING, "copy", "/code/step.py:7")]
    assert module.copies(module.loop_body, RING + 1) == []


def test_exchanges_between_devices_are_listed():
    module = hlo.Module(LOOP)
    assert module.collectives(module.loop_body) == [("all-reduce", RING)]


def test_arguments_are_those_of_the_entry():
    assert hlo.Module(LOOP).argument_bytes == RING + 1000 * 256 * 2


def test_flops_are_those_of_the_products_called_functions_too():
    @jax.jit
    def product(x, w):
        return jnp.einsum("bij,jk->bik", x, w)

    def twice(x, w):
        return product(product(x, w), w)

    x = jax.ShapeDtypeStruct((3, 5, 8), jnp.float32)
    w = jax.ShapeDtypeStruct((8, 8), jnp.float32)
    module = hlo.Module(jax.jit(twice).lower(x, w).as_text("hlo"))
    assert module.flops(module.entry) == 2 * 2 * (3 * 5 * 8) * 8


def test_a_real_program_is_read_whole():
    def loop(x):
        return jax.lax.fori_loop(0, 4, lambda i, x: x @ x + i, x)

    compiled = jax.jit(loop).lower(jnp.ones((16, 16))).compile()
    module = hlo.Module(compiled.as_text())
    assert module.argument_bytes == 16 * 16 * 4
    assert module.launches(module.loop_body) >= 1
