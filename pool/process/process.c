/* Workers that are processes: the backend for which backend.h was made.
 *
 * Owns the zygote's control socket, one link for each slot, and an epoll descriptor over all of them. `next` goes round what
 * is ready: reports from the zygote first, then links, each read until it is empty or has had its share. What a hook finds out
 * at once (a worker that cannot be started, the answer to a recall) is owed, and an eventfd among the descriptors says so.
 *
 * Runs under the pool's lock. Death of a worker is believed when the zygote reports it, never from the end of a pipe: a child of
 * a task's may hold that open, or have closed it. Should the zygote itself die, its workers die with it and the pool is broken. */
#include "pool/backend.h"
#include "pool/failure.h"
#include "pool/main.h"
#include "pool/process/launch.h"
#include "pool/process/link.h"
#include "pool/process/protocol.h"
#include "pool/system.h"
#include "serial/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* What an epoll event is about, in its data: a kind, and a slot. */
enum {
    ABOUT_CONTROL,
    ABOUT_OWED,
    ABOUT_RESULTS,
    ABOUT_TASKS,
    READY_MAX = 64,
    CROWDED_TRIES = 2000, /* ms */
    REPORTS = 2           /* of one life, at most: that it cannot be executed, and that it died of that */
};

struct mp__workers {
    /* fixed at open */
    mp__terms terms;
    pid_t zygote;
    int control, epoll, owed_fd;
    /* under the pool's lock */
    uint32_t slots;
    mp__link **links;   /* by slot; each stays where it is */
    uint32_t owed;      /* how many links owe an event */
    mp__control *inbox; /* reports read while a command had to wait */
    size_t inbox_count;
    struct epoll_event ready[READY_MAX];
    int ready_count, ready_next;
    mp__link *reading;  /* to be asked before others */
    uint32_t next_look; /* slots from here on have not been looked at since `look` */
    bool zygote_dead;
    uint32_t next_orphan; /* slots from here on have not been looked at since */
    bool owes_broken;
    mp_error error;
};

static void owe(mp__workers *w)
{
    if (w->owed++)
        return;
    ssize_t written = write(w->owed_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* it holds one count only: cannot fail */
}

static void paid(mp__workers *w)
{
    uint64_t count;
    if (--w->owed)
        return;
    ssize_t got = read(w->owed_fd, &count, sizeof count);
    (void)got;
}

static int watch(mp__workers *w, int operation, int fd, uint32_t events, uint32_t about, uint32_t slot)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)about << 32 | slot};
    return mp__system.epoll_ctl(w->epoll, operation, fd, &event);
}

/* Not left to close(2): a child that the program has forked may hold a copy, and epoll would go on about it for ever. */
static void unwatch(mp__workers *w, mp__link *link)
{
    watch(w, EPOLL_CTL_DEL, link->results_fd, 0, 0, 0);
    if (link->waits)
        watch(w, EPOLL_CTL_DEL, link->tasks_fd, 0, 0, 0);
    link->waits = false;
}

/* --- the zygote's socket --------------------------------------------------------------------------------------------------- */

/* One report into the inbox. 0: none now; < 0: the zygote is gone. */
static int receive(mp__workers *w)
{
    mp__control message;
    ssize_t got = recv(w->control, &message, sizeof message, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got != sizeof message || message.slot >= w->slots || w->inbox_count >= REPORTS * w->slots)
        return -1;
    w->inbox[w->inbox_count++] = message;
    return 1;
}

/* Sends a command. When the zygote is behind, its reports are read meanwhile: neither can wait for the other for ever. */
static int command(mp__workers *w, const mp__control *message, const int *fds)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(MP__CONTROL_FDS * sizeof(int))];
    } extra = {.space = {0}};
    struct iovec piece = {(void *)(uintptr_t)message, sizeof *message};
    struct msghdr packet = {.msg_iov = &piece, .msg_iovlen = 1};
    if (fds) {
        packet.msg_control = &extra;
        packet.msg_controllen = sizeof extra.space;
        extra.header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(MP__CONTROL_FDS * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&extra.header), fds, MP__CONTROL_FDS * sizeof(int));
    }
    int tries = CROWDED_TRIES;
    while (mp__system.sendmsg(w->control, &packet, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        bool crowded = errno == ETOOMANYREFS; /* too many descriptors on their way: it takes them one by one */
        if (errno != EAGAIN && errno != EINTR && !crowded)
            return errno;
        if (crowded && !tries--)
            return ETOOMANYREFS;
        size_t before = w->inbox_count;
        struct pollfd fd = {.fd = w->control, .events = crowded ? POLLIN : POLLIN | POLLOUT};
        poll(&fd, 1, crowded ? 1 : -1);
        if (fd.revents & POLLIN && receive(w) < 0)
            return EPIPE;
        if (w->inbox_count > before && before == 0)
            owe(w); /* paid when the inbox is empty again */
    }
    return 0;
}

