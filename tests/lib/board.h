/* Memory that a test shares with the workers of its pools, of whatever kind they are: also with those that are executed afresh
 * and inherit nothing but the environment, where its name stands. On it tasks write down what they do and wait to be let go.
 * And the tasks that many tests use. */
#ifndef TESTS_LIB_BOARD_H
#define TESTS_LIB_BOARD_H
#include "tests/lib/until.h"
#include <fcntl.h>
#include <millpond.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BOARD_ITEMS = 1 << 18, PROMPT = 20 /* seconds: far beyond what anything takes that is not stuck */ };

typedef struct board {
    _Atomic int gate;                   /* tasks that wait for it go on when it is not zero */
    _Atomic int begun, ended;           /* items, all together */
    _Atomic int lives;                  /* initializers that ran, or began to */
    _Atomic int ends;                   /* finalizers that ran */
    _Atomic int word[16];               /* for whatever else a test wants to know */
    _Atomic uint8_t times[BOARD_ITEMS]; /* how often the item of this index began */
    _Atomic uint16_t life_items[BOARD_ITEMS];
} board;

static board *board_here;
static int board_fd = -1;

static inline board *board_map(int fd)
{
    void *memory = mmap(NULL, sizeof(board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        abort();
    return memory;
}

/* In the test, before any pool of it is opened. */
static inline void board_open(void)
{
    char name[64];
    board_fd = memfd_create("board", MFD_CLOEXEC);
    if (board_fd < 0 || ftruncate(board_fd, sizeof(board)) < 0)
        abort();
    board_here = board_map(board_fd);
    snprintf(name, sizeof name, "/proc/%d/fd/%d", (int)getpid(), board_fd);
    setenv("TEST_BOARD", name, 1);
}

static inline void board_close(void)
{
    munmap(board_here, sizeof(board));
    close(board_fd);
    board_here = NULL;
}

/* In the test and in tasks. */
static inline board *the_board(void)
{
    if (board_here)
        return board_here;
    const char *name = getenv("TEST_BOARD");
    int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        abort();
    board_here = board_map(fd);
    close(fd);
    return board_here;
}

/* Between rounds; nothing may be running. */
static inline void board_clear(size_t items)
{
    for (size_t i = 0; i < items; i++)
        board_here->times[i] = 0;
    board_here->begun = board_here->ended = 0;
}

/* The first of these items that did not begin exactly so many times, or `items`. */
static inline size_t board_find_other(size_t items, int times)
{
    size_t i = 0;
    while (i < items && board_here->times[i] == times)
        i++;
    return i;
}

#define SOON(condition) UNTIL(PROMPT, condition)

/* ---- tasks ---- */

static inline void board_begin(mp_call *call)
{
    the_board()->times[mp_call_item(call) % BOARD_ITEMS]++;
    the_board()->begun++;
}

static mp_status add_one(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(add_one, int, int);

/* The same, and writes itself down. */
static mp_status count_one(const int *in, int *out, mp_call *call)
{
    board_begin(call);
    *out = *in + 1;
    the_board()->ended++;
    return MP_OK;
}
MP_TASK(count_one, int, int);

/* Waits at the gate. */
static mp_status hold(const int *in, int *out, mp_call *call)
{
    board_begin(call);
    while (!the_board()->gate)
        nap_us(200);
    *out = *in + 1;
    the_board()->ended++;
    return MP_OK;
}
MP_TASK(hold, int, int);

/* Waits at the gate, or until nobody waits for its item any more: then its result is -1. */
static mp_status hold_or_see(const int *in, int *out, mp_call *call)
{
    board_begin(call);
    while (!the_board()->gate && !mp_call_cancelled(call))
        nap_us(200);
    *out = mp_call_cancelled(call) ? -1 : *in + 1;
    the_board()->ended++;
    return MP_OK;
}
MP_TASK(hold_or_see, int, int);

/* A negative item fails, with a status and a text that tell it. */
static mp_status fail_some(const int *in, int *out, mp_call *call)
{
    board_begin(call);
    if (*in < 0)
        return mp_fail(call, (mp_status)(MP_EUSER - *in), "minus %d", -*in);
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(fail_some, int, int);

/* Who runs it: a number that no other living worker has. */
static mp_status tell_worker(const int *in, int *out, mp_call *call)
{
    (void)in;
    board_begin(call);
    *out = (int)gettid();
    return MP_OK;
}
MP_TASK(tell_worker, int, int);

/* A text of so many bytes. */
static mp_status tell_text(const int *in, mp_str *out, mp_call *call)
{
    size_t size = (size_t)*in;
    char *text = mp_call_alloc(call, size + 1);
    if (!text)
        return MP_ENOMEM;
    for (size_t i = 0; i < size; i++)
        text[i] = (char)('a' + i % 26);
    *out = (mp_str){text, size};
    return MP_OK;
}
MP_TASK(tell_text, int, mp_str);

static inline bool is_text(const mp_str *text, size_t size)
{
    for (size_t i = 0; i < text->size; i++)
        if (text->data[i] != (char)('a' + i % 26))
            return false;
    return text->size == size;
}

#endif
