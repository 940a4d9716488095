# SPDX-License-Identifier: BSD-3-Clause
"""Device models: virtio requests in, virtio results out.

``device`` is the interface, ``block`` and ``block_request`` the block device. A new model is a
module here and a name in ``config``.
"""
