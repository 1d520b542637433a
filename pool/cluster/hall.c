/* Agents' connections on the root's side, from accept (or a door, tunnel.h) to the pool that takes one.
 *
 * There is one hall in a process. It has no thread: whoever opens a pool, or drives one, has it take its turn when its descriptor is
 * readable; while there is no pool connections wait in the system's queue. A connection that does not say who it is, in messages that are
 * none or with an answer that is wrong, is closed, and only that.
 *
 * `lock` guards all of it, is taken behind a pool's lock, and never held while anything blocks. A child that the program forks has no
 * hall, and does not look at the lock, which may have been held at that moment: `owner` says so. */
#include "pool/cluster/hall.h"
#include "pool/clock.h"
#include "pool/cluster/secret.h"
#include "pool/failure.h"
#include "pool/process/protocol.h"
#include "pool/process_id.h"
#include "pool/system.h"
#include "serial/memory.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Nobody stays who does not say who he is, and only so many of them wait at a time: the others in the system's queue. */
enum { GUESTS_MAX = 4096, STRANGERS_MAX = 256, WAIT_S = 60, SILENT_MAX = 30 };
#define GREETING_NS 10000000000u
#define TICK_NS 900000000u /* several pools may tick */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* atomic */
static _Atomic pid_t owner; /* whose it is, and what is known of why there is none; 0: nobody's */
static atomic_bool has_lost;
/* guarded by the lock */
static struct {
    bool open;
    int door; /* a listening socket, or a door */
    bool is_door;
    bool shut; /* nobody comes through it any more, or there are no descriptors for who does: it is not looked at */
    int epoll;
    int port;
    mp__hall_terms terms;
    mp__guest *guests;
    uint32_t count, strangers; /* all; who have not greeted */
    uint32_t pools;            /* that tick */
    uint64_t ticked_at;
    mp_error refusal; /* of the last one who was sent away */
    mp_error never;   /* why there is none */
} hall;

/* --- guests -------------------------------------------------------------------------------------------------------------- */

void mp__guest_free(mp__guest *guest)
{
    mp__wire_fini(&guest->wire);
    free(guest);
}

static void unwatch(const mp__guest *guest)
{
    mp__system.epoll_ctl(hall.epoll, EPOLL_CTL_DEL, guest->wire.fd, NULL);
}

static void challenge(mp__guest *guest)
{
    mp__challenge said = {.protocol = MP__WIRE_PROTOCOL, .nonce = guest->nonce};
    mp__wire_put(&guest->wire, &(mp__wire_head){.kind = MP__WIRE_CHALLENGE}, &said, sizeof said);
    mp__wire_write(&guest->wire);
}

static void let_in(int fd)
{
    mp__guest *guest = fd < 0 || hall.count >= GUESTS_MAX ? NULL : mp__memory.calloc(1, sizeof *guest);
    struct epoll_event event = {.events = EPOLLIN};
    if (!guest || mp__system.epoll_ctl(hall.epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        free(guest);
        if (fd >= 0)
            close(fd);
        return;
    }
    mp__wire_init(&guest->wire, fd);
    guest->nonce = mp__secret_nonce();
    guest->since = mp__now();
    guest->next = hall.guests;
    hall.guests = guest;
    hall.count++;
    hall.strangers++;
    challenge(guest);
}

/* It would be readable for ever. */
static void look_away(void)
{
    if (hall.shut)
        return;
    hall.shut = true;
    mp__system.epoll_ctl(hall.epoll, EPOLL_CTL_DEL, hall.door, NULL);
}

/* In a second there may be descriptors again, or room for strangers. A door that has ended stays so. */
static void look_again(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    if (hall.shut && !hall.is_door)
        hall.shut = mp__system.epoll_ctl(hall.epoll, EPOLL_CTL_ADD, hall.door, &event) < 0;
}

static void accept_all(void)
{
    look_again();
    while (hall.strangers < STRANGERS_MAX) {
        int fd = accept4(hall.door, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (fd < 0)
            break;
        mp__wire_keep_alive(fd);
        let_in(mp__above_standard(fd));
    }
    look_away();
}

/* What comes through a door is connected already. */
static void receive_all(void)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } extra;
    uint32_t rank;
    for (;;) {
        struct iovec piece = {&rank, sizeof rank};
        struct msghdr packet = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &extra, .msg_controllen = sizeof extra};
        ssize_t got = mp__system.recvmsg(hall.door, &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got <= 0) {
            if (!got || (errno != EAGAIN && errno != EINTR))
                look_away();
            return;
        }
        struct cmsghdr *head = CMSG_FIRSTHDR(&packet);
        int fd = -1;
        if (head && head->cmsg_type == SCM_RIGHTS)
            memcpy(&fd, CMSG_DATA(head), sizeof fd);
        let_in(mp__above_standard(fd));
    }
}

