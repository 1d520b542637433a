/* The seam between the engine and a kind of worker: one const struct of functions per kind. A kind knows slots and lives
 * (core.h), puts items on their way and says what became of them; it decides nothing.
 *
 * Every hook but `run` is called under the pool's lock by whichever thread drives the pool, never blocks unless it says so, runs no
 * code of the user's on that thread, and never calls up: what happens to a worker comes out of `next` as an event. */
#ifndef MP__POOL_BACKEND_H
#define MP__POOL_BACKEND_H
#include "pool/core.h"
#include "pool/evidence.h"
#include "pool/registry.h"
#include "serial/frame.h"
#include <millpond/error.h>
#include <millpond/pool.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct mp__workers mp__workers; /* a kind's own state */

/* Nanoseconds: to `spin` for longer is to work on nothing. */
#define MP__SPIN_MOST 10000000u

/* What each life runs before its first item, or after its last: a task without result, and its input. */
typedef struct mp__hook {
    const mp_task *task; /* NULL: nothing */
    uint32_t index;      /* in the task table */
    const void *value;   /* borrowed until close */
} mp__hook;

/* What a worker may use; 0: what the program may (`core`, too). A kind that cannot limit its workers passes over them. */
#define MP__LIMIT_NONE UINT64_MAX /* for `core`: no core file */
typedef struct mp__worker_limits {
    uint64_t address_space, cpu_seconds, file_size, core; /* as setrlimit(2) has them: bytes, and seconds of a life */
    uint64_t rss; /* bytes that it may have resident between items; with more it is SPENT */
} mp__worker_limits;

typedef struct mp__backend_config {
    uint32_t slots;              /* how many lives can be there at a time; see `grow` */
    uint32_t workers;            /* how many are wanted */
    const mp__task_table *tasks; /* borrowed until close; what workers can run */
    mp_start_method start_method;
    const char *name_prefix; /* workers are called NAME_PREFIX_PLACE; NULL: the kind chooses. Borrowed until close */
    mp__hook initializer, finalizer;
    mp__worker_limits limits;
    const struct mp__chaos *chaos; /* chaos.h: what is to go wrong on purpose; NULL: nothing. Borrowed until close */
    bool capture;                  /* what tasks print comes out of `next` as OUTPUT, and in the evidence of LOST */
    bool counted;                  /* `workers` is what the user wants, and not one for each CPU */
} mp__backend_config;

/* Items that were encoded elsewhere, in frames for a worker of this kind: bytes that are copied, and behind them, or NULL, some that
 * are borrowed as values are. There need not be an item in them. */
typedef struct mp__passed {
    const void *bytes, *blob;
    size_t size, blob_size;
} mp__passed;

/* Items of a job to be sent, in a row: their values, and the places of their results, stand at even distances. Each one's are
 * borrowed until its result, or the loss of its worker, has come out of `next`; where the kind has `kill`, only until then if that
 * comes first. */
typedef struct mp__items {
    const void *job;   /* whose items they are: only to tell one from another */
    uint32_t task;     /* index in the task table */
    uint32_t attempt;  /* at each of them, from 1 */
    bool lone;         /* each of them is item `index` of a call of its own; else they count up from there */
    bool patient;      /* nobody minds if results come late, as long as the worker has more to run: see mp__core_job */
    size_t index;      /* of the first */
    size_t count;      /* at least 1 */
    const void *value; /* of the first */
    void *out;         /* room for its result, for kinds that run tasks in this process; any content. Never NULL */
    size_t value_step, out_step; /* from one to the next, in bytes */
    const mp__passed *passed; /* not NULL: `count` items in these frames, and the rest means nothing; for processes alone */
} mp__items;

static inline const void *mp__items_value(const mp__items *items, size_t i)
{
    return (const char *)items->value + i * items->value_step;
}

static inline void *mp__items_out(const mp__items *items, size_t i)
{
    return (char *)items->out + i * items->out_step;
}

static inline size_t mp__items_index(const mp__items *items, size_t i)
{
    return items->index + (items->lone ? 0 : i);
}

