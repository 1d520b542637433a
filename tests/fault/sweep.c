/* Decides which faults a scene is played with, and sees that each time it ends and that nothing is left behind.
 *
 * First it is played in peace, and the calls are counted: what is never called need not fail. Then, for each kind of call, the
 * first one fails, the second one, and so on, until a play goes by in which none has. The threads of a pool take turns as they
 * like, so the n-th call is not the same in each play; that there are enough plays makes up for it.
 *
 * A second thread watches: a play that does not end in time is told with what all threads and children are doing, and the test is
 * ended. It holds no lock while anything is forked but its own. */
#include "tests/fault/sweep.h"
#include "tests/lib/check.h"
#include "tests/lib/proc.h"
#include "tests/lib/rounds.h"
#include "tests/lib/until.h"
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

/* ---- what fails, and how ---- */

enum { ERRORS = 4, SEEN = 0, UNSEEN = 1 };

/* Errors that must not be noticed stand in rows of their own. */
typedef struct row {
    fault_call call;
    fault_side side;
    bool unseen;
    int errors[ERRORS];
} row;

static const row rows[] = {
    {FAULT_memory, OURS, SEEN, {ENOMEM}},
    {FAULT_fork, OURS, SEEN, {EAGAIN, ENOMEM}},
    {FAULT_clone, OURS, SEEN, {EAGAIN, ENOMEM}},
    {FAULT_pipe2, OURS, SEEN, {EMFILE, ENFILE}},
    {FAULT_socketpair, OURS, SEEN, {EMFILE, ENFILE}},
    {FAULT_memfd_create, OURS, SEEN, {EMFILE, ENOMEM}},
    {FAULT_ftruncate, OURS, SEEN, {ENOSPC, ENOMEM}},
    {FAULT_mmap, OURS, SEEN, {ENOMEM, EAGAIN}},
    {FAULT_epoll_create1, OURS, SEEN, {EMFILE, ENOMEM}},
    {FAULT_epoll_ctl, OURS, SEEN, {ENOSPC, ENOMEM}},
    {FAULT_eventfd, OURS, SEEN, {EMFILE, ENFILE}},
    {FAULT_pthread_create, OURS, SEEN, {EAGAIN}},
    {FAULT_read, OURS, UNSEEN, {EINTR, FAULT_SHORT, EAGAIN}},
    {FAULT_read, OURS, SEEN, {EIO, ENOMEM}},
    {FAULT_writev, OURS, UNSEEN, {EINTR, FAULT_SHORT, EAGAIN}},
    {FAULT_writev, OURS, SEEN, {ENOMEM}},
    {FAULT_vmsplice, OURS, UNSEEN, {EINTR, EAGAIN, ENOSYS}},
    {FAULT_sendmsg, OURS, UNSEEN, {EINTR, EAGAIN, ETOOMANYREFS}},
    {FAULT_sendmsg, OURS, SEEN, {ENOBUFS, ENOMEM}},
    {FAULT_memory, THEIRS, SEEN, {ENOMEM}},
    {FAULT_fork, THEIRS, SEEN, {EAGAIN, ENOMEM}},
    {FAULT_clone, THEIRS, SEEN, {EAGAIN, ENOMEM}},
    {FAULT_execve, THEIRS, SEEN, {ENOMEM, ETXTBSY}},
    {FAULT_mmap, THEIRS, SEEN, {ENOMEM}},
    {FAULT_read, THEIRS, UNSEEN, {EINTR, FAULT_SHORT}},
    {FAULT_read, THEIRS, SEEN, {EIO}},
    {FAULT_writev, THEIRS, UNSEEN, {EINTR, FAULT_SHORT}},
    {FAULT_writev, THEIRS, SEEN, {ENOMEM}},
    {FAULT_vmsplice, THEIRS, UNSEEN, {EINTR, ENOSYS}},
    {FAULT_recvmsg, THEIRS, UNSEEN, {EINTR}},
    {FAULT_recvmsg, THEIRS, SEEN, {ENOMEM}},
};
enum { ROWS = sizeof rows / sizeof *rows };

static const char *error_name(int os_error)
{
    return os_error == FAULT_SHORT ? "one byte" : strerrorname_np(os_error);
}

/* ---- the watch ---- */

enum { PATIENCE = 15 }; /* seconds: a play takes milliseconds */

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool over;
    unsigned long plays; /* that have begun */
    const char *when;
} guard = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void show_file(const char *what, int pid, const char *thread, const char *name)
{
    char path[320], text[4096];
    snprintf(path, sizeof path, "/proc/%d/task/%s/%s", pid, thread, name);
    FILE *file = fopen(path, "re");
    size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    text[size] = 0;
    text[strcspn(text, "\n")] = 0;
    fprintf(stderr, "%s %s: %s\n", what, name, text);
}

static void show_process(int pid, int depth)
{
    char path[64], what[64];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    for (struct dirent *entry; tasks && (entry = readdir(tasks));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(what, sizeof what, "%*sprocess %d thread %.16s", 2 * depth, "", pid, entry->d_name);
        show_file(what, pid, entry->d_name, "comm");
        show_file(what, pid, entry->d_name, "stat");
        show_file(what, pid, entry->d_name, "wchan");
        show_file(what, pid, entry->d_name, "syscall");
    }
    if (tasks)
        closedir(tasks);
    pid_t children[16];
    int count = proc_children(pid, children, 16);
    for (int i = 0; i < count && i < 16 && depth < 3; i++)
        show_process(children[i], depth + 1);
}