/* --- who they are -------------------------------------------------------------------------------------------------------- */

/* Says whether there is a pool that goes on doing so. */
static void ping(mp__guest *guest)
{
    if (!hall.pools || !mp__wire_waiting(&guest->wire))
        mp__wire_put(&guest->wire, &(mp__wire_head){.kind = MP__WIRE_PING, .flag = hall.pools > 0}, NULL, 0);
    (void)mp__wire_write(&guest->wire);
}

static bool refuse(mp__guest *guest, const char *host, mp_status status, const char *why)
{
    mp__failure(&hall.refusal, status, "the agent on %.60s was sent away: %s", host, why);
    mp__wire_report_put(&guest->wire, (mp__wire_head){.kind = MP__WIRE_REFUSED}, &(mp__event){.error = &hall.refusal});
    mp__wire_write(&guest->wire);
    return false;
}

/* The protocol is looked at first: what stands behind it may be anything in another version. */
static bool admit(mp__guest *guest, const mp__wire_head *head, const uint8_t *bytes)
{
    mp__greeting *said = &guest->greeting;
    char why[160];
    memset(said, 0, sizeof *said);
    memcpy(said, bytes, head->size < sizeof *said ? head->size : sizeof *said);
    said->host[sizeof said->host - 1] = 0;
    bool same = head->size == sizeof *said && said->protocol == MP__WIRE_PROTOCOL &&
                said->worker_protocol == MP__PROTOCOL && said->error_size == sizeof(mp_error) &&
                strncmp(said->version, mp_version(), sizeof said->version) == 0;
    if (head->kind != MP__WIRE_HELLO || head->size < sizeof said->protocol)
        return refuse(guest, "another host", MP_EINVAL, "what came was no greeting");
    if (!same) {
        snprintf(why, sizeof why, "it has version %.8s of millpond, and this is %s", said->version, mp_version());
        return refuse(guest, said->host, MP_EMISMATCH, why);
    }
    if (!hall.is_door && said->proof != mp__secret_answer(guest->nonce, MP__SECRET_AGENT))
        return refuse(guest, said->host, MP_EINVAL, "it does not know the secret: set the same MILLPOND_SECRET for both");
    if (!said->cpus || said->cpus > 100000)
        said->cpus = 1;
    hall.strangers--;
    if (hall.pools)
        ping(guest);
    return guest->greeted = true;
}

/* False: it has left, or has to. Who was let in has nothing more to say but that it is there. */
static bool hear(mp__guest *guest)
{
    mp__wire_head head;
    const uint8_t *bytes;
    mp__wire_read(&guest->wire);
    mp__wire_write(&guest->wire);
    while (mp__wire_next(&guest->wire, &head, &bytes))
        if (guest->greeted ? head.kind != MP__WIRE_PING : !admit(guest, &head, bytes))
            return false;
    if (!guest->greeted && mp__now() - guest->since > GREETING_NS)
        return false;
    return !guest->wire.over && guest->silent <= SILENT_MAX;
}

static void turn(void)
{
    if (hall.is_door)
        receive_all();
    else
        accept_all();
    for (mp__guest **at = &hall.guests; *at;) {
        mp__guest *guest = *at;
        if (hear(guest)) {
            at = &guest->next;
            continue;
        }
        *at = guest->next;
        hall.count--;
        hall.strangers -= !guest->greeted;
        unwatch(guest);
        mp__guest_free(guest);
    }
}

static void ping_all(void)
{
    for (mp__guest *guest = hall.guests; guest; guest = guest->next)
        if (guest->greeted)
            ping(guest);
}

/* Where they come through a door nothing tells that one has gone. */
static void tick(void)
{
    if (mp__now() - hall.ticked_at < TICK_NS)
        return;
    hall.ticked_at = mp__now();
    ping_all();
    for (mp__guest *guest = hall.guests; guest; guest = guest->next) {
        guest->silent = guest->wire.heard || !hall.is_door ? 0 : guest->silent + 1;
        guest->wire.heard = false;
    }
}

