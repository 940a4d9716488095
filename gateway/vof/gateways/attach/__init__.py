# SPDX-License-Identifier: BSD-3-Clause
"""A remote disk as a block device of this machine's kernel: what `vofctl connect` does.

A supervisor, one process a disk, runs nbdkit with the vof plugin, shakes hands with it over NBD and
gives the connections to the kernel's nbd driver by netlink. What it knows stands in the state
folder, for other vofctl to read; see `state`.
"""
