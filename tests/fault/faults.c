/* Decides which call fails; owns the order, a page that all processes share, and the functions in mp__system and mp__memory from
 * faults_begin to faults_end. Any thread of any process calls them, also between fork and execution: they take no lock. Armed and
 * disarmed by the test's own thread. `call` is written last and looked at first, so an order is seen whole, or not at all. */
#include "tests/fault/faults.h"
#include "pool/system.h"
#include "serial/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VARIABLE "TESTS_FAULTS" /* "/proc/PID/fd/N PID" */

typedef struct order {
    _Atomic int call, side, os_error, first, count;
    _Atomic int calls, failed;
    _Atomic int seen[2][FAULT_CALLS];
    pid_t program; /* whose calls are OURS */
} order;

static order *plan;
static int plan_fd = -1;
static mp__system_calls real;
static mp__memory_calls real_memory;

static bool strikes(fault_call call)
{
    fault_side side = getpid() == plan->program ? OURS : THEIRS;
    plan->seen[side][call]++;
    if (plan->call != (int)call || plan->side != (int)side)
        return false;
    int number = plan->calls++;
    if (number < plan->first || number - plan->first >= plan->count)
        return false;
    plan->failed++;
    errno = plan->os_error;
    return true;
}

#define FAILING(T, call, parameters, arguments, failure)                                                                   \
    static T failing_##call parameters                                                                                     \
    {                                                                                                                      \
        return strikes(FAULT_##call) ? failure : real.call arguments;                                                      \
    }
FAILING(pid_t, fork, (void), (), -1)
FAILING(int, execve, (const char *path, char *const argv[], char *const environment[]), (path, argv, environment), -1)
FAILING(int, pipe2, (int ends[2], int flags), (ends, flags), -1)
FAILING(int, socketpair, (int domain, int type, int protocol, int ends[2]), (domain, type, protocol, ends), -1)
FAILING(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1)
FAILING(int, ftruncate, (int fd, off_t size), (fd, size), -1)
FAILING(void *, mmap, (void *at, size_t size, int protection, int flags, int fd, off_t offset),
        (at, size, protection, flags, fd, offset), MAP_FAILED)
FAILING(int, epoll_create1, (int flags), (flags), -1)
FAILING(int, epoll_ctl, (int epoll, int operation, int fd, struct epoll_event *event), (epoll, operation, fd, event), -1)
FAILING(int, eventfd, (unsigned count, int flags), (count, flags), -1)
FAILING(ssize_t, vmsplice, (int fd, const struct iovec *pieces, size_t count, unsigned flags), (fd, pieces, count, flags),
        -1)
FAILING(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags), -1)
FAILING(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags), -1)

static int failing_clone(int (*run)(void *of), void *stack, int flags, void *of, ...)
{
    return strikes(FAULT_clone) ? -1 : real.clone(run, stack, flags, of);
}

/* This one returns its error. */
static int failing_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    return strikes(FAULT_pthread_create) ? errno : real.pthread_create(thread, attributes, run, argument);
}

static ssize_t failing_read(int fd, void *bytes, size_t size)
{
    if (!strikes(FAULT_read))
        return real.read(fd, bytes, size);
    return plan->os_error == FAULT_SHORT ? real.read(fd, bytes, size > 1 ? 1 : size) : -1;
}

static ssize_t failing_writev(int fd, const struct iovec *pieces, int count)
{
    if (!strikes(FAULT_writev))
        return real.writev(fd, pieces, count);
    int i = 0;
    while (i + 1 < count && !pieces[i].iov_len)
        i++;
    struct iovec one = {pieces[i].iov_base, pieces[i].iov_len > 1 ? 1 : pieces[i].iov_len};
    return plan->os_error == FAULT_SHORT ? real.writev(fd, &one, 1) : -1;
}

static void *failing_malloc(size_t size)
{
    return strikes(FAULT_memory) ? NULL : real_memory.malloc(size);
}
static void *failing_calloc(size_t count, size_t size)
{
    return strikes(FAULT_memory) ? NULL : real_memory.calloc(count, size);
}
static void *failing_realloc(void *old, size_t size)
{
    return strikes(FAULT_memory) ? NULL : real_memory.realloc(old, size);
}
static void *failing_aligned_alloc(size_t alignment, size_t size)
{
    return strikes(FAULT_memory) ? NULL : real_memory.aligned_alloc(alignment, size);
}

static void put_in(void)
{
    real = mp__system;
    real_memory = mp__memory;
    mp__system = (mp__system_calls){
        .fork = failing_fork,
        .clone = failing_clone,
        .execve = failing_execve,
        .pipe2 = failing_pipe2,
        .socketpair = failing_socketpair,
        .memfd_create = failing_memfd_create,
        .ftruncate = failing_ftruncate,
        .mmap = failing_mmap,
        .epoll_create1 = failing_epoll_create1,
        .epoll_ctl = failing_epoll_ctl,
        .eventfd = failing_eventfd,
        .pthread_create = failing_pthread_create,
        .read = failing_read,
        .writev = failing_writev,
        .vmsplice = failing_vmsplice,
        .sendmsg = failing_sendmsg,
        .recvmsg = failing_recvmsg,
    };
    mp__memory = (mp__memory_calls){failing_malloc, failing_calloc, failing_realloc, failing_aligned_alloc};
}

static bool map_plan(int fd)
{
    void *memory = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    plan = memory == MAP_FAILED ? NULL : memory;
    return plan;
}

void faults_begin(void)
{
    char text[64];
    plan_fd = memfd_create("faults", MFD_CLOEXEC);
    if (plan_fd < 0 || ftruncate(plan_fd, sizeof *plan) < 0 || !map_plan(plan_fd))
        abort();
    plan->program = getpid();
    snprintf(text, sizeof text, "/proc/%d/fd/%d", (int)getpid(), plan_fd);
    setenv(VARIABLE, text, 1);
    put_in();
}

void faults_end(void)
{
    mp__system = real;
    mp__memory = real_memory;
    unsetenv(VARIABLE);
    munmap(plan, sizeof *plan);
    close(plan_fd);
}

/* In a program that is executed again, before respawn.c makes a zygote or a worker of it. */
__attribute__((constructor(102))) static void inherit_faults(void)
{
    const char *path = getenv(VARIABLE);
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (map_plan(fd)) {
        close(fd);
        put_in();
    }
}

void faults_arm(fault_call call, fault_side side, int os_error, int first, int count)
{
    plan->call = FAULT_NONE;
    plan->side = side;
    plan->os_error = os_error;
    plan->first = first;
    plan->count = count;
    plan->calls = plan->failed = 0;
    memset(plan->seen, 0, sizeof plan->seen);
    plan->call = (int)call;
}

int faults_disarm(void)
{
    plan->call = FAULT_NONE;
    return plan->failed;
}

int faults_seen(fault_call call, fault_side side)
{
    return plan->seen[side][call];
}

const char *faults_name(fault_call call)
{
    static const char *const names[] = {[FAULT_NONE] = "nothing",
#define FAULT_NAME(name) [FAULT_##name] = #name,
                                        FAULT_TABLE(FAULT_NAME)
#undef FAULT_NAME
    };
    return names[call];
}