typedef enum mp__event_kind {
    MP__EV_GREETED,      /* the life has begun, and runs its initializer now; only if there is one */
    MP__EV_READY,        /* it takes items */
    MP__EV_START_FAILED, /* it does not, and never will; `error` says why. The life is over */
    MP__EV_RESULT,       /* of the first item sent that has had none: see mp__event */
    MP__EV_WRITABLE,     /* `room` may be true again */
    MP__EV_RECALLED,     /* answer to recall; `started` */
    MP__EV_LOST,         /* the life is over, all its results are out; `started`, and `error` says how it ended */
    MP__EV_NONSENSE, /* it does not keep to the protocol: no further result is to be expected; `error`. LOST follows a kill */
    MP__EV_BROKEN,   /* no life can begin any more; `error`. LOST follows for those that were */
    MP__EV_SPENT,    /* this life should be replaced, and `error` says why: it has more memory than it may. Once */
    MP__EV_OUTPUT,   /* `evidence`: what the item has written whose RESULT comes next; only where it is captured */
    MP__EV_PROGRESS, /* answer to watch; `started`, `heed`, `asked_at` */
    MP__EV_ENDED,    /* answer to an end that was LATER; `ended` */
    MP__EV_HOSTS,    /* so many CPUs are there now, on all hosts: `cpus` */
} mp__event_kind;

/* RESULT, three forms. `frame`: the values of `count` items are in frames that follow each other, and this is the first. No frame and
 * `count` > 0: so many items in a row have succeeded, and their values are in place, in `out`. Neither: the item failed, and `error`
 * says why. */
typedef struct mp__event {
    mp__event_kind kind;
    uint32_t slot, generation;
    uint64_t started; /* how many items this life has started; RECALLED: UINT64_MAX: not to be said now, it goes on */
    uint64_t busy_ns; /* RESULT: for how long this life has run items so far; 0: not measured */
    size_t count;     /* RESULT: values */
    mp__frame *frame; /* borrowed until the next call of `next` */
    mp_error *error;  /* status, message, signal, exit code, pid, worker; borrowed likewise */
    bool by_task;     /* RESULT that failed: the task said so, and not that something cannot be sent or read */
    bool vanished;    /* LOST: it is out of reach, and nobody knows what it has started, nor will */
    mp__heed heed;
    bool ended;
    uint32_t cpus;
    uint64_t asked_at;            /* PROGRESS: it was seen so then, or later */
    const mp__evidence *evidence; /* LOST, OUTPUT, a RESULT that failed; NULL: there is none. Borrowed likewise */
} mp__event;

typedef enum mp__ending { MP__END_NO, MP__END_YES, MP__END_LATER } mp__ending;

/* While items are under way whoever waits asks for events this often at least, if only to be asked himself. */
#define MP__ROUND_NS 1000000000u

