/* Seven things that go wrong in the night, done on purpose, and what comes of each: in millpond, now, on this machine; and in five
 * pools of Python's, as they were when somebody did the same to them (CPython 3.11, fork, two workers, one run each; mpire 2.10.2).
 * Exits with 1 if one of ours did not pass. */
#include "examples/probes/probes.h"
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

enum { PEERS = 5 };

typedef struct {
    const char *name;
    outcome (*run)(void);
    const char *peers[PEERS];
} probe;

static const char *const peer_names[PEERS] = {"multiprocessing.Pool", "ProcessPoolExecutor", "pebble", "mpire", "joblib"};

/* The two that fork this very program come first, while it has no threads. */
static const probe probes[] = {
    {"Ctrl-C to the group", ctrl_c, {"0.1 s, 33 lines", "6.1 s", "goes on, > 12 s", "0.4 s, 29 lines", "0.3 s, 11 lines"}},
    {"kill -9 of the parent", killed_parent, {"2 left", "2 left", "0 left, 1.1 s", "2 left", "4 left"}},
    {"crash, single submits",
     crash_among_submits,
     {"99 ok, 1 waits for ever", "11 ok, 89 broken", "99 ok, 1 failed", "14 ok, 86 failed", "10, then raises"}},
    {"crash inside a map",
     crash_inside_a_map,
     {"hangs", "11 ok, 89 broken", "80 ok, 20 lost", "raises, all lost", "10, then raises"}},
    {"a hung item, 1 s",
     hung_item,
     {"no time-out", "no time-out", "99 ok, 1 timed out", "raises after 10", "99, then raises"}},
    {"an endless generator", endless_generator, {"works", "never returns", "never returns", "works", "works"}},
    {"100 kB results, reader stops",
     stalled_reader,
     {"1646 MB, 18320 pulled", "-", "-", "59 MB, 10 pulled", "1259 MB, 14340 pulled"}},
};

void say(outcome *o, bool passed, const char *format, ...)
{
    va_list arguments;
    o->passed = passed;
    va_start(arguments, format);
    vsnprintf(o->says, sizeof o->says, format, arguments);
    va_end(arguments);
}

double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(void)
{
    int failed = 0;
    printf("| probe | millpond |");
    for (int i = 0; i < PEERS; i++)
        printf(" %s |", peer_names[i]);
    printf("\n|---|---|---|---|---|---|---|\n");
    for (unsigned i = 0; i < sizeof probes / sizeof *probes; i++) {
        fflush(stdout); /* before somebody forks */
        outcome ours = probes[i].run();
        failed += !ours.passed;
        printf("| %s | %s%s |", probes[i].name, ours.says, ours.passed ? "" : " (FAILED)");
        for (int k = 0; k < PEERS; k++)
            printf(" %s |", probes[i].peers[k]);
        printf("\n");
    }
    return failed > 0;
}
