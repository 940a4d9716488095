# SPDX-License-Identifier: BSD-3-Clause
"""Says which implementation of the data path is used: the native one, or the reference in Python.

Both do the same and pass the same tests. The environment variable ``VOF_FABRIC`` forces one:
``native``, which is then missed with an error where it was not built, or ``python``. Unset, the
native one is used where it is there. Knows no layer; every layer may ask.
"""

from __future__ import annotations

import os
from enum import Enum

from vof.errors import ConfigError

VARIABLE = "VOF_FABRIC"


class Implementation(Enum):
    """The values of ``VOF_FABRIC``."""

    NATIVE = "native"
    PYTHON = "python"


def forced() -> Implementation | None:
    """Return the implementation the user insists on, None if either will do. Raises ConfigError."""
    value = os.environ.get(VARIABLE, "")
    if not value:
        return None
    try:
        return Implementation(value)
    except ValueError:
        names = " or ".join(item.value for item in Implementation)
        raise ConfigError(f"{VARIABLE}={value}: not known; use {names}, or leave it out") from None


def use_python(what: str) -> None:
    """Have Python's used from here on in this process, for the sake of ``what``. Raises ConfigError
    where the user insists on the native one."""
    if forced() is Implementation.NATIVE:
        raise ConfigError(f"{VARIABLE}=native, but {what} takes the data path in Python")
    os.environ[VARIABLE] = Implementation.PYTHON.value


def use_native(missing: ImportError | None) -> bool:
    """Return whether to use a native part; ``missing`` is why it could not be imported, if so.

    Raises ConfigError where the user insists on a part that is not there.
    """
    choice = forced()
    if missing is None:
        return choice is not Implementation.PYTHON
    if choice is Implementation.NATIVE:
        raise ConfigError(
            f"{VARIABLE}=native, but the native part cannot be loaded: {missing}; "
            "install vof again with a C compiler at hand, or leave the variable out"
        )
    return False