static bool took_report(mp__workers *w, const mp__control *message, mp__event *event)
{
    mp__link *link = w->links[message->slot];
    if (link->state == MP__LINK_NONE || link->life.generation != message->generation)
        return false;
    unwatch(w, link);
    if (message->kind == MP__CONTROL_DIED) {
        link->state = MP__LINK_DEAD;
        link->has_status = true;
        link->status = message->value;
        link->pid = link->pid ? link->pid : message->pid;
        w->reading = link;
        return false; /* its events follow */
    }
    mp__system_failure(&link->error, message->value, "worker %u cannot be started", link->life.place);
    if (message->pid)
        return mp__link_refuse(link);
    mp__link_close(link);
    *event = (mp__event){
        .kind = MP__EV_START_FAILED, .slot = link->life.slot, .generation = link->life.generation, .error = &link->error};
    return true;
}

/* The zygote has gone, and nobody asked it to. Its workers are dying: first what they have finished is taken and each is
 * told to be lost, so that who ran has the blame; then the pool is told to be broken. */
static void zygote_died(mp__workers *w)
{
    int status = 0;
    w->zygote_dead = w->owes_broken = true;
    watch(w, EPOLL_CTL_DEL, w->control, 0, ABOUT_CONTROL, 0);
    pid_t reaped = waitpid(w->zygote, &status, WNOHANG);
    if (reaped == 0) { /* dying, or it has spoken nonsense: it must be dead before its workers are looked at */
        kill(w->zygote, SIGKILL);
        while ((reaped = waitpid(w->zygote, &status, 0)) < 0 && errno == EINTR)
            ;
    }
    const char *name = reaped > 0 && WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;
    mp__failure(&w->error, MP_EBROKEN, "the process that workers are forked from (pid %d) %s%s: open another pool",
                (int)w->zygote, name ? "was killed by SIG" : "has gone", name ? name : "");
    for (uint32_t i = 0; i < w->slots; i++) {
        mp__link *link = w->links[i];
        if (link->state == MP__LINK_NONE || link->state >= MP__LINK_DEAD)
            continue;
        unwatch(w, link);
        link->state = MP__LINK_DEAD;
        link->orphaned = true;
    }
}

static bool next_orphan(mp__workers *w)
{
    if (!w->zygote_dead || w->next_orphan >= w->slots)
        return false;
    w->reading = w->links[w->next_orphan++];
    return true;
}

static bool tell_broken(mp__workers *w, mp__event *event)
{
    w->owes_broken = false;
    *event = (mp__event){.kind = MP__EV_BROKEN, .error = &w->error};
    return true;
}

/* --- hooks ----------------------------------------------------------------------------------------------------------------- */

static bool begin_life(mp__workers *w, mp__link *link, const int theirs[MP__CONTROL_FDS])
{
    mp__control message = {.kind = MP__CONTROL_START,
                           .slot = link->life.slot,
                           .generation = link->life.generation,
                           .value = (int32_t)link->life.place};
    int failed = watch(w, EPOLL_CTL_ADD, link->results_fd, EPOLLIN, ABOUT_RESULTS, link->life.slot) < 0 ? errno : 0;
    if (!failed)
        failed = w->zygote_dead ? EPIPE : command(w, &message, theirs);
    if (failed)
        mp__system_failure(&link->error, failed, "worker %u cannot be asked for", link->life.place);
    return !failed;
}

/* What a life that is over still owed nobody waits for. */
static void forgive(mp__workers *w, mp__link *link)
{
    if (link->owes_recalled || link->owes_failed)
        paid(w);
    link->owes_recalled = link->owes_failed = false;
}

/* Pipes are better large, but a user may have 64 MiB of them. */
static int pipe_size(const mp__workers *w)
{
    return w->slots <= 32 ? 1 << 20 : w->slots <= 128 ? 1 << 18 : 1 << 16;
}

