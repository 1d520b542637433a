/* as_completed: each future once, in the order in which they are done, at a cost that does not grow with their number; its deadline
 * and its descriptor. */
#include "tests/lib/futures.h"
#include <poll.h>
#include <pthread.h>

TestSuite(each, .timeout = 60);
TestSuite(own, .timeout = 60);
TestSuite(fd, .timeout = 60);
TestSuite(many, .timeout = 120);

enum { N = 30 };

static void new_futures(mp_future **futures, int n)
{
    for (int i = 0; i < n; i++)
        futures[i] = mp_future_new(int);
}

static void finish(mp_future *future)
{
    cr_assert(eq(int, mp_future_set_result(future, &(int){1}), MP_OK));
}

#define EXPECT_NEXT(each, wanted)                                                                                          \
    do {                                                                                                                   \
        mp_future *expect_next = NULL;                                                                                     \
        cr_assert(eq(int, mp_as_completed_next(each, &expect_next), MP_OK));                                               \
        cr_assert(eq(ptr, expect_next, wanted));                                                                           \
        cr_assert(mp_future_done(expect_next));                                                                            \
    } while (0)
#define EXPECT_NONE(each, why)                                                                                             \
    do {                                                                                                                   \
        mp_future *expect_none = NULL;                                                                                     \
        cr_assert(eq(int, mp_as_completed_next(each, &expect_none), why));                                                 \
    } while (0)

/* ---- every kind ---- */

EACH_KIND(each, comes_as_it_is_done)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 3);
    mp_future *futures[3] = {SUBMIT(executor, latch, 2), SUBMIT(executor, latch, 0), SUBMIT(executor, latch, 1)};
    mp_as_completed *each = mp_as_completed_new(futures, 3, PROMPT);
    LET_GO(1);
    EXPECT_NEXT(each, futures[1]);
    LET_GO(2);
    EXPECT_NEXT(each, futures[2]);
    LET_GO(3);
    EXPECT_NEXT(each, futures[0]);
    EXPECT_NONE(each, MP_END);
    EXPECT_NONE(each, MP_END);
    mp_as_completed_free(&each);
    cr_assert(zero(ptr, each));
    mp_executor_free(&executor);
    free_futures(futures, 3);
}

EVERY_KIND(each, of_every_outcome__comes_once)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[N], *one = NULL;
    int value, seen[N] = {0};
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, mark, i % 3 ? i : -i - 1);
    for (int i = 0; i < N; i += 5)
        (void)mp_future_cancel(futures[i]);
    mp_as_completed *each = mp_as_completed_new(futures, N, PROMPT);
    for (int n = 0; n < N; n++) {
        cr_assert(eq(int, mp_as_completed_next(each, &one), MP_OK));
        int i = 0;
        while (i < N && futures[i] != one)
            i++;
        cr_assert(lt(int, i, N));
        seen[i]++;
        mp_status status = mp_future_result(one, &value, 0);
        if (!mp_future_cancelled(one))
            cr_assert(eq(int, status, i % 3 ? MP_OK : MP_EUSER + i + 1));
    }
    EXPECT_NONE(each, MP_END);
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, seen[i], 1));
    mp_as_completed_free(&each);
    mp_executor_free(&executor);
    free_futures(futures, N);
}

/* gh-87893: Python waits for ever. */
EACH_KIND(each, that_is_cancelled__comes_at_once)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[4];
    for (int i = 0; i < 4; i++)
        futures[i] = SUBMIT(executor, latch, i);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(mp_future_cancel(futures[3]));
    mp_as_completed *each = mp_as_completed_new(futures, 4, PROMPT);
    EXPECT_NEXT(each, futures[3]);
    cr_assert(mp_future_cancel(futures[1]));
    EXPECT_NEXT(each, futures[1]);
    cr_assert(eq(int, mp_executor_shutdown(executor, false, true), MP_OK));
    EXPECT_NEXT(each, futures[2]);
    LET_ALL_GO();
    EXPECT_NEXT(each, futures[0]);
    EXPECT_NONE(each, MP_END);
    mp_as_completed_free(&each);
    mp_executor_free(&executor);
    free_futures(futures, 4);
}

