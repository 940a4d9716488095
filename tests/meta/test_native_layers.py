# SPDX-License-Identifier: BSD-3-Clause
"""The files of the native parts use each other in one direction, and the checker sees when not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.meta.layers import circles_in
from tests.meta.native_layers import users_of, uses
from tests.meta.tree import ROOT

NATIVE = ROOT / "gateway" / "native"


Graph = dict[str, set[str]]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Graph]:
    return {
        end: uses(NATIVE / end, tmp_path_factory.mktemp(end), NATIVE)
        for end in ("initiator", "target")
    }


@pytest.mark.parametrize(("end", "queue"), [("initiator", "queue.c"), ("target", "stream/queue.c")])
def test_no_file_uses_itself_through_others(graphs: dict[str, Graph], end: str, queue: str) -> None:
    assert circles_in(graphs[end]) == []
    # An empty answer must not come from having seen nothing.
    assert len(graphs[end][queue]) > 2


def test_a_device_knows_no_transport(graphs: dict[str, Graph]) -> None:
    """Neither by what it calls nor by what its sources include."""
    beneath = {"": {""}, "block": {"", "block"}, "stream": {"", "block", "stream"}}

    def folder(name: str) -> str:
        return name.rpartition("/")[0]

    graph = graphs["target"]
    assert {folder(name) for name in graph} == set(beneath)
    for name, used in graph.items():
        assert {folder(other) for other in used} <= beneath[folder(name)], name
    for path in (NATIVE / "target/block").iterdir():
        assert "target/stream/" not in path.read_text(encoding="utf-8"), path


def test_the_queue_does_not_know_what_it_carries(graphs: dict[str, Graph]) -> None:
    graph = graphs["initiator"]
    users = {"block.c", "load.c", "gate.c"}
    assert users <= set(graph)
    assert {name for name in graph.keys() - users if graph[name] & users} == set()


SOCKETS = frozenset(
    [
        *("socket", "socketpair", "connect", "accept", "bind", "listen", "shutdown", "close"),
        *("getsockopt", "setsockopt", "fcntl", "ioctl"),
        *("send", "sendto", "sendmsg", "sendmmsg", "recv", "recvfrom", "recvmsg", "recvmmsg"),
        *("read", "readv", "write", "writev", "splice"),
        *("poll", "ppoll", "select", "pselect", "epoll_create", "epoll_create1", "epoll_ctl"),
        *("epoll_wait", "epoll_pwait"),
    ]
)
"""What a connection is used by."""


def test_the_initiator_has_sockets_in_one_place(tmp_path: Path) -> None:
    assert users_of(SOCKETS, NATIVE / "initiator", tmp_path, NATIVE) == {"tcp.c"}


def test_the_transport_does_not_know_its_queue(graphs: dict[str, Graph]) -> None:
    assert graphs["initiator"]["tcp.c"] == set()


def test_a_name_belongs_to_one_end() -> None:
    """Or to both, where it is in a header of both."""
    names = {
        end: {
            name
            for path in (NATIVE / end).rglob("*.[ch]")
            for name in re.findall(r"\bvof[a-z]?_\w+", path.read_text(encoding="utf-8"), re.I)
        }
        for end in ("initiator", "target")
    }
    both = {
        name
        for path in NATIVE.glob("*.h")
        for name in re.findall(r"\bvof_\w+", path.read_text(encoding="utf-8"), re.I)
    }
    assert {"vofi_request"} <= names["initiator"]
    assert names["initiator"] & names["target"] <= both


BACK = {
    "a call": "void a(void);\nvoid b(void) { a(); }\n",
    "declared where nobody looks": "void b(void) { extern void a(void); a(); }\n",
    "by a macro": "void a(void);\n#define CALL(x) x()\nvoid b(void) { CALL(a); }\n",
    "given away": "void a(void);\nvoid (*b(void))(void) { return a; }\n",
    "by its address": "void a(void);\nvoid (*const b_calls)(void) = a;\nvoid b(void) {}\n",
    "a variable": "extern int count;\nvoid b(void) { count++; }\n",
    "in a header": '#include "inline.h"\nvoid b(void) { call_a(); }\n',
}


@pytest.mark.parametrize("pure", ["framing.c", "completion_parser.c"])
def test_the_wire_does_not_know_its_queue(graphs: dict[str, Graph], pure: str) -> None:
    assert graphs["initiator"][pure] == set()


@pytest.mark.parametrize("back", BACK.values(), ids=BACK)
def test_a_circle_of_two(back: str, tmp_path: Path) -> None:
    folder, work = tmp_path / "sources", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    (folder / "inline.h").write_text(
        "void a(void);\nstatic inline void call_a(void) { a(); }\n", encoding="utf-8"
    )
    (folder / "a.c").write_text(
        "void b(void);\nint count;\nvoid a(void) { b(); }\n", encoding="utf-8"
    )
    (folder / "b.c").write_text(back, encoding="utf-8")
    (folder / "top.c").write_text("void a(void);\nvoid top(void) { a(); }\n", encoding="utf-8")
    graph = uses(folder, work)
    assert graph["top.c"] == {"a.c"}
    assert circles_in(graph) == [["a.c", "b.c"]]


def test_functions_of_one_file_have_names_of_their_own(tmp_path: Path) -> None:
    """A function that a file keeps to itself is used by no other, whatever else has that name."""
    folder, work = tmp_path / "sources", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    (folder / "a.c").write_text("void f(void) {}\n", encoding="utf-8")
    (folder / "b.c").write_text("static void f(void) {}\nvoid b(void) { f(); }\n", encoding="utf-8")
    assert uses(folder, work) == {"a.c": set(), "b.c": set()}
