/* mp_main: notes what this program is, so that pools can execute it again; and where it has been executed so, becomes what it is
 * executed for.
 *
 * Which of the two stands in one environment variable, written by the process that executes (birth.h). It is removed before
 * anything else happens, so that a worker's own children are programs like any other. A variable that is not meant for this
 * very process was inherited by mistake, and is removed too. One that is still there when a pool is opened says that mp_main was
 * never called in a program that relies on it: without the refusal it would execute itself without end.
 *
 * mp_main runs in the program's first thread, before others; the rest in any. Workers close all descriptors that are not theirs,
 * and so do programs that become daemons; the number may be another file's by then. So which file it is has been noted, it is
 * looked at each time, and opened again if it is not there: hence the atomic. */
#include "pool/main.h"
#include "pool/cluster/launcher.h"
#include "pool/failure.h"
#include "pool/process/birth.h"
#include "pool/process/protocol.h"
#include "pool/process/worker.h"
#include "pool/process/zygote.h"
#include "pool/registry.h"
#include "pool/replay.h"
#include "pool/system.h"
#include "serial/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <millpond/main.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* fixed by mp_main */
static char *const *arguments;
static dev_t device;
static ino_t inode; /* 0: the file could not be opened, for this reason: */
static int os_error;
/* atomic */
static _Atomic int descriptor = -1;

/* The program may move its arguments about (getopt does) and write over them: a copy, kept for ever. */
static char *const *copy_arguments(int argc, char **argv)
{
    size_t head = ((size_t)argc + 1) * sizeof *argv, size = head;
    for (int i = 0; i < argc; i++)
        size += strlen(argv[i]) + 1;
    char **copy = mp__memory.malloc(size);
    if (!copy)
        return argv;
    char *text = (char *)copy + head;
    for (int i = 0; i < argc; i++) {
        copy[i] = text;
        text = stpcpy(text, argv[i]) + 1;
    }
    copy[argc] = NULL;
    return copy;
}

static int open_program(void)
{
    return mp__above_standard(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
}

static void note_program(void)
{
    struct stat about;
    int opened = open_program();
    if (opened < 0 || fstat(opened, &about) < 0) {
        os_error = errno;
        return;
    }
    device = about.st_dev;
    inode = about.st_ino;
    atomic_store(&descriptor, opened);
}

int mp__main_descriptor(void)
{
    struct stat about;
    int known = atomic_load(&descriptor);
    if (!inode) {
        errno = os_error;
        return -1;
    }
    if (fstat(known, &about) == 0 && about.st_dev == device && about.st_ino == inode)
        return known;
    int opened = open_program();
    if (opened < 0 || atomic_compare_exchange_strong(&descriptor, &known, opened))
        return opened;
    close(opened); /* another thread was quicker */
    return known;
}

char *const *mp__main_arguments(void)
{
    return arguments;
}

/* What loads tasks has run: constructors, and what stands before mp_main. */
_Noreturn static void become(const mp__birth *birth)
{
    mp__task_table tasks;
    sigset_t mask;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    if (mp__task_table_take(&tasks) != MP_OK)
        _exit(MP__EXIT_SETUP);
    if (birth->kind == MP__BIRTH_ZYGOTE)
        mp__zygote_run(&(mp__zygote_config){.control = birth->fds[0],
                                            .owner = birth->parent,
                                            .mask = mask,
                                            .tasks = &tasks,
                                            .wanted_hash = birth->hash,
                                            .name_prefix = birth->prefix,
                                            .executed = true});
    mp__worker_run(&(mp__worker_start){.parent = birth->parent,
                                       .place = birth->place,
                                       .name_prefix = birth->prefix,
                                       .tasks_fd = birth->fds[0],
                                       .results_fd = birth->fds[1],
                                       .shared_fd = birth->fds[2],
                                       .output_fds = {birth->fds[3], birth->fds[4]},
                                       .mask = mask,
                                       .tasks = &tasks,
                                       .wanted_hash = birth->hash,
                                       .executed = true});
}

/* False: it was executed to be something, and that was not for this process. */
static bool begin(int argc, char **argv)
{
    if (!arguments) {
        arguments = copy_arguments(argc, argv);
        note_program();
    }
    const char *text = getenv(MP__BIRTH_VARIABLE);
    if (!text)
        return true;
    mp__birth birth;
    mp__birth_reading read = mp__birth_read(text, &birth);
    unsetenv(MP__BIRTH_VARIABLE);
    if (read == MP__BIRTH_STRANGE)
        _exit(MP__EXIT_MISMATCH);
    if (read == MP__BIRTH_OURS)
        become(&birth);
    return false;
}

void mp_main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return;
    mp__launcher_in_main();
    mp__replay_in_main();
}

void mp_main_mpi(int argc, char **argv)
{
    if (!begin(argc, argv))
        return;
    mp__launcher_in_main_mpi();
    mp__replay_in_main();
}

mp_status mp__main_check(mp_start_method method, mp_error *error)
{
    if (getenv(MP__BIRTH_VARIABLE))
        return mp__failure(
            error, MP_EINVAL,
            "this process was executed to be a pool's worker, but opens a pool itself: call mp_main(argc, argv) "
            "first in main");
    if (method > MP_FORKSERVER)
        return mp__failure(error, MP_EINVAL, ".start_method is %d: it must be MP_FORK, MP_SPAWN, MP_FORKSERVER, or 0",
                           (int)method);
    if ((method == MP_SPAWN || method == MP_FORKSERVER) && !arguments)
        return mp__failure(
            error, MP_EINVAL,
            "%s executes this program again, which must call mp_main(argc, argv) first in main: do so, or use "
            "MP_FORK",
            method == MP_SPAWN ? "MP_SPAWN" : "MP_FORKSERVER");
    return MP_OK;
}
