/* The oracle of the simulation: exactly one end for each item, and the right one. It has no part of the core's in it: it goes by
 * what workers really did and by what the core was told. */
#include "tests/unit/sim.h"
#include <string.h>

/* The item of a job, or that of one that a call has got of its own: then it is its first. */
static size_t item_of(const sim_job *job, const mp__core_job *core, size_t index)
{
    if (core == &job->core)
        return index;
    return core >= job->alone && core < job->alone + SIM_ITEMS && !index ? (size_t)(core - job->alone) : SIZE_MAX;
}

static uint16_t id_of(sim_world *sim, const mp__core_job *core, size_t index)
{
    for (size_t i = 0; i < sim->job_count; i++) {
        const sim_job *job = &sim->jobs[i];
        size_t item = item_of(job, core, index);
        if (item == SIZE_MAX)
            continue;
        NEED(sim, !job->done, "job %zu is done, and is spoken of", i);
        NEED(sim, item < job->n, "job %zu has no item %zu", i, item);
        NEED(sim, core == &job->core || job->has_alone[item], "item %zu of job %zu has no job of its own", item, i);
        return (uint16_t)(i * SIM_ITEMS + item);
    }
    sim_fail(sim, "an unknown job is spoken of");
}

sim_item *ledger_item(sim_world *sim, uint16_t id)
{
    return &sim->jobs[id / SIM_ITEMS].items[id % SIM_ITEMS];
}

sim_job *ledger_job(sim_world *sim, uint16_t id)
{
    return &sim->jobs[id / SIM_ITEMS];
}

bool ledger_unwanted(sim_world *sim, uint16_t id)
{
    return sim->verdict || ledger_verdict(sim, id)->cancelled;
}

void ledger_accept(sim_world *sim, sim_job *job, size_t count)
{
    memset(&job->items[job->n], 0, count * sizeof *job->items);
    for (size_t i = job->n; i < job->n + count; i++) {
        job->items[i].holder = -1;
        job->items[i].attempt = 1;
    }
    job->n += count;
    sim->accepted += count;
}

bool ledger_timed_out(sim_world *sim, uint16_t id)
{
    const sim_item *entry = ledger_item(sim, id);
    const sim_job *job = ledger_job(sim, id);
    return job->timeout && entry->starts && sim->now - entry->started_at >= job->timeout;
}

const sim_verdict *ledger_verdict(sim_world *sim, uint16_t id)
{
    const sim_job *job = ledger_job(sim, id);
    return job->has_alone[id % SIM_ITEMS] ? &job->own[id % SIM_ITEMS] : &job->all;
}

static void cancel_as(sim_world *sim, sim_verdict *as, mp_status verdict, bool force)
{
    if (!as->cancelled)
        as->verdict = verdict;
    if (force && !as->forced) {
        as->forced = verdict;
        as->forced_at = sim->now;
        sim->tally->forced_later += as->cancelled;
    }
    as->cancelled = true;
}

void ledger_cancel_call(sim_world *sim, sim_job *job, size_t index, mp_status verdict, bool force)
{
    cancel_as(sim, &job->own[index], verdict, force);
}

void ledger_cancel(sim_world *sim, sim_job *job, mp_status verdict, bool force)
{
    cancel_as(sim, &job->all, verdict, force);
    for (size_t i = 0; job->parted && i < job->n; i++)
        if (job->has_alone[i])
            cancel_as(sim, &job->own[i], verdict, force);
}

void ledger_part(sim_world *sim, sim_job *job)
{
    job->parted = true;
    sim->tally->parted++;
    for (size_t i = 0; i < job->n; i++) {
        job->own[i] = job->all;
        NEED(sim, !job->has_alone[i] || !job->items[i].ends, "item %zu has ended and got a job of its own", i);
    }
}

void ledger_barren(sim_world *sim, uint32_t place)
{
    if (++sim->barren[place] < MP__FAILURES_MAX)
        return;
    for (size_t i = 0; i < sim->job_count; i++)
        sim->jobs[i].stranded |= sim->jobs[i].pin == place + 1;
}

void ledger_time(sim_world *sim)
{
    for (size_t i = 0; i < sim->job_count && !sim->verdict; i++) {
        sim_job *job = &sim->jobs[i];
        if (job->done || !job->deadline || job->deadline > sim->now)
            continue;
        job->deadline = 0;
        sim->tally->deadlines += !job->all.cancelled;
        ledger_cancel(sim, job, MP_ETIMEDOUT, true);
    }
}

