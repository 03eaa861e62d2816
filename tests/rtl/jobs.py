"""Random and fixed GEMM jobs for the engine's testbenches: registers, operands in memory, what must come out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tdco_spec import JOB_FLAGS, JOB_REGISTERS, STATUS_FLAGS, HwConfig

from .reference import U16, gemm

Addresses = NDArray[np.int64]
TRANS_X, TRANS_W, TRANS_Z, Y, Y_COLUMN, RELU, AFTER = (
    JOB_FLAGS[name] for name in ("TRANS_X", "TRANS_W", "TRANS_Z", "Y", "Y_COLUMN", "RELU", "AFTER")
)
SPECIALS = np.array([0, 0x8000, 1, 0x8001, 0x3FF, 0x400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x7D01], np.uint16)
LARGEST_SIZE = 70
ARENA_BYTES = 1 << 19  # room for 7 jobs of the largest sizes
LONGEST_CYCLES = 13_000
"""Of the array, for one random job: more than any of the named configurations takes for the largest sizes."""
LARGE, LARGE_FROM = 0.03, 60  # share of shapes of which all three sizes are at least so large
BROKEN = 0.05  # share of illegal jobs
VALUE_KINDS = ("normal", "any", "subnormal", "special", "zeros", "large")


@dataclass
class Arena:
    """Memory with a permission for each byte. Every operand lies between bytes nobody may touch."""

    size: int
    data: NDArray[np.uint8] = field(init=False)
    readable: bytearray = field(init=False)
    writable: bytearray = field(init=False)
    used: int = 0

    def reset(self, rng: Generator) -> None:
        """Poison everything, allow nothing."""
        self.data = np.frombuffer(rng.bytes(self.size), np.uint8).copy()
        self.readable, self.writable, self.used = bytearray(self.size), bytearray(self.size), 0

    def place(self, rng: Generator, lines: int, elements: int, padded: bool) -> tuple[int, int]:
        """Address and stride for a matrix of its own, at any 2-byte alignment, sometimes upside down."""
        stride = 2 * (elements + (int(rng.integers(0, 20)) if padded else 0))
        start = self.used + 2 * int(rng.integers(2, 20))
        self.used = start + stride * (lines - 1) + 2 * elements + 4
        assert self.used <= self.size, "the testbench's memory is too small for this job"
        if padded and rng.random() < 0.1:
            return start + stride * (lines - 1), -stride
        return start, stride

    def load(self, at: Addresses) -> U16:
        return load(self.data, at)

    def store(self, at: Addresses, values: U16) -> None:
        store(self.data, at, values)

    def allow(self, permission: bytearray, at: Addresses) -> None:
        view = np.frombuffer(permission, np.uint8)
        view[at] = view[at + 1] = 1


def load(data: NDArray[np.uint8], at: Addresses) -> U16:
    return data[at].astype(np.uint16) | data[at + 1].astype(np.uint16) << 8


def store(data: NDArray[np.uint8], at: Addresses, values: U16) -> None:
    data[at], data[at + 1] = values & 0xFF, values >> 8


@dataclass(frozen=True)
class Job:
    """A job on operands in an arena. ``x``, ``w``, ``y`` and ``z`` are the addresses of the elements as stored."""

    shape: tuple[int, int, int]
    flags: int
    x: Addresses
    w: Addresses
    y: Addresses | None
    z: Addresses
    registers: dict[str, int]
    illegal: str = ""
    """Which of ``RULES`` it breaks, if any."""

    @property
    def macs(self) -> int:
        return 0 if self.illegal else int(np.prod(self.shape))

    def words(self, base: int) -> list[int]:
        """The job registers in their order, for an arena at address ``base``."""
        values = {name: value + base * name.endswith("_ADDR") for name, value in self.registers.items()}
        return [values[register.name] & 0xFFFF_FFFF for register in JOB_REGISTERS]


def execute(job: Job, data: NDArray[np.uint8], acc: str = "fp16") -> int:
    """Does the job's work on memory ``data`` with the reference arithmetic; the STATUS_FLAGS bits it raises."""
    if job.illegal:
        return STATUS_FLAGS["ILLEGAL"]
    x, w, y = load(data, job.x), load(data, job.w), None
    trans_z = bool(job.flags & TRANS_Z)
    if job.y is not None:
        y = np.broadcast_to(load(data, job.y), job.z.shape)
        y = np.ascontiguousarray(y.T if trans_z else y)
    oriented = (x.T if job.flags & TRANS_X else x, w.T if job.flags & TRANS_W else w)
    z, status = gemm(*oriented, y, bool(job.flags & RELU), acc)
    store(data, job.z, z.T if trans_z else z)
    return status


def element_addresses(start: int, stride: int, lines: int, elements: int) -> Addresses:
    return start + stride * np.arange(lines)[:, None] + 2 * np.arange(elements)[None, :]


def line_stride(at: Addresses) -> int:
    """Bytes from one stored line to the next; there are at least two."""
    return int(at[1, 0] - at[0, 0])


