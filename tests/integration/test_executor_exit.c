/* A program that ends while its executor has work (Python's waits for it, for ever if need be: gh-80961, gh-86575): it ends at once,
 * and its workers with it. */
#include "tests/lib/kinds.h"
#include "tests/lib/spawn.h"

TestSuite(leave, .timeout = 60);

EACH_KIND(leave, main_with_tasks_that_run_and_wait__ends_the_program_and_its_workers)
{
    char output[256];
    /* the end of its output comes when the last process that holds it has gone */
    int status = spawn_run("HELPER_QUITTER", how.name, NULL, output, sizeof output);
    cr_assert(exited(status, 42), "wait status %d: %s", status, output);
    cr_assert(eq(str, output, (char *)"ready\n"));
    cr_assert(ge(int, leftovers_reap(PROMPT), 0));
}
