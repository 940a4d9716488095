# SPDX-License-Identifier: BSD-3-Clause
"""A remote disk as a block device of this machine's kernel: what `vofctl connect` does.

A supervisor, one process a disk, has the device in the kernel and whatever serves it. What it knows
stands in the state folder, for other vofctl to read; see `state`. How a device gets into the kernel
is the business of a folder each: `nbd` is the one there is.
"""
