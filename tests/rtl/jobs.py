"""Random and fixed GEMM jobs for the engine's testbench: registers, operands in memory, what must come out."""

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tdco_spec import JOB_FLAGS, STATUS_FLAGS, HwConfig

from .reference import U16, gemm

Addresses = NDArray[np.int64]
TRANS_X, TRANS_W, TRANS_Z, Y, Y_COLUMN, RELU, AFTER = (
    JOB_FLAGS[name] for name in ("TRANS_X", "TRANS_W", "TRANS_Z", "Y", "Y_COLUMN", "RELU", "AFTER")
)
SPECIALS = np.array([0, 0x8000, 1, 0x8001, 0x3FF, 0x400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x7D01], np.uint16)
LONGEST_CYCLES = 3000  # of the array, for one random job
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
        self.data = rng.integers(0, 256, self.size).astype(np.uint8)
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
        return self.data[at].astype(np.uint16) | self.data[at + 1].astype(np.uint16) << 8

    def store(self, at: Addresses, values: U16) -> None:
        self.data[at], self.data[at + 1] = values & 0xFF, values >> 8

    def allow(self, permission: bytearray, at: Addresses) -> None:
        view = np.frombuffer(permission, np.uint8)
        view[at] = view[at + 1] = 1


@dataclass(frozen=True)
class Job:
    """A job, its operands being in the arena: what to write to the engine and what must come of it."""

    registers: dict[str, int]
    shape: tuple[int, int, int]
    flags: int
    z_at: Addresses
    """Address of every element of Z as stored."""
    z: U16
    status: int
    """STATUS_FLAGS bits it raises."""
    illegal: bool = False

    @property
    def macs(self) -> int:
        return 0 if self.illegal else int(np.prod(self.shape))


def element_addresses(start: int, stride: int, lines: int, elements: int) -> Addresses:
    return start + stride * np.arange(lines)[:, None] + 2 * np.arange(elements)[None, :]


def random_values(rng: Generator, shape: tuple[int, ...], kind: str) -> U16:
    bits = rng.integers(0, 1 << 16, shape).astype(np.uint16)
    normal = rng.normal(0, 1, shape).astype(np.float16).view(np.uint16)
    return {
        "normal": normal,
        "any": bits,
        "subnormal": bits & 0x87FF,
        "special": np.where(rng.random(shape) < 0.05, rng.choice(SPECIALS, shape), normal),
        "zeros": bits & 0x8000,
        "large": bits & 0x83FF | 0x5400,
    }[kind]


def make_job(
    rng: Generator,
    arena: Arena,
    shape: tuple[int, int, int],
    flags: int,
    kind: str = "normal",
    padded: bool = True,
    x_from: Job | None = None,
) -> Job:
    """Place operands of ``kind`` in the arena. ``x_from``: X is the Z of that job, as stored, and AFTER is set."""
    m, n, k = shape
    trans_x, trans_w, trans_z = (bool(flags & f) for f in (TRANS_X, TRANS_W, TRANS_Z))
    if x_from is not None:
        flags |= AFTER
        m, k = x_from.z_at.shape[:: -1 if trans_x else 1]
        x_at, x = x_from.z_at, x_from.z
        x_stride = int(x_at[1, 0] - x_at[0, 0]) if len(x_at) > 1 else 0
    else:
        x_at, x_stride = place_operand(rng, arena, (k, m) if trans_x else (m, k), padded, repeats=0.1)
        arena.store(x_at, random_values(rng, x_at.shape, kind))
        x = arena.load(x_at)
    w_at, w_stride = place_operand(rng, arena, (n, k) if trans_w else (k, n), padded, repeats=0.1)
    arena.store(w_at, random_values(rng, w_at.shape, kind))
    w = arena.load(w_at)
    z_at, z_stride = place_operand(rng, arena, (n, m) if trans_z else (m, n), padded)
    y_at, y_stride, y = z_at[:, :0], 0, None
    if flags & Y:
        if flags & Y_COLUMN:
            y_at, y_stride = place_operand(rng, arena, (len(z_at), 1), padded, repeats=0.1)
        elif rng.random() < 0.2:
            y_at, y_stride = z_at, z_stride
        else:
            y_at, y_stride = place_operand(rng, arena, (len(z_at), z_at.shape[1]), padded, repeats=0.2)
        arena.store(y_at, random_values(rng, y_at.shape, kind))
        y = np.broadcast_to(arena.load(y_at), z_at.shape)
        y = np.ascontiguousarray(y.T if trans_z else y)
    z, status = gemm(x.T if trans_x else x, w.T if trans_w else w, y, bool(flags & RELU))
    for at in (x_at, w_at, y_at):
        arena.allow(arena.readable, at)
    arena.allow(arena.writable, z_at)
    registers = {
        "X_ADDR": int(x_at[0, 0]),
        "W_ADDR": int(w_at[0, 0]),
        "Y_ADDR": int(y_at[0, 0]) if y is not None else int(rng.integers(0, 1 << 32)),
        "Z_ADDR": int(z_at[0, 0]),
        "X_STRIDE": x_stride,
        "W_STRIDE": w_stride,
        "Y_STRIDE": y_stride,
        "Z_STRIDE": z_stride,
        "M_N": m | n << 16,
        "K_FLAGS": k | flags << 16,
    }
    return Job(registers, (m, n, k), flags, z_at, z.T if trans_z else z, status)


