# SPDX-License-Identifier: BSD-3-Clause
"""Backends: what keeps a device's data, does its arithmetic or gives its random bytes.

The ``driver=`` of a configuration names one. ``backend`` is what all of them have, and each device
type has an interface that adds to it. A new backend is a module here and a line in the model of its
device type.
"""
