/* Who drives the engine, and when: the lock, the I/O thread, and callers that wait.
 *
 * The I/O thread takes a turn (dispatch.c) whenever the backend's descriptor or a deadline says so. A thread that submits acts
 * itself, so that its items are on their way without a thread being woken; and one that waits for its job drives in place of
 * the I/O thread, which hears nothing meanwhile: a wake-up costs what a hundred items cost. Nobody sleeps with the lock held,
 * and an idle pool has no deadline. A deadline is the core's, or that of looking at workers which may be hiding results: the two
 * meet in next_deadline alone.
 *
 * Signals of the program's come in all the while: its handlers may not call us, and nothing that we do raises one (link_open.c).
 * README.md has the tables. */
#include "pool/clock.h"
#include "pool/cpu.h"
#include "pool/dispatch_state.h"
#include "pool/failure.h"
#include "pool/interrupt.h"
#include "pool/system.h"
#include "pool/thread/thread.h"
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

/* --- the lock ---------------------------------------------------------------------------------------------------------- */

/* A mutex is not fair: who drives lets go of it and takes it again before anyone it has woken is there. */
void mp__driver_lock(mp__dispatch *d)
{
    atomic_fetch_add_explicit(&d->wanted, 1, memory_order_relaxed);
    pthread_mutex_lock(&d->turnstile);
    pthread_mutex_lock(&d->lock);
    pthread_mutex_unlock(&d->turnstile);
    atomic_fetch_sub_explicit(&d->wanted, 1, memory_order_relaxed);
}

void mp__dispatch_enter(mp__dispatch *d, mp__guard *guard)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &guard->cancelling);
    mp__driver_lock(d);
    mp__posted_take(d); /* what its caller has posted before is where it is looked for */
}

void mp__dispatch_leave(mp__dispatch *d, const mp__guard *guard)
{
    if (d->backend->run)
        mp__lend_until_done(d, true, MP__NEVER);
    pthread_mutex_unlock(&d->lock);
    pthread_setcancelstate(guard->cancelling, NULL);
}

/* --- sleeping and waking ----------------------------------------------------------------------------------------------- */

enum { NOBODY = -1 }; /* in the place of a descriptor: ppoll passes over it */

