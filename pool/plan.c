/* Who gets what: the policy of the core. core_state.h declares it; core.c keeps the books.
 *
 * Jobs are served in the order in which they came, what is added to an open one in that in which it was added. A worker should have
 * a *window* of work: what it does in MP__WINDOW_NS by the job's measured time, at least two chunks, so that it never waits for the
 * parent; it is topped up when it is down to half. Not knowing the time, the window starts at two and at most doubles with each
 * measurement. Near the end of a job pieces shrink with what is left, so that workers end together.
 *
 * When there is nothing to hand out, a worker idles and another has items that it has not started, they are taken back: at
 * once if items are long, else once that worker has shown no progress for a while. A wrong estimate costs that while.
 *
 * A job that is pinned to a place stands in that place's own queue; a slot takes from its place's queue and from the common one,
 * the older job first. A life that may have few items more gets no more than that.
 *
 * Runs under the pool's lock, as part of the core; owns nothing but the paces and the order of the queues. When there is no chunk
 * to be had, items wait where they are until a worker has used up one of its own. */
#include "pool/core_state.h"
#include <assert.h>

static const uint64_t ITEM_NS_MAX = 1000000000000000u; /* eleven days: more need not be told apart */

/* --- the queue --------------------------------------------------------------------------------------------------------- */

static mp__queue *job_queue(mp__core *core, const mp__core_job *job)
{
    return job->pin ? &core->places[job->pin - 1].pinned : &core->queue;
}

/* A new job is the last one. What comes back is mostly of the first ones, or right behind the one that came before it: many that
 * come at a time come in their order, and must not each pass by all that wait. */
static mp__core_job *queue_find_before(const mp__queue *queue, const mp__core_job *job)
{
    mp__core_job *before = queue->tail;
    if (!before || before->number < job->number)
        return before;
    before = queue->came_last && queue->came_last->number < job->number ? queue->came_last : NULL;
    for (mp__core_job *next = before ? before->next : queue->head; next->number < job->number; next = next->next)
        before = next;
    return before;
}

/* What waits of the last job now, should it be open, comes before the one that is about to stand behind it. */
static void note_early(const mp__queue *queue)
{
    if (queue->tail)
        queue->tail->early = queue->tail->waiting;
}

void mp__plan_enqueue_behind(mp__core *core, mp__core_job *job, mp__core_job *before)
{
    mp__queue *queue = job_queue(core, job);
    if (job->pin || before == queue->tail)
        note_early(&core->queue);
    mp__core_job **next = before ? &before->next : &queue->head;
    job->queued = true;
    core->pinned += job->pin > 0;
    core->queued += job_weight(job);
    job->before = before;
    job->next = *next;
    *next = job;
    *(job->next ? &job->next->before : &queue->tail) = job;
    if (job->next) /* else the tail says it: new jobs do not move it away from where those come that are run again */
        queue->came_last = job;
}

void mp__plan_enqueue(mp__core *core, mp__core_job *job)
{
    if (!job->queued)
        mp__plan_enqueue_behind(core, job, queue_find_before(job_queue(core, job), job));
}

void mp__plan_dequeue(mp__core *core, mp__core_job *job)
{
    if (!job->queued)
        return;
    mp__queue *queue = job_queue(core, job);
    job->queued = false;
    core->pinned -= job->pin > 0;
    core->queued -= job_weight(job);
    if (queue->came_last == job)
        queue->came_last = job->before;
    *(job->before ? &job->before->next : &queue->head) = job->next;
    *(job->next ? &job->next->before : &queue->tail) = job->before;
}

void mp__plan_take_turn(mp__core *core, mp__core_job *job, uint64_t number)
{
    bool queued = job->queued;
    if (!queued || !job->next) /* nothing was behind it, so nothing of it counts as early */
        job->early = 0;
    mp__plan_dequeue(core, job);
    job->number = number;
    mp__job_renumbered(core, job);
    if (queued)
        mp__plan_enqueue(core, job);
}

/* More of an open job comes while it is worked off, perhaps without end. What comes later than another job has its turn behind that, as
 * it would if each item were a job by itself. */
void mp__plan_let_pass(mp__core *core, mp__core_job *job)
{
    mp__plan_take_turn(core, job, core->next_number++);
    job->passed = true;
    job->early = 0;
}

