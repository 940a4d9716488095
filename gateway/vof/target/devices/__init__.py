# SPDX-License-Identifier: BSD-3-Clause
"""Device models: virtio requests in, virtio results out.

``device`` is the interface; ``block`` and ``block_request`` are the block device, ``rng`` and
``rng_pace`` the entropy device, ``crypto``, ``crypto_answers`` and ``crypto_sessions`` the crypto
device. A new model is a module here and a name in ``config``.
"""
