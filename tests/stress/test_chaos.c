/* Chaos (chaos.h): rounds of half a second to two, each a pool of its own, users of every sort, and weather. At the end of
 * each nothing may be lost, run twice, or left behind.
 *
 *     CHAOS_SECONDS=600 ./stress_test_chaos     # for all kinds together; default: 30, in ./dev stress 120
 *     CHAOS_SEED=7 CHAOS_ROUND=33 ./stress_test_chaos --filter '*__fork'   # that round again
 *     CHAOS_HOLD=1: a round that went wrong waits for a debugger
 */
#include "tests/lib/check.h"
#include "tests/lib/kinds.h"
#include "tests/lib/proc.h"
#include "tests/stress/chaos.h"
#include <signal.h>

TestSuite(chaos, .timeout = 7200);

enum { ROUND_USERS = CHAOS_USERS, WEATHER = 5 };

/* All rounds of a test. */
typedef struct totals {
    uint64_t rounds, items, begun, succeeded, failed, refused, unread;
    uint64_t crashed, crashes, overtime, forced, retried, kills, stops, pokes, resizes, zygotes, narrowed, terminated,
        broken, lost, started;
    uint64_t struck[CHAOS_CALLS];
} totals;

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

/* ---- a round's plan ---- */

static unsigned at_times(uint64_t *random, unsigned one_in, unsigned us)
{
    return chaos_one_in(random, one_in) ? us : 0;
}

static void plan(chaos_round *round, uint64_t seed, uint64_t number)
{
    uint64_t random = chaos_mixed(seed) + chaos_mixed(number * 4 + (uint64_t)how.kind * 2 + (uint64_t)how.start_method * 5);
    bool processes = how.kind == MP_PROCESSES;
    unsigned life_us = how.start_method == MP_SPAWN ? 40000 : 8000;
    round->seed = random;
    round->number = number;
    round->kind = how.kind;
    round->method = how.start_method;
    round->workers = 1 + (int)chaos_below(&random, 6);
    round->seconds = 0.3 + (double)chaos_below(&random, 1200) * 1e-3;
    round->kill_us = processes ? at_times(&random, 2, life_us) : 0;
    round->stop_us = processes ? at_times(&random, 3, 10000) : 0;
    round->fault_us = at_times(&random, 2, 10000);
    round->poke_us = at_times(&random, 2, 3000);
    round->resize_us = at_times(&random, 2, 20000);
    round->faults = (unsigned)chaos_below(&random, 1u << CHAOS_CALLS);
    round->terminates = chaos_one_in(&random, 5);
    round->kills_zygote = processes && chaos_one_in(&random, 15);
    chaos_truth->narrow = chaos_one_in(&random, 4);
}

/* ---- a round ---- */

static void set_out(chaos_round *round, chaos_actor *actor, unsigned number, void *(*run)(void *))
{
    *actor = (chaos_actor){.round = round,
                           .number = number,
                           .random = chaos_mixed(round->seed) + number * 0x1234567u,
                           .next_line = number < CHAOS_USERS ? number * CHAOS_LINES_EACH : 0};
    cr_assert(zero(int, pthread_create(&actor->thread, NULL, run, actor)));
}

static void send_users(chaos_round *round, chaos_actor *users)
{
    static void *(*const sorts[ROUND_USERS])(void *) = {chaos_map,    chaos_map,   chaos_stream,
                                                        chaos_stream, chaos_async, chaos_futures};
    round->users = ROUND_USERS;
    for (unsigned i = 0; i < ROUND_USERS; i++)
        set_out(round, &users[i], i, sorts[i]);
}

static int send_weather(chaos_round *round, chaos_actor *weather)
{
    int count = 0;
    if (round->kill_us)
        set_out(round, &weather[count++], 100, chaos_kill_workers);
    if (round->stop_us)
        set_out(round, &weather[count++], 101, chaos_stop_workers);
    if (round->fault_us)
        set_out(round, &weather[count++], 102, chaos_break_calls);
    if (round->resize_us) {
        set_out(round, &weather[count++], 103, chaos_resize);
        set_out(round, &weather[count++], 104, chaos_resize);
    }
    return count;
}

/* The test's own thread: pokes users until the time is up, and does the worst in the middle of it. */
static void weather_it(chaos_round *round, chaos_actor *users)
{
    uint64_t random = chaos_mixed(round->seed + 5);
    double begin = seconds_now(), worst = round->seconds * (double)(30 + chaos_below(&random, 70)) * 1e-2;
    bool done = !round->terminates && !round->kills_zygote;
    while (round->users && !round->stop && seconds_now() < begin + round->seconds) {
        nap_us(1 + (long)chaos_below(&random, round->poke_us ? round->poke_us : 3000));
        if (round->poke_us)
            chaos_poke(round, users, ROUND_USERS, &random);
        if (done || seconds_now() < begin + worst)
            continue;
        done = true;
        if (round->kills_zygote)
            chaos_kill_zygote(round);
        if (round->terminates) {
            round->terminated = true;
            if (mp_pool_terminate(round->pool) != MP_OK)
                chaos_complain(round, "the pool cannot be terminated");
        }
    }
}

