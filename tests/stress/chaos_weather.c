/* What goes wrong: workers are killed and stopped, users' waits interrupted, system calls and allocations fail in every process of
 * the pool, pipes are narrow, the pool is resized. Nobody but workers is ever killed, and of those only ones that have begun an item (lives
 * that come to nothing are another matter: six in a row end a pool), and in few rounds the zygote.
 *
 * Calls fail by a count in the ledger that an actor sets and the next calls, of whichever process, take from: so when they fail is the
 * actor's decision, and which of them it is the machine's. */
#include "pool/system.h"
#include "serial/memory.h"
#include "tests/lib/proc.h"
#include "tests/lib/until.h"
#include "tests/stress/chaos.h"
#include <errno.h>
#include <fcntl.h>

static mp__system_calls real;
static mp__memory_calls real_memory;

/* ---- calls that fail ---- */

/* Runs between fork and exec too: nothing but a few loads and stores. */
static bool strikes(chaos_call call)
{
    if (atomic_load_explicit(&chaos_truth->due[call], memory_order_relaxed) <= 0 || chaos_truth->due[call]-- <= 0)
        return false;
    chaos_truth->struck[call]++;
    return true;
}

#define FAILING(T, call, kind, parameters, arguments, error, failure)                                                      \
    static T failing_##call parameters                                                                                     \
    {                                                                                                                      \
        if (strikes(kind)) {                                                                                               \
            errno = error;                                                                                                 \
            return failure;                                                                                                \
        }                                                                                                                  \
        return real.call arguments;                                                                                        \
    }
FAILING(pid_t, fork, CHAOS_FORK, (void), (), EAGAIN, -1)
static int failing_clone(int (*run)(void *of), void *stack, int flags, void *of, ...)
{
    if (strikes(CHAOS_FORK)) {
        errno = EAGAIN;
        return -1;
    }
    return real.clone(run, stack, flags, of);
}
FAILING(int, execve, CHAOS_EXECVE, (const char *path, char *const argv[], char *const environment[]),
        (path, argv, environment), ENOMEM, -1)
FAILING(void *, mmap, CHAOS_MMAP, (void *at, size_t size, int protection, int flags, int fd, off_t offset),
        (at, size, protection, flags, fd, offset), ENOMEM, MAP_FAILED)
FAILING(int, epoll_ctl, CHAOS_EPOLL_CTL, (int epoll, int operation, int fd, struct epoll_event *event),
        (epoll, operation, fd, event), ENOSPC, -1)
FAILING(int, pthread_create, CHAOS_THREAD,
        (pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument),
        (thread, attributes, run, argument), EAGAIN, EAGAIN)

static int recent[2] = {-1, -1}; /* ends of a life's two pipes; made under the pool's lock */

static int failing_pipe2(int ends[2], int flags)
{
    if (strikes(CHAOS_PIPE)) {
        errno = EMFILE;
        return -1;
    }
    int made = real.pipe2(ends, flags);
    if (made == 0) {
        recent[0] = recent[1];
        recent[1] = ends[1];
    }
    return made;
}

/* The library makes its pipes wide after it has made them: this is the first call of ours behind that. */
static int failing_memfd_create(const char *name, unsigned flags)
{
    if (strikes(CHAOS_MEMFD)) {
        errno = EMFILE;
        return -1;
    }
    for (int i = 0; i < 2 && chaos_truth->narrow; i++)
        chaos_truth->narrowed += fcntl(recent[i], F_SETPIPE_SZ, 4096) >= 0;
    return real.memfd_create(name, flags);
}

/* Interrupted, or as slow as a pipe can be: a few bytes. */
static ssize_t failing_read(int fd, void *bytes, size_t size)
{
    if (!strikes(CHAOS_READ))
        return real.read(fd, bytes, size);
    if (chaos_truth->struck[CHAOS_READ] % 2) {
        errno = EINTR;
        return -1;
    }
    return real.read(fd, bytes, size < 13 ? size : 13);
}

static ssize_t failing_writev(int fd, const struct iovec *pieces, int count)
{
    if (!strikes(CHAOS_WRITE))
        return real.writev(fd, pieces, count);
    if (chaos_truth->struck[CHAOS_WRITE] % 2) {
        errno = EINTR;
        return -1;
    }
    int i = 0;
    while (i < count - 1 && pieces[i].iov_len == 0)
        i++;
    struct iovec piece = {pieces[i].iov_base, pieces[i].iov_len < 13 ? pieces[i].iov_len : 13};
    return real.writev(fd, &piece, 1);
}

static bool refused(void)
{
    bool now = strikes(CHAOS_MEMORY);
    if (now)
        errno = ENOMEM;
    return now;
}
static void *failing_malloc(size_t size)
{
    return refused() ? NULL : real_memory.malloc(size);
}
static void *failing_calloc(size_t count, size_t size)
{
    return refused() ? NULL : real_memory.calloc(count, size);
}
static void *failing_realloc(void *old, size_t size)
{
    return refused() ? NULL : real_memory.realloc(old, size);
}
static void *failing_aligned_alloc(size_t alignment, size_t size)
{
    return refused() ? NULL : real_memory.aligned_alloc(alignment, size);
}

