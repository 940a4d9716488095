# SPDX-License-Identifier: BSD-3-Clause
"""Decodes conversations for people: captures and recordings in, described messages out.

Beside ``target``, on ``wire`` alone. An endpoint follows one side of a conversation and ends it at
the first violation; this follows both sides, takes what it gets, and says what is wrong with it. So
it has parsers of its own, on the layouts of ``wire``.

From a file to messages: ``capture`` or ``recording`` reads it, ``network`` finds TCP segments and
UDP datagrams in packets, ``tcp`` and ``roce`` make byte streams and RDMA operations of them,
``stream`` and ``keyed`` find commands and completions in these, with what ``connection`` and
``association`` know of the conversation, and ``fields``, ``meanings``, ``requests`` and
``crypto_requests`` say what is in them. ``source`` puts it together,
and ``text`` makes lines of messages.
"""
