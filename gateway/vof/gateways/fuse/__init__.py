# SPDX-License-Identifier: BSD-3-Clause
"""The FUSE gateway: remote virtio devices as files, by pyfuse3 on trio. The program is ``cli``.

What a device shows is made of ``nodes``, which know nothing of FUSE; ``tree`` gives them inodes and
``operations`` answers the kernel.
"""
