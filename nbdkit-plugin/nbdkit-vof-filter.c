/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbdkit filter: takes requests past the interpreter, straight to vof's engine.
 *
 *     nbdkit --filter=vof python vof_plugin.py tvqn=...
 *
 * The Python plugin keeps configuration, sessions and errors. When it opens an export, in the thread
 * that is in our open(), it lends us the engine's functions (fast_path.h). What the engine declines,
 * and everything if the plugin lends nothing, goes the ordinary way. See nbdkit-vof-plugin(1).
 *
 * A filter works only with the nbdkit whose headers it was compiled with: `vofctl filter` does that.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nbdkit-filter.h>

#include "fast_path.h"

#define EXPORTED __attribute__((visibility("default")))

enum { CACHE_CHUNK = 1 << 20 };

struct handle {
    bool lent;
    struct vof_fast_path path;
};

EXPORTED const int nbdkit_vof_filter_abi = VOF_FAST_PATH_ABI;

/* What the plugin's open(), called by ours, has lent. */
static _Thread_local struct handle *opening;

EXPORTED void nbdkit_vof_filter_lend(const struct vof_fast_path *path);

void nbdkit_vof_filter_lend(const struct vof_fast_path *path)
{
    if (opening) {
        opening->path = *path;
        opening->lent = true;
    }
}

/* What follows the last `/`. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool is_us(const char *filter)
{
    Dl_info info;
    if (!strcmp(filter, "vof"))
        return true;
    return dladdr(&nbdkit_vof_filter_abi, &info) && info.dli_fname &&
           !strcmp(base_name(filter), base_name(info.dli_fname));
}

/* The value of an option that getopt takes for --filter; `next` is the argument after it. */
static const char *filter_in(const char *argument, const char *next)
{
    const char *equals = strchr(argument, '=');
    size_t length = equals ? (size_t)(equals - argument) : strlen(argument);
    if (length < strlen("--fi") || length > strlen("--filter") ||
        strncmp(argument, "--filter", length))
        return NULL;
    return equals ? equals + 1 : next;
}

/* Whether a filter stands between us and the plugin: it would not see the requests we carry. */
static bool is_innermost(void)
{
    static char line[1 << 16];
    FILE *file = fopen("/proc/self/cmdline", "r");
    if (!file)
        return true;
    size_t length = fread(line, 1, sizeof line - 2, file);
    fclose(file);
    line[length] = line[length + 1] = '\0';
    const char *last = NULL;
    for (const char *at = line; at < line + length; at += strlen(at) + 1) {
        const char *found = filter_in(at, at + strlen(at) + 1);
        if (found)
            last = found;
    }
    return !last || is_us(last);
}

static int vof_config_complete(nbdkit_next_config_complete *next, nbdkit_backend *backend)
{
    if (!is_innermost()) {
        nbdkit_error("the vof filter must be the last --filter, next to the plugin: a filter behind "
                     "it would not see the requests");
        return -1;
    }
    return next(backend);
}

static void *vof_open(nbdkit_next_open *next, nbdkit_context *context, int readonly,
                      const char *exportname, int is_tls)
{
    (void)is_tls;
    struct handle *handle = calloc(1, sizeof *handle);
    if (!handle) {
        nbdkit_error("out of memory");
        return NULL;
    }
    opening = handle;
    int result = next(context, readonly, exportname);
    opening = NULL;
    if (result == -1) {
        free(handle);
        return NULL;
    }
    nbdkit_debug("vof filter: %s", handle->lent ? "requests go straight to the engine"
                                                : "the plugin lends no engine: requests go its way");
    return handle;
}

static void vof_close(void *handle)
{
    free(handle);
}

/* Report what went wrong; -1 for nbdkit. */
static int fail(const struct vof_fast_error *error, int *err)
{
    nbdkit_error("%s", error->text);
    *err = error->number;
    return -1;
}

static int vof_pread(nbdkit_next *next, void *opaque, void *data, uint32_t count, uint64_t offset,
                     uint32_t flags, int *err)
{
    struct handle *handle = opaque;
    struct vof_fast_error error;
    int result = VOF_FAST_DECLINED;
    if (handle->lent)
        result = handle->path.pread(handle->path.device, data, count, offset, &error);
    if (result == VOF_FAST_DECLINED)
        return next->pread(next, data, count, offset, flags, err);
    return result == VOF_FAST_DONE ? 0 : fail(&error, err);
}

