# SPDX-License-Identifier: BSD-3-Clause
"""Encryption by the files of a crypto device's folder, in a shell, done again by openssl."""

from pathlib import Path
from typing import Any

from tests.guest.steps import run

PLAIN_TEXT = 65536
"""Bytes that are encrypted."""

_SCRIPT = """
set -eu
run() ( exec 3<>"$1"; cat >&3 && cat <&3 )
K=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
IV=f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff
cd /run
head -c $PLAIN_TEXT /dev/urandom >data
mkdir $S
echo aes-256-cbc >$S/algorithm
printf %s $K | xxd -r -p >$S/key
echo $IV >$S/iv
run $S/encrypt <data >encrypted
openssl enc -aes-256-cbc -nopad -K $K -iv $IV -in data >expected
cmp encrypted expected
openssl enc -d -aes-256-cbc -nopad -K $K -iv $IV -in encrypted | cmp - data
run $S/decrypt <encrypted | cmp - data
cat $S/status
rmdir $S
wc -c <encrypted
"""


def round_trip(device: Path) -> dict[str, Any]:
    """Encrypt and decrypt in a session of its own; its last status, and the bytes encrypted."""
    settings = (f"PLAIN_TEXT={PLAIN_TEXT}", f"S={device}/sessions/cbc")
    output = run("env", *settings, "bash", "-c", _SCRIPT).splitlines()
    return {"status": output[:-1], "size": int(output[-1])}
