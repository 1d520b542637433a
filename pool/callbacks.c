/* The thread that runs callbacks, so that a slow one keeps no result from anybody and one may call whatever it likes.
 *
 * Decides nothing but the order: that of completion. Owns the queue's links; what is queued is its handle's. One thread for each
 * pool, `mp-callbacks`, started when the first call with a callback comes in, all signals blocked; it ends when the pool is joined.
 * The lock is held for everything but the callback itself. Happy path: completion pushes, the thread takes, runs, and then tells
 * the handle, whose waiters may go on. It can fail only to start, which refuses that first call. */
#include "pool/callbacks.h"
#include "pool/dispatch_state.h"
#include "pool/failure.h"
#include "pool/system.h"

__attribute__((noinline)) void mp__exit_guard_left(void *argument)
{
    mp__exit_guard *guard = argument;
    bool again = guard->left;
    guard->left = true;
    if (!again)
        guard->go_on(guard->of);
}

static __thread const mp__dispatch *here; /* whose callback thread this is */

bool mp__callbacks_here(const mp__dispatch *d)
{
    return here == d;
}

bool mp__callbacks_idle(const mp__callbacks *callbacks)
{
    return !callbacks->head && !callbacks->running;
}

void mp__callbacks_push(mp__dispatch *d, mp__callback *callback)
{
    mp__callbacks *all = &d->callbacks;
    callback->next = NULL;
    if (all->tail)
        all->tail->next = callback;
    else
        all->head = callback;
    all->tail = callback;
    pthread_cond_signal(&all->wanted);
}

static mp__callback *pop(mp__callbacks *all)
{
    mp__callback *callback = all->head;
    all->head = callback->next;
    if (!all->head)
        all->tail = NULL;
    return callback;
}

/* With the lock. */
static void finish(mp__dispatch *d)
{
    mp__callbacks *all = &d->callbacks;
    mp__callback *callback = all->running;
    all->running = NULL;
    callback->ran(callback);
    if (d->ended && mp__callbacks_idle(all))
        pthread_cond_broadcast(&d->ended_now);
}

static void serve(mp__dispatch *d);

/* A callback has called pthread_exit: it has returned, then, and those behind it are run from here. */
static void go_on(void *argument)
{
    mp__dispatch *d = argument;
    mp__driver_lock(d);
    finish(d);
    serve(d);
}

/* With the lock, and without it when it returns. */
static void serve(mp__dispatch *d)
{
    mp__callbacks *all = &d->callbacks;
    for (;;) {
        while (!all->head && !all->stop)
            pthread_cond_wait(&all->wanted, &d->lock);
        if (!all->head)
            break;
        all->running = pop(all);
        pthread_mutex_unlock(&d->lock);
        mp__exit_guard guard = {.go_on = go_on, .of = d};
        pthread_cleanup_push(mp__exit_guard_left, &guard);
        all->running->run(all->running);
        pthread_cleanup_pop(0);
        mp__driver_lock(d);
        finish(d);
    }
    pthread_mutex_unlock(&d->lock);
}

static void *callback_thread(void *argument)
{
    mp__dispatch *d = argument;
    here = d;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    mp__driver_lock(d);
    serve(d);
    return NULL;
}

mp_status mp__callbacks_start(mp__dispatch *d, mp_error *error)
{
    mp__callbacks *all = &d->callbacks;
    if (all->thread_runs)
        return MP_OK;
    int failed = mp__thread_create(&all->thread, callback_thread, d);
    if (failed)
        return mp__system_failure(error, failed, "no thread for callbacks");
    pthread_setname_np(all->thread, "mp-callbacks");
    all->thread_runs = true;
    return MP_OK;
}

bool mp__callbacks_stop(mp__dispatch *d, pthread_t *thread)
{
    mp__callbacks *all = &d->callbacks;
    bool mine = all->thread_runs;
    all->thread_runs = false;
    all->stop = true;
    *thread = all->thread;
    pthread_cond_signal(&all->wanted);
    return mine;
}