static void start(mp__workers *w, uint32_t slot, uint32_t generation, uint32_t place)
{
    mp__link *link = w->links[slot];
    int theirs[MP__CONTROL_FDS];
    forgive(w, link);
    bool ok = mp__link_open(link, &w->terms, (mp__life){slot, generation, place}, pipe_size(w), theirs);
    if (ok) {
        ok = begin_life(w, link, theirs);
        for (int i = 0; i < MP__CONTROL_FDS; i++)
            close(theirs[i]);
        if (!ok) {
            unwatch(w, link);
            mp__link_close(link);
        }
    }
    if (!ok) {
        link->owes_failed = true;
        owe(w);
    }
}

static bool room(mp__workers *w, uint32_t slot)
{
    const mp__link *link = w->links[slot];
    return link->state == MP__LINK_OPEN && !link->deaf && !link->waits && !mp__outbox_borrows(&link->outbox) &&
           mp__outbox_waiting(&link->outbox) < MP__OUTBOX_FULL;
}

static void kill_worker(mp__workers *w, uint32_t slot, bool hard);

static void send_item(mp__workers *w, uint32_t slot, const mp__item *item)
{
    mp__link *link = w->links[slot];
    mp__link_send(link, item);
    if (link->distrusted)
        kill_worker(w, slot, true);
}

static void flush(mp__workers *w, uint32_t slot)
{
    mp__link *link = w->links[slot];
    if (link->state != MP__LINK_OPEN || link->deaf || link->waits)
        return;
    int failed = mp__outbox_write(&link->outbox, link->tasks_fd);
    atomic_store_explicit(&link->shared->sent, link->outbox.written, memory_order_release);
    if (failed == EAGAIN) {
        link->waits = true; /* registered only while we wait: a dead reader would be reported for ever */
        if (watch(w, EPOLL_CTL_ADD, link->tasks_fd, EPOLLOUT | EPOLLONESHOT, ABOUT_TASKS, slot) < 0)
            kill_worker(w, slot, true);
    } else if (failed == EPIPE) {
        link->deaf = true; /* it is dying: the report comes */
    } else if (failed) {
        kill_worker(w, slot, true); /* it lives, but cannot be told anything */
    }
}

/* Values whose bytes are still needed must stay where they are: then only what was not sent comes back. */
static void recall(mp__workers *w, uint32_t slot)
{
    mp__link *link = w->links[slot];
    link->started = UINT64_MAX;
    if (link->state == MP__LINK_OPEN && !link->deaf && !mp__outbox_borrows(&link->outbox)) {
        uint64_t epoch = (link->epoch + 1) & (UINT64_MAX / MP__EPOCH_ONE);
        if (mp__outbox_raw(&link->outbox, MP__RESUME, &epoch, sizeof epoch)) {
            uint64_t before = atomic_fetch_add_explicit(&link->shared->claim, MP__EPOCH_ONE, memory_order_acq_rel);
            link->started = before & MP__STARTED_MASK;
            link->epoch = epoch;
            link->job = NULL;
            link->items = link->started;
            flush(w, slot);
        }
    }
    if (!link->owes_recalled)
        owe(w);
    link->owes_recalled = true;
}

/* What a wild task has written there is taken for all. */
static uint64_t started(mp__workers *w, uint32_t slot)
{
    const mp__link *link = w->links[slot];
    if (!link->shared)
        return 0;
    uint64_t count = atomic_load_explicit(&link->shared->claim, memory_order_acquire) & MP__STARTED_MASK;
    return count < link->items ? count : link->items;
}

/* What is started after this look is not concerned: `claim` only counts up, and if a wild task has written over it, what was
 * never sent is not cancelled. */
static void cancel(mp__workers *w, uint32_t slot)
{
    if (w->links[slot]->shared)
        atomic_store_explicit(&w->links[slot]->shared->cancelled, started(w, slot), memory_order_relaxed);
}

/* It leaves when it reads this, behind all that it was sent before. What is recalled meanwhile it does not start; the RESUME
 * behind is never read, and may find the pipe closed. */
static void stop(mp__workers *w, uint32_t slot)
{
    mp__link *link = w->links[slot];
    if (link->state != MP__LINK_OPEN)
        return;
    mp__outbox_raw(&link->outbox, MP__STOP, NULL, 0); /* without memory for four bytes: it is killed when its time is up */
    flush(w, slot);
}