/* What has no end yet, neither in the ledger nor told; at most so many lines. */
static void report_items(const chaos_round *round, int most)
{
    for (size_t i = 0; i < CHAOS_LINES && most; i++) {
        const chaos_fate *f = &round->fates[i];
        const chaos_line *line = &chaos_truth->lines[i];
        if (!f->asked || f->ends || line->ended || (f->left && !line->begun))
            continue;
        fprintf(
            stderr,
            "line %zu%s: deed %u, attempts %u on %#x, time-out %g, deadline %g, stop_at %u: began %u times, %.3f s ago in %d (%c), "
            "ended %u\n",
            i, f->left ? " (left)" : "", f->deed, f->most, f->retry_on, (double)f->timeout, (double)f->deadline, f->stop_at,
            line->begun, line->begun ? (double)(chaos_now_ns() - line->began_ns) * 1e-9 : 0, line->pid,
            line->pid ? proc_look(line->pid).state : '-', line->ended);
        most--;
    }
}

static void report_stuck(chaos_round *round, const chaos_actor *users)
{
    mp_pool_stats stats = {0};
    (void)mp_pool_get_stats(round->pool, &stats);
    fprintf(stderr, "pending %lu, workers %d of %d, started %lu, lost %lu\n", stats.pending, stats.workers, stats.processes,
            stats.started, stats.lost);
    report_items(round, 30);
    for (int i = 0; i < ROUND_USERS; i++)
        if (!users[i].returned)
            chaos_complain(round, "user %d does not return", i);
    fprintf(stderr, "%s\n", round->complaint);
    while (getenv("CHAOS_HOLD"))
        sleep(1);
}

/* The library's own counters, against what users were told. Those of a pool that refused or lost its users' sight of items are not
 * known so exactly. */
static void check_stats(chaos_round *round, totals *all)
{
    mp_pool_stats stats = {.pending = 1};
    uint64_t told = round->succeeded + round->failed;
    /* what was left may take a moment longer: its retries, its time-outs */
    (void)UNTIL(CHAOS_PROMPT, mp_pool_get_stats(round->pool, &stats) != MP_OK || !stats.pending);
    all->lost += stats.lost;
    all->started += stats.started;
    if (stats.accepted != stats.succeeded + stats.failed + stats.pending)
        chaos_complain(round, "accepted %lu, succeeded %lu, failed %lu, pending %lu", stats.accepted, stats.succeeded,
                       stats.failed, stats.pending);
    if (stats.pending)
        report_items(round, 30);
    if (stats.pending)
        chaos_complain(round, "%lu items pending, and nobody waits", stats.pending);
    bool exact = !round->unread && !round->refused && !round->terminated && !chaos_may_be_broken(round);
    if (exact && chaos_truth->struck[CHAOS_MEMORY] == 0 &&
        (stats.accepted != told || stats.succeeded != round->succeeded || stats.failed != round->failed))
        chaos_complain(round, "accepted %lu, succeeded %lu, failed %lu; users were told of %lu, %lu, %lu", stats.accepted,
                       stats.succeeded, stats.failed, told, (uint64_t)round->succeeded, (uint64_t)round->failed);
}

static void end_pool(chaos_round *round)
{
    uint64_t random = chaos_mixed(round->seed + 6);
    if (chaos_one_in(&random, 2)) {
        mp_pool_close(round->pool);
        mp_status status = mp_pool_join(round->pool, CHAOS_PROMPT);
        if (status != MP_OK)
            chaos_complain(round, "join: %s", mp_status_name(status));
    }
    mp_pool_free(&round->pool);
    if (round->zygote_killed && leftovers_reap(CHAOS_PROMPT) < 0)
        chaos_complain(round, "workers outlive their zygote");
}

static void count_round(const chaos_round *round, totals *all)
{
    all->rounds++;
    all->begun += chaos_truth->begun;
    all->succeeded += round->succeeded;
    all->failed += round->failed;
    all->refused += round->refused;
    all->unread += round->unread;
    all->crashed += (uint64_t)round->crashed;
    all->crashes += (uint64_t)round->crashes;
    all->overtime += (uint64_t)round->overtime;
    all->forced += (uint64_t)round->forced;
    all->retried += (uint64_t)round->retried;
    all->kills += (uint64_t)round->kills;
    all->stops += (uint64_t)round->stops;
    all->pokes += (uint64_t)round->pokes;
    all->resizes += (uint64_t)round->resizes;
    all->narrowed += (uint64_t)chaos_truth->narrowed;
    all->zygotes += round->zygote_killed;
    all->terminated += round->terminated;
    for (int i = 0; i < CHAOS_CALLS; i++)
        all->struck[i] += (uint64_t)chaos_truth->struck[i];
}

static bool open_pool(chaos_round *round)
{
    mp_error error;
    uint64_t random = chaos_mixed(round->seed + 7);
    ptrdiff_t life = chaos_one_in(&random, 4) ? 20 + (ptrdiff_t)chaos_below(&random, 3000) : 0;
    mp_status status = mp_pool_open(&round->pool, OPTIONS, .processes = round->workers, .maxtasksperchild = life,
                                    .error = &error, .grace = 0.02 + 0.02 * (double)chaos_below(&random, 3));
    if (status)
        chaos_complain(round, "open: %s", error.message);
    round->zygote = round->kind == MP_PROCESSES ? proc_only_child() : 0;
    return !status;
}

