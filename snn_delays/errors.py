"""The one exception a user's own input can cause, and other people's told in one line."""

from textwrap import shorten
from typing import TypeVar

# What h5py raises, depending on which byte of a file is damaged.
HDF5_DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, MemoryError)


class UsageError(ValueError):
    """Input that cannot be used; its message is one line: what, got, expected, next move.

    Command lines print the message alone. Anything that is not a ``UsageError`` is a
    defect of this package.
    """


def held_elsewhere(error: BaseException) -> str:
    """What to say after a file's path if h5py cannot open it since another program has it.

    Empty for any other error.
    """
    text = str(error)
    if isinstance(error, BlockingIOError) or "unable to lock file" in text:
        return (
            "is locked by another program, which has it open for writing. Close it there, or wait, "
            "and try again."
        )
    if "already open for" in text:
        return (
            "is open for writing in another program. Close it there, or wait, and try again; if "
            "that program has crashed, h5clear -s takes its mark off the file."
        )
    return ""


Kind = TypeVar("Kind", bound=BaseException)


def cause_of(error: BaseException, kind: type[Kind]) -> Kind | None:
    """The first of an exception and its causes that is of a kind; None if there is none."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__ or cause.__context__
    return cause


def one_line(error: BaseException, most: int | None = None) -> str:
    """What an exception says, without line breaks, in at most so many letters."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if most is None else shorten(line, most, placeholder=" …")


def refusal(error: OSError) -> str:
    """Why the operating system refuses, without path and number."""
    return error.strerror or one_line(error)
