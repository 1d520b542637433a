/* The invariants of the core, as code: what must be true between any two events.
 *
 * Reads everything, writes nothing; under the pool's lock, like every other part. Each function looks at one part and returns
 * NULL or what is wrong with it; sums over the parts are kept in `sums` and compared at the end. Lists may be broken, so no
 * walk relies on their ends: each is bounded by what it counts. That items of different chunks do not overlap is not looked at
 * here (it would cost memory); the simulation in tests/unit keeps a ledger for that. */
#include "pool/core_state.h"

typedef struct tally {
    size_t chunks; /* out of core->blocks */
    size_t ended;  /* of these: in the list of ends */
    uint64_t items, queued;
    uint32_t alive, ready, takers, wanting;
    uint64_t pinned;
} tally;

#define REQUIRE(condition, text)                                                                                           \
    do {                                                                                                                   \
        if (!(condition))                                                                                                  \
            return text;                                                                                                   \
    } while (0)
#define PASS(call)                                                                                                         \
    do {                                                                                                                   \
        const char *wrong_ = (call);                                                                                       \
        if (wrong_)                                                                                                        \
            return wrong_;                                                                                                 \
    } while (0)

static size_t count_in(const mp__chunks *list, const mp__chunk *wanted)
{
    size_t count = 0;
    for (const mp__chunk *chunk = list->head; chunk; chunk = chunk->next)
        count += chunk == wanted;
    return count;
}

static bool heap_has(const mp__timed *root, const mp__timed *wanted)
{
    for (; root; root = root->next)
        if (root == wanted || heap_has(root->child, wanted))
            return true;
    return false;
}

/* In how many lists the chunk stands; called when these are known to be whole. */
static size_t count_everywhere(const mp__core *core, const mp__chunk *wanted)
{
    size_t count = count_in(&core->ended, wanted) + count_in(&wanted->job->returned, wanted);
    count += heap_has(wanted->job->retrying, &wanted->due);
    for (uint32_t i = 0; i < core->slot_count; i++)
        count += count_in(&core->slots[i]->chunks, wanted);
    return count;
}

static bool is_of_core(const mp__core *core, const mp__chunk *chunk)
{
    for (const mp__core_block *block = core->blocks; block; block = block->next)
        if (chunk >= block->chunks && chunk < block->chunks + block->count)
            return true;
    return false;
}

/* A chunk of any list but the spare one. */
static const char *check_chunk(const mp__core *core, const mp__chunk *chunk, tally *sums)
{
    const mp__core_job *job = chunk->job;
    REQUIRE(chunk->count > 0, "a chunk is empty");
    REQUIRE(chunk->first < job->fresh && chunk->count <= job->fresh - chunk->first, "a chunk reaches into the fresh items");
    REQUIRE(chunk->attempt >= 1 && chunk->attempt - 1 <= job->retries, "a chunk was run more often than its job allows");
    REQUIRE(chunk->unsent <= chunk->count, "a chunk has more unsent items than items");
    if (chunk == &job->rest) {
        REQUIRE(job->fresh == job->n, "a job's own chunk is in use, and is not its last piece");
        REQUIRE(!job->open || job_unwanted(core, job), "a job's own chunk is in use, and more items may come");
    } else {
        REQUIRE(is_of_core(core, chunk), "a chunk is none of the core's");
        sums->chunks++;
    }
    return NULL;
}

/* --- slots ------------------------------------------------------------------------------------------------------------- */