void ledger_stop(sim_world *sim)
{
    for (size_t i = 0; i < sim->job_count; i++) {
        sim_job *job = &sim->jobs[i];
        if (job->stopping && !job->all.cancelled) {
            ledger_cancel(sim, job, MP_ECANCELLED, false);
            sim->tally->stopped++;
        }
        job->stopping = false;
    }
}

static void fail_for_good(sim_job *job)
{
    job->failures++;
    job->stopping |= job->stop_at && job->failures >= job->stop_at;
}

/* Such a failure is one after which the item runs again. */
static bool runs_again(sim_world *sim, uint16_t id, unsigned class)
{
    const sim_job *job = ledger_job(sim, id);
    return job->retry_on & class && ledger_item(sim, id)->attempt <= job->retries && !ledger_unwanted(sim, id) &&
           job->pin <= sim->wanted;
}

/* Nobody has it any more, and nothing is left of this attempt. */
static void run_again(sim_world *sim, uint16_t id)
{
    sim_item *entry = ledger_item(sim, id);
    uint64_t wait = ledger_job(sim, id)->backoff;
    for (uint32_t i = 1; i < entry->attempt; i++)
        wait = wait > MP__RETRY_MAX_NS / 2 ? MP__RETRY_MAX_NS : 2 * wait;
    *entry = (sim_item){.holder = entry->holder, .attempt = entry->attempt + 1, .not_before = sim->now + wait};
    sim->retried++;
    sim->tally->retried++;
}

uint16_t ledger_send(sim_world *sim, uint32_t slot, mp__core_item item)
{
    uint16_t id = id_of(sim, item.job, item.index);
    sim_item *entry = ledger_item(sim, id);
    NEED(sim, !entry->ends, "item %u is sent and has ended", id);
    NEED(sim, !entry->starts, "item %u is sent and was started once", id);
    NEED(sim, item.attempt == entry->attempt, "item %u is sent for attempt %u, and it is %u", id, item.attempt,
         entry->attempt);
    NEED(sim, sim->now >= entry->not_before, "item %u is sent, and its back-off is not over", id);
    NEED(sim, entry->holder < 0, "item %u is sent to slot %u and is with slot %d", id, slot, entry->holder);
    NEED(sim, !ledger_unwanted(sim, id), "item %u is sent, and nobody waits for it", id);
    uint32_t pin = ledger_job(sim, id)->pin;
    NEED(sim, !pin || sim->workers[slot].place == pin - 1, "pinned item %u is sent to another place", id);
    sim->tally->pinned += pin > 0;
    entry->holder = (int8_t)slot;
    return id;
}

void ledger_give_back(sim_world *sim, uint32_t slot, uint16_t id)
{
    sim_item *entry = ledger_item(sim, id);
    NEED(sim, entry->holder == (int8_t)slot, "slot %u gives back item %u, which is with %d", slot, id, entry->holder);
    entry->holder = -1;
}

void ledger_start(sim_world *sim, uint32_t slot, uint16_t id)
{
    sim_item *entry = ledger_item(sim, id);
    NEED(sim, entry->holder == (int8_t)slot, "slot %u starts item %u, which is with %d", slot, id, entry->holder);
    NEED(sim, !entry->starts, "item %u is started twice", id);
    NEED(sim, !entry->ends || (sim->verdict && !sim->unkillable), "item %u is started and has ended", id);
    entry->starts = 1;
    entry->started_at = sim->now;
    const sim_job *job = ledger_job(sim, id);
    bool ends =
        job->timeout || job->deadline || ledger_verdict(sim, id)->forced; /* it can be ended: else it would hang for ever */
    entry->hangs = ends && !sim->weather.lie && sim_fault(sim, sim->weather.hanging);
    entry->heeds = sim_chance(sim, 400);
    entry->obeys = sim->unkillable || (entry->heeds && sim_chance(sim, 700));
}

void ledger_finish(sim_world *sim, uint32_t slot, uint16_t id)
{
    sim_item *entry = ledger_item(sim, id);
    NEED(sim, entry->holder == (int8_t)slot, "slot %u finishes item %u, which is with %d", slot, id, entry->holder);
    entry->finished = true;
    entry->fails = sim_fault(sim, sim->weather.fail);
    entry->by_task = sim_chance(sim, 800);
}

static void end(sim_world *sim, uint16_t id)
{
    sim_item *entry = ledger_item(sim, id);
    NEED(sim, !entry->ends, "item %u ends twice", id);
    entry->ends = 1;
    sim->jobs[id / SIM_ITEMS].ended++;
    sim->ended++;
}

