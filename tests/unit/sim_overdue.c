/* Fake workers whose items run too long or fail: what they answer, and what becomes of them. */
#include "tests/unit/sim.h"

/* One that the worker has been sent and that can be overdue; if the shell is lazy it may have ended meanwhile. */
static bool may_be_watched(sim_world *sim, const sim_worker *w)
{
    for (uint64_t i = w->delivered; i < w->sent; i++) {
        if (ledger_job(sim, w->fifo[i])->timeout || ledger_verdict(sim, w->fifo[i])->forced)
            return true;
    }
    return false;
}

/* A liar says that it has started everything, or nothing. What it has said it is held to. */
void sim_watch(sim_world *sim, uint32_t slot)
{
    sim_worker *w = &sim->workers[slot];
    uint64_t claim = w->started;
    NEED(sim, sim->weather.lazy_shell || may_be_watched(sim, w), "slot %u is watched for nothing", slot);
    if (sim_fault(sim, sim->weather.lie))
        claim = sim_below(sim, 2) ? UINT64_MAX - 1 : 0;
    bool heeds = w->started > w->finished && ledger_item(sim, w->fifo[w->finished])->heeds;
    uint64_t known = claim > w->sent ? w->sent : claim;
    w->known = known > w->known ? known : w->known;
    bool starves = sim_chance(sim, 200) || (w->started > w->finished && w->fifo[w->finished] % 8 == 0 &&
                                            w->warned < w->started); /* until it is told */
    mp__heed heed = starves ? MP__HEED_UNKNOWN : heeds ? MP__HEED_YES : MP__HEED_NO;
    sim->tally->watched++;
    SAY(sim, "  slot %u has started %llu%s", slot, (unsigned long long)claim,
        starves ? ", and has had no CPU"
        : heeds ? ", and heeds"
                : "");
    mp__core_progress(sim->core, slot, w->generation, claim, heed);
}

/* Never early: the item has had its time, and its grace if its task looks. */
static void need_overdue(sim_world *sim, uint16_t id)
{
    const sim_item *entry = ledger_item(sim, id);
    const sim_job *job = ledger_job(sim, id);
    uint64_t grace = entry->heeds ? job->grace : 0;
    bool timed = job->timeout && sim->now - entry->started_at >= job->timeout + grace;
    const sim_verdict *as = ledger_verdict(sim, id);
    bool forced = as->forced && sim->now >= as->forced_at + grace;
    NEED(sim, sim->weather.lie || timed || forced, "item %u is ended and has time left", id);
    sim->tally->heeded += entry->heeds;
}

/* The worker compares: if it runs another one by now, or none, nothing happens. */
void sim_end(sim_world *sim, const mp__core_action *action)
{
    sim_worker *w = &sim->workers[action->slot];
    bool runs = w->life == SIM_ALIVE && w->started == action->ordinal && w->finished < action->ordinal;
    NEED(sim, !sim->unkillable, "slot %u is ended and cannot be", action->slot);
    NEED(sim, !w->term && !w->kill && !w->doomed, "slot %u is ended and is leaving", action->slot);
    NEED(sim, action->ordinal > w->delivered && action->ordinal <= w->sent, "slot %u is ended for nothing", action->slot);
    SAY(sim, "  slot %u is %s for ordinal %llu", action->slot, runs ? "ended" : "asked too late to end",
        (unsigned long long)action->ordinal);
    *(runs ? &sim->tally->overdue : &sim->tally->too_late) += 1;
    if (runs) {
        need_overdue(sim, w->fifo[action->ordinal - 1]);
        for (uint64_t i = action->ordinal; i < w->sent; i++)
            ledger_give_back(sim, action->slot, w->fifo[i]);
        w->sent = w->known = w->limit = action->ordinal;
        w->doomed = w->term = true;
        w->asked = w->seen = w->full = false;
    }
    mp__core_ended(sim->core, action->slot, action->generation, runs);
}

/* What runs ends by itself; but some does only when it is told, if nobody waits for it, and some never. */
bool sim_goes_on(sim_world *sim, const sim_worker *w)
{
    uint16_t id = w->fifo[w->finished];
    const sim_item *entry = ledger_item(sim, id);
    bool told = w->warned >= w->started;
    if (entry->hangs)
        return !(told && entry->obeys);
    return ledger_job(sim, id)->stubborn && ledger_unwanted(sim, id) && !told && !w->term && !w->kill;
}

bool sim_fails_next(sim_world *sim, uint32_t slot)
{
    const sim_worker *w = &sim->workers[slot];
    return ledger_item(sim, w->fifo[w->delivered])->fails;
}

void sim_tell_failure(sim_world *sim, uint32_t slot)
{
    sim_worker *w = &sim->workers[slot];
    uint16_t id = w->fifo[w->delivered];
    mp__core_item item;
    mp_status status = MP_EFAILED;
    bool nonsense = false, dropped = sim->verdict && !sim->unkillable;
    mp__failed failed =
        mp__core_failed(sim->core, slot, w->generation, &status, ledger_item(sim, id)->by_task, &item, &nonsense);
    SAY(sim, "slot %u: item %u failed: %d, status %d", slot, id, (int)failed, (int)status);
    NEED(sim, !nonsense, "slot %u: an honest failure is taken for nonsense", slot);
    NEED(sim, (failed == MP__FAILED_NONE) == dropped, "slot %u: failure of item %u, and the core says %d", slot, id,
         (int)failed);
    w->delivered++;
    if (failed)
        ledger_failure(sim, slot, id, item, status, failed == MP__FAILED_RETRIED);
    else
        ledger_give_back(sim, slot, id);
    ledger_stop(sim);
    sim_look(sim);
}

void sim_tell_spent(sim_world *sim, uint32_t slot)
{
    const sim_worker *w = &sim->workers[slot];
    SAY(sim, "slot %u is spent", slot);
    sim->tally->spent++;
    mp__core_spent(sim->core, slot, w->generation);
    sim_look(sim);
}
