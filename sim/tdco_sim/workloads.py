"""The matrix products of known training steps, as queues for the engine's benches."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Gemm:
    """Z[M,N] = X[M,K] . W[K,N], ``count`` times: ``flags`` are names of JOB_FLAGS. ``bias``: Y is one stored line."""

    m: int
    n: int
    k: int
    flags: tuple[str, ...] = ()
    bias: bool = False
    count: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.m, self.n, self.k


def swapped(gemm: Gemm) -> Gemm:
    """The same product with the other operand on the engine's rows, (W^T X^T)^T; all is stored as before."""
    partners = {"TRANS_X": "TRANS_W", "TRANS_W": "TRANS_X", "TRANS_Z": "TRANS_Z"}
    flags = {flag for flag, partner in partners.items() if partner not in gemm.flags}
    return replace(gemm, m=gemm.n, n=gemm.m, flags=(*sorted(flags), *(f for f in gemm.flags if f not in partners)))


# CCT-2, FT-2: two blocks of 64 tokens x 128, two heads of 64; PyTorch stores weights N x K. 61,591,296 MACs.
_CCT2_FT2 = (
    Gemm(1024, 64, 27),  # the tokenizer's convolutions, frozen
    Gemm(256, 128, 576),
    Gemm(64, 128, 128, ("TRANS_W",), count=6),  # q, k, v
    Gemm(64, 64, 64, ("TRANS_W",), count=4),  # Q.K^T
    Gemm(64, 64, 64, count=4),  # P.V
    Gemm(64, 128, 128, ("TRANS_W", "Y"), bias=True, count=6),  # proj, fc1, fc2
    Gemm(64, 1, 128, ("TRANS_W", "Y"), bias=True),  # sequence pooling
    Gemm(1, 128, 64),
    Gemm(1, 10, 128, ("TRANS_W", "Y"), bias=True),  # classifier
    Gemm(1, 128, 10),  # gradients, backwards from here
    Gemm(10, 128, 1, ("TRANS_X",)),
    Gemm(1, 64, 128, ("TRANS_W",)),
    Gemm(64, 128, 1, ("TRANS_X",)),
    Gemm(64, 128, 1),
    Gemm(1, 128, 64, ("TRANS_X",)),
    Gemm(64, 128, 128, count=9),  # dX = dY.W; none of q, k, v of the first block
    Gemm(128, 128, 64, ("TRANS_X",), count=12),  # dW = dY^T.X
    Gemm(64, 64, 64, ("TRANS_W",), count=4),  # dP = dO.V^T
    Gemm(64, 64, 64, ("TRANS_X",), count=4),  # dV = P^T.dO
    Gemm(64, 64, 64, count=4),  # dQ = dS.K
    Gemm(64, 64, 64, ("TRANS_X",), count=4),  # dK = dS^T.Q
)

WORKLOADS = {"cct2-ft2": _CCT2_FT2}
