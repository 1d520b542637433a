/* Connections whose end is the end of a process, and over which nothing is said but that something has been sent by other means.
 *
 * Decides who holds one: an agent says a word that the root has told through MPI, the root answers with another one, and the agent takes
 * hold of the first connection on which it does; only from then on its end means something. So neither who comes to a wrong port, nor another
 * host with an address like the root's, is taken for a rank. Owns the sockets, and an epoll of them that is readable when there is something
 * to do: MPI's thread waits for that among other things, and an idle lifeline costs nothing.
 *
 * Happy path: the root listens, and tells where by MPI_Bcast; agents call; the root answers; nothing more but a byte whenever one side rings,
 * until one of the two has gone. An agent on the root's own host calls by the loopback interface alone, which does not go away with a network.
 * It fails alone: without descriptors, or where a network lets no connections through, there is none, and a loss is noticed by silence.
 * A cable that is pulled is noticed after 30 s. A child that the program forks holds its connections, too, until it has executed or ended. */
#include "pool/cluster/mpi_lifeline.h"
#include "pool/clock.h"
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ADDRESSES = 4,  /* of a host that has more, these are tried */
    STRANGERS = 64, /* connections of whoever else comes */
    EVENTS = 64,
    LOOPBACK_MS = 200, /* it answers or refuses at once */
    BELL = '!',
    MEET = 'M',
};

/* FREE -> CALLING -> ASKING -> HELD at an agent, FREE -> STRANGER -> ANSWERED -> HELD at the root; each -> FREE. */
typedef enum end_state { FREE, CALLING, ASKING, STRANGER, ANSWERED, HELD } end_state;

struct mp__lifeline_end {
    end_state state;
    int fd, rank; /* `rank` is at the other end */
    bool met;
};
typedef struct mp__lifeline_end line_end;

/* What the root tells; zeros: it has none. */
typedef struct call {
    uint64_t asked, answered;
    uint32_t port, count;
    struct in6_addr at[ADDRESSES]; /* IPv4 as ::ffff:a.b.c.d */
} call;

typedef struct hello {
    uint64_t asked;
    int64_t rank;
} hello;

/* ---- sockets ---- */

static int tcp_socket(int family)
{
    return socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* A host that is not there any more does not say so. */
static void keep_alive(int fd)
{
    static const int options[][3] = {{SOL_SOCKET, SO_KEEPALIVE, 1},
                                     {IPPROTO_TCP, TCP_NODELAY, 1},
                                     {IPPROTO_TCP, TCP_KEEPIDLE, 10},
                                     {IPPROTO_TCP, TCP_KEEPINTVL, 5},
                                     {IPPROTO_TCP, TCP_KEEPCNT, 4}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        (void)setsockopt(fd, options[i][0], options[i][1], &options[i][2], sizeof(int));
}

static socklen_t address_make(const struct in6_addr *at, uint32_t port, struct sockaddr_storage *made)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = *at};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = six.sin6_port};
    bool is_four = IN6_IS_ADDR_V4MAPPED(at);
    memcpy(&four.sin_addr, &at->s6_addr[12], sizeof four.sin_addr);
    memcpy(made, is_four ? (void *)&four : (void *)&six, is_four ? sizeof four : sizeof six);
    return is_four ? sizeof four : sizeof six;
}

static struct in6_addr mapped(struct in_addr four)
{
    struct in6_addr six = {.s6_addr = {[10] = 0xff, 0xff}};
    memcpy(&six.s6_addr[12], &four, sizeof four);
    return six;
}

