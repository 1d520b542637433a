/* An agent as the root has it: from the guest in the hall to the one who is out of reach.
 *
 * It is told of the pool, and says that it has opened its own, or why it does not; then its messages become events, one by one, in their
 * order. What it may not say, or nothing for five seconds, and it is not believed any more: GONE. Then all that its lives had is lost, and
 * nobody is to blame. What came before that counts. Under the pool's lock. */
#include "pool/cluster/secret.h"
#include "pool/cluster/state.h"
#include "pool/failure.h"
#include "pool/system.h"
#include "serial/memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SILENT_MAX = 5, OPENING_MAX = 30 };

/* --- opening -------------------------------------------------------------------------------------------------------------- */

/* The input travels as a frame; in memory of its own for this moment. */
static bool put_hook(mp__host *host, uint32_t which, const mp__hook *hook)
{
    mp__outbox outbox = {0};
    mp__fault fault = {0};
    mp__wire_head head = {.kind = MP__WIRE_HOOK, .slot = which};
    bool ok = mp__outbox_value(&outbox, MP__INIT, hook->task->input, hook->value, &fault) == MP_OK;
    while (ok && mp__outbox_size(&outbox)) {
        uint8_t *where = mp__wire_reserve(&host->wire, MP__WIRE_MAX);
        ok = where;
        if (where)
            mp__wire_commit(&host->wire, &head, mp__outbox_take(&outbox, where, MP__WIRE_MAX));
    }
    mp__outbox_fini(&outbox);
    if (!ok)
        mp__failure(&host->why, MP_ENOMEM, "what its workers run first cannot be sent: %.200s", fault.message);
    return ok;
}

static void put_opening(const mp__workers *w, mp__host *host, uint64_t nonce)
{
    const mp__backend_config *config = &w->config;
    mp__opening opening = {.proof = mp__secret_answer(nonce, MP__SECRET_ROOT),
                           .hash = w->terms.hash,
                           .slots = w->slots,
                           .workers = config->workers,
                           .limits = config->limits,
                           .initializer = config->initializer.task ? config->initializer.index + 1 : 0,
                           .finalizer = config->finalizer.task ? config->finalizer.index + 1 : 0,
                           .capture = config->capture,
                           .named = config->name_prefix != NULL};
    if (config->name_prefix)
        snprintf(opening.prefix, sizeof opening.prefix, "%s", config->name_prefix);
    mp__wire_put(&host->wire, &(mp__wire_head){.kind = MP__WIRE_OPEN}, &opening, sizeof opening);
}

static bool tell_of_pool(const mp__workers *w, mp__host *host, uint64_t nonce)
{
    const mp__backend_config *config = &w->config;
    if ((config->initializer.task && !put_hook(host, 0, &config->initializer)) ||
        (config->finalizer.task && !put_hook(host, 1, &config->finalizer)))
        return false;
    put_opening(w, host, nonce);
    return true;
}

/* It was there, and was not what it should be: it would be the same the next time. */
static bool is_unfit(const mp__host *host)
{
    return host->state == MP__HOST_GONE && host->why.status != MP_ELOST;
}

/* A place of one who has gone, or a new one. */
static mp__host *make(mp__workers *w)
{
    for (uint32_t i = 0; i < w->host_count; i++)
        if (w->hosts[i]->state == MP__HOST_GONE && !w->hosts[i]->lives && !is_unfit(w->hosts[i])) {
            mp__wire_texts_fini(&w->hosts[i]->texts);
            return w->hosts[i];
        }
    mp__host **hosts = mp__memory.realloc(w->hosts, (w->host_count + 1) * sizeof(mp__host *));
    if (!hosts)
        return NULL;
    w->hosts = hosts;
    mp__host *host = mp__memory.calloc(1, sizeof *host);
    if (host)
        hosts[w->host_count++] = host;
    return host;
}

bool mp__host_add(mp__workers *w, mp__guest *guest)
{
    mp__host *host = make(w);
    if (!host) {
        mp__guest_free(guest);
        return false;
    }
    *host =
        (mp__host){.state = MP__HOST_OPENING, .wire = guest->wire, .id = guest->greeting.id, .cpus = guest->greeting.cpus};
    snprintf(host->name, sizeof host->name, "%s", guest->greeting.host);
    uint64_t nonce = guest->greeting.nonce;
    free(guest);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = host};
    if (mp__system.epoll_ctl(w->epoll, EPOLL_CTL_ADD, host->wire.fd, &event) < 0 || !tell_of_pool(w, host, nonce))
        mp__host_vanish(w, host, MP_ESYSTEM, "it cannot be told of the pool");
    else
        mp__host_write(w, host);
    return true;
}

