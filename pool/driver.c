/* Who drives the engine, and when: the lock, the I/O thread, and callers that wait.
 *
 * The I/O thread takes a turn (dispatch.c) whenever the backend's descriptor or a deadline says so. A thread that submits acts
 * itself, so that its items are on their way without a thread being woken; and one that waits for its job drives in place of
 * the I/O thread, which hears nothing meanwhile: a wake-up costs what a hundred items cost. Nobody sleeps with the lock held,
 * and an idle pool has no deadline.
 *
 * Threads other than ours hold the lock with all signals blocked: a handler that ran on top of them would see a half-done
 * pool, and SIGPIPE from a worker that has just died is ours, not the program's. README.md has the tables. */
#include "pool/clock.h"
#include "pool/dispatch_state.h"
#include "pool/failure.h"
#include "pool/system.h"
#include "serial/memory.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* --- the lock ---------------------------------------------------------------------------------------------------------- */

/* A thread of the user's enters: no signal handler runs on top of it, and it cannot be cancelled. A signal that a write of ours
 * raised meanwhile (SIGPIPE; SIGXFSZ where files are limited) is taken away before signals are let in again; one that was
 * pending before is left. Who waits lets signals in first, but for these two. */
typedef struct mp__guard {
    int cancelling;
    sigset_t mask;
    sigset_t pending;
} mp__guard;

static const int ours[] = {SIGPIPE, SIGXFSZ};

/* A mutex is not fair: who drives lets go of it and takes it again before anyone it has woken is there. */
static void take_lock(mp__dispatch *d)
{
    pthread_mutex_lock(&d->turnstile);
    pthread_mutex_lock(&d->lock);
    pthread_mutex_unlock(&d->turnstile);
}

static void enter(mp__dispatch *d, mp__guard *guard)
{
    sigset_t all;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &guard->cancelling);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &guard->mask);
    sigpending(&guard->pending);
    take_lock(d);
}

static void let_signals_in(const mp__guard *guard)
{
    sigset_t pending, one;
    sigpending(&pending);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (!sigismember(&pending, ours[i]) || sigismember(&guard->pending, ours[i]))
            continue;
        sigemptyset(&one);
        sigaddset(&one, ours[i]);
        sigtimedwait(&one, NULL, &(struct timespec){0});
    }
    pthread_sigmask(SIG_SETMASK, &guard->mask, NULL);
}

static void leave(mp__dispatch *d, const mp__guard *guard)
{
    pthread_mutex_unlock(&d->lock);
    let_signals_in(guard);
    pthread_setcancelstate(guard->cancelling, NULL);
}

/* --- sleeping and waking ----------------------------------------------------------------------------------------------- */