/* So many of its items have been handed out. */
static void job_gave(mp__core *core, mp__core_job *job, size_t items)
{
    job->waiting -= items;
    job->early -= items < job->early ? items : job->early;
    core->queued -= job->calls ? items : 0;
    if (!job->waiting)
        mp__plan_dequeue(core, job);
    else if (job->open && !job->early && (job->next || core->pinned))
        mp__plan_let_pass(core, job);
}

/* Of two jobs that may be none, the one whose turn is first. */
static mp__core_job *older(mp__core_job *a, mp__core_job *b)
{
    return !a || (b && b->number < a->number) ? b : a;
}

/* The first job that a READY slot can take. */
static mp__core_job *slot_first(const mp__core *core, const mp__slot *slot)
{
    return older(core->queue.head, core->places[slot->place].pinned.head);
}

/* --- handing out ------------------------------------------------------------------------------------------------------- */

/* An open job's may grow with it. It has items: it is in a queue. */
static size_t job_unit(const mp__core_job *job)
{
    return !job->chunksize ? 1 : job->chunksize < job->n ? job->chunksize : job->n;
}

/* A call that may take long does not go to a worker that has something to do: it would begin behind calls that came later and went to
 * others, and if one of those waits for it, for ever. */
static bool goes_alone(const mp__core *core, const mp__core_job *job)
{
    uint64_t item_ns = core->paces[job->task].item_ns;
    return job_calls(job) && (!item_ns || item_ns >= MP__ALONE_NS);
}

static size_t calls_window(const mp__pace *pace)
{
    return pace->window < MP__WINDOW_CALLS ? pace->window : MP__WINDOW_CALLS;
}

/* How many items of this job a worker should have at a time: at least two chunks. */
static size_t job_window(const mp__core *core, const mp__core_job *job)
{
    const mp__pace *pace = &core->paces[job->task];
    size_t window = job_calls(job) ? calls_window(pace) : pace->window, unit = job_unit(job);
    if (goes_alone(core, job))
        return 1;
    size_t least = unit <= SIZE_MAX / 2 ? 2 * unit : SIZE_MAX;
    return window > least ? window : least;
}

/* How many items more this life may have. */
static size_t slot_quota(const mp__core *core, const mp__slot *slot)
{
    uint64_t left = core->life_items ? core->life_items - slot->done - slot->items : SIZE_MAX;
    return left < SIZE_MAX ? (size_t)left : SIZE_MAX;
}

/* What waits of an open job does not say how near its end is: pieces do not shrink with it below what takes about as long as to wake
 * who is to run them, or workers do little but wake up. What came back may have been misjudged. */
static size_t worth_sending(const mp__core *core, const mp__core_job *job)
{
    uint64_t item_ns = core->paces[job->task].item_ns;
    return job->open && item_ns && !job->returned.head ? (size_t)(MP__PIECE_NS / item_ns) : 0;
}

/* How many of the calls that wait one worker should get at a time. */
static size_t calls_share(const mp__core *core)
{
    return (size_t)((core->queued + core->expected) / (2 * (uint64_t)core->takers));
}

/* How many items of the job the slot should get now; 0: it has enough. What came back is shared out item by item: it came from
 * one worker to be spread over several, and the whole chunk would only be taken back from the next one. `calls`: no more of these. */
static size_t piece_size(const mp__core *core, const mp__slot *slot, const mp__core_job *job, size_t calls)
{
    size_t unit = job->returned.head ? 1 : job_unit(job), window = job_window(core, job), quota = slot_quota(core, slot);
    if (slot->items > window / 2)
        return 0;
    size_t share = job->calls ? calls : job->waiting / (2 * (size_t)core->takers) + 1, piece = window - slot->items;
    if (share < worth_sending(core, job))
        share = worth_sending(core, job);
    if (piece > share)
        piece = share;
    if (piece < unit)
        piece = unit;
    return piece < quota ? piece : quota;
}

/* What a worker says of its time is input, not truth. */
static uint64_t item_time(uint64_t items, uint64_t ns)
{
    uint64_t each = ns / items;
    return each < 1 ? 1 : each > ITEM_NS_MAX ? ITEM_NS_MAX : each;
}

void mp__plan_measured(mp__core *core, uint32_t task, uint64_t items, uint64_t ns)
{
    assert(task < core->task_count);
    mp__pace *pace = &core->paces[task];
    uint64_t each = item_time(items, ns);
    pace->item_ns = pace->item_ns ? (pace->item_ns + each) / 2 : each;
    uint64_t window = MP__WINDOW_NS / pace->item_ns, most = 2 * (uint64_t)(pace->window ? pace->window : 2);
    if (most > MP__WINDOW_ITEMS)
        most = MP__WINDOW_ITEMS;
    pace->window = window > most ? (size_t)most : window > 2 ? (size_t)window : 2;
}