/* On a port that the system chooses, for both families where it has both. */
static int listen_anywhere(int backlog, uint32_t *port)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6}, bound = {.sin6_family = 0};
    struct sockaddr_in four = {.sin_family = AF_INET};
    socklen_t size = sizeof bound;
    int fd = tcp_socket(AF_INET6), no = 0;
    bool done = fd >= 0 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no) == 0 &&
                bind(fd, (struct sockaddr *)&six, sizeof six) == 0;
    if (!done) {
        if (fd >= 0)
            close(fd);
        fd = tcp_socket(AF_INET);
        done = fd >= 0 && bind(fd, (struct sockaddr *)&four, sizeof four) == 0;
    }
    if (done && listen(fd, backlog) == 0 && getsockname(fd, (struct sockaddr *)&bound, &size) == 0) {
        *port = ntohs(bound.sin6_port); /* which stands in the same place in both */
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool is_of_use(const struct ifaddrs *interface, struct in6_addr *at)
{
    const struct sockaddr *address = interface->ifa_addr;
    if (!address || !(interface->ifa_flags & IFF_UP) || interface->ifa_flags & IFF_LOOPBACK)
        return false;
    if (address->sa_family == AF_INET)
        *at = mapped(((const struct sockaddr_in *)(const void *)address)->sin_addr);
    else if (address->sa_family == AF_INET6)
        *at = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    else
        return false;
    return !IN6_IS_ADDR_LINKLOCAL(at);
}

static void addresses_find(call *told)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *at = all; at && told->count < ADDRESSES; at = at->ifa_next)
        if (is_of_use(at, &told->at[told->count]))
            told->count++;
    freeifaddrs(all);
}

/* ---- ends ---- */

static bool watch(mp__lifeline *line, int fd, line_end *end, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = end};
    return epoll_ctl(line->epoll, operation, fd, &event) == 0;
}

/* `fd` is taken. */
static void end_add(mp__lifeline *line, int fd, end_state state, int rank)
{
    line_end *end = line->ends, *last = end + line->places;
    while (end < last && end->state != FREE)
        end++;
    if (end == last || !watch(line, fd, end, EPOLL_CTL_ADD, state == CALLING ? EPOLLOUT : EPOLLIN)) {
        close(fd);
        return;
    }
    keep_alive(fd);
    *end = (line_end){.state = state, .fd = fd, .rank = rank};
}

/* Its descriptor may be what somebody else waits for. */
static void end_drop(mp__lifeline *line, line_end *end)
{
    (void)epoll_ctl(line->epoll, EPOLL_CTL_DEL, end->fd, NULL); /* a child that is being forked may have it, too */
    close(end->fd);
    end->state = FREE;
    if (line->looks_away)
        line->looks_away = !watch(line, line->listener, NULL, EPOLL_CTL_ADD, EPOLLIN);
}

static void others_drop(mp__lifeline *line, const line_end *but)
{
    for (uint32_t i = 0; i < line->places; i++)
        if (&line->ends[i] != but && line->ends[i].state != FREE)
            end_drop(line, &line->ends[i]);
}

