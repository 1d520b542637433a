/* The shell round the core: it feeds the core what workers say and does what the core asks for.
 *
 * Owns the lock under which core and backend stand, and the I/O thread. Everything happens in two calls, both under the lock:
 * `drive` takes the events that are there and handles them, `act` carries out actions until there are none. The I/O thread
 * does both whenever the backend's descriptor or a deadline says so. A thread that submits does `act` itself, so that its
 * items are on their way without a thread being woken; and one that waits for its job drives in place of the I/O thread,
 * which hears nothing meanwhile: a wake-up costs what a hundred items cost. Nobody sleeps with the lock held, and an idle pool
 * has no deadline.
 *
 * Threads other than ours hold the lock with all signals blocked: a handler that ran on top of them would see a half-done
 * pool, and SIGPIPE from a worker that has just died is ours, not the program's. pool/README.md has the tables. */
#include "pool/dispatch.h"
#include "pool/failure.h"
#include "pool/system.h"
#include "serial/memory.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_BEFORE_ACTIONS = 512 }; /* so that other workers are fed while one floods us */

typedef struct mp__measure { /* of one slot: to tell the core how long items take */
    uint64_t busy_ns, items;
} mp__measure;

struct mp__dispatch {
    /* fixed at open */
    const mp__backend *backend;
    mp__workers *workers;
    uint32_t slots;
    int wake;   /* eventfd: whoever drives sleeps longer than it should now */
    int events; /* epoll over the backend's descriptor and `wake`: what a driver sleeps on */
    int ear;    /* epoll over `events`, which the I/O thread sleeps on; deaf while a caller drives */
    pthread_t thread;
    pthread_mutex_t lock;
    /* guarded by lock */
    mp__core *core;
    mp__measure *measures;    /* by slot */
    uint64_t succeeded, failed;
    bool caller_drives;       /* a caller that waits for its job; else the I/O thread does */
    uint64_t caller_until;    /* until when each of the two sleeps; 0: awake, and will look again */
    uint64_t thread_until;
    bool woken;               /* `wake` is readable */
    mp_error blame;           /* how the life that is being buried ended */
    mp_error trouble;         /* why a worker could not be started or did not stay, last */
    bool thread_runs;
    bool ended;
    pthread_cond_t ended_now; /* `ended` */
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* --- the lock ---------------------------------------------------------------------------------------------------------- */

/* A thread of the user's enters: no signal handler runs on top of it. A SIGPIPE that a write of ours raised meanwhile is
 * taken away before signals are let in again; one that was pending before is left. Who waits lets signals in first. */
typedef struct mp__guard {
    sigset_t mask;
    bool pipe_was_pending;
} mp__guard;

static bool pipe_pending(void)
{
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGPIPE);
}

static void enter(mp__dispatch *d, mp__guard *guard)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &guard->mask);
    guard->pipe_was_pending = pipe_pending();
    pthread_mutex_lock(&d->lock);
}

static void let_signals_in(const mp__guard *guard)
{
    if (!guard->pipe_was_pending && pipe_pending()) {
        sigset_t pipe;
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);
        sigtimedwait(&pipe, NULL, &(struct timespec){0});
    }
    pthread_sigmask(SIG_SETMASK, &guard->mask, NULL);
}

static void leave(mp__dispatch *d, const mp__guard *guard)
{
    pthread_mutex_unlock(&d->lock);
    let_signals_in(guard);
}

/* --- actions ----------------------------------------------------------------------------------------------------------- */

/* Until the slot's way is full or it has everything. */
static void send_items(mp__dispatch *d, uint32_t slot)
{
    mp__core_item item;
    while (d->backend->room(d->workers, slot) && mp__core_unsent(d->core, slot, &item)) {
        do {
            const mp__job *job = job_of(item.job);
            d->backend->send(d->workers, slot,
                             &(mp__item){.task = job->core.task, .index = item.index, .value = job_item(job, item.index)});
            mp__core_sent(d->core, slot);
        } while (d->backend->room(d->workers, slot) && mp__core_unsent(d->core, slot, &item));
        d->backend->flush(d->workers, slot);
    }
    d->backend->flush(d->workers, slot);
}

