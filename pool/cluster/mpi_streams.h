/* Byte streams over the messages of a mail, and the sockets at their ends. */
#ifndef MP__POOL_CLUSTER_MPI_STREAMS_H
#define MP__POOL_CLUSTER_MPI_STREAMS_H
#include "pool/cluster/mpi_lifeline.h"
#include "pool/cluster/mpi_mail.h"

enum {
    MP__WINDOW = 1024 * 1024, /* bytes of a stream that its reader has not taken: more are not sent */
    MP__BUCKETS = 256,
    MP__QUIET_NS = 1000000, /* to whom nothing was sent for so long may be asleep, and is rung for */
};

/* Bytes that the reader has had no room for: part of a message that is held for it, or, where they are few, a copy. */
typedef struct mp__rest {
    struct mp__rest *next;
    mp__message *message; /* NULL: a copy, in `own` */
    const char *bytes;
    uint32_t size, room; /* from `bytes` on; of `own` */
    char own[];
} mp__rest;

/* A stream lives here until nothing goes either way. `fd` is -1 when there could be no socket: what comes is dropped. */
typedef struct mp__stream {
    struct mp__stream *same;   /* in its bucket */
    struct mp__stream *behind; /* in its rank's line of those that have something to say */
    int rank, fd;
    int far; /* root: the far end, until it has passed through the door; else -1 */
    uint32_t id;
    bool lined;

    /* from the socket to the rank */
    bool opens;    /* OPEN is to be said */
    bool readable; /* as far as is known */
    bool hung;     /* whoever has the far end has closed it: a short read is not the end */
    bool unwanted; /* they take nothing more */
    bool ended;    /* END has been said: nothing more will be */
    bool handed;   /* their end, to the socket */
    uint32_t credit;

    /* from the rank to the socket */
    mp__rest *first, *last;
    bool watched; /* epoll tells of room */
    bool their_end;
    bool deaf, deaf_said; /* whoever has the far end takes nothing more; STOP has been said */
    uint32_t owed;        /* bytes taken that they have not been told of */
} mp__stream;

/* Belongs to one thread. `line`, `door` and `wake` are borrowed. */
typedef struct mp__streams {
    mp__mail mail;
    mp__lifeline *line;
    int epoll, door, wake;
    uint32_t last_id;
    bool door_full; /* root: some far ends wait for room in the door */
    bool door_shut;
    bool closing;
    bool orphaned;    /* agent: the root has gone, without a BYE */
    uint32_t verdict; /* said in BYE by rank 0; elsewhere: heard */
    int count;        /* of streams */
    int lined;        /* of those, in lines */
    mp__stream *table[MP__BUCKETS];
    struct mp__streams_rank {
        mp__stream *first, *last; /* the line */
        bool bye_said, bye_heard, last_said, last_heard;
        uint64_t told_at; /* when something was sent to it last */
    } * ranks;
} mp__streams;

/* False: no memory or descriptor (errno), nothing is left. The others are watched for as long as it lives. */
bool mp__streams_init(mp__streams *streams, MPI_Comm comm, mp__lifeline *line, int door, int wake);
void mp__streams_fini(mp__streams *streams);

/* One turn, which never blocks: messages, sockets, messages. Whether anything has happened. */
bool mp__streams_turn(mp__streams *streams);

/* Something is under way that only MPI can tell the end of. */
bool mp__streams_awaits(const mp__streams *streams);

/* From now on no stream is opened, and each rank is told BYE as soon as all that was written has been sent: by rank 0, with `verdict`. */
void mp__streams_close(mp__streams *streams, uint32_t verdict);

/* That, and LAST, has been said to, and heard from, every rank that is not lost, and nothing is left to be handed out. */
bool mp__streams_closed(const mp__streams *streams);

/* Streams lead from the root to agents, not between those. */
static inline bool mp__streams_reach(const mp__streams *streams, int rank)
{
    return (rank == 0) != (streams->mail.rank == 0);
}

/* ---- mpi_frames.c: what a message is made of ---- */

enum mp__frame_kind {
    MP__FRAME_OPEN = 1,
    MP__FRAME_DATA,
    MP__FRAME_CREDIT,
    MP__FRAME_END,
    MP__FRAME_STOP,
    MP__FRAME_BYE,
    MP__FRAME_LAST
};

/* Sends what the streams have to say, as far as there is room under way. */
bool mp__frames_send(mp__streams *streams);

/* Does what the frames of a message say; false: it is none of ours. */
bool mp__frames_read(mp__streams *streams, mp__message *message);

/* ---- mpi_streams.c, for mpi_frames.c ---- */

/* It has something to say. */
void mp__stream_line_up(mp__streams *streams, mp__stream *stream);
mp__stream *mp__stream_find(const mp__streams *streams, int rank, uint32_t id);

/* An agent has opened it. False: no memory. */
bool mp__stream_opened(mp__streams *streams, int rank, uint32_t id);

/* `message` is borrowed, and held for as long as it must. */
void mp__stream_deliver(mp__streams *streams, mp__stream *stream, mp__message *message, const char *bytes, uint32_t size);

/* Nothing more comes. It may end with that: it is not to be touched afterwards. */
void mp__stream_their_end(mp__streams *streams, mp__stream *stream);

/* They want nothing more of it. */
void mp__stream_unwanted(mp__streams *streams, mp__stream *stream);

/* Frees it if it has ended both ways. */
void mp__stream_settle(mp__streams *streams, mp__stream *stream);
#endif
