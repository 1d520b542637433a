/* Tasks that end their own worker, or damage it and go on; and maps over them, held against what the tasks wrote down.
 *
 * The oracle, for every map: an item with MP_OK ran exactly once, to its end, and its result is right; one that was to crash
 * began once, did not end, and its error says which signal or exit code ended which process; none began twice. */
#ifndef TESTS_FAULT_DEEDS_H
#define TESTS_FAULT_DEEDS_H
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/rounds.h"
#include "tests/lib/says.h"
#include <fcntl.h>
#include <millpond.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { N = 100, CHUNK = 20, PROMPT = 20 };

typedef enum deed {
    NONE,
    BY_SIGKILL,
    BY_SIGSEGV,
    BY_ABORT,
    BY_EXIT_3, /* _exit(3) */
    BY_EXIT_0, /* exit(0) */
    BY_STACK,  /* without end */
    BY_EXEC,   /* of another program, which succeeds */
    CRASHES,
    CLOSE_ALL = CRASHES, /* descriptors from 3 on */
    CLOSE_STANDARD,      /* descriptors 0 to 2, by fclose */
    GARBAGE,             /* tally->word[0] bytes of tally->word[1] into the pipe that results go into */
    STEAL,               /* at most tally->word[0] bytes from the pipe that items come out of */
    OVERWRITE,           /* memory that it shares with the program, with tally->word[1] */
    FORK_CHILD,          /* which leaves its worker's group, and stays */
    SCRIBBLE             /* over standard output */
} deed;

static int recurse(volatile int *from, int depth)
{
    volatile int frame[1024];
    if (depth < 0)
        return 0;
    frame[depth % 1024] = *from + depth;
    return recurse(frame, depth + 1) + frame[(depth + 1) % 1024];
}

static void crash(deed how)
{
    volatile int zero = 0;
    volatile char *page;
    switch (how) {
    case BY_SIGKILL: raise(SIGKILL); break;
    case BY_SIGSEGV:
        page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        *page = 1;
        break;
    case BY_ABORT: abort();
    case BY_EXIT_3: _exit(3);
    case BY_EXIT_0: exit(0);
    case BY_STACK: recurse(&zero, 0); break;
    case BY_EXEC: execl("/bin/true", "true", NULL); break;
    default: break;
    }
}

/* The pipe of this process, above the standard descriptors, that is open for this; -1: there is none. */
static int find_pipe(int access)
{
    for (int fd = 3; fd < 4096; fd++) {
        int flags = fcntl(fd, F_GETFL);
        struct stat about;
        if (flags >= 0 && (flags & O_ACCMODE) == access && fstat(fd, &about) == 0 && S_ISFIFO(about.st_mode))
            return fd;
    }
    return -1;
}

static void write_garbage(void)
{
    char bytes[4096];
    int fd = find_pipe(O_WRONLY);
    memset(bytes, tally->word[1], sizeof bytes);
    tally->word[3] += fd >= 0;
    for (int left = tally->word[0]; left > 0;) {
        ssize_t wrote = write(fd, bytes, left < 4096 ? (size_t)left : sizeof bytes);
        if (wrote <= 0)
            return;
        left -= (int)wrote;
    }
}

static void steal(void)
{
    char bytes[4096];
    int fd = find_pipe(O_RDONLY), there = 0;
    size_t most = tally->word[0] < 4096 ? (size_t)tally->word[0] : sizeof bytes;
    ioctl(fd, FIONREAD, &there); /* not to wait for what may never come */
    if (there > 0)
        tally->word[3] += read(fd, bytes, (size_t)there < most ? (size_t)there : most) > 0;
}

/* What is shared with the program and is not the test's own ledger. */
static void overwrite(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512], permissions[8];
    uintptr_t from, to;
    while (maps && fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %7s", &from, &to, permissions) == 3 && !strcmp(permissions, "rw-s") &&
            strstr(line, "memfd:millpond")) {
            tally->word[3]++;
            memset((void *)from, tally->word[1], to - from);
        }
    if (maps)
        fclose(maps);
}

static void do_deed(deed how)
{
    if (how < CRASHES)
        crash(how);
    if (how == CLOSE_ALL)
        close_range(3, ~0u, 0);
    if (how == CLOSE_STANDARD) {
        fclose(stdin);
        fclose(stdout);
        fclose(stderr);
    }
    if (how == GARBAGE)
        write_garbage();
    if (how == STEAL)
        steal();
    if (how == OVERWRITE)
        overwrite();
    if (how == FORK_CHILD) {
        pid_t child = fork();
        if (!child) {
            setsid();
            for (;;)
                pause();
        }
        tally->word[2] = child;
    }
    if (how == SCRIBBLE)
        for (int i = 0; i < 300; i++)
            if (printf("a line of a task's%c", i % 60 ? ' ' : '\n') < 0)
                break;
}

typedef struct order {
    int deed;
    uint32_t size; /* of the result's bytes */
} order;
MP_TYPE(order, deed, size);

typedef struct product {
    int64_t number;
    mp_bytes bytes;
} product;
MP_TYPE(product, number, bytes);

