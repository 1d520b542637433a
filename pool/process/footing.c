/* What a worker stands on. A task that changes directory, leaves a signal blocked, or closes standard output, would do that to every
 * item after it, and nobody would find out why those fail. So between items the worker looks, and puts things back.
 *
 * All of it is looked at after an item that took half a millisecond or more, and, once anything had to be mended, after each item (the
 * worker sees to that). Among shorter items that would be a measurable part of their time: there one thing of five is looked at
 * every 50 us or more, for a hundredth of the time at most, also where the worker sleeps in between; so what one of them changes, a few
 * others find. What an initializer arranges stays: it is noted again behind it. Not mended: memory, environment, locale, limits, other descriptors and signals, priorities; and a
 * FILE that was closed, which is the C library's: what later items print with it is lost, and they are told.
 *
 * Descriptors of ours have high numbers: a task may still hold a low one, in a FILE say, that was the program's. Runs in the worker's
 * only thread of ours. What cannot be had at the beginning ends the process with MP__EXIT_SETUP; what cannot be mended stays. */
#include "pool/process/footing.h"
#include "pool/process/inheritance.h"
#include "pool/system.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef F_DUPFD_QUERY
#define F_DUPFD_QUERY 1027 /* as Linux 6.10 has it; the C library may be older */
#endif

/* From the highest of our numbers down. */
enum { RESULTS = 1, TASKS, OUTPUT = 4, STATM, DIRECTORY, INPUT, KEPT = INPUT }; /* OUTPUT: two, the other one above it */
enum { BELOW = 1024, ABOVE = 16 };                                              /* our numbers */

/* --- taking it ----------------------------------------------------------------------------------------------------------- */

/* In a process group of its own a worker does not have the terminal: to read from there is an error then, and to write is not, but
 * neither stops it. */
void mp__footing_take_signals(void)
{
    mp__inherit_signals();
    signal(SIGTTIN, SIG_IGN);
    signal(SIGTTOU, SIG_IGN);
}

/* The zygote's death is ours, also in the middle of a task; if it died before we asked, we have another parent already. */
static void follow(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(MP__EXIT_GONE);
}

/* The program's descriptors are closed here, but a task may still hold one's number, in a FILE say. So ours do not take the low
 * numbers, which are the likeliest: what is written to a number of old must fail, and not be taken for a result. */
static int top_number(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > BELOW)
        return BELOW;
    if (limit.rlim_cur < ABOVE + KEPT)
        _exit(MP__EXIT_SETUP);
    return (int)limit.rlim_cur;
}

static int keep(int fd, int number)
{
    if (dup3(fd, number, O_CLOEXEC) < 0)
        _exit(MP__EXIT_SETUP);
    return number;
}

/* < 0: there is none, and what it is for is not done. */
static int keep_opened(const char *path, int flags, int number)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0 || fd == number)
        return fd;
    int kept = dup3(fd, number, O_CLOEXEC);
    close(fd);
    return kept;
}

/* What tasks print goes into files, of which copies are kept; or else copies of 1 and 2, which are made when these are noted: a task
 * may close those, or put others there. */
static void take_output(mp__footing *footing, const mp__worker_start *start, int top)
{
    footing->captures = start->output_fds[0] >= 0;
    for (int i = 0; i < MP__CAPTURED; i++)
        footing->output_fds[i] = top - OUTPUT + i;
    if (footing->captures && !mp__capture_begin(start->output_fds, top - OUTPUT, footing->output_fds))
        _exit(MP__EXIT_SETUP);
}

mp__shared *mp__footing_take(mp__footing *footing, const mp__worker_start *start)
{
    follow(start->parent);
    mp__shared *shared = mp__system.mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, start->shared_fd, 0);
    if (shared == MAP_FAILED)
        _exit(MP__EXIT_SETUP);
    int top = top_number();
    footing->results_fd = keep(start->results_fd, top - RESULTS);
    footing->tasks_fd = keep(start->tasks_fd, top - TASKS);
    take_output(footing, start, top);
    mp__close_between(3, top - (footing->captures ? OUTPUT : TASKS) - 1);
    mp__close_between(top, INT_MAX);
    footing->statm_fd = shared->limits.rss ? keep_opened("/proc/self/statm", O_RDONLY, top - STATM) : -1;
    footing->directory_fd = top - DIRECTORY; /* numbers so far: see note */
    footing->input_fd = top - INPUT;
    return shared;
}

/* --- keeping it ---------------------------------------------------------------------------------------------------------- */

