/* Threads as workers: that whoever drives is woken for each thing there is to tell, what becomes of items when they are taken
 * back in the middle of it all, and what cannot be had. */
#include "pool/system.h"
#include "serial/memory.h"
#include "tests/lib/rounds.h"
#include "tests/unit/thread_rig.h"
#include <errno.h>

TestSuite(lane, .timeout = 120);
TestSuite(shortage, .timeout = 60);

/* --- being woken ----------------------------------------------------------------------------------------------------------- */

static mp_status hold_if(const int64_t *in, int64_t *out, mp_call *call)
{
    return *in ? hold(in, out, call) : MP_OK;
}
MP_TASK(hold_if, int64_t, int64_t);

static const int64_t holds[] = {0, 1};

/* The first of two items, sent together, is told of while the second runs. */
static void first_is_told(rig *r, const void *first_job, const void *second_job)
{
    int64_t out[2];
    uint32_t task = task_index(r, TASK(hold_if));
    for (size_t i = 0; i < 2; i++)
        kind->send(r->workers, 0,
                   &(mp__items){.count = 1,
                                .attempt = 1,
                                .job = i ? second_job : first_job,
                                .task = task,
                                .value = &holds[i],
                                .out = &out[i]});
    kind->flush(r->workers, 0);
    cr_assert_eq(await_kind(r, MP__EV_RESULT, 0).count, 1);
    sem_post(&gate);
    cr_assert_eq(await_kind(r, MP__EV_RESULT, 0).count, 1);
}

CHECK(lane, result__before_an_item_that_may_take_long__does_not_wait)
{
    rig r;
    make_gate();
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    first_is_told(&r, &r, &r); /* nothing is known of the task */
    first_is_told(&r, &r, &r); /* it has taken long */
    stop_one(&r, 0);
    rig_close(&r);
}

CHECK(lane, result__before_another_job__does_not_wait)
{
    rig r;
    int64_t out;
    make_gate();
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    for (int i = 0; i < 50; i++) { /* as long as it takes to know that they are short */
        run_one(&r, 0, TASK(hold_if), &holds[0], &out);
        await_kind(&r, MP__EV_RESULT, 0);
    }
    first_is_told(&r, &r, &out);
    stop_one(&r, 0);
    rig_close(&r);
}

CHECK(lane, descriptor__when_next_has_nothing__is_not_readable)
{
    rig r;
    int64_t in = 5, out;
    mp__event event;
    rig_open(&r, 3, (mp__backend_config){0});
    cr_assert_not(is_readable(&r));
    for (uint32_t slot = 0; slot < 3; slot++)
        start_one(&r, slot);
    for (int i = 0; i < 100; i++) {
        run_one(&r, 1, TASK(triple), &in, &out);
        await_kind(&r, MP__EV_RESULT, 1);
        /* it may still ring for what was told already: once */
        cr_assert(UNTIL(20, !kind->next(r.workers, &event) && !is_readable(&r)));
    }
    for (uint32_t slot = 0; slot < 3; slot++)
        stop_one(&r, slot);
    rig_close(&r);
}

