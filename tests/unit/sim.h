/* The simulation of a pool: one core, a fake kind of worker, a shell that does what the core asks, and a ledger.
 *
 * A *history* is what a seed makes of them: jobs, open and pinned ones too, with time-outs, deadlines, retries and limits of
 * failures; cancel, with force or without, resize, results, failures, items that hang, deaths, late frames, failed starts, spent
 * lives, time, the end of the pool, in any order that the real thing could produce, and some that only a
 * lying worker would. After every event mp__core_check is asked; the ledger knows each item by name and has its own idea
 * of what must become of it. When the faults stop, everything must come to its end in a bounded number of steps. A
 * history is a function of its seed alone, so that one that failed can be read event by event. One thread; what goes
 * wrong leaves by longjmp to sim_history. */
#ifndef TESTS_UNIT_SIM_H
#define TESTS_UNIT_SIM_H
#include "pool/core.h"
#include <setjmp.h>

enum { SIM_PLACES = 6, SIM_SLOTS = 2 * SIM_PLACES, SIM_JOBS = 8, SIM_ITEMS = 200, SIM_TASKS = 3 };

/* Another verdict than MP_ECANCELLED: to the core it is a number that it hands on. */
#define SIM_INTERRUPTED MP_ESYSTEM

/* What the ledger knows of an item. */
typedef struct sim_item {
    int8_t holder;        /* the slot that was sent it and has not given it back; -1: nobody */
    uint8_t starts, ends; /* starts: of this attempt */
    uint32_t attempt;     /* the one that runs or is to run: from 1 */
    uint64_t not_before;  /* its back-off is over then */
    uint64_t started_at;
    bool hangs; /* runs until it is told, if it `obeys`, or killed */
    bool heeds; /* looks whether it is cancelled */
    bool obeys;
    bool fails, by_task; /* when it is finished */
    bool finished;       /* a worker is through with it */
    bool honest;         /* `expected` follows from what really happened, not from what a worker claimed */
    mp_status expected;  /* the death of its worker must bring it this end, now; MP_OK: none is expected */
    mp_status either;    /* or this one, with as much reason */
} sim_item;

/* How something was cancelled: a job, or one call that was parted from its job. */
typedef struct sim_verdict {
    bool cancelled;
    mp_status verdict; /* then: how what has not started ends */
    mp_status forced;  /* what runs is overdue, and is to end with this */
    uint64_t forced_at;
} sim_verdict;

typedef struct sim_job {
    mp__core_job core;
    size_t n, ended;
    uint32_t pin;
    bool open, done;
    sim_verdict all;
    bool stopping;                              /* it has too many failures; cancelled when the event is over */
    uint64_t timeout, grace, deadline, backoff; /* deadline: 0 when it has passed */
    uint32_t retries;
    unsigned retry_on;
    size_t stop_at, failures;
    bool gone;     /* pinned to a place that was not wanted any more, at some time */
    bool stranded; /* pinned to a place where too many lives in a row came to nothing, at some time */
    bool stubborn; /* once it is cancelled, its items run until they are told */
    bool calls;    /* its items are calls, and they may part: then each has a job of its own, as far as it had not ended */
    bool parted, told_done;
    size_t alone_left; /* of those not done */
    sim_item items[SIM_ITEMS];
    bool has_alone[SIM_ITEMS];
    mp__core_job alone[SIM_ITEMS];
    sim_verdict own[SIM_ITEMS];
} sim_job;

typedef enum sim_life { SIM_NONE, SIM_STARTING, SIM_ALIVE, SIM_DEAD } sim_life; /* DEAD: the core has not been told */

typedef struct sim_worker {
    sim_life life;
    uint32_t generation, place;
    bool past;             /* another life has been started in its place: it takes nothing any more */
    bool greeted;          /* told */
    bool deaf;             /* leaves only by SIGKILL */
    bool hung;             /* will not get ready */
    bool silent;           /* spoke nonsense: nothing it says is read any more */
    bool full;             /* there was no room for all that it shall have: it asks for the rest */
    bool stop, term, kill; /* what it was told */
    bool asked, seen;      /* a recall: asked for; worker keeps to `limit`, and the answer is on its way */
    uint64_t limit;        /* ordinals that it will not pass */
    uint64_t known;        /* started, as it answered last */
    uint64_t sent, started, finished, delivered;
    uint64_t warned;                     /* started, when it was told that nobody waits for what runs */
    bool doomed;                         /* ended for its last item, which was overdue */
    uint16_t fifo[SIM_JOBS * SIM_ITEMS]; /* by ordinal: job * SIM_ITEMS + index */
} sim_worker;

/* Chances out of 1000, by history: most are calm in most respects. */
typedef struct sim_weather {
    unsigned death, start_failure, nonsense, stale, hang, deaf, vague, lie, lazy_shell, end, cancel, resize, open, pin;
    unsigned force, timed, retry, hanging, fail, spend, calls;
} sim_weather;

/* How often things happened over all histories: what never happens is not tested. */
typedef struct sim_tally {
    uint64_t histories, events, items, results, crashed, lost, terminated, broken, recalls, recalled_items, deaths,
        start_failures, condemned, stale, hopeless, hard_kills, closed;
    uint64_t cancelled, purged, warned, pinned, gone, stranded, extended, refused, sealed, grown, shrunk, retired, greeted,
        batches, unkillable, ended_open;
    uint64_t watched, overdue, too_late, heeded, timed_out, killed_by_force, late_failures, deadlines, forced, forced_later,
        failures, retried, retried_after_death, stopped, spent, warned_late, cancelled_all, parted, cancelled_alone;
} sim_tally;

