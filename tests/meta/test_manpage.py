# SPDX-License-Identifier: BSD-3-Clause
"""The reader of manual pages sees what the tests of the pages rely on."""

from __future__ import annotations

from pathlib import Path

from tests.meta.manpage import Item, Page

TEXT = """\
.Dd November 1, 2026
.Dt MADE-UP 8
.Os
.Sh NAME
.Nm made-up
.Nd nothing
.Sh SYNOPSIS
.Nm
.Cm list
.Op Fl Fl all
.Ar name
.Nm program
.Cm box open | shut
.Op Fl Fl port Ar PORT
.Fl Fl size Ar n
.Nm
.Fl Fl help
.Sh OPTIONS
.Bl -tag -width Ds
.It Fl v , Fl Fl verbose
Says more, see
.Xr other 1 .
.It Fl Fl port Ar PORT
.It Fl Fl dir Ns Op = Ns Ar DIR
.It Fl -plain , Fl \\-escaped
.El
.Sh FILE FORMAT
.Bl -tag -width Ds
.It Cm key
.It Cm kind Ns = Ns Cm one | two
.It Cm size Ns = Ns Ar BYTES , Cm length Ns = Ns Ar BYTES
.It Pa /etc/made-up
.It Fl Fl size Ar n
.El
.Sh SEE ALSO
.Xr another 5 ,
.Xr last 7
"""


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "made-up.8"
    path.write_text(TEXT, encoding="utf-8")
    page = Page(path)
    assert page.title == ("made-up", "8")
    assert page.sections == ["NAME", "SYNOPSIS", "OPTIONS", "FILE FORMAT", "SEE ALSO"]
    assert page.references == [("other", "1"), ("another", "5"), ("last", "7")]
    assert page.options == {"-v", "--verbose", "--port", "--dir", "--plain", "--escaped"} | {
        "--size"
    }
    assert page.keys() == page.keys("FILE FORMAT") == {"key", "kind", "size", "length"}
    assert page.keys("OPTIONS") == set()
    assert page.options_in("OPTIONS", "FILE FORMAT") == page.options_outside("SYNOPSIS")
    assert page.options_outside("OPTIONS") == page.options_in("FILE FORMAT") == {"--size"}
    assert page.calls("program") == {
        "list": {"--all"},
        "box open": {"--port", "--size"},
        "box shut": {"--port", "--size"},
    }
    assert page.items[0] == Item("OPTIONS", ("-v", "--verbose"), ())
    assert len(page.items) == 9
