/* Who drives the engine, and when: the lock, the I/O thread, and callers that wait.
 *
 * The I/O thread takes a turn (dispatch.c) whenever the backend's descriptor or a deadline says so. A thread that submits acts
 * itself, so that its items are on their way without a thread being woken; and one that waits for its job drives in place of
 * the I/O thread, which hears nothing meanwhile: a wake-up costs what a hundred items cost. Nobody sleeps with the lock held,
 * and an idle pool has no deadline. A deadline is the core's, or that of looking at workers which may be hiding results: the two
 * meet in next_deadline alone.
 *
 * Threads other than ours hold the lock with all signals blocked: a handler that ran on top of them would see a half-done
 * pool, and SIGPIPE from a worker that has just died is ours, not the program's. README.md has the tables. */
#include "pool/clock.h"
#include "pool/dispatch_state.h"
#include "pool/failure.h"
#include "pool/system.h"
#include "pool/thread/thread.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* --- the lock ---------------------------------------------------------------------------------------------------------- */

/* A thread of the user's enters: no signal handler runs on top of it, and it cannot be cancelled. A signal that a write of ours
 * raised meanwhile (SIGPIPE; SIGXFSZ where files are limited) is taken away before signals are let in again; one that was
 * pending before is left. Who waits lets signals in first, but for these two. */
static const int ours[] = {SIGPIPE, SIGXFSZ};

/* A mutex is not fair: who drives lets go of it and takes it again before anyone it has woken is there. */
void mp__driver_lock(mp__dispatch *d)
{
    pthread_mutex_lock(&d->turnstile);
    pthread_mutex_lock(&d->lock);
    pthread_mutex_unlock(&d->turnstile);
}

void mp__dispatch_enter(mp__dispatch *d, mp__guard *guard)
{
    sigset_t all;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &guard->cancelling);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &guard->mask);
    sigpending(&guard->pending);
    mp__driver_lock(d);
}

void mp__driver_let_signals_in(const mp__guard *guard)
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

void mp__dispatch_leave(mp__dispatch *d, const mp__guard *guard)
{
    pthread_mutex_unlock(&d->lock);
    mp__driver_let_signals_in(guard);
    pthread_setcancelstate(guard->cancelling, NULL);
}

/* --- sleeping and waking ----------------------------------------------------------------------------------------------- */

/* Signals come in while it sleeps, but for those of which one of ours may be pending. */
static sigset_t mask_asleep(const mp__guard *guard)
{
    sigset_t mask = guard->mask;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        sigaddset(&mask, ours[i]);
    return mask;
}

/* Sleeps on `fd` with these signals blocked (NULL: as they are), without the lock. */
static void sleep_on(mp__dispatch *d, int fd, uint64_t deadline, const sigset_t *mask)
{
    pthread_mutex_unlock(&d->lock);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    uint64_t now = deadline == MP__NEVER ? 0 : mp__now(), left = deadline > now ? deadline - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
    ppoll(&polled, 1, deadline == MP__NEVER ? NULL : &timeout, mask);
    mp__driver_lock(d);
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

/* Until when who drives may sleep: something is due in the core, or workers are to be looked at. */
static uint64_t next_deadline(mp__dispatch *d)
{
    uint64_t core = mp__core_deadline(d->core), look = mp__dispatch_look_at(d);
    return look < core ? look : core;
}

/* Who drives may look later than it should, but no later than it would after a while without results: to be woken costs more. */
static void see_to_driver(mp__dispatch *d)
{
    uint64_t until = d->caller_drives ? d->caller_until : d->thread_until, look = mp__dispatch_look_at(d);
    bool due = mp__core_deadline(d->core) < until || (look < until && until - look > mp__looking_times.last_ns);
    if (mp__core_get_state(d->core) == MP__ENDED || due)
        wake_driver(d);
}

static void act_and_feed(mp__dispatch *d)
{
    mp__dispatch_act(d);
    while (mp__streams_feed(d))
        mp__dispatch_act(d);
}

void mp__dispatch_acted(mp__dispatch *d)
{
    act_and_feed(d);
    see_to_driver(d);
}

/* --- the I/O thread, and callers in its place -------------------------------------------------------------------------- */

/* While a caller drives the thread sleeps until it is told that the caller has left; but where that may be too late for a look, it
 * looks up by itself: a caller that reads a stream drives and leaves, again and again. */
static uint64_t thread_deadline(mp__dispatch *d)
{
    if (!d->caller_drives)
        return next_deadline(d);
    return mp__core_may_hide(d->core) ? mp__now() + mp__looking_times.last_ns : MP__NEVER;
}

static void *io_thread(void *argument)
{
    mp__dispatch *d = argument;
    mp__driver_lock(d);
    for (;;) {
        d->thread_until = 0;
        if (!d->caller_drives)
            drive(d);
        if (d->ended)
            break;
        d->thread_until = thread_deadline(d);
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

/* The caller drives until what it waits for is there, in the I/O thread's place; `mask` blocks what is blocked while it sleeps. */
static void drive_for(mp__dispatch *d, const mp__awaited *what, uint64_t deadline, const sigset_t *mask)
{
    d->caller_drives = true;
    set_ear(d, EPOLL_CTL_MOD, false);
    while (!what->is_there(what->of) && !d->ended && mp__now() < deadline) {
        uint64_t next = next_deadline(d);
        d->caller_until = next < deadline ? next : deadline;
        sleep_on(d, d->events, d->caller_until, mask);
        d->caller_until = 0;
        drive(d);
    }
    d->caller_drives = false;
    set_ear(d, EPOLL_CTL_MOD, true);
    see_to_driver(d);
}

/* While a pool opens there is no thread yet. An initializer may take its time: the program can be interrupted meanwhile. */
void mp__driver_until(mp__dispatch *d, const mp__guard *guard, bool (*until)(const mp__dispatch *d))
{
    sigset_t mask = mask_asleep(guard);
    for (;;) {
        drive(d);
        if (d->ended || (until && until(d)))
            return;
        sleep_on(d, d->events, next_deadline(d), &mask);
    }
}

int mp__driver_start_thread(mp__dispatch *d)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are for the program's own threads */
    int failed = mp__system.pthread_create(&d->thread, NULL, io_thread, d);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!failed)
        pthread_setname_np(d->thread, "mp-io");
    d->thread_runs = !failed;
    return failed;
}

/* --- waiting ------------------------------------------------------------------------------------------------------------- */

void mp__dispatch_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* Asleep on the condition variable: somebody else drives, or nobody needs to. */
static void sleep_for(mp__dispatch *d, const mp__awaited *what, uint64_t deadline, const sigset_t *mask)
{
    sigset_t all;
    pthread_sigmask(SIG_SETMASK, mask, &all);
    if (deadline == MP__NEVER) {
        pthread_cond_wait(what->changed, &d->lock);
    } else {
        struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000u), .tv_nsec = (long)(deadline % 1000000000u)};
        pthread_cond_timedwait(what->changed, &d->lock, &until);
    }
    pthread_sigmask(SIG_SETMASK, &all, NULL);
}

