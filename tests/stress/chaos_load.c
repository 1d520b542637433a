/* Who uses the pool: each of these threads makes calls of one sort, one after the other, as its generator says, until the round
 * ends or its lines in the ledger are used up, and has each item judged as soon as it is told of its end. */
#include "tests/lib/until.h"
#include "tests/stress/chaos.h"
#include <stdlib.h>
#include <string.h>

/* ---- deals ---- */

typedef enum mood { CALM, MISCHIEF, SLOW, FAT, MOODS } mood;

static chaos_deed some_deed(chaos_actor *actor, const chaos_deal *deal)
{
    uint64_t *random = &actor->random;
    bool processes = actor->round->kind == MP_PROCESSES, ends = deal->timeout > 0 || deal->deadline > 0;
    switch (chaos_below(random, 300)) {
    case 0: return processes ? CHAOS_CRASH : CHAOS_FAIL;
    case 1: return processes ? CHAOS_CRASH_FIRST : CHAOS_FAIL_FIRST;
    case 2: return processes ? CHAOS_EXIT : CHAOS_FAIL;
    case 3: return processes && ends ? CHAOS_HANG : CHAOS_HEED;
    case 4: return CHAOS_HEED;
    case 5: return CHAOS_HEED_BADLY;
    case 6:
    case 7:
    case 8:
    case 9: return CHAOS_FAIL;
    case 10:
    case 11:
    case 12: return CHAOS_FAIL_FIRST;
    default: return CHAOS_PASS;
    }
}

static void fill_errand(chaos_actor *actor, const chaos_deal *deal, chaos_errand *errand, mood how)
{
    uint64_t *random = &actor->random;
    errand->salt = (uint32_t)chaos_below(random, UINT32_MAX);
    if (how == CALM)
        return;
    errand->deed = how == FAT ? CHAOS_PASS : (uint8_t)some_deed(actor, deal);
    if (errand->deed >= CHAOS_HEED)
        errand->pause_us = 1 + (uint32_t)chaos_below(random, deal->timeout > 0 ? 1000000 : 15000);
    else if (how == SLOW)
        errand->pause_us = (uint32_t)chaos_below(random, 500);
    if (how == FAT || chaos_one_in(random, 100)) {
        size_t most = chaos_one_in(random, 20) ? 400000 : 6000, load = chaos_below(random, most);
        errand->size = (uint32_t)chaos_below(random, most);
        void *bytes = malloc(load + 1);
        memset(bytes, (int)(errand->line & 0xff), load + 1);
        errand->load = (mp_bytes){bytes, load};
    }
}

/* What becomes of those that fail or take too long. */
static void choose_policy(chaos_actor *actor, chaos_deal *deal)
{
    uint64_t *random = &actor->random;
    if (chaos_one_in(random, 3)) {
        deal->retries = 1 + (unsigned)chaos_below(random, 3);
        deal->retry_on = chaos_one_in(random, 2) ? MP_ON_FAILED | MP_ON_CRASHED | MP_ON_TIMEDOUT | MP_ON_LOST
                                                 : 1 + (unsigned)chaos_below(random, 15);
        deal->retry_delay = chaos_one_in(random, 2) ? (double)chaos_below(random, 3000) * 1e-6 : 0;
    }
    if (chaos_one_in(random, 4))
        deal->timeout = 0.02 + (double)chaos_below(random, 80) * 1e-3;
    if (chaos_one_in(random, 10))
        deal->deadline = 0.01 + (double)chaos_below(random, 300) * 1e-3;
    if (chaos_one_in(random, 10))
        deal->stop_at = 1 + (ptrdiff_t)chaos_below(random, 4);
}

