/* MP_CHAOS: failures on purpose, so that a program can be seen to bear them.
 *
 *     MP_CHAOS="kill:1%,hang:0.1%,slow:5%,start:10%,fail:2%,seed:42"
 *
 * kill: the worker dies before it runs the item. hang: the item never ends. slow: it begins 1 to 20 ms later. fail: it fails. start: a
 * worker that is to take another's place does not come to be; the first one of each place does, or no pool would open. Each is decided by itself, from seed (0, if none is given), task, item and attempt alone: not by
 * chance and not by which worker has it, so that what went wrong goes wrong again. */
#ifndef MP__POOL_CHAOS_H
#define MP__POOL_CHAOS_H
#include <millpond/error.h>
#include <millpond/task.h>
#include <stdbool.h>
#include <stdint.h>

#define MP__CHAOS_VARIABLE "MP_CHAOS"

typedef enum mp__havoc {
    MP__CHAOS_KILL,
    MP__CHAOS_HANG,
    MP__CHAOS_SLOW,
    MP__CHAOS_START,
    MP__CHAOS_FAIL,
    MP__HAVOCS
} mp__havoc;

typedef struct mp__chaos {
    bool any;                    /* of these can happen */
    uint64_t chance[MP__HAVOCS]; /* of 2^53 */
    uint64_t seed;
} mp__chaos;

/* Reads the variable: unset or empty, nothing can happen. MP_EINVAL: it cannot be read; the error says where, and what is allowed. */
mp_status mp__chaos_read(mp__chaos *chaos, mp_error *error);
mp_status mp__chaos_parse(const char *text, mp__chaos *chaos, mp_error *error);

/* Whether it happens to an attempt at an item; and, with a random number that belongs to it. */
bool mp__chaos_hits(const mp__chaos *chaos, mp__havoc havoc, const char *task, uint64_t item, uint32_t attempt,
                    uint64_t *number);
/* Whether the worker of this place does not come to be, which has had so many before. */
bool mp__chaos_hits_start(const mp__chaos *chaos, uint32_t place, uint64_t life);

/* In a worker, before it runs an item: does what is to happen. MP_OK: the task is to be run; else the item has failed with this, and
 * mp_fail has been told. Does not return where a process is to die or hang. */
mp_status mp__chaos_strike(mp_call *call, const mp_task *task);

#endif
