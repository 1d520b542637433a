/* What parent, zygote and worker say to each other. FORMAT.md (serial/) has the frames; here stands what is in them.
 *
 *     parent  <--- control socket: mp__control, one packet each --->  zygote     START, KILL / BORN, FAILED, DIED
 *     parent  ---- tasks pipe: frames ---> worker                     RUN, ITEM, ITEMS, REFUSED, RESUME, INIT, FINI, STOP
 *     parent  <--- results pipe: frames -- worker                     HELLO, TASK, VALUE, VALUES, FAILURE, OUTPUT
 *     parent  <--- shared memory: mp__shared --> worker                          what it runs; results not yet in the pipe
 *
 * The parent trusts nothing of it: control packets have one size, frames pass the frame reader and the codec, and what stands
 * in the shared memory is checked against what was sent and received. */
#ifndef MP__PROCESS_PROTOCOL_H
#define MP__PROCESS_PROTOCOL_H
#include "pool/backend.h"
#include "pool/process/capture.h"
#include "pool/process/crash.h"
#include <millpond/error.h>
#include <millpond/type.h>
#include <stdatomic.h>
#include <stdint.h>

/* --- frames ------------------------------------------------------------------------------------------------------------ */

enum {
    /* to the worker */
    MP__RUN = 1,  /* raw mp__run: the items that follow are of this task and attempt, numbered from here */
    MP__ITEM = 2, /* a value of the task's input type */
    MP__REFUSED =
        3,          /* mp__refusal: an item that could not be encoded; the worker sends it back in its place as a FAILURE */
    MP__RESUME = 4, /* raw u64: this recall is over, items count again */
    MP__STOP = 5,   /* run the finalizer, and leave */
    MP__INIT = 9,   /* the initializer's input, behind a RUN of it; a VALUE or FAILURE answers, before any other */
    MP__FINI = 10,  /* the finalizer's input, likewise, kept for STOP; nothing answers */
    MP__ITEMS = 13, /* a row (serial/row.h) of values of the task's input type */
    /* from the worker; one VALUE, or one in VALUES, or one FAILURE for INIT, and for each item or REFUSED that was not recalled, in
     * order */
    MP__HELLO = 6,   /* raw mp__hello: first of all */
    MP__TASK = 11,   /* raw mp__task_line: one for each task, in order, behind a HELLO whose hash is not the parent's */
    MP__VALUE = 7,   /* a value of the task's output type */
    MP__VALUES = 14, /* a row of such values */
    MP__FAILURE = 8, /* mp__refusal */
    MP__OUTPUT =
        12, /* raw mp__printed: what the item has printed whose VALUE or FAILURE comes next, where that is captured */
};
#define MP__TO_WORKER                                                                                                      \
    (1u << MP__RUN | 1u << MP__ITEM | 1u << MP__ITEMS | 1u << MP__REFUSED | 1u << MP__RESUME | 1u << MP__STOP |            \
     1u << MP__INIT | 1u << MP__FINI)
#define MP__FROM_WORKER                                                                                                    \
    (1u << MP__HELLO | 1u << MP__TASK | 1u << MP__VALUE | 1u << MP__VALUES | 1u << MP__FAILURE | 1u << MP__OUTPUT)

enum { MP__PROTOCOL = 8 };

/* Exit codes of a worker's own: unlikely ones. */
enum { MP__EXIT_GONE = 0, MP__EXIT_CHAOS = 123, MP__EXIT_MISMATCH = 124, MP__EXIT_SETUP = 125, MP__EXIT_PROTOCOL = 126 };

typedef struct mp__run {
    uint32_t task, attempt;
    uint64_t item;
    uint32_t patience_us; /* how long a result may wait for others, between items */
    uint32_t lone;        /* 1: each of them is item `item` of a call of its own; 0: they are numbered from there */
    uint32_t expected;    /* see mp__shared.asleep; 0: nobody waits so */
    uint32_t unused;
} mp__run;
_Static_assert(sizeof(mp__run) == 32, "on the wire");

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
    bool by_task;               /* as mp__event has it */
    mp_bytes message;           /* not a text: users' messages need not be UTF-8 */
    uint64_t cpu_ns, rss_bytes; /* what the worker has used in its life, as mp__evidence has it */
} mp__refusal;
extern const mp_type mp__refusal_type;

/* --- shared memory ----------------------------------------------------------------------------------------------------- */

