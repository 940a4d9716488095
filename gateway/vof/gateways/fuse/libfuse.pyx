# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, binding=False, freethreading_compatible=False
"""Passes on what libfuse tells of a request and pyfuse3 keeps to itself.

That is fallocate(2), for which pyfuse3 3.5 has no handler; the flags an open file has at the time
of a read or write, for fcntl(2) may have changed them; whether a read is for read(2) or fills a
page; and that who waits for an answer has a signal to see to. The other way, that an open file is a
stream. Owns the place where that is seen: the functions by which pyfuse3 hands its handlers to
libfuse, and answers an OPEN, are found here first, for this module is loaded before pyfuse3 and with
its symbols for all (dlopen(3), RTLD_GLOBAL). Must not know what is read, written or allocated.
Everything happens in the thread that runs ``pyfuse3.main``, with the GIL held.
"""

from libc.stdint cimport uint64_t

import errno

cdef extern from *:
    """
    #define FUSE_USE_VERSION 35
    #include <dlfcn.h>
    #include <errno.h>
    #include <string.h>
    #include <fuse3/fuse_lowlevel.h>
    #include <linux/fuse.h>

    typedef void (*vof_read_handler)(fuse_req_t, fuse_ino_t, size_t, off_t,
                                     struct fuse_file_info *);
    typedef void (*vof_fallocate_handler)(fuse_req_t, fuse_ino_t, int, off_t, off_t,
                                          struct fuse_file_info *);

    typedef void (*vof_write_handler)(fuse_req_t, fuse_ino_t, struct fuse_bufvec *, off_t,
                                      struct fuse_file_info *);

    static vof_write_handler vof_passed_write; /* pyfuse3's, of WRITE */
    static vof_write_handler vof_write;        /* ours, which calls it */
    static vof_read_handler vof_passed_read;   /* pyfuse3's */
    static vof_read_handler vof_read;          /* ours, which calls it */
    static vof_fallocate_handler vof_fallocate;

    static struct fuse_lowlevel_ops vof_with_ours(const struct fuse_lowlevel_ops *theirs,
                                                  size_t size) {
        struct fuse_lowlevel_ops all;
        memset(&all, 0, sizeof all);
        memcpy(&all, theirs, size < sizeof all ? size : sizeof all);
        vof_passed_read = all.read;
        all.read = vof_read;
        vof_passed_write = all.write_buf;
        all.write_buf = vof_write;
        all.fallocate = vof_fallocate;
        return all;
    }

    /* By their symbols, because the header makes macros of the names from libfuse 3.17 on. */
    #define VOF_IN_PLACE_OF(symbol) __asm__(symbol) __attribute__((visibility("default")))

    struct fuse_session *vof_session_new(struct fuse_args *, const struct fuse_lowlevel_ops *,
                                         size_t, void *)
        VOF_IN_PLACE_OF("fuse_session_new");
    struct fuse_session *vof_session_new_versioned(struct fuse_args *,
                                                   const struct fuse_lowlevel_ops *, size_t,
                                                   void *, void *)
        VOF_IN_PLACE_OF("fuse_session_new_versioned");

    struct fuse_session *vof_session_new(struct fuse_args *args,
                                         const struct fuse_lowlevel_ops *theirs, size_t size,
                                         void *userdata) {
        struct fuse_session *(*next)(struct fuse_args *, const struct fuse_lowlevel_ops *,
                                     size_t, void *);
        struct fuse_lowlevel_ops all = vof_with_ours(theirs, size);
        *(void **)&next = dlsym(RTLD_NEXT, "fuse_session_new");
        return next ? next(args, &all, sizeof all, userdata) : NULL;
    }

    /* What libfuse's header calls from 3.17 on. */
    struct fuse_session *vof_session_new_versioned(struct fuse_args *args,
                                                   const struct fuse_lowlevel_ops *theirs,
                                                   size_t size, void *version, void *userdata) {
        struct fuse_session *(*next)(struct fuse_args *, const struct fuse_lowlevel_ops *,
                                     size_t, void *, void *);
        struct fuse_lowlevel_ops all = vof_with_ours(theirs, size);
        *(void **)&next = dlsym(RTLD_NEXT, "fuse_session_new_versioned");
        return next ? next(args, &all, sizeof all, version, userdata) : NULL;
    }

    int vof_reply_open(fuse_req_t, const struct fuse_file_info *) VOF_IN_PLACE_OF("fuse_reply_open");

    /* What is not seekable is a stream: libfuse has no word for that. The kernel then keeps no place
       in the file, and no lock of it while a read waits, which a write through the same descriptor
       would wait for. */
    int vof_reply_open(fuse_req_t request, const struct fuse_file_info *file) {
        int (*next)(fuse_req_t, const struct fuse_file_info *);
        struct fuse_open_out answer;
        if (file->nonseekable) {
            memset(&answer, 0, sizeof answer);
            answer.fh = file->fh;
            answer.open_flags = FOPEN_DIRECT_IO | FOPEN_NONSEEKABLE | FOPEN_STREAM;
            return fuse_reply_buf(request, (const char *)&answer, sizeof answer);
        }
        *(void **)&next = dlsym(RTLD_NEXT, "fuse_reply_open");
        return next ? next(request, file) : -ENOSYS;
    }
    """
    ctypedef void *fuse_req_t
    ctypedef uint64_t fuse_ino_t
    ctypedef long off_t
    ctypedef void (*fuse_interrupt_func_t)(fuse_req_t, void *) noexcept
    ctypedef void (*vof_read_handler)(fuse_req_t, fuse_ino_t, size_t, off_t,
                                      fuse_file_info *) noexcept
    struct fuse_bufvec:
        pass
    ctypedef void (*vof_write_handler)(fuse_req_t, fuse_ino_t, fuse_bufvec *, off_t,
                                       fuse_file_info *) noexcept
    ctypedef void (*vof_fallocate_handler)(fuse_req_t, fuse_ino_t, int, off_t, off_t,
                                           fuse_file_info *) noexcept
    struct fuse_file_info:
        int flags
        uint64_t fh
        uint64_t lock_owner
    int fuse_reply_err(fuse_req_t req, int err)
    void fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t func, void *data)
    vof_read_handler vof_passed_read
    vof_read_handler vof_read
    vof_write_handler vof_passed_write
    vof_write_handler vof_write
    vof_fallocate_handler vof_fallocate


