/* What is on its way into a pipe: bytes of ours, and blobs that belong to somebody else, in order. */
#ifndef MP__PROCESS_OUTBOX_H
#define MP__PROCESS_OUTBOX_H
#include "pool/backend.h"
#include "serial/frame.h"

/* Blobs follow the bytes before `at`, each behind a gap of zeros. */
typedef struct mp__outbox_blob {
    const char *data; /* NULL: nobody will look at it, and zeros go instead */
    size_t size, gap;
    size_t at; /* offset in `bytes` */
} mp__outbox_blob;

typedef struct mp__outbox {
    mp__buffer bytes;
    size_t sent; /* of `bytes` */
    mp__outbox_blob *blobs;
    size_t blob_count, blob_capacity, blob_next;
    size_t blob_sent; /* of the next blob: gap and data */
    uint64_t written; /* bytes, ever */
    bool copies;      /* its pipe, or this system, takes no pages */
    mp__blobs scratch;
} mp__outbox;

void mp__outbox_fini(mp__outbox *outbox);

/* Adds a frame; the value's blobs are borrowed until they have been written. On failure nothing was added. */
mp_status mp__outbox_value(mp__outbox *outbox, unsigned kind, const mp_type *type, const void *value, mp__fault *fault);
bool mp__outbox_raw(mp__outbox *outbox, unsigned kind, const void *bytes, size_t size);
/* As mp__row_write. */
size_t mp__outbox_row(mp__outbox *outbox, unsigned kind, const mp_type *type, const void *values, size_t step,
                      size_t count);

/* Bytes of ours that wait; and whether memory of somebody else's is still needed. */
static inline size_t mp__outbox_waiting(const mp__outbox *outbox)
{
    return outbox->bytes.size - outbox->sent;
}
static inline bool mp__outbox_borrows(const mp__outbox *outbox)
{
    return outbox->blob_next < outbox->blob_count && outbox->blobs[outbox->blob_count - 1].data;
}

/* Adds frames that were made elsewhere. False: no memory, and nothing was added. */
bool mp__outbox_pass(mp__outbox *outbox, const mp__passed *passed);
/* Copies all that waits, where that is bytes of ours only, of which none has gone yet, and there is room: how many. Else 0. */
size_t mp__outbox_copy(const mp__outbox *outbox, void *to, size_t room);
/* And then they have gone. */
void mp__outbox_gone(mp__outbox *outbox);
/* Takes what is next out of it, instead of writing it: how many bytes, 0 if nothing waits. */
size_t mp__outbox_take(mp__outbox *outbox, void *to, size_t room);

/* What was added so far will be thrown away where it arrives: what it borrows is not needed any more. */
void mp__outbox_disown(mp__outbox *outbox);

/* Everything that waits, blobs and gaps included. */
uint64_t mp__outbox_size(const mp__outbox *outbox);

/* Writes what it can. 0: all is written; EAGAIN: a non-blocking descriptor is full; else errno: the other side is gone. */
int mp__outbox_write(mp__outbox *outbox, int fd);

#endif
