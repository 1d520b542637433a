/* What the program does with its pool in a simulation: any call at any time, and what each must answer. */
#include "tests/unit/sim.h"
#include <string.h>

static mp__core_state state_of(const sim_world *sim)
{
    return mp__core_get_state(sim->core);
}

static size_t job_size(sim_world *sim)
{
    static const unsigned most[] = {2, 4, 4, 20, 20, 60, 60, SIM_ITEMS};
    return 1 + sim_below(sim, most[sim_below(sim, 8)]);
}

/* --- jobs -------------------------------------------------------------------------------------------------------------- */

/* Closed and whole, or open and perhaps empty, or one item for one place, which may not be there. */
static void make_job(sim_world *sim, sim_job *job)
{
    size_t n = job_size(sim), sizes[] = {0, 0, 0, 1, 3, n, n + 1, SIZE_MAX};
    memset(job, 0, sizeof *job);
    job->open = sim_chance(sim, sim->weather.open);
    job->pin = !job->open && sim_chance(sim, sim->weather.pin) ? 1 + (uint32_t)sim_below(sim, SIM_PLACES) : 0;
    job->gone = job->pin > sim->wanted;
    job->calls = !job->open && !job->pin && n > 1 && sim_chance(sim, sim->weather.calls);
    job->stubborn = !sim->weather.lie && sim_chance(sim, 300);
    job->core = (mp__core_job){.n = job->pin    ? 1
                                    : job->open ? sim_below(sim, n)
                                                : n,
                               .chunksize = sizes[sim_below(sim, 8)],
                               .task = (uint32_t)sim_below(sim, SIM_TASKS),
                               .pin = job->pin,
                               .open = job->open,
                               .calls = job->calls};
}

static uint64_t some_ns(sim_world *sim, uint64_t a, uint64_t b, uint64_t c)
{
    const uint64_t choice[] = {a, b, c, 1 + sim_below(sim, 3 * MP__GRACE_NS)};
    return choice[sim_below(sim, 4)];
}

/* What may run too long, or again. */
static void make_policy(sim_world *sim, sim_job *job)
{
    bool timed = sim_chance(sim, sim->weather.timed), again = sim_chance(sim, sim->weather.retry);
    job->timeout = timed && sim_chance(sim, 700) ? some_ns(sim, 50000, 3000000, 100000000) : 0;
    job->deadline = timed && sim_chance(sim, 400) ? sim->now + some_ns(sim, 1, 2000000, 500000000) : 0;
    uint64_t grace = sim_below(sim, 2) ? some_ns(sim, 1, 1000000, 50000000) : 0;
    job->grace = grace ? grace : MP__GRACE_NS;
    job->retries = again ? 1 + (uint32_t)sim_below(sim, 4) : 0;
    job->retry_on = again ? (unsigned)sim_below(sim, 16) : 0;
    job->backoff = sim_below(sim, 2) ? some_ns(sim, 1, 500000, 40 * MP__GRACE_NS) : 0;
    job->stop_at = again && sim_chance(sim, 300) ? 1 + sim_below(sim, 6) : 0;
    if (job->calls)
        job->deadline = job->stop_at = 0;
    job->core.timeout_ns = job->timeout;
    job->core.grace_ns = grace;
    job->core.deadline = job->deadline;
    job->core.retries = job->retries;
    job->core.retry_on = job->retry_on;
    job->core.retry_ns = job->backoff;
    job->core.stop_at = job->stop_at;
}

void sim_submit(sim_world *sim)
{
    if (sim->job_count == SIM_JOBS)
        return;
    sim_job *job = &sim->jobs[sim->job_count];
    make_job(sim, job);
    make_policy(sim, job);
    size_t n = job->core.n;
    mp__core_state state = state_of(sim);
    mp_status expected = state == MP__RUNNING ? MP_OK : state == MP__BROKEN ? MP_EBROKEN : MP_ECLOSED;
    SAY(sim, "submit job %zu: %zu %s%s, chunksize %zu, task %u, pin %u", sim->job_count, n, job->calls ? "calls" : "items",
        job->open ? ", open" : "", job->core.chunksize, job->core.task, job->pin);
    mp_status status = mp__core_submit(sim->core, &job->core);
    NEED(sim, status == expected, "submit in state %d says %d", state, status);
    if (!status) {
        sim->job_count++;
        ledger_accept(sim, job, n);
        SAY(sim, "  timeout %llu, deadline %llu, %u retries of %x after %llu, stops at %zu",
            (unsigned long long)job->timeout, (unsigned long long)job->deadline, job->retries, job->retry_on,
            (unsigned long long)job->backoff, job->stop_at);
    }
    sim_look(sim);
}