/* MP_SWEEP_WAIT: stays, for a debugger. */
static void *watch(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&guard.lock);
    while (!guard.over) {
        struct timespec until;
        unsigned long before = guard.plays;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += PATIENCE * ROUNDS_SLOWER;
        int timed_out = 0;
        while (!guard.over && guard.plays == before && !timed_out)
            timed_out = pthread_cond_timedwait(&guard.changed, &guard.lock, &until);
        if (guard.over || guard.plays != before)
            continue;
        fprintf(stderr, "it does not end: %s\n", guard.when);
        show_process(getpid(), 0);
        if (getenv("MP_SWEEP_WAIT"))
            pause();
        abort();
    }
    pthread_mutex_unlock(&guard.lock);
    return NULL;
}

static void tell_watch(const char *when, bool over)
{
    pthread_mutex_lock(&guard.lock);
    guard.when = when;
    guard.over = over;
    guard.plays++;
    pthread_cond_signal(&guard.changed);
    pthread_mutex_unlock(&guard.lock);
}

/* ---- plays ---- */

static bool all_of_them;
static unsigned long plays;
static double longest; /* seconds */
static char longest_when[sizeof((scene_case *)0)->when];

static int play_once(scene_play *play, const scene_case *how)
{
    leftovers before;
    char left[2048];
    plays++;
    tell_watch(how->when, false);
    leftovers_before(&before);
    double began = seconds_now();
    int hit = scene_run(play, how);
    double took = seconds_now() - began;
    if (!leftovers_after(&before, left, sizeof left))
        cr_fatal("%s: %s", how->when, left);
    if (took > longest) {
        longest = took;
        memcpy(longest_when, how->when, sizeof longest_when);
    }
    return hit;
}

/* The first so many one by one, then ever fewer. What is executed afresh is slower to start, and but for that as what is forked. */
static int next_call(const scene_case *how, int n)
{
    bool executed = how->kind == ON_SPAWN || how->kind == ON_FORKSERVER;
    int dense = ROUNDS(executed ? 3 : 5), growth = ROUNDS(executed ? 1 : 2);
    return n < dense || (all_of_them && n < 1000) ? n + 1 : n + 1 + n / growth;
}

static void sweep_row(scene_play *play, const row *r, const char *name, scene_case *how, int count)
{
    int errors = 0;
    while (errors < ERRORS && r->errors[errors])
        errors++;
    int misses = 0;
    for (int n = 0; misses < 2; n = next_call(how, n)) {
        int hit = 0;
        for (int e = 0; e < errors; e++) {
            if (!all_of_them && e != n % errors)
                continue;
            how->call = r->call;
            how->side = r->side;
            how->unseen = r->unseen;
            how->os_error = r->errors[e];
            how->first = n;
            how->count = count;
            snprintf(how->when, sizeof how->when, "%s: %s's %s number %d%s: %s", name,
                     r->side == OURS ? "the program" : "a worker", faults_name(r->call), n,
                     count > 1 ? " and all after it" : "", error_name(r->errors[e]));
            hit += play_once(play, how);
        }
        misses = hit ? 0 : misses + 1;
    }
    if (all_of_them && memory_leaked()) /* else CHECK looks, after all of them */
        cr_fatal("%s: memory leaked in one of the plays before: see LeakSanitizer's report", how->when);
}

/* What fails from then on: with nothing left out everything does, else memory, where workers cost least. */
static bool ends_for_good(const row *r, scene_kind kind)
{
    return r->call == FAULT_memory && r->side == OURS && kind == ON_FORK;
}

void sweep(scene_play *play, const char *name, scene_kind kind, bool every)
{
    const char *wanted = getenv("MP_SWEEP"), *only = getenv("MP_SWEEP_CALL");
    bool called[ROWS];
    scene_case how = {.kind = kind, .when = "in peace", .unseen = true};
    all_of_them = every || (wanted && !strcmp(wanted, "full"));
    plays = 0;
    guard.over = false;
    pthread_create(&guard.thread, NULL, watch, NULL);
    scenes_begin();
    play_once(play, &how);
    for (int i = 0; i < ROWS; i++)
        called[i] = faults_seen(rows[i].call, rows[i].side) > 0 && (!only || !strcmp(only, faults_name(rows[i].call)));
    for (int i = 0; i < ROWS; i++)
        if (called[i])
            sweep_row(play, &rows[i], name, &how, 1);
    for (int i = 0; i < ROWS; i++)
        if (called[i] && (all_of_them ? !rows[i].unseen : ends_for_good(&rows[i], kind)))
            sweep_row(play, &rows[i], name, &how, INT_MAX);
    scenes_end();
    tell_watch("the end", true);
    pthread_join(guard.thread, NULL);
    cr_log_info("%s: %lu plays, the longest %.0f ms: %s", name, plays, longest * 1000, longest_when);
}
