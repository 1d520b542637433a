/* Events of a backend, one result at a time: values that come in a row are given out one by one. */
#ifndef TESTS_LIB_SINGLY_H
#define TESTS_LIB_SINGLY_H
#include "pool/backend.h"

/* As the backend's `next`. One backend in a test. */
static inline bool next_singly(const mp__backend *kind, mp__workers *workers, mp__event *event)
{
    static mp__event row; /* `count`: values in frames that are still to be given out */
    if (row.count)
        mp__frame_follow(row.frame);
    else if (!kind->next(workers, &row))
        return false;
    *event = row;
    row.count = row.frame ? row.count - 1 : 0;
    if (row.frame)
        event->count = 1;
    return true;
}

#endif
