/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A transport as TLS will be one, over TCP's: takes off the socket what there is, hands it out in
 * small pieces, and sends small pieces, now and then none.
 */
#ifndef VOF_SLOW_TRANSPORT_H
#define VOF_SLOW_TRANSPORT_H

#include "initiator/transport.h"

struct vof_transport *slow_transport_new(int fd);

#endif
