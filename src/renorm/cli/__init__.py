"""The command ``renorm``: one file and one frozen dataclass per command."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

from renorm.extras import require

EXPECTED = (ValueError, TypeError, OSError, ImportError, FloatingPointError, RuntimeError)
INTERRUPTED = 130
DESCRIPTION = (
    "Make the statistics of a network's normalization layers visible: train, evaluate, move, repair them. "
    "Errors are one message; --debug adds where they arose."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give the exit status: 0, 1 after an error, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments or os.environ.get("RENORM_DEBUG", "") not in ("", "0")
    try:
        command = parse([argument for argument in arguments if argument != "--debug"])
        command.run()
    except KeyboardInterrupt:
        return _complain(
            "interrupted. Nothing is half written; a run goes on with --resume, others with the same command.",
            INTERRUPTED,
        )
    except EXPECTED as error:
        if debug:
            raise
        return _complain(str(error) or type(error).__name__, 1)
    return 0


def parse(arguments: Sequence[str]) -> Any:
    """The command that the arguments name."""
    tyro, _ = require("tyro"), require("rich")
    from renorm.cli.adapt import Adapt
    from renorm.cli.compare import Compare
    from renorm.cli.corrupt import Corrupt
    from renorm.cli.demo import Demo
    from renorm.cli.evaluate import Evaluate
    from renorm.cli.export import Export
    from renorm.cli.fold import Fold
    from renorm.cli.recalibrate import Recalibrate
    from renorm.cli.report import Report
    from renorm.cli.train import Train

    commands: Any = None
    for kind in (Demo, Train, Evaluate, Compare, Adapt, Recalibrate, Fold, Export, Corrupt, Report):
        named = Annotated[kind, tyro.conf.subcommand(kind.__name__.lower(), prefix_name=False)]
        commands = named if commands is None else commands | named
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
    return tyro.cli(commands, args=list(arguments), prog="renorm", description=DESCRIPTION, config=config)


def _complain(message: str, status: int) -> int:
    print(f"renorm: {message}", file=sys.stderr)
    return status