def random_values(rng: Generator, shape: tuple[int, ...], kind: str) -> U16:
    """``kind``: normally distributed; any bits; subnormals; normal and some specials; zeros; close to overflow."""
    bits = rng.integers(0, 1 << 16, shape, np.uint16)
    if kind in ("normal", "special"):
        normal = rng.standard_normal(shape, np.float32).astype(np.float16).view(np.uint16)
        return normal if kind == "normal" else np.where(rng.random(shape) < 0.05, rng.choice(SPECIALS, shape), normal)
    return {"any": bits, "subnormal": bits & 0x87FF, "zeros": bits & 0x8000, "large": bits & 0x83FF | 0x5400}[kind]


def make_job(
    rng: Generator,
    arena: Arena,
    shape: tuple[int, int, int],
    flags: int,
    kind: str = "normal",
    padded: bool = True,
    given: dict[str, Addresses] | None = None,
) -> Job:
    """Place operands of ``kind`` in the arena, except those ``given``: they lie there already."""
    m, n, k = shape
    given = given or {}
    stored = {"x": (k, m) if flags & TRANS_X else (m, k), "w": (n, k) if flags & TRANS_W else (k, n)}
    stored["z"] = (n, m) if flags & TRANS_Z else (m, n)
    at: dict[str, Addresses] = dict(given)
    for name, repeats in (("x", 0.1), ("w", 0.1), ("z", 0.0)):
        if name not in given:
            at[name] = place_operand(rng, arena, stored[name], padded, repeats)
    row = False
    if flags & Y and "y" not in given:
        lines, elements = stored["z"]
        row = not flags & Y_COLUMN and rng.random() < 0.33
        if flags & Y_COLUMN:
            at["y"] = place_operand(rng, arena, (lines, 1), padded, repeats=0.1)
        elif row:
            at["y"] = np.repeat(place_operand(rng, arena, (1, elements), padded), lines, axis=0)
        elif rng.random() < 0.5:
            at["y"] = at["z"]
        else:
            at["y"] = place_operand(rng, arena, stored["z"], padded, repeats=0.1)
    for name in ("x", "w", "y"):
        if name in at:
            if name not in given:
                arena.store(at[name], random_values(rng, at[name].shape, kind))
            arena.allow(arena.readable, at[name])
    arena.allow(arena.writable, at["z"])
    registers = {"M_N": m | n << 16, "K_FLAGS": k | flags << 16}
    for name in ("x", "w", "y", "z"):
        unused = int(rng.integers(1, 1 << 16)) & (-2 if name in at else -1)  # a job without Y may have any
        registers[f"{name.upper()}_ADDR"] = int(at[name][0, 0]) if name in at else int(rng.integers(0, 1 << 32))
        registers[f"{name.upper()}_STRIDE"] = line_stride(at[name]) if len(at.get(name, [])) > 1 else unused
    if row:
        registers["Y_STRIDE"] = 0
    return Job(shape, flags, at["x"], at["w"], at.get("y"), at["z"], registers)


