"""The command line as a whole: help, exit codes, and what is imported for it."""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from types import SimpleNamespace

import pytest

from sslkit.cli import main as cli
from sslkit.cli.main import BUG, COMMANDS, INTERRUPTED, OK, USER_ERROR, main
from sslkit.errors import CheckpointError, SpecError

Fake = Callable[[Callable[[argparse.Namespace], int]], None]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put a function in the place of the command `validate`."""

    def put(execute: Callable[[argparse.Namespace], int]) -> None:
        def add_arguments(parser: argparse.ArgumentParser) -> None:
            parser.add_argument("spec", nargs="?")
            parser.add_argument("--out")
            parser.add_argument("words", nargs="*")

        module = SimpleNamespace(add_arguments=add_arguments, execute=execute)
        monkeypatch.setattr(cli, "import_module", lambda name: module)

    return put


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def execute(args: argparse.Namespace) -> int:
        raise error

    return execute


def test_without_a_command_it_prints_help_with_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == OK
    out = capsys.readouterr().out
    assert all(f"  {name:<8}  {text}" in out for name, text in COMMANDS.items())


@pytest.mark.parametrize(
    "words", [["--help"], ["-h"], ["validate", "--help"], ["plugins", "--help"], ["schema", "-h"]]
)
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == OK
    assert capsys.readouterr().out.startswith("usage: sslkit")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == OK
    assert capsys.readouterr().out == f"sslkit {metadata.version('sslkit')}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["valdate"], "'valdate' is not a command. Did you mean 'validate'? Known: run, resume, "),
        (["zzz"], "'zzz' is not a command. Known: run, resume, "),
        (["--wat"], "unrecognized arguments: --wat"),
        (["validate"], "the following arguments are required: SPEC.yaml"),
        (["plugins"], "the following arguments are required: ACTION"),
        (["schema", "--kind"], "unrecognized arguments: --kind"),
    ],
)
def test_wrong_usage(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == USER_ERROR
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_module_with_the_two_functions(command: str) -> None:
    module = import_module(f"sslkit.cli.{command}")
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert callable(module.execute)
    assert all(action.help for action in parser._actions), "every argument says what it is"


def test_options_may_stand_between_positionals(fake: Fake) -> None:
    seen: list[argparse.Namespace] = []
    fake(lambda args: seen.append(args) or 0)  # type: ignore[func-returns-value]
    assert main(["validate", "s.yaml", "--out", "d", "a=1", "b=2"]) == OK
    assert main(["validate", "--out", "d", "s.yaml", "a=1", "b=2"]) == OK
    assert [(a.spec, a.out, a.words) for a in seen] == [("s.yaml", "d", ["a=1", "b=2"])] * 2


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (SpecError("views: is missing."), USER_ERROR, "error: views: is missing.\n"),
        (CheckpointError("step-1: damaged"), USER_ERROR, "error: step-1: damaged\n"),
        (OSError(errno.ENOSPC, "No space left on device"), USER_ERROR, "error: No space left on device\n"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/locked/x"),
            USER_ERROR,
            "error: /locked/x: Permission denied\n",
        ),
        (KeyboardInterrupt(), INTERRUPTED, ""),
        (
            ValueError("odd"),
            BUG,
            "bug: ValueError: odd\nThis is a bug in sslkit or a plugin; run with --debug",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), BUG, "bug: FileNotFoundError: "),
        (AssertionError(), BUG, "bug: AssertionError: \nThis is a bug"),
    ],
)
def test_errors_become_exit_codes_and_one_message(
    error: BaseException, code: int, message: str, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(raising(error))
    assert main(["validate"]) == code
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert "Traceback" not in err
    assert err.count("\n") <= 2


@pytest.mark.parametrize("words", [["--debug", "validate"], ["validate", "--debug"]])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(
    words: list[str], fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(raising(SpecError("views: is missing.")))
    assert main(words) == USER_ERROR
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.endswith("error: views: is missing.\n")


def test_the_exit_code_is_the_command_s(fake: Fake) -> None:
    fake(lambda args: 5)
    assert main(["validate"]) == 5


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    code = "from sslkit.cli.main import main; raise SystemExit(main(['schema']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == OK
    process.stderr.close()


def test_python_m_runs_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sslkit", "nothing"], capture_output=True, text=True, check=False
    )
    assert done.returncode == USER_ERROR
    assert "'nothing' is not a command" in done.stderr


@pytest.mark.parametrize(
    ("words", "frozen"), [(["--help"], True), (["validate", "no.yaml"], True), ([], False)]
)
def test_a_command_without_torch_ends_without_a_last_search_for_garbage(
    words: list[str], frozen: bool
) -> None:
    """In a process of its own: what is frozen stays so. A module of the name of torch stands for it."""
    code = (
        "import atexit, gc, sys\natexit.register(lambda: print('frozen', gc.get_freeze_count() > 0))\n"
        "sys.modules.update({} if sys.argv[1:] else {'torch': gc})\n"
        "from sslkit.__main__ import command\nsys.exit(command())"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.stdout.endswith(f"frozen {frozen}\n"), done.stderr
    assert done.returncode == (USER_ERROR if "no.yaml" in words else OK)


def modules_after(*words: str) -> set[str]:
    """Names in `sys.modules` after the command line `words` ran in a process of its own."""
    code = (
        "import sys\nfrom sslkit.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_imports_neither_torch_nor_pydantic() -> None:
    heavy = {"torch", "pydantic", "yaml", "rich", "sslkit.registry", "sslkit.specs"}
    needless = {"email", "importlib.metadata", "zipfile", "pathlib", "urllib.parse", "traceback", "difflib"}
    assert not (heavy | needless) & modules_after("--help")


@pytest.mark.parametrize(
    "words",
    [
        ["plugins", "list"],
        ["plugins", "show", "masker/random"],
        ["schema"],
        ["run", "--help"],
        ["explain", "--help"],
    ],
)
def test_light_commands_do_not_import_torch(words: list[str]) -> None:
    assert not {"torch", "numpy", "timm", "sklearn", "PIL"} & modules_after(*words)


def test_importing_the_package_is_light() -> None:
    code = "import sys, sslkit; print(*({'torch', 'pydantic', 'numpy', 'yaml'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout == "\n"
