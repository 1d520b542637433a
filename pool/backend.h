/* The seam between the engine and a kind of worker: one const struct of functions per kind. A kind knows slots and lives
 * (core.h), puts items on their way and says what became of them; it decides nothing.
 *
 * Every hook is called under the pool's lock by whichever thread drives the pool, never blocks unless it says so, runs no code
 * of the user's on that thread, and never calls up: what happens to a worker comes out of `next` as an event. */
#ifndef MP__POOL_BACKEND_H
#define MP__POOL_BACKEND_H
#include "pool/registry.h"
#include "serial/frame.h"
#include <millpond/error.h>
#include <millpond/pool.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct mp__workers mp__workers; /* a kind's own state */

/* What each life runs before its first item, or after its last: a task without result, and its input. */
typedef struct mp__hook {
    const mp_task *task; /* NULL: nothing */
    uint32_t index;      /* in the task table */
    const void *value;   /* borrowed until close */
} mp__hook;

typedef struct mp__backend_config {
    uint32_t slots;              /* how many lives can be there at a time; see `grow` */
    uint32_t workers;            /* how many are wanted */
    const mp__task_table *tasks; /* borrowed until close; what workers can run */
    mp_start_method start_method;
    const char *name_prefix; /* workers are called NAME_PREFIX_PLACE; NULL: the kind chooses. Borrowed until close */
    mp__hook initializer, finalizer;
} mp__backend_config;

/* An item to be sent. `value` and `out` are borrowed until its result, or the loss of its worker, has come out of `next`; where
 * the kind has `kill`, only until then if that comes first. */
typedef struct mp__item {
    const void *job; /* whose item it is: only to tell one from another */
    uint32_t task;   /* index in the task table */
    size_t index;
    const void *value;
    void *out; /* room for its result, for kinds that run tasks in this process; any content. Never NULL */
} mp__item;

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
} mp__event_kind;

/* RESULT, three forms. `frame`: its value is in there. `count` > 0: so many items in a row have succeeded, and their values are
 * in place, in `out`. Neither: it failed, and `error` says why. */
typedef struct mp__event {
    mp__event_kind kind;
    uint32_t slot, generation;
    uint64_t started; /* how many items this life has started; RECALLED: UINT64_MAX: not to be said now, it goes on */
    uint64_t busy_ns; /* RESULT: for how long this life has run items so far; 0: not measured */
    size_t count;     /* RESULT: values in place */
    mp__frame *frame; /* borrowed until the next call of `next` */
    mp_error *error;  /* status, message, signal, exit code, pid, worker; borrowed likewise */
} mp__event;

typedef struct mp__backend {
    const char *name;

    /* Makes what a kind needs to start workers; starts none. On failure nothing is left. May block shortly. */
    mp_status (*open)(mp__workers **workers, const mp__backend_config *config, mp_error *error);
    /* Makes room for this many slots; there are fewer now. MP_ENOMEM: nothing has changed. */
    mp_status (*grow)(mp__workers *workers, uint32_t slots);
    /* Begins a life as worker `place`; READY, START_FAILED or LOST follows. */
    void (*start)(mp__workers *workers, uint32_t slot, uint32_t generation, uint32_t place);
    /* True if `send` should be called for more: a bound on bytes under way, not on items. */
    bool (*room)(mp__workers *workers, uint32_t slot);
    /* Puts an item on its way; a RESULT or LOST will answer for it. It may wait until `flush`. */
    void (*send)(mp__workers *workers, uint32_t slot, const mp__item *item);
    void (*flush)(mp__workers *workers, uint32_t slot);
    /* Keeps the worker from starting what it was sent and has not started; RECALLED follows. NULL: the kind cannot; the engine
     * then takes back only what was not sent. */
    void (*recall)(mp__workers *workers, uint32_t slot);
    /* How many items this life has started, now. 0: there is none, or it is over. */
    uint64_t (*started)(mp__workers *workers, uint32_t slot);
    /* Lets the task that runs there now see that nobody waits for it: mp_call_cancelled. Items sent later are not concerned. */
    void (*cancel)(mp__workers *workers, uint32_t slot);
    /* Lets the worker leave when it is through with what it has; its finalizer runs then. LOST follows. */
    void (*stop)(mp__workers *workers, uint32_t slot);
    /* Ends it: asks first, `hard` does not ask. LOST follows. Idempotent. Values that were sent are not looked at any more.
     * NULL: the kind cannot; what runs is cancelled, the rest recalled, and the life ends when its task returns. */
    void (*kill)(mp__workers *workers, uint32_t slot, bool hard);
    /* Looks for what workers have finished and not said yet: its RESULTs come out of `next` after this. A worker need not say it
     * before it starts its next item, but must before it has none left. */
    void (*look)(mp__workers *workers);
    /* Polls readable when `next` has something. One for all workers; owned by the kind. */
    int (*descriptor)(mp__workers *workers);
    /* The next event; false: none now. */
    bool (*next)(mp__workers *workers, mp__event *event);
    /* After the last life is over: ends what the kind needs, and frees it. Blocks for at most the time a process takes to die. */
    void (*close)(mp__workers *workers);
} mp__backend;

extern const mp__backend mp__process_backend;
extern const mp__backend mp__thread_backend;

#endif
