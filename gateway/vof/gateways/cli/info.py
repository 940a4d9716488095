# SPDX-License-Identifier: BSD-3-Clause
"""``vofctl info``: tells what a device is, as it says itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from vof.gateways.cli.exits import Exit
from vof.gateways.cli.inspection import Inspection, inspect
from vof.gateways.cli.output import add_output_option, wants_json, write_facts, write_json
from vof.gateways.cli.target_options import add_target_argument, target_settings
from vof.gateways.device_names import FEATURES, device_type, feature_names, vendor_name
from vof.gateways.settings.effective import Effective
from vof.initiator.parameters import SessionParameters
from vof.initiator.session import Session


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give the verb its options."""
    add_target_argument(parser)
    add_output_option(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> Exit:
    """Tell what the device says."""
    settings = target_settings(given)
    parameters = settings.parameters()
    with Session.open(parameters) as session:
        found = inspect(session)
    if wants_json(given):
        write_json(_as_json(settings, parameters, found))
    else:
        write_facts(_facts(settings, parameters, found))
    return Exit.DONE


def _as_json(
    settings: Effective, parameters: SessionParameters, found: Inspection
) -> dict[str, object]:
    return {
        "name": settings.name,
        "tvqn": parameters.tvqn,
        "type": device_type(found.device_id),
        "transport": parameters.transport,
        "taddr": parameters.taddr,
        "tport": parameters.tport,
        "ivqn": parameters.ivqn,
        "dialect": found.dialect,
        "vendor_id": found.vendor_id,
        "vendor": vendor_name(found.vendor_id),
        "device_id": found.device_id,
        "target_id": found.target_id,
        "features": _features(found),
        "max_segs": found.max_segs,
        "num_queues": found.num_queues,
        "queue_sizes": list(found.queue_sizes),
        "size": found.size,
        "read_only": found.read_only,
        "serial": found.serial,
        "config": dict(found.config),
    }


def _facts(
    settings: Effective, parameters: SessionParameters, found: Inspection
) -> Iterator[tuple[str, object]]:
    body = _as_json(settings, parameters, found)
    vendor, sizes, config = body.pop("vendor"), body.pop("queue_sizes"), body.pop("config")
    assert isinstance(sizes, list)
    assert isinstance(config, dict)
    body["vendor_id"] = f"{found.vendor_id:#010x}" + (f" ({vendor})" if vendor else "")
    body["features"] = " ".join(_features(found)) or "none"
    yield from ((key, value) for key, value in body.items() if value is not None)
    yield from ((f"queue{index}.size", size) for index, size in enumerate(sizes))
    yield from ((f"config.{name}", value) for name, value in config.items())


def _features(found: Inspection) -> list[str]:
    return feature_names(found.features, FEATURES.get(found.device_id, {}))
