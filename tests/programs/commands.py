# SPDX-License-Identifier: BSD-3-Clause
"""How each program of ours is run from a checkout."""

from __future__ import annotations

import sys

from tests.meta.tree import ROOT

VOFCTL = (sys.executable, "-m", "vof", "vofctl")
VOF_MOUNT = (sys.executable, "-m", "vof", "vof-mount")
VOF_TARGET = (sys.executable, "-m", "vof", "vof-target")
PLUGIN = (sys.executable, str(ROOT / "nbdkit-plugin/vof_plugin.py"))
DEMO = (sys.executable, str(ROOT / "tools/demo.py"))
VOF_ID = (str(ROOT / "udev/vof_id"),)