static void slot_append(mp__slot *slot, mp__chunk *chunk)
{
    mp__chunks_push(&slot->chunks, chunk);
    if (!slot->cursor)
        slot->cursor = chunk;
}

/* From the front of what came back. Without a chunk to cut with, the whole goes, if it is not more than `most`; else 0. */
static size_t give_returned(mp__core *core, mp__slot *slot, mp__core_job *job, size_t items, size_t most)
{
    mp__chunk *head = job->returned.head;
    mp__chunk *cut = items < head->count ? mp__chunk_take(core, chunk_reserve(core)) : NULL;
    if (!cut && head->count > most)
        return 0;
    if (!cut) {
        items = head->count;
        slot_append(slot, mp__job_take_returned(job));
        return items;
    }
    *cut = (mp__chunk){.job = job,
                       .first = head->first,
                       .count = items,
                       .unsent = items,
                       .attempt = head->attempt,
                       .number = head->number};
    head->first += items;
    head->count -= items;
    head->unsent = head->count;
    slot_append(slot, cut);
    return items;
}

/* From what was never handed out. A piece that follows the slot's last one makes that one longer; the job's last piece is the
 * chunk inside the job, if it is known to be the last; 0: no chunk to be had. Short calls, which by themselves would need none, go as
 * the last piece then. */
static size_t give_fresh(mp__core *core, mp__slot *slot, mp__core_job *job, size_t items, size_t most)
{
    size_t left = job->n - job->fresh;
    if (items > left)
        items = left;
    mp__chunk *last = slot->chunks.tail;
    if (last && last->job == job && last->attempt == 1 && last->first + last->count == job->fresh) {
        last->count += items;
        last->unsent += items;
        if (!slot->cursor)
            slot->cursor = last;
    } else {
        mp__chunk *chunk = items == left && !job->open ? &job->rest : mp__chunk_take(core, chunk_reserve(core));
        if (!chunk && job->calls && left <= most && !goes_alone(core, job)) {
            chunk = &job->rest;
            items = left;
        }
        if (!chunk)
            return 0;
        *chunk = (mp__chunk){
            .job = job, .first = job->fresh, .count = items, .unsent = items, .attempt = 1, .number = job->number};
        slot_append(slot, chunk);
    }
    job->fresh += items;
    return items;
}

typedef enum gift { GIVEN, ENOUGH, NO_CHUNK, TOO_MUCH } gift;

/* Gives the slot one piece of a job: first of what came back, then of the fresh, and of those in whole units only, unless
 * the life may not have a whole one. ENOUGH: it has its window; NO_CHUNK: there is none for it; TOO_MUCH: what came back is more
 * than this life may have, and there is no chunk to cut it with. Of calls no more than `calls`. */
static gift give(mp__core *core, mp__slot *slot, mp__core_job *job, size_t calls)
{
    size_t wanted = piece_size(core, slot, job, calls), given = 0, unit = job_unit(job), quota = slot_quota(core, slot);
    if (!wanted)
        return ENOUGH;
    if (unit > wanted)
        unit = wanted;
    if (!slot->items) {
        slot->moved_at = core->now;
        slot->recalled_at = core->now + MP__RECALL_NS; /* let it begin: it would give everything back */
    }
    while (given < wanted && given < job->waiting) {
        size_t left = wanted - given, items;
        if (job->returned.head)
            items = give_returned(core, slot, job, left, quota - given);
        else if (left >= unit)
            items = give_fresh(core, slot, job, left / unit * unit, quota - given);
        else
            break;
        if (!items)
            break;
        given += items;
    }
    if (!given)
        return job->returned.head ? TOO_MUCH : NO_CHUNK;
    slot->items += given;
    job_gave(core, job, given);
    mp__slot_want(core, slot, MP__ACT_SEND);
    return GIVEN;
}

/* READY, and the life before it in its place is through. */
static bool slot_serves(const mp__core *core, const mp__slot *slot)
{
    return slot->state == MP__SLOT_READY && !core->places[slot->place].leaving;
}

static bool slot_takes(const mp__core *core, const mp__slot *slot)
{
    return slot_serves(core, slot) && !slot->asked && !slot->overdue.ordinal;
}

static bool older_first(mp__core *core, const mp__slot *idle, const mp__core_job *job);

