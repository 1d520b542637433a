/* Every test but `innocent` commits one offence that the checks exist for. planted_run starts them one by one and demands
 * that each fails, for the right reason. What only a sanitizer can see is there in that sanitizer's build. */
#include "tests/lib/check.h"

#include <fcntl.h>
#include <millpond.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

TestSuite(planted, .timeout = 60);

static void *return_at_once(void *argument)
{
    return argument;
}

static void *sleep_for_ever(void *argument)
{
    for (;;)
        pause();
    return argument;
}

static pid_t fork_sleeper(void)
{
    pid_t pid = fork();
    if (!pid)
        for (;;)
            pause();
    return pid;
}

/* Everything the others do, and cleaned up: a check that always fails would make the others worthless. */
CHECK(planted, innocent)
{
    pthread_t thread;
    cr_assert(zero(int, pthread_create(&thread, NULL, return_at_once, NULL)));
    pthread_join(thread, NULL);

    pid_t pid = fork_sleeper();
    kill(pid, SIGKILL);
    int status;
    waitpid(pid, &status, 0);
    cr_assert(signaled(status, SIGKILL));

    MP_WITH_POOL (pool, .processes = 2)
        cr_assert(zero(int, mp_pool_close(pool)));

    close(open("/dev/null", O_RDONLY | O_CLOEXEC));
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    munmap(page, 4096);
    free(malloc(100));
}

CHECK(planted, running_child)
{
    leftovers_patience = 0.3;
    cr_assert(ne(int, fork_sleeper(), -1));
}

CHECK(planted, zombie)
{
    leftovers_patience = 0.3;
    if (!fork())
        _exit(3);
}

/* Its parent is dead and reaped: it has become the child of nobody in particular. */
CHECK(planted, orphan)
{
    leftovers_patience = 0.3;
    pid_t pid = fork();
    if (!pid) {
        fork_sleeper();
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

CHECK(planted, thread)
{
    leftovers_patience = 0.3;
    pthread_t thread;
    cr_assert(zero(int, pthread_create(&thread, NULL, sleep_for_ever, NULL)));
    pthread_detach(thread);
}

CHECK(planted, descriptor)
{
    leftovers_patience = 0.3;
    cr_assert(ge(int, open("/dev/null", O_RDONLY | O_CLOEXEC), 0));
}

CHECK(planted, closed_descriptor)
{
    leftovers_patience = 0.3;
    close(0);
}

CHECK(planted, mapping)
{
    leftovers_patience = 0.3;
    cr_assert(ne(ptr, mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), MAP_FAILED));
}

CHECK(planted, shm_file)
{
    leftovers_patience = 0.3;
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/millpond.%d.planted", getpid());
    cr_assert(ge(int, close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0));
}

CHECK(planted, signal_mask)
{
    leftovers_patience = 0.3;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* Its zygote, workers, I/O thread, pipes and shared memory all stay. */
CHECK(planted, pool)
{
    leftovers_patience = 0.3;
    mp_pool *pool;
    cr_assert(zero(int, mp_pool_open(&pool, .processes = 2)));
}

CHECK(planted, assertion)
{
    cr_assert(eq(int, 1, 2));
}

#if CHECK_ASAN
__attribute__((noinline)) static void forget(void)
{
    char *volatile lost = malloc(100);
    *lost = 1;
    lost = NULL;
}

CHECK(planted, memory)
{
    forget();
}

CHECK(planted, overflow)
{
    char *volatile bytes = malloc(4);
    volatile size_t index = 4;
    bytes[index] = 1;
    free(bytes);
}

CHECK(planted, undefined)
{
    volatile int most = 0x7fffffff;
    most = most + 1;
}
#endif

#if CHECK_TSAN
static int contested;

static void *contest(void *argument)
{
    for (int i = 0; i < 1000; i++)
        contested++;
    return argument;
}

CHECK(planted, race)
{
    pthread_t thread;
    cr_assert(zero(int, pthread_create(&thread, NULL, contest, NULL)));
    contest(NULL);
    pthread_join(thread, NULL);
}
#endif
