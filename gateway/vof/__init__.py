# SPDX-License-Identifier: BSD-3-Clause
"""vof: the user-space gateway for Virtio-over-Fabrics.

Layers, each importing only what stands to its left, plus ``errors``::

    wire → fabric → initiator → drivers → gateways        wire → target
"""

__version__ = "0.1.0"
