"""The one exception a user's own input can cause, and other people's told in one line."""

# What h5py raises, depending on which byte of a file is damaged.
HDF5_DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, MemoryError)


class UsageError(ValueError):
    """Input that cannot be used; its message is one line: what, got, expected, next move.

    Command lines print the message alone. Anything that is not a ``UsageError`` is a
    defect of this package.
    """


def one_line(error: BaseException) -> str:
    """What an exception says, without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def refusal(error: OSError) -> str:
    """Why the operating system refuses, without path and number."""
    return error.strerror or one_line(error)
