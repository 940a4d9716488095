# SPDX-License-Identifier: BSD-3-Clause
"""The control program vofctl(8): ``main`` finds the verb group, a module each does the work."""
