# SPDX-License-Identifier: BSD-3-Clause
"""Processes with signals they cannot see to."""

from __future__ import annotations

import os
import signal
import subprocess

from vof.gateways.fuse.signals import has_pending_signal


def test_nothing_pending() -> None:
    assert not has_pending_signal(os.getpid())


def test_nobody() -> None:
    assert not has_pending_signal(0)
    assert not has_pending_signal(-1)
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert not has_pending_signal(gone.pid)


def test_what_is_blocked_does_not_count() -> None:
    """It would not interrupt a wait."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        signal.raise_signal(signal.SIGUSR1)
        assert not has_pending_signal(os.getpid())
        assert signal.sigtimedwait({signal.SIGUSR1}, 5)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def test_what_is_pending_does() -> None:
    """A stopped process cannot see to a signal, either."""
    process = subprocess.Popen(["sleep", "60"])
    try:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert not has_pending_signal(process.pid)
        process.send_signal(signal.SIGTERM)
        assert has_pending_signal(process.pid)
    finally:
        process.kill()
        process.wait()
