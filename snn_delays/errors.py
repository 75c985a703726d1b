"""The one exception a user's own input can cause."""


class UsageError(ValueError):
    """Input that cannot be used; its message is one line: what, got, expected, next move.

    Command lines print the message alone. Anything that is not a ``UsageError`` is a
    defect of this package.
    """
