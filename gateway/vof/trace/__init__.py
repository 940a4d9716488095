# SPDX-License-Identifier: BSD-3-Clause
"""Decodes what passes through a program's own connections, while it passes.

For both ends: a program at the top makes a ``Trace`` and gives it to what opens or accepts its
connections, which know it as something that stands in for a socket or a link. Where nobody asked
for it, nothing of this is imported. It takes the data path in Python.
"""
