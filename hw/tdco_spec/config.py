"""Hardware configurations: one frozen dataclass and its named instances.

A design-space sweep is ``dataclasses.replace(get_config("rm_12x4"), rows=24)``; there is no other mechanism.
"""

import hashlib
import json
from dataclasses import asdict, dataclass

KIB = 1024
MIB = 1024 * KIB

ICACHE_WAYS = 4
"""Of every instruction cache."""
_WHOLE_COSTS = (
    "l2_latency_cycles", "private_port_latency_cycles", "peripheral_latency_cycles", "engine_latency_cycles",
    "icache_line_bytes", "icache_l1_banks", "mul_cycles", "mulh_cycles", "div_cycles", "fp_cycles", "fp16_div_cycles",
    "fp32_div_cycles",
)  # fmt: skip


class ConfigError(ValueError):
    """A configuration breaks a rule of the hardware; the message is the violated inequality."""


@dataclass(frozen=True, kw_only=True)
class HwConfig:
    """An SoC with a GEMM engine: everything the RTL, the compiler and the simulators must agree on.

    The engine computes ``Z[M,N] = X[M,K] . W[K,N] + Y[M,N]`` on tiles of ``rows x tile_cols``.

    Raises:
        ConfigError: naming the violated inequality and the values.
    """

    name: str
    rows: int
    """Parallel rows of the array (RedMulE's L): rows of Z in flight."""
    cols: int
    """FMAs chained in one row (RedMulE's H): steps of K per pass."""
    pipe: int
    """Pipeline registers inside an FMA (RedMulE's P); the FMA's latency is pipe + 1 cycles."""
    acc: str = "fp16"
    """Accumulator: "fp16" rounds every MAC to binary16, "fp32" every MAC to binary32 and once more at the end."""
    queue_jobs: int = 4
    """Jobs the engine holds: one running and the rest waiting."""
    cores: int = 8
    """Worker cores of the cluster; one more core is the controller."""
    l1_bytes: int = 128 * KIB
    l1_banks: int = 16
    """Word-interleaved 32-bit banks of L1 (TCDM)."""
    l1_reserved_bytes: int = 8 * KIB
    """Taken from the start of L1 for stacks and the runtime; tensors live above."""
    l2_bytes: int = 2 * MIB
    """With l1_bytes and l3_bytes as TrainDeeploy's platform (arXiv 2603.09511)."""
    l3_bytes: int = 32 * MIB
    l2_reserved_bytes: int = 256 * KIB
    """Taken from the end of L2 for the firmware; tensors live below."""
    dma_bytes_per_cycle: int = 8
    """Each way between L2 and L1 (measured on GVSoC's MCHAN)."""
    dma_startup_cycles: int = 3
    """From the store that completes a command to its first word in L1 (measured on GVSoC's MCHAN)."""
    dma_burst_bytes: int = 256
    """At most; a row ends one too. No word of L1 belongs to two bursts, and after one out of L1 the DMA pauses a cycle
    (read in GVSoC's MCHAN, and measured)."""
    l2_latency_cycles: int = 15
    """Of a core's load from L2; a line fetched from there takes one less, a load's own cycle (measured on GVSoC)."""
    private_port_latency_cycles: int = 1
    """Of an access to the event unit or the DMA, which hang on the core's own port (measured on GVSoC)."""
    peripheral_latency_cycles: int = 3
    """Of an access to what lies behind the cluster's router, of latency 2 (measured on GVSoC)."""
    engine_latency_cycles: int = 4
    """Of an access to the engine's registers: there too, and it answers with its clock edge (measured on our GVSoC
    target)."""
    l3_startup_cycles: int = 40
    """HyperRAM access latency: our assumption, for a DMA of our own."""
    l3_cycles_per_byte: int = 2
    """HyperBus moves a byte per clock-divider period (read in GVSoC's HyperRAM); a divider of 2 is our assumption."""
    event_wakeup_cycles: int = 8
    """From an event to the sleeping core's next instruction, also where a wait finds the event there (6 + 2, read in
    GVSoC's event unit, and measured)."""
    icache_l0_bytes: int = 512
    """Private fetch buffer of a worker, 4 ways, replaced by draw; this and the next five as read in GVSoC's pulp-open
    cluster, and measured."""
    icache_l0_controller_bytes: int = 2 * KIB
    icache_l1_bytes: int = 4 * KIB
    """Shared instruction cache, 4 ways."""
    icache_l1_banks: int = 2
    """Of the shared cache, lines interleaved, each with one refill under way at a time."""
    icache_line_bytes: int = 16
    icache_refill_cycles: int = 2
    """Added by each of the two caches that must bring a line in."""
    mul_cycles: int = 2
    """Low half of a product. This and all costs below were measured on GVSoC's ri5cy; what is not named takes 1."""
    mul_use_cycles: int = 1
    """Added when the instruction after a multiplication uses its result."""
    mulh_cycles: int = 5
    """High half of a product."""
    div_cycles: int = 3
    """Division and remainder of integers, and as many more cycles as the divisor has leading zeros, 32 of zero;
    of a negative one, as its magnitude has, less one."""
    fp_cycles: int = 1
    """Every other fp16 and fp32 instruction, fused multiply-add included. Each core has a unit of its own, our choice:
    GVSoC's pulp-open shares four, and one divider, among all cores."""
    fp16_div_cycles: int = 10
    """Division and square root of fp16."""
    fp32_div_cycles: int = 14
    """Division and square root of fp32."""
    load_use_cycles: int = 1
    """Added when the instruction after a load uses its result."""
    branch_taken_cycles: int = 2
    """Added by a taken branch."""
    jump_cycles: int = 1
    """Added by a jump, direct or indirect."""
    clock_hz: int = 360_000_000
    """As TrainDeeploy's platform (arXiv 2603.09511); turns cycles into updates per second."""

    def __post_init__(self) -> None:
        at_least_one = ("rows", "cols", "queue_jobs", "cores", *_WHOLE_COSTS)
        for field, least in (*((name, 1) for name in at_least_one), ("pipe", 0)):
            if getattr(self, field) < least:
                raise ConfigError(f"{self.name}: {field} must be >= {least}, not {getattr(self, field)}")
        if self.acc not in ("fp16", "fp32"):
            raise ConfigError(f"{self.name}: acc must be 'fp16' or 'fp32', not {self.acc!r}")
        self._require("rows <= cols * (pipe + 1)", self.rows <= self.tile_cols, f"{self.rows} > {self.tile_cols}")
        self._require(
            "port_words <= l1_banks", self.port_words <= self.l1_banks, f"{self.port_words} > {self.l1_banks}"
        )
        self._require(
            "queue_jobs <= 255", self.queue_jobs <= 255, f"queue_jobs = {self.queue_jobs}; a job's id has 8 bits"
        )
        self._require(
            "l1_banks is a power of two", self.l1_banks & (self.l1_banks - 1) == 0, f"l1_banks = {self.l1_banks}"
        )
        self._require(
            "dma_bytes_per_cycle is a positive multiple of 4",
            self.dma_bytes_per_cycle > 0 and self.dma_bytes_per_cycle % 4 == 0,
            f"dma_bytes_per_cycle = {self.dma_bytes_per_cycle}",
        )
        self._require_memories()

    def _require_memories(self) -> None:
        for field, unit, what in (
            ("l1_bytes", 4 * self.l1_banks, "4 * l1_banks (whole words in every bank)"),
            ("l1_reserved_bytes", 4, "4 (whole words)"),
            ("l2_bytes", 4, "4 (whole words)"),
            ("l2_reserved_bytes", 4, "4 (whole words)"),
            ("l3_bytes", 4, "4 (whole words)"),
            ("dma_burst_bytes", 4, "4 (whole words)"),
        ):
            size = getattr(self, field)
            self._require(f"{field} a multiple of {what}", size >= 0 and size % unit == 0, f"{field} = {size}")
        self._require("dma_burst_bytes > 0", self.dma_burst_bytes > 0, f"dma_burst_bytes = {self.dma_burst_bytes}")
        for level in ("l1", "l2"):
            reserved, size = getattr(self, f"{level}_reserved_bytes"), getattr(self, f"{level}_bytes")
            self._require(f"{level}_reserved_bytes < {level}_bytes", reserved < size, f"{reserved} >= {size}")
        for field, banks in (
            ("icache_l0_bytes", 1),
            ("icache_l0_controller_bytes", 1),
            ("icache_l1_bytes", self.icache_l1_banks),
        ):
            sets = getattr(self, field) / (self.icache_line_bytes * ICACHE_WAYS * banks)
            self._require(
                f"{field} / (icache_line_bytes * {ICACHE_WAYS} ways * banks), its sets, a power of two",
                sets >= 1 and sets == int(sets) and int(sets) & (int(sets) - 1) == 0,
                f"{field} = {getattr(self, field)}",
            )

    def _require(self, rule: str, holds: bool, values: str) -> None:
        if not holds:
            raise ConfigError(f"{self.name}: the geometry needs {rule}, but {values}")

    @property
    def tile_cols(self) -> int:
        """Columns of a Z tile and fp16 elements of a memory line: cols * (pipe + 1)."""
        return self.cols * (self.pipe + 1)

    @property
    def port_words(self) -> int:
        """32-bit words of the engine's memory port: a line at any 2-byte alignment in one access."""
        return self.tile_cols // 2 + 1

    @property
    def l1_ports(self) -> int:
        """32-bit ports of L1: one a core, the controller's, and the DMA's, which come last: into L1, out of L1."""
        return self.cores + 1 + 2 * (self.dma_bytes_per_cycle // 4)

    @property
    def l1_wait_cycles(self) -> int:
        """The most cycles in a row in which a port of L1, the engine's too, is refused: once for each of the others."""
        return self.l1_ports

    @property
    def stack_bytes(self) -> int:
        """Of each core; stacks lie side by side from the start of L1, behind them the runtime's data and the kernels'
        tables in 1408 bytes or a few more."""
        return (self.l1_reserved_bytes - 1408) // (self.cores + 1) // 16 * 16

    @property
    def fmas(self) -> int:
        return self.rows * self.cols

    @property
    def hash(self) -> int:
        """32-bit identity of the configuration, as the engine's ID register reports it (the name does not count)."""
        fields = {k: v for k, v in asdict(self).items() if k != "name"}
        return int(hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:8], 16)


CONFIGS: dict[str, HwConfig] = {
    c.name: c
    for c in (
        HwConfig(name="rm_12x4", rows=12, cols=4, pipe=3),
        HwConfig(name="rm_8x4", rows=8, cols=4, pipe=3),
        HwConfig(name="rm_8x8", rows=8, cols=8, pipe=1),
        HwConfig(name="rm_12x4_acc32", rows=12, cols=4, pipe=3, acc="fp32"),
    )
}


def get_config(name: str) -> HwConfig:
    """The named configuration.

    Raises:
        ConfigError: if there is none of that name; the message lists those there are.
    """
    if name not in CONFIGS:
        raise ConfigError(f"no hardware configuration {name!r}; there are: {', '.join(CONFIGS)}")
    return CONFIGS[name]
