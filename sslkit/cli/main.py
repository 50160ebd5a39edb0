"""The `sslkit` command. Each command's module is imported only when it is chosen, so `--help` is quick."""

from __future__ import annotations

import argparse
import contextlib
import errno
import gc
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import NoReturn, TextIO, final

from sslkit.errors import Interrupted, SslkitError, SslkitWarning

COMMANDS = {
    "run": "Train what a spec says, and evaluate it.",
    "resume": "Go on with a run that was stopped or killed, as if it had not been.",
    "extend": "Make a finished run longer, with its schedules stretched, held or begun anew.",
    "validate": "Check a spec without running it.",
    "explain": "Show what a spec resolves to: passes, tokens, parameters, learning rate, steps.",
    "data": "Look at the images of a spec: statistics for `normalize`, faults, what arrives in the network.",
    "schema": "Print the JSON schema of specs, for editors.",
    "plugins": "List, show, check and make plugins.",
    "evaluate": "Evaluate a finished or stopped run.",
    "compare": "Compare runs: scores with intervals, tests, and what may be claimed.",
    "report": "Write one HTML file about a run: scores, curves, pictures, maps, cost.",
    "export": "Write a network for other programs, read back and compared.",
    "embed": "Write embeddings of images to a parquet, npy or safetensors file.",
    "search": "Show the images of an index that are most like others: names, similarities, a contact sheet.",
    "examples": "List the specs that are shipped, or write them here.",
    "sweep": "Run a grid of specs, resumable as a whole, and print one table.",
    "scaling": "Fit scaling laws to the results of a sweep: exponents, the best use of compute, extrapolation.",
}
"""Commands and what they do. The module of each is `sslkit.cli.NAME`, with `add_arguments` and `execute`."""
BRIEF = {"validate", "schema"}
"""Commands that read specs and end."""

OK, BUG, USER_ERROR, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""

_USER_ERRNOS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.EIO,
        getattr(errno, "ESTALE", errno.EIO),  # which Windows does not have
    }
)
"""System errors that the user can mend: a full disk, a folder that may not be written, a server that is gone."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's) and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    at = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
    options = _top_parser().parse_args(words[:at])
    if at == len(words):
        _top_parser().print_help()
        return OK
    if words[at] not in COMMANDS:
        _top_parser().error(_unknown(words[at]))
    return _guarded(words[at], words[at + 1 :], debug=options.debug or "--debug" in words[at + 1 :])


def _guarded(command: str, words: Sequence[str], debug: bool) -> int:
    """Run `command`; errors become a message and an exit code."""
    try:
        with _warnings_for_people():
            code = _execute(command, words)
        sys.stdout.flush()  # a closed pipe shows itself here and not at exit
        return code
    except Interrupted as error:
        from sslkit.runtime.signals import exit_code

        return _fail(str(error), exit_code(error.signal), debug)
    except KeyboardInterrupt:
        return _fail(None if not debug else "interrupted", INTERRUPTED, debug)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except SslkitError as error:
        return _fail("\n".join([f"error: {error}", *_notes(error)]), USER_ERROR, debug)
    except OSError as error:
        if error.errno not in _USER_ERRNOS:
            return _fail(_bug_text(error), BUG, debug)
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"error: {where}{error.strerror}", USER_ERROR, debug)
    except Exception as error:
        return _fail(_bug_text(error), BUG, debug)


@contextlib.contextmanager
def _warnings_for_people() -> Iterator[None]:
    """Say what is odd without the place in the code where it showed."""
    with warnings.catch_warnings():
        otherwise = warnings.showwarning

        def show(
            message: Warning | str, category: type[Warning], filename: str, lineno: int,
            file: TextIO | None = None, line: str | None = None,
        ) -> None:  # fmt: skip
            if issubclass(category, SslkitWarning):
                print(f"warning: {message}", file=sys.stderr)
            else:
                otherwise(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


def _execute(command: str, words: Sequence[str]) -> int:
    with _uncollected() if command in BRIEF else contextlib.nullcontext():
        module = import_module(f"sslkit.cli.{command}")
        parser = _Parser(prog=f"sslkit {command}", description=COMMANDS[command], allow_abbrev=False)
        parser.words = words
        parser.add_argument("--debug", action="store_true", help="show the traceback of errors")
        module.add_arguments(parser)
        return int(module.execute(parser.parse_args(words)))


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: hardly any of what specs are made of is garbage, and looking takes a tenth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@final
class _Parser(argparse.ArgumentParser):
    """Takes options and `key.path=value` in any order, and tells who writes a field as an option how it is written."""

    words: Sequence[str] = ()
    _mixing = False

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """`run SPEC --out DIR key=value` mixes both; so does each of a command's own commands."""
        if self._mixing or self._subparsers is not None:  # which argparse cannot mix, only what is in them
            return super().parse_known_args(args, namespace)
        self._mixing = True  # what follows calls this again
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False

    def error(self, message: str) -> NoReturn:
        """End with a usage line and `message`, and the hint that fits."""
        if message.startswith("unrecognized arguments") and "key.path=value" in self.format_usage():
            from sslkit.cli.hints import as_override

            hint = as_override([word for word in self.words if word != "--debug"])
            message += f"\nfields are changed without dashes: {hint}" if hint else ""
        super().error(message)


def _top_parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    table = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="sslkit",
        usage="sslkit [--debug] COMMAND ...",
        description="Self-supervised visual learning built around a plugin registry.",
        epilog=f"commands:\n{table}\n\nsslkit COMMAND --help shows the arguments of one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors")
    parser.add_argument("--version", action=_Version, nargs=0, help="show program's version number and exit")
    return parser


@final
class _Version(argparse.Action):
    """Looks the version up when it is asked for; argparse's own action takes it whenever a parser is made."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from sslkit import __version__

        print(f"sslkit {__version__}")
        parser.exit()


def _unknown(word: str) -> str:
    import difflib  # here and below: what only a mistake needs

    close = difflib.get_close_matches(word, COMMANDS, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{word!r} is not a command. {hint}Known: {', '.join(COMMANDS)}."


def _bug_text(error: Exception) -> str:
    kind = type(error).__name__
    notes = "".join(f"\n{note}" for note in _notes(error))
    return f"bug: {kind}: {error}{notes}\nThis is a bug in sslkit or a plugin; run with --debug for the traceback."


def _notes(error: BaseException) -> Sequence[str]:
    """What was added to `error` on its way, such as where the last checkpoint is."""
    return getattr(error, "__notes__", ())


def _fail(message: str | None, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    if message:
        print(message, file=sys.stderr)
    return code
