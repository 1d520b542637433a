/* Tasks that do not come to their end by themselves, each in its manner: the input says which, and what its number is. And maps
 * over them: fill, spoil one or the other, run, and compare with the board (board.h), where the number of each item that begins is
 * counted. */
#ifndef TESTS_LIB_STUCK_H
#define TESTS_LIB_STUCK_H
#include "tests/lib/kinds.h"
#include <signal.h>
#include <string.h>

enum { NUMBERS = 100000, MOST = 300 };
#define AS(manner, number) ((manner)*NUMBERS + (number))

/* Long enough that an item which ends at once is not caught, however busy the machine is; and for those where no such item is about.
 * Seconds. */
#define TIME_UP (ROUNDS_SLOWER > 1 ? 1.0 : 0.4)
#define AT_ONCE 0.05

/* What these tasks say about themselves on the board. */
enum {
    SAW,    /* items that have seen that they are cancelled */
    CAUGHT, /* signals */
    CHILD,  /* process */
    US      /* how many microseconds an item had run when it saw that it was cancelled */
};

typedef enum manner {
    FINE,        /* its number and one more */
    HANGS,       /* till the gate opens */
    SPINS,       /* likewise, without a system call */
    HEEDS,       /* till it is cancelled: then minus its number, and one less */
    HEEDS_FAILS, /* likewise, but fails with MP_EUSER */
    HEEDS_LATE,  /* likewise, but goes on for a while, and succeeds */
    LOOKS,       /* whether it is cancelled, and never mind: till the gate opens */
    IGNORES,     /* SIGTERM; hangs */
    BLOCKS,      /* all signals; hangs */
    CATCHES,     /* SIGTERM: exits then; hangs */
    SLEEPS,      /* stops its own process */
    FORKS,       /* has a child, which hangs, and hangs */
    FAILS,       /* with MP_EUSER + 1 */
    CRASHES,     /* by SIGKILL */
    TAKES        /* 50 ms */
} manner;

static inline void hang(void)
{
    while (!the_board()->gate)
        nap_us(500);
}

static void exit_by_signal(int number)
{
    (void)number;
    board_here->word[CAUGHT]++;
    _exit(3);
}

static inline mp_status wait_and_heed(manner as, int number, int *out, mp_call *call)
{
    double start = seconds_now();
    while (!mp_call_cancelled(call) && !the_board()->gate)
        nap_us(500);
    the_board()->word[US] = (int)((seconds_now() - start) * 1e6);
    the_board()->word[SAW]++;
    *out = -number - 1;
    if (as == HEEDS_FAILS)
        return mp_fail(call, MP_EUSER, "heeds");
    if (as == HEEDS_LATE)
        nap_us(300000);
    return MP_OK;
}

static inline void look(mp_call *call)
{
    bool saw = false;
    while (!the_board()->gate) {
        if (!saw && mp_call_cancelled(call)) {
            saw = true;
            the_board()->word[SAW]++;
        }
        nap_us(500);
    }
}

/* So that SIGTERM does nothing, and then hangs. */
static inline void defy(manner as)
{
    sigset_t all;
    sigfillset(&all);
    if (as == IGNORES)
        signal(SIGTERM, SIG_IGN);
    if (as == BLOCKS)
        sigprocmask(SIG_BLOCK, &all, NULL);
    if (as == CATCHES)
        signal(SIGTERM, exit_by_signal);
    if (as == SLEEPS)
        kill(getpid(), SIGSTOP);
    if (as == FORKS) {
        pid_t child = fork();
        if (child == 0)
            for (;;)
                pause();
        the_board()->word[CHILD] = child;
    }
    hang();
}

static inline mp_status behave_so(manner as, int number, int *out, mp_call *call)
{
    switch (as) {
    case FINE: break;
    case HANGS: hang(); break;
    case SPINS:
        while (!the_board()->gate)
            ;
        break;
    case HEEDS:
    case HEEDS_FAILS:
    case HEEDS_LATE: return wait_and_heed(as, number, out, call);
    case LOOKS: look(call); break;
    case IGNORES:
    case BLOCKS:
    case CATCHES:
    case SLEEPS:
    case FORKS: defy(as); break;
    case FAILS: return mp_fail(call, (mp_status)(MP_EUSER + 1), "fails");
    case CRASHES: kill(getpid(), SIGKILL); break;
    case TAKES: nap_us(50000); break;
    }
    *out = number + 1;
    return MP_OK;
}

