/* The fake workers of the simulation, and the shell that does what the core asks of them.
 *
 * A worker is what a real one is to its parent: it runs what it was sent in order, one at a time; its results arrive later, in
 * order; it may die at any moment, and what it had finished by then arrives all the same, before its loss is told. A recall
 * takes effect at once or later, and is answered later still. Threads do not die, and are never killed. */
#include "tests/unit/sim.h"

static sim_worker *worker_at(sim_world *sim, uint32_t slot)
{
    return &sim->workers[slot];
}

static void give_back_from(sim_world *sim, uint32_t slot, uint64_t ordinal)
{
    sim_worker *w = worker_at(sim, slot);
    for (uint64_t i = ordinal; i < w->sent; i++)
        ledger_give_back(sim, slot, w->fifo[i]);
    w->sent = ordinal;
}

/* --- the shell --------------------------------------------------------------------------------------------------------- */

static void start_worker(sim_world *sim, const mp__core_action *action)
{
    sim_worker *w = worker_at(sim, action->slot);
    NEED(sim, w->life == SIM_NONE, "slot %u is started and lives", action->slot);
    NEED(sim, action->generation > w->generation, "a generation of slot %u comes again", action->slot);
    NEED(sim, action->place < sim->wanted || sim->resized, "slot %u is started in place %u", action->slot, action->place);
    NEED(sim, action->place == mp__core_place(sim->core, action->slot), "slot %u is in another place", action->slot);
    for (uint32_t i = 0; i < sim->slots; i++)
        sim->workers[i].past |= sim->workers[i].place == action->place;
    w->place = action->place;
    w->past = w->greeted = w->doomed = false;
    w->warned = 0;
    w->life = SIM_STARTING;
    w->generation = action->generation;
    w->deaf = !sim->unkillable && sim_fault(sim, sim->weather.deaf);
    w->hung = sim_fault(sim, sim->weather.hang);
    w->silent = w->full = w->stop = w->term = w->kill = w->asked = w->seen = false;
    w->limit = UINT64_MAX;
    w->known = w->sent = w->started = w->finished = w->delivered = 0;
}

/* `most`: there is no room for more now. A worker that was given all there is must be told when there is more. */
static void send_items(sim_world *sim, uint32_t slot, uint64_t most)
{
    sim_worker *w = worker_at(sim, slot);
    mp__core_item item;
    size_t there, count;
    w->full = false;
    for (; (there = mp__core_unsent(sim->core, slot, &item)); most -= count) {
        w->full = !most;
        if (w->full)
            return;
        count = sim_chance(sim, 500) ? there : 1 + sim_below(sim, there);
        count = count < most ? count : (size_t)most;
        NEED(sim, w->life == SIM_ALIVE || w->life == SIM_DEAD, "slot %u is sent an item and is not ready", slot);
        NEED(sim, !w->past, "slot %u is sent an item, and has left its place", slot);
        NEED(sim, !w->asked && !w->stop && !w->term && !w->kill && !w->silent, "slot %u is sent an item, out of turn",
             slot);
        NEED(sim, w->sent + count <= SIM_JOBS * SIM_ITEMS, "slot %u is sent more than there is", slot);
        for (size_t i = 0; i < count; i++, item.index++) {
            w->fifo[w->sent++] = ledger_send(sim, slot, item);
            SAY(sim, "  slot %u is sent item %u", slot, w->fifo[w->sent - 1]);
        }
        NEED(sim, !sim->life_items || w->sent <= sim->life_items, "slot %u is sent more than a life may have", slot);
        mp__core_sent(sim->core, slot, count);
    }
}

static void kill_worker(sim_world *sim, const mp__core_action *action)
{
    sim_worker *w = worker_at(sim, action->slot);
    NEED(sim, !sim->unkillable, "slot %u is killed and cannot be", action->slot);
    NEED(sim, !w->kill, "slot %u is killed twice", action->slot);
    NEED(sim, action->hard || !w->term, "slot %u is asked to leave twice", action->slot);
    w->term = true;
    w->kill = action->hard;
    sim->tally->hard_kills += action->hard;
}

static void recall(sim_world *sim, uint32_t slot)
{
    sim_worker *w = worker_at(sim, slot);
    NEED(sim, !w->asked, "slot %u is recalled while it is recalled", slot);
    w->asked = true;
    sim->tally->recalls++;
}

