# SPDX-License-Identifier: BSD-3-Clause
"""The native data path of an initiator, and the choice between it and the reference in Python.

``native`` is an extension module: a thin binding of the C in ``gateway/native/initiator``, which
does for a request what ``fabric.tcp``, ``fabric.room`` and the plain part of ``drivers.block`` do,
without the interpreter. Python decides, native carries: sessions, configuration and every error
stay where they were.

C and a thin Cython binding, rather than Cython alone, because nbdkit's filter calls the same code
where there is no Python, and because sanitizers and fuzzers work on C as it is written.
"""