static void leave(void)
{
    pthread_mutex_unlock(&lock);
}

/* In the process whose it is: with the lock. */
static bool enter_any(void)
{
    if (atomic_load(&owner) != mp__process_id())
        return false;
    pthread_mutex_lock(&lock);
    return true;
}

/* Where there is one. */
static bool enter(void)
{
    if (!enter_any())
        return false;
    if (!hall.open)
        leave();
    return hall.open;
}

void mp__hall_turn(void)
{
    if (!enter())
        return;
    turn();
    leave();
}

void mp__hall_attend(void)
{
    if (!enter())
        return;
    hall.pools++;
    leave();
}

void mp__hall_leave(void)
{
    if (!enter())
        return;
    if (hall.pools && --hall.pools == 0)
        ping_all();
    leave();
}

void mp__hall_tick(void)
{
    if (!enter())
        return;
    turn(); /* what was said comes first: it may be us who were away */
    tick();
    leave();
}

mp__guest *mp__hall_take(bool (*known)(uint64_t agent, const void *of), const void *of)
{
    mp__guest *taken = NULL;
    if (!enter())
        return NULL;
    for (mp__guest **at = &hall.guests; *at && !taken;) {
        mp__guest *guest = *at;
        if (!guest->greeted || known(guest->greeting.id, of)) {
            at = &guest->next;
            continue;
        }
        taken = guest;
        *at = guest->next;
        hall.count--;
        unwatch(guest);
    }
    leave();
    return taken;
}

/* --- what is asked -------------------------------------------------------------------------------------------------------- */

bool mp__hall_is_open(void)
{
    if (!enter())
        return false;
    leave();
    return true;
}

mp_status mp__hall_check(mp_error *error)
{
    if (!enter_any())
        return MP_OK;
    mp_status status = hall.never.status;
    if (status)
        *error = hall.never;
    leave();
    return status;
}

mp_status mp__hall_take_refusal(mp_error *error)
{
    if (!enter())
        return MP_OK;
    mp_status status = hall.refusal.status;
    if (status)
        *error = hall.refusal;
    hall.refusal.status = MP_OK;
    leave();
    return status;
}

mp__hall_terms mp__hall_get_terms(void)
{
    mp__hall_terms terms = {.local = -1};
    if (!enter())
        return terms;
    terms = hall.terms;
    leave();
    return terms;
}

int mp__hall_port(void)
{
    if (!enter())
        return 0;
    int port = hall.port;
    leave();
    return port;
}

int mp__hall_fd(void)
{
    if (!enter())
        return -1;
    int fd = hall.epoll;
    leave();
    return fd;
}

void mp__hall_note_loss(void)
{
    atomic_store(&has_lost, true);
}

void mp__hall_forget_losses(void)
{
    atomic_store(&has_lost, false);
}

bool mp__hall_has_lost(void)
{
    return atomic_load(&has_lost);
}

/* --- open and close -------------------------------------------------------------------------------------------------------- */

static mp_status bad_text(const char *text, mp_error *error)
{
    return mp__failure(error, MP_EINVAL,
                       "MILLPOND_CLUSTER is '%.60s': it must be [HOST:]PORT, and may go on with ,agents=N (to wait for so "
                       "many), ,local=N (workers on this host) and ,wait=SECONDS",
                       text);
}

static bool read_number(const char *text, const char *name, uint32_t *number)
{
    size_t length = strlen(name);
    char *end;
    if (strncmp(text, name, length) != 0)
        return false;
    unsigned long value = strtoul(text + length, &end, 10);
    *number = (uint32_t)value;
    return end != text + length && !*end && value <= 100000;
}

/* The text is cut into its parts. */
static bool read_terms(char *text, mp__hall_terms *terms)
{
    uint32_t local;
    *terms = (mp__hall_terms){.wait_s = WAIT_S, .local = -1};
    for (char *rest, *part = strtok_r(text, ",", &rest); part; part = strtok_r(NULL, ",", &rest)) {
        if (part == text || read_number(part, "agents=", &terms->agents) || read_number(part, "wait=", &terms->wait_s))
            continue;
        if (!read_number(part, "local=", &local))
            return false;
        terms->local = (int)local;
    }
    return *text;
}

