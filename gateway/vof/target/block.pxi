# SPDX-License-Identifier: BSD-3-Clause
# A part of native.pyx: a block device's data and what one driver negotiated.

RULE_FLUSH = <int>VOF_RULE_FLUSH
RULE_DISCARD = <int>VOF_RULE_DISCARD
RULE_WRITE_ZEROES = <int>VOF_RULE_WRITE_ZEROES
RULE_PERSIST = <int>VOF_RULE_PERSIST

# Requests of one device that may wait for its disk at the same time.
cdef unsigned POOL_THREADS = 16


cdef class Device:
    cdef vof_device *device
    cdef Py_buffer memory

    @staticmethod
    def on_file(int fd, *, readonly, write_through, can_discard, capacity, max_discard_sectors,
                max_write_zeroes_sectors, max_segments):
        cdef Device self = Device()
        self.open(readonly, capacity, max_discard_sectors, max_write_zeroes_sectors, max_segments)
        vof_store_open_file(&self.device.store, fd, readonly, write_through, can_discard)
        return self

    @staticmethod
    def on_memory(memory, *, readonly, capacity, max_discard_sectors, max_write_zeroes_sectors,
                  max_segments):
        cdef Device self = Device()
        PyObject_GetBuffer(memory, &self.memory, PyBUF_WRITABLE)
        if <uint64_t>self.memory.len < <uint64_t>capacity:
            raise ValueError("the memory is smaller than the disk")
        self.open(readonly, capacity, max_discard_sectors, max_write_zeroes_sectors, max_segments)
        vof_store_open_memory(&self.device.store, <uint8_t *>self.memory.buf)
        return self

    cdef open(self, readonly, capacity, max_discard_sectors, max_write_zeroes_sectors,
              max_segments):
        cdef vof_block_limits limits
        limits.max_discard_sectors = max_discard_sectors
        limits.max_write_zeroes_sectors = max_write_zeroes_sectors
        limits.max_segments = max_segments
        limits.readonly = readonly
        self.device = vof_device_open(&limits, capacity, POOL_THREADS)
        if self.device is NULL:
            raise MemoryError

    def resize(self, uint64_t capacity):
        if self.device is NULL:
            raise ValueError("the device is closed")
        if self.memory.buf is not NULL and <uint64_t>self.memory.len < capacity:
            raise ValueError("the memory is smaller than the disk")
        set_capacity(&self.device.capacity, capacity)

    def close(self):
        cdef vof_device *device = self.device
        self.device = NULL
        if device is not NULL:
            with nogil:
                vof_device_close(device)
        PyBuffer_Release(&self.memory)

    def __dealloc__(self):
        if self.device is not NULL:
            vof_device_close(self.device)
        PyBuffer_Release(&self.memory)


cdef class Rules:
    cdef vof_rules *rules

    def __cinit__(self):
        self.rules = <vof_rules *>calloc(1, sizeof(uint32_t))
        if self.rules is NULL:
            raise MemoryError

    def set(self, uint32_t bits):
        set_rules(self.rules, bits)

    def __dealloc__(self):
        free(self.rules)
