/* Messages between the ranks of one communicator: what a tunnel asks of MPI. */
#ifndef MP__POOL_CLUSTER_MPI_MAIL_H
#define MP__POOL_CLUSTER_MPI_MAIL_H
#include <mpi.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MP__MESSAGE_ROOM =
        256 * 1024,      /* of a message that is to be filled; one that has come has room for just what is in it */
    MP__SENDING_MAX = 4, /* messages under way to one rank; what else is to be said waits, and travels together */
};

typedef struct mp__message {
    struct mp__message *next; /* in a list of spare ones, or of what has come from a rank */
    int holders;
    int rank;    /* whom it is for, or from */
    bool coming; /* else going */
    bool here;
    uint32_t room, size;
    alignas(16) char bytes[];
} mp__message;

/* One thread only. The functions are called from within mp__mail_poll and may not call back into the mail, other than to hold and to
 * let go of a message. */
typedef struct mp__mail {
    MPI_Comm comm;
    int rank, size;
    bool troubled; /* MPI has reported an error: nobody should finalize it */
    void *above;
    void (*arrived)(void *above,
                    mp__message *message); /* in the order in which that rank has sent it; borrowed: see holders */
    void (*lost)(void *above, int rank);   /* it has gone, or MPI has failed to reach it; once */

    struct mp__mail_rank {
        int sending;
        bool lost;
        mp__message *first, *last; /* matched, and not all of it here; or behind one for which that is so */
    } * ranks;
    /* what is under way; these four have `room` places, of which `count` are taken */
    MPI_Request *requests;
    mp__message **messages;
    int *ended;
    MPI_Status *statuses;
    int count, room;
    mp__message *spare;
    int spares;
} mp__mail;

/* `comm` is borrowed. False: no memory, nothing is left. */
bool mp__mail_init(mp__mail *mail, MPI_Comm comm);

/* What MPI still has under way is left to it: it may write there. */
void mp__mail_fini(mp__mail *mail);

/* Whether anything has happened. Never blocks. */
bool mp__mail_poll(mp__mail *mail);

/* A message to be filled for this rank, which must then be sent or let go of; NULL: not now. */
mp__message *mp__mail_message(mp__mail *mail, int rank);
void mp__mail_send(mp__mail *mail, mp__message *message);
void mp__mail_let_go(mp__mail *mail, mp__message *message);

/* This rank is not spoken to any more, and the layer above is told, if it was not yet. */
void mp__mail_lose(mp__mail *mail, int rank);
#endif
