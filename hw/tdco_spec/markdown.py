"""The register map as Markdown. ``python -m tdco_spec.markdown PAGE`` puts it between the page's marker lines."""

import sys
from collections.abc import Iterable
from pathlib import Path

from .regs import JOB_FLAGS, REGISTERS, STATUS_FLAGS

BEGIN, END = "<!-- register map: begin -->", "<!-- register map: end -->"


def register_map() -> str:
    """Tables of the registers and of the bits of JOB_FLAGS and STATUS_FLAGS."""
    registers = _table(
        ("offset", "register", "access", "what"),
        ((f"0x{r.offset:02X}", f"`{r.name}`", r.access, r.doc) for r in REGISTERS.values()),
    )
    flags = _table(
        ("bit", "JOB_FLAGS", "STATUS_FLAGS"),
        (
            (str(bit), _name(JOB_FLAGS, bit), _name(STATUS_FLAGS, bit))
            for bit in range(max(max(JOB_FLAGS.values()), max(STATUS_FLAGS.values())).bit_length())
        ),
    )
    return f"{registers}\n\n{flags}"


def _name(flags: dict[str, int], bit: int) -> str:
    return next((f"`{name}`" for name, value in flags.items() if value == 1 << bit), "")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def with_register_map(page: str) -> str:
    """``page`` with the current register map between its marker lines.

    Raises:
        ValueError: if the page lacks them.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{register_map()}\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_register_map(path.read_text()))
