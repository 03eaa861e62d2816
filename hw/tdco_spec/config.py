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
    l3_bytes: int = 32 * MIB
    dma_bytes_per_cycle: int = 8
    clock_hz: int = 360_000_000

    def __post_init__(self) -> None:
        for field, least in (("rows", 1), ("cols", 1), ("pipe", 0), ("queue_jobs", 1), ("cores", 1)):
            if getattr(self, field) < least:
                raise ConfigError(f"{self.name}: {field} must be >= {least}, not {getattr(self, field)}")
        if self.acc not in ("fp16", "fp32"):
            raise ConfigError(f"{self.name}: acc must be 'fp16' or 'fp32', not {self.acc!r}")
        self._require("rows <= cols * (pipe + 1)", self.rows <= self.tile_cols, f"{self.rows} > {self.tile_cols}")
        self._require(
            "port_words <= l1_banks", self.port_words <= self.l1_banks, f"{self.port_words} > {self.l1_banks}"
        )
        self._require(
            "l1_banks is a power of two", self.l1_banks & (self.l1_banks - 1) == 0, f"l1_banks = {self.l1_banks}"
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
