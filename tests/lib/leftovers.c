/* Decides whether anything was left behind; the list of what counts is in leftovers.h. Every kind of thing is read from
 * /proc as a set of names, and what is in the later set but not in the earlier one is left over. Children are asked for with
 * waitid, which sees those that live and those that nobody reaped. Things that are going away are given `patience` seconds:
 * a condition polled with a deadline, never a fixed sleep. Out of memory: the test fails by abort(), it is only a test. */
#include "tests/lib/leftovers.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

double leftovers_patience = 3;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* ---- sets of names ---- */

static void names_add(names *set, const char *name)
{
    if (set->count == set->capacity) {
        set->capacity = set->capacity ? 2 * set->capacity : 16;
        set->items = realloc(set->items, set->capacity * sizeof *set->items);
        if (!set->items)
            abort();
    }
    set->items[set->count] = strdup(name);
    if (!set->items[set->count++])
        abort();
}

static bool names_has(const names *set, const char *name)
{
    for (size_t i = 0; i < set->count; i++)
        if (!strcmp(set->items[i], name))
            return true;
    return false;
}

static void names_fini(names *set)
{
    for (size_t i = 0; i < set->count; i++)
        free(set->items[i]);
    free(set->items);
    *set = (names){0};
}

/* ---- what is there ---- */

/* Adds what `name_of` makes of each entry of a directory; the descriptor that reads it is not one of them. */
static void list_directory(names *set, const char *path, bool (*name_of)(const char *entry, char *name, size_t size))
{
    DIR *dir = opendir(path);
    if (!dir)
        return;
    char own[32], name[512];
    snprintf(own, sizeof own, "%d", dirfd(dir));
    bool of_descriptors = !strcmp(path, "/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.' && !(of_descriptors && !strcmp(entry->d_name, own)) &&
            name_of(entry->d_name, name, sizeof name))
            names_add(set, name);
    closedir(dir);
}

static bool thread_name(const char *entry, char *name, size_t size)
{
    snprintf(name, size, "%s", entry);
    return true;
}

static bool descriptor_name(const char *entry, char *name, size_t size)
{
    char link[64], target[256];
    snprintf(link, sizeof link, "/proc/self/fd/%s", entry);
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length < 0)
        return false;
    target[length] = 0;
    snprintf(name, size, "%s %s", entry, target);
    return true;
}

/* Files of shared memory that are ours begin with "mp" or "millpond" and carry the process id of whoever made them; one that
 * belongs to another living process is the business of a test that runs beside this one. */
static bool shared_file_name(const char *entry, char *name, size_t size)
{
    const char *base = strncmp(entry, "sem.", 4) ? entry : entry + 4;
    if (strncmp(base, "mp", 2) != 0 && strncmp(base, "millpond", 8) != 0)
        return false;
    const char *digits = base;
    while (*digits && !isdigit((unsigned char)*digits))
        digits++;
    int owner = atoi(digits);
    if (owner > 0 && owner != getpid() && !kill(owner, 0))
        return false;
    snprintf(name, size, "%s", entry);
    return true;
}

static void list_mappings(names *set)
{
    FILE *file = fopen("/proc/self/maps", "re");
    if (!file)
        return;
    char line[512];
    while (fgets(line, sizeof line, file)) {
        char permissions[8], inode[32];
        int path = 0;
        if (sscanf(line, "%*s %7s %*s %*s %31s %n", permissions, inode, &path) < 2 || permissions[3] != 's')
            continue;
        line[strcspn(line, "\n")] = 0;
        char name[512];
        snprintf(name, sizeof name, "%s %s", inode, line + path);
        if (!names_has(set, name))
            names_add(set, name);
    }
    fclose(file);
}

/* The C library's own signals (32 and up) come and go with its threads; they are left out. */
static void list_signals(names *set)
{
    FILE *file = fopen("/proc/thread-self/status", "re");
    if (!file)
        return;
    char line[256], name[64];
    unsigned long long mask;
    while (fgets(line, sizeof line, file)) {
        char word[16];
        if (sscanf(line, "%15s %llx", word, &mask) != 2)
            continue;
        if (strcmp(word, "SigBlk:") != 0 && strcmp(word, "SigIgn:") != 0 && strcmp(word, "SigCgt:") != 0)
            continue;
        snprintf(name, sizeof name, "%s %08llx", word, mask & 0x7fffffff);
        names_add(set, name);
    }
    fclose(file);
}