enum { MP__SHARED_LINE = 64, MP__SHARED_HEAD = 4096, MP__SHARED_BUFFER = 256 * 1024, MP__FLUSH_AT = 32 * 1024 };

/* One for each life. The worker writes it with plain stores of its own words; the parent writes only the epoch in
 * `claim`, its own line, the letter, and what says that it waits.
 *
 * claim: recall epoch (high 16 bits) and how many ordinals this life has started (low 48). The worker counts up by
 * compare-and-swap and so starts an item only in the epoch it knows; the parent recalls by adding 1 to the epoch, and what it
 * finds below is exactly what was started:
 *
 *     worker: cas (e, 7) -> (e, 8)    before the parent's add: item 8 is started, and the parent sees 8
 *                                     after it:  the swap fails, item 8 is the parent's again; the worker throws away what
 *                                                comes, until RESUME names the epoch that it finds
 *
 * recalling, recalled: the parent says the new epoch before it adds, and again when it has. A worker looks at `recalled`, `claim` and
 * `recalling`, in this order: an epoch in `claim` that does not lie between is a wild task's, and no RESUME would ever name it:
 *
 *     worker: the swap finds (1, 7)    parent: recalling = 2;  adds: (2, 7);  recalled = 2;  recalling = 3    worker: 2, (2, 7), 3: well
 *     a task: (65535, 7)               parent: does nothing                                                   worker: 0, (65535, 7), 0
 *
 * base, committed: offsets in the stream of results. `buffer` holds its bytes from `base` on, whole frames up to `committed`.
 * The parent knows how many bytes it has: when the worker is dead it goes on from there in `buffer`, and as well while it lives and
 * has not said anything for a while. Neither word ever goes back. `base` is stored after the bytes before it have been written
 * into the pipe, and before others take their place: who finds the same `base` before and behind a copy has copied what it holds.
 *
 * row: results that are numbers gather in a row that is open: its head is written, and it becomes a frame that is committed, when
 * something else follows or it has to go. Until then it stands at `committed`, and this word says of how many bytes a value is and how
 * many there are: the last bits of `committed`, size, count, 32, 16 and 16 bits, written in one. So each is finished with a single store;
 * and when the row becomes a frame, the word is another row's in the moment in which that is committed.
 *
 * announced, results: how far the worker is about to write, and how many results that makes; said before it writes. sent: how
 * far the parent has written tasks; said afterwards. A task that writes to our pipes, reads from them, or scribbles over this
 * memory cannot be kept from it, but is found out: more has come than was announced; all of it has, but a frame is not whole,
 * or there are fewer results; there is nothing to read though not all has come. Without this a byte too many or too few would
 * leave both waiting for what nobody sends.
 *
 * printed: where output is captured, one more than how many items had been started when the text was printed that is being told, until
 * that is forgotten; else 0. A worker that dies with the result given and the text not forgotten has told it.
 *
 * cancelled: nobody waits any more for items up to this ordinal; the parent writes what it finds started.
 *
 * watched, got: somebody who waits looks at `committed` all the time, for at most so many nanoseconds; the parent has the stream of
 * results up to here. A worker with nothing to run then waits for what is sent next the same way, for as long, and writes nothing
 * into its pipe meanwhile that the parent has or is about to see: two wake-ups less, each of which costs ten times what the item
 * does. No result is missed:
 *
 *     worker: commits;  watched is not 0: does not write      parent: watched = 0;  looks at `committed` for the last time; sleeps
 *     worker: looks again and again: watched is 0 and it has what was not got, or its time is up: writes
 *
 * for it never sleeps, nor begins an item, on what is neither written nor got.
 *
 * asleep: somebody waits for the only result that there will be, and the worker may spare itself the pipe. A RUN names a value
 * (`expected`), which the parent puts here too, and adds MP__ASLEEP when it really sleeps on this word; it looks when the word has changed.
 * A worker with nothing to run that finds that very value puts 0 in its place, wakes who sleeps, and does not write. Whoever takes the
 * value away first has settled it:
 *
 *     parent: asleep = 6;  sends RUN(6), an item;  asleep is not 6: looks           worker: commits;  asleep: 6 -> 0
 *     parent: asleep = 6;  sends RUN(6), an item;  6 -> 7;  sleeps while 7;  looks  worker: commits;  asleep: 7 -> 0;  wakes it
 *     parent: asleep = 6;  sends RUN(6), an item;  waits no more: 6 -> 0            worker: commits;  asleep is not 6: writes
 *
 * What a wild task writes here is no value that was named, and then the pipe is written.
 *
 * letter_word, letter: a worker that waits awake says up to where it has what was sent; what follows there may then be put into the
 * letter instead of the pipe, all of it or nothing. One compare-and-swap hands it over, so a worker that has left off looking has got
 * it or never will; and it takes it before it reads from the pipe again:
 *
 *     parent: fills the letter;  (7, wanted) -> (7, 50)         worker: (7, wanted) -> 0 fails: takes 50 bytes, and has 57
 *     parent: fills the letter;  (7, wanted) -> (7, 50) fails: writes into the pipe         worker: (7, wanted) -> 0;  reads the pipe
 *
 * letter.h has both sides. What a wild task writes there while it runs is found when its worker looks. */
