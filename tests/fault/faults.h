/* Faults that are planted: any member of mp__system, or any allocation, fails by order: the first so many calls of it go well, the
 * next ones do not. The order stands in shared memory, which forked processes inherit and executed ones find by the environment;
 * so calls of the program and calls of all its zygotes and workers are counted, and made to fail, in one place. */
#ifndef TESTS_FAULT_FAULTS_H
#define TESTS_FAULT_FAULTS_H
#include <stdbool.h>

/* Members of mp__system, and MEMORY: all of mp__memory together. */
#define FAULT_TABLE(X)                                                                                                     \
    X(fork)                                                                                                                \
    X(clone)                                                                                                               \
    X(execve)                                                                                                              \
    X(pipe2)                                                                                                               \
    X(socketpair)                                                                                                          \
    X(memfd_create)                                                                                                        \
    X(ftruncate)                                                                                                           \
    X(mmap)                                                                                                                \
    X(epoll_create1)                                                                                                       \
    X(epoll_ctl)                                                                                                           \
    X(eventfd)                                                                                                             \
    X(pthread_create)                                                                                                      \
    X(read)                                                                                                                \
    X(writev)                                                                                                              \
    X(vmsplice)                                                                                                            \
    X(sendmsg)                                                                                                             \
    X(recvmsg)                                                                                                             \
    X(memory)

typedef enum fault_call {
    FAULT_NONE,
#define FAULT_ENUM(name) FAULT_##name,
    FAULT_TABLE(FAULT_ENUM)
#undef FAULT_ENUM
        FAULT_CALLS
} fault_call;

typedef enum fault_side {
    OURS,
    THEIRS
} fault_side; /* the program's own calls, or those of all other processes of its pools */

/* What a failing read or writev does instead of failing: it moves a single byte. */
enum { FAULT_SHORT = -1 };

/* From now on, until the end, calls go through here. Before any pool is opened. */
void faults_begin(void);
void faults_end(void);

/* Of the calls from now on number `first`, counted from 0, and the `count - 1` after it fail with this errno. */
void faults_arm(fault_call call, fault_side side, int os_error, int first, int count);

/* None fails any more. How many have. */
int faults_disarm(void);

/* How many such calls there were since then, armed or not. */
int faults_seen(fault_call call, fault_side side);

const char *faults_name(fault_call call);
#endif
