/* The process's id: its own, in whatever way it was forked. */
#include "pool/process_id.h"
#include "tests/lib/check.h"
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(process_id, .timeout = 60);

static pid_t fork_past_libc(void)
{
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static bool knows_itself(void)
{
    pid_t asked = mp__process_id(), known = mp__process_id();
    return asked == getpid() && known == asked;
}

/* True if the child, and a child of its own, know who they are. */
static bool child_knows_itself(pid_t (*forks)(void), int generations)
{
    int status = -1;
    pid_t child = forks();
    if (child == 0)
        _exit(knows_itself() && (generations == 1 || child_knows_itself(forks, generations - 1)) ? 0 : 1);
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

CHECK(process_id, here__is_that_of_the_system)
{
    cr_assert(knows_itself());
}

CHECK(process_id, in_a_child__is_the_child_s_and_here_stays)
{
    cr_assert(knows_itself());
    cr_assert(child_knows_itself(fork, 3));
    cr_assert(child_knows_itself(fork_past_libc, 3));
    cr_assert(knows_itself());
}
