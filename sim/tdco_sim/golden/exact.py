"""The multiply-adder by error-free arithmetic, to check golden and the RTL with; it shares nothing with them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tdco_spec import STATUS_FLAGS

Bits = NDArray[Any]
_FLOAT = {np.dtype(np.uint16): np.float16, np.dtype(np.uint32): np.float32}
_NAN = {np.dtype(np.uint16): 0x7E00, np.dtype(np.uint32): 0x7FC00000}


def fma(a: NDArray[np.uint16], b: NDArray[np.uint16], c: Bits) -> tuple[Bits, NDArray[np.uint8]]:
    """Bits and STATUS_FLAGS of a * b + c, elementwise: a, b binary16, c and the result binary16 or binary32 (its bits).

    The product is exact in binary64, and the sum is the pair sum + error, exactly (Knuth's two-sum). Rounded to odd, it
    rounds a second time as if it had not been rounded before, as 53 digits are more than 24 + 1 (Boldo and Melquiond,
    "Emulation of FMA and correctly rounded sums", 2008).
    """
    with np.errstate(all="ignore"):
        x, y = (bits.view(np.float16).astype(np.float64) for bits in (a, b))
        z = c.view(_FLOAT[c.dtype]).astype(np.float64)
        product = x * y
        total = product + z
        part = total - product
        error = (product - (total - part)) + (z - part)
        inexact = np.isfinite(total) & (error != 0) & (total.view(np.int64) & 1 == 0)
        odd = np.where(inexact, np.nextafter(total, np.where(error > 0, np.inf, -np.inf)), total)
        bits = odd.astype(_FLOAT[c.dtype]).view(c.dtype)
    finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(z)
    overflow = finite & np.isinf(bits.view(_FLOAT[c.dtype]))
    invalid = np.isnan(total) & ~np.isnan(x) & ~np.isnan(y) & (np.isnan(product) | ~np.isnan(z))
    flags = overflow * STATUS_FLAGS["OVERFLOW"] + invalid * STATUS_FLAGS["INVALID"]
    return np.where(np.isnan(total), _NAN[c.dtype], bits).astype(c.dtype), flags.astype(np.uint8)