typedef struct sim_world {
    mp__core *core;
    uint64_t random, now;
    uint32_t slots, wanted;
    uint64_t life_items; /* 0: no limit */
    bool unkillable;
    bool trace, faults, resized;
    mp_status verdict;           /* how items end that have not started, now that the core has given up */
    uint32_t barren[SIM_PLACES]; /* by place: lives in a row without a started item */
    sim_weather weather;
    sim_tally *tally;
    sim_job jobs[SIM_JOBS];
    size_t job_count;
    uint64_t accepted, ended; /* items */
    size_t expected;          /* ends that are due by deaths */
    uint64_t retried;         /* items */
    sim_worker workers[SIM_SLOTS];
    jmp_buf failed;
    char message[256];
} sim_world;

/* Plays the history of a seed. NULL, or what went wrong: part of `sim`. */
const char *sim_history(sim_world *sim, uint64_t seed);

void sim_fail(sim_world *sim, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
void sim_say(const sim_world *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define SAY(sim, ...) ((sim)->trace ? sim_say(sim, __VA_ARGS__) : (void)0)
#define NEED(sim, condition, ...) ((condition) ? (void)0 : sim_fail(sim, __VA_ARGS__))

uint64_t sim_random(sim_world *sim);
static inline uint64_t sim_below(sim_world *sim, uint64_t limit)
{
    return sim_random(sim) % limit;
}
static inline bool sim_chance(sim_world *sim, unsigned per_mille)
{
    return per_mille && sim_below(sim, 1000) < per_mille;
}
/* A fault may happen now, with this chance. */
static inline bool sim_fault(sim_world *sim, unsigned per_mille)
{
    return sim->faults && sim_chance(sim, per_mille);
}

/* After each event: the core's own invariants. */
void sim_look(sim_world *sim);
/* True when the core has given up on its items: it was terminated, or broke. */
bool sim_given_up(const sim_world *sim);

/* --- sim_callers.c: what the program does with its pool ------------------------------------------------------------------ */

void sim_submit(sim_world *sim);
/* One call of any kind, which may be none. */
void sim_call(sim_world *sim);
void sim_end_somehow(sim_world *sim);
void sim_terminate(sim_world *sim);
void sim_seal_all(sim_world *sim);
bool sim_any_open(const sim_world *sim);

/* --- sim_workers.c: the fake workers, and the shell ---------------------------------------------------------------------- */

/* Carries out actions: `most` of them, or all with SIZE_MAX. */
void sim_act(sim_world *sim, size_t most);
/* Something that this slot's worker might do next. False: nothing was left to do. */
bool sim_worker_step(sim_world *sim, uint32_t slot);
/* One frame that comes too late, or from nobody. */
void sim_stale_event(sim_world *sim, uint32_t slot);

/* --- sim_overdue.c: what workers answer when an item runs too long, and how items fail ----------------------------------- */

void sim_watch(sim_world *sim, uint32_t slot);
void sim_end(sim_world *sim, const mp__core_action *action);
/* What runs now goes on running. */
bool sim_goes_on(sim_world *sim, const sim_worker *w);
/* The next result to be told is a failure; and tells it. */
bool sim_fails_next(sim_world *sim, uint32_t slot);
void sim_tell_failure(sim_world *sim, uint32_t slot);
void sim_tell_spent(sim_world *sim, uint32_t slot);

/* --- sim_ledger.c: what must become of each item; every call fails the history if it cannot be --------------------------- */

sim_item *ledger_item(sim_world *sim, uint16_t id);
sim_job *ledger_job(sim_world *sim, uint16_t id);
/* So many items more, which the core has taken. */
void ledger_accept(sim_world *sim, sim_job *job, size_t count);
/* Nobody waits for the item's result. */
bool ledger_unwanted(sim_world *sim, uint16_t id);
/* The item's own time is up. */
bool ledger_timed_out(sim_world *sim, uint16_t id);
/* A life in this place has come to nothing. */
void ledger_barren(sim_world *sim, uint32_t place);
/* Time has been told: deadlines have passed. */
void ledger_time(sim_world *sim);
/* How the item's cancelling stands: its own, or its job's. */
const sim_verdict *ledger_verdict(sim_world *sim, uint16_t id);
/* The calls of a job have parted; and one of them is cancelled. */
void ledger_part(sim_world *sim, sim_job *job);
void ledger_cancel_call(sim_world *sim, sim_job *job, size_t index, mp_status verdict, bool force);
/* The job is cancelled, as far as it was not yet. */
void ledger_cancel(sim_world *sim, sim_job *job, mp_status verdict, bool force);
/* Jobs that have too many failures are, when an event is over. */
void ledger_stop(sim_world *sim);
uint16_t ledger_send(sim_world *sim, uint32_t slot, mp__core_item item); /* its id */
void ledger_give_back(sim_world *sim, uint32_t slot, uint16_t id);
void ledger_start(sim_world *sim, uint32_t slot, uint16_t id);
void ledger_finish(sim_world *sim, uint32_t slot, uint16_t id);
void ledger_result(sim_world *sim, uint32_t slot, uint16_t id, mp__core_item item);
/* The core was told that the item failed, and says that it is called this and whether it will run again. */
void ledger_failure(sim_world *sim, uint32_t slot, uint16_t id, mp__core_item item, mp_status status, bool again);
/* The worker's death is about to be told: `id` must end like this, or run again if such a failure is to. MP_ETIMEDOUT: it was
 * overdue, and its worker was ended for that. */
void ledger_expect(sim_world *sim, uint16_t id, mp_status status, bool honest);
void ledger_fail(sim_world *sim, const mp__core_action *action);
void ledger_done(sim_world *sim, mp__core_job *job);
/* When all actions have been carried out: the core's sums, and no expectation is left. */
void ledger_settled(sim_world *sim);
void ledger_complete(sim_world *sim);

#endif
