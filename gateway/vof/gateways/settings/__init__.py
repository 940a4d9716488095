# SPDX-License-Identifier: BSD-3-Clause
"""The configuration of this machine, vof.conf(5): read, checked, and asked for effective values.

``ini`` reads text, ``files`` says which files there are, ``schema`` which keys, ``merged`` makes
one of all files, ``effective`` says what holds for a device or a mount and where that comes from.
"""
