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

enum { BUCKETS_MIN = 64, PARTS_FROM = 256, FIRST_RESULTS = 4, SLAB_BYTES = 4096 };

/* --- cells --------------------------------------------------------------------------------------------------------------- */

static size_t aligned(size_t at, size_t align)
{
    return (at + align - 1) / align * align;
}

/* The cell itself, the item, the result. */
static void lay_out(mp__stream *stream)
{
    const mp_type *in = stream->job.task->input, *out = stream->job.task->output;
    stream->in_owns = mp__type_owns(in);
    stream->out_owns = mp__type_owns(out);
    stream->value_at = aligned(sizeof(mp__cell), in->align);
    stream->out_at = aligned(stream->value_at + in->size, out->align);
    stream->cell_size = stream->out_at + out->size;
    stream->cell_align = in->align > out->align ? in->align : out->align;
    if (stream->cell_align < _Alignof(max_align_t))
        stream->cell_align = _Alignof(max_align_t);
    stream->cell_step = aligned(stream->cell_size, stream->cell_align);
}

/* Spare cells are as many as were ever held at once: as many as will be again. */
static void add_spare(mp__stream *stream, mp__cell *cell)
{
    cell->next = NULL;
    if (stream->spare)
        stream->spare_tail->next = cell;
    else
        stream->spare = cell;
    stream->spare_tail = cell;
}

/* A page of them, or one if they are larger than that; no more than can be held. */
static bool add_slab(mp__stream *stream)
{
    size_t head = aligned(sizeof(mp__slab), stream->cell_align), count = SLAB_BYTES / stream->cell_step;
    if (count > stream->buffersize)
        count = stream->buffersize;
    if (!count)
        count = 1;
    size_t size = head + count * stream->cell_step;
    mp__slab *slab = mp__memory.aligned_alloc(stream->cell_align, size);
    if (!slab)
        return false;
    memset(slab, 0, size);
    slab->next = stream->slabs;
    stream->slabs = slab;
    for (size_t i = 0; i < count; i++) {
        char *at = (char *)slab + head + i * stream->cell_step;
        mp__cell *cell = (mp__cell *)(void *)at;
        cell->value = at + stream->value_at;
        cell->out = at + stream->out_at;
        add_spare(stream, cell);
    }
    return true;
}

mp__cell *mp__stream_cell(mp__stream *stream)
{
    if (!stream->spare && !add_slab(stream))
        return NULL;
    mp__cell *cell = stream->spare;
    stream->spare = cell->next;
    return cell;
}

void mp__stream_fill(const mp__stream *stream, mp__cell *cell, const void *value, mp__fault *fault)
{
    uint64_t bytes = 0;
    fault->status = MP_OK;
    if (stream->in_owns)
        (void)mp__copy(stream->job.task->input, value, cell->value, &bytes, fault);
    else
        memcpy(cell->value, value, stream->job.task->input->size);
    cell->bytes = (size_t)bytes;
}

static void free_input(const mp__stream *stream, mp__cell *cell)
{
    if (stream->in_owns)
        mp_free_values(stream->job.task->input, cell->value, 1);
}

void mp__stream_drop(mp__stream *stream, mp__cell *cell)
{
    free_input(stream, cell);
    free(cell->error);
    cell->error = NULL;
    cell->state = MP__CELL_FREE;
    add_spare(stream, cell);
}

/* --- by item ------------------------------------------------------------------------------------------------------------- */

