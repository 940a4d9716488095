# SPDX-License-Identifier: BSD-3-Clause
"""The kernel's nbd driver as a front end: nbdkit serves the disk, the driver has its connections.

nbdkit runs with the vof plugin; connections to it are made and shaken hands over here, and given to
the driver by netlink. Must not know who supervises that.
"""
