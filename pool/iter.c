/* The public face of streams: imap, imap_unordered, and what one does with an iterator.
 *
 * Checks what users pass, and waits under the pool's lock. A call that is refused is a stream that never met the engine: it has no
 * dispatch, says why, and then ends. Any thread; several may read. */
#include "pool/clock.h"
#include "pool/dispatch_state.h"
#include "pool/failure.h"
#include "pool/pool.h"
#include "pool/process_id.h"
#include "pool/values.h"
#include "serial/memory.h"
#include <millpond/iter.h>
#include <stdlib.h>
#include <string.h>

enum { ITEMS_EACH = 1024, BYTES = 16 << 20 };
#define PROGRESS_NS 500000000u

static mp__stream no_memory = {.input_error = MP__FAILURE(MP_ENOMEM, "no memory for a stream")};

/* Of this thread's last mp_iter_next. */
static __thread mp_error last_error;

/* `no_memory` is one for all who have none: what has been told of it is known of each thread, since it opened or freed one last. */
static __thread bool no_memory_told;

/* --- its beginning ------------------------------------------------------------------------------------------------------- */

static mp_status check_options(const mp_imap_options *options, const mp__source *source, mp_error *error)
{
    if (options->buffersize < 0)
        return mp__failure(error, MP_EINVAL, ".buffersize is %td: it must be at least 1, or 0 to have it chosen",
                           options->buffersize);
    if (options->release && !source->next)
        return mp__failure(error, MP_EINVAL, ".release is for generators: an array is yours");
    return MP_OK;
}

static mp_status prepare(mp__stream *stream, mp_pool *pool, const mp_task *task)
{
    mp__core_job *core = &stream->job.core;
    mp_error *error = &stream->input_error;
    mp_status status = mp__pool_check_call(pool, task, stream->options.chunksize, &core->task, error);
    if (!status && !stream->source.next)
        status = mp__pool_check_input(task, stream->source.items, stream->source.n, error);
    if (!status)
        status = check_options(&stream->options, &stream->source, error);
    if (!status)
        status = mp__policy_take(&pool->policy, &(mp_policy){MP__POLICY_OF(stream->options)}, SIZE_MAX, core, error);
    if (status)
        return status;
    if (mp__is_none(task->input))
        stream->source.items = NULL;
    stream->job.kind = &mp__stream_kind;
    stream->job.task = task;
    core->open = true;
    core->chunksize = (size_t)stream->options.chunksize;
    stream->bufferbytes = stream->options.bufferbytes ? stream->options.bufferbytes : BYTES;
    stream->usual = SIZE_MAX;
    return MP_OK;
}

/* As many items as keep every worker busy while the reader looks the other way. */
static void choose_size(mp__stream *stream, size_t workers)
{
    size_t chunk = (size_t)stream->options.chunksize, chosen = ITEMS_EACH * workers;
    stream->workers = workers;
    if (chunk > ITEMS_EACH / 2)
        chosen = chunk < SIZE_MAX / 4 / workers ? 2 * chunk * workers : SIZE_MAX / 2;
    stream->buffersize = stream->options.buffersize ? (size_t)stream->options.buffersize : chosen;
}

/* With the lock. The generator's thread is there before the first item is; it has to wait for the lock. */
static mp_status submit(mp__stream *stream, mp__dispatch *d)
{
    mp_error *error = &stream->input_error;
    choose_size(stream, mp__core_get_counts(d->core).wanted);
    if (!mp__stream_init(stream))
        return mp__failure(error, MP_ENOMEM, "no memory for a stream");
    const mp__stream_terms *terms = &stream->terms;
    stream->dispatch = d;
    mp_status status = terms->admit ? terms->admit(terms->user, stream, error) : MP_OK;
    bool admitted = !status;
    if (!status)
        status = mp__dispatch_submit(d, &stream->job, error);
    if (status) {
        stream->dispatch = NULL;
        if (admitted && terms->over)
            terms->over(terms->user);
        return status;
    }
    mp__dispatch_ref(d);
    stream->holders++;
    stream->next = d->streams.head;
    d->streams.head = stream;
    int failed = stream->source.next ? mp__generator_start(stream) : 0;
    if (failed) {
        mp_error why;
        (void)mp__system_failure(&why, failed, "no thread for a generator");
        mp__stream_end_input(stream, &why);
    }
    mp__dispatch_acted(d);
    return MP_OK;
}

