# SPDX-License-Identifier: BSD-3-Clause
"""Shell completion: made of the same arguments that the program reads."""