static void stop_worker(sim_world *sim, uint32_t slot)
{
    sim_worker *w = worker_at(sim, slot);
    NEED(sim, !w->stop, "slot %u is told to stop twice", slot);
    w->stop = true;
    sim->tally->retired += mp__core_get_state(sim->core) == MP__RUNNING;
}

/* Whose task is told must be one that nobody waits for, unless its worker lied about what it runs. */
static void warn_worker(sim_world *sim, uint32_t slot)
{
    sim_worker *w = worker_at(sim, slot);
    uint16_t id = w->started ? w->fifo[w->started - 1] : 0;
    bool runs = w->started > w->finished;
    bool late = runs && ledger_timed_out(sim, id);
    NEED(sim, !runs || late || sim->weather.lie || ledger_unwanted(sim, id), "item %u is told that nobody waits for it",
         id);
    w->warned = w->started;
    sim->tally->warned += runs;
    sim->tally->warned_late += late;
}

static void need_current(sim_world *sim, const mp__core_action *action)
{
    const sim_worker *w = worker_at(sim, action->slot);
    NEED(sim, action->kind == MP__ACT_START || (w->life != SIM_NONE && w->generation == action->generation),
         "action %d is for a life that is over", action->kind);
}

static void carry_out(sim_world *sim, const mp__core_action *action)
{
    static const char *const names[] = {"nothing", "fail",  "done", "start", "send", "recall",
                                        "cancel",  "watch", "end",  "stop",  "kill"};
    SAY(sim, "  -> %s slot %d generation %u%s; items %zu + %zu of job %d, status %d", names[action->kind],
        (int)action->slot, action->generation, action->hard ? " hard" : "", action->first, action->count,
        action->job ? (int)((sim_job *)action->job - sim->jobs) : -1, (int)action->status);
    if (action->kind != MP__ACT_FAIL && action->kind != MP__ACT_DONE)
        need_current(sim, action);
    switch (action->kind) {
    case MP__ACT_FAIL: ledger_fail(sim, action); break;
    case MP__ACT_DONE: ledger_done(sim, action->job); break;
    case MP__ACT_START: start_worker(sim, action); break;
    case MP__ACT_SEND: send_items(sim, action->slot, sim_chance(sim, 700) ? UINT64_MAX : sim_below(sim, 4)); break;
    case MP__ACT_RECALL: recall(sim, action->slot); break;
    case MP__ACT_CANCEL: warn_worker(sim, action->slot); break;
    case MP__ACT_STOP: stop_worker(sim, action->slot); break;
    case MP__ACT_KILL: kill_worker(sim, action); break;
    case MP__ACT_WATCH: sim_watch(sim, action->slot); break;
    case MP__ACT_END: sim_end(sim, action); break;
    case MP__ACT_NONE: sim_fail(sim, "there is something to do, and it is nothing");
    }
}

void sim_act(sim_world *sim, size_t most)
{
    mp__core_action action;
    while (most) {
        if (!mp__core_next(sim->core, &action)) {
            ledger_settled(sim);
            return;
        }
        carry_out(sim, &action);
        sim_look(sim);
        most--;
    }
}

/* --- what workers tell ------------------------------------------------------------------------------------------------- */

static void tell_ready(sim_world *sim, uint32_t slot)
{
    sim_worker *w = worker_at(sim, slot);
    SAY(sim, "slot %u is ready", slot);
    w->life = SIM_ALIVE;
    mp__core_ready(sim->core, slot, w->generation);
    sim_look(sim);
}

static void tell_greeted(sim_world *sim, uint32_t slot)
{
    sim_worker *w = worker_at(sim, slot);
    SAY(sim, "slot %u says that it has begun", slot);
    w->greeted = true;
    sim->tally->greeted++;
    mp__core_greeted(sim->core, slot, w->generation);
    sim_look(sim);
}

static uint64_t time_of(sim_world *sim, uint32_t task, uint64_t items)
{
    static const uint64_t usual[SIM_TASKS] = {300, 80000, 5000};
    if (task == 2 && sim_fault(sim, 100))
        return sim_below(sim, 3) ? 0 : UINT64_MAX - sim_below(sim, 3);
    return items * (usual[task] / 2 + sim_below(sim, usual[task]));
}

