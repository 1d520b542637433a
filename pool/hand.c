/* How results leave a stream: off its queue, by way of a few that are at hand.
 *
 * For small results the pool's lock costs more than anything else does. So some that can be read are put where it is not needed, but
 * a lock of the stream's own. They count as held until somebody takes one with the pool's lock; and so the last one of them is taken:
 * when nothing is at hand, the counts are right. Who waits for room, or for the end, need not be told before that.
 *
 * Any reader's thread. What says nothing else runs under the pool's lock. Where each result that is read is to be noticed, because
 * there is room for few, or for a descriptor, or for progress, nothing comes to hand. */
#include "pool/dispatch_state.h"

enum { HAND = 64, BUFFER_LEAST = 256 };

static mp__cell *dequeue(mp__stream *stream)
{
    mp__cell *cell = stream->queue_head;
    stream->queue_head = cell->next;
    if (!stream->queue_head)
        stream->queue_tail = NULL;
    return cell;
}

/* It is not held any more. */
static void count_read(mp__stream *stream, const mp__cell *cell)
{
    stream->held--;
    stream->bytes -= cell->bytes + stream->cell_size;
    stream->read++;
    stream->failed += cell->status != MP_OK;
}

/* With the lock: the first of those at hand, or all; and those that were taken are counted. */
static mp__cell *take_from_hand(mp__stream *stream, bool all)
{
    pthread_mutex_lock(&stream->reading);
    mp__cell *cell = stream->hand, *taken = stream->handed;
    stream->hand = stream->handed = all ? NULL : cell->next;
    pthread_mutex_unlock(&stream->reading);
    for (mp__cell *next; taken != cell; taken = next) {
        next = taken->next;
        count_read(stream, taken);
        mp__stream_drop(stream, taken);
    }
    return cell;
}

mp__cell *mp__stream_take(mp__stream *stream)
{
    if (!mp__stream_has_result(stream))
        return NULL;
    mp__cell *cell = stream->hand ? take_from_hand(stream, false) : dequeue(stream);
    count_read(stream, cell);
    return cell;
}

mp__cell *mp__stream_take_quickly(mp__stream *stream)
{
    if (!stream->hand)
        return NULL;
    pthread_mutex_lock(&stream->reading);
    mp__cell *cell = stream->hand;
    if (cell && cell->next) {
        stream->hand = cell->next;
        return cell;
    }
    pthread_mutex_unlock(&stream->reading);
    return NULL;
}

void mp__stream_taken(mp__stream *stream)
{
    pthread_mutex_unlock(&stream->reading);
}

void mp__stream_reach(mp__stream *stream)
{
    mp__cell *first = NULL, **end = &first;
    if (stream->hand || stream->buffersize < BUFFER_LEAST || stream->bell.fd || stream->options.progress)
        return;
    for (unsigned i = 0; i < HAND && mp__stream_has_result(stream); i++, end = &(*end)->next)
        *end = dequeue(stream);
    *end = NULL;
    stream->handed = first;
    stream->hand = first; /* last: from now on others look */
}

void mp__stream_put_back(mp__stream *stream)
{
    if (!stream->hand)
        return;
    mp__cell *first = take_from_hand(stream, true), *last = first;
    while (last->next)
        last = last->next;
    last->next = stream->queue_head;
    stream->queue_head = first;
    if (!last->next)
        stream->queue_tail = last;
}