static const char *check_slot_chunks(const mp__core *core, const mp__slot *slot, tally *sums)
{
    size_t items = 0, sent = 0;
    bool cancelled = false;
    const mp__chunk *last = NULL, *cursor = NULL;
    for (const mp__chunk *chunk = slot->chunks.head; chunk; last = chunk, chunk = chunk->next) {
        PASS(check_chunk(core, chunk, sums));
        items += chunk->count;
        sent += chunk->count - chunk->unsent;
        REQUIRE(items <= slot->items, "a slot's chunks have more items than it");
        REQUIRE(!cursor || chunk->unsent == chunk->count, "an item was sent before the one in front of it");
        if (!cursor && chunk->unsent)
            cursor = chunk;
        REQUIRE(!chunk->job->pin || chunk->job->pin == slot->place + 1, "a pinned item is in another place");
        cancelled |= chunk->unsent && chunk->job->cancelled;
    }
    REQUIRE(slot->chunks.tail == last, "the tail of a slot's chunks is not the last of them");
    REQUIRE(items == slot->items, "a slot's items are not the sum of its chunks");
    REQUIRE(slot->cursor == cursor, "a slot's cursor is not at its first unsent item");
    REQUIRE(slot->done <= slot->sent && slot->started <= slot->sent && slot->kept <= slot->sent,
            "a slot has done, started or kept more than was sent");
    REQUIRE(sent == slot->sent - slot->done || (!slot_answers(slot) && !items),
            "a slot's ordinals do not agree with its chunks");
    REQUIRE(!core->life_items || slot->done + items <= core->life_items, "a life has more items than it may");
    REQUIRE(!core->life_items || slot->state != MP__SLOT_READY || slot->sent < core->life_items,
            "a life was sent all it may have, and does not retire");
    REQUIRE(slot->state != MP__SLOT_RETIRING || sent, "a slot retires, and has nothing that it was sent");
    REQUIRE(slot->asked || slot->purge_at != MP__NEVER || !(cursor && slot->state == MP__SLOT_RETIRING),
            "nobody will take back what a retiring slot was not sent");
    REQUIRE(slot->asked || slot->purge_at != MP__NEVER || !cancelled || !slot_works(slot),
            "nobody will take back what is cancelled");
    sums->items += items;
    return NULL;
}

/* By state: what may be due, whether it may have work, and whether its time may run. */
static const struct {
    unsigned wants;
    bool works, dies;
} allowed[MP__SLOT_STATES] = {
    [MP__SLOT_EMPTY] = {0},
    [MP__SLOT_STARTING] = {.wants = 1u << MP__ACT_START, .dies = true},
    [MP__SLOT_READY] = {.wants = 1u << MP__ACT_SEND | 1u << MP__ACT_RECALL | 1u << MP__ACT_CANCEL | 1u << MP__ACT_WATCH |
                                 1u << MP__ACT_END,
                        .works = true},
    [MP__SLOT_RETIRING] = {.wants = 1u << MP__ACT_STOP | 1u << MP__ACT_RECALL | 1u << MP__ACT_CANCEL | 1u << MP__ACT_WATCH |
                                    1u << MP__ACT_END,
                           .works = true},
    [MP__SLOT_STOPPING] = {.wants = 1u << MP__ACT_STOP, .dies = true},
    [MP__SLOT_DOOMED] = {.wants = 1u << MP__ACT_KILL, .works = true, .dies = true},
    [MP__SLOT_KILLED] = {.wants = 1u << MP__ACT_KILL, .works = true, .dies = true}, /* work: it was condemned */
};

/* In a core that has given up everybody is being killed; where that cannot be, nobody takes items. */
static bool may_live(const mp__core *core, const mp__slot *slot)
{
    if (core->state == MP__RUNNING || core->state == MP__CLOSED || slot->state == MP__SLOT_EMPTY)
        return true;
    return core->state != MP__ENDED && (core->unkillable ? slot->state != MP__SLOT_READY : slot->state == MP__SLOT_KILLED);
}

static const char *check_slot_time(const mp__core *core, const mp__slot *slot)
{
    bool starting = slot->state == MP__SLOT_STARTING;
    REQUIRE(slot->kill_at == MP__NEVER || allowed[slot->state].dies, "a slot is to be killed, and is in no state for it");
    REQUIRE(slot->kill_at == MP__NEVER || !core->unkillable, "a slot is to be killed, and cannot be");
    uint64_t longest = starting ? MP__START_NS : slot->doomed ? slot->doom_ns : MP__GRACE_NS;
    REQUIRE(slot->kill_at == MP__NEVER || slot->kill_at <= core->now + longest, "a slot is given more than its time");
    REQUIRE(slot->kill_at != MP__NEVER || core->unkillable || slot->state != MP__SLOT_STOPPING,
            "a slot may take for ever to stop");
    REQUIRE(slot->kill_at != MP__NEVER || core->unkillable || !starting || (slot->greeted && !slot_surplus(core, slot)),
            "a slot may take for ever to start");
    REQUIRE(slot->purge_at == MP__NEVER || slot_works(slot), "a slot is to be purged, and is in no state for it");
    REQUIRE(slot->purge_at == MP__NEVER || slot->purge_at <= core->now + MP__BACKOFF_MAX_NS, "a purge waits too long");
    return NULL;
}

