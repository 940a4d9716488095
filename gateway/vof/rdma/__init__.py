# SPDX-License-Identifier: BSD-3-Clause
"""The facts of pyverbs and of this machine's RDMA devices that both ends need.

Nothing of the protocol: what is sent is the business of each end alone.
"""
