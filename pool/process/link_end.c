/* A link's last word: how its worker ended, in a sentence, and how many items it had started. Of a dead worker, and of memory that it, or
 * a wild task in it, wrote: nothing is believed that cannot be. Under the pool's lock. */
#include "pool/chaos.h"
#include "pool/failure.h"
#include "pool/process/limits.h"
#include "pool/process/link.h"
#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

void mp__link_name(const mp__link *link, mp_error *error)
{
    error->worker = (int)link->life.place;
    error->pid = link->pid;
}

void mp__link_name_hook(mp__link *link, const mp__hook *hook)
{
    strcpy(link->error.task, hook->task->name); /* its length was checked when it was registered */
}

/* Who has sent it, as far as can be known. */
static void explain_signal(const mp__link *link, int signal, char why[MP_MESSAGE_MAX])
{
    mp__limits_explain(&link->terms->limits, signal, link->evidence.cpu_ns, why);
    if (signal == SIGKILL && link->mute) {
        snprintf(why, MP_MESSAGE_MAX, "%s",
                 ": by its pool, for it had closed the pipe that its results go through; has a task closed what is not its "
                 "own?");
        return;
    }
    if (*why || signal != SIGKILL)
        return;
    snprintf(why, MP_MESSAGE_MAX, "%s",
             link->evidence.by_oom ? ": the kernel killed the worker because memory ran out"
                                   : ": by somebody, or by the kernel when memory ran out");
}

/* Among what the process has open is what we have open here. */
static bool has_open(pid_t pid, int ours)
{
    char path[32];
    struct stat wanted, found;
    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *open_ones = fstat(ours, &wanted) == 0 ? opendir(path) : NULL;
    bool is_there = false;
    for (const struct dirent *one; open_ones && !is_there && (one = readdir(open_ones));)
        is_there = fstatat(dirfd(open_ones), one->d_name, &found, 0) == 0 && found.st_ino == wanted.st_ino &&
                   found.st_dev == wanted.st_dev;
    if (open_ones)
        (void)closedir(open_ones);
    return is_there;
}

/* Its end of the pipe that results go through is closed. One that ends has closed that of its tasks by then, too, and so has one that has
 * executed another program, of whose end we hear. Else a task has closed what is not its own: the worker would live on, and nobody hear of
 * what it does. */
bool mp__link_note_mute(mp__link *link)
{
    link->mute = !link->killed && link->pid > 0 && has_open(link->pid, link->reading_fd);
    return link->mute;
}

/* So that nobody looks for a ghost: it may have been killed, or have had to be, for no fault of the program's. */
static void mention_chaos(mp_error *error)
{
    size_t length = strlen(error->message);
    snprintf(error->message + length, sizeof error->message - length, " (" MP__CHAOS_VARIABLE " is set)");
}

void mp__link_describe_end(mp__link *link)
{
    mp_error *error = &link->error;
    bool known = link->distrusted; /* then the error says it already */
    int signal = link->has_status && WIFSIGNALED(link->status) ? WTERMSIG(link->status) : 0;
    int code = link->has_status && WIFEXITED(link->status) ? WEXITSTATUS(link->status) : -1;
    const char *early = link->stage == MP__LINK_READY     ? ""
                        : link->stage == MP__LINK_GREETED ? " in its initializer"
                                                          : " before it was ready";
    const char *hint = link->stage == MP__LINK_UNHEARD && link->terms->executed ? "; is mp_main called first in main?" : "";
    const char *ours = code == MP__EXIT_SETUP ? ": it could not get the memory or the descriptors that it needs"
                       : code == MP__EXIT_PROTOCOL
                           ? ": its pipes or its memory were not as they should be; has a task written "
                             "to what is not its own?"
                           : "";
    if (!known && signal) {
        const char *name = sigabbrev_np(signal), *text = sigdescr_np(signal);
        char where[40] = "";
        char why[MP_MESSAGE_MAX];
        explain_signal(link, signal, why);
        if (link->evidence.has_address)
            snprintf(where, sizeof where, " at address %#" PRIxPTR, link->evidence.address);
        mp__failure(error, MP_ECRASHED, "the worker was killed by SIG%s (%s)%s%s%s%s", name ? name : "?",
                    text ? text : "unknown", early, where, why, hint);
    } else if (!known && code == MP__EXIT_MISMATCH && link->stage == MP__LINK_UNHEARD) {
        mp__failure(error, MP_EMISMATCH, "a worker was executed with another version of millpond than %s", mp_version());
    } else if (!known && code == MP__EXIT_CHAOS && link->terms->chaos && link->stage == MP__LINK_UNHEARD) {
        mp__failure(error, MP_ECRASHED, "the worker left before it was ready, for " MP__CHAOS_VARIABLE " says so");
    } else if (!known && code >= 0) {
        mp__failure(error, MP_ECRASHED, "the worker exited with code %d%s%s%s", code,
                    *early ? early : " in the middle of its work", ours, hint);
    } else if (!known) {
        mp__failure(error, MP_ECRASHED, "the worker died with the process that it was forked from");
    }
    if (!known && signal && link->terms->chaos)
        mention_chaos(error);
    error->signal = signal;
    error->exit_code = code;
    mp__link_name(link, error);
    if (link->stage == MP__LINK_GREETED)
        mp__link_name_hook(link, &link->terms->initializer);
}

/* True if it was ended, or left, for what a task had done to its pipes or its memory. */
static bool ran_wild(const mp__link *link)
{
    bool left = link->has_status && WIFEXITED(link->status) && WEXITSTATUS(link->status) == MP__EXIT_PROTOCOL;
    return left || (link->distrusted && link->error.status == MP_ECRASHED);
}

/* How many items this life has started. It stands in two places, the second written just after the first; a wild task may have
 * written over either. One that lies between the results that came and the items that were sent can be true. Where there is
 * none, or it says that nothing was started though somebody ran wild, the next item is taken for the culprit: run again, it
 * would do it again. So would one that was being sent when memory ran out: it is not started before all of it is there. */
uint64_t mp__link_count_started(const mp__link *link)
{
    uint64_t least = mp__link_results(link), most = link->items;
    uint64_t first = atomic_load_explicit(&link->shared->claim, memory_order_acquire) & MP__STARTED_MASK;
    uint64_t second = atomic_load_explicit(&link->shared->started_too, memory_order_relaxed);
    bool too_large = link->evidence.by_oom && mp__outbox_borrows(&link->outbox) && least + 1 == most;
    bool agree = first == second || first == second + 1, first_can = first >= least && first <= most;
    if (!agree && second >= least && second <= most && !too_large)
        return second;
    if (first_can && !(first == 0 && ran_wild(link)) && !(first == least && too_large))
        return first;
    return least < most ? least + 1 : least;
}
