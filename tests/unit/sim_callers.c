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
    job->stubborn = !sim->weather.lie && sim_chance(sim, 300);
    job->core = (mp__core_job){.n = job->pin    ? 1
                                    : job->open ? sim_below(sim, n)
                                                : n,
                               .chunksize = sizes[sim_below(sim, 8)],
                               .task = (uint32_t)sim_below(sim, SIM_TASKS),
                               .pin = job->pin,
                               .open = job->open};
}

void sim_submit(sim_world *sim)
{
    if (sim->job_count == SIM_JOBS)
        return;
    sim_job *job = &sim->jobs[sim->job_count];
    make_job(sim, job);
    size_t n = job->core.n;
    mp__core_state state = state_of(sim);
    mp_status expected = state == MP__RUNNING ? MP_OK : state == MP__BROKEN ? MP_EBROKEN : MP_ECLOSED;
    SAY(sim, "submit job %zu: %zu items%s, chunksize %zu, task %u, pin %u", sim->job_count, n, job->open ? ", open" : "",
        job->core.chunksize, job->core.task, job->pin);
    mp_status status = mp__core_submit(sim->core, &job->core);
    NEED(sim, status == expected, "submit in state %d says %d", state, status);
    if (!status) {
        sim->job_count++;
        ledger_accept(sim, job, n);
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
    mp_status expected = job->cancelled ? MP_ECANCELLED : sim->verdict;
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

/* Also one that has ended and was not told done, and one that was cancelled before. */
static void cancel(sim_world *sim)
{
    sim_job *job = some_job(sim, false);
    if (!job)
        return;
    SAY(sim, "job %zu is cancelled", (size_t)(job - sim->jobs));
    job->cancelled = true;
    mp__core_cancel(sim->core, &job->core);
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
    } else if (kind == 8 && sim_chance(sim, sim->weather.cancel))
        cancel(sim);
    else if (kind == 9 && sim_chance(sim, sim->weather.resize))
        resize(sim);
}