/* Both sides of the same program have the same sorted table: the first line that differs says what it is. */
static void explain_other(const mp__workers *w, const mp__host *host, const uint8_t *bytes, size_t size, char why[256])
{
    const mp__task_table *tasks = w->terms.tasks;
    mp__task_line line = {.name = ""};
    size_t count = size / sizeof line, i = 0;
    int order = -1;
    for (; i < count; i++) {
        memcpy(&line, bytes + i * sizeof line, sizeof line);
        line.name[sizeof line.name - 1] = 0;
        order = i < tasks->count ? strcmp(line.name, tasks->rows[i].name) : -1;
        if (order || line.hash != tasks->rows[i].hash)
            break;
    }
    if (i == count || order > 0)
        snprintf(why, 256, "it does not have the task '%s': is it the same build?",
                 i < tasks->count ? tasks->rows[i].name : "?");
    else if (order < 0)
        snprintf(why, 256, "it has a task '%s', which this program has not: is it the same build?", line.name);
    else
        snprintf(why, 256, "its task '%s' has other types than here: is it the same build?", line.name);
    (void)host;
}

/* --- its end -------------------------------------------------------------------------------------------------------------- */

void mp__host_vanish(mp__workers *w, mp__host *host, mp_status status, const char *why)
{
    if (host->state == MP__HOST_GONE)
        return;
    if (host->state == MP__HOST_UP)
        mp__hall_note_loss();
    host->state = MP__HOST_GONE;
    mp__failure(&host->why, status, "the agent on %s is lost: %.250s", host->name, why);
    snprintf(host->why.host, sizeof host->why.host, "%s", host->name);
    mp__system.epoll_ctl(w->epoll, EPOLL_CTL_DEL, host->wire.fd, NULL);
    mp__wire_fini(&host->wire);
    host->feeding = NULL;
    host->left = 0;
    host->has_room = false;
    w->gone += host->lives > 0;
    mp__cluster_owe(w);
}

void mp__host_free(mp__host *host)
{
    mp__wire_fini(&host->wire);
    mp__wire_texts_fini(&host->texts);
    free(host);
}

/* --- its socket ----------------------------------------------------------------------------------------------------------- */

static void wait_for_room(mp__workers *w, mp__host *host, bool waits)
{
    struct epoll_event event = {.events = waits ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = host};
    if (waits == host->waits || host->wire.fd < 0)
        return;
    host->waits = waits;
    mp__system.epoll_ctl(w->epoll, EPOLL_CTL_MOD, host->wire.fd, &event);
}

/* One that cannot be written to has said all that it will: its end is found where that is read. */
void mp__host_write(mp__workers *w, mp__host *host)
{
    bool waited = host->waits;
    if (host->state == MP__HOST_GONE)
        return;
    wait_for_room(w, host, mp__wire_write(&host->wire));
    if (!waited || host->waits || !host->lives)
        return;
    host->has_room = true;
    mp__cluster_owe(w);
}

static void flush_all(mp__workers *w, const mp__host *host)
{
    for (uint32_t i = 0; i < w->slots; i++) {
        mp__remote *remote = mp__remote_at(w, i);
        if (remote && remote->host == host)
            mp__remote_flush(w, remote);
    }
}

/* Whoever has made room: not only an event of the socket, but as well a message to one life, behind which another's items wait that has
 * nothing under way, and so will hear nothing. What one of them writes here may make room once more. */
void mp__host_resume(mp__workers *w, mp__host *host)
{
    while (host->has_room) {
        host->has_room = false;
        flush_all(w, host);
    }
}

bool mp__host_read(mp__host *host)
{
    bool more = mp__wire_read(&host->wire);
    host->late = host->late && !more;
    return more;
}

void mp__host_ready(mp__workers *w, mp__host *host, uint32_t events)
{
    if (host->state == MP__HOST_GONE)
        return;
    if (events & EPOLLOUT)
        mp__host_write(w, host);
    if (events & ~(uint32_t)EPOLLOUT)
        (void)mp__host_read(host);
}

void mp__host_tick(mp__workers *w, mp__host *host)
{
    if (host->state == MP__HOST_GONE)
        return;
    (void)mp__host_read(host); /* what waits to be read was said: it may be us who were away */
    host->silent = host->wire.heard ? 0 : host->silent + 1;
    host->wire.heard = false;
    if (host->silent > (host->state == MP__HOST_UP ? SILENT_MAX : OPENING_MAX)) {
        char why[64];
        snprintf(why, sizeof why, "nothing was heard from it for %u seconds", host->silent - 1);
        mp__host_vanish(w, host, MP_ELOST, why);
        return;
    }
    if (!host->wire.said)
        mp__wire_put(&host->wire, &(mp__wire_head){.kind = MP__WIRE_PING, .flag = 1}, NULL, 0);
    host->wire.said = false;
    mp__host_write(w, host);
}