/* An item that is overdue runs, and something will come of it: an answer, an end, or where there is none its result. */
static const char *check_overdue(const mp__core *core, const mp__slot *slot)
{
    const mp__overdue *overdue = &slot->overdue;
    REQUIRE(slot->watch.at == MP__NEVER || slot_works(slot), "a slot is to be watched, and is in no state for it");
    REQUIRE(overdue->end_at == MP__NEVER || (slot_works(slot) && overdue->ordinal), "nothing is to be ended");
    REQUIRE(overdue->end_at == MP__NEVER || overdue->end_at <= core->now + overdue->grace_ns + MP__OVERDUE_NS,
            "an overdue item is given more than its grace");
    REQUIRE(!slot_wants(slot, MP__ACT_END) || overdue->ordinal, "nothing is overdue, and a slot is to be ended");
    REQUIRE(!core->unkillable || (overdue->end_at == MP__NEVER && !slot_wants(slot, MP__ACT_END)),
            "a slot is to be ended, and cannot be");
    REQUIRE(slot->doomed || slot->state != MP__SLOT_DOOMED, "a slot is doomed and does not know");
    if (!overdue->ordinal || !slot->items)
        return NULL;
    REQUIRE(slot_answers(slot) || slot->state == MP__SLOT_KILLED, "an item is overdue in no state for it");
    REQUIRE(overdue->ordinal > slot->done && overdue->ordinal <= slot->sent, "what is overdue is not what runs");
    REQUIRE(overdue->ordinal == slot->started, "what is overdue has not started, or has ended");
    REQUIRE(overdue->judged || slot->watch.at != MP__NEVER || !slot_works(slot),
            "nobody asks whether an overdue item looks");
    REQUIRE(overdue->status != MP_OK && overdue->grace_ns, "an overdue item has no end");
    REQUIRE(!slot->doomed || overdue->ordinal == slot->sent, "a doomed life has more to run");
    return NULL;
}

static const char *check_slot_state(const mp__core *core, const mp__slot *slot, tally *sums)
{
    REQUIRE(!(slot->wants & ~allowed[slot->state].wants), "a slot wants what its state does not");
    REQUIRE(!slot->items || allowed[slot->state].works, "a slot has items, and is in no state for it");
    REQUIRE(!slot->asked || slot_works(slot), "a recall is under way, and the slot is in no state for it");
    REQUIRE(slot->asked || !slot_wants(slot, MP__ACT_RECALL), "a recall is wanted and not under way");
    PASS(check_slot_time(core, slot));
    PASS(check_overdue(core, slot));
    REQUIRE(may_live(core, slot), "a slot lives on in a core that has given up");
    sums->alive += slot_alive(slot);
    sums->ready += slot_works(slot);
    sums->takers += slot->state == MP__SLOT_READY;
    sums->wanting += slot->wants != 0;
    return NULL;
}

static const char *check_slot(const mp__core *core, uint32_t index, tally *sums)
{
    const mp__slot *slot = core->slots[index];
    bool starts_or_takes = slot->state == MP__SLOT_STARTING || slot->state == MP__SLOT_READY;
    REQUIRE(slot->index == index, "a slot does not know which it is");
    REQUIRE(slot->place < core->place_count, "a slot is in no place");
    REQUIRE(!starts_or_takes || core->places[slot->place].holder == slot, "a slot starts or takes items without a place");
    REQUIRE(slot->state != MP__SLOT_READY || !slot_surplus(core, slot), "a slot takes items in a place that is not in use");
    PASS(check_slot_state(core, slot, sums));
    return check_slot_chunks(core, slot, sums);
}