static int vof_flush(nbdkit_next *next, void *opaque, uint32_t flags, int *err)
{
    struct handle *handle = opaque;
    struct vof_fast_error error;
    int result = VOF_FAST_DECLINED;
    if (handle->lent)
        result = handle->path.flush(handle->path.device, &error);
    if (result == VOF_FAST_DECLINED)
        return next->flush(next, flags, err);
    return result == VOF_FAST_DONE ? 0 : fail(&error, err);
}

/* What a completed write still owes: with FUA, that it is on the medium. */
static int make_durable(nbdkit_next *next, struct handle *handle, uint32_t flags, int *err)
{
    return flags & NBDKIT_FLAG_FUA ? vof_flush(next, handle, 0, err) : 0;
}

static int vof_pwrite(nbdkit_next *next, void *opaque, const void *data, uint32_t count,
                      uint64_t offset, uint32_t flags, int *err)
{
    struct handle *handle = opaque;
    struct vof_fast_error error;
    int result = VOF_FAST_DECLINED;
    if (handle->lent)
        result = handle->path.pwrite(handle->path.device, data, count, offset, &error);
    if (result == VOF_FAST_DECLINED)
        return next->pwrite(next, data, count, offset, flags, err);
    if (result == VOF_FAST_FAILED)
        return fail(&error, err);
    return make_durable(next, handle, flags, err);
}

static int vof_trim(nbdkit_next *next, void *opaque, uint32_t count, uint64_t offset,
                    uint32_t flags, int *err)
{
    struct handle *handle = opaque;
    struct vof_fast_error error;
    int result = VOF_FAST_DECLINED;
    if (handle->lent)
        result = handle->path.trim(handle->path.device, count, offset, &error);
    if (result == VOF_FAST_DECLINED)
        return next->trim(next, count, offset, flags, err);
    if (result == VOF_FAST_FAILED)
        return fail(&error, err);
    return make_durable(next, handle, flags, err);
}

static int vof_zero(nbdkit_next *next, void *opaque, uint32_t count, uint64_t offset,
                    uint32_t flags, int *err)
{
    struct handle *handle = opaque;
    struct vof_fast_error error;
    int result = VOF_FAST_DECLINED;
    if (handle->lent)
        result = handle->path.zero(handle->path.device, count, offset,
                                   !!(flags & NBDKIT_FLAG_MAY_TRIM), &error);
    /* A device that does not know the request: behind us nbdkit writes the zeroes as data. */
    if (result == VOF_FAST_DECLINED || (result == VOF_FAST_FAILED && error.number == ENOTSUP))
        return next->zero(next, count, offset, flags, err);
    if (result == VOF_FAST_FAILED)
        return fail(&error, err);
    return make_durable(next, handle, flags, err);
}

static int vof_can_cache(nbdkit_next *next, void *opaque)
{
    struct handle *handle = opaque;
    return handle->lent ? NBDKIT_CACHE_NATIVE : next->can_cache(next);
}

/* Have the target read what may be wanted soon: its page cache keeps it. */
static int vof_cache(nbdkit_next *next, void *opaque, uint32_t count, uint64_t offset,
                     uint32_t flags, int *err)
{
    (void)flags;
    char *chunk = malloc(count < CACHE_CHUNK ? count : CACHE_CHUNK);
    int result = 0;
    if (!chunk) {
        nbdkit_error("out of memory");
        *err = ENOMEM;
        return -1;
    }
    for (uint32_t part; count && !result; count -= part, offset += part) {
        part = count < CACHE_CHUNK ? count : CACHE_CHUNK;
        result = vof_pread(next, opaque, chunk, part, offset, 0, err);
    }
    free(chunk);
    return result;
}

static struct nbdkit_filter filter = {
    .name = "vof",
    .longname = "nbdkit vof filter",
    .description = "Takes requests for a remote virtio-blk past the interpreter, straight to vof's "
                   "engine.",
    .config_complete = vof_config_complete,
    .open = vof_open,
    .close = vof_close,
    .can_cache = vof_can_cache,
    .pread = vof_pread,
    .pwrite = vof_pwrite,
    .flush = vof_flush,
    .trim = vof_trim,
    .zero = vof_zero,
    .cache = vof_cache,
};

NBDKIT_REGISTER_FILTER(filter)
