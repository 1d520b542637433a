/* Workers that are processes, driven hook by hook as the engine does it, by the test itself: so it sees what comes with an event. */
#ifndef TESTS_FAULT_PROCESS_RIG_H
#define TESTS_FAULT_PROCESS_RIG_H
#include "pool/backend.h"
#include "tests/lib/check.h"
#include "tests/lib/says.h"
#include "tests/lib/singly.h"
#include <poll.h>
#include <sys/resource.h>

static const mp__backend *const kind = &mp__process_backend;
enum { PROMPT_MS = 30000 }; /* far beyond what anything takes here */

typedef struct rig {
    mp__workers *workers;
    mp__task_table tasks;
    uint32_t lives; /* of slot 0, which is the only one */
    bool alive;
} rig;

static inline uint32_t rig_task(const rig *r, const mp_task *task)
{
    uint32_t index;
    mp_error error;
    cr_assert_eq(mp__task_table_find(&r->tasks, task, &index, &error), MP_OK, "%s", error.message);
    return index;
}

/* `config`: what is not chosen here; hooks by their tasks. */
static inline void rig_open(rig *r, mp_start_method method, mp__backend_config config)
{
    mp_error error;
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    *r = (rig){0};
    cr_assert_eq(mp__task_table_take(&r->tasks), MP_OK);
    config.slots = config.workers = 1;
    config.tasks = &r->tasks;
    config.start_method = method;
    if (config.initializer.task)
        config.initializer.index = rig_task(r, config.initializer.task);
    if (config.finalizer.task)
        config.finalizer.index = rig_task(r, config.finalizer.task);
    cr_assert_eq(kind->open(&r->workers, &config, &error), MP_OK, "%s", error.message);
}

static inline mp__event rig_await(rig *r)
{
    mp__event event;
    while (!next_singly(kind, r->workers, &event)) {
        struct pollfd fd = {.fd = kind->descriptor(r->workers), .events = POLLIN};
        cr_assert_gt(poll(&fd, 1, PROMPT_MS), 0, "nothing has happened");
    }
    r->alive &= event.kind != MP__EV_LOST && event.kind != MP__EV_START_FAILED;
    return event;
}

static inline void rig_close(rig *r)
{
    while (r->alive) {
        kind->kill(r->workers, 0, true);
        rig_await(r);
    }
    kind->close(r->workers);
    mp__task_table_fini(&r->tasks);
}

static inline mp__event rig_await_kind(rig *r, mp__event_kind wanted)
{
    mp__event event = rig_await(r);
    cr_assert_eq(event.kind, wanted, "event %d: %s", event.kind, event.error ? event.error->message : "");
    return event;
}

/* Begins the next life; its events are still to come. */
static inline void rig_begin(rig *r)
{
    r->alive = true;
    kind->start(r->workers, 0, ++r->lives, 0);
}

static inline void rig_start(rig *r)
{
    rig_begin(r);
    rig_await_kind(r, MP__EV_READY);
}

/* `value` is borrowed until its result has come. */
static inline void rig_send(rig *r, const mp_task *task, size_t index, uint32_t attempt, const void *value)
{
    kind->send(r->workers, 0,
               &(mp__items){
                   .count = 1, .job = task, .task = rig_task(r, task), .index = index, .attempt = attempt, .value = value});
}

static inline void rig_run(rig *r, const mp_task *task, const void *value)
{
    rig_send(r, task, 0, 1, value);
    kind->flush(r->workers, 0);
}

#endif
