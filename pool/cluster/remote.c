/* A life on another host, as the root has it: what goes there, and what comes from there.
 *
 * Items are encoded as for a worker here, by a link that has no worker, and the stream is cut into pieces of which so many may be under
 * way. Values come as a stream of frames too. Nothing that comes is believed: not more results than items, no frame but of values; what
 * cannot be is the agent's doing, and its end. A value for which we have no memory is not: its item fails, and what comes behind it is
 * read. Under the pool's lock; `mp__remote_await` alone may block, for a moment. */
#include "pool/clock.h"
#include "pool/cluster/state.h"
#include "pool/failure.h"
#include "serial/memory.h"
#include "serial/row.h"
#include <poll.h>
#include <string.h>

enum { ROW_MAX = MP__ROW_MAX };

/* --- its life ------------------------------------------------------------------------------------------------------------- */

static mp__remote *make(mp__workers *w, uint32_t slot)
{
    if (!w->remotes[slot])
        w->remotes[slot] = mp__memory.calloc(1, sizeof(mp__remote));
    return w->remotes[slot];
}

/* With the reader's buffer: there is nothing to read by then, and so nothing to lose, where that cannot be had. */
static bool init_reader(mp__frame_reader *reader)
{
    uint8_t *where;
    size_t room;
    mp__frame_reader_init(reader, 1u << MP__VALUE | 1u << MP__VALUES, MP_ITEM_SIZE_MAX);
    return mp__frame_reader_space(reader, &where, &room);
}

bool mp__remote_start(mp__workers *w, mp__host *host, mp__life life)
{
    mp__remote *remote = make(w, life.slot);
    mp__frame_reader reader;
    if (!remote || !init_reader(&reader))
        return false;
    *remote = (mp__remote){.host = host, .reader = reader};
    mp__link_init(&remote->link);
    remote->link.state = MP__LINK_OPEN;
    remote->link.terms = &w->terms;
    remote->link.life = life;
    host->lives++;
    mp__remote_tell(w, remote, MP__WIRE_START, life.place);
    return true;
}

void mp__remote_end(mp__workers *w, mp__remote *remote)
{
    mp__host *host = remote->host;
    if (host->feeding == remote)
        host->feeding = NULL;
    if (remote->owes_writable)
        w->owing--;
    remote->owes_writable = false;
    mp__outbox_fini(&remote->link.outbox);
    mp__frame_reader_fini(&remote->reader);
    remote->host = NULL;
    host->lives--;
    if (host->state == MP__HOST_GONE && !host->lives)
        w->gone--;
}

void mp__remote_free(mp__remote *remote)
{
    if (!remote)
        return;
    mp__outbox_fini(&remote->link.outbox);
    mp__frame_reader_fini(&remote->reader);
    free(remote);
}

mp__remote *mp__remote_of(mp__workers *w, const mp__host *host, uint32_t slot, uint32_t generation)
{
    mp__remote *remote = slot < w->slots ? mp__remote_at(w, slot) : NULL;
    return remote && remote->host == host && remote->link.life.generation == generation ? remote : NULL;
}

/* --- going ---------------------------------------------------------------------------------------------------------------- */

static mp__wire_head head_of(const mp__remote *remote, mp__wire_kind kind, uint64_t number)
{
    const mp__life *life = &remote->link.life;
    return (mp__wire_head){.kind = (uint16_t)kind, .slot = life->slot, .generation = life->generation, .number = number};
}

void mp__remote_tell(mp__workers *w, mp__remote *remote, mp__wire_kind kind, uint64_t number)
{
    mp__wire_head head = head_of(remote, kind, number);
    if (remote->host->state == MP__HOST_GONE)
        return;
    mp__wire_put(&remote->host->wire, &head, NULL, 0);
    mp__host_write(w, remote->host);
}

bool mp__remote_has_room(const mp__remote *remote)
{
    return remote->host->state == MP__HOST_UP && !remote->recalling && mp__link_has_room(&remote->link) &&
           mp__wire_waiting(&remote->host->wire) < MP__WIRE_FULL;
}

/* Who found no room is told when there is some. */
static void tell_room(mp__workers *w, mp__remote *remote)
{
    if (!remote->full || remote->owes_writable || !mp__remote_has_room(remote))
        return;
    remote->full = false;
    remote->owes_writable = true;
    w->owing++;
    mp__cluster_owe(w);
}

void mp__remote_flush(mp__workers *w, mp__remote *remote)
{
    mp__host *host = remote->host;
    mp__outbox *outbox = &remote->link.outbox;
    const mp__wire_head head = head_of(remote, MP__WIRE_DATA, 0);
    if (host->state != MP__HOST_UP)
        return;
    while (mp__outbox_size(outbox) && remote->flying < MP__WIRE_WINDOW && mp__wire_waiting(&host->wire) < MP__WIRE_FULL) {
        uint64_t open = MP__WIRE_WINDOW - remote->flying, waits = mp__outbox_size(outbox);
        size_t room = open < MP__WIRE_MAX ? (size_t)open : MP__WIRE_MAX;
        uint8_t *where = mp__wire_reserve(&host->wire, waits < room ? (size_t)waits : room);
        if (!where)
            break;
        size_t size = mp__outbox_take(outbox, where, waits < room ? (size_t)waits : room);
        mp__wire_commit(&host->wire, &head, size);
        remote->flying += size;
    }
    if (remote->stopping && !mp__outbox_size(outbox)) {
        const mp__wire_head stop = head_of(remote, MP__WIRE_STOP, 0);
        remote->stopping = false;
        mp__wire_put(&host->wire, &stop, NULL, 0);
    }
    mp__host_write(w, host);
    tell_room(w, remote);
}

