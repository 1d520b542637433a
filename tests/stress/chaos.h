/* Chaos: pools of every kind under load while everything that can go wrong does, and a ledger in shared memory, written by the
 * tasks themselves, that all bookkeeping is held against. Shared by the files of test_chaos:
 *
 *     test_chaos.c      rounds: a pool, its load, its weather, and what must be true when it is over
 *     chaos_load.c      who uses the pool: maps, streams, async calls, futures
 *     chaos_weather.c   what goes wrong: kills, stops, signals, system calls and allocations that fail, resizes
 *     chaos_ledger.c    what the tasks do and write down, and the judge
 *
 * Every thread that decides anything is an *actor* with a generator of its own, seeded by CHAOS_SEED, the round and its number. So
 * a seed gives the same decisions again; how the machine interleaves them it does not. */
#ifndef TESTS_STRESS_CHAOS_H
#define TESTS_STRESS_CHAOS_H
#include <millpond.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- chance ---- */

uint64_t chaos_mixed(uint64_t x);
/* 0 to limit - 1. */
uint64_t chaos_below(uint64_t *random, uint64_t limit);
/* True once in `n`. */
bool chaos_one_in(uint64_t *random, uint64_t n);

/* ---- what is asked of the tasks ---- */

typedef enum chaos_deed {
    CHAOS_PASS,
    CHAOS_FAIL,
    CHAOS_FAIL_FIRST, /* at the first attempt, and passes at the others */
    CHAOS_CRASH,      /* raises SIGSEGV; not on threads, and likewise the next two */
    CHAOS_CRASH_FIRST,
    CHAOS_EXIT,
    CHAOS_HANG,       /* for ever, whatever it is told: only where it will be ended; not on threads */
    CHAOS_HEED,       /* until it is told, its pause is over, or the round; then it passes */
    CHAOS_HEED_BADLY, /* then it fails */
} chaos_deed;

typedef struct chaos_errand {
    uint32_t line, index; /* in the ledger, and in its call */
    uint32_t salt;
    uint32_t pause_us, size; /* of the result's load */
    uint8_t deed;
    mp_bytes load; /* the line's low byte again and again */
} chaos_errand;
MP_TYPE(chaos_errand, line, index, salt, pause_us, size, deed, load);

typedef struct chaos_yield {
    uint32_t line;
    uint64_t value;
    mp_bytes load; /* the value's low byte */
} chaos_yield;
MP_TYPE(chaos_yield, line, value, load);

MP_TASK_DECLARE(chaos_do, chaos_errand, chaos_yield);

/* ---- the ledger ---- */

enum {
    CHAOS_LINES_EACH = 1 << 16,
    CHAOS_USERS = 6,
    CHAOS_LINES = CHAOS_USERS * CHAOS_LINES_EACH,
    CHAOS_PIDS = 64,
    CHAOS_PROMPT = 60, /* seconds: far beyond what anything takes that is not stuck */
};

/* Calls that can be made to fail. */
typedef enum chaos_call {
    CHAOS_FORK,
    CHAOS_EXECVE,
    CHAOS_PIPE,
    CHAOS_MEMFD,
    CHAOS_MMAP,
    CHAOS_EPOLL_CTL,
    CHAOS_THREAD,
    CHAOS_STARTING, /* those before are made when a life, a pool or a thread starts */
    CHAOS_MEMORY = CHAOS_STARTING,
    CHAOS_READ,  /* interrupted, or short */
    CHAOS_WRITE, /* likewise */
    CHAOS_CALLS
} chaos_call;

typedef struct chaos_line {
    _Atomic uint8_t begun, ended;
    _Atomic uint8_t wrong; /* what the task was given was not what it should be: which check failed */
    _Atomic int pid;       /* who ran it last */
    _Atomic uint64_t began_ns;
    _Atomic uint64_t free_ns; /* when who ran it last had ended the one before, or 0: its time has begun since then */
    _Atomic uint8_t left;     /* how often its task has returned */
    _Atomic uint64_t value;   /* that it ended with */
} chaos_line;

typedef struct chaos_ledger {
    _Atomic bool over;               /* tasks that wait to be told need not wait any longer */
    _Atomic bool narrow;             /* pipes hold a page */
    _Atomic int narrowed;            /* so many pipes do */
    _Atomic int due[CHAOS_CALLS];    /* so many calls will fail */
    _Atomic int struck[CHAOS_CALLS]; /* so many have, since the round began */
    _Atomic int pids[CHAOS_PIDS];    /* of the worker with this index, when it last began an item */
    _Atomic uint64_t begun;          /* items in all */
    chaos_line lines[CHAOS_LINES];
} chaos_ledger;
extern chaos_ledger *chaos_truth;

bool chaos_ledger_open(void);
void chaos_ledger_close(void);
/* Between rounds; nothing may be running. */
void chaos_ledger_clear(void);
uint64_t chaos_now_ns(void);
uint64_t chaos_value(uint32_t line, uint32_t salt);