/* One piece; and more from the jobs behind it when it was the last of its own. A job that cannot be given (no chunk to be
 * had) does not keep those behind it from being given; one of which the slot has enough does, for its turn comes first. A life
 * that idles because it may have too little of what there is makes room for one that may have more: no piece that came back is
 * more than a whole life's. */
void mp__plan_slot(mp__core *core, mp__slot *slot)
{
    if (!slot_takes(core, slot))
        return;
    mp__core_job *common = core->queue.head, *own = core->places[slot->place].pinned.head, *job = older(common, own);
    bool too_much = false;
    size_t share = calls_share(core) + 1;
    if (job && !slot->items && older_first(core, slot, job))
        return;
    while ((job = older(common, own)) && share) {
        size_t had = slot->items;
        *(job == own ? &own : &common) = job->next;
        gift given = give(core, slot, job, share);
        if (given == ENOUGH || (given == GIVEN && job->queued))
            return;
        too_much |= given == TOO_MUCH;
        had = given == GIVEN ? (job->calls ? slot->items - had : 1) : 0; /* what it has not got is no part of its share */
        share -= had < share ? had : share;
    }
    if (too_much && !slot->items)
        mp__slot_retire(core, slot);
}

bool mp__plan_hungry(const mp__core *core, const mp__slot *slot)
{
    const mp__core_job *first = slot_first(core, slot);
    return first && slot->items <= job_window(core, first) / 2;
}

/* Behind one that may take long, or nobody knows how long, nothing goes: see goes_alone. */
static bool slot_takes_call(const mp__core *core, const mp__slot *slot)
{
    if (!slot_takes(core, slot) || slot->items > 1)
        return false;
    uint64_t item_ns = slot->items ? core->paces[slot->chunks.head->job->task].item_ns : 1;
    return item_ns && item_ns < MP__ALONE_NS;
}

bool mp__core_hungry(const mp__core *core)
{
    for (uint32_t i = 0; i < core->slot_count && !core->queue.head; i++)
        if (slot_takes_call(core, core->slots[i]))
            return true;
    return false;
}

uint64_t mp__core_appetite(const mp__core *core, uint32_t task)
{
    const mp__pace *pace = &core->paces[task];
    uint64_t appetite = 0, window = calls_window(pace);
    if (!pace->item_ns || pace->item_ns >= MP__ALONE_NS)
        return 0;
    for (uint32_t i = 0; i < core->slot_count; i++) {
        const mp__slot *slot = core->slots[i];
        if (slot_takes(core, slot) && slot->items <= window / 2)
            appetite += window - slot->items;
    }
    return appetite > core->queued ? appetite - core->queued : 0;
}

bool mp__core_is_near(const mp__core *core, uint32_t cpus, uint64_t ns)
{
    uint32_t busy = 0;
    for (uint32_t i = 0; i < core->slot_count; i++) {
        const mp__slot *slot = core->slots[i];
        if (!slot->items)
            continue;
        if (slot->items > 1 || !slot_works(slot) || core->paces[slot->chunks.head->job->task].item_ns > ns)
            return false;
        busy++;
    }
    return busy && busy < cpus;
}

bool mp__core_is_brisk(const mp__core *core)
{
    for (uint32_t i = 0; i < core->slot_count; i++) {
        const mp__slot *slot = core->slots[i];
        uint64_t item_ns = slot->items ? core->paces[slot->chunks.head->job->task].item_ns : 1;
        if (!item_ns || item_ns >= MP__ALONE_NS)
            return false;
    }
    return true;
}

bool mp__core_busy(const mp__core *core)
{
    for (uint32_t i = 0; i < core->slot_count; i++)
        if (slot_serves(core, core->slots[i]) && core->slots[i]->sent - core->slots[i]->done < 2)
            return false;
    return core->takers;
}

/* --- taking back ------------------------------------------------------------------------------------------------------- */

/* True if the slot has something for others behind its first `stays` items. */
static bool slot_can_share(const mp__slot *slot, uint64_t stays)
{
    uint64_t before = 0;
    for (const mp__chunk *chunk = slot->chunks.head; chunk && slot->items > stays; chunk = chunk->next) {
        before += chunk->count;
        if (before > stays && !chunk->job->pin)
            return true;
    }
    return false;
}

/* When this slot's items become worth taking back. What a recall has left with it is not, and its first one may be running: only
 * what is behind these counts. So one that had nothing to give is not asked again before it gets more. */