def place_operand(rng: Generator, arena: Arena, stored: tuple[int, int], padded: bool, repeats: float = 0) -> Addresses:
    """Addresses of a stored matrix; with probability ``repeats`` its lines overlap or are one line."""
    lines, elements = stored
    if padded and rng.random() < repeats:
        stride = 2 * int(rng.integers(0, 3))
        start, _ = arena.place(rng, 1, elements + stride // 2 * (lines - 1), padded)
    else:
        start, stride = arena.place(rng, lines, elements, padded)
    return element_addresses(start, stride, lines, elements)


def chained_job(rng: Generator, arena: Arena, cfg: HwConfig, before: Job, flags: int, kind: str) -> Job:
    """A job that needs ``before`` done: its Z is X, W or Y, or Z lies where X of ``before`` lay. AFTER is set."""
    flags |= AFTER
    shape = list(random_shape(rng, cfg))
    link = str(rng.choice(["x", "w", "y", "z"]))
    if link == "z":  # over what the earlier job has read, if no two of its elements share a place
        link = "z" if len(before.x) == 1 or abs(line_stride(before.x)) >= 2 * before.x.shape[1] else "x"
    at = before.x if link == "z" else before.z
    if link == "y":
        flags = flags & ~Y_COLUMN | Y
    transposed = flags & {"x": TRANS_X, "w": TRANS_W, "y": TRANS_Z, "z": TRANS_Z}[link]
    first, second = {"x": (0, 2), "w": (2, 1), "y": (0, 1), "z": (0, 1)}[link]  # dimensions, in M, N, K
    shape[first], shape[second] = at.shape[::-1] if transposed else at.shape
    given = {link: at}
    if link == "y" and rng.random() < 0.5:
        given["z"] = at
    return make_job(rng, arena, (shape[0], shape[1], shape[2]), flags, kind, given=given)


RULES = {"M is 0": ("M_N", 0xFFFF_0000), "N is 0": ("M_N", 0xFFFF), "K is 0": ("K_FLAGS", 0xFFFF_0000)}
RULES |= {f"odd {operand}_{part}": (f"{operand}_{part}", -1) for operand in "XWYZ" for part in ("ADDR", "STRIDE")}
"""What makes a job illegal: a register, and the mask of it that stays when it is zeroed; -1: made odd instead."""


def break_a_rule(rng: Generator, job: Job, rule: str = "") -> Job:
    """The same job, to be refused for ``rule`` or else any of ``RULES``; those of Y hold for jobs with Y."""
    rule = rule or str(rng.choice([name for name in RULES if job.flags & Y or not name.startswith("odd Y")]))
    name, keep = RULES[rule]
    value = job.registers[name]
    return replace(job, registers={**job.registers, name: value | 1 if keep < 0 else value & keep}, illegal=rule)


def random_size(rng: Generator, tile: int) -> int:
    """1 to 70: 1, less than a tile, a tile, one more, a multiple, or anything, with like chances."""
    kind = int(rng.integers(0, 6))
    other = int(rng.integers(min(tile + 2, LARGEST_SIZE), LARGEST_SIZE + 1))
    size = [1, int(rng.integers(1, max(tile, 2))), tile, tile + 1, tile * int(rng.integers(2, 5)), other][kind]
    return min(size, LARGEST_SIZE)


def random_depth(rng: Generator, cfg: HwConfig) -> int:
    """K, 1 to 70: an edge of the array, of a line or of the range; or any residue of a line, of the first one often."""
    line = cfg.tile_cols
    if rng.random() < 0.2:
        edges = [
            1,
            cfg.cols - 1,
            cfg.cols,
            cfg.cols + 1,
            line - 1,
            line,
            line + 1,
            2 * line,
            2 * line + 1,
            LARGEST_SIZE,
        ]
        return int(np.clip(rng.choice(edges), 1, LARGEST_SIZE))
    if rng.random() < 0.4:
        return int(rng.integers(1, min(line, LARGEST_SIZE) + 1))
    return int(rng.integers(1, LARGEST_SIZE + 1))


def random_shape(rng: Generator, cfg: HwConfig) -> tuple[int, int, int]:
    """M, N and K, weighted to the edges, some of them all large; on small arrays not the longest."""
    while True:
        shape = (random_size(rng, cfg.rows), random_size(rng, cfg.tile_cols), random_depth(rng, cfg))
        if rng.random() < LARGE:
            m, n, k = (int(size) for size in rng.integers(LARGE_FROM, LARGEST_SIZE + 1, 3))
            shape = (m, n, k)
        if core_cycles(cfg, shape) <= LONGEST_CYCLES:
            return shape


def is_large(shape: tuple[int, int, int]) -> bool:
    return min(shape) >= LARGE_FROM


def random_queue(rng: Generator, arena: Arena, cfg: HwConfig, length: int) -> list[Job]:
    """Jobs of all options; some depend on the one before, some are illegal."""
    jobs: list[Job] = []
    for _ in range(length):
        flags = int(rng.integers(0, AFTER << 1)) & ~(Y | Y_COLUMN)
        flags |= Y * (rng.random() < 0.75) | Y_COLUMN * (rng.random() < 0.3)  # the five kinds of Y, equally often
        kind = str(rng.choice(VALUE_KINDS))
        if jobs and not jobs[-1].illegal and rng.random() < 0.3:
            job = chained_job(rng, arena, cfg, jobs[-1], flags, kind)
        else:
            job = make_job(rng, arena, random_shape(rng, cfg), flags, kind)
        jobs.append(break_a_rule(rng, job) if rng.random() < BROKEN else job)
    return jobs


def core_cycles(cfg: HwConfig, shape: tuple[int, int, int]) -> int:
    """Cycles the array itself needs: whole tiles, K padded to the number of PE columns."""
    m, n, k = shape
    return cfg.tile_cols * -(-k // cfg.cols) * -(-m // cfg.rows) * -(-n // cfg.tile_cols)


def port_lines(cfg: HwConfig, job: Job) -> int:
    """Requests of a job: X again for every tile of N, W for every tile of M, Y and Z once; a line is one request."""
    if job.illegal:
        return 0
    m, n, k = job.shape
    tiles_m, tiles_n, tiles_k = (
        -(-size // tile) for size, tile in ((m, cfg.rows), (n, cfg.tile_cols), (k, cfg.tile_cols))
    )
    x = (k * tiles_m if job.flags & TRANS_X else m * tiles_k) * tiles_n
    w = (n * tiles_k if job.flags & TRANS_W else k * tiles_n) * tiles_m
    z = n * tiles_m if job.flags & TRANS_Z else m * tiles_n
    return x + w + z * (2 if job.flags & Y else 1)


def reference_run(jobs: Sequence[Job], data: NDArray[np.uint8], acc: str = "fp16") -> tuple[NDArray[np.uint8], int]:
    """Memory after ``jobs`` in their order, and the STATUS_FLAGS they raise together."""
    after, status = data.copy(), 0
    for job in jobs:
        status |= execute(job, after, acc)
    return after, status