/* One that the core still knows, with `open` only open ones; NULL: it was not to be. */
static sim_job *some_job(sim_world *sim, bool open)
{
    sim_job *job = sim->job_count ? &sim->jobs[sim_below(sim, sim->job_count)] : NULL;
    return job && !job->done && (job->open || !open) ? job : NULL;
}

static void extend(sim_world *sim)
{
    sim_job *job = some_job(sim, true);
    size_t count = job ? sim_below(sim, 1 + sim_below(sim, 30)) : 0;
    if (!job || job->n + count > SIM_ITEMS)
        return;
    mp_status expected = job->all.cancelled ? job->all.verdict : sim->verdict;
    SAY(sim, "job %zu: %zu items more", (size_t)(job - sim->jobs), count);
    mp_status status = mp__core_extend(sim->core, &job->core, count);
    NEED(sim, status == expected, "extend in state %d says %d", state_of(sim), status);
    *(status ? &sim->tally->refused : &sim->tally->extended) += 1;
    if (!status)
        ledger_accept(sim, job, count);
    sim_look(sim);
}

static void seal(sim_world *sim, sim_job *job)
{
    SAY(sim, "job %zu is sealed", (size_t)(job - sim->jobs));
    job->open = false;
    sim->tally->sealed++;
    mp__core_seal(sim->core, &job->core);
    sim_look(sim);
}

void sim_seal_all(sim_world *sim)
{
    for (size_t i = 0; i < sim->job_count; i++)
        if (sim->jobs[i].open)
            seal(sim, &sim->jobs[i]);
}

bool sim_any_open(const sim_world *sim)
{
    for (size_t i = 0; i < sim->job_count; i++)
        if (sim->jobs[i].open)
            return true;
    return false;
}

/* A call that the core still knows by a job of its own. */
static bool has_job(const sim_job *job, size_t index)
{
    return index < job->n && job->has_alone[index] && !job->items[index].ends;
}

/* Also one that has ended and was not told done, and one that was cancelled before. */
static void cancel(sim_world *sim)
{
    sim_job *job = some_job(sim, false);
    if (!job)
        return;
    mp_status verdict = sim_chance(sim, 800) ? MP_ECANCELLED : SIM_INTERRUPTED;
    bool force = sim_chance(sim, sim->weather.force);
    SAY(sim, "job %zu is cancelled%s", (size_t)(job - sim->jobs), force ? " by force" : "");
    sim->tally->forced += force;
    ledger_cancel(sim, job, verdict, force);
    if (!job->told_done)
        mp__core_cancel(sim->core, &job->core, verdict, force);
    for (size_t i = 0; job->parted && i < job->n; i++)
        if (has_job(job, i))
            mp__core_cancel(sim->core, &job->alone[i], verdict, force);
    sim_look(sim);
}

static sim_job *job_that_parts;

static mp__core_job *place_alone(mp__core_job *core, size_t index)
{
    sim_job *job = job_that_parts;
    mp__core_job *alone = core == &job->core ? &job->alone[index] : NULL;
    memset(alone, 0xA5, sizeof *alone);
    job->has_alone[index] = true;
    job->alone_left++;
    return alone;
}