static int64_t number_of(size_t item)
{
    return (int64_t)(item * item) - 17;
}

static mp_status work(const order *in, product *out, mp_call *call)
{
    size_t item = mp_call_item(call);
    ledger_begin(item, mp_call_worker(call));
    do_deed((deed)in->deed);
    out->number = number_of(item);
    if (in->size) {
        void *bytes = mp_call_alloc(call, in->size);
        memset(bytes, (int)item, in->size);
        out->bytes = (mp_bytes){bytes, in->size};
    }
    ledger_end(item);
    return MP_OK;
}
MP_TASK(work, order, product);

/* ---- one map, and what is true of it ---- */

typedef struct trial {
    order items[N];
    product results[N];
    mp_status statuses[N], status;
    mp_error errors[N], error;
} trial;

static trial *begin_trial(void)
{
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    cr_assert(ledger_open(N));
    return calloc(1, sizeof(trial));
}

static void end_trial(trial *t)
{
    free(t);
    ledger_close();
}

static mp_pool *open_pool(int processes)
{
    mp_pool *pool;
    mp_error error;
    cr_assert(eq(int, mp_pool_open(&pool, .processes = processes, .error = &error), MP_OK), "%s", error.message);
    return pool;
}

static void expect_success(const trial *t, size_t i)
{
    const product *result = &t->results[i];
    cr_assert(eq(int, t->statuses[i], MP_OK), "item %zu: %s", i, t->errors[i].message);
    cr_assert(is_zero(&t->errors[i], sizeof t->errors[i]));
    cr_assert(eq(int, tally->lines[i].begun, 1), "item %zu", i);
    cr_assert(eq(int, tally->lines[i].ended, 1), "item %zu", i);
    cr_assert(eq(i64, result->number, number_of(i)));
    cr_assert(eq(sz, result->bytes.size, t->items[i].size));
    for (size_t k = 0; k < result->bytes.size; k++)
        if (((const unsigned char *)result->bytes.data)[k] != (unsigned char)i)
            cr_fatal("item %zu, byte %zu", i, k);
}

static int signal_of(deed how)
{
    switch (how) {
    case BY_SIGKILL: return SIGKILL;
    case BY_ABORT: return SIGABRT;
    case BY_SIGSEGV:
    case BY_STACK: return SIGSEGV;
    default: return 0;
    }
}

static const char *text_of(deed how)
{
    switch (how) {
    case BY_SIGKILL: return "SIGKILL (Killed): by somebody";
    case BY_ABORT: return "SIGABRT";
    case BY_SIGSEGV:
    case BY_STACK: return "SIGSEGV";
    case BY_EXIT_3: return "code 3";
    default: return "code 0";
    }
}

static void expect_crash(const trial *t, size_t i, int processes)
{
    const mp_error *error = &t->errors[i];
    deed how = (deed)t->items[i].deed;
    int signal = signal_of(how);
    cr_assert(eq(int, t->statuses[i], MP_ECRASHED), "item %zu: %s", i, error->message);
    cr_assert(eq(int, error->status, MP_ECRASHED));
    cr_assert(eq(int, error->signal, signal), "item %zu", i);
    cr_assert(eq(int, error->exit_code, signal ? -1 : how == BY_EXIT_3 ? 3 : 0), "item %zu", i);
    cr_assert(says(error, text_of(how)), "item %zu: %s", i, error->message);
    cr_assert(eq(sz, error->item, i));
    cr_assert(eq(str, (char *)error->task, "work"));
    cr_assert(eq(int, error->pid, tally->lines[i].pid), "item %zu: the process that ran it", i);
    cr_assert(error->worker >= 0 && error->worker < processes);
    cr_assert(eq(int, tally->lines[i].begun, 1), "item %zu", i);
    cr_assert(zero(int, tally->lines[i].ended), "item %zu", i);
    cr_assert(is_zero(&t->results[i], sizeof t->results[i]), "item %zu", i);
}

static void run_map(trial *t, mp_pool *pool)
{
    ledger_clear();
    spoil(t->results, sizeof *t - offsetof(trial, results));
    t->status = mp_pool_map(pool, work, t->items, N, t->results, .chunksize = CHUNK, .statuses = t->statuses,
                            .errors = t->errors, .error = &t->error);
}

/* Maps, and holds everything against the oracle. */
static void try_map(trial *t, mp_pool *pool, int processes)
{
    size_t first = N;
    run_map(t, pool);
    for (size_t i = 0; i < N; i++) {
        if (t->items[i].deed == NONE || t->items[i].deed >= CRASHES) {
            expect_success(t, i);
        } else {
            expect_crash(t, i, processes);
            first = first < i ? first : i;
        }
    }
    cr_assert(eq(int, t->status, first < N ? MP_ECRASHED : MP_OK));
    if (first < N)
        cr_assert(zero(int, memcmp(&t->error, &t->errors[first], sizeof t->error)), "the call's error is the first item's");
    else
        cr_assert(is_zero(&t->error, sizeof t->error));
    mp_free(product, t->results, N);
}

#endif
