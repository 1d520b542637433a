/* What messages between ranks are made of: frames, each with a stream's id and, for DATA, its bytes.
 *
 * Decides what goes into which message, and does what one that has come says. Owns nothing; the tunnel's thread; no lock.
 *
 * Bytes are read from the socket into the message, and written from the message into the socket: nothing is copied between. What many
 * small writes have left in a socket travels as one frame; what several streams have to say, as one message; and while
 * MP__SENDING_MAX messages are under way to a rank, the sockets collect more. Streams of one rank take turns, by the message.
 *
 * Of a stream's bytes no more than MP__WINDOW are under way or wait at the other side. What its reader has taken is told in CREDIT,
 * a quarter of a window at a time; so MPI never has to keep much that was not expected, and a reader that stops costs one window.
 *
 * END: nothing more comes. STOP: nothing more is taken; the answer is END. A stream has ended when END has gone both ways; what comes
 * for one that is not known any more is what was under way then. BYE: END for all streams of that rank, and for the rank; of rank 0 it
 * says what came of it all. Behind that the other side may still be told what its bytes wait for. LAST, when BYE has gone both ways: it is
 * the last message. So whoever has heard it has heard everything, and nothing is under way that another communicator, which MPI gives the
 * same context when this one has been freed, would take for its own. */
#include "pool/clock.h"
#include "pool/cluster/mpi_streams.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

typedef struct frame {
    uint32_t kind, stream, length; /* of what follows; of CREDIT: the bytes that were taken; of BYE: the verdict */
} frame;
_Static_assert(sizeof(frame) == 12, "both sides read it from memory");

enum {
    LEAST = 4096, /* a message with less room than that has gone far enough */
    CREDIT_LEAST = MP__WINDOW / 4,
};

static uint32_t room_of(const mp__message *message)
{
    return message->room - message->size;
}

static void put(mp__message *message, enum mp__frame_kind kind, uint32_t stream, uint32_t length)
{
    frame header = {.kind = (uint32_t)kind, .stream = stream, .length = length};
    memcpy(message->bytes + message->size, &header, sizeof header);
    message->size += (uint32_t)sizeof header;
}

/* ---- out of sockets ---- */

static void put_end(mp__stream *stream, mp__message *message)
{
    put(message, MP__FRAME_END, stream->id, 0);
    stream->ended = true;
    stream->readable = false;
}

/* What the socket has, as far as there is credit and room. */
static void put_bytes(mp__stream *stream, mp__message *message)
{
    while (stream->readable && stream->credit > 0 && room_of(message) >= LEAST) {
        uint32_t wanted = room_of(message) - (uint32_t)sizeof(frame);
        if (wanted > stream->credit)
            wanted = stream->credit;
        ssize_t got = recv(stream->fd, message->bytes + message->size + sizeof(frame), wanted, MSG_DONTWAIT);
        if (got > 0) {
            put(message, MP__FRAME_DATA, stream->id, (uint32_t)got);
            message->size += (uint32_t)got;
            stream->credit -= (uint32_t)got;
            stream->readable = (size_t)got == wanted || stream->hung; /* else all was read: the next byte is an edge */
        } else if (got < 0 && errno == EAGAIN) {
            stream->readable = false;
        } else if (got == 0 || errno != EINTR) {
            put_end(stream, message); /* ECONNRESET: it was closed before all that we had written was read */
        }
    }
}

static bool has_more(const mp__stream *stream)
{
    return stream->readable && stream->credit > 0 && !stream->ended;
}

static void put_stream(mp__stream *stream, mp__message *message)
{
    if (stream->opens)
        put(message, MP__FRAME_OPEN, stream->id, 0);
    stream->opens = false;
    if (stream->deaf && !stream->deaf_said && !stream->their_end)
        put(message, MP__FRAME_STOP, stream->id, 0);
    stream->deaf_said = stream->deaf;
    if (stream->owed >= CREDIT_LEAST && !stream->their_end) {
        put(message, MP__FRAME_CREDIT, stream->id, stream->owed);
        stream->owed = 0;
    }
    if (!stream->ended && (stream->unwanted || stream->fd < 0))
        put_end(stream, message);
    else if (!stream->ended)
        put_bytes(stream, message);
}

static void fill(mp__streams *streams, int rank, mp__message *message)
{
    struct mp__streams_rank *to = &streams->ranks[rank];
    while (to->first && room_of(message) >= LEAST) {
        mp__stream *stream = to->first;
        to->first = stream->behind;
        stream->lined = false;
        streams->lined--;
        put_stream(stream, message);
        if (has_more(stream))
            mp__stream_line_up(streams, stream);
        else
            mp__stream_settle(streams, stream);
    }
}

/* ---- BYE ---- */

static bool silent(const mp__streams *streams, int rank)
{
    for (int i = 0; i < MP__BUCKETS; i++)
        for (const mp__stream *stream = streams->table[i]; stream; stream = stream->same)
            if (stream->rank == rank && stream->readable && !stream->ended)
                return false;
    return !streams->ranks[rank].first;
}

