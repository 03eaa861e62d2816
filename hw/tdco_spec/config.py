"""Hardware configurations: one frozen dataclass and its named instances.

A design-space sweep is ``dataclasses.replace(get_config("rm_12x4"), rows=24)``; there is no other mechanism.
"""

import hashlib
import json
from dataclasses import asdict, dataclass

KIB = 1024
MIB = 1024 * KIB


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
    dma_startup_cycles: int = 16
    """From a DMA command to its first word (measured on GVSoC)."""
    l2_latency_cycles: int = 15
    """Of a core's load from L2 (measured on GVSoC)."""
    peripheral_latency_cycles: int = 4
    """Of an access to a cluster peripheral: twice through GVSoC's cluster router of latency 2."""
    l3_startup_cycles: int = 40
    """HyperRAM access latency: our assumption, for a DMA of our own."""
    l3_cycles_per_byte: int = 2
    """HyperBus moves a byte per clock-divider period (read in GVSoC's HyperRAM); a divider of 2 is our assumption."""
    tcdm_max_wait_cycles: int = 4
    """A bank the engine took this often in a row while a core or the DMA waited there is theirs for a cycle. Our own
    rule."""
    event_wakeup_cycles: int = 8
    """From an event to the sleeping core's next instruction: 6 + 2, read in GVSoC's event unit."""
    icache_l0_bytes: int = 512
    """Private fetch buffer of a worker, 4 ways; this and the next four as read in GVSoC's pulp-open cluster."""
    icache_l0_controller_bytes: int = 2 * KIB
    icache_l1_bytes: int = 4 * KIB
    """Shared instruction cache, 4 ways."""
    icache_line_bytes: int = 16
    icache_refill_cycles: int = 2
    """Of an L0 line from the shared cache; a miss there costs l2_latency_cycles more."""
    mul_cycles: int = 3
    """Costs of an instruction, this one and the next three measured on GVSoC's ri5cy; everything else takes 1."""
    div_cycles: int = 5
    """Division and remainder of integers."""
    fp_cycles: int = 1
    """Every other fp16 and fp32 instruction, fused multiply-add included."""
    fp_div_cycles: int = 14
    """Division and square root of fp16 and fp32."""
    load_use_cycles: int = 1
    """Added when the instruction after a load uses its result (read in GVSoC's ri5cy)."""
    branch_taken_cycles: int = 2
    """Added by a taken branch (read in GVSoC's ri5cy)."""
    jump_cycles: int = 1
    """Added by a jump (read in GVSoC's ri5cy)."""
    clock_hz: int = 360_000_000
    """As TrainDeeploy's platform (arXiv 2603.09511); turns cycles into updates per second."""

    def __post_init__(self) -> None:
        at_least_one = ("rows", "cols", "queue_jobs", "cores", "tcdm_max_wait_cycles")
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
        self._require(
            "l1_reserved_bytes < l1_bytes",
            self.l1_reserved_bytes < self.l1_bytes,
            f"{self.l1_reserved_bytes} >= {self.l1_bytes}",
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
        """The most cycles in a row in which a 32-bit port of L1 is refused; for the engine's port it is 1.

        At a bank every other port may go first once, and the engine tcdm_max_wait_cycles times before each of them.
        """
        return self.l1_ports * (self.tcdm_max_wait_cycles + 1) - 1

    @property
    def stack_bytes(self) -> int:
        """Of each core; stacks lie side by side from the start of L1, the runtime's 1 KiB of data behind them."""
        return (self.l1_reserved_bytes - KIB) // (self.cores + 1) // 16 * 16

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
