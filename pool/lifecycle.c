/* How a dispatch begins and ends: opening, close, terminate, resize, join, and what is freed when.
 *
 * Opening is driven by the caller's thread, until every worker is ready or something has gone wrong. The I/O thread is made while
 * workers come to be, for both take their time, and hears nothing before that. Ending: the core reaches ENDED when the last worker has left, whoever drives says so, and join, which
 * anyone may call, drives meanwhile, as any call that waits, and reaps the two threads. Handles keep the memory, and nothing else, until the last of them is freed. */
#include "pool/batch.h"
#include "pool/clock.h"
#include "pool/dispatch_state.h"
#include "pool/failure.h"
#include "pool/interrupt.h"
#include "pool/sheet.h"
#include "pool/system.h"
#include "serial/block.h"
#include "serial/memory.h"
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* --- opening ------------------------------------------------------------------------------------------------------------- */

static bool opened_or_failed(const mp__dispatch *d)
{
    return mp__core_all_ready(d->core) || d->trouble.status;
}

static void close_descriptors(mp__dispatch *d)
{
    if (d->minds)
        mp__interrupt_leave();
    if (d->busy)
        mp__interrupt_busy(-1);
    d->minds = d->busy = false;
    for (size_t i = 0; i < 3; i++) {
        int *fd = (int *[]){&d->wake, &d->events, &d->ear}[i];
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
    }
}

static void free_memory(mp__dispatch *d)
{
    close_descriptors(d);
    (void)mp__block_let_go();
    mp__core_free(&d->core);
    mp__sheets_free(d);
    pthread_cond_destroy(&d->ended_now);
    pthread_cond_destroy(&d->may_lend);
    pthread_cond_destroy(&d->callbacks.wanted);
    pthread_mutex_destroy(&d->lock);
    pthread_mutex_destroy(&d->turnstile);
    free(d->measures);
    free(d);
}

