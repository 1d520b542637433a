/* A stream: an open job whose items live in cells, from when they are taken out of the input until their results are read. Its
 * public face is iter.c, what asks a generator is generator.c. All calls with the pool's lock, unless they say otherwise. */
#ifndef MP__POOL_STREAM_H
#define MP__POOL_STREAM_H
#include "pool/bell.h"
#include "pool/job.h"
#include <millpond/iter.h>

typedef struct mp_iter mp__stream;

/*     FREE -> SENT -> READY -> FREE      SENT: the core has it; READY: it has ended, and waits to be read */
typedef enum mp__cell_state { MP__CELL_FREE, MP__CELL_SENT, MP__CELL_READY } mp__cell_state;

typedef struct mp__cell {
    mp__cell_state state;
    struct mp__cell *next;     /* in the stream's queue, or among the spare */
    struct mp__cell *next_too; /* in its bucket */
    size_t item;               /* which of the job it is */
    size_t number;             /* which of the input */
    size_t bytes;              /* what it points to: its input while it is SENT, then its result */
    mp_status status;
    mp_error *error; /* NULL: none, or no memory for it: then `status` is all there is */
    void *value, *out;
} mp__cell;

/* Cells of one allocation, behind it. They are together so that what is sent, and what comes, can be in rows. */
typedef struct mp__slab {
    struct mp__slab *next;
} mp__slab;

/* Of a pool: those whose input has not ended. */
typedef struct mp__streams {
    mp__stream *head;
    bool unbound; /* the pool is being joined: nobody waits to be read */
} mp__streams;

/* What an executor's map asks for beyond the options. */
typedef struct mp__stream_terms {
    uint64_t deadline; /* of all its results; 0: none */
    bool runs_on;      /* left before anything was read, what was submitted still runs */
    /* With the lock. The stream is about to be submitted: MP_OK, or why not; and it is over, if it was: every item has ended, and
     * no more come. NULL: nobody asks. */
    mp_status (*admit)(void *user, mp__stream *stream, mp_error *error);
    void (*over)(void *user);
    void *user;
} mp__stream_terms;

struct mp_iter {
    mp__job job; /* first: the job's pointer is ours */
    /* fixed at submit */
    struct mp__dispatch *dispatch; /* NULL: the call was refused, `input_error` says why */
    pid_t owner;
    bool ordered;
    mp__source source;
    size_t buffersize, bufferbytes, workers;
    size_t value_at, out_at, cell_size; /* where a cell has its item and its result, and how large it is with both */
    size_t cell_align, cell_step;       /* how it is aligned, and how far from the next one of its slab */
    bool in_owns, out_owns;             /* items, or results, can point to memory */
    mp_imap_options options;
    mp__stream_terms terms;
    /* guarded by the pool's lock */
    unsigned holders; /* the user, the engine until the job is done, the generator's thread */
    bool left;        /* the user is gone: what comes is thrown away */
    bool job_done;    /* the core has forgotten it */
    /* the input */
    mp__stream *next;      /* in the pool's list */
    size_t taken;          /* how many items have been taken from it */
    size_t accepted;       /* of these: not given to the core yet */
    bool input_over;       /* no more come: the job is sealed */
    bool input_told;       /* the reader knows that it failed, if it did */
    mp_error input_error;  /* status MP_OK: it just ended */
    pthread_cond_t wanted; /* there is room, or nobody wants more: for the generator's thread */
    bool generates;        /* there is such a thread */
    pthread_t generator;
    /* what has been taken and not read */
    mp__cell **buckets;                /* of SENT ones, by item */
    size_t bucket_count;               /* a power of two */
    mp__cell *queue_head, *queue_tail; /* ordered: all, in order; else those that are READY, as they came */
    mp__cell *spare, *spare_tail;      /* in the order in which they were read: so neighbours stay neighbours */
    mp__slab *slabs;
    size_t held, sent; /* cells that are not FREE; that are SENT */
    size_t bytes;      /* sum of theirs, and their own size */
    size_t usual;      /* how many bytes results point to, lately; SIZE_MAX: none has come yet */
    pthread_cond_t readable;
    mp__bell bell; /* rings while it is readable */
    /* progress */
    uint64_t read, failed, began_at, printed_at;
    bool printed_end;
    /* guarded by `reading`, which is taken alone or behind the pool's lock; whether anything is at hand changes with both */
    pthread_mutex_t reading;
    mp__cell *_Atomic hand; /* READY ones that readers take without the pool's lock, but for the last of them */
    mp__cell *handed;       /* in front of them in their list: those that were, and still count as held */
};

