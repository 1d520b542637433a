/* An agent: keeps one spare connection at the root, and a thread for each pool that has taken one (session.c).
 *
 * The main thread connects, shows who it is, and waits until a pool wants that connection; then a session gets it, and the next is
 * offered. When the root has gone (its end is the end of the spare connection, and of the others; or it has grown silent) it waits for the
 * sessions to end, which takes them moments, and leaves. Nothing of the user's runs in this process, but what stands before mp_main. */
#include "pool/cluster/agent.h"
#include "pool/clock.h"
#include "pool/cluster/hall.h"
#include "pool/cluster/secret.h"
#include "pool/cluster/session.h"
#include "pool/cpu.h"
#include "pool/process/protocol.h"
#include "pool/system.h"
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_MS = 1000, FOR_EVER = -1 };
#define TRY_LEAST_NS 2000000000u /* for an address to answer, however little time there is, */
#define TRY_MOST_NS 10000000000u /* or much */

/* Where connections come from. */
typedef struct source {
    const char *address; /* NULL: through the door */
    uint64_t wait_ns;    /* for a root that is not there yet */
    int door, rank;
    mp_start_method method; /* of workers */
} source;

/* fixed before the first session */
static sigset_t mask;
static uint64_t id;
/* guarded by `lock` */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static unsigned sessions;
static pthread_t last; /* of their threads that has ended, and is to be joined, */
static bool has_last;  /* if there is one */

/* --- connections ----------------------------------------------------------------------------------------------------------- */

/* 0: it is connected, or why not. A host that drops what comes to it would be waited for for minutes. */
static int finish_connecting(int fd, uint64_t deadline)
{
    int failed = 0;
    socklen_t size = sizeof failed;
    for (;;) {
        uint64_t now = mp__now();
        if (now >= deadline)
            return ETIMEDOUT;
        int ready = poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, (int)((deadline - now) / 1000000) + 1);
        if (ready < 0 && errno != EINTR)
            return errno;
        if (ready > 0)
            return getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) < 0 ? errno : failed;
    }
}

static int connect_one(const struct addrinfo *address, uint64_t deadline)
{
    int fd = mp__above_standard(socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd < 0)
        return fd;
    int failed = connect(fd, address->ai_addr, address->ai_addrlen) == 0 ? 0 : errno;
    if (failed == EINPROGRESS || failed == EINTR)
        failed = finish_connecting(fd, deadline);
    if (!failed)
        return fd;
    close(fd);
    errno = failed;
    return -1;
}

/* As long for each of its addresses as is left, within bounds: the next one may answer. */
static uint64_t try_until(uint64_t deadline)
{
    const uint64_t now = mp__now(), least = now + TRY_LEAST_NS, most = now + TRY_MOST_NS;
    return deadline < least ? least : deadline < most ? deadline : most;
}

static int connect_to(const char *text, uint64_t deadline)
{
    char host[256] = "127.0.0.1";
    const char *colon = strrchr(text, ':'), *port = colon ? colon + 1 : text;
    bool quoted = colon && *text == '[' && colon[-1] == ']';
    if (colon)
        snprintf(host, sizeof host, "%.*s", (int)(colon - text) - 2 * quoted, text + quoted);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
    int fd = -1;
    errno = EHOSTUNREACH;
    if (getaddrinfo(host, port, &hints, &found))
        return -1;
    for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next)
        fd = connect_one(at, try_until(deadline));
    freeaddrinfo(found);
    if (fd >= 0)
        mp__wire_keep_alive(fd);
    return fd;
}

/* One end stays here, the other goes through the door to the root. */
static int pass_through(int door)
{
    int ends[2];
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } extra = {.space = {0}};
    uint32_t rank = 0;
    struct iovec piece = {&rank, sizeof rank};
    if (mp__system.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -1;
    struct msghdr packet = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &extra, .msg_controllen = sizeof extra.space};
    extra.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&extra.header), &ends[1], sizeof(int));
    ssize_t sent = mp__system.sendmsg(door, &packet, MSG_NOSIGNAL);
    close(ends[1]);
    if (sent > 0)
        return ends[0];
    close(ends[0]);
    return -1;
}

static int connect_once(const source *from, uint64_t deadline)
{
    return from->address ? connect_to(from->address, deadline) : pass_through(from->door);
}

/* A root that has been there once does not come again. */
static int connect_patiently(const source *from, bool first)
{
    uint64_t deadline = mp__now() + (first ? from->wait_ns : 0);
    int fd;
    while ((fd = connect_once(from, deadline)) < 0 && mp__now() < deadline)
        poll(NULL, 0, 100);
    if (fd < 0 && first)
        fprintf(stderr, "millpond: this agent cannot reach %s: %s\n", from->address ? from->address : "rank 0",
                strerror(errno));
    return fd;
}

/* --- who we are ------------------------------------------------------------------------------------------------------------ */

