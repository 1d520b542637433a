/* The inside of a worker, shared by worker.c (how it runs items), worker_time.c (what it looks at between them) and
 * worker_begin.c (how it comes to that). */
#ifndef MP__PROCESS_WORKER_STATE_H
#define MP__PROCESS_WORKER_STATE_H
#include "pool/call.h"
#include "pool/forks.h"
#include "pool/process/footing.h"
#include "pool/process/results.h"
#include "pool/process/worker.h"

enum { MP__LITTLE = 64 }; /* bytes: so much room there is from the beginning */

typedef struct mp__process_worker {
    const mp__worker_start *start;
    mp__footing footing;
    bool restless; /* something in it had to be mended once: it is looked at after each item */
    mp__shared *shared;
    mp__frame_reader reader;
    mp__results results;
    uint64_t received;      /* bytes of tasks */
    const mp__chaos *chaos; /* NULL: nothing goes wrong on purpose */
    uint64_t claim;         /* shared->claim, as we know it */
    bool passes_over;       /* an item for which there is no memory */
    bool recalled;          /* there is a newer epoch: what comes is thrown away until RESUME names it */
    const mp_task *task;    /* of the items that come */
    uint32_t attempt;
    size_t next_item, item_step;
    uint64_t patience_ns;  /* how long their results may wait for others, between items */
    uint64_t expected_ns;  /* for so long who waits for the only one of them is awake, when it was sent */
    bool urgent;           /* one of them has failed: that may end the others */
    uint64_t row_left;     /* bytes of the row that is being run, behind its present item */
    uint64_t begun_before; /* bytes of tasks that had begun when results went out last */
    void *input, *output;  /* room for one value each; as long as it is little, not of the heap */
    size_t room;
    mp__buffer scratch; /* what the input points to */
    bool past_hooks; /* items have begun: what looks like a hook now is what is left of a pipe that a task has read from */
    const mp_task *finalizer;
    void *last_input; /* of the finalizer */
    char name[MP_NAME_MAX];
    mp_call call;
    uint64_t looked_at, flushed_at, glanced_at; /* ns */
    uint64_t glance_ns;                         /* what one thing of the footing costs to look at */
    unsigned until_look, looked_items;
} mp__process_worker;

/* How many items it has started. */
static inline uint64_t mp__worker_started(const mp__process_worker *w)
{
    return w->claim & MP__STARTED_MASK;
}

/* worker_time.c. Notes how long the items since the last time took. True: long enough for all to be looked at behind one. */
bool mp__worker_account(mp__process_worker *w);
/* Behind items, when that has been noted: looks at what the worker stands on, or at a part of it. */
void mp__worker_look_round(mp__process_worker *w, bool long_ones);

/* Takes frames and does what they say, until it is to leave. */
_Noreturn void mp__worker_serve(mp__process_worker *w);

#endif