/* Sleeps on `fd`, without the lock. */
static void sleep_on(mp__dispatch *d, int fd, uint64_t deadline)
{
    pthread_mutex_unlock(&d->lock);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    uint64_t now = deadline == MP__NEVER ? 0 : mp__now(), left = deadline > now ? deadline - now : 0;
    struct timespec timeout = mp__clock_timespec(left);
    ppoll(&polled, 1, deadline == MP__NEVER ? NULL : &timeout, NULL);
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

/* Ctrl-C: what has not started ends, inputs of streams too, also if it was cleared meanwhile: nothing that came behind that is here
 * yet. The edge that wakes who drives is taken, so that it wakes once. */
static void mind_interrupt(mp__dispatch *d)
{
    struct epoll_event edge[2];
    if (!d->minds || mp__interrupt_count() == d->interrupts)
        return;
    d->interrupts = mp__interrupt_count();
    epoll_wait(d->events, edge, sizeof edge / sizeof *edge, 0);
    mp__posted_flush(d);
    mp__streams_interrupt(d);
    mp__core_time(d->core, mp__now());
    mp__core_cancel_all(d->core, MP_EINTERRUPTED);
    mp__dispatch_act(d); /* whoever comes with the lock to cancel one of them finds it at its end */
}

/* What is submitted after it is not stopped by it; and who drives, whose edge this may have taken, has something to do. */
void mp__driver_mind(mp__dispatch *d)
{
    unsigned before = d->interrupts;
    mind_interrupt(d);
    if (d->interrupts != before)
        wake_driver(d);
}

void mp__driver_tell_busy(mp__dispatch *d)
{
    bool busy = d->minds && (mp__core_get_counts(d->core).pending || d->streams.head);
    if (busy != d->busy)
        mp__interrupt_busy(busy ? 1 : -1);
    d->busy = busy;
}

/* Everything that is there to be done. */
static void drive(mp__dispatch *d)
{
    forget_wake(d);
    mind_interrupt(d);
    mp__posted_nap(d);
    mp__dispatch_turn(d);
    mp__driver_tell_busy(d);
}

/* While there are items under way a turn is taken once a second: a backend may have to see to what nobody tells it. */
static uint64_t next_round(const mp__dispatch *d)
{
    return mp__core_get_counts(d->core).pending ? mp__now() + MP__ROUND_NS : MP__NEVER;
}

/* Until when who drives may sleep: something is due in the core, or workers are to be looked at. */
static uint64_t next_deadline(mp__dispatch *d)
{
    uint64_t core = mp__core_deadline(d->core), look = mp__dispatch_look_at(d), round = next_round(d);
    uint64_t soonest = look < core ? look : core;
    soonest = round < soonest ? round : soonest;
    return d->nap_at < soonest ? d->nap_at : soonest;
}

/* Who drives may look later than it should, but no later than it would after a while without results: to be woken costs more. */
static void see_to_driver(mp__dispatch *d)
{
    uint64_t until = d->caller_drives ? d->caller_until : d->thread_until, look = mp__dispatch_look_at(d);
    bool due = mp__core_deadline(d->core) < until || d->nap_at < until ||
               (look < until && until - look > mp__looking_times.last_ns);
    if (mp__core_get_state(d->core) == MP__ENDED || due)
        wake_driver(d);
}

void mp__dispatch_acted(mp__dispatch *d)
{
    mp__dispatch_act_and_feed(d);
    mp__driver_tell_busy(d);
    see_to_driver(d);
    mp__lend_tell(d);
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

/* In a nap it hears nothing: calls gather, and so do results, which nobody waits for, and workers have enough to do or nothing. */
static bool naps(const mp__dispatch *d)
{
    return d->nap_at != MP__NEVER && !d->callers && !d->joiners && mp__core_is_brisk(d->core);
}

static void *io_thread(void *argument)
{
    mp__dispatch *d = argument;
    prctl(PR_SET_NAME, "mp-io");
    mp__driver_lock(d);
    for (;;) {
        d->thread_until = 0;
        if (!d->caller_drives)
            drive(d);
        mp__lend_tell(d);
        if (d->ended)
            break;
        d->thread_until = thread_deadline(d);
        sleep_on(d, naps(d) ? NOBODY : d->ear, d->thread_until);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

static void set_ear(mp__dispatch *d, int operation, bool hears)
{
    epoll_ctl(d->ear, operation, d->events,
              &(struct epoll_event){.events = hears ? EPOLLIN : 0}); /* cannot fail once added */
}

void mp__driver_hand_over(mp__dispatch *d)
{
    d->caller_drives = false;
    set_ear(d, EPOLL_CTL_MOD, true);
    see_to_driver(d);
}

/* The caller drives until what it waits for is there, in the I/O thread's place. */
static void drive_for(mp__dispatch *d, const mp__awaited *what, uint64_t deadline)
{
    d->caller_drives = true;
    set_ear(d, EPOLL_CTL_MOD, false);
    while (!what->is_there(what->of) && !d->ended && mp__now() < deadline) {
        uint64_t next = next_deadline(d);
        d->caller_until = next < deadline ? next : deadline;
        sleep_on(d, d->events, d->caller_until);
        d->caller_until = 0;
        drive(d);
    }
    mp__driver_hand_over(d);
}

/* --- dozing ------------------------------------------------------------------------------------------------------------ */

/* What is going to be waited for is all that there is, and nobody waits for anything else. */
static void begin_expecting(mp__dispatch *d, const mp__awaited *what)
{
    if (!d->backend->doze || d->expected || d->caller_drives || d->ended || d->line_count ||
        mp__core_get_counts(d->core).pending != 1)
        return;
    d->backend->expect(d->workers, d->asleep ? 0 : d->spin_ns);
    d->expected = what;
}

/* It is expected no more; what its worker has said of it is taken. Another one may be expected by now, and must be left alone:
 *
 *     first: has slept on the word in vain, waits otherwise           second: is expected, sleeps on the word
 *     first: has what it wanted, and comes here again                 second: would never be woken */
static void stop_expecting(mp__dispatch *d, const mp__awaited *what)
{
    if (d->expected != what)
        return;
    assert(!d->dozer); /* it has had its sleep on the word, if any */
    d->expected = NULL;
    if (d->backend->awake(d->workers) && mp__dispatch_turn_spun(d))
        see_to_driver(d);
}

/* The I/O thread drives meanwhile, and has nothing to do: the worker wakes us itself. */
static void doze_for(mp__dispatch *d, const mp__awaited *what, uint64_t deadline)
{
    uint32_t value;
    _Atomic uint32_t *word = d->backend->doze(d->workers, &value);
    if (word && atomic_load(word) == value) {
        see_to_driver(d);
        d->dozed_on = word;
        d->dozer = what->changed;
        pthread_mutex_unlock(&d->lock);
        uint64_t round = mp__now() + MP__ROUND_NS;
        mp__word_sleep(word, value, round < deadline ? round : deadline); /* then we drive */
        mp__driver_lock(d);
        d->dozer = NULL;
    }
}

/* --- spinning ---------------------------------------------------------------------------------------------------------- */

enum { MISSES_MAX = 5 };

/* Where it was no use lately, for other programs want the CPUs too, it is tried more and more seldom. */
static bool may_spin(mp__dispatch *d)
{
    if (!d->spin_ns || d->ended || !mp__core_is_near(d->core, mp__cpu_count_once(), d->spin_ns))
        return false;
    if (!d->asleep)
        return true;
    d->asleep--;
    return false;
}

/* To sleep and be woken takes longer than a short item does: while one is all that is waited for, and a CPU is free for it, its
 * caller stays awake, and so does the worker until the next one. It keeps the lock until somebody else wants it. A wild task may say
 * that there is a result where there is none: who has found nothing sleeps, and hears of its end. */
static void spin_for(mp__dispatch *d, const mp__awaited *what, uint64_t deadline)
{
    uint64_t now = mp__now(), left = deadline > now ? deadline - now : 0, ns = left < d->spin_ns ? left : d->spin_ns;
    if (!ns || !may_spin(d))
        return;
    while (!what->is_there(what->of) && d->backend->spin(d->workers, ns, &d->wanted) && mp__dispatch_turn_spun(d))
        continue;
    if (what->is_there(what->of))
        d->missed = 0;
    else if (d->missed < MISSES_MAX)
        d->missed++;
    d->asleep = (1u << d->missed) - 1;
    see_to_driver(d);
}

void mp__driver_until(mp__dispatch *d, bool (*until)(const mp__dispatch *d))
{
    for (;;) {
        drive(d);
        if (d->ended || (until && until(d)))
            return;
        if (mp__lend(d))
            continue;
        sleep_on(d, d->events, next_deadline(d));
    }
}

int mp__driver_start_thread(mp__dispatch *d)
{
    int failed = mp__thread_create(&d->thread, io_thread, d);
    d->thread_runs = !failed;
    return failed;
}

void mp__driver_end_thread(mp__dispatch *d)
{
    set_ear(d, EPOLL_CTL_MOD, true);
    wake_driver(d); /* and it finds that the pool has ended */
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

bool mp__dispatch_on_worker(const mp__dispatch *d)
{
    return mp__thread_is_of(d->workers);
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

static void wait_driving(mp__dispatch *d, const mp__awaited *what, uint64_t deadline)
{
    while (d->backend->run && !what->is_there(what->of) && mp__now() < deadline)
        mp__lend_or_sleep(d, what, deadline);
    spin_for(d, what, deadline);
    if (d->expected == what && !what->is_there(what->of))
        doze_for(d, what, deadline);
    stop_expecting(d, what);
    while (!what->is_there(what->of) && mp__now() < deadline)
        if (!d->caller_drives && !d->ended)
            drive_for(d, what, deadline);
        else
            mp__clock_wait(what->changed, &d->lock, deadline);
    mp__driver_tell_busy(d);
}

void mp__dispatch_stay(mp__dispatch *d)
{
    d->callers++;
}

void mp__dispatch_go(mp__dispatch *d)
{
    if (!--d->callers && d->ended)
        pthread_cond_broadcast(&d->ended_now);
}

mp_status mp__dispatch_wait(mp__dispatch *d, const mp__awaited *what, double timeout)
{
    if (what->is_there(what->of))
        return MP_OK;
    mp_status status = mp__dispatch_may_wait(d, false, NULL);
    if (status)
        return status;
    bool blocks = mp__dispatch_on_worker(d);
    d->in_a_row = 0; /* one who waits for what it has posted makes no flood */
    mp__dispatch_stay(d);
    d->blocked += blocks;
    wait_driving(d, what, mp__clock_deadline(timeout));
    d->blocked -= blocks;
    mp__dispatch_go(d);
    return what->is_there(what->of) ? MP_OK : MP_ETIMEDOUT;
}

mp_status mp__dispatch_wait_among(mp__dispatch *d, mp__waiter **waiters, bool (*is_there)(const void *of), const void *of,
                                  double timeout)
{
    if (is_there(of))
        return MP_OK;
    mp__waiter here = {.next = *waiters}, **at = waiters;
    mp__dispatch_cond_init(&here.woken);
    *waiters = &here;
    mp_status status = mp__dispatch_wait(d, &(mp__awaited){is_there, of, &here.woken}, timeout);
    while (*at != &here)
        at = &(*at)->next;
    *at = here.next;
    pthread_cond_destroy(&here.woken);
    return status;
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

mp_status mp__dispatch_acted_and_wait(mp__dispatch *d, const mp__awaited *what, double timeout)
{
    begin_expecting(d, what);
    mp__dispatch_act_and_feed(d);
    mp__driver_tell_busy(d);
    if (d->backend->run || d->caller_drives || what->is_there(what->of)) /* else we are the driver in a moment */
        see_to_driver(d);
    mp_status status = mp__dispatch_wait(d, what, timeout);
    stop_expecting(d, what);
    return status;
}

void mp__dispatch_tell(mp__dispatch *d, pthread_cond_t *changed)
{
    pthread_cond_broadcast(changed);
    if (d->dozer == changed)
        mp__word_rouse(d->dozed_on);
    mp__lend_tell(d);
    if (d->caller_drives && d->caller_until)
        wake_driver(d); /* it may be the one who waits for this */
}

void mp__dispatch_tell_all(mp__dispatch *d, mp__waiter *waiters)
{
    for (mp__waiter *waiter = waiters; waiter; waiter = waiter->next)
        mp__dispatch_tell(d, &waiter->woken);
}
