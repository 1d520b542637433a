/* Random histories of the core (sim.h), many of them.
 *
 *     ./unit_sim_core                                          # what ./dev test runs: 100,000; 30,000 under a sanitizer
 *     MP_SIM_SEED=123 ./unit_sim_core                          # one, told event by event
 *     MP_SIM_FROM=1000000 MP_SIM_HISTORIES=5000000 ./unit_sim_core
 */
#include "tests/lib/check.h"
#include "tests/unit/sim.h"
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if CHECK_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

TestSuite(sim, .timeout = 3600); /* meson's own is the one that counts */

/* --- chance ------------------------------------------------------------------------------------------------------------ */

/* xorshift64*: small, fast, and good enough for this. */
uint64_t sim_random(sim_world *sim)
{
    sim->random ^= sim->random >> 12;
    sim->random ^= sim->random << 25;
    sim->random ^= sim->random >> 27;
    return (sim->random * 2685821657736338717u) >> 16;
}

/* splitmix64: neighbouring seeds shall have nothing in common. */
static uint64_t scrambled(uint64_t seed)
{
    seed += 0x9e3779b97f4a7c15u;
    seed = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9u;
    seed = (seed ^ seed >> 27) * 0x94d049bb133111ebu;
    return (seed ^ seed >> 31) | 1;
}

static unsigned one_of(sim_world *sim, unsigned a, unsigned b, unsigned c, unsigned d)
{
    const unsigned choice[] = {a, b, c, d};
    return choice[sim_below(sim, 4)];
}

/* --- the frame --------------------------------------------------------------------------------------------------------- */

void sim_say(const sim_world *sim, const char *format, ...)
{
    va_list arguments;
    printf("%12llu ", (unsigned long long)sim->now);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout); /* an assertion of the core's may be next */
}

void sim_fail(sim_world *sim, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sim->message, sizeof sim->message, format, arguments);
    va_end(arguments);
    longjmp(sim->failed, 1);
}

void sim_look(sim_world *sim)
{
    const char *wrong = mp__core_check(sim->core);
    sim->tally->events++;
    NEED(sim, !wrong, "mp__core_check: %s", wrong);
    if (mp__core_get_state(sim->core) != MP__BROKEN || sim->broke)
        return;
    for (uint32_t i = 0; i < sim->slots; i++)
        NEED(sim, sim->workers[i].barren >= MP__FAILURES_MAX, "the core broke, and slot %u has not failed often", i);
    sim->broke = true;
    sim->tally->hopeless++;
}

bool sim_given_up(const sim_world *sim)
{
    mp__core_state state = mp__core_get_state(sim->core);
    return state != MP__RUNNING && state != MP__CLOSED;
}

/* --- while there are faults -------------------------------------------------------------------------------------------- */

static size_t job_size(sim_world *sim)
{
    static const unsigned most[] = {2, 4, 4, 20, 20, 60, 60, SIM_ITEMS};
    return 1 + sim_below(sim, most[sim_below(sim, 8)]);
}

static void submit(sim_world *sim)
{
    if (sim->job_count == SIM_JOBS)
        return;
    sim_job *job = &sim->jobs[sim->job_count];
    size_t n = job_size(sim), sizes[] = {0, 0, 0, 1, 3, n, n + 1, SIZE_MAX};
    job->core = (mp__core_job){.n = n, .chunksize = sizes[sim_below(sim, 8)], .task = (uint32_t)sim_below(sim, SIM_TASKS)};
    mp__core_state state = mp__core_get_state(sim->core);
    mp_status expected = state == MP__RUNNING ? MP_OK : state == MP__BROKEN ? MP_EBROKEN : MP_ECLOSED;
    SAY(sim, "submit job %zu: %zu items, chunksize %zu, task %u", sim->job_count, n, job->core.chunksize, job->core.task);
    mp_status status = mp__core_submit(sim->core, &job->core);
    NEED(sim, status == expected, "submit in state %d says %d", state, status);
    if (!status) {
        sim->job_count++;
        ledger_accept(sim, job);
    }
    sim_look(sim);
}

static void pass_time(sim_world *sim, uint64_t until)
{
    sim->now = until;
    SAY(sim, "time");
    mp__core_time(sim->core, sim->now);
    sim_look(sim);
}

static void some_time(sim_world *sim)
{
    uint64_t deadline = mp__core_deadline(sim->core), kind = sim_below(sim, 10);
    if (kind < 4 && deadline != MP__NEVER)
        pass_time(sim, deadline > sim->now ? deadline : sim->now);
    else if (kind < 7)
        pass_time(sim, sim->now + sim_below(sim, 100000));
    else
        pass_time(sim, sim->now + sim_below(sim, kind < 9 ? 1000000 : 2 * MP__GRACE_NS));
}