static bool make_descriptors(mp__dispatch *d)
{
    d->wake = mp__above_standard(mp__system.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    d->events = mp__above_standard(mp__system.epoll_create1(EPOLL_CLOEXEC));
    d->ear = mp__above_standard(mp__system.epoll_create1(EPOLL_CLOEXEC));
    return d->wake >= 0 && d->events >= 0 && d->ear >= 0 &&
           !mp__system.epoll_ctl(d->events, EPOLL_CTL_ADD, d->wake, &(struct epoll_event){.events = EPOLLIN}) &&
           !mp__system.epoll_ctl(d->ear, EPOLL_CTL_ADD, d->events, &(struct epoll_event){.events = 0}); /* deaf: see hear */
}

/* It is told of Ctrl-C by a descriptor that all pools share: by its edge, for none of them may empty it. */
static mp_status mind_interrupts(mp__dispatch *d, mp_error *error)
{
    mp_status status = mp__interrupt_enter(error);
    if (status)
        return status;
    d->minds = true;
    d->interrupts = mp__interrupt_count();
    struct epoll_event edge = {.events = EPOLLIN | EPOLLET};
    if (mp__system.epoll_ctl(d->events, EPOLL_CTL_ADD, mp__interrupt_fd(), &edge))
        return mp__system_failure(error, errno, "no descriptor for a pool");
    epoll_wait(d->events, &edge, 1,
               0); /* that of an interruption which came before: nobody would take it, nor sleep then */
    return MP_OK;
}

static uint32_t clamped(const mp__backend *backend, uint32_t workers)
{
    return backend->most && workers > backend->most ? backend->most : workers;
}

static mp__dispatch *make(const mp__backend *backend, const mp__dispatch_config *config, mp_error *error)
{
    uint32_t workers = clamped(backend, config->backend.workers);
    mp__dispatch *d = mp__memory.calloc(1, sizeof *d);
    if (!d) {
        mp__failure(error, MP_ENOMEM, "no memory for a pool");
        return NULL;
    }
    d->backend = backend;
    d->has_initializer = config->backend.initializer.task != NULL;
    d->fragile = config->fragile;
    d->spin_ns = backend->spin ? config->spin_ns : 0;
    d->refs = 1;
    d->hungry = true;
    d->asked_workers = config->backend.counted ? workers : 0;
    d->nap_at = MP__NEVER;
    d->wake = d->events = d->ear = -1;
    pthread_mutex_init(&d->turnstile, NULL);
    pthread_mutex_init(&d->lock, NULL);
    mp__dispatch_cond_init(&d->ended_now);
    mp__dispatch_cond_init(&d->may_lend);
    mp__dispatch_cond_init(&d->callbacks.wanted);
    d->core = mp__core_create(&(mp__core_config){.workers = workers,
                                                 .tasks = (uint32_t)config->backend.tasks->count,
                                                 .life_items = config->life_items,
                                                 .unkillable = !backend->kill});
    if (d->core) {
        d->slots = mp__core_slots(d->core);
        d->measures = mp__memory.calloc(d->slots, sizeof *d->measures);
    }
    if (!d->measures)
        mp__failure(error, MP_ENOMEM, "no memory for a pool of %u workers", workers);
    else if (!make_descriptors(d))
        mp__system_failure(error, errno, "no descriptor for a pool");
    else if (!config->minds || mind_interrupts(d, error) == MP_OK)
        return d;
    free_memory(d);
    return NULL;
}

/* The backend, and its descriptor among the events. */
static mp_status open_backend(mp__dispatch *d, const mp__backend_config *config, mp_error *error)
{
    mp__backend_config told = *config;
    told.slots = d->slots;
    told.workers = mp__core_get_counts(d->core).wanted;
    mp__workers *workers = NULL;
    mp_status status = d->backend->open(&workers, &told, error);
    if (status)
        return status;
    d->workers = workers;
    if (!mp__system.epoll_ctl(d->events, EPOLL_CTL_ADD, d->backend->descriptor(d->workers),
                              &(struct epoll_event){.events = EPOLLIN}))
        return MP_OK;
    status = mp__system_failure(error, errno, "no descriptor for a pool");
    d->backend->close(d->workers);
    return status;
}

/* Ends a pool whose opening failed, when what its workers have printed is out; called with the lock. */
static void give_up(mp__dispatch *d)
{
    mp__core_terminate(d->core);
    mp__driver_until(d, NULL);
    while (d->callbacks.thread_runs && !mp__callbacks_idle(&d->callbacks))
        pthread_cond_wait(&d->ended_now, &d->lock);
    pthread_t callbacks;
    bool stopped = mp__callbacks_stop(d, &callbacks);
    if (d->thread_runs)
        mp__driver_end_thread(d);
    pthread_mutex_unlock(&d->lock);
    if (d->thread_runs)
        pthread_join(d->thread, NULL);
    if (stopped)
        pthread_join(callbacks, NULL);
    d->backend->close(d->workers);
    free_memory(d);
}

static mp_status cannot_open(const mp__dispatch *d, mp_error *error)
{
    const mp_error *why = &d->trouble;
    mp__failure(error, why->status == MP_ECRASHED ? MP_EBROKEN : why->status,
                "a pool of %u workers cannot be opened: %.300s", mp__core_get_counts(d->core).wanted, why->message);
    error->os_error = why->os_error;
    error->signal = why->signal;
    error->exit_code = why->exit_code;
    return error->status;
}

/* With the lock; the backend is there, and no process but the zygote. */
static mp_status start_workers(mp__dispatch *d, mp_error *error)
{
    d->caller_drives = true;
    mp__dispatch_turn(d);
    int failed = mp__driver_start_thread(d);
    if (failed)
        return mp__system_failure(error, failed, "no thread for a pool");
    mp__driver_until(d, opened_or_failed);
    if (d->trouble.status)
        return cannot_open(d, error);
    mp__driver_hand_over(d);
    return MP_OK;
}

mp_status mp__dispatch_open(mp__dispatch **dispatch, const mp__backend *backend, const mp__dispatch_config *config,
                            mp_error *error)
{
    mp__dispatch *d = make(backend, config, error);
    if (!d)
        return error->status;
    mp_status status = open_backend(d, &config->backend, error);
    if (status) {
        free_memory(d);
        return status;
    }
    mp__guard guard;
    mp__dispatch_enter(d, &guard);
    if (config->backend.capture) /* that is who prints, initializers' too */
        status = mp__callbacks_start(d, error);
    if (!status)
        status = start_workers(d, error);
    if (status) {
        give_up(d);
        pthread_setcancelstate(guard.cancelling, NULL);
        return status;
    }
    mp__dispatch_leave(d, &guard);
    *dispatch = d;
    return MP_OK;
}

/* --- references ---------------------------------------------------------------------------------------------------------- */

void mp__dispatch_ref(mp__dispatch *d)
{
    atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
}

/* The last one is never dropped with the lock: whoever could do that (I/O thread, callbacks) runs only while the pool is there. */
void mp__dispatch_unref(mp__dispatch *d)
{
    if (atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) == 1)
        free_memory(d);
}

