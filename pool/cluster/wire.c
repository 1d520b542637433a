/* One end of a connection between root and agent: messages in and out of a stream socket that never blocks.
 *
 * Decides nothing. What comes is held against its bounds before it is looked at; what is no message ends the connection. Owns the
 * socket and two buffers, which shrink when they are empty. Used by one thread at a time: under the pool's lock at the root, by the
 * session's own thread at an agent. */
#include "pool/cluster/wire.h"
#include "pool/failure.h"
#include "serial/text.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 256 * 1024, KEEP = 1 << 20 };

void mp__wire_keep_alive(int fd)
{
    const int options[][3] = {{SOL_SOCKET, SO_KEEPALIVE, 1},
                              {IPPROTO_TCP, TCP_NODELAY, 1},
                              {IPPROTO_TCP, TCP_KEEPIDLE, 5},
                              {IPPROTO_TCP, TCP_KEEPINTVL, 2},
                              {IPPROTO_TCP, TCP_KEEPCNT, 3}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        setsockopt(fd, options[i][0], options[i][1], &options[i][2], sizeof(int));
}

void mp__wire_init(mp__wire *wire, int fd)
{
    *wire = (mp__wire){.fd = fd};
}

void mp__wire_fini(mp__wire *wire)
{
    if (wire->fd >= 0) {
        shutdown(wire->fd, SHUT_RDWR); /* a child that the program has forked may have it, too */
        close(wire->fd);
    }
    mp__buffer_fini(&wire->in);
    mp__buffer_fini(&wire->out);
    *wire = (mp__wire){.fd = -1, .over = true};
}

/* --- going --------------------------------------------------------------------------------------------------------------- */

/* Forgets what has gone, before there is more. */
static void compact(mp__buffer *buffer, size_t *gone)
{
    if (!*gone || *gone < buffer->size / 2)
        return;
    memmove(buffer->data, buffer->data + *gone, buffer->size - *gone);
    buffer->size -= *gone;
    *gone = 0;
    if (!buffer->size && buffer->capacity > KEEP)
        mp__buffer_fini(buffer);
}

uint8_t *mp__wire_reserve(mp__wire *wire, size_t most)
{
    if (wire->over || wire->mute)
        return NULL;
    compact(&wire->out, &wire->sent);
    if (!mp__buffer_reserve(&wire->out, sizeof(mp__wire_head) + most)) {
        wire->over = true;
        return NULL;
    }
    return wire->out.data + wire->out.size + sizeof(mp__wire_head);
}

void mp__wire_commit(mp__wire *wire, const mp__wire_head *head, size_t size)
{
    mp__wire_head told = *head;
    told.size = (uint32_t)size;
    memcpy(wire->out.data + wire->out.size, &told, sizeof told);
    wire->out.size += sizeof told + size;
    wire->said = true;
}

void mp__wire_put(mp__wire *wire, const mp__wire_head *head, const void *bytes, size_t size)
{
    uint8_t *where = mp__wire_reserve(wire, size);
    if (!where)
        return;
    if (size)
        memcpy(where, bytes, size);
    mp__wire_commit(wire, head, size);
}

void mp__wire_put_long(mp__wire *wire, const mp__wire_head *head, const void *prefix, size_t prefix_size, const void *bytes,
                       size_t size)
{
    const size_t most = MP__WIRE_MAX - prefix_size;
    for (size_t at = 0; at < size;) {
        size_t piece = size - at < most ? size - at : most;
        uint8_t *where = mp__wire_reserve(wire, prefix_size + piece);
        if (!where)
            return;
        if (prefix_size)
            memcpy(where, prefix, prefix_size);
        memcpy(where + prefix_size, (const uint8_t *)bytes + at, piece);
        mp__wire_commit(wire, head, prefix_size + piece);
        at += piece;
    }
}

/* The other side may have left with its last messages on their way to us: those are read, and then its end. If it is there still, it
 * sees ours. */
static void grow_mute(mp__wire *wire)
{
    wire->mute = true;
    wire->out.size = wire->sent = 0;
    shutdown(wire->fd, SHUT_WR);
}

bool mp__wire_write(mp__wire *wire)
{
    while (!wire->over && mp__wire_waiting(wire)) {
        ssize_t got = send(wire->fd, wire->out.data + wire->sent, mp__wire_waiting(wire), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return true;
        if (got < 0) {
            grow_mute(wire);
            return false;
        }
        wire->sent += (size_t)got;
        compact(&wire->out, &wire->sent);
    }
    return false;
}

/* --- coming -------------------------------------------------------------------------------------------------------------- */

bool mp__wire_read(mp__wire *wire)
{
    compact(&wire->in, &wire->taken);
    if (wire->over || !mp__buffer_reserve(&wire->in, READ_SIZE)) {
        wire->over = true;
        return false;
    }
    size_t room = wire->in.capacity - wire->in.size;
    ssize_t got = recv(wire->fd, wire->in.data + wire->in.size, room, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0) {
        wire->over = true;
        return false;
    }
    wire->in.size += (size_t)got;
    wire->heard = true;
    return true;
}

static bool peek(const mp__wire *wire, mp__wire_head *head)
{
    size_t there = wire->in.size - wire->taken;
    if (there < sizeof *head)
        return false;
    memcpy(head, wire->in.data + wire->taken, sizeof *head);
    return head->size <= MP__WIRE_MAX && there - sizeof *head >= head->size;
}

/* What came before the end still counts. */
bool mp__wire_next(mp__wire *wire, mp__wire_head *head, const uint8_t **bytes)
{
    if (wire->bad)
        return false;
    if (peek(wire, head)) {
        *bytes = wire->in.data + wire->taken + sizeof *head;
        wire->taken += sizeof *head + head->size;
        return true;
    }
    if (wire->in.size - wire->taken >= sizeof *head && head->size > MP__WIRE_MAX)
        wire->over = wire->bad = true;
    return false;
}

/* --- reports ------------------------------------------------------------------------------------------------------------- */

static void put_texts(mp__wire *wire, mp__wire_head head, const mp__evidence *evidence)
{
    const void *texts[MP__WIRE_TEXTS] = {evidence->frames, evidence->out, evidence->err};
    const size_t sizes[MP__WIRE_TEXTS] = {evidence->frames_size, evidence->out_size, evidence->err_size};
    head.kind = MP__WIRE_TEXT;
    for (unsigned i = 0; i < MP__WIRE_TEXTS; i++) {
        head.number = i;
        if (texts[i])
            mp__wire_put_long(wire, &head, NULL, 0, texts[i], sizes[i]);
    }
}

static void describe(mp__wire_report *report, const mp__evidence *evidence)
{
    report->has_evidence = 1;
    report->address = evidence->address;
    report->has_address = evidence->has_address;
    report->by_oom = evidence->by_oom;
    report->cpu_ns = evidence->cpu_ns;
    report->rss_bytes = evidence->rss_bytes;
    report->ran_ns = evidence->ran_ns;
    report->out_cut = evidence->out_cut;
    report->err_cut = evidence->err_cut;
    report->out_told = evidence->out_told;
    report->err_told = evidence->err_told;
}

void mp__wire_report_put(mp__wire *wire, mp__wire_head head, const mp__event *event)
{
    mp__wire_report report = {.started = event->started, .by_task = event->by_task};
    if (event->evidence) {
        put_texts(wire, head, event->evidence);
        describe(&report, event->evidence);
    }
    if (event->error) {
        const mp_error *error = event->error;
        report.status = (int32_t)error->status;
        report.os_error = error->os_error;
        report.worker = error->worker;
        report.pid = error->pid;
        report.signal = error->signal;
        report.exit_code = error->exit_code;
        memcpy(report.task, error->task, sizeof report.task);
        memcpy(report.message, error->message, sizeof report.message);
    }
    mp__wire_put(wire, &head, &report, sizeof report);
}

bool mp__wire_text_take(mp__wire_texts *texts, const mp__wire_head *head, const uint8_t *bytes)
{
    mp__buffer *text = head->number < MP__WIRE_TEXTS ? &texts->text[head->number] : NULL;
    if (!text || head->size > MP__WIRE_TEXT_MAX - text->size)
        return false;
    if (!mp__buffer_reserve(text, head->size + 1))
        return true; /* then it is shorter */
    memcpy(text->data + text->size, bytes, head->size);
    text->size += head->size;
    text->data[text->size] = 0;
    return true;
}

void mp__wire_texts_forget(mp__wire_texts *texts)
{
    for (int i = 0; i < MP__WIRE_TEXTS; i++)
        texts->text[i].size = 0;
}

void mp__wire_texts_fini(mp__wire_texts *texts)
{
    for (int i = 0; i < MP__WIRE_TEXTS; i++)
        mp__buffer_fini(&texts->text[i]);
}

static void take_error(const mp__wire_report *report, const char *host, mp_error *error)
{
    *error = (mp_error){.status = (mp_status)report->status,
                        .os_error = report->os_error,
                        .item = MP_NO_ITEM,
                        .worker = report->worker < 0 ? MP_NO_WORKER : report->worker,
                        .pid = report->pid,
                        .signal = report->signal,
                        .exit_code = report->exit_code};
    memcpy(error->host, host, strnlen(host, sizeof error->host - 1));
    memcpy(error->task, report->task, strnlen(report->task, sizeof error->task - 1));
    memcpy(error->message, report->message, strnlen(report->message, sizeof error->message - 1));
}

static const char *text_of(const mp__wire_texts *texts, int which, size_t *size)
{
    *size = texts->text[which].size;
    return *size ? (const char *)texts->text[which].data : NULL;
}

static void take_evidence(const mp__wire_report *report, const mp__wire_texts *texts, mp__evidence *evidence)
{
    *evidence = (mp__evidence){.address = (uintptr_t)report->address,
                               .has_address = report->has_address,
                               .by_oom = report->by_oom,
                               .cpu_ns = report->cpu_ns,
                               .rss_bytes = report->rss_bytes,
                               .ran_ns = report->ran_ns,
                               .out_cut = report->out_cut,
                               .err_cut = report->err_cut,
                               .out_told = report->out_told,
                               .err_told = report->err_told};
    evidence->frames = text_of(texts, 0, &evidence->frames_size);
    evidence->out = text_of(texts, 1, &evidence->out_size);
    evidence->err = text_of(texts, 2, &evidence->err_size);
}

bool mp__wire_report_take(const mp__wire_head *head, const uint8_t *bytes, const char *host, mp__wire_texts *texts,
                          mp_error *error, mp__evidence *evidence, mp__event *event)
{
    mp__wire_report report;
    if (head->size != sizeof report)
        return false;
    memcpy(&report, bytes, sizeof report);
    take_error(&report, host, error);
    take_evidence(&report, texts, evidence);
    event->started = report.started;
    event->by_task = report.by_task;
    event->error = error;
    event->evidence = report.has_evidence ? evidence : NULL;
    return true;
}
