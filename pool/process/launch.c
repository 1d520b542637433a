/* How the zygote comes to be: forked from whoever opens the pool, before any thread of ours exists; for MP_FORKSERVER the program is
 * executed again.
 *
 * All signals are blocked meanwhile, so that no handler of the program's runs in the child. One that is executed has to
 * say that it serves before the pool goes on: a program that did not call mp_main would else be taken for a zygote that is
 * slow. It ends: it has said so; it has died, or could not be executed (a packet says why, or its exit code); its time is up. */
#include "pool/process/launch.h"
#include "pool/clock.h"
#include "pool/core.h"
#include "pool/failure.h"
#include "pool/main.h"
#include "pool/process/crash.h"
#include "pool/process/protocol.h"
#include "pool/process/zygote.h"
#include "pool/system.h"
#include "serial/block.h"
#include "serial/memory.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* It is executed at once: the program, however large, is not copied for that. */
static pid_t execute_zygote(const mp__zygote_config *config)
{
    mp__execution execution = {
        .exec = config->exec,
        .birth = {.kind = MP__BIRTH_ZYGOTE, .parent = config->owner, .hash = config->wanted_hash},
        .mask = &config->mask,
        .control = config->control,
        .failed = {.kind = MP__CONTROL_FAILED},
    };
    strncpy(execution.birth.prefix, config->name_prefix, sizeof execution.birth.prefix - 1);
    return mp__exec_zygote(&execution);
}

static pid_t fork_zygote(const mp__zygote_config *config)
{
    fflush(stdout);
    fflush(stderr);
    mp__crash_warm_up();
    (void)mp__block_let_go(); /* a copy of it would be of no use, and have us pay for writing to ours */
    pid_t pid = mp__system.fork();
    if (pid == 0)
        mp__zygote_run(config);
    return pid;
}

/* < 0: errno says why there is none. */
static pid_t make_zygote(mp__zygote_config *config, mp_start_method method)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &config->mask);
    pid_t pid = method == MP_FORKSERVER ? execute_zygote(config) : fork_zygote(config);
    int failed = errno;
    pthread_sigmask(SIG_SETMASK, &config->mask, NULL);
    errno = failed;
    return pid;
}

/* A word of it: > 0; its end: 0; none in time: < 0. */
static ssize_t hear(int control, mp__control *message)
{
    uint64_t deadline = mp__now() + MP__START_NS;
    for (;;) {
        struct pollfd fd = {.fd = control, .events = POLLIN};
        uint64_t now = mp__now();
        if (now >= deadline)
            return -1;
        if (poll(&fd, 1, (int)((deadline - now) / 1000000) + 1) <= 0)
            continue;
        ssize_t got = recv(control, message, sizeof *message, MSG_DONTWAIT);
        if (got >= 0 || (errno != EINTR && errno != EAGAIN))
            return got > 0 ? got : 0;
    }
}

static mp_status not_born(int status, mp_error *error)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == MP__EXIT_MISMATCH)
        return mp__failure(error, MP_EMISMATCH, "the program was executed again with another version of millpond than %s",
                           mp_version());
    const char *name = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;
    if (name)
        return mp__failure(
            error, MP_EBROKEN,
            "the program was executed again to fork workers from, but was killed by SIG%s before it could: is "
            "mp_main called first in main?",
            name);
    return mp__failure(error, MP_EBROKEN,
                       "the program was executed again to fork workers from, but exited with code %d before it could: is "
                       "mp_main called first in main?",
                       WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static mp_status await_birth(pid_t zygote, int control, mp_error *error)
{
    mp__control message;
    int status = 0;
    ssize_t got = hear(control, &message);
    if (got == sizeof message && message.kind == MP__CONTROL_BORN)
        return MP_OK;
    if (got) /* at its end it is dying, and how says why */
        kill(zygote, SIGKILL);
    while (waitpid(zygote, &status, 0) < 0 && errno == EINTR)
        ;
    if (got == sizeof message && message.kind == MP__CONTROL_FAILED)
        return mp__system_failure(error, message.value, "the program cannot be executed again");
    if (got < 0)
        return mp__failure(
            error, MP_EBROKEN,
            "the program was executed again to fork workers from, but did not come to that in %d s: is mp_main "
            "called first in main?",
            (int)(MP__START_NS / 1000000000u));
    return not_born(status, error);
}

static mp_status prepare(const mp__launch *launch, mp__exec **exec, mp_error *error)
{
    *exec = NULL;
    if (launch->method != MP_SPAWN && launch->method != MP_FORKSERVER)
        return MP_OK;
    int program = mp__main_descriptor();
    if (program < 0)
        return mp__system_failure(error, errno, "this program's file cannot be opened to execute it again");
    *exec = mp__exec_prepare(program, mp__main_arguments());
    return *exec ? MP_OK : mp__failure(error, MP_ENOMEM, "no memory for a pool");
}

mp_status mp__launch_zygote(const mp__launch *launch, pid_t *zygote, int *control, mp_error *error)
{
    mp__exec *exec;
    int ends[2];
    mp_status status = prepare(launch, &exec, error);
    if (status)
        return status;
    if (mp__system.socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        status = mp__system_failure(error, errno, "no process for a pool");
        free(exec);
        return status;
    }
    int ours = mp__above_standard(ends[0]), theirs = mp__above_standard(ends[1]);
    mp__zygote_config config = {.control = theirs,
                                .owner = getpid(),
                                .tasks = launch->tasks,
                                .wanted_hash = launch->hash,
                                .name_prefix = launch->name_prefix,
                                .chaos = launch->chaos,
                                .exec = exec};
    pid_t pid = ours >= 0 && theirs >= 0 ? make_zygote(&config, launch->method) : -1;
    if (pid < 0)
        status = mp__system_failure(error, errno, "no process for a pool");
    if (theirs >= 0)
        close(theirs);
    free(exec); /* the zygote has its own copy */
    if (!status && launch->method == MP_FORKSERVER)
        status = await_birth(pid, ours, error);
    if (status && ours >= 0)
        close(ours);
    *zygote = status ? -1 : pid;
    *control = status ? -1 : ours;
    return status;
}
