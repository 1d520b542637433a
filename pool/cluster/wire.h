/* What root and agents say to each other, over a stream socket: messages of a head and at most MP__WIRE_MAX bytes.
 *
 *     agent                                                root
 *                <-- CHALLENGE                                       it has come to the hall, where it waits until a pool takes it
 *     HELLO      -->
 *                <-- HOOK ..., OPEN                                  a pool has; the agent sends another spare connection
 *     OPENED, or OTHER (its tasks) or REFUSED  -->
 *                <-- START, DATA, RECALL, CANCEL, WATCH, END, STOP, KILL, LOOK, GROW
 *     GREETED, READY, START_FAILED, RESULTS, FAILED, RECALLED, PROGRESS, ENDED, LOST, NONSENSE, SPENT, TEXT, OUTPUT, CREDIT, BROKEN  -->
 *     PING       -->  <--  PING                                      each second, from both sides; on a spare connection, too, from
 *                                                                    the root only while it has a pool, for else nobody is there
 *                                                                    to say it
 *
 * DATA is the stream of frames for one worker (protocol.h), cut into pieces, and RESULTS that of its values: neither is looked into on
 * its way more than is needed to count items. Both sides are the same build, or do not come as far. */
#ifndef MP__POOL_CLUSTER_WIRE_H
#define MP__POOL_CLUSTER_WIRE_H
#include "pool/backend.h"
#include "serial/buffer.h"
#include <millpond/error.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum mp__wire_kind {
    /* to the agent */
    MP__WIRE_CHALLENGE = 1, /* mp__challenge */
    MP__WIRE_HOOK,          /* a piece of a frame: the input of the initializer (slot 0) or the finalizer (1) */
    MP__WIRE_OPEN,          /* mp__opening */
    MP__WIRE_GROW,          /* slot: how many there are */
    MP__WIRE_START,         /* number: the place */
    MP__WIRE_DATA,
    MP__WIRE_RECALL,
    MP__WIRE_CANCEL,
    MP__WIRE_WATCH,
    MP__WIRE_END, /* number: the ordinal */
    MP__WIRE_STOP,
    MP__WIRE_KILL, /* number: hard */
    MP__WIRE_LOOK,
    /* to the root */
    MP__WIRE_HELLO = 32, /* mp__greeting */
    MP__WIRE_OPENED,
    MP__WIRE_OTHER,   /* mp__task_line ... */
    MP__WIRE_REFUSED, /* mp__wire_report, as all that say how something ended */
    MP__WIRE_GREETED,
    MP__WIRE_READY,
    MP__WIRE_START_FAILED,
    MP__WIRE_RESULTS, /* u64: the worker's busy_ns; then bytes of its stream */
    MP__WIRE_FAILED,
    MP__WIRE_RECALLED, /* number: started */
    MP__WIRE_PROGRESS, /* number: started; flag: mp__heed */
    MP__WIRE_ENDED,    /* number: the ordinal; flag: it was */
    MP__WIRE_LOST,
    MP__WIRE_NONSENSE,
    MP__WIRE_SPENT,
    MP__WIRE_TEXT, /* number: which; a piece of a text of the evidence that comes next */
    MP__WIRE_OUTPUT,
    MP__WIRE_CREDIT, /* number: bytes of DATA that it has passed on */
    MP__WIRE_BROKEN,
    /* both */
    MP__WIRE_PING = 64, /* flag: more follow, until one without it */
} mp__wire_kind;

enum {
    MP__WIRE_PROTOCOL = 1,
    MP__WIRE_MAX = 60 * 1024,        /* bytes behind a head */
    MP__WIRE_WINDOW = 512 * 1024,    /* DATA of one life that has not been passed on */
    MP__WIRE_FULL = 1024 * 1024,     /* waiting to be written: then nothing is added but answers */
    MP__WIRE_TEXTS = 3,              /* of evidence: frames, standard output, standard error */
    MP__WIRE_TEXT_MAX = 1024 * 1024, /* one of them */
};

typedef struct mp__wire_head {
    uint32_t size; /* of what follows the head */
    uint16_t kind;
    uint16_t flag;
    uint32_t slot, generation;
    uint64_t number;
} mp__wire_head;
_Static_assert(sizeof(mp__wire_head) == 24, "on the wire");

typedef struct mp__challenge {
    uint32_t protocol; /* first in every version */
    uint32_t unused;
    uint64_t nonce;
} mp__challenge;

