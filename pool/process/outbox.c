/* What is on its way into a pipe. The parent has one for each worker, on a non-blocking descriptor; a worker uses one for
 * results that are too large for its shared buffer, on a blocking one.
 *
 * Small frames are gathered in one buffer and go out in one write. A blob is never copied: it is written from where it lies,
 * and whoever owns it keeps it until then. Of a large one the pipe gets the pages themselves (vmsplice), which halves the copying, for
 * write(2) copies into the pipe and read(2) out of it. But pages in a pipe change when their owner writes there, so the end of the
 * blob is written, as much of it as a pipe can hold: when that is in, all pages have come out. The blob is then as little needed as
 * one that was copied, and nobody has got a whole frame before that.
 *
 * Used under the pool's lock, or by the worker's only thread. */
#include "pool/process/outbox.h"
#include "pool/system.h"
#include "serial/memory.h"
#include "serial/row.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECES = 32,
    KEEP = 1 << 20,
    SPLICE_LEAST = 256 * 1024 /* fewer bytes are copied */
};

static const char zeros[16 * 1024];
_Static_assert(sizeof zeros >= MP__BLOB_ALIGN + MP__BLOB_GAP, "a gap is one piece");

void mp__outbox_fini(mp__outbox *outbox)
{
    mp__buffer_fini(&outbox->bytes);
    mp__blobs_fini(&outbox->scratch);
    free(outbox->blobs);
    *outbox = (mp__outbox){0};
}

static bool reserve_blobs(mp__outbox *outbox, size_t more)
{
    if (outbox->blob_capacity - outbox->blob_count >= more)
        return true;
    size_t capacity = 2 * outbox->blob_capacity + more;
    mp__outbox_blob *blobs = mp__memory.realloc(outbox->blobs, capacity * sizeof *blobs);
    if (!blobs)
        return false;
    outbox->blobs = blobs;
    outbox->blob_capacity = capacity;
    return true;
}

mp_status mp__outbox_value(mp__outbox *outbox, unsigned kind, const mp_type *type, const void *value, mp__fault *fault)
{
    size_t before = outbox->bytes.size;
    mp__blobs *blobs = &outbox->scratch;
    blobs->count = 0;
    mp_status status = mp__frame_write(&outbox->bytes, kind, type, value, blobs, fault);
    if (status || !blobs->count)
        return status;
    if (!reserve_blobs(outbox, blobs->count)) {
        outbox->bytes.size = before;
        return mp__fault_set(fault, MP_ENOMEM, 0, "no memory for %zu blobs", blobs->count);
    }
    size_t control = outbox->bytes.size - before - MP__FRAME_LONG, end = control;
    for (size_t i = 0; i < blobs->count; i++) {
        const mp__blob *blob = &blobs->items[i];
        outbox->blobs[outbox->blob_count++] =
            (mp__outbox_blob){.data = blob->data, .size = blob->size, .gap = blob->offset - end, .at = outbox->bytes.size};
        end = blob->offset + blob->size;
    }
    return MP_OK;
}

bool mp__outbox_raw(mp__outbox *outbox, unsigned kind, const void *bytes, size_t size)
{
    return mp__frame_write_raw(&outbox->bytes, kind, bytes, size);
}

size_t mp__outbox_row(mp__outbox *outbox, unsigned kind, const mp_type *type, const void *values, size_t step, size_t count)
{
    return mp__row_write(&outbox->bytes, kind, type, values, step, count);
}

bool mp__outbox_pass(mp__outbox *outbox, const mp__passed *passed)
{
    if (!mp__buffer_reserve(&outbox->bytes, passed->size) || (passed->blob && !reserve_blobs(outbox, 1)))
        return false;
    memcpy(outbox->bytes.data + outbox->bytes.size, passed->bytes, passed->size);
    outbox->bytes.size += passed->size;
    if (passed->blob)
        outbox->blobs[outbox->blob_count++] =
            (mp__outbox_blob){.data = passed->blob, .size = passed->blob_size, .at = outbox->bytes.size};
    return true;
}