EACH_KIND(each, of_two_executors_and_ones_own__comes_as_it_is_done)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1), *threads = NULL;
    cr_assert(eq(int, mp_executor_open(&threads, .kind = MP_THREADS, .max_workers = 1), MP_OK));
    mp_future *futures[3] = {SUBMIT(executor, latch, 0), SUBMIT(threads, latch, 1), mp_future_new(int)};
    mp_as_completed *each = mp_as_completed_new(futures, 3, PROMPT);
    finish(futures[2]);
    EXPECT_NEXT(each, futures[2]);
    LET_GO(1);
    EXPECT_NEXT(each, futures[0]);
    LET_GO(2);
    EXPECT_NEXT(each, futures[1]);
    EXPECT_NONE(each, MP_END);
    mp_as_completed_free(&each);
    mp_executor_free(&executor);
    mp_executor_free(&threads);
    free_futures(futures, 3);
}

EACH_KIND(each, left_early__leaves_the_rest_alone)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[N];
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, latch, i);
    mp_as_completed *each = mp_as_completed_new(futures, N, PROMPT), *other = mp_as_completed_new(futures, N, PROMPT);
    LET_GO(1);
    EXPECT_NEXT(each, futures[0]);
    mp_as_completed_free(&each);
    LET_ALL_GO();
    for (int i = 0; i < N; i++)
        EXPECT_NEXT(other, futures[i]);
    mp_as_completed_free(&other);
    mp_executor_free(&executor);
    free_futures(futures, N);
}

/* ---- futures of one's own ---- */

CHECK(own, none__is_at_its_end)
{
    mp_future *nothing[1] = {NULL};
    mp_as_completed *each = mp_as_completed_new(nothing, 0, MP_FOREVER);
    EXPECT_NONE(each, MP_END);
    mp_as_completed_free(&each);
    each = mp_as_completed_new(NULL, 0, 0);
    EXPECT_NONE(each, MP_END);
    mp_as_completed_free(&each);
    mp_as_completed_free(&each);
    mp_as_completed_free(NULL);
    EXPECT_NONE(each, MP_EINVAL);
    cr_assert(eq(int, mp_as_completed_fd(each), -1));
}

CHECK(own, null_among_them__is_told_by_next)
{
    mp_future *futures[3];
    new_futures(futures, 2);
    futures[2] = NULL;
    finish(futures[0]);
    mp_as_completed *each = mp_as_completed_new(futures, 3, MP_FOREVER);
    cr_assert(ne(ptr, each, NULL));
    EXPECT_NONE(each, MP_EINVAL);
    mp_as_completed_free(&each);
    each = mp_as_completed_new(NULL, 3, MP_FOREVER);
    EXPECT_NONE(each, MP_EINVAL);
    mp_as_completed_free(&each);
    free_futures(futures, 2);
}

CHECK(own, the_same_several_times__comes_once)
{
    mp_future *one[3], *futures[9];
    new_futures(one, 3);
    for (int i = 0; i < 9; i++)
        futures[i] = one[i % 3];
    finish(one[2]);
    mp_as_completed *each = mp_as_completed_new(futures, 9, PROMPT);
    EXPECT_NEXT(each, one[2]);
    finish(one[0]);
    EXPECT_NEXT(each, one[0]);
    finish(one[1]);
    EXPECT_NEXT(each, one[1]);
    EXPECT_NONE(each, MP_END);
    mp_as_completed_free(&each);
    free_futures(one, 3);
}

