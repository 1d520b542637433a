/* Items that fail until a certain attempt, in one of the manners of stuck.h; and who began what, in which order. */
#ifndef TESTS_LIB_TRIES_H
#define TESTS_LIB_TRIES_H
#include "tests/lib/stuck.h"

/* Each begin of an item: which one, by whom, which attempt, when. Outside of the board's counters, for tests that look at order. */
enum { LOG = 14, LOGGED = 4000 /* the board's words that life_items are counted by */ };

/* An item that behaves in `manner` until its attempt `good`. */
#define UNTIL_ATTEMPT(good, manner, number) (AS(manner, number) + (good)*1000)

static inline void write_down(int number, mp_call *call)
{
    int at = the_board()->word[LOG]++;
    if (at < LOGGED) {
        the_board()->life_items[3 * at] = (uint16_t)number;
        the_board()->life_items[3 * at + 1] = (uint16_t)mp_call_attempt(call);
        the_board()->life_items[3 * at + 2] = (uint16_t)(getpid() % 65536);
    }
}
static inline int logged(int at, int what)
{
    return the_board()->life_items[3 * at + what];
}
enum { NUMBER, ATTEMPT, PROCESS };

/* Its result is the attempt that succeeded, and 10 times its number. */
static mp_status try(const int *in, int *out, mp_call *call)
{
    int number = *in % 1000, good = *in % NUMBERS / 1000;
    the_board()->times[number]++;
    the_board()->begun++;
    write_down(number, call);
    *out = 10 * number + (int)mp_call_attempt(call);
    if ((int)mp_call_attempt(call) >= good)
        return MP_OK;
    return behave_so((manner)(*in / NUMBERS), number, &(int){0}, call);
}
MP_TASK(try, int, int);

#define TRY(pool, ...)                                                                                                     \
    (t.status = mp_pool_map(pool, try, t.items, (size_t)t.n, t.results, .statuses = t.statuses, .errors = t.errors,        \
                            .error = &t.error, __VA_ARGS__))

#define NEVER 90 /* attempts: it never succeeds */

static inline void expect_tried(int i, int attempts, mp_status status)
{
    cr_assert(eq(int, the_board()->times[i], attempts), "item %d", i);
    cr_assert(eq(int, t.statuses[i], status), "item %d: %s", i, t.errors[i].message);
    cr_assert(eq(int, t.results[i], status ? 0 : 10 * i + attempts), "item %d", i);
    cr_assert(eq(int, t.errors[i].attempt, status ? attempts : 0), "item %d", i);
}

#endif
