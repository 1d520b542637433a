/* A program that owns a pool and will not live long: test_orphans kills it and looks for what it left. It prints "ready" once
 * its workers are where the test wants them. Arguments: what to do, and a start method. */
#include "tests/lib/ledger.h"
#include <millpond.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORKERS = 3 };

static mp_pool *pool;
static mp_start_method method;

/* Computes for ever; SIGTERM would not end it either. */
static mp_status burn(const int *in, int *out, mp_call *call)
{
    volatile unsigned x = (unsigned)*in;
    signal(SIGTERM, SIG_IGN);
    ledger_begin(mp_call_item(call), mp_call_worker(call));
    for (;;)
        x = x * 1664525u + 1013904223u;
    *out = 0;
    return MP_OK;
}
MP_TASK(burn, int, int);

_Noreturn static void stay(bool daemon)
{
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    if (daemon) {
        setsid();
        if (fork())
            _exit(0);
    }
    tally->word[0]++;
    for (;;)
        pause();
}

/* Has two children that no signal but one will end: one beside it, and the other a daemon. */
static mp_status breed(const int *in, int *out, mp_call *call)
{
    for (int i = 0; i < 2; i++)
        if (!fork())
            stay(i);
    return burn(in, out, call);
}
MP_TASK(breed, int, int);

static mp_status give_much(const int *in, mp_bytes *out, mp_call *call)
{
    size_t size = 8 << 20;
    void *bytes = mp_call_alloc(call, size);
    memset(bytes, *in, size);
    *out = (mp_bytes){bytes, size};
    ledger_begin(mp_call_item(call), mp_call_worker(call));
    return MP_OK;
}
MP_TASK(give_much, int, mp_bytes);

static void say_ready(void)
{
    printf("ready\n");
    fflush(stdout);
}

static void sleep_for_ever(void)
{
    for (;;)
        pause();
}

static void *map_burning(void *unused)
{
    int items[100] = {0}, results[100];
    (void)mp_pool_map(pool, burn, items, 100, results, .chunksize = 1);
    return unused;
}

static void *map_breeding(void *unused)
{
    int items[100] = {0}, results[100];
    (void)mp_pool_map(pool, breed, items, 100, results, .chunksize = 1);
    return unused;
}

static void burn_all(bool breeding)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, breeding ? map_breeding : map_burning, NULL))
        exit(1);
    while (tally->begun < WORKERS || (breeding && tally->word[0] < 2 * WORKERS))
        usleep(500);
}

/* Results of 8 MiB for ever: killed somewhere in their middle. */
static void give_for_ever(void)
{
    int items[6] = {0};
    mp_bytes results[6];
    say_ready();
    for (;;)
        if (mp_pool_map(pool, give_much, items, 6, results) == MP_OK)
            mp_free(mp_bytes, results, 6);
}

/* It holds copies of every descriptor that we have, the control socket included. */
static void fork_child(void)
{
    pid_t child = fork();
    if (!child)
        sleep_for_ever();
    printf("child %d\n", (int)child);
}

static void be_killed(const char *how)
{
    if (!strcmp(how, "child"))
        fork_child();
    if (!strcmp(how, "busy") || !strcmp(how, "busy-exit") || !strcmp(how, "busy-abort"))
        burn_all(false);
    if (!strncmp(how, "breeding", 8))
        burn_all(true);
    if (!strcmp(how, "giving"))
        give_for_ever();
    if (!strcmp(how, "closed"))
        mp_pool_close(pool);
    if (!strcmp(how, "breeding-free"))
        mp_pool_free(&pool);
    say_ready();
    if (!strcmp(how, "exit") || !strcmp(how, "busy-exit") || !strncmp(how, "breeding-", 9))
        exit(0);
    if (!strcmp(how, "busy-abort"))
        abort();
    sleep_for_ever();
}

/* Pools one after the other: killed while one is being opened or freed. */
static void open_for_ever(void)
{
    say_ready();
    for (;;) {
        mp_pool *another;
        if (mp_pool_open(&another, .processes = WORKERS, .start_method = method) != MP_OK)
            exit(1);
        mp_pool_free(&another);
    }
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    method = argc > 2 ? (mp_start_method)atoi(argv[2]) : MP_FORK;
    mp_main(argc, argv);
    signal(SIGINT, SIG_DFL); /* whoever runs the tests may ignore it */
    if (!ledger_open(100))
        return 1;
    if (!strcmp(how, "opening"))
        open_for_ever();
    if (mp_pool_open(&pool, .processes = WORKERS, .start_method = method) != MP_OK)
        return 1;
    be_killed(how);
}
