/* Streams: the cells between an input and its reader, and the bounds on them.
 *
 * Decides how far the input may run ahead: items that are on their way or unread are at most `buffersize`, and what they take,
 * with what results of those on their way are likely to take, at most `bufferbytes`; one is always allowed, so that it goes on. A
 * slow item of an unordered stream holds one cell and nothing else, so an item is found by its number, not by its position.
 *
 * Everything runs under the pool's lock, on whichever thread has an event: readers, the generator's thread, who drives. Owns the
 * cells. Happy path: an item is copied into a cell and given to the core, its result comes into the same cell, the reader moves it
 * out, and there is room for one more. What fails is the item's: also an input that cannot be copied. The pool's end ends
 * the input, with the reason. Memory for buckets is tried for; without it chains are longer. */
#include "pool/stream.h"
#include "pool/clock.h"
#include "pool/dispatch_state.h"
#include "pool/failure.h"
#include "pool/values.h"
#include "serial/copy.h"
#include "serial/memory.h"
#include "serial/types.h"
#include <string.h>
#include <unistd.h>

enum { BUCKETS_MIN = 64, PARTS_FROM = 256, FIRST_RESULTS = 4 };

/* --- cells --------------------------------------------------------------------------------------------------------------- */

static size_t aligned(size_t at, size_t align)
{
    return (at + align - 1) / align * align;
}

static size_t cell_size(const mp__stream *stream)
{
    const mp_type *in = stream->job.task->input, *out = stream->job.task->output;
    return aligned(aligned(sizeof(mp__cell), in->align) + in->size, out->align) + out->size;
}

mp__cell *mp__stream_cell(mp__stream *stream)
{
    mp__cell *cell = stream->spare;
    if (cell) {
        stream->spare = cell->next;
        return cell;
    }
    const mp_type *in = stream->job.task->input, *out = stream->job.task->output;
    size_t align = in->align > out->align ? in->align : out->align, size = cell_size(stream);
    if (align < _Alignof(max_align_t))
        align = _Alignof(max_align_t);
    cell = mp__memory.aligned_alloc(align, aligned(size, align));
    if (!cell)
        return NULL;
    memset(cell, 0, size);
    cell->value = (char *)cell + aligned(sizeof *cell, in->align);
    cell->out = (char *)cell->value +
                (aligned(aligned(sizeof *cell, in->align) + in->size, out->align) - aligned(sizeof *cell, in->align));
    return cell;
}

void mp__stream_fill(const mp__stream *stream, mp__cell *cell, const void *value, mp__fault *fault)
{
    uint64_t bytes = 0;
    (void)mp__copy(stream->job.task->input, value, cell->value, &bytes, fault);
    cell->bytes = (size_t)bytes;
}

static void free_input(const mp__stream *stream, mp__cell *cell)
{
    mp_free_values(stream->job.task->input, cell->value, 1);
}

/* Spare cells are as many as were ever held at once: as many as will be again. */
void mp__stream_drop(mp__stream *stream, mp__cell *cell)
{
    free_input(stream, cell);
    free(cell->error);
    cell->error = NULL;
    cell->state = MP__CELL_FREE;
    cell->next = stream->spare;
    stream->spare = cell;
}

/* --- by item ------------------------------------------------------------------------------------------------------------- */

bool mp__stream_init(mp__stream *stream)
{
    stream->bucket_count = BUCKETS_MIN;
    while (stream->bucket_count < stream->buffersize && stream->bucket_count < 1u << 16)
        stream->bucket_count *= 2;
    stream->buckets = mp__memory.calloc(stream->bucket_count, sizeof *stream->buckets);
    return stream->buckets;
}

static mp__cell **bucket_of(const mp__stream *stream, size_t item)
{
    return &stream->buckets[item & (stream->bucket_count - 1)];
}

static void put(mp__stream *stream, mp__cell *cell)
{
    mp__cell **bucket = bucket_of(stream, cell->item);
    cell->next_too = *bucket;
    *bucket = cell;
}