cdef class Waiting:
    """A request that is not answered yet."""

    cdef fuse_req_t _request
    cdef object _interrupted

    def watch(self, interrupted):
        """Call ``interrupted`` when the caller has a signal to see to: once, and at once where it
        has one already. Ends with ``unwatch``, which comes before the answer."""
        self._interrupted = interrupted
        fuse_req_interrupt_func(self._request, _on_interrupt, <void *>self)

    def unwatch(self):
        fuse_req_interrupt_func(self._request, NULL, NULL)
        self._interrupted = None


cdef class Transfer(Waiting):
    """A READ or WRITE, which pyfuse3 answers. ``flags`` are those of its open file, as of now;
    ``by_page``: for a page of the file, not for read(2)."""

    cdef readonly uint64_t inode
    cdef readonly int flags
    cdef readonly bint by_page


cdef class Allocation(Waiting):
    """A FALLOCATE of ``length`` bytes from ``offset`` on, in the open file ``fh``. Whoever takes it
    answers it, once."""

    cdef readonly uint64_t fh
    cdef readonly int mode
    cdef readonly off_t offset, length

    def answer(self, int error):
        """Give the caller an errno, or 0. Nothing is done with the request afterwards."""
        fuse_reply_err(self._request, error)


cdef object _taker = None
cdef Transfer _transfer = None


def take_allocations(taker):
    """Have ``taker`` called with each FALLOCATE; None: they are refused. It must not wait."""
    global _taker
    _taker = taker


def passed_on():
    """Return the READ or WRITE that pyfuse3's handler is being called for, and forget it."""
    global _transfer
    transfer, _transfer = _transfer, None
    return transfer


def is_in_place():
    """Return whether pyfuse3 has handed over its handlers by way of this module."""
    return vof_passed_read != NULL


cdef void _on_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                   fuse_file_info *file) noexcept with gil:
    _pass_on(request, inode, file)
    vof_passed_read(request, inode, size, offset, file)


cdef void _on_write(fuse_req_t request, fuse_ino_t inode, fuse_bufvec *data, off_t offset,
                    fuse_file_info *file) noexcept with gil:
    _pass_on(request, inode, file)
    vof_passed_write(request, inode, data, offset, file)


cdef void _pass_on(fuse_req_t request, fuse_ino_t inode, fuse_file_info *file):
    global _transfer
    _transfer = Transfer.__new__(Transfer)
    _transfer._request = request
    _transfer.inode = inode
    _transfer.flags = file.flags
    # read(2) says who reads, for the sake of mandatory locks; what fills a page does not.
    _transfer.by_page = not file.lock_owner


cdef void _on_fallocate(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset, off_t length,
                        fuse_file_info *file) noexcept with gil:
    cdef Allocation allocation
    if _taker is None:
        fuse_reply_err(request, errno.EOPNOTSUPP)
        return
    allocation = Allocation.__new__(Allocation)
    allocation._request = request
    allocation.fh = file.fh
    allocation.mode = mode
    allocation.offset = offset
    allocation.length = length
    _taker(allocation)


cdef void _on_interrupt(fuse_req_t request, void *data) noexcept with gil:
    (<Waiting>data)._interrupted()


vof_read = _on_read
vof_write = _on_write
vof_fallocate = _on_fallocate
