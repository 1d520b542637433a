/* The thread of a stream that asks its generator.
 *
 * Decides nothing: it waits for room, asks for one item, and hands it in, until the input ends, its pool does, or its reader has
 * left. One thread for each such stream, `mp-generator`, all signals blocked; nobody but the reader, when it leaves, waits for it,
 * so the generator may block as long as it likes. The lock is not held while the user's code runs or its item is copied. It holds
 * the stream: the last thing it does is to let go of it. A generator that fails, and no memory for its item, end the input. */
#include "pool/clock.h"
#include "pool/dispatch_state.h"
#include "pool/failure.h"
#include "pool/system.h"
#include "pool/values.h"
#include <stdlib.h>
#include <string.h>

static __thread const mp__stream *here;

bool mp__generator_here(const mp__stream *stream)
{
    return here == stream;
}

bool mp__generator_inside(const mp__dispatch *d)
{
    return here && here->dispatch == d;
}

static void wait_for_room(mp__stream *stream)
{
    while (!stream->input_over && !mp__stream_room(stream))
        pthread_cond_wait(&stream->wanted, &stream->dispatch->lock);
}

/* One item, without the lock. MP_END, or why there is none. */
static mp_status ask(mp__stream *stream, void *item, mp__cell *cell, mp__fault *fault, mp_error *error)
{
    const mp_task *task = stream->job.task;
    memset(item, 0, task->input->size);
    mp_status status = task->ask(stream->source.next, stream->source.plain, item, stream->source.user, error);
    if (status == MP_OK)
        mp__stream_fill(stream, cell, item, fault);
    return status;
}

/* What a generator says of its failure is completed where it said nothing. */
static void describe(const mp__stream *stream, mp_status status, mp_error *error)
{
    if (status == MP_END) {
        (void)mp__no_failure(error);
        return;
    }
    if (!error->message[0])
        (void)mp__failure(error, status, "the generator failed: %s", mp_status_text(status));
    error->status = status == MP_ETIMEDOUT ? MP_EFAILED : status; /* a reader would take it for its own */
    error->item = MP_NO_ITEM;
    error->worker = MP_NO_WORKER;
    strcpy(error->task, stream->job.task->name);
}

/* With the lock: what was asked for has come, or not. Where all workers have something to do, items gather until one of them says
 * what it has done: to send each by itself would cost more than to run it. */
static void take(mp__stream *stream, mp__cell *cell, mp_status status, const mp__fault *fault, mp_error *error)
{
    mp__dispatch *d = stream->dispatch;
    if (stream->input_over || status) {
        if (cell)
            mp__stream_drop(stream, cell);
        describe(stream, status, error);
        mp__stream_end_input(stream, error);
    } else {
        mp__core_time(d->core, mp__now());
        mp__stream_accept(stream, cell, fault);
        mp__stream_submit(stream);
        if (mp__core_busy(d->core))
            return;
    }
    mp__dispatch_acted(d);
}

/* The thread's end: nobody will ask any more. With the lock, and without it when it returns. */
static void leave(mp__stream *stream)
{
    mp__dispatch *d = stream->dispatch;
    void (*release)(void *) = stream->options.release;
    void *user = stream->source.user;
    pthread_mutex_unlock(&d->lock);
    here = NULL;
    if (release)
        release(user);
    mp__driver_lock(d);
    bool last = mp__stream_unhold(stream);
    pthread_mutex_unlock(&d->lock);
    if (last)
        mp__stream_free(stream);
}

typedef struct asking {
    mp__stream *stream;
    void *item;
    mp__cell *cell;
} asking;

/* The generator has called pthread_exit. */
static void left_by_generator(void *argument)
{
    asking *a = argument;
    mp_error error;
    (void)mp__failure(&error, MP_EFAILED, "the generator ended its thread (pthread_exit)");
    free(a->item);
    mp__driver_lock(a->stream->dispatch);
    take(a->stream, a->cell, MP_EFAILED, &(mp__fault){0}, &error);
    leave(a->stream);
}

/* With the lock; false: that was all. */
static bool take_one(asking *a)
{
    mp__stream *stream = a->stream;
    mp_error error = {0};
    mp__fault fault = {0};
    mp_status status = MP_ENOMEM;
    wait_for_room(stream);
    if (stream->input_over)
        return false;
    a->cell = a->item ? mp__stream_cell(stream) : NULL;
    if (a->cell) {
        pthread_mutex_unlock(&stream->dispatch->lock);
        pthread_cleanup_push(left_by_generator, a);
        status = ask(stream, a->item, a->cell, &fault, &error);
        pthread_cleanup_pop(0);
        mp__driver_lock(stream->dispatch);
    }
    take(stream, a->cell, status, &fault, &error);
    mp__lend_until_done(stream->dispatch, false, MP__NEVER);
    return true;
}

static void *generator_thread(void *argument)
{
    asking a = {.stream = argument};
    here = a.stream;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    a.item = mp__values_alloc(a.stream->job.task->input, 1);
    mp__driver_lock(a.stream->dispatch);
    while (take_one(&a))
        ;
    free(a.item);
    leave(a.stream);
    return NULL;
}

int mp__generator_start(mp__stream *stream)
{
    int failed = mp__thread_create(&stream->generator, generator_thread, stream);
    if (failed)
        return failed;
    pthread_setname_np(stream->generator, "mp-generator");
    stream->generates = true;
    stream->holders++;
    return 0;
}
