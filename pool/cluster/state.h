/* The root's side of a cluster's pool, between its files: cluster.c (the backend), host.c (an agent), remote.c (a life there). All of it
 * under the pool's lock. */
#ifndef MP__POOL_CLUSTER_STATE_H
#define MP__POOL_CLUSTER_STATE_H
#include "pool/cluster/hall.h"
#include "pool/cluster/wire.h"
#include "pool/process/link.h"

/*     OPENING -> UP -> GONE     OPENING: told of the pool, has not answered. GONE: out of reach; its lives are told to be lost
 *         `-----------^         one by one, and then it is nobody's place */
typedef enum mp__host_state { MP__HOST_NONE, MP__HOST_OPENING, MP__HOST_UP, MP__HOST_GONE } mp__host_state;

typedef struct mp__host {
    mp__host_state state;
    mp__wire wire;
    uint64_t id;
    uint32_t cpus, lives;
    unsigned silent;      /* seconds in which nothing came */
    bool late;            /* an answer was waited for in vain, and nothing has come since: none is waited for */
    bool waits;           /* for room in its socket */
    bool has_room;        /* again, and its lives have not been told */
    mp_error why;         /* OPENING, GONE: what is wrong with it */
    mp__wire_texts texts; /* of evidence that comes next */
    bool texts_told;
    /* what it has sent of a life's results, and is not in that one's reader yet */
    struct mp__remote *feeding;
    size_t left; /* bytes, from where the wire is read on */
    char name[MP_NAME_MAX];
} mp__host;

/* A slot whose life is on another host. */
typedef struct mp__remote {
    mp__host *host;  /* NULL: it has none, or it is here */
    mp__link link;   /* it encodes items, and that is all: it has no worker */
    uint64_t flying; /* bytes that were sent and not passed on */
    uint64_t results;
    bool recalling, watching, full, owes_writable;
    bool stopping; /* it is to leave, and has not been told: there is something in the outbox that comes first */
    uint64_t asked_at, ending; /* when it was asked last how far it is; which item is to be ended */
    mp__frame_reader reader;
    mp__frame frame;
    uint64_t busy_ns;
    mp_error error;
    mp__evidence evidence;
} mp__remote;

struct mp__workers {
    /* fixed at open */
    mp__backend_config config;
    mp__terms terms;
    mp__workers *local; /* of mp__process_backend */
    uint32_t local_cpus;
    int epoll, owed_fd;
    int timer_fd; /* -1: there was no hall, and all workers are here */
    /* under the pool's lock */
    uint32_t slots, local_lives;
    mp__remote **remotes; /* by slot; NULL: it never was one */
    mp__host **hosts;
    uint32_t host_count, turn;
    uint32_t told;  /* CPUs that the pool knows of */
    uint32_t gone;  /* hosts that are GONE and have lives */
    uint32_t owing; /* slots that owe something */
    bool owed;      /* the descriptor says so */
    bool spun, local_done, polled;
    bool attends; /* in the hall */
};

/* Its descriptor is readable, until `next` has been round. */
void mp__cluster_owe(mp__workers *w);

/* host.c. Takes the guest; false: no memory, and it is sent away. */
bool mp__host_add(mp__workers *w, mp__guest *guest);
/* Writes what it can. Where that makes room its lives go on when mp__host_resume is called, which is owed then. */
void mp__host_write(mp__workers *w, mp__host *host);
void mp__host_resume(mp__workers *w, mp__host *host);
/* Takes what has come. False: nothing. */
bool mp__host_read(mp__host *host);
/* Its socket is readable, or can be written to. */
void mp__host_ready(mp__workers *w, mp__host *host, uint32_t events);
/* The next event of what it has sent. */
bool mp__host_next(mp__workers *w, mp__host *host, mp__event *event);
/* A second has passed. */
void mp__host_tick(mp__workers *w, mp__host *host);
/* It is not to be used any more, for this reason. */
void mp__host_vanish(mp__workers *w, mp__host *host, mp_status status, const char *why);
/* Takes those that wait in the hall. */
void mp__hosts_take(mp__workers *w);
void mp__host_free(mp__host *host);

/* remote.c. */
bool mp__remote_start(mp__workers *w, mp__host *host, mp__life life);
/* The one whose life that is; NULL: it is over, or was never there. */
mp__remote *mp__remote_of(mp__workers *w, const mp__host *host, uint32_t slot, uint32_t generation);
static inline mp__remote *mp__remote_at(const mp__workers *w, uint32_t slot)
{
    mp__remote *remote = w->remotes[slot];
    return remote && remote->host ? remote : NULL;
}
bool mp__remote_has_room(const mp__remote *remote);
void mp__remote_tell(mp__workers *w, mp__remote *remote, mp__wire_kind kind, uint64_t number);
void mp__remote_flush(mp__workers *w, mp__remote *remote);
void mp__remote_recall(mp__workers *w, mp__remote *remote);
/* It is told to leave, behind all that it was sent. */
void mp__remote_stop(mp__workers *w, mp__remote *remote);
/* Nothing of what it was sent is needed any more. */
void mp__remote_disown(mp__remote *remote);
/* What there is in its reader, and of what its host has. False: nothing more; or `*bad`. */
bool mp__remote_results(mp__host *host, mp__remote *remote, mp__event *event, bool *bad);
/* An event of this life. */
void mp__remote_event(mp__remote *remote, mp__event_kind kind, mp__event *event);
/* Its life is over. */
void mp__remote_end(mp__workers *w, mp__remote *remote);
void mp__remote_free(mp__remote *remote);
/* Waits, for a moment at most, for a message of this kind; what else comes waits in its place. True: it is there. */
bool mp__remote_await(mp__workers *w, mp__remote *remote, mp__wire_kind kind, uint64_t deadline, mp__wire_head *head);

#endif