void mp__remote_stop(mp__workers *w, mp__remote *remote)
{
    remote->stopping = true;
    mp__remote_flush(w, remote);
}

void mp__remote_disown(mp__remote *remote)
{
    mp__outbox_fini(&remote->link.outbox);
    remote->link.deaf = true;
}

/* Of what is half on its way the rest is never sent: the agent begins the stream again. */
void mp__remote_recall(mp__workers *w, mp__remote *remote)
{
    mp__outbox_fini(&remote->link.outbox);
    remote->link.has_run = false;
    remote->recalling = true;
    mp__remote_tell(w, remote, MP__WIRE_RECALL, 0);
    mp__remote_flush(w, remote); /* nothing stands before a STOP any more */
}

/* --- coming --------------------------------------------------------------------------------------------------------------- */

void mp__remote_event(mp__remote *remote, mp__event_kind kind, mp__event *event)
{
    *event = (mp__event){
        .kind = kind, .slot = remote->link.life.slot, .generation = remote->link.life.generation, .error = &remote->error};
}

static void name(const mp__host *host, mp__remote *remote)
{
    remote->error = (mp_error){.item = MP_NO_ITEM, .exit_code = -1, .worker = (int)remote->link.life.place};
    memcpy(remote->error.host, host->name, sizeof remote->error.host);
}

static bool take_values(mp__host *host, mp__remote *remote, mp__event *event)
{
    size_t count = remote->frame.kind == MP__VALUES
                       ? mp__row_open(&remote->frame)
                       : 1 + mp__frame_reader_more(&remote->reader, &remote->frame, ROW_MAX - 1);
    remote->results += count;
    if (!count || remote->results > remote->link.items)
        return false;
    name(host, remote);
    mp__remote_event(remote, MP__EV_RESULT, event);
    event->count = count;
    event->frame = &remote->frame;
    event->busy_ns = host->left ? 0 : remote->busy_ns; /* the last of them is of that time */
    return true;
}

/* Of a value for which there is no memory: one item's, for a row is never so large. */
static bool take_none(const mp__host *host, mp__remote *remote, mp__event *event)
{
    unsigned worker = remote->link.life.place;
    if (!mp__frame_reader_pass_over(&remote->reader, &remote->frame) || remote->frame.kind != MP__VALUE ||
        ++remote->results > remote->link.items)
        return false;
    mp__remote_event(remote, MP__EV_RESULT, event);
    mp__failure(&remote->error, MP_ENOMEM, "there is no memory for what worker %u on %s sends: a result of %zu bytes",
                worker, host->name, remote->frame.size);
    remote->error.worker = (int)worker;
    memcpy(remote->error.host, host->name, sizeof remote->error.host);
    return true;
}

bool mp__remote_results(mp__host *host, mp__remote *remote, mp__event *event, bool *bad)
{
    for (*bad = false; !*bad;) {
        uint8_t *where;
        size_t room;
        if (mp__frame_reader_next(&remote->reader, &remote->frame)) {
            *bad = !take_values(host, remote, event);
            return !*bad;
        }
        if (remote->reader.status != MP_OK) {
            *bad = !take_none(host, remote, event);
            return !*bad;
        }
        if (!host->left)
            return false;
        *bad = !mp__frame_reader_space(&remote->reader, &where, &room);
        if (*bad)
            return false;
        if (room > host->left)
            room = host->left;
        memcpy(where, host->wire.in.data + host->wire.taken, room);
        mp__frame_reader_filled(&remote->reader, room);
        host->wire.taken += room;
        host->left -= room;
    }
    return false;
}

/* --- waiting -------------------------------------------------------------------------------------------------------------- */

static bool find(const mp__host *host, const mp__remote *remote, mp__wire_kind kind, mp__wire_head *head)
{
    const mp__wire *wire = &host->wire;
    for (size_t at = wire->taken + host->left; wire->in.size - at >= sizeof *head; at += sizeof *head + head->size) {
        memcpy(head, wire->in.data + at, sizeof *head);
        if (head->size > MP__WIRE_MAX || head->size > wire->in.size - at - sizeof *head)
            return false;
        if (head->kind == kind && head->slot == remote->link.life.slot && head->generation == remote->link.life.generation)
            return true;
    }
    return false;
}

bool mp__remote_await(mp__workers *w, mp__remote *remote, mp__wire_kind kind, uint64_t deadline, mp__wire_head *head)
{
    mp__host *host = remote->host;
    for (bool looked = false; !find(host, remote, kind, head); looked = true) {
        uint64_t now = mp__now();
        bool late = host->late || now >= deadline; /* then what is there is looked at, and no more */
        struct pollfd fd = {.fd = host->wire.fd, .events = POLLIN};
        if (host->state != MP__HOST_UP || host->wire.over)
            return false;
        if (late && looked) {
            host->late = true;
            return false;
        }
        if (mp__wire_waiting(&host->wire))
            fd.events |= POLLOUT;
        if (poll(&fd, 1, late ? 0 : (int)((deadline - now) / 1000000) + 1) > 0 && fd.revents & ~POLLOUT &&
            mp__host_read(host))
            mp__cluster_owe(w); /* what came besides is to be heard, though the socket says nothing of it any more */
        mp__host_write(w, host);
    }
    return true;
}