/* And perhaps one of the calls, which is why, ends by itself. */
static void part(sim_world *sim)
{
    sim_job *job = some_job(sim, false);
    if (!job || !job->calls)
        return;
    if (!job->parted && !job->told_done && job->core.pending) {
        SAY(sim, "the calls of job %zu part", (size_t)(job - sim->jobs));
        job_that_parts = job;
        mp__core_split(sim->core, &job->core, place_alone);
        ledger_part(sim, job);
        sim_look(sim);
    }
    size_t index = sim_below(sim, job->n);
    for (size_t i = 0; i < job->n && !has_job(job, index); i++)
        index = (index + 1) % job->n;
    if (!has_job(job, index) || sim_chance(sim, 300))
        return;
    bool force = sim_chance(sim, sim->weather.force);
    SAY(sim, "call %zu of job %zu is cancelled%s", index, (size_t)(job - sim->jobs), force ? " by force" : "");
    sim->tally->cancelled_alone++;
    sim->tally->forced += force;
    ledger_cancel_call(sim, job, index, MP_ECANCELLED, force);
    mp__core_cancel(sim->core, &job->alone[index], MP_ECANCELLED, force);
    sim_look(sim);
}

/* Those that have items without an end. */
static void cancel_all(sim_world *sim)
{
    SAY(sim, "all jobs are cancelled");
    for (size_t i = 0; i < sim->job_count; i++) {
        sim_job *job = &sim->jobs[i];
        if (!job->done && !job->parted && !job->all.cancelled && job->core.pending)
            ledger_cancel(sim, job, SIM_INTERRUPTED, false);
        for (size_t k = 0; job->parted && k < job->n; k++)
            if (has_job(job, k))
                ledger_cancel_call(sim, job, k, SIM_INTERRUPTED, false);
    }
    sim->tally->cancelled_all++;
    mp__core_cancel_all(sim->core, SIM_INTERRUPTED);
    sim_look(sim);
}

/* --- the pool ---------------------------------------------------------------------------------------------------------- */

static void resize(sim_world *sim)
{
    uint32_t workers = 1 + (uint32_t)sim_below(sim, SIM_PLACES);
    mp__core_state state = state_of(sim);
    mp_status expected = state == MP__RUNNING ? MP_OK : state == MP__BROKEN ? MP_EBROKEN : MP_ECLOSED;
    SAY(sim, "%u workers instead of %u", workers, sim->wanted);
    mp_status status = mp__core_resize(sim->core, workers);
    NEED(sim, status == expected, "resize in state %d says %d", state, status);
    if (!status) {
        *(workers > sim->wanted ? &sim->tally->grown : &sim->tally->shrunk) += workers != sim->wanted;
        sim->wanted = workers;
        sim->resized = true;
        for (size_t i = 0; i < sim->job_count; i++)
            sim->jobs[i].gone |= sim->jobs[i].pin > workers;
    }
    NEED(sim, mp__core_slots(sim->core) >= sim->slots, "there are fewer slots than before");
    sim->slots = mp__core_slots(sim->core);
    sim_look(sim);
}

void sim_terminate(sim_world *sim)
{
    if (!sim->verdict && state_of(sim) != MP__ENDED)
        sim->verdict = MP_ETERMINATED;
    SAY(sim, "terminate");
    mp__core_terminate(sim->core);
}

void sim_end_somehow(sim_world *sim)
{
    switch (sim_below(sim, 4)) {
    case 0: sim_terminate(sim); break;
    case 1:
        SAY(sim, "break");
        if (!sim->verdict && state_of(sim) != MP__ENDED)
            sim->verdict = MP_EBROKEN;
        mp__core_break(sim->core);
        break;
    default:
        SAY(sim, "close");
        sim->tally->closed++;
        mp__core_close(sim->core);
    }
    sim_look(sim);
}

void sim_call(sim_world *sim)
{
    uint64_t kind = sim_below(sim, 10);
    if (kind < 5)
        sim_submit(sim);
    else if (kind < 7)
        extend(sim);
    else if (kind < 8 && sim_chance(sim, 400)) {
        sim_job *job = some_job(sim, true);
        if (job)
            seal(sim, job);
    } else if (kind == 7 && sim_chance(sim, sim->weather.calls)) {
        part(sim);
    } else if (kind == 8 && sim_chance(sim, sim->weather.cancel))
        (sim_chance(sim, 100) ? cancel_all : cancel)(sim);
    else if (kind == 9 && sim_chance(sim, sim->weather.resize))
        resize(sim);
}