typedef struct mp__greeting {
    uint32_t protocol; /* first in every version */
    uint32_t worker_protocol, error_size;
    uint32_t cpus, rank, unused;
    char version[8];
    uint64_t id; /* of the agent, the same on all of its connections */
    uint64_t nonce, proof;
    char host[MP_NAME_MAX];
} mp__greeting;
_Static_assert(sizeof(mp__greeting) == 56 + MP_NAME_MAX, "on the wire");

typedef struct mp__opening {
    uint64_t proof, hash; /* of the task table */
    uint32_t slots, workers;
    mp__worker_limits limits;
    uint32_t initializer, finalizer; /* tasks' indices and 1; 0: there is none */
    uint32_t capture, named;
    char prefix[MP_NAME_MAX];
} mp__opening;

typedef struct mp__wire_report {
    uint64_t started;
    uint64_t address, cpu_ns, rss_bytes, ran_ns;
    int32_t status, os_error, worker, pid, signal, exit_code;
    uint8_t by_task, has_address, by_oom, out_cut, err_cut, out_told, err_told, has_evidence;
    char task[MP_NAME_MAX];
    char message[MP_MESSAGE_MAX];
} mp__wire_report;
_Static_assert(sizeof(mp__wire_report) == 40 + 24 + 8 + MP_NAME_MAX + MP_MESSAGE_MAX, "on the wire");

/* The texts of evidence, as they come or go. */
typedef struct mp__wire_texts {
    mp__buffer text[MP__WIRE_TEXTS];
} mp__wire_texts;

/* One end of a connection; non-blocking. Not to be used by two threads at a time. */
typedef struct mp__wire {
    int fd; /* owned; -1: there is none */
    mp__buffer in, out;
    size_t taken, sent; /* of these */
    bool heard;         /* something has come since this was set to false */
    bool said;          /* something was put since */
    bool mute;          /* it cannot be written to: nothing more goes */
    bool over;          /* it has ended, or failed, or what came was no message: nothing more comes or goes */
    bool bad;           /* that was why */
} mp__wire;

/* A TCP socket: the system sees to it that another side whose host has gone is missed, though nothing is said. It is given no time for
 * what was sent (TCP_USER_TIMEOUT): one that is stopped, and has no room for more, would be missed for that, too. */
void mp__wire_keep_alive(int fd);

void mp__wire_init(mp__wire *wire, int fd);
void mp__wire_fini(mp__wire *wire);

/* Puts a message behind what waits. Without memory the connection is over. */
void mp__wire_put(mp__wire *wire, const mp__wire_head *head, const void *bytes, size_t size);
/* Room for a message with up to `most` bytes: where these go; mp__wire_commit says how many. NULL: no memory, and it is over. */
uint8_t *mp__wire_reserve(mp__wire *wire, size_t most);
void mp__wire_commit(mp__wire *wire, const mp__wire_head *head, size_t size);
/* So many bytes, in messages of this kind, each of which begins with the prefix. */
void mp__wire_put_long(mp__wire *wire, const mp__wire_head *head, const void *prefix, size_t prefix_size, const void *bytes,
                       size_t size);
static inline size_t mp__wire_waiting(const mp__wire *wire)
{
    return wire->out.size - wire->sent;
}
/* Writes what goes; reads what has come, once. True: there is more to write (or more has come). */
bool mp__wire_write(mp__wire *wire);
bool mp__wire_read(mp__wire *wire);
/* The next message, and what follows its head; borrowed until the next call of anything here. */
bool mp__wire_next(mp__wire *wire, mp__wire_head *head, const uint8_t **bytes);

/* A report of how something ended, with the texts of its evidence before it. */
void mp__wire_report_put(mp__wire *wire, mp__wire_head head, const mp__event *event);
/* Takes such a text, and such a report. False: it is none. The event's pointers are to `error`, `evidence` and `texts`. */
bool mp__wire_text_take(mp__wire_texts *texts, const mp__wire_head *head, const uint8_t *bytes);
bool mp__wire_report_take(const mp__wire_head *head, const uint8_t *bytes, const char *host, mp__wire_texts *texts,
                          mp_error *error, mp__evidence *evidence, mp__event *event);
void mp__wire_texts_forget(mp__wire_texts *texts);
void mp__wire_texts_fini(mp__wire_texts *texts);

#endif
