"""Schedule and memory plan -> program.c: constant tables in the format of tdco.h, and nothing else."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from math import isfinite

import numpy as np
from tdco_spec import JOB_FLAGS, HwConfig

from .errors import TdcoError
from .ir import Graph
from .order import CALL, GEMM, IN, KINDS, L3, OUT, kind_of
from .program import Command, Copy, GemmJob, KernelCall, MemoryPlan, Move, Ref, Schedule

MAX_PTRS, MAX_INTS, MAX_FLOATS = 8, 12, 4
"""TDCO_MAX_* of tdco.h."""
LIKE_LAST, ONLY_SHIFT = 0x8000, 13
"""TDCO_JOB_LIKE_LAST and TDCO_ONLY_SHIFT of tdco.h."""
MAX_COMMANDS = 65_535
"""Commands are numbered in 16 bits."""
LINE_COLUMNS = 120


def generate_c(graph: Graph, schedule: Schedule, plan: MemoryPlan, cfg: HwConfig) -> str:
    """The text of program.c. The same arguments give the same bytes.

    Raises:
        TdcoError: the program has more commands than the format can number.
    """
    if len(schedule.commands) > MAX_COMMANDS:
        raise TdcoError(
            f"the step takes {len(schedule.commands)} commands, a program holds {MAX_COMMANDS}",
            graph.name,
            "a configuration with more l1_bytes cuts the work into fewer tiles",
        )
    writer = _Writer(graph, schedule, plan)
    symbols = sorted({c.op.symbol for c in schedule.commands if isinstance(c.op, KernelCall)})
    lines = [
        f"/* {graph.name} for {cfg.name}: generated, do not edit. The format is explained in tdco.h. */",
        '#include "tdco.h"',
        '#include "tdco_hw.h"',
        "",
        f'_Static_assert(TDCO_CONFIG_HASH == 0x{cfg.hash:08X}u, "tdco_hw.h is not of {cfg.name}");',
        "",
        "#define L1(offset) (TDCO_L1_BASE + (offset))",
        "#define L2(offset) (TDCO_L2_BASE + (offset))",
        "#define L3(offset) (TDCO_L3_BASE + (offset))",
        "",
        *(f"tdco_kernel {symbol};" for symbol in symbols),
        "",
        *writer.table(IN, "static const tdco_copy ins[]", "when, l1, l2, row_bytes, rows, stride_bytes"),
        *writer.table(OUT, "static const tdco_copy outs[]", "when, l1, l2, row_bytes, rows, stride_bytes"),
        *writer.table(
            GEMM,
            "static const tdco_job jobs[]",
            "when, x, w, y, z, x_stride, w_stride, y_stride, z_stride, m, n, k, flags",
        ),
        *writer.table(CALL, "static const tdco_call calls[]", "when, kernel, addr, i, f"),
        *writer.table(L3, "static const tdco_move moves[]", "when, l2, l3, bytes, to_l2"),
        *writer.buffers(),
        *writer.program(),
    ]
    return "\n".join(lines) + "\n"


def waits(schedule: Schedule) -> list[tuple[int, ...]]:
    """Per command, how many of each kind must have finished before it starts: what ``after`` says, as counts.

    Waits on the own kind are left to the kind's order and, between jobs, to the AFTER flag.
    """
    counts = [0] * len(KINDS)
    ordinals: list[tuple[int, int]] = []
    result = []
    for command in schedule.commands:
        kind = kind_of(command.op)
        wait = [0] * len(KINDS)
        for j in command.after:
            other, ordinal = ordinals[j]
            if other != kind:
                wait[other] = max(wait[other], ordinal + 1)
        result.append(tuple(wait))
        ordinals.append((kind, counts[kind]))
        counts[kind] += 1
    return result


def only_wait(wait: Sequence[int]) -> int:
    """``only`` of tdco_when: the one queue that is waited for, and its count; 0 where that does not say all."""
    kind = max(KINDS, key=lambda k: wait[k])
    if sum(wait) > wait[kind] or wait[kind] >> ONLY_SHIFT:
        return 0
    return (kind + 1) << ONLY_SHIFT | wait[kind]


def job_flags(command: Command, commands: Sequence[Command]) -> int:
    """The TDCO_JOB_* bits of a GEMM command."""
    job = command.op
    assert isinstance(job, GemmJob)
    flags = {
        "TRANS_X": job.trans_x,
        "TRANS_W": job.trans_w,
        "TRANS_Z": job.trans_z,
        "Y": job.y is not None,
        "Y_COLUMN": job.y_column,
        "RELU": job.relu,
        "AFTER": any(isinstance(commands[j].op, GemmJob) for j in command.after),
    }
    return sum(JOB_FLAGS[name] for name, on in flags.items() if on)


class _Writer:
    def __init__(self, graph: Graph, schedule: Schedule, plan: MemoryPlan) -> None:
        self.graph, self.commands, self.plan = graph, schedule.commands, plan
        self.waits = waits(schedule)
        self.last_shape: tuple[int, ...] = ()  # of the job written last

    def address(self, ref: Ref | None) -> str:
        if ref is None:
            return "0"
        place = self.plan.placements[ref.buffer]
        return f"{place.buffer.level.upper()}(0x{place.offset + ref.offset:X})"

    def table(self, kind: int, head: str, fields: str) -> Iterator[str]:
        """One entry per command of ``kind``, in issue order; a comment marks where a node goes on."""
        row = {IN: self.copy, OUT: self.copy, GEMM: self.job, CALL: self.call, L3: self.move}[kind]
        yield f"{head} = {{ /* {fields} */"
        node, empty = -1, True
        for number, command in enumerate(self.commands):
            if kind_of(command.op) != kind:
                continue
            if command.node != node:
                node = command.node
                text = f"{node} {self.graph.nodes[node].op} {self.graph.source(self.graph.nodes[node])}"
                yield f"    /* {text.replace('*/', '* /')[:110]} */"
            wait = self.waits[number]
            when = f"{{{number}, 0x{only_wait(wait):X}, {{{', '.join(map(str, wait))}}}}}"
            yield _line(f"{{{when}, {row(command)}}}")
            empty = False
        if empty:
            yield "    {.when = {0}}, /* none; C has no empty arrays */"
        yield "};"
        yield ""

    def copy(self, command: Command) -> str:
        op = command.op
        assert isinstance(op, Copy)
        dense = op.stride_bytes == op.row_bytes
        size = (op.rows * op.row_bytes, 1, 0) if dense else (op.row_bytes, op.rows, op.stride_bytes)
        return f"{self.address(op.l1)}, {self.address(op.l2)}, {', '.join(map(str, size))}"

    def job(self, command: Command) -> str:
        op = command.op
        assert isinstance(op, GemmJob)
        refs = ", ".join(self.address(ref) for ref in (op.x, op.w, op.y, op.z))
        shape = (op.x_stride, op.w_stride, op.y_stride, op.z_stride, op.m, op.n)
        flags = job_flags(command, self.commands) | (LIKE_LAST if shape == self.last_shape else 0)
        self.last_shape = shape
        return f"{refs}, {', '.join(map(str, shape))}, {op.k}, 0x{flags:02X}"

    def call(self, command: Command) -> str:
        op = command.op
        assert isinstance(op, KernelCall)
        assert len(op.refs) <= MAX_PTRS and len(op.ints) <= MAX_INTS and len(op.floats) <= MAX_FLOATS, op
        refs = ", ".join(map(self.address, op.refs)) or "0"
        ints = ", ".join(map(str, op.ints)) or "0"
        floats = ", ".join(map(_float, op.floats)) or "0"
        return f"{op.symbol}, {{{refs}}}, {{{ints}}}, {{{floats}}}"

    def move(self, command: Command) -> str:
        op = command.op
        assert isinstance(op, Move)
        return f"{self.address(op.l2)}, {self.address(op.l3)}, {op.bytes}, {int(op.to_l2)}"

    def buffers(self) -> Iterator[str]:
        yield "static const tdco_buffer buffers[] = { /* addr, bytes, first, last, name */"
        for place in sorted(self.plan.placements.values(), key=lambda p: (p.buffer.level, p.first, p.offset)):
            buffer = place.buffer
            span = f"{buffer.bytes}, {place.first}, {place.last}"
            yield _line(f"{{{self.address(Ref(buffer.name))}, {span}, {_string(buffer.tensor)}}}")
        yield "};"
        yield ""

    def program(self) -> Iterator[str]:
        kinds = [kind_of(c.op) for c in self.commands]
        counts = ", ".join(str(kinds.count(kind)) for kind in KINDS)
        yield "const tdco_program tdco_prog = {"
        yield "    ins, outs, jobs, calls, moves, buffers,"
        yield f"    {{{counts}}}, {len(self.plan.placements)}, TDCO_CONFIG_HASH,"
        yield "};"


def _line(entry: str) -> str:
    """A table entry, on more than one line if it is too long for one."""
    line = f"    {entry},"
    if len(line) <= LINE_COLUMNS and entry.isprintable():  # a line break in a name becomes a space
        return line
    return "\n".join(
        textwrap.wrap(
            f"{entry},", LINE_COLUMNS, initial_indent="    ", subsequent_indent="        ", break_long_words=False
        )
    )


def _float(value: float) -> str:
    """A C literal of exactly the fp32 value."""
    single = float(np.float32(value))
    assert isfinite(single), f"{value} is not a finite fp32 number"
    text = f"{single:.9g}"
    return text + ("f" if set(".e") & set(text) else ".0f")


def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