/* Up to `most` items. False: the user has no lines left, or the round is over. `single`: each is a call of its own. */
static bool make_deal(chaos_actor *actor, chaos_deal *deal, size_t most, bool single)
{
    uint64_t *random = &actor->random;
    chaos_round *round = actor->round;
    uint32_t left = (actor->number + 1) * CHAOS_LINES_EACH - actor->next_line;
    if (round->stop || !left)
        return false;
    *deal = (chaos_deal){.first = actor->next_line,
                         .chunksize = chaos_one_in(random, 2) ? (ptrdiff_t)chaos_below(random, 70) : 0};
    mood how = chaos_below(random, 3) ? CALM : (mood)chaos_below(random, MOODS);
    size_t n = 1 + chaos_below(random, how == CALM && chaos_one_in(random, 2) ? most : most < 300 ? most : 300);
    deal->n = (uint32_t)(n < left ? n : left);
    choose_policy(actor, deal);
    deal->errands = calloc(deal->n, sizeof *deal->errands);
    for (uint32_t i = 0; i < deal->n; i++) {
        deal->errands[i] = (chaos_errand){.line = deal->first + i, .index = single ? 0 : i};
        fill_errand(actor, deal, &deal->errands[i], how);
        round->fates[deal->first + i] = (chaos_fate){.asked = true,
                                                     .most = (uint8_t)(1 + deal->retries),
                                                     .deed = deal->errands[i].deed,
                                                     .retry_on = (uint8_t)deal->retry_on,
                                                     .timeout = (float)deal->timeout,
                                                     .deadline = (float)deal->deadline,
                                                     .stop_at = (uint16_t)deal->stop_at};
    }
    actor->next_line += deal->n;
    return true;
}

static void end_deal(chaos_deal *deal)
{
    for (uint32_t i = 0; i < deal->n; i++)
        free((void *)deal->errands[i].load.data);
    free(deal->errands);
    deal->errands = NULL;
}

/* Nobody will look at what becomes of this one. */
static void leave_item(chaos_actor *actor, const chaos_deal *deal, size_t index)
{
    actor->round->fates[deal->first + index].left = true;
    actor->round->unread++;
}

static void *gone(chaos_actor *actor)
{
    actor->round->users--;
    actor->returned = true;
    return NULL;
}

/* ---- calls that wait ---- */

static void apply_one(chaos_actor *actor, chaos_deal *deal)
{
    for (size_t i = 0; i < deal->n; i++) {
        chaos_yield yield;
        mp_error error;
        mp_status status =
            mp_pool_apply(actor->round->pool, chaos_do, &deal->errands[i], &yield, .error = &error, CHAOS_POLICY(deal));
        if (status && error.item == MP_NO_ITEM) {
            chaos_deal rest = *deal;
            rest.first += (uint32_t)i;
            rest.n -= (uint32_t)i;
            chaos_judge_refused(actor, &rest, status);
            return;
        }
        chaos_judge(actor, deal, i, status, &error, &yield);
        mp_free(chaos_yield, &yield, 1);
    }
}

/* The call's own status is that of the first item that failed; one that was cancelled only if no other failed. */
static void judge_call(chaos_actor *actor, const chaos_deal *deal, const mp_status *statuses, mp_status status,
                       const mp_error *error)
{
    size_t first = 0, other = 0;
    while (first < deal->n && statuses[first] == MP_OK)
        first++;
    while (other < deal->n && (statuses[other] == MP_OK || statuses[other] == MP_ECANCELLED))
        other++;
    size_t wanted = other < deal->n ? other : first;
    if (wanted == deal->n ? status != MP_OK : status != statuses[wanted] || error->item != wanted)
        chaos_complain(actor->round, "a map of %u items says %s of item %zu, and it was %zu, with %s", deal->n,
                       mp_status_name(status), error->item, wanted,
                       wanted < deal->n ? mp_status_name(statuses[wanted]) : "success");
}

static void map_all(chaos_actor *actor, chaos_deal *deal)
{
    bool errors_too = deal->n <= 512 || chaos_one_in(&actor->random, 4);
    chaos_yield *yields = malloc(deal->n * sizeof *yields);
    mp_status *statuses = malloc(deal->n * sizeof *statuses);
    mp_error *errors = errors_too ? malloc(deal->n * sizeof *errors) : NULL, error;
    memset(statuses, 0xa5, deal->n * sizeof *statuses);
    mp_status status =
        mp_pool_map(actor->round->pool, chaos_do, deal->errands, deal->n, yields, .chunksize = deal->chunksize,
                    .statuses = statuses, .errors = errors, .error = &error, CHAOS_POLICY(deal));
    if (status && error.item == MP_NO_ITEM) {
        chaos_judge_refused(actor, deal, status);
    } else {
        for (size_t i = 0; i < deal->n; i++)
            chaos_judge(actor, deal, i, statuses[i], errors ? &errors[i] : NULL, &yields[i]);
        judge_call(actor, deal, statuses, status, &error);
        mp_free(chaos_yield, yields, deal->n);
    }
    free(yields);
    free(statuses);
    free(errors);
}