static void kill_worker(mp__workers *w, uint32_t slot, bool hard)
{
    mp__link *link = w->links[slot];
    if (link->state == MP__LINK_NONE || link->state >= MP__LINK_DEAD || w->zygote_dead)
        return;
    link->deaf = true;
    mp__outbox_fini(&link->outbox);
    command(
        w,
        &(mp__control){
            .kind = MP__CONTROL_KILL, .slot = slot, .generation = link->life.generation, .value = hard ? SIGKILL : SIGTERM},
        NULL); /* fails only if the zygote is gone, and it with it */
}

static void look(mp__workers *w)
{
    w->next_look = 0;
}

static int descriptor(mp__workers *w)
{
    return w->epoll;
}

/* --- events ---------------------------------------------------------------------------------------------------------------- */

static bool next_owed(mp__workers *w, mp__event *event)
{
    if (w->inbox_count) {
        mp__control message = w->inbox[0];
        memmove(w->inbox, w->inbox + 1, --w->inbox_count * sizeof message);
        if (!w->inbox_count)
            paid(w);
        return took_report(w, &message, event);
    }
    for (uint32_t i = 0; i < w->slots; i++) {
        mp__link *link = w->links[i];
        if (!link->owes_recalled && !link->owes_failed)
            continue;
        *event = (mp__event){.kind = link->owes_failed ? MP__EV_START_FAILED : MP__EV_RECALLED,
                             .slot = i,
                             .generation = link->life.generation,
                             .started = link->started,
                             .error = &link->error};
        link->owes_recalled = link->owes_failed = false;
        paid(w);
        return true;
    }
    return false;
}

static bool writable(mp__workers *w, uint32_t slot, mp__event *event)
{
    mp__link *link = w->links[slot];
    if (!link->waits)
        return false;
    watch(w, EPOLL_CTL_DEL, link->tasks_fd, 0, 0, 0);
    link->waits = false;
    flush(w, slot);
    *event = (mp__event){.kind = MP__EV_WRITABLE, .slot = slot, .generation = link->life.generation};
    return true;
}

static bool take_ready(mp__workers *w, const struct epoll_event *ready, mp__event *event)
{
    uint32_t slot = (uint32_t)ready->data.u64;
    switch (ready->data.u64 >> 32) {
    case ABOUT_CONTROL: {
        int got = w->inbox_count ? 0 : receive(w); /* what is in the inbox comes first */
        if (got < 0)
            zygote_died(w);
        return got > 0 && took_report(w, &w->inbox[--w->inbox_count], event);
    }
    case ABOUT_TASKS: return writable(w, slot, event);
    case ABOUT_RESULTS:
        w->reading = w->links[slot];
        w->reading->budget = MP__READS;
        return false;
    default: return false;
    }
}

/* A link is asked until it has no more. One that has ended, or is not believed any more, is not looked at again until its
 * death is reported. */
static bool next_of_link(mp__workers *w, mp__event *event)
{
    mp__link *link = w->reading;
    bool got = mp__link_next(link, event);
    bool over = got && (event->kind == MP__EV_LOST || event->kind == MP__EV_START_FAILED);
    if (!got || over)
        w->reading = NULL;
    if (got && (event->kind == MP__EV_GREETED || event->kind == MP__EV_READY))
        flush(w, link->life.slot);
    if (link->refused && !over)
        kill_worker(w, link->life.slot, true);
    if (link->state == MP__LINK_ENDED || (link->state == MP__LINK_OPEN && link->distrusted))
        unwatch(w, link);
    return got;
}

static bool next_look(mp__workers *w)
{
    while (w->next_look < w->slots) {
        mp__link *link = w->links[w->next_look++];
        if (!mp__link_look(link))
            continue;
        w->reading = link;
        return true;
    }
    return false;
}

/* After one round it says that there is nothing, so that the lock is let go; the descriptor says if there is more. */
static bool next(mp__workers *w, mp__event *event)
{
    for (;;) {
        if (w->reading) {
            if (next_of_link(w, event))
                return true;
        } else if (next_orphan(w) || next_look(w)) {
            continue;
        } else if (w->owes_broken) {
            return tell_broken(w, event);
        } else if (w->owed) {
            if (next_owed(w, event))
                return true;
        } else if (w->ready_next < w->ready_count) {
            if (take_ready(w, &w->ready[w->ready_next++], event))
                return true;
        } else if (w->ready_count) {
            w->ready_count = w->ready_next = 0;
            return false;
        } else {
            w->ready_count = epoll_wait(w->epoll, w->ready, READY_MAX, 0);
            if (w->ready_count <= 0) {
                w->ready_count = 0;
                return false;
            }
        }
    }
}