static const char *check_wanting(const mp__core *core, const tally *sums)
{
    uint32_t listed = 0, wanting = 0;
    const mp__slot *last = NULL;
    for (const mp__slot *slot = core->wanting_head; slot; last = slot, slot = slot->next_wanting) {
        wanting += slot->wants != 0;
        REQUIRE(++listed <= core->slot_count, "the list of wanting slots is longer than there are slots");
    }
    REQUIRE(core->wanting_tail == last, "the tail of the wanting slots is not the last of them");
    REQUIRE(wanting == sums->wanting, "a slot wants something and is not in the list");
    return NULL;
}

/* --- jobs -------------------------------------------------------------------------------------------------------------- */

static const char *check_waiting(const mp__core *core, const mp__core_job *job, tally *sums)
{
    const mp__chunk *last = NULL;
    size_t items = 0;
    bool found = !job->came_last;
    for (const mp__chunk *chunk = job->returned.head; chunk; last = chunk, chunk = chunk->next) {
        found |= chunk == job->came_last;
        PASS(check_chunk(core, chunk, sums));
        REQUIRE(chunk->job == job, "a chunk came back to another job");
        REQUIRE(chunk->unsent == chunk->count, "an item came back and counts as sent");
        REQUIRE(!last || last->first + last->count <= chunk->first, "chunks that came back overlap or are out of order");
        REQUIRE(!last || last->first + last->count < chunk->first || last->attempt != chunk->attempt || core->life_items,
                "chunks that came back touch");
        REQUIRE(!core->life_items || chunk->count <= core->life_items, "what came back is more than any life may have");
        items += chunk->count;
    }
    REQUIRE(job->returned.tail == last, "the tail of what came back is not the last of it");
    REQUIRE(found, "the chunk that came back last is not among those that came back");
    REQUIRE(job->fresh <= job->n && job->waiting == job->n - job->fresh + items, "waiting is not fresh plus returned");
    return NULL;
}

static size_t held_by_slots(const mp__core *core, const mp__core_job *job)
{
    size_t items = 0;
    for (uint32_t i = 0; i < core->slot_count; i++)
        for (const mp__chunk *chunk = core->slots[i]->chunks.head; chunk; chunk = chunk->next)
            if (chunk->job == job)
                items += chunk->count;
    return items;
}

/* `pin`: as that of each job in this queue. */
static const char *check_queue(const mp__core *core, const mp__queue *queue, uint32_t pin, tally *sums)
{
    const mp__core_job *last = NULL;
    bool found = !queue->came_last;
    for (const mp__core_job *job = queue->head; job; last = job, job = job->next) {
        found |= job == queue->came_last;
        REQUIRE(!last || last->number < job->number, "the queue is not in the order of submission");
        REQUIRE(job->before == last, "a job in the queue does not know the one before it");
        REQUIRE(job->queued && job->waiting, "a job is in the queue and has nothing to hand out");
        REQUIRE(!job->open || !job->next || job->early <= job->waiting, "more of an open job came early than waits");
        REQUIRE(job->pin == pin, "a job is in another place's queue");
        REQUIRE(!job_verdict(core, job), "a job waits to be handed out and never will be");
        PASS(check_waiting(core, job, sums));
        REQUIRE(job->pending == job->waiting + job->delayed + held_by_slots(core, job),
                "a job's items are not all somewhere");
        sums->items += job->waiting;
        sums->queued += job_weight(job);
        sums->pinned += pin > 0;
    }
    REQUIRE(queue->tail == last, "the tail of the queue is not the last of it");
    REQUIRE(found, "the job that came into a queue last is not in it");
    return NULL;
}

/* `parent`: NULL for the root of a heap. */
static const char *check_node(const mp__timed *node, const mp__timed *before, const mp__timed *parent)
{
    REQUIRE(node->before == before, "a node of a heap does not know the one before it");
    REQUIRE(!parent || node->at > parent->at || (node->at == parent->at && node->order >= parent->order),
            "a heap is out of order");
    REQUIRE(parent || !node->next, "a heap has two roots");
    return NULL;
}