static bool is_known(uint64_t id, const void *of)
{
    const mp__workers *w = of;
    for (uint32_t i = 0; i < w->host_count; i++)
        if (w->hosts[i]->id == id && (w->hosts[i]->state != MP__HOST_GONE || is_unfit(w->hosts[i])))
            return true;
    return false;
}

void mp__hosts_take(mp__workers *w)
{
    mp__guest *guest;
    mp__hall_turn();
    while ((guest = mp__hall_take(is_known, w)))
        if (!mp__host_add(w, guest))
            return;
}

/* --- what it says --------------------------------------------------------------------------------------------------------- */

/* Before it is UP. False: it may not say this. */
static bool answer(mp__workers *w, mp__host *host, const mp__wire_head *head, const uint8_t *bytes)
{
    char why[256];
    mp_error error;
    mp__event event = {0};
    mp__evidence evidence;
    switch (head->kind) {
    case MP__WIRE_OPENED: host->state = MP__HOST_UP; return true;
    case MP__WIRE_OTHER:
        explain_other(w, host, bytes, head->size, why);
        mp__host_vanish(w, host, MP_EMISMATCH, why);
        return true;
    case MP__WIRE_REFUSED:
        if (!mp__wire_report_take(head, bytes, host->name, &host->texts, &error, &evidence, &event))
            return false;
        mp__host_vanish(w, host, error.status ? error.status : MP_ESYSTEM, error.message);
        return true;
    default: return false;
    }
}

/* As the worker's own side sees to it: see can_be_a_tasks in link.c. */
static bool can_be_a_failure(const mp_error *error)
{
    return error->status > MP_OK && error->status != MP_END && error->status != MP_ETIMEDOUT && error->message[0];
}

typedef enum heard { NOTHING, EVENT, NONSENSE } heard;

static heard hear_report(mp__workers *w, mp__host *host, mp__remote *remote, const mp__wire_head *head,
                         const uint8_t *bytes, mp__event_kind kind, mp__event *event)
{
    mp__remote_event(remote, kind, event);
    if (!mp__wire_report_take(head, bytes, host->name, &host->texts, &remote->error, &remote->evidence, event))
        return NONSENSE;
    host->texts_told = true;
    if (kind == MP__EV_RESULT) {
        if (!can_be_a_failure(&remote->error) || !mp__frame_reader_whole(&remote->reader) ||
            ++remote->results > remote->link.items)
            return NONSENSE;
    } else if (remote->error.status <= MP_OK && kind != MP__EV_OUTPUT) {
        return NONSENSE;
    }
    if (kind == MP__EV_LOST || kind == MP__EV_START_FAILED)
        mp__remote_end(w, remote);
    return EVENT;
}

static heard hear_progress(mp__remote *remote, const mp__wire_head *head, mp__event *event)
{
    if (!remote->watching)
        return NOTHING;
    mp__remote_event(remote, MP__EV_PROGRESS, event);
    remote->watching = false;
    event->started = head->number;
    event->heed = head->flag <= MP__HEED_UNKNOWN ? (mp__heed)head->flag : MP__HEED_NO;
    event->asked_at = remote->asked_at;
    return EVENT;
}

static heard hear_recalled(mp__workers *w, mp__remote *remote, const mp__wire_head *head, mp__event *event)
{
    if (!remote->recalling)
        return NONSENSE;
    mp__remote_event(remote, MP__EV_RECALLED, event);
    event->started = head->number;
    remote->recalling = false;
    if (head->number != UINT64_MAX && (head->number < remote->results || head->number > remote->link.items))
        return NONSENSE;
    if (head->number != UINT64_MAX)
        remote->link.items = head->number;
    mp__remote_flush(w, remote);
    return EVENT;
}

static heard hear_ended(mp__remote *remote, const mp__wire_head *head, mp__event *event)
{
    if (!remote->ending || remote->ending != head->number)
        return NOTHING; /* it was asked about another one meanwhile */
    mp__remote_event(remote, MP__EV_ENDED, event);
    event->ended = head->flag;
    remote->ending = 0;
    if (event->ended)
        mp__remote_disown(remote);
    return EVENT;
}

