"""How the Python tools fail: one line that says what, where and what to do, and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_STORAGE = 4
EXIT_STOPPED = 5


class ToolError(Exception):
    """Base of the failures a tool reports in one line."""

    status = EXIT_BUG


class UsageError(ToolError):
    """The user must change something: a path, a flag, a file's content."""

    status = EXIT_USAGE


class StorageError(ToolError):
    """A disk or a file system failed."""

    status = EXIT_STORAGE


def storage_error(action: str, path: object, failure: OSError) -> ToolError:
    """The error for an operation on path that the operating system refused."""
    reason = failure.strerror or str(failure)
    if isinstance(
        failure, (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
    ):
        return UsageError(
            f"cannot {action} {printable(path)}: {reason}; check the path and its permissions"
        )
    return StorageError(
        f"cannot {action} {printable(path)}: {reason}; free or repair the disk, then run again"
    )


def printable(path: object) -> str:
    """A path as text that any terminal can show: undecodable and control bytes are escaped."""
    text = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def run_tool(name: str, main: Callable[[list[str]], int]) -> None:
    """Runs a tool's main with the command line and exits; every known failure is one line on
    stderr."""
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except ToolError as failure:
        print(f"kente {name}: {failure}", file=sys.stderr)
        status = failure.status
    except BrokenPipeError:
        # The reader of our output left; nothing is wrong and nobody is there to be told.
        sys.stderr.close()
        status = EXIT_DONE
    except OSError as failure:
        where = failure.filename if failure.filename is not None else "a file"
        error = storage_error("use", where, failure)
        print(f"kente {name}: {error}", file=sys.stderr)
        status = error.status
    except KeyboardInterrupt:
        print(f"kente {name}: stopped; run it again to start over", file=sys.stderr)
        status = EXIT_STOPPED
    sys.exit(status)
