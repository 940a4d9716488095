# SPDX-License-Identifier: BSD-3-Clause
"""The wire protocol: bytes in, records out.

No I/O, no threads, no clock and no logging in this package. Sources are named as in
``docs/protocol.md``: *proposal* (April 2023, what the reference target and the out-of-tree Linux
initiator speak), *v2* (the command set of May 2023) and *virtio 1.2* (OASIS, device types). What no
text defines is marked "ours".
"""