/* With the lock, when no thread drives any more: no child, thread or descriptor is left. Handles look, but find it ended. */
static void close_backend(mp__dispatch *d)
{
    mp__workers *workers = atomic_exchange(&d->workers, NULL);
    if (workers)
        d->backend->close(workers);
    close_descriptors(d);
}

void mp__dispatch_free(mp__dispatch **dispatch)
{
    mp__dispatch *d = *dispatch;
    mp__guard guard;
    *dispatch = NULL;
    mp__dispatch_enter(d, &guard);
    while (d->joiners) /* another thread's join may still be waiting for ours to end */
        pthread_cond_wait(&d->ended_now, &d->lock);
    close_backend(d);
    mp__batches_free(d);
    mp__sheets_close(d);
    mp__dispatch_leave(d, &guard);
    mp__dispatch_unref(d);
}

/* --- ending -------------------------------------------------------------------------------------------------------------- */

static void end(mp__dispatch *d, void (*how)(mp__core *core))
{
    mp__guard guard;
    mp__dispatch_enter(d, &guard);
    mp__posted_flush(d);
    mp__core_time(d->core, mp__now());
    how(d->core);
    mp__dispatch_acted(d);
    mp__dispatch_leave(d, &guard);
}

void mp__dispatch_close(mp__dispatch *d)
{
    end(d, mp__core_close);
}

void mp__dispatch_close_locked(mp__dispatch *d)
{
    mp__posted_flush(d);
    mp__core_time(d->core, mp__now());
    mp__core_close(d->core);
    mp__dispatch_acted(d);
}

void mp__dispatch_terminate(mp__dispatch *d)
{
    end(d, mp__core_terminate);
}

void mp__dispatch_kill(mp__dispatch *d)
{
    end(d, mp__core_kill);
}

/* The backend first, for it can fail and must have room for what the core starts at once. */
static mp_status make_room(mp__dispatch *d, uint32_t slots)
{
    if (slots <= d->slots)
        return MP_OK;
    mp__measure *measures = mp__memory.realloc(d->measures, slots * sizeof *measures);
    if (!measures)
        return MP_ENOMEM;
    memset(measures + d->slots, 0, (slots - d->slots) * sizeof *measures);
    d->measures = measures;
    mp_status status = d->backend->grow(d->workers, slots);
    if (!status)
        d->slots = slots;
    return status;
}

mp_status mp__dispatch_change(mp__dispatch *d, uint32_t workers)
{
    workers = clamped(d->backend, workers);
    mp__core_time(d->core, mp__now());
    mp__core_state state = mp__core_get_state(d->core);
    mp_status status = workers <= d->blocked ? MP_EDEADLK : MP_OK;
    if (!status && state == MP__RUNNING)
        status = make_room(d, 2 * workers);
    if (!status)
        status = mp__core_resize(d->core, workers);
    if (!status)
        mp__dispatch_acted(d);
    return status;
}

