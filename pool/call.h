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
        *cancelled;          /* items of this worker up to this ordinal are cancelled, counted from 1; NULL: none is */
    _Atomic uint64_t *heeds; /* where to write the ordinal of an item whose task has looked at that; NULL: nowhere */
    void *state;             /* the user's */
    const struct mp__chaos *chaos; /* what is to go wrong on purpose; NULL: nothing */
    bool dies_alone;               /* its worker is a process: it may end without the program */
    /* fixed for the item */
    size_t item;
    uint32_t attempt; /* at the item, from 1 */
    uint64_t ordinal; /* which item of this worker it is, from 1 */
    /* set by mp_fail */
    mp_status status;
    char message[MP_MESSAGE_MAX];
    /* for the result: newest first; one piece is kept from item to item */
    mp__piece *pieces;
};

/* Before an item, the worker's `ordinal`-th, and when no item follows. */
void mp__call_reuse(mp_call *call); /* for mp__call_begin: what the last item had of memory is free again */
static inline void mp__call_begin(mp_call *call, size_t item, uint32_t attempt, uint64_t ordinal)
{
    call->item = item;
    call->attempt = attempt;
    call->ordinal = ordinal;
    if (call->status || call->message[0]) {
        call->status = MP_OK;
        call->message[0] = 0;
    }
    if (call->pieces)
        mp__call_reuse(call);
}
void mp__call_fini(mp_call *call);

/* Runs a task, and says what the item's status is. A function of its own whose name stays: backtraces end above it (symbols.c). */
mp_status mp__call_run(mp_call *call, const mp_task *task, const void *input, void *output);

/* What the item's status is, given what the task returned; completes `message` if the task gave none. */
mp_status mp__call_status(mp_call *call, mp_status returned);

#endif
