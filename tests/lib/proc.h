/* What /proc says about processes: who is whose child, who still lives, what they hold and what they cost. Nothing here is
 * known of the library: a pool's zygote is a child of the process that opened it, and workers are the zygote's children. */
#ifndef TESTS_LIB_PROC_H
#define TESTS_LIB_PROC_H
#include "tests/lib/until.h"
#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

typedef struct proc_stat {
    char state; /* R S D T Z ...; 0: there is no such process */
    pid_t parent;
    unsigned long ticks; /* CPU time of all its threads, in 1/sysconf(_SC_CLK_TCK) s */
} proc_stat;

static inline proc_stat proc_look(pid_t pid)
{
    char path[64], text[1024];
    proc_stat stat = {0};
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return stat;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    char *rest = strrchr(text, ')'); /* a name may hold anything */
    unsigned long user = 0, system = 0;
    if (rest && sscanf(rest + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &stat.state, &stat.parent, &user,
                       &system) == 4)
        stat.ticks = user + system;
    return stat;
}

/* All threads of this process but this one. */
static inline bool proc_others_sleep(void)
{
    DIR *threads = opendir("/proc/self/task");
    bool sleep = true;
    for (struct dirent *entry; threads && (entry = readdir(threads));) {
        pid_t thread = (pid_t)atoi(entry->d_name); /* of "." and "..": 0 */
        sleep &= thread <= 0 || thread == (pid_t)syscall(SYS_gettid) || proc_look(thread).state == 'S';
    }
    if (threads)
        closedir(threads);
    return sleep;
}

/* fork(2), but the child does not outlive the test: one that did would hold its output open, and meson would wait for it.
 * gcc 12's AddressSanitizer does not keep the locks of its allocator through a fork, as glibc does, and a child that allocates may wait for
 * one for ever, if another thread was inside malloc. Who sleeps is not. */
static inline pid_t proc_fork(void)
{
#ifdef __SANITIZE_ADDRESS__
    (void)UNTIL(10, proc_others_sleep());
#endif
    pid_t pid = fork();
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

/* Is there, and has not ended: a zombie has. */
static inline bool proc_lives(pid_t pid)
{
    char state = proc_look(pid).state;
    return state && state != 'Z' && state != 'X';
}

/* The children of all threads of a process, zombies included; how many there are, of which `most` are written. */
static inline int proc_children(pid_t pid, pid_t *children, int most)
{
    char path[320];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (!tasks)
        return 0;
    for (struct dirent *entry; (entry = readdir(tasks));) {
        snprintf(path, sizeof path, "/proc/%d/task/%s/children", (int)pid, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
        if (!file)
            continue;
        for (int child; fscanf(file, "%d", &child) == 1; count++)
            if (count < most)
                children[count] = child;
        fclose(file);
    }
    closedir(tasks);
    return count;
}

/* The only child of ours: the zygote, where one pool is open and nothing else was forked. 0: there is not one, but none or
 * several. */
static inline pid_t proc_only_child(void)
{
    pid_t child = 0;
    return proc_children(getpid(), &child, 1) == 1 ? child : 0;
}

/* Living children only: what is left of those that were killed a moment ago does not count. */
static inline int proc_living_children(pid_t pid, pid_t *children, int most)
{
    int count = proc_children(pid, children, most), living = 0;
    for (int i = 0; i < count && i < most; i++)
        if (proc_lives(children[i]))
            children[living++] = children[i];
    return living;
}

/* Signals `pid` if it is a living child of `parent`, else not, even if the number has gone to another process meanwhile: the
 * descriptor names the process that was looked at. True: the signal was sent. */
static inline bool proc_signal_child(pid_t parent, pid_t pid, int number)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return false;
    proc_stat stat = proc_look(pid);
    bool sent = stat.parent == parent && stat.state && stat.state != 'Z' &&
                syscall(SYS_pidfd_send_signal, fd, number, NULL, 0) == 0;
    close(fd);
    return sent;
}

/* Resident memory in KiB, and of it what is not shared with anybody (the program's pages that a fork shares are not). */
static inline long proc_resident_kib(pid_t pid)
{
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib;
}

static inline int proc_descriptors(pid_t pid)
{
    char path[64];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    if (!dir)
        return -1;
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count - (pid == getpid()); /* the one that reads */
}

/* CPU time of a process and its threads in nanoseconds, as the scheduler counts it, but for the thread that asks; -1: it is not
 * there. */
static inline long long proc_cpu_ns(pid_t pid)
{
    char path[320], own[32];
    long long sum = -1;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    snprintf(own, sizeof own, "%d", (int)gettid());
    DIR *tasks = opendir(path);
    if (!tasks)
        return sum;
    sum = 0;
    for (struct dirent *entry; (entry = readdir(tasks));) {
        long long ns = 0;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, entry->d_name);
        FILE *file = entry->d_name[0] == '.' || !strcmp(entry->d_name, own) ? NULL : fopen(path, "re");
        if (file && fscanf(file, "%lld", &ns) == 1)
            sum += ns;
        if (file)
            fclose(file);
    }
    closedir(tasks);
    return sum;
}

#endif