void *chaos_map(void *argument)
{
    chaos_actor *me = argument;
    chaos_deal deal;
    bool single;
    while (single = chaos_one_in(&me->random, 6), make_deal(me, &deal, single ? 20 : 4000, single)) {
        (single ? apply_one : map_all)(me, &deal);
        end_deal(&deal);
    }
    return gone(me);
}

/* ---- streams ---- */

typedef struct source {
    chaos_deal *deal;
    uint32_t next;
} source;

static bool next_errand(chaos_errand *item, void *user)
{
    source *from = user;
    if (from->next == from->deal->n)
        return false;
    *item = from->deal->errands[from->next++];
    return true;
}

static mp_iter *open_stream(chaos_actor *actor, chaos_deal *deal, source *from, bool ordered)
{
    mp_pool *pool = actor->round->pool;
    ptrdiff_t room = chaos_one_in(&actor->random, 2) ? 1 + (ptrdiff_t)chaos_below(&actor->random, 300) : 0;
    bool array = chaos_one_in(&actor->random, 2);
    ptrdiff_t chunk = deal->chunksize;
    if (array && ordered)
        return mp_pool_imap(pool, chaos_do, deal->errands, deal->n, .chunksize = chunk, .buffersize = room,
                            CHAOS_POLICY(deal));
    if (array)
        return mp_pool_imap_unordered(pool, chaos_do, deal->errands, deal->n, .chunksize = chunk, .buffersize = room,
                                      CHAOS_POLICY(deal));
    if (ordered)
        return mp_pool_imap_from(pool, chaos_do, next_errand, from, .chunksize = chunk, .buffersize = room,
                                 CHAOS_POLICY(deal));
    return mp_pool_imap_unordered_from(pool, chaos_do, next_errand, from, .chunksize = chunk, .buffersize = room,
                                       CHAOS_POLICY(deal));
}

/* One result. False: that was the end, or there will be none. */
static bool read_one(chaos_actor *actor, mp_iter *stream, chaos_deal *deal, bool ordered, uint32_t *read, bool *cut)
{
    chaos_yield yield;
    mp_error error;
    size_t index = 77;
    double patience = chaos_one_in(&actor->random, 10) ? 0 : CHAOS_PROMPT, since = seconds_now();
    mp_status status = mp_iter_next(stream, &yield, patience, .index = &index, .error = &error);
    if (status == MP_END)
        return false;
    if (status == MP_ETIMEDOUT) {
        if (patience > 0)
            chaos_complain(actor->round, "a stream of %u items gave nothing for %g s, behind %u", deal->n,
                           seconds_now() - since, *read);
        return !patience;
    }
    if (status && index == SIZE_MAX) { /* the input's own end: what was not taken from it has none */
        if (*cut)
            chaos_complain(actor->round, "a stream's input ended twice, with %s", mp_status_name(status));
        *cut = true;
        return true;
    }
    if (index >= deal->n || (ordered && index != *read)) {
        chaos_complain(actor->round, "a stream of %u items gives item %zu behind %u", deal->n, index, *read);
        return false;
    }
    chaos_judge(actor, deal, index, status, &error, &yield);
    mp_free(chaos_yield, &yield, 1);
    ++*read;
    return true;
}

