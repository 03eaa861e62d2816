"""The public instruction tests, where their sources are beside the project: on the bare core and on the cluster.

TDCO_RISCV_TESTS: a checkout of riscv-software-src/riscv-tests. TDCO_ARCH_TEST: a folder with rv32i_m/Zfinx/src,
rv32i_m/Zhinx/src and env of riscv-non-isa/riscv-arch-test (Zfinx at commit 1b5889f3, Zhinx at 453ebcc2). The latter
carry no expected signatures, so qemu-riscv32 gives them from the same ELF.
"""

import os
from pathlib import Path

import pytest
from tdco_sim.soc.elf import read_elf
from tdco_sim.soc.iss import run

from .micro import CFG
from .riscv import assemble, assemble_for_cluster, has_qemu, run_cluster, run_qemu

RISCV_TESTS = Path(os.environ.get("TDCO_RISCV_TESTS", "/nonexistent"))
ARCH_TEST = Path(os.environ.get("TDCO_ARCH_TEST", "/nonexistent"))


def riscv_tests() -> list[Path]:
    return [p for suite in ("rv32ui", "rv32um", "rv32uc") for p in sorted((RISCV_TESTS / "isa" / suite).glob("*.S"))]


def arch_tests() -> list[Path]:
    return [p for suite in ("Zfinx", "Zhinx") for p in sorted((ARCH_TEST / "rv32i_m" / suite / "src").glob("*.S"))]


# QEMU 7.2 writes 0 for every operand of these; test_isa.py checks the two instructions by their definition.
QEMU_WRONG = {"Zhinx-fsgnjn_b1-01", "Zhinx-fsgnjx_b1-01"}
# Misaligned loads and stores, which are faults on the cluster by design: the firmware makes none.
FAULTS_ON_CLUSTER = {"ma_data"}


def case_name(source: Path) -> str:
    return f"{source.parents[1].name}-{source.stem}"


def without_overlaps(line: str) -> str:
    """A four-register test line whose operands spare its own pointers and scratch registers.

    The generated Zhinx lines load operands into the pointer the signature is written through, and then crash on any
    machine. Operands keep their values and which of them are equal; only the colliding register numbers change.
    """
    name, _, rest = line.partition("(")
    fields = [field.strip() for field in rest.rstrip().rstrip(")").split(",")]
    if name != "TEST_FPR4_OP":
        return line
    operands, kept = fields[1:5], {fields[8], *fields[10:13]}
    spare = (f"x{i}" for i in range(31, 0, -1) if f"x{i}" not in kept | set(operands))
    moved = {register: next(spare) for register in sorted(kept & set(operands))}
    return f"{name}({', '.join([fields[0], *(moved.get(r, r) for r in operands), *fields[5:]])})"


@pytest.mark.slow
@pytest.mark.skipif(not RISCV_TESTS.exists(), reason="TDCO_RISCV_TESTS names no checkout of riscv-tests")
@pytest.mark.parametrize("source", riscv_tests(), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_riscv_tests(source: Path, tmp_path: Path) -> None:
    elf = tmp_path / "test.elf"
    assemble(source, elf, (f"-I{RISCV_TESTS / 'isa' / 'macros' / 'scalar'}",))
    result = run(read_elf(elf))
    assert result.exit_code == 0, f"test {result.exit_code}: {result.error}"


@pytest.mark.slow
@pytest.mark.skipif(not RISCV_TESTS.exists(), reason="TDCO_RISCV_TESTS names no checkout of riscv-tests")
@pytest.mark.parametrize("source", riscv_tests(), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_riscv_tests_on_the_cluster(source: Path, tmp_path: Path) -> None:
    elf, hart = tmp_path / "test.elf", len(source.stem) % (CFG.cores + 1)
    macros = (f"-I{RISCV_TESTS / 'isa' / 'macros' / 'scalar'}",)
    # fence_i executes what it stores to its data
    assemble_for_cluster(source, elf, hart, macros, data_in_l1=source.stem != "fence_i")
    code, why, _ = run_cluster(read_elf(elf))
    if source.stem in FAULTS_ON_CLUSTER:
        assert code is None and "misaligned load" in why
    else:
        assert code == 0, f"test {code}: {why}"


@pytest.mark.slow
@pytest.mark.skipif(not ARCH_TEST.exists(), reason="TDCO_ARCH_TEST names no folder of riscv-arch-test")
@pytest.mark.skipif(not has_qemu(), reason="qemu-riscv32, which gives the signatures, is not installed")
@pytest.mark.parametrize("source", arch_tests(), ids=case_name)
def test_arch_tests(source: Path, tmp_path: Path) -> None:
    if case_name(source) in QEMU_WRONG:
        pytest.skip("qemu-riscv32 7.2 computes these wrongly and the test carries no signature of its own")
    # Zfinx has no floating-point state in mstatus, and user mode has no mstatus: drop the line that enables it.
    plain = tmp_path / source.name
    lines = source.read_text().replace("RVTEST_FP_ENABLE()", "").splitlines()
    plain.write_text("\n".join(without_overlaps(line) for line in lines) + "\n")
    elf, flags = tmp_path / "test.elf", (f"-I{ARCH_TEST / 'env'}", "-DXLEN=32", "-DZHINX=1", "-DTEST_CASE_1=True")
    assemble(plain, elf, flags)
    code, signature = run_qemu(elf)
    result = run(read_elf(elf))
    assert (result.exit_code, code) == (0, 0), result.error
    assert len(signature) > 100
    assert result.output == signature
    on_cluster = tmp_path / "cluster.elf"
    assemble_for_cluster(plain, on_cluster, 5, flags, data_in_l1=False)  # some have more data than L1 holds
    done, why, left = run_cluster(read_elf(on_cluster), "begin_signature", "end_signature")
    assert (done, left) == (0, signature), why