bool mp__dispatch_on_worker(const mp__dispatch *d)
{
    const mp__workers *mine = mp__thread_pool();
    return mine && mine == d->workers;
}

bool mp__dispatch_inside(const mp__dispatch *d)
{
    return mp__dispatch_on_worker(d) || mp__callbacks_here(d) || mp__generator_inside(d);
}

/* A worker that waits does not work. As long as one is left that does, all that is waited for comes: what blocked ones have not
 * started is taken back from them; but what only this one may run never comes. */
mp_status mp__dispatch_may_wait(const mp__dispatch *d, bool for_each, mp_error *error)
{
    if (!mp__dispatch_on_worker(d))
        return MP_OK;
    if (for_each)
        return mp__failure(error, MP_EDEADLK,
                           "a task of this pool would wait for something that its own worker is to do: call "
                           "mp_pool_broadcast from outside the pool's tasks");
    if (d->blocked + 1 < mp__core_get_counts(d->core).wanted)
        return MP_OK;
    return mp__failure(error, MP_EDEADLK,
                       "a task of this pool would wait for it on its last free thread (%u of %u wait already): use more "
                       "threads, or another pool",
                       d->blocked, mp__core_get_counts(d->core).wanted);
}

mp_status mp__dispatch_wait(mp__dispatch *d, const mp__guard *guard, const mp__awaited *what, double timeout)
{
    if (what->is_there(what->of))
        return MP_OK;
    mp_status status = mp__dispatch_may_wait(d, false, NULL);
    if (status)
        return status;
    sigset_t mask = mask_asleep(guard);
    uint64_t deadline = mp__clock_deadline(timeout);
    bool blocks = mp__dispatch_on_worker(d), there;
    d->callers++;
    d->blocked += blocks;
    while (!(there = what->is_there(what->of)) && mp__now() < deadline)
        if (!d->caller_drives && !d->ended)
            drive_for(d, what, deadline, &mask);
        else
            sleep_for(d, what, deadline, &mask);
    d->blocked -= blocks;
    if (!--d->callers && d->ended)
        pthread_cond_broadcast(&d->ended_now);
    return there ? MP_OK : MP_ETIMEDOUT;
}

mp_status mp__dispatch_block(mp__dispatch *d, bool *blocks)
{
    *blocks = mp__dispatch_on_worker(d);
    mp_status status = mp__dispatch_may_wait(d, false, NULL);
    if (!status && *blocks)
        d->blocked++;
    return status;
}

void mp__dispatch_unblock(mp__dispatch *d)
{
    d->blocked--;
}

mp_status mp__dispatch_acted_and_wait(mp__dispatch *d, const mp__guard *guard, const mp__awaited *what, double timeout)
{
    act_and_feed(d);
    if (d->caller_drives || what->is_there(what->of)) /* else we are the driver in a moment */
        see_to_driver(d);
    return mp__dispatch_wait(d, guard, what, timeout);
}

void mp__dispatch_tell(mp__dispatch *d, pthread_cond_t *changed)
{
    pthread_cond_broadcast(changed);
    if (d->caller_drives && d->caller_until)
        wake_driver(d); /* it may be the one who waits for this */
}