/* Unbound streams hold more than was thought. */
static void widen(mp__stream *stream)
{
    size_t old_count = stream->bucket_count;
    mp__cell **old = stream->buckets, **wide = mp__memory.calloc(4 * old_count, sizeof *wide);
    if (!wide)
        return;
    stream->buckets = wide;
    stream->bucket_count = 4 * old_count;
    for (size_t i = 0; i < old_count; i++)
        while (old[i]) {
            mp__cell *cell = old[i];
            old[i] = cell->next_too;
            put(stream, cell);
        }
    free(old);
}

static mp__cell **place_of(const mp__stream *stream, size_t item)
{
    mp__cell **at = bucket_of(stream, item);
    while ((*at)->item != item)
        at = &(*at)->next_too;
    return at;
}

/* --- the queue ----------------------------------------------------------------------------------------------------------- */

static void enqueue(mp__stream *stream, mp__cell *cell)
{
    cell->next = NULL;
    if (stream->queue_tail)
        stream->queue_tail->next = cell;
    else
        stream->queue_head = cell;
    stream->queue_tail = cell;
}

static bool has_result(const mp__stream *stream)
{
    return stream->queue_head && stream->queue_head->state == MP__CELL_READY;
}

bool mp__stream_readable(const void *of)
{
    const mp__stream *stream = of;
    return has_result(stream) || (stream->input_over && !stream->held);
}

mp__cell *mp__stream_take(mp__stream *stream)
{
    if (!has_result(stream))
        return NULL;
    mp__cell *cell = stream->queue_head;
    stream->queue_head = cell->next;
    if (!stream->queue_head)
        stream->queue_tail = NULL;
    stream->held--;
    stream->bytes -= cell->bytes + cell_size(stream);
    return cell;
}

void mp__stream_show(mp__stream *stream)
{
    bool readable = mp__stream_readable(stream);
    uint64_t count = 1;
    if (stream->fd < 0 || readable == stream->fd_set)
        return;
    stream->fd_set = readable;
    ssize_t done = readable ? write(stream->fd, &count, sizeof count) : read(stream->fd, &count, sizeof count);
    (void)done; /* it holds one count at most: cannot fail */
}

static void tell_reader(mp__stream *stream)
{
    if (!mp__stream_readable(stream))
        return;
    mp__stream_show(stream);
    mp__dispatch_tell(stream->dispatch, &stream->readable);
}

/* --- the job's kind ------------------------------------------------------------------------------------------------------ */

static void locate(mp__job *job, size_t index, const void **value, void **out)
{
    const mp__cell *cell = *place_of((mp__stream *)job, index);
    *value = cell->value;
    *out = cell->out;
}

static void keep_error(mp__cell *cell, const mp_error *error)
{
    cell->status = error->status;
    cell->error = mp__memory.malloc(sizeof *cell->error);
    if (!cell->error)
        return;
    *cell->error = *error;
    cell->error->item = cell->number;
}

/* READY, or thrown away when nobody will read it. */
static void settle(mp__stream *stream, mp__cell *cell)
{
    if (stream->left) {
        mp_free_values(stream->job.task->output, cell->out, 1);
        stream->held--;
        stream->bytes -= cell->bytes + cell_size(stream);
        mp__stream_drop(stream, cell);
        return;
    }
    cell->state = MP__CELL_READY;
    if (!stream->ordered)
        enqueue(stream, cell);
}

