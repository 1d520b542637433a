/* Messages between the ranks of one communicator.
 *
 * Decides how many messages are under way to a rank, and in which memory they are. Owns buffers, requests, and the list of what has
 * come from each rank and is not complete: a large message is matched before it is here, and a small one behind it would overtake it.
 * The thread that initialized MPI runs it; no lock. No call here blocks: receiving is MPI_Improbe, MPI_Imrecv and MPI_Testsome, so
 * that a rank that dies in the middle of a message holds nobody up but those that wait for that very rank.
 *
 * One tag for everything: MPI keeps messages of one sender and one tag in order, and streams need that across kinds of frames.
 * A rank that cannot be reached (MPI says so, which it need not) is told to the layer above once, and not spoken to any more. */
#include "pool/cluster/mpi_mail.h"
#include <stdlib.h>

enum {
    TAG = 4711,
    SMALL = 16 * 1024, /* larger ones come into a whole buffer, of which some are kept */
    SPARES_MAX = 16,
    BURST = 64, /* messages taken before sockets have their turn */
};

bool mp__mail_init(mp__mail *mail, MPI_Comm comm)
{
    mail->comm = comm;
    MPI_Comm_rank(comm, &mail->rank);
    MPI_Comm_size(comm, &mail->size);
    mail->ranks = calloc((size_t)mail->size, sizeof *mail->ranks);
    return mail->ranks != NULL;
}

void mp__mail_fini(mp__mail *mail)
{
    while (mail->spare) {
        mp__message *message = mail->spare;
        mail->spare = message->next;
        free(message);
    }
    if (mail->count == 0) {
        free(mail->requests);
        free(mail->messages);
        free(mail->ended);
        free(mail->statuses);
    }
    free(mail->ranks);
    *mail = (mp__mail){.troubled = mail->troubled};
}

/* ---- memory ---- */

static mp__message *message_new(mp__mail *mail, uint32_t room)
{
    mp__message *message = room == MP__MESSAGE_ROOM ? mail->spare : NULL;
    if (message) {
        mail->spare = message->next;
        mail->spares--;
    } else if (!(message = malloc(sizeof *message + room))) {
        return NULL;
    }
    *message = (mp__message){.holders = 1, .room = room};
    return message;
}

void mp__mail_let_go(mp__mail *mail, mp__message *message)
{
    if (--message->holders > 0)
        return;
    if (message->room < MP__MESSAGE_ROOM || mail->spares == SPARES_MAX) {
        free(message);
        return;
    }
    message->next = mail->spare;
    mail->spare = message;
    mail->spares++;
}

static bool grow(void *at, size_t places, size_t size)
{
    void **array = at, *larger = reallocarray(*array, places, size);
    if (larger)
        *array = larger;
    return larger != NULL;
}

/* Before anything is matched or sent there is a place for it. */
static bool place_free(mp__mail *mail)
{
    if (mail->count < mail->room)
        return true;
    int room = mail->room ? 2 * mail->room : 64;
    size_t places = (size_t)room;
    if (!grow(&mail->requests, places, sizeof *mail->requests) || !grow(&mail->messages, places, sizeof(mp__message *)) ||
        !grow(&mail->ended, places, sizeof *mail->ended) || !grow(&mail->statuses, places, sizeof *mail->statuses))
        return false;
    mail->room = room;
    return true;
}

/* There is always one whole buffer left for what comes, or nothing is matched: what is matched has to be received. */
static bool spare_free(mp__mail *mail)
{
    if (!mail->spare) {
        mp__message *message = message_new(mail, MP__MESSAGE_ROOM);
        if (message)
            mp__mail_let_go(mail, message);
    }
    return mail->spare != NULL;
}

/* ---- what is lost ---- */

void mp__mail_lose(mp__mail *mail, int rank)
{
    mail->troubled = true;
    if (mail->ranks[rank].lost)
        return;
    mail->ranks[rank].lost = true;
    mail->lost(mail->above, rank);
}

/* ---- sending ---- */

mp__message *mp__mail_message(mp__mail *mail, int rank)
{
    struct mp__mail_rank *to = &mail->ranks[rank];
    if (to->lost || to->sending == MP__SENDING_MAX || !place_free(mail))
        return NULL;
    mp__message *message = message_new(mail, MP__MESSAGE_ROOM);
    if (message)
        message->rank = rank;
    return message;
}

