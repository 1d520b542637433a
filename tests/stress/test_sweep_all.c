/* The fault sweep with nothing left out: each call by itself, and with all that come after it, and with each error that it may have.
 * tests/fault/test_sweep.c is the short one. */
#include "tests/fault/sweep.h"
#include "tests/lib/check.h"

TestSuite(sweep_all, .timeout = 7200);

#define SWEEP_SUITE sweep_all
#define SWEEP_EVERY true
#define SWEEP_RUNS_EXECUTED SWEEP_EXECUTED
SWEEP_TESTS