static heard hear_credit(mp__workers *w, mp__remote *remote, const mp__wire_head *head)
{
    if (head->number > remote->flying)
        return NONSENSE;
    remote->flying -= head->number;
    mp__remote_flush(w, remote);
    return NOTHING;
}

static heard hear_results(mp__host *host, mp__remote *remote, const mp__wire_head *head, const uint8_t *bytes)
{
    if (head->size < sizeof remote->busy_ns)
        return NONSENSE;
    memcpy(&remote->busy_ns, bytes, sizeof remote->busy_ns);
    host->feeding = remote;
    host->left = head->size - sizeof remote->busy_ns;
    host->wire.taken -= host->left;
    return NOTHING;
}

static heard hear_life(mp__workers *w, mp__host *host, mp__remote *remote, const mp__wire_head *head, const uint8_t *bytes,
                       mp__event *event)
{
    switch (head->kind) {
    case MP__WIRE_GREETED: mp__remote_event(remote, MP__EV_GREETED, event); return EVENT;
    case MP__WIRE_READY: mp__remote_event(remote, MP__EV_READY, event); return EVENT;
    case MP__WIRE_START_FAILED: return hear_report(w, host, remote, head, bytes, MP__EV_START_FAILED, event);
    case MP__WIRE_FAILED: return hear_report(w, host, remote, head, bytes, MP__EV_RESULT, event);
    case MP__WIRE_LOST: return hear_report(w, host, remote, head, bytes, MP__EV_LOST, event);
    case MP__WIRE_NONSENSE: return hear_report(w, host, remote, head, bytes, MP__EV_NONSENSE, event);
    case MP__WIRE_SPENT: return hear_report(w, host, remote, head, bytes, MP__EV_SPENT, event);
    case MP__WIRE_OUTPUT: return hear_report(w, host, remote, head, bytes, MP__EV_OUTPUT, event);
    case MP__WIRE_RESULTS: return hear_results(host, remote, head, bytes);
    case MP__WIRE_RECALLED: return hear_recalled(w, remote, head, event);
    case MP__WIRE_PROGRESS: return hear_progress(remote, head, event);
    case MP__WIRE_ENDED: return hear_ended(remote, head, event);
    case MP__WIRE_CREDIT: return hear_credit(w, remote, head);
    default: return NONSENSE;
    }
}

static heard hear_broken(mp__workers *w, mp__host *host, const mp__wire_head *head, const uint8_t *bytes)
{
    mp_error error;
    mp__event event = {0};
    mp__evidence evidence;
    if (!mp__wire_report_take(head, bytes, host->name, &host->texts, &error, &evidence, &event))
        return NONSENSE;
    mp__host_vanish(w, host, MP_ELOST, error.message);
    return NOTHING;
}

/* Of a life that is over it may speak: it did not know. */
static heard hear(mp__workers *w, mp__host *host, const mp__wire_head *head, const uint8_t *bytes, mp__event *event)
{
    if (head->kind == MP__WIRE_PING)
        return NOTHING;
    if (host->state == MP__HOST_OPENING)
        return answer(w, host, head, bytes) ? NOTHING : NONSENSE;
    if (head->kind == MP__WIRE_TEXT)
        return mp__wire_text_take(&host->texts, head, bytes) ? NOTHING : NONSENSE;
    if (head->kind == MP__WIRE_BROKEN)
        return hear_broken(w, host, head, bytes);
    mp__remote *remote = mp__remote_of(w, host, head->slot, head->generation);
    if (!remote) {
        mp__wire_texts_forget(&host->texts);
        return NOTHING;
    }
    return hear_life(w, host, remote, head, bytes, event);
}

bool mp__host_next(mp__workers *w, mp__host *host, mp__event *event)
{
    mp__wire_head head;
    const uint8_t *bytes;
    if (host->texts_told)
        mp__wire_texts_forget(&host->texts);
    host->texts_told = false;
    for (bool bad = false; host->state == MP__HOST_OPENING || host->state == MP__HOST_UP;) {
        if (host->feeding && mp__remote_results(host, host->feeding, event, &bad))
            return true;
        host->feeding = NULL;
        heard what = bad ? NONSENSE : NOTHING;
        if (!bad && mp__wire_next(&host->wire, &head, &bytes))
            what = hear(w, host, &head, bytes, event);
        else if (!bad && !host->wire.over)
            return false;
        else if (!bad)
            mp__host_vanish(w, host, MP_ELOST, host->wire.bad ? "what it said made no sense" : "its connection has ended");
        if (what == EVENT)
            return true;
        if (what == NONSENSE)
            mp__host_vanish(w, host, MP_ELOST, "what it said made no sense");
    }
    return false;
}
