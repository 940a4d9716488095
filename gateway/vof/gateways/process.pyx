# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, binding=False, freethreading_compatible=False
"""What a process in the path of a block device asks of the kernel (prctl(2), mlockall(2),
pidfd_getfd(2)).

Must not know disks or nbdkit.
"""

from cpython.exc cimport PyErr_SetFromErrno
from posix.types cimport pid_t

cdef extern from "sys/prctl.h" nogil:
    int prctl(int option, unsigned long arg2, unsigned long arg3, unsigned long arg4,
              unsigned long arg5)

cdef extern from "sys/mman.h" nogil:
    int mlockall(int flags)

cdef extern from "signal.h" nogil:
    int SIGKILL

cdef extern from "unistd.h" nogil:
    pid_t getppid()
    long syscall(long number, ...)

cdef extern from *:
    """
    #include <sys/prctl.h>
    #ifndef PR_SET_IO_FLUSHER
    #define PR_SET_IO_FLUSHER 57
    #endif
    #ifndef MCL_ONFAULT
    #define MCL_ONFAULT 4
    #endif
    #include <sys/syscall.h>
    #ifndef SYS_pidfd_getfd
    #define SYS_pidfd_getfd 438
    #endif
    """
    enum: PR_SET_PDEATHSIG
    enum: PR_GET_PDEATHSIG
    enum: PR_SET_IO_FLUSHER
    enum: MCL_CURRENT
    enum: MCL_FUTURE
    enum: MCL_ONFAULT
    enum: SYS_pidfd_getfd


def die_with(pid_t parent):
    """Have the calling process killed when the thread that forked it ends; ``parent`` is its
    process. Survives an exec. Raises OSError, and ProcessLookupError if it has ended already."""
    if prctl(PR_SET_PDEATHSIG, <unsigned long>SIGKILL, 0, 0, 0):
        PyErr_SetFromErrno(OSError)
    if getppid() != parent:
        raise ProcessLookupError("the parent has ended")


def die_at_once_with_parent():
    """Where the calling thread is set to be signalled when its parent ends, have it killed.

    Raises OSError.
    """
    cdef int number = 0
    if prctl(PR_GET_PDEATHSIG, <unsigned long>&number, 0, 0, 0):
        PyErr_SetFromErrno(OSError)
    if number and prctl(PR_SET_PDEATHSIG, <unsigned long>SIGKILL, 0, 0, 0):
        PyErr_SetFromErrno(OSError)


def become_io_flusher():
    """Have the calling thread, and those it makes from now on, get memory without waiting for I/O
    (PR_SET_IO_FLUSHER): that I/O could be theirs to do. Raises OSError."""
    if prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0):
        PyErr_SetFromErrno(OSError)


def lock_memory():
    """Keep in memory what the process has there, and all it gets from now on. Raises OSError.

    Pages count once they are used (MCL_ONFAULT), or the stack of every thread would in full.
    """
    if mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT):
        PyErr_SetFromErrno(OSError)


def copy_descriptor(int process, int descriptor):
    """Return a descriptor of ours for what ``descriptor`` is in another process, given by its
    pidfd; it is closed by an exec. Raises OSError."""
    cdef long copy = syscall(SYS_pidfd_getfd, process, descriptor, <unsigned int>0)
    if copy < 0:
        PyErr_SetFromErrno(OSError)
    return copy
