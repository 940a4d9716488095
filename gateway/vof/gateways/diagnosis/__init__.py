# SPDX-License-Identifier: BSD-3-Clause
"""Finds what keeps this machine from using remote devices, and what to do about it.

One module for each thing looked at; each returns findings. Nothing is changed, but for the filter
that is built for nbdkit into the user's cache.
"""