typedef struct mp__backend {
    const char *name;
    /* Tasks run in this very process: an mp_ptr holds there, and what only processes can have cannot be had. */
    bool in_program;
    /* Workers that there can be, whatever is asked for; 0: any number. */
    uint32_t most;

    /* Makes what a kind needs to start workers; starts none. On failure nothing is left. May block shortly. */
    mp_status (*open)(mp__workers **workers, const mp__backend_config *config, mp_error *error);
    /* Makes room for this many slots; there are fewer now. MP_ENOMEM: nothing has changed. */
    mp_status (*grow)(mp__workers *workers, uint32_t slots);
    /* Begins a life as worker `place`; READY, START_FAILED or LOST follows. */
    void (*start)(mp__workers *workers, uint32_t slot, uint32_t generation, uint32_t place);
    /* True if `send` may be called for more: a bound on bytes under way, not on items. */
    bool (*room)(mp__workers *workers, uint32_t slot);
    /* Puts items on their way, the first one and those behind it as long as there is `room`: how many. A RESULT or LOST will answer
     * for each. They may wait until `flush`. */
    size_t (*send)(mp__workers *workers, uint32_t slot, const mp__items *items);
    void (*flush)(mp__workers *workers, uint32_t slot);
    /* Keeps the worker from starting what it was sent and has not started; RECALLED follows. NULL: the kind cannot; the engine
     * then takes back only what was not sent. */
    void (*recall)(mp__workers *workers, uint32_t slot);
    /* How many items this life has started, now. 0: there is none, or it is over; or it is far away, and has not said so in time: may
     * block for a moment there. */
    uint64_t (*started)(mp__workers *workers, uint32_t slot);
    /* True: PROGRESS will say how far the life is. False: `started` and `heeds` say it now. NULL: they always do. */
    bool (*watch)(mp__workers *workers, uint32_t slot);
    /* Waits until recalls are answered, for a moment at most. NULL: they always are. */
    void (*settle)(mp__workers *workers);
    /* Lets the task that runs there now see that nobody waits for it: mp_call_cancelled. Items sent later are not concerned. */
    void (*cancel)(mp__workers *workers, uint32_t slot);
    /* Whether the task that runs there now has looked if it is cancelled. UNKNOWN: it has not, at the first question and until it had
     * a CPU to do so (a millisecond, since that or since `cancel`) or waits for something else. NULL: NO. */
    mp__heed (*heeds)(mp__workers *workers, uint32_t slot);
    /* Ends the life (asks, as `kill` that is not hard) if it runs its `ordinal`-th item, and has not given its result: then it
     * starts nothing any more, LOST follows, and values that were sent are not looked at any more. NO: it is not, or no longer,
     * at that item, and nothing has changed. LATER: ENDED will say which. NULL where `kill` is. */
    mp__ending (*end)(mp__workers *workers, uint32_t slot, uint64_t ordinal);
    /* Lets the worker leave when it is through with what it has; its finalizer runs then. LOST follows. */
    void (*stop)(mp__workers *workers, uint32_t slot);
    /* Ends it: asks first, `hard` does not ask. LOST follows. Idempotent. Values that were sent are not looked at any more.
     * NULL: the kind cannot; what runs is cancelled, the rest recalled, and the life ends when its task returns. */
    void (*kill)(mp__workers *workers, uint32_t slot, bool hard);
    /* Looks for what workers have finished and not said yet: its RESULTs come out of `next` after this. A worker need not say it
     * before it starts its next item, but must before it has none left. */
    void (*look)(mp__workers *workers);
    /* Waits for results without sleeping: for `ns` nanoseconds at most, or until `*wanted` is not 0. Workers that have nothing left to
     * run then wait likewise, and wake nobody. True: `next` has results, and the next round of it looks at nothing else. NULL: the
     * kind cannot. */
    bool (*spin)(mp__workers *workers, uint64_t ns, const atomic_uint *wanted);
    /* Somebody is about to wait for the only item that is under way, which is sent next: its worker need not make the descriptor readable
     * for it, until `awake`. For `awake_ns` he is likely to `spin`. NULL, and the two below: the kind cannot. */
    void (*expect)(mp__workers *workers, uint64_t awake_ns);
    /* The word on which who waits for it may sleep (mp__word_sleep, with or without the lock), as long as it is `*value`; it is there until
     * `awake`. NULL: he may not. */
    _Atomic uint32_t *(*doze)(mp__workers *workers, uint32_t *value);
    /* Nobody waits so any more. True: `next` has results, and the next round of it looks at nothing else. */
    bool (*awake)(mp__workers *workers);
    /* Polls readable when `next` has something. One for all workers; owned by the kind. */
    int (*descriptor)(mp__workers *workers);
    /* The next event; false: none now. */
    bool (*next)(mp__workers *workers, mp__event *event);
    /* For a kind that has no threads: true if there is something for `run` to do, which may be called then; not while it runs. NULL:
     * the kind runs by itself. */
    bool (*wants_run)(mp__workers *workers);
    /* Does what `wants_run` has found, as a part of it: a life's initializer, some items, its finalizer. The one hook without the lock,
     * and that runs code of the user's on the thread that calls it, for as long as that takes, with that thread's signals, and with
     * cancellation off. One thread at a time, and others call other hooks meanwhile. Who called it calls `next` at once. NULL where
     * `wants_run` is. */
    void (*run)(mp__workers *workers);
    /* After the last life is over: ends what the kind needs, and frees it. Blocks for at most the time a process takes to die. */
    void (*close)(mp__workers *workers);
} mp__backend;

extern const mp__backend mp__process_backend;
extern const mp__backend mp__thread_backend;
extern const mp__backend mp__inline_backend;
extern const mp__backend mp__cluster_backend;

#endif
