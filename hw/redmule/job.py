"""The job descriptor as hardware sees it: the words of ``JOB_REGISTERS`` in their order."""

from amaranth.hdl import unsigned
from amaranth.lib.data import StructLayout
from tdco_spec import JOB_FLAGS, JOB_REGISTERS

FLAG_BITS = 16
# The two registers that hold several fields, low bits first; every other one is a 32-bit field of its own name.
_SPLIT = {
    "M_N": {"m": unsigned(16), "n": unsigned(16)},
    "K_FLAGS": {
        "k": unsigned(16),
        "flags": StructLayout(
            {name.lower(): 1 for name in sorted(JOB_FLAGS, key=JOB_FLAGS.__getitem__)}
            | {"reserved": unsigned(FLAG_BITS - len(JOB_FLAGS))}
        ),
    },
}

JOB = StructLayout(
    {
        field: shape
        for register in JOB_REGISTERS
        for field, shape in _SPLIT.get(register.name, {register.name.lower(): unsigned(32)}).items()
    }
)
"""One job; its bits are the job registers concatenated, the first one lowest."""

JOB_ID_BITS = 8