/* Up to `most` results from ordinal `delivered` on; how many were taken or dropped. */
static uint64_t tell_some(sim_world *sim, uint32_t slot, uint64_t most)
{
    sim_worker *w = worker_at(sim, slot);
    mp__core_item item;
    bool nonsense = false, dropped = sim->verdict && !sim->unkillable;
    size_t taken = mp__core_results(sim->core, slot, w->generation, (size_t)most, &item, &nonsense);
    SAY(sim, "slot %u: %zu of %llu results taken, from item %u on", slot, taken, (unsigned long long)most,
        w->fifo[w->delivered]);
    NEED(sim, !nonsense, "slot %u: an honest result is taken for nonsense", slot);
    NEED(sim, !taken == dropped && taken <= most, "slot %u: %zu of %llu results are taken", slot, taken,
         (unsigned long long)most);
    sim->tally->batches += taken > 1;
    for (size_t i = 0; i < taken; i++)
        ledger_result(sim, slot, w->fifo[w->delivered + i], (mp__core_item){item.job, item.index + i, item.attempt});
    if (!taken)
        ledger_give_back(sim, slot, w->fifo[w->delivered]);
    else if (sim_chance(sim, 300))
        mp__core_measured(sim->core, item.job, taken, time_of(sim, item.job->task, taken));
    taken += !taken;
    w->delivered += taken;
    sim_look(sim);
    return taken;
}

static void tell_results(sim_world *sim, uint32_t slot)
{
    sim_worker *w = worker_at(sim, slot);
    uint64_t count = 1 + sim_below(sim, w->finished - w->delivered);
    bool singly = sim_chance(sim, 300);
    while (count) {
        uint64_t well = 0;
        while (well < count && !ledger_item(sim, w->fifo[w->delivered + well])->fails)
            well++;
        if (well)
            count -= tell_some(sim, slot, singly ? 1 : well);
        for (; count && sim_fails_next(sim, slot); count--)
            sim_tell_failure(sim, slot);
    }
}

static void see_recall(sim_world *sim, uint32_t slot)
{
    sim_worker *w = worker_at(sim, slot);
    w->seen = true;
    w->limit = w->started > w->known ? w->started : w->known; /* a liar is held to its word */
    SAY(sim, "slot %u keeps to %llu ordinals", slot, (unsigned long long)w->limit);
}

/* Some cannot say, and go on with all they have. A liar says that it has started everything; or less than what it has told
 * results of. */
static uint64_t recall_claim(sim_world *sim, sim_worker *w)
{
    bool lies = sim_fault(sim, sim->weather.lie);
    if (w->limit < w->known) /* so it has said meanwhile */
        w->limit = w->known;
    w->known = w->limit;
    if (lies && w->started == w->delivered && sim_below(sim, 2))
        return sim_below(sim, w->delivered + 1);
    if (!lies && !sim_fault(sim, sim->weather.vague))
        return w->limit;
    w->known = lies ? w->sent : w->known;
    w->limit = w->sent;
    return lies ? UINT64_MAX - 1 : MP__UNKNOWN;
}

static void tell_recalled(sim_world *sim, uint32_t slot)
{
    sim_worker *w = worker_at(sim, slot);
    uint64_t claimed = recall_claim(sim, w);
    SAY(sim, "slot %u answers the recall: %llu", slot, (unsigned long long)claimed);
    sim->tally->recalled_items += w->sent - w->limit;
    for (uint64_t i = w->limit; i < w->sent; i++)
        sim->tally->purged += ledger_unwanted(sim, w->fifo[i]);
    give_back_from(sim, slot, w->limit);
    w->asked = w->seen = w->full = false;
    w->limit = UINT64_MAX;
    mp__core_recalled(sim->core, slot, w->generation, claimed);
    sim_look(sim);
}

