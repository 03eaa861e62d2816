"""Configurations that no SoC can have are refused in one sentence that names the field, the rule and the value."""

from dataclasses import replace
from typing import Any

import pytest
from tdco_spec import CONFIGS, ConfigError

CFG = CONFIGS["rm_12x4"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"l1_bytes": 100_001},
            "l1_bytes a multiple of 4 * l1_banks (whole words in every bank), but l1_bytes = 100001",
        ),
        (
            {"l1_bytes": 100_004},
            "l1_bytes a multiple of 4 * l1_banks (whole words in every bank), but l1_bytes = 100004",
        ),
        ({"l1_reserved_bytes": 8190}, "l1_reserved_bytes a multiple of 4 (whole words), but l1_reserved_bytes = 8190"),
        ({"l1_reserved_bytes": 1 << 17}, "l1_reserved_bytes < l1_bytes, but 131072 >= 131072"),
        ({"l2_bytes": 1_000_001}, "l2_bytes a multiple of 4 (whole words), but l2_bytes = 1000001"),
        ({"l2_reserved_bytes": 1 << 21}, "l2_reserved_bytes < l2_bytes, but 2097152 >= 2097152"),
        ({"l3_bytes": 1_000_002}, "l3_bytes a multiple of 4 (whole words), but l3_bytes = 1000002"),
        ({"l3_bytes": -4}, "l3_bytes a multiple of 4 (whole words), but l3_bytes = -4"),
        ({"dma_burst_bytes": 0}, "dma_burst_bytes > 0, but dma_burst_bytes = 0"),
        ({"icache_l1_bytes": 3000}, "its sets, a power of two, but icache_l1_bytes = 3000"),
        ({"icache_l0_bytes": 32}, "its sets, a power of two, but icache_l0_bytes = 32"),
        ({"mul_cycles": 0}, "mul_cycles must be >= 1, not 0"),
        ({"private_port_latency_cycles": 0}, "private_port_latency_cycles must be >= 1, not 0"),
    ],
)
def test_sizes_and_costs_that_cannot_be_built_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        replace(CFG, **changes)
    assert str(error.value).startswith("rm_12x4: ")
    assert said in str(error.value)


@pytest.mark.parametrize("l1_bytes", [64 << 10, 96 << 10, 100_032])
def test_l1_may_have_any_number_of_whole_rows_of_banks(l1_bytes: int) -> None:
    assert replace(CFG, l1_bytes=l1_bytes).l1_bytes == l1_bytes


def test_every_field_counts_in_the_hash_but_the_name() -> None:
    changed: dict[str, Any] = {"acc": "fp32", "dma_bytes_per_cycle": 16, "rows": 8, "cols": 5, "name": "other"}
    for field, value in vars(CFG).items():
        double = 2 * value if isinstance(value, int) and value else 1
        other = replace(CFG, **{field: changed.get(field, double)})
        assert (other.hash == CFG.hash) == (field == "name"), field