static void look(leftovers *what)
{
    *what = (leftovers){0};
    list_directory(&what->threads, "/proc/self/task", thread_name);
    list_directory(&what->descriptors, "/proc/self/fd", descriptor_name);
    list_directory(&what->files, "/dev/shm", shared_file_name);
    list_mappings(&what->mappings);
    list_signals(&what->signals);
}

static void leftovers_fini(leftovers *what)
{
    names_fini(&what->threads);
    names_fini(&what->descriptors);
    names_fini(&what->mappings);
    names_fini(&what->files);
    names_fini(&what->signals);
}

/* ---- what is too much ---- */

typedef struct report {
    char *text;
    size_t size, length;
    bool any;
} report;

__attribute__((format(printf, 2, 3))) static void report_line(report *to, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(to->text + to->length, to->size - to->length, format, arguments);
    va_end(arguments);
    to->any = true;
    to->length += more > 0 ? (size_t)more : 0;
    if (to->length >= to->size)
        to->length = to->size - 1;
}

static void report_new(report *to, const char *kind, const names *before, const names *after)
{
    for (size_t i = 0; i < after->count; i++)
        if (!names_has(before, after->items[i]))
            report_line(to, "left behind: %s %s\n", kind, after->items[i]);
}

static void first_line(const char *path, char *text, size_t size)
{
    *text = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    if (!fgets(text, (int)size, file))
        *text = 0;
    text[strcspn(text, "\n")] = 0;
    fclose(file);
}

/* One child is named, which is enough to fail: waitid without WNOWAIT would take it away from whoever still reaps it. */
static void report_child(report *to)
{
    siginfo_t info = {0};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
        return; /* ECHILD: there is none */
    if (info.si_pid) {
        report_line(to, "left behind: child %d, which ended (%s %d) and was not reaped\n", info.si_pid,
                    info.si_code == CLD_EXITED ? "exit code" : "signal", info.si_status);
        return;
    }
    char children[256];
    first_line("/proc/thread-self/children", children, sizeof children);
    report_line(to, "left behind: a running child %s\n", children);
}

static void compare(const leftovers *before, report *to)
{
    leftovers after;
    report_child(to);
    look(&after);
    report_new(to, "thread", &before->threads, &after.threads);
    report_new(to, "descriptor", &before->descriptors, &after.descriptors);
    report_new(to, "shared memory mapping", &before->mappings, &after.mappings);
    report_new(to, "/dev/shm file", &before->files, &after.files);
    report_new(to, "signal setting", &before->signals, &after.signals);
    for (size_t i = 0; i < before->descriptors.count; i++)
        if (!names_has(&after.descriptors, before->descriptors.items[i]))
            report_line(to, "closed or replaced: descriptor %s, which is not ours\n", before->descriptors.items[i]);
    leftovers_fini(&after);
}

/* ---- children ---- */

/* Kills every child that the kernel lists for any thread of ours. */
static void kill_children(void)
{
    names threads = {0};
    list_directory(&threads, "/proc/self/task", thread_name);
    for (size_t i = 0; i < threads.count; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/task/%s/children", threads.items[i]);
        FILE *file = fopen(path, "re");
        if (!file)
            continue;
        for (int pid; fscanf(file, "%d", &pid) == 1;)
            kill(pid, SIGKILL);
        fclose(file);
    }
    names_fini(&threads);
}

int leftovers_reap(double seconds)
{
    double deadline = now() + seconds;
    for (int reaped = 0;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid > 0)
            reaped++;
        else if (pid < 0 && errno == ECHILD)
            return reaped;
        else if (now() > deadline)
            return -1;
        else
            nap();
    }
}

/* A killed child's own children come to us next, so this goes on until none is left. */
static void end_children(void)
{
    for (int round = 0; round < 100; round++) {
        kill_children();
        if (leftovers_reap(0.05) >= 0)
            return;
    }
}

/* ---- the two calls ---- */

void leftovers_before(leftovers *before)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    look(before);
}

bool leftovers_after(leftovers *before, char *text, size_t size)
{
    double deadline = now() + leftovers_patience;
    report found;
    for (;;) {
        found = (report){.text = text, .size = size};
        *text = 0;
        compare(before, &found);
        if (!found.any || now() > deadline)
            break;
        nap();
    }
    end_children();
    leftovers_fini(before);
    return !found.any;
}