/* Items come one by one, each when the one before has been told of: whoever sleeps, or is about to, must be woken each time. */
CHECK(lane, items__one_by_one_on_each_worker__are_all_told)
{
    enum { SLOTS = 3 };
    rig r;
    int64_t in = 5, out[SLOTS];
    int left = ROUNDS(60000), running = SLOTS;
    rig_open(&r, SLOTS, (mp__backend_config){0});
    uint32_t task = task_index(&r, TASK(triple));
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        start_one(&r, slot);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        run_one(&r, slot, TASK(triple), &in, &out[slot]);
    while (running) {
        mp__event event = await(&r);
        cr_assert(event.kind == MP__EV_RESULT && event.count == 1);
        if (--left < 0) {
            running--;
            continue;
        }
        kind->send(r.workers, event.slot,
                   &(mp__items){.count = 1, .attempt = 1, .job = &r, .task = task, .value = &in, .out = &out[event.slot]});
        kind->flush(r.workers, event.slot);
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        stop_one(&r, slot);
    rig_close(&r);
}

/* The next result of slot 0 for one who is awake for so long, and then sleeps: which of the two it is, is known to nobody before. */
static void await_awake(rig *r, uint64_t ns, const atomic_uint *wanted)
{
    mp__event event;
    do {
        while (!kind->next(r->workers, &event)) {
            struct pollfd fd = {.fd = kind->descriptor(r->workers), .events = POLLIN};
            if (!kind->spin(r->workers, ns, wanted))
                cr_assert_gt(poll(&fd, 1, PROMPT_MS), 0, "it came when nobody was awake any more, and did not ring");
        }
    } while (event.kind != MP__EV_RESULT);
    cr_assert_eq(event.count, 1);
}

CHECK(lane, items__for_one_who_is_awake_and_then_sleeps__are_all_told)
{
    rig r;
    int64_t in = 5, out;
    atomic_uint nobody = 0;
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    for (int i = 0; i < ROUNDS(200000); i++) {
        run_one(&r, 0, TASK(triple), &in, &out);
        await_awake(&r, i % 3 ? 30000 : (uint64_t)i * 7 % 2000,
                    &nobody); /* so that the worker is awake, and about as long as it takes */
    }
    stop_one(&r, 0);
    rig_close(&r);
}

CHECK(lane, spin__while_somebody_wants_the_lock__ends_at_once)
{
    rig r;
    int64_t in = 5, out;
    atomic_uint somebody = 1;
    make_gate();
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    run_one(&r, 0, TASK(hold), &in, &out);
    sem_wait(&entered);
    double before = seconds_now();
    cr_assert_not(kind->spin(r.workers, 100000000000, &somebody));
    cr_assert(seconds_now() - before < 50);
    sem_post(&gate);
    await_kind(&r, MP__EV_RESULT, 0);
    stop_one(&r, 0);
    rig_close(&r);
}

/* It comes just when the worker has found nothing to do, and goes to sleep: it must see both, or the item first. */
CHECK(lane, item_and_stop__as_the_worker_goes_to_sleep__the_item_runs)
{
    rig r;
    int64_t in = 5, out;
    rig_open(&r, 1, (mp__backend_config){0});
    for (int i = 0; i < ROUNDS(4000); i++) {
        start_one(&r, 0);
        run_one(&r, 0, TASK(triple), &in, &out);
        await_kind(&r, MP__EV_RESULT, 0);
        for (volatile int wait = 0; wait < i % 400; wait++)
            ;
        run_one(&r, 0, TASK(triple), &in, &out);
        kind->stop(r.workers, 0);
        await_kind(&r, MP__EV_RESULT, 0);
        cr_assert_eq(await_kind(&r, MP__EV_LOST, 0).started, 2);
    }
    rig_close(&r);
}

CHECK(lane, busy_time__of_an_item__is_told_with_it)
{
    rig r;
    int64_t in = 5, out;
    make_gate();
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    double before = seconds_now();
    run_one(&r, 0, TASK(hold), &in, &out);
    sem_wait(&entered);
    nap_us(20000);
    sem_post(&gate);
    mp__event event = await_kind(&r, MP__EV_RESULT, 0);
    cr_assert(event.busy_ns >= 20000000 && (double)event.busy_ns * 1e-9 <= seconds_now() - before, "%g s",
              (double)event.busy_ns * 1e-9);
    stop_one(&r, 0);
    rig_close(&r);
}

CHECK(lane, workers__that_have_nothing_to_do__use_no_cpu)
{
    rig r;
    struct timespec before, after;
    rig_open(&r, 4, (mp__backend_config){0});
    for (uint32_t slot = 0; slot < 4; slot++)
        start_one(&r, slot);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    struct pollfd fd = {.fd = kind->descriptor(r.workers), .events = POLLIN};
    poll(&fd, 1, 200);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    long used = (after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec;
    cr_assert_lt(used, 20000000);
    for (uint32_t slot = 0; slot < 4; slot++)
        stop_one(&r, slot);
    rig_close(&r);
}

/* --- what cannot be had ---------------------------------------------------------------------------------------------------- */

static int no_eventfd(unsigned count, int flags)
{
    (void)count, (void)flags;
    errno = EMFILE;
    return -1;
}

static int no_thread(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    (void)thread, (void)attributes, (void)run, (void)argument;
    return EAGAIN;
}

CHECK(shortage, open__without_a_descriptor__says_why)
{
    mp__workers *workers;
    mp_error error;
    mp__system_calls real = mp__system;
    mp__system.eventfd = no_eventfd;
    cr_assert_eq(kind->open(&workers, &(mp__backend_config){.slots = 2}, &error), MP_ESYSTEM);
    mp__system = real;
    cr_assert_eq(error.os_error, EMFILE);
    cr_assert(says(&error, "descriptor"));
}

CHECK(shortage, start__without_a_thread__fails_and_can_be_tried_again)
{
    rig r;
    mp__system_calls real = mp__system;
    rig_open(&r, 1, (mp__backend_config){0});
    mp__system.pthread_create = no_thread;
    kind->start(r.workers, 0, 1, 4);
    mp__system = real;
    cr_assert(is_readable(&r));
    mp__event event = await_kind(&r, MP__EV_START_FAILED, 0);
    cr_assert_eq(event.error->status, MP_ESYSTEM);
    cr_assert_eq(event.error->os_error, EAGAIN);
    cr_assert_eq(event.error->worker, 4);
    cr_assert(says(event.error, "the thread of worker 4 cannot be started: "), "%s", event.error->message);
    kind->start(r.workers, 0, 2, 4);
    await_kind(&r, MP__EV_READY, 0);
    stop_one(&r, 0);
    rig_close(&r);
}

static mp__memory_calls real_memory;
static atomic_int until_refused; /* the allocation of this number fails */

static bool refused(void)
{
    return until_refused-- == 0;
}
static void *failing_malloc(size_t size)
{
    return refused() ? NULL : real_memory.malloc(size);
}
static void *failing_calloc(size_t count, size_t size)
{
    return refused() ? NULL : real_memory.calloc(count, size);
}
static void *failing_realloc(void *old, size_t size)
{
    return refused() ? NULL : real_memory.realloc(old, size);
}
static void *failing_aligned_alloc(size_t alignment, size_t size)
{
    return refused() ? NULL : real_memory.aligned_alloc(alignment, size);
}

/* A whole life, in which something may be missing. Every item that was sent has a result. */
static void live_in_need(const mp__task_table *tasks)
{
    rig r = {.tasks = *tasks, .config = {.slots = 1, .tasks = tasks}};
    mp_error error;
    mp_str text = {"text", 4}, out = {0};
    int64_t odd = 7, number;
    if (kind->open(&r.workers, &r.config, &error) != MP_OK) {
        cr_assert(error.status == MP_ENOMEM && says(&error, "memory"));
        return;
    }
    uint32_t slots = kind->grow(r.workers, 3) == MP_OK ? 3 : 1;
    kind->start(r.workers, slots - 1, 1, 0);
    mp__event event = await(&r);
    if (event.kind == MP__EV_READY) {
        send_one(&r, slots - 1, TASK(echo), 0, &text, &out);
        send_one(&r, slots - 1, TASK(refuse_odd), 0, &odd, &number);
        kind->flush(r.workers, slots - 1);
        event = await_kind(&r, MP__EV_RESULT, slots - 1);
        cr_assert(event.count ? out.size == 4 : event.error->status == MP_ENOMEM && !out.data);
        event = await_kind(&r, MP__EV_RESULT, slots - 1);
        cr_assert_not(event.count && event.error->status == MP_EUSER + 1 && event.error->message[0] && !number);
        stop_one(&r, slots - 1);
    } else {
        cr_assert(event.kind == MP__EV_START_FAILED && event.error->status == MP_ENOMEM, "event %d", event.kind);
    }
    mp_free(mp_str, &out, 1);
    kind->close(r.workers);
}

CHECK(shortage, memory__that_runs_out__fails_what_needs_it)
{
    mp__task_table tasks;
    int first = 0;
    cr_assert_eq(mp__task_table_take(&tasks), MP_OK);
    real_memory = mp__memory;
    mp__memory = (mp__memory_calls){failing_malloc, failing_calloc, failing_realloc, failing_aligned_alloc};
    for (;; first++) {
        until_refused = first;
        live_in_need(&tasks);
        if (until_refused >= 0)
            break;
    }
    mp__memory = real_memory;
    mp__task_table_fini(&tasks);
    cr_assert_gt(first, 8);
}

/* --- a storm --------------------------------------------------------------------------------------------------------------- */

/* Oracle: each item that was sent is either started once and has one result, or was taken back and has never run. Those taken
 * back are sent again; in the end each has run once, and has ended once. */
enum { LANES = 3, ITEMS = 60000, RING = 16384 };

typedef struct weather {
    rig rig;
    uint32_t seed;
    struct {
        size_t *items; /* sent, and not ended: [first, last) */
        size_t first, last;
        uint32_t generation;
        bool ready, recalled, stopping;
        uint64_t results;
    } lanes[LANES];
    size_t *waiting, waiting_count, ended;
    unsigned recalls, lives, failures;
} weather;

static int64_t storm_in[ITEMS], storm_out[ITEMS];
static atomic_uchar runs[ITEMS];
static bool has_ended[ITEMS];

static mp_status in_the_storm(const int64_t *in, int64_t *out, mp_call *call)
{
    runs[*in]++;
    for (volatile int i = 0; i < *in % 50; i++)
        ;
    *out = *in + 1;
    if (*in % 2003 == 5)
        pthread_exit(NULL);
    return *in % 97 == 3 ? mp_fail(call, MP_ERANGE, "%d", (int)*in) : MP_OK;
}
MP_TASK(in_the_storm, int64_t, int64_t);

static uint32_t draw(weather *s, uint32_t below)
{
    s->seed = s->seed * 1664525 + 1013904223;
    return (s->seed >> 8) % below;
}

static void storm_start(weather *s, uint32_t k)
{
    s->lanes[k].ready = s->lanes[k].recalled = s->lanes[k].stopping = false;
    s->lanes[k].results = s->lanes[k].first = s->lanes[k].last = 0;
    s->lives++;
    kind->start(s->rig.workers, k, ++s->lanes[k].generation, k);
}

static void storm_send(weather *s, uint32_t k, size_t most)
{
    size_t sent = 0;
    for (; sent < most && s->waiting_count && kind->room(s->rig.workers, k); sent++) {
        size_t item = s->waiting[--s->waiting_count];
        s->lanes[k].items[s->lanes[k].last++] = item;
        kind->send(s->rig.workers, k,
                   &(mp__items){.count = 1,
                                .attempt = 1,
                                .job = &runs[item % 7 == 0],
                                .task = task_index(&s->rig, TASK(in_the_storm)),
                                .value = &storm_in[item],
                                .out = &storm_out[item]});
    }
    kind->flush(s->rig.workers, k);
}

static void storm_end(weather *s, uint32_t k, const mp_error *error)
{
    size_t item = s->lanes[k].items[s->lanes[k].first++];
    bool exits = item % 2003 == 5, fails = item % 97 == 3;
    cr_assert(s->lanes[k].first <= s->lanes[k].last && runs[item] == 1);
    cr_assert_not(has_ended[item]);
    cr_assert_eq(error ? error->status : MP_OK, exits ? MP_ECRASHED : fails ? MP_ERANGE : MP_OK);
    cr_assert_eq(storm_out[item], error ? 0 : (int64_t)item + 1);
    has_ended[item] = true;
    s->lanes[k].results++;
    s->failures += error != NULL;
    s->ended++;
}

/* What the life had not started waits again. */
static void storm_return(weather *s, uint32_t k, uint64_t started)
{
    cr_assert_geq(started, s->lanes[k].results);
    size_t keep = s->lanes[k].first + (size_t)(started - s->lanes[k].results);
    cr_assert_leq(keep, s->lanes[k].last);
    while (s->lanes[k].last > keep) {
        size_t item = s->lanes[k].items[--s->lanes[k].last];
        cr_assert_eq(runs[item], 0);
        s->waiting[s->waiting_count++] = item;
    }
}

static void storm_event(weather *s, const mp__event *event)
{
    uint32_t k = event->slot;
    cr_assert_eq(event->generation, s->lanes[k].generation);
    switch (event->kind) {
    case MP__EV_READY: s->lanes[k].ready = true; break;
    case MP__EV_WRITABLE: break;
    case MP__EV_RESULT:
        for (size_t i = 0; i < event->count; i++)
            storm_end(s, k, NULL);
        if (!event->count)
            storm_end(s, k, event->error);
        break;
    case MP__EV_RECALLED:
        cr_assert(s->lanes[k].recalled);
        storm_return(s, k, event->started);
        s->lanes[k].recalled = false;
        break;
    case MP__EV_LOST:
        cr_assert_eq(event->started, s->lanes[k].results);
        cr_assert(s->lanes[k].stopping || says(event->error, "pthread_exit"), "%s", event->error->message);
        storm_return(s, k, event->started);
        storm_start(s, k);
        break;
    default: cr_fatal("event %d", event->kind);
    }
}

static void storm_step(weather *s)
{
    uint32_t k = draw(s, LANES), what = draw(s, 100);
    bool free = s->lanes[k].ready && !s->lanes[k].recalled && !s->lanes[k].stopping;
    if (free && what < 50) {
        storm_send(s, k, what < 5 ? RING : 1 + draw(s, 40));
    } else if (free && what < 75) {
        kind->recall(s->rig.workers, k);
        s->lanes[k].recalled = true;
        s->recalls++;
    } else if (free && what < 77) {
        kind->stop(s->rig.workers, k);
        s->lanes[k].stopping = true;
    } else if (s->lanes[k].ready) {
        kind->cancel(s->rig.workers, k);
    }
    mp__event event;
    for (uint32_t asked = draw(s, 3); asked && kind->next(s->rig.workers, &event); asked--)
        storm_event(s, &event);
}

/* Nothing is sent any more: everything that was has its end. */
static void storm_settle(weather *s)
{
    mp__event event;
    for (bool busy = true; busy;) {
        busy = false;
        for (uint32_t k = 0; k < LANES; k++)
            busy |=
                !s->lanes[k].ready || s->lanes[k].recalled || s->lanes[k].stopping || s->lanes[k].first < s->lanes[k].last;
        if (busy) {
            event = await(&s->rig);
            storm_event(s, &event);
        }
    }
}

static void begin_storm(weather *s, uint32_t seed)
{
    *s = (weather){.seed = seed, .waiting = malloc(ITEMS * sizeof(size_t)), .waiting_count = ITEMS};
    rig_open(&s->rig, LANES, (mp__backend_config){0});
    for (size_t i = 0; i < ITEMS; i++) {
        s->waiting[i] = ITEMS - 1 - i;
        storm_in[i] = (int64_t)i;
        storm_out[i] = -1;
        has_ended[i] = false;
        runs[i] = 0;
    }
    for (uint32_t k = 0; k < LANES; k++) {
        s->lanes[k].items = malloc(4 * ITEMS * sizeof(size_t));
        storm_start(s, k);
    }
}

static void end_storm(weather *s)
{
    for (uint32_t k = 0; k < LANES; k++) {
        kind->stop(s->rig.workers, k);
        await_kind(&s->rig, MP__EV_LOST, k);
        free(s->lanes[k].items);
    }
    free(s->waiting);
    rig_close(&s->rig);
}

CHECK(lane, items__recalled_and_stopped_at_random__run_once_and_end_once)
{
    for (uint32_t seed = 1; seed <= ROUNDS(16); seed++) {
        weather s;
        begin_storm(&s, seed);
        while (s.ended < ITEMS) {
            for (int i = 0; i < 200 && s.waiting_count; i++)
                storm_step(&s);
            storm_settle(&s);
        }
        for (size_t i = 0; i < ITEMS; i++)
            cr_assert(runs[i] == 1 && has_ended[i], "item %zu", i);
        cr_assert(s.recalls > 10 && s.lives > LANES && s.failures > ITEMS / 97);
        end_storm(&s);
    }
}
