/* A link: the parent's side of one worker process, from the pipes that are made for it to the report of its death. */
#ifndef MP__PROCESS_LINK_H
#define MP__PROCESS_LINK_H
#include "pool/backend.h"
#include "pool/process/outbox.h"
#include "pool/process/protocol.h"
#include "pool/process/remains.h"
#include "serial/frame.h"

/*     NONE -> OPEN -> ENDED -> DEAD -> TAIL -> NONE     ENDED: its pipe has ended, the report of its death has not come
 *               `---------------^                       DEAD: reported; the pipe is read to its end. TAIL: then the buffer */
typedef enum mp__link_state { MP__LINK_NONE, MP__LINK_OPEN, MP__LINK_ENDED, MP__LINK_DEAD, MP__LINK_TAIL } mp__link_state;

/* How far a worker has come: nothing heard of it; it has other tasks, and shows them; it runs its initializer; it takes items. */
typedef enum mp__link_stage { MP__LINK_UNHEARD, MP__LINK_OTHER, MP__LINK_GREETED, MP__LINK_READY } mp__link_stage;

/* What holds for all workers of a pool. */
typedef struct mp__terms {
    const mp__task_table *tasks;
    uint64_t hash; /* of `tasks` */
    mp__hook initializer, finalizer;
    mp__worker_limits limits;
    bool capture;  /* what they print */
    bool chaos;    /* they may be killed on purpose, or not begin */
    bool executed; /* they are, or what they are forked from */
} mp__terms;

/* Which life it is, and whose: see core.h. */
typedef struct mp__life {
    uint32_t slot, generation, place;
    uint32_t before; /* lives that this place has had */
} mp__life;

typedef struct mp__link {
    mp__link_state state;
    mp__life life;
    const mp__terms *terms;
    int tasks_fd, results_fd; /* our ends, non-blocking */
    int reading_fd;           /* the worker's end for tasks: while we have it too, no write of ours raises SIGPIPE */
    mp__shared *shared;
    bool dozed; /* somebody sleeps on a word of that, and unmaps it if the link has closed meanwhile: see doze.h */
    int output_fds[MP__CAPTURED]; /* -1: what it prints is not captured */
    int32_t pid;                  /* 0: not known yet */

    mp__outbox outbox;
    bool waits;     /* for room in its pipe */
    bool deaf;      /* it reads no more, or must not: nothing is sent */
    uint64_t items; /* sent, and not taken back */
    bool has_run;   /* what the last RUN was of, and which item comes next; false: say it again */
    mp__run run;
    uint32_t expected; /* to be said with the next item: see mp__run */
    uint64_t epoch;    /* of recalls */
    uint64_t seen;     /* the item that it was at when it was asked about that, or it was told, */
    uint64_t seen_cpu; /* and the CPU time that it had had then */
    bool seen_deaf;    /* that one had a CPU since, and did not look */

    mp__frame_reader reader;
    mp__link_stage stage;
    uint64_t frames;            /* that have come, and in their place the values of rows */
    uint64_t asides;            /* of them that are no item's results: before it was ready, and what was printed */
    uint64_t lines, lines_come; /* OTHER: how many tasks it has to show, and has shown */
    uint64_t received;          /* bytes of its stream that have come, by whatever way */
    size_t ahead;               /* values of the row that comes next which were taken while it was open, */
    size_t ahead_size;          /* and of how many bytes they are */
    uint64_t piped;             /* that came through the pipe; what it brings before `received` we have already */
    unsigned looks;             /* that may still be taken into the buffer of a worker that lives, */
    bool looks_at_row;          /* and behind them one at the row that is open */
    bool told;       /* what it has committed is to be taken from the buffer, when what is before that has come */
    int read_error;  /* errno of its pipe */
    bool distrusted; /* it spoke nonsense, or is refused: nothing more is read */
    bool refused;    /* it could not begin, and `error` says why: it is killed, and its end is START_FAILED */
    unsigned budget; /* reads left before others have their turn */
    mp__frame frame; /* of the event that was given out last */
    mp_error error;

    bool has_status; /* of waitpid */
    int status;
    bool killed;                     /* a signal was sent to it by us; */
    bool mute;                       /* for it had closed its end of the pipe, and lived on */
    bool spent;                      /* that it has more memory than it may has been told */
    bool orphaned;                   /* the zygote is gone: there will be no report */
    bool owes_recalled, owes_failed; /* events that `next` has still to give */
    uint64_t started;                /* for RECALLED */

    mp__evidence printed; /* for OUTPUT */
    mp__evidence said;    /* what the item whose result comes next has printed, kept for its failure */
    unsigned outputs;     /* streams of which the item whose result comes next has sent what it printed: bits */
    mp__remains remains;  /* what `evidence` points to, until the slot's next life */
    mp__evidence evidence;
} mp__link;

enum { MP__OUTBOX_FULL = 128 * 1024, MP__READS = 16 };