static void end_somehow(sim_world *sim)
{
    switch (sim_below(sim, 4)) {
    case 0:
        SAY(sim, "terminate");
        mp__core_terminate(sim->core);
        break;
    case 1:
        SAY(sim, "break");
        sim->broke = true;
        mp__core_break(sim->core);
        break;
    default:
        SAY(sim, "close");
        sim->tally->closed++;
        mp__core_close(sim->core);
    }
    sim_look(sim);
}

static void one_event(sim_world *sim)
{
    uint64_t kind = sim_below(sim, 100);
    if (kind < 5)
        submit(sim);
    else if (kind < 90)
        sim_worker_step(sim, (uint32_t)sim_below(sim, sim->slots));
    else if (kind < 97)
        some_time(sim);
    else if (sim_fault(sim, sim->weather.stale))
        sim_stale_event(sim, (uint32_t)sim_below(sim, sim->slots));
    else if (sim_fault(sim, sim->weather.end))
        end_somehow(sim);
    sim_act(sim, sim_fault(sim, sim->weather.lazy_shell) ? sim_below(sim, 4) : SIZE_MAX);
}

/* --- when the faults have stopped -------------------------------------------------------------------------------------- */

static bool pending(const sim_world *sim)
{
    return mp__core_get_counts(sim->core).pending > 0;
}

/* One step of every worker. A start that hangs is none of the core's business while there is work to wait for it. */
static bool everyone_moves(sim_world *sim)
{
    bool moved = false;
    for (uint32_t i = 0; i < sim->slots; i++) {
        if (pending(sim) || mp__core_get_state(sim->core) == MP__RUNNING)
            sim->workers[i].hung = false;
        moved |= sim_worker_step(sim, i);
    }
    return moved;
}

/* Until nothing moves and nothing is due, or `until`. */
static void go_on(sim_world *sim, bool (*until)(const sim_world *sim), const char *what)
{
    uint64_t steps = 1000 + 10 * sim->accepted;
    while (!until(sim)) {
        NEED(sim, steps-- > 0, "%s: it goes on for ever", what);
        bool moved = everyone_moves(sim);
        uint64_t deadline = mp__core_deadline(sim->core);
        NEED(sim, moved || deadline != MP__NEVER, "%s: nothing moves and nothing is due", what);
        if (!moved)
            pass_time(sim, deadline > sim->now ? deadline : sim->now);
        else if (sim_chance(sim, 100))
            pass_time(sim, sim->now + sim_below(sim, 100000));
        sim_act(sim, SIZE_MAX);
    }
}

static bool nothing_pending(const sim_world *sim)
{
    return !pending(sim);
}

static bool all_idle(const sim_world *sim)
{
    if (mp__core_get_state(sim->core) != MP__RUNNING)
        return true;
    return mp__core_all_ready(sim->core) && mp__core_deadline(sim->core) == MP__NEVER;
}

static bool ended(const sim_world *sim)
{
    return mp__core_get_state(sim->core) == MP__ENDED;
}

static void come_to_the_end(sim_world *sim)
{
    sim->faults = false;
    SAY(sim, "the faults stop");
    sim_act(sim, SIZE_MAX);
    go_on(sim, nothing_pending, "pending items");
    go_on(sim, all_idle, "idle");
    if (sim_chance(sim, 500))
        mp__core_close(sim->core);
    else
        mp__core_terminate(sim->core);
    SAY(sim, "the end begins");
    sim_look(sim);
    sim_act(sim, SIZE_MAX);
    go_on(sim, ended, "end");
    ledger_complete(sim);
    NEED(sim, mp__core_deadline(sim->core) == MP__NEVER, "something is due after the end");
}

/* --- a history --------------------------------------------------------------------------------------------------------- */

static void make_weather(sim_world *sim)
{
    sim->weather = (sim_weather){
        .death = one_of(sim, 0, 5, 30, 150),
        .start_failure = one_of(sim, 0, 0, 100, 900),
        .nonsense = one_of(sim, 0, 0, 5, 50),
        .stale = one_of(sim, 0, 100, 500, 1000),
        .hang = one_of(sim, 0, 0, 50, 300),
        .deaf = one_of(sim, 0, 0, 100, 500),
        .vague = one_of(sim, 0, 0, 100, 500),
        .lie = one_of(sim, 0, 0, 0, 200),
        .lazy_shell = one_of(sim, 0, 0, 200, 700),
        .end = one_of(sim, 0, 0, 100, 500),
    };
}