/* ---- a round ---- */

/* What was agreed for the items of one call, and what has been done to it since. */
typedef struct chaos_deal {
    uint32_t first, n; /* lines */
    chaos_errand *errands;
    ptrdiff_t chunksize;
    unsigned retries, retry_on;
    double timeout, deadline, retry_delay;
    ptrdiff_t stop_at;
    bool cancelled, forced; /* the user has */
    bool left;              /* nobody looks at its results */
} chaos_deal;

/* What an item's user was told. */
typedef struct chaos_fate {
    mp_status status;
    uint8_t ends;         /* how often it was told */
    uint8_t begun, ended; /* what stood in the ledger then */
    uint8_t most;         /* attempts */
    bool asked, left;
    bool final; /* nothing of it can be running any more */
    bool taken; /* a worker that had taken it up, but not come to its first line, may have been ended for it */
    /* for the report of what is stuck */
    uint8_t deed, retry_on;
    float timeout, deadline;
    uint16_t stop_at;
} chaos_fate;

typedef struct chaos_kill {
    pid_t pid;
    bool blamed; /* an item has been told that this worker's death was its end */
} chaos_kill;

enum { CHAOS_KILLS = 4096 };

typedef struct chaos_round {
    /* fixed when it begins */
    uint64_t seed;
    uint64_t number;
    mp_kind kind;
    mp_start_method method;
    int workers;
    mp_pool *pool;
    pid_t zygote;
    double seconds;
    unsigned kill_us, stop_us, fault_us, poke_us, resize_us; /* how long at most between two of them; 0: never */
    unsigned faults;                                         /* bit k: calls of kind k fail */
    bool terminates;                                         /* in the middle of it */
    bool kills_zygote;                                       /* likewise */
    /* atomic */
    _Atomic bool stop; /* users begin nothing more */
    _Atomic bool calm; /* nothing goes wrong any more */
    _Atomic bool terminated, zygote_killed;
    _Atomic int users;                                   /* that have not returned */
    _Atomic uint64_t succeeded, failed, refused, unread; /* items: told OK; told another end; never taken; nobody looked */
    _Atomic int crashed;                                 /* items ended by a crash that was not their own doing */
    _Atomic int overtime;                                /* items ended for their time */
    _Atomic int forced;                                  /* by force */
    _Atomic int retried;                                 /* runs beyond the first */
    _Atomic int kills, stops, pokes, resizes, crashes;   /* of it all; crashes: items' own */
    /* guarded by lock */
    pthread_mutex_t lock;
    chaos_kill killed[CHAOS_KILLS];
    int killed_count;
    char complaint[600];
    /* each entry: the user's whose line it is */
    chaos_fate *fates;
} chaos_round;

typedef struct chaos_actor {
    pthread_t thread;
    chaos_round *round;
    uint64_t random;
    unsigned number;
    uint32_t next_line; /* of a user's own range */
    void *memory;       /* that callbacks may use until the pool is freed */
    _Atomic bool returned;
} chaos_actor;

/* The first complaint is kept, and ends the round. */
void chaos_complain(chaos_round *round, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One item of a deal has ended for its user. `error`, `yield`: NULL where nobody gave one. */
void chaos_judge(chaos_actor *actor, const chaos_deal *deal, size_t index, mp_status status, const mp_error *error,
                 const chaos_yield *yield);
/* A deal as options of a call. */
#define CHAOS_POLICY(deal)                                                                                                 \
    .timeout = (deal)->timeout, .deadline = (deal)->deadline, .retries = (int)(deal)->retries,                             \
    .retry_on = (deal)->retry_on, .retry_delay = (deal)->retry_delay, .stop_at = (deal)->stop_at

/* None of the deal's items was taken. */
void chaos_judge_refused(chaos_actor *actor, const chaos_deal *deal, mp_status status);
/* When nothing runs any more: what was told is still so. */
void chaos_judge_round(chaos_round *round);

/* How many calls of the kinds [from, to) have failed in this round. */
int chaos_struck(chaos_call from, chaos_call to);
bool chaos_may_be_broken(chaos_round *round);

/* ---- actors; each is a thread's function, its argument a chaos_actor ---- */

void *chaos_map(void *actor);
void *chaos_stream(void *actor);
void *chaos_async(void *actor);
void *chaos_futures(void *actor);

void *chaos_kill_workers(void *actor);
void *chaos_stop_workers(void *actor);
void *chaos_break_calls(void *actor);
void *chaos_resize(void *actor);
/* Interrupts the system calls of these users. */
void chaos_poke(chaos_round *round, chaos_actor *users, int count, uint64_t *random);
void chaos_weather_begin(void);
void chaos_weather_end(void);
/* Kills the zygote; what it leaves comes to us. */
void chaos_kill_zygote(chaos_round *round);

#endif