void mp__mail_send(mp__mail *mail, mp__message *message)
{
    MPI_Request *request = &mail->requests[mail->count];
    if (MPI_Isend(message->bytes, (int)message->size, MPI_BYTE, message->rank, TAG, mail->comm, request) != MPI_SUCCESS) {
        mp__mail_lose(mail, message->rank);
        mp__mail_let_go(mail, message);
        return;
    }
    mail->ranks[message->rank].sending++;
    mail->messages[mail->count++] = message;
}

/* ---- receiving ---- */

/* Hands on what is complete, up to the first that is not. */
static void deliver(mp__mail *mail, int rank)
{
    struct mp__mail_rank *from = &mail->ranks[rank];
    mp__message *message;
    while ((message = from->first) && message->here) {
        from->first = message->next;
        mail->arrived(mail->above, message);
        mp__mail_let_go(mail, message);
    }
}

static void settled(mp__mail *mail, mp__message *message, bool failed)
{
    if (failed)
        mp__mail_lose(mail, message->rank);
    if (!message->coming) {
        mail->ranks[message->rank].sending--;
        mp__mail_let_go(mail, message);
    } else if (!failed) { /* one that has failed stays, and with it what is behind it */
        message->here = true;
        deliver(mail, message->rank);
    }
}

/* What has ended leaves its place to the last one. */
static bool settle(mp__mail *mail)
{
    int ended = 0;
    if (mail->count == 0)
        return false;
    int result = MPI_Testsome(mail->count, mail->requests, &ended, mail->ended, mail->statuses);
    if (result != MPI_SUCCESS && result != MPI_ERR_IN_STATUS)
        mail->troubled = true;
    if (ended == MPI_UNDEFINED || ended <= 0)
        return false;
    for (int i = 0; i < ended; i++)
        settled(mail, mail->messages[mail->ended[i]],
                result == MPI_ERR_IN_STATUS && mail->statuses[i].MPI_ERROR != MPI_SUCCESS);
    int kept = 0;
    for (int i = 0; i < mail->count; i++)
        if (mail->requests[i] != MPI_REQUEST_NULL) {
            mail->requests[kept] = mail->requests[i];
            mail->messages[kept++] = mail->messages[i];
        }
    mail->count = kept;
    return true;
}

static mp__message *message_for(mp__mail *mail, MPI_Status *status)
{
    int size = 0;
    MPI_Get_count(status, MPI_BYTE, &size);
    mp__message *message = size <= SMALL ? message_new(mail, (uint32_t)size) : NULL;
    if (!message)
        message = message_new(mail, MP__MESSAGE_ROOM); /* spare_free: cannot fail */
    message->rank = status->MPI_SOURCE;
    message->coming = true;
    message->size = (uint32_t)size;
    return message;
}

static void append(struct mp__mail_rank *from, mp__message *message)
{
    if (from->first)
        from->last->next = message;
    else
        from->first = message;
    from->last = message;
}

/* Most are small and already here: those need not wait for the next round. */
static bool take(mp__mail *mail)
{
    MPI_Message handle;
    MPI_Status status;
    int there = 0, whole = 0;
    if (!place_free(mail) || !spare_free(mail))
        return false;
    if (MPI_Improbe(MPI_ANY_SOURCE, TAG, mail->comm, &there, &handle, &status) != MPI_SUCCESS) {
        mail->troubled = true; /* it does not say whose fault it was */
        return false;
    }
    if (!there)
        return false;
    mp__message *message = message_for(mail, &status);
    MPI_Request *request = &mail->requests[mail->count];
    append(&mail->ranks[message->rank], message);
    if (MPI_Imrecv(message->bytes, (int)message->size, MPI_BYTE, &handle, request) != MPI_SUCCESS ||
        MPI_Test(request, &whole, MPI_STATUS_IGNORE) != MPI_SUCCESS) {
        mp__mail_lose(mail, message->rank);
    } else if (whole) {
        settled(mail, message, false);
    } else {
        mail->messages[mail->count++] = message;
    }
    return true;
}

bool mp__mail_poll(mp__mail *mail)
{
    bool moved = settle(mail);
    for (int n = 0; n < BURST && take(mail); n++)
        moved = true;
    return moved;
}
