/* A link: the parent's side of one worker process, from the pipes that are made for it to the report of its death. */
#ifndef MP__PROCESS_LINK_H
#define MP__PROCESS_LINK_H
#include "pool/backend.h"
#include "pool/process/outbox.h"
#include "pool/process/protocol.h"
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
    bool executed; /* they are, or what they are forked from */
} mp__terms;

/* Which life it is, and whose: see core.h. */
typedef struct mp__life {
    uint32_t slot, generation, place;
} mp__life;

typedef struct mp__link {
    mp__link_state state;
    mp__life life;
    const mp__terms *terms;
    int tasks_fd, results_fd; /* our ends, non-blocking */
    mp__shared *shared;
    int32_t pid; /* 0: not known yet */

    mp__outbox outbox;
    bool waits;      /* for room in its pipe */
    bool deaf;       /* it reads no more, or must not: nothing is sent */
    uint64_t items;  /* sent, and not taken back */
    const void *job; /* of the last item sent, its task, and which comes next; NULL: say it again */
    uint32_t task;
    size_t next_item;
    uint64_t epoch; /* of recalls */

    mp__frame_reader reader;
    mp__link_stage stage;
    uint64_t frames;            /* that have come */
    uint64_t opening;           /* of them before it was ready: no item's results */
    uint64_t lines, lines_come; /* OTHER: how many tasks it has to show, and has shown */
    uint64_t received;          /* bytes of its stream that have come, by whatever way */
    uint64_t piped;             /* that came through the pipe; what it brings before `received` we have already */
    unsigned looks;             /* that may still be taken into the buffer of a worker that lives */
    int read_error;             /* errno of its pipe */
    bool distrusted;            /* it spoke nonsense, or is refused: nothing more is read */
    bool refused;               /* it could not begin, and `error` says why: it is killed, and its end is START_FAILED */
    unsigned budget;            /* reads left before others have their turn */
    mp__frame frame;            /* of the event that was given out last */
    mp_error error;

    bool has_status; /* of waitpid */
    int status;
    bool orphaned;                   /* the zygote is gone: there will be no report */
    bool owes_recalled, owes_failed; /* events that `next` has still to give */
    uint64_t started;                /* for RECALLED */
} mp__link;

enum { MP__OUTBOX_FULL = 128 * 1024, MP__READS = 16 };

/* Makes pipes and shared memory; `theirs` are the worker's ends, to be closed by the caller once they are on their way. On
 * failure nothing is left, and the link's error says why. */
bool mp__link_open(mp__link *link, const mp__terms *terms, mp__life life, int pipe_size, int theirs[MP__CONTROL_FDS]);
void mp__link_close(mp__link *link);

/* Adds an item, or in its place what is wrong with it. */
void mp__link_send(mp__link *link, const mp__item *item);
/* True if it may have finished items that it has not said; then what `next` finds in its buffer is taken as well, once. */
bool mp__link_look(mp__link *link);
/* It cannot begin, `error` says why, and that is told when it has been reaped. False, always. */
bool mp__link_refuse(mp__link *link);
/* The next event of what it sent; false: none now. Returns GREETED and READY, behind which there is something to flush; RESULT,
 * NONSENSE, LOST, START_FAILED. One that is `refused` has to be killed. */
bool mp__link_next(mp__link *link, mp__event *event);

#endif
