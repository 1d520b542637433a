/* Every system call that can fail goes through here, so that a test can fail any of them; and what only Linux has stands
 * behind this header. */
#ifndef MP__POOL_SYSTEM_H
#define MP__POOL_SYSTEM_H
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Tests put their own functions in before they open a pool; the zygote and the workers inherit them. */
typedef struct mp__system_calls {
    pid_t (*fork)(void);
    int (*clone)(int (*run)(void *of), void *stack, int flags, void *of, ...);
    int (*execve)(const char *path, char *const argv[], char *const environment[]);
    int (*pipe2)(int ends[2], int flags);
    int (*socketpair)(int domain, int type, int protocol, int ends[2]);
    int (*memfd_create)(const char *name, unsigned flags);
    int (*ftruncate)(int fd, off_t size);
    void *(*mmap)(void *at, size_t size, int protection, int flags, int fd, off_t offset);
    int (*epoll_create1)(int flags);
    int (*epoll_ctl)(int epoll, int operation, int fd, struct epoll_event *event);
    int (*eventfd)(unsigned count, int flags);
    int (*pthread_create)(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
    ssize_t (*read)(int fd, void *bytes, size_t size);
    ssize_t (*writev)(int fd, const struct iovec *pieces, int count);
    ssize_t (*vmsplice)(int fd, const struct iovec *pieces, size_t count, unsigned flags);
    ssize_t (*sendmsg)(int fd, const struct msghdr *message, int flags);
    ssize_t (*recvmsg)(int fd, struct msghdr *message, int flags);
} mp__system_calls;
extern mp__system_calls mp__system;

/* The same descriptor above the standard ones, and closed on exec; negative ones pass through. In a program that has closed 0, 1
 * or 2 a new descriptor gets that number, and what the program prints would go into something of ours. */
int mp__above_standard(int fd);

/* A thread of ours: all signals are blocked in it, for those are for the program's own. 0 or errno. */
int mp__thread_create(pthread_t *thread, void *(*run)(void *), void *argument);

/* A word that processes may share. Sleeps as long as it has this value, until the deadline (clock.h) at most; or less: the caller looks. */
void mp__word_sleep(_Atomic uint32_t *word, uint32_t value, uint64_t deadline);
/* Wakes who sleeps on it: how many did. */
int mp__word_wake(_Atomic uint32_t *word);
/* Sets it to 0 and wakes who sleeps on it, or is about to. */
void mp__word_rouse(_Atomic uint32_t *word);

/* Closes every descriptor from `first` to `last`; INT_MAX: all. Also where the kernel has no close_range(2), or forbids it. */
void mp__close_between(int first, int last);

#endif
