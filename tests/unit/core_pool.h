/* A core in the hands of a test: events in one word each, and what the core asked for since the last one. Everything the core
 * asks to be sent is sent at once. After every event the core's invariants are looked at. One core per test: a test is a process. */
#ifndef TESTS_UNIT_CORE_POOL_H
#define TESTS_UNIT_CORE_POOL_H
#include "pool/core.h"
#include "tests/lib/check.h"

enum { POOL_SLOTS = 32, POOL_ACTIONS = 4096 };

static mp__core *core;
static uint32_t lives[POOL_SLOTS];            /* the generation that each slot is in */
static uint64_t sent[POOL_SLOTS];             /* items that this life was sent */
static size_t last_sent[POOL_SLOTS];          /* index of the last of them */
static size_t first_sent[POOL_SLOTS];         /* and of the first since the last event */
static mp__core_action actions[POOL_ACTIONS]; /* since the last event */
static size_t action_count;

static inline void send_items(uint32_t slot)
{
    mp__core_item item;
    size_t count;
    first_sent[slot] = SIZE_MAX;
    while ((count = mp__core_unsent(core, slot, &item))) {
        if (first_sent[slot] == SIZE_MAX)
            first_sent[slot] = item.index;
        last_sent[slot] = item.index + count - 1;
        sent[slot] += count;
        mp__core_sent(core, slot, count);
    }
}

static inline void check_core(void)
{
    const char *wrong = mp__core_check(core);
    cr_assert_null(wrong, "mp__core_check: %s", wrong);
}

/* Carries out what the core asks for; every event below ends with it. */
static inline void act(void)
{
    mp__core_action action;
    action_count = 0;
    check_core();
    while (mp__core_next(core, &action)) {
        cr_assert_lt(action_count, POOL_ACTIONS);
        actions[action_count++] = action;
        if (action.kind == MP__ACT_START) {
            lives[action.slot] = action.generation;
            sent[action.slot] = 0;
        }
        if (action.kind == MP__ACT_SEND)
            send_items(action.slot);
        check_core();
    }
}

/* The n-th action of a kind since the last event; NULL: there were fewer. */
static inline const mp__core_action *asked(mp__action_kind kind, size_t n)
{
    for (size_t i = 0; i < action_count; i++)
        if (actions[i].kind == kind && !n--)
            return &actions[i];
    return NULL;
}

static inline size_t asked_times(mp__action_kind kind)
{
    size_t times = 0;
    while (asked(kind, times))
        times++;
    return times;
}

static inline void at(uint64_t now)
{
    mp__core_time(core, now);
    act();
}

static inline void ready(uint32_t slot)
{
    mp__core_ready(core, slot, lives[slot]);
    act();
}

static inline void greeted(uint32_t slot)
{
    mp__core_greeted(core, slot, lives[slot]);
    act();
}

static inline void start_failed(uint32_t slot)
{
    mp__core_start_failed(core, slot, lives[slot]);
    act();
}

static inline void lost(uint32_t slot, uint64_t started)
{
    mp__core_lost(core, slot, lives[slot], started);
    act();
}

static inline void vanished(uint32_t slot)
{
    mp__core_vanished(core, slot, lives[slot]);
    act();
}

static inline void recalled(uint32_t slot, uint64_t started)
{
    mp__core_recalled(core, slot, lives[slot], started);
    act();
}

static inline void condemn(uint32_t slot)
{
    mp__core_condemn(core, slot, lives[slot]);
    act();
}

/* The index of the item that ended, or SIZE_MAX if there was none. */
static inline size_t result(uint32_t slot)
{
    mp__core_item item = {0};
    bool nonsense;
    bool taken = mp__core_result(core, slot, lives[slot], &item, &nonsense);
    act();
    return taken ? item.index : SIZE_MAX;
}

static inline void results(uint32_t slot, size_t count)
{
    while (count--)
        cr_assert_neq(result(slot), SIZE_MAX);
}

static inline mp_status submit(mp__core_job *job, size_t n, size_t chunksize)
{
    *job = (mp__core_job){.n = n, .chunksize = chunksize};
    mp_status status = mp__core_submit(core, job);
    act();
    return status;
}

/* Open, or pinned, as the job says. */
static inline mp_status submit_job(mp__core_job *job)
{
    mp_status status = mp__core_submit(core, job);
    act();
    return status;
}

static inline mp_status extend(mp__core_job *job, size_t count)
{
    mp_status status = mp__core_extend(core, job, count);
    act();
    return status;
}

static inline void seal(mp__core_job *job)
{
    mp__core_seal(core, job);
    act();
}

static inline void cancel(mp__core_job *job)
{
    mp__core_cancel(core, job, MP_ECANCELLED, false);
    act();
}

static inline void cancel_by_force(mp__core_job *job)
{
    mp__core_cancel(core, job, MP_ECANCELLED, true);
    act();
}

static inline void progress(uint32_t slot, uint64_t started, mp__heed heed)
{
    mp__core_progress(core, slot, lives[slot], started, heed);
    act();
}

static inline void ended(uint32_t slot, bool it_has)
{
    mp__core_ended(core, slot, lives[slot], it_has);
    act();
}

/* The next result of the slot is a failure of its task, with MP_EFAILED; `*status`: what it is called. */
static inline mp__failed fails(uint32_t slot, mp_status *status)
{
    mp__core_item item;
    bool nonsense;
    *status = MP_EFAILED;
    mp__failed how = mp__core_failed(core, slot, lives[slot], status, true, &item, &nonsense);
    act();
    return how;
}

static inline mp_status resize(uint32_t workers)
{
    mp_status status = mp__core_resize(core, workers);
    act();
    return status;
}

static inline void close_pool(void)
{
    mp__core_close(core);
    act();
}

static inline void terminate_pool(void)
{
    mp__core_terminate(core);
    act();
}

/* A pool whose workers have been told to start: worker k in slot k. */
static inline void pool_starts_as(const mp__core_config *config)
{
    core = mp__core_create(config);
    cr_assert_not_null(core);
    act();
}

static inline void pool_starts(uint32_t workers)
{
    pool_starts_as(&(mp__core_config){.workers = workers, .tasks = 2});
}

/* A pool whose workers are ready; the time is 0. */
static inline void pool_runs_as(const mp__core_config *config)
{
    pool_starts_as(config);
    for (uint32_t i = 0; i < config->workers; i++)
        ready(i);
}

static inline void pool_runs(uint32_t workers)
{
    pool_runs_as(&(mp__core_config){.workers = workers, .tasks = 2});
}

/* What an item of task 0 is known to take. */
static inline void items_take(uint64_t ns)
{
    for (int i = 0; i < 40; i++)
        mp__core_measured(core, &(mp__core_job){.task = 0}, 1, ns);
}

static inline void pool_ends(void)
{
    mp__core_free(&core);
}

static inline mp__core_counts counts(void)
{
    return mp__core_get_counts(core);
}

/* True if this was asked of this slot since the last event. */
static inline bool asked_of(mp__action_kind kind, uint32_t slot)
{
    for (size_t i = 0; i < action_count; i++)
        if (actions[i].kind == kind && actions[i].slot == slot)
            return true;
    return false;
}

/* The end of one range of items, asked for since the last event. */
static inline bool failed(size_t n, size_t first, size_t count, mp_status status)
{
    const mp__core_action *action = asked(MP__ACT_FAIL, n);
    return action && action->first == first && action->count == count && action->status == status;
}

#endif
