/* How results leave a worker. They gather in the shared buffer; so whenever the worker dies, or is long about an item, the parent finds
 * what is finished: in the pipe, and behind that in the buffer. A result that is too large for the buffer is written past it.
 *
 * The worker's only thread. A parent that is gone ends the worker; whatever else goes wrong is its item's failure. */
#include "pool/process/results.h"
#include "pool/process/descendants.h"
#include "pool/system.h"
#include "serial/codec.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* The buffer is empty, and the stream has come this far. `base` first: the parent, which may look at any moment, must not find that
 * the buffer has all up to here, when what went past it was written into the pipe. And before the buffer is written again: what
 * the parent was copying meanwhile is then seen not to count. */
static void begin_buffer(mp__results *r, uint64_t base)
{
    r->base = base;
    r->bytes.size = 0;
    atomic_store_explicit(&r->shared->base, base, memory_order_release);
    atomic_store_explicit(&r->shared->committed, base, memory_order_release);
    atomic_thread_fence(memory_order_release);
}

/* Before bytes go into the pipe. In this order: who still finds the old `announced` finds the old `results` with it. */
static void announce(mp__results *r, uint64_t size)
{
    atomic_store_explicit(&r->shared->announced, r->base + size, memory_order_release);
    atomic_store_explicit(&r->shared->results, r->count, memory_order_release);
}

/* In this order: whoever finds the new `committed` and the old `row` finds that they do not belong together; and between the two all
 * that the row has is in what is committed. */
void mp__results_end_row(mp__results *r)
{
    if (!r->row_size)
        return;
    mp__row_store_head(r->bytes.data + r->row, MP__VALUES, (uint32_t)r->row_size, r->row_count);
    r->row_size = 0;
    atomic_store_explicit(&r->shared->committed, r->base + r->bytes.size, memory_order_release);
}

void mp__results_begin_row(mp__results *r, size_t size)
{
    mp__results_end_row(r);
    if (r->bytes.capacity - r->bytes.size < MP__ROW_HEAD + size)
        mp__results_flush(r);
    r->row = r->bytes.size;
    r->row_size = size;
    r->row_count = 0;
    r->bytes.size += MP__ROW_HEAD;
}

void mp__results_flush(mp__results *r)
{
    mp__results_end_row(r);
    size_t size = r->bytes.size, done = 0;
    if (!size)
        return;
    announce(r, size);
    while (done < size) {
        struct iovec rest = {r->bytes.data + done, size - done};
        ssize_t written = mp__system.writev(r->fd, &rest, 1);
        if (written >= 0)
            done += (size_t)written;
        else if (errno != EINTR)
            mp__worker_leave(MP__EXIT_GONE);
    }
    begin_buffer(r, r->base + size);
}

bool mp__results_tell(mp__results *r)
{
    uint32_t expected = r->expected, found = expected;
    r->expected = 0;
    if (!expected)
        return false;
    if (!atomic_compare_exchange_strong(&r->shared->asleep, &found, 0) &&
        (found != (expected | MP__ASLEEP) || !atomic_compare_exchange_strong(&r->shared->asleep, &found, 0)))
        return false;
    if (found & MP__ASLEEP)
        mp__word_wake(&r->shared->asleep);
    return true;
}

/* A frame of bytes. It fits when the buffer is empty: messages are bounded. */
void mp__results_raw(mp__results *r, unsigned kind, const void *bytes, size_t size)
{
    mp__results_end_row(r);
    if (!mp__frame_write_raw(&r->bytes, kind, bytes, size)) {
        mp__results_flush(r);
        if (!mp__frame_write_raw(&r->bytes, kind, bytes, size))
            mp__worker_leave(MP__EXIT_PROTOCOL);
    }
    mp__results_commit(r);
}

void mp__results_failure(mp__results *r, mp_status status, bool by_task, const char *message)
{
    struct rusage used;
    mp__refusal refusal = {.status = (int32_t)status, .by_task = by_task, .message = {message, strlen(message)}};
    mp__fault fault = {0};
    mp__results_end_row(r);
    if (getrusage(RUSAGE_SELF, &used) == 0) {
        refusal.cpu_ns = mp__used_cpu_ns(&used);
        refusal.rss_bytes = (uint64_t)used.ru_maxrss * 1024;
    }
    if (mp__frame_write(&r->bytes, MP__FAILURE, &mp__refusal_type, &refusal, &r->blobs, &fault) != MP_OK) {
        mp__results_flush(r);
        fault = (mp__fault){0};
        if (mp__frame_write(&r->bytes, MP__FAILURE, &mp__refusal_type, &refusal, &r->blobs, &fault) != MP_OK)
            mp__worker_leave(MP__EXIT_PROTOCOL);
    }
    mp__results_commit(r);
}

void mp__results_fault(mp__results *r, const char *what, const mp__fault *fault)
{
    char text[sizeof fault->path + sizeof fault->message + 32], message[MP_MESSAGE_MAX];
    mp__fault_text(fault, text, sizeof text);
    snprintf(message, sizeof message, "%s: %s", what, text);
    mp__results_failure(r, fault->status, false, message);
}

void mp__results_output(mp__results *r, const int fds[MP__CAPTURED], uint64_t printed)
{
    static mp__printed text;
    mp__capture_flush();
    atomic_store_explicit(&r->shared->printed, printed, memory_order_release);
    for (text.which = 0; text.which < MP__CAPTURED; text.which++) {
        size_t size = mp__capture_read(fds[text.which], &text);
        if (size)
            mp__results_raw(r, MP__OUTPUT, &text, MP__PRINTED_HEAD + size);
    }
}

void mp__results_forget_output(mp__results *r, const int fds[MP__CAPTURED])
{
    mp__capture_forget(fds);
    atomic_store_explicit(&r->shared->printed, 0, memory_order_release);
}

/* Past the buffer: blobs are written from where the task left them. Until the last byte is out the item is not finished. */
void mp__results_large(mp__results *r, const mp_type *type, const void *value)
{
    mp__fault fault = {0};
    (void)mp__results_tell(r); /* he will have to read it out of the pipe */
    mp__results_flush(r);
    if (mp__outbox_value(&r->large, MP__VALUE, type, value, &fault) != MP_OK) {
        mp__results_fault(r, "the result cannot be sent", &fault);
        return;
    }
    uint64_t size = mp__outbox_size(&r->large);
    r->count++;
    announce(r, size);
    if (mp__outbox_write(&r->large, r->fd) != 0)
        mp__worker_leave(MP__EXIT_GONE);
    begin_buffer(r, r->base + size);
}
