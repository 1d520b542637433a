/* Workers that are processes: the backend for which backend.h was made.
 *
 * Owns the zygote's control socket, one link for each slot, and an epoll descriptor over all of them. `next` goes round what
 * is ready: reports from the zygote first, then links, each read until it is empty or has had its share. What a hook finds out
 * at once (a worker that cannot be started, the answer to a recall) is owed, and an eventfd among the descriptors says so.
 *
 * Runs under the pool's lock. Death of a worker is believed when the zygote reports it, never from the end of a pipe: a child of
 * a task's may hold that open, or have closed it. Should the zygote itself die, its workers die with it and the pool is broken. */
#include "pool/backend.h"
#include "pool/clock.h"
#include "pool/failure.h"
#include "pool/main.h"
#include "pool/process/control.h"
#include "pool/process/doze.h"
#include "pool/process/launch.h"
#include "pool/process/letter.h"
#include "pool/process/link.h"
#include "pool/process/oom.h"
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
};

struct mp__workers {
    /* fixed at open */
    mp__terms terms;
    int epoll, owed_fd;
    /* under the pool's lock */
    mp__oom oom; /* nothing, until it is begun */
    uint32_t slots;
    mp__link **links;      /* by slot; each stays where it is */
    uint32_t *lives;       /* by place: how many have begun there */
    mp__control_line line; /* to the zygote; in its inbox are reports read while a command had to wait */
    uint32_t owed;         /* how many links owe an event */
    struct epoll_event ready[READY_MAX];
    int ready_count, ready_next;
    mp__link *reading;  /* to be asked before others */
    uint32_t next_look; /* slots from here on have not been looked at since `look` */
    bool spun;          /* it is for what spinning or dozing has found, and that is all there is in this round */
    mp__doze doze;
    bool begun; /* a life has */
    bool zygote_dead, counts_kills;
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

/* Its end comes. Not left to close(2): a child that the program has forked may hold a copy, and epoll would go on about it. */
static void unwatch(mp__workers *w, mp__link *link)
{
    mp__control_rouse(&w->line);
    watch(w, EPOLL_CTL_DEL, link->results_fd, 0, 0, 0);
    if (link->waits)
        watch(w, EPOLL_CTL_DEL, link->tasks_fd, 0, 0, 0);
    link->waits = false;
}

/* --- the zygote's socket --------------------------------------------------------------------------------------------------- */

/* Sends a command; 0 or errno. What came meanwhile is owed. */
static int command(mp__workers *w, const mp__control *message, const int *fds)
{
    size_t before = w->line.inbox_count;
    int failed = mp__control_command(&w->line, message, fds);
    if (w->line.inbox_count && !before)
        owe(w); /* paid when the inbox is empty again */
    return failed;
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
        link->evidence.cpu_ns = message->cpu_ns;
        link->evidence.rss_bytes = message->rss_bytes;
        link->evidence.by_oom =
            WIFSIGNALED(link->status) && WTERMSIG(link->status) == SIGKILL && !link->killed && mp__oom_struck(&w->oom);
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
    w->zygote_dead = w->owes_broken = true;
    watch(w, EPOLL_CTL_DEL, w->line.fd, 0, ABOUT_CONTROL, 0);
    mp__control_bury(&w->line, &w->error);
    for (uint32_t i = 0; i < w->slots; i++) {
        mp__link *link = w->links[i];
        if (!mp__link_lives(link))
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

static void start(mp__workers *w, uint32_t slot, uint32_t generation, uint32_t place)
{
    mp__link *link = w->links[slot];
    int theirs[MP__CONTROL_FDS];
    forgive(w, link);
    w->begun = true;
    bool ok = mp__link_open(link, &w->terms, (mp__life){slot, generation, place, w->lives[place]++},
                            mp__link_pipe_size(w->slots), theirs);
    if (ok) {
        ok = begin_life(w, link, theirs);
        for (int i = 1; i < mp__control_count(theirs); i++)
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
    return mp__link_has_room(w->links[slot]);
}

static void kill_worker(mp__workers *w, uint32_t slot, bool hard)
{
    mp__link *link = w->links[slot];
    if (!mp__link_lives(link) || w->zygote_dead)
        return;
    link->deaf = link->killed = true;
    mp__outbox_fini(&link->outbox);
    mp__control order = {.kind = MP__CONTROL_KILL, .slot = slot, .generation = link->life.generation};
    order.value = hard ? SIGKILL : SIGTERM;
    if (command(w, &order, NULL) &&
        hard) /* nothing would end it any more: a zygote that is left alone ends with all its own */
        shutdown(w->line.fd, SHUT_WR);
}

static size_t send_items(mp__workers *w, uint32_t slot, const mp__items *items)
{
    mp__link *link = w->links[slot];
    mp__doze_arm(&w->doze, link);
    size_t sent = mp__link_send(link, items);
    if (link->distrusted)
        kill_worker(w, slot, true);
    return sent;
}

static void flush(mp__workers *w, uint32_t slot)
{
    mp__link *link = w->links[slot];
    if (link->state != MP__LINK_OPEN || link->deaf || link->waits)
        return;
    int failed = mp__letter_put(link->shared, &link->outbox) ? 0 : mp__outbox_write(&link->outbox, link->tasks_fd);
    atomic_store_explicit(&link->shared->sent, link->outbox.written, memory_order_release);
    if (failed == EAGAIN) {
        link->waits = true; /* registered only while we wait: there is room nearly always */
        if (watch(w, EPOLL_CTL_ADD, link->tasks_fd, EPOLLOUT | EPOLLONESHOT, ABOUT_TASKS, slot) < 0)
            kill_worker(w, slot, true);
    } else if (failed) {
        kill_worker(w, slot, true); /* it lives, but cannot be told anything */
    }
}

static void recall(mp__workers *w, uint32_t slot)
{
    mp__link *link = w->links[slot];
    if (mp__link_recall(link))
        flush(w, slot);
    if (!link->owes_recalled)
        owe(w);
    link->owes_recalled = true;
}

static uint64_t started(mp__workers *w, uint32_t slot)
{
    return mp__link_started(w->links[slot]);
}

static void cancel(mp__workers *w, uint32_t slot)
{
    mp__link_cancel(w->links[slot]);
}

static mp__heed heeds(mp__workers *w, uint32_t slot)
{
    return mp__link_heeds(w->links[slot]);
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

static mp__ending end_item(mp__workers *w, uint32_t slot, uint64_t ordinal)
{
    bool ended = !w->zygote_dead && mp__link_end(w->links[slot], ordinal);
    if (ended)
        kill_worker(w, slot, false);
    return ended ? MP__END_YES : MP__END_NO;
}

static void look(mp__workers *w)
{
    w->next_look = 0;
}

static bool spin(mp__workers *w, uint64_t ns, const atomic_uint *wanted)
{
    w->spun = mp__links_spin(w->links, w->slots, ns, wanted);
    if (w->spun)
        w->next_look = 0;
    return w->spun;
}

static void expect(mp__workers *w, uint64_t awake_ns)
{
    mp__doze_expect(&w->doze, awake_ns);
}

static _Atomic uint32_t *doze(mp__workers *w, uint32_t *value)
{
    return mp__doze_begin(&w->doze, value);
}

static bool awake(mp__workers *w)
{
    w->spun = mp__doze_end(&w->doze);
    if (w->spun)
        w->next_look = 0;
    return w->spun;
}

static int descriptor(mp__workers *w)
{
    return w->epoll;
}

/* --- events ---------------------------------------------------------------------------------------------------------------- */

static bool next_owed(mp__workers *w, mp__event *event)
{
    if (w->line.inbox_count) {
        mp__control message = mp__control_take(&w->line);
        if (!w->line.inbox_count)
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

static bool hear_zygote(mp__workers *w, mp__event *event)
{
    int got = w->line.inbox_count ? 0 : mp__control_receive(&w->line); /* what is in the inbox comes first */
    if (got < 0)
        zygote_died(w);
    if (got <= 0)
        return false;
    mp__control message = mp__control_take(&w->line);
    return took_report(w, &message, event);
}

static bool take_ready(mp__workers *w, const struct epoll_event *ready, mp__event *event)
{
    uint32_t slot = (uint32_t)ready->data.u64;
    switch (ready->data.u64 >> 32) {
    case ABOUT_CONTROL: return hear_zygote(w, event);
    case ABOUT_TASKS: return writable(w, slot, event);
    case ABOUT_RESULTS:
        w->reading = w->links[slot];
        w->reading->budget = MP__READS;
        return false;
    default: return false;
    }
}

/* From when on they are counted: before any worker has run anything, and while the first come to be. */
static void count_kills(mp__workers *w)
{
    if (!w->counts_kills)
        mp__oom_begin(&w->oom, "/proc/self/cgroup", "/sys/fs/cgroup");
    w->counts_kills = true;
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
    if (got && (event->kind == MP__EV_GREETED || event->kind == MP__EV_READY)) {
        flush(w, link->life.slot);
        count_kills(w);
    }
    if (link->refused && !over)
        kill_worker(w, link->life.slot, true);
    if (link->state == MP__LINK_ENDED && !over && mp__link_note_mute(link))
        kill_worker(w, link->life.slot, true);
    if (link->state == MP__LINK_ENDED || (link->state == MP__LINK_OPEN && link->distrusted))
        unwatch(w, link);
    return got;
}

static bool next_look(mp__workers *w)
{
    while (w->next_look < w->slots) {
        mp__link *link = w->links[w->next_look++];
        if (!(w->spun ? mp__link_has_in_buffer(link) : mp__link_may_hide(link)))
            continue;
        mp__link_look(link);
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
        } else if (w->spun) {
            w->spun = false;
            return false;
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
                if (w->begun)
                    count_kills(w);
                mp__control_tend(&w->line);
                return false;
            }
        }
    }
}

/* --- open and close ---------------------------------------------------------------------------------------------------------- */

/* Arrays that have grown and links that were made before memory ran out are kept or freed: `slots` alone says what there is. */
static mp_status grow(mp__workers *w, uint32_t slots)
{
    mp__link **links = mp__memory.realloc(w->links, slots * sizeof *links);
    if (!links)
        return MP_ENOMEM;
    w->links = links;
    uint32_t *lives = mp__memory.realloc(w->lives, slots * sizeof *lives);
    if (!lives)
        return MP_ENOMEM;
    w->lives = lives;
    memset(lives + w->slots, 0, (slots - w->slots) * sizeof *lives);
    uint32_t made = w->slots;
    while (made < slots && (links[made] = mp__memory.calloc(1, sizeof **links))) {
        mp__link_init(links[made]);
        made++;
    }
    if (made < slots || !mp__control_grow(&w->line, slots)) {
        while (made > w->slots)
            free(links[--made]);
        return MP_ENOMEM;
    }
    w->slots = slots;
    return MP_OK;
}

static void free_all(mp__workers *w)
{
    for (int *fd = (int[]){w->epoll, w->owed_fd, -2}; *fd != -2; fd++)
        if (*fd >= 0)
            close(*fd);
    for (uint32_t i = 0; i < w->slots; i++) {
        mp__link_fini(w->links[i]);
        free(w->links[i]);
    }
    free(w->links);
    free(w->lives);
    free(w);
}

static void close_all(mp__workers *w)
{
    mp__control_close(&w->line);
    for (uint32_t i = 0; i < w->slots; i++)
        mp__link_close(w->links[i]);
    free_all(w);
}

static mp_status set_up(mp__workers *w, const mp__backend_config *config, mp_error *error)
{
    const mp__launch launch = {.method = config->start_method,
                               .tasks = config->tasks,
                               .chaos = config->chaos,
                               .hash = w->terms.hash,
                               .name_prefix = config->name_prefix ? config->name_prefix : "mp-worker"};
    if (grow(w, config->slots) != MP_OK)
        return mp__failure(error, MP_ENOMEM, "no memory for a pool of %u workers", config->workers);
    w->epoll = mp__above_standard(mp__system.epoll_create1(EPOLL_CLOEXEC));
    w->owed_fd = mp__above_standard(mp__system.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (w->epoll < 0 || w->owed_fd < 0 || watch(w, EPOLL_CTL_ADD, w->owed_fd, EPOLLIN, ABOUT_OWED, 0) < 0)
        return mp__system_failure(error, errno, "no descriptor for a pool");
    mp_status status = mp__launch_zygote(&launch, &w->line.zygote, &w->line.fd, error);
    if (!status && watch(w, EPOLL_CTL_ADD, w->line.fd, EPOLLIN, ABOUT_CONTROL, 0) < 0)
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
                           .limits = config->limits,
                           .capture = config->capture,
                           .chaos = config->chaos,
                           .hash = mp__task_table_hash(config->tasks),
                           .executed = config->start_method == MP_SPAWN || config->start_method == MP_FORKSERVER};
    w->line.zygote = w->line.fd = w->epoll = w->owed_fd = -1;
    status = set_up(w, config, error);
    if (status) {
        close_all(w);
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
    .send = send_items,
    .flush = flush,
    .recall = recall,
    .started = started,
    .cancel = cancel,
    .heeds = heeds,
    .end = end_item,
    .stop = stop,
    .kill = kill_worker,
    .look = look,
    .spin = spin,
    .expect = expect,
    .doze = doze,
    .awake = awake,
    .descriptor = descriptor,
    .next = next,
    .close = close_all,
};
