# SPDX-License-Identifier: BSD-3-Clause
"""What both ends have to know of pyverbs and of this machine's RDMA devices.

Nothing of the protocol: what is sent is the business of each end alone.
"""