static void end_item(mp__stream *stream, size_t item, const mp_error *error, size_t bytes)
{
    const mp_type *type = stream->job.task->output;
    mp__cell **at = place_of(stream, item), *cell = *at;
    *at = cell->next_too;
    stream->sent--;
    stream->bytes -= cell->bytes;
    free_input(stream, cell); /* its memory is not needed any more, whenever the result is read */
    cell->status = MP_OK;
    if (error) {
        memset(cell->out, 0, type->size);
        keep_error(cell, error);
        bytes = 0;
    } else if (!mp__type_owns(type)) {
        bytes = 0;
    } else if (bytes == MP__BYTES_UNKNOWN) {
        bytes = mp__values_bytes(type, cell->out);
    }
    if (!error)
        stream->usual = stream->usual == SIZE_MAX || bytes > stream->usual ? bytes : (7 * stream->usual + bytes) / 8;
    cell->bytes = bytes;
    stream->bytes += bytes;
    settle(stream, cell);
}

static void ended(mp__job *job, size_t first, size_t count, const mp_error *error, size_t bytes)
{
    mp__stream *stream = (mp__stream *)job;
    for (size_t i = 0; i < count; i++)
        end_item(stream, first + i, error, bytes);
    tell_reader(stream);
}

/* On the thread that drives, which keeps the dispatch alive. */
static void done(mp__job *job)
{
    mp__stream *stream = (mp__stream *)job;
    stream->job_done = true;
    tell_reader(stream);
    if (stream->terms.over)
        stream->terms.over(stream->terms.user);
    if (mp__stream_unhold(stream)) {
        struct mp__dispatch *d = stream->dispatch;
        mp__stream_free(stream);
        mp__dispatch_unref(d);
    }
}

const mp__job_kind mp__stream_kind = {.locate = locate, .ended = ended, .done = done};

/* --- the input ----------------------------------------------------------------------------------------------------------- */

/* What the results of those on their way will take, as far as one can tell: as much as the largest lately. Before the first has
 * come a few for each worker must do. */
static size_t expected_bytes(const mp__stream *stream)
{
    size_t each = stream->usual;
    if (!mp__type_owns(stream->job.task->output))
        return 0;
    if (each == SIZE_MAX)
        each = stream->bufferbytes / (FIRST_RESULTS * stream->workers);
    return stream->sent + 1 > SIZE_MAX / 2 / (each + 1) ? SIZE_MAX / 2 : (stream->sent + 1) * each;
}

bool mp__stream_room(const mp__stream *stream)
{
    if (!stream->held || stream->dispatch->streams.unbound)
        return true;
    if (stream->held >= stream->buffersize)
        return false;
    size_t bytes = stream->bytes + cell_size(stream);
    return bytes < stream->bufferbytes && expected_bytes(stream) < stream->bufferbytes - bytes;
}

void mp__stream_accept(mp__stream *stream, mp__cell *cell, const mp__fault *fault)
{
    cell->number = stream->taken++;
    stream->held++;
    stream->bytes += cell->bytes + cell_size(stream);
    if (stream->ordered)
        enqueue(stream, cell);
    if (fault->status) {
        mp_error error;
        (void)mp__values_failure(&error, "the item cannot be copied", fault);
        strcpy(error.task, stream->job.task->name);
        keep_error(cell, &error);
        settle(stream, cell);
        tell_reader(stream);
        return;
    }
    cell->item = stream->job.core.n + stream->accepted++;
    cell->state = MP__CELL_SENT;
    stream->sent++;
    if (stream->sent > 4 * stream->bucket_count)
        widen(stream);
    put(stream, cell);
}

void mp__stream_submit(mp__stream *stream)
{
    size_t first = stream->job.core.n, count = stream->accepted;
    stream->accepted = 0;
    mp_status refused = count ? mp__core_extend(stream->dispatch->core, &stream->job.core, count) : MP_OK;
    if (!refused)
        return;
    mp_error error;
    mp__dispatch_why(stream->dispatch, refused, &error);
    strcpy(error.task, stream->job.task->name);
    ended(&stream->job, first, count, &error, 0);
}

void mp__stream_end_input(mp__stream *stream, const mp_error *error)
{
    if (stream->input_over)
        return;
    stream->input_over = true;
    stream->input_error = *error;
    mp__stream **at = &stream->dispatch->streams.head;
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    mp__core_seal(stream->dispatch->core, &stream->job.core);
    pthread_cond_broadcast(&stream->wanted);
    tell_reader(stream);
}

