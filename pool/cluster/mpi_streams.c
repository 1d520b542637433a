/* The streams of a tunnel: the sockets at their ends here, and the door through which those come and go.
 *
 * Decides when a stream begins and when it has ended. Owns one end of each socket pair, and what the far end has no room for. The
 * tunnel's thread; no lock. Sockets are watched edge by edge: what is known to be readable or full is remembered, so a stream whose
 * credit is used up costs nothing. All reads and writes are MSG_DONTWAIT: the other end of the pair may be blocking.
 *
 * Happy path: an agent puts an end into its door, the stream gets the next id, and says OPEN with its first bytes; the root makes a
 * pair, keeps one end and puts the other into its own door. Ids are not used twice.
 * It fails alone: a stream without memory or a descriptor is ended both ways; a rank that is lost ends all of its streams. */
#include "pool/cluster/mpi_streams.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS = 64,
    COPY_ROOM = 16 * 1024,
    SOCKET_ROOM = 1024 * 1024, /* asked for; the system gives what it allows */
};

/* ---- beginning and end ---- */

static mp__stream **bucket(const mp__streams *streams, int rank, uint32_t id)
{
    return (mp__stream **)&streams->table[((uint32_t)rank * 31u + id) % MP__BUCKETS];
}

mp__stream *mp__stream_find(const mp__streams *streams, int rank, uint32_t id)
{
    mp__stream *stream = *bucket(streams, rank, id);
    while (stream && (stream->rank != rank || stream->id != id))
        stream = stream->same;
    return stream;
}

static void watch(mp__streams *streams, mp__stream *stream, int operation)
{
    uint32_t events = EPOLLIN | EPOLLRDHUP | EPOLLET | (stream->watched ? EPOLLOUT : 0);
    struct epoll_event event = {.events = events, .data.ptr = stream};
    (void)epoll_ctl(streams->epoll, operation, stream->fd, &event);
}

/* `fd` is taken, also where it fails. */
static mp__stream *stream_new(mp__streams *streams, int rank, uint32_t id, int fd)
{
    mp__stream *stream = malloc(sizeof *stream);
    if (!stream) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    *stream = (mp__stream){.rank = rank, .id = id, .fd = fd, .far = -1, .credit = MP__WINDOW};
    mp__stream **first = bucket(streams, rank, id);
    stream->same = *first;
    *first = stream;
    streams->count++;
    if (fd >= 0)
        watch(streams, stream, EPOLL_CTL_ADD);
    return stream;
}

static void drop_rests(mp__streams *streams, mp__stream *stream)
{
    while (stream->first) {
        mp__rest *rest = stream->first;
        stream->first = rest->next;
        if (rest->message)
            mp__mail_let_go(&streams->mail, rest->message);
        free(rest);
    }
}

static void leave_line(mp__streams *streams, mp__stream *stream)
{
    if (!stream->lined)
        return;
    struct mp__streams_rank *to = &streams->ranks[stream->rank];
    mp__stream **at = &to->first, *before = NULL;
    while (*at != stream) {
        before = *at;
        at = &before->behind;
    }
    *at = stream->behind;
    if (to->last == stream)
        to->last = before;
    stream->lined = false;
    streams->lined--;
}

static void stream_free(mp__streams *streams, mp__stream *stream)
{
    mp__stream **at = bucket(streams, stream->rank, stream->id);
    while (*at != stream)
        at = &(*at)->same;
    *at = stream->same;
    leave_line(streams, stream);
    drop_rests(streams, stream);
    if (stream->fd >= 0) {
        /* A child that a session forks right now has it open, too, until it has executed: epoll would go on to name us. */
        (void)epoll_ctl(streams->epoll, EPOLL_CTL_DEL, stream->fd, NULL);
        close(stream->fd);
    }
    if (stream->far >= 0)
        close(stream->far);
    streams->count--;
    free(stream);
}

void mp__stream_settle(mp__streams *streams, mp__stream *stream)
{
    if (stream->ended && stream->their_end && !stream->first && stream->far < 0 && !stream->lined)
        stream_free(streams, stream);
}

