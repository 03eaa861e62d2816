"""The engine's register file: the only place in tdco where an offset is written down.

The RTL builds its register file from these tables, ``emit`` writes the C header from them, and a GEMM job in C or
Python is exactly the words of ``JOB_REGISTERS``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Register:
    """A 32-bit register at byte ``offset`` of the engine's window. ``access`` is "r", "w" or "rw"."""

    name: str
    offset: int
    access: str
    doc: str


CONTROL_REGISTERS = (
    Register("TRIGGER", 0x00, "w", "any write commits the job registers to the queue; ignored while the queue is full"),
    Register(
        "ACQUIRE",
        0x04,
        "r",
        "takes the lock: id of the next job, or -1 queue full, -2 locked; TRIGGER frees it",
    ),
    Register("FINISHED", 0x08, "r", "number of jobs finished since reset or SOFT_CLEAR, modulo 2^32"),
    Register("STATUS", 0x0C, "r", "bits 7:0 jobs in the queue, the running one included; bit 8 busy"),
    Register("RUNNING_JOB", 0x10, "r", "id of the running job, or of the last one when idle"),
    Register("SOFT_CLEAR", 0x14, "w", "any write drops all jobs and clears queue, lock, FINISHED, FLAGS and counters"),
    Register("ID", 0x18, "r", "HwConfig.hash of the configuration this engine was built from"),
    Register("FLAGS", 0x1C, "rw", "sticky STATUS_FLAGS bits; writing 1 clears a bit"),
)

JOB_REGISTERS = (
    Register("X_ADDR", 0x40, "rw", "byte address of X[0,0], 2-byte aligned"),
    Register("W_ADDR", 0x44, "rw", "byte address of W[0,0]"),
    Register("Y_ADDR", 0x48, "rw", "byte address of Y[0,0]; not read when the Y flag is 0"),
    Register("Z_ADDR", 0x4C, "rw", "byte address of Z[0,0]; may equal Y_ADDR"),
    Register("X_STRIDE", 0x50, "rw", "bytes from one stored line of X to the next, even, may be 0 or negative"),
    Register("W_STRIDE", 0x54, "rw", "bytes from one stored line of W to the next"),
    Register("Y_STRIDE", 0x58, "rw", "bytes from one stored line of Y to the next; 0 repeats one line (bias)"),
    Register("Z_STRIDE", 0x5C, "rw", "bytes from one stored line of Z to the next"),
    Register("M_N", 0x60, "rw", "bits 15:0 M (rows of Z), bits 31:16 N (columns of Z)"),
    Register("K_FLAGS", 0x64, "rw", "bits 15:0 K (the reduced dimension), bits 31:16 JOB_FLAGS"),
)

COUNTER_REGISTERS = (
    Register("CYCLES_BUSY", 0x80, "r", "cycles from a TRIGGER taken while idle to the last job's event"),
    Register("STALL_X", 0x84, "r", "busy cycles the array waited for X"),
    Register("STALL_W", 0x88, "r", "busy cycles the array waited for W and had X"),
    Register("STALL_YZ", 0x8C, "r", "busy cycles the array waited for Y, or for room for Z, and had X and W"),
    Register("STALL_PORT", 0x90, "r", "cycles a request was up and not granted"),
    Register("GRANTED", 0x94, "r", "requests granted"),
    Register("JOBS", 0x98, "r", "jobs finished"),
    Register("MACS_LO", 0x9C, "r", "multiply-accumulates on matrix elements (padding excluded), low word"),
    Register("MACS_HI", 0xA0, "r", "high word"),
)

REGISTERS: dict[str, Register] = {r.name: r for r in CONTROL_REGISTERS + JOB_REGISTERS + COUNTER_REGISTERS}

JOB_FLAGS: dict[str, int] = {
    "TRANS_X": 1 << 0,  # X is stored K x M
    "TRANS_W": 1 << 1,  # W is stored N x K
    "TRANS_Z": 1 << 2,  # Y and Z are stored N x M
    "Y": 1 << 3,  # accumulate onto Y; without it from +0
    "Y_COLUMN": 1 << 4,  # Y is one value per stored line, broadcast along the line (bias across the other dimension)
    "RELU": 1 << 5,  # max(Z, +0) on the way out; NaN stays NaN, -0 becomes +0
    "AFTER": 1 << 6,  # no load before the last store of every earlier job was granted
}

STATUS_FLAGS: dict[str, int] = {
    "OVERFLOW": 1 << 0,  # finite operands gave an infinity
    "INVALID": 1 << 1,  # inf * 0 or inf - inf
    "NONFINITE": 1 << 2,  # an element of Z is an infinity or NaN
    "ILLEGAL": 1 << 3,  # a job with a zero size or an odd address or stride was refused
}
