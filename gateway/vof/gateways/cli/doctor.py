# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl doctor``: finds what keeps this machine from using remote devices, with what to do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from vof.gateways.cli.exits import Exit
from vof.gateways.cli.output import add_output_option, cell, wants_json, write_json
from vof.gateways.cli.target_options import add_target_argument, target_settings
from vof.gateways.diagnosis.examination import examine
from vof.gateways.diagnosis.finding import Finding, Status
from vof.gateways.diagnosis.host import Host
from vof.gateways.settings.merged import load
from vof.initiator.parameters import PARAMETERS


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give the verb its options."""
    add_target_argument(parser)
    add_output_option(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> Exit:
    """Look at everything, and tell."""
    told = given.target or any(getattr(given, key) is not None for key in PARAMETERS)
    asked = target_settings(given) if told else None
    findings = list(examine(Host(), load(), asked))
    healthy = all(finding.status is not Status.WRONG for finding in findings)
    if wants_json(given):
        write_json({"healthy": healthy, "findings": [_as_json(each) for each in findings]})
    else:
        _write(findings)
    return Exit.DONE if healthy else Exit.FAILED


def _as_json(finding: Finding) -> dict[str, object]:
    return {
        "check": finding.check,
        "status": finding.status.value,
        "text": finding.text,
        "fix": finding.fix,
    }


def _write(findings: Sequence[Finding]) -> None:
    width = max(len(status.value) for status in Status)
    for finding in findings:
        mark = finding.status.value.ljust(width)
        sys.stdout.write(f"{mark}  {cell(finding.check)}: {cell(finding.text)}\n")
        if finding.fix:
            sys.stdout.write(f"{' ' * width}    -> {finding.fix}\n")