void mp__stream_line_up(mp__streams *streams, mp__stream *stream)
{
    struct mp__streams_rank *to = &streams->ranks[stream->rank];
    if (stream->lined)
        return;
    stream->lined = true;
    stream->behind = NULL;
    if (to->first)
        to->last->behind = stream;
    else
        to->first = stream;
    to->last = stream;
    streams->lined++;
}

/* ---- into the socket ---- */

/* Whoever has the far end takes nothing more. */
static void grow_deaf(mp__streams *streams, mp__stream *stream)
{
    drop_rests(streams, stream);
    stream->deaf = true;
    mp__stream_line_up(streams, stream);
}

/* How many bytes it has taken; -1: it takes none any more. */
static ssize_t write_some(mp__streams *streams, mp__stream *stream, const char *bytes, uint32_t size)
{
    ssize_t written;
    do
        written = send(stream->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (written < 0 && errno == EINTR);
    if (written < 0 && errno != EAGAIN)
        return -1;
    written = written < 0 ? 0 : written;
    stream->owed += (uint32_t)written;
    if (stream->owed >= MP__WINDOW / 4)
        mp__stream_line_up(streams, stream);
    return written;
}

static void watch_room(mp__streams *streams, mp__stream *stream, bool wanted)
{
    if (stream->watched == wanted)
        return;
    stream->watched = wanted;
    watch(streams, stream, EPOLL_CTL_MOD);
}

static void rest_add(mp__stream *stream, mp__rest *rest)
{
    if (stream->first)
        stream->last->next = rest;
    else
        stream->first = rest;
    stream->last = rest;
}

/* A message is held only where half of it or more is wanted, or a few bytes could keep a large one. */
static bool rest_keep(mp__stream *stream, mp__message *message, const char *bytes, uint32_t size)
{
    mp__rest *last = stream->first ? stream->last : NULL;
    bool held = size >= message->size / 2 && size >= COPY_ROOM / 4;
    if (!held && last && !last->message && last->own + last->room - (last->bytes + last->size) >= size) {
        memcpy((char *)last->bytes + last->size, bytes, size);
        last->size += size;
        return true;
    }
    uint32_t room = held ? 0 : size > COPY_ROOM ? size : COPY_ROOM;
    mp__rest *rest = malloc(sizeof *rest + room);
    if (!rest)
        return false;
    *rest = (mp__rest){.message = held ? message : NULL, .bytes = held ? bytes : rest->own, .size = size, .room = room};
    if (held)
        message->holders++;
    else
        memcpy(rest->own, bytes, size);
    rest_add(stream, rest);
    return true;
}

/* Its reader sees an end where there is none: better than bytes that are missing in the middle. */
static void stream_break(mp__streams *streams, mp__stream *stream)
{
    grow_deaf(streams, stream);
    (void)shutdown(stream->fd, SHUT_RDWR);
}

void mp__stream_deliver(mp__streams *streams, mp__stream *stream, mp__message *message, const char *bytes, uint32_t size)
{
    if (stream->deaf || stream->fd < 0)
        return;
    ssize_t written = stream->first ? 0 : write_some(streams, stream, bytes, size);
    if (written < 0) {
        grow_deaf(streams, stream);
        return;
    }
    uint32_t rest = size - (uint32_t)written;
    if (rest == 0)
        return;
    if (rest_keep(stream, message, bytes + written, rest))
        watch_room(streams, stream, true);
    else
        stream_break(streams, stream);
}

static void flush(mp__streams *streams, mp__stream *stream)
{
    while (stream->first) {
        mp__rest *rest = stream->first;
        ssize_t written = write_some(streams, stream, rest->bytes, rest->size);
        if (written < 0)
            grow_deaf(streams, stream);
        if (written <= 0)
            return;
        rest->bytes += written;
        rest->size -= (uint32_t)written;
        if (rest->size > 0)
            return;
        stream->first = rest->next;
        if (rest->message)
            mp__mail_let_go(&streams->mail, rest->message);
        free(rest);
    }
    watch_room(streams, stream, false);
}

/* Once: shutdown is an event of this very socket, and each one would call it again. */
static void hand_end(mp__streams *streams, mp__stream *stream)
{
    if (stream->their_end && !stream->first && stream->fd >= 0 && !stream->handed) {
        stream->handed = true;
        (void)shutdown(stream->fd, SHUT_WR);
    }
    mp__stream_settle(streams, stream);
}

void mp__stream_their_end(mp__streams *streams, mp__stream *stream)
{
    if (stream->their_end)
        return;
    stream->their_end = true;
    hand_end(streams, stream);
}

void mp__stream_unwanted(mp__streams *streams, mp__stream *stream)
{
    stream->unwanted = true;
    if (stream->fd >= 0)
        (void)shutdown(stream->fd, SHUT_RD); /* who writes there is told, as by a TCP connection that was reset */
    mp__stream_line_up(streams, stream);
}

/* ---- the door ---- */

/* The root's: the far end of a stream, and whose it is. False: not now. */
static bool door_put(mp__streams *streams, mp__stream *stream)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    int32_t rank = stream->rank;
    struct iovec bytes = {&rank, sizeof rank};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &stream->far, sizeof(int));
    if (sendmsg(streams->door, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    close(stream->far); /* also where nobody takes it any more: then this is its end, and both sides hear of it */
    stream->far = -1;
    return true;
}

static void door_put_waiting(mp__streams *streams)
{
    bool full = false;
    for (int i = 0; i < MP__BUCKETS; i++)
        for (mp__stream *stream = streams->table[i], *next; stream; stream = next) {
            next = stream->same;
            full |= stream->far >= 0 && !door_put(streams, stream);
            mp__stream_settle(streams, stream);
        }
    streams->door_full = full;
}

bool mp__stream_opened(mp__streams *streams, int rank, uint32_t id)
{
    int ends[2], room = SOCKET_ROOM;
    bool made =
        !streams->closing && streams->mail.rank == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0;
    mp__stream *stream = stream_new(streams, rank, id, made ? ends[0] : -1);
    if (!stream) {
        if (made)
            close(ends[1]);
        return false;
    }
    if (!made) {
        grow_deaf(streams, stream);
        return true;
    }
    for (int i = 0; i < 2; i++)
        (void)setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    stream->far = ends[1];
    if (!door_put(streams, stream))
        streams->door_full = true;
    return true;
}

/* The agent's: the descriptor in a message; -1: there is none. */
static int descriptor_of(struct msghdr *message)
{
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    int fd = -1;
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

/* False: nothing there. */
static bool door_take(mp__streams *streams)
{
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    int32_t rank = 0;
    struct iovec bytes = {&rank, sizeof rank};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(streams->door, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got <= 0) {
        streams->door_shut |= got == 0;
        return got < 0 && errno == EINTR;
    }
    int fd = descriptor_of(&message), room = SOCKET_ROOM;
    if (fd >= 0 && streams->mail.ranks[0].lost) {
        close(fd);
        return true;
    }
    mp__stream *stream = fd >= 0 ? stream_new(streams, 0, ++streams->last_id, fd) : NULL;
    if (stream) {
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
        stream->opens = true;
        stream->readable = true;
        mp__stream_line_up(streams, stream);
    }
    return true;
}

static void door_event(mp__streams *streams)
{
    if (streams->mail.rank == 0) {
        if (streams->door_full)
            door_put_waiting(streams);
        return;
    }
    while (!streams->door_shut && !streams->closing && door_take(streams))
        continue;
}

/* ---- events ---- */

static void socket_event(mp__streams *streams, mp__stream *stream, uint32_t events)
{
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        stream->hung = true;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR) && !stream->ended) {
        stream->readable = true;
        if (stream->credit > 0)
            mp__stream_line_up(streams, stream);
    }
    /* both ways, and not because they have ended: nobody is there to take anything */
    if (events & (EPOLLHUP | EPOLLERR) && !stream->their_end && !stream->deaf)
        grow_deaf(streams, stream);
    else if (stream->first)
        flush(streams, stream);
    hand_end(streams, stream);
}