static mp__stream *make(bool ordered, const mp__source *source, const mp_imap_options *options)
{
    mp__stream *stream = mp__memory.calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    stream->owner = mp__process_id();
    stream->holders = 1;
    stream->ordered = ordered;
    stream->source = *source;
    if (options)
        stream->options = *options;
    stream->began_at = stream->printed_at = mp__now();
    mp__dispatch_cond_init(&stream->wanted);
    mp__dispatch_cond_init(&stream->readable);
    pthread_mutex_init(&stream->reading, NULL);
    return stream;
}

mp__stream *mp__stream_open(mp_pool *pool, const mp_task *task, bool ordered, const mp__source *source,
                            const mp_imap_options *options, const mp__stream_terms *terms)
{
    mp__guard guard;
    mp__stream *stream = make(ordered, source, options);
    if (stream && terms)
        stream->terms = *terms;
    mp_status status = stream ? prepare(stream, pool, task) : MP_ENOMEM;
    if (!status) {
        mp__dispatch_enter(pool->dispatch, &guard);
        (void)submit(stream, pool->dispatch); /* the stream says it */
        mp__dispatch_leave(pool->dispatch, &guard);
    }
    if (options && options->release && source->next && (!stream || !stream->generates))
        options->release(source->user); /* it will not be asked */
    no_memory_told &= stream != NULL;
    return stream ? stream : &no_memory;
}

mp_iter *mp_pool_imap_task(mp_pool *pool, const mp_task *task, bool ordered, const mp__source *source,
                           const mp_imap_options *options)
{
    return mp__stream_open(pool, task, ordered, source, options, NULL);
}

/* --- reading ------------------------------------------------------------------------------------------------------------- */

static bool is_foreign(const mp__stream *stream)
{
    return stream != &no_memory && stream->owner != mp__process_id();
}

/* What a reader gets. */
typedef struct reading {
    void *out; /* NULL: not wanted */
    size_t index;
    mp_error *error;
    bool prints; /* a line of progress is due: */
    uint64_t read, failed, since;
} reading;

static mp_status take_failure(const mp__cell *cell, const mp__stream *stream, mp_error *error)
{
    if (cell->error) {
        *error = *cell->error;
        return error->status;
    }
    mp__failure(error, cell->status, "%s (there was no memory to say more)", mp_status_text(cell->status));
    error->item = cell->number;
    strcpy(error->task, stream->job.task->name);
    return error->status;
}

static mp_status take_cell(const mp__stream *stream, const mp__cell *cell, reading *to)
{
    const mp_type *type = stream->job.task->output;
    to->index = cell->number;
    if (to->out)
        memcpy(to->out, cell->out, type->size); /* what it points to is the reader's now */
    else
        mp_free_values(type, cell->out, 1);
    return cell->status ? take_failure(cell, stream, to->error) : MP_OK;
}

/* Behind the last result: a failed input says so once. */
static mp_status take_end(mp__stream *stream, reading *to)
{
    if (stream->input_error.status == MP_OK || stream->input_told)
        return MP_END;
    stream->input_told = true;
    *to->error = stream->input_error;
    return to->error->status;
}

static void note_progress(mp__stream *stream, bool end, reading *to)
{
    bool prints = stream->options.progress && !stream->printed_end;
    uint64_t now = prints ? mp__now() : 0;
    if (!prints || (!end && now - stream->printed_at < PROGRESS_NS))
        return;
    stream->printed_at = now;
    stream->printed_end = end; /* the file is the user's again */
    *to = (reading){.out = to->out,
                    .index = to->index,
                    .error = to->error,
                    .prints = true,
                    .read = stream->read,
                    .failed = stream->failed,
                    .since = now - stream->began_at};
}