static void play(chaos_round *round, totals *all)
{
    chaos_actor users[ROUND_USERS], weather[WEATHER];
    if (!open_pool(round))
        return;
    int descriptors = proc_descriptors(getpid());
    send_users(round, users);
    int count = send_weather(round, weather);
    weather_it(round, users);
    round->stop = true;
    chaos_truth->over = true;
    if (!UNTIL(CHAOS_PROMPT, !round->users)) {
        report_stuck(round, users);
        cr_fatal("CHAOS_SEED=%lu CHAOS_ROUND=%lu: %s", from_environment("CHAOS_SEED", 1), round->number, round->complaint);
    }
    round->calm = true;
    for (int i = 0; i < ROUND_USERS; i++)
        pthread_join(users[i].thread, NULL);
    for (int i = 0; i < count; i++)
        pthread_join(weather[i].thread, NULL);
    if (!round->terminated && !UNTIL(CHAOS_PROMPT, proc_descriptors(getpid()) <= descriptors + 40))
        chaos_complain(round, "%d descriptors, and %d when it began", proc_descriptors(getpid()), descriptors);
    check_stats(round, all);
    end_pool(round);
    chaos_judge_round(round);
    count_round(round, all);
    for (int i = 0; i < ROUND_USERS; i++)
        free(users[i].memory);
}

/* ---- a test ---- */

static void on_poke(int number)
{
    (void)number;
}

static void report(const totals *all, uint64_t seed)
{
    static const char *const calls[CHAOS_CALLS] = {"fork",      "execve",         "pipe2",  "memfd_create", "mmap",
                                                   "epoll_ctl", "pthread_create", "memory", "read",         "writev"};
    printf(
        "chaos, %s, seed %lu: %lu rounds; items: %lu told (%lu OK, %lu not), %lu refused, %lu left; %lu began, %lu of them again; "
        "%lu crashed by themselves, %lu were killed, %lu were out of time, %lu ended by force; %lu workers started, %lu lost, %lu "
        "killed, %lu stopped; %lu pokes, %lu resizes, %lu zygotes killed, %lu narrow pipes, %lu pools terminated; calls failed:",
        how.name, seed, all->rounds, all->succeeded + all->failed, all->succeeded, all->failed, all->refused, all->unread,
        all->begun, all->retried, all->crashes, all->crashed, all->overtime, all->forced, all->started, all->lost,
        all->kills, all->stops, all->pokes, all->resizes, all->zygotes, all->narrowed, all->terminated);
    for (int i = 0; i < CHAOS_CALLS; i++)
        printf(" %s %lu", calls[i], all->struck[i]);
    printf("\n");
    fflush(stdout);
}

EACH_KIND(chaos, nothing_is_lost_or_run_twice_or_left)
{
    uint64_t seed = from_environment("CHAOS_SEED", 1), only = from_environment("CHAOS_ROUND", 0);
    double seconds = (double)from_environment("CHAOS_SECONDS", getenv("CHAOS_LONG") ? 120 : 30) / 4;
    totals all = {0};
    struct sigaction poked = {.sa_handler = on_poke}, before;
    static chaos_round round;
    static chaos_fate fates[CHAOS_LINES];
    cr_assert(chaos_ledger_open());
    chaos_weather_begin();
    sigaction(SIGUSR2, &poked, &before);
    printf("chaos, %s: CHAOS_SEED=%lu\n", how.name, seed);
    fflush(stdout);
    double end = seconds_now() + seconds;
    for (uint64_t number = only ? only : 1; number == 1 || number == only || (!only && seconds_now() < end); number++) {
        round = (chaos_round){.fates = fates, .lock = PTHREAD_MUTEX_INITIALIZER};
        memset(fates, 0, sizeof fates);
        chaos_ledger_clear();
        plan(&round, seed, number);
        if (getenv("CHAOS_TELL"))
            fprintf(stderr, "round %lu: %d workers, %.1f s, kill %u stop %u fault %u (%#x) poke %u resize %u%s%s\n", number,
                    round.workers, round.seconds, round.kill_us, round.stop_us, round.fault_us, round.faults, round.poke_us,
                    round.resize_us, round.terminates ? " terminate" : "", round.kills_zygote ? " zygote" : "");
        play(&round, &all);
        cr_assert(zero(sz, strlen(round.complaint)), "%s, CHAOS_SEED=%lu CHAOS_ROUND=%lu: %s", how.name, seed, number,
                  round.complaint);
        cr_assert(zero(int, proc_children(getpid(), NULL, 0)), "CHAOS_SEED=%lu CHAOS_ROUND=%lu: a child is left", seed,
                  number);
    }
    report(&all, seed);
    sigaction(SIGUSR2, &before, NULL);
    chaos_weather_end();
    chaos_ledger_close();
}
