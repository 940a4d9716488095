# SPDX-License-Identifier: BSD-3-Clause
# Plain requests of a virtio-blk. Part of native.pyx.

cdef class NativeBlock:
    cdef vof_block block
    cdef object _queues, _on_failure, _errno_of
    cdef bint _ready

    def __cinit__(self, queues, geometry, on_failure, timeout=None):
        if not 0 < len(queues) <= VOF_BLOCK_MAX_QUEUES:
            raise ValueError(f"{len(queues)} queues")
        self._queues = tuple(queues)
        self._on_failure = on_failure
        for each in self._queues:
            self.block.queues[self.block.count] = (<NativeQueue?>each).queue
            self.block.count += 1
        self.block.framing = _c_framing(self._queues[0].framing)
        self.block.timeout = _nanoseconds(timeout)
        limits = &self.block.geometry
        limits.size = geometry.size
        limits.block_size = geometry.block_size
        limits.size_max = geometry.size_max
        limits.max_transfer = min(
            geometry.max_transfer, geometry.size_max * VOF_BLOCK_MAX_SEGMENTS
        )
        limits.max_discard = geometry.max_discard
        limits.max_write_zeroes = geometry.max_write_zeroes
        limits.may_unmap = geometry.may_unmap
        limits.can_flush = geometry.can_flush
        limits.read_only = geometry.read_only
        vof_gate_init(&self.block.gate)
        self._ready = True

    def __dealloc__(self):
        if self._ready:
            vof_gate_destroy(&self.block.gate)

    def resize(self, uint64_t size):
        vof_block_resize(&self.block, size)

    def read(self, data, uint64_t offset):
        cdef Py_buffer view
        cdef vof_failed failed
        cdef vof_result result = VOF_DECLINED
        PyObject_GetBuffer(data, &view, PyBUF_WRITABLE)
        if view.len <= 0xFFFFFFFF:
            with nogil:
                result = vof_block_read(&self.block, view.buf, <uint32_t>view.len, offset, &failed)
        PyBuffer_Release(&view)
        return result == VOF_CARRIED or self._failed(result, &failed)

    def write(self, data, uint64_t offset):
        cdef Py_buffer view
        cdef vof_failed failed
        cdef vof_result result = VOF_DECLINED
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        if view.len <= 0xFFFFFFFF:
            with nogil:
                result = vof_block_write(
                    &self.block, view.buf, <uint32_t>view.len, offset, &failed
                )
        PyBuffer_Release(&view)
        return result == VOF_CARRIED or self._failed(result, &failed)

    def flush(self):
        cdef vof_failed failed
        cdef vof_result result
        with nogil:
            result = vof_block_flush(&self.block, &failed)
        return result == VOF_CARRIED or self._failed(result, &failed)

    def discard(self, uint64_t offset, uint64_t length):
        cdef vof_failed failed
        cdef vof_result result = VOF_DECLINED
        if length <= 0xFFFFFFFF:
            with nogil:
                result = vof_block_discard(&self.block, <uint32_t>length, offset, &failed)
        return result == VOF_CARRIED or self._failed(result, &failed)

    def write_zeroes(self, uint64_t offset, uint64_t length, bint unmap):
        cdef vof_failed failed
        cdef vof_result result = VOF_DECLINED
        if length <= 0xFFFFFFFF:
            with nogil:
                result = vof_block_write_zeroes(
                    &self.block, <uint32_t>length, offset, unmap, &failed
                )
        return result == VOF_CARRIED or self._failed(result, &failed)

    cdef bint _failed(self, vof_result result, vof_failed *failed) except -1:
        if result == VOF_DECLINED:
            return False
        self._on_failure(
            failed.what.decode(),
            failed.status if result == VOF_REFUSED else 0,
            failed.status if result == VOF_FAILED else 0 if failed.wanted else None,
            failed.arrived,
            failed.wanted,
        )
        return True

    def enter(self):
        with nogil:
            vof_gate_enter(&self.block.gate)

    def leave(self):
        with nogil:
            vof_gate_leave(&self.block.gate)

    def enter_alone(self):
        with nogil:
            vof_gate_enter_alone(&self.block.gate)

    def leave_alone(self):
        with nogil:
            vof_gate_leave_alone(&self.block.gate)

    def lend(self, errno_of):
        """Let nbdkit-vof-filter, if it is in this process, carry requests for what is being opened
        in this thread. ``errno_of(error, zero)`` is the errno map of that edge."""
        cdef int *abi = <int *>dlsym(RTLD_DEFAULT, b"nbdkit_vof_filter_abi")
        cdef vof_fast_path_lend *lend
        cdef vof_fast_path path
        if not abi:
            return False
        lend = <vof_fast_path_lend *>dlsym(RTLD_DEFAULT, b"nbdkit_vof_filter_lend")
        if abi[0] != VOF_FAST_PATH_ABI or not lend:
            raise ConfigError(
                "the nbdkit filter in use was built for another version of vof; make it anew with "
                "'vofctl filter install', or use --filter=$(vofctl filter path)"
            )
        self._errno_of = errno_of
        path.device = <void *>self
        path.pread = _fast_pread
        path.pwrite = _fast_pwrite
        path.flush = _fast_flush
        path.trim = _fast_trim
        path.zero = _fast_zero
        lend(&path)
        return True

    def load(self, unsigned queue, plan):
        """Run a load on one queue; return (requests, bytes, errors, seconds, latency buckets)."""
        cdef vof_load_plan c_plan
        cdef vof_load_result result
        cdef bint ran
        if not queue < self.block.count:
            raise IndexError(queue)
        if not 0 < plan.depth <= VOF_LOAD_MAX_DEPTH:
            raise ValueError(f"depth {plan.depth}: 1 to {VOF_LOAD_MAX_DEPTH} are possible")
        c_plan.write = plan.write
        c_plan.random = plan.random
        c_plan.block_size = plan.block_size
        c_plan.depth = plan.depth
        c_plan.duration = _nanoseconds(plan.seconds)
        c_plan.seed = plan.seed
        with nogil:
            ran = vof_load_run(&self.block, queue, &c_plan, &result)
        if not ran:
            raise MemoryError
        buckets = [result.latencies[i] for i in range(VOF_LOAD_BUCKETS)]
        seconds = result.duration / _NANOSECONDS
        return result.requests, result.bytes, result.errors, seconds, buckets