static void greet(mp__wire *wire, uint64_t asked, uint64_t nonce, int rank)
{
    mp__greeting said = {.protocol = MP__WIRE_PROTOCOL,
                         .worker_protocol = MP__PROTOCOL,
                         .error_size = sizeof(mp_error),
                         .cpus = mp__cpu_count_once(),
                         .rank = (uint32_t)rank,
                         .id = id,
                         .nonce = nonce,
                         .proof = mp__secret_answer(asked, MP__SECRET_AGENT)};
    strncpy(said.version, mp_version(), sizeof said.version - 1);
    if (gethostname(said.host, sizeof said.host - 1) < 0)
        strcpy(said.host, "?");
    mp__wire_put(wire, &(mp__wire_head){.kind = MP__WIRE_HELLO}, &said, sizeof said);
    (void)mp__wire_write(wire);
}

/* False: that cannot be waited for. */
static bool await_readable(int fd, int ms)
{
    return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, ms) >= 0 || errno == EINTR;
}

/* False: it was none. The root looks at who comes only when it has a pool, whenever that may be. */
static bool answer_challenge(mp__wire *wire, uint64_t nonce, int rank)
{
    mp__wire_head head;
    const uint8_t *bytes;
    mp__challenge asked;
    while (!mp__wire_next(wire, &head, &bytes)) {
        if (wire->over || !await_readable(wire->fd, FOR_EVER))
            return false;
        (void)mp__wire_read(wire);
    }
    if (head.kind != MP__WIRE_CHALLENGE || head.size != sizeof asked)
        return false;
    memcpy(&asked, bytes, sizeof asked);
    greet(wire, asked.nonce, nonce, rank);
    return true;
}

/* --- sessions -------------------------------------------------------------------------------------------------------------- */

/* Each joins the one that has ended before it, and whoever waits for all of them joins the last: none is left behind, and no list of
 * them is kept. */
static void *session_thread(void *of)
{
    mp__session *session = of;
    mp__session_run(session, &mask);
    mp__session_free(session);
    pthread_mutex_lock(&lock);
    const pthread_t before = last;
    const bool joins = has_last;
    last = pthread_self();
    has_last = true;
    sessions--;
    pthread_cond_signal(&ended);
    pthread_mutex_unlock(&lock);
    if (joins)
        pthread_join(before, NULL);
    return NULL;
}

static void await_sessions(void)
{
    pthread_mutex_lock(&lock);
    while (sessions)
        pthread_cond_wait(&ended, &lock);
    const bool joins = has_last;
    has_last = false;
    pthread_mutex_unlock(&lock);
    if (joins)
        pthread_join(last, NULL);
}

static void begin_session(mp__session *session)
{
    pthread_t thread;
    pthread_mutex_lock(&lock);
    sessions++;
    pthread_mutex_unlock(&lock);
    if (mp__thread_create(&thread, session_thread, session) == 0)
        return;
    mp__session_free(session);
    pthread_mutex_lock(&lock);
    sessions--;
    pthread_mutex_unlock(&lock);
}

/* NULL: the root has gone, or never was there. */
static mp__session *greeted_session(const source *from, bool first)
{
    int fd = connect_patiently(from, first);
    uint64_t nonce = mp__secret_nonce();
    mp__wire wire;
    if (fd < 0)
        return NULL;
    mp__wire_init(&wire, fd);
    if (answer_challenge(&wire, nonce, from->rank))
        return mp__session_make(&wire, nonce, !from->address, from->method);
    mp__wire_fini(&wire);
    return NULL;
}

/* Offers a connection until a pool wants it. False: the root has gone, or does not want us. */
static bool offer(const source *from, bool first)
{
    mp__offer what;
    mp__session *session = greeted_session(from, first);
    if (!session)
        return false;
    while ((what = mp__session_hear_offer(session)) == MP__OFFER_WAITS)
        if (!await_readable(mp__session_fd(session), LOOK_MS))
            break;
    if (what == MP__OFFER_WANTED)
        begin_session(session);
    else
        mp__session_free(session);
    if (what == MP__OFFER_SILENT)
        mp__hall_note_loss();
    return what == MP__OFFER_WANTED || what == MP__OFFER_AGAIN;
}

static int serve(const source *from)
{
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    id = mp__secret_nonce();
    bool served = false;
    while (offer(from, !served))
        served = true;
    await_sessions();
    return served ? 0 : 1;
}

/* HOST:PORT[,wait=SECONDS] */
int mp__agent_serve(const char *text)
{
    enum { WAIT_S = 60 };
    char address[256];
    const char *comma = strchr(text, ','), *wait = comma ? strstr(comma, ",wait=") : NULL;
    size_t length = comma ? (size_t)(comma - text) : strlen(text);
    snprintf(address, sizeof address, "%.*s", (int)(length < sizeof address ? length : sizeof address - 1), text);
    uint64_t seconds = wait ? strtoull(wait + strlen(",wait="), NULL, 10) : WAIT_S;
    return serve(&(source){.address = address, .wait_ns = seconds * 1000000000u, .door = -1, .method = MP_FORKSERVER});
}

int mp__agent_serve_door(int door, int rank, mp_start_method method)
{
    return serve(&(source){.door = door, .rank = rank, .method = method});
}