/* Sleeps on `fd` with these signals blocked (NULL: as they are), without the lock. */
static void sleep_on(mp__dispatch *d, int fd, uint64_t deadline, const sigset_t *mask)
{
    pthread_mutex_unlock(&d->lock);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    uint64_t now = deadline == MP__NEVER ? 0 : mp__now(), left = deadline > now ? deadline - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
    ppoll(&polled, 1, deadline == MP__NEVER ? NULL : &timeout, mask);
    take_lock(d);
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

/* Everything that is there to be done. */
static void drive(mp__dispatch *d)
{
    forget_wake(d);
    mp__dispatch_turn(d);
}

/* After an event that came from a caller's thread: does what follows, and sees that whoever drives does not oversleep. */
static void act_and_wake(mp__dispatch *d, bool always)
{
    mp__dispatch_act(d);
    if (always || mp__core_deadline(d->core) < (d->caller_drives ? d->caller_until : d->thread_until))
        wake_driver(d);
}

/* --- the I/O thread, and callers in its place -------------------------------------------------------------------------- */

/* While a caller drives it sleeps until it is told that the caller has left. */
static void *io_thread(void *argument)
{
    mp__dispatch *d = argument;
    take_lock(d);
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
    epoll_ctl(d->ear, operation, d->events,
              &(struct epoll_event){.events = hears ? EPOLLIN : 0}); /* cannot fail once added */
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
    pthread_mutex_destroy(&d->turnstile);
    free(d->measures);
    free(d);
}

static bool make_descriptors(mp__dispatch *d)
{
    d->wake = mp__above_standard(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    d->events = mp__above_standard(mp__system.epoll_create1(EPOLL_CLOEXEC));
    d->ear = mp__above_standard(mp__system.epoll_create1(EPOLL_CLOEXEC));
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
    d->wake = d->events = d->ear = -1;
    pthread_mutex_init(&d->turnstile, NULL);
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->ended_now, NULL);
    d->core = mp__core_create(&(mp__core_config){.workers = config->workers, .tasks = (uint32_t)config->tasks->count});
    d->slots = d->core ? mp__core_slots(d->core) : 0;
    d->measures = d->core ? mp__memory.calloc(d->slots, sizeof *d->measures) : NULL;
    if (!d->measures)
        mp__failure(error, MP_ENOMEM, "no memory for a pool of %u workers", config->workers);
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
    mp__backend_config with_slots = *config;
    with_slots.slots = d->slots;
    mp_status status = d->backend->open(&d->workers, &with_slots, error);
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
    mp__failure(error, why->status == MP_ECRASHED ? MP_EBROKEN : why->status,
                "a pool of %u workers cannot be opened: %.250s", mp__core_get_counts(d->core).wanted, why->message);
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
        pthread_setcancelstate(guard.cancelling, NULL);
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

/* Signals come in while it sleeps, but for those of which one of ours may be pending. */
static void wait_for_job(mp__dispatch *d, mp__job *job, const mp__guard *guard)
{
    sigset_t mask = guard->mask, all;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        sigaddset(&mask, ours[i]);
    while (!job->done)
        if (!d->caller_drives) {
            drive_job(d, job, &mask);
        } else {
            pthread_sigmask(SIG_SETMASK, &mask, &all);
            pthread_cond_wait(&job->finished, &d->lock);
            pthread_sigmask(SIG_SETMASK, &all, NULL);
        }
}

mp_status mp__dispatch_run(mp__dispatch *d, mp__job *job, mp_error *error)
{
    mp__guard guard;
    pthread_cond_init(&job->finished, NULL);
    enter(d, &guard);
    mp__core_time(d->core, mp__now());
    mp_status status = mp__core_submit(d->core, &job->core);
    if (status == MP_EBROKEN)
        mp__dispatch_why(d, status, error);
    else if (status == MP_ECLOSED)
        mp__failure(error, status, "the pool was closed or terminated: open another one");
    else if (status)
        mp__failure(error, status, "%zu items are too many for this pool: open another one", job->core.n);
    if (!status && job->core.n) { /* no items: it was only asked whether it would be taken */
        d->callers++;
        act_and_wake(d, false);
        wait_for_job(d, job, &guard);
        if (!--d->callers && d->ended)
            pthread_cond_broadcast(&d->ended_now);
    }
    leave(d, &guard);
    pthread_cond_destroy(&job->finished);
    return status;
}

void mp__dispatch_close(mp__dispatch *d)
{
    mp__guard guard;
    enter(d, &guard);
    mp__core_time(d->core, mp__now());
    mp__core_close(d->core);
    act_and_wake(d, true);
    leave(d, &guard);
}

void mp__dispatch_terminate(mp__dispatch *d)
{
    mp__guard guard;
    enter(d, &guard);
    mp__core_time(d->core, mp__now());
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
    while (!d->ended || d->callers)
        pthread_cond_wait(&d->ended_now, &d->lock);
    bool mine = d->thread_runs; /* the first to join reaps the thread */
    d->thread_runs = false;
    pthread_mutex_unlock(&d->lock);
    if (mine)
        pthread_join(d->thread, NULL);
    pthread_setcancelstate(guard.cancelling, NULL);
    return MP_OK;
}

void mp__dispatch_stats(mp__dispatch *d, mp_pool_stats *stats)
{
    mp__guard guard;
    enter(d, &guard);
    mp__core_counts counts = mp__core_get_counts(d->core);
    *stats = (mp_pool_stats){.accepted = counts.accepted,
                             .succeeded = d->succeeded,
                             .failed = d->failed,
                             .pending = counts.pending,
                             .started = counts.started,
                             .lost = counts.lost,
                             .stale = counts.stale,
                             .workers = (int)counts.ready};
    leave(d, &guard);
}
