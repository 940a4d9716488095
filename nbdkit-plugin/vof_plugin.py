#!/usr/sbin/nbdkit python
# SPDX-License-Identifier: BSD-3-Clause
"""nbdkit plugin: a remote virtio-blk, reached by Virtio-over-Fabrics, as an NBD export.

    nbdkit python vof_plugin.py tvqn=virtio-target/block/block0.service

Callbacks only: each hands over to ``vof.gateways.nbd.plugin``, where everything is decided.
See nbdkit-vof-plugin(1).
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable

try:
    from vof.program import run
except ModuleNotFoundError as missing:
    if missing.name != "vof":
        raise
    sys.exit(
        "vof_plugin.py: the Python package 'vof' is not installed for nbdkit's "
        f"Python {sys.version_info.major}.{sys.version_info.minor}; "
        "activate the virtual environment it is in"
    )


def show_help() -> int:
    from vof.gateways.nbd import plugin  # noqa: PLC0415 - `run` is to be there before

    sys.stdout.write(plugin.help_text() + "\n")
    return 0 if sys.argv[1:] == ["--help"] else 2


try:
    import nbdkit
except ModuleNotFoundError:
    # Not inside nbdkit: run as a program, all there is to do is to say how to use it.
    sys.exit(run("vof_plugin.py", show_help))

from vof.gateways.nbd import plugin  # noqa: E402 - see above

API_VERSION = 2

traceback.format_exception = plugin.format_exception  # what nbdkit prints of an exception: one line

_gateway = plugin.NbdGateway(nbdkit.set_error, nbdkit.debug)


def dump_plugin() -> None:
    sys.stdout.write(plugin.dump_plugin() + "\n")
    sys.stdout.flush()


def thread_model() -> int:
    return nbdkit.THREAD_MODEL_PARALLEL


def config(key: str, value: str) -> None:
    _gateway.config(key, value)


def get_ready() -> None:
    _gateway.get_ready()


def after_fork() -> None:
    _gateway.after_fork()


def cleanup() -> None:
    _gateway.cleanup()


def list_exports(_readonly: bool, _is_tls: bool) -> Iterable[tuple[str, str]]:
    return _gateway.exports()


def default_export(_readonly: bool, _is_tls: bool) -> str:
    return ""


def open(_readonly: bool) -> plugin.Export:
    return _gateway.open(nbdkit.export_name())


def close(h: plugin.Export) -> None:
    _gateway.close(h)


def get_size(h: plugin.Export) -> int:
    return h.size()


def block_size(h: plugin.Export) -> tuple[int, int, int]:
    return h.block_size()


def can_write(h: plugin.Export) -> bool:
    return h.can_write()


def can_flush(_h: plugin.Export) -> bool:
    return True


def can_trim(h: plugin.Export) -> bool:
    return h.can_trim()


def can_zero(h: plugin.Export) -> bool:
    return h.can_zero()


def can_fast_zero(h: plugin.Export) -> bool:
    return h.can_zero()


def can_fua(h: plugin.Export) -> int:
    # A device without a write cache has every completed write on its medium already.
    return nbdkit.FUA_EMULATE if h.has_write_cache() else nbdkit.FUA_NATIVE


def can_cache(_h: plugin.Export) -> int:
    return nbdkit.CACHE_EMULATE


def can_multi_conn(_h: plugin.Export) -> bool:
    return True


def is_rotational(_h: plugin.Export) -> bool:
    return False


def pread(h: plugin.Export, buf: memoryview, offset: int, _flags: int) -> None:
    plugin.keep_thread()
    h.pread(buf, offset)


def pwrite(h: plugin.Export, buf: memoryview, offset: int, _flags: int) -> None:
    plugin.keep_thread()
    h.pwrite(buf, offset)


def flush(h: plugin.Export, _flags: int) -> None:
    h.flush()


def trim(h: plugin.Export, count: int, offset: int, _flags: int) -> None:
    h.trim(count, offset)


def zero(h: plugin.Export, count: int, offset: int, flags: int) -> None:
    h.zero(count, offset, may_trim=bool(flags & nbdkit.FLAG_MAY_TRIM))
