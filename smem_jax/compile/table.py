"""Reports in words and numbers, at most 100 columns wide."""

from collections.abc import Sequence

from smem_jax.compile.check import Memory, Part, Report, advice
from smem_jax.compile.collectives import Collective
from smem_jax.compile.gpus import USABLE, GpuReport

_GIB, _MOST_ROWS = 2**30, 16
_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


def of_tpu(report: Report) -> str:
    """Memory, the three least times, collectives, and what these figures leave out."""
    one = "device" if report.chip.name == "tpu7x" else "chip"
    return "\n".join(
        [
            *_memory(report.memory, report.parts, one),
            "",
            *_times(report, one),
            "",
            *_collectives(report, one),
            "",
            *_notes(report, one),
        ]
    )


def of_gpu(report: GpuReport) -> str:
    """What lies in a GPU's memory, by arithmetic, and the least time of the model's operations."""
    state = sum(part.device_bytes for part in report.parts)
    rows = [("memory of a GPU", "GiB", ""), *_named(report.parts)]
    rows += [
        ("= state", _gib(state), "exact, from shapes and shardings"),
        ("+ batch", _gib(report.batch), "exact"),
        ("+ gradients, activations", _gib(report.temporaries), "an estimate, from the jaxpr"),
        ("= total", _gib(report.total), _verdict(report.total, report.capacity, report.fits)),
    ]
    lines = [
        *_aligned(rows),
        "",
        f"The capacity is {USABLE:.0%} of the GPU's {_gib(report.chip.hbm_bytes)} GiB, the rest "
        "taken for driver, CUDA and NCCL (a guess).",
        "JAX itself takes 75 % unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise.",
        f"The model's own {report.model_flops:.3g} FLOPs a step take {_time(report.step_seconds)} "
        f"at the peak rate: at most {report.tokens / report.step_seconds:,.0f} tokens/s.",
        "Traffic to the memory and between GPUs is not known without the compiler.",
    ]
    if not report.fits:
        memory = Memory(state + report.batch, 0, 0, report.temporaries, 0, report.capacity)
        lines += ["", f"does not fit; {advice(memory, report.parts)}"]
    return "\n".join(lines)


def given_up(message: str, parts: Sequence[Part]) -> str:
    """What there is to say where the compiler gave up for want of memory."""
    rows = [("state of a device", "GiB", ""), *_named(parts)]
    return "\n".join([*_aligned(rows), "", f"does not fit, says the compiler: {message}"])


def _memory(memory: Memory, parts: Sequence[Part], one: str) -> list[str]:
    new = memory.outputs - memory.aliased
    rows = [
        (f"memory of a {one}", "GiB", ""),
        ("arguments", _gib(memory.arguments), ""),
        *_named(parts),
        ("+ outputs", _gib(new), f"and {_gib(memory.aliased)} in place of arguments"),
        ("+ temporaries", _gib(memory.temporaries), ""),
        ("+ code", _gib(memory.code), ""),
        ("= total", _gib(memory.total), _verdict(memory.total, memory.capacity, memory.fits)),
    ]
    lines = _aligned(rows)
    return lines if memory.fits else [*lines, f"does not fit; {advice(memory, parts)}"]


def _named(parts: Sequence[Part]) -> list[tuple[str, str, str]]:
    """A row for each part of the state that is not tiny."""
    least = 1e-3 * sum(part.device_bytes for part in parts)
    return [
        (f"  {part.name}", _gib(part.device_bytes), f"of {_gib(part.nbytes)} on all devices")
        for part in parts
        if part.device_bytes >= least
    ]


def _verdict(total: int, capacity: int, fits: bool) -> str:
    if fits:
        return f"of {_gib(capacity)}: fits, {1 - total / capacity:.0%} to spare"
    return f"of {_gib(capacity)}: does not fit, {_gib(total - capacity)} too much"


