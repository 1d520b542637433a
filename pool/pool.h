/* The inside of an mp_pool, shared by pool.c and the faces that submit to it: map.c, async.c, iter.c. */
#ifndef MP__POOL_POOL_H
#define MP__POOL_POOL_H
#include "pool/chaos.h"
#include "pool/dispatch.h"
#include "pool/policy.h"
#include "pool/registry.h"

enum { MP__PREFIX_MAX = 40, MP__FOUND = 8 };

struct mp_pool {
    /* fixed at open */
    pid_t owner;
    const mp__backend *backend;
    mp__task_table tasks;
    mp__dispatch *dispatch;
    mp__hook initializer, finalizer;
    _Atomic uint64_t found[MP__FOUND]; /* tasks and where they stand in the table: see check_call */
    mp__policy_defaults policy;
    mp__core_job usual; /* what it makes of a call of one item that says nothing */
    char prefix[MP__PREFIX_MAX + 1];
    mp__chaos chaos;
    void (*ended)(void); /* called when nothing of it is left; NULL: nobody asks */
};

/* mp_pool_open, of one that breaks more easily. */
mp_status mp__pool_open(mp_pool **pool, const mp_pool_options *options, const mp__fragile *fragile);

/* Joins and frees a pool that was closed or terminated, on a thread that nobody waits for. */
void mp__pool_end_elsewhere(mp_pool *pool);

/* MP_EINVAL: no pool; MP_EFOREIGN. */
mp_status mp__pool_check(const mp_pool *pool, mp_error *error);

/* Where the task stands in the table, or why it cannot be run there. The error has the task's name then. Of a pool that was checked. */
mp_status mp__pool_check_task(const mp_pool *pool, const mp_task *task, uint32_t *index, mp_error *error);
/* What is wrong with a call, likewise. */
mp_status mp__pool_check_call(const mp_pool *pool, const mp_task *task, ptrdiff_t chunksize, uint32_t *index,
                              mp_error *error);
/* The same for its array of inputs, and for that of its results. */
mp_status mp__pool_check_input(const mp_task *task, const void *items, size_t n, mp_error *error);
mp_status mp__pool_check_results(const mp_task *task, size_t n, mp_error *error); /* that the engine makes room for */
mp_status mp__pool_check_output(const mp_task *task, const void *out, size_t n, mp_error *error);

static inline bool mp__is_none(const mp_type *type)
{
    return type->kind == MP__NONE;
}

#endif
