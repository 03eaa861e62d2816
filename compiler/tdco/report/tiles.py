"""The figures of a step that come first."""

from __future__ import annotations

from dataclasses import dataclass

from .load import Step
from .plot import count, share, size


@dataclass(frozen=True)
class Tile:
    """``value`` with its ``unit``, a line that says more, and the same as a number, for bars."""

    name: str
    value: str
    unit: str
    more: str
    amount: float


def tiles(step: Step) -> list[Tile]:
    """Cycles, rate, memory, energy, correctness: of the traced step, bits and update error of the whole run."""
    run, hw, flop = step.run, step.hw, step.document["stats"]["flop"]
    updates, rate, peak = hw.clock_hz / step.cycles, flop / step.cycles, 2 * hw.fmas
    needed = step.document["memory"]["total_bytes"]
    total, unit = size(needed).split()
    places = f"peak in L1 {size(run['l1_peak_bytes'])}, in L2 {size(run['l2_peak_bytes'])}"
    milliseconds = f"{step.cycles / hw.clock_hz * 1000:.2f} ms at {hw.clock_hz / 1e6:.0f} MHz"
    use = f"{share(rate, peak)} of the engine's {peak}; {count(flop / 1e6)} MFLOP a step"
    found = [
        Tile("cycles", count(step.cycles), "", milliseconds, step.cycles),
        Tile("updates per second", f"{updates:,.0f}", "", "steps one after the other", updates),
        Tile("FLOP per cycle", f"{rate:.1f}", "", use, rate),
        Tile("memory", total, unit, places, needed),
    ]
    if energy := run.get("energy_uj"):
        most = max((k for k in energy if k != "total"), key=lambda part: energy[part])
        more = f"an estimate; {share(energy[most], energy['total'])} {most}"
        microjoule = energy["total"] / run["steps"]
        found.append(Tile("energy", count(microjoule), "µJ", more, microjoule))
    differ = f"{count(run['mismatches'] or 0)} differ from platform host"
    compared = run["words_compared"] or 0
    found.append(Tile("words compared", count(compared), "", differ, compared))
    if (error := run["max_rel_error"]) is not None:
        more = "relative L2 against torch fp32" + (f", {run['steps']} steps" if run["steps"] > 1 else "")
        found.append(Tile("update error", f"{error:.2%}" if error > 1e-4 else f"{error:.1e}", "", more, error))
    train = step.document["train"]
    trained = sum(train["trainable"].values())
    found.append(Tile("trained parameters", count(trained), "", f"of {count(train['parameters'])}", trained))
    return found