CHECK(own, done_already__come_first)
{
    mp_future *futures[4];
    new_futures(futures, 4);
    finish(futures[3]);
    cr_assert(mp_future_cancel(futures[1]));
    mp_as_completed *each = mp_as_completed_new(futures, 4, PROMPT);
    finish(futures[0]);
    for (int i = 0; i < 2; i++) {
        mp_future *one = NULL;
        cr_assert(eq(int, mp_as_completed_next(each, &one), MP_OK));
        cr_assert(one == futures[1] || one == futures[3]);
    }
    EXPECT_NEXT(each, futures[0]);
    mp_as_completed_free(&each);
    free_futures(futures, 4);
}

CHECK(own, deadline__is_told_when_there_is_nothing_to_give)
{
    mp_future *futures[3];
    new_futures(futures, 3);
    finish(futures[1]);
    mp_as_completed *each = mp_as_completed_new(futures, 3, 0.02);
    EXPECT_NEXT(each, futures[1]);
    EXPECT_NONE(each, MP_ETIMEDOUT);
    EXPECT_NONE(each, MP_ETIMEDOUT);
    finish(futures[0]);
    EXPECT_NEXT(each, futures[0]);
    EXPECT_NONE(each, MP_ETIMEDOUT);
    finish(futures[2]);
    EXPECT_NEXT(each, futures[2]);
    EXPECT_NONE(each, MP_END);
    mp_as_completed_free(&each);
    free_futures(futures, 3);
}

CHECK(own, deadline_of_zero__gives_what_is_done)
{
    mp_future *futures[2];
    new_futures(futures, 2);
    finish(futures[1]);
    mp_as_completed *each = mp_as_completed_new(futures, 2, 0);
    EXPECT_NEXT(each, futures[1]);
    EXPECT_NONE(each, MP_ETIMEDOUT);
    mp_as_completed_free(&each);
    free_futures(futures, 2);
}

/* Python's clock begins with the first next. One try of ten must not be held up for as long again. */
CHECK(own, deadline__counts_from_the_call)
{
    mp_future *future = mp_future_new(int);
    bool prompt = false;
    for (int i = 0; i < 10 && !prompt; i++) {
        double start = seconds_now();
        mp_as_completed *each = mp_as_completed_new(&future, 1, 0.2);
        nap_us(200000);
        EXPECT_NONE(each, MP_ETIMEDOUT);
        prompt = seconds_now() - start < 0.39;
        mp_as_completed_free(&each);
    }
    cr_assert(prompt);
    mp_future_free(&future);
}

CHECK(own, array__is_borrowed_for_the_call_only)
{
    mp_future *futures[2], *kept[2];
    new_futures(futures, 2);
    for (int i = 0; i < 2; i++)
        kept[i] = mp_future_ref(futures[i]);
    mp_as_completed *each = mp_as_completed_new(futures, 2, PROMPT);
    free_futures(futures, 2);
    spoil(futures, sizeof futures);
    finish(kept[1]);
    EXPECT_NEXT(each, kept[1]);
    finish(kept[0]);
    free_futures(kept, 2);
    mp_future *one = NULL;
    cr_assert(eq(int, mp_as_completed_next(each, &one), MP_OK));
    cr_assert(mp_future_done(one), "it is held");
    mp_as_completed_free(&each);
}

/* ---- the descriptor ---- */

static bool is_readable(const mp_as_completed *each, int milliseconds)
{
    struct pollfd look = {.fd = mp_as_completed_fd((mp_as_completed *)(uintptr_t)each), .events = POLLIN};
    return poll(&look, 1, milliseconds) == 1 && (look.revents & POLLIN);
}

EACH_KIND(fd, polls_readable__while_one_can_be_had)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[2] = {SUBMIT(executor, latch, 0), SUBMIT(executor, latch, 1)};
    mp_as_completed *each = mp_as_completed_new(futures, 2, PROMPT);
    int fd = mp_as_completed_fd(each);
    cr_assert(ge(int, fd, 0));
    cr_assert(not(is_readable(each, 20)));
    LET_GO(1);
    cr_assert(is_readable(each, PROMPT * 1000));
    EXPECT_NEXT(each, futures[0]);
    cr_assert(not(is_readable(each, 20)));
    LET_GO(2);
    cr_assert(is_readable(each, PROMPT * 1000));
    EXPECT_NEXT(each, futures[1]);
    cr_assert(is_readable(each, 0), "next does not wait at the end");
    EXPECT_NONE(each, MP_END);
    cr_assert(is_readable(each, 0));
    cr_assert(eq(int, mp_as_completed_fd(each), fd));
    mp_as_completed_free(&each);
    mp_executor_free(&executor);
    free_futures(futures, 2);
}