/* A lifeline has ended. Nothing is where ranks leave in their own order: the root has heard, or an agent has been told, that it is over. */
static void cut(void *above, int rank)
{
    mp__streams *streams = above;
    if (streams->closing || streams->ranks[rank].bye_heard)
        return;
    streams->orphaned |= rank == 0;
    mp__mail_lose(&streams->mail, rank);
}

/* Frees no stream that a later event names: each is named once, and door and lifeline, by which any may be freed, have their turn behind
 * them. */
static bool events(mp__streams *streams)
{
    struct epoll_event found[EVENTS];
    int count;
    bool any = false, door = false, line = false;
    do {
        count = epoll_wait(streams->epoll, found, EVENTS, 0);
        for (int i = 0; i < count; i++) {
            uint64_t rung;
            any = true;
            if (found[i].data.ptr == &streams->door)
                door = true;
            else if (found[i].data.ptr == streams->line)
                line = true;
            else if (found[i].data.ptr == &streams->wake)
                any |= read(streams->wake, &rung, sizeof rung) > 0;
            else
                socket_event(streams, found[i].data.ptr, found[i].events);
        }
    } while (count == EVENTS);
    if (door)
        door_event(streams);
    if (line)
        mp__lifeline_turn(streams->line, cut, streams);
    return any;
}

