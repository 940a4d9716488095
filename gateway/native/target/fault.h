/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a peer did wrong, as a number for each kind and the numbers that belong to it.
 *
 * Owns the list for all that looks at what a peer sends, the device and the stream alike, so that
 * neither has to know the other. The words for each are vof_describe_fault's.
 */
#ifndef VOF_TARGET_FAULT_H
#define VOF_TARGET_FAULT_H

#include <stdint.h>

enum vof_violation {
    VOF_OPCODE_UNKNOWN,
    VOF_NDESC_OUT_OF_RANGE,
    VOF_CONNECT_AGAIN,
    VOF_TRANSFER_TOO_LARGE,
    VOF_LENGTHS_TOO_LARGE,
    VOF_KEYED_ON_STREAM,
    VOF_DESCRIPTOR_EMPTY,
    VOF_DESCRIPTOR_ID_TWICE,
    VOF_COMMAND_ID_IN_FLIGHT,
    VOF_BLOCK_HEADER_SHORT,
    VOF_BLOCK_STATUS_MISSING,
};

/* A violation and the numbers that its text has. */
struct vof_fault {
    enum vof_violation violation;
    uint64_t found;
    uint64_t allowed;
};

#endif
