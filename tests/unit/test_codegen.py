"""program.c is legal, short C that says what the schedule says; OUT is written whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tdco.codegen_c import generate_c, waits
from tdco.errors import TdcoError
from tdco.files import image, write_program
from tdco.ir import Builder, Graph, TensorType, verify
from tdco.order import KINDS, kind_of
from tdco.program import Command, Copy, KernelCall, Ref, Schedule
from tdco_spec import get_config
from tdco_spec.emit import c_header

from .device import Compiled, compile_graph, small, toy_ops

CFG = get_config("rm_12x4")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def _toys() -> Iterator[None]:
    with toy_ops():
        yield


def training_step() -> Graph:
    b = Builder(name="step")
    x = b.input("x", TensorType((20, 24)), "image")
    weight = b.add_state("w", np.arange(24 * 18).reshape(24, 18) / 64, "f16", "layer.weight")
    master = b.add_state("w.master", np.arange(24 * 18).reshape(24, 18) / 64, "f32", "layer.weight")
    y = b.add1("MatMul", [x, weight], name="y", source="layer")
    dy = b.add1("ToyMix", [y], name="dy", source="a */ loss")
    dw = b.add1("MatMul", [b.add1("Transpose", [x], {"perm": (1, 0)}), dy], name="dw", source="layer")
    new, new_master = b.add("ToyStep", [weight, master, dw], source="layer.weight")
    b.updates |= {weight: new, master: new_master}
    b.outputs.append(b.add1("ToyColumnSum", [y], name="loss"))
    return verify(b.graph())


@pytest.fixture(scope="module")
def compiled(_toys: None) -> Compiled:
    return compile_graph(training_step(), small(CFG, 3000))


def c_text(c: Compiled) -> str:
    return generate_c(c.graph, c.schedule, c.plan, c.cfg)


def write(c: Compiled, out: Path) -> dict:
    return write_program(out, c.graph, c.layout, c.schedule, c.plan, c.cfg, {"strategy": "test"}, {"00_a.txt": "a"})


def check_c(text: str, compiled: Compiled, tmp_path: Path) -> None:
    (tmp_path / "program.c").write_text(text)
    (tmp_path / "tdco_hw.h").write_text(c_header(compiled.cfg))
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", f"-I{ROOT / 'sw/runtime'}"]
    subprocess.run(["gcc", *flags, "-I.", "program.c"], cwd=tmp_path, check=True)


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_it_compiles_without_warnings(compiled: Compiled, tmp_path: Path) -> None:
    check_c(c_text(compiled), compiled, tmp_path)


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_a_program_without_jobs_compiles_too(tmp_path: Path) -> None:
    b = Builder(name="no_jobs")
    b.outputs.append(b.add1("ToyMix", [b.input("x", TensorType((3,)))], name="y"))
    only_calls = compile_graph(verify(b.graph()), CFG)
    check_c(c_text(only_calls), only_calls, tmp_path)


def test_lines_are_short_and_one_per_command(compiled: Compiled) -> None:
    text = c_text(compiled)
    assert max(map(len, text.splitlines())) <= 120
    commands = len(compiled.schedule.commands)
    assert sum(line.startswith("    {{") for line in text.splitlines()) == commands
    assert text.count("\n") <= 4 * commands + len(compiled.plan.placements) + 40


def test_tables_hold_the_schedule(compiled: Compiled) -> None:
    text = c_text(compiled)
    ops = [c.op for c in compiled.schedule.commands]
    first = next(op for op in ops if isinstance(op, Copy))
    l1, l2 = (compiled.plan.placements[r.buffer].offset + r.offset for r in (first.l1, first.l2))
    row = f"L1(0x{l1:X}), L2(0x{l2:X}), {first.row_bytes}, {first.rows}, {first.stride_bytes}}}"
    assert row in text
    counts = [sum(kind_of(op) == kind for op in ops) for kind in KINDS]
    assert f"{{{', '.join(map(str, counts))}}}, {len(compiled.plan.placements)}," in text
    assert all(f"tdco_kernel {op.symbol};" in text for op in ops if isinstance(op, KernelCall))
    assert "/* 0 MatMul layer */" in text and "a * / loss" in text


def test_waits_count_commands_of_each_kind() -> None:
    copy = Copy(Ref("a"), Ref("b"), 2, 1, 2, True)
    call = KernelCall("k", (Ref("a"),))
    commands = (
        Command(copy, 0),
        Command(copy, 0),
        Command(call, 0, (0,)),
        Command(copy, 0, (2,)),
        Command(call, 0, (1,)),
    )
    assert waits(Schedule({}, commands)) == [
        (0, 0, 0, 0, 0),
        (0, 0, 0, 0, 0),
        (1, 0, 0, 0, 0),
        (0, 0, 0, 1, 0),
        (2, 0, 0, 0, 0),
    ]


def test_out_has_everything(compiled: Compiled, tmp_path: Path) -> None:
    out = tmp_path / "out"
    document = write(compiled, out)
    names = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert names == {
        "program.c", "program.json", "memory.json", "tdco_hw.h", "l2.bin",
        "dump/schedule.txt", "dump/memory.txt", "dump/00_a.txt",
    }  # fmt: skip
    assert json.loads((out / "program.json").read_text()) == document
    assert document["config_hash"] == compiled.cfg.hash and document["strategy"] == "test"
    stats = document["stats"]
    assert stats["flop"] == 2 * 2 * 20 * 24 * 18 == 2 * stats["macs"]
    assert stats["c_bytes"] == (out / "program.c").stat().st_size
    assert [n["op"] for n in document["nodes"]] == ["MatMul", "ToyMix", "MatMul", "ToyStep", "ToyColumnSum"]
    (weight, master) = document["state"]
    memory = (out / "l2.bin").read_bytes()
    for tensor, dtype in ((weight, "<f2"), (master, "<f4")):
        at = tensor["addr"] - 0x1C00_0000
        stored = np.frombuffer(memory[at : at + tensor["bytes"]], dtype).reshape(tensor["shape"])
        np.testing.assert_array_equal(stored, compiled.graph.state[tensor["name"]].astype(dtype))
    assert list(tmp_path.iterdir()) == [out], "no temporary folder stays behind"


def test_out_is_replaced_but_nothing_else_is(compiled: Compiled, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(compiled, out)
    (out / "stale").touch()
    write(compiled, out)
    assert not (out / "stale").exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    with pytest.raises(TdcoError, match="holds no compiled program"):
        write(compiled, foreign)
    assert (foreign / "thesis.tex").exists()


def test_a_failed_write_leaves_the_old_program(compiled: Compiled, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(compiled, out)
    before = (out / "program.c").read_bytes()
    with pytest.raises(TypeError):
        write_program(out, compiled.graph, compiled.layout, compiled.schedule, compiled.plan, CFG, {"bad": object()})
    assert (out / "program.c").read_bytes() == before and list(tmp_path.iterdir()) == [out]


def test_a_weight_too_large_for_fp16_is_refused() -> None:
    b = Builder(name="large")
    w = b.constant("w", np.full((2, 2), 1e6), source="layer.weight")
    b.outputs.append(b.add1("ToyMix", [w], name="y"))
    c = compile_graph(verify(b.graph()), CFG)
    with pytest.raises(TdcoError, match=r"tensor layer.weight: has values beyond 65504"):
        image(c.graph, c.layout, c.plan, "l2")


def test_bytes_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    script = (
        "import numpy as np\n"
        "from tdco.codegen_c import generate_c\n"
        "from tdco.ir import Builder, TensorType, verify\n"
        "from tdco.layout import assign_layout\n"
        "from tdco.cost import default_costs\n"
        "from tdco.memory import plan\n"
        "from tdco.tile import choose_tiling\n"
        "from tdco_spec import get_config\n"
        "b, cfg = Builder(), get_config('rm_12x4')\n"
        "x = b.input('x', TensorType((300, 200)))\n"
        "for i in range(3): x = b.add1('MatMul', [x, b.constant(f'w{i}', np.zeros((200, 200)))])\n"
        "b.outputs.append(x)\n"
        "g, l = assign_layout(verify(b.graph()))\n"
        "costs = default_costs(cfg)\n"
        "print(generate_c(g, *plan(g, l, choose_tiling(g, l, costs), costs), cfg))\n"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1 and re.search(rb"tdco_job jobs", texts.pop())
