"""The command ``renorm``: one file and one frozen dataclass per command."""

import os
import shlex
import sys
from collections.abc import Sequence

from renorm import __version__
from renorm.extras import require
from renorm.files import in_words

EXPECTED = (ValueError, TypeError, OSError, ImportError, FloatingPointError, RuntimeError)
INTERRUPTED = 130
MISUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give the exit status: 0, 1 after an error, 2 after what cannot be meant, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--version"]:
        print(f"renorm {__version__}")
        return 0
    debug = "--debug" in arguments or os.environ.get("RENORM_DEBUG", "") not in ("", "0")
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return _complain(
            "interrupted. Nothing is half written; a run goes on with --resume, others with the same command.",
            INTERRUPTED,
        )
    except EXPECTED as error:
        if debug:
            raise
        return _complain(in_words(error), 1)


def _run(arguments: Sequence[str]) -> int:
    for library in ("tyro", "rich"):
        require(library)
    from renorm.cli.arguments import UsageError, parse
    from renorm.cli.console import Console

    try:
        command, names = parse(arguments)
    except UsageError as error:
        return _complain(str(error), MISUSED)
    command.check_device()
    common = command.common
    console = Console(shlex.join(["renorm", *arguments]), names, quiet=common.quiet, json=common.json)
    with console.notices(), console.hearing():
        command.run(console)
    console.finish()
    return 0


def _complain(message: str, status: int) -> int:
    print(f"renorm: {message}", file=sys.stderr)
    return status
