# SPDX-License-Identifier: BSD-3-Clause
"""A crypto device as its users see it: algorithms by name, keys as they are kept in files.

What the files of a mount and the control program have in common. Knows neither FUSE nor trio.
"""
