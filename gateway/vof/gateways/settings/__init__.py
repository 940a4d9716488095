# SPDX-License-Identifier: BSD-3-Clause
"""The configuration of this machine, vof.conf(5): read, checked, and asked for effective values.

``keys`` has every key a user can set, ``values`` reads what they can be set to. ``ini`` reads
text, ``files`` finds the files, ``schema`` divides the keys among sections, ``merged`` makes one of
all files, ``effective`` says what holds for a device or a mount and where that comes from.
"""
