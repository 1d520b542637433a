/* Results that a link takes: values one by one, in rows, and out of the row that a worker has not ended yet.
 *
 * A row that is open stands in the shared buffer where the committed bytes end. What is looked at there while the worker lives, or when
 * it is dead, is counted as come, and how much that was is kept: when the row comes as a frame it begins with it, and that is passed
 * over. A frame that has fewer, or is none, is nonsense.
 *
 * Under the pool's lock; never blocks. Nothing that comes is believed: no more results than it has items, nor, out of the buffer, than
 * it has begun. */
#include "pool/process/link.h"
#include "serial/row.h"
#include <string.h>

enum { RUN_MAX = MP__ROW_MAX /* values in one event: others have their turn behind it */ };

void mp__link_begin_event(mp__link *link, mp__event *event)
{
    link->error.status = MP_OK;
    mp__link_name(link, &link->error);
    *event = (mp__event){.kind = MP__EV_RESULT,
                         .slot = link->life.slot,
                         .generation = link->life.generation,
                         .frame = &link->frame,
                         .error = &link->error,
                         .busy_ns = atomic_load_explicit(&link->shared->busy_ns, memory_order_relaxed)};
}

/* What was printed by the item whose result this is is with it now. */
void mp__link_forget_outputs(mp__link *link)
{
    if (!link->outputs)
        link->said = (mp__evidence){0};
    link->outputs = 0;
}

/* What was found in the buffer, before it came through the pipe, is worth no more than `committed`, which a wild task may have set
 * to where old results lie. So it is held against the count as well, in both places: it is behind neither. */
static uint64_t count_begun(const mp__link *link)
{
    uint64_t count = atomic_load_explicit(&link->shared->claim, memory_order_acquire) & MP__STARTED_MASK;
    uint64_t again = atomic_load_explicit(&link->shared->started_too, memory_order_relaxed);
    return count > again ? count : again;
}

static uint64_t count_whole(const mp__link *link)
{
    return link->items - mp__outbox_borrows(&link->outbox);
}

/* Of what did not come through the pipe. */
static bool is_from_buffer(const mp__link *link)
{
    return link->received > link->piped || link->ahead;
}

bool mp__link_has_too_many(mp__link *link, mp__event *event, size_t more)
{
    uint64_t results = mp__link_results(link) + more;
    if (link->ahead && link->frame.kind != MP__VALUES)
        return mp__link_nonsense(link, event, "no row where one was open");
    if (results > count_whole(link))
        return mp__link_nonsense(link, event, "the result of an item that it has not got whole");
    if (is_from_buffer(link) && results > count_begun(link))
        return mp__link_nonsense(link, event, "the result of an item that it has not begun");
    return false;
}

/* Those of one event are of one time. */
static void give(mp__event *event, size_t count)
{
    event->count = count;
    if (count == RUN_MAX) /* the others that it took this time for come next */
        event->busy_ns = 0;
}

void mp__link_take_values(mp__link *link, mp__event *event)
{
    uint64_t come = mp__link_results(link), whole = count_whole(link);
    uint64_t begun =
        is_from_buffer(link) ? count_begun(link) : whole; /* it may have been more a moment ago: a wild task's doing */
    uint64_t most = begun < whole ? begun : whole, more = most > come ? most - come : 0;
    size_t got = mp__frame_reader_more(&link->reader, &link->frame, more < RUN_MAX - 1 ? (size_t)more : RUN_MAX - 1);
    link->frames += got;
    give(event, 1 + got);
}

bool mp__link_take_row(mp__link *link, mp__event *event)
{
    size_t count = mp__row_open(&link->frame), ahead = link->ahead;
    if (!count || count < ahead || (ahead && link->frame.row != link->ahead_size))
        return mp__link_nonsense(link, event, "a row that is none");
    link->frames--; /* it was counted itself; what is not believed is not, or others would be blamed for it */
    if (mp__link_has_too_many(link, event, count - ahead))
        return true;
    link->frames += count - ahead;
    link->ahead = 0;
    link->frame.data += ahead * link->frame.row;
    give(event, count - ahead);
    return count > ahead;
}

/* The row that is open now: how many values it has, and of how many bytes; 0: there is none. */
static size_t open_row(const mp__link *link, size_t *size)
{
    uint64_t committed = atomic_load_explicit(&link->shared->committed, memory_order_acquire);
    uint64_t word = atomic_load_explicit(&link->shared->row, memory_order_acquire);
    size_t count = word & 0xffff;
    *size = word >> 16 & 0xffff;
    bool ours = committed == link->received && word == mp__row_word(committed, *size, count);
    return ours && *size && count <= MP__ROW_MAX && mp__frame_reader_whole(&link->reader) ? count : 0;
}

/* Copied to where the reader would put what comes next, which it does not know of. False: nothing is there, or what was copied does
 * not count: see read_buffer in link.c. */
static bool copy_open_row(mp__link *link, size_t *count)
{
    size_t size, room, all = open_row(link, &size);
    uint64_t base = atomic_load_explicit(&link->shared->base, memory_order_acquire);
    uint64_t at = link->received - base + MP__ROW_HEAD + link->ahead * size;
    uint8_t *where;
    *count = all > link->ahead ? all - link->ahead : 0;
    if (!*count || base > link->received || at > MP__SHARED_BUFFER || *count * size > MP__SHARED_BUFFER - at)
        return false;
    if ((link->ahead && size != link->ahead_size) || !mp__frame_reader_space(&link->reader, &where, &room) ||
        room < *count * size)
        return false;
    memcpy(where, link->shared->buffer + at, *count * size);
    atomic_thread_fence(memory_order_acquire);
    link->ahead_size = size;
    link->frame = (mp__frame){.kind = MP__VALUES, .size = size, .control = size, .row = size, .data = where};
    return atomic_load_explicit(&link->shared->base, memory_order_relaxed) == base;
}

bool mp__link_take_open_row(mp__link *link, mp__event *event)
{
    size_t count;
    link->looks_at_row = false;
    if (link->stage != MP__LINK_READY || !copy_open_row(link, &count))
        return false;
    mp__link_begin_event(link, event);
    mp__link_forget_outputs(link);
    link->ahead += count;
    if (mp__link_has_too_many(link, event, count))
        return true;
    link->frames += count;
    give(event, count);
    return true;
}
