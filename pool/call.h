/* mp_call: one call of a task, as a worker sees it. */
#ifndef MP__POOL_CALL_H
#define MP__POOL_CALL_H
#include <millpond/task.h>
#include <stdatomic.h>

typedef struct mp__piece { /* of memory that mp_call_alloc gave */
    struct mp__piece *next;
    size_t size, used;
    max_align_t bytes[];
} mp__piece;

struct mp_call {
    /* fixed for the worker */
    int worker;
    const char *name;
    const _Atomic uint64_t
        *cancelled; /* items of this worker up to this ordinal are cancelled, counted from 1; NULL: none is */
    void *state;    /* the user's */
    /* fixed for the item */
    size_t item;
    uint64_t ordinal; /* which item of this worker it is, from 1 */
    /* set by mp_fail */
    mp_status status;
    char message[MP_MESSAGE_MAX];
    /* for the result: newest first; one piece is kept from item to item */
    mp__piece *pieces;
};

/* Before an item, the worker's `ordinal`-th, and when no item follows. */
void mp__call_begin(mp_call *call, size_t item, uint64_t ordinal);
void mp__call_fini(mp_call *call);

/* What the item's status is, given what the task returned; completes `message` if the task gave none. */
mp_status mp__call_status(mp_call *call, mp_status returned);

#endif
