"""The `visavis` command: every room registers its subcommands under the entry point group `visavis.commands`.

An entry point is a callable `register(subparsers)`: it adds a parser and sets its default `handler`, a function from
the parsed options to an exit code. What is heavy is imported inside the handler, so that `visavis --help` stays fast.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Final, NoReturn

from core import __version__
from core.errors import ConfigError, VisavisError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage] - argparse has no public name

__all__ = ["EXIT_MISTAKE", "Parser", "Subparsers", "build_parser", "main"]

_GROUP: Final = "visavis.commands"
EXIT_MISTAKE: Final = 2
"""The command line or the configuration is wrong."""

Handler = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line and exits with 2."""

    def error(self, message: str) -> NoReturn:
        """See argparse; without the usage text, which hides the message."""
        self.exit(EXIT_MISTAKE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser with everything that is installed. A room that cannot be imported keeps its place in the help."""
    parser = Parser(prog="visavis", description="A voice agent with a face at the edge.")
    parser.add_argument("--version", action="version", version=f"visavis {__version__}")
    subparsers: Subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=Parser
    )
    for point in sorted(metadata.entry_points(group=_GROUP), key=lambda point: point.name):
        try:
            register = point.load()
        except ImportError as error:
            _register_missing(subparsers, point.name, error)
        else:
            register(subparsers)
    return parser


def _register_missing(subparsers: Subparsers, name: str, error: ImportError) -> None:
    def handler(options: argparse.Namespace) -> int:
        raise ConfigError(f"`visavis {name}` is not installed here ({error})")

    parser = subparsers.add_parser(name, help="(not installed)", add_help=False)
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    parser.set_defaults(handler=handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        arguments: None: the process's own.

    Returns: its exit code; 2 for a mistake of whoever called, 1 for another expected failure, 130 after Ctrl-C.
    """
    try:
        options = build_parser().parse_args(arguments)
        handler: Handler = options.handler
        code = handler(options)
        sys.stdout.flush()
    except ConfigError as error:
        return _say(error, EXIT_MISTAKE)
    except VisavisError as error:
        return _say(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read us has seen enough (`visavis … | head`). The interpreter must not try to flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _say(error: Exception, code: int) -> int:
    text = " ".join(str(error).split())
    sys.stderr.write(f"visavis: {text}\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