void ledger_result(sim_world *sim, uint32_t slot, uint16_t id, mp__core_item item)
{
    NEED(sim, id_of(sim, item.job, item.index) == id, "the result of item %u goes to item %zu", id, item.index);
    ledger_give_back(sim, slot, id);
    end(sim, id);
    sim->tally->results++;
}

/* It may be called overdue if it can have been seen to be. */
void ledger_failure(sim_world *sim, uint32_t slot, uint16_t id, mp__core_item item, mp_status status, bool again)
{
    const sim_item *entry = ledger_item(sim, id);
    sim_job *job = ledger_job(sim, id);
    mp_status forced = ledger_verdict(sim, id)->forced;
    bool late = status == MP_ETIMEDOUT && (sim->weather.lie || ledger_timed_out(sim, id));
    bool own = status == MP_EFAILED;
    NEED(sim, id_of(sim, item.job, item.index) == id && item.attempt == entry->attempt,
         "the failure of item %u goes to item %zu, attempt %u", id, item.index, item.attempt);
    NEED(sim, own || late || (forced && status == forced), "item %u failed and is called %d", id, status);
    unsigned class = own ? (entry->by_task ? MP__RETRY_FAILED : 0) : MP__RETRY_TIMEDOUT;
    NEED(sim, again == runs_again(sim, id, class), "item %u failed with %d, and runs%s again", id, status,
         again ? "" : " not");
    sim->tally->late_failures += !own;
    ledger_give_back(sim, slot, id);
    sim->tally->failures++;
    if (again) {
        run_again(sim, id);
    } else {
        fail_for_good(job);
        end(sim, id);
    }
}

void ledger_expect(sim_world *sim, uint16_t id, mp_status status, bool honest)
{
    sim_item *entry = ledger_item(sim, id);
    sim_job *job = ledger_job(sim, id);
    unsigned class = status == MP_ECRASHED ? MP__RETRY_CRASHED : status == MP_ELOST ? MP__RETRY_LOST : MP__RETRY_TIMEDOUT;
    if (entry->ends || sim_given_up(sim))
        return;
    if (runs_again(sim, id, class)) {
        run_again(sim, id);
        sim->tally->retried_after_death++;
        return;
    }
    fail_for_good(job);
    entry->either = status;
    mp_status forced = ledger_verdict(sim, id)->forced;
    if (status == MP_ETIMEDOUT && forced) {
        entry->either = forced;
        status = ledger_timed_out(sim, id) ? status : forced;
    }
    entry->expected = status;
    entry->honest = honest;
    sim->expected++;
}

/* What only a death can bring, to an item that the death was told for. */
static void fail_by_death(sim_world *sim, uint16_t id, const mp__core_action *action)
{
    sim_item *entry = ledger_item(sim, id);
    bool lost = action->status == MP_ELOST;
    NEED(sim, entry->expected && (entry->expected == action->status || entry->either == action->status),
         "item %u ends with %d, expected was %d", id, action->status, entry->expected);
    NEED(sim, action->slot < sim->slots, "item %u ends by nobody's fault", id);
    NEED(sim, action->attempt == entry->attempt, "item %u ends in attempt %u of %u", id, action->attempt, entry->attempt);
    NEED(sim, !entry->honest || lost || (entry->starts && !entry->finished), "item %u is blamed and did not run", id);
    NEED(sim, !entry->honest || !lost, "item %u is lost with an honest worker", id);
    entry->expected = MP_OK;
    sim->expected--;
    *(lost                              ? &sim->tally->lost
      : action->status == MP_ECRASHED   ? &sim->tally->crashed
      : ledger_verdict(sim, id)->forced ? &sim->tally->killed_by_force
                                        : &sim->tally->timed_out) += 1;
}

static void fail_by_giving_up(sim_world *sim, uint16_t id, const mp__core_action *action)
{
    mp__core_state state = mp__core_get_state(sim->core);
    NEED(sim, action->slot == MP__NO_SLOT, "item %u ends with %d by the fault of slot %u", id, action->status,
         action->slot);
    if (ledger_job(sim, id)->stranded && action->status == MP_EBROKEN && (state == MP__RUNNING || state == MP__CLOSED)) {
        NEED(sim, !ledger_item(sim, id)->starts && ledger_item(sim, id)->holder < 0,
             "item %u is given up with its worker, and may run", id);
        sim->tally->stranded++;
        return;
    }
    NEED(sim, state != MP__RUNNING && state != MP__CLOSED, "item %u ends with %d and nobody gave up", id, action->status);
    NEED(sim, action->status == sim->verdict, "item %u ends with %d for another reason", id, action->status);
    NEED(sim, !sim->unkillable || (!ledger_item(sim, id)->starts && ledger_item(sim, id)->holder < 0),
         "item %u ends with %d and may run", id, action->status);
    if (action->status == MP_ETERMINATED)
        sim->tally->terminated++;
    else
        sim->tally->broken++;
}

