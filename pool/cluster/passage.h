/* At an agent: what is on its way to one worker. The root's stream of frames is taken as it comes, and given to the link in whole frames
 * as long as that has room. */
#ifndef MP__POOL_CLUSTER_PASSAGE_H
#define MP__POOL_CLUSTER_PASSAGE_H
#include "pool/backend.h"
#include "serial/buffer.h"
#include "serial/frame.h"

typedef struct mp__passage {
    uint32_t generation;
    bool open;
    mp__buffer waiting; /* bytes, from `taken` on, that are not in the reader yet */
    size_t taken;
    mp__frame_reader reader;
    uint64_t credit; /* bytes that went into the reader, and the root has not been told */
    bool bad;        /* what came is no stream of items */
    bool refusing;   /* an item, whose bytes are passed over: what is wrong with it goes to the worker behind them */
    bool starved;    /* there was no memory for what came, and it is gone: the worker must be ended */
    bool ending;     /* the worker was told to end at once */
    bool stopping;   /* the worker is to leave behind all that is here */
} mp__passage;

void mp__passage_begin(mp__passage *passage, uint32_t generation);
void mp__passage_fini(mp__passage *passage);
/* False: no memory; it is starved. */
bool mp__passage_add(mp__passage *passage, const void *bytes, size_t size);
/* What is on its way is not wanted any more; the next byte begins a frame. */
void mp__passage_reset(mp__passage *passage);
/* True: all that came has been given to the worker. */
bool mp__passage_is_through(const mp__passage *passage);
/* Gives the worker what it has room for; in place of an item for which there is no memory, that it is so. */
void mp__passage_pump(mp__passage *passage, const mp__backend *kind, mp__workers *workers, uint32_t slot);

/* A frame that has a block, as it is written: `head` is the room for what stands before its payload. */
mp__passed mp__passed_large(const mp__frame *frame, uint8_t head[MP__FRAME_LONG]);

#endif
