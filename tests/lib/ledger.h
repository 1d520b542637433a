/* Memory that a test shares with the workers of the pools it opens: made before them, inherited by fork, and found by programs
 * that are executed again through an environment variable. In it tasks write down how often each item began and ended, and who
 * runs it: the truth that a map's results are compared with. */
#ifndef TESTS_LIB_LEDGER_H
#define TESTS_LIB_LEDGER_H
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static inline void *shared_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

typedef struct ledger_line {
    _Atomic int pid; /* who ran it last */
    _Atomic uint8_t begun, ended;
} ledger_line;

enum { LEDGER_WORKERS = 256 };

/* One is enough for a test program: tasks find it by its name. */
typedef struct ledger {
    size_t size; /* of the mapping */
    int fd;      /* the opener's */
    size_t items;
    _Atomic int pids[LEDGER_WORKERS]; /* of the worker with this index, when it last began an item */
    _Atomic int begun, ended;         /* all items together */
    _Atomic int gate;                 /* for tasks that wait to be let go */
    _Atomic int word[8];              /* for whatever else a test wants to know */
    ledger_line lines[];
} ledger;

static ledger *tally;

#define LEDGER_VARIABLE "TESTS_LEDGER" /* "/proc/PID/fd/N SIZE" */

static inline bool ledger_map(int fd, size_t size)
{
    void *memory = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    tally = memory == MAP_FAILED ? NULL : memory;
    return tally;
}

/* False: no memory. */
static inline bool ledger_open(size_t items)
{
    char variable[64];
    size_t size = sizeof(ledger) + items * sizeof(ledger_line);
    int fd = memfd_create("ledger", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0 || !ledger_map(fd, size))
        return false;
    tally->size = size;
    tally->items = items;
    tally->fd = fd;
    snprintf(variable, sizeof variable, "/proc/%d/fd/%d %zu", (int)getpid(), fd, size);
    return setenv(LEDGER_VARIABLE, variable, 1) == 0;
}

static inline void ledger_close(void)
{
    unsetenv(LEDGER_VARIABLE);
    close(tally->fd);
    munmap(tally, tally->size);
    tally = NULL;
}

/* In a program that was executed by one that has a ledger. After tasks, before respawn.c. */
__attribute__((constructor(102))) static void ledger_inherit(void)
{
    char path[64];
    size_t size;
    const char *variable = getenv(LEDGER_VARIABLE);
    if (!variable || sscanf(variable, "%63s %zu", path, &size) != 2)
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (ledger_map(fd, size))
        close(fd);
}

/* Between rounds; nothing may be running. */
static inline void ledger_clear(void)
{
    memset((void *)tally->lines, 0, tally->items * sizeof(ledger_line));
    tally->begun = tally->ended = 0;
}

static inline void ledger_begin(size_t item, int worker)
{
    if (worker >= 0 && worker < LEDGER_WORKERS)
        atomic_store_explicit(&tally->pids[worker], (int)getpid(), memory_order_relaxed);
    atomic_store_explicit(&tally->lines[item].pid, (int)getpid(), memory_order_relaxed);
    atomic_fetch_add_explicit(&tally->lines[item].begun, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&tally->begun, 1, memory_order_relaxed);
}

static inline void ledger_end(size_t item)
{
    atomic_fetch_add_explicit(&tally->lines[item].ended, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&tally->ended, 1, memory_order_relaxed);
}

/* The first item that did not begin and end so many times, or `items`. */
static inline size_t ledger_find_other(unsigned begun, unsigned ended)
{
    for (size_t i = 0; i < tally->items; i++)
        if (tally->lines[i].begun != begun || tally->lines[i].ended != ended)
            return i;
    return tally->items;
}

#endif
