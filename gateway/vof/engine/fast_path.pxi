# SPDX-License-Identifier: BSD-3-Clause
# What is lent to nbdkit's filter: see initiator/fast_path.h. The device is the NativeBlock, which
# the export keeps. Part of native.pyx.

cdef vof_block *_block_of(void *device) noexcept nogil:
    return &(<NativeBlock>device).block


cdef int _fast(
    void *device, vof_result result, vof_failed *failed, vof_fast_error *error, bint zero
) noexcept nogil:
    if result == VOF_CARRIED:
        return VOF_FAST_DONE
    if result == VOF_DECLINED:
        return VOF_FAST_DECLINED
    return _explain(<NativeBlock>device, result, failed, error, zero)


cdef int _explain(
    NativeBlock block, vof_result result, vof_failed *failed, vof_fast_error *error, bint zero
) noexcept with gil:
    """Have Python say what became of a request, as it does for its own."""
    error.number = EIO
    error.text[0] = 0
    # Whatever happens here must not look like success, which is what leaving by an exception does.
    try:
        try:
            block._failed(result, failed)
        except Exception as problem:
            error.number = block._errno_of(problem, zero)
            text = str(problem).encode("utf-8", "backslashreplace")[: sizeof(error.text) - 1]
            memcpy(error.text, <const char *>text, len(text))
            error.text[len(text)] = 0
    except BaseException:
        error.number = EIO
    return VOF_FAST_FAILED


cdef int _fast_pread(
    void *device, void *data, uint32_t count, uint64_t offset, vof_fast_error *error
) noexcept nogil:
    cdef vof_failed failed
    cdef vof_result result = vof_block_read(_block_of(device), data, count, offset, &failed)
    return _fast(device, result, &failed, error, False)


cdef int _fast_pwrite(
    void *device, const void *data, uint32_t count, uint64_t offset, vof_fast_error *error
) noexcept nogil:
    cdef vof_failed failed
    cdef vof_result result = vof_block_write(_block_of(device), data, count, offset, &failed)
    return _fast(device, result, &failed, error, False)


cdef int _fast_flush(void *device, vof_fast_error *error) noexcept nogil:
    cdef vof_failed failed
    cdef vof_result result = vof_block_flush(_block_of(device), &failed)
    return _fast(device, result, &failed, error, False)


cdef int _fast_trim(
    void *device, uint32_t count, uint64_t offset, vof_fast_error *error
) noexcept nogil:
    cdef vof_failed failed
    cdef vof_result result = vof_block_discard(_block_of(device), count, offset, &failed)
    return _fast(device, result, &failed, error, False)


cdef int _fast_zero(
    void *device, uint32_t count, uint64_t offset, int may_trim, vof_fast_error *error
) noexcept nogil:
    cdef vof_failed failed
    cdef vof_result result = vof_block_write_zeroes(
        _block_of(device), count, offset, may_trim, &failed
    )
    return _fast(device, result, &failed, error, True)
