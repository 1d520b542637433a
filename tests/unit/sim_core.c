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
    NEED(sim, mp__core_get_state(sim->core) != MP__ENDED || !sim_any_open(sim), "the core has ended, and a job is open");
    if (!sim_given_up(sim) || sim->verdict)
        return;
    for (uint32_t i = 0; i < sim->wanted; i++) {
        if (sim->barren[i] < MP__FAILURES_MAX && mp__core_get_state(sim->core) == MP__ENDED)
            return; /* it was closed; a hopeless one may be seen ENDED too */
        NEED(sim, sim->barren[i] >= MP__FAILURES_MAX, "the core broke, and place %u has not failed often", i);
    }
    sim->verdict = MP_EBROKEN;
    sim->tally->hopeless++;
}

bool sim_given_up(const sim_world *sim)
{
    mp__core_state state = mp__core_get_state(sim->core);
    return state != MP__RUNNING && state != MP__CLOSED;
}

/* --- while there are faults -------------------------------------------------------------------------------------------- */

static void pass_time(sim_world *sim, uint64_t until)
{
    sim->now = until;
    SAY(sim, "time");
    ledger_time(sim);
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

/* One that lives, if there is one. */
static uint32_t some_slot(sim_world *sim)
{
    uint32_t slot = (uint32_t)sim_below(sim, sim->slots);
    for (uint32_t i = 0; i < sim->slots && sim->workers[slot].life == SIM_NONE; i++)
        slot = (slot + 1) % sim->slots;
    return slot;
}

static void one_event(sim_world *sim)
{
    uint64_t kind = sim_below(sim, 100);
    if (kind < 10)
        sim_call(sim);
    else if (kind < 90)
        sim_worker_step(sim, some_slot(sim));
    else if (kind < 97)
        some_time(sim);
    else if (sim_fault(sim, sim->weather.stale))
        sim_stale_event(sim, (uint32_t)sim_below(sim, sim->slots));
    else if (sim_fault(sim, sim->weather.end))
        sim_end_somehow(sim);
    sim_act(sim, sim_fault(sim, sim->weather.lazy_shell) ? sim_below(sim, 4) : SIZE_MAX);
}

/* --- when the faults have stopped -------------------------------------------------------------------------------------- */

static bool pending(const sim_world *sim)
{
    return mp__core_get_counts(sim->core).pending > 0;
}

/* One step of every worker. A start that hangs is none of the core's business while there is work to wait for it, or when it
 * cannot be killed. */
static bool everyone_moves(sim_world *sim)
{
    bool moved = false;
    for (uint32_t i = 0; i < sim->slots; i++) {
        if (sim->unkillable || pending(sim) || mp__core_get_state(sim->core) == MP__RUNNING)
            sim->workers[i].hung = false;
        moved |= sim_worker_step(sim, i);
    }
    return moved;
}

/* Until nothing moves and nothing is due, or `until`. */
static void go_on(sim_world *sim, bool (*until)(const sim_world *sim), const char *what)
{
    uint64_t steps = 200000 + 500 * sim->accepted; /* an item may hang for seconds while an idle neighbour asks for more */
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
    if (sim_chance(sim, 500))
        sim_seal_all(sim);
    go_on(sim, nothing_pending, "pending items");
    if (sim_chance(sim, 500))
        sim_seal_all(sim);
    sim_act(sim, SIZE_MAX);
    go_on(sim, all_idle, "idle");
    SAY(sim, "the end begins");
    if (sim_chance(sim, 500))
        mp__core_close(sim->core);
    else
        sim_terminate(sim);
    sim_look(sim);
    sim_act(sim, SIZE_MAX);
    if (sim_any_open(sim))
        sim->tally->ended_open++;
    sim_seal_all(sim);
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
        .cancel = one_of(sim, 0, 100, 300, 800),
        .resize = one_of(sim, 0, 0, 200, 800),
        .open = one_of(sim, 0, 0, 300, 900),
        .pin = one_of(sim, 0, 0, 200, 500),
        .force = one_of(sim, 0, 300, 700, 1000),
        .timed = one_of(sim, 0, 0, 500, 1000),
        .retry = one_of(sim, 0, 0, 500, 1000),
        .hanging = one_of(sim, 0, 50, 200, 800),
        .fail = one_of(sim, 0, 0, 100, 600),
        .spend = one_of(sim, 0, 0, 0, 20),
        .calls = one_of(sim, 0, 200, 500, 1000),
    };
}