def place_operand(
    rng: Generator, arena: Arena, stored: tuple[int, int], padded: bool, repeats: float = 0
) -> tuple[Addresses, int]:
    """Addresses and stride of a stored matrix; with probability ``repeats`` its lines overlap or are one line."""
    lines, elements = stored
    if padded and rng.random() < repeats:
        stride = 2 * int(rng.integers(0, 3))
        start, _ = arena.place(rng, 1, elements + stride // 2 * (lines - 1), padded)
    else:
        start, stride = arena.place(rng, lines, elements, padded)
    return element_addresses(start, stride, lines, elements), stride


def break_a_rule(rng: Generator, arena: Arena, job: Job) -> Job:
    """The same job with a zero size, or an odd address or stride: to be refused, with Z as it was."""
    registers = dict(job.registers)
    name = str(rng.choice(["M_N", "K_FLAGS", "X_ADDR", "W_STRIDE", "Z_ADDR", "Z_STRIDE"]))
    if name in ("M_N", "K_FLAGS"):
        registers[name] &= 0xFFFF_0000
    else:
        registers[name] |= 1
    return Job(registers, job.shape, job.flags, job.z_at, arena.load(job.z_at), STATUS_FLAGS["ILLEGAL"], illegal=True)


def random_size(rng: Generator, tile: int) -> int:
    """1 to 70, mostly next to a multiple of ``tile``."""
    edges = [1, 2, tile - 1, tile, tile + 1, 2 * tile, 2 * tile + 1, 3 * tile]
    size = int(rng.choice(edges) if rng.random() < 0.6 else rng.integers(1, 71))
    return min(max(size, 1), 70)


def random_shape(rng: Generator, cfg: HwConfig) -> tuple[int, int, int]:
    """M, N, K, not too much for the array: coverage comes from many jobs, not from long ones."""
    tile_k = int(rng.choice([cfg.cols, cfg.tile_cols]))
    while True:
        shape = (random_size(rng, cfg.rows), random_size(rng, cfg.tile_cols), random_size(rng, tile_k))
        if core_cycles(cfg, shape) <= LONGEST_CYCLES:
            return shape


def random_queue(rng: Generator, arena: Arena, cfg: HwConfig, length: int) -> list[Job]:
    """Jobs of all options; some depend on the one before, some are illegal."""
    jobs: list[Job] = []
    for _ in range(length):
        shape = random_shape(rng, cfg)
        chain = bool(jobs) and not jobs[-1].illegal and rng.random() < 0.3
        flags = int(rng.integers(0, AFTER << 1))
        kind = str(rng.choice(VALUE_KINDS))
        job = make_job(rng, arena, shape, flags, kind, x_from=jobs[-1] if chain else None)
        jobs.append(break_a_rule(rng, arena, job) if rng.random() < 0.05 else job)
    return jobs


def core_cycles(cfg: HwConfig, shape: tuple[int, int, int]) -> int:
    """Cycles the array itself needs: whole tiles, K padded to the number of PE columns."""
    m, n, k = shape
    return cfg.tile_cols * -(-k // cfg.cols) * -(-m // cfg.rows) * -(-n // cfg.tile_cols)
