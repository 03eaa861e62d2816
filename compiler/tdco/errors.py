"""The one exception, and the one warning, that a user's input can cause."""


class TdcoError(Exception):
    """Bad input, told in one sentence each: ``what`` is wrong, ``where`` (the user's own names), what would help.

    The command line prints the three and, with ``--json``, emits them as ``error: {what, where, hint}``.
    """

    def __init__(self, what: str, where: str = "", hint: str = "") -> None:
        super().__init__(": ".join(part for part in (where, what) if part) + (f" ({hint})" if hint else ""))
        self.what, self.where, self.hint = what, where, hint


class TdcoWarning(UserWarning):
    """Something about the user's input that is legal but may not be meant; the command line prints it once."""