/* It was taken back from whoever had it, and had not started. */
static void fail_by_cancel(sim_world *sim, uint16_t id, const mp__core_action *action)
{
    const sim_job *job = ledger_job(sim, id);
    const sim_verdict *as = ledger_verdict(sim, id);
    const sim_item *entry = ledger_item(sim, id);
    NEED(sim, as->cancelled || job->gone, "item %u is cancelled by nobody", id);
    NEED(sim,
         action->status == (as->cancelled ? as->verdict : MP_ECANCELLED) || (job->gone && action->status == MP_ECANCELLED),
         "item %u is cancelled with %d", id, action->status);
    NEED(sim, action->attempt == entry->attempt - 1, "item %u is cancelled in attempt %u of %u", id, action->attempt,
         entry->attempt);
    NEED(sim, !entry->starts, "item %u is cancelled and has started", id);
    NEED(sim, entry->holder < 0, "item %u is cancelled and is with slot %d", id, entry->holder);
    NEED(sim, action->slot == MP__NO_SLOT, "item %u is cancelled by the fault of slot %u", id, action->slot);
    *(as->cancelled ? &sim->tally->cancelled : &sim->tally->gone) += 1;
}

void ledger_fail(sim_world *sim, const mp__core_action *action)
{
    NEED(sim, action->count > 0, "no items fail");
    for (size_t i = 0; i < action->count; i++) {
        uint16_t id = id_of(sim, action->job, action->first + i);
        if (action->slot != MP__NO_SLOT)
            fail_by_death(sim, id, action);
        else if (action->status == MP_ETERMINATED || action->status == MP_EBROKEN)
            fail_by_giving_up(sim, id, action);
        else if (action->status == MP_ECANCELLED || action->status == SIM_INTERRUPTED || action->status == MP_ETIMEDOUT)
            fail_by_cancel(sim, id, action);
        else
            sim_fail(sim, "item %u ends with status %d", id, action->status);
        end(sim, id);
    }
}

static sim_job *job_of_alone(sim_world *sim, const mp__core_job *core)
{
    for (size_t i = 0; i < sim->job_count; i++)
        if (core >= sim->jobs[i].alone && core < sim->jobs[i].alone + SIM_ITEMS)
            return &sim->jobs[i];
    return NULL;
}

/* From here on nobody may touch what the core knew the job by. One whose calls have parted is told done at once, and they by themselves. */
void ledger_done(sim_world *sim, mp__core_job *core)
{
    sim_job *parted = job_of_alone(sim, core), *job = parted ? parted : (sim_job *)core;
    NEED(sim, !job->done && !job->open, "job %zu is done%s", (size_t)(job - sim->jobs), job->open ? " and open" : " twice");
    if (parted) {
        size_t item = (size_t)(core - job->alone);
        NEED(sim, job->has_alone[item] && job->items[item].ends, "item %zu is done, and has not ended", item);
        job->alone_left--;
    } else {
        NEED(sim, !job->told_done, "job %zu is done twice", (size_t)(job - sim->jobs));
        NEED(sim, job->parted || job->ended == job->n, "a job is done and %zu of its %zu items have ended", job->ended,
             job->n);
        job->told_done = true;
    }
    job->done = job->told_done && !job->alone_left;
    memset(core, 0xA5, sizeof *core);
}

void ledger_settled(sim_world *sim)
{
    mp__core_counts counts = mp__core_get_counts(sim->core);
    NEED(sim, counts.accepted == sim->accepted, "the core has accepted another number of items");
    NEED(sim, counts.finished == sim->ended, "the core has ended another number of items");
    NEED(sim, counts.retried == sim->retried, "the core has tried another number of items again");
    NEED(sim, !sim->expected, "%zu items did not get the end that was due", sim->expected);
    for (size_t i = 0; i < sim->job_count; i++) {
        const sim_job *job = &sim->jobs[i];
        NEED(sim, job->done == (!job->open && job->ended == job->n), "job %zu has ended and is not told done", i);
    }
}

void ledger_complete(sim_world *sim)
{
    ledger_settled(sim);
    for (size_t i = 0; i < sim->job_count; i++) {
        NEED(sim, sim->jobs[i].done, "job %zu never ended", i);
        for (size_t k = 0; k < sim->jobs[i].n; k++)
            NEED(sim, sim->jobs[i].items[k].ends == 1, "item %zu never ended", i * SIM_ITEMS + k);
    }
}
