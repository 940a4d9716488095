# SPDX-License-Identifier: BSD-3-Clause
"""The NBD gateway: a virtio-blk as an NBD export, for nbdkit's callbacks to call.

``plugin`` is what nbdkit loads once, ``export`` what each of its connections has.
"""