/* Why items ended without having run to their end. */
static void end_error(const mp__dispatch *d, mp_status status, mp_error *error)
{
    if (status == MP_ECRASHED || status == MP_ELOST)
        *error = d->blame;
    else
        mp__failure(error, status, "%s", mp_status_text(status));
    error->status = status;
    if (status == MP_ELOST)
        snprintf(error->message, sizeof error->message, "the item ran, but its result was lost: %.200s", d->blame.message);
    if (status == MP_EBROKEN && d->trouble.message[0]) {
        error->os_error = d->trouble.os_error;
        snprintf(error->message, sizeof error->message, "no worker is left and none can be started: %.250s",
                 d->trouble.message);
    }
}

static void fail_items(mp__dispatch *d, const mp__core_action *action)
{
    mp__job *job = job_of(action->job);
    mp_error error;
    end_error(d, action->status, &error);
    for (size_t i = 0; i < action->count; i++)
        mp__job_fail(job, action->first + i, &error);
    d->failed += action->count;
}

/* The caller may free the job as soon as it has seen `done`: nothing of it is touched afterwards. */
static void finish_job(mp__job *job)
{
    job->done = true;
    pthread_cond_signal(&job->finished);
}

static void start_worker(mp__dispatch *d, const mp__core_action *action)
{
    d->measures[action->slot] = (mp__measure){0};
    d->backend->start(d->workers, action->slot, action->generation);
}

static void recall_items(mp__dispatch *d, const mp__core_action *action)
{
    if (d->backend->recall)
        d->backend->recall(d->workers, action->slot);
    else
        mp__core_recalled(d->core, action->slot, action->generation, MP__UNKNOWN);
}

static void act(mp__dispatch *d)
{
    mp__core_action action;
    while (mp__core_next(d->core, &action))
        switch (action.kind) {
        case MP__ACT_FAIL: fail_items(d, &action); break;
        case MP__ACT_DONE: finish_job(job_of(action.job)); break;
        case MP__ACT_START: start_worker(d, &action); break;
        case MP__ACT_SEND: send_items(d, action.slot); break;
        case MP__ACT_RECALL: recall_items(d, &action); break;
        case MP__ACT_STOP: d->backend->stop(d->workers, action.slot); break;
        case MP__ACT_KILL: d->backend->kill(d->workers, action.slot, action.hard); break;
        case MP__ACT_NONE: break;
        }
}

