/* What a worker's death leaves to the parent: where it crashed, and what it had printed. */
#ifndef MP__PROCESS_REMAINS_H
#define MP__PROCESS_REMAINS_H
#include "pool/evidence.h"
#include "pool/process/capture.h"
#include "pool/process/crash.h"

/* What evidence points to. Zeroed: nothing. */
typedef struct mp__remains {
    char *frames;
    mp__printed *printed[MP__CAPTURED];
} mp__remains;

void mp__remains_fini(mp__remains *remains);

/* Fills in the fault's address and the frames, if what the worker wrote down belongs to this signal, of which it died. Without memory
 * there are no frames. */
void mp__remains_of_crash(mp__remains *remains, const mp__crash *crash, int signal, mp__evidence *evidence);

/* What it has printed, and not sent: of the item that it ran. Descriptors may be -1. */
void mp__remains_of_output(mp__remains *remains, const int fds[MP__CAPTURED], mp__evidence *evidence);

/* Keeps a copy of what the item has printed whose result comes next, and puts that into the evidence. Without memory it does not. */
void mp__remains_keep(mp__remains *remains, int which, const char *text, size_t size, bool cut, mp__evidence *evidence);

/* Puts a text, which is borrowed, into the evidence. */
void mp__remains_show(mp__evidence *evidence, int which, const char *text, size_t size, bool cut);

#endif
