"""The cycle model against the RTL: the same in every cycle, as an engine, and as a predictor."""

import json
from dataclasses import replace

import pytest
from tdco_sim import bench, model
from tdco_sim.engine import L1_BASE, job_words
from tdco_spec import JOB_FLAGS, HwConfig, get_config

from ..rtl.cycles import GOLDEN, GOLDEN_CONFIGS, GOLDEN_OPTIONS, GOLDEN_SHAPES, OPTION_SHAPES
from . import lockstep

RM_12X4 = get_config("rm_12x4")
SMALL = replace(RM_12X4, name="small", rows=3, cols=2, pipe=1)


@pytest.mark.parametrize(
    ("cfg", "queues"),
    [
        (SMALL, 150),
        (RM_12X4, 150),
        pytest.param(RM_12X4, 2000, marks=pytest.mark.slow),
        pytest.param(replace(SMALL, name="small_acc32", acc="fp32"), 150, marks=pytest.mark.slow),
        pytest.param(get_config("rm_8x4"), 400, marks=pytest.mark.slow),
        pytest.param(get_config("rm_8x8"), 400, marks=pytest.mark.slow),
        pytest.param(get_config("rm_12x4_acc32"), 400, marks=pytest.mark.slow),
    ],
    ids=lambda value: value.name if isinstance(value, HwConfig) else str(value),
)
def test_every_cycle_is_the_same(cfg: HwConfig, queues: int, seed: int) -> None:
    done = lockstep.run(cfg, queues, seed)
    print(", ".join(f"{count:,} {what}" for what, count in sorted(done.items())), "in lockstep")
    assert all(done[pattern] > queues / 10 for pattern in lockstep.PATTERNS)
    assert 0.3 * done["cycles"] < done["granted"] < done["cycles"]


@pytest.mark.parametrize("config", GOLDEN_CONFIGS)
def test_cycles_are_those_of_the_golden_file(config: str) -> None:
    cfg = get_config(config)
    cases = [(shape, "") for shape in GOLDEN_SHAPES]
    cases += [(shape, name) for shape in OPTION_SHAPES for name in GOLDEN_OPTIONS if name]
    got = {}
    for shape, name in cases:
        (result,) = bench.bench_gemm(model.build(cfg), cfg, [shape], **GOLDEN_OPTIONS[name])
        assert (result["mismatches"], result["guard_errors"]) == (0, 0), result
        assert result["busy"] == result["cycles"], result
        got[" ".join(("x".join(map(str, shape)), name)).strip()] = result["cycles"]
    assert got == json.loads(GOLDEN.read_text())[config]


def test_predictions_are_the_engine_s_cycles() -> None:
    """Of single jobs and of queues; another address, stride, bias or ReLU changes nothing."""
    predict = model.predictor(RM_12X4)
    golden = json.loads(GOLDEN.read_text())["rm_12x4"]
    assert predict(13, 17, 33, JOB_FLAGS["Y"]).alone == golden["13x17x33"]
    assert predict(48, 32, 32, 0).alone == golden["48x32x32 no_y"]
    transposed = sum(JOB_FLAGS[flag] for flag in ("TRANS_X", "TRANS_W", "TRANS_Z", "Y"))
    assert predict(13, 17, 33, transposed | JOB_FLAGS["RELU"]).alone == golden["13x17x33 all three transposed"]
    alone, queued = predict(48, 32, 32, JOB_FLAGS["Y"])
    assert alone + 4 * queued == golden["48x32x32 5 queued"]
    odd = {name: L1_BASE + 2 * i for i, name in enumerate("xwyz")}
    job = job_words((48, 32, 32), odd, {"x": 66, "w": -2, "y": 0, "z": 6}, ["Y", "Y_COLUMN"])
    assert model.predict_cycles(RM_12X4, [job] * 3) == [alone, alone + queued, alone + 2 * queued]
    after = job_words((48, 32, 32), odd, {"x": 66}, ["Y", "AFTER"])
    assert model.predict_cycles(RM_12X4, [after, after]) == [alone, 2 * alone - 1]  # starts as the last store goes
    crowded = predict(13, 17, 33, transposed)  # the second job's loads delay the first one
    jobs = [job_words((13, 17, 33), {}, {}, ["TRANS_X", "TRANS_W", "TRANS_Z", "Y"])] * 2
    assert model.predict_cycles(RM_12X4, jobs) == [crowded.alone + 11, sum(crowded)]


def test_the_products_of_a_step_in_one_queue() -> None:
    (result,) = bench.bench_workload(model.build(RM_12X4), RM_12X4, "cct2-ft2")
    assert (result["mismatches"], result["guard_errors"]) == (0, 0)
    assert result["macs"] == 61_591_296
    assert result["cycles"] <= 1_347_000
