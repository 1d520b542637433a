/* What parent, zygote and worker say to each other. FORMAT.md (serial/) has the frames; here stands what is in them.
 *
 *     parent  <--- control socket: mp__control, one packet each --->  zygote     START, KILL / BORN, FAILED, DIED
 *     parent  ---- tasks pipe: frames ---> worker                     RUN, ITEM, REFUSED, RESUME, INIT, FINI, STOP
 *     parent  <--- results pipe: frames -- worker                     HELLO, TASK, VALUE, FAILURE
 *     parent  <--- shared memory: mp__shared --> worker                          what it runs; results not yet in the pipe
 *
 * The parent trusts nothing of it: control packets have one size, frames pass the frame reader and the codec, and what stands
 * in the shared memory is checked against what was sent and received. */
#ifndef MP__PROCESS_PROTOCOL_H
#define MP__PROCESS_PROTOCOL_H
#include <millpond/error.h>
#include <millpond/type.h>
#include <stdatomic.h>
#include <stdint.h>

/* --- frames ------------------------------------------------------------------------------------------------------------ */

enum {
    /* to the worker */
    MP__RUN = 1,  /* raw mp__run: the items that follow are of this task, numbered from here */
    MP__ITEM = 2, /* a value of the task's input type */
    MP__REFUSED =
        3,          /* mp__refusal: an item that could not be encoded; the worker sends it back in its place as a FAILURE */
    MP__RESUME = 4, /* raw u64: this recall is over, items count again */
    MP__STOP = 5,   /* run the finalizer, and leave */
    MP__INIT = 9,   /* the initializer's input, behind a RUN of it; a VALUE or FAILURE answers, before any other */
    MP__FINI = 10,  /* the finalizer's input, likewise, kept for STOP; nothing answers */
    /* from the worker; one VALUE or FAILURE for INIT, and for each ITEM or REFUSED that was not recalled, in order */
    MP__HELLO = 6,   /* raw mp__hello: first of all */
    MP__TASK = 11,   /* raw mp__task_line: one for each task, in order, behind a HELLO whose hash is not the parent's */
    MP__VALUE = 7,   /* a value of the task's output type */
    MP__FAILURE = 8, /* mp__refusal */
};
#define MP__TO_WORKER                                                                                                      \
    (1u << MP__RUN | 1u << MP__ITEM | 1u << MP__REFUSED | 1u << MP__RESUME | 1u << MP__STOP | 1u << MP__INIT |             \
     1u << MP__FINI)
#define MP__FROM_WORKER (1u << MP__HELLO | 1u << MP__TASK | 1u << MP__VALUE | 1u << MP__FAILURE)

enum { MP__PROTOCOL = 2 };

/* Exit codes of a worker's own: unlikely ones. */
enum { MP__EXIT_GONE = 0, MP__EXIT_MISMATCH = 124, MP__EXIT_SETUP = 125, MP__EXIT_PROTOCOL = 126 };

typedef struct mp__run {
    uint32_t task, unused;
    uint64_t item;
} mp__run;
_Static_assert(sizeof(mp__run) == 16, "on the wire");

/* Tasks travel as indices into the sorted table: equal hashes are what makes an index mean the same task on both sides. */
typedef struct mp__hello {
    uint32_t protocol; /* this and `pid` are first in every version */
    int32_t pid;
    uint64_t hash;   /* of the task table */
    uint64_t tasks;  /* in it */
    char version[8]; /* of the library; zeros behind it */
} mp__hello;
_Static_assert(sizeof(mp__hello) == 32, "on the wire");

typedef struct mp__task_line {
    uint64_t hash; /* of its types */
    char name[MP_NAME_MAX];
} mp__task_line;
_Static_assert(sizeof(mp__task_line) == 8 + MP_NAME_MAX, "on the wire");

typedef struct mp__refusal {
    int32_t status;
    mp_bytes message; /* not a text: users' messages need not be UTF-8 */
} mp__refusal;
extern const mp_type mp__refusal_type;

/* --- shared memory ----------------------------------------------------------------------------------------------------- */

enum { MP__SHARED_HEAD = 4096, MP__SHARED_BUFFER = 256 * 1024, MP__FLUSH_AT = 32 * 1024 };

/* One for each life. The worker writes it with plain stores of its own words; the parent writes only the epoch in
 * `claim`, `sent` and `cancelled`.
 *
 * claim: recall epoch (high 16 bits) and how many ordinals this life has started (low 48). The worker counts up by
 * compare-and-swap and so starts an item only in the epoch it knows; the parent recalls by adding 1 to the epoch, and what it
 * finds below is exactly what was started:
 *
 *     worker: cas (e, 7) -> (e, 8)    before the parent's add: item 8 is started, and the parent sees 8
 *                                     after it:  the swap fails, item 8 is the parent's again; the worker throws away what
 *                                                comes, until RESUME names the epoch that it finds
 *
 * base, committed: offsets in the stream of results. `buffer` holds its bytes from `base` on, whole frames up to `committed`.
 * The parent knows how many bytes it has: when the worker is dead it goes on from there in `buffer`, and as well while it lives and
 * has not said anything for a while. Neither word ever goes back. `base` is stored after the bytes before it have been written
 * into the pipe, and before others take their place: who finds the same `base` before and behind a copy has copied what it holds.
 *
 * announced, results: how far the worker is about to write, and how many results that makes; said before it writes. sent: how
 * far the parent has written tasks; said afterwards. A task that writes to our pipes, reads from them, or scribbles over this
 * memory cannot be kept from it, but is found out: more has come than was announced; all of it has, but a frame is not whole,
 * or there are fewer results; there is nothing to read though not all has come. Without this a byte too many or too few would
 * leave both waiting for what nobody sends.
 *
 * cancelled: nobody waits any more for items up to this ordinal; the parent writes what it finds started. */
typedef struct mp__shared {
    _Atomic uint64_t claim;
    _Atomic uint64_t base, committed, announced, results;
    _Atomic uint64_t sent;      /* by the parent */
    _Atomic uint64_t cancelled; /* by the parent */
    _Atomic uint64_t busy_ns;   /* for how long items have been run, when last looked */
    unsigned char unused[MP__SHARED_HEAD - 8 * sizeof(uint64_t)];
    unsigned char buffer[MP__SHARED_BUFFER];
    _Atomic uint64_t started_too; /* the count of `claim` again, far from it: a wild write seldom hits both */
    unsigned char unused_too[MP__SHARED_HEAD - sizeof(uint64_t)];
} mp__shared;
_Static_assert(sizeof(mp__shared) == 2 * MP__SHARED_HEAD + MP__SHARED_BUFFER, "mapped by both");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "shared between processes");

#define MP__EPOCH_ONE (1ull << 48)
#define MP__STARTED_MASK (MP__EPOCH_ONE - 1)

/* --- control socket ---------------------------------------------------------------------------------------------------- */

typedef enum mp__control_kind {
    MP__CONTROL_START = 1, /* to the zygote, with three descriptors: tasks, results, shared memory; value: the place */
    MP__CONTROL_KILL,      /* value: the signal */
    MP__CONTROL_BORN,      /* to the parent, from a zygote that was executed: it serves */
    MP__CONTROL_FAILED,    /* to the parent; value: errno of fork, or of execve: then there is a `pid`, and DIED follows */
    MP__CONTROL_DIED,      /* value: status of waitpid */
} mp__control_kind;

typedef struct mp__control {
    uint32_t kind, slot, generation;
    int32_t value, pid;
} mp__control;

enum { MP__CONTROL_FDS = 3 };

#endif