static void play(sim_world *sim)
{
    uint64_t events = 10 + sim_below(sim, sim_chance(sim, 200) ? 600 : 120);
    make_weather(sim);
    sim->faults = true;
    sim_look(sim);
    submit(sim);
    while (events--)
        one_event(sim);
    come_to_the_end(sim);
}

const char *sim_history(sim_world *sim, uint64_t seed)
{
    bool trace = sim->trace;
    sim_tally *tally = sim->tally;
    memset(sim, 0, sizeof *sim);
    sim->trace = trace;
    sim->tally = tally;
    sim->random = scrambled(seed);
    sim->slots = 1 + (uint32_t)sim_below(sim, SIM_SLOTS);
    sim->core = mp__core_create(&(mp__core_config){
        .workers = sim->slots, .tasks = SIM_TASKS, .chunks = 1 + (uint32_t)sim_below(sim, 1 + sim_below(sim, 12))});
    SAY(sim, "seed %llu: %u slots", (unsigned long long)seed, sim->slots);
    bool wrong = setjmp(sim->failed);
    if (!wrong)
        play(sim);
    mp__core_free(&sim->core);
    sim->tally->histories++;
    sim->tally->items += sim->accepted;
    return wrong ? sim->message : NULL;
}

/* --- the tests --------------------------------------------------------------------------------------------------------- */

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static volatile uint64_t seed_now;

/* What ends the process at once (an assertion of the core's, a sanitizer's finding) does not say whose history it was. */
static void tell_seed(void)
{
    char text[] = "\n00000000000000000000 is the seed: MP_SIM_SEED replays it\n";
    uint64_t seed = seed_now;
    for (int i = 20; i > 0; i--, seed /= 10)
        text[i] = (char)('0' + seed % 10);
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written;
}

#if CHECK_ASAN
static void tell_seed_at_death(bool on)
{
    __sanitizer_set_death_callback(on ? tell_seed : NULL);
}
#else
static void on_signal(int signal)
{
    (void)signal; /* its default action is back, and follows */
    tell_seed();
}

static void tell_seed_at_death(bool on)
{
    static struct sigaction theirs[2];
    const struct sigaction ours = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    const int signals[] = {SIGABRT, SIGSEGV};
    for (int i = 0; i < 2; i++)
        sigaction(signals[i], on ? &ours : &theirs[i], on ? &theirs[i] : NULL);
}
#endif

static void play_from(sim_world *sim, uint64_t from, uint64_t histories)
{
    for (uint64_t seed = from; seed < from + histories; seed++) {
        seed_now = seed;
        const char *wrong = sim_history(sim, seed);
        cr_assert_null(wrong, "%s; MP_SIM_SEED=%llu replays it", wrong, (unsigned long long)seed);
    }
}

static void print_tally(const sim_tally *t)
{
    printf(
        "%llu histories, %llu events, %llu items: %llu results, %llu crashed, %llu lost, %llu terminated, %llu broken;\n"
        "%llu recalls of %llu items, %llu deaths, %llu failed starts, %llu condemned, %llu stale events, %llu hard kills, "
        "%llu hopeless\n",
        (unsigned long long)t->histories, (unsigned long long)t->events, (unsigned long long)t->items,
        (unsigned long long)t->results, (unsigned long long)t->crashed, (unsigned long long)t->lost,
        (unsigned long long)t->terminated, (unsigned long long)t->broken, (unsigned long long)t->recalls,
        (unsigned long long)t->recalled_items, (unsigned long long)t->deaths, (unsigned long long)t->start_failures,
        (unsigned long long)t->condemned, (unsigned long long)t->stale, (unsigned long long)t->hard_kills,
        (unsigned long long)t->hopeless);
    fflush(stdout);
}

/* Oracle: each item ends exactly once, as what happened to it demands; what was started is never started again; everything
 * ends when the faults have stopped. */
CHECK(sim, random_histories__every_item_ends_once)
{
    static sim_world sim;
    static sim_tally tally;
    uint64_t histories = number("MP_SIM_HISTORIES", CHECK_ASAN || CHECK_TSAN ? 30000 : 100000);
    sim.tally = &tally;
    sim.trace = getenv("MP_SIM_SEED") != NULL;
    tell_seed_at_death(true);
    if (sim.trace)
        play_from(&sim, number("MP_SIM_SEED", 0), 1);
    else
        play_from(&sim, number("MP_SIM_FROM", 1), histories);
    tell_seed_at_death(false);
    if (getenv("MP_SIM_HISTORIES"))
        print_tally(&tally);
    if (tally.histories < 10000)
        return;
    cr_assert(tally.crashed && tally.lost && tally.terminated && tally.broken && tally.recalled_items &&
              tally.start_failures && tally.condemned && tally.stale && tally.hard_kills && tally.hopeless && tally.closed);
}