/* What the ledger must see when the core is told that this life had started `claimed` ordinals. */
static void expect_ends(sim_world *sim, uint32_t slot, uint64_t claimed)
{
    sim_worker *w = worker_at(sim, slot);
    bool honest = claimed == w->started && w->known <= w->started && !w->silent;
    uint64_t least = w->known > w->delivered ? w->known : w->delivered;
    uint64_t started = claimed < least ? least : claimed > w->sent ? w->sent : claimed;
    for (uint64_t i = w->delivered; i < started; i++)
        ledger_expect(sim, w->fifo[i], i + 1 < started ? MP_ELOST : w->doomed ? MP_ETIMEDOUT : MP_ECRASHED, honest);
    ledger_stop(sim);
    if (started)
        sim->barren[w->place] = 0;
    else if (!w->stop || w->sent)
        ledger_barren(sim, w->place);
    give_back_from(sim, slot, w->delivered);
}

static uint64_t lost_claim(sim_world *sim, const sim_worker *w)
{
    if (!sim_fault(sim, sim->weather.lie))
        return w->started;
    if (w->started == w->delivered && sim_below(sim, 2))
        return sim_below(sim, w->delivered + 1);
    return sim_below(sim, 2) ? UINT64_MAX : w->started + sim_below(sim, 5);
}

static void tell_lost(sim_world *sim, uint32_t slot)
{
    sim_worker *w = worker_at(sim, slot);
    uint64_t claimed = lost_claim(sim, w);
    SAY(sim, "slot %u is lost, and had started %llu of %llu", slot, (unsigned long long)claimed,
        (unsigned long long)w->sent);
    expect_ends(sim, slot, claimed);
    w->life = SIM_NONE;
    sim->tally->deaths++;
    mp__core_lost(sim->core, slot, w->generation, claimed);
    sim_look(sim);
}

static void tell_start_failed(sim_world *sim, uint32_t slot)
{
    sim_worker *w = worker_at(sim, slot);
    SAY(sim, "slot %u could not be started", slot);
    w->life = SIM_NONE;
    ledger_barren(sim, w->place);
    sim->tally->start_failures++;
    mp__core_start_failed(sim->core, slot, w->generation);
    sim_look(sim);
}

static void condemn(sim_world *sim, uint32_t slot)
{
    sim_worker *w = worker_at(sim, slot);
    w->silent = true;
    sim->tally->condemned++;
    mp__core_condemn(sim->core, slot, w->generation);
    sim_look(sim);
}

/* A stream that is no stream; or a result for which there is no item, which the core itself must see. */
static void tell_nonsense(sim_world *sim, uint32_t slot)
{
    sim_worker *w = worker_at(sim, slot);
    if (w->life == SIM_ALIVE && w->delivered == w->sent) {
        mp__core_item item;
        bool nonsense = false;
        SAY(sim, "slot %u: a result of nothing", slot);
        NEED(sim, !mp__core_result(sim->core, slot, w->generation, &item, &nonsense), "a result of nothing was taken");
        bool leaving = w->term || w->kill || sim->weather.lazy_shell; /* being killed, which it may not know yet */
        NEED(sim, (leaving && !nonsense) || nonsense == !sim_given_up(sim), "a result of nothing is%s nonsense",
             nonsense ? "" : " not");
    }
    SAY(sim, "slot %u speaks nonsense", slot);
    condemn(sim, slot);
}

/* --- what workers do --------------------------------------------------------------------------------------------------- */

static bool die(sim_world *sim, uint32_t slot)
{
    SAY(sim, "slot %u dies", slot);
    worker_at(sim, slot)->life = SIM_DEAD;
    return true;
}

/* True if it must leave, or may and does. */
static bool leaves(sim_world *sim, const sim_worker *w)
{
    if (w->kill)
        return true;
    if (w->deaf)
        return false;
    return w->term ? !sim->faults || sim_chance(sim, 500) : w->stop && w->started == w->sent && w->finished == w->started;
}

static bool step_starting(sim_world *sim, uint32_t slot)
{
    sim_worker *w = worker_at(sim, slot);
    if (sim_fault(sim, sim->weather.start_failure)) {
        if (sim_chance(sim, 500) && !sim->unkillable)
            return die(sim, slot);
        tell_start_failed(sim, slot);
        return true;
    }
    if (!w->silent && !sim->unkillable && sim_fault(sim, sim->weather.nonsense)) {
        tell_nonsense(sim, slot);
        return true;
    }
    if (leaves(sim, w))
        return die(sim, slot);
    if (!w->greeted && !w->silent && sim_chance(sim, 400)) {
        tell_greeted(sim, slot);
        return true;
    }
    if (w->hung)
        return false;
    tell_ready(sim, slot);
    return true;
}

