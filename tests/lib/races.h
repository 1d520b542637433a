/* Races over futures: each says first what must hold whatever happens. A short run of each is an integration test, a long one is
 * stress. */
#ifndef TESTS_LIB_RACES_H
#define TESTS_LIB_RACES_H
#include "tests/lib/futures.h"
#include <pthread.h>
#include <sched.h>

enum { BATCH = 32, SUBMITTERS = 3, EACH_SUBMITS = 60 };

/* ---- cancel against start ---- */

/* As mark, but busy for a while: up to 35 us, by its input. So others are sure to come upon it while it runs. */
static mp_status linger(const int *in, int *out, mp_call *call)
{
    mp_status status = mark(in, out, call);
    double end = seconds_now() + *in % 8 * 5e-6;
    while (seconds_now() < end)
        ;
    return status;
}
MP_TASK(linger, int, int);

typedef struct cancel_race {
    pthread_barrier_t start, end;
    mp_future *held[2], *futures[BATCH];
    bool cancelled[BATCH]; /* what cancel said */
    int rounds, begun;     /* how many items had begun before those of the batch */
} cancel_race;

/* Lets the workers go, and when they are at it follows or meets them. */
static inline void *cancel_in_rounds(void *argument)
{
    cancel_race *me = argument;
    for (int round = 0; round < me->rounds; round++) {
        pthread_barrier_wait(&me->start);
        LET_GO(0);
        while (round % 4 && the_board()->begun == me->begun)
            sched_yield();
        for (int i = 0; i < BATCH; i++) {
            int at = round % 2 ? BATCH - 1 - i : i;
            me->cancelled[at] = mp_future_cancel(me->futures[at]);
        }
        pthread_barrier_wait(&me->end);
    }
    return NULL;
}

/* How many of the batch are not as they must be. */
static inline int cancel_race_judge(cancel_race *me, int first, heard *ears, bool *ran)
{
    int wrong = 0;
    for (int i = 0; i < BATCH; i++) {
        int got = 0;
        mp_status status = mp_future_result(me->futures[i], &got, PROMPT);
        bool cancelled = mp_future_cancelled(me->futures[i]);
        wrong += me->cancelled[i] != cancelled || status != (cancelled ? MP_ECANCELLED : MP_OK);
        wrong += !cancelled && got != first + i + 1;
        wrong += !SOON(ears[i].times == 1) || ears[i].not_done;
        ran[i] = !cancelled;
        mp_future_free(&me->futures[i]);
    }
    return wrong;
}

/* A batch behind latches that hold all workers. */
static inline void cancel_race_submit(cancel_race *me, mp_executor *executor, int workers, int first, heard *ears)
{
    int before = the_board()->begun;
    LET_GO(-5);
    for (int i = 0; i < workers; i++)
        me->held[i] = SUBMIT(executor, latch, -1);
    cr_assert(SOON(the_board()->begun == before + workers));
    me->begun = before + workers;
    memset((void *)ears, 0, BATCH * sizeof *ears);
    for (int i = 0; i < BATCH; i++) {
        me->futures[i] = SUBMIT(executor, linger, first + i);
        (void)mp_future_add_done_callback(me->futures[i], hear, &ears[i]);
    }
}

/* One for which cancel said true is cancelled, and its task never runs. One for which it said false has its result, and its task
 * ran once. Its callback is called once. */
static inline void race_cancel(int workers, int items)
{
    static bool ran[BOARD_ITEMS];
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = workers);
    cancel_race me = {.rounds = items / BATCH};
    pthread_t thread;
    heard ears[BATCH];
    int n = me.rounds * BATCH, all = 0;
    pthread_barrier_init(&me.start, NULL, 2);
    pthread_barrier_init(&me.end, NULL, 2);
    cr_assert(zero(int, pthread_create(&thread, NULL, cancel_in_rounds, &me)));
    for (int first = 0; first < n; first += BATCH) {
        cancel_race_submit(&me, executor, workers, first, ears);
        pthread_barrier_wait(&me.start);
        pthread_barrier_wait(&me.end);
        for (int i = 0; i < workers; i++)
            EXPECT_RESULT(me.held[i], 0);
        free_futures(me.held, (size_t)workers);
        cr_assert(zero(int, cancel_race_judge(&me, first, ears, ran + first)), "in round %d", first / BATCH);
    }
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&me.start);
    pthread_barrier_destroy(&me.end);
    mp_executor_free(&executor);
    for (int i = 0; i < n; all += ran[i++])
        cr_assert(eq(int, the_board()->times[i], ran[i]), "so often ran item %d", i);
    cr_assert(all > 0 && all < n, "%d of %d ran: that was no race", all, n);
}

/* ---- cancel against set_running, of one's own ---- */

typedef struct own_race {
    pthread_barrier_t start, end;
    mp_future *future;
    bool cancelled;
    int rounds;
} own_race;

static inline void *cancel_own(void *argument)
{
    own_race *me = argument;
    for (int round = 0; round < me->rounds; round++) {
        pthread_barrier_wait(&me->start);
        me->cancelled = mp_future_cancel(me->future);
        pthread_barrier_wait(&me->end);
    }
    return NULL;
}

