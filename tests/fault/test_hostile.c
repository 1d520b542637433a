/* Some seeds of the hostile worker (hostile.c); tests/stress/test_hostile_all.c has more. MP_HOSTILE_SEED,
 * MP_HOSTILE_ROUNDS: from which one, and how many. */
#include "tests/fault/hostile.h"
#include "tests/lib/check.h"
#include "tests/lib/rounds.h"

TestSuite(hostile, .timeout = 120);

CHECK(hostile, worker_in_a_map__only_its_own_items_suffer_and_memory_is_bounded)
{
    hostile_items(hostile_seed(), hostile_rounds(ROUNDS(120)));
}

CHECK(hostile, worker_before_it_is_ready__pool_opens_without_it_or_says_why)
{
    hostile_openings(hostile_seed(), hostile_rounds(ROUNDS(30)));
}

CHECK(hostile, worker_whose_output_is_captured__only_its_own_items_suffer_and_memory_is_bounded)
{
    hostile_printers(hostile_seed(), hostile_rounds(ROUNDS(60)));
}
