"""Our engine beside GVSoC's light RedMulE. Needs an installation that has it."""

from __future__ import annotations

import pytest
from tdco_sim import gvsoc
from tdco_sim.gvsoc import light
from tdco_spec import get_config

CFG = get_config("rm_12x4")


def test_both_engines_take_the_same_cycles_and_give_goldens_bits(with_light: gvsoc.Gvsoc, seed: int) -> None:
    for product in light.compare(with_light, CFG, [(48, 64, 48), (13, 17, 19)], seed):
        assert (product.ours_mismatches, product.light_mismatches) == (0, 0)
        assert product.light == pytest.approx(product.ours, rel=0.05)


def test_a_conversion_to_integer_spoils_only_the_light_redmule(with_light: gvsoc.Gvsoc, seed: int) -> None:
    (product,) = light.compare(with_light, CFG, [(48, 64, 48)], seed, converts=True)
    assert product.ours_mismatches == 0
    assert product.light_mismatches > 0