static bool same_file(const struct stat *found, const mp__file_id *wanted)
{
    return found->st_dev == wanted->device && found->st_ino == wanted->inode;
}

static mp__file_id file_at(int fd)
{
    struct stat found;
    return fstat(fd, &found) == 0 ? (mp__file_id){found.st_dev, found.st_ino} : (mp__file_id){0, 0};
}

static int kept_of(const mp__footing *footing, int fd)
{
    return fd ? footing->output_fds[fd - 1] : footing->input_fd;
}

/* Without a copy standard input is empty. */
static bool restore_standard(const mp__footing *footing, int fd)
{
    if (dup2(kept_of(footing, fd), fd) >= 0)
        return true;
    int null = fd ? -1 : open("/dev/null", O_RDWR);
    if (null > 0) {
        dup2(null, 0);
        close(null);
    }
    return null >= 0;
}

/* An initializer may have put other files there, which are then what is kept; but what is captured goes where it is captured. */
static void note_standard(mp__footing *footing)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0)
            restore_standard(footing, fd);
        bool ours = fd && footing->captures;
        footing->standard[fd] = file_at(ours ? footing->output_fds[fd - 1] : fd);
        if (!ours)
            dup3(fd, kept_of(footing, fd), O_CLOEXEC);
    }
}

void mp__footing_note(mp__footing *footing)
{
    if (footing->directory_fd >= 0) {
        footing->directory_fd = keep_opened(".", O_PATH | O_DIRECTORY, footing->directory_fd);
        footing->directory = file_at(footing->directory_fd);
    }
    note_standard(footing);
    footing->umask = umask(0);
    umask(footing->umask);
    sigprocmask(SIG_BLOCK, NULL, &footing->mask);
    sigaction(SIGTERM, NULL, &footing->term);
}

/* Without a path there is nothing to be looked for. */
static bool mend_directory(const mp__footing *footing)
{
    struct stat found;
    if (footing->directory_fd < 0 ||
        (fstatat(AT_FDCWD, "", &found, AT_EMPTY_PATH) == 0 && same_file(&found, &footing->directory)))
        return false;
    return fchdir(footing->directory_fd) == 0;
}

static bool mend_mask(const mp__footing *footing)
{
    sigset_t found;
    sigprocmask(SIG_SETMASK, &footing->mask, &found);
    return memcmp(&found, &footing->mask, _NSIG / 8) != 0;
}

static bool mend_term(const mp__footing *footing)
{
    struct sigaction found;
    if (sigaction(SIGTERM, NULL, &found) < 0 || found.sa_handler == footing->term.sa_handler)
        return false;
    return sigaction(SIGTERM, &footing->term, NULL) == 0;
}

/* Linux 6.10 can say so, in half the time that it takes to look at the file. False: it is not, or cannot be known. */
static bool is_copy_of(int fd, int kept)
{
    static bool unknown;
    int is = unknown ? -1 : fcntl(fd, F_DUPFD_QUERY, kept);
    unknown |= is < 0 && errno == EINVAL;
    return is == 1;
}

/* The same file is enough: it may have been opened again. */
static bool mend_standard(const mp__footing *footing, int fd)
{
    struct stat found;
    if (is_copy_of(fd, kept_of(footing, fd)))
        return false;
    if (fstat(fd, &found) == 0 && same_file(&found, &footing->standard[fd]))
        return false;
    return restore_standard(footing, fd);
}

enum { INPUT_STEP, OUTPUT_STEP, ERROR_STEP, DIRECTORY_STEP, REST, STEPS };

/* Each costs what one to three system calls do. */
static bool mend_step(const mp__footing *footing, unsigned step)
{
    if (step <= ERROR_STEP)
        return mend_standard(footing, (int)step);
    if (step == DIRECTORY_STEP)
        return mend_directory(footing);
    bool mended = umask(footing->umask) != footing->umask;
    mended |= mend_mask(footing);
    mended |= mend_term(footing);
    return mended;
}

bool mp__footing_mend(mp__footing *footing)
{
    bool mended = false;
    for (unsigned step = 0; step < STEPS; step++)
        mended |= mend_step(footing, step);
    return mended;
}

bool mp__footing_glance(mp__footing *footing)
{
    return mend_step(footing, footing->glances++ % STEPS);
}

uint64_t mp__footing_resident(const mp__footing *footing)
{
    char text[128];
    ssize_t got = footing->statm_fd < 0 ? -1 : pread(footing->statm_fd, text, sizeof text - 1, 0);
    if (got <= 0)
        return 0;
    text[got] = 0;
    const char *second = strchr(text, ' ');
    return second ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}