void chaos_weather_begin(void)
{
    real = mp__system;
    real_memory = mp__memory;
    mp__system.fork = failing_fork;
    mp__system.clone = failing_clone;
    mp__system.execve = failing_execve;
    mp__system.pipe2 = failing_pipe2;
    mp__system.memfd_create = failing_memfd_create;
    mp__system.mmap = failing_mmap;
    mp__system.epoll_ctl = failing_epoll_ctl;
    mp__system.pthread_create = failing_pthread_create;
    mp__system.read = failing_read;
    mp__system.writev = failing_writev;
    mp__memory = (mp__memory_calls){failing_malloc, failing_calloc, failing_realloc, failing_aligned_alloc};
}

void chaos_weather_end(void)
{
    mp__system = real;
    mp__memory = real_memory;
}

/* ---- actors ---- */

/* Waits at most so long, and not beyond the end of the weather. False: that is now. */
static bool wait_a_while(chaos_actor *actor, unsigned at_most_us)
{
    nap_us((long)chaos_below(&actor->random, at_most_us + 1));
    return !actor->round->calm;
}

void *chaos_break_calls(void *argument)
{
    chaos_actor *me = argument;
    chaos_round *round = me->round;
    while (wait_a_while(me, round->fault_us)) {
        chaos_call call = (chaos_call)chaos_below(&me->random, CHAOS_CALLS);
        int count = 1 + (int)chaos_below(&me->random, call < CHAOS_STARTING ? 2 : 6);
        if (round->faults & 1u << call)
            chaos_truth->due[call] = count;
    }
    for (chaos_call call = 0; call < CHAOS_CALLS; call++)
        chaos_truth->due[call] = 0;
    return NULL;
}

static pid_t some_worker(chaos_actor *actor)
{
    pid_t pid = chaos_truth->pids[chaos_below(&actor->random, 8)];
    return pid > 1 && pid != getpid() ? pid : 0;
}

/* It stands in the list before it dies, or the judge might come upon its item first. */
static void kill_worker(chaos_round *round, pid_t pid)
{
    pthread_mutex_lock(&round->lock);
    int at = round->killed_count;
    if (at < CHAOS_KILLS)
        round->killed[round->killed_count++] = (chaos_kill){.pid = pid};
    pthread_mutex_unlock(&round->lock);
    if (at == CHAOS_KILLS)
        return;
    round->kills++;
    if (!proc_signal_child(round->zygote, pid, SIGKILL)) {
        round->kills--;
        pthread_mutex_lock(&round->lock);
        round->killed[at].pid = 0;
        pthread_mutex_unlock(&round->lock);
    }
}

void *chaos_kill_workers(void *argument)
{
    chaos_actor *me = argument;
    while (wait_a_while(me, me->round->kill_us)) {
        pid_t pid = some_worker(me);
        if (pid && !me->round->zygote_killed)
            kill_worker(me->round, pid);
    }
    return NULL;
}

void *chaos_stop_workers(void *argument)
{
    chaos_actor *me = argument;
    chaos_round *round = me->round;
    while (wait_a_while(me, round->stop_us)) {
        pid_t pid = some_worker(me);
        long us = (long)chaos_below(&me->random, chaos_one_in(&me->random, 8) ? 60000 : 4000);
        if (!pid || round->zygote_killed)
            continue;
        round->stops++;
        if (!proc_signal_child(round->zygote, pid, SIGSTOP)) {
            round->stops--;
            continue;
        }
        nap_us(us);
        proc_signal_child(round->zygote, pid, SIGCONT);
    }
    return NULL;
}

void *chaos_resize(void *argument)
{
    chaos_actor *me = argument;
    chaos_round *round = me->round;
    while (wait_a_while(me, round->resize_us) && !round->stop) {
        int wanted = 1 + (int)chaos_below(&me->random, 7);
        mp_status status = mp_pool_resize(round->pool, wanted);
        round->resizes++;
        if (status == MP_OK || (status == MP_ECLOSED && round->terminated))
            continue;
        if (status == MP_ENOMEM && chaos_truth->struck[CHAOS_MEMORY])
            continue;
        if (status == MP_EBROKEN && chaos_may_be_broken(round))
            continue;
        chaos_complain(round, "resize to %d: %s", wanted, mp_status_name(status));
    }
    return NULL;
}

void chaos_poke(chaos_round *round, chaos_actor *users, int count, uint64_t *random)
{
    int one = (int)chaos_below(random, (uint64_t)count);
    round->pokes += pthread_kill(users[one].thread, SIGUSR2) == 0;
}

void chaos_kill_zygote(chaos_round *round)
{
    round->zygote_killed = true;
    kill(round->zygote, SIGKILL);
}
