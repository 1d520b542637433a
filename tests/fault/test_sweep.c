/* The fault sweep: every scene (scenes.h) with the n-th system call or allocation failing, n = 0, 1, 2 ... until none does; in the
 * program, and in its zygotes and workers. Here the calls take turns in which error they fail with, and only some of them fail;
 * tests/stress/test_sweep_all.c leaves nothing out, nor, but for some scenes, does this with MP_SWEEP=full. MP_SWEEP_CALL=NAME: only
 * calls of this name. */
#include "tests/fault/sweep.h"
#include "tests/lib/check.h"

TestSuite(sweep, .timeout = 240);

#define SWEEP_SUITE sweep
#define SWEEP_EVERY false
#define SWEEP_RUNS_EXECUTED(name)
SWEEP_TESTS
