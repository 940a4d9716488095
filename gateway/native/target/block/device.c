// SPDX-License-Identifier: BSD-3-Clause
#include "target/block/device.h"

#include <stdlib.h>

struct vof_device *vof_device_open(const struct vof_block_limits *limits, uint64_t capacity,
                                   unsigned threads)
{
    struct vof_device *device = calloc(1, sizeof *device);

    if (!device)
        return NULL;
    device->limits = *limits;
    atomic_init(&device->capacity, capacity);
    device->pool = vof_pool_open(threads);
    if (!device->pool) {
        free(device);
        return NULL;
    }
    vof_pipes_open(&device->pipes);
    return device;
}

void vof_device_close(struct vof_device *device)
{
    vof_pool_close(device->pool);
    vof_pipes_close(&device->pipes);
    free(device);
}