mp_status mp__dispatch_grow_locked(mp__dispatch *d, uint32_t workers)
{
    if (workers <= d->asked_workers)
        return MP_OK;
    uint32_t part = mp__dispatch_part(d, workers);
    mp_status status = part > mp__core_get_counts(d->core).wanted ? mp__dispatch_change(d, part) : MP_OK;
    if (!status)
        d->asked_workers = workers;
    return status;
}

uint32_t mp__dispatch_asked(const mp__dispatch *d)
{
    return d->asked_workers;
}

mp_status mp__dispatch_resize(mp__dispatch *d, uint32_t workers)
{
    mp__guard guard;
    mp__dispatch_enter(d, &guard);
    mp_status status = mp__dispatch_change(d, workers);
    if (!status) {
        d->asked_workers = workers;
        d->most_cpus = d->cpus;
    }
    mp__dispatch_leave(d, &guard);
    return status;
}

static bool has_ended(const void *of)
{
    return ((const mp__dispatch *)of)->ended;
}

static bool is_over(const mp__dispatch *d)
{
    return d->ended && !d->callers && mp__callbacks_idle(&d->callbacks);
}

/* The first to join reaps the threads, and closes what they used. */
static void reap_threads_drops_lock(mp__dispatch *d)
{
    pthread_t callbacks;
    bool io_is_mine = d->thread_runs, callbacks_are_mine = mp__callbacks_stop(d, &callbacks);
    d->thread_runs = false;
    pthread_mutex_unlock(&d->lock);
    if (io_is_mine)
        pthread_join(d->thread, NULL);
    if (callbacks_are_mine)
        pthread_join(callbacks, NULL);
    mp__driver_lock(d);
    if (io_is_mine)
        close_backend(d);
}

mp_status mp__dispatch_join(mp__dispatch *d, double timeout)
{
    mp__guard guard;
    if (mp__dispatch_inside(d))
        return MP_EDEADLK;
    uint64_t deadline = mp__clock_deadline(timeout);
    mp__dispatch_enter(d, &guard);
    mp__core_state state = mp__core_get_state(d->core);
    if (state == MP__RUNNING || state == MP__BROKEN) {
        mp__dispatch_leave(d, &guard);
        return MP_ERUNNING;
    }
    d->joiners++;
    mp__streams_unbind(d);
    mp__dispatch_acted(d);
    mp__lend_until_done(d, true, deadline);
    if (!d->backend->run)
        (void)mp__dispatch_wait(d, &(mp__awaited){has_ended, d, &d->ended_now}, timeout);
    while (!is_over(d) && mp__now() < deadline)
        mp__clock_wait(&d->ended_now, &d->lock, deadline);
    bool over = is_over(d);
    if (over)
        reap_threads_drops_lock(d);
    if (!--d->joiners)
        pthread_cond_broadcast(&d->ended_now);
    pthread_mutex_unlock(&d->lock);
    pthread_setcancelstate(guard.cancelling, NULL);
    return over ? MP_OK : MP_ETIMEDOUT;
}

void mp__dispatch_stats(mp__dispatch *d, mp_pool_stats *stats)
{
    mp__guard guard;
    mp__dispatch_enter(d, &guard);
    mp__core_counts counts = mp__core_get_counts(d->core);
    *stats = (mp_pool_stats){.accepted = counts.accepted + d->line_count,
                             .succeeded = d->succeeded,
                             .failed = d->failed,
                             .pending = counts.pending + d->line_count,
                             .started = counts.started,
                             .lost = counts.lost,
                             .stale = counts.stale,
                             .retried = counts.retried,
                             .recycled = counts.recycled,
                             .workers = (int)counts.ready,
                             .processes = (int)counts.wanted};
    mp__dispatch_leave(d, &guard);
}