static void read_stream(chaos_actor *actor, chaos_deal *deal)
{
    bool ordered = chaos_one_in(&actor->random, 2), cut = false;
    uint32_t read = 0,
             most = chaos_one_in(&actor->random, 6) ? (uint32_t)chaos_below(&actor->random, deal->n) : deal->n + 3;
    source from = {deal, 0};
    mp_iter *stream = open_stream(actor, deal, &from, ordered);
    while (read < most && read_one(actor, stream, deal, ordered, &read, &cut))
        ;
    mp_iter_free(&stream);
    if (!cut && most > deal->n && read < deal->n)
        chaos_complain(actor->round, "a stream of %u items ended behind %u", deal->n, read);
    for (size_t i = 0; i < deal->n; i++)
        if (!actor->round->fates[deal->first + i].ends)
            leave_item(actor, deal, i);
}

void *chaos_stream(void *argument)
{
    chaos_actor *me = argument;
    chaos_deal deal;
    while (make_deal(me, &deal, 3000, false)) {
        read_stream(me, &deal);
        end_deal(&deal);
    }
    return gone(me);
}

/* ---- async calls ---- */

enum { HANDLES = 8, EARS = 4096 };

/* What its callbacks have told. */
typedef struct ear {
    _Atomic int good, bad;
} ear;

typedef struct handle {
    mp_async *async;
    chaos_deal deal;
    ear *heard;
} handle;

static void hear_all(const chaos_yield *yields, size_t n, void *user)
{
    (void)yields, (void)n;
    ((ear *)user)->good++;
}

static void hear_one(const chaos_yield *yield, void *user)
{
    (void)yield;
    ((ear *)user)->good++;
}

static void hear_error(const mp_error *error, void *user)
{
    (void)error;
    ((ear *)user)->bad++;
}

static void judge_handle(chaos_actor *actor, handle *h)
{
    chaos_deal *deal = &h->deal;
    if (mp_async_wait(h->async, CHAOS_PROMPT) != MP_OK)
        return chaos_complain(actor->round, "a handle of %u items waits for ever", deal->n);
    const mp_status *statuses = mp_async_statuses(h->async);
    const mp_error *error = mp_async_error(h->async);
    bool refused = error->status && error->item == MP_NO_ITEM;
    if (refused) {
        chaos_judge_refused(actor, deal, error->status);
    } else {
        chaos_yield *yields = malloc(deal->n * sizeof *yields);
        mp_status status = mp_async_get(h->async, yields, 0);
        for (size_t i = 0; i < deal->n; i++)
            chaos_judge(actor, deal, i, statuses[i], error->status && error->item == i ? error : NULL, &yields[i]);
        if (status != error->status)
            chaos_complain(actor->round, "get says %s, the error %s", mp_status_name(status),
                           mp_status_name(error->status));
        free(yields);
    }
    int good = !refused && !error->status, bad = !refused && error->status;
    if (h->heard->good != good || h->heard->bad != bad)
        chaos_complain(actor->round, "callbacks: %d good, %d bad, of a handle that is %s", h->heard->good, h->heard->bad,
                       mp_status_name(error->status));
    mp_async_free(&h->async);
    end_deal(deal);
}

/* The copy of its items is the library's: they need not outlive the call. A handle that is left has told nobody yet. */
static void leave_handle(chaos_actor *actor, handle *h)
{
    for (size_t i = 0; i < h->deal.n; i++)
        leave_item(actor, &h->deal, i);
    mp_async_free(&h->async);
    end_deal(&h->deal);
}

static bool begin_handle(chaos_actor *actor, handle *h, ear *heard)
{
    mp_pool *pool = actor->round->pool;
    bool single = chaos_one_in(&actor->random, 4);
    chaos_deal *d = &h->deal;
    if (!make_deal(actor, d, single ? 1 : 2000, single))
        return false;
    h->heard = heard;
    if (single)
        h->async = mp_pool_apply_async(pool, chaos_do, d->errands, .error_callback = hear_error, .user = heard,
                                       .callback = hear_one, CHAOS_POLICY(d));
    else
        h->async = mp_pool_map_async(pool, chaos_do, d->errands, d->n, .chunksize = d->chunksize,
                                     .error_callback = hear_error, .user = heard, .callback = hear_all, CHAOS_POLICY(d));
    return true;
}