static void play(sim_world *sim)
{
    uint64_t events = 10 + sim_below(sim, sim_chance(sim, 200) ? 600 : 120);
    make_weather(sim);
    sim->faults = true;
    sim_look(sim);
    sim_submit(sim);
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
    sim->wanted = 1 + (uint32_t)sim_below(sim, SIM_PLACES - 1);
    sim->life_items = sim_chance(sim, 300) ? 1 + sim_below(sim, 1 + sim_below(sim, 40)) : 0;
    sim->unkillable = sim_chance(sim, 250);
    tally->unkillable += sim->unkillable;
    sim->core = mp__core_create(&(mp__core_config){.workers = sim->wanted,
                                                   .tasks = SIM_TASKS,
                                                   .chunks = 1 + (uint32_t)sim_below(sim, 1 + sim_below(sim, 12)),
                                                   .life_items = sim->life_items,
                                                   .unkillable = sim->unkillable});
    sim->slots = mp__core_slots(sim->core);
    SAY(sim, "seed %llu: %u workers%s, %llu items in a life", (unsigned long long)seed, sim->wanted,
        sim->unkillable ? " that cannot be killed" : "", (unsigned long long)sim->life_items);
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

/* How many things never happened. */
static size_t count_never(const sim_tally *t, bool print)
{
    const struct {
        const char *what;
        uint64_t times;
    } rows[] = {
        {"histories", t->histories},
        {"unkillable", t->unkillable},
        {"events", t->events},
        {"items", t->items},
        {"results", t->results},
        {"batches", t->batches},
        {"crashed", t->crashed},
        {"lost", t->lost},
        {"terminated", t->terminated},
        {"broken", t->broken},
        {"cancelled", t->cancelled},
        {"gone", t->gone},
        {"stranded", t->stranded},
        {"recalls", t->recalls},
        {"recalled items", t->recalled_items},
        {"purged", t->purged},
        {"warned", t->warned},
        {"pinned", t->pinned},
        {"extended", t->extended},
        {"refused", t->refused},
        {"sealed", t->sealed},
        {"ended open", t->ended_open},
        {"grown", t->grown},
        {"shrunk", t->shrunk},
        {"retired", t->retired},
        {"greeted", t->greeted},
        {"deaths", t->deaths},
        {"start failures", t->start_failures},
        {"condemned", t->condemned},
        {"stale", t->stale},
        {"hard kills", t->hard_kills},
        {"hopeless", t->hopeless},
        {"closed", t->closed},
        {"watched", t->watched},
        {"overdue", t->overdue},
        {"too late", t->too_late},
        {"heeded", t->heeded},
        {"timed out", t->timed_out},
        {"killed by force", t->killed_by_force},
        {"late failures", t->late_failures},
        {"warned late", t->warned_late},
        {"deadlines", t->deadlines},
        {"forced", t->forced},
        {"forced later", t->forced_later},
        {"failures", t->failures},
        {"retried", t->retried},
        {"retried after death", t->retried_after_death},
        {"stopped", t->stopped},
        {"spent", t->spent},
        {"cancelled all", t->cancelled_all},
        {"parted", t->parted},
        {"cancelled alone", t->cancelled_alone},
    };
    size_t never = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (print)
            printf("%12llu %s\n", (unsigned long long)rows[i].times, rows[i].what);
        never += !rows[i].times;
    }
    fflush(stdout);
    return never;
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
    size_t never = count_never(&tally, getenv("MP_SIM_HISTORIES") != NULL);
    cr_assert(tally.histories < 10000 || !never, "%zu things never happened: MP_SIM_HISTORIES=10000 tells", never);
}
