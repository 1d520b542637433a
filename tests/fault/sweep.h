/* The sweep: a scene is played again and again, each time another call of it fails, until none does. */
#ifndef TESTS_FAULT_SWEEP_H
#define TESTS_FAULT_SWEEP_H
#include "tests/fault/scenes.h"

/* `every`: each call and each error by itself, and each call with all that come after it; else only so much as a person waits for.
 * The environment variable MP_SWEEP=full asks for every one too. */
void sweep(scene_play *play, const char *name, scene_kind kind, bool every);

/* A test for each scene on each kind, in the suite SWEEP_SUITE; with SWEEP_EVERY, and all scenes on each start method if
 * SWEEP_RUNS_EXECUTED(name) is SWEEP_EXECUTED(name), or nothing. Where this is asked for, check.h is there. */
#define SWEEP_ONE(name, label, kind)                                                                                       \
    CHECK(SWEEP_SUITE, name##__a_call_fails__is_told_and_leaves_nothing__##label)                                          \
    {                                                                                                                      \
        sweep(scene_##name, #name " (" #label ")", kind, SWEEP_EVERY);                                                     \
    }
#define SWEEP_THREADS_1(name) SWEEP_ONE(name, threads, ON_THREADS)
#define SWEEP_THREADS_0(name)
#define SWEEP_THREADS_2(name) SWEEP_THREADS_1(name) SWEEP_ONE(name, serial, ON_SERIAL)
#define SWEEP_EXECUTED(name) SWEEP_ONE(name, spawn, ON_SPAWN) SWEEP_ONE(name, forkserver, ON_FORKSERVER)
#define SWEEP_STARTS_EXECUTED SWEEP_EXECUTED
#define SWEEP_KINDS(name, threads, about)                                                                                  \
    SWEEP_ONE(name, fork, ON_FORK)                                                                                         \
    SWEEP_##about##_EXECUTED(name) SWEEP_THREADS_##threads(name)
#define SWEEP_TESTS SCENE_TABLE(SWEEP_KINDS)
#endif