def _times(report: Report, one: str) -> list[str]:
    chip, seconds = report.chip, report.seconds
    rows = [
        (f"a step, of a {one}", "work", "least time", "at the peak rate of"),
        *(
            (name, work, _time(seconds[name]), rate)
            for name, work, rate in (
                ("compute", f"{report.flops:.3g} FLOPs", f"{chip.flops / 1e12:,.0f} TFLOP/s"),
                ("HBM", _size(report.work.hbm_bytes), f"{chip.hbm_bandwidth / 1e9:,.0f} GB/s"),
                ("interconnect", _size(report.sent_bytes), f"{chip.interconnect / 1e9:,.0f} GB/s"),
            )
        ),
    ]
    line = f"bound by {report.bound}: a step takes {_time(report.step_seconds)} at least"
    if report.tokens:
        line += f", {report.tokens_per_second:,.0f} tokens/s at most"
    if report.model_flops:
        line += f", MFU {report.mfu:.0%} at most"
    return [*_aligned(rows), line]


def _collectives(report: Report, one: str) -> list[str]:
    found = report.collectives
    rows: list[tuple[str, ...]] = [("collective", "array", "over", "of", "count", "size", "sent")]
    rows += [_row(report, each) for each in found[:_MOST_ROWS]]
    rest = found[_MOST_ROWS:]
    if rest:
        count, sent = sum(each.count for each in rest), sum(each.sent_bytes for each in rest)
        rows.append((f"{len(rest)} other ones", "", "", "", f"{count}", "", _size(sent)))
    by_kind: dict[str, float] = {}
    for each in found:
        by_kind[each.kind] = by_kind.get(each.kind, 0.0) + each.sent_bytes
    shares = ", ".join(f"{kind} {_size(sent)}" for kind, sent in by_kind.items())
    if not found:
        return ["no collectives"]
    return [*_aligned(rows), f"sent by a {one} in a step: {shares}"]


def _row(report: Report, each: Collective) -> tuple[str, ...]:
    axes = "+".join(each.axes(report.mesh_shape))
    array = each.arrays[0] if each.arrays else ""
    if len(each.arrays) > 1:
        array += f" and {len(each.arrays) - 1} more"
    sizes = _size(each.nbytes), _size(each.sent_bytes)
    return (each.kind, array, axes, f"{each.group_size}", f"{each.count}", *sizes)


def _notes(report: Report, one: str) -> list[str]:
    work = report.work
    notes = [
        f"Each time is the least there can be: at the peak rate, all links of a {one} at once. "
        "Loops are",
        "multiplied out, and bytes are those of the large memory, both counted from the program. "
        "XLA's own",
        f"analysis, which turns loops once and counts the small memory, too, says "
        f"{report.xla_flops:.3g} FLOPs, {_size(report.xla_bytes)}.",
    ]
    if work.pallas_kernels:
        notes.append(
            f"{work.pallas_kernels} runs of Pallas kernels: no FLOPs; of a table, the rows that "
            "they can read at most."
        )
    notes += [
        f"A loop of {turns:,} turns, one after another: {name}" for name, turns in work.long_loops
    ]
    notes += [
        f"A loop whose length depends on data, counted as one turn: {name}"
        for name in work.unknown_loops
    ]
    return notes


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns; the first to the left, and of the others those that hold numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def cell(row: tuple[str, ...], column: int) -> str:
        is_number = column and all(_is_number(each[column]) for each in rows[1:])
        text, width = row[column], widths[column]
        return text.rjust(width) if is_number else text.ljust(width)

    return ["  ".join(cell(row, n) for n in range(len(widths))).rstrip() for row in rows]


def _is_number(text: str) -> bool:
    return not text or text[0].isdigit()


def _gib(nbytes: float) -> str:
    return f"{nbytes / _GIB:,.2f}" if nbytes >= 0.1 * _GIB or not nbytes else f"{nbytes / _GIB:.4f}"


def _size(nbytes: float) -> str:
    scale, unit = next((each for each in _BYTES if nbytes >= each[0]), _BYTES[-1])
    return f"{nbytes / scale:,.3g} {unit}" if nbytes < 1e15 else f"{nbytes / scale:,.0f} {unit}"


def _time(seconds: float) -> str:
    scale, unit = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    return f"{seconds / scale:,.3g} {unit}"
