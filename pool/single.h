/* A call of one item that is posted: what it takes with it while it waits, and what it brings back. There may be a million: it is
 * small, and its result and its input stand behind the handle or future that it is the first part of. */
#ifndef MP__POOL_SINGLE_H
#define MP__POOL_SINGLE_H
#include "pool/dispatch.h"
#include "pool/policy.h"
#include "pool/sheet.h"
#include <string.h>

typedef struct mp__single {
    mp__posted posted;   /* first */
    const mp_task *task; /* NULL: it was refused before that was known */
    union {
        const mp__core_job *terms; /* until it has ended */
        mp_error *error;           /* then: why; NULL: there is a result, or there was no memory for this */
    };
    mp_status status; /* its end, as the item's own */
    uint8_t words;    /* how large the whole is, in words */
    bool ended : 1;
    bool ran : 1;       /* it is the item that has failed, if something has, and not the call */
    bool quiet : 1;     /* as the core's */
    bool own_terms : 1; /* allocated: freed when it has ended */
    /* The item's, which may end long after its call has been cancelled: each of its own byte, as all the above is then read without
     * the lock. */
    bool has_result;
    bool owes_input; /* the copy points to memory, and has not been freed */
} mp__single;

/* Room for a whole of `head` bytes and what the task takes and gives behind it, which is zeroed. NULL: no memory. */
void *mp__single_allocate(mp__dispatch *dispatch, const mp_task *task, size_t head, mp__sheet_at *at);
/* The same, all zero but what is known of it. `dispatch`: whose it will be. Without that and a task: one that will be refused. */
static inline void *mp__single_make(mp__dispatch *dispatch, const mp_task *task, size_t head, mp__sheet_at *at)
{
    mp__single *single = mp__single_allocate(dispatch, task, head, at);
    if (!single)
        return NULL;
    memset(single, 0, head); /* in line: `head` is a constant */
    single->task = task;
    single->words = (uint8_t)(head / sizeof(void *));
    return single;
}
/* It is a call of its dispatch's, and holds it. */
void mp__single_hold(mp__dispatch *dispatch, mp__sheet_at at);
/* Frees what it owns, and what it is; it holds the dispatch, if that is not NULL, no more. */
void mp__single_free(mp__single *single, mp__dispatch *dispatch, mp__sheet_at at);

static inline size_t mp__single_aligned(size_t at, size_t align)
{
    return (at + align - 1) & ~(align - 1);
}
static inline void *mp__single_result(const mp__single *single)
{
    return (char *)(uintptr_t)single + mp__single_aligned(single->words * sizeof(void *), single->task->output->align);
}
static inline void *mp__single_input(const mp__single *single)
{
    const mp_task *task = single->task;
    size_t behind = (size_t)((char *)mp__single_result(single) - (const char *)single) + task->output->size;
    return (char *)(uintptr_t)single + mp__single_aligned(behind, task->input->align);
}

/* Its copy of the input, which is known to be good. */
mp_status mp__single_take(mp__single *single, const void *input, mp_error *error);
/* Its terms, if its call says something: else they are the usual ones, which are borrowed until it has ended. */
mp_status mp__single_take_terms(mp__single *single, const mp__policy_defaults *defaults, const mp_policy *policy,
                                mp_error *error);
static inline bool mp__policy_is_usual(const mp_policy *p)
{
    return p->timeout == 0 && p->deadline == 0 && !p->retries && !p->retry_on && p->retry_delay == 0 && !p->stop_at &&
           p->stop_at_percent == 0;
}

/* The item has ended, so: see mp__posted_kind. With the lock. `wanted`: this is the call's end; else it has one. */
void mp__single_end(mp__single *single, const void *result, const mp_error *error, bool wanted);
/* The call has ended, without its item. */
void mp__single_refuse(mp__single *single, const mp_error *error);

/* What became of it. */
mp_status mp__single_status(const mp__single *single);
const mp_error *mp__single_error(const mp__single *single);
/* The result, or zeros; not wanted if NULL. What it points to stays here. */
void mp__single_give(const mp__single *single, void *out);

#endif