static void cancel_handle(chaos_actor *actor, handle *h)
{
    h->deal.cancelled = true;
    bool force = chaos_one_in(&actor->random, 2);
    h->deal.forced = h->deal.forced || force;
    if (mp_async_cancel(h->async, .force = force) != MP_OK)
        chaos_complain(actor->round, "a handle cannot be cancelled");
}

/* Every handle that was accepted has called back once, also those that were left, soon after nothing runs any more. */
static void hear_the_rest(chaos_actor *actor, const ear *ears, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ears[i].good + ears[i].bad > 1)
            chaos_complain(actor->round, "a handle called back %d times", ears[i].good + ears[i].bad);
}

void *chaos_async(void *argument)
{
    chaos_actor *me = argument;
    handle handles[HANDLES] = {{0}};
    ear *ears = me->memory = calloc(EARS, sizeof *ears);
    size_t begun = 0;
    while (!me->round->stop && begun < EARS) {
        handle *h = &handles[chaos_below(&me->random, HANDLES)];
        uint64_t what = chaos_below(&me->random, 10);
        if (!h->async && !begin_handle(me, h, &ears[begun++]))
            break;
        if (what == 0)
            leave_handle(me, h);
        else if (what < 3)
            cancel_handle(me, h);
        else if (what < 8)
            judge_handle(me, h);
    }
    for (handle *h = handles; h < handles + HANDLES; h++)
        if (h->async)
            judge_handle(me, h);
    hear_the_rest(me, ears, begun);
    return gone(me);
}

/* ---- futures ---- */

enum { BATCH = 64 };

static void judge_future(chaos_actor *actor, const chaos_deal *deal, size_t i, mp_future *future)
{
    chaos_yield yield = {0};
    mp_status status = mp_future_result(future, &yield, CHAOS_PROMPT);
    if (status == MP_ETIMEDOUT)
        return chaos_complain(actor->round, "a future waits for ever");
    if (mp_future_cancelled(future) != (status == MP_ECANCELLED))
        chaos_complain(actor->round, "a future is %s", mp_status_name(status));
    chaos_judge(actor, deal, i, status, mp_future_exception(future, 0), &yield);
}

static void use_futures(chaos_actor *actor, mp_executor *executor, chaos_deal *deal)
{
    mp_future *futures[BATCH];
    bool said[BATCH] = {false}, forced[BATCH] = {false}, left[BATCH] = {false};
    for (size_t i = 0; i < deal->n; i++)
        futures[i] = mp_submit(executor, chaos_do, &deal->errands[i], CHAOS_POLICY(deal));
    for (size_t k = chaos_below(&actor->random, 8); k > 0; k--) {
        size_t i = chaos_below(&actor->random, deal->n);
        bool force = chaos_one_in(&actor->random, 2);
        forced[i] = forced[i] || force;
        said[i] = mp_future_cancel(futures[i], .force = force);
    }
    for (size_t k = chaos_below(&actor->random, 4); k > 2; k--)
        left[chaos_below(&actor->random, deal->n)] = true;
    for (size_t i = 0; i < deal->n; i++) {
        chaos_deal one = *deal;
        one.cancelled = said[i] || forced[i]; /* on a thread it is told, and cannot be ended */
        one.forced = forced[i];
        if (left[i])
            leave_item(actor, deal, i);
        else
            judge_future(actor, &one, i, futures[i]);
        if (said[i] && !mp_future_cancelled(futures[i]))
            chaos_complain(actor->round, "cancel said true of a future that is not cancelled");
        mp_future_free(&futures[i]);
    }
}

void *chaos_futures(void *argument)
{
    chaos_actor *me = argument;
    chaos_round *round = me->round;
    mp_executor *executor = NULL;
    chaos_deal deal;
    mp_status status = MP_OK;
    while (!executor && !round->stop) {
        status = mp_executor_over(&executor, round->pool);
        if (status && status != MP_ECLOSED && status != MP_EBROKEN && status != MP_ENOMEM && status != MP_ETERMINATED)
            chaos_complain(round, "no executor: %s", mp_status_name(status));
    }
    while (executor && make_deal(me, &deal, BATCH, true)) {
        use_futures(me, executor, &deal);
        end_deal(&deal);
    }
    mp_executor_free(&executor);
    return gone(me);
}
