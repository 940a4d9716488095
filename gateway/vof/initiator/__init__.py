# SPDX-License-Identifier: BSD-3-Clause
"""The initiator: sessions with one device of a target.

    session              a device as its driver has it; what was agreed on
    virtqueue            its requests
    recovery             what an association's end means for a session
    opening, refusals    the way to an association: which dialect, and why there is none
    association          one, from its Connect to its end
    control, config,     its commands
    queue_sizes
    transports, portal   its connections, and where they go
    quirks               what known targets need
    parameters           what a user says

Imports ``engine``, ``fabric`` and ``wire``. Knows no device type.
"""
