/* The hostile worker for as long as one likes: MP_HOSTILE_SEED: the first seed (default 1, a failure names the one it happened
 * with); MP_HOSTILE_ROUNDS: how many, 0: without end. */
#include "tests/fault/hostile.h"
#include "tests/lib/check.h"

TestSuite(hostile_all, .timeout = 100000);

CHECK(hostile_all, workers_in_maps__only_their_own_items_suffer_and_memory_is_bounded)
{
    hostile_items(hostile_seed(), hostile_rounds(20000));
}

CHECK(hostile_all, workers_before_they_are_ready__pools_open_without_them_or_say_why)
{
    hostile_openings(hostile_seed(), hostile_rounds(5000));
}

CHECK(hostile_all, workers_whose_output_is_captured__only_its_own_items_suffer_and_memory_is_bounded)
{
    hostile_printers(hostile_seed(), hostile_rounds(20000));
}