/* Exactly one of the two has its way. */
static inline void race_own(int rounds)
{
    own_race me = {.rounds = rounds};
    pthread_t thread;
    pthread_barrier_init(&me.start, NULL, 2);
    pthread_barrier_init(&me.end, NULL, 2);
    cr_assert(zero(int, pthread_create(&thread, NULL, cancel_own, &me)));
    for (int round = 0; round < rounds; round++) {
        heard ear = {0};
        me.future = mp_future_new(int);
        cr_assert(eq(int, mp_future_add_done_callback(me.future, hear, &ear), MP_OK));
        pthread_barrier_wait(&me.start);
        bool runs = mp_future_set_running_or_notify_cancel(me.future);
        mp_status set = runs ? mp_future_set_result(me.future, &round) : MP_EDONE;
        pthread_barrier_wait(&me.end);
        cr_assert(ne(int, runs, me.cancelled));
        cr_assert(eq(int, set, runs ? MP_OK : MP_EDONE));
        cr_assert(eq(int, mp_future_cancelled(me.future), me.cancelled));
        cr_assert(eq(int, ear.times, 1));
        mp_future_free(&me.future);
    }
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&me.start);
    pthread_barrier_destroy(&me.end);
}

/* ---- shutdown against all that can go on ---- */

typedef struct submitting {
    pthread_t thread;
    mp_executor *executor;
    mp_future *futures[EACH_SUBMITS];
    heard ears[EACH_SUBMITS];
    bool said[EACH_SUBMITS]; /* that it is cancelled */
    int first;
} submitting;

/* Every 13th crashes, where that is a worker's own affair. */
static inline bool is_deadly(int item)
{
    return !on_threads() && item % 13 == 12;
}

static inline void *submit_and_cancel(void *argument)
{
    submitting *me = argument;
    for (int i = 0; i < EACH_SUBMITS; i++) {
        int item = me->first + i;
        me->futures[i] = is_deadly(item) ? SUBMIT(me->executor, die, 0) : SUBMIT(me->executor, mark, item);
        (void)mp_future_add_done_callback(me->futures[i], hear, &me->ears[i]);
        if (i % 3 == 2)
            me->said[i - 1] = mp_future_cancel(me->futures[i - 1]);
    }
    return NULL;
}

static inline bool is_possible(mp_status status, int item, bool forced)
{
    switch ((int)status) {
    case MP_OK: return !is_deadly(item);
    case MP_ECRASHED: return is_deadly(item);
    case MP_ETERMINATED: return forced;
    default: return status == MP_ECLOSED || status == MP_ECANCELLED;
    }
}

/* Its end is one that can be, and what ran is what says so. */
static inline void judge_submitter(submitting *me, bool forced)
{
    for (int i = 0; i < EACH_SUBMITS; i++) {
        int item = me->first + i, times = the_board()->times[item];
        mp_status status = mp_future_result(me->futures[i], NULL, 0);
        cr_assert(is_possible(status, item, forced), "item %d: %s", item, mp_status_name(status));
        cr_assert(eq(int, mp_future_cancelled(me->futures[i]), status == MP_ECANCELLED));
        cr_assert(status == MP_ECANCELLED || !me->said[i], "cancel said true of one that is %s", mp_status_name(status));
        cr_assert(eq(int, me->ears[i].times, 1), "item %d, %s", item, mp_status_name(status));
        if (status == MP_OK || status == MP_ECANCELLED || status == MP_ECLOSED)
            cr_assert(eq(int, times, status == MP_OK), "item %d, %s", item, mp_status_name(status));
        cr_assert(le(int, times, 1), "item %d, %s", item, mp_status_name(status));
        mp_future_free(&me->futures[i]);
    }
}

static inline bool shut_down_somehow(mp_executor *executor, int manner)
{
    if (manner >= 4)
        return (manner == 4 ? mp_executor_terminate_workers : mp_executor_kill_workers)(executor) == MP_OK;
    return mp_executor_shutdown(executor, manner & 1, manner & 2) == MP_OK;
}

/* An executor that is shut down, in one of six manners, while threads submit, cancel and listen, and workers crash. Every future
 * ends, once, with a status that can be, and calls its callback once. */
static inline void race_shutdown(int round)
{
    submitting *all = calloc(SUBMITTERS, sizeof *all);
    int manner = round % 6;
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2, .max_queue = round % 4 == 3 ? 5 : 0);
    board_clear(SUBMITTERS * EACH_SUBMITS);
    for (int i = 0; i < SUBMITTERS; i++) {
        all[i].executor = executor;
        all[i].first = i * EACH_SUBMITS;
        cr_assert(zero(int, pthread_create(&all[i].thread, NULL, submit_and_cancel, &all[i])));
    }
    cr_assert(SOON(the_board()->begun > round % 30));
    cr_assert(shut_down_somehow(executor, manner));
    for (int i = 0; i < SUBMITTERS; i++)
        pthread_join(all[i].thread, NULL);
    mp_executor_free(&executor);
    for (int i = 0; i < SUBMITTERS; i++)
        judge_submitter(&all[i], manner >= 4);
    free(all);
}

#endif