/* Takes what the pools' streams have room for from arrays, wakes generators, ends the inputs of a pool that is no more. True if the
 * core has been given something. */
bool mp__streams_feed(struct mp__dispatch *dispatch);
/* Ctrl-C: the inputs end, and their readers learn why. */
void mp__streams_interrupt(struct mp__dispatch *dispatch);
/* From now on streams run to their end whether they are read or not. */
void mp__streams_unbind(struct mp__dispatch *dispatch);

/* iter.c: opens one, as mp_pool_imap. */
mp__stream *mp__stream_open(mp_pool *pool, const mp_task *task, bool ordered, const mp__source *source,
                            const mp_imap_options *options, const mp__stream_terms *terms);

/* A cell to put the next item into; NULL: no memory. Without the lock when `stream` has not been submitted yet. */
mp__cell *mp__stream_cell(mp__stream *stream);
/* The copy of an item, made by mp__stream_fill, will be the next of the job, or fails as `fault` says; the core gets those that were
 * accepted with mp__stream_submit. */
void mp__stream_accept(mp__stream *stream, mp__cell *cell, const mp__fault *fault);
void mp__stream_submit(mp__stream *stream);
/* Copies a value of the user's into the cell, with what it points to. Without the lock. */
void mp__stream_fill(const mp__stream *stream, mp__cell *cell, const void *value, mp__fault *fault);
void mp__stream_drop(mp__stream *stream, mp__cell *cell); /* that was not accepted */
/* The input has ended, or failed: `error`. */
void mp__stream_end_input(mp__stream *stream, const mp_error *error);
/* True if one more item may be taken. */
bool mp__stream_room(const mp__stream *stream);

/* True if the input would be asked for more now. */
bool mp__stream_hungry(const mp__stream *stream);

static inline bool mp__stream_has_result(const mp__stream *stream)
{
    return stream->hand || (stream->queue_head && stream->queue_head->state == MP__CELL_READY);
}
/* There is something to be read: a result, a failed input, or the end. */
bool mp__stream_readable(const void *stream);
/* hand.c: takes the result that is next; NULL: none is left. After it has been looked at: mp__stream_drop. */
mp__cell *mp__stream_take(mp__stream *stream);
/* The same without the lock, as long as more than one is at hand; else NULL. It is looked at until mp__stream_taken, and nobody else
 * reads meanwhile. */
mp__cell *mp__stream_take_quickly(mp__stream *stream);
void mp__stream_taken(mp__stream *stream);
/* If nothing is at hand, some of what can be read comes there; and all of it goes back. */
void mp__stream_reach(mp__stream *stream);
void mp__stream_put_back(mp__stream *stream);
/* Rings the bell, or silences it. */
void mp__stream_show(mp__stream *stream);
/* The user lets go: what has not started is cancelled, what waits to be read is thrown away. */
void mp__stream_leave(mp__stream *stream);
/* One of the holders lets go; true: it was the last, and the caller frees it without the lock. */
bool mp__stream_unhold(mp__stream *stream);
/* With its hold on the dispatch. */
void mp__stream_free(mp__stream *stream);

extern const mp__job_kind mp__stream_kind;
/* How cells are laid out, and the buckets for a start; false: no memory. Without the lock. */
bool mp__stream_init(mp__stream *stream);

/* generator.c: starts the thread that asks the generator; 0 or errno. With the lock, signals blocked. */
int mp__generator_start(mp__stream *stream);
/* True on that very thread; on that of any stream of this pool. */
bool mp__generator_here(const mp__stream *stream);
bool mp__generator_inside(const struct mp__dispatch *dispatch);

#endif
