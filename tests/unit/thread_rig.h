/* Workers that are threads, driven hook by hook as the engine does it, by the test itself. */
#ifndef TESTS_UNIT_THREAD_RIG_H
#define TESTS_UNIT_THREAD_RIG_H
#include "pool/backend.h"
#include "pool/failure.h"
#include "tests/lib/check.h"
#include "tests/lib/says.h"
#include "tests/lib/until.h"
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

static const mp__backend *const kind = &mp__thread_backend;
enum { PROMPT_MS = 30000 }; /* far beyond what anything takes here */

typedef struct rig {
    mp__workers *workers;
    mp__task_table tasks;
    mp__backend_config config;
} rig;

static inline uint32_t task_index(const rig *r, const mp_task *task)
{
    uint32_t index;
    mp_error error;
    cr_assert_eq(mp__task_table_find(&r->tasks, task, &index, &error), MP_OK, "%s", error.message);
    return index;
}

/* `config`: what is not chosen here; initializer and finalizer by their tasks. */
static inline void rig_open(rig *r, uint32_t slots, mp__backend_config config)
{
    mp_error error;
    *r = (rig){.config = config};
    r->config.slots = r->config.workers = slots;
    cr_assert_eq(mp__task_table_take(&r->tasks), MP_OK);
    r->config.tasks = &r->tasks;
    cr_assert_eq(kind->open(&r->workers, &r->config, &error), MP_OK, "%s", error.message);
}

static inline void rig_close(rig *r)
{
    kind->close(r->workers);
    mp__task_table_fini(&r->tasks);
}

static inline bool is_readable(const rig *r)
{
    struct pollfd fd = {.fd = kind->descriptor(r->workers), .events = POLLIN};
    return poll(&fd, 1, 0) > 0;
}

/* The next event. Sleeps on the descriptor: a wake-up that is lost fails the test. */
static inline mp__event await(rig *r)
{
    mp__event event;
    while (!kind->next(r->workers, &event)) {
        struct pollfd fd = {.fd = kind->descriptor(r->workers), .events = POLLIN};
        cr_assert_gt(poll(&fd, 1, PROMPT_MS), 0, "nothing has happened");
    }
    return event;
}

static inline mp__event await_kind(rig *r, mp__event_kind wanted, uint32_t slot)
{
    mp__event event = await(r);
    cr_assert_eq(event.kind, wanted, "event %d: %s", event.kind, event.error ? event.error->message : "");
    cr_assert_eq(event.slot, slot);
    return event;
}

static inline void start_one(rig *r, uint32_t slot)
{
    kind->start(r->workers, slot, 1, slot);
    await_kind(r, MP__EV_READY, slot);
}

/* Ends a life that has no items. */
static inline void stop_one(rig *r, uint32_t slot)
{
    kind->stop(r->workers, slot);
    await_kind(r, MP__EV_LOST, slot);
}

static inline void send_one(rig *r, uint32_t slot, const mp_task *task, size_t index, const void *value, void *out)
{
    kind->send(r->workers, slot,
               &(mp__items){.count = 1,
                            .attempt = 1,
                            .job = task,
                            .task = task_index(r, task),
                            .index = index,
                            .value = value,
                            .out = out});
}

static inline void run_one(rig *r, uint32_t slot, const mp_task *task, const void *value, void *out)
{
    send_one(r, slot, task, 0, value, out);
    kind->flush(r->workers, slot);
}

/* --- tasks that a test holds up -------------------------------------------------------------------------------------------- */

static sem_t entered, gate;

static inline void make_gate(void)
{
    sem_init(&entered, 0, 0);
    sem_init(&gate, 0, 0);
}

static inline mp_status hold(const int64_t *in, int64_t *out, mp_call *call)
{
    (void)call;
    sem_post(&entered);
    sem_wait(&gate);
    *out = *in;
    return MP_OK;
}
MP_TASK(hold, int64_t, int64_t);

/* --- plain tasks ----------------------------------------------------------------------------------------------------------- */

static inline mp_status triple(const int64_t *in, int64_t *out, mp_call *call)
{
    (void)call;
    *out = 3 * *in;
    return MP_OK;
}
MP_TASK(triple, int64_t, int64_t);

static inline mp_status refuse_odd(const int64_t *in, int64_t *out, mp_call *call)
{
    *out = *in;
    return *in % 2 ? mp_fail(call, (mp_status)(MP_EUSER + 1), "%d is odd, item %zu", (int)*in, mp_call_item(call)) : MP_OK;
}
MP_TASK(refuse_odd, int64_t, int64_t);

static inline mp_status leave_thread(const int64_t *in, int64_t *out, mp_call *call)
{
    (void)call;
    *out = *in;
    pthread_exit(NULL);
}
MP_TASK(leave_thread, int64_t, int64_t);

static inline mp_status echo(const mp_str *in, mp_str *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(echo, mp_str, mp_str);

#define TASK(f) (&mp__task_##f)

/* Takes results of slot 0 until `wanted` have come; how many events said WRITABLE. */
static inline unsigned take_results(rig *r, size_t wanted)
{
    unsigned writable = 0;
    for (size_t had = 0; had < wanted;) {
        mp__event event = await(r);
        cr_assert(event.kind == MP__EV_RESULT || event.kind == MP__EV_WRITABLE, "event %d", event.kind);
        had += event.count;
        writable += event.kind == MP__EV_WRITABLE;
    }
    return writable;
}

#endif