/* With the lock, when it is readable. */
static mp_status take(mp__stream *stream, reading *to)
{
    mp__cell *cell = mp__stream_take(stream);
    mp_status status = cell ? take_cell(stream, cell, to) : take_end(stream, to);
    if (cell)
        mp__stream_drop(stream, cell);
    mp__stream_reach(stream);
    mp__stream_show(stream);
    note_progress(stream, status == MP_END, to);
    return status;
}

/* Without the pool's lock, if there is one at hand. */
static bool take_quickly(mp__stream *stream, reading *to, mp_status *status)
{
    mp__cell *cell = mp__stream_take_quickly(stream);
    if (!cell)
        return false;
    *status = take_cell(stream, cell, to);
    mp__stream_taken(stream);
    return true;
}

/* What is there already needs no more than the lock: nothing is written to a worker, so no signal of ours can come, and a handler
 * of the program's that runs meanwhile only takes its time. `*hungry`: there is room for more input. */
static bool take_at_once(mp__stream *stream, reading *to, mp_status *status, bool *hungry)
{
    mp__driver_lock(stream->dispatch);
    bool there = mp__stream_readable(stream);
    if (there)
        *status = take(stream, to);
    *hungry = mp__stream_hungry(stream);
    pthread_mutex_unlock(&stream->dispatch->lock);
    return there;
}

/* With the lock. */
static void feed(mp__dispatch *d)
{
    mp__core_time(d->core, mp__now());
    mp__dispatch_acted(d);
}

/* Whoever makes room sees that it is filled: if what was taken was all there was, no event comes that would do it. */
static mp_status wait_and_take(mp__stream *stream, double timeout, reading *to)
{
    mp__guard guard;
    if (stream->terms.deadline) {
        uint64_t now = mp__now();
        double left = now < stream->terms.deadline ? (double)(stream->terms.deadline - now) * 1e-9 : 0;
        timeout = left < timeout ? left : timeout;
    }
    mp__dispatch_enter(stream->dispatch, &guard);
    mp_status status =
        mp__dispatch_wait(stream->dispatch, &(mp__awaited){mp__stream_readable, stream, &stream->readable}, timeout);
    if (status) {
        mp__failure(to->error, status, "%s", mp_status_text(status));
    } else {
        status = take(stream, to);
        if (mp__stream_hungry(stream))
            feed(stream->dispatch);
    }
    mp__dispatch_leave(stream->dispatch, &guard);
    return status;
}

/* Without the lock: writing may take its time. */
static void print_progress(const mp__stream *stream, const reading *to, bool end)
{
    if (to->prints)
        fprintf(stream->options.progress, "%s: %llu items, %llu failed, %.0f/s%s\n", stream->job.task->name,
                (unsigned long long)to->read, (unsigned long long)to->failed,
                to->since ? (double)to->read * 1e9 / (double)to->since : 0.0, end ? ", done" : "");
}

/* The call was refused: that is said once. */
static mp_status read_refusal(mp__stream *stream, mp_error *error)
{
    bool told = stream == &no_memory ? no_memory_told : __atomic_exchange_n(&stream->input_told, true, __ATOMIC_RELAXED);
    no_memory_told |= stream == &no_memory;
    if (told)
        return MP_END;
    *error = stream->input_error;
    return error->status;
}

/* With the pool's lock. The descriptor is written, and progress, by calls that are cancellation points. */
static mp_status read_slowly(mp__stream *stream, double timeout, reading *to)
{
    mp__guard guard;
    mp_status status;
    bool hungry;
    int cancelling;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling);
    if (!take_at_once(stream, to, &status, &hungry)) {
        status = wait_and_take(stream, timeout, to);
    } else if (hungry) {
        mp__dispatch_enter(stream->dispatch, &guard);
        feed(stream->dispatch);
        mp__dispatch_leave(stream->dispatch, &guard);
    }
    print_progress(stream, to, status == MP_END);
    pthread_setcancelstate(cancelling, NULL);
    return status;
}

