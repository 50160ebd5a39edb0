"""What is no regular file is never opened."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sslkit.errors import CheckpointError, DataError, SpecError
from sslkit.files.regular import read_bytes, read_text, require_regular


@pytest.fixture
def never_waits() -> Callable[[Callable[[], object]], object]:
    """Runs a function in a thread, as opening a pipe that nobody writes would wait for good."""

    def run(call: Callable[[], object]) -> object:
        outcome: list[object] = []

        def attempt() -> None:
            try:
                outcome.append(call())
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        thread.join(10)
        assert outcome, "it waits"
        return outcome[0]

    return run


def test_what_a_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert read_text(path) == "one\ntwo\nthree\n", "without a byte-order mark, with ends of lines of one kind"
    assert read_bytes(path).startswith(b"\xef\xbb\xbf")
    (tmp_path / "link").symlink_to(path)
    assert read_bytes(tmp_path / "link") == read_bytes(path), "links to files are files"


@pytest.mark.parametrize("read", [require_regular, read_bytes, read_text])
def test_a_pipe_is_not_opened(tmp_path: Path, read, never_waits) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        error = never_waits(lambda name=name: read(tmp_path / name))
        assert isinstance(error, DataError)
        assert f"{name}: is a named pipe; expected a regular file. Write what it gives to a file" in str(
            error
        )


def test_other_kinds_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match=re.escape("/dev/null: is a device; expected a regular file")):
        read_text(Path("/dev/null"), SpecError)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}: is a folder; expected a regular file")):
        read_bytes(tmp_path)
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(DataError, match=re.escape("s: is a socket; expected a regular file")):
            require_regular("s")


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=re.escape(f"{tmp_path / 'no'}: cannot be read: No such file or directory. Check the path"),
    ):
        read_bytes(tmp_path / "no")
    with pytest.raises(DataError, match=re.escape(r"'a\x00b': is no name of a file")):
        read_bytes(Path("a\0b"))
    (tmp_path / "x").write_bytes(b"good\xff")
    with pytest.raises(
        CheckpointError, match=re.escape("x: is damaged or no text: byte 4 is not UTF-8; write it again")
    ):
        read_text(tmp_path / "x", CheckpointError, "write it again")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with pytest.raises(
        DataError, match=re.escape("round: cannot be read: Too many levels of symbolic links")
    ):
        require_regular(tmp_path / "round")


def test_a_file_that_is_gone_between_the_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")

    def gone(self: Path) -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "read_bytes", gone)
    with pytest.raises(DataError, match=re.escape(f"{path}: cannot be read: No such file or directory")):
        read_bytes(path)