static bool take_from_array(mp__stream *stream)
{
    static const mp_none none;
    const unsigned char *items = stream->source.items;
    mp__fault fault = {0};
    mp__cell *cell = mp__stream_cell(stream);
    if (!cell)
        return false;
    mp__stream_fill(stream, cell, items ? items + stream->taken * stream->job.task->input->size : (const void *)&none,
                    &fault);
    mp__stream_accept(stream, cell, &fault);
    return true;
}

/* Where there is much room not for every result that is read, but for a good part of it at a time. */
bool mp__stream_hungry(const mp__stream *stream)
{
    size_t part = stream->buffersize < PARTS_FROM ? 1 : stream->buffersize / 2;
    bool some = stream->held <= stream->buffersize - part || stream->dispatch->streams.unbound;
    return some && !stream->input_over && mp__stream_room(stream);
}

static bool feed_array(mp__stream *stream)
{
    size_t before = stream->taken, n = stream->source.n;
    bool begins = mp__stream_hungry(stream), memory = true;
    while (begins && memory && stream->taken < n && mp__stream_room(stream))
        memory = take_from_array(stream);
    mp__stream_submit(stream);
    if (memory && stream->taken < n)
        return stream->taken > before;
    mp_error error = {0};
    if (!memory)
        (void)mp__failure(&error, MP_ENOMEM, "no memory for the next item of a stream");
    mp__stream_end_input(stream, &error);
    return true;
}

/* The pool takes nothing more: the input ends here, and the reader learns why. */
static bool cut_off(mp__stream *stream)
{
    mp__core_state state = mp__core_get_state(stream->dispatch->core);
    if (state == MP__RUNNING || state == MP__CLOSED)
        return false;
    mp_error error;
    mp__dispatch_why(stream->dispatch, state == MP__BROKEN ? MP_EBROKEN : MP_ETERMINATED, &error);
    strcpy(error.task, stream->job.task->name);
    mp__stream_end_input(stream, &error);
    return true;
}

bool mp__streams_feed(mp__dispatch *d)
{
    bool fed = false;
    for (mp__stream *stream = d->streams.head, *next; stream; stream = next) {
        next = stream->next;
        if (cut_off(stream))
            fed = true;
        else if (!stream->generates)
            fed |= feed_array(stream);
        else if (mp__stream_hungry(stream))
            pthread_cond_signal(&stream->wanted);
    }
    return fed;
}

void mp__streams_unbind(mp__dispatch *d)
{
    d->streams.unbound = true;
}

/* --- the end ------------------------------------------------------------------------------------------------------------- */

/* Cells that are on their way stay where they are found by item; the queue is forgotten. */
void mp__stream_leave(mp__stream *stream)
{
    if (!stream->job_done && (stream->read || !stream->terms.runs_on))
        mp__core_cancel(stream->dispatch->core, &stream->job.core);
    mp__stream_end_input(stream, &(mp_error){0});
    stream->left = true;
    for (mp__cell *cell = stream->queue_head, *next; cell; cell = next) {
        next = cell->next;
        if (cell->state == MP__CELL_READY)
            settle(stream, cell);
    }
    stream->queue_head = stream->queue_tail = NULL;
    pthread_cond_broadcast(&stream->wanted);
}

bool mp__stream_unhold(mp__stream *stream)
{
    return !--stream->holders;
}

void mp__stream_free(mp__stream *stream)
{
    while (stream->spare) {
        mp__cell *cell = stream->spare;
        stream->spare = cell->next;
        free(cell);
    }
    free(stream->buckets);
    if (stream->fd >= 0)
        close(stream->fd);
    pthread_cond_destroy(&stream->wanted);
    pthread_cond_destroy(&stream->readable);
    free(stream);
}
