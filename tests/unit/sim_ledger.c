/* The oracle of the simulation: exactly one end for each item, and the right one. It has no part of the core's in it: it goes by
 * what workers really did and by what the core was told. */
#include "tests/unit/sim.h"
#include <string.h>

static uint16_t id_of(sim_world *sim, const mp__core_job *core, size_t index)
{
    for (size_t i = 0; i < sim->job_count; i++)
        if (core == &sim->jobs[i].core) {
            NEED(sim, !sim->jobs[i].done, "job %zu is done, and is spoken of", i);
            NEED(sim, index < sim->jobs[i].n, "job %zu has no item %zu", i, index);
            return (uint16_t)(i * SIM_ITEMS + index);
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
    return sim->verdict || ledger_job(sim, id)->cancelled;
}

void ledger_accept(sim_world *sim, sim_job *job, size_t count)
{
    memset(&job->items[job->n], 0, count * sizeof *job->items);
    for (size_t i = job->n; i < job->n + count; i++)
        job->items[i].holder = -1;
    job->n += count;
    sim->accepted += count;
}

uint16_t ledger_send(sim_world *sim, uint32_t slot, mp__core_item item)
{
    uint16_t id = id_of(sim, item.job, item.index);
    sim_item *entry = ledger_item(sim, id);
    NEED(sim, !entry->ends, "item %u is sent and has ended", id);
    NEED(sim, !entry->starts, "item %u is sent and was started once", id);
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
}

void ledger_finish(sim_world *sim, uint32_t slot, uint16_t id)
{
    sim_item *entry = ledger_item(sim, id);
    NEED(sim, entry->holder == (int8_t)slot, "slot %u finishes item %u, which is with %d", slot, id, entry->holder);
    entry->finished = true;
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

void ledger_expect(sim_world *sim, uint16_t id, mp_status status, bool honest)
{
    sim_item *entry = ledger_item(sim, id);
    if (entry->ends || sim_given_up(sim))
        return;
    entry->expected = status;
    entry->honest = honest;
    sim->expected++;
}

/* What only a death can bring, to an item that the death was told for. */
static void fail_by_death(sim_world *sim, uint16_t id, const mp__core_action *action)
{
    sim_item *entry = ledger_item(sim, id);
    bool crashed = action->status == MP_ECRASHED;
    NEED(sim, entry->expected == action->status, "item %u ends with %d, expected was %d", id, action->status,
         entry->expected);
    NEED(sim, action->slot < sim->slots, "item %u ends by nobody's fault", id);
    NEED(sim, !entry->honest || !crashed || (entry->starts && !entry->finished), "item %u is blamed and did not run", id);
    NEED(sim, !entry->honest || crashed, "item %u is lost with an honest worker", id);
    entry->expected = MP_OK;
    sim->expected--;
    *(crashed ? &sim->tally->crashed : &sim->tally->lost) += 1;
}

static void fail_by_giving_up(sim_world *sim, uint16_t id, const mp__core_action *action)
{
    mp__core_state state = mp__core_get_state(sim->core);
    NEED(sim, action->slot == MP__NO_SLOT, "item %u ends with %d by the fault of slot %u", id, action->status,
         action->slot);
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
    const sim_item *entry = ledger_item(sim, id);
    NEED(sim, job->cancelled || job->gone, "item %u is cancelled by nobody", id);
    NEED(sim, !entry->starts, "item %u is cancelled and has started", id);
    NEED(sim, entry->holder < 0, "item %u is cancelled and is with slot %d", id, entry->holder);
    NEED(sim, action->slot == MP__NO_SLOT, "item %u is cancelled by the fault of slot %u", id, action->slot);
    *(job->cancelled ? &sim->tally->cancelled : &sim->tally->gone) += 1;
}

void ledger_fail(sim_world *sim, const mp__core_action *action)
{
    NEED(sim, action->count > 0, "no items fail");
    for (size_t i = 0; i < action->count; i++) {
        uint16_t id = id_of(sim, action->job, action->first + i);
        if (action->status == MP_ECRASHED || action->status == MP_ELOST)
            fail_by_death(sim, id, action);
        else if (action->status == MP_ETERMINATED || action->status == MP_EBROKEN)
            fail_by_giving_up(sim, id, action);
        else if (action->status == MP_ECANCELLED)
            fail_by_cancel(sim, id, action);
        else
            sim_fail(sim, "item %u ends with status %d", id, action->status);
        end(sim, id);
    }
}

/* From here on nobody may touch what the core knew the job by. */
void ledger_done(sim_world *sim, mp__core_job *core)
{
    sim_job *job = (sim_job *)core;
    NEED(sim, !job->done && !job->open, "job %zu is done%s", (size_t)(job - sim->jobs), job->open ? " and open" : " twice");
    NEED(sim, job->ended == job->n, "a job is done and %zu of its %zu items have ended", job->ended, job->n);
    job->done = true;
    memset(core, 0xA5, sizeof *core);
}

void ledger_settled(sim_world *sim)
{
    mp__core_counts counts = mp__core_get_counts(sim->core);
    NEED(sim, counts.accepted == sim->accepted, "the core has accepted another number of items");
    NEED(sim, counts.finished == sim->ended, "the core has ended another number of items");
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