static void wake_driver(mp__dispatch *d)
{
    if (d->woken)
        return;
    d->woken = true;
    ssize_t written = write(d->wake, &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* it holds one count only: cannot fail */
}

static void forget_wake(mp__dispatch *d)
{
    uint64_t count;
    if (!d->woken)
        return;
    d->woken = false;
    ssize_t got = read(d->wake, &count, sizeof count);
    (void)got;
}

/* --- events ------------------------------------------------------------------------------------------------------------ */

static void measure(mp__dispatch *d, const mp__event *event, const mp__core_job *job)
{
    mp__measure *measure = &d->measures[event->slot];
    measure->items++;
    if (event->busy_ns <= measure->busy_ns)
        return;
    mp__core_measured(d->core, job, measure->items, event->busy_ns - measure->busy_ns);
    *measure = (mp__measure){.busy_ns = event->busy_ns};
}

static void take_result(mp__dispatch *d, mp__event *event)
{
    mp__core_item item;
    bool nonsense;
    if (!mp__core_result(d->core, event->slot, event->generation, &item, &nonsense)) {
        if (nonsense)
            mp__core_condemn(d->core, event->slot, event->generation);
        return;
    }
    mp__job *job = job_of(item.job);
    measure(d, event, item.job);
    bool failed = true;
    if (event->frame)
        failed = mp__job_store(job, item.index, event->frame, event->error) != MP_OK;
    else
        mp__job_fail(job, item.index, event->error);
    d->failed += failed;
    d->succeeded += !failed;
}

static void bury(mp__dispatch *d, const mp__event *event)
{
    d->blame = d->trouble = *event->error;
    mp__core_lost(d->core, event->slot, event->generation, event->started);
    act(d); /* now, while `blame` is this life's */
}

static void handle(mp__dispatch *d, mp__event *event)
{
    switch (event->kind) {
    case MP__EV_READY: mp__core_ready(d->core, event->slot, event->generation); break;
    case MP__EV_RESULT: take_result(d, event); break;
    case MP__EV_WRITABLE: send_items(d, event->slot); break;
    case MP__EV_RECALLED: mp__core_recalled(d->core, event->slot, event->generation, event->started); break;
    case MP__EV_LOST: bury(d, event); break;
    case MP__EV_NONSENSE: mp__core_condemn(d->core, event->slot, event->generation); break;
    case MP__EV_START_FAILED:
        d->trouble = *event->error;
        mp__core_start_failed(d->core, event->slot, event->generation);
        break;
    case MP__EV_BROKEN:
        d->trouble = *event->error;
        mp__core_break(d->core);
        break;
    }
}

/* Everything that is there to be done. */
static void drive(mp__dispatch *d)
{
    mp__event event;
    unsigned handled = 0;
    forget_wake(d);
    mp__core_time(d->core, now_ns());
    while (d->backend->next(d->workers, &event)) {
        handle(d, &event);
        if (++handled % EVENTS_BEFORE_ACTIONS == 0) {
            mp__core_time(d->core, now_ns());
            act(d);
        }
    }
    act(d);
    if (mp__core_get_state(d->core) == MP__ENDED && !d->ended) {
        d->ended = true;
        pthread_cond_broadcast(&d->ended_now);
    }
}

/* --- the I/O thread ---------------------------------------------------------------------------------------------------- */

/* Sleeps on `fd` with these signals blocked (NULL: as they are), without the lock. */
static void sleep_on(mp__dispatch *d, int fd, uint64_t deadline, const sigset_t *mask)
{
    pthread_mutex_unlock(&d->lock);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    uint64_t now = deadline == MP__NEVER ? 0 : now_ns(), left = deadline > now ? deadline - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
    ppoll(&polled, 1, deadline == MP__NEVER ? NULL : &timeout, mask);
    pthread_mutex_lock(&d->lock);
}

/* After an event that came from a caller's thread: does what follows, and sees that whoever drives does not oversleep. */
static void act_and_wake(mp__dispatch *d, bool always)
{
    act(d);
    if (always || mp__core_deadline(d->core) < (d->caller_drives ? d->caller_until : d->thread_until))
        wake_driver(d);
}

/* While a caller drives it sleeps until it is told that the caller has left. */
static void *io_thread(void *argument)
{
    mp__dispatch *d = argument;
    pthread_mutex_lock(&d->lock);
    for (;;) {
        d->thread_until = 0;
        if (!d->caller_drives)
            drive(d);
        if (d->ended)
            break;
        d->thread_until = d->caller_drives ? MP__NEVER : mp__core_deadline(d->core);
        sleep_on(d, d->ear, d->thread_until, NULL);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

static void set_ear(mp__dispatch *d, int operation, bool hears)
{
    epoll_ctl(d->ear, operation, d->events, &(struct epoll_event){.events = hears ? EPOLLIN : 0}); /* cannot fail once added */
}

/* The caller drives until its job is done, in the I/O thread's place; `mask` blocks what is blocked while it sleeps. */
static void drive_job(mp__dispatch *d, const mp__job *job, const sigset_t *mask)
{
    d->caller_drives = true;
    set_ear(d, EPOLL_CTL_MOD, false);
    while (!job->done) {
        d->caller_until = mp__core_deadline(d->core);
        sleep_on(d, d->events, d->caller_until, mask);
        d->caller_until = 0;
        drive(d);
    }
    d->caller_drives = false;
    set_ear(d, EPOLL_CTL_MOD, true);
    if (d->ended || mp__core_deadline(d->core) < d->thread_until)
        wake_driver(d);
}

/* While a pool opens there is no thread yet. */
static void drive_until(mp__dispatch *d, bool (*until)(const mp__dispatch *d))
{
    for (;;) {
        drive(d);
        if (d->ended || (until && until(d)))
            return;
        sleep_on(d, d->events, mp__core_deadline(d->core), NULL);
    }
}

static int start_thread(mp__dispatch *d)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are for the program's own threads */
    int failed = pthread_create(&d->thread, NULL, io_thread, d);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!failed)
        pthread_setname_np(d->thread, "mp-io");
    d->thread_runs = !failed;
    return failed;
}

/* --- open and free ----------------------------------------------------------------------------------------------------- */

static bool opened_or_failed(const mp__dispatch *d)
{
    return mp__core_all_ready(d->core) || d->trouble.status;
}

static void free_memory(mp__dispatch *d)
{
    for (int *fd = (int[]){d->wake, d->events, d->ear, -2}; *fd != -2; fd++)
        if (*fd >= 0)
            close(*fd);
    mp__core_free(&d->core);
    pthread_cond_destroy(&d->ended_now);
    pthread_mutex_destroy(&d->lock);
    free(d->measures);
    free(d);
}

static bool make_descriptors(mp__dispatch *d)
{
    d->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    d->events = mp__system.epoll_create1(EPOLL_CLOEXEC);
    d->ear = mp__system.epoll_create1(EPOLL_CLOEXEC);
    return d->wake >= 0 && d->events >= 0 && d->ear >= 0 &&
           !mp__system.epoll_ctl(d->events, EPOLL_CTL_ADD, d->wake, &(struct epoll_event){.events = EPOLLIN}) &&
           !mp__system.epoll_ctl(d->ear, EPOLL_CTL_ADD, d->events, &(struct epoll_event){.events = EPOLLIN});
}

static mp__dispatch *make(const mp__backend *backend, const mp__backend_config *config, mp_error *error)
{
    mp__dispatch *d = mp__memory.calloc(1, sizeof *d);
    if (!d) {
        mp__failure(error, MP_ENOMEM, "no memory for a pool");
        return NULL;
    }
    d->backend = backend;
    d->slots = config->slots;
    d->wake = d->events = d->ear = -1;
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->ended_now, NULL);
    d->measures = mp__memory.calloc(config->slots, sizeof *d->measures);
    d->core = mp__core_create(&(mp__core_config){.slots = config->slots, .tasks = (uint32_t)config->tasks->count});
    if (!d->measures || !d->core)
        mp__failure(error, MP_ENOMEM, "no memory for a pool of %u workers", config->slots);
    else if (!make_descriptors(d))
        mp__system_failure(error, errno, "no descriptor for a pool");
    else
        return d;
    free_memory(d);
    return NULL;
}