static uint64_t recall_due(const mp__core *core, const mp__slot *slot)
{
    uint64_t stays = slot->kept > slot->done ? slot->kept - slot->done : 1;
    if (!slot_works(slot) || slot->asked || !slot_can_share(slot, stays))
        return MP__NEVER;
    bool long_items = core->paces[slot->chunks.head->job->task].item_ns >= MP__RECALL_ITEM_NS;
    return long_items ? slot->recalled_at : slot->moved_at + MP__RECALL_NS;
}

/* Without a chunk to cut its queue with: another time. */
static void slot_recall(mp__core *core, mp__slot *slot)
{
    slot->moved_at = core->now;
    slot->recalled_at = core->now + MP__RECALL_NS;
    slot->asked = core->spare_count > chunk_reserve(core);
    if (slot->asked)
        mp__slot_want(core, slot, MP__ACT_RECALL);
}

/* Which call an item is. */
static uint64_t call_number(const mp__core_job *job, size_t index)
{
    return job->number + (job->calls ? index : 0);
}

/* The oldest call that a slot has behind its first `stays` items: its number; UINT64_MAX: none. */
static uint64_t oldest_behind(const mp__slot *slot, uint64_t stays)
{
    uint64_t oldest = UINT64_MAX, before = 0;
    for (const mp__chunk *chunk = slot->chunks.head; chunk; before += chunk->count, chunk = chunk->next) {
        if (before + chunk->count <= stays || !job_calls(chunk->job) || chunk->job->pin)
            continue;
        uint64_t number = call_number(chunk->job, chunk->first + (before < stays ? (size_t)(stays - before) : 0));
        oldest = number < oldest ? number : oldest;
    }
    return oldest;
}

/* Calls begin in the order in which they came, as far as that can be: an idle slot does not get this job as long as an older one
 * is stuck behind what another worker does. That is taken back first. */
static bool older_first(mp__core *core, const mp__slot *idle, const mp__core_job *job)
{
    bool waits = false;
    uint64_t number = call_number(job, job->returned.head ? job->returned.head->first : job->fresh);
    for (uint32_t i = 0; i < core->slot_count; i++) {
        mp__slot *slot = core->slots[i];
        if (slot == idle || slot->items < 2 || !slot_works(slot))
            continue;
        if (oldest_behind(slot, 1) >= number)
            continue;
        if (recall_due(core, slot) <= core->now)
            slot_recall(core, slot);
        waits |= slot->asked;
    }
    return waits;
}

/* True if more slots idle than are being asked already: an answer brings work for one at least. */
static bool someone_idles(const mp__core *core)
{
    uint32_t idle = 0, asked = 0;
    for (uint32_t i = 0; i < core->slot_count; i++) {
        const mp__slot *slot = core->slots[i];
        idle += slot_takes(core, slot) && !slot->items;
        asked += slot->asked;
    }
    return idle > asked;
}

uint64_t mp__plan_deadline(const mp__core *core)
{
    uint64_t soonest = MP__NEVER;
    if (core->queue.head || !core->counts.pending || !someone_idles(core))
        return soonest;
    for (uint32_t i = 0; i < core->slot_count; i++) {
        uint64_t due = recall_due(core, core->slots[i]);
        if (due < soonest)
            soonest = due;
    }
    return soonest;
}

/* Those that have most, first. */
static void plan_recalls(mp__core *core)
{
    while (mp__plan_deadline(core) <= core->now) {
        mp__slot *most = NULL;
        for (uint32_t i = 0; i < core->slot_count; i++) {
            mp__slot *slot = core->slots[i];
            if (recall_due(core, slot) <= core->now && (!most || slot->items > most->items))
                most = slot;
        }
        slot_recall(core, most);
    }
}

static bool something_waits(const mp__core *core)
{
    return core->queue.head || core->pinned;
}

void mp__plan_all(mp__core *core, const mp__slot *last)
{
    if (!core->takers)
        return;
    for (uint32_t i = 0; i < core->slot_count && something_waits(core); i++) {
        mp__slot *slot = core->slots[i];
        mp__core_job *first = slot != last && slot_takes(core, slot) && !slot->items ? slot_first(core, slot) : NULL;
        if (first && !older_first(core, slot, first))
            give(core, slot, first, calls_share(core) ? calls_share(core) : 1);
    }
    for (uint32_t i = 0; i < core->slot_count && something_waits(core); i++)
        mp__plan_slot(core, core->slots[i]);
    plan_recalls(core);
}
