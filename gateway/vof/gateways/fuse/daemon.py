# SPDX-License-Identifier: BSD-3-Clause
"""Going into the background, with the news of how it went for whoever started the program.

The work runs in a child that is forked before anything else is made: neither threads nor sessions
survive a fork. The parent waits, through a pipe, until the child says that it is ready or what went
wrong. Must not know what the work is.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

_READY = b"\0"


def in_background(work: Callable[[Callable[[], None]], str | None]) -> str | None:
    """Run ``work(ready)`` in a child; return once it calls ``ready``, or what it returns before.

    That is None, or what went wrong in words. In the child this does not return.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be_the_child(work, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        news = pipe.read()
    if news == _READY:
        return None
    _pid, status = os.waitpid(child, 0)
    if news:
        return news.decode(errors="replace")
    if os.WIFSIGNALED(status):
        return f"ended by {signal.Signals(os.WTERMSIG(status)).name} before it was ready"
    return None


def _be_the_child(work: Callable[[Callable[[], None]], str | None], pipe: int) -> None:
    os.setsid()
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
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(null, 1)
        os.dup2(null, 2)
        tell(_READY)

    status = 1
    try:
        wrong = work(ready)
        if wrong is None:
            status = 0
        else:
            tell(wrong.encode(errors="backslashreplace"))
    except BaseException as error:
        tell(f"internal error: {type(error).__name__}: {error}".encode(errors="replace"))
        raise
    finally:
        os._exit(status)