/* The backend, and its descriptor among the events. */
static mp_status open_backend(mp__dispatch *d, const mp__backend_config *config, mp_error *error)
{
    mp_status status = d->backend->open(&d->workers, config, error);
    if (status)
        return status;
    if (!mp__system.epoll_ctl(d->events, EPOLL_CTL_ADD, d->backend->descriptor(d->workers),
                              &(struct epoll_event){.events = EPOLLIN}))
        return MP_OK;
    status = mp__system_failure(error, errno, "no descriptor for a pool");
    d->backend->close(d->workers);
    return status;
}

/* Ends a pool whose opening failed; called with the lock. */
static void give_up(mp__dispatch *d)
{
    mp__core_terminate(d->core);
    drive_until(d, NULL);
    pthread_mutex_unlock(&d->lock);
    d->backend->close(d->workers);
    free_memory(d);
}

static mp_status cannot_open(const mp__dispatch *d, mp_error *error)
{
    const mp_error *why = &d->trouble;
    mp__failure(error, why->status == MP_ECRASHED ? MP_EBROKEN : why->status, "a pool of %u workers cannot be opened: %.250s",
                d->slots, why->message);
    error->os_error = why->os_error;
    return error->status;
}

mp_status mp__dispatch_open(mp__dispatch **dispatch, const mp__backend *backend, const mp__backend_config *config,
                            mp_error *error)
{
    mp__dispatch *d = make(backend, config, error);
    if (!d)
        return error->status;
    mp_status status = open_backend(d, config, error);
    if (status) {
        free_memory(d);
        return status;
    }
    mp__guard guard;
    enter(d, &guard);
    drive_until(d, opened_or_failed);
    if (d->trouble.status)
        status = cannot_open(d, error);
    int failed = status ? 0 : start_thread(d);
    if (failed)
        status = mp__system_failure(error, failed, "no thread for a pool");
    if (status) {
        give_up(d);
        let_signals_in(&guard);
        return status;
    }
    leave(d, &guard);
    *dispatch = d;
    return MP_OK;
}