/* --- open and close ---------------------------------------------------------------------------------------------------------- */

/* Arrays that have grown and links that were made before memory ran out are kept or freed: `slots` alone says what there is. */
static mp_status grow(mp__workers *w, uint32_t slots)
{
    mp__control *inbox = mp__memory.realloc(w->inbox, REPORTS * slots * sizeof *inbox);
    if (inbox)
        w->inbox = inbox;
    mp__link **links = mp__memory.realloc(w->links, slots * sizeof *links);
    if (links)
        w->links = links;
    uint32_t made = w->slots;
    while (inbox && links && made < slots && (links[made] = mp__memory.calloc(1, sizeof **links))) {
        links[made]->tasks_fd = links[made]->results_fd = -1;
        made++;
    }
    if (made < slots) {
        while (made > w->slots)
            free(links[--made]);
        return MP_ENOMEM;
    }
    w->slots = slots;
    return MP_OK;
}

static void free_all(mp__workers *w)
{
    for (int *fd = (int[]){w->control, w->epoll, w->owed_fd, -2}; *fd != -2; fd++)
        if (*fd >= 0)
            close(*fd);
    for (uint32_t i = 0; i < w->slots; i++)
        free(w->links[i]);
    free(w->links);
    free(w->inbox);
    free(w);
}

/* It has no workers any more: nothing is lost by not asking. It is ours until we have waited for it. */
static void close_all(mp__workers *w)
{
    if (!w->zygote_dead) {
        if (waitpid(w->zygote, NULL, WNOHANG) == 0) {
            kill(w->zygote, SIGKILL);
            while (waitpid(w->zygote, NULL, 0) < 0 && errno == EINTR)
                ;
        }
    }
    for (uint32_t i = 0; i < w->slots; i++)
        mp__link_close(w->links[i]);
    free_all(w);
}

static mp_status set_up(mp__workers *w, const mp__backend_config *config, mp_error *error)
{
    const mp__launch launch = {.method = config->start_method,
                               .tasks = config->tasks,
                               .hash = w->terms.hash,
                               .name_prefix = config->name_prefix ? config->name_prefix : "mp-worker"};
    if (grow(w, config->slots) != MP_OK)
        return mp__failure(error, MP_ENOMEM, "no memory for a pool of %u workers", config->workers);
    w->epoll = mp__above_standard(mp__system.epoll_create1(EPOLL_CLOEXEC));
    w->owed_fd = mp__above_standard(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (w->epoll < 0 || w->owed_fd < 0 || watch(w, EPOLL_CTL_ADD, w->owed_fd, EPOLLIN, ABOUT_OWED, 0) < 0)
        return mp__system_failure(error, errno, "no descriptor for a pool");
    mp_status status = mp__launch_zygote(&launch, &w->zygote, &w->control, error);
    if (!status && watch(w, EPOLL_CTL_ADD, w->control, EPOLLIN, ABOUT_CONTROL, 0) < 0)
        status = mp__system_failure(error, errno, "no descriptor for a pool");
    return status;
}

static mp_status open_all(mp__workers **workers, const mp__backend_config *config, mp_error *error)
{
    mp_status status = mp__main_check(config->start_method, error);
    if (status)
        return status;
    mp__workers *w = mp__memory.calloc(1, sizeof *w);
    if (!w)
        return mp__failure(error, MP_ENOMEM, "no memory for a pool");
    w->terms = (mp__terms){.tasks = config->tasks,
                           .initializer = config->initializer,
                           .finalizer = config->finalizer,
                           .hash = mp__task_table_hash(config->tasks),
                           .executed = config->start_method == MP_SPAWN || config->start_method == MP_FORKSERVER};
    w->control = w->epoll = w->owed_fd = w->zygote = -1;
    status = set_up(w, config, error);
    if (status) {
        if (w->zygote > 0)
            close_all(w);
        else
            free_all(w);
        return status;
    }
    *workers = w;
    return MP_OK;
}

const mp__backend mp__process_backend = {
    .name = "process",
    .open = open_all,
    .grow = grow,
    .start = start,
    .room = room,
    .send = send_item,
    .flush = flush,
    .recall = recall,
    .started = started,
    .cancel = cancel,
    .stop = stop,
    .kill = kill_worker,
    .look = look,
    .descriptor = descriptor,
    .next = next,
    .close = close_all,
};
