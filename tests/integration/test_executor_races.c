/* Cancel against start, shutdown against submit, cancel, crash and callbacks: short runs, on every kind. tests/stress/test_futures.c
 * has the long ones. */
#include "tests/lib/races.h"

TestSuite(race, .timeout = 120);

EACH_KIND(race, cancel_against_start__is_one_or_the_other)
{
    race_cancel(2, ROUNDS(2000));
}

CHECK(race, cancel_against_set_running__is_one_or_the_other)
{
    race_own(ROUNDS(2000));
}

EVERY_KIND(race, shutdown_against_everything__all_end_once)
{
    for (int round = 0; round < few_lives(60); round++)
        race_shutdown(round);
}
