# SPDX-License-Identifier: BSD-3-Clause
"""Looks for nbdkit, for our plugin in its Python, and for the filter."""

from __future__ import annotations

from collections.abc import Iterator

from vof import __version__
from vof.errors import ConfigError, VofError
from vof.gateways.attach.nbd.filter_build import filter_path
from vof.gateways.attach.nbd.nbdkit import plugin_path
from vof.gateways.diagnosis.finding import Finding, Status, lacking
from vof.gateways.diagnosis.host import Host, Ran

_INSTALL = "install nbdkit and nbdkit-plugin-python (Debian's names)"


def check_nbdkit(host: Host, *, needed: bool) -> Iterator[Finding]:
    """Look for nbdkit, its Python, our plugin in it, and the filter."""
    config = _pairs(host.run(["nbdkit", "--dump-config"]))
    if "version" not in config:
        yield lacking("nbdkit", "it is not installed: no block devices", _INSTALL, needed=needed)
        return
    yield Finding("nbdkit", Status.OK, f"version {config['version']}")
    if host.run(["nbdkit", "python", "--version"]).status != 0:
        text = "its plugin for Python is not installed"
        yield lacking("plugin", text, _INSTALL, needed=needed)
        return
    yield _check_plugin(host, needed=needed)
    try:
        path = filter_path()
    except (VofError, OSError) as error:
        text = f"requests go through Python: {error}"
        fix = "install what is missing, then: vofctl filter install"
        yield lacking("filter", text, fix, needed=False)
    else:
        yield Finding("filter", Status.OK, f"the fast path is {path}")


def _check_plugin(host: Host, *, needed: bool) -> Finding:
    try:
        path = plugin_path()
    except ConfigError as error:
        fix = "install vof once more: its data files are part of it"
        return lacking("plugin", str(error), fix, needed=needed)
    ran = host.run(["nbdkit", "python", path, "--dump-plugin"])
    version = _pairs(ran).get("vof_version")
    if version is None:
        words = ran.error.strip().splitlines() or ["it said nothing"]
        text = f"nbdkit's Python cannot run {path}: {words[0]}"
        fix = "install nbdkit's plugin for the Python that vof is installed for"
        return lacking("plugin", text, fix, needed=needed)
    if version != __version__:
        text = f"nbdkit's Python finds vof {version}, and this is {__version__}"
        fix = "put the folder of this vofctl first in PATH, or remove the other"
        return lacking("plugin", text, fix, needed=needed)
    return Finding("plugin", Status.OK, f"nbdkit runs {path}")


def _pairs(ran: Ran) -> dict[str, str]:
    """Return the ``key=value`` lines a program wrote, if it ended well."""
    if ran.status != 0:
        return {}
    return dict(line.split("=", 1) for line in ran.output.splitlines() if "=" in line)