static void accept_all(mp__lifeline *line)
{
    int fd;
    while ((fd = accept4(line->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
        end_add(line, fd, STRANGER, -1);
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
        return;
    (void)epoll_ctl(line->epoll, EPOLL_CTL_DEL, line->listener, NULL); /* it would be readable for ever */
    line->looks_away = true;
}

static bool say_byte(int fd, char byte)
{
    return send(fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
}

static bool say(const line_end *end, const void *bytes, size_t size)
{
    return send(end->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size;
}

/* The first step of either side; false: it is nobody of ours. */
static bool greet(mp__lifeline *line, line_end *end)
{
    int failed = 0;
    socklen_t size = sizeof failed;
    hello said = {.asked = line->asked, .rank = line->rank};
    if (getsockopt(end->fd, SOL_SOCKET, SO_ERROR, &failed, &size) != 0 || failed || !say(end, &said, sizeof said))
        return false;
    end->state = ASKING;
    return watch(line, end->fd, end, EPOLL_CTL_MOD, EPOLLIN);
}

static bool hold(mp__lifeline *line, line_end *end)
{
    if (line->held[end->rank] >= 0)
        return false;
    end->state = HELD;
    line->held[end->rank] = end->fd;
    line->missing--;
    return true;
}

/* What comes in one step is so short that it comes in one piece. */
static bool take_step(mp__lifeline *line, line_end *end, const char *bytes, size_t size)
{
    hello heard;
    switch (end->state) {
    case STRANGER:
        memcpy(&heard, bytes, sizeof heard);
        if (size != sizeof heard || heard.asked != line->asked || heard.rank < 1 || heard.rank >= line->size)
            return false;
        end->rank = (int)heard.rank;
        end->state = ANSWERED;
        return say(end, &line->answered, sizeof line->answered);
    case ASKING:
        if (size != sizeof line->answered || memcmp(bytes, &line->answered, size) != 0 || !say_byte(end->fd, BELL))
            return false;
        others_drop(line, end);
        return hold(line, end);
    case ANSWERED:
        if (!hold(line, end))
            return false;
        /* fall through */ /* what was said behind its bell may have come with that */
    default:
        if (!end->met && memchr(bytes, MEET, size)) {
            end->met = true;
            line->met++;
        }
        return true;
    }
}

/* False: the connection has ended, or is to be. */
static bool end_turn(mp__lifeline *line, line_end *end)
{
    char bytes[sizeof(hello) + 1] = {0};
    if (end->state == FREE) /* dropped since the event was told */
        return true;
    if (end->state == CALLING)
        return greet(line, end);
    ssize_t got = recv(end->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    return got > 0 && take_step(line, end, bytes, (size_t)got);
}

void mp__lifeline_turn(mp__lifeline *line, void (*cut)(void *of, int rank), void *of)
{
    struct epoll_event found[EVENTS];
    int count = line->epoll < 0 ? 0 : epoll_wait(line->epoll, found, EVENTS, 0);
    bool comes = false;
    for (int i = 0; i < count; i++) {
        line_end *end = found[i].data.ptr;
        if (!end) {
            comes = true; /* behind those that leave: a place has one event */
        } else if (!end_turn(line, end)) {
            bool was_held = end->state == HELD;
            end_drop(line, end);
            if (was_held) {
                line->held[end->rank] = -1;
                cut(of, end->rank);
            }
        }
    }
    if (comes)
        accept_all(line);
}

bool mp__lifeline_is_whole(const mp__lifeline *line)
{
    return line->missing == 0;
}

void mp__lifeline_ring(const mp__lifeline *line, int rank)
{
    if (line->held && line->held[rank] >= 0)
        (void)say_byte(line->held[rank], BELL);
}

static void note_cut(void *of, int rank)
{
    (void)rank;
    *(bool *)of = true;
}

/* For all others: the root's word is that it has heard theirs. */
static void say_met(const mp__lifeline *line)
{
    for (int i = 0; i < line->size; i++)
        if (line->held[i] >= 0)
            (void)say_byte(line->held[i], MEET);
}

bool mp__lifeline_meet(mp__lifeline *line, int ms)
{
    bool gone = false;
    const uint64_t end = mp__now() + (uint64_t)ms * 1000000u;
    if (!line->held || !mp__lifeline_is_whole(line))
        return true;
    if (line->rank > 0)
        say_met(line);
    for (uint64_t now = mp__now(); !gone && now < end && line->met < (line->rank > 0 ? 1 : line->size - 1);
         now = mp__now()) {
        (void)poll(&(struct pollfd){.fd = line->epoll, .events = POLLIN}, 1, (int)((end - now) / 1000000u) + 1);
        mp__lifeline_turn(line, note_cut, &gone);
    }
    if (line->rank == 0)
        say_met(line);
    return !gone;
}

/* -1: there is none, or this is the root. */
static int to_root(const mp__lifeline *line)
{
    return line->held && line->rank > 0 ? line->held[0] : -1;
}

bool mp__lifeline_is_cut(const mp__lifeline *line)
{
    char bytes[64];
    int fd = to_root(line);
    ssize_t got = fd < 0 ? 1 : recv(fd, bytes, sizeof bytes, MSG_DONTWAIT); /* somebody may have rung */
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

void mp__lifeline_await_cut(const mp__lifeline *line, int ms)
{
    const uint64_t end = mp__now() + (uint64_t)ms * 1000000u;
    for (uint64_t now = mp__now(); to_root(line) >= 0 && now < end && !mp__lifeline_is_cut(line); now = mp__now())
        (void)poll(&(struct pollfd){.fd = to_root(line), .events = POLLIN}, 1, (int)((end - now) / 1000000u) + 1);
}

/* ---- beginning and end ---- */

/* Zeros if there cannot be one. */
static void root_begin(mp__lifeline *line, call *told)
{
    call made = {.count = 0};
    uint64_t words[2];
    if (line->epoll < 0 || getrandom(words, sizeof words, GRND_NONBLOCK) != sizeof words)
        return;
    line->listener = listen_anywhere(line->size, &made.port);
    if (line->listener < 0 || !watch(line, line->listener, NULL, EPOLL_CTL_ADD, EPOLLIN))
        return;
    addresses_find(&made);
    made.asked = line->asked = words[0];
    made.answered = line->answered = words[1];
    *told = made;
}

/* The descriptor of a connection that is being made; -1: that was refused. */
static int dial(const struct in6_addr *at, uint32_t port)
{
    struct sockaddr_storage address;
    socklen_t size = address_make(at, port, &address);
    int fd = tcp_socket(address.ss_family);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, size) == 0 || errno == EINPROGRESS)
        return fd;
    close(fd);
    return -1;
}

/* On the root's own host it is connected at once; -1: this is another one. */
static int dial_loopback(uint32_t port)
{
    struct in6_addr at = mapped((struct in_addr){.s_addr = htonl(INADDR_LOOPBACK)});
    int fd = dial(&at, port), failed = 0;
    socklen_t size = sizeof failed;
    if (fd < 0)
        return -1;
    if (poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, LOOPBACK_MS) == 1 &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) == 0 && !failed)
        return fd;
    close(fd);
    return -1;
}

static void agent_begin(mp__lifeline *line, const call *told)
{
    int fd = dial_loopback(told->port);
    line->asked = told->asked;
    line->answered = told->answered;
    if (fd >= 0) {
        end_add(line, fd, CALLING, 0);
        return;
    }
    for (uint32_t i = 0; i < told->count && i < ADDRESSES; i++)
        if ((fd = dial(&told->at[i], told->port)) >= 0)
            end_add(line, fd, CALLING, 0);
}

/* Without an epoll there is no lifeline. */
static void places_make(mp__lifeline *line)
{
    size_t ranks = (size_t)line->size;
    line->places = line->rank ? ADDRESSES : (uint32_t)(line->size - 1) * ADDRESSES + STRANGERS;
    line->ends = calloc(line->places, sizeof *line->ends);
    line->held = calloc(ranks, sizeof *line->held);
    for (size_t i = 0; line->held && i < ranks; i++)
        line->held[i] = -1;
    line->epoll = line->ends && line->held ? epoll_create1(EPOLL_CLOEXEC) : -1;
}

void mp__lifeline_begin(mp__lifeline *line, MPI_Comm comm)
{
    call told = {.port = 0};
    *line = (mp__lifeline){.epoll = -1, .listener = -1};
    MPI_Comm_rank(comm, &line->rank);
    MPI_Comm_size(comm, &line->size);
    line->missing = line->rank ? 1 : line->size - 1;
    if (line->size < 2)
        return;
    places_make(line);
    if (line->rank == 0)
        root_begin(line, &told);
    int code = MPI_Bcast(&told, sizeof told, MPI_BYTE, 0, comm);
    if (code != MPI_SUCCESS || !told.port || line->epoll < 0)
        mp__lifeline_fini(line);
    else if (line->rank > 0)
        agent_begin(line, &told);
}

void mp__lifeline_fini(mp__lifeline *line)
{
    for (uint32_t i = 0; i < line->places && line->ends; i++)
        if (line->ends[i].state != FREE)
            close(line->ends[i].fd);
    free(line->ends);
    free(line->held);
    if (line->listener >= 0)
        close(line->listener);
    if (line->epoll >= 0)
        close(line->epoll);
    *line = (mp__lifeline){.epoll = -1, .listener = -1, .missing = 1};
}
