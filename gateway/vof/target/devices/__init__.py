# SPDX-License-Identifier: BSD-3-Clause
"""Device models: virtio requests in, virtio results out.

``device`` is the interface, ``model`` the registration; ``block`` and ``block_request`` are the
block device, ``rng`` and ``rng_pace`` the entropy device, ``console`` the console, ``crypto`` and
what begins so the crypto device. A new model is a module here and a line in ``vof.target.models``.
"""
