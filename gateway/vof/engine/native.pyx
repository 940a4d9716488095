# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, binding=False, freethreading_compatible=False
"""Binding of the native initiator (``gateway/native/initiator``): nothing is decided here.

Owns what ties C to Python objects: a command's buffers for as long as they are lent, the calls back
when a command is done or a connection is lost, and the errors. See ``fabric.interface`` for what
each method of a queue promises.

In parts that make one module: another one that calls C which this has would need a copy of it.
"""

import time

from vof.counts import MAX_KINDS, OTHER, Count
from vof.errors import (
    ConfigError, LocalProtocolError, NoAnswer, RemoteProtocolError, SessionLost,
)
from vof.fabric.interface import Activity, Statistics
from vof.fabric.pending import Pending
from vof.fabric.tcp import requests as stream_requests
from vof.fabric.ticks import tick_of
from vof.wire.dialect import Framing
from vof.wire.stream import Arrival
from vof.wire.structs import HEAD, Completion

from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EIO
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from vof.engine.initiator cimport *

_NANOSECONDS = 1_000_000_000
_BLOCK_KINDS = tuple(vof_block_kind_name(i).decode() for i in range(VOF_BLOCK_KINDS))
assert VOF_KINDS == MAX_KINDS


cdef int64_t _nanoseconds(timeout) except -1:
    return 0 if timeout is None else max(1, int(timeout * _NANOSECONDS))


cdef vof_framing _c_framing(framing):
    if framing is Framing.LENGTHS:
        return VOF_FRAMING_LENGTHS
    return VOF_FRAMING_SEGMENTS if framing is Framing.SEGMENTS else VOF_FRAMING_CHAINS


include "flight.pxi"
include "queue.pxi"
include "block.pxi"
include "fast_path.pxi"
