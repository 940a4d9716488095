# SPDX-License-Identifier: BSD-3-Clause
"""nbdkit with the plugin as a user runs it: its output, its mistakes, its daemon."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.nbd.conftest import DISK, DISK_SIZE, Served
from tests.nbd.nbdkit_process import PLUGIN, Nbdkit, run_nbdkit
from tests.support.loopback import Background, unused_port
from tests.support.scripted_target import Device, ScriptedTarget, wait_until
from vof.gateways.settings import keys

pytestmark = pytest.mark.nbdkit


def complaint(*arguments: str, **environment: str) -> str:
    """Return the one line nbdkit ends with."""
    done = run_nbdkit(*arguments, **environment)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("tvnq=x", "unknown parameter 'tvnq'; did you mean 'tvqn'?"),
        ("disk=x", "unknown parameter 'disk'; known are tvqn, taddr, tport, transport, ivqn, "),
        (f"tvqn={'x' * 256}", "tvqn is 256 bytes long; at most 255 are allowed"),
        ("tvqn=", "tvqn is empty"),
        ("ivqn=", "ivqn is empty"),
        ("transport=udp", "transport=udp: not supported; use tcp or rdma"),
        ("dialect=v9", "dialect=v9: not known; use one of auto, proposal"),
        ("tport=0", "tport=0: not a number from 1 to 65535"),
        ("tport=http", "tport=http: not a number from 1 to 65535"),
        ("iport=65536", "iport=65536: not a number from 0 to 65535"),
        ("queues=0", "queues=0: not a number from 1 to 128"),
        ("queues=129", "queues=129: not a number from 1 to 128"),
        ("timeout=soon", "timeout=soon: not a number of seconds from 0 to 86400"),
    ],
)
def test_a_parameter_that_cannot_be(argument: str, text: str) -> None:
    line = complaint(argument)
    assert line.startswith("nbdkit: error: ")
    assert text in line


def test_a_parameter_that_is_no_text() -> None:
    assert r"error: not UTF-8 text: a\xffж" in complaint("tvqn=a\udcffж")


class TestTargetThatIsNot:
    def test_there(self) -> None:
        port = unused_port()
        line = complaint("tvqn=a", f"tport={port}")
        assert f"cannot connect to 127.0.0.1:{port}: Connection refused; is a target" in line

    def test_resolvable(self) -> None:
        line = complaint("tvqn=a", "taddr=no.such.host.invalid")
        assert "cannot resolve taddr=no.such.host.invalid" in line

    def test_serving_the_device(self, served: Served) -> None:
        line = complaint("tvqn=nbd/none", f"tport={served.port}")
        assert f"127.0.0.1:{served.port} has no device 'nbd/none'; check tvqn=" in line

    def test_serving_a_block_device(self) -> None:
        with ScriptedTarget(Device(device_id=4)) as target:
            line = complaint(f"tvqn={target.device.tvqn}", f"tport={target.port}")
        assert "is a virtio-rng, not a virtio-blk: NBD takes disks only; vof-mount shows" in line

    def test_a_target_but_an_http_server(self) -> None:
        with http_server() as port:
            line = complaint("tvqn=a", f"tport={port}")
        assert f"127.0.0.1:{port} did not answer as a Virtio-oF target" in line

    def test_reachable_from_the_local_address(self, served: Served) -> None:
        line = complaint(f"tvqn={DISK}", f"tport={served.port}", "iaddr=192.0.2.1")
        assert "cannot use iaddr=192.0.2.1" in line


@contextmanager
def http_server() -> Iterator[int]:
    """One that answers what is no request, as most do, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            sock, _peer = listener.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

        thread = Background(serve)
        yield listener.getsockname()[1]
        thread.result()


def test_vof_that_is_not_installed() -> None:
    """nbdkit's Python finds the package in the environment of the first python3 in PATH."""
    line = complaint("tvqn=a", PATH="/usr/bin:/bin", VIRTUAL_ENV="", PYTHONPATH="")
    assert "the Python package 'vof' is not installed" in line
    assert "activate the virtual environment it is in" in line


def test_dump_plugin() -> None:
    done = subprocess.run(
        ["nbdkit", "python", PLUGIN, "--dump-plugin"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert found["vof_transports"] == "tcp,rdma"
    assert found["vof_dialects"] == "auto,proposal,v2,v5"
    assert found["vof_parameters"].split(",") == list(keys.PLUGIN)
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["vof_version"])
    assert found["thread_model"] == "parallel"
    assert found["api_version"] == "2"


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), ([], 2), (["tvqn=a"], 2)])
def test_the_plugin_run_as_a_program(arguments: list[str], status: int) -> None:
    done = subprocess.run(
        [sys.executable, PLUGIN, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert done.stderr == ""
    assert done.stdout.startswith("Usage: nbdkit python vof_plugin.py [KEY=VALUE...]\n")
    for key in keys.PLUGIN:
        assert f"\n  {key}= " in done.stdout
    assert "nbdkit-vof-plugin(1)" in done.stdout


def test_the_command_of_the_readme(served: Served) -> None:
    """nbdinfo and nbdcopy run by nbdkit itself, with the URI it gives them."""
    script = 'nbdinfo "$uri" && nbdcopy /etc/services "$uri" && nbdcopy "$uri" - | head -c 20'
    done = subprocess.run(
        ["nbdkit", "-U", "-", "python", str(PLUGIN), f"tvqn={DISK}", f"tport={served.port}",
         "--run", script],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"export-size: {DISK_SIZE} (64M)" in done.stdout
    assert done.stdout.endswith(Path("/etc/services").read_text()[:20])


class TestDaemon:
    """Without -f nbdkit forks once it is ready; what was opened before would be lost or shared."""

    def test_serves(self, served: Served) -> None:
        with served.nbdkit(DISK, daemon=True) as nbdkit:
            with nbdkit.client() as client, nbdkit.client() as other:
                client.pwrite(b"daemon", 30 << 20)
                assert other.pread(6, 30 << 20) == b"daemon"

    def test_has_nothing_open_until_a_client_comes(self) -> None:
        with ScriptedTarget() as target:
            arguments = (f"tvqn={target.device.tvqn}", f"tport={target.port}", "queues=1")
            with Nbdkit(*arguments, daemon=True) as nbdkit:
                [probe] = target.connections
                wait_until(lambda: probe.socket.fileno() < 0, "the end of the probe")
                assert tcp_connections_to(target.port, nbdkit.pid) == 0
                with nbdkit.client() as client:
                    client.pread(512, 0)
                    assert tcp_connections_to(target.port, nbdkit.pid) == 2
                assert len(target.connections) == 3

    def test_says_what_is_wrong_before_it_forks(self) -> None:
        port = unused_port()
        done = subprocess.run(
            ["nbdkit", "-U", "/nonexistent/socket", "python", str(PLUGIN), "tvqn=a",
             f"tport={port}"],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert "Connection refused; is a target listening there?" in done.stderr


def tcp_connections_to(port: int, pid: int) -> int:
    """Count the sockets of a process that are connected to a port of this machine."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[2].split(":")[1], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    open_files = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(link in inodes for link in open_files)