static const char *check_retrying(const mp__core *core, const mp__timed *first, const mp__timed *parent,
                                  const mp__core_job *job, size_t *items, tally *sums)
{
    for (const mp__timed *node = first, *before = parent; node; before = node, node = node->next) {
        const mp__chunk *chunk = timed_chunk((mp__timed *)node);
        PASS(check_node(node, before, parent));
        PASS(check_chunk(core, chunk, sums));
        REQUIRE(chunk->job == job, "a chunk waits for another job");
        REQUIRE(node->order == chunk->first, "a chunk's order is not that of its items");
        REQUIRE(chunk->attempt > 1, "a chunk waits to be run again, and never ran");
        REQUIRE(node->at <= core->now + MP__RETRY_MAX_NS, "a chunk waits too long to be run again");
        *items += chunk->count;
        PASS(check_retrying(core, node->child, node, job, items, sums));
    }
    return NULL;
}

static const char *check_timed(const mp__core *core, const mp__timed *first, const mp__timed *parent, tally *sums)
{
    for (const mp__timed *node = first, *before = parent; node; before = node, node = node->next) {
        const mp__core_job *job = timed_job((mp__timed *)node);
        uint64_t at = job->deadline ? job->deadline : MP__NEVER;
        size_t items = 0;
        PASS(check_node(node, before, parent));
        REQUIRE(job->timed, "a job is in the heap and does not know");
        REQUIRE(node->order == job->number, "a job's order is not its number");
        PASS(check_retrying(core, job->retrying, NULL, job, &items, sums));
        REQUIRE(items == job->delayed, "the items that wait to be run again are not as many as were counted");
        REQUIRE(!items || !job->cancelled, "what is cancelled waits to be run again");
        REQUIRE(node->at == (items && job->retrying->at < at ? job->retrying->at : at), "a job's time is not its first");
        REQUIRE(job->pending == job->waiting + items + held_by_slots(core, job), "a job's items are not all somewhere");
        sums->items += items;
        PASS(check_timed(core, node->child, node, sums));
    }
    return NULL;
}

static uint32_t leaving_of(const mp__core *core, uint32_t place)
{
    uint32_t leaving = 0;
    for (uint32_t i = 0; i < core->slot_count; i++)
        leaving += core->slots[i]->state == MP__SLOT_RETIRING && core->slots[i]->place == place;
    return leaving;
}

static const char *check_places(const mp__core *core, tally *sums)
{
    uint32_t held = 0;
    for (uint32_t i = 0; i < core->place_count; i++) {
        const mp__place *place = &core->places[i];
        const mp__slot *holder = place->holder;
        held += holder && i < core->counts.wanted;
        REQUIRE(!holder || (holder->place == i && slot_alive(holder)), "a place is held by nobody who lives there");
        REQUIRE(!holder || holder->state == MP__SLOT_STARTING || holder->state == MP__SLOT_READY ||
                    holder->state == MP__SLOT_KILLED,
                "a place is held by one that has left it");
        REQUIRE(place->leaving == leaving_of(core, i), "the lives that leave a place are not as many as were counted");
        REQUIRE(!place->leaving || !holder || !holder->items, "two lives of one place have items");
        REQUIRE(place->last < core->slot_count, "a place does not know its last slot");
        REQUIRE(holder || place->start_at <= core->now + MP__BACKOFF_MAX_NS, "a place waits too long");
        PASS(check_queue(core, &place->pinned, i + 1, sums));
    }
    REQUIRE(held == core->held, "the places that are held are not as many as were counted");
    REQUIRE(sums->pinned == core->pinned, "the pinned jobs are not as many as were counted");
    REQUIRE(sums->queued == core->queued, "the jobs that wait are not as many as were counted");
    return NULL;
}

static const char *check_ended(const mp__core *core, tally *sums)
{
    const mp__chunk *last = NULL;
    size_t before = sums->chunks;
    uint64_t items = 0;
    for (const mp__chunk *chunk = core->ended.head; chunk; last = chunk, chunk = chunk->next) {
        PASS(check_chunk(core, chunk, sums));
        REQUIRE(chunk->status != MP_OK, "items ended without a result, and well");
        items += chunk->count;
        REQUIRE(items <= core->counts.finished, "more ends are to be told than there were");
    }
    REQUIRE(core->ended.tail == last, "the tail of the ends is not the last of them");
    sums->ended = sums->chunks - before;
    return NULL;
}

