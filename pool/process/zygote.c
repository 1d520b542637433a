/* The zygote: forked from the program when a pool opens (for MP_FORKSERVER it has then executed it again), and nothing but a
 * place to fork workers from, which for MP_SPAWN execute the program.
 *
 * One thread, no allocation, only system calls: whatever locks the program's other threads held at the fork stay where they
 * are. It waits for three things: packets from the owner, the death of a child, the death of the owner (the end of the control
 * socket, and a pidfd besides, since a child that the program forked may hold the socket open).
 *
 * Why it exists: workers need a parent that outlives no one and forks from a snapshot. PR_SET_PDEATHSIG follows the thread
 * that forked; this thread lives as long as the process. It reaps, so a signal for a worker goes through it: it alone knows
 * whether a pid is still that worker's. When it ends, its workers are killed, and what their tasks have started: descendants.c. */
#include "pool/process/zygote.h"
#include "pool/cpu.h"
#include "pool/forks.h"
#include "pool/process/descendants.h"
#include "pool/process/inheritance.h"
#include "pool/process/protocol.h"
#include "pool/process/worker.h"
#include "pool/system.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS_MAX = 2 * MP__PROCESSES_MAX }; /* see mp__core_config.workers */

typedef struct child {
    pid_t pid;
    uint32_t generation;
} child;

typedef struct zygote {
    const mp__zygote_config *config;
    pid_t pid;
    int control, deaths, owner; /* descriptors; `owner` is -1 where there are no pidfds */
    child *children;            /* by slot: room for as many as any pool has, of which the kernel backs what is used */
    uint32_t used;              /* slots below this have had children */
} zygote;

/* The workers, and with them what is in their groups; then whatever there is. Where that cannot be found, the workers at least. */
_Noreturn static void leave(const zygote *z)
{
    for (uint32_t i = 0; i < z->used; i++)
        if (z->children[i].pid > 0) /* anything else would be a signal to many */
            mp__descendants_signal(z->children[i].pid, SIGKILL);
    mp__descendants_end(z->deaths);
    for (uint32_t i = 0; i < z->used; i++)
        while (z->children[i].pid > 0 && waitpid(z->children[i].pid, NULL, 0) < 0 && errno == EINTR)
            ;
    _exit(0);
}

static void tell(const zygote *z, const mp__control *message)
{
    while (send(z->control, message, sizeof *message, MSG_NOSIGNAL) < 0)
        if (errno != EINTR)
            leave(z);
}

/* --- serving ------------------------------------------------------------------------------------------------------------- */

static void tell_failed(const zygote *z, const mp__control *message, int os_error)
{
    tell(z, &(mp__control){
                .kind = MP__CONTROL_FAILED, .slot = message->slot, .generation = message->generation, .value = os_error});
}

static pid_t execute_worker(const zygote *z, const mp__control *message, const int fds[MP__CONTROL_FDS])
{
    mp__execution execution = {
        .exec = z->config->exec,
        .birth = {.kind = MP__BIRTH_WORKER,
                  .parent = z->pid,
                  .place = (uint32_t)message->value,
                  .fds = {fds[0], fds[1], fds[2], fds[3], fds[4]},
                  .hash = z->config->wanted_hash},
        .mask = &z->config->mask,
        .control = z->control,
        .failed = {.kind = MP__CONTROL_FAILED, .slot = message->slot, .generation = message->generation},
    };
    strncpy(execution.birth.prefix, z->config->name_prefix, sizeof execution.birth.prefix - 1);
    return mp__exec_worker(&execution);
}

static pid_t fork_worker(const zygote *z, const mp__control *message, const int fds[MP__CONTROL_FDS])
{
    pid_t pid = mp__system.fork();
    if (pid != 0)
        return pid;
    mp__descendants_lead();
    mp__worker_run(&(mp__worker_start){.parent = z->pid,
                                       .place = (uint32_t)message->value,
                                       .name_prefix = z->config->name_prefix,
                                       .tasks_fd = fds[0],
                                       .results_fd = fds[1],
                                       .shared_fd = fds[2],
                                       .output_fds = {fds[3], fds[4]},
                                       .mask = z->config->mask,
                                       .tasks = z->config->tasks,
                                       .chaos = z->config->chaos,
                                       .wanted_hash = z->config->wanted_hash,
                                       .executed = z->config->executed});
}

static void start(zygote *z, const mp__control *message, const int fds[MP__CONTROL_FDS])
{
    pid_t pid = z->config->exec ? execute_worker(z, message, fds) : fork_worker(z, message, fds);
    int failed = errno;
    for (int i = 0; i < mp__control_count(fds); i++)
        close(fds[i]);
    if (pid < 0) {
        tell_failed(z, message, failed);
        return;
    }
    z->children[message->slot] = (child){pid, message->generation};
    if (message->slot >= z->used)
        z->used = message->slot + 1;
}

