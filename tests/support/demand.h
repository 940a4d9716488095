/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a fuzzer or a stress program demands: where it does not hold, the program says so and aborts.
 */
#ifndef VOF_DEMAND_H
#define VOF_DEMAND_H

#include <stdio.h>
#include <stdlib.h>

#define DEMAND(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