static void arrived(void *above, mp__message *message)
{
    mp__streams *streams = above;
    if (!mp__frames_read(streams, message))
        streams->mail.lost(streams, message->rank);
}

/* Its streams end, after all that has come; what they still have to say goes nowhere. */
static void lost(void *above, int rank)
{
    mp__streams *streams = above;
    for (int i = 0; i < MP__BUCKETS; i++)
        for (mp__stream *stream = streams->table[i], *next; stream; stream = next) {
            next = stream->same;
            if (stream->rank != rank)
                continue;
            leave_line(streams, stream);
            stream->ended = true;
            stream->their_end = true;
            if (stream->fd >= 0)
                (void)shutdown(stream->fd, SHUT_RD);
            hand_end(streams, stream);
        }
    streams->ranks[rank].bye_heard = streams->ranks[rank].bye_said = true;
    streams->ranks[rank].last_heard = streams->ranks[rank].last_said = true;
}

bool mp__streams_turn(mp__streams *streams)
{
    bool moved = mp__mail_poll(&streams->mail);
    moved |= events(streams);
    moved |= mp__frames_send(streams);
    return moved;
}

bool mp__streams_awaits(const mp__streams *streams)
{
    return streams->mail.count > 0 || streams->lined > 0;
}

/* ---- the whole ---- */

static bool watch_own(mp__streams *streams, int fd, uint32_t events, void *name)
{
    struct epoll_event event = {.events = events, .data.ptr = name};
    return epoll_ctl(streams->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

bool mp__streams_init(mp__streams *streams, MPI_Comm comm, mp__lifeline *line, int door, int wake)
{
    const uint32_t edges = EPOLLIN | EPOLLOUT | EPOLLET;
    *streams = (mp__streams){
        .mail = {.above = streams, .arrived = arrived, .lost = lost}, .line = line, .door = door, .wake = wake};
    streams->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (streams->epoll < 0)
        return false;
    bool mailed = mp__mail_init(&streams->mail, comm);
    streams->ranks = mailed ? calloc((size_t)streams->mail.size, sizeof *streams->ranks) : NULL;
    if (streams->ranks && watch_own(streams, door, edges, &streams->door) &&
        watch_own(streams, wake, edges, &streams->wake) &&
        (line->epoll < 0 || watch_own(streams, line->epoll, EPOLLIN, line)))
        return true;
    free(streams->ranks);
    mp__mail_fini(&streams->mail);
    close(streams->epoll);
    return false;
}

void mp__streams_fini(mp__streams *streams)
{
    for (int i = 0; i < MP__BUCKETS; i++)
        while (streams->table[i])
            stream_free(streams, streams->table[i]);
    mp__mail_fini(&streams->mail);
    free(streams->ranks);
    close(streams->epoll);
}

void mp__streams_close(mp__streams *streams, uint32_t verdict)
{
    if (streams->mail.rank == 0)
        streams->verdict = verdict;
    door_event(streams); /* what was put there before is a stream yet */
    streams->closing = true;
}

bool mp__streams_closed(const mp__streams *streams)
{
    for (int rank = 0; rank < streams->mail.size; rank++)
        if (mp__streams_reach(streams, rank) && !(streams->ranks[rank].last_said && streams->ranks[rank].last_heard))
            return false;
    for (int i = 0; i < MP__BUCKETS; i++)
        for (const mp__stream *stream = streams->table[i]; stream; stream = stream->same)
            if (stream->first)
                return false;
    return streams->mail.count == 0;
}
