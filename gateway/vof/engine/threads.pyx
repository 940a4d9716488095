# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, binding=False, freethreading_compatible=False
"""Threads that are not Python's own, and call into it again and again.

Must not know queues or requests.
"""

cdef extern from "pthread.h" nogil:
    ctypedef unsigned int pthread_key_t
    int pthread_key_create(pthread_key_t *key, void (*destructor)(void *) noexcept)
    void *pthread_getspecific(pthread_key_t key)
    int pthread_setspecific(pthread_key_t key, const void *value)


cdef extern from "Python.h" nogil:
    ctypedef int PyGILState_STATE

    ctypedef struct PyThreadState:
        pass

    PyGILState_STATE PyGILState_Ensure()
    PyThreadState *PyThreadState_Get()
    void PyThreadState_Clear(PyThreadState *)
    void PyThreadState_DeleteCurrent()
    void PyEval_RestoreThread(PyThreadState *)
    int Py_IsInitialized()


cdef pthread_key_t _kept  # of each kept thread, its thread state


cdef void _forget_thread(void *state) noexcept nogil:
    """At a kept thread's end: free its thread state. Python's own key may be cleared already, so
    PyGILState_Release would not find it."""
    if Py_IsInitialized():
        PyEval_RestoreThread(<PyThreadState *>state)
        PyThreadState_Clear(<PyThreadState *>state)
        PyThreadState_DeleteCurrent()


if pthread_key_create(&_kept, _forget_thread):
    raise MemoryError


def keep_thread():
    """Let the calling thread, which its host attached to Python for this call, stay attached.

    A host that attaches and detaches for every call (PyGILState_Ensure and _Release) has a thread
    state made and thrown away each time, with pages mapped and unmapped for its stack: more than
    all else that a request costs. To be called from a callback, in a thread that Python did not
    start; the thread state is freed when the thread ends.
    """
    if not pthread_getspecific(_kept):
        pthread_setspecific(_kept, PyThreadState_Get())
        PyGILState_Ensure()
