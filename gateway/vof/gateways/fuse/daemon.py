# SPDX-License-Identifier: BSD-3-Clause
"""Goes into the background, with the news of how that went for whoever started the program.

The work runs in a child that is forked before anything else is made: neither threads nor sessions
survive a fork. The parent waits, through a pipe, until the child says that it is ready or what went
wrong. Either both are told of a success, or there is none: a parent that is interrupted before it
has heard of one ends the child, and a child whose parent has gone ends itself. Must not know what
the work is.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress

from vof.program import ENDING, Interrupted, die_of, hold, release, undone

_READY = b"\0"

_LEAVE_TIMEOUT = 10.0
"""Seconds for the work to be undone."""


def in_background(work: Callable[[Callable[[], None]], str | None]) -> str | None:
    """Run ``work(ready)`` in a child; return once it calls ``ready``, or what it returns before.

    That is None, and no signal ends this process any more, or what went wrong in words. In the
    child this does not return. Raises Interrupted where there is neither.
    """
    reading, writing = os.pipe()
    with undone(), os.fdopen(reading, "rb") as pipe:
        hold()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _be_the_child(work, writing)
        try:
            release()
            os.close(writing)
            news = pipe.read()
            hold()
        except Interrupted:
            _end(child)
            raise
    if news == _READY:
        return None
    _pid, status = os.waitpid(child, 0)
    if news:
        return news.decode(errors="replace")
    how = f"by {signal.Signals(os.WTERMSIG(status)).name} " if os.WIFSIGNALED(status) else ""
    return f"ended {how}before it was ready"


def _end(child: int) -> None:
    """Have the child undo what it has done, and wait for its end."""
    poll = select.poll()
    poll.register(os.pidfd_open(child), select.POLLIN)
    os.kill(child, signal.SIGTERM)
    if not poll.poll(_LEAVE_TIMEOUT * 1000):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _be_the_child(work: Callable[[Callable[[], None]], str | None], pipe: int) -> None:
    os.setsid()
    for each in ENDING:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, signal.SIG_DFL)
    release()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    told = False

    def tell(news: bytes) -> None:
        nonlocal told
        if not told:
            told = True
            os.write(pipe, news)
            os.close(pipe)

    def ready() -> None:
        # From here on nobody reads what is written to the starter's terminal.
        os.dup2(null, 1)
        os.dup2(null, 2)
        try:
            tell(_READY)
        except BrokenPipeError:
            os.kill(os.getpid(), signal.SIGTERM)

    status = 1
    try:
        wrong = work(ready)
        if wrong is None:
            status = 0
        else:
            tell(wrong.encode(errors="backslashreplace"))
    except Interrupted as interrupted:
        status = die_of(interrupted.number)
    except BaseException as error:
        with suppress(OSError):
            tell(f"internal error: {type(error).__name__}: {error}".encode(errors="replace"))
        raise
    finally:
        os._exit(status)