static bool is_loopback(const struct addrinfo *address)
{
    if (address->ai_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address->ai_addr)->sin_addr.s_addr) >> 24 == 127;
    return address->ai_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address->ai_addr)->sin6_addr);
}

static int port_of(int fd)
{
    struct sockaddr_storage name = {0};
    socklen_t size = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &size) < 0)
        return 0;
    return ntohs(name.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&name)->sin6_port
                                            : ((struct sockaddr_in *)&name)->sin_port);
}

static mp_status listen_at(const struct addrinfo *address, const char *where, int *fd, mp_error *error)
{
    if (!is_loopback(address) && !mp__secret_is_set())
        return mp__failure(
            error, MP_EINVAL,
            "MILLPOND_CLUSTER says to listen at %.60s, for other hosts, but there is no secret: set the same "
            "MILLPOND_SECRET for the program and its agents",
            where);
    *fd = mp__above_standard(socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (*fd >= 0)
        setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (*fd >= 0 && bind(*fd, address->ai_addr, address->ai_addrlen) == 0 && listen(*fd, 128) == 0)
        return MP_OK;
    mp_status status = mp__system_failure(error, errno, "no agent can reach this program at %.60s", where);
    if (*fd >= 0)
        close(*fd);
    return status;
}

/* `where`: HOST:PORT, PORT, [V6]:PORT. */
static mp_status make_listener(const char *where, int *fd, mp_error *error)
{
    char host[256] = "127.0.0.1";
    const char *colon = strrchr(where, ':'), *port = colon ? colon + 1 : where;
    bool quoted = colon && *where == '[' && colon[-1] == ']';
    if (colon)
        snprintf(host, sizeof host, "%.*s", (int)(colon - where) - 2 * quoted, where + quoted);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
    int failed = getaddrinfo(*host && strcmp(host, "*") != 0 ? host : NULL, port, &hints, &found);
    if (failed)
        return mp__failure(error, MP_EINVAL, "MILLPOND_CLUSTER says to listen at '%.60s': %s", where, gai_strerror(failed));
    mp_status status = listen_at(found, where, fd, error);
    freeaddrinfo(found);
    return status;
}

static mp_status open_with(int fd, bool is_door, const mp__hall_terms *terms, mp_error *error)
{
    int epoll = mp__above_standard(mp__system.epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll < 0 || mp__system.epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        mp_status status = mp__system_failure(error, errno, "no descriptor for agents");
        if (epoll >= 0)
            close(epoll);
        close(fd);
        return status;
    }
    atomic_store(&owner, mp__process_id());
    pthread_mutex_lock(&lock);
    memset(&hall, 0, sizeof hall);
    hall.open = true;
    hall.door = fd;
    hall.is_door = is_door;
    hall.epoll = epoll;
    hall.port = is_door ? 0 : port_of(fd);
    hall.terms = *terms;
    leave();
    return MP_OK;
}

mp_status mp__hall_open(const char *text, mp_error *error)
{
    mp__hall_terms terms;
    int fd = -1;
    char *parts = mp__memory.malloc(strlen(text) + 1);
    if (!parts)
        return mp__failure(error, MP_ENOMEM, "no memory for agents");
    strcpy(parts, text);
    mp_status status = read_terms(parts, &terms) ? make_listener(parts, &fd, error) : bad_text(text, error);
    free(parts);
    return status ? status : open_with(fd, false, &terms, error);
}

mp_status mp__hall_open_door(int door, uint32_t agents, mp_error *error)
{
    mp__hall_terms terms = {.agents = agents, .wait_s = WAIT_S, .local = -1};
    return open_with(door, true, &terms, error);
}

void mp__hall_refuse(const mp_error *why)
{
    atomic_store(&owner, mp__process_id());
    pthread_mutex_lock(&lock);
    hall.never = *why;
    leave();
}

void mp__hall_close(void)
{
    mp__guest *guest;
    if (!enter())
        return;
    shutdown(hall.door, SHUT_RDWR); /* first: then nobody comes again; and a child that was forked may have it, too */
    while ((guest = hall.guests)) {
        hall.guests = guest->next;
        mp__guest_free(guest);
    }
    close(hall.door);
    close(hall.epoll);
    memset(&hall, 0, sizeof hall);
    leave();
}