typedef struct mp__shared {
    /* by the worker; the epoch in `claim` by the parent */
    _Atomic uint64_t claim;
    _Atomic uint64_t base, committed, announced, results;
    _Atomic uint64_t row;
    _Atomic uint64_t busy_ns; /* for how long items have been run, when last looked */
    _Atomic uint64_t heeds;   /* the last item whose task has looked whether it is cancelled */
    _Atomic uint64_t rss;     /* bytes that it had resident when it had more than it may; 0: it never had */
    _Atomic uint64_t printed;
    /* by the parent: a line of its own, which the worker need not fetch again for each item */
    _Alignas(MP__SHARED_LINE) _Atomic uint64_t sent;
    _Atomic uint64_t cancelled;
    _Atomic uint16_t recalling, recalled;
    _Atomic uint64_t watched, got;
    _Atomic uint32_t asleep;
    _Atomic uint64_t life;    /* at the beginning: how many its place has had before */
    mp__worker_limits limits; /* before the worker is there */
    /* by both, and in one line */
    _Alignas(MP__SHARED_LINE) _Atomic uint64_t letter_word;
    unsigned char letter[MP__SHARED_LINE - sizeof(uint64_t)];
    _Alignas(MP__SHARED_HEAD) unsigned char buffer[MP__SHARED_BUFFER];
    _Atomic uint64_t started_too; /* the count of `claim` again, far from it: a wild write seldom hits both */
    unsigned char unused_too[MP__SHARED_HEAD - sizeof(uint64_t)];
    mp__crash crash;
} mp__shared;
_Static_assert(sizeof(mp__shared) == 2 * MP__SHARED_HEAD + MP__SHARED_BUFFER + MP__CRASH_SIZE, "mapped by both");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "shared between processes");

/* The word `row`: of a row that stands at this place of the stream. */
static inline uint64_t mp__row_word(uint64_t committed, size_t size, size_t count)
{
    return committed << 32 | (uint64_t)size << 16 | count;
}

enum { MP__ASLEEP = 1 };
#define MP__EPOCH_ONE (1ull << 48)
#define MP__STARTED_MASK (MP__EPOCH_ONE - 1)

/* --- control socket ---------------------------------------------------------------------------------------------------- */

typedef enum mp__control_kind {
    MP__CONTROL_START =
        1, /* to the zygote, with descriptors: tasks, results, shared memory, and, where output is captured, two for
                              that; value: the place */
    MP__CONTROL_KILL,   /* value: the signal */
    MP__CONTROL_BORN,   /* to the parent, from a zygote that was executed: it serves */
    MP__CONTROL_FAILED, /* to the parent; value: errno of fork, or of execve: then there is a `pid`, and DIED follows */
    MP__CONTROL_DIED,   /* value: status of waitpid */
} mp__control_kind;

typedef struct mp__control {
    uint32_t kind, slot, generation;
    int32_t value, pid;
    uint32_t unused;
    uint64_t cpu_ns, rss_bytes; /* DIED: what it has used, and its children that it had waited for; 0: not known */
} mp__control;
_Static_assert(sizeof(mp__control) == 40, "no padding");

/* A worker's descriptors; without capture the last two are -1, and do not travel. */
enum { MP__CONTROL_FDS = 5, MP__CONTROL_FEW = 3 };
static inline int mp__control_count(const int fds[MP__CONTROL_FDS])
{
    return fds[MP__CONTROL_FEW] < 0 ? MP__CONTROL_FEW : MP__CONTROL_FDS;
}

#endif