/* One that was never open, or whose content is not known. */
void mp__link_init(mp__link *link);
/* Of so many links: pipes are better large, but a user may have 64 MiB of them. */
static inline int mp__link_pipe_size(uint32_t links)
{
    return links <= 32 ? 1 << 20 : links <= 128 ? 1 << 18 : 1 << 16;
}
/* Makes pipes and shared memory; `theirs` are the worker's ends. The first stays the link's, the others are to be closed by the caller
 * once they are on their way. On failure nothing is left, and the link's error says why. */
bool mp__link_open(mp__link *link, const mp__terms *terms, mp__life life, int pipe_size, int theirs[MP__CONTROL_FDS]);
void mp__link_close(mp__link *link);
/* Frees what is kept of its last life: closed links only. */
void mp__link_fini(mp__link *link);

/* True if items may be added: a bound on bytes, and nothing of the user's is still to be written. */
static inline bool mp__link_has_room(const mp__link *link)
{
    return link->state == MP__LINK_OPEN && !link->deaf && !link->waits && !mp__outbox_borrows(&link->outbox) &&
           mp__outbox_waiting(&link->outbox) < MP__OUTBOX_FULL;
}
/* The next items are said to be waited for so: see mp__shared.asleep. */
static inline void mp__link_expect(mp__link *link, uint32_t value)
{
    link->expected = value; /* so that its RUN is not as the last one */
}
/* Adds an item, and those behind it while there is room: how many. In place of one that cannot be sent, what is wrong with it. */
size_t mp__link_send(mp__link *link, const mp__items *items);
/* True as long as its death has not been reported. */
static inline bool mp__link_lives(const mp__link *link)
{
    return link->state == MP__LINK_OPEN || link->state == MP__LINK_ENDED;
}
/* How many items' results have come. */
static inline uint64_t mp__link_results(const mp__link *link)
{
    return link->frames - link->asides;
}
/* link_progress.c: takes back what it has not started. True: there is something to flush, and `started` says what it has. */
bool mp__link_recall(mp__link *link);
/* How many items it has started, now; 0: there is nobody. */
uint64_t mp__link_started(const mp__link *link);
/* Nobody waits for what it runs; and whether that has looked if it is so. */
void mp__link_cancel(mp__link *link);
mp__heed mp__link_heeds(mp__link *link);
/* True if it has items of which no result has come. */
bool mp__link_owes(const mp__link *link);
/* True if it may have finished items that it has not said. */
bool mp__link_may_hide(const mp__link *link);
/* True if it has finished something that has not come; and if that is in its buffer, not in its pipe. */
bool mp__link_has_more(const mp__link *link);
bool mp__link_has_in_buffer(const mp__link *link);
/* link_spin.c: waits until one of these has something in its buffer, for `ns` at most, or until `*wanted` is not 0. True: it has. */
bool mp__links_spin(mp__link *const *links, uint32_t count, uint64_t ns, const atomic_uint *wanted);
/* From now on what `next` finds in its buffer is taken as well, once. */
void mp__link_look(mp__link *link);
/* It cannot begin, `error` says why, and that is told when it has been reaped. False, always. */
bool mp__link_refuse(mp__link *link);
/* True if it runs its `ordinal`-th item, and has given no result of it that has come: then it starts nothing any more. */
bool mp__link_end(mp__link *link, uint64_t ordinal);

/* Between the files of a link: puts its name into an error; and a hook's. */
void mp__link_name(const mp__link *link, mp_error *error);
void mp__link_name_hook(mp__link *link, const mp__hook *hook);
/* Its end of the pipe that results go through is closed. True: it goes on without, and is to be ended; its error will say so. */
bool mp__link_note_mute(mp__link *link);
/* When it is dead: how it ended, into its error; and how many items it had started. */
void mp__link_describe_end(mp__link *link);
uint64_t mp__link_count_started(const mp__link *link);

bool mp__link_nonsense(mp__link *link, mp__event *event, const char *what);
/* link_values.c. What every event of results says; and what was printed by the item whose result this is is with it now. */
void mp__link_begin_event(mp__link *link, mp__event *event);
void mp__link_forget_outputs(mp__link *link);
/* True, and the event says so: there are more results, with `more` that are not counted yet, than there can be. */
bool mp__link_has_too_many(mp__link *link, mp__event *event, size_t more);
/* The value in the last frame, and those in frames that follow it. */
void mp__link_take_values(mp__link *link, mp__event *event);
/* The last frame is a row of values. False: there is no event of it, for all of it was taken before. */
bool mp__link_take_row(mp__link *link, mp__event *event);
/* The same of the row that is open, as far as it goes. False: there is none, or no more of it. */
bool mp__link_take_open_row(mp__link *link, mp__event *event);

/* The next event of what it sent; false: none now. Returns SPENT; GREETED and READY, behind which there is something to flush; RESULT,
 * NONSENSE, LOST, START_FAILED. One that is `refused` has to be killed. */
bool mp__link_next(mp__link *link, mp__event *event);

#endif
