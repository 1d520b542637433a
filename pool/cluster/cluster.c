/* Workers on all hosts of a job: a backend over mp__process_backend, which has those of this host, and over agents, which have theirs.
 *
 * A slot's life is here or with an agent; which one is decided when it starts, by who has the fewest for its CPUs. Slots, places and
 * generations mean the same everywhere. What is asked of a life on another host is answered by an event, later; where the seam wants an
 * answer at once (`started`, `settle`) it is waited for, a quarter of a second at most.
 *
 * Owns the local workers, the hosts and what it has of their lives, and an epoll descriptor over all of them, the hall, a timer that ticks
 * each second where there can be agents, and an eventfd for what hooks find out. Runs under the pool's lock. It fails where an agent does:
 * host.c. Without hall it is the local backend, and a branch. */
#include "pool/clock.h"
#include "pool/cluster/state.h"
#include "pool/cpu.h"
#include "pool/failure.h"
#include "pool/system.h"
#include "serial/memory.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define LOCAL (&mp__process_backend)
#define ANSWER_NS 250000000u /* for so long an answer is waited for that is to be there at once */

/* What an epoll event is about, where it is not a host. */
static char about_local, about_owed, about_timer, about_hall;

void mp__cluster_owe(mp__workers *w)
{
    if (w->owed)
        return;
    w->owed = true;
    ssize_t written = write(w->owed_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* it holds one count only: cannot fail */
}

static void pay(mp__workers *w)
{
    uint64_t count;
    if (!w->owed)
        return;
    w->owed = false;
    ssize_t got = read(w->owed_fd, &count, sizeof count);
    (void)got;
}

/* --- lives ----------------------------------------------------------------------------------------------------------------- */

static bool is_less_loaded(uint32_t lives, uint32_t cpus, uint32_t other_lives, uint32_t other_cpus)
{
    return (uint64_t)(lives + 1) * other_cpus < (uint64_t)(other_lives + 1) * cpus;
}

/* NULL: here. */
static mp__host *choose(const mp__workers *w)
{
    mp__host *best = NULL;
    uint32_t lives = w->local_lives, cpus = w->local_cpus;
    for (uint32_t i = 0; i < w->host_count; i++) {
        mp__host *host = w->hosts[i];
        if (host->state != MP__HOST_UP || (cpus && !is_less_loaded(host->lives, host->cpus, lives, cpus)))
            continue;
        best = host;
        lives = host->lives;
        cpus = host->cpus;
    }
    return best;
}

static void start(mp__workers *w, uint32_t slot, uint32_t generation, uint32_t place)
{
    mp__host *host = choose(w);
    if (host && mp__remote_start(w, host, (mp__life){.slot = slot, .generation = generation, .place = place}))
        return;
    w->local_lives++;
    LOCAL->start(w->local, slot, generation, place);
}

static bool room(mp__workers *w, uint32_t slot)
{
    mp__remote *remote = mp__remote_at(w, slot);
    if (!remote)
        return LOCAL->room(w->local, slot);
    bool has = mp__remote_has_room(remote);
    remote->full |= !has;
    return has;
}

static size_t send_items(mp__workers *w, uint32_t slot, const mp__items *items)
{
    mp__remote *remote = mp__remote_at(w, slot);
    if (!remote)
        return LOCAL->send(w->local, slot, items);
    size_t sent = mp__link_send(&remote->link, items);
    if (remote->link.distrusted)
        mp__remote_tell(w, remote, MP__WIRE_KILL, 1);
    return sent;
}

static void flush(mp__workers *w, uint32_t slot)
{
    mp__remote *remote = mp__remote_at(w, slot);
    if (remote)
        mp__remote_flush(w, remote);
    else
        LOCAL->flush(w->local, slot);
}

static void recall(mp__workers *w, uint32_t slot)
{
    mp__remote *remote = mp__remote_at(w, slot);
    if (remote)
        mp__remote_recall(w, remote);
    else
        LOCAL->recall(w->local, slot);
}

static bool watch(mp__workers *w, uint32_t slot)
{
    mp__remote *remote = mp__remote_at(w, slot);
    if (!remote)
        return false;
    if (!remote->watching) {
        remote->watching = true;
        remote->asked_at = mp__now();
        mp__remote_tell(w, remote, MP__WIRE_WATCH, 0);
    }
    return true;
}

static uint64_t started(mp__workers *w, uint32_t slot)
{
    mp__wire_head head;
    mp__remote *remote = mp__remote_at(w, slot);
    if (!remote)
        return LOCAL->started(w->local, slot);
    (void)watch(w, slot);
    return mp__remote_await(w, remote, MP__WIRE_PROGRESS, remote->asked_at + ANSWER_NS, &head) ? head.number : 0;
}

static void settle(mp__workers *w)
{
    mp__wire_head head;
    uint64_t deadline = mp__now() + ANSWER_NS;
    for (uint32_t i = 0; i < w->slots; i++) {
        mp__remote *remote = mp__remote_at(w, i);
        if (remote && remote->recalling)
            (void)mp__remote_await(w, remote, MP__WIRE_RECALLED, deadline, &head);
    }
}

static void cancel(mp__workers *w, uint32_t slot)
{
    mp__remote *remote = mp__remote_at(w, slot);
    if (remote)
        mp__remote_tell(w, remote, MP__WIRE_CANCEL, 0);
    else
        LOCAL->cancel(w->local, slot);
}

static mp__heed heeds(mp__workers *w, uint32_t slot)
{
    return mp__remote_at(w, slot) ? MP__HEED_NO : LOCAL->heeds(w->local, slot);
}

static mp__ending end_item(mp__workers *w, uint32_t slot, uint64_t ordinal)
{
    mp__remote *remote = mp__remote_at(w, slot);
    if (!remote)
        return LOCAL->end(w->local, slot, ordinal);
    remote->ending = ordinal;
    mp__remote_tell(w, remote, MP__WIRE_END, ordinal);
    return MP__END_LATER; /* or it is lost */
}

static void stop(mp__workers *w, uint32_t slot)
{
    mp__remote *remote = mp__remote_at(w, slot);
    if (remote)
        mp__remote_stop(w, remote);
    else
        LOCAL->stop(w->local, slot);
}

static void kill_worker(mp__workers *w, uint32_t slot, bool hard)
{
    mp__remote *remote = mp__remote_at(w, slot);
    if (!remote) {
        LOCAL->kill(w->local, slot, hard);
        return;
    }
    mp__remote_disown(remote);
    mp__remote_tell(w, remote, MP__WIRE_KILL, hard);
}

/* Agents look only for lives that may hide something. */
static void look(mp__workers *w)
{
    LOCAL->look(w->local);
    for (uint32_t i = 0; i < w->slots; i++) {
        mp__remote *remote = mp__remote_at(w, i);
        if (remote && remote->results + 1 < remote->link.items)
            mp__remote_tell(w, remote, MP__WIRE_LOOK, 0);
    }
}

/* --- waiting for one item here ---------------------------------------------------------------------------------------------- */

static bool has_remotes(const mp__workers *w)
{
    for (uint32_t i = 0; i < w->host_count; i++)
        if (w->hosts[i]->lives)
            return true;
    return false;
}

static bool spin(mp__workers *w, uint64_t ns, const atomic_uint *wanted)
{
    w->spun = !has_remotes(w) && LOCAL->spin(w->local, ns, wanted);
    return w->spun;
}

static void expect(mp__workers *w, uint64_t awake_ns)
{
    LOCAL->expect(w->local, awake_ns);
}

static _Atomic uint32_t *doze(mp__workers *w, uint32_t *value)
{
    return LOCAL->doze(w->local, value);
}

static bool awake(mp__workers *w)
{
    w->spun = LOCAL->awake(w->local);
    return w->spun;
}

static int descriptor(mp__workers *w)
{
    return w->epoll;
}

/* --- events ----------------------------------------------------------------------------------------------------------------- */

static bool next_local(mp__workers *w, mp__event *event)
{
    if (!LOCAL->next(w->local, event))
        return false;
    if (event->kind == MP__EV_LOST || event->kind == MP__EV_START_FAILED)
        w->local_lives--;
    return true;
}

static bool next_lost(mp__workers *w, mp__event *event)
{
    for (uint32_t i = 0; i < w->slots && w->gone; i++) {
        mp__remote *remote = mp__remote_at(w, i);
        if (!remote || remote->host->state != MP__HOST_GONE)
            continue;
        remote->error = remote->host->why;
        remote->error.worker = (int)remote->link.life.place;
        mp__remote_event(remote, MP__EV_LOST, event);
        event->vanished = true;
        mp__remote_end(w, remote);
        return true;
    }
    return false;
}

static bool next_writable(mp__workers *w, mp__event *event)
{
    for (uint32_t i = 0; i < w->slots && w->owing; i++) {
        mp__remote *remote = mp__remote_at(w, i);
        if (!remote || !remote->owes_writable)
            continue;
        remote->owes_writable = false;
        w->owing--;
        mp__remote_event(remote, MP__EV_WRITABLE, event);
        return true;
    }
    return false;
}

static uint32_t count_cpus(const mp__workers *w)
{
    uint32_t cpus = w->local_cpus;
    for (uint32_t i = 0; i < w->host_count; i++)
        cpus += w->hosts[i]->state == MP__HOST_UP ? w->hosts[i]->cpus : 0;
    return cpus;
}

/* Behind the loss of lives: whose host has gone have left their places by then. */
static bool next_change(mp__workers *w, mp__event *event)
{
    uint32_t cpus = count_cpus(w);
    if (cpus == w->told)
        return false;
    w->told = cpus;
    *event = (mp__event){.kind = MP__EV_HOSTS, .cpus = cpus};
    return true;
}

static bool next_owed(mp__workers *w, mp__event *event)
{
    for (uint32_t i = 0; i < w->host_count; i++)
        mp__host_resume(w, w->hosts[i]);
    if (next_lost(w, event) || next_writable(w, event) || next_change(w, event))
        return true;
    pay(w);
    return false;
}

static bool next_of_hosts(mp__workers *w, mp__event *event)
{
    for (; w->turn < w->host_count; w->turn++)
        if (mp__host_next(w, w->hosts[w->turn], event))
            return true;
    w->turn = 0;
    return false;
}

static void tick(mp__workers *w)
{
    uint64_t count;
    ssize_t got = read(w->timer_fd, &count, sizeof count);
    (void)got;
    for (uint32_t i = 0; i < w->host_count; i++)
        mp__host_tick(w, w->hosts[i]);
    mp__hall_tick();
    mp__hosts_take(w); /* another pool may have let somebody in */
}

static void look_at_sockets(mp__workers *w)
{
    enum { READY_MAX = 64 };
    struct epoll_event ready[READY_MAX];
    int count = epoll_wait(w->epoll, ready, READY_MAX, 0);
    for (int i = 0; i < count; i++) {
        void *about = ready[i].data.ptr;
        if (about == &about_timer)
            tick(w);
        else if (about == &about_hall)
            mp__hosts_take(w);
        else if (about != &about_local && about != &about_owed)
            mp__host_ready(w, about, ready[i].events);
    }
}

/* Sockets are read once in a round, and all that came is told; then it says that there is nothing, so that the lock is let go. */
static bool next(mp__workers *w, mp__event *event)
{
    if (w->spun) {
        w->spun = next_local(w, event);
        return w->spun;
    }
    for (;;) {
        if ((w->host_count || w->owed) && (next_of_hosts(w, event) || next_owed(w, event)))
            return true;
        if (!w->local_done && next_local(w, event))
            return true;
        w->local_done = true;
        if (w->polled || w->timer_fd < 0) {
            w->local_done = w->polled = false;
            return false;
        }
        w->polled = true;
        look_at_sockets(w);
    }
}

/* --- open and close ---------------------------------------------------------------------------------------------------------- */

static mp_status grow(mp__workers *w, uint32_t slots)
{
    mp__remote **remotes = mp__memory.realloc(w->remotes, slots * sizeof(mp__remote *));
    if (!remotes)
        return MP_ENOMEM;
    w->remotes = remotes;
    if (w->slots && LOCAL->grow(w->local, slots) != MP_OK)
        return MP_ENOMEM;
    memset(remotes + w->slots, 0, (slots - w->slots) * sizeof(mp__remote *));
    w->slots = slots;
    for (uint32_t i = 0; i < w->host_count; i++)
        if (w->hosts[i]->state != MP__HOST_GONE)
            mp__wire_put(&w->hosts[i]->wire, &(mp__wire_head){.kind = MP__WIRE_GROW, .slot = slots}, NULL, 0);
    return MP_OK;
}

static void close_all(mp__workers *w)
{
    if (w->attends)
        mp__hall_leave();
    if (w->local)
        LOCAL->close(w->local);
    for (uint32_t i = 0; i < w->host_count; i++)
        mp__host_free(w->hosts[i]);
    for (uint32_t i = 0; i < w->slots; i++)
        mp__remote_free(w->remotes[i]);
    for (int *fd = (int[]){w->epoll, w->owed_fd, w->timer_fd, -2}; *fd != -2; fd++)
        if (*fd >= 0)
            close(*fd);
    free(w->hosts);
    free(w->remotes);
    free(w);
}

static bool watch_fd(const mp__workers *w, int fd, void *about)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = about};
    return fd >= 0 && mp__system.epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static mp_status make_descriptors(mp__workers *w, mp_error *error)
{
    const struct itimerspec second = {.it_interval = {.tv_sec = 1}, .it_value = {.tv_sec = 1}};
    w->epoll = mp__above_standard(mp__system.epoll_create1(EPOLL_CLOEXEC));
    w->owed_fd = mp__above_standard(mp__system.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    bool ok =
        w->epoll >= 0 && watch_fd(w, w->owed_fd, &about_owed) && watch_fd(w, LOCAL->descriptor(w->local), &about_local);
    if (ok && mp__hall_is_open()) {
        w->timer_fd = mp__above_standard(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
        ok = watch_fd(w, w->timer_fd, &about_timer) && timerfd_settime(w->timer_fd, 0, &second, NULL) == 0 &&
             watch_fd(w, mp__hall_fd(), &about_hall);
    }
    return ok ? MP_OK : mp__system_failure(error, errno, "no descriptor for a pool");
}

static uint32_t count_up(const mp__workers *w)
{
    uint32_t up = 0;
    for (uint32_t i = 0; i < w->host_count; i++)
        up += w->hosts[i]->state == MP__HOST_UP;
    return up;
}

/* One that was there, and was not what it should be; a stranger is nobody that is waited for. */
static mp_status find_unfit(const mp__workers *w, mp_error *refusal, mp_error *error)
{
    for (uint32_t i = 0; i < w->host_count; i++)
        if (w->hosts[i]->state == MP__HOST_GONE && w->hosts[i]->why.status != MP_ELOST) {
            *error = w->hosts[i]->why;
            return error->status;
        }
    if (mp__hall_take_refusal(refusal) != MP_EMISMATCH)
        return MP_OK;
    *error = *refusal;
    return MP_EMISMATCH;
}

static mp_status too_few(const mp__workers *w, const mp__hall_terms *terms, const mp_error *refusal, mp_error *error)
{
    if (refusal->status)
        return mp__failure(error, MP_ESYSTEM, "%u of %u agents have come in %u s; %.250s", count_up(w), terms->agents,
                           terms->wait_s, refusal->message);
    return mp__failure(error, MP_ESYSTEM,
                       "%u of %u agents have come in %u s: start this same program on the other hosts, with "
                       "MILLPOND_AGENT=HOST:%d in its environment (and the same MILLPOND_SECRET)",
                       count_up(w), terms->agents, terms->wait_s, mp__hall_port());
}

/* Until so many agents are there. Nothing else is told by them yet. */
static mp_status gather(mp__workers *w, mp_error *error)
{
    const mp__hall_terms terms = mp__hall_get_terms();
    mp_error refusal = {.status = MP_OK};
    uint64_t deadline = mp__now() + (uint64_t)terms.wait_s * 1000000000u;
    (void)mp__hall_take_refusal(&refusal); /* of who came to a pool before this one */
    refusal.status = MP_OK;
    for (;;) {
        mp__event event;
        look_at_sockets(w);
        mp__hosts_take(w);
        for (uint32_t i = 0; i < w->host_count; i++)
            (void)mp__host_next(w, w->hosts[i], &event);
        if (count_up(w) >= terms.agents)
            return MP_OK;
        mp_status status = find_unfit(w, &refusal, error);
        if (status)
            return status;
        if (mp__now() >= deadline)
            return too_few(w, &terms, &refusal, error);
        poll(&(struct pollfd){.fd = w->epoll, .events = POLLIN}, 1, 100);
    }
}

static mp_status count_workers(mp__workers *w, mp_error *error)
{
    const mp__hall_terms terms = mp__hall_get_terms();
    int cpus;
    mp_status status = mp__cpu_count(&cpus, error);
    if (status)
        return status;
    w->local_cpus = terms.local >= 0 ? (uint32_t)terms.local : (uint32_t)cpus;
    mp__hall_attend();
    w->attends = true;
    status = gather(w, error);
    mp__cluster_owe(w);
    return status;
}

static mp_status set_up(mp__workers *w, const mp__backend_config *config, mp_error *error)
{
    mp_status status = LOCAL->open(&w->local, config, error);
    if (status)
        return status;
    if (grow(w, config->slots) != MP_OK)
        return mp__failure(error, MP_ENOMEM, "no memory for a pool of %u workers", config->workers);
    status = make_descriptors(w, error);
    return !status && mp__hall_is_open() ? count_workers(w, error) : status;
}

static mp_status open_all(mp__workers **workers, const mp__backend_config *config, mp_error *error)
{
    mp_status status = mp__hall_check(error);
    if (status)
        return status;
    mp__workers *w = mp__memory.calloc(1, sizeof *w);
    if (!w)
        return mp__failure(error, MP_ENOMEM, "no memory for a pool");
    w->config = *config;
    w->terms = (mp__terms){.tasks = config->tasks, .hash = mp__task_table_hash(config->tasks), .capture = config->capture};
    w->epoll = w->owed_fd = w->timer_fd = -1;
    w->local_cpus = 1;
    status = set_up(w, config, error);
    if (status) {
        close_all(w);
        return status;
    }
    *workers = w;
    return MP_OK;
}

const mp__backend mp__cluster_backend = {
    .name = "cluster",
    .open = open_all,
    .grow = grow,
    .start = start,
    .room = room,
    .send = send_items,
    .flush = flush,
    .recall = recall,
    .started = started,
    .watch = watch,
    .settle = settle,
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