/* A pid is a worker's until it has been reaped, which only we do. */
static void kill_worker(const zygote *z, const mp__control *message)
{
    const child *target = &z->children[message->slot];
    if (target->pid > 0 && target->generation == message->generation)
        mp__descendants_signal(target->pid, message->value);
}

static void serve(zygote *z)
{
    mp__control message;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(MP__CONTROL_FDS * sizeof(int))];
    } extra;
    struct iovec piece = {&message, sizeof message};
    struct msghdr packet = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &extra, .msg_controllen = sizeof extra};
    ssize_t got = mp__system.recvmsg(z->control, &packet, MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR)
        return;
    if (got != sizeof message || message.slot >= SLOTS_MAX)
        leave(z);
    const struct cmsghdr *fds = CMSG_FIRSTHDR(&packet);
    int numbers[MP__CONTROL_FDS] = {-1, -1, -1, -1, -1};
    const size_t few = MP__CONTROL_FEW * sizeof(int);
    bool whole = fds && !(packet.msg_flags & MSG_CTRUNC);
    if (whole && (fds->cmsg_len == CMSG_LEN(few) || fds->cmsg_len == CMSG_LEN(sizeof numbers))) {
        memcpy(numbers, CMSG_DATA(fds), fds->cmsg_len - CMSG_LEN(0));
        start(z, &message, numbers);
    } else if (message.kind == MP__CONTROL_START) { /* out of descriptors here: they were dropped on the way */
        tell_failed(z, &message, EMFILE);
    } else {
        kill_worker(z, &message);
    }
}

static child *find_child(const zygote *z, pid_t pid)
{
    for (uint32_t i = 0; i < z->used; i++)
        if (z->children[i].pid == pid)
            return &z->children[i];
    return NULL;
}

/* Others are what a task has left behind: nobody asks for them. */
static void reap(const zygote *z)
{
    struct signalfd_siginfo told[16];
    while (read(z->deaths, told, sizeof told) > 0)
        ;
    pid_t pid;
    while ((pid = mp__descendants_dead()) > 0) {
        struct rusage usage = {.ru_maxrss = 0};
        child *dead = find_child(z, pid);
        int status = mp__descendants_reap(pid, dead, &usage);
        if (!dead)
            continue;
        dead->pid = 0;
        tell(z, &(mp__control){.kind = MP__CONTROL_DIED,
                               .slot = (uint32_t)(dead - z->children),
                               .generation = dead->generation,
                               .value = status,
                               .pid = pid,
                               .cpu_ns = mp__used_cpu_ns(&usage),
                               .rss_bytes = (uint64_t)usage.ru_maxrss * 1024});
    }
}

/* The pidfd is opened first and the parent looked at then: if it had died in between, getppid would say so. */
static int watch_owner(pid_t owner)
{
    int fd = (int)syscall(SYS_pidfd_open, owner, 0);
    if (getppid() != owner)
        _exit(0);
    return fd;
}

/* All signals are blocked here for good, and deaths of children come by a descriptor. So handlers of the program's do no harm, and it is
 * left to each worker, which has time for it, to forget them; but those that are executed must have none. */
static int watch_deaths(const mp__zygote_config *config)
{
    sigset_t all, deaths;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    if (config->exec)
        mp__inherit_signals();
    signal(SIGCHLD, SIG_DFL); /* ignored, it would have the kernel reap, and no death were ever told */
    sigemptyset(&deaths);
    sigaddset(&deaths, SIGCHLD);
    return signalfd(-1, &deaths, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int keep_descriptors(const mp__zygote_config *config)
{
    int fds[2] = {config->control, config->exec ? config->exec->program : -1};
    mp__inherit_descriptors(fds, config->exec ? 2 : 1);
    if (config->exec)
        config->exec->program = fds[1];
    return fds[0];
}

_Noreturn void mp__zygote_run(const mp__zygote_config *config)
{
    prctl(PR_SET_NAME, "mp-zygote");
    mp__forks.role = MP__ZYGOTE;
    zygote z = {.config = config,
                .pid = getpid(),
                .control = keep_descriptors(config),
                .deaths = watch_deaths(config),
                .owner = watch_owner(config->owner),
                .children = mp__system.mmap(NULL, SLOTS_MAX * sizeof(child), PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)};
    mp__descendants_adopt();
    if (z.deaths < 0 || z.children == MAP_FAILED)
        leave(&z);
    if (config->executed)
        tell(&z, &(mp__control){.kind = MP__CONTROL_BORN});
    struct pollfd fds[3] = {{z.control, POLLIN, 0}, {z.deaths, POLLIN, 0}, {z.owner, POLLIN, 0}}; /* -1 is passed over */
    for (;;) {
        if (poll(fds, 3, -1) < 0)
            continue;
        if (fds[1].revents)
            reap(&z);
        if (fds[2].revents)
            leave(&z);
        if (fds[0].revents)
            serve(&z);
    }
}
