/* The program is interrupted, or killed, in the middle of its work: done to a child of ours, which has a pool of its own and is the
 * head of a process group, as a program that a shell has started is. What it leaves behind comes to us (PR_SET_CHILD_SUBREAPER). */
#include "examples/probes/probes.h"
#include <errno.h>
#include <fcntl.h>
#include <millpond.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ITEMS = 1000, ITEM_MS = 20, PATIENCE_S = 10 };

static mp_status nap(const int *item, int *out, mp_call *call)
{
    (void)call;
    nanosleep(&(struct timespec){.tv_nsec = ITEM_MS * 1000000}, NULL);
    *out = *item;
    return MP_OK;
}
MP_TASK(nap, int, int);

/* Says through its output what it got, when the map returns; a byte of `ready` says that the first results are there. */
static void work(int ready)
{
    static int items[ITEMS];
    int done = 0, interrupted = 0;
    MP_WITH_POOL (pool, .processes = 2) {
        mp_iter *results = mp_pool_imap(pool, nap, items, ITEMS, .buffersize = ITEMS);
        mp_status status;
        while ((status = mp_iter_next(results, NULL, MP_FOREVER)) != MP_END) {
            done += status == MP_OK;
            interrupted += status == MP_EINTERRUPTED;
            if (done == 1 && status == MP_OK && write(ready, "", 1) != 1)
                _exit(1);
        }
        mp_iter_free(&results);
    }
    printf("%d done, %d not\n", done, interrupted);
    fflush(stdout);
    _exit(done > 0 && interrupted > 0 ? 0 : 1);
}

/* Its output comes out of `*output`. */
static pid_t begin(int *output)
{
    int ready[2], out[2];
    char byte;
    if (pipe2(ready, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        dup2(out[1], 1);
        dup2(out[1], 2);
        work(ready[1]);
    }
    close(ready[1]);
    close(out[1]);
    if (read(ready[0], &byte, 1) != 1)
        pid = -1;
    close(ready[0]);
    *output = out[0];
    return pid;
}

/* How many lines it wrote, until nobody can write any more. */
static int lines(int output)
{
    char text[4096];
    int count = 0;
    for (ssize_t got; (got = read(output, text, sizeof text)) > 0;)
        for (ssize_t i = 0; i < got; i++)
            count += text[i] == '\n';
    close(output);
    return count;
}

/* True if everybody that it has left to us goes away by itself, soon. */
static bool all_gone(void)
{
    double until = seconds() + PATIENCE_S;
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0 && seconds() < until)
        if (pid == 0)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return pid < 0 && errno == ECHILD;
}

outcome ctrl_c(void)
{
    outcome o = {0};
    int output, status = -1;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t pid = begin(&output);
    if (pid < 0) {
        say(&o, false, "could not begin");
        return o;
    }
    double began = seconds();
    kill(-pid, SIGINT); /* as the terminal does */
    waitpid(pid, &status, 0);
    double took = seconds() - began;
    int wrote = lines(output);
    bool gone = all_gone();
    say(&o, status == 0 && wrote == 1 && gone, "%.1f s, %d line: what was done is kept%s", took, wrote,
        gone ? "" : "; somebody is left");
    return o;
}

outcome killed_parent(void)
{
    outcome o = {0};
    int output;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t pid = begin(&output);
    if (pid < 0) {
        say(&o, false, "could not begin");
        return o;
    }
    double began = seconds();
    kill(pid, SIGKILL);
    bool gone = all_gone();
    say(&o, gone, "%s, %.1f s", gone ? "0 left" : "somebody is left", seconds() - began);
    close(output);
    return o;
}
