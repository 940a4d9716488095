# SPDX-License-Identifier: BSD-3-Clause
"""``driver=rng-file``: a character device such as /dev/hwrng, a named pipe, or a file.

Read without waiting, as much as there is at a time. All associations share one place in it: no byte
is given twice. The end of a file is an error that stays; a pipe ends only for now, until someone
writes to it again.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Self

from vof.errors import ConfigError
from vof.target.backends.named_file import changed
from vof.target.backends.rng_interface import RngSource, RngStream
from vof.target.values import Values, not_empty


class FileSource(RngSource):
    """An open file."""

    def __init__(self, options: FileOptions, fd: int) -> None:
        """``fd`` belongs to this object from now on, and is non-blocking."""
        self._options = options
        self._fd = fd
        self._is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)

    def stream(self) -> RngStream:
        return self

    def read(self, buffer: memoryview) -> int:
        try:
            count = os.readv(self._fd, [buffer])
        except BlockingIOError:
            return 0
        except OSError as error:
            raise OSError(error.errno, f"{self._options.path}: {error.strerror}") from None
        if not count and not self._is_pipe:
            raise OSError(errno.ENODATA, f"{self._options.path} has come to its end")
        return count

    def outdated(self) -> str:
        return changed(self._options.path, self._fd, self._options.open_file)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@dataclass(frozen=True)
class FileOptions:
    """Keys of ``driver=rng-file``."""

    path: str

    @classmethod
    def take(cls, values: Values) -> Self:
        """Take the backend's keys."""
        return cls(path=values.take("path", not_empty))

    def open(self) -> RngSource:
        return FileSource(self, self.open_file())

    def open_file(self) -> int:
        """Return a non-blocking descriptor. Raises ConfigError."""
        try:
            # Without O_NONBLOCK the open of a named pipe would wait for its other end.
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except ValueError as error:  # a NUL in the path
            raise ConfigError(f"cannot open {self.path!r}: {error}") from None
        except OSError as error:
            raise ConfigError(f"cannot open {self.path}: {error.strerror}") from None
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISREG(mode)):
            os.close(fd)
            raise ConfigError(f"{self.path} is neither a character device, a named pipe nor a file")
        return fd
