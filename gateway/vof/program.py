# SPDX-License-Identifier: BSD-3-Clause
"""Begins and ends a program: its standard streams, its signals, its exit status.

Streams: a descriptor 0, 1 or 2 that is closed is taken before a socket or a file can get its
number. Standard output that cannot be written to ends the program, as coreutils do: quietly where
the reader has gone, else with a line. Standard error that cannot be written to ends nothing.

Signals: those that end a program kill it at once, as the kernel has it, until the program says that
something has to be undone before (``undone``) or that it stays and is told what to do by signals
(``orders``). A program that a signal has ended dies of it, so that a shell sees it.

Imports nothing that takes long: until ``run`` an interrupt is Python's, with a traceback.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TextIO

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a program from outside: somebody, a manager, or its terminal."""

_FAILED = 1


class OutputLost(Exception):
    """Standard output cannot be written to; no OSError, which is something else's failure."""

    def __init__(self, number: int) -> None:
        super().__init__(f"cannot write to standard output: {os.strerror(number)}")
        self.errno = number


class Interrupted(BaseException):
    """A signal has asked for the end; no Exception, so that nothing on the way keeps it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def run(name: str, main: Callable[[], int]) -> int:
    """Be the program ``name``: call ``main``, return the exit status, or die of a signal."""
    output = _keep_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    status = 0
    try:
        try:
            status = main()
        except SystemExit as end:
            status = _status(end)
        except OutputLost:
            raise
        except Exception as error:  # noqa: BLE001 - told in one line
            # Not for the programs that need none of it.
            from vof.logline import describe  # noqa: PLC0415

            sys.stderr.write(f"{name}: internal error: {describe(error)}; please report it\n")
            status = _FAILED
        sys.stdout.flush()
    except OutputLost as lost:
        output.given_up = True
        if lost.errno == errno.EPIPE:
            return status or die_of(signal.SIGPIPE)
        sys.stderr.write(f"{name}: {lost}\n")
        return status or _FAILED
    except Interrupted as interrupted:
        return die_of(interrupted.number)
    return status


def die_of(number: int) -> int:
    """End this process by the signal; return the status to exit with where that is not possible."""
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    signal.raise_signal(number)
    # The first process of a container does not die of its own signals.
    return 128 + number


@contextlib.contextmanager
def undone() -> Iterator[None]:
    """Have the first signal of ``ENDING`` raise Interrupted in here, and none break into the
    undoing.

    One that was ignored when the program began, as by nohup(1), stays so. May be nested.
    """
    taken = [each for each in ENDING if signal.getsignal(each) is signal.SIG_DFL]
    try:
        for each in taken:
            signal.signal(each, _interrupt)
        yield
    finally:
        for each in taken:
            signal.signal(each, signal.SIG_DFL)


def hold() -> None:
    """Have the signals of ``ENDING`` wait: what is done from here on is done and told."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def release() -> None:
    """Take the signals of ``ENDING`` that have waited, and wait, no longer."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Have the signals of ``ENDING`` wait meanwhile."""
    hold()
    try:
        yield
    finally:
        release()


def orders(*numbers: signal.Signals) -> Callable[[], signal.Signals]:
    """Take these signals for the rest of the program's life; return what waits for the next."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for each in numbers:
        signal.signal(each, _leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    return lambda: signal.Signals(os.read(reading, 1)[0])


def say(text: str) -> None:
    """Write to standard output what a program that stays has to say; nobody there to read it is no
    reason to end."""
    # Not through sys.stdout: what it could not write it would try again.
    with contextlib.suppress(OSError):
        os.write(1, text.encode(errors="backslashreplace"))


def _interrupt(number: int, _frame: FrameType | None) -> None:
    for each in ENDING:
        if signal.getsignal(each) is _interrupt:
            # A function, not SIG_IGN, which the programs that undo things would inherit.
            signal.signal(each, _leave)
    raise Interrupted(number)


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Leave a signal to whoever waits for it."""


def _status(end: SystemExit) -> int:
    """Return the exit status that the interpreter would make of it, and write what it would."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    sys.stderr.write(f"{end.code}\n")
    return _FAILED


class _Input(io.FileIO):
    """Standard input, whose errors name it."""

    def readinto(self, buffer, /):  # type: ignore[no-untyped-def]
        with _naming("standard input"):
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with _naming("standard input"):
            return super().readall()


class _Output(io.FileIO):
    """Standard output, whose errors are OutputLost."""

    given_up = False
    """Whether what is left is to be forgotten, for the interpreter would try again at its end."""

    def write(self, data, /):  # type: ignore[no-untyped-def]
        if self.given_up:
            return len(data)
        try:
            written = super().write(data)
        except OSError as error:
            raise OutputLost(error.errno or errno.EIO) from None
        if written is None:
            raise OutputLost(errno.EAGAIN)
        return written


class _Errors(io.FileIO):
    """Standard error, which takes everything."""

    def write(self, data, /):  # type: ignore[no-untyped-def]
        with contextlib.suppress(OSError):
            super().write(data)
        return len(data)


@contextlib.contextmanager
def _naming(file: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, file) from None


def _keep_streams() -> _Output:
    """Make the standard streams what this module says of them; return the second."""
    # The wrong way round, so that using one still fails as it does with a closed one.
    for fd, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)
    given = io.BufferedReader(_Input(0, "r", closefd=False))
    sys.stdin = _text(sys.stdin, given, "surrogateescape")
    output = _Output(1, "w", closefd=False)
    # A letter that the locale has not got, or what is no text at all, is written as an escape.
    sys.stdout = _text(sys.stdout, io.BufferedWriter(output), "backslashreplace")
    errors = io.BufferedWriter(_Errors(2, "w", closefd=False))
    sys.stderr = _text(sys.stderr, errors, "backslashreplace")
    return output


def _text(
    before: TextIO | None, buffer: io.BufferedReader[Any] | io.BufferedWriter[Any], on_error: str
) -> io.TextIOWrapper:
    """Return the stream over ``buffer`` in the place of Python's, which is None for a closed
    one."""
    return io.TextIOWrapper(
        buffer,
        encoding=getattr(before, "encoding", None),
        errors=on_error,
        line_buffering=getattr(before, "line_buffering", False),
    )