static const char *check_done(const mp__core *core)
{
    const mp__core_job *last = NULL;
    uint64_t jobs = 0;
    for (const mp__core_job *job = core->done_head; job; last = job, job = job->next) {
        /* one of many calls has as many numbers; when it has been split it is done beside the job of each */
        REQUIRE(++jobs <= 2 * core->next_number, "more jobs are done than there were");
        REQUIRE(!job->pending && !job->waiting && !job->queued && !job->returned.head && !job->came_last && !job->delayed &&
                    !job->timed,
                "a job is done and has items");
        REQUIRE(!job->open, "a job is done and not sealed");
    }
    REQUIRE(core->done_tail == last, "the tail of the done jobs is not the last of them");
    return NULL;
}

/* The lists are whole by now: a job's own chunk stands in one of them at most. */
static const char *check_own_chunks(const mp__core *core, const mp__chunks *list)
{
    for (const mp__chunk *chunk = list->head; chunk; chunk = chunk->next)
        REQUIRE(chunk != &chunk->job->rest || count_everywhere(core, chunk) == 1, "a job's own chunk is used twice");
    return NULL;
}

/* --- the whole --------------------------------------------------------------------------------------------------------- */

static const char *check_sums(const mp__core *core, const tally *sums)
{
    size_t spare = 0;
    for (const mp__chunk *chunk = core->spare; chunk; chunk = chunk->next)
        REQUIRE(++spare <= core->chunk_count, "the spare chunks go round");
    REQUIRE(spare == core->spare_count, "the spare chunks are not as many as were counted");
    REQUIRE(spare + sums->chunks == core->chunk_count, "a chunk is lost, or is in two places");
    REQUIRE(spare + sums->ended >= chunk_reserve(core), "planning has used the reserve");
    REQUIRE(sums->items == core->counts.pending, "the pending items are not those in slots and in the queue");
    REQUIRE(sums->alive == core->alive && sums->ready == core->counts.ready && sums->takers == core->takers,
            "the slots that live, work or take items are not as many as were counted");
    return NULL;
}

static const char *check_state(const mp__core *core)
{
    const mp__core_counts *counts = &core->counts;
    REQUIRE(counts->accepted == counts->finished + counts->pending, "accepted is not finished plus pending");
    bool given_up = core->state != MP__RUNNING && core->state != MP__CLOSED;
    REQUIRE(!given_up || !counts->pending || (core->unkillable && core->state != MP__ENDED),
            "items are pending in a core that has given up");
    REQUIRE(core->state == MP__ENDED || given_up == (core->verdict != MP_OK), "the core has given up without a reason");
    REQUIRE(core->state != MP__ENDED || !core->open, "the core has ended, and a job is open");
    REQUIRE(!core->stopping, "a job is to be stopped, and the event is over");
    REQUIRE(counts->wanted && counts->wanted <= core->place_count, "fewer places than workers");
    for (uint32_t i = 0; i < core->task_count; i++) {
        const mp__pace *pace = &core->paces[i];
        REQUIRE(!pace->window == !pace->item_ns, "a task's window and time are not known together");
        REQUIRE(!pace->window || (pace->window >= 2 && pace->window <= MP__WINDOW_ITEMS),
                "a task's window is out of bounds");
    }
    return NULL;
}

const char *mp__core_check(const mp__core *core)
{
    tally sums = {0};
    PASS(check_state(core));
    for (uint32_t i = 0; i < core->slot_count; i++)
        PASS(check_slot(core, i, &sums));
    PASS(check_wanting(core, &sums));
    PASS(check_queue(core, &core->queue, 0, &sums));
    PASS(check_places(core, &sums));
    PASS(check_timed(core, core->timed, NULL, &sums));
    PASS(check_ended(core, &sums));
    PASS(check_done(core));
    PASS(check_sums(core, &sums));
    for (uint32_t i = 0; i < core->slot_count; i++)
        PASS(check_own_chunks(core, &core->slots[i]->chunks));
    PASS(check_own_chunks(core, &core->ended));
    return NULL;
}
