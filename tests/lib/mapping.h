/* A map in a thread of its own, so that a test can do something to the pool while it runs. */
#ifndef TESTS_LIB_MAPPING_H
#define TESTS_LIB_MAPPING_H
#include <millpond/map.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct mapping {
    pthread_t thread;
    mp_pool *pool;
    const mp_task *task;
    const void *items; /* the test's */
    void *results;
    size_t n;
    ptrdiff_t chunksize;
    mp_status *statuses, status;
    mp_error *errors, error;
    _Atomic int returned;
} mapping;

static inline void *mapping_run(void *argument)
{
    mapping *m = argument;
    m->status = mp_pool_map_task(
        m->pool, m->task, m->items, m->n, m->results,
        &(mp_map_options){.statuses = m->statuses, .errors = m->errors, .error = &m->error, .chunksize = m->chunksize});
    m->returned = 1;
    return NULL;
}

/* False: no thread. */
static inline bool mapping_begin(mapping *m, mp_pool *pool, const mp_task *task, const void *items, size_t n, void *results,
                                 ptrdiff_t chunksize)
{
    *m = (mapping){.pool = pool, .task = task, .items = items, .results = results, .n = n, .chunksize = chunksize};
    m->statuses = malloc((n + 1) * sizeof *m->statuses);
    m->errors = malloc((n + 1) * sizeof *m->errors);
    memset(m->statuses, 0xa5, n * sizeof *m->statuses);
    memset(m->errors, 0xa5, n * sizeof *m->errors);
    return pthread_create(&m->thread, NULL, mapping_run, m) == 0;
}

/* Waits until it has returned; what it has found out stays until mapping_free. */
static inline void mapping_wait(mapping *m)
{
    pthread_join(m->thread, NULL);
}

static inline void mapping_free(mapping *m)
{
    free(m->statuses);
    free(m->errors);
}

/* How many items have this status. */
static inline size_t mapping_count(const mapping *m, mp_status status)
{
    size_t count = 0;
    for (size_t i = 0; i < m->n; i++)
        count += m->statuses[i] == status;
    return count;
}

#endif
