/* A worker's way to give results: whole frames gather in the shared buffer, committed one by one, and go into the pipe when it is time. */
#ifndef MP__PROCESS_RESULTS_H
#define MP__PROCESS_RESULTS_H
#include "pool/process/outbox.h"
#include "pool/process/protocol.h"
#include "serial/quick.h"
#include "serial/row.h"
#include <stdio.h>
#include <stdio_ext.h>

typedef struct mp__results {
    mp__shared *shared;
    int fd;            /* of the pipe, blocking */
    mp__buffer bytes;  /* fixed, over shared->buffer */
    uint64_t base;     /* offset of its beginning in the stream of results */
    uint64_t count;    /* frames so far, and in their place the values of rows */
    size_t row;        /* where in `bytes` the open row begins, if there is one, */
    size_t row_size;   /* of how many bytes its values are; 0: there is none, */
    size_t row_count;  /* and how many it has */
    uint32_t expected; /* of the last RUN that named one: see mp__shared.asleep */
    mp__outbox large;  /* results that do not fit it */
    mp__blobs blobs;
} mp__results;

/* worker.c: ends this process; stdout is flushed. */
_Noreturn void mp__worker_leave(int code);

void mp__results_flush(mp__results *r);
/* Tells who waits for the only result, and sleeps or is about to: he looks at the buffer. False: nobody does, and nobody knows. */
bool mp__results_tell(mp__results *r);
/* A frame of bytes. It fits when the buffer is empty: messages are bounded. */
void mp__results_raw(mp__results *r, unsigned kind, const void *bytes, size_t size);
/* What an item prints is written before its result is there: a program that leaves when it has all results, and a later item that takes
 * the worker with it, lose nothing. Looked at without stdout's lock, for most print nothing. */
static inline void mp__results_print(void)
{
#ifdef __GLIBC__ /* as __fpending(3) does for bytes, without the call; a wide stream is always flushed */
    bool pending = stdout->_IO_write_ptr != stdout->_IO_write_base || stdout->_mode > 0;
#else
    bool pending = __fpending(stdout) > 0;
#endif
    if (pending)
        fflush(stdout);
}

/* Where that is captured: what a task has printed, before the result of its item (or of the initializer). It is forgotten only when
 * that is written down too: should we die of a result that cannot be read, the parent finds the text itself. If we die between the two
 * it knows by `printed`, which goes into the shared memory, that it has been told. */
void mp__results_output(mp__results *r, const int fds[MP__CAPTURED], uint64_t printed);
void mp__results_forget_output(mp__results *r, const int fds[MP__CAPTURED]);
/* In a result's place. */
void mp__results_failure(mp__results *r, mp_status status, bool by_task, const char *message);
void mp__results_fault(mp__results *r, const char *what, const mp__fault *fault);
/* A value with blobs, or one that the buffer cannot hold: past the buffer. */
void mp__results_large(mp__results *r, const mp_type *type, const void *value);

/* True if the parent has all that is finished. */
static inline bool mp__results_are_got(const mp__results *r)
{
    uint64_t got = atomic_load_explicit(&r->shared->got, memory_order_acquire), all = r->base + r->bytes.size;
    if (got > all)
        mp__worker_leave(MP__EXIT_PROTOCOL); /* a wild task has written there: we would keep what it waits for */
    return got == all || !r->bytes.size;
}

static inline void mp__results_commit(mp__results *r)
{
    r->count++;
    atomic_store_explicit(&r->shared->committed, r->base + r->bytes.size, memory_order_release);
}

/* The open row becomes a frame. Before anything else is written behind it, or the buffer goes into the pipe. */
void mp__results_end_row(mp__results *r);
/* A row of values of so many bytes begins, with room for one at least. */
void mp__results_begin_row(mp__results *r, size_t size);

/* How many values more of this type the open row can have; 0: none is open, or it is of others. */
static inline size_t mp__results_row_room(const mp__results *r, const mp_type *type)
{
    if (r->row_size != type->size || !mp__is_plain(type))
        return 0;
    size_t values = MP__ROW_MAX - r->row_count, fitting = (r->bytes.capacity - r->bytes.size) / r->row_size;
    return values < fitting ? values : fitting;
}

/* Where the next value of the open row comes, and what `shared->row` says now. */
typedef struct mp__row_end {
    uint8_t *at;
    uint64_t word;
} mp__row_end;

static inline mp__row_end mp__results_row_end(const mp__results *r)
{
    return (mp__row_end){.at = r->bytes.data + r->bytes.size,
                         .word = mp__row_word(r->base + r->row, r->row_size, r->row_count)};
}

/* One more value, where there is room; it is there for the parent. */
static inline void mp__row_put(mp__row_end *end, mp__shared *shared, const void *value, size_t size)
{
    mp__row_copy_one(end->at, value, size);
    end->at += size;
    atomic_store_explicit(&shared->row, ++end->word, memory_order_release); /* the count stands lowest in it */
}

/* So many have been put. */
static inline void mp__results_row_went_on(mp__results *r, size_t count)
{
    r->bytes.size += count * r->row_size;
    r->row_count += count;
    r->count += count;
}

static inline void mp__results_number(mp__results *r, const mp_type *type, const void *value)
{
    if (!mp__results_row_room(r, type))
        mp__results_begin_row(r, type->size);
    mp__row_end end = mp__results_row_end(r);
    mp__row_put(&end, r->shared, value, type->size);
    mp__results_row_went_on(r, 1);
}

static inline void mp__results_value(mp__results *r, const mp_type *type, const void *value)
{
    if (mp__is_plain(type) && (type->kind != MP__BOOL || *(const uint8_t *)value <= 1)) {
        mp__results_number(r, type, value);
        return;
    }
    mp__fault fault;
    mp__results_end_row(r);
    size_t before = r->bytes.size;
    r->blobs.count = 0;
    mp_status status = mp__frame_write(&r->bytes, MP__VALUE, type, value, &r->blobs, &fault);
    if (status == MP_OK && !r->blobs.count) {
        mp__results_commit(r);
        return;
    }
    r->bytes.size = before;
    if (status == MP_OK || status == MP_ENOMEM)
        mp__results_large(r, type, value);
    else
        mp__results_fault(r, "the result cannot be sent", &fault);
}

#endif