static bool bye_due(const mp__streams *streams, int rank)
{
    return streams->closing && mp__streams_reach(streams, rank) && !streams->ranks[rank].bye_said && silent(streams, rank);
}

static bool send_bye(mp__streams *streams, int rank)
{
    mp__message *message = mp__mail_message(&streams->mail, rank);
    if (!message)
        return false;
    put(message, MP__FRAME_BYE, 0, streams->verdict);
    mp__mail_send(&streams->mail, message);
    streams->ranks[rank].bye_said = true;
    return true;
}

/* Nobody waits for what the streams still have to say. */
static bool last_due(const mp__streams *streams, int rank)
{
    const struct mp__streams_rank *to = &streams->ranks[rank];
    return to->bye_said && to->bye_heard && !to->last_said && !to->first;
}

static bool send_last(mp__streams *streams, int rank)
{
    mp__message *message = mp__mail_message(&streams->mail, rank);
    if (!message)
        return false;
    put(message, MP__FRAME_LAST, 0, 0);
    mp__mail_send(&streams->mail, message);
    streams->ranks[rank].last_said = true;
    return true;
}

static void drop_lines(mp__streams *streams, int rank)
{
    struct mp__streams_rank *to = &streams->ranks[rank];
    while (to->first) {
        mp__stream *stream = to->first;
        to->first = stream->behind;
        stream->lined = false;
        streams->lined--;
        stream->ended = true;
        stream->readable = false;
        mp__stream_settle(streams, stream);
    }
}

static bool send_lines(mp__streams *streams, int rank)
{
    bool sent = false;
    while (streams->ranks[rank].first) {
        mp__message *message = mp__mail_message(&streams->mail, rank);
        if (!message)
            return sent;
        fill(streams, rank, message);
        if (message->size > 0) {
            mp__mail_send(&streams->mail, message);
            sent = true;
        } else {
            mp__mail_let_go(&streams->mail, message);
        }
    }
    return sent;
}

static void ring(mp__streams *streams, int rank)
{
    uint64_t now = mp__now();
    if (now - streams->ranks[rank].told_at > MP__QUIET_NS)
        mp__lifeline_ring(streams->line, rank);
    streams->ranks[rank].told_at = now;
}

bool mp__frames_send(mp__streams *streams)
{
    bool sent = false;
    if (streams->lined == 0 && !streams->closing)
        return false;
    for (int rank = 0; rank < streams->mail.size; rank++) {
        if (streams->ranks[rank].last_said) {
            drop_lines(streams, rank);
            continue;
        }
        bool told = send_lines(streams, rank);
        if (bye_due(streams, rank))
            told |= send_bye(streams, rank);
        if (last_due(streams, rank))
            told |= send_last(streams, rank);
        if (told)
            ring(streams, rank);
        sent |= told;
    }
    return sent;
}

/* ---- into sockets ---- */

static void heard_bye(mp__streams *streams, int rank, uint32_t verdict)
{
    if (rank == 0)
        streams->verdict = verdict;
    streams->ranks[rank].bye_heard = true;
    for (int i = 0; i < MP__BUCKETS; i++)
        for (mp__stream *stream = streams->table[i], *next; stream; stream = next) {
            next = stream->same;
            if (stream->rank == rank)
                mp__stream_their_end(streams, stream);
        }
}

static void heard_credit(mp__streams *streams, mp__stream *stream, uint32_t taken)
{
    stream->credit += taken;
    if (has_more(stream))
        mp__stream_line_up(streams, stream);
}

static bool heard(mp__streams *streams, mp__message *message, const frame *header, const char *bytes)
{
    if (header->kind == MP__FRAME_OPEN)
        return mp__stream_opened(streams, message->rank, header->stream);
    if (header->kind == MP__FRAME_BYE) {
        heard_bye(streams, message->rank, header->length);
        return true;
    }
    if (header->kind == MP__FRAME_LAST)
        return streams->ranks[message->rank].last_heard = true;
    mp__stream *stream = mp__stream_find(streams, message->rank, header->stream);
    if (!stream)
        return true;
    switch (header->kind) {
    case MP__FRAME_DATA: mp__stream_deliver(streams, stream, message, bytes, header->length); return true;
    case MP__FRAME_CREDIT: heard_credit(streams, stream, header->length); return true;
    case MP__FRAME_END: mp__stream_their_end(streams, stream); return true;
    case MP__FRAME_STOP: mp__stream_unwanted(streams, stream); return true;
    default: return false;
    }
}

bool mp__frames_read(mp__streams *streams, mp__message *message)
{
    uint32_t at = 0;
    while (at < message->size) {
        frame header;
        if (message->size - at < sizeof header)
            return false;
        memcpy(&header, message->bytes + at, sizeof header);
        at += (uint32_t)sizeof header;
        uint32_t bytes = header.kind == MP__FRAME_DATA ? header.length : 0;
        if (bytes > message->size - at || !heard(streams, message, &header, message->bytes + at))
            return false;
        at += bytes;
    }
    return true;
}