void mp__dispatch_free(mp__dispatch **dispatch)
{
    mp__dispatch *d = *dispatch;
    *dispatch = NULL;
    d->backend->close(d->workers);
    free_memory(d);
}

/* --- calls ------------------------------------------------------------------------------------------------------------- */

/* Signals come in while it sleeps, but for SIGPIPE: one of ours may be pending. */
static void wait_for_job(mp__dispatch *d, mp__job *job, const mp__guard *guard)
{
    sigset_t mask = guard->mask, all;
    sigaddset(&mask, SIGPIPE);
    while (!job->done)
        if (!d->caller_drives) {
            drive_job(d, job, &mask);
        } else {
            pthread_sigmask(SIG_SETMASK, &mask, &all);
            pthread_cond_wait(&job->finished, &d->lock);
            pthread_sigmask(SIG_SETMASK, &all, NULL);
        }
}

/* A thread that was cancelled meanwhile would leave its job to whoever still writes to it: not before it is done. */
mp_status mp__dispatch_run(mp__dispatch *d, mp__job *job, mp_error *error)
{
    mp__guard guard;
    int cancelling;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling);
    pthread_cond_init(&job->finished, NULL);
    enter(d, &guard);
    mp__core_time(d->core, now_ns());
    mp_status status = mp__core_submit(d->core, &job->core);
    if (status == MP_EBROKEN)
        end_error(d, status, error);
    if (status == MP_ECLOSED)
        mp__failure(error, status, "the pool was closed or terminated: open another one");
    if (!status) {
        act_and_wake(d, false);
        wait_for_job(d, job, &guard);
    }
    leave(d, &guard);
    pthread_cond_destroy(&job->finished);
    pthread_setcancelstate(cancelling, NULL);
    return status;
}

void mp__dispatch_close(mp__dispatch *d)
{
    mp__guard guard;
    enter(d, &guard);
    mp__core_time(d->core, now_ns());
    mp__core_close(d->core);
    act_and_wake(d, true);
    leave(d, &guard);
}

void mp__dispatch_terminate(mp__dispatch *d)
{
    mp__guard guard;
    enter(d, &guard);
    mp__core_time(d->core, now_ns());
    mp__core_terminate(d->core);
    act_and_wake(d, true);
    leave(d, &guard);
}

mp_status mp__dispatch_join(mp__dispatch *d)
{
    mp__guard guard;
    enter(d, &guard);
    mp__core_state state = mp__core_get_state(d->core);
    if (state == MP__RUNNING || state == MP__BROKEN) {
        leave(d, &guard);
        return MP_ERUNNING;
    }
    let_signals_in(&guard);
    while (!d->ended)
        pthread_cond_wait(&d->ended_now, &d->lock);
    bool mine = d->thread_runs; /* the first to join reaps the thread */
    d->thread_runs = false;
    pthread_mutex_unlock(&d->lock);
    if (mine)
        pthread_join(d->thread, NULL);
    return MP_OK;
}

void mp__dispatch_stats(mp__dispatch *d, mp_pool_stats *stats)
{
    mp__guard guard;
    enter(d, &guard);
    mp__core_counts counts = mp__core_get_counts(d->core);
    *stats = (mp_pool_stats){.accepted = counts.accepted, .succeeded = d->succeeded, .failed = d->failed,
                             .pending = counts.pending, .started = counts.started, .lost = counts.lost,
                             .stale = counts.stale, .workers = (int)counts.ready};
    leave(d, &guard);
}
