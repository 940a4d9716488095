/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The bytes of a queue over TCP as they are, or over any other stream socket.
 *
 * Owns the socket: it is the only part of the initiator that calls the kernel for one. Must not know
 * what is more than the transport's contract.
 */
#ifndef VOF_TCP_H
#define VOF_TCP_H

#include "initiator/transport.h"

/* Make a transport of the connected, blocking socket `fd`, which belongs to it from now on. NULL
 * without memory: then `fd` is not taken. */
struct vof_transport *vof_tcp_new(int fd);

/* Free one that no queue has taken, but leave its socket alone. */
void vof_tcp_leave(struct vof_transport *transport);

#endif