CHECK(fd, asked_for_late__is_what_it_would_be)
{
    mp_future *futures[3];
    new_futures(futures, 3);
    finish(futures[0]);
    cr_assert(mp_future_cancel(futures[2]));
    mp_as_completed *each = mp_as_completed_new(futures, 3, PROMPT);
    mp_future *one = NULL;
    cr_assert(is_readable(each, 0));
    cr_assert(eq(int, mp_as_completed_next(each, &one), MP_OK));
    cr_assert(is_readable(each, 0));
    cr_assert(eq(int, mp_as_completed_next(each, &one), MP_OK));
    cr_assert(not(is_readable(each, 0)));
    finish(futures[1]);
    cr_assert(is_readable(each, 0));
    mp_as_completed_free(&each);
    each = mp_as_completed_new(NULL, 0, PROMPT);
    cr_assert(is_readable(each, 0));
    mp_as_completed_free(&each);
    free_futures(futures, 3);
}

/* ---- very many ---- */

typedef struct batch {
    mp_future **futures;
    int n;
} batch;

/* In an order of its own: every 7919th of them. */
static int order_of(int i, int n)
{
    return (int)((long)i * 7919 % n);
}

static void *finish_all(void *argument)
{
    const batch *all = argument;
    for (int i = 0; i < all->n; i++)
        if (i % 3)
            (void)mp_future_set_result(all->futures[order_of(i, all->n)], &(int){i});
        else
            (void)mp_future_cancel(all->futures[order_of(i, all->n)]);
    return NULL;
}

/* A completion that cost as much as there are futures would take longer than this test may: 10^10 steps. */
CHECK(many, futures__each_comes_once_in_the_order_they_are_done)
{
    batch all = {.n = ROUNDS(100000)};
    pthread_t thread;
    all.futures = calloc((size_t)all.n, sizeof(mp_future *));
    new_futures(all.futures, all.n);
    mp_as_completed *each = mp_as_completed_new(all.futures, (size_t)all.n, 3 * PROMPT);
    cr_assert(zero(int, pthread_create(&thread, NULL, finish_all, &all)));
    for (int i = 0; i < all.n; i++)
        EXPECT_NEXT(each, all.futures[order_of(i, all.n)]);
    EXPECT_NONE(each, MP_END);
    pthread_join(thread, NULL);
    mp_as_completed_free(&each);
    free_futures(all.futures, (size_t)all.n);
    free(all.futures);
}

EVERY_KIND(many, submitted__each_comes_once)
{
    enum { MANY = 100000 };
    int n = ROUNDS(MANY);
    long long sum = 0;
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future **futures = calloc(MANY, sizeof *futures), *one = NULL;
    for (int i = 0; i < n; i++)
        futures[i] = SUBMIT(executor, mark, i);
    mp_as_completed *each = mp_as_completed_new(futures, (size_t)n, 3 * PROMPT);
    free_futures(futures, (size_t)n);
    for (int i = 0; i < n; i++) {
        int got = 0;
        cr_assert(eq(int, mp_as_completed_next(each, &one), MP_OK));
        cr_assert(eq(int, mp_future_result(one, &got, 0), MP_OK));
        sum += got;
    }
    EXPECT_NONE(each, MP_END);
    cr_assert(eq(llong, sum, (long long)n * (n + 1) / 2));
    cr_assert(eq(sz, board_find_other((size_t)n, 1), (size_t)n));
    mp_as_completed_free(&each);
    mp_executor_free(&executor);
    free(futures);
}
