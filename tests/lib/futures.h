/* Executors and futures in tests: one body over every kind (kinds.h), and tasks that know their item by their input, for what is
 * submitted has the index 0. A latch holds its task until the test lets it go: LET_GO(3) those whose input is below 3. */
#ifndef TESTS_LIB_FUTURES_H
#define TESTS_LIB_FUTURES_H
#include "tests/lib/kinds.h"
#include <limits.h>
#include <signal.h>
#include <string.h>

enum { LET = 15 /* the board's word that latches look at; tests have the others */ };
#define LET_GO(n) ((void)(the_board()->word[LET] = (n)))
#define LET_ALL_GO() LET_GO(INT_MAX)

static inline void item_begin(int item)
{
    if (item >= 0)
        the_board()->times[item % BOARD_ITEMS]++;
    the_board()->begun++;
}

/* One more; a negative input fails, with a status and a text that tell it. */
static mp_status mark(const int *in, int *out, mp_call *call)
{
    item_begin(*in);
    if (*in < 0)
        return mp_fail(call, (mp_status)(MP_EUSER - *in), "minus %d", -*in);
    *out = *in + 1;
    the_board()->ended++;
    return MP_OK;
}
MP_TASK(mark, int, int);

/* The same when it is let go. */
static mp_status latch(const int *in, int *out, mp_call *call)
{
    (void)call;
    item_begin(*in);
    while (the_board()->word[LET] <= *in)
        nap_us(200);
    *out = *in + 1;
    the_board()->ended++;
    return MP_OK;
}
MP_TASK(latch, int, int);

/* 0: killed; 1 and more: exits with that code; less: passes, one more. */
static mp_status die(const int *in, int *out, mp_call *call)
{
    (void)call;
    if (*in == 0)
        kill(getpid(), SIGKILL);
    if (*in > 0)
        _exit(*in);
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(die, int, int);

/* "and so on" behind the text. */
static mp_status append(const mp_str *in, mp_str *out, mp_call *call)
{
    char *text = mp_call_alloc(call, in->size + 9);
    if (!text)
        return MP_ENOMEM;
    memcpy(text, in->data, in->size);
    memcpy(text + in->size, "and so on", 9);
    *out = (mp_str){text, in->size + 9};
    return MP_OK;
}
MP_TASK(append, mp_str, mp_str);

static mp_status text_size(const mp_str *in, int *out, mp_call *call)
{
    (void)call;
    *out = (int)in->size;
    return MP_OK;
}
MP_TASK(text_size, mp_str, int);

static inline bool is_str(const mp_str *text, const char *wanted)
{
    return text->size == strlen(wanted) && !memcmp(text->data, wanted, text->size);
}

/* An executor of this kind; the test fails if there is none to be had. */
#define OPEN_EXECUTOR(...)                                                                                                 \
    __extension__({                                                                                                        \
        mp_executor *opened_executor = NULL;                                                                               \
        mp_error opened_error;                                                                                             \
        mp_status opened = mp_executor_open(&opened_executor, OPTIONS, .error = &opened_error, __VA_ARGS__);               \
        cr_assert(eq(int, opened, MP_OK), "%s", opened_error.message);                                                     \
        opened_executor;                                                                                                   \
    })

#define OVER_POOL(pool, ...)                                                                                               \
    __extension__({                                                                                                        \
        mp_executor *opened_executor = NULL;                                                                               \
        cr_assert(eq(int, mp_executor_over(&opened_executor, pool, __VA_ARGS__), MP_OK));                                  \
        opened_executor;                                                                                                   \
    })

#define SUBMIT(executor, task, number) mp_submit(executor, task, (&(int){number}))

/* Waits for it. */
#define EXPECT_RESULT(future, value)                                                                                       \
    do {                                                                                                                   \
        int expect_got = -77;                                                                                              \
        mp_status expect_status = mp_future_result(future, &expect_got, PROMPT);                                           \
        cr_assert(eq(int, expect_status, MP_OK), "%s", mp_future_exception(future, 0)->message);                           \
        cr_assert(eq(int, expect_got, value));                                                                             \
    } while (0)
#define EXPECT_STATUS(future, wanted)                                                                                      \
    cr_assert(eq(int, mp_future_result(future, NULL, PROMPT), wanted), "%s", mp_future_exception(future, 0)->message)

/* Done already, which nobody waits for. */
#define EXPECT_REFUSED(future, wanted)                                                                                     \
    do {                                                                                                                   \
        mp_future *refused_future = (future);                                                                              \
        cr_assert(ne(ptr, refused_future, NULL));                                                                          \
        cr_assert(mp_future_done(refused_future));                                                                         \
        cr_assert(not(mp_future_cancelled(refused_future)));                                                               \
        cr_assert(not(mp_future_running(refused_future)));                                                                 \
        cr_assert(eq(int, mp_future_result(refused_future, NULL, 0), wanted));                                             \
        cr_assert(eq(int, mp_future_exception(refused_future, 0)->status, wanted));                                        \
        cr_assert(ne(chr, mp_future_exception(refused_future, 0)->message[0], 0));                                         \
        mp_future_free(&refused_future);                                                                                   \
    } while (0)

static inline void free_futures(mp_future **futures, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mp_future_free(&futures[i]);
}

static inline mp_error error_of(mp_status status, const char *message)
{
    mp_error error = {0};
    mp_error_set(&error, status, "%s", message);
    return error;
}

/* What callbacks of one future write down. */
typedef struct heard {
    _Atomic int times, thread, process;
    _Atomic int not_done; /* was not done when it was called */
    _Atomic int order;    /* as the how manyth of all it was called, from 1 */
    _Atomic uintptr_t future;
} heard;

static _Atomic int heard_all;

static inline void hear(mp_future *future, void *user)
{
    heard *me = user;
    me->thread = (int)gettid();
    me->process = (int)getpid();
    me->future = (uintptr_t)future;
    me->not_done += !mp_future_done(future);
    me->order = ++heard_all;
    me->times++;
}

#endif