bool mp__stream_init(mp__stream *stream)
{
    lay_out(stream);
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

bool mp__stream_readable(const void *of)
{
    const mp__stream *stream = of;
    return mp__stream_has_result(stream) || (stream->input_over && !stream->held);
}

void mp__stream_show(mp__stream *stream)
{
    mp__bell_ring(&stream->bell, mp__stream_readable(stream));
}

static void tell_reader(mp__stream *stream)
{
    if (!mp__stream_readable(stream))
        return;
    mp__stream_show(stream);
    mp__dispatch_tell(stream->dispatch, &stream->readable);
}

/* --- the job's kind ------------------------------------------------------------------------------------------------------ */

/* True if the item that is `row` behind the cell's stands as far behind it in memory, and in the input: items that cannot be copied
 * never come to the core, so it counts others than the user does. */
static bool stands_in_row(const mp__stream *stream, const mp__cell *cell, size_t row)
{
    const mp__cell *there = *bucket_of(stream, cell->item + row);
    return (const char *)there == (const char *)cell + row * stream->cell_step && there->item == cell->item + row &&
           there->number == cell->number + row;
}

/* As far as cells stand in a row: most do, for they are used again in the order in which they were read. */
static void locate(mp__job *job, size_t index, mp__items *items)
{
    const mp__stream *stream = (const mp__stream *)job;
    const mp__cell *cell = *place_of(stream, index);
    size_t row = 1;
    while (row < items->count && stands_in_row(stream, cell, row))
        row++;
    items->index = cell->number;
    items->count = row;
    items->value = cell->value;
    items->out = cell->out;
    items->value_step = items->out_step = stream->cell_step;
}

static void keep_error(mp__cell *cell, const mp_error *error)
{
    cell->status = mp__waited_status(error->status);
    cell->error = mp__memory.malloc(sizeof *cell->error);
    if (!cell->error)
        return;
    *cell->error = *error;
    cell->error->status = cell->status;
    cell->error->item = cell->number;
}

/* READY, or thrown away when nobody will read it. */
static void settle(mp__stream *stream, mp__cell *cell)
{
    if (stream->left) {
        mp_free_values(stream->job.task->output, cell->out, 1);
        stream->held--;
        stream->bytes -= cell->bytes + stream->cell_size;
        mp__stream_drop(stream, cell);
        return;
    }
    cell->state = MP__CELL_READY;
    if (!stream->ordered)
        enqueue(stream, cell);
}

static void end_item(mp__stream *stream, size_t item, const mp_error *error, size_t bytes)
{
    mp__cell **at = place_of(stream, item), *cell = *at;
    *at = cell->next_too;
    stream->sent--;
    stream->bytes -= cell->bytes;
    free_input(stream, cell); /* its memory is not needed any more, whenever the result is read */
    cell->status = MP_OK;
    if (error) {
        memset(cell->out, 0, stream->job.task->output->size);
        keep_error(cell, error);
        bytes = 0;
    } else if (!stream->out_owns) {
        bytes = 0;
    } else if (bytes == MP__BYTES_UNKNOWN) {
        bytes = mp__values_bytes(stream->job.task->output, cell->out);
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
    if (mp__stream_unhold(stream))
        mp__stream_free(stream);
}

const mp__job_kind mp__stream_kind = {.locate = locate, .ended = ended, .done = done};

/* --- the input ----------------------------------------------------------------------------------------------------------- */

/* What the results of those on their way will take, as far as one can tell: as much as the largest lately. Before the first has
 * come a few for each worker must do. */
static size_t expected_bytes(const mp__stream *stream)
{
    size_t each = stream->usual;
    if (!stream->out_owns)
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
    size_t bytes = stream->bytes + stream->cell_size;
    return bytes < stream->bufferbytes && expected_bytes(stream) < stream->bufferbytes - bytes;
}

void mp__stream_accept(mp__stream *stream, mp__cell *cell, const mp__fault *fault)
{
    cell->number = stream->taken++;
    stream->held++;
    stream->bytes += cell->bytes + stream->cell_size;
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
    mp__fault fault;
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

/* The pool takes nothing more, or nothing more of this stream, whose deadline is over or which has too many failed items: MP_OK, or
 * why. */
static mp_status refused(const mp__stream *stream)
{
    switch (mp__core_get_state(stream->dispatch->core)) {
    case MP__RUNNING:
    case MP__CLOSED: return stream->job.core.cancelled ? stream->job.core.verdict : MP_OK;
    case MP__BROKEN: return MP_EBROKEN;
    default: return MP_ETERMINATED;
    }
}

/* Then the input ends here, and the reader learns why. */
static bool cut_off(mp__stream *stream)
{
    mp_status status = refused(stream);
    if (!status)
        return false;
    mp_error error;
    mp__dispatch_why(stream->dispatch, status, &error);
    error.status = mp__waited_status(status);
    strcpy(error.task, stream->job.task->name);
    mp__stream_end_input(stream, &error);
    return true;
}

void mp__streams_interrupt(mp__dispatch *d)
{
    mp_error error;
    mp__dispatch_why(d, MP_EINTERRUPTED, &error);
    while (d->streams.head) {
        strcpy(error.task, d->streams.head->job.task->name);
        mp__stream_end_input(d->streams.head, &error);
    }
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
        mp__core_cancel(stream->dispatch->core, &stream->job.core, MP_ECANCELLED, false);
    mp__stream_end_input(stream, &(mp_error){0});
    mp__stream_put_back(stream);
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
    mp__dispatch *d = stream->dispatch;
    while (stream->slabs) {
        mp__slab *slab = stream->slabs;
        stream->slabs = slab->next;
        free(slab);
    }
    free(stream->buckets);
    mp__bell_close(&stream->bell);
    pthread_cond_destroy(&stream->wanted);
    pthread_cond_destroy(&stream->readable);
    pthread_mutex_destroy(&stream->reading);
    free(stream);
    if (d)
        mp__dispatch_unref(d);
}
