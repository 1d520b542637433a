/* The table of system calls; system.h says what it is for. Set before any thread of ours exists, then only read. */
#include "pool/system.h"
#include "pool/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* Sanitizers note in memory what is done to descriptors and stacks: a child that shares it would do so in our notes. For them it is a
 * copy, as valgrind makes of it by itself. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define TAKES_NOTES
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(TAKES_NOTES)
static int clone_of_its_own(int (*run)(void *of), void *stack, int flags, void *of, ...)
{
    (void)stack, (void)flags;
    pid_t pid = fork();
    if (pid == 0)
        _exit(run(of));
    return pid;
}
#define CLONE clone_of_its_own
#else
#define CLONE clone
#endif

mp__system_calls mp__system = {
    .fork = fork,
    .clone = CLONE,
    .execve = execve,
    .pipe2 = pipe2,
    .socketpair = socketpair,
    .memfd_create = memfd_create,
    .ftruncate = ftruncate,
    .mmap = mmap,
    .epoll_create1 = epoll_create1,
    .epoll_ctl = epoll_ctl,
    .eventfd = eventfd,
    .pthread_create = pthread_create,
    .read = read,
    .writev = writev,
    .vmsplice = vmsplice,
    .sendmsg = sendmsg,
    .recvmsg = recvmsg,
};

int mp__above_standard(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3), failed = errno;
    close(fd);
    errno = failed;
    return moved;
}

int mp__thread_create(pthread_t *thread, void *(*run)(void *), void *argument)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* it inherits them */
    int failed = mp__system.pthread_create(thread, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

void mp__word_sleep(_Atomic uint32_t *word, uint32_t value, uint64_t deadline)
{
    struct timespec until = mp__clock_timespec(deadline);
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, deadline == UINT64_MAX ? NULL : &until, NULL,
            FUTEX_BITSET_MATCH_ANY);
}

int mp__word_wake(_Atomic uint32_t *word)
{
    long woken = syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    return woken < 0 ? 0 : (int)woken;
}

void mp__word_rouse(_Atomic uint32_t *word)
{
    atomic_store(word, 0);
    mp__word_wake(word);
}

void mp__close_between(int first, int last)
{
    if (close_range((unsigned)first, last == INT_MAX ? ~0u : (unsigned)last, 0) == 0)
        return;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= (rlim_t)last)
        last = (int)limit.rlim_cur - 1;
    for (int fd = first; fd <= last; fd++)
        close(fd);
}