static mp_status behave(const int *in, int *out, mp_call *call)
{
    int number = *in % NUMBERS;
    the_board()->times[number]++;
    the_board()->begun++;
    mp_status status = behave_so((manner)(*in / NUMBERS), number, out, call);
    the_board()->ended++;
    return status;
}
MP_TASK(behave, int, int);

/* One map, and what it has said. */
typedef struct trial {
    int items[MOST], results[MOST], n;
    mp_status statuses[MOST], status;
    mp_error errors[MOST], error;
    double took;
} trial;
static trial t;

/* All fine. */
static inline void trial_begin(int n)
{
    spoil(&t, sizeof t);
    t.n = n;
    fill(t.items, n);
    board_clear(MOST);
    for (int i = 0; i < 15; i++)
        the_board()->word[i] = 0;
}

static inline void all_are(manner as)
{
    for (int i = 0; i < t.n; i++)
        t.items[i] = AS(as, i);
}

static inline void one_is(int i, manner as)
{
    t.items[i] = AS(as, i);
}

#define RUN(pool, ...)                                                                                                     \
    do {                                                                                                                   \
        double run_start = seconds_now();                                                                                  \
        t.status = mp_pool_map(pool, behave, t.items, (size_t)t.n, t.results, .statuses = t.statuses, .errors = t.errors,  \
                               .error = &t.error, __VA_ARGS__);                                                            \
        t.took = seconds_now() - run_start;                                                                                \
    } while (0)

static inline void expect_ok(int i, int result)
{
    cr_assert(eq(int, t.statuses[i], MP_OK), "item %d: %s", i, t.errors[i].message);
    cr_assert(eq(int, t.results[i], result), "item %d", i);
    cr_assert(is_zero(&t.errors[i], sizeof t.errors[i]), "item %d", i);
}

static inline void expect_failed(int i, mp_status status)
{
    cr_assert(eq(int, t.statuses[i], status), "item %d: %s", i, t.errors[i].message);
    cr_assert(zero(int, t.results[i]), "item %d", i);
    cr_assert(eq(int, t.errors[i].status, status), "item %d", i);
    cr_assert(eq(sz, t.errors[i].item, (size_t)i));
    cr_assert(ne(chr, t.errors[i].message[0], 0), "item %d", i);
}

/* The fine ones have their results, all others `status`, and the call says so. */
static inline void expect_only_fine_ones(mp_status status)
{
    int first = -1;
    for (int i = t.n - 1; i >= 0; i--)
        if (t.items[i] < NUMBERS)
            expect_ok(i, i + 1);
        else
            expect_failed(first = i, status);
    cr_assert(eq(int, t.status, first < 0 ? MP_OK : status), "%s", t.error.message);
    if (first >= 0)
        cr_assert(eq(sz, t.error.item, (size_t)first));
}

static inline void expect_each_began(int times)
{
    size_t other = board_find_other((size_t)t.n, times);
    cr_assert(eq(sz, other, (size_t)t.n), "item %zu began %d times", other, the_board()->times[other]);
}

/* Nothing stays open: what is accepted has ended, and the pool works. */
static inline void expect_works(mp_pool *pool)
{
    int in = 41, out = 0;
    mp_error error;
    cr_assert(eq(int, mp_pool_apply(pool, add_one, &in, &out, .error = &error), MP_OK), "%s", error.message);
    cr_assert(eq(int, out, 42));
    mp_pool_stats stats = stats_of(pool);
    cr_assert(zero(u64, stats.pending));
    cr_assert(eq(u64, stats.accepted, stats.succeeded + stats.failed));
}

static inline void free_working(mp_pool **pool)
{
    expect_works(*pool);
    close_join_free(pool);
}

#endif
