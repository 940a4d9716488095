# SPDX-License-Identifier: BSD-3-Clause
"""Parameters for sessions with a target under test."""

from __future__ import annotations

import dataclasses
from typing import Any

from tests.support.scripted_target import TVQN, ScriptedTarget
from vof.initiator.parameters import SessionParameters

IVQN = "vqn.uuid:7a6f1c52-0000-4000-8000-00000000c0de"


def parameters_for(target: ScriptedTarget | int, **changes: Any) -> SessionParameters:
    """Return parameters that lead to a scripted target, or to a port of this machine.

    The scripted target speaks the *proposal*. The connect timeout is long enough for a loaded
    machine, and short enough to see a hang fail.
    """
    port = target if isinstance(target, int) else target.port
    parameters = SessionParameters(
        tvqn=TVQN,
        taddr="127.0.0.1",
        tport=port,
        ivqn=IVQN,
        dialect="proposal",
        connect_timeout=10.0,
    )
    return dataclasses.replace(parameters, **changes)