static mp_status read_next(mp__stream *stream, double timeout, reading *to)
{
    mp_status status;
    if (!stream->dispatch)
        return read_refusal(stream, to->error);
    return take_quickly(stream, to, &status) ? status : read_slowly(stream, timeout, to);
}

static mp_status check_read(const mp__stream *stream, const void *out, size_t size, mp_error *error)
{
    if (!stream)
        return mp__failure(error, MP_EINVAL, "no stream: it was freed already");
    if (is_foreign(stream))
        return mp__failure(error, MP_EFOREIGN, "this stream belongs to process %d", (int)stream->owner);
    const mp_type *type = stream->job.task ? stream->job.task->output : NULL;
    if (mp__values_fit(type, out, size))
        return MP_OK;
    return mp__failure(error, MP_ETYPE, "a result is a '%s' of %zu bytes, and there is room for %zu", type->name,
                       type->size, size);
}

mp_status mp_iter_next_sized(mp_iter *iter, void *out, size_t size, double timeout, const mp_next_options *options)
{
    mp_error *error = &last_error;
    reading to = {.index = SIZE_MAX, .error = error};
    if (error->status)
        memset(error, 0, sizeof *error);
    mp_status status = check_read(iter, out, size, error);
    if (!status) {
        const mp_task *task = iter->job.task;
        to.out = task && !mp__is_none(task->output) ? out : NULL;
        status = read_next(iter, timeout, &to);
        if (to.out && status)
            memset(to.out, 0, task->output->size);
        else if (!task && out && size != MP__UNSIZED) /* refused before it was known what there is room for */
            memset(out, 0, size);
    }
    if (options && options->index)
        *options->index = to.index;
    if (options && options->error)
        *options->error = *error;
    return status;
}

const mp_error *mp_iter_error(const mp_iter *iter)
{
    (void)iter;
    return &last_error;
}

int mp_iter_fd(mp_iter *iter)
{
    mp__guard guard;
    if (!iter || iter == &no_memory || is_foreign(iter))
        return -1;
    if (iter->dispatch) {
        mp__dispatch_enter(iter->dispatch, &guard);
        mp__stream_put_back(iter); /* from now on each result that is read is noticed */
    }
    int fd = mp__bell_fd(&iter->bell, !iter->dispatch || mp__stream_readable(iter));
    if (iter->dispatch)
        mp__dispatch_leave(iter->dispatch, &guard);
    return fd;
}

/* --- its end ------------------------------------------------------------------------------------------------------------- */

static void leave(mp__stream *old, mp__dispatch *d)
{
    mp__guard guard;
    mp__dispatch_enter(d, &guard);
    mp__core_time(d->core, mp__now());
    mp__stream_leave(old);
    mp__dispatch_acted(d);
    bool joins = old->generates && !old->options.release && !mp__generator_here(old);
    if (old->generates && !joins)
        pthread_detach(old->generator);
    mp__dispatch_leave(d, &guard);
    if (joins)
        pthread_join(old->generator, NULL); /* its memory stays: we hold it */
    mp__dispatch_enter(d, &guard);
    bool last = mp__stream_unhold(old);
    mp__dispatch_leave(d, &guard);
    if (last)
        mp__stream_free(old);
}

void mp_iter_free(mp_iter **iter)
{
    if (!iter || !*iter)
        return;
    mp__stream *old = *iter;
    int cancelling;
    *iter = NULL;
    no_memory_told &= old != &no_memory;
    if (old == &no_memory || is_foreign(old))
        return;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling); /* waiting for the generator is a cancellation point */
    if (old->dispatch)
        leave(old, old->dispatch);
    else
        mp__stream_free(old);
    pthread_setcancelstate(cancelling, NULL);
}