void mp__outbox_disown(mp__outbox *outbox)
{
    for (size_t i = outbox->blob_next; i < outbox->blob_count; i++)
        outbox->blobs[i].data = NULL;
}

static bool has_blobs(const mp__outbox *outbox)
{
    return outbox->blob_next < outbox->blob_count;
}

uint64_t mp__outbox_size(const mp__outbox *outbox)
{
    uint64_t size = mp__outbox_waiting(outbox);
    for (size_t i = outbox->blob_next; i < outbox->blob_count; i++)
        size += outbox->blobs[i].gap + outbox->blobs[i].size;
    return size - outbox->blob_sent;
}

/* How many bytes of the blob's pages the pipe is to get, `done` of them having gone already. */
static size_t pages_of(const mp__outbox *outbox, const mp__outbox_blob *blob, size_t done, size_t capacity)
{
    size_t left = blob->size - done;
    return blob->data && !outbox->copies && left > capacity && left - capacity >= SPLICE_LEAST ? left - capacity : 0;
}

static int add_piece(struct iovec *pieces, int count, const void *data, size_t size)
{
    if (size)
        pieces[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    return count;
}

/* The next pieces in order: our bytes up to a blob, its gap, its data, and so on; up to one whose pages the pipe is to get. */
static int gather(const mp__outbox *outbox, struct iovec *pieces, size_t capacity)
{
    size_t sent = outbox->sent, skip = outbox->blob_sent;
    int count = 0;
    for (size_t i = outbox->blob_next; i < outbox->blob_count; i++) {
        if (count + 3 >= PIECES)
            return count;
        const mp__outbox_blob *blob = &outbox->blobs[i];
        size_t gap = skip < blob->gap ? blob->gap - skip : 0, done = skip > blob->gap ? skip - blob->gap : 0;
        count = add_piece(pieces, count, outbox->bytes.data + sent, blob->at - sent);
        count = add_piece(pieces, count, zeros, gap);
        if (count && pages_of(outbox, blob, done, capacity))
            return count;
        if (!blob->data && blob->size - done > sizeof zeros)
            return add_piece(pieces, count, zeros, sizeof zeros);
        count = add_piece(pieces, count, blob->data ? blob->data + done : zeros, blob->size - done);
        sent = blob->at;
        skip = 0;
    }
    return add_piece(pieces, count, outbox->bytes.data + sent, outbox->bytes.size - sent);
}

/* Takes `written` bytes off the front, piece by piece as gather laid them out. */
static void advance(mp__outbox *outbox, size_t written)
{
    outbox->written += written;
    while (written) {
        const mp__outbox_blob *blob = has_blobs(outbox) ? &outbox->blobs[outbox->blob_next] : NULL;
        size_t ours = (blob ? blob->at : outbox->bytes.size) - outbox->sent, take = written < ours ? written : ours;
        outbox->sent += take;
        written -= take;
        if (!blob)
            continue;
        size_t rest = blob->gap + blob->size - outbox->blob_sent;
        take = written < rest ? written : rest;
        outbox->blob_sent += take;
        written -= take;
        if (take == rest) {
            outbox->blob_next++;
            outbox->blob_sent = 0;
        }
    }
}

/* Forgets what has been written, so that a way that is never quite empty does not grow for ever. */
static void compact(mp__outbox *outbox)
{
    size_t sent = outbox->sent, blobs = outbox->blob_count - outbox->blob_next;
    memmove(outbox->bytes.data, outbox->bytes.data + sent, outbox->bytes.size - sent);
    outbox->bytes.size -= sent;
    outbox->sent = 0;
    if (outbox->blob_next)
        memmove(outbox->blobs, outbox->blobs + outbox->blob_next, blobs * sizeof *outbox->blobs);
    outbox->blob_count = blobs;
    outbox->blob_next = 0;
    for (size_t i = 0; i < blobs; i++)
        outbox->blobs[i].at -= sent;
}

/* The pages of the blob that is next, without waiting where the descriptor does not. 0: it is none for that. */
static ssize_t splice_blob(mp__outbox *outbox, int fd, size_t capacity)
{
    const mp__outbox_blob *blob = has_blobs(outbox) ? &outbox->blobs[outbox->blob_next] : NULL;
    if (!blob || outbox->sent < blob->at || outbox->blob_sent < blob->gap)
        return 0;
    size_t done = outbox->blob_sent - blob->gap, size = pages_of(outbox, blob, done, capacity);
    if (!size)
        return 0;
    struct iovec piece = {.iov_base = (void *)(uintptr_t)(blob->data + done), .iov_len = size};
    ssize_t spliced = mp__system.vmsplice(fd, &piece, 1, fcntl(fd, F_GETFL) & O_NONBLOCK ? SPLICE_F_NONBLOCK : 0);
    if (spliced >= 0 || errno == EAGAIN || errno == EINTR || errno == EPIPE)
        return spliced;
    outbox->copies = true;
    return 0;
}

static ssize_t put(mp__outbox *outbox, int fd, size_t capacity)
{
    struct iovec pieces[PIECES];
    ssize_t spliced = splice_blob(outbox, fd, capacity);
    return spliced ? spliced : mp__system.writev(fd, pieces, gather(outbox, pieces, capacity));
}

/* What the pipe can hold; asked for only where that matters. */
static size_t capacity_of(mp__outbox *outbox, int fd)
{
    int capacity = has_blobs(outbox) && !outbox->copies ? fcntl(fd, F_GETPIPE_SZ) : 0;
    outbox->copies |= capacity < 0;
    return capacity < 0 ? 0 : (size_t)capacity;
}

/* All has gone. */
static void begin_again(mp__outbox *outbox)
{
    outbox->bytes.size = outbox->sent = 0;
    outbox->blob_count = outbox->blob_next = 0;
    if (outbox->bytes.capacity > KEEP) /* one huge item does not mean that all are */
        mp__buffer_fini(&outbox->bytes);
}

size_t mp__outbox_copy(const mp__outbox *outbox, void *to, size_t room)
{
    size_t size = outbox->bytes.size;
    if (!size || size > room || outbox->sent || has_blobs(outbox))
        return 0;
    memcpy(to, outbox->bytes.data, size);
    return size;
}

void mp__outbox_gone(mp__outbox *outbox)
{
    outbox->written += outbox->bytes.size;
    begin_again(outbox);
}

size_t mp__outbox_take(mp__outbox *outbox, void *to, size_t room)
{
    struct iovec pieces[PIECES];
    size_t taken = 0;
    int count;
    while (taken < room && (count = gather(outbox, pieces, SIZE_MAX))) {
        size_t before = taken;
        for (int i = 0; i < count && taken < room; i++) {
            size_t size = pieces[i].iov_len < room - taken ? pieces[i].iov_len : room - taken;
            memcpy((char *)to + taken, pieces[i].iov_base, size);
            taken += size;
        }
        advance(outbox, taken - before);
    }
    if (!mp__outbox_waiting(outbox) && !has_blobs(outbox))
        begin_again(outbox);
    else if (outbox->sent > outbox->bytes.size / 2)
        compact(outbox);
    return taken;
}

int mp__outbox_write(mp__outbox *outbox, int fd)
{
    size_t capacity = capacity_of(outbox, fd);
    while (mp__outbox_waiting(outbox) || has_blobs(outbox)) {
        ssize_t written = put(outbox, fd, capacity);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            int failed = errno;
            if (outbox->sent > outbox->bytes.size / 2)
                compact(outbox);
            return failed;
        }
        advance(outbox, (size_t)written);
    }
    begin_again(outbox);
    return 0;
}
