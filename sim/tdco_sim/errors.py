"""The one exception this package raises for what a user or their machine can cause."""


class SimError(Exception):
    """Told in one sentence each: ``what`` is wrong, ``where`` (the user's own names), what would help."""

    def __init__(self, what: str, where: str = "", hint: str = "") -> None:
        super().__init__(": ".join(part for part in (where, what) if part) + (f" ({hint})" if hint else ""))
        self.what, self.where, self.hint = what, where, hint


class MissingPlatform(SimError):
    """A platform that the user would have to install first."""

    exit_code = 2
