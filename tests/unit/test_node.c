/* What an agent makes of the CPUs and the environment that a launcher has left it. */
#include "pool/cluster/node.h"
#include "tests/lib/check.h"
#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(node, .timeout = 60);

static void narrow(void)
{
    cpu_set_t all, one;
    CPU_ZERO(&one);
    cr_assert_eq(sched_getaffinity(0, sizeof all, &all), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &all))
            CPU_SET(cpu, &one);
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
}

static int cpus(void)
{
    cpu_set_t set;
    cr_assert_eq(sched_getaffinity(0, sizeof set, &set), 0);
    return CPU_COUNT(&set);
}

static void alone(const char *openmpi, const char *mpich)
{
    openmpi ? setenv("OMPI_COMM_WORLD_LOCAL_SIZE", openmpi, 1) : unsetenv("OMPI_COMM_WORLD_LOCAL_SIZE");
    mpich ? setenv("MPI_LOCALNRANKS", mpich, 1) : unsetenv("MPI_LOCALNRANKS");
}

CHECK(node, one_rank_on_the_host__is_alone)
{
    alone("1", NULL);
    cr_assert(mp__node_is_alone());
    alone(NULL, "1");
    cr_assert(mp__node_is_alone());
}

CHECK(node, several_ranks_or_no_launcher__is_not_alone)
{
    alone("2", NULL);
    cr_assert_not(mp__node_is_alone());
    alone(NULL, "16");
    cr_assert_not(mp__node_is_alone());
    alone(NULL, NULL);
    cr_assert_not(mp__node_is_alone());
}

CHECK(node, wider_mask_for_a_while__is_given_back)
{
    alone(NULL, NULL);
    mp__node_mask before = mp__node_widen();
    cr_assert_null(before.set); /* no launcher: it is left alone */
    mp__node_narrow(&before);
    narrow();
    alone("1", NULL); /* but no daemon has started us */
    before = mp__node_widen();
    mp__node_narrow(&before);
    cr_assert_eq(cpus(), 1);
    alone(NULL, NULL);
}

CHECK(node, mask_of_another_process__is_taken)
{
    int before = cpus();
    narrow();
    pid_t other = getppid(); /* Criterion's, which was not narrowed */
    cr_assert(mp__node_widen_like(other));
    cr_assert_eq(cpus(), before);
}

CHECK(node, process_that_is_gone__changes_nothing)
{
    pid_t gone = fork();
    if (gone == 0)
        _exit(0);
    cr_assert_eq(waitpid(gone, NULL, 0), gone);
    narrow();
    cr_assert_not(mp__node_widen_like(gone));
    cr_assert_eq(cpus(), 1);
}

CHECK(node, no_daemon_above__mask_stays)
{
    narrow();
    alone("1", NULL);
    mp__node_prepare();
    cr_assert_eq(cpus(), 1);
}

CHECK(node, threads_of_libraries__are_one_unless_the_user_says)
{
    unsetenv("OMP_NUM_THREADS");
    unsetenv("MKL_NUM_THREADS");
    setenv("OPENBLAS_NUM_THREADS", "3", 1);
    mp__node_single_threads();
    cr_assert_str_eq(getenv("OMP_NUM_THREADS"), "1");
    cr_assert_str_eq(getenv("MKL_NUM_THREADS"), "1");
    cr_assert_str_eq(getenv("OPENBLAS_NUM_THREADS"), "3");
}
