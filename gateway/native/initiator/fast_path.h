/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The short way between nbdkit-vof-filter and the engine, which live in one process but are built
 * apart: the plugin lends the functions of an export to the filter in whose open() it runs.
 *
 * The filter exports `nbdkit_vof_filter_abi` and `nbdkit_vof_filter_lend`; the plugin looks them up
 * by name. This is an ABI: any change to it is another VOF_FAST_PATH_ABI.
 */
#ifndef VOF_FAST_PATH_H
#define VOF_FAST_PATH_H

#include <stdint.h>

#define VOF_FAST_PATH_ABI 1

enum {
    VOF_FAST_DONE,
    VOF_FAST_DECLINED, /* nothing was done: ask the plugin, by the ordinary way */
    VOF_FAST_FAILED,   /* see the error */
};

struct vof_fast_error {
    int number; /* errno, as it may reach an NBD client */
    char text[256];
};

/* Every function may be called from any thread while the export is open. Sizes are bytes. */
struct vof_fast_path {
    void *device;
    int (*pread)(void *device, void *data, uint32_t count, uint64_t offset,
                 struct vof_fast_error *error);
    int (*pwrite)(void *device, const void *data, uint32_t count, uint64_t offset,
                  struct vof_fast_error *error);
    int (*flush)(void *device, struct vof_fast_error *error);
    int (*trim)(void *device, uint32_t count, uint64_t offset, struct vof_fast_error *error);
    int (*zero)(void *device, uint32_t count, uint64_t offset, int may_trim,
                struct vof_fast_error *error);
};

/* Called from open(), in its thread: the export being opened can be reached by `path`, which is
 * copied. */
typedef void vof_fast_path_lend(const struct vof_fast_path *path);

#endif
