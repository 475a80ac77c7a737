"""The one exception that means 'what you gave me is wrong', as against a fault of the program."""

import sys


class InputError(ValueError):
    """Bad input from outside: a file, a configuration field, a command-line argument.

    The message is one line that names the thing, its value and what would be right. The command
    line prints it without a traceback and exits with status 2.
    """


class TransientError(InputError):
    """What may be right at another try, such as storage or a host that was away for a while.

    A launcher starts a job anew after it, and not after other bad input.
    """


def plain(text: str) -> str:
    """Text of a file by anyone, without what a terminal would obey."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def print_error(error: Exception) -> None:
    """Says what is wrong on standard error, as one line."""
    print(f"smem: error: {' '.join(str(error).split())}", file=sys.stderr)