/* One of: start an item, be through with it, tell of results, take more, see or answer a recall. */
static bool step_alive(sim_world *sim, uint32_t slot)
{
    sim_worker *w = worker_at(sim, slot);
    if (leaves(sim, w) || (!sim->unkillable && sim_fault(sim, sim->weather.death)))
        return die(sim, slot);
    if (!w->silent && !sim->unkillable && sim_fault(sim, sim->weather.nonsense)) {
        tell_nonsense(sim, slot);
        return true;
    }
    if (sim_fault(sim, sim->weather.spend))
        sim_tell_spent(sim, slot);
    bool lazy = sim->faults;
    if (w->finished > w->delivered && !w->silent && (!lazy || sim_chance(sim, 300)))
        tell_results(sim, slot);
    else if (w->asked && !w->seen && (!lazy || sim_chance(sim, 400)))
        see_recall(sim, slot);
    else if (w->seen && !w->silent && (!lazy || sim_chance(sim, 400)))
        tell_recalled(sim, slot);
    else if (w->started > w->finished && !sim_goes_on(sim, w))
        ledger_finish(sim, slot, w->fifo[w->finished++]);
    else if (w->started == w->finished && w->started < w->sent && w->started < w->limit)
        ledger_start(sim, slot, w->fifo[w->started++]);
    else if (w->full)
        send_items(sim, slot, 1 + sim_below(sim, 8));
    else
        return lazy;
    return true;
}

bool sim_worker_step(sim_world *sim, uint32_t slot)
{
    sim_worker *w = worker_at(sim, slot);
    switch (w->life) {
    case SIM_NONE: return false;
    case SIM_STARTING: return step_starting(sim, slot);
    case SIM_ALIVE: return step_alive(sim, slot);
    case SIM_DEAD: break;
    }
    if (w->finished > w->delivered && !w->silent)
        tell_results(sim, slot);
    else
        tell_lost(sim, slot);
    return true;
}

void sim_stale_event(sim_world *sim, uint32_t slot)
{
    const sim_worker *w = worker_at(sim, slot);
    uint32_t generation = w->life == SIM_NONE ? w->generation : w->generation - 1;
    mp__core_counts before = mp__core_get_counts(sim->core);
    mp__core_item item;
    bool nonsense = false;
    mp_status status = MP_EFAILED;
    if (sim_chance(sim, 100))
        slot += sim->slots;
    unsigned kind = (unsigned)sim_below(sim, 13);
    SAY(sim, "slot %u generation %u: stale event %u", slot, generation, kind);
    switch (kind) {
    case 0: mp__core_ready(sim->core, slot, generation); break;
    case 1: mp__core_start_failed(sim->core, slot, generation); break;
    case 2: mp__core_lost(sim->core, slot, generation, sim_below(sim, 9)); break;
    case 3: mp__core_recalled(sim->core, slot, generation, sim_below(sim, 9)); break;
    case 5: mp__core_greeted(sim->core, slot, generation); break;
    case 4: mp__core_condemn(sim->core, slot, generation); break;
    case 6: mp__core_progress(sim->core, slot, generation, sim_below(sim, 9), sim_below(sim, 2)); break;
    case 7: mp__core_ended(sim->core, slot, generation, sim_below(sim, 2)); break;
    case 8: mp__core_spent(sim->core, slot, generation); break;
    case 9:
        NEED(sim, !mp__core_failed(sim->core, slot, generation, &status, true, &item, &nonsense), "a stale failure counts");
        break;
    case 10: mp__core_vanished(sim->core, slot, generation); break;
    case 11: mp__core_progress_since(sim->core, slot, generation, sim_below(sim, 9), sim_below(sim, 2), 0); break;
    default: NEED(sim, !mp__core_result(sim->core, slot, generation, &item, &nonsense), "a stale result is taken");
    }
    mp__core_counts after = mp__core_get_counts(sim->core);
    NEED(sim, !nonsense, "a stale result is taken for nonsense");
    NEED(sim, after.stale == before.stale + 1, "a stale event is not counted");
    NEED(sim, after.finished == before.finished && after.ready == before.ready && after.lost == before.lost,
         "a stale event changed something");
    sim->tally->stale++;
    sim_look(sim);
}
